//! The page Project: services × environments, previews, what is held, and what happened.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::action::Action;
use super::matrix::Matrix;
use super::{Crumb, Cursor, Dashboard, Page, PageError, badge, link, time};
use crate::reconcile::{HeldRemoval, Snapshot};
use crate::server::api::project_status;
use crate::store::{Deployment, DeploymentFilter, Event, EventFilter, ServiceRow};

/// Deployments and events that are listed at once.
pub(super) const RECENT: u32 = 12;
/// Deployments under way that are marked in the matrix.
const MOVING: u32 = 200;
/// What the names of previews begin with, and no other environment's.
const PREVIEW: &str = "pr-";
/// Events that are looked through for drift that was healed.
const EVENTS: u32 = 100;

pub(super) async fn page(dashboard: &Dashboard, name: &str, cursor: &Cursor) -> Result<Page, PageError> {
    let (store, now, snapshot) = (dashboard.store(), dashboard.now(), dashboard.snapshot());
    let rows = store.services(Some(name), None).await?;
    let known =
        snapshot.config.projects.iter().find(|(project, _)| project.as_str() == name).map(|(_, known)| known);
    let removals = removals(dashboard, name).await?;
    if known.is_none() && rows.is_empty() && removals.is_empty() {
        return Err(PageError::Missing(format!("There is no project `{name}`.")));
    }
    let filter = DeploymentFilter {
        project: Some(name.to_owned()),
        before: cursor.before.clone(),
        limit: RECENT,
        ..DeploymentFilter::default()
    };
    let recent = store.deployments(&filter).await?;
    let unfinished = DeploymentFilter { unfinished: true, before: None, limit: MOVING, ..filter };
    let moving = store.deployments(&unfinished).await?;
    let events = EventFilter { project: Some(name.to_owned()), limit: EVENTS, ..EventFilter::default() };
    let events = store.events(&events).await?;
    let status: Vec<&ServiceRow> = rows.iter().collect();
    let status = badge::of_project(project_status(&snapshot, &removals, name, &status));
    let matrix = Matrix { project: name, known, rows: &rows, moving: &moving, events: &events, now };
    let previews = previews(&snapshot, name, &rows);
    Ok(Page {
        template: "project",
        title: name.to_owned(),
        crumbs: vec![Crumb::new("Projects", "/".to_owned()), Crumb::new(name, None)],
        project: Some(name.to_owned()),
        switch: Vec::new(),
        view: json!({
            "name": name,
            "badge": status,
            "description": known.and_then(|project| project.document.spec.description.as_deref()),
            "owners": known.and_then(|project| project.document.spec.owners.as_ref()).map(|all| all.join(", ")),
            "configRevision": snapshot.config_revision.as_ref().map(ToString::to_string).map(|r| link::short(&r).to_owned()),
            "matrix": matrix.view(&previews),
            "previews": previews.iter().map(|(environment, head)| matrix.preview(environment, head)).collect::<Vec<_>>(),
            "held": removals.into_iter().map(held).collect::<Vec<_>>(),
            "problems": problems(&snapshot, name),
            "deployments": deployments(&recent, now, true),
            "older": older(&recent, &link::project(name)),
            "newer": cursor.before.is_some().then(|| link::project(name) + "#deployments"),
            "events": happened(&events[..events.len().min(RECENT as usize)], now),
        }),
    })
}

/// Where the deployments before these are.
pub(super) fn older(shown: &[Deployment], path: &str) -> Option<String> {
    let last = shown.last().filter(|_| shown.len() == RECENT as usize)?;
    Some(format!("{path}?before={}#deployments", last.id))
}

/// The previews of a project by the names of their environments, with a sentence on what each shows.
fn previews(snapshot: &Snapshot, project: &str, rows: &[ServiceRow]) -> BTreeMap<String, String> {
    // what is no longer wanted is shown until it is gone
    let recorded = rows.iter().filter(|row| row.environment.starts_with(PREVIEW));
    let mut previews: BTreeMap<String, String> =
        recorded.map(|row| (row.environment.clone(), "It is being removed".to_owned())).collect();
    let mine = snapshot.environments.iter().filter(|environment| environment.project.as_str() == project);
    previews.extend(mine.filter_map(|environment| {
        let pull = environment.preview.as_ref()?;
        let head = pull.head.to_string();
        let title = format!("Pull request {} of {} at {}", pull.number, pull.short_name, link::short(&head));
        Some((environment.name.to_string(), title))
    }));
    previews
}

/// What the brake holds in environments of the project.
async fn removals(dashboard: &Dashboard, project: &str) -> Result<Vec<HeldRemoval>, PageError> {
    let mut all = dashboard.reconciler().held().await?;
    all.retain(|held| held.project.as_str() == project);
    Ok(all)
}

/// A removal that waits, with the button that lets it go ahead where a word of a person helps.
fn held(removal: HeldRemoval) -> Value {
    let services = removal.services.join(", ");
    let action = removal.plan.map(|plan| Action::approve(&plan.short(), &services));
    json!({"environment": removal.environment, "services": services, "text": removal.text,
        "actions": action.into_iter().collect::<Vec<_>>()})
}

/// What is wrong in the project's files.
fn problems(snapshot: &Snapshot, project: &str) -> Vec<Value> {
    let folder = format!("projects/{project}/");
    let mine = snapshot.config.errors().filter(|problem| problem.place.file.starts_with(&folder));
    mine.map(|problem| json!({"place": problem.place.to_string(), "message": problem.message, "hint": problem.hint}))
        .collect()
}

/// How long a deployment took. Of one that was live, the end says how long it served.
pub(super) fn took(deployment: &Deployment) -> Option<String> {
    let served = ["replaced", "removed", "crashed"].contains(&deployment.state.as_str());
    let ended = deployment.ended.filter(|_| !served)?;
    Some(time::took(deployment.started.unwrap_or(deployment.created), ended))
}

/// Deployments as rows; `whole` names service and environment too.
pub(super) fn deployments(all: &[Deployment], now: Timestamp, whole: bool) -> Vec<Value> {
    let one = |deployment: &Deployment| {
        json!({
            "href": link::deployment(&deployment.id),
            "badge": badge::of_deployment(&deployment.state, None),
            "place": whole.then(|| place(Some(&deployment.environment), Some(&deployment.service))),
            "cause": deployment.error.as_deref().and_then(|error| error.lines().next()).unwrap_or(&deployment.cause),
            "revision": deployment.app_revision.as_deref().map(link::short),
            "when": time::when(now, deployment.created),
            "took": took(deployment),
        })
    };
    all.iter().map(one).collect()
}

/// Events as rows.
pub(super) fn happened(events: &[Event], now: Timestamp) -> Vec<Value> {
    let one = |event: &Event| {
        json!({"message": event.what.message, "when": time::when(now, event.what.time),
            "where": place(event.what.environment.as_deref(), event.what.service.as_deref())})
    };
    events.iter().map(one).collect()
}

/// `service in environment`, as far as it is known.
fn place(environment: Option<&str>, service: Option<&str>) -> String {
    match (service, environment) {
        (Some(service), Some(environment)) => format!("{service} in {environment}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => String::new(),
    }
}
