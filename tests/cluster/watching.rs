//! Watches: what they show, where they go on, and when they cannot.

use crate::cluster::harness::{MERGE, World, embedded, on_every_server};
use crate::cluster::objects::config;
use futures::{AsyncBufReadExt as _, Stream, StreamExt as _, TryStreamExt as _};
use http::Request;
use serde_json::{Value, json};
use std::pin::Pin;
use std::time::Duration;

type Events = Pin<Box<dyn Stream<Item = Value>>>;

async fn watch(client: &kube::Client, path: &str) -> Events {
    let request = Request::get(path).header("accept", "application/json").body(Vec::new()).unwrap();
    let lines = client.request_stream(request).await.unwrap();
    Box::pin(lines.lines().map_ok(|line| serde_json::from_str(&line).unwrap()).map(Result::unwrap))
}

async fn next(events: &mut Events) -> (String, String, Value) {
    let event = tokio::time::timeout(Duration::from_mins(2), events.next()).await.unwrap().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&event["type"]), text(&event["object"]["metadata"]["name"]), event["object"].clone())
}

async fn labelled(world: &World, name: &str, app: &str) -> Value {
    let mut object = config(name, json!({}));
    object["metadata"]["labels"] = json!({"app": app});
    world.post(&world.path("configmaps"), &object).await.ok().clone()
}

#[test]
fn a_watcher_with_a_selector_sees_objects_come_and_go() {
    on_every_server("watch", async |world| {
        let all = world.path("configmaps");
        let first = labelled(&world, "a", "web").await;
        let since = first["metadata"]["resourceVersion"].as_str().unwrap();
        let query =
            format!("{all}?watch=true&resourceVersion={since}&labelSelector=app%3Dweb&timeoutSeconds=30");
        let mut events = watch(&world.client, &query).await;
        labelled(&world, "b", "api").await;
        labelled(&world, "c", "web").await;
        let (kind, name, object) = next(&mut events).await;
        assert_eq!((kind.as_str(), name.as_str()), ("ADDED", "c"));
        assert_eq!(object["kind"], "ConfigMap");
        let relabel = |app| json!({"metadata": {"labels": {"app": app}}});
        world.patch(&format!("{all}/a"), MERGE, &json!({"data": {"x": "1"}})).await.ok();
        world.patch(&format!("{all}/b"), MERGE, &relabel("web")).await.ok();
        world.patch(&format!("{all}/a"), MERGE, &relabel("api")).await.ok();
        world.delete(&format!("{all}/c"), &Value::Null).await.ok();
        let seen: Vec<(String, String)> = [
            next(&mut events).await,
            next(&mut events).await,
            next(&mut events).await,
            next(&mut events).await,
        ]
        .map(|(kind, name, _)| (kind, name))
        .to_vec();
        let expected = [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("DELETED", "c")];
        assert_eq!(seen, expected.map(|(kind, name)| (kind.to_owned(), name.to_owned())));
    });
}

#[test]
fn a_watch_for_a_table_brings_its_columns_once() {
    on_every_server("table", async |world| {
        let first = labelled(&world, "a", "web").await;
        let since = first["metadata"]["resourceVersion"].as_str().unwrap();
        let path = format!(
            "{}?watch=true&resourceVersion={since}&fieldSelector=metadata.name%3Da&timeoutSeconds=30",
            world.path("configmaps")
        );
        let request = Request::get(path)
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
            .body(Vec::new())
            .unwrap();
        let mut lines = world.client.request_stream(request).await.unwrap().lines();
        let one = format!("{}/a", world.path("configmaps"));
        for value in ["1", "2"] {
            world.patch(&one, MERGE, &json!({"data": {"x": value}})).await.ok();
        }
        for columns in [3, 0] {
            let line = lines.next().await.unwrap().unwrap();
            let event: Value = serde_json::from_str(&line).unwrap();
            let table = &event["object"];
            assert_eq!(table["kind"], "Table");
            let found = table["columnDefinitions"].as_array().map_or(0, Vec::len);
            assert_eq!(found, columns, "{}", world.server);
            let cells = table["rows"][0]["cells"].as_array().unwrap();
            assert_eq!(cells[..2], [json!("a"), json!(1)]);
        }
    });
}

#[tokio::test]
async fn a_watcher_that_comes_back_too_late_is_told_to_list_again() {
    let client = embedded().await.client();
    let world = World { server: "embedded", client, namespace: "default".to_owned() };
    let path = world.path("configmaps");
    for at in 0..1100 {
        world.post(&path, &config(&format!("c{at}"), json!({}))).await.ok();
    }
    let mut events = watch(&world.client, &format!("{path}?watch=true&resourceVersion=10")).await;
    let (kind, _, status) = next(&mut events).await;
    assert_eq!(
        (kind.as_str(), &status["code"], &status["reason"]),
        ("ERROR", &json!(410), &json!("Expired"))
    );
    assert!(events.next().await.is_none());
}

#[test]
fn lists_come_in_pages_and_can_be_watched_from_the_first() {
    on_every_server("pages", async |world| {
        for name in ["a", "b", "c"] {
            labelled(&world, name, "web").await;
        }
        let path = world.path("configmaps");
        let first = world.get(&format!("{path}?labelSelector=app&limit=2")).await;
        let token = first.ok()["metadata"]["continue"].as_str().unwrap().to_owned();
        assert_eq!(first.body["items"].as_array().unwrap().len(), 2);
        let rest = world.get(&format!("{path}?labelSelector=app&limit=2&continue={token}")).await;
        assert_eq!(rest.ok()["items"][0]["metadata"]["name"], "c");
        assert!(rest.body["metadata"].get("continue").is_none());
        assert_eq!(rest.body["metadata"]["resourceVersion"], first.body["metadata"]["resourceVersion"]);
    });
}
