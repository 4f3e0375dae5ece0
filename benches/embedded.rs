//! The embedded API without its node: applies a second through `kube::Client`, in this process.
//!
//! Goal: 10,000 with objects of about 1 KB. Beside the rate stands what one apply takes of a processor, which a busy
//! machine changes less.
#![expect(clippy::disallowed_methods, reason = "a bench ends its tasks with itself")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::sync::Arc;
use std::time::Instant;

use branchline::clock::Clock;
use branchline::embedded::{Embedded, EmbeddedOptions, KeepNothing};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::common::{cpu, cpu_since};

/// Objects of one measurement.
const OBJECTS: u32 = 5000;
/// Clients that apply side by side.
const CLIENTS: u32 = 8;

fn main() -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    println!("embedded API, in this process, without its node: applies of Deployments of 1 KB");
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    one.block_on(measure("one thread"))?;
    let all = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    all.block_on(async { tokio::spawn(measure("all cores")).await? })
}

async fn measure(threads: &str) -> anyhow::Result<()> {
    let options = EmbeddedOptions { clock: Clock::system(), state: Arc::new(KeepNothing) };
    let cluster = Embedded::new(options).await?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
    let api: Api<DynamicObject> = Api::default_namespaced_with(cluster.client(), &kind);
    for (what, image) in [("create", "web:1"), ("update", "web:2"), ("unchanged", "web:2")] {
        let (begun, cpu) = (Instant::now(), cpu()?);
        let clients = (0..CLIENTS).map(|client| tokio::spawn(apply(api.clone(), client, image)));
        for client in futures::future::join_all(clients).await {
            client??;
        }
        let (took, cpu) = (begun.elapsed(), cpu_since(cpu)?);
        println!(
            "  {what}, {threads}: {:.0} a second, {:.0?} of CPU each (goal: 10,000)",
            f64::from(OBJECTS) / took.as_secs_f64(),
            cpu / OBJECTS
        );
    }
    Ok(())
}

/// Applies its share of the objects, one after the other.
async fn apply(api: Api<DynamicObject>, client: u32, image: &str) -> anyhow::Result<()> {
    let params = PatchParams::apply("branchline").force();
    for number in (client..OBJECTS).step_by(CLIENTS as usize) {
        let name = format!("web-{number}");
        api.patch(&name, &params, &Patch::Apply(&deployment(&name, image))).await?;
    }
    Ok(())
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
