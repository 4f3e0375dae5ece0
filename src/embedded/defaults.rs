//! The values that the server fills in where a request says nothing, by kind.
//!
//! Facts of Kubernetes 1.34's `pkg/apis/*/v1/defaults.go`. Runs on objects that `wire` has read, before ownership
//! of updates is computed (defaults belong to whoever creates an object by POST) and after that of applies.

mod pod;

use super::kinds::Kind;
use serde_json::{Value, json};

/// Fills in what is missing.
pub(crate) fn apply(kind: &Kind, object: &mut Value) {
    match kind.kind {
        "Namespace" => namespace(object),
        "Secret" => secret(object),
        "Service" => service(object),
        "Pod" => pod::pod(object),
        "PersistentVolumeClaim" => {
            set(&mut object["spec"], "volumeMode", json!("Filesystem"));
            set(&mut object["status"], "phase", json!("Pending"));
        }
        "Endpoints" => {
            for subset in items(object, "subsets") {
                each_default(subset, "ports", "protocol", "TCP");
            }
        }
        "LimitRange" => {
            for limit in items(&mut object["spec"], "limits") {
                limit_range_item(limit);
            }
        }
        "Deployment" => deployment(object),
        "ReplicaSet" => {
            set(&mut object["spec"], "replicas", json!(1));
            pod::template(&mut object["spec"]["template"]);
        }
        "Job" => job(object),
        "CronJob" => cron_job(object),
        "HorizontalPodAutoscaler" => autoscaler(object),
        "NetworkPolicy" => network_policy(object),
        "EndpointSlice" => {
            for port in items(object, "ports") {
                if port.get("name").is_none() {
                    port["name"] = json!("");
                }
                set(port, "protocol", json!("TCP"));
            }
        }
        "RoleBinding" => role_binding(object),
        _ => {}
    }
}

/// Sets a field that is absent, null or the empty string. Does nothing to what is no object.
fn set(object: &mut Value, field: &str, value: Value) {
    let Some(map) = object.as_object_mut() else { return };
    match map.get(field) {
        Some(Value::Null) | None => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(_) => return,
    }
    map.insert(field.to_owned(), value);
}

/// Items of a list that may be absent; never adds it, as indexing mutably would.
fn items<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

fn each_default(object: &mut Value, list: &str, field: &str, value: &str) {
    for item in items(object, list) {
        set(item, field, Value::from(value));
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if !name.is_empty() {
        let metadata = &mut object["metadata"];
        set(metadata, "labels", json!({}));
        metadata["labels"]["kubernetes.io/metadata.name"] = Value::from(name);
    }
    set(&mut object["status"], "phase", json!("Active"));
}

/// `stringData` is written once: it lands in `data` and is not kept.
fn secret(object: &mut Value) {
    use base64::Engine as _;
    let Some(map) = object.as_object_mut() else { return };
    if let Some(Value::Object(texts)) = map.shift_remove("stringData") {
        let data = map.entry("data").or_insert_with(|| json!({}));
        for (key, text) in texts {
            let bytes = text.as_str().unwrap_or_default().as_bytes();
            data[key] = Value::from(base64::engine::general_purpose::STANDARD.encode(bytes));
        }
    }
    set(object, "type", json!("Opaque"));
}

fn service(object: &mut Value) {
    let spec = &mut object["spec"];
    set(spec, "sessionAffinity", json!("None"));
    if spec["sessionAffinity"] == "None"
        && let Some(spec) = spec.as_object_mut()
    {
        spec.shift_remove("sessionAffinityConfig");
    }
    if spec["sessionAffinity"] == "ClientIP"
        && spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].is_null()
    {
        spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": 10800}});
    }
    set(spec, "type", json!("ClusterIP"));
    for port in items(spec, "ports") {
        set(port, "protocol", json!("TCP"));
        let target = &port["targetPort"];
        if target.is_null() || target == 0 || target == "" {
            port["targetPort"] = port["port"].clone();
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    let has_external_addresses = spec["externalIPs"].as_array().is_some_and(|ips| !ips.is_empty());
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || (kind == "ClusterIP" && has_external_addresses);
    if external {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
}

fn limit_range_item(limit: &mut Value) {
    if limit["type"] != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let Some(known) = limit[from].as_object().cloned() else { continue };
        set(limit, to, json!({}));
        for (resource, amount) in known {
            set(&mut limit[to], &resource, amount);
        }
    }
}

fn deployment(object: &mut Value) {
    let spec = &mut object["spec"];
    set(spec, "replicas", json!(1));
    let strategy = &mut spec["strategy"];
    set(strategy, "type", json!("RollingUpdate"));
    if strategy["type"] == "RollingUpdate" {
        set(strategy, "rollingUpdate", json!({}));
        set(&mut strategy["rollingUpdate"], "maxUnavailable", json!("25%"));
        set(&mut strategy["rollingUpdate"], "maxSurge", json!("25%"));
    }
    set(spec, "revisionHistoryLimit", json!(10));
    set(spec, "progressDeadlineSeconds", json!(600));
    pod::template(&mut spec["template"]);
}

fn job(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if labels.is_object() && object["metadata"]["labels"].as_object().is_none_or(serde_json::Map::is_empty) {
        object["metadata"]["labels"] = labels;
    }
    let spec = &mut object["spec"];
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        set(spec, "completions", json!(1));
    }
    set(spec, "parallelism", json!(1));
    let limit = if spec["backoffLimitPerIndex"].is_null() { 6 } else { i32::MAX };
    set(spec, "backoffLimit", json!(limit));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    let replacement = if spec["podFailurePolicy"].is_null() { "TerminatingOrFailed" } else { "Failed" };
    set(spec, "podReplacementPolicy", json!(replacement));
    set(spec, "manualSelector", json!(false));
    failure_policy(spec);
    pod::template(&mut spec["template"]);
}

fn failure_policy(job: &mut Value) {
    let Some(policy) = job.get_mut("podFailurePolicy") else { return };
    for rule in items(policy, "rules") {
        each_default(rule, "onPodConditions", "status", "True");
    }
}

fn cron_job(object: &mut Value) {
    let spec = &mut object["spec"];
    set(spec, "concurrencyPolicy", json!("Allow"));
    set(spec, "suspend", json!(false));
    set(spec, "successfulJobsHistoryLimit", json!(3));
    set(spec, "failedJobsHistoryLimit", json!(1));
    let job = &mut spec["jobTemplate"]["spec"];
    failure_policy(job);
    pod::template(&mut job["template"]);
}

fn autoscaler(object: &mut Value) {
    let spec = &mut object["spec"];
    set(spec, "minReplicas", json!(1));
    if spec["metrics"].as_array().is_none_or(Vec::is_empty) {
        spec["metrics"] = json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
        }]);
    }
    let Some(behavior) = spec.get_mut("behavior") else { return };
    for direction in ["scaleUp", "scaleDown"] {
        set(behavior, direction, json!({}));
        let rules = &mut behavior[direction];
        set(rules, "selectPolicy", json!("Max"));
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        if direction == "scaleUp" {
            set(rules, "stabilizationWindowSeconds", json!(0));
            set(rules, "policies", json!([{"type": "Pods", "value": 4, "periodSeconds": 15}, percent]));
        } else {
            set(rules, "policies", json!([percent]));
        }
    }
}

fn network_policy(object: &mut Value) {
    let spec = &mut object["spec"];
    if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
        let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
        spec["policyTypes"] = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            each_default(rule, "ports", "protocol", "TCP");
        }
    }
}

fn role_binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    set(&mut object["roleRef"], "apiGroup", json!(GROUP));
    for subject in items(object, "subjects") {
        if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
            set(subject, "apiGroup", json!(GROUP));
        }
    }
}
