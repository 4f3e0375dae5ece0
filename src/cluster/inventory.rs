//! What we applied, kept in the cluster itself: an `ApplySet` (KEP-3659).
//!
//! The parent is the ConfigMap `branchline` of an environment's namespace. Its `data` has one key per service,
//! in which stand the service's objects with what we know of each, its revision and its decisions. The record is
//! always a superset of what is there: objects are written down before they are applied, and struck off only
//! after somebody saw them gone.

mod around;
mod entry;
mod parent;

pub(super) use self::entry::is_namespaced;
pub use self::entry::{Entry, Record};
use self::entry::{entry_key, entry_name, group_kind};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use super::{Cluster, ClusterError};
use crate::name::Namespace;
use crate::plan::Held;
use crate::render::manifest::ObjectKey;

/// The parent's name.
pub const PARENT: &str = "branchline";
/// What we answer to the KEP's question which tool runs a set.
pub const TOOLING: &str = "branchline/v1";
/// Annotation that says which Branchline runs the set.
pub const INSTANCE: &str = "branchline.dev/instance";

const ID: &str = "applyset.kubernetes.io/id";
const TOOLING_KEY: &str = "applyset.kubernetes.io/tooling";
const KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
/// How often a write is tried against somebody else's.
const TRIES: u32 = 5;
/// The longest pause between two writes.
const LONGEST: Duration = Duration::from_millis(500);

/// The inventory of one environment, and the right to change it.
#[derive(Debug)]
pub struct ApplySet {
    cluster: Cluster,
    namespace: Namespace,
    instance: String,
    id: String,
    written: tokio::sync::Mutex<Written>,
    state: Mutex<State>,
    around: Mutex<Option<around::Around>>,
}

/// How the parent stands in the cluster.
#[derive(Debug, Default)]
struct Written {
    /// Empty while there is no parent.
    resource_version: String,
    kinds: BTreeSet<String>,
    /// Up to which change everything is written.
    upto: u64,
    /// When the next write may begin: in a burst of changes, many go into one.
    next: Option<Timestamp>,
}

/// What we want it to say.
#[derive(Debug, Default)]
struct State {
    records: BTreeMap<String, Record>,
    /// Their objects, as planning takes them; made when first asked for.
    held: BTreeMap<String, Arc<[Held]>>,
    dirty: BTreeSet<String>,
    change: u64,
}

/// The id of the set whose parent is ConfigMap `branchline` in a namespace, by the KEP's formula:
/// `applyset-<base64url(sha256(name.namespace.kind.group))>-v1`.
#[must_use]
pub fn set_id(namespace: &str) -> String {
    let hash = digest(&SHA256, format!("{PARENT}.{namespace}.ConfigMap.").as_bytes());
    format!("applyset-{}-v1", URL_SAFE_NO_PAD.encode(hash.as_ref()))
}

impl ApplySet {
    /// Reads the inventory of a namespace. One that does not exist yet is empty; it comes with the first write.
    ///
    /// `instance` tells this Branchline from every other: a hash of the config repository and path.
    ///
    /// # Errors
    /// When another Branchline or another tool runs the set, when a record cannot be read, or the API fails.
    pub async fn open(
        cluster: &Cluster,
        namespace: &Namespace,
        instance: &str,
    ) -> Result<Self, ClusterError> {
        let set = Self {
            cluster: cluster.clone(),
            id: set_id(namespace.as_str()),
            namespace: namespace.clone(),
            instance: instance.to_owned(),
            written: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            around: Mutex::default(),
        };
        let mut written = set.written.lock().await;
        if let Some(parent) = set.read(&mut written).await? {
            let records = set.records(&parent)?;
            set.state().records = records;
        }
        drop(written);
        Ok(set)
    }

    /// The set's id, which its members carry as a label.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The environment's namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The cluster that the set is in.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Another number after every change of what is kept.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.state().change
    }

    /// Units that have a record, sorted.
    #[must_use]
    pub fn units(&self) -> Vec<String> {
        self.state().records.keys().cloned().collect()
    }

    /// What is kept of a unit.
    #[must_use]
    pub fn record(&self, unit: &str) -> Option<Record> {
        self.state().records.get(unit).cloned()
    }

    /// A unit's objects, as planning takes them.
    #[must_use]
    pub fn held(&self, unit: &str) -> Arc<[Held]> {
        let mut state = self.state();
        if let Some(held) = state.held.get(unit) {
            return Arc::clone(held);
        }
        let Some(record) = state.records.get(unit) else { return Arc::default() };
        let held = record.objects.iter().filter_map(|(name, entry)| {
            Some(Held {
                key: entry_key(self.namespace.as_str(), name)?,
                applied: entry.applied.clone(),
                owned: entry.owned.clone(),
                uid: entry.uid.clone(),
                keep: entry.keep.clone(),
                yields: entry.yields.clone(),
            })
        });
        let held: Arc<[Held]> = held.collect();
        state.held.insert(unit.to_owned(), Arc::clone(&held));
        held
    }

    /// What is known of one object of a unit.
    #[must_use]
    pub fn entry(&self, unit: &str, key: &ObjectKey) -> Option<Entry> {
        self.state().records.get(unit)?.objects.get(&entry_name(key)).cloned()
    }

    /// Every group and kind that the set has members of, as planning and pruning must list them.
    pub async fn group_kinds(&self) -> BTreeSet<(String, String)> {
        let written = self.written.lock().await;
        let kinds = written.kinds.iter().chain(&self.kinds_of(None)).cloned().collect::<BTreeSet<_>>();
        kinds
            .iter()
            .map(|kind| kind.split_once('.').unwrap_or((kind, "")))
            .map(|(kind, group)| (group.to_owned(), kind.to_owned()))
            .collect()
    }

    /// Writes down objects before they are applied. Costs no request when all are written down already.
    ///
    /// # Errors
    /// When the parent cannot be written, or turns out to be somebody else's.
    pub async fn intend(
        &self,
        unit: &str,
        keys: impl IntoIterator<Item = ObjectKey>,
    ) -> Result<(), ClusterError> {
        let names: Vec<String> = keys.into_iter().map(|key| entry_name(&key)).collect();
        let known = {
            let state = self.state();
            let record = state.records.get(unit);
            names.iter().all(|name| record.is_some_and(|record| record.objects.contains_key(name)))
        };
        if known {
            return Ok(());
        }
        self.change(unit, |record| {
            for name in names {
                record.objects.entry(name).or_default();
            }
        })
        .await
    }

    /// Notes what became of objects: a new entry, or `None` for one that was seen gone.
    ///
    /// # Errors
    /// As [`ApplySet::intend`].
    pub async fn settle(
        &self,
        unit: &str,
        entries: impl IntoIterator<Item = (ObjectKey, Option<Entry>)>,
    ) -> Result<(), ClusterError> {
        let entries: Vec<_> = entries.into_iter().map(|(key, entry)| (entry_name(&key), entry)).collect();
        if entries.is_empty() {
            return Ok(());
        }
        self.change(unit, |record| {
            for (name, entry) in entries {
                match entry {
                    Some(entry) => drop(record.objects.insert(name, entry)),
                    None => drop(record.objects.remove(&name)),
                }
            }
        })
        .await
    }

    /// Notes which revision and deployment stand behind a unit, or any of its decisions.
    ///
    /// # Errors
    /// As [`ApplySet::intend`].
    pub async fn change(&self, unit: &str, change: impl FnOnce(&mut Record)) -> Result<(), ClusterError> {
        let mine = {
            let mut state = self.state();
            let record = state.records.entry(unit.to_owned()).or_default();
            let before = record.clone();
            change(record);
            let same = *record == before;
            if record.objects.is_empty() && record.decisions.is_empty() {
                state.records.remove(unit);
            }
            if same && !state.dirty.contains(unit) {
                return Ok(());
            }
            state.held.remove(unit);
            state.dirty.insert(unit.to_owned());
            state.change += 1;
            state.change
        };
        let mut written = self.written.lock().await;
        // whoever held the lock before may have written this change together with its own
        if written.upto >= mine {
            return Ok(());
        }
        let clock = self.cluster.clock();
        let wait = written
            .next
            .map(|next| next.duration_since(clock.now()))
            .filter(jiff::SignedDuration::is_positive);
        if let Some(wait) = wait {
            // a clock that was put back must not hold up anybody
            clock.sleep(wait.unsigned_abs().min(LONGEST)).await;
        }
        let begun = clock.now();
        let result = self.write(&mut written).await;
        let ended = clock.now();
        // the parent grows with the environment, and so does what a write of it costs
        let pause = (ended.duration_since(begun).unsigned_abs() * 2).min(LONGEST);
        written.next = Some(ended + pause);
        result
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// The kinds of some units, or of all.
    fn kinds_of(&self, units: Option<&BTreeSet<String>>) -> BTreeSet<String> {
        let state = self.state();
        let wanted = |unit: &String| units.is_none_or(|units| units.contains(unit));
        let records = state.records.iter().filter(|(unit, _)| wanted(unit));
        let names = records.flat_map(|(_, record)| record.objects.keys());
        let keys = names.filter_map(|name| entry_key("", name)).filter(is_namespaced);
        keys.map(|key| group_kind(&key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_follows_the_formula_of_the_kep() {
        // printf 'branchline.shop-staging.ConfigMap.' | openssl dgst -sha256 -binary | basenc --base64url
        assert_eq!(set_id("shop-staging"), "applyset-rHLzPpfzpTTIvDn5Vomuvs663rcxXDvG6OfQm4WRZIY-v1");
    }

    #[test]
    fn an_entry_names_its_object() {
        for (api, kind) in [("apps/v1", "Deployment"), ("v1", "Service"), ("networking.k8s.io/v1", "Ingress")]
        {
            let key = ObjectKey::new(api, kind, Some("shop"), "api.v2");
            assert_eq!(entry_key("shop", &entry_name(&key)), Some(key));
        }
    }
}
