//! The random apply twin: the same writes on two servers must come out the same, down to who owns what.

mod config;
mod oracle;
mod random;
mod story;

use http::Method;
use kube::Client;
use serde_json::{Value, json};

use crate::server::send;

/// A namespace of its own for a run, removed at the end.
struct Namespace {
    client: Client,
    name: String,
}

impl Namespace {
    async fn make(client: &Client, purpose: &str) -> anyhow::Result<Self> {
        let name = format!("twin-{purpose}-{}", std::process::id());
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let answer =
            send(client, Method::POST, "/api/v1/namespaces", "application/json", Some(&object)).await?;
        anyhow::ensure!(answer.code == 201, "creating namespace {name}: {}", answer.body);
        Ok(Self { client: client.clone(), name })
    }

    async fn remove(self) -> anyhow::Result<()> {
        send(
            &self.client,
            Method::DELETE,
            &format!("/api/v1/namespaces/{}", self.name),
            "application/json",
            None,
        )
        .await?;
        Ok(())
    }
}

/// What the servers' own controllers write beside the story, and what differs between any two servers.
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
        (entry["operation"].to_string(), entry["manager"].to_string(), entry["subresource"].to_string())
    });
    entries
}
