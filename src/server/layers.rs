//! What every request passes, whatever its route.
//!
//! Request id, span, door, time limit, panics, the text of problems and the security headers are one function,
//! read top to bottom, so that each answer has all of them: also that of a panic or a refusal. Compression
//! comes from tower-http.

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyDataStream, BodyExt, Limited};
use hyper::body::Incoming;
use tower::util::BoxCloneSyncService;
use tower::{Service as _, ServiceBuilder};
use tower_http::compression::CompressionLayer;
use tracing::Instrument;
use uuid::Uuid;
use warp::reply::{Reply, Response};

use super::door::Door;
use super::drain::{self, drain};
use super::error::Problem;
use super::routes::{Finished, Routes};
use super::{PeerAddr, ServerState};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// What goes out.
pub(super) type Answer = http::Response<UnsyncBoxBody<Bytes, BoxError>>;
/// The whole server but its sockets.
pub(super) type Service = BoxCloneSyncService<Request<Incoming>, Answer, Infallible>;

/// More than any route takes and throws away.
const MOST_BYTES: usize = 2 * drain::BYTES;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Nothing inline, nothing from elsewhere, nobody around us. A route may set its own value of any of these.
const HEADERS: [(HeaderName, &str); 9] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    (HeaderName::from_static("x-robots-tag"), "noindex, nofollow"),
];

/// Puts the routes behind the door and the layers.
pub(super) fn assemble(door: Door, routes: Routes, state: &ServerState) -> Service {
    let (routes, state) = (routes.finish(), state.clone());
    let answering = tower::service_fn(move |request| {
        let (door, routes, state) = (door.clone(), routes.clone(), state.clone());
        async move { Ok::<_, Infallible>(answer(&door, routes, &state, request).await) }
    });
    let layered = ServiceBuilder::new()
        .map_response(|response: http::Response<_>| {
            response.map(|body: tower_http::compression::CompressionBody<_>| {
                body.map_err(Into::into).boxed_unsync()
            })
        })
        .layer(CompressionLayer::new())
        .service(answering);
    BoxCloneSyncService::new(layered)
}

async fn answer(
    door: &Door,
    routes: Finished,
    state: &ServerState,
    mut request: Request<Incoming>,
) -> Response {
    let begun = Instant::now();
    let id = Uuid::now_v7().to_string();
    let method = request.method().clone();
    let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
    let span = tracing::info_span!("request", request.id = %id, http.method = %method, http.path = request.uri().path(), peer = peer.map(tracing::field::display));
    if method == Method::HEAD {
        // hyper leaves the body of such an answer out by itself.
        *request.method_mut() = Method::GET;
    }
    let mut response = within(door, routes, state, request).instrument(span.clone()).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.answer(&id);
    }
    dress(response.headers_mut(), &id);
    let status = response.status();
    state.figures.answered(status);
    let milliseconds = begun.elapsed().as_millis();
    span.in_scope(|| {
        if method.is_safe() && !status.is_server_error() {
            tracing::debug!(http.status = status.as_u16(), milliseconds, "Answered.");
        } else {
            tracing::info!(http.status = status.as_u16(), milliseconds, "Answered.");
        }
    });
    response
}

/// The answer of the door or of a route, within its time, and also where the route panics.
async fn within(
    door: &Door,
    mut routes: Finished,
    state: &ServerState,
    request: Request<Incoming>,
) -> Response {
    let (head, body) = request.into_parts();
    if let Err(problem) = door.check(&head) {
        // Whoever waits to be told to go on has not sent the body, and is not asked to.
        if !head.headers.contains_key(header::EXPECT) {
            drain(BodyDataStream::new(body)).await;
        }
        return problem.into_response();
    }
    // Routes count for themselves, with better words, and throw away what is too much; this bounds all of it,
    // and a route that forgets to count.
    let body = Limited::new(body, MOST_BYTES);
    let route = AssertUnwindSafe(async { routes.call(Request::from_parts(head, body)).await }).catch_unwind();
    match tokio::time::timeout(state.settings.limits.answer_time, route).await {
        Ok(Ok(Ok(response))) => response,
        Ok(Err(panic)) => {
            tracing::error!(panic = said(panic.as_ref()), "A route panicked.");
            Problem::internal().into_response()
        }
        Err(_) => {
            tracing::error!("A route took too long.");
            Problem::unavailable("tooSlow", "The answer took too long.", 5).into_response()
        }
    }
}

fn dress(headers: &mut HeaderMap, id: &str) {
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}
