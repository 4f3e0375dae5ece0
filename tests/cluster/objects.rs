//! Objects: create, read, replace, patch, list.

use crate::cluster::harness::{JSON_PATCH, MERGE, World, on_every_server};
use serde_json::{Value, json};

pub(crate) fn config(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

async fn create(world: &World, name: &str) -> Value {
    world.post(&world.path("configmaps"), &config(name, json!({"a": "1"}))).await.ok().clone()
}

#[test]
fn what_is_created_can_be_read_listed_changed_and_deleted() {
    on_every_server("objects", async |world| {
        let all = world.path("configmaps");
        let created = create(&world, "one").await;
        assert_eq!(created["metadata"]["namespace"], world.namespace);
        let one = format!("{all}/one");
        assert_eq!(world.get(&one).await.ok(), &created);
        let list = world.get(&format!("{all}?fieldSelector=metadata.name=one")).await;
        assert_eq!(list.ok()["kind"], "ConfigMapList");
        assert_eq!(list.body["items"][0]["data"], json!({"a": "1"}));
        assert!(list.body["items"][0].get("kind").is_none());
        let patched = world.patch(&one, MERGE, &json!({"data": {"a": null, "b": "2"}})).await;
        assert_eq!(patched.ok()["data"], json!({"b": "2"}));
        let steps = json!([{"op": "add", "path": "/data/c", "value": "3"}]);
        assert_eq!(world.patch(&one, JSON_PATCH, &steps).await.ok()["data"], json!({"b": "2", "c": "3"}));
        let deleted = world.delete(&one, &Value::Null).await;
        assert_eq!(deleted.ok()["status"], "Success");
        world.get(&one).await.refused(404, "NotFound");
    });
}

#[test]
fn a_replacement_that_read_an_old_version_is_a_conflict() {
    on_every_server("conflict", async |world| {
        let mut read = create(&world, "one").await;
        let path = format!("{}/one", world.path("configmaps"));
        world.patch(&path, MERGE, &json!({"data": {"b": "2"}})).await.ok();
        read["data"]["c"] = json!("3");
        world.put(&path, &read).await.refused(409, "Conflict");
        read["metadata"]["resourceVersion"] = json!("");
        assert_eq!(world.put(&path, &read).await.ok()["data"], json!({"a": "1", "c": "3"}));
    });
}

#[test]
fn an_unknown_field_is_dropped_with_a_warning_or_refused() {
    on_every_server("unknown", async |world| {
        let mut object = config("one", json!({}));
        object["foo"] = json!(1);
        let path = world.path("configmaps");
        world.post(&format!("{path}?fieldValidation=Strict"), &object).await.refused(400, "BadRequest");
        let stored = world.post(&path, &object).await;
        assert!(stored.ok().get("foo").is_none());
        assert_eq!(stored.warnings, ["299 - \"unknown field \\\"foo\\\"\""]);
    });
}
