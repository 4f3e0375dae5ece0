//! The projects, and how each of them is.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::Problem;
use super::of_store;
use crate::name::{EnvironmentName, ProjectName};
use crate::reconcile::{HeldRemoval, Reconciler, Snapshot};
use crate::store::ServiceRow;

/// The status of a project that left the configuration and whose removal is held.
pub(in crate::server) const HELD: &str = "held";

pub(super) async fn list(reconciler: &Reconciler) -> Result<Value, Problem> {
    let snapshot = reconciler.snapshot().borrow().clone();
    let rows = reconciler.store().services(None, None).await.map_err(|error| of_store(&error))?;
    let held = reconciler.held().await.map_err(|error| of_store(&error))?;
    let of = |name: &str| rows.iter().filter(|row| row.project == name).collect::<Vec<_>>();
    let known = &snapshot.config.projects;
    let one = |project: &crate::config::Project| {
        let name = project.name.as_str();
        json!({
            "name": name,
            "description": project.document.spec.description,
            "status": status(&snapshot, &held, name, &of(name)),
            "services": project.services.len(),
            "environments": project.ordered_environments(),
            "protected": protected(project),
            "owners": project.document.spec.owners,
        })
    };
    // what left the configuration is there as long as anything of it is
    let left = |name: &str| {
        let services: BTreeSet<_> = of(name).iter().map(|row| row.service.as_str()).collect();
        let environments: BTreeSet<_> = of(name).iter().map(|row| row.environment.as_str()).collect();
        json!({
            "name": name, "description": null, "status": status(&snapshot, &held, name, &of(name)),
            "services": services.len(), "environments": environments, "protected": [], "owners": null,
        })
    };
    let gone = names(&snapshot, &held, &rows);
    let gone = gone.into_iter().filter(|name| !known.keys().any(|known| known.as_str() == *name));
    let projects: Vec<_> = known.values().map(one).chain(gone.map(left)).collect();
    Ok(json!({"projects": projects, "trouble": snapshot.trouble}))
}

/// The projects of the configuration, and those that left it as long as anything of them is there.
pub(in crate::server) fn names<'a>(
    snapshot: &'a Snapshot,
    held: &'a [HeldRemoval],
    rows: &'a [ServiceRow],
) -> BTreeSet<&'a str> {
    let known = snapshot.config.projects.keys().map(ProjectName::as_str);
    let held = held.iter().map(|held| held.project.as_str());
    known.chain(held).chain(rows.iter().map(|row| row.project.as_str())).collect()
}

/// The status of a project with these services. One that left the configuration is held until somebody lets all of it go.
pub(in crate::server) fn status(
    snapshot: &Snapshot,
    held: &[HeldRemoval],
    name: &str,
    rows: &[&ServiceRow],
) -> &'static str {
    let is_known = snapshot.config.projects.keys().any(|known| known.as_str() == name);
    let mine: BTreeSet<_> = held
        .iter()
        .filter(|held| held.project.as_str() == name)
        .map(|held| held.environment.as_str())
        .collect();
    let all = rows.iter().all(|row| mine.contains(row.environment.as_str()));
    if !is_known && !mine.is_empty() && all {
        return HELD;
    }
    word(rows)
}

/// Building while anything moves, failed while anything is broken.
fn word(rows: &[&ServiceRow]) -> &'static str {
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
    problem || ["failed", "crashed", "degraded"].contains(&row.state.as_str())
}

/// The environments in which a change by hand needs a second word.
fn protected(project: &crate::config::Project) -> Vec<&EnvironmentName> {
    let mut names = project.ordered_environments();
    names.retain(|name| project.environments[*name].document.spec.protected == Some(true));
    names
}
