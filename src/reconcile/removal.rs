//! What should no longer exist, found by its records and its places: whoever closed a pull request while nobody looked
//! is served too.
//!
//! Previews go once two complete listings lack their pull request. Any other environment, and a namespace that an
//! environment has left for another, is held until somebody says that it may go, and nothing stops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::places::Place;
use super::planning::Planned;
use super::record::Record;
use super::rollout::Key;
use super::{AGAIN, Hint, Part, ReconcileError, Reconciler, Snapshot, chain};
use crate::cluster::{self, Outcome, prune};
use crate::desired::{self, Environment};
use crate::name::{EnvironmentName, ProjectName, ServiceName};
use crate::plan::{ENVIRONMENT_UNIT, Plan};

/// How long a look waits for what is going.
const PATIENCE: Duration = Duration::from_secs(3);

/// A service of an environment that should not exist.
type Gone = (ServiceName, Arc<Record>);

/// What is there of an environment that should not be there.
#[derive(Default)]
struct Left {
    services: Vec<Gone>,
    places: BTreeSet<Place>,
}

impl Reconciler {
    /// Takes down previews that are no longer wanted, and holds everything else that vanished.
    pub(super) async fn take_down(&self, now: &Snapshot) {
        let left = match self.left_behind(now).await {
            Ok(left) => left,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "What should no longer exist could not be looked up; it is tried again.");
                return;
            }
        };
        self.0
            .absent
            .lock()
            .expect("no holder of this lock panics")
            .retain(|environment, _| left.contains_key(environment));
        let all = left.iter().map(|((project, name), left)| async move {
            let without = self.without(now, project, name, left);
            let patience = self.0.parts.clock.sleep(PATIENCE);
            tokio::select! {
                result = without => {
                    if let Err(error) = result {
                        tracing::warn!(environment = %name, error = %chain(&error), "An environment could not be taken down; it is tried again.");
                    }
                }
                // what is still going is written down, and nobody else waits for it
                () = patience => self.hint_after(AGAIN, Hint::Everything),
            }
        });
        futures::future::join_all(all).await;
    }

    /// Environments that should not exist, and those that were elsewhere before.
    async fn left_behind(
        &self,
        now: &Snapshot,
    ) -> Result<BTreeMap<(ProjectName, EnvironmentName), Left>, ReconcileError> {
        let kept: BTreeSet<_> = now.environments.iter().map(|e| (&e.project, &e.name)).collect();
        let mut all: BTreeMap<_, Left> = BTreeMap::new();
        for ((project, environment, service), record) in
            self.records(|key| !kept.contains(&(&key.0, &key.1))).await?
        {
            all.entry((project, environment)).or_default().services.push((service, record));
        }
        // what is where somebody else is now goes with what that one no longer wants
        let taken = self.taken(now);
        for (key, mut places) in self.places().await? {
            places.retain(|place| !taken.contains(place));
            if !places.is_empty() {
                all.entry(key).or_default().places = places;
            }
        }
        Ok(all)
    }

    /// An environment of which something is where nothing should be.
    async fn without(
        &self,
        now: &Snapshot,
        project: &ProjectName,
        name: &EnvironmentName,
        left: &Left,
    ) -> Result<(), ReconcileError> {
        let moved = now.environment(project.as_str(), name.as_str()).is_some();
        let preview = name.as_str().starts_with("pr-") && !moved;
        let Some(stands) = now.config.projects.get(project).filter(|_| preview) else {
            for place in &left.places {
                self.leave(now, (project, name), place, moved, left).await?;
            }
            if left.places.is_empty() {
                // nothing of it was ever anywhere, or somebody else is there now
                self.forget_services((project, name), &left.services).await?;
            }
            return Ok(());
        };
        if !self.is_proven_closed(now, project, name) {
            return Ok(());
        }
        let Some(former) = desired::former(stands, &now.environments, name) else { return Ok(()) };
        for place in &left.places {
            let environment = Arc::new(self.left_at(former.clone(), place));
            self.remove_preview(now, &environment, left).await?;
            self.forget_place(project, name, place).await?;
        }
        self.forget_services((project, name), &left.services).await?;
        Ok(())
    }

    /// Whether two complete listings lack the pull request of a preview.
    fn is_proven_closed(&self, now: &Snapshot, project: &ProjectName, name: &EnvironmentName) -> bool {
        let of = |short: &String| {
            let prefix = crate::name::k8s_name(&["pr", &crate::name::k8s_name(&[short], 30)], 60);
            name.as_str().strip_prefix(&prefix).is_some_and(|rest| rest.starts_with('-'))
        };
        if !now.config.absence_is_proven(project) || now.unlisted.iter().any(of) {
            return false;
        }
        let mut absent = self.0.absent.lock().expect("no holder of this lock panics");
        let first = absent.entry((project.clone(), name.clone())).or_insert(now.at);
        if *first == now.at {
            // the second listing is asked for at once
            drop(absent);
            self.hint(Hint::Everything);
            return false;
        }
        true
    }

    /// Holds what an environment has at a place where it should not be, until somebody says that it may go. The
    /// namespace stays, with the volumes in it.
    async fn leave(
        &self,
        now: &Snapshot,
        (project, name): (&ProjectName, &EnvironmentName),
        place: &Place,
        moved: bool,
        left: &Left,
    ) -> Result<(), ReconcileError> {
        let former = desired::vanished(project, name, now.config.absence_is_proven(project));
        let environment = Arc::new(self.left_at(former, place));
        let Planned { plan, handle, .. } = match self.plan_environment(now, &environment).await {
            Ok(planned) => planned,
            Err(error) => {
                let services = left.services.iter().map(|(service, _)| service.to_string()).collect();
                self.record_unreachable(&environment, services, &error).await?;
                return Err(error);
            }
        };
        let part = Part { project: Some(project.as_str()), environment: Some(name.as_str()), service: None };
        if !plan.deletes() && (moved || !self.0.rollouts.any(&part).await) {
            if !moved {
                self.forget_services((project, name), &left.services).await?;
            }
            self.close_handle(&environment).await;
            return Ok(self.forget_place(project, name, place).await?);
        }
        if !moved {
            return self.try_attempt(now, &environment).await.map(drop);
        }
        // its services run elsewhere, so no rollout of theirs may take this down
        self.record_held(&environment, &plan).await?;
        let units = plan.allowed().units;
        for unit in units.iter().filter(|unit| unit.name != ENVIRONMENT_UNIT && unit.deletes()) {
            let changes = prune::prune(&handle.set, unit, false).await?;
            let is_gone =
                |change: &&cluster::Change| matches!(change.outcome, Outcome::Pruned | Outcome::Released);
            let gone = changes.changes.iter().filter(is_gone);
            let went = gone.map(|change| handle.watches.forget(&change.key)).count() > 0;
            if let Some(error) = changes.changes.into_iter().find_map(|change| change.error) {
                return Err(error.into());
            }
            // what is kept there is no reason to look again
            if went {
                let message =
                    format!("{} was removed from the namespace that the environment has left", unit.name);
                self.event(&environment, None, "removed", &message).await?;
                self.hint(Hint::Everything);
            }
        }
        Ok(())
    }

    async fn remove_preview(
        &self,
        now: &Snapshot,
        environment: &Arc<Environment>,
        left: &Left,
    ) -> Result<(), ReconcileError> {
        // a namespace that came back with the embedded cluster's own state does not carry our label yet
        let Planned { plan, handle, .. } = self.plan_environment(now, environment).await?;
        if let Some(unit) = plan.unit(ENVIRONMENT_UNIT) {
            cluster::apply::apply(&handle.set, unit, true).await?;
        }
        for (name, _) in &left.services {
            self.0.rollouts.call_off(&Self::state_key(environment, name)).await;
        }
        let outcome = prune::namespace(&handle.set).await?;
        self.close_handle(environment).await;
        if outcome == Outcome::Pruned {
            let message = "The pull request is closed and its preview was removed";
            self.event(environment, None, "removed", message).await?;
        }
        Ok(())
    }

    async fn forget_services(
        &self,
        (project, environment): (&ProjectName, &EnvironmentName),
        services: &[Gone],
    ) -> Result<(), ReconcileError> {
        for (name, record) in services {
            let live = record.row.live_deployment.as_deref().unwrap_or_default();
            let key = (project.clone(), environment.clone(), name.clone());
            self.forget(&key, live).await?;
        }
        Ok(())
    }

    /// Forgets services that left the configuration before anything of them was in the cluster.
    pub(super) async fn forget_strays(
        &self,
        environment: &Environment,
        plan: &Plan,
    ) -> Result<(), ReconcileError> {
        if !environment.absence_is_proven {
            return Ok(());
        }
        let is_stray = |(project, name, service): &Key| {
            (project, name) == (&environment.project, &environment.name)
                && !environment.services.contains_key(service)
                && !environment.broken.contains_key(service)
                && plan.unit(service.as_str()).is_none()
        };
        for (key, record) in self.records(is_stray).await? {
            if !self.0.rollouts.runs(&key).await {
                self.forget_services((&environment.project, &environment.name), &[(key.2, record)]).await?;
            }
        }
        Ok(())
    }
}
