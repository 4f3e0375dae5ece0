//! Deployment → ReplicaSets: one new set per content of the pod template, and a rollout from the old ones.
//!
//! [`decide`] looks at a Deployment, its ReplicaSets and their pods, and says what to write next. A rollout is
//! many small decisions, each taken on what the last one brought about. The rules are those of the Deployment
//! controller of Kubernetes (<https://kubernetes.io/docs/concepts/workloads/controllers/deployment/>).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use self::revision::{DESIRED, history, new_set, refreshed};
use self::rollout::Limits;
use super::change::{Change, Part, Write};
use super::owner::claim;
use super::template;

mod revision;
mod rollout;
mod status;

/// What a controller decided: writes, in order, and when to look again though nothing has changed.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub(crate) writes: Vec<Write>,
    pub(crate) again: Option<Duration>,
}

impl Decision {
    pub(crate) fn write(&mut self, write: impl Into<Write>) {
        self.writes.push(write.into());
    }
}

/// A ReplicaSet and its numbers.
#[derive(Debug, Clone)]
struct Set {
    object: Arc<ReplicaSet>,
    /// The replicas it is asked for.
    wanted: i32,
    /// The pods it has.
    current: i32,
    ready: i32,
    available: i32,
    revision: i64,
}

impl Set {
    fn new(object: Arc<ReplicaSet>) -> Self {
        let status = object.status.clone().unwrap_or_default();
        Self {
            wanted: object.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1),
            current: status.replicas,
            ready: status.ready_replicas.unwrap_or(0),
            available: status.available_replicas.unwrap_or(0),
            revision: revision::of(&object.metadata),
            object,
        }
    }

    fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    fn annotation(&self, name: &str) -> Option<i32> {
        self.object.metadata.annotations.as_ref()?.get(name)?.parse().ok()
    }
}

/// The ReplicaSets of a Deployment.
#[derive(Debug)]
struct Sets {
    /// The one of the current template.
    new: Option<Set>,
    /// All others, oldest first.
    old: Vec<Set>,
}

impl Sets {
    fn split(deployment: &Deployment, mut sets: Vec<Arc<ReplicaSet>>) -> Self {
        sets.sort_by_key(|set| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone()));
        let wanted = deployment.spec.as_ref().map(|spec| &spec.template);
        let of_template = |set: &&Arc<ReplicaSet>| {
            let made_of = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            made_of.zip(wanted).is_some_and(|(made_of, wanted)| template::equal(made_of, wanted))
        };
        let new = sets.iter().find(of_template).cloned();
        let is_new = |set: &Arc<ReplicaSet>| new.as_ref().is_some_and(|new| Arc::ptr_eq(new, set));
        let old = sets.iter().filter(|set| !is_new(set)).cloned().map(Set::new).collect();
        Self { new: new.map(Set::new), old }
    }

    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }
}

/// Decides on the next writes for a Deployment.
///
/// `candidates` are the ReplicaSets of its namespace, `pods` the pods of those.
pub(crate) fn decide(
    deployment: &Deployment,
    candidates: Vec<Arc<ReplicaSet>>,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> Decision {
    let mut decision = Decision::default();
    let Some(spec) = &deployment.spec else { return decision };
    let (claimed, adoptions) = claim(deployment, &spec.selector, candidates);
    if !adoptions.is_empty() {
        decision.writes.extend(adoptions.into_iter().map(Write::from));
        return decision;
    }
    let sets = Sets::split(deployment, claimed);
    let limits = Limits::of(spec);
    let paused = spec.paused == Some(true);
    let leaving = deployment.metadata.deletion_timestamp.is_some();
    let mut created = None;
    if !leaving && (paused || is_scaled(&sets, limits.replicas)) {
        scale(&mut decision, &sets, &limits);
        if paused && decision.writes.is_empty() {
            clean_up(&mut decision, &sets, spec.revision_history_limit);
        }
    } else if !leaving {
        created = roll(&mut decision, deployment, &sets, &limits, pods);
    }
    let observed = status::observe(deployment, &sets, &limits, created.as_deref(), now);
    if observed.complete && !paused && !leaving {
        clean_up(&mut decision, &sets, spec.revision_history_limit);
    }
    decision.again = observed.again;
    if let Some(write) = observed.write {
        decision.write(write);
    }
    decision
}

/// Takes the next step of a rollout, and names the ReplicaSet that it makes, if it makes one.
fn roll(
    decision: &mut Decision,
    deployment: &Deployment,
    sets: &Sets,
    limits: &Limits,
    pods: &[Arc<Pod>],
) -> Option<String> {
    if limits.recreate && sets.old.iter().any(|set| set.wanted > 0) {
        for set in sets.old.iter().filter(|set| set.wanted > 0) {
            decision.write(resize(set, 0, limits));
        }
        return None;
    }
    if limits.recreate && old_pods_run(sets, pods) {
        return None;
    }
    let Some(new) = &sets.new else {
        let replicas = rollout::new_replicas(limits, 0, sets.old.iter().map(|set| set.wanted).sum());
        let set = new_set(deployment, &sets.old, replicas, limits);
        let name = set.metadata.name.clone();
        decision.write(Change::Create(Box::new(set)));
        return name;
    };
    if let Some(body) = refreshed(deployment, new, &sets.old) {
        decision.write(Change::merge(&*new.object, Part::Object, body));
        return None;
    }
    let wanted = rollout::new_replicas(limits, new.wanted, sets.all().map(|set| set.wanted).sum());
    if wanted != new.wanted {
        decision.write(resize(new, wanted, limits));
        return None;
    }
    for (set, wanted) in rollout::shrink(limits, new, &sets.old) {
        decision.write(resize(set, wanted, limits));
    }
    None
}

/// Whether somebody changed `spec.replicas` since the ReplicaSets were last sized.
fn is_scaled(sets: &Sets, replicas: i32) -> bool {
    sets.all()
        .filter(|set| set.wanted > 0)
        .any(|set| set.annotation(DESIRED).is_some_and(|then| then != replicas))
}

/// Sizes the ReplicaSets for a changed number of replicas, without going on with a rollout.
fn scale(decision: &mut Decision, sets: &Sets, limits: &Limits) {
    for (set, wanted) in rollout::spread(limits, sets.new.as_ref(), &sets.old) {
        let stale = wanted > 0 && set.annotation(DESIRED) != Some(limits.replicas);
        if wanted != set.wanted || stale {
            decision.write(resize(set, wanted, limits));
        }
    }
}

fn resize(set: &Set, replicas: i32, limits: &Limits) -> Change<ReplicaSet> {
    let body = json!({
        "metadata": {"annotations": revision::sizes(limits)},
        "spec": {"replicas": replicas},
    });
    Change::merge(&*set.object, Part::Object, body)
}

/// Whether a pod of an old template still runs; with strategy Recreate the new ones wait for that.
fn old_pods_run(sets: &Sets, pods: &[Arc<Pod>]) -> bool {
    pods.iter().any(|pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        let finished = phase == "Succeeded" || phase == "Failed";
        !finished
            && sets.old.iter().any(|set| super::owner::is_controlled_by(&pod.metadata, &set.object.metadata))
    })
}

/// Deletes the oldest ReplicaSets without pods beyond the history limit.
fn clean_up(decision: &mut Decision, sets: &Sets, limit: Option<i32>) {
    for set in history(&sets.old, limit) {
        decision.write(Change::delete(&*set.object));
    }
}

#[cfg(test)]
mod tests;
