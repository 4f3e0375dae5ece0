//! What the server does to an object of each kind before it stores it: which part a request may change, what is
//! emptied, and when `metadata.generation` moves.

use super::addresses;
use super::kinds::Kind;
use super::part::Part;
use serde_json::{Value, json};

/// Prepares a new object.
pub(crate) fn prepare_create(kind: &Kind, object: &mut Value) {
    match kind.kind {
        "Namespace" => {
            object["status"] = json!({"phase": "Active"});
            let finalizers = &mut object["spec"]["finalizers"];
            match finalizers.as_array_mut() {
                Some(list) if list.iter().any(|name| name == "kubernetes") => {}
                Some(list) => list.push(json!("kubernetes")),
                None => *finalizers = json!(["kubernetes"]),
            }
        }
        "Pod" => {
            let quality = super::quality::class(object);
            object["status"] = json!({"phase": "Pending", "qosClass": quality});
        }
        "PersistentVolumeClaim" => object["status"] = json!({"phase": "Pending"}),
        "Service" | "Ingress" => object["status"] = json!({"loadBalancer": {}}),
        "HorizontalPodAutoscaler" => {
            object["status"] = json!({"desiredReplicas": 0, "currentMetrics": null});
        }
        "PodDisruptionBudget" => object["status"] = empty_budget_status(),
        "ReplicaSet" => object["status"] = json!({"replicas": 0}),
        "Job" => prepare_job(object),
        _ if kind.status && object.get("status").is_some() => object["status"] = json!({}),
        _ => {}
    }
}

/// The zero `PodDisruptionBudgetStatus`: none of its counts is left out.
fn empty_budget_status() -> Value {
    json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
}

/// A Job selects its pods by its own UID, unless it says that it knows better.
fn prepare_job(object: &mut Value) {
    object["status"] = json!({});
    if object["spec"]["manualSelector"] == json!(true) {
        return;
    }
    let uid = object["metadata"]["uid"].clone();
    let name = object["metadata"]["name"].clone();
    // a Job without labels of its own has its template's, and keeps having them
    let of_template = object["metadata"]["labels"] == object["spec"]["template"]["metadata"]["labels"];
    let labels = &mut object["spec"]["template"]["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    for (label, value) in [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ] {
        labels[label] = value.clone();
    }
    if of_template {
        object["metadata"]["labels"] = object["spec"]["template"]["metadata"]["labels"].clone();
    }
    let selector = &mut object["spec"]["selector"];
    if !selector.is_object() {
        *selector = json!({});
    }
    selector["matchLabels"]["batch.kubernetes.io/controller-uid"] = uid;
}

/// What a request may not change through its URL stays as it is.
pub(crate) fn keep_other_parts(kind: &Kind, part: Part, object: &mut Value, live: &Value) {
    match part {
        Part::Main if kind.status => keep(object, live, "status"),
        Part::Main | Part::Scale => {}
        Part::Status => {
            keep(object, live, "spec");
            match kind.kind {
                "Deployment" => keep(&mut object["metadata"], &live["metadata"], "labels"),
                "Pod" => {
                    for field in ["deletionTimestamp", "ownerReferences"] {
                        keep(&mut object["metadata"], &live["metadata"], field);
                    }
                }
                _ => {}
            }
        }
        Part::Finalize => {
            let finalizers = object["spec"]["finalizers"].take();
            keep(object, live, "status");
            keep(object, live, "spec");
            object["metadata"] = live["metadata"].clone();
            object["spec"] =
                if finalizers.is_array() { json!({"finalizers": finalizers}) } else { json!({}) };
        }
    }
    if part == Part::Main && kind.kind == "Namespace" {
        keep(&mut object["spec"], &live["spec"], "finalizers");
    }
}

fn keep(object: &mut Value, live: &Value, field: &str) {
    let Some(map) = object.as_object_mut() else { return };
    match live.get(field) {
        Some(value) => {
            map.insert(field.to_owned(), value.clone());
        }
        None => {
            map.shift_remove(field);
        }
    }
}

/// Metadata that belongs to the system.
pub(crate) fn inherit_metadata(object: &mut Value, live: &Value) {
    let metadata = &mut object["metadata"];
    for field in ["generation", "creationTimestamp"] {
        keep(metadata, &live["metadata"], field);
    }
    if metadata["uid"].as_str().is_none_or(str::is_empty) {
        keep(metadata, &live["metadata"], "uid");
    }
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if live["metadata"].get(field).is_some() {
            keep(metadata, &live["metadata"], field);
        }
    }
}

/// Prepares a changed object: what the URL does not own is restored, the generation moves when the spec did.
pub(crate) fn prepare_update(kind: &Kind, part: Part, object: &mut Value, live: &Value) {
    keep_other_parts(kind, part, object, live);
    if kind.kind == "Service" && part == Part::Main {
        addresses::keep_allocated(object, live);
    }
    if !kind.generation || part == Part::Status {
        return;
    }
    let changed = match kind.kind {
        "Deployment" => {
            object["spec"] != live["spec"]
                || object["metadata"]["annotations"] != live["metadata"]["annotations"]
        }
        "EndpointSlice" => {
            ["addressType", "endpoints", "ports"].iter().any(|field| object[field] != live[field])
                || object["metadata"]["labels"] != live["metadata"]["labels"]
        }
        _ => object["spec"] != live["spec"],
    };
    if changed {
        next_generation(object);
    }
}

/// Moves `metadata.generation`, where the object has one.
pub(crate) fn next_generation(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"].as_i64() {
        object["metadata"]["generation"] = Value::from(generation + 1);
    }
}

/// Whether an object that is being deleted has nobody left to wait for.
pub(crate) fn is_finished(kind: &Kind, object: &Value) -> bool {
    let metadata = &object["metadata"];
    let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    metadata["deletionTimestamp"].is_string()
        && none(&metadata["finalizers"])
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && (kind.kind != "Namespace" || none(&object["spec"]["finalizers"]))
}
