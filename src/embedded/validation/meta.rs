//! `metadata` of every kind.

use super::{Cause, immutable, list, names, text};
use crate::embedded::kinds::Kind;
use serde_json::Value;

const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Problems of the metadata of an object, whether new or not.
pub(super) fn object(kind: &Kind, object: &Value) -> Vec<Cause> {
    let metadata = &object["metadata"];
    let mut causes = Vec::new();
    let mut name_rule = |field: &str, name: &str| {
        for problem in name_problems(kind, name) {
            causes.push(Cause::invalid(format!("metadata.{field}"), &Value::from(name), problem));
        }
    };
    let prefix = text(metadata, "generateName");
    if !prefix.is_empty() {
        name_rule("generateName", prefix.trim_end_matches('-'));
    }
    name_rule("name", text(metadata, "name"));
    causes.extend(common(metadata));
    let finalizers = list(metadata, "finalizers");
    for finalizer in finalizers {
        for problem in names::qualified_name(finalizer.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid("metadata.finalizers", finalizer, problem));
        }
    }
    causes.extend(self::finalizers(object));
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid("metadata.finalizers", &metadata["finalizers"], why));
    }
    causes
}

/// Finalizers without a domain that are none of Kubernetes' own.
pub(super) fn finalizers(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (position, finalizer) in list(&object["metadata"], "finalizers").iter().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        if !name.contains('/') && !["orphan", "foregroundDeletion", "kubernetes"].contains(&name) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(format!("metadata.finalizers[{position}]"), finalizer, why));
        }
    }
    causes
}

/// Problems of labels, annotations and owners.
pub(super) fn common(metadata: &Value) -> Vec<Cause> {
    let mut causes = labels(&metadata["labels"], "metadata.labels");
    causes.extend(annotations(&metadata["annotations"], "metadata.annotations"));
    causes.extend(owners(metadata));
    causes
}

/// Problems of changed metadata.
pub(super) fn update(object: &Value, live: &Value) -> Vec<Cause> {
    let (metadata, of_live) = (&object["metadata"], &live["metadata"]);
    let mut causes = Vec::new();
    if of_live["deletionTimestamp"].is_string() {
        let known = list(of_live, "finalizers");
        let new: Vec<&Value> =
            list(metadata, "finalizers").iter().filter(|name| !known.contains(name)).collect();
        if !new.is_empty() {
            let names: Vec<String> = new.iter().map(ToString::to_string).collect();
            let why = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                names.join(", ")
            );
            causes.push(Cause::forbidden("metadata.finalizers", why));
        }
    }
    for field in ["name", "namespace", "uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        causes.extend(immutable(&metadata[field], &of_live[field], &format!("metadata.{field}")));
    }
    causes.extend(common(metadata));
    causes
}

fn name_problems(kind: &Kind, name: &str) -> Vec<String> {
    match kind.kind {
        "Namespace" => names::dns_label(name),
        "Service" => names::dns_1035_label(name),
        "Role" | "RoleBinding" => names::path_segment(name),
        _ => names::dns_subdomain(name),
    }
}

/// Problems of labels.
pub(super) fn labels(labels: &Value, at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        for problem in names::qualified_name(key) {
            causes.push(Cause::invalid(at, &Value::from(key.as_str()), problem));
        }
        for problem in names::label_value(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid(at, value, problem));
        }
    }
    causes
}

/// Problems of annotations.
pub(super) fn annotations(annotations: &Value, at: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        for problem in names::qualified_name(&key.to_lowercase()) {
            causes.push(Cause::invalid(at, &Value::from(key.as_str()), problem));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        causes.push(Cause::too_long(at, ANNOTATIONS_LIMIT));
    }
    causes
}

fn owners(metadata: &Value) -> Vec<Cause> {
    const AT: &str = "metadata.ownerReferences";
    let mut causes = Vec::new();
    let mut controller: Option<String> = None;
    for owner in list(metadata, "ownerReferences") {
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text(owner, field).is_empty() {
                causes.push(Cause::invalid(format!("{AT}.{field}"), &Value::from(""), why));
            }
        }
        if owner["controller"] == Value::Bool(true) {
            let this = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            match &controller {
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. \
                         Found \"true\" in references for {first} and {this}"
                    );
                    causes.push(Cause::invalid(AT, &metadata["ownerReferences"], why));
                }
                None => controller = Some(this),
            }
        }
    }
    causes
}
