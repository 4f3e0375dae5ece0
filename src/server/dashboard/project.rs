//! The page Project: services × environments, previews, what is held, and what happened.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Crumb, Dashboard, Page, PageError, badge, link, time};
use crate::config;
use crate::name::ServiceName;
use crate::reconcile::Snapshot;
use crate::server::api::project_status;
use crate::store::{Deployment, DeploymentFilter, EventFilter, ServiceRow};

/// Deployments and events that are listed.
const RECENT: u32 = 12;
/// Deployments under way that are marked in the matrix.
const MOVING: u32 = 200;

pub(super) async fn page(dashboard: &Dashboard, name: &str) -> Result<Page, PageError> {
    let (store, now, snapshot) = (dashboard.store(), dashboard.now(), dashboard.snapshot());
    let rows = store.services(Some(name), None).await?;
    let known =
        snapshot.config.projects.iter().find(|(project, _)| project.as_str() == name).map(|(_, known)| known);
    if known.is_none() && rows.is_empty() {
        return Err(PageError::Missing(format!("There is no project `{name}`.")));
    }
    let filter =
        DeploymentFilter { project: Some(name.to_owned()), limit: RECENT, ..DeploymentFilter::default() };
    let recent = store.deployments(&filter).await?;
    let moving = store.deployments(&DeploymentFilter { unfinished: true, limit: MOVING, ..filter }).await?;
    let events = EventFilter { project: Some(name.to_owned()), limit: RECENT, ..EventFilter::default() };
    let events = store.events(&events).await?.into_iter().map(|event| {
        json!({"message": event.what.message, "when": time::when(now, event.what.time),
            "where": place(event.what.environment.as_deref(), event.what.service.as_deref())})
    });
    let status: Vec<&ServiceRow> = rows.iter().collect();
    let status = badge::of_project(project_status(&status));
    let matrix = Matrix { project: name, rows: &rows, moving: &moving };
    let previews = previews(&snapshot, name);
    Ok(Page {
        template: "project",
        title: name.to_owned(),
        crumbs: vec![Crumb::new("Projects", "/".to_owned()), Crumb::new(name, None)],
        view: json!({
            "name": name,
            "badge": status,
            "description": known.and_then(|project| project.document.spec.description.as_deref()),
            "owners": known.and_then(|project| project.document.spec.owners.as_ref()).map(|all| all.join(", ")),
            "configRevision": snapshot.config_revision.as_ref().map(ToString::to_string).map(|r| link::short(&r).to_owned()),
            "matrix": matrix.view(known, &previews),
            "previews": previews.iter().map(|(environment, head)| matrix.preview(environment, head)).collect::<Vec<_>>(),
            "held": held(dashboard, name).await?,
            "problems": problems(&snapshot, name),
            "deployments": deployments(&recent, now, true),
            "events": events.collect::<Vec<_>>(),
        }),
    })
}

/// The previews of a project by the names of their environments, with a sentence on what each shows.
fn previews(snapshot: &Snapshot, project: &str) -> BTreeMap<String, String> {
    let mine = snapshot.environments.iter().filter(|environment| environment.project.as_str() == project);
    mine.filter_map(|environment| {
        let pull = environment.preview.as_ref()?;
        let head = pull.head.to_string();
        let title = format!("Pull request {} of {} at {}", pull.number, pull.short_name, link::short(&head));
        Some((environment.name.to_string(), title))
    })
    .collect()
}

struct Matrix<'a> {
    project: &'a str,
    rows: &'a [ServiceRow],
    moving: &'a [Deployment],
}

impl Matrix<'_> {
    /// Services in rows; environments in columns, in the order of promotion, then those that only have records.
    fn view(&self, known: Option<&config::Project>, previews: &BTreeMap<String, String>) -> Value {
        let mut environments: Vec<&str> = known
            .map(config::Project::ordered_environments)
            .unwrap_or_default()
            .iter()
            .map(|e| e.as_str())
            .collect();
        for row in self.rows {
            let name = row.environment.as_str();
            if !environments.contains(&name) && !previews.contains_key(name) {
                environments.push(name);
            }
        }
        let recorded = self.rows.iter().filter(|row| environments.contains(&row.environment.as_str()));
        let services: BTreeSet<&str> = recorded
            .map(|row| row.service.as_str())
            .chain(known.into_iter().flat_map(|project| project.services.keys().map(ServiceName::as_str)))
            .collect();
        let line = |service: &&str| {
            let cells: Vec<Value> = environments
                .iter()
                .map(|environment| json!({"environment": environment, "cell": self.cell(environment, service)}))
                .collect();
            let kind =
                self.rows.iter().find(|row| row.service == **service).and_then(|row| row.detail.as_ref());
            json!({"service": service, "kind": kind.map(|detail| detail["kind"].clone()), "cells": cells})
        };
        json!({"environments": environments, "services": services.iter().map(line).collect::<Vec<_>>()})
    }

    fn cell(&self, environment: &str, service: &str) -> Value {
        let row = self.rows.iter().find(|row| row.environment == environment && row.service == service);
        let moving = self.moving.iter().find(|d| d.environment == environment && d.service == service);
        let moving = moving.map(
            |moving| json!({"href": link::deployment(&moving.id), "badge": badge::of_deployment(&moving.state, None)}),
        );
        let Some(row) = row else {
            return json!({"href": null, "badge": null, "moving": moving, "revision": null, "problem": null, "url": null});
        };
        let detail = row.detail.clone().unwrap_or_default();
        let problem = detail["problem"].as_str().and_then(|problem| problem.lines().next());
        json!({
            "href": link::service(self.project, environment, service),
            "badge": badge::of_service(&row.state),
            "moving": moving,
            "revision": detail["revision"].as_str().map(link::short),
            "problem": problem,
            "url": link::outside(detail["url"].as_str()),
        })
    }

    fn preview(&self, environment: &str, title: &str) -> Value {
        let rows = self.rows.iter().filter(|row| row.environment == environment);
        let services: Vec<Value> = rows
            .map(|row| json!({"service": row.service, "cell": self.cell(environment, &row.service)}))
            .collect();
        json!({"name": environment, "title": title, "services": services})
    }
}

/// What the brake holds in environments of the project.
async fn held(dashboard: &Dashboard, project: &str) -> Result<Vec<Value>, PageError> {
    let all = dashboard.store().list("held").await?;
    let one = |(key, bytes): (String, Vec<u8>)| {
        let (of, environment) = key.split_once('/')?;
        let value: Value = serde_json::from_slice(&bytes).ok()?;
        let plan = value["plan"].as_str()?;
        let services = value["services"].as_array()?.iter().filter_map(Value::as_str).collect::<Vec<_>>();
        (of == project).then(|| {
            json!({"environment": environment, "plan": plan.get(..32).unwrap_or(plan),
                "services": services.join(", "), "text": value["text"].as_str()})
        })
    };
    Ok(all.into_iter().filter_map(one).collect())
}

/// What is wrong in the project's files.
fn problems(snapshot: &Snapshot, project: &str) -> Vec<Value> {
    let folder = format!("projects/{project}/");
    let mine = snapshot.config.errors().filter(|problem| problem.place.file.starts_with(&folder));
    mine.map(|problem| json!({"place": problem.place.to_string(), "message": problem.message, "hint": problem.hint}))
        .collect()
}

/// Deployments as rows; `whole` names service and environment too.
pub(super) fn deployments(all: &[Deployment], now: Timestamp, whole: bool) -> Vec<Value> {
    let one = |deployment: &Deployment| {
        json!({
            "href": link::deployment(&deployment.id),
            "badge": badge::of_deployment(&deployment.state, None),
            "place": whole.then(|| place(Some(&deployment.environment), Some(&deployment.service))),
            "cause": deployment.cause,
            "revision": deployment.app_revision.as_deref().map(link::short),
            "when": time::when(now, deployment.created),
            "took": deployment.ended.map(|ended| time::took(deployment.started.unwrap_or(deployment.created), ended)),
        })
    };
    all.iter().map(one).collect()
}

/// `service in environment`, as far as it is known.
fn place(environment: Option<&str>, service: Option<&str>) -> String {
    match (service, environment) {
        (Some(service), Some(environment)) => format!("{service} in {environment}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => String::new(),
    }
}
