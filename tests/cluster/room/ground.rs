//! A piece of a cluster for one test: a namespace of its own, and what a story needs to say about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use branchline::clock::Clock;
use branchline::cluster::inventory::{ApplySet, set_id};
use branchline::cluster::{ChangeSet, Cluster, ClusterError, apply, connect, prune};
use branchline::merge::Schema;
use branchline::name::Namespace;
use branchline::plan::{self, Brake, Plan, Request, Scope, Unit, Wanted};
use branchline::render::manifest::{Manifest, ObjectKey};
use serde_json::{Value, json};

use crate::cluster::harness;

/// The instance that tests apply as.
pub(crate) const INSTANCE: &str = "test-instance";

/// One cluster with one namespace.
pub(crate) struct Ground {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: Namespace,
}

/// The embedded cluster alone, which has no controllers here: a test writes statuses itself.
pub(crate) async fn embedded() -> Ground {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Ground::new(Cluster::new(harness::embedded().await.client(), Clock::system())).await
}

/// The server of `KUBECONFIG`, with its controllers, where `BRANCHLINE_TEST_REQUIRE` names `kubernetes`.
pub(crate) async fn real() -> Option<Ground> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    if !harness::real_server_required() {
        return None;
    }
    let file = std::env::var("KUBECONFIG").expect("KUBECONFIG names the server to test on");
    let cluster = connect::kubeconfig(file.as_ref(), Clock::system()).await.expect("a cluster");
    Some(Ground::new(cluster).await)
}

/// Every cluster that tests run against: the embedded one always, and the server of `KUBECONFIG` when
/// `BRANCHLINE_TEST_REQUIRE` names `kubernetes`; it may be somebody's cluster otherwise.
pub(crate) async fn grounds() -> Vec<Ground> {
    let mut grounds = vec![embedded().await];
    grounds.extend(real().await);
    grounds
}

impl Ground {
    async fn new(cluster: Cluster) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bl-test-{}-{count}", std::process::id());
        let namespace: Namespace = name.parse().expect("a namespace");
        let ground = Self { cluster, namespace };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ground.post("/api/v1/namespaces", &object, "test").await;
        ground
    }

    /// Deletes the namespace; what is still in it goes with it.
    pub(crate) async fn finish(self) {
        self.send("DELETE", &format!("/api/v1/namespaces/{}", self.namespace), None, "")
            .await
            .expect("deleted");
    }

    pub(crate) async fn set(&self) -> ApplySet {
        ApplySet::open(&self.cluster, &self.namespace, INSTANCE).await.expect("an inventory")
    }

    pub(crate) fn id(&self) -> String {
        set_id(self.namespace.as_str())
    }

    /// An object of a service, labelled as rendering labels it.
    pub(crate) fn object(&self, service: &str, api: &str, kind: &str, name: &str, rest: Value) -> Manifest {
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": name,
            "namespace": self.namespace.as_str(), "labels": {"app.kubernetes.io/managed-by": "branchline",
            "branchline.dev/service": service}}});
        if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
            object.extend(rest);
        }
        Manifest::new(object, "templates/test.yaml.hbs", 1).expect("an object")
    }

    pub(crate) fn config(&self, service: &str, name: &str, value: &str) -> Manifest {
        self.object(service, "v1", "ConfigMap", name, json!({"data": {"key": value}}))
    }

    pub(crate) fn deployment(&self, service: &str, image: &str, replicas: u32) -> Manifest {
        let labels = json!({"app": service, "app.kubernetes.io/managed-by": "branchline",
            "branchline.dev/service": service});
        self.object(
            service,
            "apps/v1",
            "Deployment",
            service,
            json!({"spec": {"replicas": replicas, "selector": {"matchLabels": {"app": service}},
                "template": {"metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "app", "image": image, "command": ["./run"]}]}}}}),
        )
    }

    pub(crate) fn key(&self, api: &str, kind: &str, name: &str) -> ObjectKey {
        ObjectKey::new(api, kind, Some(self.namespace.as_str()), name)
    }

    /// Plans one service on what the inventory holds.
    pub(crate) fn plan(&self, set: &ApplySet, service: &str, wanted: Wanted, drifted: &[ObjectKey]) -> Plan {
        let scope = Scope {
            project: "shop".parse().expect("a project"),
            environment: "staging".parse().expect("an environment"),
            namespace: self.namespace.clone(),
            preview: false,
        };
        let mut unit = Unit::new(service, wanted, set.held(service));
        unit.drifted = drifted.iter().cloned().collect();
        let brake = Brake { max_delete_percent: 100, ..Brake::default() };
        let request =
            Request { scope: &scope, units: &[Arc::new(unit)], schema: Schema::builtin(), brake: &brake };
        plan::plan(&request).expect("a plan")
    }

    /// Plans and applies one service.
    pub(crate) async fn apply(&self, set: &ApplySet, service: &str, wanted: Vec<Manifest>) -> ChangeSet {
        let plan = self.plan(set, service, Wanted::Objects(wanted), &[]);
        apply::apply(set, plan.unit(service).expect("planned"), false)
            .await
            .expect("the inventory is written")
    }

    /// Plans, applies and prunes one service.
    pub(crate) async fn sync(
        &self,
        set: &ApplySet,
        service: &str,
        wanted: Vec<Manifest>,
    ) -> Result<ChangeSet, ClusterError> {
        let plan = self.plan(set, service, Wanted::Objects(wanted), &[]);
        let unit = plan.unit(service).expect("planned");
        let applied = apply::apply(set, unit, false).await?;
        assert!(!applied.failed(), "{:?}", errors(&applied));
        prune::prune(set, unit, false).await
    }

    pub(crate) async fn live(&self, api: &str, kind: &str, name: &str) -> Option<Value> {
        self.cluster.get(&self.key(api, kind, name)).await.expect("an answer")
    }

    pub(crate) fn path(&self, plural: &str, name: &str) -> String {
        let root = if plural == "deployments" { "/apis/apps/v1" } else { "/api/v1" };
        let path = format!("{root}/namespaces/{}/{plural}/{name}", self.namespace);
        path.trim_end_matches('/').to_owned()
    }

    /// Creates an object as another manager.
    pub(crate) async fn post(&self, path: &str, object: &Value, manager: &str) -> Value {
        let path = format!("{path}?fieldManager={manager}");
        self.send("POST", &path, Some(object), "application/json").await.expect("created")
    }

    /// Merges a patch into an object as another manager.
    pub(crate) async fn patch(&self, path: &str, change: &Value, manager: &str) -> Value {
        let path = format!("{path}?fieldManager={manager}");
        self.send("PATCH", &path, Some(change), "application/merge-patch+json").await.expect("patched")
    }

    /// Applies an object by force as another manager.
    pub(crate) async fn apply_as(&self, path: &str, object: &Value, manager: &str) -> Value {
        let path = format!("{path}?fieldManager={manager}&force=true");
        self.send("PATCH", &path, Some(object), "application/apply-patch+yaml").await.expect("applied")
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        content_type: &str,
    ) -> Result<Value, kube::Error> {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(body)
            .expect("a request");
        self.cluster.client().request(request).await
    }
}

/// The errors of a change set, as people read them.
pub(crate) fn errors(changes: &ChangeSet) -> Vec<String> {
    changes.errors().map(|(_, error)| error.to_string()).collect()
}
