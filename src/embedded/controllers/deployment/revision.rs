//! Revisions: the ReplicaSet of a template, its annotations, and how much history is kept.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::super::owner;
use super::super::template::{HASH_LABEL, hash};
use super::Set;
use super::rollout::Limits;

/// The number of the rollout that an object belongs to.
pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// `spec.replicas` of the Deployment when the set was last sized.
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The most pods that were allowed when the set was last sized.
pub(super) const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAXIMUM,
    "deprecated.deployment.rollback.to",
];

/// The revision an object carries, 0 where it carries none.
pub(super) fn of(meta: &ObjectMeta) -> i64 {
    let annotations = meta.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(REVISION)?.parse().ok()).unwrap_or(0)
}

/// The revision that the new ReplicaSet has or gets.
pub(super) fn next(new: Option<&Set>, old: &[Set]) -> i64 {
    let newest = old.iter().map(|set| set.revision).max().unwrap_or(0);
    new.map_or(0, |set| set.revision).max(newest + 1)
}

/// The annotations that remember how a set was sized.
pub(super) fn sizes(limits: &Limits) -> BTreeMap<String, String> {
    [(DESIRED.to_owned(), limits.replicas.to_string()), (MAXIMUM.to_owned(), limits.maximum().to_string())]
        .into()
}

/// The ReplicaSet of the Deployment's current template.
pub(super) fn new_set(deployment: &Deployment, old: &[Set], replicas: i32, limits: &Limits) -> ReplicaSet {
    let spec = deployment.spec.as_ref().expect("a Deployment without a spec is not decided on");
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = hash(&spec.template, collisions);
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let mut annotations = copied(deployment);
    annotations.insert(REVISION.to_owned(), next(None, old).to_string());
    annotations.extend(sizes(limits));
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![owner::reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// What has to change on the new ReplicaSet for it to carry the Deployment's annotations and revision.
pub(super) fn refreshed(deployment: &Deployment, new: &Set, old: &[Set]) -> Option<Value> {
    let held = new.object.metadata.annotations.clone().unwrap_or_default();
    let mut changed: BTreeMap<String, String> =
        copied(deployment).into_iter().filter(|(name, value)| held.get(name) != Some(value)).collect();
    let revision = next(Some(new), old);
    if revision > new.revision {
        changed.insert(REVISION.to_owned(), revision.to_string());
        if new.revision > 0 {
            let before = held.get(REVISION_HISTORY).map(|history| format!("{history},")).unwrap_or_default();
            changed.insert(REVISION_HISTORY.to_owned(), format!("{before}{}", new.revision));
        }
    }
    let asked = deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let has = new.object.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    match (changed.is_empty(), asked == has) {
        (true, true) => None,
        (false, true) => Some(json!({"metadata": {"annotations": changed}})),
        (_, false) => Some(json!({"metadata": {"annotations": changed}, "spec": {"minReadySeconds": asked}})),
    }
}

/// The old ReplicaSets beyond the history limit that may go: no pods, nothing pending, oldest revision first.
pub(super) fn history(old: &[Set], limit: Option<i32>) -> Vec<&Set> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(usize::MAX);
    let mut kept: Vec<&Set> =
        old.iter().filter(|set| set.object.metadata.deletion_timestamp.is_none()).collect();
    kept.sort_by_key(|set| set.revision);
    let surplus = kept.len().saturating_sub(limit);
    let idle = |set: &&Set| {
        let seen = set.object.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
        set.wanted == 0 && set.current == 0 && set.object.metadata.generation.unwrap_or(0) <= seen
    };
    kept.into_iter().take(surplus).filter(idle).collect()
}

fn copied(deployment: &Deployment) -> BTreeMap<String, String> {
    let annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    annotations.into_iter().filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())).collect()
}
