//! Reading a body: its size, its time, its share of the memory, and its JSON.

use std::time::Duration;

use bytes::Buf;
use futures::{Stream, StreamExt};
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::ServerState;
use super::budget::Held;
use super::drain::drain;
use super::error::Problem;

/// What a JSON body may hold unless its route says otherwise.
pub const JSON_BYTES: u64 = 10 * 1024 * 1024;
/// How much room is made before anything has come.
const ROOM: u64 = 1024 * 1024;

/// A body in memory, with its share of the budget.
pub(super) struct Collected {
    pub(super) bytes: Vec<u8>,
    pub(super) held: Held,
}

/// Reads a whole body of at most `limit` bytes.
///
/// # Errors
/// It is larger (413), takes too long (408), breaks off (400), or there is no room for it now (503).
pub(super) async fn collect<B: Buf>(
    state: &ServerState,
    body: impl Stream<Item = Result<B, warp::Error>>,
    announced: Option<u64>,
    limit: u64,
) -> Result<Collected, Problem> {
    let mut body = std::pin::pin!(body);
    if announced.is_some_and(|bytes| bytes > limit) {
        drain(body).await;
        return Err(Problem::too_large(limit));
    }
    let room = announced.unwrap_or(0).min(ROOM);
    let mut collected = Collected {
        bytes: Vec::with_capacity(usize::try_from(room).unwrap_or(0)),
        held: state.budget.hold(),
    };
    let limits = &state.settings.limits;
    let filled = fill(&mut body, &mut collected, limit, limits.body_pause);
    let outcome = match tokio::time::timeout(limits.body_time, filled).await {
        Ok(outcome) => outcome,
        Err(_) => Err(slow()),
    };
    match outcome {
        Ok(()) => Ok(collected),
        Err(problem) => {
            // What was read so far is let go before the rest is thrown away.
            drop(collected);
            if problem.status() != StatusCode::REQUEST_TIMEOUT {
                drain(body).await;
            }
            Err(problem)
        }
    }
}

/// Reads the JSON of a body of at most `limit` bytes.
///
/// # Errors
/// As for the body itself, and 400 where it is not the JSON that it should be, with the place.
pub async fn json<T: DeserializeOwned, B: Buf>(
    state: &ServerState,
    body: impl Stream<Item = Result<B, warp::Error>>,
    limit: u64,
) -> Result<T, Problem> {
    let collected = collect(state, body, None, limit).await?;
    serde_json::from_slice(&collected.bytes).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "invalidJson", format!("The body cannot be read: {error}."))
    })
}

async fn fill<B: Buf>(
    body: &mut (impl Stream<Item = Result<B, warp::Error>> + Unpin),
    collected: &mut Collected,
    limit: u64,
    pause: Duration,
) -> Result<(), Problem> {
    loop {
        let Ok(next) = tokio::time::timeout(pause, body.next()).await else { return Err(slow()) };
        let Some(chunk) = next else { return Ok(()) };
        let mut chunk = chunk.map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "bodyBroken", "The body broke off before its end.")
        })?;
        let size = chunk.remaining();
        if (collected.bytes.len() + size) as u64 > limit {
            return Err(Problem::too_large(limit));
        }
        if !collected.held.take(size) {
            return Err(Problem::unavailable("busy", "Too many large bodies are being received.", 10));
        }
        while chunk.has_remaining() {
            let part = chunk.chunk();
            let read = part.len();
            collected.bytes.extend_from_slice(part);
            chunk.advance(read);
        }
    }
}

fn slow() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "bodyTooSlow", "The body did not come in time.")
}
