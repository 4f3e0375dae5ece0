//! The inventories and watches of the clusters that environments run on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::planning::Known;
use super::prepare;
use super::quiet::Quiet;
use super::{ReconcileError, Reconciler};
use crate::cluster::ApplySet;
use crate::cluster::watch::Watches;
use crate::config::root::ClusterType;
use crate::desired::Environment;
use crate::plan::Held;
use crate::render::manifest::ObjectKey;

/// How long the first complete list of what is there may take before an environment is attempted without it.
const LISTED: Duration = Duration::from_secs(10);

/// The inventory of one environment, open.
pub(super) struct Handle {
    pub(super) set: ApplySet,
    pub(super) watches: Watches,
    /// Whether the live objects have been compared with the inventory since the start.
    compared: AtomicBool,
    /// Whether what is gone at the start may have gone with an earlier process.
    forgetful: bool,
    /// Services that vanished with the embedded cluster of an earlier process and were not put back yet.
    lost: Mutex<BTreeSet<String>>,
    /// What had nothing to do the last time.
    pub(super) quiet: Quiet,
    /// What was prepared and planned the last time.
    pub(super) prepared: prepare::Memory,
    pub(super) planned: Known,
}

impl Reconciler {
    /// The inventory of an environment, opened once.
    pub(super) async fn handle(&self, environment: &Environment) -> Result<Arc<Handle>, ReconcileError> {
        let key = self.place(environment);
        // also where it is open: it may be somebody else's until now
        self.remember_place(environment).await?;
        let mut sets = self.0.sets.lock().await;
        if let Some(handle) = sets.get(&key) {
            return Ok(Arc::clone(handle));
        }
        let cluster = self.cluster(environment)?;
        let set = ApplySet::open(cluster, &environment.namespace, &self.0.instance).await?;
        let watches = self.watches(&key.cluster, cluster);
        let forgetful = environment.cluster.1 == ClusterType::Embedded
            && !self.0.lost_namespaces.lock().expect("no holder of this lock panics").contains(&key);
        let (compared, lost) = (AtomicBool::new(false), Mutex::default());
        let (quiet, prepared, planned) = (Quiet::default(), prepare::Memory::default(), Known::default());
        let handle = Arc::new(Handle { set, watches, compared, forgetful, lost, quiet, prepared, planned });
        sets.insert(key, Arc::clone(&handle));
        Ok(handle)
    }

    /// The inventory of an environment, where it is open.
    pub(super) async fn open_handle(&self, environment: &Environment) -> Option<Arc<Handle>> {
        self.0.sets.lock().await.get(&self.place(environment)).cloned()
    }

    pub(super) async fn close_handle(&self, environment: &Environment) {
        let key = self.place(environment);
        self.0.sets.lock().await.remove(&key);
    }

    /// The namespace of an environment was deleted by somebody: its inventory went with it, and is read anew.
    pub(super) async fn lose_namespace(&self, environment: &Environment) {
        let key = self.place(environment);
        tracing::warn!(namespace = %environment.namespace, "A namespace was deleted; it is made again with all that is in it.");
        self.0.lost_namespaces.lock().expect("no holder of this lock panics").insert(key);
        self.close_handle(environment).await;
    }

    fn watches(&self, name: &str, cluster: &crate::cluster::Cluster) -> Watches {
        let mut all = self.0.watches.lock().expect("no holder of this lock panics");
        if let Some(watches) = all.get(name) {
            return watches.clone();
        }
        let (watches, events) = Watches::new(cluster, &self.0.tasks, &self.0.stop);
        all.insert(name.to_owned(), watches.clone());
        self.observe(name.to_owned(), events);
        watches
    }
}

impl Handle {
    /// Compares what is there with the inventory, once after the start: what vanished or was changed while nobody
    /// looked shows up as drift. Says whether it is the embedded cluster that came back empty.
    pub(super) async fn compare(&self) -> Result<bool, ReconcileError> {
        if self.compared.swap(true, Ordering::SeqCst) {
            return Ok(false);
        }
        let namespace = self.set.namespace().as_str().to_owned();
        let mut held = Vec::new();
        for unit in self.set.units() {
            let applied = self.set.held(&unit);
            let applied = applied.iter().filter(|object| !object.applied.is_empty());
            held.extend(applied.map(|object| (unit.clone(), object.clone())));
        }
        self.watches.follow(&self.set).await?;
        let kinds = self.set.group_kinds().await;
        let listed =
            futures::future::join_all(kinds.iter().map(|(group, kind)| self.watches.listed(group, kind)));
        // what no list holds by then is asked for
        let _ = tokio::time::timeout(LISTED, listed).await;
        held.retain(|(_, object)| !self.watches.has_seen(&object.key, &object.uid));
        let asked = held.iter().map(|(unit, object)| async move {
            self.is_gone(object).await.then(|| (unit.as_str(), object.key.clone()))
        });
        let mut gone: BTreeMap<&str, Vec<ObjectKey>> = BTreeMap::new();
        for (unit, key) in futures::future::join_all(asked).await.into_iter().flatten() {
            if self.forgetful {
                self.lost().insert(unit.to_owned());
            } else {
                tracing::info!(object = %key, namespace = %namespace, "An object vanished while nobody looked; it is made again.");
            }
            self.watches.forget(&key);
            gone.entry(unit).or_default().push(key);
        }
        let settled = gone
            .into_iter()
            .map(|(unit, keys)| self.set.settle(unit, keys.into_iter().map(|key| (key, None))));
        futures::future::try_join_all(settled).await?;
        Ok(!self.lost().is_empty())
    }

    /// Whether a service is put back for the first time since the embedded cluster came back empty.
    pub(super) fn came_back_empty(&self, unit: &str) -> bool {
        self.lost().remove(unit)
    }

    fn lost(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.lost.lock().expect("no holder of this lock panics")
    }

    /// Whether an object that we made is no longer there, as far as the cluster says so.
    async fn is_gone(&self, object: &Held) -> bool {
        match tokio::time::timeout(LISTED, self.set.cluster().get(&object.key)).await {
            Ok(Ok(None)) => true,
            Ok(Ok(Some(live))) => crate::cluster::object::uid(&live) != object.uid,
            _ => false,
        }
    }
}
