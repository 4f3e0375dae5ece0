//! How the records change when a rollout ends, or when nothing can be rolled out at all.

use super::{Begun, ENDED, Failure, LINES, ServiceState, and_yet, cause_and_hint, live_on, repo_of, short};
use crate::config::environment::Follow;
use crate::desired::{Environment, Wanted};
use crate::name::ServiceName;

use crate::reconcile::prepare::Refusal;
use crate::reconcile::rollout::Work;
use crate::reconcile::{ReconcileError, Reconciler};
use crate::store::{NewLine, StoreError};

impl Reconciler {
    /// What is live is what Git says, whichever commit says it; what kept a newer state from going live is gone.
    pub(super) async fn record_unchanged(&self, work: &Work) -> Result<(), StoreError> {
        let revision =
            work.prepared.as_ref().and_then(|prepared| prepared.service.revision()).map(ToString::to_string);
        self.put_row(&work.environment, &work.name, |row, detail| {
            detail.problem = None;
            detail.revision.clone_from(&revision);
            if row.state == "live" {
                row.message = live_as(work, revision.as_deref());
            }
            (detail.failed_digest, detail.failure) = (None, None);
        })
        .await
    }
    pub(in crate::reconcile) async fn record_live(
        &self,
        work: &Work,
        begun: &Begun,
    ) -> Result<(), ReconcileError> {
        if work.unit.gone {
            let config = self.0.parts.config.url.key().to_owned();
            if let Some(revision) = &work.config_revision {
                self.verdict_on(work, (config, revision.to_string()), "removed", None).await?;
            }
            self.forget(&Self::state_key(&work.environment, &work.name), &begun.id).await?;
            self.event(
                &work.environment,
                Some(&work.name),
                "removed",
                "The service left the configuration and was removed",
            )
            .await?;
            return Ok(());
        }
        let record = self.record(&Self::state_key(&work.environment, &work.name)).await?;
        let previous =
            record.and_then(|record| record.row.live_deployment.clone()).filter(|id| *id != begun.id);
        let Some(prepared) = &work.prepared else { return Ok(()) };
        let service = &prepared.service;
        let revision = service.revision().map(ToString::to_string);
        let headline = live_as(work, revision.as_deref());
        self.put_row(&work.environment, &work.name, |row, detail| {
            "live".clone_into(&mut row.state);
            row.message = headline;
            row.live_deployment = Some(begun.id.clone());
            *detail = ServiceState {
                revision: revision.clone(),
                digest: Some(prepared.digest),
                failed_digest: None,
                failure: None,
                url: service.url.clone(),
                kind: Some(service.kind),
                image: prepared.image.clone(),
                tag: prepared.tag.clone(),
                problem: None,
                repo: repo_of(service),
            };
        })
        .await?;
        // the service first: what a kill leaves undone from here on is put right at the next start
        if !begun.heals {
            self.end(&begun.id, "live", None).await?;
            if let Some(previous) = previous {
                self.end(&previous, "replaced", None).await?;
            }
        }
        let id = begun.id.clone();
        work.handle
            .set
            .change(work.name.as_str(), |record| {
                record.revision = revision;
                record.deployment = Some(id);
            })
            .await?;
        if !begun.heals {
            self.keep_good(&work.environment, prepared).await?;
            self.verdict(work, "deployed", None).await?;
        }
        Ok(())
    }
    /// A service that does not move on was put back as it ran, or could not be.
    pub(in crate::reconcile) async fn record_stood(
        &self,
        work: &Work,
        failure: Option<&Failure>,
    ) -> Result<(), StoreError> {
        let why = work.unit.broken.clone().unwrap_or_default();
        self.put_row(&work.environment, &work.name, |row, detail| {
            if let Some(failure) = failure {
                let message = format!("it could not be put back as it ran: {}", failure.message);
                let message = self.0.parts.redactor.redact(&message);
                "crashed".clone_into(&mut row.state);
                row.message = format!("Down, {}", message.lines().next().unwrap_or_default());
                detail.problem = Some(format!("{why}\n{message}"));
            } else if row.state == "crashed" && row.live_deployment.is_some() {
                "live".clone_into(&mut row.state);
                row.message = and_yet(row, detail, &why);
                detail.problem = Some(why);
            }
        })
        .await
    }
    pub(in crate::reconcile) async fn record_superseded(
        &self,
        work: &Work,
        begun: &Begun,
    ) -> Result<(), ReconcileError> {
        if !begun.heals && !begun.id.is_empty() {
            let ended =
                self.store().deployment(&begun.id).await?.is_some_and(|d| ENDED.contains(&d.state.as_str()));
            if !ended {
                self.end(&begun.id, "superseded", None).await?;
            }
            self.verdict(work, "superseded", None).await?;
        }
        Ok(())
    }
    pub(in crate::reconcile) async fn record_failed(
        &self,
        work: &Work,
        begun: &Begun,
        failure: &Failure,
    ) -> Result<(), ReconcileError> {
        let message = self.0.parts.redactor.redact(&failure.message);
        tracing::info!(service = %work.name, environment = %work.environment.name, step = failure.step, error = %message, "A rollout failed.");
        if !begun.id.is_empty() && !begun.heals {
            if !failure.log.is_empty() && failure.step == "Health" {
                let time = self.now();
                let lines = failure.log.iter().map(|line| NewLine {
                    stream: "pod".to_owned(),
                    time,
                    line: line.clone(),
                });
                self.store().append_log(&begun.id, failure.step, lines.collect()).await?;
            }
            self.put_step(begun, failure.step, "failed", Some(&message)).await?;
            self.end(&begun.id, "failed", Some(cause_and_hint(&message))).await?;
        }
        let digest = work.prepared.as_ref().map(|prepared| prepared.digest);
        let headline = format!("Failed at {}: {}", failure.step, message.lines().next().unwrap_or_default());
        let service = work.prepared.as_ref().map(|prepared| prepared.service.clone());
        self.put_row(&work.environment, &work.name, |row, detail| {
            detail.problem = Some(message.clone());
            if !failure.platform && !begun.heals {
                detail.failed_digest = digest;
                detail.failure = Some(message.clone());
            }
            if row.live_deployment.is_none() {
                "failed".clone_into(&mut row.state);
                row.message.clone_from(&headline);
                detail.kind = service.as_ref().map(|service| service.kind);
                detail.url = service.as_ref().and_then(|service| service.url.clone());
                detail.repo = service.as_ref().and_then(|service| repo_of(service));
            } else {
                row.message = and_yet(row, detail, &headline);
            }
        })
        .await?;
        let mut detail = message;
        for line in failure.log.iter().rev().take(LINES).rev() {
            detail.push_str("\n  ");
            detail.push_str(&self.0.parts.redactor.redact(line));
        }
        self.verdict(work, &format!("failed at {}", failure.step), Some(detail)).await?;
        Ok(())
    }
    /// What stood in the way for a while does so no more, and what failed before is still what Git says.
    pub(in crate::reconcile) async fn record_failure_again(&self, work: &Work) -> Result<(), StoreError> {
        self.put_row(&work.environment, &work.name, |row, detail| {
            let Some(failure) = detail.failure.clone().filter(|_| detail.problem != detail.failure) else {
                return;
            };
            row.message = and_yet(row, detail, &failure);
            detail.problem = Some(failure);
        })
        .await
    }
    /// What a deployment waits for, while what runs goes on.
    pub(in crate::reconcile) async fn record_waiting(
        &self,
        work: &Work,
        begun: &Begun,
        step: &str,
        why: &str,
    ) -> Result<(), StoreError> {
        let why = self.0.parts.redactor.redact(why);
        tracing::info!(service = %work.name, environment = %work.environment.name, step, reason = %why, "A rollout waits.");
        self.put_step(begun, step, "running", Some(&why)).await?;
        self.put_row(&work.environment, &work.name, |row, detail| {
            let headline = format!("Waits for its {}: {why}", step.to_lowercase());
            row.message = match &row.live_deployment {
                Some(_) => format!("Live on {} · {headline}", short(detail.revision.as_deref())),
                None => headline,
            };
        })
        .await?;
        self.verdict(work, &format!("waiting at {step}"), Some(why)).await?;
        self.tell();
        Ok(())
    }
    /// A service that cannot be rendered: the deployment fails before it begins, and what runs goes on.
    pub(in crate::reconcile) async fn record_refusal(
        &self,
        work: &Work,
        refusal: &Refusal,
    ) -> Result<(), ReconcileError> {
        let Some(prepared) = &work.prepared else { return Ok(()) };
        let record = self.record(&Self::state_key(&work.environment, &work.name)).await?;
        if record.as_ref().is_some_and(|record| record.detail.failed_digest == Some(prepared.digest)) {
            return Ok(());
        }
        let id = self.deployment_of(work, &prepared.wish(), "planning").await?;
        let failure = Failure {
            step: refusal.step,
            message: refusal.message.clone(),
            log: Vec::new(),
            platform: false,
        };
        self.record_failed(work, &Begun::new(id), &failure).await
    }
    /// A service of which nobody can say what it should be: it is left as it is, and its record says why.
    pub(in crate::reconcile) async fn record_broken(&self, work: &Work) -> Result<(), ReconcileError> {
        let why = work.unit.broken.clone().unwrap_or_default();
        let service = work.environment.services.get(&work.name);
        if service.is_some_and(|service| service.state == Wanted::Waiting) {
            return Ok(());
        }
        self.put_row(&work.environment, &work.name, |row, detail| {
            row.message = and_yet(row, detail, &why);
            detail.problem = Some(why.clone());
        })
        .await?;
        Ok(())
    }
    /// Services that have nothing to run.
    pub(in crate::reconcile) async fn record_quiet(
        &self,
        environment: &Environment,
    ) -> Result<(), ReconcileError> {
        for service in environment.services.values() {
            let (state, message) = match &service.state {
                Wanted::NotReleased => (
                    "notReleased",
                    "Nothing is pinned here yet: `branchline promote` pins a release".to_owned(),
                ),
                Wanted::Waiting => ("pending", "It waits for `branchline deploy`".to_owned()),
                _ => continue,
            };
            self.put_row(environment, &service.name, |row, detail| {
                if row.live_deployment.is_none() {
                    state.clone_into(&mut row.state);
                    row.message = message;
                    detail.problem = None;
                    detail.kind = Some(service.kind);
                    detail.repo = repo_of(service);
                }
            })
            .await?;
        }
        for name in environment.broken.keys() {
            let problem = environment.broken[name].first().map(ToString::to_string).unwrap_or_default();
            self.put_row(environment, name, |_, detail| detail.problem = Some(problem)).await?;
        }
        Ok(())
    }
    /// What could not be attempted: the records say so, and keep their state.
    pub(in crate::reconcile) async fn record_stopped<'a>(
        &self,
        environment: &Environment,
        services: impl IntoIterator<Item = &'a ServiceName>,
        why: &str,
    ) {
        for name in services {
            let result = self
                .put_row(environment, name, |row, detail| {
                    row.message = and_yet(row, detail, why);
                    detail.problem = Some(why.to_owned());
                })
                .await;
            if let Err(error) = result {
                tracing::error!(error = %crate::reconcile::chain(&error), "The reason of a stopped attempt could not be recorded.");
                return;
            }
        }
    }
    /// Notes that a service is no longer as it was when it went live, or is well again.
    pub(in crate::reconcile) async fn record_health(
        &self,
        environment: &Environment,
        service: &ServiceName,
        trouble: Option<&str>,
    ) -> Result<(), StoreError> {
        self.put_row(environment, service, |row, detail| match trouble {
            Some(why) if row.live_deployment.is_some() => {
                "degraded".clone_into(&mut row.state);
                row.message = and_yet(row, detail, why);
            }
            None if matches!(row.state.as_str(), "degraded" | "crashed") && row.live_deployment.is_some() => {
                "live".clone_into(&mut row.state);
                row.message = match &detail.failure {
                    Some(failure) => and_yet(row, detail, failure),
                    None => live_on(detail.revision.as_deref()),
                };
            }
            _ => {}
        })
        .await
    }
}

/// The headline of a service that is live, and how it follows its branch again where a pin holds it.
fn live_as(work: &Work, revision: Option<&str>) -> String {
    let live = live_on(revision);
    let run = match work.prepared.as_ref().map(|prepared| &prepared.service.state) {
        Some(Wanted::Run(run)) if work.environment.follow == Follow::Branch => run,
        _ => return live,
    };
    if !run.release.as_ref().is_some_and(|release| release.hold) {
        return live;
    }
    let (service, environment) = (&work.name, &work.environment.name);
    format!(
        "{live} · held by a pin: `branchline resume {service} -e {environment}` lets it follow its branch"
    )
}
