//! What must survive a restart: `Secret`s, the `ConfigMap`s that are `ApplySet` parents (KEP-3659), and namespaces that
//! somebody manages.
//!
//! Everything else comes back from Git. Sealing is the business of whoever gives the [`StateStore`].

use super::kinds::{Kind, named};
use super::storage::{Key, Storage};
use futures::future::BoxFuture;
use serde_json::Value;
use std::collections::BTreeSet;

/// Why an object was not kept.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StateError(pub String);

/// What the answer of [`StateStore::load_all`] holds.
pub type KeptObjects = Vec<(String, Vec<u8>)>;

/// Where objects are kept over a restart: bytes by key. Keys are `Secret/NAMESPACE/NAME`,
/// `ConfigMap/NAMESPACE/NAME` and `Namespace//NAME`; bytes are the object as JSON and hold secrets.
pub trait StateStore: Send + Sync {
    /// Everything that is kept.
    fn load_all(&self) -> BoxFuture<'_, Result<KeptObjects, StateError>>;
    /// Keeps bytes under a key, and answers when they are safe.
    fn put(&self, key: String, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StateError>>;
    /// Forgets a key, whether known or not.
    fn delete(&self, key: String) -> BoxFuture<'_, Result<(), StateError>>;
}

/// Keeps nothing: for a cluster whose Secrets come from elsewhere, and for measuring.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepNothing;

impl StateStore for KeepNothing {
    fn load_all(&self) -> BoxFuture<'_, Result<KeptObjects, StateError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn put(&self, _key: String, _bytes: Vec<u8>) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async { Ok(()) })
    }

    fn delete(&self, _key: String) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async { Ok(()) })
    }
}

/// The label of an ApplySet parent.
const APPLYSET_ID: &str = "applyset.kubernetes.io/id";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Follows changes of what must be kept.
pub(crate) struct Persisted {
    store: std::sync::Arc<dyn StateStore>,
    /// What the store holds. The lock is held over its writes, so that they happen in the order of the storage.
    kept: tokio::sync::Mutex<BTreeSet<String>>,
}

impl Persisted {
    pub(crate) fn new(store: std::sync::Arc<dyn StateStore>) -> Self {
        Self { store, kept: tokio::sync::Mutex::default() }
    }

    /// Puts back what was kept. Namespaces that held such objects come back with them.
    pub(crate) async fn restore(
        &self,
        mut put: impl FnMut(&'static Kind, Key, Value),
    ) -> Result<(), StateError> {
        let mut kept = self.kept.lock().await;
        let mut all = self.store.load_all().await?;
        // before what is in them, which would make bare ones
        all.sort_by_key(|(key, _)| !key.starts_with("Namespace/"));
        for (key, bytes) in all {
            let object: Value = serde_json::from_slice(&bytes)
                .map_err(|error| StateError(format!("what is kept under {key} is no object: {error}")))?;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let kind = named(match object["kind"].as_str() {
                Some("Secret") => "Secret",
                Some("Namespace") => "Namespace",
                _ => "ConfigMap",
            });
            let place = Key {
                namespace: text(&object["metadata"]["namespace"]),
                name: text(&object["metadata"]["name"]),
            };
            put(kind, place, object);
            kept.insert(key);
        }
        Ok(())
    }

    /// Makes the store agree with the storage about one object that was just written or deleted.
    pub(crate) async fn follow(
        &self,
        kind: &Kind,
        object: &Value,
        storage: &Storage,
    ) -> Result<(), StateError> {
        if !matches!(kind.kind, "Secret" | "ConfigMap" | "Namespace") {
            return Ok(());
        }
        let metadata = &object["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let key = format!("{}/{}/{}", kind.kind, text("namespace"), text("name"));
        let place = Key::new(text("namespace"), text("name"));
        let mut kept = self.kept.lock().await;
        let current = storage.get(kind, &place).filter(|stored| must_survive(kind, &stored.value));
        match current {
            Some(stored) => {
                self.store.put(key.clone(), stored.json().to_vec()).await?;
                kept.insert(key);
            }
            None if kept.contains(&key) => {
                self.store.delete(key.clone()).await?;
                kept.remove(&key);
            }
            None => {}
        }
        Ok(())
    }
}

fn must_survive(kind: &Kind, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    match kind.kind {
        "Secret" => true,
        // whoever made it must know it again as its own
        "Namespace" => labels.get(MANAGED_BY).is_some(),
        _ => labels.get(APPLYSET_ID).is_some(),
    }
}
