//! Who waits for a service to move: they look again when a watch tells something of it, not by the clock alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::Notify;

use super::Watches;
use crate::render::manifest::ObjectKey;

/// A namespace and the name of a service.
type Key = (String, String);

/// Everybody who waits.
#[derive(Default)]
pub(super) struct Waiting(Arc<Mutex<BTreeMap<Key, Weak<Notify>>>>);

/// Tells when something of a service moved. Nothing is missed between two waits.
pub struct Moves {
    key: Key,
    watches: Watches,
    moved: Arc<Notify>,
    all: Arc<Mutex<BTreeMap<Key, Weak<Notify>>>>,
}

fn lock(all: &Mutex<BTreeMap<Key, Weak<Notify>>>) -> MutexGuard<'_, BTreeMap<Key, Weak<Notify>>> {
    all.lock().expect("no holder of this lock panics")
}

impl Waiting {
    /// Begins to wait.
    pub(super) fn moves(&self, watches: &Watches, namespace: &str, service: &str) -> Moves {
        let key = (namespace.to_owned(), service.to_owned());
        let mut all = lock(&self.0);
        let moved = all.get(&key).and_then(Weak::upgrade).unwrap_or_default();
        all.insert(key.clone(), Arc::downgrade(&moved));
        Moves { key, watches: watches.clone(), moved, all: Arc::clone(&self.0) }
    }

    /// Something of a service moved.
    pub(super) fn tell(&self, namespace: &str, service: &str) {
        let all = lock(&self.0);
        if all.is_empty() {
            return;
        }
        if let Some(moved) = all.get(&(namespace.to_owned(), service.to_owned())).and_then(Weak::upgrade) {
            moved.notify_one();
        }
    }
}

impl Moves {
    /// Waits until something moved since the last wait.
    pub async fn next(&self) {
        self.moved.notified().await;
    }

    /// Whether an object was as it should be when it was last seen.
    pub(in crate::cluster) fn is_current(&self, key: &ObjectKey) -> bool {
        self.watches.is_current(key)
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        // this one alone holds it
        if Arc::strong_count(&self.moved) == 1 {
            all.remove(&self.key);
        }
    }
}
