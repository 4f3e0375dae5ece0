//! Fields that Kubernetes does not let anybody change, and what is done about it, kind by kind.
//!
//! The rules are those of the API server's validation (`pkg/apis/*/validation`), for the kinds that templates make.

use super::diff::FieldChange;
use crate::render::manifest::ObjectKey;

pub(super) enum Judgement {
    InPlace,
    Replace(String),
    Refuse(String),
}

/// Decides how changed fields can reach the cluster.
///
/// Without field changes (nobody read the live object) a changed Job counts as replaced: nearly all of it is fixed.
pub(super) fn judge(key: &ObjectKey, changes: &[FieldChange]) -> Judgement {
    let job = (key.group.as_str(), key.kind.as_str()) == ("batch", "Job");
    if job && changes.is_empty() {
        return Judgement::Replace("a Job cannot be changed once it is made".to_owned());
    }
    let Some(fixed) = changes.iter().find(|change| is_fixed(key, &change.path)) else {
        return Judgement::InPlace;
    };
    if job {
        return Judgement::Replace(format!("{} cannot be changed in place", fixed.path));
    }
    let way_out = match key.kind.as_str() {
        "PersistentVolumeClaim" => "hint: give the volume another name; its data is never deleted",
        _ => "hint: give the object another name, or delete it yourself first",
    };
    Judgement::Refuse(format!("{} cannot be changed once a {} exists; {way_out}", fixed.path, key.kind))
}

/// Whether the API server refuses a change below this path.
fn is_fixed(key: &ObjectKey, path: &str) -> bool {
    let below = |roots: &[&str]| roots.iter().any(|root| covers(root, path));
    match (key.group.as_str(), key.kind.as_str()) {
        ("batch", "Job") => below(&[
            ".spec.template",
            ".spec.selector",
            ".spec.completions",
            ".spec.completionMode",
            ".spec.manualSelector",
            ".spec.podFailurePolicy",
            ".spec.successPolicy",
            ".spec.backoffLimitPerIndex",
            ".spec.managedBy",
        ]),
        ("", "PersistentVolumeClaim") => {
            covers(".spec", path)
                && !below(&[".spec.resources.requests.storage", ".spec.volumeAttributesClassName"])
        }
        ("apps", "StatefulSet") => {
            covers(".spec", path)
                && !below(&[
                    ".spec.replicas",
                    ".spec.ordinals",
                    ".spec.template",
                    ".spec.updateStrategy",
                    ".spec.revisionHistoryLimit",
                    ".spec.persistentVolumeClaimRetentionPolicy",
                    ".spec.minReadySeconds",
                ])
        }
        ("apps", _) => below(&[".spec.selector"]),
        ("", "Secret") => below(&[".type"]),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => below(&[".roleRef"]),
        _ => false,
    }
}

/// Whether `path` is `root` or lies below it.
fn covers(root: &str, path: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
