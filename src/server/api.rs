//! The part of the API that the command line and the pages need: what runs, why, logs, and the verbs that change it.

mod projects;
mod read;
mod write;

use std::convert::Infallible;

use serde::Deserialize;
use serde_json::Value;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

pub(super) use self::projects::{HELD, is_broken, names as project_names, status as project_status};
use super::{Problem, ServerState};
use crate::reconcile::Reconciler;
use crate::store::StoreError;

/// The routes under `/api/v1`.
#[must_use]
pub fn routes(state: &ServerState, reconciler: &Reconciler) -> BoxedFilter<(Response,)> {
    reads(state, reconciler).or(writes(state, reconciler)).unify().boxed()
}

fn with(reconciler: &Reconciler) -> impl Filter<Extract = (Reconciler,), Error = Infallible> + Clone + use<> {
    let reconciler = reconciler.clone();
    warp::any().map(move || reconciler.clone())
}

/// An answer, or the problem in its place.
fn reply(result: Result<Value, Problem>) -> Response {
    match result {
        Ok(value) => warp::reply::json(&value).into_response(),
        Err(problem) => problem.into_response(),
    }
}

fn of_store(error: &StoreError) -> Problem {
    tracing::warn!(error = %error, "The store did not answer a request.");
    Problem::unavailable("storeUnavailable", "The store does not answer.", 5)
}

#[derive(Deserialize)]
struct LogQuery {
    #[serde(default)]
    from: i64,
}

// the path comes before the method: that one is refused only where there is something
fn reads(state: &ServerState, reconciler: &Reconciler) -> BoxedFilter<(Response,)> {
    let status = warp::path!("api" / "v1" / "status")
        .and(warp::get())
        .and(warp::query::<read::StatusQuery>())
        .and(with(reconciler))
        .then(|query: read::StatusQuery, r| async move { reply(read::status(&r, &query).await) });
    let all = warp::path!("api" / "v1" / "projects")
        .and(warp::get())
        .and(with(reconciler))
        .then(|r| async move { reply(projects::list(&r).await) });
    let plan = warp::path!("api" / "v1" / "projects" / String / "environments" / String / "plan")
        .and(warp::get())
        .and(with(reconciler))
        .then(|project: String, environment: String, r| async move {
            reply(read::plan(&r, &project, &environment).await)
        });
    let of_server = state.clone();
    let pods = warp::path!(
        "api" / "v1" / "projects" / String / "environments" / String / "services" / String / "logs"
    )
    .and(warp::get())
    .and(warp::query::<read::PodLogQuery>())
    .and(with(reconciler))
    .then(move |project: String, environment: String, service: String, query, r| {
        let state = of_server.clone();
        async move {
            let place = (project.as_str(), environment.as_str(), service.as_str());
            match read::pod_logs(&state, &r, place, &query).await {
                Ok(response) => response,
                Err(problem) => problem.into_response(),
            }
        }
    });
    let why = warp::path!("api" / "v1" / "why" / String)
        .and(warp::get())
        .and(with(reconciler))
        .then(|revision: String, r| async move { reply(read::why(&r, &revision).await) });
    let deployments = warp::path!("api" / "v1" / "deployments")
        .and(warp::get())
        .and(warp::query::<read::DeploymentQuery>())
        .and(with(reconciler))
        .then(|query, r| async move { reply(read::deployments(&r, query).await) });
    let deployment = warp::path!("api" / "v1" / "deployments" / String)
        .and(warp::get())
        .and(with(reconciler))
        .then(|id: String, r| async move { reply(read::deployment(&r, &id).await) });
    let logs = warp::path!("api" / "v1" / "deployments" / String / "logs")
        .and(warp::get())
        .and(warp::query::<LogQuery>())
        .and(with(reconciler))
        .then(|id: String, query: LogQuery, r| async move { reply(read::logs(&r, &id, query.from).await) });
    let first = status.or(all).unify().or(plan).unify().or(pods).unify().boxed();
    let second = why.or(deployments).unify().or(deployment).unify().or(logs).unify().boxed();
    first.or(second).unify().boxed()
}

fn writes(state: &ServerState, reconciler: &Reconciler) -> BoxedFilter<(Response,)> {
    let verbs: [(&'static str, write::Verb); 6] = [
        ("sync", write::Verb::Sync),
        ("promotions", write::Verb::Promote),
        ("rollbacks", write::Verb::RollBack),
        ("resumptions", write::Verb::Resume),
        ("deployments", write::Verb::Deploy),
        ("approvals", write::Verb::Approve),
    ];
    let mut all: Option<BoxedFilter<(Response,)>> = None;
    for (path, verb) in verbs {
        let state = state.clone();
        let route = warp::path!("api" / "v1" / ..)
            .and(warp::path(path))
            .and(warp::path::end())
            .and(warp::post())
            .and(warp::body::stream())
            .and(with(reconciler))
            .then(move |body, r: Reconciler| {
                let state = state.clone();
                async move {
                    let value = super::body::json::<Value, _>(&state, body, write::LARGEST).await;
                    reply(match value {
                        Ok(value) => verb.run(&r, value).await,
                        Err(problem) => Err(problem),
                    })
                }
            })
            .boxed();
        all = Some(match all {
            Some(before) => before.or(route).unify().boxed(),
            None => route,
        });
    }
    all.expect("there are verbs")
}
