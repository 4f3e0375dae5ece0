//! The page Projects: a card for each.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Crumb, Dashboard, Page, PageError, badge, link, time};
use crate::config;
use crate::name::ServiceName;
use crate::server::api::{HELD, is_broken, project_names, project_status};
use crate::store::{DeploymentFilter, ServiceRow};

/// From as many projects on there is something to search.
const SEARCHED: usize = 4;
/// Addresses on a card.
const ADDRESSES: usize = 3;

/// What somebody looks for.
#[derive(Debug, Deserialize)]
pub(super) struct Search {
    q: Option<String>,
}

pub(super) async fn page(dashboard: &Dashboard, search: &Search) -> Result<Page, PageError> {
    let rows = dashboard.store().services(None, None).await?;
    let snapshot = dashboard.snapshot();
    let projects = &snapshot.config.projects;
    let wanted = search.q.as_deref().map(str::trim).filter(|q| !q.is_empty()).map(str::to_lowercase);
    let held = dashboard.reconciler().held().await?;
    let names = project_names(&snapshot, &held, &rows);
    let mut cards = Vec::new();
    for name in &names {
        let known =
            projects.iter().find(|(project, _)| project.as_str() == *name).map(|(_, project)| project);
        let description = known.and_then(|project| project.document.spec.description.as_deref());
        let text = format!("{name} {}", description.unwrap_or_default()).to_lowercase();
        if wanted.as_ref().is_none_or(|wanted| text.contains(wanted)) {
            let mine: Vec<&ServiceRow> = rows.iter().filter(|row| row.project == *name).collect();
            let status = project_status(&snapshot, &held, name, &mine);
            cards.push(card(dashboard, (name, status), known, &mine).await?);
        }
    }
    Ok(Page {
        template: "projects",
        title: "Projects".to_owned(),
        crumbs: vec![Crumb::new("Projects", None)],
        project: None,
        switch: Vec::new(),
        view: json!({
            "projects": cards,
            "surveyed": snapshot.at.is_some(),
            "searched": names.len() >= SEARCHED || wanted.is_some(),
            "q": search.q.as_deref().unwrap_or_default(),
            "any": !names.is_empty(),
        }),
    })
}

async fn card(
    dashboard: &Dashboard,
    (name, status): (&str, &str),
    known: Option<&config::Project>,
    rows: &[&ServiceRow],
) -> Result<Value, PageError> {
    let filter = DeploymentFilter { project: Some(name.to_owned()), limit: 1, ..DeploymentFilter::default() };
    let last = dashboard.store().deployments(&filter).await?.into_iter().next();
    let services: BTreeSet<&str> = rows
        .iter()
        .map(|row| row.service.as_str())
        .chain(known.into_iter().flat_map(|project| project.services.keys().map(ServiceName::as_str)))
        .collect();
    let ordered = known.map(config::Project::ordered_environments).unwrap_or_default();
    let ordered: Vec<&str> = ordered.iter().map(|name| name.as_str()).collect();
    let left = (status == HELD).then_some("It is no longer in the configuration, and its removal is held.");
    Ok(json!({
        "name": name,
        "href": link::project(name),
        "badge": badge::of_project(status),
        "description": known.map_or(left, |project| project.document.spec.description.as_deref()),
        "file": known.map(|project| project.document.node.place.file.to_string()),
        "services": services.len(),
        "oneService": services.len() == 1,
        "environments": strip(rows, &ordered),
        "addresses": addresses(rows, ordered.last().copied()),
        "last": last.as_ref().map(|last| json!({
            "href": link::deployment(&last.id),
            "when": time::when(dashboard.now(), last.ended.unwrap_or(last.created)),
        })),
    }))
}

/// Where its services are reached in the last environment.
fn addresses(rows: &[&ServiceRow], environment: Option<&str>) -> Vec<Value> {
    let live = rows.iter().filter(|row| Some(row.environment.as_str()) == environment);
    let one = |row: &&ServiceRow| {
        let url = link::outside(row.detail.as_ref()?["url"].as_str())?;
        Some(json!({"service": row.service, "url": url}))
    };
    live.filter(|row| row.live_deployment.is_some()).filter_map(one).take(ADDRESSES).collect()
}

/// For each environment how many of its services are well.
fn strip(rows: &[&ServiceRow], ordered: &[&str]) -> Vec<Value> {
    let mut counts: BTreeMap<(usize, &str), (usize, usize, bool)> = BTreeMap::new();
    for row in rows {
        let place = ordered.iter().position(|name| *name == row.environment);
        let key = (place.unwrap_or(ordered.len()), row.environment.as_str());
        let (well, all, broken) = counts.entry(key).or_default();
        *all += 1;
        *well += usize::from(["live", "completed"].contains(&row.state.as_str()));
        *broken |= is_broken(row);
    }
    let one = |((_, name), (well, all, broken)): ((usize, &str), (usize, usize, bool))| {
        let (tone, icon) = match (broken, well == all) {
            (true, _) => ("bad", "✖"),
            (false, true) => ("good", "●"),
            (false, false) => ("quiet", "○"),
        };
        json!({"name": name, "well": well, "all": all, "tone": tone, "icon": icon})
    };
    counts.into_iter().map(one).collect()
}
