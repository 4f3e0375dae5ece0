//! The rollout of one service: what begins it, what calls it off, and how its end is recorded. Its way is in [`way`],
//! what it does to the cluster in [`steps`].

mod running;
mod steps;
mod way;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::running::Current;
pub(super) use self::running::Running;
use super::clusters::Handle;
use super::last_good::{LastGood, Standing};
use super::prepare::Prepared;
use super::record::{Begun, Failure};
use super::{FAULT, Hint, ReconcileError, Reconciler, chain};
use crate::desired::Environment;
use crate::hash::ContentHash;
use crate::name::{EnvironmentName, ImageRef, ProjectName, Revision, ServiceName};
use crate::plan::UnitPlan;

/// Which service of which environment.
pub(super) type Key = (ProjectName, EnvironmentName, ServiceName);

/// One service with what an attempt decided about it.
pub(super) struct Work {
    pub(super) environment: Arc<Environment>,
    pub(super) config_revision: Option<Revision>,
    pub(super) name: ServiceName,
    pub(super) unit: Arc<UnitPlan>,
    pub(super) prepared: Option<Arc<Prepared>>,
    /// Where it does not move on: what it stands as.
    pub(super) standing: Option<Standing>,
    pub(super) handle: Arc<Handle>,
}

impl Work {
    /// How long it may make no progress: `strategy.progressDeadline`.
    pub(super) fn patience(&self) -> Duration {
        let strategy =
            self.prepared.as_ref().and_then(|prepared| prepared.service.effective.spec.strategy.as_ref());
        strategy
            .and_then(|strategy| strategy.progress_deadline)
            .map_or(Duration::from_secs(600), |period| period.0)
    }

    /// Hash of everything that goes in: of the last good state, where the service is put back from it and waits for
    /// nothing.
    pub(super) fn digest(&self) -> Option<ContentHash> {
        let good = self.good().filter(|_| self.awaits().is_none());
        good.map(|good| good.digest).or(self.prepared.as_ref().map(|prepared| prepared.digest))
    }

    /// The tag whose digest is not known yet.
    fn awaits(&self) -> Option<&ImageRef> {
        self.prepared.as_ref()?.awaits()
    }

    /// The last good state, where the service is put back from it.
    fn good(&self) -> Option<&LastGood> {
        self.standing.as_ref()?.good.as_deref()
    }
}

/// What an attempt did about a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is nothing to do.
    AtRest,
    /// Its rollout runs, or something is waited for.
    UnderWay,
    /// Not before the rollout of an older input has come to its end.
    Deferred,
}

/// How a rollout ended.
pub(super) enum End {
    Live,
    /// The digest of its image is known now: the next attempt takes the deployment on.
    Found,
    Failed(Failure),
    /// A newer input took its place.
    Superseded,
}

impl Reconciler {
    /// Starts the rollout of a service where it has something to do; calls off one for an older input.
    pub(super) async fn roll_out(&self, work: Work) -> Result<Turn, ReconcileError> {
        self.abandon(&work).await?;
        let key = Self::state_key(&work.environment, &work.name);
        let wish = work.prepared.as_deref().map(Prepared::wish);
        let (handle, prepared, record) =
            (Arc::clone(&work.handle), work.prepared.clone(), self.record(&key).await?);
        handle.quiet.wake(&key.2);
        let turn = self.begin_rollout(&key, work).await?;
        match (turn, prepared, record.zip(self.record(&key).await?)) {
            (Turn::Deferred, ..) => return Ok(turn),
            (Turn::AtRest, Some(prepared), Some((before, record))) if Arc::ptr_eq(&before, &record) => {
                handle.quiet.rest(&key.2, &prepared, record);
            }
            _ => {}
        }
        // only now: whoever reads it finds what was begun for it
        let mut wishes = self.0.wishes.lock().expect("no holder of this lock panics");
        match wish {
            Some(wish) => drop(wishes.insert(key, wish)),
            None => drop(wishes.remove(&key)),
        }
        Ok(turn)
    }

    async fn begin_rollout(&self, key: &Key, work: Work) -> Result<Turn, ReconcileError> {
        let (digest, gone) = (work.digest(), work.unit.gone);
        let mut all = self.0.rollouts.all.lock().await;
        if let Some(current) = all.get(key) {
            if current.digest == digest && current.gone == gone && !current.cancel.is_cancelled() {
                if (*current.applied.borrow() || work.awaits().is_some()) && work.unit.changes() {
                    current.again.send_replace(Arc::new(work));
                }
                return Ok(Turn::UnderWay);
            }
            // it may be in the middle of a write that this plan does not know of: once it has ended, there is another
            current.cancel.cancel();
            return Ok(Turn::Deferred);
        }
        let nothing_to_do = !work.unit.changes() && work.awaits().is_none();
        let Some(begun) = self.begin_or_stand(&work).await? else {
            return Ok(if nothing_to_do { Turn::AtRest } else { Turn::UnderWay });
        };
        let cancel = self.0.stop.child_token();
        let (applied, receiver) = watch::channel(false);
        let work = Arc::new(work);
        let (again, newest) = watch::channel(Arc::clone(&work));
        let current = Current { digest, gone, cancel: cancel.clone(), applied: receiver, again };
        all.insert(key.clone(), current);
        self.0.rollouts.count.send_modify(|count| *count += 1);
        drop(all);
        let (this, key) = (self.clone(), key.clone());
        self.0.tasks.spawn(async move {
            let (of, about) = (this.clone(), Arc::clone(&work));
            let called_off = cancel.clone();
            let run = this.0.tasks.spawn(async move { of.run(newest, &begun, &cancel, &applied).await });
            if run.await.is_err() {
                this.record_stopped(&about.environment, [&about.name], FAULT).await;
            }
            this.0.rollouts.all.lock().await.remove(&key);
            if called_off.is_cancelled() {
                // what it was called off for begins now
                this.hint(Hint::at(&work.environment));
            } else {
                // what somebody changed meanwhile is healed now
                this.hint_at_drift(&work);
            }
            this.tell();
            this.0.rollouts.count.send_modify(|count| *count -= 1);
        });
        Ok(Turn::UnderWay)
    }

    /// What begins, if anything does. What does not move on is recorded as such, and put back as it ran.
    async fn begin_or_stand(&self, work: &Work) -> Result<Option<Begun>, ReconcileError> {
        let awaits = work.awaits().is_some();
        if work.unit.broken.is_some() && !awaits {
            match work.prepared.as_deref() {
                Some(Prepared { manifests: Err(refusal), .. }) => self.record_refusal(work, refusal).await?,
                Some(_) => self.record_failure_again(work).await?,
                None => self.record_broken(work).await?,
            }
            if !work.unit.changes() || self.pauses(work) {
                return Ok(None);
            }
            return Ok(Some(self.begin_standing(work).await?));
        }
        if work.unit.changes() && self.pauses(work) {
            return Ok(None);
        }
        let begun = self.begin(work).await?;
        if let Some(prepared) = work.prepared.as_ref().filter(|_| awaits && begun.is_none()) {
            self.look_up(&work.environment, &prepared.service);
            if work.standing.is_some() && work.unit.changes() {
                return Ok(Some(self.begin_standing(work).await?));
            }
        }
        Ok(begun)
    }

    /// Whether it failed of late through no fault of its input; then it is looked at again when it may be tried.
    fn pauses(&self, work: &Work) -> bool {
        let key = Self::state_key(&work.environment, &work.name);
        let left = self.0.pauses.left(&key, work.digest(), self.0.parts.clock.now());
        if let Some(left) = left {
            self.hint_after(left, Hint::at(&work.environment));
        }
        left.is_some()
    }

    /// Has the environment looked at again where something of it is not as it was applied.
    fn hint_at_drift(&self, work: &Work) {
        let environment = &work.environment;
        if !work.handle.watches.drifted(environment.namespace.as_str()).is_empty() {
            self.hint(Hint::at(environment));
        }
    }

    /// One rollout, to its end.
    async fn run(
        &self,
        newest: watch::Receiver<Arc<Work>>,
        begun: &Begun,
        cancel: &CancellationToken,
        applied: &watch::Sender<bool>,
    ) {
        let work = &*Arc::clone(&newest.borrow());
        let end = self.phases(newest, begun, cancel, applied).await;
        let end = end.unwrap_or_else(|error| {
            End::Failed(Failure { step: "Apply", message: chain(&error), log: Vec::new(), platform: true })
        });
        let key = Self::state_key(&work.environment, &work.name);
        match &end {
            End::Live => self.0.pauses.end(&key),
            End::Failed(failure) if failure.platform || begun.heals => {
                self.0.pauses.failed(&key, work.digest(), self.0.parts.clock.now());
            }
            _ => {}
        }
        let recorded = self.record_end(work, begun, end).await;
        if let Err(error) = recorded {
            tracing::error!(service = %work.name, environment = %work.environment.name, error = %chain(&error), "The end of a rollout could not be recorded.");
        }
    }

    async fn record_end(&self, work: &Work, begun: &Begun, end: End) -> Result<(), ReconcileError> {
        if let (End::Live, Some((kind, words))) = (&end, begun.told()) {
            self.event(&work.environment, Some(&work.name), kind, &words).await?;
        }
        let stands = work.standing.is_some() && begun.heals;
        match end {
            End::Live if stands => Ok(self.record_stood(work, None).await?),
            End::Failed(failure) if stands => Ok(self.record_stood(work, Some(&failure)).await?),
            End::Superseded if stands || self.0.stop.is_cancelled() => Ok(()),
            End::Live => self.record_live(work, begun).await,
            End::Found => {
                self.hint(Hint::at(&work.environment));
                Ok(())
            }
            End::Superseded => self.record_superseded(work, begun).await,
            End::Failed(failure) => self.record_failed(work, begun, &failure).await,
        }
    }
}
