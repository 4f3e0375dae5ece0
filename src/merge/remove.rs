//! Taking fields out of a value, or taking out a value that holds nothing but some fields.

use serde_json::{Map, Value};

use super::fieldset::FieldSet;
use super::path::PathElement;
use super::schema::{ListType, MapType, Schema, TypeRef};
use super::typed::{Form, key};

impl Schema {
    /// The value without the given fields and items. What is left empty becomes null, as on the server, where the
    /// conversion that follows drops it.
    pub(super) fn remove(&self, kind: TypeRef, value: &Value, gone: &FieldSet) -> Value {
        match (self.get(kind).form(value), value) {
            (Form::Map(map), Value::Object(entries)) if !map.atomic => {
                self.remove_entries(map, entries, gone)
            }
            (Form::List(list), Value::Array(items)) if !list.is_atomic() => {
                let kept: Vec<_> =
                    items.iter().filter_map(|item| self.remove_item(list, item, gone)).collect();
                if kept.is_empty() { Value::Null } else { Value::Array(kept) }
            }
            (Form::Map(_) | Form::List(_), _) => Value::Null,
            (Form::Scalar(_), _) => value.clone(),
        }
    }

    fn remove_item(&self, list: &ListType, item: &Value, gone: &FieldSet) -> Option<Value> {
        match key(list, item).ok().as_ref().and_then(|element| gone.get(element)) {
            None => Some(item.clone()),
            Some(node) if node.member => None,
            Some(node) => Some(self.remove(list.element, item, &node.children)),
        }
    }

    fn remove_entries(&self, map: &MapType, entries: &Map<String, Value>, gone: &FieldSet) -> Value {
        let mut kept = Map::with_capacity(entries.len());
        for (name, value) in entries {
            let node = gone.get(&PathElement::field(name));
            let left = match (node, map.below(name)) {
                (Some(node), _) if node.member => continue,
                (Some(node), Some((kind, _))) => self.remove(kind, value, &node.children),
                (_, _) => value.clone(),
            };
            kept.insert(name.clone(), left);
        }
        if kept.is_empty() { Value::Null } else { Value::Object(kept) }
    }

    /// The part of an object that a field set names, with the keys of list items, so that the items can be told
    /// apart. What a manager's set names is what it would have to apply to own the same again.
    #[must_use]
    pub fn extract(&self, kind: TypeRef, object: &Value, fields: &FieldSet) -> Value {
        self.extract_at(kind, object, fields).unwrap_or(Value::Null)
    }

    fn extract_at(&self, kind: TypeRef, value: &Value, fields: &FieldSet) -> Option<Value> {
        match (self.get(kind).form(value), value) {
            (Form::Map(map), Value::Object(entries)) if !map.atomic => {
                let mut kept = Map::new();
                for (name, value) in entries {
                    let Some(node) = fields.get(&PathElement::field(name)) else { continue };
                    let Some((kind, _)) = map.below(name) else { continue };
                    kept.extend(self.extract_node(kind, value, node).map(|value| (name.clone(), value)));
                }
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            (Form::List(list), Value::Array(items)) if !list.is_atomic() => {
                let kept: Vec<_> =
                    items.iter().filter_map(|item| self.extract_item(list, item, fields)).collect();
                (!kept.is_empty()).then_some(Value::Array(kept))
            }
            _ => Some(value.clone()),
        }
    }

    fn extract_node(&self, kind: TypeRef, value: &Value, node: &super::fieldset::Node) -> Option<Value> {
        let leaf = node.member && node.children.is_empty();
        match (self.extract_at(kind, value, &node.children), value) {
            // A member without children owns a leaf, or the bare existence of a struct, map or list.
            (None, Value::Object(_)) if leaf => Some(Value::Object(Map::new())),
            (None, Value::Array(_)) if leaf => Some(Value::Array(Vec::new())),
            (found, _) => found,
        }
    }

    fn extract_item(&self, list: &ListType, item: &Value, fields: &FieldSet) -> Option<Value> {
        let element = key(list, item).ok()?;
        let node = fields.get(&element)?;
        let (PathElement::Key(keys), Value::Object(whole)) = (&element, item) else {
            return Some(item.clone());
        };
        let part = self.extract_at(list.element, item, &node.children);
        let part = part.as_ref().and_then(Value::as_object);
        // In the item's own order, so that the key comes where people write it.
        let wanted = |name: &str| {
            keys.iter().any(|(key, _)| &**key == name) || part.is_some_and(|part| part.contains_key(name))
        };
        let entries = whole.iter().filter(|(name, _)| wanted(name)).map(|(name, value)| {
            let value = part.and_then(|part| part.get(name)).unwrap_or(value);
            (name.clone(), value.clone())
        });
        Some(Value::Object(entries.collect()))
    }
}
