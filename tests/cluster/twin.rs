//! The random apply twin: the same writes on two servers must come out the same, down to who owns what.
//!
//! A story follows from its seed. `TWIN_SEED` and `TWIN_COUNT` choose others than the usual ones.

mod config;
mod oracle;
mod random;
mod story;

use std::sync::Arc;

use futures::{StreamExt as _, future, stream};
use serde_json::{Value, json};

use self::story::{Step, Story};
use crate::cluster::harness::{Answer, World, comparable, real_server_required, servers, suffix};

#[test]
fn the_embedded_and_the_real_server_make_the_same_of_every_story() {
    if !real_server_required() {
        return;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let namespace = format!("twin-{}", suffix());
        let mut worlds = Vec::new();
        for (server, client) in servers().await {
            let world = Arc::new(World { server, client, namespace: namespace.clone() });
            let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
            world.post("/api/v1/namespaces", &body).await.ok();
            worlds.push(world);
        }
        let stories = stream::iter(seeds(500)).map(|seed| play(&worlds[0], &worlds[1], seed));
        let found: Vec<String> = stories.buffer_unordered(8).filter_map(future::ready).collect().await;
        for world in &worlds {
            world.delete(&format!("/api/v1/namespaces/{namespace}"), &Value::Null).await;
        }
        assert!(found.is_empty(), "{} differences\n{}", found.len(), found.join("\n\n"));
    });
}

/// The first difference of a story.
async fn play(embedded: &World, real: &World, seed: u64) -> Option<String> {
    let story = Story::of(seed);
    let mut found = None;
    for (position, step) in story.steps.iter().enumerate() {
        let (ours, theirs) = future::join(story.read(embedded), story.read(real)).await;
        let ran =
            future::join(step.run(embedded, &story, ours.as_ref()), step.run(real, &story, theirs.as_ref()))
                .await;
        let (ours, theirs) = (
            ran.0.as_ref().map(|answer| outcome(&story, answer)),
            ran.1.as_ref().map(|answer| outcome(&story, answer)),
        );
        if ours != theirs {
            let show = |outcome: Option<Value>| outcome.unwrap_or_default();
            let (ours, theirs) = (show(ours), show(theirs));
            found = Some(format!(
                "seed {seed} step {position} {} {step:?}\nembedded: {ours}\nreal:     {theirs}",
                story.kind.name
            ));
            break;
        }
    }
    future::join(story.clear(embedded), story.clear(real)).await;
    found
}

/// What a write came to, without what differs between any two servers.
fn outcome(story: &Story, answer: &Answer) -> Value {
    if answer.code >= 300 {
        // An empty map or list that was sent and one that was not are the same to us; Go prints them apart.
        let text = answer.refusal().to_string().replace("Invalid value: {}:", "Invalid value: null:");
        let mut refusal: Value =
            serde_json::from_str(&text.replace("Invalid value: []:", "Invalid value: null:")).unwrap();
        // Which of several managers comes first is random on the real server.
        if let Some(causes) = refusal["causes"].as_array_mut() {
            causes.sort_by_key(Value::to_string);
        }
        return refusal;
    }
    let mut object = answer.body.clone();
    let owners = owners(&object);
    if object["kind"] == "Status" {
        return json!({"code": answer.code});
    }
    if let Some(entries) = object.as_object_mut() {
        entries.shift_remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("managedFields");
        if story.kind.name == "NetworkPolicy" {
            // Here alone an empty list that was sent counts as another spec than none.
            metadata.shift_remove("generation");
        }
        if story.kind.name == "Deployment" {
            // A replaced annotation of the controller's counts as a change on the server that runs it.
            if story.steps.iter().any(|step| matches!(step, Step::Replace { .. })) {
                metadata.shift_remove("generation");
            }
            metadata.shift_remove("annotations");
        }
    }
    json!({"code": answer.code, "object": comparable(&object), "owners": owners})
}

/// The seeds of a run.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("TWIN_SEED").unwrap_or(1);
    first..first + number("TWIN_COUNT").unwrap_or(usual)
}

/// What the servers' own controllers write beside the story.
const CONTROLLER: &str = "kube-controller-manager";

/// Who owns what, without times and controllers, in an order that does not depend on them.
fn owners(object: &Value) -> Vec<Value> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    let mut entries: Vec<Value> = entries.filter(|entry| entry["manager"] != CONTROLLER).cloned().collect();
    for entry in &mut entries {
        if let Some(entry) = entry.as_object_mut() {
            entry.shift_remove("time");
        }
    }
    entries.sort_by_key(|entry| {
        let text = |key: &str| entry[key].to_string();
        (text("operation"), text("manager"), text("subresource"))
    });
    entries
}
