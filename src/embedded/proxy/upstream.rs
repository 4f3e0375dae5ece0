//! Sending a request to a pod, so that it is neither lost nor done twice.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use http::{Method, Request, Response, request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

/// A body on its way, in either direction.
pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// How long a pod may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a pod may take to begin its answer; long enough for whoever polls.
const ANSWER: Duration = Duration::from_mins(5);

/// Why a pod gave no answer.
pub(super) enum SendError {
    /// It never saw the request: the next pod may have it.
    NotSent,
    /// It may have seen it, and broke off.
    Broken(String),
    /// It took too long.
    Slow,
}

/// A request that is sent until one pod has it.
pub(super) struct Sender {
    /// The request while nobody has it.
    request: Option<Request<Body>>,
    /// What a request is made of anew that may be sent twice: nothing but a head, and a safe method.
    again: Option<request::Parts>,
    tasks: TaskTracker,
}

impl Sender {
    pub(super) fn new(request: Request<Incoming>, tasks: TaskTracker) -> Self {
        let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let (parts, body) = request.into_parts();
        let again = (safe && body.is_end_stream()).then(|| parts.clone());
        Self { request: Some(Request::from_parts(parts, body.boxed_unsync())), again, tasks }
    }

    /// Sends the request to the pod at that address.
    pub(super) async fn send(&mut self, pod: SocketAddr) -> Result<Response<Body>, SendError> {
        let Ok(Ok(stream)) = tokio::time::timeout(CONNECT, TcpStream::connect(pod)).await else {
            return Err(SendError::NotSent);
        };
        // small writes are not held back: it is the same machine
        let _ = stream.set_nodelay(true);
        let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await
        else {
            return Err(SendError::NotSent);
        };
        let Some(request) = self.request.take().or_else(|| self.anew()) else {
            return Err(SendError::Broken("the request had been sent before".to_owned()));
        };
        // the answer tells when the connection fails
        self.tasks.spawn(connection.with_upgrades().map(drop));
        match tokio::time::timeout(ANSWER, sender.try_send_request(request)).await {
            Err(_) => Err(SendError::Slow),
            Ok(Ok(response)) => Ok(response.map(BodyExt::boxed_unsync)),
            Ok(Err(mut error)) => match error.take_message() {
                Some(request) => {
                    self.request = Some(request);
                    Err(SendError::NotSent)
                }
                // only what may be done twice is given to another pod
                None if self.again.is_some() => Err(SendError::NotSent),
                None => Err(SendError::Broken(error.into_error().to_string())),
            },
        }
    }

    fn anew(&self) -> Option<Request<Body>> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        self.again.clone().map(|parts| Request::from_parts(parts, body))
    }
}
