//! The values that a template is given: what the caller says, completed so that every documented name exists.
//!
//! `docs/templates.md` is the list for authors; [`OPTIONAL`] is the list for the code, and a test holds them equal.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::name::{LABEL, k8s_name};

/// The values that may be left out, as (where, name, what stands there then).
pub(super) const OPTIONAL: &[(&str, &str, &str)] = &[
    ("", "annotations", "{}"),
    ("", "env", "[]"),
    ("", "image", "null"),
    ("", "ingresses", "[]"),
    ("", "labels", "{}"),
    ("", "params", "{}"),
    ("", "runtime", "\"cluster\""),
    ("", "secretsVersion", "null"),
    ("", "service", "null"),
    ("/environment", "number", "null"),
    ("/environment", "preview", "false"),
    ("/service", "args", "[]"),
    ("/service", "autoscaling", "null"),
    ("/service", "command", "[]"),
    ("/service", "concurrencyPolicy", "\"Forbid\""),
    ("/service", "disruption", "null"),
    ("/service", "healthCheck", "null"),
    ("/service", "ports", "[]"),
    ("/service", "replicas", "1"),
    ("/service", "resources", "{}"),
    ("/service", "schedule", "null"),
    ("/service", "static", "null"),
    ("/service", "strategy", "{}"),
    ("/service", "terminationGracePeriodSeconds", "30"),
    ("/service", "timeZone", "null"),
    ("/service", "volumes", "[]"),
    ("/service/autoscaling", "minReplicas", "1"),
    ("/service/autoscaling", "targetCPUUtilizationPercentage", "null"),
    ("/service/autoscaling", "targetMemoryUtilizationPercentage", "null"),
    ("/service/disruption", "maxUnavailable", "null"),
    ("/service/disruption", "minAvailable", "null"),
    ("/service/healthCheck", "failureThreshold", "3"),
    ("/service/healthCheck", "initialDelay", "0"),
    ("/service/healthCheck", "interval", "5"),
    ("/service/healthCheck", "port", "null"),
    ("/service/healthCheck", "timeout", "3"),
    ("/service/static", "headers", "[]"),
    ("/service/static", "notFound", "null"),
    ("/service/static", "redirects", "[]"),
    ("/service/static", "root", "\".\""),
    ("/service/static", "spaFallback", "false"),
    ("/service/strategy", "maxSurge", "\"25%\""),
    ("/service/strategy", "maxUnavailable", "0"),
    ("/service/strategy", "progressDeadline", "600"),
    ("/service/strategy", "type", "\"rolling\""),
];

static DEFAULTS: LazyLock<Vec<(&str, &str, Value)>> = LazyLock::new(|| {
    let value = |text| serde_json::from_str(text).expect("the table holds JSON");
    OPTIONAL.iter().map(|(parent, key, text)| (*parent, *key, value(text))).collect()
});

/// Copies the values with everything optional in its place, and `selector`, the labels by which a workload finds its
/// pods.
pub(super) fn complete(values: &Value) -> Value {
    let mut values = values.clone();
    complete_service(&mut values);
    for (parent, key, default) in DEFAULTS.iter() {
        if let Some(Value::Object(map)) = values.pointer_mut(parent)
            && map.get(*key).is_none_or(|given| given.is_null() && !default.is_null())
        {
            map.insert((*key).to_owned(), default.clone());
        }
    }
    complete_ports(&mut values);
    for map in ["/labels", "/annotations", "/service/resources"] {
        values.pointer_mut(map).into_iter().for_each(drop_nulls);
    }
    for list in ["/env", "/ingresses"] {
        for item in values.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if let Value::Object(item) = item {
                complete_item(list, item);
            }
        }
    }
    let selector: Map<_, _> =
        Identity::of(&values).selector().into_iter().map(|(k, v)| (k, v.into())).collect();
    if let Value::Object(map) = &mut values {
        map.insert("selector".to_owned(), Value::Object(selector));
    }
    values
}

/// Takes out what is `null`, within maps too: these maps are printed as they are.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(map) = value {
        map.retain(|_, item| !item.is_null());
        map.values_mut().for_each(drop_nulls);
    }
}

/// The port of a service that answers HTTP and names none.
const PORT: u64 = 8080;

/// Gives a service that answers requests its port, and a static one its settings.
fn complete_service(values: &mut Value) {
    let Some(Value::Object(service)) = values.get_mut("service") else { return };
    let kind = service.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind == "static" && !service.get("static").is_some_and(Value::is_object) {
        service.insert("static".to_owned(), Value::Object(Map::new()));
    }
    let has_ports = service.get("ports").and_then(Value::as_array).is_some_and(|ports| !ports.is_empty());
    if matches!(kind.as_str(), "web" | "private" | "static") && !has_ports {
        service.insert("ports".to_owned(), serde_json::json!([{"name": "http", "port": PORT}]));
    }
}

/// Makes the first port that of the health check, and tells it to the process as `PORT`, unless said otherwise.
fn complete_ports(values: &mut Value) {
    let Some(first) = values.pointer("/service/ports/0").cloned() else { return };
    if let Some(port) = values.pointer_mut("/service/healthCheck/port").filter(|port| port.is_null()) {
        *port = first["name"].clone();
    }
    if let Some(Value::Array(env)) = values.get_mut("env")
        && !env.iter().any(|variable| variable["name"] == "PORT")
    {
        env.insert(0, serde_json::json!({"name": "PORT", "value": first["port"].to_string()}));
    }
}

/// Completes an item of `env` or `ingresses`.
fn complete_item(list: &str, item: &mut Map<String, Value>) {
    let keys: &[&str] = if list == "/env" { &["value", "secret"] } else { &["tls", "path"] };
    for key in keys {
        item.entry(*key).or_insert(Value::Null);
    }
    if let Some(path) = item.get_mut("path").filter(|path| path.is_null()) {
        *path = "/".into();
    }
}

/// Whose objects are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    project: String,
    environment: String,
    service: Option<String>,
    name: String,
    namespace: String,
}

impl Identity {
    /// Reads the identity out of a template's values; what is missing there stays empty.
    pub(super) fn of(values: &Value) -> Self {
        let text = |pointer| values.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let namespace = text("/namespace").unwrap_or_default();
        Self {
            project: text("/project/name").unwrap_or_default(),
            environment: text("/environment/name").unwrap_or_default(),
            service: text("/service/name"),
            name: text("/name").unwrap_or_else(|| namespace.clone()),
            namespace,
        }
    }

    /// The labels that every object of a service carries, by
    /// <https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/> and our own.
    pub(super) fn labels(&self) -> Vec<(String, String)> {
        let mut labels = self.selector();
        labels.push(("app.kubernetes.io/part-of".to_owned(), label_value(&self.project)));
        labels.push(("app.kubernetes.io/managed-by".to_owned(), "branchline".to_owned()));
        labels.push(("branchline.dev/project".to_owned(), label_value(&self.project)));
        labels.push(("branchline.dev/environment".to_owned(), label_value(&self.environment)));
        if let Some(service) = &self.service {
            labels.push(("branchline.dev/service".to_owned(), label_value(service)));
        }
        labels
    }

    /// The labels that never change while a workload lives, because a selector cannot be changed.
    fn selector(&self) -> Vec<(String, String)> {
        vec![
            ("app.kubernetes.io/name".to_owned(), label_value(&self.name)),
            ("app.kubernetes.io/instance".to_owned(), label_value(&self.namespace)),
        ]
    }
}

/// A text as a label's value: itself where it is one, or mapped to one.
pub(super) fn label_value(text: &str) -> String {
    if is_label_value(text) { text.to_owned() } else { k8s_name(&[text], LABEL) }
}

/// Whether a text is a label's value: at most 63 letters, digits, `-`, `_` and `.`, with a letter or digit at both
/// ends.
pub(super) fn is_label_value(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    bytes.len() <= LABEL
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && edge(bytes.first())
        && edge(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_value_that_may_be_left_out_is_documented() {
        let docs = include_str!("../../docs/templates.md");
        for (parent, key, _) in OPTIONAL {
            let name =
                if *parent == "/environment" { format!("`environment.{key}`") } else { format!("`{key}`") };
            assert!(docs.contains(&name), "docs/templates.md does not name {name} ({parent})");
        }
    }

    #[test]
    fn a_service_that_answers_requests_has_a_port_and_is_told() {
        let values =
            complete(&json!({"service": {"name": "web", "type": "web", "healthCheck": {"path": "/"}}}));
        assert_eq!(values["service"]["ports"], json!([{"name": "http", "port": 8080}]));
        assert_eq!(values["service"]["healthCheck"]["port"], "http");
        assert_eq!(values["env"], json!([{"name": "PORT", "value": "8080", "secret": null}]));
        let worker = complete(&json!({"service": {"name": "w", "type": "worker"}}));
        assert_eq!(worker["env"], json!([]));
    }

    #[test]
    fn what_is_set_stays() {
        let values = complete(&json!({"env": [{"name": "PORT", "value": "1"}],
            "service": {"type": "web", "ports": [{"name": "a", "port": 2}], "replicas": 0}}));
        assert_eq!(values["env"][0]["value"], "1");
        assert_eq!(values["service"]["replicas"], 0);
    }

    #[test]
    fn every_text_has_a_label_value() {
        assert_eq!(label_value("Shop_1"), "Shop_1");
        for text in ["_shop", "shop-", "feature/x", &"a".repeat(80), "übung"] {
            assert!(is_label_value(&label_value(text)), "{text}");
        }
    }
}
