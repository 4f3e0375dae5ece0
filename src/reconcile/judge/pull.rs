//! What the head of a pull request is about: its preview.

use std::sync::Arc;

use super::super::seen::Via;
use super::super::{Hint, Reconciler, SOON, Snapshot};
use super::{Aim, Judged, Target};
use crate::desired::{Environment, PullRequest, environment_name};
use crate::github::PullStanding;
use crate::name::{PullNumber, Revision};
use crate::report::Aside;
use crate::source::RepositoryUrl;
use crate::store::{SeenCommit, StoreError};

impl Reconciler {
    pub(super) async fn in_pull(
        &self,
        snapshot: &Snapshot,
        url: &RepositoryUrl,
        revision: &Revision,
        number: PullNumber,
        row: &SeenCommit,
    ) -> Result<Judged, StoreError> {
        if let Some(early) = self.early(snapshot, url, row, &Via::Pull(number)) {
            return Ok(early);
        }
        if !self.is_followed(snapshot, url, &Via::Pull(number)) {
            return Ok(Judged::default());
        }
        let is_config = url == &self.0.parts.config.url;
        if let Some(why) = snapshot.stuck.as_ref().filter(|_| !is_config) {
            return Ok(Judged::failed("Config", why.clone()));
        }
        if let Some(unread) = self.unread(snapshot, url, row).filter(|_| !is_config) {
            return Ok(unread);
        }
        let pull = match self.pull_of(snapshot, url, number).await {
            Stands::Open(pull) => *pull,
            Stands::Closed => return Ok(Judged::aside(Aside::Closed)),
            Stands::Unknown if self.is_missing_long(row) => return Ok(Judged::aside(Aside::Closed)),
            Stands::Unknown => {
                self.hint_after(SOON, Hint::Repository(url.clone()));
                return Ok(Judged::waits("the forge does not say how the pull request stands"));
            }
        };
        if let Some(fork) = pull.fork {
            return Ok(Judged::aside(Aside::Fork(fork)));
        }
        if pull.head != *revision {
            return if self.is_overtaken(row, &pull.head).await? {
                Ok(Judged::aside(Aside::Superseded(Some(pull.head))))
            } else {
                self.hint_after(SOON, Hint::Repository(url.clone()));
                Ok(Judged::waits("the pull request does not show it yet"))
            };
        }
        let into_config = pull.base.as_ref().is_none_or(|base| *base == self.0.parts.config.branch);
        let mut judged = if is_config && into_config {
            self.as_config(snapshot, &self.mirror_of(url), revision, None).await
        } else {
            Judged { followed: true, ..Judged::default() }
        };
        preview_targets(snapshot, url, &pull, &mut judged);
        Ok(judged)
    }

    /// How a pull request stands, by the last survey, or else by the forge.
    async fn pull_of(&self, snapshot: &Snapshot, url: &RepositoryUrl, number: PullNumber) -> Stands {
        let known = |pull: &&PullRequest| pull.repository == url.key() && pull.number == number;
        if let Some(pull) = snapshot.pulls.iter().find(known) {
            return Stands::Open(Box::new(pull.clone()));
        }
        let (Some(client), Some(slug)) = (&self.0.parts.github, url.github_slug()) else {
            // without a forge, a complete listing says it all
            let is_listed = !snapshot.unfetched.contains_key(url.key());
            return if is_listed { Stands::Closed } else { Stands::Unknown };
        };
        match client.pull(&slug, number).await {
            // an app repository's is open once the survey has seen it, with its preview
            Ok(PullStanding::Open(_)) if snapshot.mirrors.values().flatten().any(|m| m.url() == url) => {
                Stands::Unknown
            }
            Ok(PullStanding::Open(pull)) => {
                Stands::Open(Box::new(self.pull_request(&snapshot.config, url, *pull)))
            }
            Ok(PullStanding::Closed { .. }) => Stands::Closed,
            Ok(PullStanding::Missing) | Err(_) => Stands::Unknown,
        }
    }
}

/// How a pull request stands.
enum Stands {
    Open(Box<PullRequest>),
    Closed,
    /// The forge does not say, or not yet.
    Unknown,
}

/// The services of the previews of a pull request, or why there is none.
fn preview_targets(snapshot: &Snapshot, url: &RepositoryUrl, pull: &PullRequest, judged: &mut Judged) {
    let name = environment_name(pull);
    let of_pull = |environment: &&Arc<Environment>| {
        let preview = environment.preview.as_ref();
        environment.name == name
            && preview.is_some_and(|p| p.repository == pull.repository && p.number == pull.number)
    };
    for environment in snapshot.environments.iter().filter(of_pull) {
        for service in environment.services.keys().chain(environment.broken.keys()) {
            let run = environment.services.get(service).and_then(|service| service.run());
            let revision = run.map_or_else(|| Some(pull.head.clone()), |run| run.revision.clone());
            judged.targets.push(Target {
                project: environment.project.clone(),
                environment: environment.name.clone(),
                service: service.clone(),
                aim: Aim::At(revision),
            });
        }
    }
    if !judged.targets.is_empty() {
        return;
    }
    let why = snapshot.refused.iter().find(|(project, refused, _)| {
        let project = snapshot.config.projects.get(project);
        let uses_it = project.is_some_and(|project| {
            let mut repos = project.repositories(&snapshot.config).into_keys();
            repos.any(|repo| matches!(snapshot.mirrors.get(&repo), Some(Ok(mirror)) if mirror.url() == url))
        });
        refused.repository == pull.repository && refused.number == pull.number && uses_it
    });
    judged.aside = why.map(|(_, _, why)| Aside::NoPreview(why.clone()));
}
