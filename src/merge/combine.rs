//! Laying an applied value over a live one. Nothing is removed here.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compare::{same, same_items};
use super::path::{PathElement, Scalar};
use super::schema::{Items, ListType, Schema, TypeRef};
use super::typed::{Form, key};

impl Schema {
    /// Lays an applied object over a copy of the live one: leaves and atomic values are the applied ones, maps and
    /// keyed lists are joined. The live `managedFields` are left out: the caller writes them anew.
    pub(super) fn combine(&self, kind: TypeRef, live: &Value, applied: &Value) -> Value {
        let mut object = unmanaged(live);
        self.lay(kind, &mut object, applied);
        object
    }

    fn lay(&self, kind: TypeRef, target: &mut Value, applied: &Value) {
        match (self.get(kind).form(applied), target, applied) {
            (Form::Map(map), Value::Object(left), Value::Object(right)) if !map.atomic => {
                for (name, value) in right {
                    match (left.get_mut(name), map.below(name)) {
                        (Some(target), Some((kind, _))) => self.lay(kind, target, value),
                        _ => {
                            left.insert(name.clone(), value.clone());
                        }
                    }
                }
            }
            (Form::List(list), Value::Array(left), Value::Array(right)) if !list.is_atomic() => {
                self.lay_items(list, left, right);
            }
            // A null says nothing about a map or list that holds something.
            (Form::Map(map), Value::Object(left), Value::Null) if !map.atomic && !left.is_empty() => {}
            (Form::List(list), Value::Array(left), Value::Null) if !list.is_atomic() && !left.is_empty() => {}
            (_, target, applied) => *target = applied.clone(),
        }
    }

    /// Joins two granular lists by their keys. Lists keep the live order where the applied one does not say otherwise.
    ///
    /// Walks both at once. An item of the live list alone is kept where it stands; items of both come in the applied
    /// order. A live key that occurs twice cannot be merged into: the applied item replaces all of them.
    fn lay_items(&self, list: &ListType, live: &mut Vec<Value>, applied: &[Value]) {
        if same_items(live, applied) {
            return;
        }
        let keys = |items: &[Value]| items.iter().filter_map(|item| key(list, item).ok()).collect::<Vec<_>>();
        let (left, right) = (keys(live), keys(applied));
        if left.len() != live.len() || right.len() != applied.len() {
            *live = applied.to_vec();
        } else if left == right && !repeats(&left) {
            for (target, applied) in live.iter_mut().zip(applied) {
                self.lay(list.element, target, applied);
            }
        } else {
            let items = std::mem::take(live).into_iter().map(Some).collect();
            *live = Walk::new(self, list.element, (&left, items), (&right, applied)).run(&left, &right);
        }
    }
}

/// A copy without `managedFields`, which are more than half of many objects.
fn unmanaged(object: &Value) -> Value {
    let Value::Object(entries) = object else { return object.clone() };
    let copied = entries.iter().map(|(name, value)| match (name.as_str(), value) {
        ("metadata", Value::Object(metadata)) => {
            let own = metadata.iter().filter(|(name, _)| *name != "managedFields");
            (name.clone(), Value::Object(own.map(|(name, value)| (name.clone(), value.clone())).collect()))
        }
        _ => (name.clone(), value.clone()),
    });
    Value::Object(copied.collect())
}

impl Schema {
    /// Says whether the live value already is what it would be with `applied` laid over it.
    ///
    /// Asks for more than it must: lists have to be the same item by item in the same order. So a no means nothing,
    /// and a yes saves the work.
    pub(super) fn agrees(&self, kind: TypeRef, live: &Value, applied: &Value) -> bool {
        match (self.get(kind).form(applied), live, applied) {
            (Form::Map(map), Value::Object(left), Value::Object(right))
                if !map.atomic && !right.is_empty() =>
            {
                right.iter().all(|(name, right)| match (left.get(name), map.below(name)) {
                    (Some(left), Some((kind, _))) => self.agrees(kind, left, right),
                    _ => false,
                })
            }
            (Form::List(list), Value::Array(left), Value::Array(right)) if !list.is_atomic() => {
                left.len() == right.len()
                    && left.iter().zip(right).all(|(left, right)| {
                        same_key(list, left, right) && self.agrees(list.element, left, right)
                    })
            }
            (_, left, right) => same(left, right),
        }
    }
}

/// Says whether two items are the same one of a list.
fn same_key(list: &ListType, left: &Value, right: &Value) -> bool {
    match &list.items {
        Items::Keyed(keys) => keys.iter().all(|(name, default)| {
            let value = |item: &Value| item.get(&**name).map(Scalar::from).or_else(|| default.clone());
            match (left.get(&**name), right.get(&**name)) {
                (Some(left), Some(right)) => same(left, right),
                _ => value(left) == value(right),
            }
        }),
        Items::Set | Items::Atomic => true,
    }
}

/// Where a key stands in the two lists.
struct Position {
    /// In the live list; `None` also where it occurs there more than once.
    live: Option<usize>,
    shared: bool,
    applied: Option<usize>,
    done: bool,
}

/// Two keyed lists walked at once.
struct Walk<'a> {
    schema: &'a Schema,
    kind: TypeRef,
    /// Each until it is taken.
    live: Vec<Option<Value>>,
    applied: &'a [Value],
    positions: BTreeMap<&'a PathElement, Position>,
    out: Vec<Value>,
}

impl<'a> Walk<'a> {
    fn new(
        schema: &'a Schema,
        kind: TypeRef,
        (left, live): (&'a [PathElement], Vec<Option<Value>>),
        (right, applied): (&'a [PathElement], &'a [Value]),
    ) -> Self {
        let mut positions: BTreeMap<&PathElement, Position> = BTreeMap::new();
        for (place, element) in left.iter().enumerate() {
            positions.entry(element).and_modify(|twice| twice.live = None).or_insert(Position {
                live: Some(place),
                shared: false,
                applied: None,
                done: false,
            });
        }
        for (place, element) in right.iter().enumerate() {
            positions
                .entry(element)
                .and_modify(|both| (both.shared, both.applied) = (true, Some(place)))
                .or_insert(Position { live: None, shared: false, applied: Some(place), done: false });
        }
        let out = Vec::with_capacity(live.len().max(applied.len()));
        Self { schema, kind, live, applied, positions, out }
    }

    fn run(mut self, left: &'a [PathElement], right: &'a [PathElement]) -> Vec<Value> {
        let shared: Vec<_> = right.iter().filter(|element| self.positions[element].shared).collect();
        let mut shared = shared.into_iter().peekable();
        let (mut ours, mut theirs) = (0, 0);
        while ours < left.len() || theirs < right.len() {
            if let (Some(a), Some(b)) = (left.get(ours), right.get(theirs)) {
                if a == b {
                    self.take(b);
                    shared.next();
                    (ours, theirs) = (ours + 1, theirs + 1);
                    continue;
                }
                // A shared item whose turn has not come: it is taken where the applied list has it.
                if self.positions[a].applied.is_some() && shared.peek().is_some_and(|next| *next != a) {
                    ours += 1;
                    continue;
                }
            }
            if let Some(a) = left.get(ours) {
                if self.positions[a].applied.is_none() {
                    self.out.extend(self.live[ours].take());
                    ours += 1;
                    continue;
                }
                if self.positions[a].done {
                    ours += 1;
                }
            }
            if let Some(b) = right.get(theirs) {
                self.take(b);
                theirs += 1;
                shared.next_if_eq(&b);
            }
        }
        self.out
    }

    /// Takes an applied item, laid over the live one of the same key.
    fn take(&mut self, element: &PathElement) {
        let Some(position) = self.positions.get_mut(element) else { return };
        position.done = true;
        let Some(applied) = position.applied.map(|place| &self.applied[place]) else { return };
        let item = position.live.and_then(|place| self.live[place].take());
        self.out.push(item.map_or_else(
            || applied.clone(),
            |mut item| {
                self.schema.lay(self.kind, &mut item, applied);
                item
            },
        ));
    }
}

/// Says whether an element occurs twice.
fn repeats(elements: &[PathElement]) -> bool {
    let mut sorted: Vec<_> = elements.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}
