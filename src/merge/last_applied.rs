//! The annotation in which client-side `kubectl apply` keeps what it applied last.
//!
//! When `kubectl` itself turns to server-side apply, fields that it owns by the annotation do not conflict, and the
//! annotation is kept up to date so that it can turn back. Other managers are not concerned.

use serde_json::Value;

use super::apply::Request;
use super::conflict::Conflict;
use super::fieldset::FieldSet;

/// The manager that the annotation belongs to.
pub(super) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The server's limit for all annotations of an object, in bytes.
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// What is left of the conflicts when those are taken away that the annotation allows.
pub(super) fn remaining(request: &Request<'_>, conflicts: Vec<Conflict>) -> Vec<Conflict> {
    let Some(allowed) = owned(request) else { return conflicts };
    conflicts.into_iter().filter(|conflict| !allowed.contains(&conflict.path)).collect()
}

/// The fields that the annotation names and that still have its values.
fn owned(request: &Request<'_>) -> Option<FieldSet> {
    let text = annotation(request.live?)?;
    let last: Value = serde_json::from_str(text).ok()?;
    let schema = request.schema;
    if last.get("apiVersion") != request.applied.get("apiVersion")
        || !schema.misfits(request.kind, &last, false).is_empty()
    {
        return None;
    }
    let changes = schema.compare(request.kind, &last, request.live?);
    let fields = schema.fields(request.kind, &last);
    Some(fields.difference(&changes.modified).difference(&changes.added).difference(&changes.removed))
}

fn annotation(object: &Value) -> Option<&str> {
    object.get("metadata")?.get("annotations")?.get(ANNOTATION)?.as_str().filter(|text| !text.is_empty())
}

/// Writes what was applied into the annotation, where the object has it.
pub(super) fn refresh(object: &mut Value, applied: &Value) {
    if annotation(object).is_none() {
        return;
    }
    let mut applied = applied.clone();
    if let Some(annotations) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove(ANNOTATION);
    }
    let mut text = canonical(&applied).to_string();
    text.push('\n');
    if let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.insert(ANNOTATION.into(), text.into());
        let size: usize =
            annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
        if size > ANNOTATIONS_LIMIT {
            annotations.shift_remove(ANNOTATION);
        }
    }
}

/// The value with sorted keys, as Go writes maps.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut sorted: Vec<_> =
                entries.iter().map(|(name, value)| (name.clone(), canonical(value))).collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(canonical).collect()),
        other => other.clone(),
    }
}
