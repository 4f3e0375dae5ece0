//! `GET /health`, `/livez`, `/readyz`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use tokio::sync::Mutex;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::{Reply, Response};

use super::ServerState;
use super::routes::with;
use crate::store::Store;

/// An answer of the store is good for this long, however many ask.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// A store that needs longer does not work.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the program still waits for before it is ready. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<StdMutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// Not ready, because of `part`: a few words that tell nothing of what is deployed.
    pub fn waits_for(&self, part: &'static str, why: impl Into<String>) {
        self.parts().insert(part, why.into());
    }

    /// `part` is ready.
    pub fn ready(&self, part: &'static str) {
        self.parts().remove(part);
    }

    fn missing(&self) -> BTreeMap<&'static str, String> {
        self.parts().clone()
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the store, at most once a second.
#[derive(Clone, Default)]
struct Probe(Arc<Mutex<Option<(Instant, bool)>>>);

impl Probe {
    async fn store_works(&self, store: &Store) -> bool {
        let mut last = self.0.lock().await;
        if let Some((asked, works)) = *last
            && asked.elapsed() < GOOD_FOR
        {
            return works;
        }
        let works = match tokio::time::timeout(PATIENCE, store.health()).await {
            Ok(Ok(_)) => true,
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "The store does not work.");
                false
            }
            Err(_) => {
                tracing::error!("The store does not answer.");
                false
            }
        };
        *last = Some((Instant::now(), works));
        works
    }
}

pub(super) fn routes(state: &ServerState) -> BoxedFilter<(Response,)> {
    let probe = Probe::default();
    let live = warp::path!("livez").and(warp::get()).map(|| "ok".into_response());
    let ready = warp::path!("readyz").and(warp::get()).and(with(state)).and(with(&probe)).then(ready);
    let health = warp::path!("health").and(warp::get()).and(with(state)).and(with(&probe)).then(health);
    live.or(ready).unify().or(health).unify().boxed()
}

async fn health(state: ServerState, probe: Probe) -> Response {
    let works = probe.store_works(&state.store).await;
    let now = state.clock.now();
    let body = json!({
        "status": if works { "ok" } else { "degraded" },
        "timestamp": now.to_string(),
        "uptime": now.duration_since(state.started).as_secs(),
        "environment": state.settings.environment,
    });
    with_status(works, &body)
}

async fn ready(state: ServerState, probe: Probe) -> Response {
    let mut missing = state.readiness.missing();
    if state.stopping.is_cancelled() {
        missing.insert("server", "it is stopping".to_owned());
    }
    if !probe.store_works(&state.store).await {
        missing.insert("store", "it does not work".to_owned());
    }
    with_status(missing.is_empty(), &json!({ "ready": missing.is_empty(), "waitsFor": missing }))
}

fn with_status(good: bool, body: &serde_json::Value) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    warp::reply::with_status(warp::reply::json(body), status).into_response()
}
