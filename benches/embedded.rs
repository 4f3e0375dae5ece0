//! The embedded API without its node: applies a second through `kube::Client`, in this process, on one thread.
//!
//! Goal: 10,000 with objects of about 1 KB.

use std::sync::Arc;

use branchline::clock::Clock;
use branchline::embedded::{Embedded, EmbeddedOptions, KeepNothing};
use divan::Bencher;
use divan::counter::ItemsCount;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// Applies of one sample.
const OBJECTS: usize = 500;

fn main() {
    divan::main();
}

/// A Deployment of about 1 KB of JSON, as the built-in templates make it.
fn deployment(name: &str, image: &str) -> Value {
    let labels = json!({"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "branchline"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": labels, "annotations": {"branchline.dev/project": "shop"}},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {"metadata": {"labels": labels}, "spec": {
                "terminationGracePeriodSeconds": 20,
                "containers": [{
                    "name": "app", "image": image, "ports": [{"name": "http", "containerPort": 8080}],
                    "env": [{"name": "PORT", "value": "8080"}, {"name": "LOG_LEVEL", "value": "info"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
                    "readinessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1},
                }],
            }},
        },
    })
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    api: Api<DynamicObject>,
}

fn bench() -> Bench {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let options = EmbeddedOptions { clock: Clock::system(), state: Arc::new(KeepNothing) };
    let api = runtime.block_on(async {
        let cluster = Embedded::new(options).await.expect("nothing is kept");
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
        Api::default_namespaced_with(cluster.client(), &kind)
    });
    Bench { runtime, api }
}

impl Bench {
    fn apply(&self, image: &str) {
        let params = PatchParams::apply("branchline").force();
        self.runtime.block_on(async {
            for at in 0..OBJECTS {
                let name = format!("web-{at}");
                let object = deployment(&name, image);
                self.api.patch(&name, &params, &Patch::Apply(&object)).await.expect("it is valid");
            }
        });
    }
}

/// Objects that are not there yet.
#[divan::bench(sample_count = 10)]
fn create(bencher: Bencher<'_, '_>) {
    bencher
        .counter(ItemsCount::new(OBJECTS))
        .with_inputs(bench)
        .bench_values(|bench| bench.apply("registry.example.com/web:1"));
}

/// Objects with another image.
#[divan::bench(sample_count = 10)]
fn update(bencher: Bencher<'_, '_>) {
    let prepared = || {
        let bench = self::bench();
        bench.apply("registry.example.com/web:1");
        bench
    };
    bencher
        .counter(ItemsCount::new(OBJECTS))
        .with_inputs(prepared)
        .bench_values(|bench| bench.apply("registry.example.com/web:2"));
}

/// The same again.
#[divan::bench(sample_count = 10)]
fn unchanged(bencher: Bencher<'_, '_>) {
    let prepared = || {
        let bench = self::bench();
        bench.apply("registry.example.com/web:1");
        bench
    };
    bencher
        .counter(ItemsCount::new(OBJECTS))
        .with_inputs(prepared)
        .bench_values(|bench| bench.apply("registry.example.com/web:1"));
}
