//! Server-side apply: ownership, conflicts, force, removal, validation of fields.

use crate::cluster::harness::{World, comparable, on_every_server};
use crate::cluster::objects::config;
use serde_json::{Value, json};

pub(crate) fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{
                    "name": "app", "image": "web:1", "env": [{"name": "A", "value": "1"}],
                    "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}},
                }]},
            },
        },
    })
}

/// Managers of an object and what each owns.
fn managers(object: &Value) -> Vec<(String, Value)> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| (entry["manager"].as_str().unwrap().to_owned(), entry["fieldsV1"].clone()))
        .collect()
}

#[test]
fn a_field_of_another_manager_is_a_conflict_unless_forced() {
    on_every_server("force", async |world| {
        let first = world.apply("configmaps", "m1", "", &config("c", json!({"a": "1", "b": "1"}))).await;
        assert_eq!(first.code, 201);
        assert_eq!(managers(first.ok()), [("m1".to_owned(), json!({"f:data": {"f:a": {}, "f:b": {}}}))]);
        let taken = config("c", json!({"a": "2"}));
        let refused = world.apply("configmaps", "m2", "", &taken).await;
        assert_eq!(
            refused.refusal(),
            json!({
                "code": 409, "reason": "Conflict",
                "message": "Apply failed with 1 conflict: conflict with \"m1\": .data.a",
                "causes": [{
                    "reason": "FieldManagerConflict", "message": "conflict with \"m1\"", "field": ".data.a",
                }],
            })
        );
        let forced = world.apply("configmaps", "m2", "&force=true", &taken).await;
        assert_eq!(forced.ok()["data"], json!({"a": "2", "b": "1"}));
        // what a manager no longer applies goes, if nobody else owns it
        let less = world.apply("configmaps", "m1", "", &config("c", json!({}))).await;
        assert_eq!(less.ok()["data"], json!({"a": "2"}));
    });
}

#[test]
fn a_deployment_is_stored_with_defaults_that_its_applier_does_not_own() {
    on_every_server("defaults", async |world| {
        let applied = world.apply("apps/v1/deployments", "m1", "", &deployment("web")).await;
        insta::allow_duplicates! {
            insta::assert_json_snapshot!("deployment", comparable(applied.ok()));
        }
        let again = world.apply("apps/v1/deployments", "m1", "", &deployment("web")).await;
        assert_eq!(again.code, 200);
        assert_eq!(again.body["metadata"]["generation"], 1);
    });
}

#[test]
fn applying_twice_changes_nothing() {
    on_every_server("twice", async |world| {
        let first = world.apply("configmaps", "m1", "", &config("c", json!({"a": "1"}))).await;
        let second = world.apply("configmaps", "m1", "", &config("c", json!({"a": "1"}))).await;
        assert_eq!(first.ok(), second.ok());
        assert_eq!((first.code, second.code), (201, 200));
    });
}

#[test]
fn a_dry_run_answers_as_if_and_stores_nothing() {
    on_every_server("dry", async |world| {
        let tried = world.apply("configmaps", "m1", "&dryRun=All", &config("c", json!({"a": "1"}))).await;
        assert_eq!((tried.code, &tried.body["data"]), (201, &json!({"a": "1"})));
        assert!(tried.body["metadata"].get("resourceVersion").is_none());
        world.get(&format!("{}/c", world.path("configmaps"))).await.refused(404, "NotFound");
    });
}

#[test]
fn an_apply_that_is_none_is_refused_in_the_servers_words() {
    on_every_server("refused", async |world: std::sync::Arc<World>| {
        let message = async |resource: &str, manager: &str, object: Value| {
            let name = object["metadata"]["name"].as_str().unwrap_or("c").to_owned();
            let path = format!("{}/{name}?fieldManager={manager}", world.path(resource));
            let answer = world.patch(&path, crate::cluster::harness::APPLY, &object).await;
            (answer.code, answer.body["message"].as_str().unwrap_or_default().to_owned())
        };
        let mut unknown = deployment("web");
        unknown["spec"]["template"]["spec"]["containers"][0]["bogus"] = json!(1);
        assert_eq!(
            message("apps/v1/deployments", "m1", unknown).await,
            (
                500,
                "failed to create typed patch object (/web; apps/v1, Kind=Deployment): \
                 .spec.template.spec.containers[name=\"app\"].bogus: field not declared in schema"
                    .to_owned()
            )
        );
        assert_eq!(
            message("configmaps", "m1", json!({"apiVersion": "v1", "kind": "ConfigMap"})).await,
            (
                400,
                "the name of the object (c based on URL) was undeterminable: name must be provided"
                    .to_owned()
            )
        );
        assert_eq!(
            message("configmaps", "", config("c", json!({}))).await,
            (
                422,
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"
                    .to_owned()
            )
        );
    });
}
