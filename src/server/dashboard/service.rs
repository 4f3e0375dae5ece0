//! The page Service: one service in one environment, in tabs.

mod tabs;

use std::sync::Arc;

use serde_json::{Value, json};

use self::tabs::Tab;
use super::action::Action;
use super::matrix::promotion_to;
use super::{Crumb, Cursor, Dashboard, Page, PageError, Switch, badge, link, time};
use crate::config;
use crate::config::environment::Release;
use crate::desired::{self, Environment, Wanted};
use crate::reconcile::{ServiceState, cause_and_hint, release_before, unheard_of};
use crate::store::{Deployment, DeploymentFilter, ServiceRow};

/// Deployments that are looked through for the release before the live one.
const HISTORY: u32 = 50;

/// What is asked for.
pub(super) struct Asked {
    pub(super) project: String,
    pub(super) environment: String,
    pub(super) service: String,
    /// The last part of the address; none is the overview.
    pub(super) tab: Option<String>,
    pub(super) cursor: Cursor,
}

/// A service in an environment, as far as anything is known of it.
struct Known<'a> {
    asked: &'a Asked,
    row: ServiceRow,
    detail: ServiceState,
    project: Option<&'a config::Project>,
    environment: Option<&'a Arc<Environment>>,
    wanted: Option<&'a desired::Service>,
    rows: Vec<ServiceRow>,
    /// What was deployed lately, newest first.
    history: Vec<Deployment>,
}

pub(super) async fn page(dashboard: &Dashboard, asked: Asked) -> Result<Page, PageError> {
    let (project, environment, name) = (&asked.project, &asked.environment, &asked.service);
    let snapshot = dashboard.snapshot();
    let rows = dashboard.store().services(Some(project), None).await?;
    let found = snapshot.environment(project, environment);
    let wanted =
        found.and_then(|found| found.services.values().find(|service| service.name.as_str() == name));
    let row = rows.iter().find(|row| row.environment == *environment && row.service == *name).cloned();
    let row = row.or_else(|| wanted.map(|_| unheard_of(project, environment, name, dashboard.now())));
    let (Some(row), Some(tab)) = (row, Tab::parse(asked.tab.as_deref())) else {
        return Err(PageError::Missing(format!(
            "There is no such page of a service `{name}` in the environment `{environment}` of `{project}`."
        )));
    };
    let filter = DeploymentFilter {
        project: Some(project.clone()),
        environment: Some(environment.clone()),
        service: Some(name.clone()),
        limit: HISTORY,
        ..DeploymentFilter::default()
    };
    let known = Known {
        detail: row.detail.clone().and_then(|detail| serde_json::from_value(detail).ok()).unwrap_or_default(),
        project: snapshot.config.projects.values().find(|known| known.name.as_str() == project),
        environment: found,
        wanted: wanted.map(|service| &**service),
        history: dashboard.store().deployments(&filter).await?,
        row,
        rows,
        asked: &asked,
    };
    Ok(Page {
        template: "service",
        title: match tab {
            Tab::Overview => format!("{name} in {environment}"),
            tab => format!("{} · {name} in {environment}", tab.label()),
        },
        crumbs: vec![
            Crumb::new("Projects", "/".to_owned()),
            Crumb::new(project, link::project(project)),
            Crumb::new(&format!("{name} in {environment}"), None),
        ],
        project: Some(project.clone()),
        switch: known.switch(tab),
        view: known.view(dashboard, tab).await?,
    })
}

impl Known<'_> {
    fn path(&self) -> String {
        link::service(&self.asked.project, &self.asked.environment, &self.asked.service)
    }

    async fn view(&self, dashboard: &Dashboard, tab: Tab) -> Result<Value, PageError> {
        let now = dashboard.now();
        let moving = self.history.iter().find(|deployment| deployment.ended.is_none());
        let mut view = json!({
            "name": self.asked.service,
            "environment": self.asked.environment,
            "badge": badge::of_service(&self.row.state),
            "headline": self.row.message,
            "moving": moving.map(|moving| json!({"href": link::deployment(&moving.id),
                "badge": badge::of_deployment(&moving.state, None)})),
            "problem": self.problem(),
            "url": link::outside(self.detail.url.as_deref()),
            "actions": self.actions(),
            "tabs": tab.links(&self.path()),
            "facts": {
                "revision": self.detail.revision,
                "short": self.detail.revision.as_deref().map(link::short),
                "kind": self.detail.kind.map(config::service::ServiceType::as_str),
                "image": self.detail.image,
                "repo": self.detail.repo,
                "pin": self.pin().map(|pin| pinned(&pin)),
                "liveDeployment": self.row.live_deployment.as_deref().map(link::deployment),
                "updated": time::when(now, self.row.updated),
            },
        });
        tab.fill(self, dashboard, &mut view).await?;
        Ok(view)
    }

    /// The same service in the other environments.
    fn switch(&self, tab: Tab) -> Vec<Switch> {
        let ordered = self.project.map(config::Project::ordered_environments).unwrap_or_default();
        let mut names: Vec<&str> = ordered.iter().map(|name| name.as_str()).collect();
        let mine = self.rows.iter().filter(|row| row.service == self.asked.service);
        let mine: Vec<&str> = mine.map(|row| row.environment.as_str()).collect();
        names.retain(|name| mine.contains(name) || *name == self.asked.environment);
        for name in mine {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
            .iter()
            .map(|name| Switch {
                name: (*name).to_owned(),
                href: tab.of(&link::service(&self.asked.project, name, &self.asked.service)),
                current: *name == self.asked.environment,
            })
            .collect()
    }

    /// What keeps it from what Git says.
    fn problem(&self) -> Option<Value> {
        let problem = self.detail.problem.as_deref()?;
        let (text, hint) = cause_and_hint(problem);
        let failed = self.history.iter().find(|deployment| deployment.error.is_some());
        Some(json!({"text": text, "hint": hint,
            "deployment": failed.map(|deployment| link::deployment(&deployment.id))}))
    }

    /// The release that it is pinned to.
    fn pin(&self) -> Option<Release> {
        self.wanted?.run()?.release.clone()
    }

    fn actions(&self) -> Vec<Action> {
        let (project, here, service) = (&self.asked.project, &self.asked.environment, &self.asked.service);
        let preview = self.environment.is_some_and(|environment| environment.preview.is_some());
        let mut actions = Vec::new();
        if self.wanted.is_some_and(|wanted| wanted.state != Wanted::NotReleased) {
            let label = if self.detail.problem.is_some() { "Try again" } else { "Deploy" };
            actions.push(Action::deploy(label, project, here, service));
        }
        if preview {
            return actions;
        }
        let live = self.detail.revision.as_deref().filter(|_| self.row.live_deployment.is_some());
        let ordered = self.project.map(config::Project::ordered_environments).unwrap_or_default();
        for to in ordered.iter().map(|name| name.as_str()) {
            let comes_from_here = promotion_to(self.project, to).as_deref() == Some(here);
            let mut rows = self.rows.iter();
            let there = rows.find(|row| row.environment == to && row.service == *service);
            let there = there.and_then(|row| row.detail.as_ref()?["revision"].as_str());
            if comes_from_here && live.is_some() && there != live {
                actions.push(Action::promote(project, here, to, &[service]));
            }
        }
        let before = release_before(&self.history, live);
        if let Some(before) = before.and_then(|one| one.app_revision.as_deref()) {
            actions.push(Action::roll_back(project, here, service, before));
        }
        actions
    }
}

/// A pin in a few words: `held, promoted from staging, by ana: rollback of 1f2e3d4`.
fn pinned(pin: &Release) -> String {
    let mut parts = Vec::new();
    if pin.hold {
        parts.push("held".to_owned());
    }
    parts.extend(pin.promoted_from.as_ref().map(|from| format!("promoted from {from}")));
    parts.extend(pin.by.as_ref().map(|by| format!("by {by}")));
    let text = if parts.is_empty() { "by releases.yaml".to_owned() } else { parts.join(", ") };
    pin.reason.as_ref().map_or(text.clone(), |reason| format!("{text}: {reason}"))
}
