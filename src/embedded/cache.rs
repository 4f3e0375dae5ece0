//! What the API holds, kept in memory by watches, for those who act on it.
//!
//! The controllers, the node, the proxy and the forwarders all read from one [`Cache`]. It owns one watch per
//! kind and nothing of what its readers do with it. A reader that writes hands the server's answer back with
//! [`Store::observe`], so that it reads its own writes at once and never acts twice on a stale view.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Namespace and name of an object; the namespace of a cluster-wide one is empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The namespace, empty for cluster-wide kinds.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl Key {
    /// Names an object by its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object that the server has named.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// How many deletions are remembered; news of an object overtakes its deletion by milliseconds, not by hundreds.
const REMEMBERED: usize = 256;

/// An object before and after a change.
type News<K> = (Option<Arc<K>>, Option<Arc<K>>);

type Listener<K> = Box<dyn Fn(Option<&K>, Option<&K>) + Send + Sync>;

/// The objects of one kind.
pub struct Store<K> {
    objects: RwLock<Objects<K>>,
    listeners: OnceLock<Vec<Listener<K>>>,
    pending: RwLock<Vec<Listener<K>>>,
    ready: tokio::sync::watch::Sender<bool>,
}

struct Objects<K> {
    held: BTreeMap<Key, Arc<K>>,
    /// UIDs of what was deleted lately, oldest first: late news of these is not news.
    gone: VecDeque<String>,
    /// Written by us since the last listing began: a listing that lacks them is older than they are.
    fresh: BTreeSet<Key>,
    listing: Option<BTreeMap<Key, Arc<K>>>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        let objects =
            Objects { held: BTreeMap::new(), gone: VecDeque::new(), fresh: BTreeSet::new(), listing: None };
        Self {
            objects: RwLock::new(objects),
            listeners: OnceLock::new(),
            pending: RwLock::default(),
            ready: tokio::sync::watch::Sender::new(false),
        }
    }
}

impl<K: Resource> Store<K> {
    /// The object of that name.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read(|objects| objects.held.get(key).cloned())
    }

    /// All objects of a namespace, by name.
    pub fn list(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = Key::new(namespace, "");
        self.read(|objects| {
            let of_namespace = objects.held.range(first..).take_while(|(key, _)| key.namespace == namespace);
            of_namespace.map(|(_, object)| object.clone()).collect()
        })
    }

    /// All objects, by namespace and name.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.read(|objects| objects.held.values().cloned().collect())
    }

    /// Calls `listener` with the old and the new state of each object that changes from now on.
    ///
    /// Listeners are added before the watch starts; they must not block.
    pub fn on_change(&self, listener: impl Fn(Option<&K>, Option<&K>) + Send + Sync + 'static) {
        self.pending.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(listener));
    }

    /// Takes in what the server answered to a write.
    pub fn observe(&self, object: K) {
        let key = Key::of(&object);
        self.change(|objects| {
            objects.fresh.insert(key.clone());
            objects.put(key, Arc::new(object))
        });
    }

    /// Takes in that the server has deleted the object of that name and UID.
    pub fn forget(&self, key: &Key, gone: &str) {
        self.change(|objects| {
            objects.fresh.remove(key);
            objects.remove(key, gone).map(|old| (Some(old), None))
        });
    }

    /// Waits until the first listing is complete.
    pub async fn synced(&self) {
        // the sender lives in `self`, so waiting cannot fail
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    fn read<T>(&self, read: impl FnOnce(&Objects<K>) -> T) -> T {
        read(&self.objects.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Objects<K>) -> Option<News<K>>) {
        let changed = change(&mut self.objects.write().unwrap_or_else(PoisonError::into_inner));
        if let Some((old, new)) = changed {
            self.tell(old.as_deref(), new.as_deref());
        }
    }

    fn tell(&self, old: Option<&K>, new: Option<&K>) {
        for listener in self.listeners.get().into_iter().flatten() {
            listener(old, new);
        }
    }

    fn event(&self, event: watcher::Event<K>) {
        match event {
            watcher::Event::Apply(object) => {
                self.change(|objects| objects.put(Key::of(&object), Arc::new(object)));
            }
            watcher::Event::Delete(object) => self.change(|objects| {
                objects.remove(&Key::of(&object), &uid(&object)).map(|old| (Some(old), None))
            }),
            watcher::Event::Init => self.change(|objects| {
                objects.fresh.clear();
                objects.listing = Some(BTreeMap::new());
                None
            }),
            watcher::Event::InitApply(object) => self.change(|objects| {
                objects.listing.get_or_insert_default().insert(Key::of(&object), Arc::new(object));
                None
            }),
            watcher::Event::InitDone => self.listed(),
        }
    }

    fn listed(&self) {
        let mut changes = Vec::new();
        {
            let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
            let listing = objects.listing.take().unwrap_or_default();
            let absent: Vec<_> = objects
                .held
                .iter()
                .filter(|(key, _)| !listing.contains_key(*key) && !objects.fresh.contains(*key))
                .map(|(key, old)| (key.clone(), uid(&**old)))
                .collect();
            for (key, uid) in absent {
                changes.extend(objects.remove(&key, &uid).map(|old| (Some(old), None)));
            }
            changes.extend(listing.into_iter().filter_map(|(key, new)| objects.put(key, new)));
        }
        for (old, new) in changes {
            self.tell(old.as_deref(), new.as_deref());
        }
        self.ready.send_replace(true);
    }
}

impl<K: Resource> Objects<K> {
    fn put(&mut self, key: Key, new: Arc<K>) -> Option<News<K>> {
        if self.gone.contains(&uid(&*new)) {
            return None;
        }
        if let Some(held) = self.held.get(&key)
            && version(&**held) >= version(&*new)
        {
            return None;
        }
        let old = self.held.insert(key, new.clone());
        Some((old, Some(new)))
    }

    fn remove(&mut self, key: &Key, gone: &str) -> Option<Arc<K>> {
        if self.gone.len() == REMEMBERED {
            self.gone.pop_front();
        }
        self.gone.push_back(gone.to_owned());
        let held = self.held.get(key)?;
        if uid(&**held) == gone { self.held.remove(key) } else { None }
    }
}

/// The UID of an object, empty while the server has not given one.
pub(crate) fn uid<K: Resource>(object: &K) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

/// Resource versions of one server are numbers that grow; Kubernetes 1.35 makes that a promise (KEP-5504).
fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

/// A kind that the cache holds.
pub trait Kind:
    Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
    /// Where the cache keeps this kind.
    fn store(cache: &Cache) -> &Store<Self>;
    /// The API of this kind in `namespace`, which cluster-wide kinds ignore.
    fn api(client: Client, namespace: &str) -> Api<Self>;
}

macro_rules! kinds {
    ($($field:ident: $kind:ty = $scope:ident,)*) => {
        /// The objects of every kind that is acted on.
        #[derive(Default)]
        pub struct Cache {
            $($field: Store<$kind>,)*
        }

        $(impl Kind for $kind {
            fn store(cache: &Cache) -> &Store<Self> {
                &cache.$field
            }
            fn api(client: Client, namespace: &str) -> Api<Self> {
                kinds!(@api $scope client namespace)
            }
        })*

        impl Cache {
            /// Starts the watches; they end with `stop`.
            pub fn start(self: &Arc<Self>, client: &Client, tasks: &TaskTracker, stop: &CancellationToken) {
                $(self.watch::<$kind>(client, tasks, stop);)*
            }

            /// Waits until every kind has been listed once.
            pub async fn synced(&self) {
                $(self.$field.synced().await;)*
            }
        }
    };
    (@api namespaced $client:ident $namespace:ident) => { Api::namespaced($client, $namespace) };
    (@api cluster $client:ident $namespace:ident) => {{ let _ = $namespace; Api::all($client) }};
}

kinds! {
    namespaces: Namespace = cluster,
    deployments: Deployment = namespaced,
    replica_sets: ReplicaSet = namespaced,
    pods: Pod = namespaced,
    jobs: Job = namespaced,
    cron_jobs: CronJob = namespaced,
    services: Service = namespaced,
    endpoints: Endpoints = namespaced,
    endpoint_slices: EndpointSlice = namespaced,
    ingresses: Ingress = namespaced,
    disruption_budgets: PodDisruptionBudget = namespaced,
    autoscalers: HorizontalPodAutoscaler = namespaced,
}

impl Cache {
    /// The store of one kind.
    pub fn of<K: Kind>(&self) -> &Store<K> {
        K::store(self)
    }

    fn watch<K: Kind>(self: &Arc<Self>, client: &Client, tasks: &TaskTracker, stop: &CancellationToken) {
        let store = self.of::<K>();
        let listeners = std::mem::take(&mut *store.pending.write().unwrap_or_else(PoisonError::into_inner));
        assert!(store.listeners.set(listeners).is_ok(), "a cache is started once");
        let api: Api<K> = Api::all(client.clone());
        let (cache, stop) = (self.clone(), stop.clone());
        tasks.spawn(stop.run_until_cancelled_owned(async move {
            let mut events = watcher(api, watcher::Config::default()).backoff(Pace::default()).boxed();
            loop {
                match events.try_next().await {
                    Ok(Some(event)) => cache.of::<K>().event(event),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(kind = %K::kind(&()), error = %error, "A watch was interrupted and starts again.");
                    }
                }
            }
        }));
    }
}

/// How long a watch that failed waits before it is opened again: the server is in this process.
#[derive(Debug, Default)]
struct Pace(u32);

impl Iterator for Pace {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0 = (self.0 + 1).min(6);
        Some(Duration::from_millis(50) * 2_u32.pow(self.0))
    }
}

impl kube::runtime::utils::Backoff for Pace {
    fn reset(&mut self) {
        self.0 = 0;
    }
}
