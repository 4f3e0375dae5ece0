//! `POST /webhooks/github`: size, signature, disk, and only then a yes.
//!
//! The answer says what became of the delivery: 202 it is on the disk or needs not be, 401 it is not from the
//! forge, 413 and 400 the forge does not send such, 503 it could not be stored and should be sent again.

use std::time::Instant;

use bytes::Buf;
use futures::Stream;
use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use serde_json::json;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};

use super::ServerState;
use super::body::{Collected, collect};
use super::door::{announced, is_json};
use super::error::Problem;
use super::limits::{WEBHOOK_BYTES, webhook_store_time};
use super::routes::with;
use crate::github::payload;
use crate::github::signature::{SIGNATURE_HEADER, WebhookKeys};
use crate::store::Received;

const EVENT: HeaderName = HeaderName::from_static("x-github-event");
const DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
/// GitHub's are UUIDs and short words.
const NAME_BYTES: usize = 100;
/// Larger bodies are checked away from the threads that serve others.
const CHECKED_IN_PLACE: usize = 128 * 1024;
const RETRY_AFTER_SECONDS: u16 = 10;

/// What became of a delivery that is welcome.
#[derive(Clone, Copy)]
enum Outcome {
    Stored,
    Again,
    Ignored,
}

pub(super) fn routes(state: &ServerState) -> BoxedFilter<(Response,)> {
    let keys = WebhookKeys::new(&state.settings.webhook_secrets);
    warp::path!("webhooks" / "github")
        .and(warp::post())
        .and(with(state))
        .and(with(&keys))
        .and(warp::header::headers_cloned())
        .and(warp::body::stream())
        .then(|state, keys, headers, body| async move { answer(state, keys, headers, body).await })
        .boxed()
}

async fn answer<B: Buf>(
    state: ServerState,
    keys: WebhookKeys,
    headers: HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Response {
    match receive(&state, keys, headers, body).await {
        Ok(outcome) => {
            let status = outcome.word();
            state.figures.delivered(status);
            let body = warp::reply::json(&json!({ "status": status }));
            warp::reply::with_status(body, StatusCode::ACCEPTED).into_response()
        }
        Err(problem) => {
            state.figures.delivered(if problem.status().is_server_error() { "failed" } else { "refused" });
            problem.into_response()
        }
    }
}

async fn receive<B: Buf>(
    state: &ServerState,
    keys: WebhookKeys,
    headers: HeaderMap,
    body: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<Outcome, Problem> {
    let Collected { bytes, held } = collect(state, body, announced(&headers), WEBHOOK_BYTES).await?;
    let begun = Instant::now();
    let large = bytes.len() > CHECKED_IN_PLACE;
    let checking = move || check(&keys, &headers, bytes);
    let checked = if large {
        tokio::task::spawn_blocking(checking).await.map_err(|_| Problem::internal())?
    } else {
        checking()
    }?;
    let Some(delivery) = checked else { return Ok(Outcome::Ignored) };
    let id = delivery.id.clone();
    let patience = webhook_store_time(delivery.body.len());
    let taken = state.inbox.take(&delivery.id, &delivery.event, delivery.body);
    let received = match tokio::time::timeout(patience, taken).await {
        Ok(Ok(received)) => received,
        Ok(Err(error)) => {
            tracing::error!(delivery.id = %id, error = &error as &dyn std::error::Error, "A delivery could not be stored.");
            return Err(not_stored());
        }
        Err(_) => {
            tracing::error!(delivery.id = %id, "A delivery was not stored in time.");
            return Err(not_stored());
        }
    };
    drop(held);
    state.figures.webhook_seconds.observe(begun.elapsed().as_secs_f64());
    Ok(match received {
        Received::Stored { .. } => Outcome::Stored,
        Received::Again { same_body } => {
            if !same_body {
                tracing::warn!(delivery.id = %id, "A delivery came again with another body; the first one stands.");
            }
            Outcome::Again
        }
    })
}

/// A delivery that is from the forge and that we listen to.
struct Welcome {
    id: String,
    event: String,
    body: Vec<u8>,
}

/// The signature first: whoever has none learns nothing else.
fn check(keys: &WebhookKeys, headers: &HeaderMap, body: Vec<u8>) -> Result<Option<Welcome>, Problem> {
    let signature = only(headers, &HeaderName::from_static(SIGNATURE_HEADER)).unwrap_or_default();
    if !keys.verify(signature, &body) {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "badSignature",
            "The signature is missing or wrong.",
        )
        .hint("The webhook's secret must be that of BRANCHLINE_WEBHOOK_SECRET."));
    }
    let bad = |name: &HeaderName| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "badDelivery",
            format!("The header {name} is missing or cannot be."),
        )
    };
    let event = only(headers, &EVENT).ok_or_else(|| bad(&EVENT))?;
    let id = only(headers, &DELIVERY).ok_or_else(|| bad(&DELIVERY))?;
    if !is_json(headers) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupportedMediaType",
            "The payload is no JSON.",
        )
        .hint("Set the webhook's content type to application/json."));
    }
    match payload::read(event, &body) {
        Ok(Some(_)) => Ok(Some(Welcome { id: id.to_owned(), event: event.to_owned(), body })),
        Ok(None) => Ok(None),
        Err(error) => Err(Problem::new(StatusCode::BAD_REQUEST, "badPayload", format!("{error}."))),
    }
}

/// The value of a header that stands there once, in visible ASCII, and is not too long.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (first, more) = (values.next()?, values.next());
    let text = first.to_str().ok()?;
    (more.is_none() && (1..=NAME_BYTES).contains(&text.len())).then_some(text)
}

fn not_stored() -> Problem {
    Problem::unavailable("notStored", "The delivery could not be stored.", RETRY_AFTER_SECONDS)
        .hint("Nothing is lost: redeliver it, or wait for the next look at the repository.")
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Again => "again",
            Self::Ignored => "ignored",
        }
    }
}
