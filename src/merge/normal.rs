//! What the server's Go types make of a value: the form in which objects are stored and answered.
//!
//! Decoding drops nulls and unknown fields; encoding leaves out optional fields that hold the zero of their type and
//! writes out those that are always there. Quantities are not rewritten here, nor are defaults set.

use serde_json::{Map, Value, json};

use super::schema::{MapType, Presence, ScalarKind, Schema, TypeRef};
use super::typed::Form;

impl Schema {
    /// Brings an object into the form in which the server stores it. Does nothing to kinds without a declared type.
    pub fn normalize(&self, kind: TypeRef, object: &mut Value) {
        if let (Form::Map(map), Value::Object(entries)) = (self.get(kind).form(object), object) {
            self.normalize_entries(map, entries);
        }
    }

    /// What the server starts from when it creates an object of a kind: its Go type without any field set.
    #[must_use]
    pub fn zero(&self, kind: TypeRef) -> Value {
        let mut zero = Value::Object(Map::new());
        self.normalize(kind, &mut zero);
        zero
    }

    fn normalize_entries(&self, map: &MapType, entries: &mut Map<String, Value>) {
        entries.retain(|name, value| {
            let Some((kind, field)) = map.below(name) else { return false };
            if !value.is_null() {
                self.normalize_value(kind, value);
            }
            let Some(field) = field else {
                // A null entry of a map decodes to the zero of the map's values.
                if value.is_null() && kind != TypeRef::DEDUCED {
                    *value = self.unset(kind, Some(&Value::Null));
                }
                return true;
            };
            match field.presence {
                Presence::Set => !value.is_null(),
                Presence::NotZero => !is_zero(value),
                Presence::Always => true,
            }
        });
        for field in map.fields.iter().filter(|field| field.presence == Presence::Always) {
            let value = entries.entry(&*field.name).or_insert(Value::Null);
            if value.is_null() {
                *value = self.unset(field.kind, field.default.as_ref());
            }
        }
    }

    fn normalize_value(&self, kind: TypeRef, value: &mut Value) {
        match (self.get(kind).form(value), value) {
            (Form::Map(map), Value::Object(entries)) => self.normalize_entries(map, entries),
            (Form::List(list), Value::Array(items)) => {
                for item in items {
                    self.normalize_value(list.element, item);
                }
            }
            _ => {}
        }
    }

    /// How an unset field that is always there is written.
    fn unset(&self, kind: TypeRef, default: Option<&Value>) -> Value {
        let found = self.get(kind);
        if found.map.is_some() && found.scalar.is_none() {
            return if default.is_some() { self.zero(kind) } else { Value::Null };
        }
        match (found.scalar, found.format.as_deref()) {
            (Some(ScalarKind::Text), _) if default.is_some() => json!(""),
            (Some(ScalarKind::Numeric), _) | (Some(_), Some("int-or-string")) => json!(0),
            (Some(ScalarKind::Boolean), _) => json!(false),
            (Some(_), Some("quantity")) => json!("0"),
            _ => Value::Null,
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}
