//! Says on the commit what became of it: rows of the outbox, made anew from what is recorded.
//!
//! Nothing is sent here. Where there is a forge, its check runs (or commit statuses) are wanted; where there is none, a
//! note on the commit.

use std::collections::BTreeMap;

use super::{Reconciler, chain};
use crate::github::{want_check, want_note};
use crate::name::Revision;
use crate::report::page;
use crate::report::{Cause, CommitOutcome, ConfigOutcome, Reporter, ServiceOutcome, State, Step, StepState};
use crate::source::{Mirror, RepositoryUrl};
use crate::store::{Deployment, DeploymentFilter, StoreError};

/// Deployments of one commit that are looked at.
const MOST: u32 = 500;

impl Reconciler {
    /// Says on a commit of an app repository what became of its services.
    pub(super) async fn tell(&self, repo: &str, revision: &str) {
        let (Ok(revision), Some(url)) = (revision.parse::<Revision>(), self.url_of(repo)) else { return };
        if let Err(error) = self.tell_commit(&url, &revision).await {
            tracing::warn!(repository = %url, error = %chain(&error), "What became of a commit could not be put into the outbox.");
        }
    }

    /// The mirror of a repository as a row of the outbox names it.
    #[must_use]
    pub fn mirror(&self, repo: &str) -> Option<Mirror> {
        self.url_of(repo).map(|url| self.mirror_of(&url))
    }

    fn url_of(&self, repo: &str) -> Option<RepositoryUrl> {
        let config = &self.0.parts.config.url;
        if repo == config.to_string() {
            return Some(config.clone());
        }
        self.address(repo).ok()
    }

    async fn tell_commit(&self, url: &RepositoryUrl, revision: &Revision) -> Result<(), StoreError> {
        let store = self.store();
        let filter = DeploymentFilter {
            revision: Some(revision.to_string()),
            limit: MOST,
            ..DeploymentFilter::default()
        };
        let mut latest: BTreeMap<(String, String, String), Deployment> = BTreeMap::new();
        for deployment in store.deployments(&filter).await? {
            if deployment.app_revision.as_deref() != Some(revision.as_str()) {
                continue;
            }
            let key =
                (deployment.project.clone(), deployment.environment.clone(), deployment.service.clone());
            // the newest comes first
            latest.entry(key).or_insert(deployment);
        }
        let mut services = Vec::new();
        for deployment in latest.values() {
            services.extend(self.outcome(deployment, revision).await?);
        }
        let verdicts = store.verdicts(revision.as_str(), MOST).await?;
        let untouched = verdicts
            .into_iter()
            .filter(|verdict| verdict.verdict == "no input changed")
            .map(|verdict| format!("{}/{}", verdict.environment, verdict.service))
            .collect();
        let page = self.page(&commit_page(&services));
        let outcome = CommitOutcome {
            services,
            untouched,
            failure: None,
            from_fork: None,
            page,
            updated: self.0.parts.clock.now(),
        };
        self.want(url, revision, Some(&outcome), None).await
    }

    async fn outcome(
        &self,
        deployment: &Deployment,
        revision: &Revision,
    ) -> Result<Option<ServiceOutcome>, StoreError> {
        let steps = self.store().steps(&deployment.id).await?;
        let waits = steps.iter().find(|step| step.state == "running").and_then(|step| step.detail.clone());
        let steps = steps.into_iter().map(|step| Step {
            name: step.name,
            state: match step.state.as_str() {
                "running" => StepState::Running,
                "done" => StepState::Done,
                "failed" => StepState::Failed,
                _ => StepState::Waiting,
            },
            took: step.started.zip(step.ended).map(|(from, to)| to.duration_since(from).unsigned_abs()),
        });
        let (Ok(project), Ok(environment), Ok(service)) =
            (deployment.project.parse(), deployment.environment.parse(), deployment.service.parse())
        else {
            return Ok(None);
        };
        let Ok(state) = deployment.state.parse::<State>() else { return Ok(None) };
        let key = (project, environment, service);
        let record = self.record(&key).await?;
        let detail = record.map(|record| record.detail.clone()).unwrap_or_default();
        // the record follows the deployment, so a service that has just become live is not in it yet
        let url = self.wanted_url(deployment).or(detail.url);
        let log = match &deployment.error {
            Some(_) => self
                .store()
                .log_end(&deployment.id, None, 20)
                .await?
                .into_iter()
                .map(|line| line.line)
                .collect(),
            None => Vec::new(),
        };
        // what a step that runs says of itself is what it waits for
        let (message, hint) = match waits {
            Some(waits) if state.is_moving() => {
                let (waits, hint) = super::record::cause_and_hint(&waits);
                (Some(waits.to_owned()), hint.map(str::to_owned))
            }
            _ => (deployment.error.clone(), deployment.hint.clone()),
        };
        let cause = message.map(|message| Cause { message, place: None, hint, log });
        let serving = detail
            .revision
            .as_deref()
            .filter(|_| state.is_broken())
            .and_then(|revision| revision.parse().ok());
        Ok(Some(ServiceOutcome {
            project: key.0,
            environment: key.1,
            service: key.2,
            revision: revision.clone(),
            state,
            steps: steps.collect(),
            url,
            page: self.page(&page::deployment(&deployment.id)),
            changes: None,
            cause,
            serving,
            started: deployment.started,
            updated: deployment.ended.or(deployment.started).unwrap_or(deployment.created),
        }))
    }

    /// The address that a service should have, as of the last survey.
    fn wanted_url(&self, deployment: &Deployment) -> Option<String> {
        let snapshot = self.0.snapshot.borrow();
        let found = snapshot.environment(&deployment.project, &deployment.environment)?;
        let mut services = found.services.values();
        services.find(|service| service.name.as_str() == deployment.service)?.url.clone()
    }

    /// The address of a page of ours, where a reader of a report can open it.
    pub(super) fn page(&self, path: &str) -> Option<String> {
        self.0.parts.pages.as_ref().map(|pages| pages.address(path))
    }

    /// Says on a commit of the config repository what is wrong with it.
    pub(super) async fn tell_config(&self, revision: &Revision, config: &crate::config::Repository) {
        let source = &self.0.parts.config;
        let outcome = ConfigOutcome {
            problems: config.problems.clone(),
            root: source.path.clone(),
            synced: None,
            page: self.page(page::PROJECTS),
            checked: self.0.parts.clock.now(),
        };
        if let Err(error) = self.want(&source.url, revision, None, Some(&outcome)).await {
            tracing::warn!(error = %chain(&error), "What is wrong with the config could not be put into the outbox.");
        }
    }

    pub(super) async fn want(
        &self,
        url: &RepositoryUrl,
        revision: &Revision,
        commit: Option<&CommitOutcome>,
        config: Option<&ConfigOutcome>,
    ) -> Result<(), StoreError> {
        let reporter = Reporter::new(self.0.parts.redactor.clone());
        let now = self.0.parts.clock.now();
        let Some(slug) = url.github_slug().filter(|_| url.has_forge()) else {
            let text = reporter.note(commit, config);
            self.store().want(want_note(&url.to_string(), revision, &text, now)).await?;
            return Ok(());
        };
        let as_app = self.0.parts.github.as_ref().is_some_and(crate::github::Client::is_app);
        let checks = commit.map(|commit| reporter.commit(commit)).unwrap_or_default();
        for check in checks.into_iter().chain(config.map(|config| reporter.config(config))) {
            self.store().want(want_check(&slug, revision, &check, as_app, now)).await?;
        }
        Ok(())
    }
}

/// The page that says most about a commit: that of the one project it is about.
fn commit_page(services: &[ServiceOutcome]) -> String {
    match services {
        [first, rest @ ..] if rest.iter().all(|service| service.project == first.project) => {
            page::project(first.project.as_str())
        }
        _ => page::PROJECTS.to_owned(),
    }
}
