//! Where a service stands on the way to what a commit wants of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::super::judge::Target;
use super::super::record::{Record, cause_and_hint};
use super::super::rollout::Key;
use super::super::{HeldRemoval, Reconciler, Snapshot};
use crate::desired::Wanted;
use crate::name::Revision;
use crate::report::{Cause, ServiceOutcome, State, Step, StepState, Why, page};
use crate::store::{Deployment, DeploymentFilter, StoreError};

/// Deployments of one service that are looked at, the newest first.
const RECENT: u32 = 50;
/// The last lines of a log that a failure shows.
const LINES: u32 = 20;

/// Where a service stands.
pub(super) enum Standing {
    Is(Box<ServiceOutcome>),
    Left(Why),
    /// Its turn has not come.
    Waits,
    /// Nothing can be said of it: the step that failed, and why.
    Failed(&'static str, Cause),
}

impl Target {
    /// `project/environment/service`.
    pub(super) fn path(&self) -> String {
        format!("{}/{}/{}", self.project, self.environment, self.service)
    }

    fn key(&self) -> Key {
        (self.project.clone(), self.environment.clone(), self.service.clone())
    }
}

impl Reconciler {
    /// Where a service stands that should be at a revision.
    pub(super) async fn standing(
        &self,
        snapshot: &Snapshot,
        target: &Target,
        wanted: Option<&Revision>,
    ) -> Result<Standing, StoreError> {
        let environment = snapshot.environment(target.project.as_str(), target.environment.as_str());
        let path = target.path();
        if let Some(problems) = environment.and_then(|environment| environment.broken.get(&target.service)) {
            let first = problems.first();
            let message = first.map(|problem| format!("{path}: {}: {}", problem.place, problem.message));
            let hint = first.and_then(|problem| problem.hint.clone());
            let cause = Cause { hint, ..Cause::new(message.unwrap_or(path)) };
            return Ok(Standing::Failed("Config", cause));
        }
        let service = environment.and_then(|environment| environment.services.get(&target.service));
        let by = match service.map(|service| &service.state) {
            Some(Wanted::Unknown(why)) => {
                return Ok(Standing::Failed("Git", Cause::new(format!("{path}: {why}"))));
            }
            Some(Wanted::Waiting) => return Ok(Standing::Left(Why::Waits)),
            Some(Wanted::NotReleased) => return Ok(Standing::Left(Why::FollowsReleases)),
            Some(Wanted::Run(run)) if run.revision.as_ref() == wanted => {
                return self.wanted_standing(target, wanted).await;
            }
            Some(Wanted::Run(run)) => run.revision.clone(),
            None => None,
        };
        let deployments = self.deployments_of(target).await?;
        let of_it = deployments
            .iter()
            .find(|deployment| deployment.app_revision.as_deref() == wanted.map(Revision::as_str));
        if let (Some(deployment), Some(wanted)) = (of_it, wanted) {
            let outcome = self.service_outcome(deployment, wanted).await?;
            return Ok(outcome.map_or(Standing::Waits, |outcome| Standing::Is(Box::new(outcome))));
        }
        Ok(Standing::Left(by.map_or(Why::Removed, Why::Superseded)))
    }

    /// Where a service stands whose newest wish is this very revision.
    async fn wanted_standing(
        &self,
        target: &Target,
        wanted: Option<&Revision>,
    ) -> Result<Standing, StoreError> {
        let key = target.key();
        let wish = self.0.wishes.lock().expect("no holder of this lock panics").get(&key).cloned();
        let Some(wish) = wish.filter(|wish| wish.revision.as_ref() == wanted) else {
            return Ok(Standing::Waits);
        };
        let deployments = self.deployments_of(target).await?;
        let newest = deployments.iter().find(|deployment| wish.is_of(deployment));
        let record = self.record(&key).await?;
        let detail = record.as_deref().map(|record| record.detail.clone()).unwrap_or_default();
        let is_live = detail.digest == Some(wish.digest)
            && detail.failed_digest != Some(wish.digest)
            && record.as_ref().is_some_and(|record| record.row.live_deployment.is_some());
        let runs = self.0.rollouts.runs(&key).await;
        let revision = wanted.cloned();
        match newest {
            // a service's own check begins with its own deployment, which also ends it
            Some(moving)
                if moving.ended.is_none()
                    && moving.app_revision.as_deref() != wanted.map(Revision::as_str) =>
            {
                Ok(Standing::Waits)
            }
            Some(moving) if moving.ended.is_none() => self.is(moving, revision).await,
            _ if runs => Ok(Standing::Waits),
            _ if is_live => {
                let id = record.as_ref().and_then(|record| record.row.live_deployment.as_deref());
                let page = id.and_then(|id| self.page(&page::deployment(id)));
                Ok(live(target, record.as_deref(), revision, newest, page))
            }
            Some(failed) if failed.state == "failed" => self.is(failed, revision).await,
            _ => Ok(Standing::Waits),
        }
    }

    async fn is(&self, deployment: &Deployment, revision: Option<Revision>) -> Result<Standing, StoreError> {
        let revision = revision.or_else(|| deployment.config_revision.as_ref()?.parse().ok());
        let Some(revision) = revision else { return Ok(Standing::Waits) };
        let outcome = self.service_outcome(deployment, &revision).await?;
        let at = |outcome| Standing::Is(Box::new(ServiceOutcome { revision, ..outcome }));
        Ok(outcome.map_or(Standing::Waits, at))
    }

    async fn deployments_of(&self, target: &Target) -> Result<Vec<Deployment>, StoreError> {
        let filter = DeploymentFilter {
            project: Some(target.project.to_string()),
            environment: Some(target.environment.to_string()),
            service: Some(target.service.to_string()),
            limit: RECENT,
            ..DeploymentFilter::default()
        };
        self.store().deployments(&filter).await
    }

    /// What became of a deployment; `revision` stands in for the commit of an app repository where it has none.
    pub(super) async fn service_outcome(
        &self,
        deployment: &Deployment,
        revision: &Revision,
    ) -> Result<Option<ServiceOutcome>, StoreError> {
        let (Ok(project), Ok(environment), Ok(service), Ok(state)) = (
            deployment.project.parse(),
            deployment.environment.parse(),
            deployment.service.parse(),
            deployment.state.parse::<State>(),
        ) else {
            return Ok(None);
        };
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
        let key = (project, environment, service);
        let record = self.record(&key).await?;
        let detail = record.map(|record| record.detail.clone()).unwrap_or_default();
        // the record follows the deployment, so a service that has just become live is not in it yet
        let url = self.wanted_url(&key).or(detail.url);
        let log = match &deployment.error {
            Some(_) => self.store().log_end(&deployment.id, None, LINES).await?,
            None => Vec::new(),
        };
        // what a step that runs says of itself is what it waits for
        let (message, hint) = match waits {
            Some(waits) if state.is_moving() => {
                let (waits, hint) = cause_and_hint(&waits);
                (Some(waits.to_owned()), hint.map(str::to_owned))
            }
            _ => (deployment.error.clone(), deployment.hint.clone()),
        };
        let log = log.into_iter().map(|line| line.line).collect();
        let cause = message.map(|message| Cause { message, place: None, hint, log });
        let serving = detail.revision.as_deref().filter(|_| state.is_broken());
        let own = deployment.app_revision.as_ref().and_then(|revision| revision.parse().ok());
        Ok(Some(ServiceOutcome {
            project: key.0,
            environment: key.1,
            service: key.2,
            revision: own.unwrap_or_else(|| revision.clone()),
            state,
            steps: steps.collect(),
            url,
            page: self.page(&page::deployment(&deployment.id)),
            changes: None,
            cause,
            serving: serving.and_then(|revision| revision.parse().ok()),
            started: deployment.started,
            updated: deployment.ended.or(deployment.started).unwrap_or(deployment.created),
        }))
    }

    /// The address that a service should have, as of the last survey.
    fn wanted_url(&self, (project, environment, service): &Key) -> Option<String> {
        let snapshot = self.0.snapshot.borrow();
        snapshot.environment(project.as_str(), environment.as_str())?.services.get(service)?.url.clone()
    }

    /// Whether a service that left the configuration is being removed.
    pub(super) async fn removes_any(&self, snapshot: &Snapshot) -> Result<bool, StoreError> {
        let environments: BTreeMap<_, _> =
            snapshot.environments.iter().map(|of| ((&of.project, &of.name), of)).collect();
        let is_gone = |(project, name, service): &Key| {
            environments.get(&(project, name)).is_none_or(|environment| {
                !environment.services.contains_key(service) && !environment.broken.contains_key(service)
            })
        };
        for (key, _) in self.records(is_gone).await? {
            if self.0.rollouts.runs(&key).await {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The services of a removal that waits for somebody.
pub(super) fn of_held(held: &HeldRemoval, revision: &Revision, since: Timestamp) -> Vec<ServiceOutcome> {
    let way = held.plan.map(|plan| format!("`branchline approve {}` lets it go", &plan.short()[..12]));
    let one = |service| ServiceOutcome {
        project: held.project.clone(),
        environment: held.environment.clone(),
        service,
        revision: revision.clone(),
        state: State::AwaitingApproval,
        steps: Vec::new(),
        url: None,
        page: None,
        changes: None,
        cause: Some(Cause { hint: way.clone(), ..Cause::new("its removal is held") }),
        serving: None,
        started: None,
        updated: since,
    };
    held.services.iter().filter_map(|service| service.parse().ok()).map(one).collect()
}

/// A service that is live at what a commit wants, by whichever deployment.
fn live(
    target: &Target,
    record: Option<&Record>,
    revision: Option<Revision>,
    newest: Option<&Deployment>,
    page: Option<String>,
) -> Standing {
    let Some(Record { row, detail }) = record else { return Standing::Waits };
    let revision = revision.or_else(|| detail.revision.as_ref()?.parse().ok());
    let config = newest.and_then(|newest| newest.config_revision.as_ref()?.parse().ok());
    let Some(revision) = revision.or(config) else { return Standing::Left(Why::NoInputChanged) };
    Standing::Is(Box::new(ServiceOutcome {
        project: target.project.clone(),
        environment: target.environment.clone(),
        service: target.service.clone(),
        revision,
        state: State::Live,
        steps: Vec::new(),
        url: detail.url.clone(),
        page,
        changes: None,
        cause: None,
        serving: None,
        started: newest.and_then(|newest| newest.started),
        updated: newest.and_then(|newest| newest.ended).unwrap_or(row.updated),
    }))
}
