//! Watching what we own: drift, deletions and health, as events.
//!
//! One watch per kind over all namespaces, of objects that carry our label. What a watch keeps of an object is a
//! fingerprint, never the object. Kinds whose status nobody waits for are watched by metadata alone, so the values
//! of `Secret`s and `ConfigMap`s never get here. A cut connection, and a history that the server has dropped (410), end
//! in a new list, whose gaps are deletions.
//!
//! An event is a hint: whoever gets it looks again. Drift is told by our field manager's entry alone, which shrinks
//! whenever another manager takes a field of ours; what others do to their own fields is no event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use futures::StreamExt as _;
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::moves::Moves;
use self::source::{Source, json};
use super::health::Health;
use super::inventory::ApplySet;
use super::{ChangeSet, Cluster, ClusterError, Outcome, object};
use crate::plan::{FIELD_MANAGER, UnitPlan};
use crate::render::manifest::ObjectKey;

mod moves;
mod source;

/// How many events may wait for their reader; a watch that finds the queue full waits.
const QUEUE: usize = 1024;
/// How many deletions are remembered in case the answer of the apply that made the object comes after them.
const DELETIONS: usize = 256;
/// How many objects a page of the first list has.
const PAGE: u32 = 500;

/// Something that happened to an object of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A field of ours was changed or taken by somebody else.
    Drifted {
        /// The object.
        key: ObjectKey,
        /// The service that its label names.
        service: String,
        /// The field manager that wrote last.
        actor: Option<String>,
    },
    /// An object that we hold is no longer there, or no longer carries our label.
    Deleted {
        /// The object.
        key: ObjectKey,
        /// The service that its label named.
        service: String,
    },
    /// A workload's state is another one.
    Health {
        /// The object.
        key: ObjectKey,
        /// The service that its label names.
        service: String,
        /// By the object alone; [`health::check`] also looks at its pods.
        health: Health,
    },
    /// A pod came, went or changed: a workload's cause may have.
    Pod {
        /// The pod's namespace.
        namespace: String,
        /// The service that its label names.
        service: String,
    },
    /// The first list of a kind, or one after a gap, is complete.
    Listed {
        /// API group.
        group: String,
        /// Kind.
        kind: String,
    },
    /// A watch is cut off; it comes back by itself.
    Trouble {
        /// Kind.
        kind: String,
        /// In words.
        why: String,
    },
}

/// What an object should look like to us: written down after an apply, compared with every event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// Fingerprint of the fields that we own.
    pub owned: String,
    /// Paths that do not count.
    pub yields: Vec<String>,
    /// The version that the API server answered; events about older ones are late. Empty when it is not known.
    pub resource_version: String,
}

/// All watches of one cluster.
#[derive(Clone)]
pub struct Watches {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    tracker: TaskTracker,
    stop: CancellationToken,
    events: mpsc::Sender<Event>,
    running: Mutex<BTreeSet<(String, String)>>,
    /// Kinds, by group and name, of which a first list is complete.
    listed: watch::Sender<BTreeSet<(String, String)>>,
    objects: Mutex<Objects>,
    waiting: moves::Waiting,
    /// The last deletions with their versions.
    deletions: Mutex<VecDeque<(ObjectKey, u64)>>,
}

/// What is kept of all objects.
#[derive(Default)]
struct Objects {
    seen: BTreeMap<ObjectKey, Seen>,
    /// Those that are not as expected.
    off: BTreeSet<ObjectKey>,
}

impl Objects {
    fn change<T>(&mut self, key: &ObjectKey, change: impl FnOnce(&mut Seen) -> T) -> T {
        let seen = self.seen.entry(key.clone()).or_default();
        let result = change(seen);
        if seen.is_off() {
            self.off.insert(key.clone());
        } else {
            self.off.remove(key);
        }
        result
    }

    fn forget(&mut self, key: &ObjectKey) {
        self.seen.remove(key);
        self.off.remove(key);
    }
}

/// What is kept of one object.
#[derive(Debug, Clone, Default)]
struct Seen {
    service: String,
    expected: Option<Expected>,
    owned: Option<String>,
    uid: String,
    /// The version that `owned` was seen at.
    version: Option<u64>,
    actor: Option<String>,
    /// Fingerprint of the last health that was told.
    health: u64,
    /// The version at which it was current, where it was when it was last seen.
    current: Option<u64>,
    gone: bool,
}

impl Watches {
    /// Begins to watch nothing; kinds are added by [`Watches::ensure`]. Tasks run under `tracker` until `stop`.
    #[must_use]
    pub fn new(
        cluster: &Cluster,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> (Self, mpsc::Receiver<Event>) {
        let (events, receiver) = mpsc::channel(QUEUE);
        let inner = Inner {
            cluster: cluster.clone(),
            tracker: tracker.clone(),
            stop: stop.clone(),
            events,
            running: Mutex::default(),
            listed: watch::Sender::default(),
            objects: Mutex::default(),
            waiting: moves::Waiting::default(),
            deletions: Mutex::default(),
        };
        (Self { inner: Arc::new(inner) }, receiver)
    }

    /// Sees to it that a kind is watched.
    ///
    /// # Errors
    /// When the cluster does not serve the kind, or cannot say.
    pub async fn ensure(&self, group: &str, kind: &str) -> Result<(), ClusterError> {
        let name = (group.to_owned(), kind.to_owned());
        if self.running().contains(&name) {
            return Ok(());
        }
        let resource = self.inner.cluster.resource_of_group(group, kind).await?;
        if !self.running().insert(name) {
            return Ok(());
        }
        let gvk = GroupVersionKind::gvk(&resource.group, &resource.version, &resource.kind);
        let api_resource = ApiResource::from_gvk_with_plural(&gvk, &resource.plural);
        let client = self.inner.cluster.client().clone();
        let labels = format!("app.kubernetes.io/managed-by={FIELD_MANAGER}");
        let config = watcher::Config::default().labels(&labels).page_size(PAGE);
        let (group, kind) = (group.to_owned(), kind.to_owned());
        let full = has_health(&group, &kind);
        let source = Source { watches: self.clone(), api: resource.api_version(), group, kind };
        let stop = self.inner.stop.clone();
        if full {
            let api: Api<DynamicObject> = Api::all_with(client, &api_resource);
            let events =
                watcher(api, config).default_backoff().map(|event| event.map(|event| json(event, whole)));
            self.inner.tracker.spawn(async move { stop.run_until_cancelled(source.run(events)).await });
        } else {
            let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &api_resource);
            let events =
                watcher(api, config).default_backoff().map(|event| event.map(|event| json(event, bare)));
            self.inner.tracker.spawn(async move { stop.run_until_cancelled(source.run(events)).await });
        }
        Ok(())
    }

    /// Says what an object should look like from now on. Called with the answers of an apply, and at the start with
    /// the inventory.
    pub fn expect(&self, key: &ObjectKey, service: &str, expected: Expected) {
        self.objects().change(key, |seen| {
            service.clone_into(&mut seen.service);
            let before = seen.expected.as_ref().and_then(|before| number(&before.resource_version));
            if before.zip(number(&expected.resource_version)).is_some_and(|(before, now)| now < before) {
                // the cluster was brought back from an earlier state: what was seen is of another count
                (seen.version, seen.current) = (None, None);
            }
            if let Some(version) = number(&expected.resource_version)
                && seen.version.is_none_or(|seen| seen <= version)
            {
                // what was seen before is older than this answer, unless a deletion overtook it
                seen.owned = Some(expected.owned.clone());
                seen.version = Some(version);
                seen.gone = self.was_deleted_after(key, version);
            }
            seen.expected = Some(expected);
        });
    }

    /// Waits until a first list of a watched kind is complete.
    pub async fn listed(&self, group: &str, kind: &str) {
        let name = (group.to_owned(), kind.to_owned());
        // the sender lives in `self`, so waiting cannot fail
        let _ = self.inner.listed.subscribe().wait_for(|listed| listed.contains(&name)).await;
    }

    /// Whether an object was there under that UID when it was last seen.
    #[must_use]
    pub fn has_seen(&self, key: &ObjectKey, uid: &str) -> bool {
        self.objects().seen.get(key).is_some_and(|seen| !seen.gone && seen.uid == uid)
    }

    fn was_deleted_after(&self, key: &ObjectKey, version: u64) -> bool {
        let deletions = self.deletions();
        deletions.iter().any(|(deleted, at)| deleted == key && *at > version)
    }

    /// Takes what an apply or a prune left: the answers of the API server are what is expected from now on.
    pub fn applied(&self, set: &ApplySet, unit: &UnitPlan, changes: &ChangeSet) {
        for change in &changes.changes {
            if matches!(change.outcome, Outcome::Pruned | Outcome::Released) {
                self.forget(&change.key);
            }
            let Some(live) = &change.live else { continue };
            let Some(entry) = set.entry(&unit.name, &change.key) else { continue };
            let step = unit.steps.iter().find(|step| step.key == change.key);
            let yields = step.map(|step| step.yields.clone()).unwrap_or_default();
            let resource_version = object::resource_version(live).to_owned();
            self.expect(&change.key, &unit.name, Expected { owned: entry.owned, yields, resource_version });
        }
    }

    /// Takes a whole inventory, at the start: what was changed while nobody watched then counts as drift.
    ///
    /// # Errors
    /// As [`Watches::ensure`], for any kind of the set.
    pub async fn follow(&self, set: &ApplySet) -> Result<(), ClusterError> {
        for unit in set.units() {
            for held in set.held(&unit).iter().filter(|held| !held.owned.is_empty()) {
                let (owned, yields, resource_version) =
                    (held.owned.clone(), held.yields.clone(), String::new());
                self.expect(&held.key, &unit, Expected { owned, yields, resource_version });
            }
        }
        for (group, kind) in set.group_kinds().await {
            self.ensure(&group, &kind).await?;
        }
        Ok(())
    }

    /// Tells of everything that the watches see of a service from now on.
    #[must_use]
    pub fn moves(&self, namespace: &str, service: &str) -> Moves {
        self.inner.waiting.moves(self, namespace, service)
    }

    /// Whether an object was as it should be when it was last seen, at the version that we applied or after it.
    #[must_use]
    pub fn is_current(&self, key: &ObjectKey) -> bool {
        let objects = self.objects();
        let Some(seen) = objects.seen.get(key) else { return false };
        let Some(expected) = &seen.expected else { return false };
        // nothing was applied to it since the start where no version is known
        let applied = number(&expected.resource_version).unwrap_or_default();
        !seen.gone && seen.current.is_some_and(|current| current >= applied)
    }

    /// Forgets an object that was pruned.
    pub fn forget(&self, key: &ObjectKey) {
        self.objects().forget(key);
    }

    /// Everything of a namespace that is not as expected now: changed or gone, with who wrote last.
    #[must_use]
    pub fn drifted(&self, namespace: &str) -> BTreeMap<ObjectKey, Option<String>> {
        let objects = self.objects();
        let off = objects.off.iter().filter(|key| key.namespace.as_deref() == Some(namespace));
        off.map(|key| (key.clone(), objects.seen[key].actor.clone())).collect()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, String)>> {
        self.inner.running.lock().expect("no holder of this lock panics")
    }

    fn deletions(&self) -> std::sync::MutexGuard<'_, VecDeque<(ObjectKey, u64)>> {
        self.inner.deletions.lock().expect("no holder of this lock panics")
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, Objects> {
        self.inner.objects.lock().expect("no holder of this lock panics")
    }
}

impl Seen {
    fn is_off(&self) -> bool {
        let Some(expected) = &self.expected else { return false };
        self.gone || self.owned.as_ref().is_some_and(|owned| *owned != expected.owned)
    }

    /// Whether an event is about an older version than the one that our own apply made.
    fn is_late(&self, resource_version: &str) -> bool {
        let expected = self.expected.as_ref().and_then(|expected| number(&expected.resource_version));
        matches!((number(resource_version), expected), (Some(seen), Some(expected)) if seen < expected)
    }
}

/// Versions of one kind are comparable (KEP-5504).
fn number(version: &str) -> Option<u64> {
    version.parse().ok()
}

/// Kinds whose status says whether they are well.
fn has_health(group: &str, kind: &str) -> bool {
    matches!((group, kind), ("apps" | "batch", _) | ("", "PersistentVolumeClaim"))
}

fn whole(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

fn bare(object: PartialObjectMeta<DynamicObject>) -> Value {
    let metadata = serde_json::to_value(object.metadata).unwrap_or_default();
    Value::Object([("metadata".to_owned(), metadata)].into_iter().collect())
}
