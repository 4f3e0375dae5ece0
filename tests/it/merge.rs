//! Stories of server-side apply: who owns what, who wins, what goes.

mod fields;
mod laws;

use branchline::merge::{self, Apply, ApplyError, FieldSet, Schema, Update};
use serde_json::{Value, json};

const NOW: &str = "2026-01-01T10:00:00Z";

fn apply_as(manager: &str, live: Option<&Value>, applied: &Value) -> Result<Value, ApplyError> {
    merge::apply(
        Schema::builtin(),
        live,
        applied,
        &Apply { manager, force: false, subresource: "", now: NOW },
    )
}

fn force_as(manager: &str, live: &Value, applied: &Value) -> Value {
    let options = Apply { manager, force: true, subresource: "", now: NOW };
    merge::apply(Schema::builtin(), Some(live), applied, &options).unwrap()
}

fn update_as(manager: &str, live: Option<&Value>, new: &Value) -> Value {
    merge::update(Schema::builtin(), live, new, &Update { manager, subresource: "", now: NOW }).unwrap()
}

fn config_map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": "shop"}, "data": data})
}

fn deployment(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "api"}},
            "template": {
                "metadata": {"labels": {"app": "api"}},
                "spec": {"containers": [{"name": "api", "image": "api:1"}]}
            }
        }
    });
    for (name, value) in spec.as_object().unwrap() {
        object["spec"][name] = value.clone();
    }
    object
}

/// The owners of an object, one line a manager.
fn owners(object: &Value) -> String {
    let lines = object["metadata"]["managedFields"].as_array().into_iter().flatten().map(|entry| {
        let subresource = entry["subresource"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
        format!(
            "{} {}{subresource} {}: {}",
            entry["manager"].as_str().unwrap(),
            entry["operation"].as_str().unwrap(),
            entry["apiVersion"].as_str().unwrap(),
            entry["fieldsV1"]
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_first_apply_owns_what_it_names() {
    let object = apply_as("branchline", None, &deployment(&json!({"replicas": 2}))).unwrap();
    insta::assert_snapshot!(owners(&object), @r#"branchline Apply apps/v1: {"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"api\"}":{".":{},"f:image":{},"f:name":{}}}}}}}"#);
}

#[test]
fn a_create_owns_every_field_it_sets() {
    let object = update_as("kubectl-create", None, &deployment(&json!({"replicas": 2})));
    insta::assert_snapshot!(owners(&object), @r#"kubectl-create Update apps/v1: {"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"api\"}":{".":{},"f:image":{},"f:name":{}}}}}}}"#);
}

#[test]
fn another_managers_value_is_a_conflict_that_names_him() {
    let live = update_as("kubectl", None, &deployment(&json!({"replicas": 2})));
    let problem = apply_as("branchline", Some(&live), &deployment(&json!({"replicas": 3}))).unwrap_err();
    insta::assert_snapshot!(problem, @r#"Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas"#);
    assert_eq!((problem.code(), problem.reason()), (409, "Conflict"));
}

#[test]
fn what_is_no_longer_applied_goes() {
    let live = apply_as("branchline", None, &config_map(&json!({"a": "1", "b": "2"}))).unwrap();
    let next = apply_as("branchline", Some(&live), &config_map(&json!({"b": "2"}))).unwrap();
    assert_eq!(next["data"], json!({"b": "2"}));
}

#[test]
fn what_somebody_else_owns_stays() {
    let live = apply_as("one", None, &config_map(&json!({"a": "1", "b": "2"}))).unwrap();
    let live = apply_as("two", Some(&live), &config_map(&json!({"a": "1"}))).unwrap();
    let next = apply_as("one", Some(&live), &config_map(&json!({"b": "2"}))).unwrap();
    assert_eq!(next["data"], json!({"a": "1", "b": "2"}));
    assert_eq!(merge::owned(&next, "two").to_string(), ".data.a");
}

#[test]
fn force_takes_over() {
    let live = apply_as("one", None, &config_map(&json!({"a": "1"}))).unwrap();
    let next = force_as("two", &live, &config_map(&json!({"a": "2"})));
    assert_eq!(next["data"], json!({"a": "2"}));
    assert_eq!(merge::owned(&next, "one"), FieldSet::default());
}

#[test]
fn the_committed_schema_can_be_read() {
    assert!(Schema::builtin().kind("apps/v1", "Deployment").is_some());
    assert!(Schema::builtin().resources().iter().any(|resource| resource.plural == "deployments"));
}
