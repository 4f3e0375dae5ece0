//! The way in: hosts of Ingresses, served on one port of this machine.
//!
//! A request's host and path name an Ingress, that a Service, that its ready pods. Every request travels on a
//! connection of its own, so none is lost on one that a pod was about to close; a request that reached no pod is
//! given to the next. Bodies are streamed both ways, and upgraded connections (WebSocket) are passed through.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::networking::v1::Ingress;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::page::Page;
use self::route::{Found, Routes};
use self::upstream::{Body, SendError, Sender};
use super::backends::{Backends, find};
use super::cache::Cache;

mod headers;
mod page;
mod route;
mod upstream;

/// How long a client may take to send the head of a request.
const HEAD: Duration = Duration::from_secs(30);
/// How long open requests may go on once the proxy stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often a request that reached no pod is given to the pods of that moment again.
const ROUNDS: usize = 4;
/// The pause between these.
const BETWEEN: Duration = Duration::from_millis(100);

/// Serves the hosts of all Ingresses on `listener`; ends with `stop`.
///
/// It is called before [`Cache::start`], so that no change is missed.
pub fn start(listener: TcpListener, cache: &Arc<Cache>, tasks: &TaskTracker, stop: &CancellationToken) {
    let routes = Arc::new(Routes::default());
    let changed = routes.clone();
    cache.of::<Ingress>().on_change(move |_, _| changed.forget());
    let (cache, tasks, stop) = (cache.clone(), tasks.clone(), stop.clone());
    let proxy = Proxy { cache, routes, turn: AtomicUsize::new(0), tasks: tasks.clone(), stop };
    tasks.spawn(Arc::new(proxy).listen(listener));
}

struct Proxy {
    cache: Arc<Cache>,
    routes: Arc<Routes>,
    turn: AtomicUsize,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Proxy {
    async fn listen(self: Arc<Self>, listener: TcpListener) {
        while let Some(accepted) = self.stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, client)) => {
                    self.tasks.spawn(self.clone().serve(stream, client));
                }
                Err(error) => {
                    // too many open files: those that close make room
                    tracing::warn!(error = %error, "A connection to the proxy could not be accepted.");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, client: SocketAddr) {
        // small writes are not held back: it is the same machine
        let _ = stream.set_nodelay(true);
        let proxy = self.clone();
        let answer = service_fn(move |request| {
            let proxy = proxy.clone();
            async move { Ok::<_, std::convert::Infallible>(proxy.answer(request, client).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), answer)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // a client may break off at any time
            _ = connection.as_mut() => return,
            () = self.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = tokio::time::timeout(FAREWELL, connection).await;
    }

    async fn answer(&self, request: Request<Incoming>, client: SocketAddr) -> Response<Body> {
        let page = Page::for_request(&request);
        match self.pass(request, client).await {
            Ok(response) => response,
            Err(problem) => page.say(&problem),
        }
    }

    async fn pass(
        &self,
        mut request: Request<Incoming>,
        client: SocketAddr,
    ) -> Result<Response<Body>, Problem> {
        let host = headers::host(&request).ok_or(Problem::NoHost)?;
        let (service, port) = match self.routes.find(&self.cache, &host, request.uri().path()) {
            Found::Service(service, port) => (service, port),
            Found::NoPath => {
                return Err(Problem::UnknownPath { host, path: request.uri().path().to_owned() });
            }
            Found::NoHost(known) => return Err(Problem::UnknownHost { host, known }),
        };
        let upgrade = headers::is_upgrade(&request).then(|| hyper::upgrade::on(&mut request));
        headers::forward(&mut request, client);
        let mut sender = Sender::new(request, self.tasks.clone());
        let mut problem = Problem::Unreachable { service: service.to_string() };
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(BETWEEN).await;
            }
            let pods = match find(&self.cache, &service, &port) {
                Backends::Some(pods) => pods,
                Backends::Unknown => return Err(Problem::NoService { service: service.to_string() }),
                Backends::None(reasons) => {
                    problem = Problem::NoPod { service: service.to_string(), reasons };
                    // a pod that was there a moment ago may have a successor in a moment
                    if round == 0 {
                        return Err(problem);
                    }
                    continue;
                }
            };
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            for step in 0..pods.len() {
                match sender.send(pods[turn.wrapping_add(step) % pods.len()]).await {
                    Ok(response) => return Ok(self.finish(response, upgrade)),
                    Err(SendError::NotSent) => {}
                    Err(SendError::Broken(cause)) => {
                        return Err(Problem::Broken { service: service.to_string(), cause });
                    }
                    Err(SendError::Slow) => return Err(Problem::Slow { service: service.to_string() }),
                }
            }
        }
        Err(problem)
    }

    /// Hands the answer on; a connection that was upgraded goes on as plain bytes.
    fn finish(
        &self,
        mut response: Response<Body>,
        upgrade: Option<hyper::upgrade::OnUpgrade>,
    ) -> Response<Body> {
        if let (Some(client), StatusCode::SWITCHING_PROTOCOLS) = (upgrade, response.status()) {
            let pod = hyper::upgrade::on(&mut response);
            let pass = async move {
                let (Ok(client), Ok(pod)) = futures::future::join(client, pod).await else { return };
                // either side may break off at any time
                let _ =
                    tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(pod)).await;
            };
            self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(pass));
            return response;
        }
        headers::strip(response.headers_mut());
        response
    }
}

/// Why a request got no answer from a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("The request names no host.")]
    NoHost,
    #[error("No service has the host {host}.")]
    UnknownHost { host: String, known: Vec<String> },
    #[error("No service has the path {path} on {host}.")]
    UnknownPath { host: String, path: String },
    #[error("The service {service} does not exist (yet).")]
    NoService { service: String },
    #[error("No pod of {service} is ready.")]
    NoPod { service: String, reasons: Vec<String> },
    #[error("No pod of {service} accepts connections.")]
    Unreachable { service: String },
    #[error("{service} broke off before it answered.")]
    Broken { service: String, cause: String },
    #[error("{service} did not answer in time.")]
    Slow { service: String },
}
