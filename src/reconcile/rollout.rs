//! The rollout of one service: build → apply → observe → report, in one function that is read from top to bottom.

mod running;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::running::Current;
pub(super) use self::running::Running;
use super::clusters::Handle;
use super::last_good::{LastGood, Standing};
use super::prepare::Prepared;
use super::record::{Begun, Failure};
use super::{FAULT, Hint, ReconcileError, Reconciler, chain};
use crate::build::{LogLine, Stream};
use crate::cluster::health::{self, Health};
use crate::cluster::{self, ChangeSet, ClusterError, Outcome};
use crate::desired::Environment;
use crate::hash::ContentHash;
use crate::name::{EnvironmentName, ImageRef, ProjectName, Revision, ServiceName};
use crate::plan::{Action, UnitPlan};
use crate::render::manifest::ObjectKey;

/// A rollout that makes no progress by itself fails after the deployment's own deadline and this.
const SLACK: Duration = Duration::from_secs(60);

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

    /// Hash of everything that goes in: of the last good state, where the service is put back from it.
    pub(super) fn digest(&self) -> Option<ContentHash> {
        self.good().map(|good| good.digest).or(self.prepared.as_ref().map(|prepared| prepared.digest))
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
                if *current.applied.borrow() && work.unit.changes() {
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
                // what failed is on record
                Some(_) => {}
                None => self.record_broken(work).await?,
            }
            self.record_url(work).await?;
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
        if let (End::Live, Some((kind, words))) = (&end, &begun.event) {
            self.event(&work.environment, Some(&work.name), kind, words).await?;
        }
        let stands = work.standing.is_some();
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

    /// A newer input ends it wherever it waits, and nowhere in the middle of a write.
    async fn phases(
        &self,
        mut newest: watch::Receiver<Arc<Work>>,
        begun: &Begun,
        cancel: &CancellationToken,
        applied: &watch::Sender<bool>,
    ) -> Result<End, ReconcileError> {
        let mut work = Arc::clone(&newest.borrow_and_update());
        match cancel.run_until_cancelled(self.until_ready(&work, begun)).await {
            None => return Ok(End::Superseded),
            Some(ready) => {
                if let Some(end) = ready? {
                    return Ok(end);
                }
            }
        }
        loop {
            if let Some(failure) = self.apply(&work, begun).await? {
                return Ok(End::Failed(failure));
            }
            applied.send_replace(true);
            self.hint_at_drift(&work);
            tokio::select! {
                () = cancel.cancelled() => return Ok(End::Superseded),
                // what somebody changed or deleted meanwhile would be waited for in vain
                Ok(()) = newest.changed() => work = Arc::clone(&newest.borrow_and_update()),
                failure = self.wait_until_healthy(&work, begun) => match failure? {
                    Some(failure) => return Ok(End::Failed(failure)),
                    None => break,
                },
            }
        }
        if let Some(failure) = self.prune(&work, begun).await? {
            return Ok(End::Failed(failure));
        }
        Ok(End::Live)
    }

    /// Until what it runs is there, and what it comes after is applied; or how it ended before.
    async fn until_ready(&self, work: &Work, begun: &Begun) -> Result<Option<End>, ReconcileError> {
        if let Some(tag) = work.awaits() {
            return self.await_image(work, begun, tag).await.map(Some);
        }
        if let Some(failure) = self.build(work, begun).await? {
            return Ok(Some(End::Failed(failure)));
        }
        for before in &work.unit.after {
            if let Ok(name) = before.parse() {
                self.0.rollouts.applied(&Self::state_key(&work.environment, &name)).await;
            }
        }
        Ok(None)
    }

    /// Builds the artifact, unless it is there; every line goes to the log of the deployment.
    async fn build(&self, work: &Work, begun: &Begun) -> Result<Option<Failure>, ReconcileError> {
        let order = match &work.standing {
            // what failed needs no artifact, and what is good may need its own again
            Some(standing) => self.order_of(standing).map_err(|message| Failure {
                step: "Build",
                message,
                log: Vec::new(),
                platform: true,
            }),
            None => Ok(work.prepared.as_ref().and_then(|prepared| prepared.order.clone())),
        };
        let order = match order {
            Ok(order) => order,
            Err(failure) => return Ok(Some(failure)),
        };
        let (Some(builder), Some(order)) = (&self.0.parts.builder, order) else { return Ok(None) };
        self.step(begun, "Build", "building").await?;
        let (log, lines) = mpsc::channel(256);
        let order = crate::build::BuildOrder { log, ..order };
        let (built, ()) = tokio::join!(builder.build(order), self.keep_log(begun, "Build", lines));
        match built {
            Ok(built) => {
                let detail = if built.reused {
                    "it was built before"
                } else {
                    "built without an image: process runtime"
                };
                self.step_done(begun, "Build", Some(detail)).await?;
                Ok(None)
            }
            Err(error) => Ok(Some(Failure {
                step: "Build",
                message: chain(&error),
                log: error.tail().to_vec(),
                platform: !error.is_authors(),
            })),
        }
    }

    /// Keeps log lines in batches until their sender is gone.
    async fn keep_log(&self, begun: &Begun, step: &str, mut lines: mpsc::Receiver<LogLine>) {
        let mut batch = Vec::new();
        while lines.recv_many(&mut batch, 256).await > 0 {
            let time = self.0.parts.clock.now();
            let lines = batch.drain(..).map(|line| crate::store::NewLine {
                stream: match line.stream {
                    Stream::Builder => "branchline",
                    Stream::Output => "stdout",
                    Stream::Error => "stderr",
                }
                .to_owned(),
                time,
                line: line.text,
            });
            if let Err(error) = self.0.parts.store.append_log(&begun.id, step, lines.collect()).await {
                tracing::warn!(deployment = %begun.id, error = %chain(&error), "Lines of a log could not be kept.");
            }
        }
    }

    async fn apply(&self, work: &Work, begun: &Begun) -> Result<Option<Failure>, ReconcileError> {
        if work.unit.gone {
            return Ok(None);
        }
        let mut generated = work.good().map(|good| good.generated.clone()).unwrap_or_default();
        generated.extend(work.prepared.iter().flat_map(|prepared| prepared.service.generated.clone()));
        // the cluster does not wait for what is only told
        let (written, told) =
            tokio::join!(self.write(work, &generated), self.step(begun, "Apply", "rollingOut"));
        let without = match &written {
            Ok(changes) => changes.errors().any(|(_, error)| error.lacks_namespace()),
            Err(error) => error.lacks_namespace(),
        };
        if without {
            // what is held of it is gone with it: the next try begins with the namespace
            self.lose_namespace(&work.environment).await;
        }
        let changes = written?;
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

    async fn write(&self, work: &Work, generated: &BTreeMap<String, u32>) -> Result<ChangeSet, ClusterError> {
        let set = &work.handle.set;
        cluster::secret::ensure_generated(set.cluster(), set.namespace(), generated).await?;
        cluster::apply::apply(set, &work.unit, work.environment.preview.is_some()).await
    }

    /// Tells the watches what every applied object looks like now, so that a later difference is somebody else's.
    async fn expect(&self, work: &Work, changes: &ChangeSet) -> Result<(), ClusterError> {
        for change in &changes.changes {
            let Some(live) = &change.live else { continue };
            let entry = work.handle.set.entry(&work.unit.name, &change.key).unwrap_or_default();
            let version = cluster::object::resource_version(live).to_owned();
            work.handle.expect(&work.unit.name, &change.key, entry.owned, version);
            work.handle.watches.ensure(&change.key.group, &change.key.kind).await?;
        }
        Ok(())
    }

    async fn wait_until_healthy(
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

    async fn prune(&self, work: &Work, begun: &Begun) -> Result<Option<Failure>, ReconcileError> {
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
}

/// All errors of a change set, one a line, with the place of the template where it is known.
fn errors(changes: &ChangeSet) -> String {
    let line = |(change, error): (&cluster::Change, &ClusterError)| match &change.place {
        Some(place) => format!("{}: {} ({place})", change.key, chain(error)),
        None => format!("{}: {}", change.key, chain(error)),
    };
    changes.errors().map(line).collect::<Vec<_>>().join("\n")
}
