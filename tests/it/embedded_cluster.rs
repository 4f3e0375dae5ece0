//! A cluster in this process for stories: the embedded API, and a machine that runs its pods as processes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use branchline::clock::Clock;
use branchline::embedded::cache::Key;
use branchline::embedded::forward::{Addresses, choose};
use branchline::embedded::machine::{Machine, MachineOptions, listen};
use branchline::embedded::node::logs::Logs;
use branchline::embedded::process::{ProcessOptions, ProcessRuntime};
use branchline::embedded::{Embedded, EmbeddedOptions, KeepNothing};
use futures::{FutureExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

/// Time enough for a machine under load.
pub(crate) const PATIENCE: Duration = Duration::from_mins(3);

/// A kind that lies in the namespace.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static
{
}

impl<K> Kind for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static
{
}

/// A cluster whose node runs processes; one namespace, `shop`, and one artifact, `folder:app`.
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) root: tempfile::TempDir,
    /// Where hosts are served.
    pub(crate) proxy: SocketAddr,
    /// Where Services are listened for.
    pub(crate) addresses: Arc<Mutex<BTreeMap<Key, SocketAddr>>>,
    machine: Machine,
}

/// Addresses of Services as a caller with no store keeps them.
fn addresses(book: Arc<Mutex<BTreeMap<Key, SocketAddr>>>) -> Addresses {
    Arc::new(move |service, port| {
        let taken = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_err();
        let chosen = choose(&service, port, taken).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        book.lock().unwrap().extend(chosen.map(|address| (service, address)));
        async move { chosen }.boxed()
    })
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        let clock = Clock::system();
        let options = EmbeddedOptions { clock: clock.clone(), state: Arc::new(KeepNothing) };
        let embedded = Embedded::new(options).await.unwrap();
        let client = embedded.client();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("folders/app")).unwrap();
        let process = ProcessOptions {
            folders: {
                let folders = root.path().join("folders");
                Arc::new(move |key: &str| Some(folders.join(key)))
            },
            data: root.path().join("runtime"),
            program: PathBuf::from(env!("CARGO_BIN_EXE_branchline")),
            env: BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]),
            clock: clock.clone(),
        };
        let tasks = TaskTracker::new();
        let runtime = Arc::new(ProcessRuntime::new(process, tasks.clone()).unwrap());
        let logs = Logs::new(clock.clone());
        embedded.set_pod_logs(Arc::new(logs.clone()));
        let listener = listen(0).await.unwrap();
        let proxy = listener.local_addr().unwrap();
        let book: Arc<Mutex<BTreeMap<Key, SocketAddr>>> = Arc::default();
        let addresses = addresses(book.clone());
        let options = MachineOptions { clock, runtime, logs, addresses, proxy: listener, tasks };
        let machine = Machine::start(&client, options).await.unwrap();
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        Self { client, root, proxy, addresses: book, machine }
    }

    pub(crate) fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), "shop")
    }

    pub(crate) async fn apply<K: Kind>(&self, name: &str, object: &Value) {
        let params = PatchParams::apply("test").force();
        self.api::<K>().patch(name, &params, &Patch::Apply(object)).await.unwrap();
    }

    /// Waits until the object satisfies `done`, and returns it; panics with the last state seen.
    pub(crate) async fn wait<K: Kind>(&self, name: &str, done: impl Fn(&K) -> bool) -> K {
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
        let seen = tokio::time::timeout(PATIENCE, seen).await.ok();
        seen.unwrap_or_else(|| panic!("{name} did not come to it: {last:#?}"))
    }

    /// Waits until no object of the kind is left.
    pub(crate) async fn wait_for_none<K: Kind>(&self) {
        let gone = async {
            loop {
                let left = self.api::<K>().list(&ListParams::default()).await.unwrap();
                if left.items.is_empty() {
                    return;
                }
                let since = left.metadata.resource_version.unwrap();
                let news = self.api::<K>().watch(&WatchParams::default(), &since).await.unwrap();
                let _ = std::pin::pin!(news).try_next().await.unwrap();
            }
        };
        if tokio::time::timeout(PATIENCE, gone).await.is_err() {
            let left = self.api::<K>().list(&ListParams::default()).await.unwrap();
            panic!("these did not go: {:#?}", left.items);
        }
    }

    /// The pods that are to stay.
    pub(crate) async fn pods(&self) -> Vec<Pod> {
        let pods = self.api::<Pod>().list(&ListParams::default()).await.unwrap();
        pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
    }

    /// Ends the cluster, and with it every process.
    pub(crate) async fn end(self) {
        tokio::time::timeout(PATIENCE, self.machine.stop()).await.expect("all tasks end");
        let records = std::fs::read_dir(self.root.path().join("runtime/run")).unwrap().count();
        assert_eq!(records, 0, "every supervisor has ended");
    }
}

/// A Deployment `web` with one container of `folder:app`, port `http`.
pub(crate) fn deployment(replicas: i32, command: &Value, more: &Value) -> Value {
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
                "spec": {"terminationGracePeriodSeconds": 3, "containers": [container]},
            },
        },
    })
}

/// The Service `web` in front of that Deployment.
pub(crate) fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}

/// The host `web.localhost` in front of that Service.
pub(crate) fn ingress() -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"rules": [{"host": "web.localhost", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"name": "http"}}}},
        ]}}]},
    })
}

/// Asked at once and then every second.
pub(crate) fn probe() -> Value {
    json!({"readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1}})
}

/// Whether the rollout is over and everything available.
pub(crate) fn is_live(replicas: i32) -> impl Fn(&Deployment) -> bool {
    move |deployment| {
        let Some(status) = &deployment.status else { return false };
        let mut conditions = status.conditions.iter().flatten();
        let progressing =
            conditions.find(|held| held.type_ == "Progressing").and_then(|held| held.reason.as_deref());
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == Some(replicas)
            && status.replicas == Some(replicas)
            && status.available_replicas == Some(replicas)
            && progressing == Some("NewReplicaSetAvailable")
    }
}

/// A server in a few words of Python, which answers GET with what it is told to say and POST with what it is sent,
/// adds who asked as a header, and echoes after an upgrade.
pub(crate) fn server(words: &str) -> Value {
    let program = r"
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self, body):
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Seen', self.headers.get('x-forwarded-host', '') + ' ' + self.headers.get('x-forwarded-proto', ''))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.headers.get('upgrade') == 'echo':
            self.send_response(101)
            self.send_header('Connection', 'upgrade')
            self.send_header('Upgrade', 'echo')
            self.end_headers()
            while True:
                some = self.rfile.read1(100)
                if not some: break
                self.wfile.write(some.upper())
            self.close_connection = True
        elif self.path == '/stream':
            self.send_response(200)
            self.send_header('Transfer-Encoding', 'chunked')
            self.end_headers()
            self.wfile.write(b'5\r\nfirst\r\n')
            while not os.path.exists('go-on'): pass
            self.wfile.write(b'6\r\nsecond\r\n0\r\n\r\n')
        else:
            self.answer(WORDS)
    def do_POST(self):
        self.answer(self.rfile.read(int(self.headers['Content-Length'])))
    def log_message(self, *args): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
print('listening', flush=True)
Server(('127.0.0.1', int(os.environ['PORT'])), Handler).serve_forever()
";
    json!(["python3", "-c", program.replace("WORDS", &format!("b'{words}'"))])
}
