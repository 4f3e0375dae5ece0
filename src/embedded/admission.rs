//! Admission: what the server checks and adds between decoding and validation.
//!
//! Of its plugins: `NamespaceLifecycle` (a namespace must exist and live), `ServiceAccount` (the name only),
//! `Priority` and `DefaultTolerationSeconds` (their defaults). The others are listed as missing in docs/embedded.md.

use super::api::write::Writer;
use super::kinds::named;
use super::status::{Cause, Refusal};
use super::storage::Key;
use serde_json::{Value, json};

/// Namespaces that cannot be deleted.
pub(crate) const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Admits a new object.
pub(crate) fn create(writer: &Writer<'_>, object: &mut Value) -> Result<(), Refusal> {
    if writer.kind.namespaced {
        namespace_lives(writer, object)?;
    }
    match writer.kind.kind {
        "Namespace" => label_namespace(object),
        "Pod" => complete_pod(object),
        _ => {}
    }
    Ok(())
}

fn namespace_lives(writer: &Writer<'_>, object: &Value) -> Result<(), Refusal> {
    let kind = named("Namespace");
    let namespace = writer.namespace;
    let Some(found) = writer.api.storage.get(kind, &Key::new("", namespace)) else {
        return Err(Refusal::not_found(kind, namespace));
    };
    if found.value["metadata"]["deletionTimestamp"].is_string() {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let cause = Cause {
            reason: "NamespaceTerminating",
            message: format!("namespace {namespace} is being terminated"),
            field: "metadata.namespace".to_owned(),
        };
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(Refusal::forbidden(writer.kind, name, &why, Some(&cause)));
    }
    Ok(())
}

/// The label by which selectors find a namespace by its name; part of its defaults on the server.
fn label_namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    let labels = &mut object["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    labels["kubernetes.io/metadata.name"] = name;
}

fn complete_pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    if spec["serviceAccountName"].as_str().is_none_or(str::is_empty) {
        spec["serviceAccountName"] = json!("default");
    }
    spec["serviceAccount"] = spec["serviceAccountName"].clone();
    if spec["priority"].is_null() {
        spec["priority"] = json!(0);
    }
    if spec["preemptionPolicy"].is_null() {
        spec["preemptionPolicy"] = json!("PreemptLowerPriority");
    }
    let tolerations = &mut spec["tolerations"];
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    let Some(list) = tolerations.as_array_mut() else { return };
    for taint in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list.iter().any(|toleration| {
            let key = toleration["key"].as_str().unwrap_or_default();
            let effect = toleration["effect"].as_str().unwrap_or_default();
            (key == taint || key.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        });
        if !tolerated {
            list.push(json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300,
            }));
        }
    }
}
