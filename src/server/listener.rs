//! Accepting connections: how many, how patiently, and how they end.
//!
//! HTTP/1.1 only, upgrades included: without TLS nobody speaks HTTP/2 to us, and what is not spoken cannot be
//! abused. It is hyper's own builder, because that of hyper-util which tells the versions apart waits for the
//! first bytes of a connection without any limit of time.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::layers::{Answer, Service};
use super::limits::Limits;

const HEADERS: usize = 100;
const HEAD_BYTES: usize = 64 * 1024;
/// How long accepting rests when the system has no more descriptors.
const REST: Duration = Duration::from_millis(100);

/// Who is on the other end of the connection; in the extensions of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Answers connections until `stop`. `stopping` is cancelled as soon as no new ones are taken; what is under
/// way then has the drain time to finish.
pub(super) async fn run(
    listener: TcpListener,
    service: Service,
    limits: Limits,
    tasks: &TaskTracker,
    stop: CancellationToken,
    stopping: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let http = builder(limits);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
            (place, listener.accept().await)
        };
        let (place, stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            (place, accepted) = accepted => match accepted {
                Ok((stream, peer)) => (place, stream, peer),
                Err(error) => {
                    tracing::warn!(%error, "A connection could not be accepted.");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            },
        };
        let connection = http.serve_connection(io(stream), tower_to_hyper(service.clone(), peer));
        let stopping = stopping.clone();
        tasks.spawn(async move {
            let mut connection = pin!(connection.with_upgrades());
            // A connection that breaks is the peer's business.
            tokio::select! {
                _ = connection.as_mut() => {}
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    if tokio::time::timeout(limits.drain_time, connection).await.is_err() {
                        tracing::warn!(%peer, "A connection was cut that did not finish in time.");
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    stopping.cancel();
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    // Each connection ends within the drain time and gives its place back.
    let _ = places.acquire_many(all).await;
}

fn builder(limits: Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES);
    builder
}

fn io(stream: TcpStream) -> TokioIo<TcpStream> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "A connection keeps its delay.");
    }
    TokioIo::new(stream)
}

fn tower_to_hyper(
    service: Service,
    peer: SocketAddr,
) -> impl hyper::service::Service<http::Request<Incoming>, Response = Answer, Error = Infallible, Future: Send>
{
    hyper::service::service_fn(move |mut request: http::Request<Incoming>| {
        request.extensions_mut().insert(PeerAddr(peer));
        service.clone().oneshot(request)
    })
}
