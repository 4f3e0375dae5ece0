//! What the embedded API holds: objects by kind, one revision counter, and the last events of each kind.
//!
//! Everything is in memory. A write is *compare and swap*: whoever changes an object names the revision that it
//! read, so that merging happens outside the lock. Knows nothing about what an object means.

use super::kinds::{KINDS, Kind};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::broadcast;

/// How many events of a kind are kept for watchers that come back; whoever asks for an older one gets 410.
pub(crate) const EVENTS_KEPT: usize = 1024;
/// How many bytes the objects of those events may take, roughly.
const BYTES_KEPT: usize = 16 << 20;

/// Namespace (`""` for cluster-scoped kinds) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

/// One version of one object. Immutable; its JSON is made once, when first asked for.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) value: Value,
    pub(crate) revision: u64,
    /// How many bytes it takes, roughly.
    bytes: usize,
    json: OnceLock<Bytes>,
}

impl Stored {
    fn new(value: Value, revision: u64) -> Self {
        Self { bytes: bytes(&value), value, revision, json: OnceLock::new() }
    }

    /// What a dry run would have stored.
    pub(crate) fn tried(value: Value) -> Arc<Self> {
        Arc::new(Self::new(value, 0))
    }

    /// The object as JSON, `kind` and `apiVersion` first.
    pub(crate) fn json(&self) -> Bytes {
        let made = self.json.get_or_init(|| {
            Bytes::from(serde_json::to_vec(&self.value).expect("a JSON value is always JSON"))
        });
        made.clone()
    }

    /// The object as an item of a typed list: without `kind` and `apiVersion`.
    pub(crate) fn list_item(&self, kind: &Kind) -> Bytes {
        let head = head_length(kind);
        self.json().slice(head..)
    }
}

/// Length of `{"kind":"K","apiVersion":"V",`: what [`Stored::list_item`] takes off (the opening brace is put back
/// by the list).
fn head_length(kind: &Kind) -> usize {
    "{\"kind\":\"\",\"apiVersion\":\"\",".len() + kind.kind.len() + kind.api_version.len()
}

/// What happened to an object.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    /// Before; `None`: created.
    pub(crate) before: Option<Arc<Stored>>,
    /// After; for a deletion the last state, with the revision of the deletion.
    pub(crate) after: Arc<Stored>,
    pub(crate) deleted: bool,
}

/// Why a write did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clash {
    /// Something stands at the key that was thought free.
    Exists,
    /// Nothing stands there any more.
    Gone,
    /// Another revision than the one that was read.
    Changed,
}

/// Objects of one kind at one revision.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) objects: Vec<Arc<Stored>>,
    /// Objects beyond the limit, for `remainingItemCount`.
    pub(crate) remaining: usize,
    /// The last key taken, when there is more.
    pub(crate) last: Option<Key>,
}

/// A subscription: what happened since the asked revision, then what happens.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) revision: u64,
    pub(crate) missed: Vec<Arc<Change>>,
    pub(crate) changes: broadcast::Receiver<Arc<Change>>,
}

#[derive(Debug)]
struct Shelf {
    objects: BTreeMap<Key, Arc<Stored>>,
    events: VecDeque<Arc<Change>>,
    /// How many bytes their objects take, roughly.
    bytes: usize,
    /// Events up to this revision are forgotten.
    forgotten: u64,
    sender: broadcast::Sender<Arc<Change>>,
}

#[derive(Debug)]
struct Inner {
    revision: u64,
    shelves: Vec<Shelf>,
}

/// The objects.
#[derive(Debug)]
pub(crate) struct Storage(RwLock<Inner>);

impl Storage {
    pub(crate) fn new() -> Self {
        let empty = || Shelf {
            objects: BTreeMap::new(),
            events: VecDeque::new(),
            bytes: 0,
            forgotten: 1,
            sender: broadcast::Sender::new(EVENTS_KEPT),
        };
        let shelves = (0..KINDS.len()).map(|_| empty()).collect();
        Self(RwLock::new(Inner { revision: 1, shelves }))
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn get(&self, kind: &Kind, key: &Key) -> Option<Arc<Stored>> {
        self.read().shelves[kind.index].objects.get(key).cloned()
    }

    /// Objects that `wanted` picks, in the order of their keys, after `after`, at most `limit`.
    pub(crate) fn list(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
        after: Option<&Key>,
        limit: Option<usize>,
        wanted: impl Fn(&Stored) -> bool,
    ) -> Snapshot {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let inner = self.read();
        let objects = &inner.shelves[kind.index].objects;
        let start = match (after, namespace) {
            (Some(key), _) => Excluded(key.clone()),
            (None, Some(namespace)) => Included(Key::new(namespace, "")),
            (None, None) => Unbounded,
        };
        let in_scope = objects
            .range((start, Unbounded))
            .take_while(|(key, _)| namespace.is_none_or(|wanted| key.namespace == wanted));
        let limit = limit.unwrap_or(usize::MAX);
        let mut snapshot =
            Snapshot { revision: inner.revision, objects: Vec::new(), remaining: 0, last: None };
        let mut last = None;
        for (key, stored) in in_scope.filter(|(_, stored)| wanted(stored)) {
            if snapshot.objects.len() == limit {
                snapshot.remaining += 1;
                continue;
            }
            last = Some(key);
            snapshot.objects.push(Arc::clone(stored));
        }
        if snapshot.remaining > 0 {
            snapshot.last = last.cloned();
        }
        snapshot
    }

    /// Subscribes to a kind from just after `revision`; `None`: from now on.
    ///
    /// # Errors
    /// The oldest revision that can still be told, when `revision` is older.
    pub(crate) fn subscribe(&self, kind: &Kind, revision: Option<u64>) -> Result<Subscription, u64> {
        let inner = self.read();
        let of_kind = &inner.shelves[kind.index];
        let missed = match revision {
            None => Vec::new(),
            Some(since) if since < of_kind.forgotten => return Err(of_kind.forgotten),
            Some(since) => {
                let from = of_kind.events.partition_point(|change| change.revision <= since);
                of_kind.events.range(from..).cloned().collect()
            }
        };
        Ok(Subscription { revision: inner.revision, missed, changes: of_kind.sender.subscribe() })
    }

    /// Subscribes and lists in one step, so that nothing falls between.
    pub(crate) fn list_and_subscribe(
        &self,
        kind: &Kind,
        namespace: Option<&str>,
    ) -> (Vec<Arc<Stored>>, Subscription) {
        let inner = self.read();
        let of_kind = &inner.shelves[kind.index];
        let all = of_kind.objects.iter();
        let objects = all
            .filter(|(key, _)| namespace.is_none_or(|wanted| key.namespace == wanted))
            .map(|(_, stored)| Arc::clone(stored));
        let subscription = Subscription {
            revision: inner.revision,
            missed: Vec::new(),
            changes: of_kind.sender.subscribe(),
        };
        (objects.collect(), subscription)
    }

    /// Stores a new object and gives it its `resourceVersion`.
    ///
    /// # Errors
    /// [`Clash::Exists`].
    pub(crate) fn create(&self, kind: &Kind, key: Key, value: Value) -> Result<Arc<Stored>, Clash> {
        let mut inner = self.write();
        if inner.shelves[kind.index].objects.contains_key(&key) {
            return Err(Clash::Exists);
        }
        Ok(inner.put(kind, key, None, value))
    }

    /// Replaces the object that was read.
    ///
    /// # Errors
    /// [`Clash::Gone`] or [`Clash::Changed`].
    pub(crate) fn replace(
        &self,
        kind: &Kind,
        key: Key,
        read: &Stored,
        value: Value,
    ) -> Result<Arc<Stored>, Clash> {
        let mut inner = self.write();
        let before = inner.expect(kind, &key, read)?;
        Ok(inner.put(kind, key, Some(before), value))
    }

    /// Removes the object that was read; the answer is its last state, `value`, with the deletion's revision.
    ///
    /// # Errors
    /// [`Clash::Gone`] or [`Clash::Changed`].
    pub(crate) fn remove(
        &self,
        kind: &Kind,
        key: &Key,
        read: &Stored,
        value: Value,
    ) -> Result<Arc<Stored>, Clash> {
        let mut inner = self.write();
        let before = inner.expect(kind, key, read)?;
        inner.revision += 1;
        let revision = inner.revision;
        let after = Arc::new(Stored::new(with_revision(value, revision), revision));
        inner.shelves[kind.index].objects.remove(key);
        inner.tell(kind, Change { revision, before: Some(before), after: Arc::clone(&after), deleted: true });
        Ok(after)
    }
}

impl Inner {
    fn expect(&self, kind: &Kind, key: &Key, read: &Stored) -> Result<Arc<Stored>, Clash> {
        let current = self.shelves[kind.index].objects.get(key).ok_or(Clash::Gone)?;
        if current.revision == read.revision { Ok(Arc::clone(current)) } else { Err(Clash::Changed) }
    }

    fn put(&mut self, kind: &Kind, key: Key, before: Option<Arc<Stored>>, value: Value) -> Arc<Stored> {
        self.revision += 1;
        let revision = self.revision;
        let after = Arc::new(Stored::new(with_revision(value, revision), revision));
        self.shelves[kind.index].objects.insert(key, Arc::clone(&after));
        self.tell(kind, Change { revision, before, after: Arc::clone(&after), deleted: false });
        after
    }

    fn tell(&mut self, kind: &Kind, change: Change) {
        let of_kind = &mut self.shelves[kind.index];
        let change = Arc::new(change);
        of_kind.bytes += change.after.bytes;
        of_kind.events.push_back(Arc::clone(&change));
        while of_kind.events.len() > EVENTS_KEPT || of_kind.bytes > BYTES_KEPT {
            let Some(oldest) = of_kind.events.pop_front() else { break };
            of_kind.forgotten = oldest.revision;
            of_kind.bytes -= oldest.after.bytes;
        }
        // nobody watches: nobody to tell
        let _ = of_kind.sender.send(change);
    }
}

/// How many bytes a value takes in memory, roughly.
fn bytes(value: &Value) -> usize {
    let within = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(bytes).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + 64 + bytes(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    size_of::<Value>() + within
}

fn with_revision(mut value: Value, revision: u64) -> Value {
    value["metadata"]["resourceVersion"] = Value::from(revision.to_string());
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::kinds::named;
    use serde_json::json;

    fn object(name: &str) -> Value {
        json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}})
    }

    #[test]
    fn a_write_that_read_an_older_revision_does_not_happen() {
        let storage = Storage::new();
        let kind = named("ConfigMap");
        let key = Key::new("shop", "a");
        let first = storage.create(kind, key.clone(), object("a")).unwrap();
        assert_eq!(storage.create(kind, key.clone(), object("a")).unwrap_err(), Clash::Exists);
        let second = storage.replace(kind, key.clone(), &first, object("a")).unwrap();
        assert!(second.revision > first.revision);
        assert_eq!(storage.replace(kind, key.clone(), &first, object("a")).unwrap_err(), Clash::Changed);
        storage.remove(kind, &key, &second, object("a")).unwrap();
        assert_eq!(storage.replace(kind, key, &second, object("a")).unwrap_err(), Clash::Gone);
    }

    #[test]
    fn a_watcher_gets_what_it_missed_until_that_is_forgotten() {
        let storage = Storage::new();
        let kind = named("ConfigMap");
        let first = storage.create(kind, Key::new("shop", "a"), object("a")).unwrap();
        storage.create(kind, Key::new("shop", "b"), object("b")).unwrap();
        let missed = storage.subscribe(kind, Some(first.revision)).unwrap().missed;
        assert_eq!(missed.len(), 1);
        for at in 0..EVENTS_KEPT {
            storage.create(kind, Key::new("shop", &format!("n{at}")), object("n")).unwrap();
        }
        assert!(storage.subscribe(kind, Some(first.revision)).is_err());
        assert!(storage.subscribe(kind, None).is_ok());
    }

    #[test]
    fn large_objects_are_forgotten_sooner() {
        let storage = Storage::new();
        let kind = named("ConfigMap");
        let mut large = object("a");
        large["data"]["a"] = Value::from("x".repeat(1 << 20));
        let mut last = storage.create(kind, Key::new("shop", "a"), large.clone()).unwrap();
        let first = last.revision;
        for _ in 0..BYTES_KEPT >> 20 {
            last = storage.replace(kind, Key::new("shop", "a"), &last, large.clone()).unwrap();
        }
        assert!(storage.subscribe(kind, Some(first)).is_err());
        assert!(storage.subscribe(kind, Some(last.revision)).is_ok());
        assert!(storage.read().shelves[kind.index].bytes <= BYTES_KEPT);
    }
}
