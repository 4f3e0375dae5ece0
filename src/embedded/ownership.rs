//! Who owns which field: the embedded API's side of the `merge` room.

use super::api::write::Writer;
use super::status::Refusal;
use crate::merge;
use serde_json::Value;

/// The object that server-side apply makes out of the live one.
///
/// # Errors
/// 409 with every field that belongs to somebody else; 500, as the server, for a body that is not of its type.
pub(crate) fn applied(writer: &Writer<'_>, live: Option<&Value>, applied: &Value) -> Result<Value, Refusal> {
    let options = merge::Apply {
        manager: &writer.options.manager,
        force: writer.options.force,
        subresource: writer.part.subresource(),
        now: &writer.now,
    };
    merge::apply(merge::Schema::builtin(), live, applied, &options).map_err(refusal)
}

fn refusal(error: merge::ApplyError) -> Refusal {
    let message = error.to_string();
    match error {
        merge::ApplyError::Conflicts(conflicts) => {
            let told: Vec<(String, String)> =
                conflicts.iter().map(|conflict| (conflict.message(), conflict.field())).collect();
            Refusal::apply_conflict(message, &told)
        }
        merge::ApplyError::BadRequest { .. } => Refusal::bad_request(message),
        merge::ApplyError::Invalid { .. } => Refusal::internal(message),
    }
}

/// The object with what a create, an update or a patch changed noted as owned by its manager.
pub(crate) fn updated(writer: &Writer<'_>, live: Option<&Value>, object: &Value) -> Result<Value, Refusal> {
    let options = merge::Update {
        manager: &writer.options.manager,
        subresource: writer.part.subresource(),
        now: &writer.now,
    };
    merge::update(merge::Schema::builtin(), live, object, &options).map_err(refusal)
}

/// The object with other replicas, written through its scale.
pub(crate) fn scaled(writer: &Writer<'_>, live: &Value, replicas: i64) -> Value {
    let options = merge::Update {
        manager: &writer.options.manager,
        subresource: writer.part.subresource(),
        now: &writer.now,
    };
    merge::scale(live, replicas, &options)
}

/// Whether nothing changed but the times of managers and the version: such a write is not stored.
pub(crate) fn same(object: &Value, live: &Value) -> bool {
    let (Some(object), Some(live)) = (object.as_object(), live.as_object()) else { return false };
    object.len() == live.len()
        && object.iter().all(|(field, value)| match live.get(field) {
            Some(other) if field == "metadata" => same_metadata(value, other),
            other => other == Some(value),
        })
}

fn same_metadata(metadata: &Value, live: &Value) -> bool {
    let (Some(metadata), Some(live)) = (metadata.as_object(), live.as_object()) else { return false };
    let ignored = |field: &String| field == "resourceVersion" || field == "managedFields";
    metadata.keys().filter(|field| !ignored(field)).all(|field| metadata.get(field) == live.get(field))
        && live.keys().filter(|field| !ignored(field)).all(|field| metadata.contains_key(field))
        && same_managers(metadata.get("managedFields"), live.get("managedFields"))
}

fn same_managers(entries: Option<&Value>, live: Option<&Value>) -> bool {
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let timeless = |mut entry: Value| {
        if let Some(entry) = entry.as_object_mut() {
            entry.shift_remove("time");
        }
        entry
    };
    let (entries, live) = (list(entries), list(live));
    entries.len() == live.len()
        && entries.into_iter().zip(live).all(|(entry, other)| timeless(entry) == timeless(other))
}
