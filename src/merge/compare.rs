//! What differs between two values of one type, as fields.

use serde_json::{Map, Value};

use super::fieldset::{FieldSet, Node};
use super::path::PathElement;
use super::schema::{ListType, MapType, Schema, TypeRef};
use super::typed::{Form, keyed};

/// The difference between two objects. No field is in more than one of the sets; all are empty when the objects are
/// the same but for the order of items that are told apart by keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Fields that only the second has.
    pub added: FieldSet,
    /// Fields that both have, with other values.
    pub modified: FieldSet,
    /// Fields that only the first has.
    pub removed: FieldSet,
}

impl Comparison {
    /// Says whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// The difference without the given fields and all that lies below them.
    pub(super) fn without(self, fields: &FieldSet) -> Self {
        if fields.is_empty() || self.is_empty() {
            return self;
        }
        Self {
            added: self.added.difference_below(fields),
            modified: self.modified.difference_below(fields),
            removed: self.removed.difference_below(fields),
        }
    }
}

/// Compares two objects by the type of the second.
#[must_use]
pub fn compare(schema: &Schema, before: &Value, after: &Value) -> Comparison {
    schema.compare(schema.of(after), before, after)
}

/// What happened to one value itself, beside what happened below it.
#[derive(Default)]
struct Found {
    added: bool,
    modified: bool,
    removed: bool,
    below: Nodes,
}

#[derive(Default)]
struct Nodes {
    added: Vec<Node>,
    modified: Vec<Node>,
    removed: Vec<Node>,
}

impl Nodes {
    fn put(&mut self, element: &PathElement, found: Found) {
        let parts = [
            (&mut self.added, found.added, found.below.added),
            (&mut self.modified, found.modified, found.below.modified),
            (&mut self.removed, found.removed, found.below.removed),
        ];
        for (nodes, member, children) in parts {
            if member || !children.is_empty() {
                let children = FieldSet::from_nodes(children);
                nodes.push(Node { element: element.clone(), member, children });
            }
        }
    }
}

impl Found {
    fn is_empty(&self) -> bool {
        !(self.added || self.modified || self.removed)
            && self.below.added.is_empty()
            && self.below.modified.is_empty()
            && self.below.removed.is_empty()
    }

    fn leaf(before: Option<&Value>, after: Option<&Value>) -> Self {
        let mut found = Self::default();
        match (before, after) {
            (None, _) => found.added = true,
            (_, None) => found.removed = true,
            (Some(before), Some(after)) => found.modified = !same(before, after),
        }
        found
    }

    fn join(mut self, mut other: Self) -> Self {
        self.added |= other.added;
        self.modified |= other.modified;
        self.removed |= other.removed;
        self.below.added.append(&mut other.below.added);
        self.below.modified.append(&mut other.below.modified);
        self.below.removed.append(&mut other.below.removed);
        self
    }
}

impl Schema {
    /// Compares two values of one type.
    #[must_use]
    pub fn compare(&self, kind: TypeRef, before: &Value, after: &Value) -> Comparison {
        let below = self.compare_at(kind, Some(before), Some(after)).below;
        Comparison {
            added: FieldSet::from_nodes(below.added),
            modified: FieldSet::from_nodes(below.modified),
            removed: FieldSet::from_nodes(below.removed),
        }
    }

    fn compare_at(&self, kind: TypeRef, before: Option<&Value>, after: Option<&Value>) -> Found {
        let found = self.get(kind);
        let forms = (before.map(|value| found.form(value)), after.map(|value| found.form(value)));
        match forms {
            (None, None) => Found::default(),
            (Some(form), None) | (None, Some(form)) => self.compare_form(form, before, after),
            (Some(left), Some(right)) if std::mem::discriminant(&left) == std::mem::discriminant(&right) => {
                self.compare_form(right, before, after)
            }
            // A value that changed its form: all that the old form held and all that the new one holds.
            (Some(left), Some(right)) => {
                self.compare_form(left, before, after).join(self.compare_form(right, before, after))
            }
        }
    }

    fn compare_form(&self, form: Form<'_>, before: Option<&Value>, after: Option<&Value>) -> Found {
        let mut found = match form {
            Form::Scalar(_) => return Found::leaf(before, after),
            Form::Map(map) => {
                let (left, right) = (object(before), object(after));
                if map.atomic || (left.is_none() && right.is_none()) {
                    return Found::leaf(before, after);
                }
                self.compare_maps(map, left, right)
            }
            Form::List(list) => {
                let (left, right) = (array(before), array(after));
                if list.is_atomic() || (left.is_empty() && right.is_empty()) {
                    return Found::leaf(before, after);
                }
                // Most lists are as they were, and telling their items apart is what costs.
                if same_items(left, right) {
                    return Found::default();
                }
                self.compare_lists(list, left, right)
            }
        };
        found.added |= before.is_none();
        found.removed |= after.is_none();
        found
    }

    fn compare_maps(
        &self,
        map: &MapType,
        before: Option<&Map<String, Value>>,
        after: Option<&Map<String, Value>>,
    ) -> Found {
        let mut found = Found::default();
        let mut visit = |name: &str, left: Option<&Value>, right: Option<&Value>| {
            let Some((kind, field)) = map.below(name) else { return };
            let below = self.compare_at(kind, left, right);
            if !below.is_empty() {
                let element = field
                    .map_or_else(|| PathElement::field(name), |field| PathElement::Field(field.name.clone()));
                found.below.put(&element, below);
            }
        };
        for (name, left) in before.into_iter().flatten() {
            visit(name, Some(left), after.and_then(|after| after.get(name)));
        }
        for (name, right) in after.into_iter().flatten() {
            if !before.is_some_and(|before| before.contains_key(name)) {
                visit(name, None, Some(right));
            }
        }
        found
    }

    fn compare_lists(&self, list: &ListType, before: &[Value], after: &[Value]) -> Found {
        let (left, right) = (keyed(list, before), keyed(list, after));
        let mut found = Found::default();
        let (mut left, mut right) = (left.as_slice(), right.as_slice());
        while let Some(element) =
            [left.first(), right.first()].into_iter().flatten().map(|item| &item.0).min()
        {
            let split =
                |items: &[(PathElement, &Value)]| items.iter().take_while(|item| item.0 == *element).count();
            let (ours, theirs) = (split(left), split(right));
            let below = self.compare_items(list.element, &left[..ours], &right[..theirs]);
            if !below.is_empty() {
                found.below.put(element, below);
            }
            (left, right) = (&left[ours..], &right[theirs..]);
        }
        found
    }

    /// Compares the items that one key selects: one each in any sound list. Several are compared as one value, since
    /// nothing tells them apart.
    fn compare_items(
        &self,
        kind: TypeRef,
        before: &[(PathElement, &Value)],
        after: &[(PathElement, &Value)],
    ) -> Found {
        let (left, right) = (before.first().map(|item| item.1), after.first().map(|item| item.1));
        match (before.len(), after.len()) {
            (0 | 1, 0 | 1) => self.compare_at(kind, left, right),
            (0 | 1, _) => self.compare_at(kind, left, None).join(Found { added: true, ..Found::default() }),
            (_, 0 | 1) => {
                self.compare_at(kind, None, right).join(Found { removed: true, ..Found::default() })
            }
            (ours, theirs) => {
                let equal =
                    ours == theirs && before.iter().zip(after).all(|(left, right)| same(left.1, right.1));
                Found { modified: !equal, ..Found::default() }
            }
        }
    }
}

fn object(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object).filter(|entries| !entries.is_empty())
}

fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Says whether two values are the same. Numbers are compared by value: `1` is `1.0`.
pub(super) fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || ((left.is_f64() || right.is_f64()) && left.as_f64() == right.as_f64())
        }
        (Value::Array(left), Value::Array(right)) => same_items(left, right),
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

pub(super) fn same_items(left: &[Value], right: &[Value]) -> bool {
    left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
}
