//! A story: one object, several managers, a dozen writes.

use serde_json::{Map, Value, json};

use super::config::{KINDS, Kind};
use super::random::Random;
use crate::cluster::harness::{APPLY, Answer, MERGE, World};

/// What is done with one object.
#[derive(Clone, Debug)]
pub(crate) struct Story {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) steps: Vec<Step>,
}

/// One write.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Server-side apply.
    Apply { manager: &'static str, force: bool, config: Value },
    /// POST.
    Create { manager: &'static str, config: Value },
    /// GET, edit, PUT.
    Replace { manager: &'static str, over: Value, drop: usize },
    /// A JSON merge patch.
    Patch { manager: &'static str, patch: Value },
    /// DELETE.
    Delete,
}

const MANAGERS: [&str; 3] = ["alice", "bob", "branchline"];

impl Story {
    /// The story of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let kind = *random.pick(&KINDS);
        let name = format!("twin-{seed}");
        let mut steps = Vec::new();
        for position in 0..4 + random.below(9) {
            steps.push(step(&mut random, kind, &name, position == 0));
        }
        Self { kind, name, steps }
    }
}

fn step(random: &mut Random, kind: Kind, name: &str, first: bool) -> Step {
    let manager = *random.pick(&MANAGERS);
    let whole = first || random.percent(40);
    let config = kind.config(random, name, whole);
    match random.below(100) {
        _ if first && random.percent(70) => Step::Apply { manager, force: random.percent(30), config },
        _ if first => Step::Create { manager, config },
        0..50 => Step::Apply { manager, force: random.percent(40), config },
        50..70 => Step::Replace { manager, over: config, drop: random.below(60) },
        70..94 => Step::Patch { manager, patch: with_nulls(random, config) },
        94..97 => Step::Create { manager, config },
        _ => Step::Delete,
    }
}

/// A configuration as a merge patch, some of whose fields ask to be removed.
fn with_nulls(random: &mut Random, mut config: Value) -> Value {
    let mut paths = Vec::new();
    maps(&config, "", &mut paths);
    for path in paths {
        if random.percent(15)
            && let Some(entries) = config.pointer_mut(&path).and_then(Value::as_object_mut)
        {
            let keys: Vec<String> = entries.keys().filter(|key| *key != "name").cloned().collect();
            if !keys.is_empty() {
                entries.insert(random.pick(&keys).clone(), Value::Null);
            }
        }
    }
    if let Some(entries) = config.as_object_mut() {
        entries.retain(|_, value| !value.is_null());
        for name in ["apiVersion", "kind"] {
            entries.shift_remove(name);
        }
    }
    config
}

/// Pointers to the maps inside a value that are not the value itself.
fn maps(value: &Value, way: &str, found: &mut Vec<String>) {
    if let Value::Object(entries) = value {
        for (name, value) in entries {
            let way = format!("{way}/{}", name.replace('~', "~0").replace('/', "~1"));
            if value.is_object() {
                found.push(way.clone());
                maps(value, &way, found);
            }
        }
    }
}

/// Pointers to what can be dropped from a live object: everything below `spec`, `data` and the labels.
fn droppable(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for root in ["/spec", "/data", "/metadata/labels", "/metadata/annotations", "/imagePullSecrets"] {
        if let Some(value) = object.pointer(root) {
            leaves(value, root, &mut found);
        }
    }
    found
}

fn leaves(value: &Value, way: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            let mut names: Vec<_> = entries.keys().collect();
            names.sort();
            for name in names {
                let below = format!("{way}/{}", name.replace('~', "~0").replace('/', "~1"));
                found.push(below.clone());
                leaves(&entries[name], &below, found);
            }
        }
        Value::Array(items) => {
            for (position, item) in items.iter().enumerate() {
                leaves(item, &format!("{way}/{position}"), found);
            }
        }
        _ => {}
    }
}

/// The object that a PUT sends: the live one with some of its fields set and perhaps one dropped.
pub(crate) fn edited(live: &Value, over: &Value, drop: usize) -> Value {
    let mut object = live.clone();
    overlay(&mut object, over);
    let paths = droppable(&object);
    if let Some(path) = paths.get(drop) {
        let (parent, name) = path.rsplit_once('/').expect("every pointer has a slash");
        let name = name.replace("~1", "/").replace("~0", "~");
        match object.pointer_mut(parent) {
            Some(Value::Object(entries)) => drop_entry(entries, &name),
            Some(Value::Array(items)) => drop_item(items, &name),
            _ => {}
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("resourceVersion");
        // The controller may have written it anew meanwhile: sending the old one would take it from him.
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove("deployment.kubernetes.io/revision");
        }
    }
    object
}

fn drop_entry(entries: &mut Map<String, Value>, name: &str) {
    entries.shift_remove(name);
}

fn drop_item(items: &mut Vec<Value>, position: &str) {
    if let Ok(position) = position.parse::<usize>() {
        items.remove(position);
    }
}

fn overlay(target: &mut Value, over: &Value) {
    match (target, over) {
        (Value::Object(target), Value::Object(over)) => {
            for (name, value) in over {
                overlay(target.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (target, over) => *target = over.clone(),
    }
}

impl Step {
    /// Does it, with the object as it was read before.
    pub(crate) async fn run(&self, world: &World, story: &Story, live: Option<&Value>) -> Option<Answer> {
        let collection = world.path(&story.kind.resource());
        let object = format!("{collection}/{}", story.name);
        let manager = self.manager();
        Some(match self {
            Self::Apply { force, config, .. } => {
                let path = format!("{object}?fieldManager={manager}&force={force}");
                world.patch(&path, APPLY, config).await
            }
            Self::Create { config, .. } => {
                world.post(&format!("{collection}?fieldManager={manager}"), config).await
            }
            Self::Replace { over, drop, .. } => {
                let edited = edited(live?, over, *drop);
                world.put(&format!("{object}?fieldManager={manager}"), &edited).await
            }
            Self::Patch { patch, .. } => {
                world.patch(&format!("{object}?fieldManager={manager}"), MERGE, patch).await
            }
            Self::Delete => world.delete(&object, &json!({"propagationPolicy": "Background"})).await,
        })
    }

    /// The manager that writes.
    pub(crate) fn manager(&self) -> &'static str {
        match self {
            Self::Apply { manager, .. }
            | Self::Create { manager, .. }
            | Self::Replace { manager, .. }
            | Self::Patch { manager, .. } => manager,
            Self::Delete => "",
        }
    }
}

impl Story {
    /// Reads the object; `None` where it is not there.
    pub(crate) async fn read(&self, world: &World) -> Option<Value> {
        let answer = world.get(&format!("{}/{}", world.path(&self.kind.resource()), self.name)).await;
        (answer.code == 200).then_some(answer.body)
    }

    /// Removes the object, whatever finalizers it has.
    pub(crate) async fn clear(&self, world: &World) {
        let patch = json!({"metadata": {"finalizers": null}});
        Step::Patch { manager: "cleaner", patch }.run(world, self, None).await;
        Step::Delete.run(world, self, None).await;
    }
}
