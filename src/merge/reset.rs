//! Fields that a write cannot set, because the server resets them afterwards: nobody comes to own them by it.
//!
//! The server's strategies: an object's `status` is only written through the `status` subresource, everything else
//! only without it.

use std::sync::LazyLock;

use super::fieldset::FieldSet;
use super::path::Path;

/// Kinds with a `status` subresource, and what beside `spec` a write of the status resets.
const WITH_STATUS: [(&str, &str, &[&[&str]]); 16] = [
    ("v1", "Namespace", &[]),
    ("v1", "Node", &[]),
    ("v1", "PersistentVolume", &[]),
    ("v1", "PersistentVolumeClaim", &[]),
    ("v1", "Pod", &[&["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]),
    ("v1", "ResourceQuota", &[]),
    ("v1", "Service", &[]),
    ("apps/v1", "DaemonSet", &[]),
    ("apps/v1", "Deployment", &[&["metadata", "labels"]]),
    ("apps/v1", "ReplicaSet", &[]),
    ("apps/v1", "StatefulSet", &[]),
    ("autoscaling/v2", "HorizontalPodAutoscaler", &[]),
    ("batch/v1", "CronJob", &[]),
    ("batch/v1", "Job", &[]),
    ("networking.k8s.io/v1", "Ingress", &[]),
    ("policy/v1", "PodDisruptionBudget", &[]),
];

/// The fields that a write of the object, or of a subresource of it, cannot set.
pub(super) fn fields(api_version: &str, kind: &str, subresource: &str) -> &'static FieldSet {
    static SETS: LazyLock<Vec<Reset>> = LazyLock::new(|| {
        let sets = WITH_STATUS.iter().map(|(api_version, kind, more)| Reset {
            api_version,
            kind,
            main: FieldSet::of([Path::of(&["status"])]),
            status: FieldSet::of(more.iter().map(|names| Path::of(names)).chain([Path::of(&["spec"])])),
        });
        sets.collect()
    });
    static NONE: FieldSet = FieldSet::EMPTY;
    let found = SETS.iter().find(|set| set.kind == kind && set.api_version == api_version);
    match (found, subresource) {
        (Some(set), "") => &set.main,
        (Some(set), "status") => &set.status,
        _ => &NONE,
    }
}

struct Reset {
    api_version: &'static str,
    kind: &'static str,
    main: FieldSet,
    status: FieldSet,
}
