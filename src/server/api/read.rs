//! What the API tells.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use warp::http::StatusCode;

use super::super::Problem;
use super::of_store;
use crate::desired::Environment;
use crate::reconcile::{ReconcileError, Reconciler, Snapshot, chain};
use crate::store::{Deployment, DeploymentFilter, ServiceRow};

/// Log lines of one answer.
const LINES: u32 = 1000;
/// Deployments of one answer.
const DEPLOYMENTS: u32 = 50;

#[derive(Deserialize)]
pub(super) struct DeploymentQuery {
    project: Option<String>,
    environment: Option<String>,
    service: Option<String>,
}

pub(super) async fn status(reconciler: &Reconciler, project: Option<&str>) -> Result<Value, Problem> {
    let store = reconciler.store();
    let rows = store.services(project, None).await.map_err(|error| of_store(&error))?;
    let snapshot = reconciler.snapshot().borrow().clone();
    let held = store.list("held").await.map_err(|error| of_store(&error))?;
    let held: Vec<Value> = held
        .into_iter()
        .filter_map(|(key, bytes)| {
            let mut value: Value = serde_json::from_slice(&bytes).ok()?;
            let (of, environment) = key.split_once('/')?;
            value["project"] = json!(of);
            value["environment"] = json!(environment);
            project.is_none_or(|project| project == of).then_some(value)
        })
        .collect();
    Ok(json!({
        "configRevision": snapshot.config_revision,
        "trouble": snapshot.trouble,
        "busy": reconciler.is_busy().await,
        "services": rows.into_iter().map(service).collect::<Vec<_>>(),
        "held": held,
    }))
}

fn service(row: ServiceRow) -> Value {
    let detail = row.detail.unwrap_or_default();
    json!({
        "project": row.project, "environment": row.environment, "service": row.service,
        "state": row.state, "message": row.message, "deployment": row.live_deployment,
        "revision": detail["revision"], "url": detail["url"], "kind": detail["kind"],
        "problem": detail["problem"], "updated": row.updated.to_string(),
    })
}

pub(super) async fn projects(reconciler: &Reconciler) -> Result<Value, Problem> {
    let snapshot = reconciler.snapshot().borrow().clone();
    let rows = reconciler.store().services(None, None).await.map_err(|error| of_store(&error))?;
    let one = |project: &crate::config::Project| {
        let mine: Vec<_> = rows.iter().filter(|row| row.project == project.name.as_str()).collect();
        json!({
            "name": project.name,
            "description": project.document.spec.description,
            "status": word(&mine),
            "services": project.services.len(),
            "environments": project.ordered_environments(),
            "owners": project.document.spec.owners,
        })
    };
    Ok(json!({"projects": snapshot.config.projects.values().map(one).collect::<Vec<_>>()}))
}

/// The status of a project: building while anything moves, failed while anything is broken.
pub(in crate::server) fn word(rows: &[&ServiceRow]) -> &'static str {
    if rows.iter().any(|row| is_broken(row)) {
        "failed"
    } else if rows.iter().any(|row| row.state == "pending") {
        "building"
    } else {
        "active"
    }
}

/// Whether a service is not well, or something keeps it from what Git says.
pub(in crate::server) fn is_broken(row: &ServiceRow) -> bool {
    let problem = row.detail.as_ref().is_some_and(|detail| detail["problem"].is_string());
    problem || ["crashed", "degraded"].contains(&row.state.as_str())
}

fn environment(snapshot: &Snapshot, project: &str, name: &str) -> Result<Arc<Environment>, Problem> {
    let missing =
        || Problem::not_found(format!("There is no environment `{name}` in the project `{project}`."));
    snapshot.environment(project, name).cloned().ok_or_else(missing)
}

pub(super) async fn plan(reconciler: &Reconciler, project: &str, name: &str) -> Result<Value, Problem> {
    let snapshot = reconciler.snapshot().borrow().clone();
    let found = environment(&snapshot, project, name)?;
    match reconciler.plan_of(&snapshot, &found).await {
        Ok(plan) => {
            Ok(json!({"id": plan.id, "changes": plan.changes(), "text": plan.to_string(), "plan": plan}))
        }
        Err(ReconcileError::Store(error)) => Err(of_store(&error)),
        Err(error) => Err(Problem::new(StatusCode::BAD_GATEWAY, "planFailed", chain(&error))),
    }
}

pub(super) async fn pod_logs(
    reconciler: &Reconciler,
    project: &str,
    name: &str,
    service: &str,
) -> Result<Value, Problem> {
    let snapshot = reconciler.snapshot().borrow().clone();
    let found = environment(&snapshot, project, name)?;
    match reconciler.pod_logs(&found, service).await {
        Ok(lines) => Ok(json!({"lines": lines})),
        Err(error) => Err(Problem::new(StatusCode::BAD_GATEWAY, "logsFailed", chain(&error))),
    }
}

pub(super) async fn why(reconciler: &Reconciler, revision: &str) -> Result<Value, Problem> {
    let is_revision = (4..=40).contains(&revision.len()) && revision.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_revision {
        let message = "A revision takes 4 to 40 hex digits.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "notARevision", message));
    }
    let verdicts =
        reconciler.store().verdicts(&revision.to_lowercase(), 100).await.map_err(|error| of_store(&error))?;
    let row = |v: crate::store::Verdict| {
        json!({
            "repo": v.repo, "revision": v.revision, "project": v.project, "environment": v.environment,
            "service": v.service, "verdict": v.verdict, "detail": v.detail, "time": v.time.to_string(),
        })
    };
    Ok(json!({"verdicts": verdicts.into_iter().map(row).collect::<Vec<_>>()}))
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
