//! A value seen through its type: which form it takes, what tells list items apart, which fields it holds and
//! whether it fits the type at all.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::fieldset::{FieldSet, Node};
use super::path::{PathElement, Scalar};
use super::schema::{Items, ListType, MapType, ScalarKind, Schema, Type, TypeRef};

/// The part of a type that a value is read by.
#[derive(Clone, Copy)]
pub(super) enum Form<'a> {
    Map(&'a MapType),
    Scalar(ScalarKind),
    List(&'a ListType),
}

impl Form<'_> {
    /// Says whether a value of this form is one field: nothing of it can be owned apart.
    pub(super) fn is_leaf(self) -> bool {
        match self {
            Self::Map(map) => map.atomic,
            Self::Scalar(_) => true,
            Self::List(list) => list.is_atomic(),
        }
    }
}

impl Type {
    /// The form that a value takes. A null, or a value of a form that the type has not, gets the type's first form:
    /// map, scalar, list; [`Schema::misfits`] is what refuses the latter.
    pub(super) fn form(&self, value: &Value) -> Form<'_> {
        let chosen = match value {
            Value::Object(_) => self.map.as_ref().map(Form::Map),
            Value::Array(_) => self.list.as_ref().map(Form::List),
            Value::Null => None,
            Value::Bool(_) | Value::Number(_) | Value::String(_) => self.scalar.map(Form::Scalar),
        };
        chosen
            .or_else(|| self.map.as_ref().map(Form::Map))
            .or_else(|| self.scalar.map(Form::Scalar))
            .or_else(|| self.list.as_ref().map(Form::List))
            .unwrap_or(Form::Scalar(ScalarKind::Any))
    }
}

/// The items of a granular list by what tells them apart, in the order of the elements.
pub(super) fn keyed<'v>(list: &ListType, items: &'v [Value]) -> Vec<(PathElement, &'v Value)> {
    let mut keyed: Vec<_> = items.iter().filter_map(|item| Some((key(list, item).ok()?, item))).collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    keyed
}

/// The step that selects an item of a granular list.
pub(super) fn key(list: &ListType, item: &Value) -> Result<PathElement, String> {
    match (&list.items, item) {
        (Items::Atomic, _) => Err("invalid indexing of non-associative list".to_owned()),
        (Items::Set, Value::Object(_)) => {
            Err("associative list without keys has an element that's a map type".to_owned())
        }
        (Items::Set, Value::Array(_)) => {
            Err("not supported: associative list with lists as elements".to_owned())
        }
        (Items::Set, Value::Null) => {
            Err("associative list without keys has an element that's an explicit null".to_owned())
        }
        (Items::Set, scalar) => Ok(PathElement::Value(Scalar::from(scalar))),
        (Items::Keyed(keys), Value::Object(item)) => {
            let mut found = Vec::with_capacity(keys.len());
            for (name, default) in keys {
                let value = item.get(&**name).map(Scalar::from).or_else(|| default.clone());
                found.extend(value.map(|value| (name.clone(), value)));
            }
            if found.is_empty() {
                let names: Vec<_> = keys.iter().map(|(name, _)| super::path::quote(name)).collect();
                return Err(format!(
                    "associative list with keys has an element that omits all key fields [{}] \
                     (and doesn't have default values for any key fields)",
                    names.join(" ")
                ));
            }
            Ok(PathElement::Key(found.into()))
        }
        (Items::Keyed(_), Value::Null) => {
            Err("associative list with keys may not have a null element".to_owned())
        }
        (Items::Keyed(_), _) => Err("associative list with keys may not have non-map elements".to_owned()),
    }
}

impl Schema {
    /// Every field and item that a value names: leaves, list items, entries of maps.
    ///
    /// This is what an applier comes to own. The value must fit its type; what does not is left out.
    #[must_use]
    pub fn fields(&self, kind: TypeRef, value: &Value) -> FieldSet {
        self.fields_at(kind, value).1
    }

    /// Says whether the value itself is a leaf, and which fields lie below it.
    fn fields_at(&self, kind: TypeRef, value: &Value) -> (bool, FieldSet) {
        let below = match (self.get(kind).form(value), value) {
            (Form::Map(map), Value::Object(entries)) if !map.atomic => self.map_fields(map, entries),
            (Form::List(list), Value::Array(items)) if !list.is_atomic() => self.list_fields(list, items),
            (form, _) => return (form.is_leaf(), FieldSet::EMPTY),
        };
        (false, below)
    }

    fn map_fields(&self, map: &MapType, entries: &Map<String, Value>) -> FieldSet {
        let mut nodes = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            let Some((kind, field)) = map.below(name) else { continue };
            let (leaf, children) = self.fields_at(kind, value);
            let hollow = value.is_null() || value.as_object().is_some_and(Map::is_empty);
            let member = leaf || hollow || field.is_none();
            if member || !children.is_empty() {
                let element = field
                    .map_or_else(|| PathElement::field(name), |field| PathElement::Field(field.name.clone()));
                nodes.push(Node { element, member, children });
            }
        }
        FieldSet::from_nodes(nodes)
    }

    fn list_fields(&self, list: &ListType, items: &[Value]) -> FieldSet {
        let keyed = keyed(list, items);
        let nodes = keyed.chunk_by(|a, b| a.0 == b.0).map(|same| {
            let (element, item) = &same[0];
            // Items that cannot be told apart are owned as one.
            let children =
                if same.len() == 1 { self.fields_at(list.element, item).1 } else { FieldSet::EMPTY };
            Node { element: element.clone(), member: true, children }
        });
        FieldSet { nodes: nodes.collect() }
    }

    /// The set with every struct field above a member a member too: what removal works on.
    pub(super) fn with_parents(&self, kind: Option<TypeRef>, set: &FieldSet) -> FieldSet {
        let own = kind.map(|kind| self.get(kind));
        let nodes = set.nodes.iter().map(|node| {
            let below = match (&node.element, own) {
                (PathElement::Field(name), Some(Type { map: Some(map), .. })) => map.below(name),
                (PathElement::Key(_), Some(Type { list: Some(list), .. })) => Some((list.element, None)),
                _ => None,
            };
            let declared = below.is_some_and(|(_, field)| field.is_some());
            Node {
                element: node.element.clone(),
                member: node.member || (declared && !node.children.is_empty()),
                children: self.with_parents(below.map(|(kind, _)| kind), &node.children),
            }
        });
        FieldSet { nodes: nodes.collect() }
    }
}

/// A place where a value does not fit its type, in the server's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Where, as in `.spec.template.spec.containers[name="a"].image`.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl std::fmt::Display for Misfit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            out.write_str(&self.message)
        } else {
            write!(out, "{}: {}", self.path, self.message)
        }
    }
}

impl Schema {
    /// Finds where a value does not fit its type: fields that are not declared, wrong types, list items without
    /// their keys and, unless `duplicates` are allowed, items that cannot be told apart.
    #[must_use]
    pub fn misfits(&self, kind: TypeRef, value: &Value, duplicates: bool) -> Vec<Misfit> {
        let mut check = Check { schema: self, duplicates, way: Vec::new(), found: Vec::new() };
        check.value(kind, value);
        check.found
    }
}

struct Check<'a> {
    schema: &'a Schema,
    duplicates: bool,
    way: Vec<PathElement>,
    found: Vec<Misfit>,
}

impl Check<'_> {
    fn report(&mut self, message: impl Into<String>) {
        let path = self.way.iter().map(ToString::to_string).collect();
        self.found.push(Misfit { path, message: message.into() });
    }

    fn below(&mut self, element: PathElement, kind: TypeRef, value: &Value) {
        self.way.push(element);
        self.value(kind, value);
        self.way.pop();
    }

    fn value(&mut self, kind: TypeRef, value: &Value) {
        let schema = self.schema;
        match (schema.get(kind).form(value), value) {
            (_, Value::Null) => {}
            (Form::Scalar(wanted), _) => self.scalar(wanted, value),
            (Form::Map(map), Value::Object(entries)) => self.map(map, entries),
            (Form::Map(_), _) => self.report(format!("expected map, got &{{{}}}", go_value(value))),
            (Form::List(list), Value::Array(items)) => self.list(list, items),
            (Form::List(_), _) => self.report(format!("expected list, got &{{{}}}", go_value(value))),
        }
    }

    fn scalar(&mut self, wanted: ScalarKind, value: &Value) {
        let fits = match wanted {
            ScalarKind::Numeric => value.is_number(),
            ScalarKind::Text => value.is_string(),
            ScalarKind::Boolean => value.is_boolean(),
            ScalarKind::Any => !value.is_object() && !value.is_array(),
        };
        if fits {
            return;
        }
        self.report(match wanted {
            ScalarKind::Numeric => format!("expected numeric (int or float), got {}", go_type(value)),
            ScalarKind::Text => {
                format!("expected string, got &value.valueUnstructured{{Value:{}}}", go_value(value))
            }
            ScalarKind::Boolean => format!("expected boolean, got &{{{}}}", go_value(value)),
            ScalarKind::Any => format!("expected any scalar, got &{{{}}}", go_value(value)),
        });
    }

    fn map(&mut self, map: &MapType, entries: &Map<String, Value>) {
        for (name, value) in entries {
            if let Some((kind, _)) = map.below(name) {
                // Leaves are the bulk of an object: they need no step unless there is something to say.
                if matches!(value, Value::String(_))
                    && matches!(self.schema.get(kind).scalar, Some(ScalarKind::Text))
                {
                    continue;
                }
                self.below(PathElement::field(name), kind, value);
            } else {
                self.way.push(PathElement::field(name));
                self.report("field not declared in schema");
                self.way.pop();
            }
        }
    }

    fn list(&mut self, list: &ListType, items: &[Value]) {
        let mut seen = HashSet::with_capacity(items.len());
        for (position, item) in items.iter().enumerate() {
            let element = if list.is_atomic() {
                PathElement::Index(i64::try_from(position).unwrap_or(i64::MAX))
            } else {
                match key(list, item) {
                    Ok(element) => element,
                    Err(problem) => return self.report(format!("element {position}: {problem}")),
                }
            };
            if !self.duplicates && !list.is_atomic() && !seen.insert(element.to_string()) {
                self.report(format!("duplicate entries for key {element}"));
            }
            self.below(element, list.element, item);
        }
    }
}

/// The name that Go prints for the type of a decoded JSON value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A decoded JSON value as Go prints it.
fn go_value(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" "))
        }
        Value::Object(entries) => {
            let mut entries: Vec<_> =
                entries.iter().map(|(name, value)| format!("{name}:{}", go_value(value))).collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
