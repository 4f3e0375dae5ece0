//! The committed schema against a running server, and how it is made.
//!
//! With `BRANCHLINE_WRITE_SCHEMA=1` the test writes `src/merge/schema/openapi.json` from the server instead of
//! comparing the two: run it so after moving to another Kubernetes version, then look at the diff.
//! `src/merge/schema/go_fields.json` is read off the Go types of k8s.io/api and moves with them by hand.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::cluster::harness::{World, real_server_required, servers};

/// The kinds that the templates use and the embedded API serves.
const KINDS: [(&str, &[&str]); 10] = [
    (
        "v1",
        &[
            "ConfigMap",
            "Endpoints",
            "Event",
            "LimitRange",
            "Namespace",
            "Node",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "ResourceQuota",
            "Secret",
            "Service",
            "ServiceAccount",
        ],
    ),
    ("apps/v1", &["ControllerRevision", "DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"]),
    ("autoscaling/v1", &["Scale"]),
    ("autoscaling/v2", &["HorizontalPodAutoscaler"]),
    ("batch/v1", &["CronJob", "Job"]),
    ("coordination.k8s.io/v1", &["Lease"]),
    ("discovery.k8s.io/v1", &["EndpointSlice"]),
    ("networking.k8s.io/v1", &["Ingress", "IngressClass", "NetworkPolicy"]),
    ("policy/v1", &["PodDisruptionBudget"]),
    ("rbac.authorization.k8s.io/v1", &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]),
];

#[tokio::test]
async fn the_committed_schema_is_the_servers() -> anyhow::Result<()> {
    if !real_server_required() {
        return Ok(());
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (server, client) = servers().await.pop().expect("there is always a server");
    let document = read(&World { server, client, namespace: String::new() }).await?;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/merge/schema/openapi.json");
    if std::env::var("BRANCHLINE_WRITE_SCHEMA").is_ok() {
        std::fs::write(path, document)?;
        return Ok(());
    }
    let committed = std::fs::read_to_string(path)?;
    let line = committed.lines().zip(document.lines()).find(|(ours, theirs)| ours != theirs);
    assert!(
        committed == document,
        "src/merge/schema/openapi.json is not what the server says, first at\nours:   {}\nserver: {}",
        line.map_or("(one is longer)", |line| line.0),
        line.map_or("", |line| line.1)
    );
    Ok(())
}

/// The server's document, one resource and one definition a line.
async fn read(world: &World) -> anyhow::Result<String> {
    let version = get(world, "/version").await?["gitVersion"].clone();
    let (mut definitions, mut resources) = (BTreeMap::new(), BTreeMap::new());
    for (api_version, kinds) in KINDS {
        let root = if api_version.contains('/') { "apis" } else { "api" };
        let document = get(world, &format!("/openapi/v3/{root}/{api_version}")).await?;
        for (name, definition) in document["components"]["schemas"].as_object().into_iter().flatten() {
            definitions.insert(name.clone(), trimmed(definition));
        }
        let list = get(world, &format!("/{root}/{api_version}")).await?;
        resources.extend(served(api_version, kinds, list["resources"].as_array().map_or(&[], Vec::as_slice)));
    }
    let mut wanted = BTreeMap::new();
    for (name, definition) in &definitions {
        if is_wanted(definition) {
            collect(name, &definitions, &mut wanted);
        }
    }
    let lines = |lines: Vec<String>| lines.join(",\n");
    let resources = lines(resources.values().map(ToString::to_string).collect());
    let schemas =
        lines(wanted.iter().map(|(name, definition)| format!("{}:{definition}", json!(name))).collect());
    let mut document = String::new();
    writeln!(
        document,
        "{{\"version\":{version},\"resources\":[\n{resources}\n],\"schemas\":{{\n{schemas}\n}}}}"
    )?;
    Ok(document)
}

async fn get(world: &World, path: &str) -> anyhow::Result<Value> {
    let answer = world.get(path).await;
    anyhow::ensure!(answer.code == 200, "GET {path}: {}", answer.code);
    Ok(answer.body)
}

/// The definition without prose, keys sorted.
fn trimmed(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(trimmed).collect(),
        Value::Object(entries) => {
            let mut kept: BTreeMap<&String, Value> = BTreeMap::new();
            for (name, value) in entries {
                let value = match name.as_str() {
                    "description" | "example" | "externalDocs" => continue,
                    "properties" => {
                        let fields: BTreeMap<_, _> = value
                            .as_object()
                            .into_iter()
                            .flatten()
                            .map(|(name, field)| (name.clone(), trimmed(field)))
                            .collect();
                        Value::Object(fields.into_iter().collect())
                    }
                    _ => trimmed(value),
                };
                kept.insert(name, value);
            }
            Value::Object(kept.into_iter().map(|(name, value)| (name.clone(), value)).collect())
        }
        other => other.clone(),
    }
}

fn is_wanted(definition: &Value) -> bool {
    let declared = definition["x-kubernetes-group-version-kind"].as_array().into_iter().flatten();
    declared.into_iter().any(|declared| {
        let text = |key: &str| declared[key].as_str().unwrap_or_default().to_owned();
        let api_version = if text("group").is_empty() {
            text("version")
        } else {
            format!("{}/{}", text("group"), text("version"))
        };
        KINDS.iter().any(|(wanted, kinds)| *wanted == api_version && kinds.contains(&text("kind").as_str()))
    })
}

/// Takes a definition and all that it refers to.
fn collect(name: &str, all: &BTreeMap<String, Value>, wanted: &mut BTreeMap<String, Value>) {
    let Some(definition) = all.get(name).filter(|_| !wanted.contains_key(name)) else { return };
    wanted.insert(name.to_owned(), definition.clone());
    let mut references = Vec::new();
    refer(definition, &mut references);
    for reference in references {
        collect(&reference, all, wanted);
    }
}

fn refer(schema: &Value, found: &mut Vec<String>) {
    match schema {
        Value::Array(items) => items.iter().for_each(|item| refer(item, found)),
        Value::Object(entries) => {
            for (name, value) in entries {
                match (name.as_str(), value) {
                    ("$ref", Value::String(pointer)) => {
                        found.extend(pointer.rsplit('/').next().map(str::to_owned));
                    }
                    _ => refer(value, found),
                }
            }
        }
        _ => {}
    }
}

/// The resources of these kinds, each with its subresources, by the order in which they are written.
fn served(api_version: &str, kinds: &[&str], list: &[Value]) -> BTreeMap<(String, String, String), Value> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let mut served = BTreeMap::new();
    for resource in list {
        let name = resource["name"].as_str().unwrap_or_default();
        if name.contains('/') || !kinds.contains(&resource["kind"].as_str().unwrap_or_default()) {
            continue;
        }
        let prefix = format!("{name}/");
        let mut subresources: Vec<Value> = list.iter().filter_map(|sub| subresource(sub, &prefix)).collect();
        subresources.sort_by_key(|sub| sub["name"].to_string());
        let written = json!({
            "categories": resource.get("categories").cloned().unwrap_or_else(|| json!([])),
            "group": group,
            "kind": resource["kind"],
            "namespaced": resource["namespaced"],
            "plural": name,
            "shortNames": resource.get("shortNames").cloned().unwrap_or_else(|| json!([])),
            "singular": resource["singularName"],
            "subresources": subresources,
            "verbs": resource["verbs"],
            "version": version,
        });
        served.insert((group.to_owned(), version.to_owned(), name.to_owned()), written);
    }
    served
}

fn subresource(resource: &Value, prefix: &str) -> Option<Value> {
    let name = resource["name"].as_str()?.strip_prefix(prefix)?;
    let mut written = Map::new();
    for key in ["group", "kind"] {
        written.extend(resource.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    written.insert("name".to_owned(), name.into());
    for key in ["verbs", "version"] {
        written.extend(resource.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    Some(written.into())
}
