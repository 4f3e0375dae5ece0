//! What a rollout does to the cluster: apply, wait until it is healthy, prune; and put back what somebody changed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Work;
use crate::cluster::health::{self, Health};
use crate::cluster::{self, ChangeSet, ClusterError, Outcome};
use crate::plan::Action;
use crate::reconcile::record::{Begun, Failure};
use crate::reconcile::{Hint, ReconcileError, Reconciler, chain};
use crate::render::manifest::ObjectKey;

/// A rollout that makes no progress by itself fails after the deployment's own deadline and this.
const SLACK: Duration = Duration::from_secs(60);

impl Reconciler {
    pub(super) async fn apply(&self, work: &Work, begun: &Begun) -> Result<Option<Failure>, ReconcileError> {
        if work.unit.gone {
            return Ok(None);
        }
        let mut generated = work.good().map(|good| good.generated.clone()).unwrap_or_default();
        generated.extend(work.prepared.iter().flat_map(|prepared| prepared.service.generated.clone()));
        // the cluster does not wait for what is only told
        let (written, told) =
            tokio::join!(self.write(work, &generated), self.step(begun, "Apply", "rollingOut"));
        let changes = self.or_lost(work, written).await?;
        begun.note(&changes);
        self.expect(work, &changes).await?;
        told?;
        if changes.failed() {
            let message = errors(&changes);
            let platform = changes.errors().any(|(_, error)| error.is_transient());
            return Ok(Some(Failure { step: "Apply", message, log: Vec::new(), platform }));
        }
        let detail = format!(
            "{} created, {} changed, {} unchanged",
            changes.count(Outcome::Created),
            changes.count(Outcome::Configured),
            changes.count(Outcome::Unchanged)
        );
        self.step_done(begun, "Apply", Some(&detail)).await?;
        Ok(None)
    }

    /// What a write answered. Where the namespace is gone, what is held of it is gone with it: the next try begins with
    /// the namespace.
    async fn or_lost(
        &self,
        work: &Work,
        written: Result<ChangeSet, ClusterError>,
    ) -> Result<ChangeSet, ClusterError> {
        let without = match &written {
            Ok(changes) => changes.errors().any(|(_, error)| error.lacks_namespace()),
            Err(error) => error.lacks_namespace(),
        };
        if without {
            self.lose_namespace(&work.environment).await;
            self.hint(Hint::at(&work.environment));
        }
        written
    }

    pub(super) async fn write(
        &self,
        work: &Work,
        generated: &BTreeMap<String, u32>,
    ) -> Result<ChangeSet, ClusterError> {
        let set = &work.handle.set;
        cluster::secret::ensure_generated(set.cluster(), set.namespace(), generated).await?;
        cluster::apply::apply(set, &work.unit, work.environment.preview.is_some()).await
    }

    /// Tells the watches what every applied object looks like now, so that a later difference is somebody else's.
    pub(super) async fn expect(&self, work: &Work, changes: &ChangeSet) -> Result<(), ClusterError> {
        let watches = &work.handle.watches;
        watches.applied(&work.handle.set, &work.unit, changes);
        for change in changes.changes.iter().filter(|change| change.live.is_some()) {
            watches.ensure(&change.key.group, &change.key.kind).await?;
        }
        Ok(())
    }

    pub(super) async fn wait_until_healthy(
        &self,
        work: &Work,
        begun: &Begun,
    ) -> Result<Option<Failure>, ReconcileError> {
        let keys: Vec<ObjectKey> = work
            .unit
            .steps
            .iter()
            .filter(|step| step.action != Action::Refuse)
            .map(|step| step.key.clone())
            .collect();
        let partly_failed = work.standing.as_ref().is_some_and(|standing| !standing.whole);
        if keys.is_empty() || partly_failed {
            return Ok(None);
        }
        self.step(begun, "Health", "rollingOut").await?;
        let deadline = work.patience();
        let moves = work.handle.watches.moves(work.environment.namespace.as_str(), &work.unit.name);
        let (cluster, redactor) = (work.handle.set.cluster(), &self.0.parts.redactor);
        let checkup = health::wait(cluster, &keys, redactor, &moves, deadline + SLACK).await?;
        match checkup.health {
            Health::Current => {
                self.step_done(begun, "Health", None).await?;
                Ok(None)
            }
            Health::Failed(why) => {
                let (message, log) = match checkup.cause {
                    Some(cause) => (cause.message, cause.log),
                    None => (why, Vec::new()),
                };
                Ok(Some(Failure { step: "Health", message, log, platform: false }))
            }
            Health::InProgress(why) => {
                let message = format!("it did not become healthy in {deadline:?}: {why}");
                Ok(Some(Failure { step: "Health", message, log: Vec::new(), platform: false }))
            }
            Health::Terminating => Ok(Some(Failure {
                step: "Health",
                message: "somebody is deleting it".to_owned(),
                log: Vec::new(),
                platform: true,
            })),
        }
    }

    pub(super) async fn prune(&self, work: &Work, begun: &Begun) -> Result<Option<Failure>, ReconcileError> {
        if !work.unit.prune.iter().any(|step| step.action == Action::Delete) {
            return Ok(None);
        }
        self.step(begun, "Prune", "rollingOut").await?;
        let changes =
            cluster::prune::prune(&work.handle.set, &work.unit, work.environment.preview.is_some()).await?;
        for change in changes
            .changes
            .iter()
            .filter(|change| matches!(change.outcome, Outcome::Pruned | Outcome::Released))
        {
            work.handle.watches.forget(&change.key);
        }
        if changes.failed() {
            return Ok(Some(Failure {
                step: "Prune",
                message: errors(&changes),
                log: Vec::new(),
                platform: true,
            }));
        }
        self.step_done(begun, "Prune", Some(&format!("{} removed", changes.count(Outcome::Pruned)))).await?;
        Ok(None)
    }

    /// Puts what runs back as it was, beside whatever is waited for.
    pub(super) async fn heal(&self, work: &Work) -> Result<(), ReconcileError> {
        let put_right = self.begin_standing(work).await?;
        let generated = work.good().map(|good| good.generated.clone()).unwrap_or_default();
        let changes = self.or_lost(work, self.write(work, &generated).await).await?;
        self.expect(work, &changes).await?;
        put_right.note(&changes);
        for (change, error) in changes.errors() {
            tracing::warn!(object = %change.key, error = %chain(error), "What runs could not be put back as it was.");
        }
        match put_right.told().filter(|_| !changes.failed()) {
            Some((kind, words)) => Ok(self.event(&work.environment, Some(&work.name), kind, &words).await?),
            None => Ok(()),
        }
    }
}

/// All errors of a change set, one a line, with the place of the template where it is known.
fn errors(changes: &ChangeSet) -> String {
    let line = |(change, error): (&cluster::Change, &ClusterError)| match &change.place {
        Some(place) => format!("{}: {} ({place})", change.key, chain(error)),
        None => format!("{}: {}", change.key, chain(error)),
    };
    changes.errors().map(line).collect::<Vec<_>>().join("\n")
}
