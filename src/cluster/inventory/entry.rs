//! What stands in the inventory: objects by name, and what we know of each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::render::manifest::ObjectKey;

/// What is known of one object that we applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Hash of the manifest as applied; empty until the API server accepted it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub applied: String,
    /// Fingerprint of the fields that we own ([`super::object::owned_hash`]).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owned: String,
    /// The object's UID.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Why it is kept when nobody wants it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// Fields that do not count in `owned`, since a conflict on them yields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub yields: Vec<String>,
    /// Those of them that we left to another manager and no longer send.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// What is kept of one service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The revision that was applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The deployment that applied it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
    /// Objects by `Kind.group/name`.
    #[serde(default)]
    pub objects: BTreeMap<String, Entry>,
    /// Decisions that change what runs and stand nowhere else (paused, quarantined, scaled until).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub decisions: BTreeMap<String, Value>,
}

/// `Deployment.apps/api`; all objects of a set live in its namespace, but for that namespace itself.
pub(super) fn entry_name(key: &ObjectKey) -> String {
    let ObjectKey { group, kind, name, .. } = key;
    if group.is_empty() { format!("{kind}/{name}") } else { format!("{kind}.{group}/{name}") }
}

pub(super) fn group_kind(key: &ObjectKey) -> String {
    if key.group.is_empty() { key.kind.clone() } else { format!("{}.{}", key.kind, key.group) }
}

pub(super) fn entry_key(namespace: &str, entry: &str) -> Option<ObjectKey> {
    let (kind, name) = entry.split_once('/')?;
    let (kind, group) = kind.split_once('.').unwrap_or((kind, ""));
    Some(ObjectKey {
        group: group.to_owned(),
        kind: kind.to_owned(),
        namespace: (entry != format!("Namespace/{name}")).then(|| namespace.to_owned()),
        name: name.to_owned(),
    })
}

/// Whether an object is a member of its environment's set: all but the namespace, which the parent lives in.
pub(in crate::cluster) fn is_namespaced(key: &ObjectKey) -> bool {
    key.namespace.is_some()
}
