//! One attempt of one environment: key → render → plan, then a rollout for each service that has something to do.
//!
//! An attempt waits for nothing but Git and the inventory. It decides; rollouts do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::clusters::Handle;
use super::planning::Planned;
use super::rollout::{Turn, Work};
use super::{AGAIN, AtEnd, FAULT, Hint, ReconcileError, Reconciler, Snapshot, chain};
use crate::cluster;
use crate::desired::Environment;
use crate::name::{EnvironmentName, ProjectName, Revision, ServiceName};
use crate::plan::{ENVIRONMENT_UNIT, Plan, Verdict};

/// How far attempts have followed the surveys.
#[derive(Default)]
pub(super) struct Attempted {
    /// The revision of the config whose environments have all been attempted.
    pub(super) config: Option<Revision>,
    /// Environments whose last attempt could not be made, or not as a whole.
    pub(super) failed: BTreeSet<(ProjectName, EnvironmentName)>,
}

impl Reconciler {
    /// Attempts every environment that changed between two snapshots or that a hint names, and takes down those that
    /// should no longer exist.
    pub(super) async fn attempt_due(&self, before: &Snapshot, now: &Arc<Snapshot>, hints: &BTreeSet<Hint>) {
        if now.at.is_none() {
            return;
        }
        if before.config_revision != now.config_revision
            && let Err(error) = self.void_approvals(now).await
        {
            tracing::warn!(error = %chain(&error), "What was approved of an older config could not be forgotten.");
        }
        let old: BTreeMap<_, _> = before.environments.iter().map(|e| ((&e.project, &e.name), e)).collect();
        let mut due = Vec::new();
        // templates and policies are no part of an environment, and may change all of them
        let for_all =
            before.config.templates != now.config.templates || before.config.config != now.config.config;
        for environment in &now.environments {
            let hinted =
                for_all || hints.contains(&Hint::Everything) || hints.contains(&Hint::at(environment));
            let changed =
                old.get(&(&environment.project, &environment.name)).is_none_or(|e| *e != environment);
            if hinted || changed || !self.has_settled(environment).await {
                due.push(Arc::clone(environment));
            }
        }
        let attempts = due.into_iter().map(|environment| {
            let (this, now, of) = (self.clone(), Arc::clone(now), Arc::clone(&environment));
            let attempt = self.0.tasks.spawn(async move { this.attempt(&now, &of).await });
            async move {
                if attempt.await.is_err() {
                    self.note_attempt(&(environment.project.clone(), environment.name.clone()), false);
                    self.record_stopped(&environment, environment.services.keys(), FAULT).await;
                }
            }
        });
        futures::future::join_all(attempts).await;
        {
            let mut attempted = self.0.attempted.lock().expect("no holder of this lock panics");
            attempted.config.clone_from(&now.config_revision);
            attempted.failed.retain(|(project, name)| {
                now.environments.iter().any(|e| e.project == *project && e.name == *name)
            });
        }
        if now.config.is_usable() {
            self.take_down(now).await;
        }
    }

    /// Whether nothing of an environment waits for another attempt.
    async fn has_settled(&self, environment: &Environment) -> bool {
        let open = self.open_handle(environment).await;
        open.is_some_and(|handle| handle.watches.drifted(environment.namespace.as_str()).is_empty())
    }

    /// One attempt, from the snapshot to running rollouts. Errors are recorded on the services they stop.
    async fn attempt(&self, snapshot: &Snapshot, environment: &Arc<Environment>) {
        let key = (environment.project.clone(), environment.name.clone());
        self.0.busy.send_modify(|busy| {
            busy.insert(key.clone());
        });
        let _ended = AtEnd(|| {
            self.0.busy.send_modify(|busy| {
                busy.remove(&key);
            });
        });
        let result = self.try_attempt(snapshot, environment).await;
        self.note_attempt(&key, matches!(result, Ok(true)));
        if let Err(error) = result {
            let message = chain(&error);
            tracing::warn!(project = %environment.project, environment = %environment.name, error = %message, "An attempt failed; what runs goes on.");
            self.record_stopped(environment, environment.services.keys(), &message).await;
            if error.may_pass() {
                self.hint_after(AGAIN, Hint::at(environment));
            }
        }
    }

    /// Notes whether an environment could be attempted.
    fn note_attempt(&self, key: &(ProjectName, EnvironmentName), made: bool) {
        let mut attempted = self.0.attempted.lock().expect("no holder of this lock panics");
        if made {
            attempted.failed.remove(key);
        } else {
            attempted.failed.insert(key.clone());
        }
    }

    /// Says whether all of it has begun.
    pub(super) async fn try_attempt(
        &self,
        snapshot: &Snapshot,
        environment: &Arc<Environment>,
    ) -> Result<bool, ReconcileError> {
        let handle = self.open(environment).await?;
        let circumstances = self.circumstances(snapshot, environment, &handle);
        if handle.is_quiet(&circumstances) {
            return Ok(true);
        }
        handle.quiet.note(None);
        let Planned { plan, prepared, records, mut standing, handle } =
            self.plan_environment(snapshot, environment).await?;
        let is_held = self.record_held(environment, &plan).await?;
        if !plan.deletes() {
            self.forget_owners_before(environment).await?;
        }
        let mut quiet = plan.verdict == Verdict::Go && standing.is_empty();
        let plan = plan.allowed();
        self.forget_strays(environment, &plan).await?;
        handle.set.look_around(&plan).await;
        self.namespace(&handle, environment, &plan).await?;
        self.record_quiet(environment).await?;
        let mut whole = true;
        for unit in plan.units.into_iter().filter(|unit| unit.name != ENVIRONMENT_UNIT) {
            let Ok(name) = unit.name.parse::<ServiceName>() else { continue };
            let ready = prepared.get(&name).cloned();
            let nothing_to_do = unit.broken.is_none() && !unit.changes();
            let rests = |ready| handle.quiet.rests(&name, ready, records.get(&name));
            if nothing_to_do && ready.as_ref().is_some_and(rests) {
                continue;
            }
            let work = Work {
                environment: Arc::clone(environment),
                config_revision: snapshot.config_revision.clone(),
                unit,
                standing: standing.remove(&name),
                name,
                prepared: ready,
                handle: Arc::clone(&handle),
            };
            let turn = self.roll_out(work).await?;
            quiet &= turn == Turn::AtRest;
            whole &= turn != Turn::Deferred;
        }
        if !is_held {
            // only now: until here nobody says that nothing is under way
            self.release(&self.place_key(environment)).await?;
        }
        handle.quiet.note(quiet.then_some(circumstances));
        Ok(whole)
    }

    /// The inventory of an environment, compared with what is there.
    pub(super) async fn open(&self, environment: &Environment) -> Result<Arc<Handle>, ReconcileError> {
        let handle = self.handle(environment).await?;
        if handle.compare().await? {
            let message = "The embedded cluster was started again, and everything in it";
            self.event(environment, None, "restarted", message).await?;
        }
        Ok(handle)
    }

    async fn namespace(
        &self,
        handle: &Handle,
        environment: &Environment,
        plan: &Plan,
    ) -> Result<(), ReconcileError> {
        let needed = plan.units.iter().any(|unit| unit.name != ENVIRONMENT_UNIT && !unit.steps.is_empty());
        let unit = plan.unit(ENVIRONMENT_UNIT).filter(|_| needed);
        let Some(unit) = unit else { return Ok(()) };
        let changes = cluster::apply::apply(&handle.set, unit, environment.preview.is_some()).await?;
        match changes.changes.into_iter().find_map(|change| change.error) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}
