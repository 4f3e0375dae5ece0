//! One watch: what its events say of the objects that we own.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::pin;

use futures::{Stream, StreamExt as _};
use kube::runtime::watcher;
use serde_json::Value;

use super::super::health::{self, Health};
use super::super::{object, prune};
use super::{DELETIONS, Event, Watches, has_health, number};
use crate::render::manifest::ObjectKey;

/// One watch.
pub(super) struct Source {
    pub(super) watches: Watches,
    pub(super) api: String,
    pub(super) group: String,
    pub(super) kind: String,
}

impl Source {
    pub(super) async fn run(self, events: impl Stream<Item = watcher::Result<watcher::Event<Value>>>) {
        let mut events = pin!(events);
        let mut listed: BTreeSet<ObjectKey> = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => {
                    listed.clear();
                    self.doubt();
                }
                Ok(watcher::Event::InitApply(object)) => {
                    listed.extend(self.key(&object));
                    self.changed(object).await;
                }
                Ok(watcher::Event::InitDone) => {
                    self.missing(&std::mem::take(&mut listed)).await;
                    let name = (self.group.clone(), self.kind.clone());
                    self.watches.inner.listed.send_if_modified(|listed| listed.insert(name));
                    self.tell(Event::Listed { group: self.group.clone(), kind: self.kind.clone() }).await;
                }
                Ok(watcher::Event::Apply(object)) => self.changed(object).await,
                Ok(watcher::Event::Delete(object)) => self.deleted(&object).await,
                Err(failed) => {
                    self.doubt();
                    self.tell(Event::Trouble { kind: self.kind.clone(), why: failed.to_string() }).await;
                }
            }
        }
    }

    fn key(&self, object: &Value) -> Option<ObjectKey> {
        let metadata = &object["metadata"];
        Some(ObjectKey::new(
            &self.api,
            &self.kind,
            metadata["namespace"].as_str(),
            metadata["name"].as_str()?,
        ))
    }

    async fn tell(&self, event: Event) {
        match &event {
            Event::Drifted { key, service, .. }
            | Event::Deleted { key, service }
            | Event::Health { key, service, .. } => {
                let namespace = key.namespace.as_deref().unwrap_or_default();
                self.watches.inner.waiting.tell(namespace, service);
            }
            Event::Pod { namespace, service } => self.watches.inner.waiting.tell(namespace, service),
            Event::Listed { .. } | Event::Trouble { .. } => {}
        }
        // nobody listens any more: the watch is about to be stopped
        let _ = self.watches.inner.events.send(event).await;
    }

    fn is_pod(&self) -> bool {
        self.group.is_empty() && self.kind == "Pod"
    }

    async fn changed(&self, mut object: Value) {
        let Some(key) = self.key(&object) else { return };
        let service = object::label(&object, prune::SERVICE).unwrap_or_default().to_owned();
        if self.is_pod() {
            let namespace = key.namespace.unwrap_or_default();
            return self.tell(Event::Pod { namespace, service }).await;
        }
        object["apiVersion"] = Value::from(self.api.as_str());
        object["kind"] = Value::from(self.kind.as_str());
        let health = has_health(&self.group, &self.kind).then(|| health::assess(&object));
        for event in self.note(&key, service, &object, health) {
            self.tell(event).await;
        }
    }

    /// Takes an object's fingerprints, and says what is new about them.
    fn note(&self, key: &ObjectKey, service: String, object: &Value, health: Option<Health>) -> Vec<Event> {
        self.watches.objects().change(key, |seen| {
            let mut events = Vec::new();
            if seen.is_late(object::resource_version(object)) {
                return events;
            }
            service.clone_into(&mut seen.service);
            let yields = seen.expected.as_ref().map_or(&[][..], |expected| &expected.yields);
            let owned = object::owned_hash(object, yields);
            let was_off = seen.is_off() && seen.owned.as_ref() == Some(&owned);
            seen.owned = Some(owned);
            object::uid(object).clone_into(&mut seen.uid);
            seen.version = number(object::resource_version(object));
            seen.gone = false;
            seen.actor = object::last_actor(object);
            if seen.is_off() && !was_off {
                let (key, service, actor) = (key.clone(), service.clone(), seen.actor.clone());
                events.push(Event::Drifted { key, service, actor });
            }
            seen.current = seen.version.filter(|_| health == Some(Health::Current));
            if let Some(health) = health {
                let print = fingerprint(&health);
                if print != seen.health {
                    seen.health = print;
                    events.push(Event::Health { key: key.clone(), service, health });
                }
            }
            events
        })
    }

    async fn deleted(&self, object: &Value) {
        let Some(key) = self.key(object) else { return };
        if self.is_pod() {
            let service = object::label(object, prune::SERVICE).unwrap_or_default().to_owned();
            return self.tell(Event::Pod { namespace: key.namespace.unwrap_or_default(), service }).await;
        }
        self.gone(&key, object::resource_version(object)).await;
    }

    async fn gone(&self, key: &ObjectKey, resource_version: &str) {
        let service = {
            let mut objects = self.watches.objects();
            if let Some(version) = number(resource_version) {
                let mut deletions = self.watches.deletions();
                deletions.truncate(DELETIONS - 1);
                deletions.push_front((key.clone(), version));
            }
            let known = objects.seen.get(key).filter(|seen| !seen.is_late(resource_version));
            let Some(known) = known else { return };
            let (service, is_expected) = (known.service.clone(), known.expected.is_some());
            objects.change(key, |seen| {
                seen.gone = true;
                seen.owned = None;
                seen.version = number(resource_version);
                seen.current = None;
                seen.health = 0;
            });
            if !is_expected {
                objects.forget(key);
            }
            service
        };
        self.tell(Event::Deleted { key: key.clone(), service }).await;
    }

    /// Nobody knows how the objects of this kind are, until they are seen again.
    fn doubt(&self) {
        let mut objects = self.watches.objects();
        let ours =
            objects.seen.iter_mut().filter(|(key, _)| key.kind == self.kind && key.group == self.group);
        ours.for_each(|(_, seen)| seen.current = None);
    }

    /// What we know of this kind and a complete list lacks was deleted while nobody watched.
    async fn missing(&self, listed: &BTreeSet<ObjectKey>) {
        let missing: Vec<ObjectKey> = {
            let objects = self.watches.objects();
            let ours =
                objects.seen.iter().filter(|(key, _)| key.kind == self.kind && key.group == self.group);
            let missing = ours.filter(|(key, seen)| !listed.contains(*key) && !seen.gone);
            missing.map(|(key, _)| key.clone()).collect()
        };
        for key in missing {
            self.gone(&key, "").await;
        }
    }
}

fn fingerprint(health: &Health) -> u64 {
    let mut hasher = DefaultHasher::new();
    match health {
        Health::Current => 1.hash(&mut hasher),
        Health::InProgress(why) => (2, why).hash(&mut hasher),
        Health::Failed(why) => (3, why).hash(&mut hasher),
        Health::Terminating => 4.hash(&mut hasher),
    }
    hasher.finish().max(1)
}

/// An event with its object as JSON.
pub(super) fn json<K>(event: watcher::Event<K>, map: impl Fn(K) -> Value) -> watcher::Event<Value> {
    match event {
        watcher::Event::Apply(object) => watcher::Event::Apply(map(object)),
        watcher::Event::Delete(object) => watcher::Event::Delete(map(object)),
        watcher::Event::Init => watcher::Event::Init,
        watcher::Event::InitApply(object) => watcher::Event::InitApply(map(object)),
        watcher::Event::InitDone => watcher::Event::InitDone,
    }
}
