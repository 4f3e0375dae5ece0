//! The page Projects: a card for each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Crumb, Dashboard, Page, PageError, badge, link, time};
use crate::config;
use crate::name::{ProjectName, ServiceName};
use crate::server::api::project_status;
use crate::store::{DeploymentFilter, ServiceRow};

pub(super) async fn page(dashboard: &Dashboard) -> Result<Page, PageError> {
    let rows = dashboard.store().services(None, None).await?;
    let snapshot = dashboard.snapshot();
    let projects = &snapshot.config.projects;
    // a project that left the configuration is shown as long as anything of it runs
    let names: BTreeSet<&str> =
        projects.keys().map(ProjectName::as_str).chain(rows.iter().map(|row| row.project.as_str())).collect();
    let mut cards = Vec::new();
    for name in names {
        let known = projects.iter().find(|(project, _)| project.as_str() == name).map(|(_, project)| project);
        let mine: Vec<&ServiceRow> = rows.iter().filter(|row| row.project == name).collect();
        cards.push(card(dashboard, name, known, &mine).await?);
    }
    let surveyed = snapshot.at.is_some();
    Ok(Page {
        template: "projects",
        title: "Projects".to_owned(),
        crumbs: vec![Crumb::new("Projects", None)],
        view: json!({ "projects": cards, "surveyed": surveyed }),
    })
}

async fn card(
    dashboard: &Dashboard,
    name: &str,
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
    Ok(json!({
        "name": name,
        "href": link::project(name),
        "badge": badge::of_project(project_status(rows)),
        "description": known.and_then(|project| project.document.spec.description.as_deref()),
        "services": services.len(),
        "oneService": services.len() == 1,
        "environments": strip(rows, &ordered.iter().map(|name| name.as_str()).collect::<Vec<_>>()),
        "last": last.as_ref().map(|last| json!({
            "href": link::deployment(&last.id),
            "when": time::when(dashboard.now(), last.ended.unwrap_or(last.created)),
        })),
    }))
}

/// For each environment how many of its services are well. Previews, which come and go, are counted together.
fn strip(rows: &[&ServiceRow], ordered: &[&str]) -> Vec<Value> {
    let mut counts: BTreeMap<(usize, &str), (usize, usize, bool)> = BTreeMap::new();
    for row in rows {
        let place = ordered.iter().position(|name| *name == row.environment);
        let key = (place.unwrap_or(ordered.len()), row.environment.as_str());
        let (well, all, broken) = counts.entry(key).or_default();
        *all += 1;
        *well += usize::from(["live", "completed"].contains(&row.state.as_str()));
        *broken |= ["degraded", "crashed"].contains(&row.state.as_str())
            || row.detail.as_ref().is_some_and(|detail| detail["problem"].is_string());
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
