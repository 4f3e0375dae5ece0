//! Field sets: how they are written, shown and read.

use branchline::merge::{FieldSet, Path, PathElement, Scalar, Schema};
use serde_json::{Value, json};

fn text(value: &str) -> Scalar {
    Scalar::Text(value.into())
}

fn key(fields: &[(&str, Scalar)]) -> PathElement {
    PathElement::key(fields.iter().map(|(name, value)| ((*name).into(), value.clone())).collect())
}

#[test]
fn paths_read_as_in_conflict_messages() {
    let cases = [
        (vec![PathElement::field("spec"), PathElement::field("replicas")], ".spec.replicas"),
        (vec![PathElement::field("containers"), key(&[("name", text("a"))])], r#".containers[name="a"]"#),
        (
            vec![key(&[("protocol", text("TCP")), ("containerPort", Scalar::Int(80))])],
            r#"[containerPort=80,protocol="TCP"]"#,
        ),
        (vec![PathElement::field("finalizers"), PathElement::Value(text("x/y"))], r#".finalizers[="x/y"]"#),
        (vec![PathElement::field("args"), PathElement::Index(3)], ".args[3]"),
        (vec![PathElement::Value(Scalar::Bool(true))], "[=true]"),
        (vec![PathElement::Value(Scalar::Null)], "[=null]"),
        (vec![PathElement::Value(Scalar::Float(1.5))], "[=1.5]"),
        (vec![PathElement::Value(text("tab\t\"quoted\" \u{1}"))], r#"[="tab\t\"quoted\" \x01"]"#),
        (vec![PathElement::field("app.kubernetes.io/name")], ".app.kubernetes.io/name"),
        (vec![], ""),
    ];
    for (elements, shown) in cases {
        assert_eq!(Path(elements).to_string(), shown);
    }
}

#[test]
fn what_the_server_writes_is_read_and_written_again_byte_for_byte() {
    let written = [
        "{}",
        r#"{"f:data":{}}"#,
        r#"{"f:data":{".":{},"f:a":{},"f:b":{}}}"#,
        r#"{"f:metadata":{"f:finalizers":{".":{},"v:\"branchline.dev/a\"":{}}}}"#,
        r#"{"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}"#,
        r#"{"f:ownerReferences":{"k:{\"uid\":\"1-2\"}":{}}}"#,
        r#"{"f:list":{"v:1":{},"v:1.5":{},"v:\"text\"":{},"v:true":{},"v:null":{}}}"#,
        r#"{"f:list":{"i:0":{},"i:1":{},"i:10":{}}}"#,
        r#"{"f:labels":{"f:a.b/c":{},"f:colon:in:name":{},"f:quote\"":{}}}"#,
        r#"{"f:env":{"k:{\"name\":\"A\\u003cB\"}":{}}}"#,
    ];
    for text in written {
        let set = FieldSet::from_fields_v1(&serde_json::from_str(text).unwrap()).unwrap();
        assert_eq!(set.to_fields_v1().to_string(), text);
    }
}

#[test]
fn fields_stand_in_the_servers_order_whatever_order_they_were_read_in() {
    let read =
        json!({"f:b": {}, "v:\"x\"": {}, "f:a": {"f:z": {}, ".": {}, "f:y": {}}, "k:{\"name\":\"n\"}": {}});
    let set = FieldSet::from_fields_v1(&read).unwrap();
    assert_eq!(
        set.to_fields_v1().to_string(),
        r#"{"f:a":{".":{},"f:y":{},"f:z":{}},"f:b":{},"k:{\"name\":\"n\"}":{},"v:\"x\"":{}}"#
    );
}

#[test]
fn a_step_of_a_later_version_is_left_out() {
    let set = FieldSet::from_fields_v1(&json!({"f:a": {}, "z:new": {"f:b": {}}})).unwrap();
    assert_eq!(set.to_string(), ".a");
}

#[test]
fn a_step_that_cannot_be_read_is_named() {
    for (fields, problem) in [
        (json!({"f": {}}), "key must be 2 characters long: \"f\""),
        (json!({"name": {}}), "missing colon: name"),
        (json!({"i:x": {}}), "i:x: no index"),
        (json!({"k:[]": {}}), "k:[]: the key fields are no object"),
        (json!({"f:a": 1}), "f:a: no object"),
        (json!([]), "fieldsV1 is no object"),
    ] {
        assert_eq!(FieldSet::from_fields_v1(&fields).unwrap_err(), problem);
    }
}

#[test]
fn numbers_select_the_same_item_however_they_are_written() {
    let whole = FieldSet::from_fields_v1(&json!({"k:{\"port\":80}": {}})).unwrap();
    let float = FieldSet::from_fields_v1(&json!({"k:{\"port\":80.0}": {}})).unwrap();
    assert_eq!(whole, float);
}

/// The fields of a Deployment's pod template with one container.
fn container(container: &Value) -> String {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "spec": {"template": {"spec": {"containers": [container]}}}
    });
    let schema = Schema::builtin();
    let set = schema.fields(schema.of(&object), &object);
    let prefix = ".spec.template.spec.containers[name=\"a\"]";
    let paths = set.paths().into_iter().map(|path| path.to_string());
    paths.filter_map(|path| Some(path.strip_prefix(prefix)?.to_owned())).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_configuration_owns_leaves_items_and_empty_maps() {
    let cases = [
        (json!({"name": "a"}), " .name"),
        (json!({"name": "a", "command": ["x", "y"]}), " .command .name"),
        (json!({"name": "a", "command": []}), " .command .name"),
        (json!({"name": "a", "env": []}), " .name"),
        (json!({"name": "a", "env": null}), " .env .name"),
        (json!({"name": "a", "resources": {}}), " .name .resources"),
        (json!({"name": "a", "resources": {"limits": {"cpu": "1"}}}), " .name .resources.limits.cpu"),
        (json!({"name": "a", "image": null}), " .image .name"),
        (
            json!({"name": "a", "ports": [{"containerPort": 80}]}),
            r#" .name .ports[containerPort=80,protocol="TCP"] .ports[containerPort=80,protocol="TCP"].containerPort"#,
        ),
        (json!({"name": "a", "env": [{"name": "A"}, {"name": "A"}]}), r#" .name .env[name="A"]"#),
        (
            json!({"name": "a", "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}]}),
            r#" .name .env[name="A"] .env[name="A"].name .env[name="A"].valueFrom.fieldRef"#,
        ),
    ];
    for (value, owned) in cases {
        assert_eq!(container(&value), owned, "{value}");
    }
}

#[test]
fn kinds_without_a_schema_merge_maps_and_replace_lists() {
    let object = json!({"apiVersion": "example.com/v1", "kind": "Thing", "spec": {"a": {"b": 1}, "list": [{"x": 1}], "none": {}}});
    let schema = Schema::builtin();
    let set = schema.fields(schema.of(&object), &object);
    assert_eq!(set.to_string(), ".apiVersion\n.kind\n.spec\n.spec.a\n.spec.list\n.spec.none\n.spec.a.b");
}

#[test]
fn what_does_not_fit_a_kind_is_told_in_the_servers_words() {
    let schema = Schema::builtin();
    let misfits = |spec: Value| {
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": spec});
        let found = schema.misfits(schema.of(&object), &object, false);
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let containers = |containers: Value| json!({"template": {"spec": {"containers": containers}}});
    assert_eq!(misfits(json!({"replica": 1})), ".spec.replica: field not declared in schema");
    assert_eq!(
        misfits(json!({"replicas": "two"})),
        ".spec.replicas: expected numeric (int or float), got string"
    );
    assert_eq!(misfits(json!({"paused": "no"})), ".spec.paused: expected boolean, got &{no}");
    assert_eq!(misfits(json!({"template": []})), ".spec.template: expected map, got &{[]}");
    assert_eq!(
        misfits(containers(json!({"name": "a"}))),
        ".spec.template.spec.containers: expected list, got &{map[name:a]}"
    );
    assert_eq!(
        misfits(containers(json!([{"name": "a"}, {"name": "a"}]))),
        ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]"
    );
    for (item, kind) in [(json!(null), "a null element"), (json!("a"), "non-map elements")] {
        assert_eq!(
            misfits(containers(json!([item]))),
            format!(
                ".spec.template.spec.containers: element 0: associative list with keys may not have {kind}"
            )
        );
    }
}
