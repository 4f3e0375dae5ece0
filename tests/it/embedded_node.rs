//! The embedded cluster with its controllers and its node: what is asked for comes to run, as real processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use branchline::clock::Clock;
use branchline::embedded::cache::Cache;
use branchline::embedded::node::logs::Logs;
use branchline::embedded::node::{self, NodeOptions};
use branchline::embedded::process::{ProcessOptions, ProcessRuntime};
use branchline::embedded::{Embedded, EmbeddedOptions, KeepNothing, controllers};
use futures::TryStreamExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Time enough for a machine under load.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster whose node runs processes; one namespace, `shop`.
struct Cluster {
    client: Client,
    root: tempfile::TempDir,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Cluster {
    async fn start() -> Self {
        let clock = Clock::system();
        let options = EmbeddedOptions { clock: clock.clone(), state: Arc::new(KeepNothing) };
        let embedded = Embedded::new(options).await.unwrap();
        let client = embedded.client();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("folders/app")).unwrap();
        let (tasks, stop, cache) = (TaskTracker::new(), CancellationToken::new(), Arc::new(Cache::default()));
        let process = ProcessOptions {
            folders: {
                let folders = root.path().join("folders");
                std::sync::Arc::new(move |key: &str| Some(folders.join(key)))
            },
            data: root.path().join("runtime"),
            program: PathBuf::from(env!("CARGO_BIN_EXE_branchline")),
            env: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]),
            clock: clock.clone(),
        };
        let runtime = Arc::new(ProcessRuntime::new(process, tasks.clone()).unwrap());
        let logs = Logs::new(clock.clone());
        embedded.set_pod_logs(Arc::new(logs.clone()));
        controllers::start(&client, &cache, &clock, &tasks, &stop).await.unwrap();
        let node = NodeOptions { client: client.clone(), cache: cache.clone(), clock, runtime, logs };
        node::start(node, &tasks, &stop);
        cache.start(&client, &tasks, &stop);
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        Self { client, root, tasks, stop }
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), "shop")
    }

    async fn apply<K>(&self, name: &str, object: &Value)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let params = PatchParams::apply("test").force();
        self.api::<K>().patch(name, &params, &Patch::Apply(object)).await.unwrap();
    }

    /// Waits until the object satisfies `done`, and returns it; panics with the last state seen.
    async fn wait<K>(&self, name: &str, done: impl Fn(&K) -> bool) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + 'static,
    {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut last = None;
        let seen = async {
            let mut events = std::pin::pin!(watcher(self.api::<K>(), config).applied_objects());
            while let Some(object) = events.try_next().await.unwrap() {
                if done(&object) {
                    return object;
                }
                last = Some(object);
            }
            panic!("the watch ended");
        };
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(object) => object,
            Err(_) => panic!("{name} did not come to it: {last:#?}"),
        }
    }

    async fn wait_for_none<K>(&self)
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug
            + Send
            + 'static,
    {
        let gone = async {
            loop {
                let left = self.api::<K>().list(&ListParams::default()).await.unwrap();
                if left.items.is_empty() {
                    return;
                }
                let since = left.metadata.resource_version.unwrap();
                let mut news = std::pin::pin!(
                    self.api::<K>().watch(&kube::api::WatchParams::default(), &since).await.unwrap()
                );
                let _ = news.try_next().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.unwrap();
    }

    async fn pods(&self) -> Vec<Pod> {
        let pods = self.api::<Pod>().list(&ListParams::default()).await.unwrap();
        pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
    }

    /// Ends the cluster, and with it every process.
    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("all tasks end");
        let records = std::fs::read_dir(self.root.path().join("runtime/run")).unwrap().count();
        assert_eq!(records, 0, "every supervisor has ended");
    }
}

/// A server in a few words of Python, which answers with what it is told to say.
fn server(words: &str) -> String {
    format!(
        "import http.server, os\n\
         class Handler(http.server.BaseHTTPRequestHandler):\n\
         \x20   def do_GET(self):\n\
         \x20       body = b'{words}'\n\
         \x20       self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()\n\
         \x20       self.wfile.write(body)\n\
         \x20   def log_message(self, *args): pass\n\
         print('listening', flush=True)\n\
         http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()\n"
    )
}

fn deployment(replicas: i32, command: &Value, more: &Value) -> Value {
    let mut container = json!({
        "name": "web", "image": "folder:app", "command": command,
        "ports": [{"name": "http", "containerPort": 3000}],
    });
    for (name, value) in more.as_object().unwrap() {
        container[name] = value.clone();
    }
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 2, "containers": [container]},
            },
        },
    })
}

fn probe() -> Value {
    json!({"readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}})
}

fn is_live(replicas: i32) -> impl Fn(&Deployment) -> bool {
    move |deployment| {
        let Some(status) = &deployment.status else { return false };
        let progressing = status
            .conditions
            .iter()
            .flatten()
            .find(|held| held.type_ == "Progressing")
            .and_then(|held| held.reason.as_deref());
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == Some(replicas)
            && status.replicas == Some(replicas)
            && status.available_replicas == Some(replicas)
            && progressing == Some("NewReplicaSetAvailable")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_comes_to_run_rolls_over_and_goes() {
    let cluster = Cluster::start().await;
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    });
    cluster.apply::<k8s_openapi::api::core::v1::Service>("web", &service).await;
    let command = |words: &str| json!(["python3", "-c", server(words)]);
    cluster.apply::<Deployment>("web", &deployment(2, &command("one"), &probe())).await;
    cluster.wait("web", is_live(2)).await;
    let slices: Vec<EndpointSlice> = cluster.api().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(slices.len(), 2, "each pod has a port of its own");
    for slice in &slices {
        let port = slice.ports.as_ref().unwrap()[0].port.unwrap();
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/")).await.unwrap().text().await.unwrap();
        assert_eq!(answer, "one");
    }
    let pod = cluster.pods().await.remove(0).metadata.name.unwrap();
    let log = cluster.api::<Pod>().logs(&pod, &LogParams::default()).await.unwrap();
    assert_eq!(log, "listening\n");

    cluster.apply::<Deployment>("web", &deployment(2, &command("two"), &probe())).await;
    let rolled = cluster.wait("web", is_live(2)).await;
    assert_eq!(rolled.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"], "2");

    cluster.api::<Deployment>().delete("web", &DeleteParams::background()).await.unwrap();
    cluster.wait_for_none::<Pod>().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_fails_is_started_again_and_says_why_it_waits() {
    let cluster = Cluster::start().await;
    let pod = |name: &str, spec: &Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    let container = |image: &str, script: &str| json!({"containers": [{"name": "main", "image": image, "command": ["sh", "-c", script]}]});
    cluster.apply::<Pod>("crash", &pod("crash", &container("folder:app", "echo broken; exit 7"))).await;
    cluster.apply::<Pod>("image", &pod("image", &container("nginx:1", ""))).await;
    cluster.apply::<Pod>("folder", &pod("folder", &container("folder:absent", ""))).await;
    let waiting = |reason: &'static str| {
        move |pod: &Pod| {
            let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            let state = statuses.and_then(|all| all.first()?.state.as_ref()?.waiting.as_ref());
            state.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
        }
    };
    let crash = cluster.wait("crash", waiting("CrashLoopBackOff")).await;
    let state = crash.status.unwrap().container_statuses.unwrap().remove(0);
    assert_eq!(state.restart_count, 1, "the first restart is at once");
    assert_eq!(state.last_state.unwrap().terminated.unwrap().exit_code, 7);
    assert!(
        state
            .state
            .unwrap()
            .waiting
            .unwrap()
            .message
            .unwrap()
            .starts_with("back-off 10s restarting failed container=main")
    );
    let previous = LogParams { previous: true, ..LogParams::default() };
    assert_eq!(cluster.api::<Pod>().logs("crash", &previous).await.unwrap(), "broken\n");
    for name in ["image", "folder"] {
        let pod = cluster.wait(name, waiting("ErrImagePull")).await;
        let state = pod.status.unwrap().container_statuses.unwrap().remove(0).state.unwrap();
        let message = state.waiting.unwrap().message.unwrap();
        let expected = if name == "image" { "needs the Docker runtime" } else { "is not on this machine" };
        assert!(message.contains(expected), "{message}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_to_its_end_and_a_failing_one_gives_up() {
    let cluster = Cluster::start().await;
    let job = |name: &str, script: &str| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [
                {"name": "main", "image": "folder:app", "command": ["sh", "-c", script]},
            ]}}},
        })
    };
    cluster.apply::<Job>("good", &job("good", "echo done")).await;
    cluster.apply::<Job>("bad", &job("bad", "exit 1")).await;
    let ended = |job: &Job| {
        let conditions = job.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|held| matches!(held.type_.as_str(), "Complete" | "Failed"))
    };
    let good = cluster.wait::<Job>("good", ended).await.status.unwrap();
    assert_eq!((good.succeeded, good.failed), (Some(1), None));
    let bad = cluster.wait::<Job>("bad", ended).await.status.unwrap();
    assert_eq!((bad.succeeded, bad.failed), (None, Some(1)));
    let foreground =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    cluster.api::<Job>().delete("good", &foreground).await.unwrap();
    cluster.api::<Job>().delete("bad", &DeleteParams::background()).await.unwrap();
    cluster.wait_for_none::<Job>().await;
    cluster.wait_for_none::<Pod>().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_namespace_ends_all_that_is_in_it() {
    let cluster = Cluster::start().await;
    cluster.apply::<Deployment>("web", &deployment(1, &json!(["sleep", "300"]), &json!({}))).await;
    cluster.wait("web", is_live(1)).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    cluster.wait_for_none::<Deployment>().await;
    cluster.wait_for_none::<Pod>().await;
    let gone = async {
        while namespaces.get_opt("shop").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the namespace goes");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_no_longer_alive_is_started_again() {
    let cluster = Cluster::start().await;
    let script = "echo up; sleep 300";
    let liveness = json!({"livenessProbe": {"exec": {"command": ["test", "!", "-e", "sick"]}, "periodSeconds": 1, "failureThreshold": 1}});
    cluster.apply::<Deployment>("web", &deployment(1, &json!(["sh", "-c", script]), &liveness)).await;
    cluster.wait("web", is_live(1)).await;
    let name = cluster.pods().await.remove(0).metadata.name.unwrap();
    let sick = cluster.root.path().join("folders/app/sick");
    std::fs::write(&sick, "").unwrap();
    let restarted = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        statuses.is_some_and(|all| all[0].restart_count > 0)
    };
    cluster.wait::<Pod>(&name, restarted).await;
    cluster.end().await;
}
