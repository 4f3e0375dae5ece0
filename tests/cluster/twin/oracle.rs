//! The pure merge against a real server: from the same live object, who owns what afterwards is the same.

use std::sync::Arc;

use branchline::merge::{self, Apply, ApplyError, Schema, Update};
use futures::{StreamExt as _, future, stream};
use serde_json::{Value, json};

use super::story::{Step, Story};
use super::{CONTROLLER, owners, seeds};
use crate::cluster::harness::{Answer, World, on_every_server};

const NOW: &str = "2026-01-01T00:00:00Z";

#[test]
fn merge_leaves_the_same_owners_as_every_server() {
    on_every_server("oracle", |world| async move {
        let stories = stream::iter(seeds(60)).map(|seed| play(Arc::clone(&world), seed));
        let found: Vec<String> = stories.buffer_unordered(8).filter_map(future::ready).collect().await;
        assert!(
            found.is_empty(),
            "on the {} server, {} differences\n{}",
            world.server,
            found.len(),
            found.join("\n\n")
        );
    });
}

/// The first difference of a story.
async fn play(world: Arc<World>, seed: u64) -> Option<String> {
    let story = Story::of(seed);
    let mut found = None;
    for (position, step) in story.steps.iter().enumerate() {
        let live = story.read(&world).await;
        let Some(answer) = step.run(&world, &story, live.as_ref()).await else { continue };
        if let Some(difference) = compare(live.as_ref(), step, &answer) {
            let live = live.unwrap_or_default();
            found = Some(format!(
                "seed {seed} step {position} {} {step:?}\n{difference}\nlive: {live}",
                story.kind.name
            ));
            break;
        }
    }
    story.clear(&world).await;
    found
}

fn compare(live: Option<&Value>, step: &Step, answer: &Answer) -> Option<String> {
    let schema = Schema::builtin();
    let live = live.map(quiet);
    let mine = match step {
        Step::Apply { manager, force, config } => {
            let options = Apply { manager, force: *force, subresource: "", now: NOW };
            merge::apply(schema, live.as_ref(), config, &options)
        }
        Step::Delete => return None,
        _ if answer.code >= 300 => return None,
        _ => {
            let mut new = quiet(&answer.body);
            let before = live.as_ref().map_or(Value::Null, |live| live["metadata"]["managedFields"].clone());
            new["metadata"]["managedFields"] = before;
            allotted(live.as_ref(), &mut new);
            merge::update(
                schema,
                live.as_ref(),
                &new,
                &Update { manager: step.manager(), subresource: "", now: NOW },
            )
        }
    };
    match mine {
        Err(problem) => refused(&problem, answer),
        Ok(_) if answer.code == 422 || answer.code == 400 => None,
        Ok(_) if answer.code >= 300 => Some(format!("the server refuses: {}", answer.body)),
        Ok(mine) => accepted(schema, step, &mine, &quiet(&answer.body)),
    }
}

fn refused(problem: &ApplyError, answer: &Answer) -> Option<String> {
    let same = problem.code() == answer.code
        && problem.reason() == answer.body["reason"].as_str().unwrap_or_default()
        && causes(problem)
            == sorted(answer.body["details"]["causes"].as_array().cloned().unwrap_or_default());
    // Which of several managers comes first is random on the server's side.
    let message = matches!(problem, ApplyError::Conflicts(all) if all.len() > 1)
        || answer.body["message"] == problem.to_string();
    (!same || !message).then(|| format!("mine: {problem}\nserver {}: {}", answer.code, answer.body))
}

fn causes(problem: &ApplyError) -> Vec<Value> {
    let ApplyError::Conflicts(conflicts) = problem else { return Vec::new() };
    let causes = conflicts.iter().map(|conflict| {
        json!({"reason": merge::Conflict::REASON, "message": conflict.message(), "field": conflict.field()})
    });
    sorted(causes.collect())
}

fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by_key(|value| (value["message"].to_string(), value["field"].to_string()));
    values
}

fn accepted(schema: &Schema, step: &Step, mine: &Value, theirs: &Value) -> Option<String> {
    let (ours, others) = (owners(mine), owners(theirs));
    if ours != others {
        return Some(format!("owners\nmine:   {}\nserver: {}", json!(ours), json!(others)));
    }
    // The server's object has defaults that merge leaves to its caller: nothing else may differ.
    let mut mine = mine.clone();
    schema.normalize(schema.of(&mine), &mut mine);
    let (mine, theirs) = (settled(&quiet(&mine)), settled(theirs));
    let changes = merge::compare(schema, &mine, &theirs);
    let applied = matches!(step, Step::Apply { .. });
    (applied && !(changes.modified.is_empty() && changes.removed.is_empty())).then(|| {
        format!(
            "object\nmodified {}\nremoved {}\nmine:   {mine}\nserver: {theirs}",
            changes.modified, changes.removed
        )
    })
}

/// The object without what controllers and the server itself write at any moment.
fn quiet(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(object) = object.as_object_mut() {
        object.shift_remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for name in ["generation", "resourceVersion"] {
            metadata.shift_remove(name);
        }
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove("deployment.kubernetes.io/revision");
            if annotations.is_empty() {
                metadata.shift_remove("annotations");
            }
        }
        if let Some(entries) = metadata.get_mut("managedFields").and_then(Value::as_array_mut) {
            entries.retain(|entry| entry["manager"] != CONTROLLER);
        }
    }
    object
}

/// The object without owners, and without what the server derives from other fields.
fn settled(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.shift_remove("managedFields");
    }
    if object["kind"] == "Service"
        && let Some(spec) = object["spec"].as_object_mut()
    {
        spec.shift_remove("sessionAffinityConfig");
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            // The zero of a target port is a default to come.
            if let Some(port) = port.as_object_mut() {
                port.retain(|name, value| name != "targetPort" || *value != 0);
            }
        }
    }
    object
}

/// Takes out of a new Service what the server allots after it settled who owns what.
fn allotted(live: Option<&Value>, new: &mut Value) {
    if live.is_none()
        && new["kind"] == "Service"
        && let Some(spec) = new["spec"].as_object_mut()
    {
        for name in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            spec.shift_remove(name);
        }
    }
}
