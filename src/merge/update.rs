//! Every write that is no apply: who comes to own what it changed.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::apply::{ApplyError, text, unowned};
use super::fieldset::FieldSet;
use super::managed::{Entry, Managed, Operation};
use super::reset;
use super::schema::{Schema, TypeRef};

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The field manager. Where the request names none, the caller takes the user agent up to the first `/`.
    pub manager: &'a str,
    /// The subresource that is written; empty for the object itself.
    pub subresource: &'a str,
    /// The time of the request, RFC 3339 in UTC to the second.
    pub now: &'a str,
}

/// Returns the new object with the `managedFields` that a create, PUT or patch leaves behind.
///
/// Both objects must be in the stored form with defaults set, as they are before admission: what the server itself
/// fills in afterwards (a cluster IP, a generation) belongs to nobody. A new object that brings `managedFields` of
/// its own replaces the live ones, as the server allows; an empty list stops tracking.
///
/// # Errors
/// [`ApplyError::Invalid`] where the new object does not fit its kind, which a caller that decodes strictly has
/// refused already.
pub fn update(
    schema: &Schema,
    live: Option<&Value>,
    new: &Value,
    options: &Update<'_>,
) -> Result<Value, ApplyError> {
    let kind = schema.of(new);
    if let Some(misfit) = schema.misfits(kind, new, true).first() {
        return Err(ApplyError::Invalid { path: misfit.path.clone(), message: misfit.to_string() });
    }
    let managed = owners(live, new, options);
    let mut object = new.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    let tracked =
        live.is_none_or(|live| text(live.get("metadata").unwrap_or(&Value::Null), "uid").is_empty());
    if !managed.0.is_empty() || tracked {
        let mut managed = own(schema, kind, live, &object, managed, options);
        managed.cap_updaters();
        managed.write(&mut object);
    }
    Ok(object)
}

/// The entries that the write starts from.
fn owners(live: Option<&Value>, new: &Value, options: &Update<'_>) -> Managed {
    let of_live = || live.and_then(|live| Managed::of(live).ok()).unwrap_or_default();
    if !options.subresource.is_empty() {
        return of_live();
    }
    match new.pointer("/metadata/managedFields") {
        Some(Value::Array(entries)) if is_reset(entries) => Managed::default(),
        _ => match Managed::of(new) {
            Ok(managed) if !managed.0.is_empty() => managed,
            _ => of_live(),
        },
    }
}

/// A list without entries, or with one that says nothing, asks the server to forget who owns what.
fn is_reset(entries: &[Value]) -> bool {
    match entries {
        [] => true,
        [only] => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// Gives the manager what the write changed, and takes it, and what vanished, from the others.
pub(super) fn own(
    schema: &Schema,
    kind: TypeRef,
    live: Option<&Value>,
    new: &Value,
    mut managed: Managed,
    options: &Update<'_>,
) -> Managed {
    let live = live.map_or_else(|| Cow::Owned(blank(schema, kind, new)), Cow::Borrowed);
    let reset = reset::fields(text(new, "apiVersion"), text(new, "kind"), options.subresource);
    let changes = schema.compare(kind, &live, new).without(reset);
    managed.give_up(&changes);
    let taken = changes.modified.union(&changes.added).difference(unowned());
    if !taken.is_empty() {
        let mut entry = Entry {
            manager: if options.manager.is_empty() { "unknown" } else { options.manager }.to_owned(),
            operation: Operation::Update,
            api_version: text(new, "apiVersion").to_owned(),
            subresource: options.subresource.to_owned(),
            time: Some(options.now.to_owned()),
            fields: FieldSet::EMPTY,
        };
        let before = managed.take(&entry);
        entry.fields = before.map_or_else(|| taken.clone(), |before| taken.union(&before.fields));
        managed.0.push(entry);
    }
    managed.drop_empty();
    managed
}

/// What the server compares a new object with: its kind without any field set.
fn blank(schema: &Schema, kind: TypeRef, new: &Value) -> Value {
    let mut blank = schema.zero(kind);
    if let Some(entries) = blank.as_object_mut() {
        for name in ["apiVersion", "kind"] {
            entries.insert(name.to_owned(), text(new, name).into());
        }
    }
    blank
}
