//! ReplicaSet → Pods: as many as asked for.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::change::{Change, Part, Write};
use super::deployment::Decision;
use super::owner::{self, claim};
use super::pods::{is_active, is_ready, ready_since, restarts};
use super::template;

/// The most pods that one decision makes or deletes.
const BURST: usize = 500;

/// Decides which pods of a ReplicaSet to make or delete. `candidates` are the pods of its namespace.
pub(crate) fn decide(set: &ReplicaSet, candidates: Vec<Arc<Pod>>, now: Timestamp) -> Decision {
    let mut decision = Decision::default();
    let Some(spec) = &set.spec else { return decision };
    let active: Vec<_> = candidates.into_iter().filter(|pod| is_active(pod)).collect();
    let (mut pods, adoptions) = claim(set, &spec.selector, active);
    decision.writes.extend(adoptions.into_iter().map(Write::from));
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let status = status(set, &pods, now);
    if decision.writes.is_empty() && set.metadata.deletion_timestamp.is_none() {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        if let Some(template) = spec.template.as_ref().filter(|_| pods.len() < wanted) {
            for _ in 0..(wanted - pods.len()).min(BURST) {
                let pod = template::pod(template, namespace, owner::reference(set));
                decision.write(Change::Create(Box::new(pod)));
            }
        } else if pods.len() > wanted {
            pods.sort_by_cached_key(|pod| rank(pod));
            for pod in &pods[..(pods.len() - wanted).min(BURST)] {
                decision.write(Change::delete(&**pod));
            }
        }
    }
    decision.again = status.again;
    if let Some(write) = status.write {
        // first, so that a failing creation does not keep the numbers from being told
        decision.writes.insert(0, write.into());
    }
    decision
}

/// The condition that says why pods could not be made, or its removal.
pub(crate) fn failure(set: &ReplicaSet, message: Option<&str>, now: Timestamp) -> Option<Change<ReplicaSet>> {
    let held = set.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let told = held.iter().find(|condition| condition.type_ == "ReplicaFailure");
    if told.and_then(|condition| condition.message.as_deref()) == message {
        return None;
    }
    let mut conditions: Vec<_> = held.iter().filter(|held| held.type_ != "ReplicaFailure").cloned().collect();
    conditions.extend(message.map(|message| ReplicaSetCondition {
        type_: "ReplicaFailure".to_owned(),
        status: "True".to_owned(),
        reason: Some("FailedCreate".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(now)),
    }));
    let key = super::super::cache::Key::of(set);
    let body = json!({"metadata": {"uid": set.metadata.uid}, "status": {"conditions": conditions}});
    Some(Change::Merge { key, part: Part::Status, body })
}

/// The order in which surplus pods go, first the ones that are missed least.
fn rank(pod: &Pod) -> impl Ord + use<> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let phase = match phase {
        None | Some("Pending") => 0,
        Some("Running") => 2,
        Some(_) => 1,
    };
    let scheduled = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let annotations = pod.metadata.annotations.as_ref();
    let cost =
        annotations.and_then(|all| all.get("controller.kubernetes.io/pod-deletion-cost")?.parse().ok());
    let newest_first = std::cmp::Reverse(ready_since(pod));
    let youngest_first = std::cmp::Reverse(pod.metadata.creation_timestamp.clone());
    let most_restarts_first = std::cmp::Reverse(restarts(pod));
    (
        scheduled,
        phase,
        is_ready(pod),
        cost.unwrap_or(0_i32),
        newest_first,
        most_restarts_first,
        youngest_first,
    )
}

struct Observed {
    write: Option<Change<ReplicaSet>>,
    again: Option<Duration>,
}

fn status(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Observed {
    let spec = set.spec.clone().unwrap_or_default();
    let labels = spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.clone());
    let labels = labels.unwrap_or_default();
    let labelled = |pod: &&Arc<Pod>| {
        let held = pod.metadata.labels.clone().unwrap_or_default();
        labels.iter().all(|(name, value)| held.get(name) == Some(value))
    };
    let settling = Duration::from_secs(u64::try_from(spec.min_ready_seconds.unwrap_or(0)).unwrap_or(0));
    let ready: Vec<_> = pods.iter().filter(|pod| is_ready(pod)).collect();
    let waits = ready.iter().filter_map(|pod| {
        let due = ready_since(pod)? + settling;
        Duration::try_from(due.duration_since(now)).ok().filter(|wait| !wait.is_zero())
    });
    let waits: Vec<Duration> = if settling.is_zero() { Vec::new() } else { waits.collect() };
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let some = |number: usize| (number > 0).then(|| count(number));
    let old = set.status.clone().unwrap_or_default();
    let new = ReplicaSetStatus {
        available_replicas: some(ready.len() - waits.len()),
        conditions: old.conditions.clone(),
        fully_labeled_replicas: some(pods.iter().filter(labelled).count()),
        observed_generation: set.metadata.generation,
        ready_replicas: some(ready.len()),
        replicas: count(pods.len()),
        terminating_replicas: None,
    };
    let write = (old != new).then(|| {
        let body = json!({"status": {
            "availableReplicas": new.available_replicas,
            "fullyLabeledReplicas": new.fully_labeled_replicas,
            "observedGeneration": new.observed_generation,
            "readyReplicas": new.ready_replicas,
            "replicas": new.replicas,
        }});
        Change::merge(set, Part::Status, body)
    });
    Observed { write, again: waits.into_iter().min() }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn set(replicas: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "set", "resourceVersion": "1", "generation": 1},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web"}]}},
            },
        }))
        .unwrap()
    }

    fn pod(name: &str, changes: &Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {
                "name": name, "namespace": "shop", "uid": name, "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "set", "controller": true}],
            },
            "spec": {"nodeName": "here", "containers": []},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
            ]},
        });
        json_patch(&mut pod, changes);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn json_patch(target: &mut Value, changes: &Value) {
        match (target.as_object_mut(), changes.as_object()) {
            (Some(target), Some(changes)) => {
                for (name, value) in changes {
                    json_patch(target.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
            _ => *target = changes.clone(),
        }
    }

    fn summary(decision: &Decision) -> Vec<String> {
        let line = |write: &Write| match write {
            Write::Pod(Change::Create(pod)) => {
                format!("create {}", pod.metadata.generate_name.as_deref().unwrap())
            }
            Write::Pod(Change::Delete { key, .. }) => format!("delete {}", key.name),
            Write::Pod(Change::Merge { key, .. }) => format!("adopt {}", key.name),
            Write::ReplicaSet(Change::Merge { body, .. }) => format!("status {}", body["status"]["replicas"]),
            other => format!("{other:?}"),
        };
        decision.writes.iter().map(line).collect()
    }

    #[test]
    fn missing_pods_are_made_and_finished_ones_do_not_count() {
        let finished = pod("a", &json!({"status": {"phase": "Failed"}}));
        let leaving = pod("b", &json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}));
        let decision = decide(&set(2), vec![finished, leaving, pod("c", &json!({}))], Timestamp::UNIX_EPOCH);
        assert_eq!(summary(&decision), ["status 1", "create web-1-"]);
    }

    #[test]
    fn of_too_many_pods_the_one_that_serves_least_goes() {
        let starting = pod("starting", &json!({"status": {"phase": "Pending", "conditions": []}}));
        let decision = decide(&set(1), vec![pod("serving", &json!({})), starting], Timestamp::UNIX_EPOCH);
        assert_eq!(summary(&decision), ["status 2", "delete starting"]);
    }

    #[test]
    fn a_matching_pod_that_nobody_controls_is_adopted() {
        let orphan = pod("orphan", &json!({"metadata": {"ownerReferences": null}}));
        let decision = decide(&set(1), vec![orphan], Timestamp::UNIX_EPOCH);
        assert_eq!(summary(&decision), ["status 0", "adopt orphan"]);
    }

    #[test]
    fn a_ready_pod_is_available_after_its_settling_time() {
        let mut set = set(1);
        set.spec.as_mut().unwrap().min_ready_seconds = Some(30);
        let now: Timestamp = "2026-01-01T00:00:10Z".parse().unwrap();
        let decision = decide(&set, vec![pod("a", &json!({}))], now);
        assert_eq!(decision.again, Some(Duration::from_secs(20)));
        let later = decide(&set, vec![pod("a", &json!({}))], now + Duration::from_secs(20));
        assert_eq!(later.again, None);
    }
}
