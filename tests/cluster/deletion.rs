//! Deletion: preconditions, finalizers, propagation, namespaces, collections.

use crate::cluster::apply::deployment;
use crate::cluster::harness::{MERGE, World, comparable, on_every_server};
use crate::cluster::objects::config;
use serde_json::{Value, json};

async fn create(world: &World, name: &str) -> (String, Value) {
    let created = world.post(&world.path("configmaps"), &config(name, json!({"a": "1"}))).await;
    (format!("{}/{name}", world.path("configmaps")), created.ok().clone())
}

#[test]
fn a_deletion_meant_for_another_object_does_not_happen() {
    on_every_server("preconditions", async |world| {
        let (path, object) = create(&world, "one").await;
        world.delete(&path, &json!({"preconditions": {"uid": "x"}})).await.refused(409, "Conflict");
        world
            .delete(&path, &json!({"preconditions": {"resourceVersion": "1"}}))
            .await
            .refused(409, "Conflict");
        let right = json!({"preconditions": {
            "uid": object["metadata"]["uid"], "resourceVersion": object["metadata"]["resourceVersion"],
        }});
        assert_eq!(world.delete(&path, &right).await.ok()["status"], "Success");
        world.delete(&path, &Value::Null).await.refused(404, "NotFound");
    });
}

#[test]
fn an_object_with_finalizers_waits_until_the_last_one_is_gone() {
    on_every_server("finalizers", async |world| {
        let (path, _) = create(&world, "one").await;
        let both = json!({"metadata": {"finalizers": ["a.b/c", "d.e/f"]}});
        world.patch(&path, MERGE, &both).await.ok();
        let waiting = world.delete(&path, &Value::Null).await;
        assert_eq!(waiting.ok()["kind"], "ConfigMap");
        assert!(waiting.body["metadata"]["deletionTimestamp"].is_string());
        assert_eq!(waiting.body["metadata"]["deletionGracePeriodSeconds"], 0);
        let more = json!({"metadata": {"finalizers": ["a.b/c", "d.e/f", "g.h/i"]}});
        world.patch(&path, MERGE, &more).await.refused(422, "Invalid");
        world.patch(&path, MERGE, &json!({"metadata": {"finalizers": ["a.b/c"]}})).await.ok();
        world.get(&path).await.ok();
        world.patch(&path, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
        world.get(&path).await.refused(404, "NotFound");
    });
}

#[test]
fn a_foreground_deletion_is_noted_as_a_finalizer() {
    on_every_server("foreground", async |world| {
        let (path, _) = create(&world, "one").await;
        let tried = world.delete(&path, &json!({"propagationPolicy": "Foreground", "dryRun": ["All"]})).await;
        assert_eq!(tried.ok()["metadata"]["finalizers"], json!(["foregroundDeletion"]));
        assert!(world.get(&path).await.ok()["metadata"].get("finalizers").is_none());
        let refused = world.delete(&path, &json!({"propagationPolicy": "Bogus"})).await;
        assert_eq!(
            refused.refused(422, "Invalid")["details"]["causes"][0]["message"],
            "Unsupported value: \"Bogus\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\""
        );
    });
}

#[test]
fn deleting_a_deployment_that_is_held_moves_its_generation() {
    on_every_server("generation", async |world| {
        let mut object = deployment("web");
        object["metadata"]["finalizers"] = json!(["a.b/c"]);
        let path = format!("{}/web", world.path("apps/v1/deployments"));
        world.post(&world.path("apps/v1/deployments"), &object).await.ok();
        let waiting = world.delete(&path, &Value::Null).await;
        assert_eq!(waiting.ok()["metadata"]["generation"], 2);
        world.patch(&path, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
    });
}

#[test]
fn a_collection_is_deleted_by_selector() {
    on_every_server("collection", async |world| {
        for (name, app) in [("a", "web"), ("b", "web"), ("c", "api")] {
            let mut object = config(name, json!({}));
            object["metadata"]["labels"] = json!({"app": app});
            world.post(&world.path("configmaps"), &object).await.ok();
        }
        let path = world.path("configmaps");
        let deleted = world.delete(&format!("{path}?labelSelector=app%3Dweb"), &Value::Null).await;
        assert_eq!(deleted.ok()["items"].as_array().unwrap().len(), 2);
        let rest = world.get(&format!("{path}?labelSelector=app")).await;
        assert_eq!(comparable(&rest.ok()["items"][0])["metadata"]["name"], "c");
        assert_eq!(rest.body["items"].as_array().unwrap().len(), 1);
    });
}

#[test]
fn a_namespace_that_is_being_deleted_takes_nothing_new() {
    on_every_server("namespace", async |world| {
        let name = format!("{}-more", world.namespace);
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "finalizers": ["a.b/c"]},
        });
        world.post("/api/v1/namespaces", &namespace).await.ok();
        let path = format!("/api/v1/namespaces/{name}");
        let going = world.delete(&path, &Value::Null).await;
        assert_eq!(going.ok()["status"]["phase"], "Terminating");
        let late = world.post(&format!("{path}/configmaps"), &config("late", json!({}))).await;
        assert_eq!(late.refused(403, "Forbidden")["details"]["causes"][0]["reason"], "NamespaceTerminating");
        world.patch(&path, MERGE, &json!({"metadata": {"finalizers": null}})).await.ok();
        world.delete("/api/v1/namespaces/kube-system", &Value::Null).await.refused(403, "Forbidden");
    });
}
