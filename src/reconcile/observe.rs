//! What the watches tell: drift makes an environment due, failing pods change the record of a service.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Hint, Reconciler, chain};
use crate::cluster::health::{self, Health};
use crate::cluster::watch::Event;
use crate::desired::Environment;
use crate::name::ServiceName;

/// How long events of one service are gathered before its health is looked at.
const GATHER: Duration = Duration::from_millis(200);

impl Reconciler {
    /// Reads the events of a cluster until the reconciler stops.
    pub(super) fn observe(&self, cluster: String, mut events: mpsc::Receiver<Event>) {
        let this = self.clone();
        self.0.tasks.spawn(async move {
            loop {
                let event = tokio::select! {
                    () = this.0.stop.cancelled() => return,
                    event = events.recv() => event,
                };
                let Some(first) = event else { return };
                this.0.parts.clock.sleep(GATHER).await;
                let mut looked = BTreeSet::new();
                let mut next = Some(first);
                while let Some(event) = next {
                    this.event_of(&cluster, event, &mut looked).await;
                    next = events.try_recv().ok();
                }
            }
        });
    }

    async fn event_of(&self, cluster: &str, event: Event, looked: &mut BTreeSet<(String, String)>) {
        match event {
            Event::Drifted { key, .. } | Event::Deleted { key, .. } => {
                let namespace = key.namespace.as_deref().unwrap_or_default();
                if let Some(environment) = self.environment_of(cluster, namespace) {
                    self.hint(Hint::at(&environment));
                }
            }
            Event::Health { key, service, .. } => {
                let namespace = key.namespace.unwrap_or_default();
                if looked.insert((namespace.clone(), service.clone())) {
                    self.look_at(cluster, &namespace, &service).await;
                }
            }
            Event::Pod { namespace, service } => {
                if looked.insert((namespace.clone(), service.clone())) {
                    self.look_at(cluster, &namespace, &service).await;
                }
            }
            Event::Listed { .. } => {}
            Event::Trouble { kind, why } => {
                tracing::warn!(cluster, kind, error = %why, "A watch was cut off; it comes back by itself.");
            }
        }
    }

    fn environment_of(&self, cluster: &str, namespace: &str) -> Option<Arc<Environment>> {
        let snapshot = self.0.snapshot.borrow();
        snapshot
            .environments
            .iter()
            .find(|e| self.reached_as(&e.cluster) == cluster && e.namespace.as_str() == namespace)
            .cloned()
    }

    /// Looks at a service that is live and that nothing rolls out at the moment.
    async fn look_at(&self, cluster: &str, namespace: &str, service: &str) {
        let Some(environment) = self.environment_of(cluster, namespace) else { return };
        let Ok(name) = service.parse::<ServiceName>() else { return };
        if self.0.rollouts.runs(&Self::state_key(&environment, &name)).await {
            return;
        }
        let Some(handle) = self.open_handle(&environment).await else { return };
        let keys: Vec<_> = handle.set.held(service).iter().map(|held| held.key.clone()).collect();
        let checkup = match health::check(handle.set.cluster(), &keys, &self.0.parts.redactor).await {
            Ok(checkup) => checkup,
            Err(error) => {
                tracing::warn!(service, error = %chain(&error), "The health of a service could not be read.");
                return;
            }
        };
        let trouble = match checkup.health {
            Health::Failed(why) => Some(checkup.cause.map_or(why, |cause| cause.message)),
            Health::InProgress(why) => Some(why),
            Health::Current | Health::Terminating => None,
        };
        if let Err(error) = self.record_health(&environment, &name, trouble.as_deref()).await {
            tracing::warn!(service, error = %chain(&error), "The health of a service could not be recorded.");
        }
    }
}
