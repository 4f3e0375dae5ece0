//! The embedded API where it differs from a server elsewhere: its port, what it keeps, and whose logs it shows.

use branchline::clock::Clock;
use branchline::embedded::{
    Embedded, EmbeddedOptions, KeepNothing, LogError, LogRequest, PodLogs, StateError, StateStore, Tls,
    kubeconfig,
};
use branchline::secret::Secret;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret as KubeSecret};
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

async fn cluster(state: Arc<dyn StateStore>) -> Embedded {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Embedded::new(EmbeddedOptions { clock: Clock::system(), state }).await.unwrap()
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// A cluster on a port of its own, and how to reach it.
struct Served {
    kubeconfig: String,
    base: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Served {
    async fn start() -> Self {
        let cluster = cluster(Arc::new(KeepNothing)).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tls = Tls::generate().unwrap();
        let token = || Secret::new("right".to_owned());
        let kubeconfig = kubeconfig(address, &tls, &token());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (served, stopped) = (tasks.clone(), stop.clone());
        tasks.spawn(async move { cluster.serve(listener, &tls, token(), &served, stopped).await });
        Self { kubeconfig, base: format!("https://{address}"), stop, tasks }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[tokio::test]
async fn the_kubeconfig_reaches_the_port() {
    let served = Served::start().await;
    let file: kube::config::Kubeconfig = serde_yaml::from_str(&served.kubeconfig).unwrap();
    let config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default())
        .await
        .unwrap();
    let client = kube::Client::try_from(config).unwrap();
    let names: Vec<String> = Api::<Namespace>::all(client)
        .list(&ListParams::default())
        .await
        .unwrap()
        .into_iter()
        .filter_map(|namespace| namespace.metadata.name)
        .collect();
    assert_eq!(names, ["default", "kube-node-lease", "kube-public", "kube-system"]);
    served.stop().await;
}

#[tokio::test]
async fn a_request_without_the_token_or_to_another_host_is_refused() {
    let served = Served::start().await;
    // the certificate is checked by the test above
    let client =
        reqwest::Client::builder().tls_danger_accept_invalid_certs(true).http1_only().build().unwrap();
    let ask = async |token: &str, host: Option<&str>| {
        let mut request = client.get(format!("{}/api/v1/namespaces", served.base)).bearer_auth(token);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let response = request.send().await.unwrap();
        let code = response.status().as_u16();
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        (code, body["reason"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(ask("right", None).await.0, 200);
    assert_eq!(ask("wrong", None).await, (401, "Unauthorized".to_owned()));
    assert_eq!(ask("", None).await, (401, "Unauthorized".to_owned()));
    assert_eq!(ask("right", Some("localhost:1")).await.0, 200);
    for foreign in ["evil.example", "127.0.0.1.nip.io:6443", "169.254.169.254"] {
        assert_eq!(ask("right", Some(foreign)).await, (403, "Forbidden".to_owned()), "{foreign}");
    }
    for origin in ["https://evil.example", "http://localhost:7070", "null"] {
        let request = client.get(format!("{}/version", served.base)).bearer_auth("right");
        let response = request.header("origin", origin).send().await.unwrap();
        assert_eq!(response.status(), 403, "a page of {origin} is answered by nobody");
    }
    served.stop().await;
}

/// A state store that outlives the cluster.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Vec<u8>>>);

impl StateStore for Kept {
    fn load_all(&self) -> BoxFuture<'_, Result<Vec<(String, Vec<u8>)>, StateError>> {
        Box::pin(async { Ok(self.0.lock().unwrap().clone().into_iter().collect()) })
    }

    fn put(&self, key: String, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async move {
            self.0.lock().unwrap().insert(key, bytes);
            Ok(())
        })
    }

    fn delete(&self, key: String) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async move {
            self.0.lock().unwrap().remove(&key);
            Ok(())
        })
    }
}

#[tokio::test]
async fn secrets_and_apply_set_parents_survive_a_restart_and_nothing_else_does() {
    let kept = Arc::new(Kept::default());
    let first = cluster(Arc::<Kept>::clone(&kept)).await.client();
    let namespace: Namespace = from(json!({"metadata": {"name": "shop"}}));
    Api::all(first.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let secrets: Api<KubeSecret> = Api::namespaced(first.clone(), "shop");
    for name in ["stays", "goes"] {
        let secret = from(json!({"metadata": {"name": name}, "stringData": {"password": "x"}}));
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    }
    secrets.delete("goes", &DeleteParams::default()).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(first, "shop");
    let parent =
        json!({"metadata": {"name": "parent", "labels": {"applyset.kubernetes.io/id": "applyset-1"}}});
    maps.create(&PostParams::default(), &from(parent)).await.unwrap();
    let annotate = json!({"metadata": {"annotations": {"a": "b"}}});
    maps.patch("parent", &PatchParams::default(), &Patch::Merge(&annotate)).await.unwrap();
    maps.create(&PostParams::default(), &from(json!({"metadata": {"name": "other"}}))).await.unwrap();

    let second = cluster(kept).await.client();
    let secret = Api::<KubeSecret>::namespaced(second.clone(), "shop").get("stays").await.unwrap();
    assert_eq!(secret.data.unwrap()["password"].0, b"x");
    let maps: Api<ConfigMap> = Api::namespaced(second.clone(), "shop");
    let names: Vec<_> = maps.list(&ListParams::default()).await.unwrap().into_iter().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].metadata.annotations.as_ref().unwrap()["a"], "b");
    // what comes after the restart is newer than what was kept
    let restored: u64 = names[0].metadata.resource_version.as_ref().unwrap().parse().unwrap();
    let changed =
        maps.patch("parent", &PatchParams::default(), &Patch::Merge(json!({"data": {"x": "1"}}))).await;
    let version: u64 = changed.unwrap().metadata.resource_version.unwrap().parse().unwrap();
    assert!(version > restored);
}

/// A node that prints what it was asked for.
struct Echo;

impl PodLogs for Echo {
    fn open(
        &self,
        request: LogRequest,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, std::io::Error>>, LogError>> {
        Box::pin(async move {
            if request.previous {
                return Err(LogError::NoPrevious { container: request.container, pod: request.pod });
            }
            let text = format!("{} {:?} {}\n", request.container, request.tail_lines, request.follow);
            let lines: BoxStream<'static, _> = futures::stream::iter([Ok(Bytes::from(text))]).boxed();
            Ok(lines)
        })
    }
}

#[tokio::test]
async fn logs_are_asked_of_whoever_runs_the_pod() {
    let cluster = cluster(Arc::new(KeepNothing)).await;
    cluster.set_pod_logs(Arc::new(Echo));
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let pod = json!({
        "metadata": {"name": "web"},
        "spec": {"nodeName": "here", "containers": [{"name": "app", "image": "x"}, {"name": "side", "image": "y"}]},
    });
    pods.create(&PostParams::default(), &from(pod)).await.unwrap();
    let asked = LogParams { container: Some("side".to_owned()), tail_lines: Some(3), ..LogParams::default() };
    assert_eq!(pods.logs("web", &asked).await.unwrap(), "side Some(3) false\n");
    let message = async |params: LogParams| match pods.logs("web", &params).await {
        Err(kube::Error::Api(status)) => (status.code, status.message),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        message(LogParams::default()).await,
        (400, "a container name must be specified for pod web, choose one of: [app side]".to_owned())
    );
    assert_eq!(
        message(LogParams { container: Some("nope".to_owned()), ..LogParams::default() }).await,
        (400, "container nope is not valid for pod web".to_owned())
    );
    assert_eq!(
        message(LogParams { container: Some("app".to_owned()), previous: true, ..LogParams::default() })
            .await,
        (400, "previous terminated container \"app\" in pod \"web\" not found".to_owned())
    );
}

#[tokio::test]
async fn a_watcher_that_does_not_read_never_holds_up_a_writer() {
    let client = cluster(Arc::new(KeepNothing)).await.client();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let unread = maps.watch(&kube::api::WatchParams::default(), "0").await.unwrap();
    for at in 0..3000 {
        let object = from(json!({"metadata": {"name": format!("c{at}")}}));
        maps.create(&PostParams::default(), &object).await.unwrap();
    }
    let events: Vec<_> = unread.collect().await;
    let last = events.last().unwrap();
    assert!(
        matches!(last, Ok(kube::api::WatchEvent::Error(status)) if status.code == 410)
            || matches!(last, Err(kube::Error::Api(status)) if status.code == 410),
        "{last:?}"
    );
}
