//! The table of a project: services × environments, what is newer in the environment before, and its previews.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::action::Action;
use super::{badge, link, time};
use crate::config;
use crate::config::environment::Follow;
use crate::name::ServiceName;
use crate::store::{Deployment, Event, ServiceRow};

/// How long the mark of a drift that was healed stays.
const MARKED: SignedDuration = SignedDuration::from_hours(1);

pub(super) struct Matrix<'a> {
    pub(super) project: &'a str,
    pub(super) known: Option<&'a config::Project>,
    pub(super) rows: &'a [ServiceRow],
    /// Deployments under way.
    pub(super) moving: &'a [Deployment],
    /// What happened lately, newest first.
    pub(super) events: &'a [Event],
    pub(super) now: Timestamp,
}

impl Matrix<'_> {
    /// Services in rows; environments in columns, in the order of promotion, then those that only have records.
    pub(super) fn view(&self, previews: &BTreeMap<String, String>) -> Value {
        let known = self.known.map(config::Project::ordered_environments).unwrap_or_default();
        let mut environments: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        for row in self.rows {
            let name = row.environment.as_str();
            if !environments.contains(&name) && !previews.contains_key(name) {
                environments.push(name);
            }
        }
        let recorded = self.rows.iter().filter(|row| environments.contains(&row.environment.as_str()));
        let services: BTreeSet<&str> = recorded
            .map(|row| row.service.as_str())
            .chain(self.known.into_iter().flat_map(|known| known.services.keys().map(ServiceName::as_str)))
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
        json!({
            "environments": environments.iter().map(|name| self.column(name)).collect::<Vec<_>>(),
            "services": services.iter().map(line).collect::<Vec<_>>(),
        })
    }

    /// The head of an environment: what it follows, and all that waits in the one before.
    fn column(&self, environment: &str) -> Value {
        let follow = self.known.and_then(|known| follow(known, environment));
        let promotion = promotion_to(self.known, environment).and_then(|from| {
            let ahead: Vec<&str> = self
                .rows
                .iter()
                .filter(|row| {
                    row.environment == from && self.ahead(&from, environment, &row.service).is_some()
                })
                .map(|row| row.service.as_str())
                .collect();
            (ahead.len() > 1).then(|| Action::promote(self.project, &from, environment, &ahead))
        });
        json!({
            "name": environment,
            "follows": follow.map(|follow| match follow {
                Follow::Branch => "follows branches",
                Follow::Releases => "follows releases",
            }),
            "promotion": promotion,
        })
    }

    fn row(&self, environment: &str, service: &str) -> Option<&ServiceRow> {
        self.rows.iter().find(|row| row.environment == environment && row.service == service)
    }

    /// The revision that is live and well in `from` where it is not the one of `to`.
    pub(super) fn ahead(&self, from: &str, to: &str, service: &str) -> Option<String> {
        let source =
            self.row(from, service).filter(|row| row.state == "live" && row.live_deployment.is_some())?;
        let live = revision(source)?;
        (self.row(to, service).and_then(revision) != Some(live)).then(|| live.to_owned())
    }

    pub(super) fn cell(&self, environment: &str, service: &str) -> Value {
        let moving = self.moving.iter().find(|d| d.environment == environment && d.service == service);
        let moving = moving.map(
            |moving| json!({"href": link::deployment(&moving.id), "badge": badge::of_deployment(&moving.state, None)}),
        );
        let ahead = promotion_to(self.known, environment).and_then(|from| {
            let revision = self.ahead(&from, environment, service)?;
            let action = Action::promote(self.project, &from, environment, &[service]);
            Some(json!({"from": from, "revision": link::short(&revision), "action": action}))
        });
        let Some(row) = self.row(environment, service) else {
            return json!({"href": null, "badge": null, "moving": moving, "revision": null, "problem": null,
                "url": null, "healed": null, "ahead": ahead});
        };
        let detail = row.detail.clone().unwrap_or_default();
        let problem = detail["problem"].as_str().and_then(|problem| problem.lines().next());
        json!({
            "href": link::service(self.project, environment, service),
            "badge": badge::of_service(&row.state),
            "moving": moving,
            "revision": revision(row).map(link::short),
            "problem": problem,
            "url": link::outside(detail["url"].as_str()),
            "healed": self.healed(environment, service),
            "ahead": ahead,
        })
    }

    /// When what somebody changed in the cluster was last put back, where that is not long ago.
    fn healed(&self, environment: &str, service: &str) -> Option<time::When> {
        let mut events = self.events.iter().map(|event| &event.what);
        let healed = events.find(|event| {
            event.kind == "healed"
                && event.environment.as_deref() == Some(environment)
                && event.service.as_deref() == Some(service)
        })?;
        (self.now.duration_since(healed.time) < MARKED).then(|| time::when(self.now, healed.time))
    }

    pub(super) fn preview(&self, environment: &str, title: &str) -> Value {
        let rows = self.rows.iter().filter(|row| row.environment == environment);
        let services: Vec<Value> = rows
            .map(|row| json!({"service": row.service, "cell": self.cell(environment, &row.service)}))
            .collect();
        json!({"name": environment, "title": title, "services": services})
    }
}

fn revision(row: &ServiceRow) -> Option<&str> {
    row.detail.as_ref()?["revision"].as_str()
}

fn follow(project: &config::Project, environment: &str) -> Option<Follow> {
    let mut environments = project.environments.iter();
    let (_, found) = environments.find(|(name, _)| name.as_str() == environment)?;
    Some(found.document.spec.follow.unwrap_or(Follow::Branch))
}

/// The environment that releases of this one come from: as the project says, otherwise the one before it.
pub(super) fn promotion_to(project: Option<&config::Project>, environment: &str) -> Option<String> {
    let project = project.filter(|project| follow(project, environment) == Some(Follow::Releases))?;
    if let Some(all) = &project.document.spec.promotion {
        return all
            .iter()
            .find(|promotion| promotion.to == environment)
            .map(|promotion| promotion.from.clone());
    }
    let ordered = project.ordered_environments();
    let place = ordered.iter().position(|name| name.as_str() == environment)?;
    place.checked_sub(1).map(|before| ordered[before].to_string())
}
