//! What should no longer exist, found by its records: whoever closed a pull request while nobody looked is served too.
//!
//! Previews go once two complete listings lack their pull request. Any other environment is held until somebody says
//! that it may go, and nothing stops.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::json;

use super::planning::Planned;
use super::record::Record;
use super::rollout::Key;
use super::{Hint, ReconcileError, Reconciler, Snapshot, chain};
use crate::cluster::{self, Outcome, prune};
use crate::config::root::ClusterType;
use crate::desired::{self, Environment};
use crate::hash::Hasher;
use crate::name::{EnvironmentName, ProjectName, ServiceName};
use crate::plan::{ENVIRONMENT_UNIT, Plan};

/// A service of an environment that should not exist.
type Gone = (ServiceName, Arc<Record>);

impl Reconciler {
    /// Takes down previews that are no longer wanted, and holds every other environment that vanished.
    pub(super) async fn take_down(&self, now: &Snapshot) {
        let kept: BTreeSet<_> = now.environments.iter().map(|e| (&e.project, &e.name)).collect();
        let records = match self.records(|key| !kept.contains(&(&key.0, &key.1))).await {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "What should no longer exist could not be looked up; it is tried again.");
                return;
            }
        };
        let mut gone: BTreeMap<(ProjectName, EnvironmentName), Vec<Gone>> = BTreeMap::new();
        for ((project, environment, service), record) in records {
            gone.entry((project, environment)).or_default().push((service, record));
        }
        self.0
            .absent
            .lock()
            .expect("no holder of this lock panics")
            .retain(|environment, _| gone.contains_key(environment));
        for ((project, name), services) in gone {
            if let Err(error) = self.without(now, &project, &name, &services).await {
                tracing::warn!(environment = %name, error = %chain(&error), "An environment could not be taken down; it is tried again.");
            }
        }
    }

    /// An environment that has records and should not exist.
    async fn without(
        &self,
        now: &Snapshot,
        project: &ProjectName,
        name: &EnvironmentName,
        services: &[Gone],
    ) -> Result<(), ReconcileError> {
        let preview = name.as_str().starts_with("pr-");
        let Some(stands) = now.config.projects.get(project).filter(|_| preview) else {
            return self.hold(now, project, name, services).await;
        };
        let of = |short: &String| {
            let prefix = crate::name::k8s_name(&["pr", &crate::name::k8s_name(&[short], 30)], 60);
            name.as_str().strip_prefix(&prefix).is_some_and(|rest| rest.starts_with('-'))
        };
        if !now.config.absence_is_proven(project) || now.unlisted.iter().any(of) {
            return Ok(());
        }
        {
            let mut absent = self.0.absent.lock().expect("no holder of this lock panics");
            let first = absent.entry((project.clone(), name.clone())).or_insert(now.at);
            if *first == now.at {
                // the second listing is asked for at once
                drop(absent);
                self.hint(Hint::Everything);
                return Ok(());
            }
        }
        let Some(environment) = desired::former(stands, &now.environments, name) else { return Ok(()) };
        self.remove_preview(now, &Arc::new(environment), services).await
    }

    /// Holds an environment that left the configuration, until somebody says that it may go.
    async fn hold(
        &self,
        now: &Snapshot,
        project: &ProjectName,
        name: &EnvironmentName,
        services: &[Gone],
    ) -> Result<(), ReconcileError> {
        let id = Hasher::new("vanished").text(project.as_str()).text(name.as_str()).finish();
        let proven = now.config.absence_is_proven(project);
        if proven && self.is_approved(id, now) {
            return self.remove_vanished(now, project, name, services).await;
        }
        let what = if now.config.projects.contains_key(project) { "environment" } else { "project" };
        let services: Vec<_> = services.iter().map(|(service, _)| service).collect();
        let reason = format!("the {what} is no longer in the configuration");
        // what cannot all be read cannot be approved away
        let plan = proven.then_some(id);
        let held = json!({"plan": plan, "services": services, "reasons": [reason]}).to_string().into_bytes();
        let key = format!("{project}/{name}");
        if self.store().get("held", &key).await?.as_deref() == Some(held.as_slice()) {
            return Ok(());
        }
        self.store().put("held", &key, &held).await?;
        let way = plan.map(|plan| format!(": `branchline approve {}`", plan.short())).unwrap_or_default();
        let event = crate::store::NewEvent {
            project: project.to_string(),
            environment: Some(name.to_string()),
            service: None,
            time: self.0.parts.clock.now(),
            kind: "held".to_owned(),
            actor: None,
            message: format!("The {what} left the configuration; its removal is held and nothing stops{way}"),
        };
        self.store().add_event(event).await?;
        Ok(())
    }

    /// Prunes what an environment that left the configuration still has. Its namespace stays, with the volumes in it.
    async fn remove_vanished(
        &self,
        now: &Snapshot,
        project: &ProjectName,
        name: &EnvironmentName,
        services: &[Gone],
    ) -> Result<(), ReconcileError> {
        // nothing says any more where it was: on one of the clusters that are known
        let mut clusters: BTreeMap<String, ClusterType> =
            now.environments.iter().map(|environment| environment.cluster.clone()).collect();
        clusters.extend(now.config.clusters.iter().map(|(name, known)| (name.to_string(), known.spec.kind)));
        if clusters.is_empty() {
            clusters.insert("embedded".to_owned(), ClusterType::Embedded);
        }
        let at = |cluster| Arc::new(desired::vanished(project, name, cluster, self.0.parts.embedded));
        let environments: Vec<_> = clusters.into_iter().map(at).collect();
        for environment in &environments {
            if self.handle(environment).await?.set.units().is_empty() {
                continue;
            }
            let Planned { plan, .. } = self.plan_environment(now, environment).await?;
            // the word was given for all of it
            self.let_through(plan.id, now);
            self.try_attempt(now, environment).await?;
            return Ok(());
        }
        // every cluster was asked, and none has anything of it
        if let Some(environment) = environments.first() {
            self.forget_services(environment, services).await?;
        }
        self.store().remove("held", &format!("{project}/{name}")).await?;
        Ok(())
    }

    async fn remove_preview(
        &self,
        now: &Snapshot,
        environment: &Arc<Environment>,
        services: &[Gone],
    ) -> Result<(), ReconcileError> {
        // a namespace that came back with the embedded cluster's own state does not carry our label yet
        let Planned { plan, handle, .. } = self.plan_environment(now, environment).await?;
        if let Some(unit) = plan.unit(ENVIRONMENT_UNIT) {
            cluster::apply::apply(&handle.set, unit, true).await?;
        }
        for (name, _) in services {
            self.0.rollouts.call_off(&Self::state_key(environment, name)).await;
        }
        let outcome = prune::namespace(&handle.set).await?;
        self.close_handle(environment).await;
        self.forget_services(environment, services).await?;
        if outcome == Outcome::Pruned {
            let message = "The pull request is closed and its preview was removed";
            self.event(environment, None, "removed", message).await?;
        }
        Ok(())
    }

    async fn forget_services(
        &self,
        environment: &Environment,
        services: &[Gone],
    ) -> Result<(), ReconcileError> {
        for (name, record) in services {
            let live = record.row.live_deployment.as_deref().unwrap_or_default();
            self.forget(environment, name, live).await?;
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
                self.forget_services(environment, &[(key.2, record)]).await?;
            }
        }
        Ok(())
    }
}
