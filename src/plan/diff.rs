//! What an apply would change in a live object, field by field, by owned fields only.
//!
//! The wanted object is merged onto the live one as server-side apply would do it ([`crate::merge`]); what then
//! differs is exactly what we own or let go. Defaults and the fields of others are the same on both sides.

use serde::Serialize;
use serde_json::Value;

use super::{FIELD_MANAGER, PART_OF};
use crate::merge::{self, Apply, FieldSet, Path, PathElement, Scalar, Schema};

/// A field that changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// The path as Kubernetes writes it: `.spec.template.spec.containers[name="api"].image`.
    pub path: String,
    /// From what to what.
    #[serde(flatten)]
    pub change: Change,
}

/// How a field changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "camelCase")]
pub enum Change {
    /// It was not there.
    Added {
        /// Its value.
        to: Value,
    },
    /// It has another value.
    Modified {
        /// The live value.
        from: Value,
        /// The wanted value.
        to: Value,
    },
    /// It goes.
    Removed {
        /// The live value.
        from: Value,
    },
    /// It is a secret's value: that it changes is all that is said.
    Secret,
}

/// What an apply of `wanted` would change in `live`, but for the paths on which it yields.
///
/// The label that ties an object to its `ApplySet` is put on at apply, so it counts as wanted here.
///
/// # Errors
/// When the wanted object does not fit the schema of its kind.
pub fn owned_changes(
    schema: &Schema,
    live: &Value,
    wanted: &Value,
    yields: &[String],
) -> Result<Vec<FieldChange>, merge::ApplyError> {
    let mut wanted = wanted.clone();
    if let Some(id) = live["metadata"]["labels"].get(PART_OF) {
        wanted["metadata"]["labels"][PART_OF] = id.clone();
    }
    let mut live = live.clone();
    schema.normalize(schema.of(&live), &mut live);
    // the time only ends up in the managed fields, which are not compared
    let apply = Apply { manager: FIELD_MANAGER, force: true, subresource: "", now: "1970-01-01T00:00:00Z" };
    let next = merge::apply(schema, Some(&live), &wanted, &apply)?;
    let mut changes = between(schema, &live, &next);
    changes.retain(|change| !yields.contains(&change.path));
    Ok(changes)
}

/// The differences of two objects of one kind, in the order of their paths; bookkeeping is left out.
#[must_use]
pub fn between(schema: &Schema, from: &Value, to: &Value) -> Vec<FieldChange> {
    let secret = to["kind"] == "Secret" && to["apiVersion"] == "v1";
    let (from, to) = (without_managed_fields(from), without_managed_fields(to));
    let found = merge::compare(schema, &from, &to);
    let mut changes = Vec::new();
    let mut note = |path: Path, change: Change| {
        let text = path.to_string();
        let hidden = secret && (text.starts_with(".data") || text.starts_with(".stringData"));
        changes
            .push((path, FieldChange { path: text, change: if hidden { Change::Secret } else { change } }));
    };
    for path in telling(&found.added, &to) {
        let to = at(&to, &path);
        note(path, Change::Added { to });
    }
    for path in telling(&found.modified, &to) {
        let (from, to) = (at(&from, &path), at(&to, &path));
        note(path, Change::Modified { from, to });
    }
    for path in telling(&found.removed, &from) {
        let from = at(&from, &path);
        note(path, Change::Removed { from });
    }
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes.into_iter().map(|(_, change)| change).collect()
}

fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("managedFields");
    }
    object
}

/// The paths of a set that a person wants to see: a list's item as a whole, of maps only the leaves.
fn telling(set: &FieldSet, object: &Value) -> Vec<Path> {
    let mut paths = set.paths();
    paths.sort();
    let mut shown: Vec<Path> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let covered = shown.last().is_some_and(|whole| below(whole, path));
        let has_leaves = paths.get(index + 1).is_some_and(|next| below(path, next));
        let is_item = !matches!(path.0.last(), Some(PathElement::Field(_)));
        if !covered && (is_item || !has_leaves || !at(object, path).is_object()) {
            shown.push(path.clone());
        }
    }
    shown
}

fn below(whole: &Path, path: &Path) -> bool {
    path.0.len() > whole.0.len() && path.0.starts_with(&whole.0)
}

/// The value at a path; null where there is none.
fn at(object: &Value, path: &Path) -> Value {
    let found = path.0.iter().try_fold(object, |value, element| match element {
        PathElement::Field(name) => value.get(&**name),
        PathElement::Key(fields) => value.as_array()?.iter().find(|item| {
            // a key field that is left out has its default
            fields.iter().all(|(name, key)| item.get(&**name).is_none_or(|value| Scalar::from(value) == *key))
        }),
        PathElement::Value(member) => value.as_array()?.iter().find(|item| Scalar::from(*item) == *member),
        PathElement::Index(index) => value.get(usize::try_from(*index).ok()?),
    });
    found.cloned().unwrap_or_default()
}
