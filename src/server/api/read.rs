//! What the API tells.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;
use warp::Reply as _;
use warp::http::StatusCode;
use warp::reply::Response;

use super::super::{Problem, ServerState};
use super::of_store;
use crate::cluster::logs::LogOptions;
use crate::desired::Environment;
use crate::name::{ProjectName, ServiceName};
use crate::plan::Action;
use crate::reconcile::{HeldRemoval, Part, ReconcileError, Reconciler, Snapshot, chain};
use crate::store::{Deployment, DeploymentFilter, ServiceRow, Store, StoreError};

/// Deployments under way that are shown.
const MOVING: u32 = 1000;
/// Log lines of one answer.
const LINES: u32 = 1000;
/// Lines of a pod's log where nobody says how many.
const TAIL: u32 = 200;
/// Deployments of one answer.
const DEPLOYMENTS: u32 = 50;

#[derive(Deserialize)]
pub(super) struct DeploymentQuery {
    project: Option<String>,
    environment: Option<String>,
    service: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct StatusQuery {
    project: Option<String>,
    environment: Option<String>,
    service: Option<String>,
}

pub(super) async fn status(reconciler: &Reconciler, query: &StatusQuery) -> Result<Value, Problem> {
    let (project, environment) = (query.project.as_deref(), query.environment.as_deref());
    let part = Part { project, environment, service: query.service.as_deref() };
    // asked first, so that what has settled is read as it settled
    let busy = reconciler.is_busy(&part).await;
    let store = reconciler.store();
    let mut rows = store.services(project, environment).await.map_err(|error| of_store(&error))?;
    let snapshot = reconciler.snapshot().borrow().clone();
    if let Some(name) = project.filter(|_| rows.is_empty()) {
        known_project(&snapshot, name)?;
    }
    rows.retain(|row| part.service.is_none_or(|service| service == row.service));
    let rank = |row: &ServiceRow| {
        (
            row.project.clone(),
            snapshot.rank(&row.project, &row.environment),
            row.environment.clone(),
            row.service.clone(),
        )
    };
    rows.sort_by_cached_key(rank);
    let moving = moving(store, project, environment).await.map_err(|error| of_store(&error))?;
    let mut held = reconciler.held().await.map_err(|error| of_store(&error))?;
    held.retain(|held| {
        project.is_none_or(|name| name == held.project.as_str())
            && environment.is_none_or(|name| name == held.environment.as_str())
    });
    let problems = snapshot.config.errors().filter(|problem| match problem.place.file.split('/').nth(1) {
        Some(of) if problem.place.file.starts_with("projects/") => {
            project.is_none_or(|project| project == of)
        }
        // what is wrong with the root is the trouble
        _ => false,
    });
    let problems = problems.map(|problem| {
        json!({"place": problem.place.to_string(), "message": problem.message, "hint": problem.hint})
    });
    let mut problems: Vec<_> = problems.collect();
    // what takes down two services is one mistake
    problems.dedup();
    Ok(json!({
        "configRevision": snapshot.config_revision,
        "trouble": snapshot.trouble,
        "busy": busy,
        "problems": problems,
        "services": rows.into_iter().map(|row| service(row, &moving)).collect::<Vec<_>>(),
        "held": held,
    }))
}

/// The deployments under way, by project, environment and service.
type Moving = BTreeMap<(String, String, String), Value>;

async fn moving(
    store: &Store,
    project: Option<&str>,
    environment: Option<&str>,
) -> Result<Moving, StoreError> {
    let filter = DeploymentFilter {
        project: project.map(str::to_owned),
        environment: environment.map(str::to_owned),
        unfinished: true,
        limit: MOVING,
        ..DeploymentFilter::default()
    };
    let one = |of: Deployment| {
        let what = json!({"deployment": of.id, "state": of.state, "revision": of.app_revision});
        ((of.project, of.environment, of.service), what)
    };
    // the newest comes first, and stays
    Ok(store.deployments(&filter).await?.into_iter().rev().map(one).collect())
}

fn service(row: ServiceRow, moving: &Moving) -> Value {
    let detail = row.detail.unwrap_or_default();
    let moving = moving.get(&(row.project.clone(), row.environment.clone(), row.service.clone()));
    json!({
        "project": row.project, "environment": row.environment, "service": row.service,
        "state": row.state, "message": row.message, "deployment": row.live_deployment,
        "revision": detail["revision"], "url": detail["url"], "kind": detail["kind"],
        "problem": detail["problem"], "updated": row.updated.to_string(), "moving": moving,
    })
}

fn known_project(snapshot: &Snapshot, name: &str) -> Result<(), Problem> {
    let names: Vec<&str> = snapshot.config.projects.keys().map(ProjectName::as_str).collect();
    if names.contains(&name) {
        return Ok(());
    }
    Err(unread(snapshot).unwrap_or_else(|| missing(format!("There is no project `{name}`."), &names)))
}

/// Why nobody can say what there is, where that is so.
fn unread(snapshot: &Snapshot) -> Option<Problem> {
    let detail = match &snapshot.trouble {
        _ if snapshot.config_revision.is_some() && snapshot.config.is_usable() => return None,
        Some(trouble) => return Some(unreadable(trouble)),
        None => "The configuration has not been read yet.",
    };
    Some(Problem::new(StatusCode::CONFLICT, "configNotRead", detail).hint("try again in a moment"))
}

/// The configuration cannot be read, and why.
pub(super) fn unreadable(trouble: &str) -> Problem {
    let (what, hint) =
        trouble.split_once("\n  hint: ").map_or((trouble, None), |(what, hint)| (what, Some(hint)));
    let detail = format!("The configuration cannot be read as it is now: {what}.");
    let problem = Problem::new(StatusCode::CONFLICT, "configUnreadable", detail);
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// A problem that names what there is instead.
fn missing(detail: String, known: &[&str]) -> Problem {
    let problem = Problem::not_found(detail);
    if known.is_empty() { problem } else { problem.hint(format!("there is {}", known.join(", "))) }
}

/// An environment as the last survey knows it.
pub(super) fn environment(
    snapshot: &Snapshot,
    project: &str,
    name: &str,
) -> Result<Arc<Environment>, Problem> {
    known_project(snapshot, project)?;
    snapshot.environment(project, name).cloned().ok_or_else(|| {
        let mine = snapshot.environments.iter().filter(|e| e.project.as_str() == project);
        let names: Vec<&str> = mine.map(|e| e.name.as_str()).collect();
        missing(format!("There is no environment `{name}` in the project `{project}`."), &names)
    })
}

/// Says so where an environment has no such service.
pub(super) fn known_service(environment: &Environment, service: &str) -> Result<(), Problem> {
    let names: Vec<&str> =
        environment.services.keys().chain(environment.broken.keys()).map(ServiceName::as_str).collect();
    if names.contains(&service) {
        return Ok(());
    }
    Err(missing(format!("There is no service `{service}` in {}.", environment.name), &names))
}

pub(super) async fn plan(reconciler: &Reconciler, project: &str, name: &str) -> Result<Value, Problem> {
    let snapshot = reconciler.snapshot().borrow().clone();
    let found = match environment(&snapshot, project, name) {
        Ok(found) => found,
        // what left the configuration has the plan that is held
        Err(problem) => {
            let held = reconciler.held().await.map_err(|error| of_store(&error))?;
            let mut held = held.into_iter();
            let held =
                held.find(|held| held.project.as_str() == project && held.environment.as_str() == name);
            return held.map(|held| held_plan(&held)).ok_or(problem);
        }
    };
    match reconciler.plan_of(&snapshot, &found).await {
        Ok(plan) => {
            let steps = plan.units.iter().flat_map(|unit| unit.steps.iter().chain(&unit.prune));
            let objects: Vec<String> = steps
                .filter(|step| step.action != Action::Unchanged)
                .map(|step| step.key.to_string())
                .collect();
            Ok(
                json!({"id": plan.id, "changes": plan.changes(), "objects": objects, "text": plan.to_string(), "plan": plan}),
            )
        }
        Err(ReconcileError::Store(error)) => Err(of_store(&error)),
        Err(error) => Err(Problem::new(StatusCode::BAD_GATEWAY, "planFailed", chain(&error))),
    }
}

/// The plan of a removal that is held, with why it is.
fn held_plan(held: &HeldRemoval) -> Value {
    let text = format!("Held, since {}.\n\n{}", held.reasons.join(", and "), held.text);
    json!({"id": held.plan, "changes": true, "objects": [], "text": text, "plan": null})
}

/// Which part of a pod's log is wanted.
#[derive(Deserialize)]
pub(super) struct PodLogQuery {
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    previous: bool,
    tail: Option<u32>,
    since: Option<u32>,
}

pub(super) async fn pod_logs(
    state: &ServerState,
    reconciler: &Reconciler,
    (project, name, service): (&str, &str, &str),
    query: &PodLogQuery,
) -> Result<Response, Problem> {
    let snapshot = reconciler.snapshot().borrow().clone();
    let found = environment(&snapshot, project, name)?;
    known_service(&found, service)?;
    let options = LogOptions {
        tail: query.tail.or(query.since.is_none().then_some(TAIL)),
        since_seconds: query.since,
        previous: query.previous,
        ..LogOptions::default()
    };
    let failed = |error| Problem::new(StatusCode::BAD_GATEWAY, "logsFailed", chain(&error));
    if query.follow {
        let stop = state.stopping.clone();
        let lines = reconciler.follow_pod(&found, service, &options, stop).await.map_err(failed)?;
        let lines = lines.ok_or_else(|| Problem::not_found(format!("`{service}` has no pod in {name}.")))?;
        let events =
            ReceiverStream::new(lines).map(|line| line.map(|line| warp::sse::Event::default().data(line)));
        return Ok(warp::sse::reply(warp::sse::keep_alive().stream(events)).into_response());
    }
    let lines = reconciler.pod_logs(&found, service, &options).await.map_err(failed)?;
    Ok(warp::reply::json(&json!({"lines": lines})).into_response())
}

pub(super) async fn why(reconciler: &Reconciler, revision: &str) -> Result<Value, Problem> {
    let is_revision = (4..=40).contains(&revision.len()) && revision.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_revision {
        let message = "A revision takes 4 to 40 hex digits.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "notARevision", message));
    }
    let (store, prefix) = (reconciler.store(), revision.to_lowercase());
    let verdicts = store.verdicts(&prefix, 100).await.map_err(|error| of_store(&error))?;
    let mut commits = store.commits(&prefix, 100).await.map_err(|error| of_store(&error))?;
    // a commit that came by several ways has one last word, and none while one of them is open
    commits.sort_by(|a, b| (&a.revision, &a.repo, a.concluded).cmp(&(&b.revision, &b.repo, b.concluded)));
    commits.dedup_by(|next, first| (&next.revision, &next.repo) == (&first.revision, &first.repo));
    let commit = |c: crate::store::SeenCommit| {
        json!({
            "repo": c.repo, "revision": c.revision, "verdict": c.verdict.unwrap_or("under way".to_owned()),
            "detail": c.detail, "seen": c.seen.to_string(), "concluded": c.concluded.map(|at| at.to_string()),
            "time": c.concluded.unwrap_or(c.seen).to_string(),
        })
    };
    let row = |v: crate::store::Verdict| {
        json!({
            "repo": v.repo, "revision": v.revision, "project": v.project, "environment": v.environment,
            "service": v.service, "verdict": v.verdict, "detail": v.detail, "time": v.time.to_string(),
        })
    };
    Ok(json!({
        "commits": commits.into_iter().map(commit).collect::<Vec<_>>(),
        "verdicts": verdicts.into_iter().map(row).collect::<Vec<_>>(),
    }))
}

pub(super) async fn deployments(reconciler: &Reconciler, query: DeploymentQuery) -> Result<Value, Problem> {
    let filter = DeploymentFilter {
        project: query.project,
        environment: query.environment,
        service: query.service,
        limit: DEPLOYMENTS,
        ..DeploymentFilter::default()
    };
    let rows = reconciler.store().deployments(&filter).await.map_err(|error| of_store(&error))?;
    Ok(json!({"deployments": rows.iter().map(one_deployment).collect::<Vec<_>>()}))
}

fn one_deployment(row: &Deployment) -> Value {
    json!({
        "id": row.id, "project": row.project, "environment": row.environment, "service": row.service,
        "state": row.state, "attempt": row.attempt, "revision": row.app_revision,
        "configRevision": row.config_revision, "artifact": row.artifact, "cause": row.cause,
        "created": row.created.to_string(), "started": row.started.map(|t| t.to_string()),
        "ended": row.ended.map(|t| t.to_string()), "error": row.error, "hint": row.hint,
    })
}

async fn known(reconciler: &Reconciler, id: &str) -> Result<Deployment, Problem> {
    let row = reconciler.store().deployment(id).await.map_err(|error| of_store(&error))?;
    row.ok_or_else(|| Problem::not_found(format!("There is no deployment `{id}`.")))
}

pub(super) async fn deployment(reconciler: &Reconciler, id: &str) -> Result<Value, Problem> {
    let row = known(reconciler, id).await?;
    let steps = reconciler.store().steps(id).await.map_err(|error| of_store(&error))?;
    let step = |step: crate::store::Step| {
        json!({
            "name": step.name, "state": step.state, "detail": step.detail,
            "started": step.started.map(|t| t.to_string()), "ended": step.ended.map(|t| t.to_string()),
        })
    };
    let mut value = one_deployment(&row);
    value["steps"] = steps.into_iter().map(step).collect();
    Ok(value)
}

pub(super) async fn logs(reconciler: &Reconciler, id: &str, from: i64) -> Result<Value, Problem> {
    let row = known(reconciler, id).await?;
    let lines = reconciler.store().log(id, None, from, LINES).await.map_err(|error| of_store(&error))?;
    let next = lines.last().map_or(from, |line| line.offset + 1);
    let line = |line: crate::store::LogLine| {
        json!({
            "offset": line.offset, "step": line.step, "stream": line.stream,
            "time": line.time.to_string(), "line": line.line,
        })
    };
    let lines: Vec<Value> = lines.into_iter().map(line).collect();
    Ok(json!({"lines": lines, "next": next, "state": row.state, "ended": row.ended.is_some()}))
}
