//! The one node of the embedded cluster: it takes every pod, runs it, and tells what became of it.
//!
//! It is scheduler and kubelet in one. What really runs a container is behind [`runtime::Runtime`]. It knows the
//! API only as a [`kube::Client`] and nothing of Deployments.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::events::Recorder;
use self::logs::Logs;
use self::pod::Context;
use self::runtime::Runtime;
use super::cache::{Cache, Key, uid};
use super::controllers::pods::is_finished;
use super::queue::Queue;
use crate::clock::Clock;

mod container;
mod environment;
mod events;
pub mod logs;
mod pod;
mod probe;
pub mod runtime;
mod status;

/// The name of the node.
pub const NODE: &str = "this-machine";
/// The field manager of what the node writes.
pub(crate) const MANAGER: &str = "kubelet";
/// The field manager of what gives a pod to the node.
const SCHEDULER: &str = "kube-scheduler";
/// The pause between tries of a request that failed.
const RETRY: Duration = Duration::from_millis(200);
/// As many pods as may run at once: a bound against a loop, not a promise.
const MOST_PODS: u32 = 500;

/// What a pod's task sees of its pod.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    /// It stands in the API.
    Here(Arc<Pod>),
    /// It has been taken out of the API.
    Gone,
    /// The node stops.
    Farewell,
}

/// What a node is made of.
pub struct NodeOptions {
    /// The API.
    pub client: Client,
    /// What the API holds; it is started after the node.
    pub cache: Arc<Cache>,
    /// The time of statuses, backoffs and probes.
    pub clock: Clock,
    /// What runs containers.
    pub runtime: Arc<dyn Runtime>,
    /// Where the containers' output is kept.
    pub logs: Logs,
}

/// Starts the node; it ends its pods and itself with `stop`.
///
/// It is called before [`Cache::start`], so that no change is missed. Whoever stops it waits for `tasks`, so that
/// pods have ended before the program does.
pub fn start(options: NodeOptions, tasks: &TaskTracker, stop: &CancellationToken) {
    let events = Recorder::start(options.client.clone(), options.clock.clone(), tasks, stop);
    let queue = Arc::new(Queue::new(options.clock.clone()));
    let due = queue.clone();
    options.cache.of::<Pod>().on_change(move |old, new| {
        if let Some(pod) = new.or(old) {
            due.add(Key::of(pod));
        }
    });
    let context = Arc::new(Context {
        client: options.client,
        cache: options.cache,
        clock: options.clock,
        runtime: options.runtime,
        logs: options.logs,
        events,
    });
    let node = Node { context, queue, pods: Mutex::default(), tasks: tasks.clone() };
    tasks.spawn(node.run(stop.clone()));
}

struct Node {
    context: Arc<Context>,
    queue: Arc<Queue<Key>>,
    /// The pods that run here, by UID.
    pods: Mutex<BTreeMap<String, (Key, watch::Sender<Seen>)>>,
    tasks: TaskTracker,
}

impl Node {
    async fn run(self, stop: CancellationToken) {
        let register = register(&self.context.client, &self.context.clock, self.context.runtime.name());
        if stop.run_until_cancelled(register).await.is_none() {
            return;
        }
        while let Some(key) = stop.run_until_cancelled(self.queue.next()).await {
            let looked = self.look(&key).await;
            if let Err(error) = &looked {
                tracing::debug!(pod = %key, error = %error, "A pod could not be bound to the node and is tried again.");
            }
            self.queue.done(&key, looked.is_ok());
        }
        for (_, seen) in self.pods.lock().unwrap_or_else(PoisonError::into_inner).values() {
            seen.send_replace(Seen::Farewell);
        }
    }

    /// Looks at a pod that has changed.
    async fn look(&self, key: &Key) -> Result<(), kube::Error> {
        let pod = self.context.cache.of::<Pod>().get(key);
        self.say_gone(key, pod.as_deref());
        let Some(pod) = pod else { return Ok(()) };
        let uid = uid(&*pod);
        let known =
            self.pods.lock().unwrap_or_else(PoisonError::into_inner).get(&uid).map(|(_, seen)| seen.clone());
        if let Some(seen) = known {
            seen.send_replace(Seen::Here(pod));
            return Ok(());
        }
        match pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) {
            Some(NODE) => self.adopt(key, uid, pod),
            Some(_) => {}
            None if pod.metadata.deletion_timestamp.is_some() || is_finished(&pod) => {}
            None => return self.bind(&pod).await,
        }
        Ok(())
    }

    /// Tells the tasks of pods of that name that theirs is no longer the one in the API.
    fn say_gone(&self, key: &Key, now: Option<&Pod>) {
        let here = now.map(uid);
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        pods.retain(|uid, (held, seen)| {
            let stays = held != key || here.as_ref() == Some(uid);
            if !stays {
                seen.send_replace(Seen::Gone);
            }
            stays
        });
    }

    fn adopt(&self, key: &Key, uid: String, pod: Arc<Pod>) {
        if is_finished(&pod) && pod.metadata.deletion_timestamp.is_none() {
            return;
        }
        let (seen, view) = watch::channel(Seen::Here(pod.clone()));
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, (key.clone(), seen));
        self.tasks.spawn(pod::run(self.context.clone(), pod, view));
    }

    /// Gives a pod to this node, the only one there is.
    async fn bind(&self, pod: &Pod) -> Result<(), kube::Error> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), &namespace);
        let params = PatchParams { field_manager: Some(SCHEDULER.to_owned()), ..PatchParams::default() };
        // the embedded API takes a node's name here; it has no subresource `binding`
        let body = json!({"metadata": {"uid": pod.metadata.uid}, "spec": {"nodeName": NODE}});
        match api.patch(&name, &params, &Patch::Merge(&body)).await {
            Ok(bound) => {
                self.context.cache.of::<Pod>().observe(bound);
                Ok(())
            }
            // it went, or another hand was faster: the watch tells
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Writes the node into the API, trying until that is done.
async fn register(client: &Client, clock: &Clock, runtime: &str) {
    let api: Api<NodeObject> = Api::all(client.clone());
    let params =
        PatchParams { field_manager: Some(MANAGER.to_owned()), force: true, ..PatchParams::default() };
    let labels = json!({
        "kubernetes.io/hostname": NODE,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
    });
    let node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}, "spec": {}});
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    loop {
        let now = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let room = json!({"cpu": processors.to_string(), "pods": MOST_PODS.to_string()});
        let status = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}, "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": NODE}],
            "capacity": room,
            "allocatable": room,
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady",
                "message": "branchline runs pods on this machine",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            }],
            "nodeInfo": {
                "architecture": architecture(), "operatingSystem": "linux",
                "containerRuntimeVersion": format!("{runtime}://{}", env!("CARGO_PKG_VERSION")),
                "kubeletVersion": concat!("v1.34.0-branchline-", env!("CARGO_PKG_VERSION")),
                "bootID": "", "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "osImage": "", "systemUUID": "",
            },
        }});
        let written = async {
            api.patch(NODE, &params, &Patch::Apply(&node)).await?;
            api.patch_status(NODE, &params, &Patch::Apply(&status)).await
        };
        match written.await {
            Ok(_) => return,
            Err(error) => tracing::warn!(error = %error, "The node could not be registered and tries again."),
        }
        clock.sleep(RETRY).await;
    }
}

/// The architecture in the words of Kubernetes.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
