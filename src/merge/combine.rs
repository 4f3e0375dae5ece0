//! Laying an applied value over a live one. Nothing is removed here.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::PathElement;
use super::schema::{Items, ListType, MapType, Schema, TypeRef};
use super::typed::{Form, key};

impl Schema {
    /// Lays an applied object over the live one, whose `managedFields` are left out: the caller writes them anew.
    pub(super) fn combine_objects(&self, kind: TypeRef, live: &Value, applied: &Value) -> Value {
        let (Some(left), Some(right)) = (live.as_object(), applied.as_object()) else {
            return applied.clone();
        };
        let Form::Map(map) = self.get(kind).form(applied) else { return applied.clone() };
        let mut out = self.combine_maps(map, left, right, "metadata");
        let (none, metadata) =
            (Map::new(), map.below("metadata").map(|(kind, _)| self.get(kind).form(applied)));
        if let (Some(Value::Object(ours)), Some(Form::Map(map))) = (left.get("metadata"), metadata) {
            let theirs = right.get("metadata").and_then(Value::as_object).unwrap_or(&none);
            out.insert(
                "metadata".into(),
                Value::Object(self.combine_maps(map, ours, theirs, "managedFields")),
            );
        } else if let Some(theirs) = right.get("metadata") {
            out.insert("metadata".into(), theirs.clone());
        }
        Value::Object(out)
    }

    /// Lays `applied` over `live`: leaves and atomic values are the applied ones, maps and keyed lists are joined.
    ///
    /// Lists keep the live order where the applied one does not say otherwise.
    pub(super) fn combine(&self, kind: TypeRef, live: &Value, applied: &Value) -> Value {
        match self.get(kind).form(applied) {
            Form::Scalar(_) => applied.clone(),
            Form::Map(map) => match (live.as_object(), applied.as_object()) {
                (left, right) if map.atomic || (hollow(left) && hollow(right)) => applied.clone(),
                (Some(left), Some(right)) => Value::Object(self.combine_maps(map, left, right, "")),
                (Some(_), None) => live.clone(),
                (None, _) => applied.clone(),
            },
            Form::List(list) => match (live.as_array(), applied.as_array()) {
                (left, right) if matches!(list.items, Items::Atomic) || (bare(left) && bare(right)) => {
                    applied.clone()
                }
                (Some(left), Some(right)) => Value::Array(self.combine_lists(list, left, right)),
                (Some(_), None) => live.clone(),
                (None, _) => applied.clone(),
            },
        }
    }

    /// Joins two maps, leaving out one key of both.
    fn combine_maps(
        &self,
        map: &MapType,
        live: &Map<String, Value>,
        applied: &Map<String, Value>,
        without: &str,
    ) -> Map<String, Value> {
        let mut out = Map::with_capacity(live.len().max(applied.len()));
        for (name, left) in live.iter().filter(|(name, _)| *name != without) {
            let joined = match (applied.get(name), map.below(name)) {
                (Some(right), Some((kind, _))) => self.combine(kind, left, right),
                (Some(right), None) => right.clone(),
                (None, _) => left.clone(),
            };
            out.insert(name.clone(), joined);
        }
        for (name, right) in applied {
            if name != without && !live.contains_key(name) {
                out.insert(name.clone(), right.clone());
            }
        }
        out
    }

    /// Joins two granular lists by their keys.
    ///
    /// Walks both at once. An item of the live list alone is kept where it stands; items of both come in the applied
    /// order. A live key that occurs twice cannot be merged into: the applied item replaces all of them.
    fn combine_lists(&self, list: &ListType, live: &[Value], applied: &[Value]) -> Vec<Value> {
        let keys = |items: &[Value]| items.iter().filter_map(|item| key(list, item).ok()).collect::<Vec<_>>();
        let (left, right) = (keys(live), keys(applied));
        if left.len() != live.len() || right.len() != applied.len() {
            return applied.to_vec();
        }
        if left == right && !repeats(&left) {
            return live
                .iter()
                .zip(applied)
                .map(|(ours, theirs)| self.combine(list.element, ours, theirs))
                .collect();
        }
        Walk::new(self, list.element, (&left, live), (&right, applied)).run(&left, &right)
    }
}

fn hollow(entries: Option<&Map<String, Value>>) -> bool {
    entries.is_none_or(Map::is_empty)
}

fn bare(items: Option<&Vec<Value>>) -> bool {
    items.is_none_or(Vec::is_empty)
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
    live: &'a [Value],
    applied: &'a [Value],
    positions: BTreeMap<&'a PathElement, Position>,
    out: Vec<Value>,
}

impl<'a> Walk<'a> {
    fn new(
        schema: &'a Schema,
        kind: TypeRef,
        (left, live): (&'a [PathElement], &'a [Value]),
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
        Self {
            schema,
            kind,
            live,
            applied,
            positions,
            out: Vec::with_capacity(live.len().max(applied.len())),
        }
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
                    self.out.push(self.live[ours].clone());
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
        self.out.push(match position.live {
            Some(place) => self.schema.combine(self.kind, &self.live[place], applied),
            None => applied.clone(),
        });
    }
}

/// Says whether an element occurs twice.
fn repeats(elements: &[PathElement]) -> bool {
    let mut sorted: Vec<_> = elements.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}
