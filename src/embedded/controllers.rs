//! The controllers of the embedded cluster: from what is asked for to what is there.
//!
//! Each controller is a pure function from what the [`Cache`] holds to the writes that come next; this module
//! says which change concerns which controller, reads, decides, writes. It knows the API only as a
//! [`kube::Client`] and does not know the node.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Endpoints, Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::catalog::{Catalog, Served};
use self::change::{Change, Write};
use self::deployment::Decision;
use self::garbage::Graph;
use super::cache::{Cache, Key, Kind};
use super::queue::Queue;
use crate::clock::Clock;

mod autoscaler;
mod catalog;
mod change;
mod cron_job;
mod deployment;
mod disruption;
pub(crate) mod endpoints;
mod garbage;
mod job;
mod namespace;
mod owner;
pub(crate) mod pods;
mod replica_set;
mod template;

/// The field manager of everything that a controller writes.
pub const MANAGER: &str = "kube-controller-manager";

/// How many decisions are taken side by side.
const WORKERS: usize = 4;

/// Why the controllers could not start.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The API did not say what it serves.
    #[error("the embedded cluster did not say which kinds it serves")]
    Discovery {
        /// What it answered.
        #[source]
        source: kube::Error,
    },
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Task {
    Deployment(Key),
    ReplicaSet(Key),
    Job(Key),
    CronJob(Key),
    Endpoints(Key),
    Disruption(Key),
    Autoscaler(Key),
    Namespace(Key),
    Garbage(String),
}

/// Why a task has to be tried again.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error("a write was refused")]
    Api(#[from] kube::Error),
    #[error("a CronJob cannot be scheduled")]
    Schedule(#[from] cron_job::ScheduleError),
}

struct Controllers {
    client: Client,
    cache: Arc<Cache>,
    clock: Clock,
    queue: Arc<Queue<Task>>,
    catalog: Catalog,
    graph: Graph,
}

/// Starts all controllers; they end with `stop`.
///
/// It is called before [`Cache::start`], so that no change is missed.
///
/// # Errors
/// When the API does not say which kinds it serves.
pub async fn start(
    client: &Client,
    cache: &Arc<Cache>,
    clock: &Clock,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), ControllerError> {
    let catalog = Catalog::read(client).await.map_err(|source| ControllerError::Discovery { source })?;
    let queue = Arc::new(Queue::new(clock.clone()));
    listen(cache, &queue);
    let controllers = Arc::new(Controllers {
        client: client.clone(),
        cache: cache.clone(),
        clock: clock.clone(),
        queue,
        catalog,
        graph: Graph::default(),
    });
    for served in controllers.catalog.all() {
        let watch = controllers.clone().watch_owners(served.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(watch));
    }
    for _ in 0..WORKERS {
        tasks.spawn(stop.clone().run_until_cancelled_owned(controllers.clone().work()));
    }
    Ok(())
}

/// Says which change concerns which controller.
fn listen(cache: &Arc<Cache>, queue: &Arc<Queue<Task>>) {
    own::<Deployment>(cache, queue, Task::Deployment);
    own::<ReplicaSet>(cache, queue, Task::ReplicaSet);
    own::<Job>(cache, queue, Task::Job);
    own::<CronJob>(cache, queue, Task::CronJob);
    own::<Service>(cache, queue, Task::Endpoints);
    own::<PodDisruptionBudget>(cache, queue, Task::Disruption);
    own::<HorizontalPodAutoscaler>(cache, queue, Task::Autoscaler);
    own::<Namespace>(cache, queue, Task::Namespace);
    owned::<ReplicaSet>(cache, queue);
    owned::<Job>(cache, queue);
    owned::<Pod>(cache, queue);
    listen_to_pods(cache, queue);
    listen_to_targets(cache, queue);
    let due = queue.clone();
    cache.of::<EndpointSlice>().on_change(move |old, new| {
        for slice in [old, new].into_iter().flatten() {
            let name = slice.metadata.labels.as_ref().and_then(|all| all.get("kubernetes.io/service-name"));
            let namespace = slice.metadata.namespace.clone().unwrap_or_default();
            if let Some(name) = name {
                due.add(Task::Endpoints(Key::new(namespace, name)));
            }
        }
    });
    let due = queue.clone();
    cache.of::<Endpoints>().on_change(move |old, new| {
        if let Some(held) = new.or(old) {
            due.add(Task::Endpoints(Key::of(held)));
        }
    });
}

fn own<K: Kind>(cache: &Cache, queue: &Arc<Queue<Task>>, task: fn(Key) -> Task) {
    let due = queue.clone();
    cache.of::<K>().on_change(move |old, new| {
        if let Some(object) = new.or(old) {
            due.add(task(Key::of(object)));
        }
    });
}

/// A change of something concerns whoever controls it.
fn owned<K: Kind>(cache: &Cache, queue: &Arc<Queue<Task>>) {
    let due = queue.clone();
    cache.of::<K>().on_change(move |old, new| {
        for meta in [old, new].into_iter().flatten().map(Resource::meta) {
            if let Some(task) = controller_of(meta) {
                due.add(task);
            }
        }
    });
}

fn controller_of(meta: &ObjectMeta) -> Option<Task> {
    let owner = owner::controller(meta)?;
    let key = Key::new(meta.namespace.clone().unwrap_or_default(), owner.name.clone());
    match owner.kind.as_str() {
        "Deployment" => Some(Task::Deployment(key)),
        "ReplicaSet" => Some(Task::ReplicaSet(key)),
        "Job" => Some(Task::Job(key)),
        "CronJob" => Some(Task::CronJob(key)),
        _ => None,
    }
}

/// A change of a pod concerns the Services and budgets that select it, and a Deployment that waits for its end.
fn listen_to_pods(cache: &Arc<Cache>, queue: &Arc<Queue<Task>>) {
    let (due, all) = (queue.clone(), Arc::downgrade(cache));
    cache.of::<Pod>().on_change(move |old, new| {
        let Some(cache) = all.upgrade() else { return };
        for pod in [old, new].into_iter().flatten() {
            let namespace = pod.metadata.namespace.clone().unwrap_or_default();
            for service in cache.of::<Service>().list(&namespace) {
                if endpoints::selects(&service, pod) {
                    due.add(Task::Endpoints(Key::of(&*service)));
                }
            }
            for budget in cache.of::<PodDisruptionBudget>().list(&namespace) {
                if disruption::selects(&budget, pod.metadata.labels.as_ref()) {
                    due.add(Task::Disruption(Key::of(&*budget)));
                }
            }
        }
        if let (Some(pod), None) = (old, new)
            && let Some(owner) = owner::controller(&pod.metadata)
            && let Some(set) = cache.of::<ReplicaSet>().get(&sibling(&pod.metadata, &owner.name))
            && let Some(task) = controller_of(&set.metadata)
        {
            due.add(task);
        }
    });
}

/// A change of a Deployment concerns the autoscalers that scale it and the budgets that select its pods.
fn listen_to_targets(cache: &Arc<Cache>, queue: &Arc<Queue<Task>>) {
    let (due, all) = (queue.clone(), Arc::downgrade(cache));
    cache.of::<Deployment>().on_change(move |old, new| {
        let Some(cache) = all.upgrade() else { return };
        for deployment in [old, new].into_iter().flatten() {
            let namespace = deployment.metadata.namespace.clone().unwrap_or_default();
            for autoscaler in cache.of::<HorizontalPodAutoscaler>().list(&namespace) {
                let target = autoscaler.spec.as_ref().map(|spec| &spec.scale_target_ref.name);
                if target == deployment.metadata.name.as_ref() {
                    due.add(Task::Autoscaler(Key::of(&*autoscaler)));
                }
            }
            let pods = deployment.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
            for budget in cache.of::<PodDisruptionBudget>().list(&namespace) {
                if disruption::selects(&budget, pods.and_then(|pods| pods.labels.as_ref())) {
                    due.add(Task::Disruption(Key::of(&*budget)));
                }
            }
        }
    });
}

/// The key of another object in the same namespace.
fn sibling(meta: &ObjectMeta, name: &str) -> Key {
    Key::new(meta.namespace.clone().unwrap_or_default(), name)
}

/// Whether somebody else was faster: the object has changed or gone since it was read.
fn is_race(error: &TaskError) -> bool {
    matches!(error, TaskError::Api(kube::Error::Api(status)) if matches!(status.code, 404 | 409))
}

impl Controllers {
    async fn work(self: Arc<Self>) {
        self.cache.synced().await;
        loop {
            let task = self.queue.next().await;
            let outcome = self.perform(&task).await;
            match &outcome {
                Ok(Some(delay)) => self.queue.add_after(task.clone(), *delay),
                Ok(None) => {}
                Err(error) if is_race(error) => {
                    tracing::debug!(task = ?task, error = %error, "A decision was overtaken and is taken anew.");
                }
                Err(error) => {
                    let error: &dyn std::error::Error = error;
                    tracing::warn!(task = ?task, error, "A controller could not do its work and tries again.");
                }
            }
            self.queue.done(&task, outcome.is_ok());
        }
    }

    /// Reads, decides and writes for one object, and says when to look again.
    async fn perform(&self, task: &Task) -> Result<Option<Duration>, TaskError> {
        let decision = match task {
            Task::Deployment(key) => self.deployment(key),
            Task::ReplicaSet(key) => return self.replica_set(key).await,
            Task::Job(key) => self.job(key),
            Task::CronJob(key) => self.cron_job(key)?,
            Task::Endpoints(key) => self.endpoints(key),
            Task::Disruption(key) => self.disruption(key),
            Task::Autoscaler(key) => self.autoscaler(key),
            Task::Namespace(key) => return self.namespace(key).await,
            Task::Garbage(uid) => {
                for due in garbage::collect(&self.client, &self.catalog, &self.graph, uid, MANAGER).await? {
                    self.queue.add(Task::Garbage(due));
                }
                return Ok(None);
            }
        };
        self.write(decision).await
    }

    async fn write(&self, decision: Decision) -> Result<Option<Duration>, TaskError> {
        for write in decision.writes {
            write.perform(&self.client, &self.cache, MANAGER).await?;
        }
        Ok(decision.again)
    }

    fn deployment(&self, key: &Key) -> Decision {
        let Some(deployment) = self.cache.of::<Deployment>().get(key) else { return Decision::default() };
        let sets = self.cache.of::<ReplicaSet>().list(&key.namespace);
        let pods = self.cache.of::<Pod>().list(&key.namespace);
        deployment::decide(&deployment, sets, &pods, self.clock.now())
    }

    async fn replica_set(&self, key: &Key) -> Result<Option<Duration>, TaskError> {
        let Some(set) = self.cache.of::<ReplicaSet>().get(key) else { return Ok(None) };
        let pods = self.cache.of::<Pod>().list(&key.namespace);
        let decision = replica_set::decide(&set, pods, self.clock.now());
        let makes_pods = decision.writes.iter().any(|write| matches!(write, Write::Pod(Change::Create(_))));
        let outcome = self.write(decision).await;
        let refusal = match &outcome {
            Err(TaskError::Api(kube::Error::Api(status)))
                if makes_pods && !matches!(status.code, 404 | 409) =>
            {
                Some(status.message.clone())
            }
            _ => None,
        };
        if let Some(told) = replica_set::failure(&set, refusal.as_deref(), self.clock.now()) {
            Write::from(told).perform(&self.client, &self.cache, MANAGER).await?;
        }
        outcome
    }

    fn job(&self, key: &Key) -> Decision {
        let pods = self.cache.of::<Pod>().list(&key.namespace);
        match self.cache.of::<Job>().get(key) {
            Some(job) => job::decide(&job, &pods, self.clock.now()),
            None => job::abandon(key, &pods),
        }
    }

    fn cron_job(&self, key: &Key) -> Result<Decision, TaskError> {
        let Some(cron) = self.cache.of::<CronJob>().get(key) else { return Ok(Decision::default()) };
        let jobs = self.cache.of::<Job>().list(&key.namespace);
        Ok(cron_job::decide(&cron, &jobs, self.clock.now())?)
    }

    fn endpoints(&self, key: &Key) -> Decision {
        let Some(service) = self.cache.of::<Service>().get(key) else {
            let stale = self.cache.of::<Endpoints>().get(key);
            return endpoints::abandon(stale.as_deref());
        };
        endpoints::decide(&endpoints::View {
            service,
            pods: self.cache.of::<Pod>().list(&key.namespace),
            slices: self.cache.of::<EndpointSlice>().list(&key.namespace),
            endpoints: self.cache.of::<Endpoints>().get(key),
        })
    }

    fn disruption(&self, key: &Key) -> Decision {
        let Some(budget) = self.cache.of::<PodDisruptionBudget>().get(key) else {
            return Decision::default();
        };
        let pods = self.cache.of::<Pod>().list(&key.namespace);
        disruption::decide(&budget, &pods, |selected| self.expected(selected), self.clock.now())
    }

    /// The pods that the controllers of the selected ones are asked for.
    fn expected(&self, selected: &[&Arc<Pod>]) -> i32 {
        let mut asked = std::collections::BTreeMap::new();
        for pod in selected {
            let set = owner::controller(&pod.metadata)
                .and_then(|owner| self.cache.of::<ReplicaSet>().get(&sibling(&pod.metadata, &owner.name)));
            let Some(set) = set else {
                asked.insert(Key::of(&***pod), 1);
                continue;
            };
            let deployment = owner::controller(&set.metadata)
                .and_then(|owner| self.cache.of::<Deployment>().get(&sibling(&set.metadata, &owner.name)));
            let replicas = match &deployment {
                Some(deployment) => deployment.spec.as_ref().and_then(|spec| spec.replicas),
                None => set.spec.as_ref().and_then(|spec| spec.replicas),
            };
            let key = deployment.map_or_else(|| Key::of(&*set), |deployment| Key::of(&*deployment));
            asked.insert(key, replicas.unwrap_or(1));
        }
        asked.values().sum()
    }

    fn autoscaler(&self, key: &Key) -> Decision {
        let Some(autoscaler) = self.cache.of::<HorizontalPodAutoscaler>().get(key) else {
            return Decision::default();
        };
        let target = autoscaler.spec.as_ref().map(|spec| &spec.scale_target_ref);
        let target = target.filter(|target| target.kind == "Deployment").and_then(|target| {
            self.cache.of::<Deployment>().get(&Key::new(key.namespace.clone(), target.name.clone()))
        });
        autoscaler::decide(&autoscaler, target.as_deref(), self.clock.now())
    }

    async fn namespace(&self, key: &Key) -> Result<Option<Duration>, TaskError> {
        let Some(namespace) = self.cache.of::<Namespace>().get(key) else { return Ok(None) };
        Ok(namespace::empty(&self.client, &self.catalog, &namespace).await?)
    }

    /// Keeps the graph of owners up to date for one kind.
    async fn watch_owners(self: Arc<Self>, served: Served) {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(self.client.clone(), &served.resource);
        let mut events = watcher(api, watcher::Config::default()).default_backoff().boxed();
        let mut listed = BTreeSet::new();
        loop {
            let due = match events.try_next().await {
                Ok(Some(watcher::Event::Apply(object))) => self.graph.put(&served, object.metadata),
                Ok(Some(watcher::Event::Delete(object))) => {
                    self.graph.remove(object.metadata.uid.as_deref().unwrap_or_default())
                }
                Ok(Some(watcher::Event::Init)) => {
                    listed.clear();
                    BTreeSet::new()
                }
                Ok(Some(watcher::Event::InitApply(object))) => {
                    listed.extend(object.metadata.uid.clone());
                    self.graph.put(&served, object.metadata)
                }
                Ok(Some(watcher::Event::InitDone)) => {
                    let gone = self.graph.of_kind(&served).into_iter().filter(|uid| !listed.contains(uid));
                    gone.flat_map(|uid| self.graph.remove(&uid)).collect()
                }
                Ok(None) => return,
                Err(error) => {
                    let kind = &served.resource.kind;
                    tracing::warn!(kind, error = %error, "A watch was interrupted and starts again.");
                    BTreeSet::new()
                }
            };
            for uid in due {
                self.queue.add(Task::Garbage(uid));
            }
        }
    }
}
