//! `ConfigMap`s, Secrets, claims and roles.

use super::{Cause, list, names, text};
use crate::embedded::quantity::Quantity;
use base64::Engine as _;
use serde_json::{Value, json};

/// One MiB, the most that a ConfigMap or a Secret holds.
const DATA_LIMIT: usize = 1024 * 1024;

/// Problems of a ConfigMap.
pub(super) fn config_map(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = live.map(|live| frozen(object, live, &["data", "binaryData"])).unwrap_or_default();
    let mut size = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in object[field].as_object().into_iter().flatten() {
            let at = format!("{field}[{key}]");
            let key_value = Value::from(key.as_str());
            causes.extend(names::config_key(key).into_iter().map(|why| Cause::invalid(&at, &key_value, why)));
            if field == "data" && object["binaryData"].get(key).is_some() {
                let why = "duplicate of key present in binaryData";
                causes.push(Cause::invalid(&at, &key_value, why));
            }
            let length = value.as_str().map_or(0, str::len);
            size += if field == "data" { length } else { length / 4 * 3 };
        }
    }
    if size > DATA_LIMIT {
        causes.push(Cause::too_long("", DATA_LIMIT));
    }
    causes
}

/// Problems of a Secret.
pub(super) fn secret(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    if let Some(live) = live {
        causes.extend(super::immutable(&object["type"], &live["type"], "type"));
        causes.extend(frozen(object, live, &["data"]));
    }
    let mut size = 0;
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        let key_value = Value::from(key.as_str());
        let problems = names::config_key(key).into_iter();
        causes.extend(problems.map(|why| Cause::invalid(format!("data[{key}]"), &key_value, why)));
        size += value.as_str().map_or(0, str::len) / 4 * 3;
    }
    if size > DATA_LIMIT {
        causes.push(Cause::too_long("data", DATA_LIMIT));
    }
    let needed: &[&str] = match text(object, "type") {
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed.iter().filter(|key| object["data"].get(key).is_none()) {
        causes.push(Cause::required(format!("data[{key}]"), ""));
    }
    for key in needed.iter().filter(|key| key.starts_with(".docker")) {
        let encoded = text(&object["data"], key);
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
        if !encoded.is_empty()
            && let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(&bytes)
        {
            let hidden = Value::from("<secret contents redacted>");
            causes.push(Cause::invalid(format!("data[{key}]"), &hidden, error.to_string()));
        }
    }
    causes
}

fn frozen(object: &Value, live: &Value, fields: &[&str]) -> Vec<Cause> {
    if live["immutable"] != Value::Bool(true) {
        return Vec::new();
    }
    let mut causes = Vec::new();
    if object["immutable"] != Value::Bool(true) {
        causes.push(Cause::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for field in fields.iter().filter(|field| object[**field] != live[**field]) {
        causes.push(Cause::forbidden(*field, "field is immutable when `immutable` is set"));
    }
    causes
}

/// Problems of a `PersistentVolumeClaim`.
pub(super) fn claim(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    if list(spec, "accessModes").is_empty() {
        causes.push(Cause::required("spec.accessModes", "at least 1 access mode is required"));
    }
    let known = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    for mode in list(spec, "accessModes") {
        if !known.contains(&mode.as_str().unwrap_or_default()) {
            causes.push(Cause::unsupported("spec.accessModes", mode, &known));
        }
    }
    let storage = &spec["resources"]["requests"]["storage"];
    match storage.as_str().and_then(|text| Quantity::parse(text).ok()) {
        None => causes.push(Cause::required("spec.resources[storage]", "")),
        Some(amount) if amount.is_negative() || amount.is_zero() => {
            causes.push(Cause::invalid("spec.resources[storage]", storage, "must be greater than zero"));
        }
        Some(_) => {}
    }
    if let Some(live) = live {
        let mut allowed = live["spec"].clone();
        if live["status"]["phase"] == "Bound" {
            allowed["resources"] = spec["resources"].clone();
        }
        if text(&live["spec"], "volumeName").is_empty() && spec.get("volumeName").is_some() {
            allowed["volumeName"] = spec["volumeName"].clone();
        }
        for field in ["volumeAttributesClassName"] {
            if spec.get(field).is_some() {
                allowed[field] = spec[field].clone();
            }
        }
        if *spec != allowed {
            let why = "spec is immutable after creation except resources.requests and volumeAttributesClassName \
                for bound claims";
            causes.push(Cause::forbidden("spec", why));
        }
    }
    causes
}

/// Problems of a `RoleBinding`.
pub(super) fn role_binding(object: &Value, live: Option<&Value>) -> Vec<Cause> {
    let mut causes = Vec::new();
    let role = &object["roleRef"];
    if text(role, "apiGroup") != "rbac.authorization.k8s.io" {
        let supported = ["rbac.authorization.k8s.io"];
        causes.push(Cause::unsupported("roleRef.apiGroup", &role["apiGroup"], &supported));
    }
    if !["Role", "ClusterRole"].contains(&text(role, "kind")) {
        causes.push(Cause::unsupported_in_order("roleRef.kind", &role["kind"], &["Role", "ClusterRole"]));
    }
    if text(role, "name").is_empty() {
        causes.push(Cause::required("roleRef.name", ""));
    }
    for (position, subject) in list(object, "subjects").iter().enumerate() {
        let at = format!("subjects[{position}]");
        if text(subject, "name").is_empty() {
            causes.push(Cause::required(format!("{at}.name"), ""));
        }
        if !["ServiceAccount", "User", "Group"].contains(&text(subject, "kind")) {
            let supported = ["ServiceAccount", "User", "Group"];
            causes.push(Cause::unsupported_in_order(format!("{at}.kind"), &subject["kind"], &supported));
        }
    }
    if live.is_some_and(|live| live["roleRef"] != *role) {
        // the server prints its own struct here
        let told = json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
        causes.push(Cause::invalid("roleRef", &told, "cannot change roleRef"));
    }
    causes
}

/// Problems of a Role.
pub(super) fn role(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (position, rule) in list(object, "rules").iter().enumerate() {
        let at = format!("rules[{position}]");
        let empty = |field: &str| list(rule, field).is_empty();
        if empty("verbs") {
            causes.push(Cause::required(format!("{at}.verbs"), "verbs must contain at least one value"));
        }
        if !empty("nonResourceURLs") {
            let why = "namespaced rules cannot apply to non-resource URLs";
            causes.push(Cause::invalid(format!("{at}.nonResourceURLs"), &rule["nonResourceURLs"], why));
            continue;
        }
        if empty("apiGroups") {
            let why = "resource rules must supply at least one api group";
            causes.push(Cause::required(format!("{at}.apiGroups"), why));
        }
        if empty("resources") {
            let why = "resource rules must supply at least one resource";
            causes.push(Cause::required(format!("{at}.resources"), why));
        }
    }
    causes
}

/// Problems of an Event: it stands in the namespace of what it is about.
pub(super) fn event(object: &Value) -> Vec<Cause> {
    let about = text(&object["involvedObject"], "namespace");
    let namespace = text(&object["metadata"], "namespace");
    let fits =
        if about.is_empty() { ["default", "kube-system"].contains(&namespace) } else { about == namespace };
    if fits {
        return Vec::new();
    }
    let why = "does not match event.namespace";
    vec![Cause::invalid("involvedObject.namespace", &json!(about), why)]
}
