//! What pruning leaves alone.

use serde_json::Value;

use super::{Held, Scope};
use crate::render::manifest::ObjectKey;

/// Annotation that says what pruning may do with an object.
pub const PRUNE: &str = "branchline.dev/prune";
/// The value of [`PRUNE`] that keeps an object for ever.
pub const KEEP_VALUE: &str = "keep";
/// Label of a Secret whose values were generated once and exist nowhere else.
pub const GENERATED: &str = "branchline.dev/generated";

/// Answers whether the object asks to be kept, by its annotation.
fn is_marked_to_keep(object: &Value) -> bool {
    object["metadata"]["annotations"][PRUNE].as_str() == Some(KEEP_VALUE)
}

/// Why an object keeps living although nobody wants it any more, judged by its kind and its own marks.
///
/// A preview leaves nothing behind but what is annotated: its volumes, generated values and namespace go with it.
#[must_use]
pub fn kept_by_nature(key: &ObjectKey, preview: bool, object: &Value) -> Option<String> {
    if is_marked_to_keep(object) {
        return Some(format!("it is annotated `{PRUNE}: {KEEP_VALUE}`"));
    }
    if preview {
        return None;
    }
    match (key.group.as_str(), key.kind.as_str()) {
        ("", "PersistentVolumeClaim") => Some("volumes are never deleted by themselves".to_owned()),
        ("", "Namespace") => Some("the namespace of an environment is kept".to_owned()),
        ("", "Secret") if object["metadata"]["labels"][GENERATED].as_str() == Some("true") => {
            Some("its values were generated and exist nowhere else".to_owned())
        }
        _ => None,
    }
}

/// Why a held object is kept: what the inventory noted, or what the live object says.
pub(super) fn kept_because(scope: &Scope, held: &Held, live: Option<&Value>) -> Option<String> {
    held.keep.clone().or_else(|| kept_by_nature(&held.key, scope.preview, live.unwrap_or(&Value::Null)))
}
