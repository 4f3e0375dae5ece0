//! Deleting what a service no longer wants: last, in reverse order, and only what is proven ours.
//!
//! Called after the service is healthy. Every kind of the set is listed first; when any list or any discovery is
//! incomplete, nothing is deleted. Each object is read again, and its deletion carries the UID and the
//! resourceVersion that were read, so that nothing is deleted that changed under our eyes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::apply::{Change, ChangeSet, Outcome, Target};
use super::inventory::{ApplySet, Entry, is_namespaced};
use super::request::{Call, JSON, METADATA, METADATA_LIST, escape};
use super::{Cluster, ClusterError, object};
use crate::name::{LABEL, k8s_name};
use crate::plan::{Action, ENVIRONMENT_UNIT, PART_OF, Stage, UnitPlan, kept_by_nature};
use crate::render::manifest::ObjectKey;

/// Label that says which service an object belongs to.
pub const SERVICE: &str = "branchline.dev/service";
/// How long a deleted object may take to go.
const GONE: Duration = Duration::from_mins(1);
/// How often an object is read again because it changed before its deletion arrived.
const TRIES: u32 = 3;

/// Deletes what the plan of a service deletes, and what is left over of it: members of the set that carry its
/// label, are in no record and are not wanted. The namespace itself is left to [`namespace`].
///
/// # Errors
/// [`ClusterError::Incomplete`] when a list or discovery could not be read, and then nothing was deleted; or when
/// the inventory cannot be written. The errors of single objects are in the [`ChangeSet`].
pub async fn prune(set: &ApplySet, unit: &UnitPlan, preview: bool) -> Result<ChangeSet, ClusterError> {
    let mut all = ChangeSet::default();
    let mut doomed: BTreeSet<ObjectKey> = BTreeSet::new();
    let mut spared: BTreeSet<ObjectKey> = unit.steps.iter().map(|step| step.key.clone()).collect();
    for step in &unit.prune {
        match step.action {
            Action::Delete if is_namespaced(&step.key) => drop(doomed.insert(step.key.clone())),
            _ => {
                spared.insert(step.key.clone());
                all.changes.push(Change::new(&step.key, Outcome::Kept));
            }
        }
    }
    if doomed.is_empty() {
        return Ok(all);
    }
    let mut kept = Vec::new();
    let members = members(set, &unit.name).await?;
    doomed.extend(members.into_keys().filter(|key| !spared.contains(key)));
    for stage in Stage::ALL.into_iter().rev() {
        for key in doomed.iter().rev().filter(|key| Stage::of(key) == stage) {
            let change = match delete(set, key, preview).await {
                Ok((outcome, why)) => {
                    kept.extend(why.and_then(|why| {
                        let entry = set.entry(&unit.name, key)?;
                        Some((key.clone(), Some(Entry { keep: Some(why), ..entry })))
                    }));
                    Change::new(key, outcome)
                }
                Err(error) => Change::failed(key, error),
            };
            all.changes.push(change);
        }
    }
    // the next plan knows it
    set.settle(&unit.name, kept).await?;
    let gone =
        all.changes.iter().filter(|change| matches!(change.outcome, Outcome::Pruned | Outcome::Released));
    set.settle(&unit.name, gone.map(|change| (change.key.clone(), None))).await?;
    Ok(all)
}

/// Every object of a service that is a proven member of the set, by a complete reading of all kinds of the set.
///
/// # Errors
/// [`ClusterError::Incomplete`] when any kind could not be listed, also when a kind is no longer served: that its
/// objects are gone would be a guess.
pub async fn members(set: &ApplySet, unit: &str) -> Result<BTreeMap<ObjectKey, Value>, ClusterError> {
    let cluster = set.cluster();
    let service = if unit == ENVIRONMENT_UNIT {
        format!("!{SERVICE}")
    } else {
        format!("{SERVICE}={}", service_label(unit))
    };
    let selector = escape(&format!("{PART_OF}={},{service}", set.id()));
    let mut found = BTreeMap::new();
    for (group, kind) in set.group_kinds().await {
        let resource = cluster.resource_of_group(&group, &kind).await.map_err(|source| match source {
            incomplete @ ClusterError::Incomplete { .. } => incomplete,
            source => {
                ClusterError::Incomplete { what: format!("the list of {kind}"), source: Box::new(source) }
            }
        })?;
        let path = resource.collection(Some(set.namespace().as_str()));
        let path = format!("{path}?labelSelector={selector}");
        for item in cluster.list(&path, &kind, METADATA_LIST).await? {
            let Some(name) = item["metadata"]["name"].as_str() else { continue };
            if object::is_member(&item, set.id()) {
                let key =
                    ObjectKey::new(&resource.api_version(), &kind, Some(set.namespace().as_str()), name);
                found.insert(key, item);
            }
        }
    }
    Ok(found)
}

/// A service's name as a label's value: itself, or mapped where it begins or ends with `-` or `_`.
pub(super) fn service_label(unit: &str) -> String {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = unit.as_bytes();
    if edge(bytes.first()) && edge(bytes.last()) { unit.to_owned() } else { k8s_name(&[unit], LABEL) }
}

/// Deletes one object, if it is still ours when it is read again; says why it is kept where it is.
async fn delete(
    set: &ApplySet,
    key: &ObjectKey,
    preview: bool,
) -> Result<(Outcome, Option<String>), ClusterError> {
    let cluster = set.cluster();
    let resource = cluster.resource_of_group(&key.group, &key.kind).await?;
    let path = resource.path(key.namespace.as_deref(), &key.name);
    let what = key.to_string();
    let target = Target { cluster, path: &path, what: &what };
    for tried in 1.. {
        let Some(live) = cluster.find(&path, &what, METADATA).await? else {
            return Ok((Outcome::Pruned, None));
        };
        if !object::is_member(&live, set.id()) {
            return Ok((Outcome::Released, None));
        }
        if let Some(why) = kept_by_nature(key, preview, &live) {
            return Ok((Outcome::Kept, Some(why)));
        }
        match target.delete_exactly(object::uid(&live), object::resource_version(&live)).await {
            Ok(()) => {
                target.wait_until_gone(key, object::uid(&live)).await?;
                return Ok((Outcome::Pruned, None));
            }
            Err(changed) if changed.is_code(409) && tried < TRIES => {}
            Err(failed) => return Err(failed),
        }
    }
    Ok((Outcome::Kept, None))
}

/// Deletes the namespace of a preview with everything in it, and waits until it is gone.
///
/// # Errors
/// When it is not the namespace of this environment: our field manager must own its label, and its `ApplySet` must
/// be ours (the caller has opened it). Also when it does not go away in time; then it is tried again later.
pub async fn namespace(set: &ApplySet) -> Result<Outcome, ClusterError> {
    let cluster = set.cluster();
    let resource = cluster.resource("v1", "Namespace").await?;
    let key = ObjectKey::new("v1", "Namespace", None, set.namespace().as_str());
    let (path, what) = (resource.path(None, &key.name), key.to_string());
    let target = Target { cluster, path: &path, what: &what };
    let Some(live) = cluster.find(&path, &what, METADATA).await? else { return Ok(Outcome::Pruned) };
    if !object::owns_label(&live, "app.kubernetes.io/managed-by") {
        return Err(ClusterError::NotOurs { key, managers: object::other_managers(&live) });
    }
    if kept_by_nature(&key, true, &live).is_some() {
        return Ok(Outcome::Kept);
    }
    target.delete_exactly(object::uid(&live), object::resource_version(&live)).await?;
    target.wait_until_gone(&key, object::uid(&live)).await?;
    Ok(Outcome::Pruned)
}

impl Target<'_> {
    /// Deletes an object of that UID, whatever its version, and waits until it is gone.
    pub(super) async fn delete(&self, key: &ObjectKey, uid: &str) -> Result<(), ClusterError> {
        match self.delete_exactly(uid, "").await {
            Ok(()) => self.wait_until_gone(key, uid).await,
            Err(gone) if gone.is_absent() => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    async fn delete_exactly(&self, uid: &str, resource_version: &str) -> Result<(), ClusterError> {
        let mut preconditions = json!({"uid": uid});
        if !resource_version.is_empty() {
            preconditions["resourceVersion"] = Value::from(resource_version);
        }
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions",
            "propagationPolicy": "Background", "preconditions": preconditions});
        let call = Call {
            what: self.what,
            method: Method::DELETE,
            path: self.path.to_owned(),
            accept: JSON,
            content_type: JSON,
            body: options.to_string().into_bytes(),
        };
        match self.cluster.call(call).await {
            Ok(_) => Ok(()),
            Err(gone) if gone.is_absent() => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    /// Waits until no object of that UID is there. Finalizers are waited for, never taken off.
    async fn wait_until_gone(&self, key: &ObjectKey, uid: &str) -> Result<(), ClusterError> {
        let clock = self.cluster.clock();
        let until = clock.now() + GONE;
        let mut wait = Duration::from_millis(5);
        loop {
            let live = self.cluster.find(self.path, self.what, METADATA).await?;
            let Some(live) = live.filter(|live| object::uid(live) == uid) else { return Ok(()) };
            if clock.now() >= until {
                let finalizers = live["metadata"]["finalizers"].as_array();
                let names = finalizers.into_iter().flatten().filter_map(Value::as_str);
                return Err(ClusterError::Stays {
                    key: key.clone(),
                    finalizers: names.map(str::to_owned).collect(),
                });
            }
            clock.sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(1));
        }
    }
}

impl Cluster {
    /// Reads many objects; what is not there is left out.
    ///
    /// # Errors
    /// When any of them cannot be read: what is missing from the answer is proven not to be there.
    pub async fn get_all(
        &self,
        keys: impl IntoIterator<Item = ObjectKey>,
    ) -> Result<BTreeMap<ObjectKey, Value>, ClusterError> {
        let reads =
            keys.into_iter().map(|key| async move { self.get(&key).await.map(|live| Some((key, live?))) });
        let found = futures::future::try_join_all(reads).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Every object of a kind, in all namespaces.
    ///
    /// # Errors
    /// [`ClusterError::Incomplete`] when any of them cannot be read.
    pub async fn all_of(&self, api_version: &str, kind: &str) -> Result<Vec<Value>, ClusterError> {
        let resource = self.resource(api_version, kind).await?;
        self.list(&resource.collection(None), kind, JSON).await
    }

    /// Reads an object by its key; `None` when it is not there.
    ///
    /// # Errors
    /// When its kind is not known, or the API does not answer.
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<Value>, ClusterError> {
        let resource = self.resource_of_group(&key.group, &key.kind).await?;
        self.find(&resource.path(key.namespace.as_deref(), &key.name), &key.to_string(), JSON).await
    }
}
