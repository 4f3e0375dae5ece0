//! `GET /metrics`: the figures of all rooms, for Prometheus.

use http::header::{CONTENT_TYPE, HeaderValue};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};

use super::routes::with;
use super::{Problem, ServerState};
use crate::telemetry::METRICS_TYPE;

pub(super) fn routes(state: &ServerState) -> BoxedFilter<(Response,)> {
    warp::path!("metrics").and(warp::get()).and(with(state)).then(metrics).boxed()
}

async fn metrics(state: ServerState) -> Response {
    // Where the store fails, its figures stay as they were last.
    if let (Ok(inbox), Ok(outbox)) = (state.store.count_inbox().await, state.store.count_outbox().await) {
        let figures = &state.figures;
        for (figure, count) in [
            (&figures.inbox_waiting, inbox.waiting),
            (&figures.inbox_quarantined, inbox.quarantined),
            (&figures.outbox_unsent, outbox.unsent),
            (&figures.outbox_failing, outbox.failing),
        ] {
            figure.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
    match state.metrics.encode() {
        Ok(text) => {
            let mut response = text.into_response();
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
            response
        }
        Err(error) => {
            tracing::error!(%error, "The figures cannot be printed.");
            Problem::internal().into_response()
        }
    }
}
