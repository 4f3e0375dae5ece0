//! Strategic merge patch: like JSON merge, but lists whose items have a key are merged by it.
//!
//! The directives `$patch: delete | replace | merge`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…` and
//! `$retainKeys` are Kubernetes' (API conventions, "strategic merge patch").

use crate::embedded::status::Refusal;
use crate::embedded::wire::{Field, Shape, Type, wire};
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";
const RETAIN: &str = "$retainKeys";

/// Merges `patch` into an object of type `of`.
///
/// # Errors
/// 422 for a directive that does not fit.
pub(super) fn apply(target: &mut Value, patch: &Value, of: &Type) -> Result<(), Refusal> {
    object(target, patch, Some(of))
}

fn object(target: &mut Value, patch: &Value, of: Option<&Type>) -> Result<(), Refusal> {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get(DIRECTIVE).and_then(Value::as_str) {
        Some("replace") => {
            let mut patch = patch.clone();
            patch.shift_remove(DIRECTIVE);
            *target = Value::Object(patch);
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => {
            return Err(Refusal::bad_request(format!("Unknown patch type: {other}")));
        }
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else { return Ok(()) };
    if let Some(retained) = patch.get(RETAIN).and_then(Value::as_array) {
        map.retain(|key, _| retained.iter().any(|kept| kept == key));
    }
    for (key, value) in patch {
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(items)), Value::Array(gone)) = (map.get_mut(list), value) {
                items.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if key == DIRECTIVE || key == RETAIN || key.starts_with(ORDER) {
            continue;
        }
        if value.is_null() {
            map.shift_remove(key);
            continue;
        }
        let field = of.and_then(|of| of.field(key));
        let order = patch.get(&format!("{ORDER}{key}"));
        let slot = map.entry(key.as_str()).or_insert(Value::Null);
        self::field(slot, value, field, order)?;
    }
    Ok(())
}

fn field(
    slot: &mut Value,
    value: &Value,
    field: Option<&Field>,
    order: Option<&Value>,
) -> Result<(), Refusal> {
    let merge_key = field.and_then(|field| field.merge_key);
    match (field.map(|field| &field.shape), value, merge_key) {
        (Some(Shape::List(item)), Value::Array(patch), Some(key)) => {
            let old = slot.as_array().cloned().unwrap_or_default();
            let of = if let Shape::Struct(at) = item.as_ref() { Some(wire().at(*at)) } else { None };
            *slot = Value::Array(if key.is_empty() {
                merged_plain(old, patch)
            } else {
                merged(old, patch, key, of, order)?
            });
            Ok(())
        }
        (Some(Shape::Struct(at)), Value::Object(_), _) => object(slot, value, Some(wire().at(*at))),
        (_, Value::Object(_), _) => object(slot, value, None),
        _ => {
            *slot = value.clone();
            Ok(())
        }
    }
}

fn merged_plain(old: Vec<Value>, patch: &[Value]) -> Vec<Value> {
    let mut list = old;
    for item in patch {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
    list
}

/// Merges lists of objects. New items stand before the old ones that the patch does not name, unless the patch says
/// in which order all shall stand.
fn merged(
    old: Vec<Value>,
    patch: &[Value],
    key: &str,
    of: Option<&Type>,
    order: Option<&Value>,
) -> Result<Vec<Value>, Refusal> {
    if patch.iter().any(|item| item[DIRECTIVE] == "replace") {
        return Ok(patch.iter().filter(|item| item[DIRECTIVE] != "replace").cloned().collect());
    }
    let mut kept = old;
    let mut named = Vec::new();
    for item in patch {
        let id = &item[key];
        if id.is_null() {
            return Err(Refusal::bad_request(format!(
                "map: {item} does not contain declared merge key: {key}"
            )));
        }
        let found = kept.iter().position(|other| &other[key] == id);
        if item[DIRECTIVE] == "delete" {
            kept.retain(|other| &other[key] != id);
            continue;
        }
        let mut merged = found.map_or(Value::Null, |at| kept[at].clone());
        object(&mut merged, item, of)?;
        match found {
            Some(at) => kept[at] = merged,
            None => named.push(merged),
        }
    }
    let mut list = if order.is_some() || named.is_empty() {
        kept.extend(named);
        kept
    } else {
        appended_in_order(kept, named, patch, key)
    };
    if let Some(order) = order.and_then(Value::as_array) {
        let place = |item: &Value| order.iter().position(|id| id[key] == item[key]).unwrap_or(usize::MAX);
        list.sort_by_key(place);
    }
    Ok(list)
}

/// Without `$setElementOrder`: items of the patch in its order, and the others after those that they followed.
fn appended_in_order(kept: Vec<Value>, new: Vec<Value>, patch: &[Value], key: &str) -> Vec<Value> {
    let of_patch = |item: &Value| patch.iter().position(|other| other[key] == item[key]);
    let (mut listed, rest): (Vec<Value>, Vec<Value>) =
        kept.into_iter().partition(|item| of_patch(item).is_some());
    listed.extend(new);
    listed.sort_by_key(|item| of_patch(item));
    listed.extend(rest);
    listed
}
