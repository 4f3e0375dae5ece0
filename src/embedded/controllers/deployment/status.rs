//! What a Deployment's status says: numbers, availability and progress.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::super::change::{Change, Part};
use super::rollout::Limits;
use super::{Sets, revision};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";
/// The reason of a rollout that has reached its end.
const DONE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
/// The API's word for "no deadline".
const NO_DEADLINE: i32 = i32::MAX;

/// What was seen of a Deployment.
pub(super) struct Observed {
    pub(super) write: Option<Change<Deployment>>,
    /// Whether the rollout has reached its end.
    pub(super) complete: bool,
    pub(super) again: Option<Duration>,
}

/// Observes the state of a Deployment; `created` names the ReplicaSet that is being made.
pub(super) fn observe(
    deployment: &Deployment,
    sets: &Sets,
    limits: &Limits,
    created: Option<&str>,
    now: Timestamp,
) -> Observed {
    let old = deployment.status.clone().unwrap_or_default();
    let mut new = counts(deployment, sets, &old);
    let complete = is_complete(deployment, &new, limits);
    let mut conditions = Conditions { held: old.conditions.clone().unwrap_or_default(), now };
    let enough = new.available_replicas.unwrap_or(0) >= limits.minimum();
    if enough {
        conditions.set(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.");
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set(AVAILABLE, "False", "MinimumReplicasUnavailable", message);
    }
    let deadline = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds).unwrap_or(600);
    if deadline == NO_DEADLINE {
        conditions.remove(PROGRESSING);
    } else {
        progress(&mut conditions, deployment, sets, (&old, &new), created, complete);
    }
    failures(&mut conditions, sets);
    let again = (!complete).then(|| conditions.deadline(deadline)).flatten();
    new.conditions = Some(conditions.held);
    Observed { write: write(deployment, sets, created, &old, &new), complete, again }
}

fn counts(deployment: &Deployment, sets: &Sets, old: &DeploymentStatus) -> DeploymentStatus {
    let total: i32 = sets.all().map(|set| set.current).sum();
    let available: i32 = sets.all().map(|set| set.available).sum();
    let wanted: i32 = sets.all().map(|set| set.wanted).sum();
    let some = |count: i32| (count > 0).then_some(count);
    DeploymentStatus {
        available_replicas: some(available),
        collision_count: old.collision_count,
        conditions: None,
        observed_generation: deployment.metadata.generation,
        ready_replicas: some(sets.all().map(|set| set.ready).sum()),
        replicas: some(total),
        terminating_replicas: None,
        unavailable_replicas: some(wanted - available),
        updated_replicas: some(sets.new.as_ref().map_or(0, |set| set.current)),
    }
}

fn is_complete(deployment: &Deployment, status: &DeploymentStatus, limits: &Limits) -> bool {
    let all = |count: Option<i32>| count.unwrap_or(0) == limits.replicas;
    all(status.updated_replicas)
        && all(status.replicas)
        && all(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

/// Sets the condition `Progressing`, on which `kubectl rollout status` and our health rules rest.
fn progress(
    conditions: &mut Conditions,
    deployment: &Deployment,
    sets: &Sets,
    (old, new): (&DeploymentStatus, &DeploymentStatus),
    created: Option<&str>,
    complete: bool,
) {
    let spec = deployment.spec.as_ref();
    let reason = conditions.reason(PROGRESSING).map(ToOwned::to_owned);
    let reason = reason.as_deref();
    let paused = spec.is_some_and(|spec| spec.paused == Some(true));
    if paused {
        if reason != Some(PAUSED) {
            conditions.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused");
        }
        return;
    }
    if reason == Some(PAUSED) {
        conditions.set(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed");
        return;
    }
    if let Some(name) = created {
        conditions.set(
            PROGRESSING,
            "True",
            "NewReplicaSetCreated",
            &format!("Created new replica set \"{name}\""),
        );
        return;
    }
    let subject = match &sets.new {
        Some(set) => format!("ReplicaSet \"{}\"", set.name()),
        None => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    if reason.is_none()
        && let Some(set) = &sets.new
    {
        let message = format!("Found new replica set \"{}\"", set.name());
        conditions.set(PROGRESSING, "True", "FoundNewReplicaSet", &message);
    }
    let settled = reason == Some(DONE) && new.replicas == new.updated_replicas;
    if settled {
        return;
    }
    let deadline = spec.and_then(|spec| spec.progress_deadline_seconds).unwrap_or(600);
    if complete {
        conditions.set(PROGRESSING, "True", DONE, &format!("{subject} has successfully progressed."));
    } else if has_progressed(old, new) {
        conditions.renew(PROGRESSING, "ReplicaSetUpdated", &format!("{subject} is progressing."));
    } else if conditions.deadline(deadline) == Some(Duration::ZERO) {
        conditions.set(PROGRESSING, "False", TIMED_OUT, &format!("{subject} has timed out progressing."));
    }
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(new.updated_replicas) > count(old.updated_replicas)
        || outdated(new) < outdated(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas)
}

/// Passes on that a ReplicaSet could not make its pods.
fn failures(conditions: &mut Conditions, sets: &Sets) {
    let failing = sets.new.iter().chain(&sets.old).find_map(|set| {
        let status = set.object.status.as_ref()?;
        status.conditions.as_ref()?.iter().find(|held| held.type_ == REPLICA_FAILURE && held.status == "True")
    });
    match failing {
        Some(failure) => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            conditions.set(REPLICA_FAILURE, "True", &text(&failure.reason), &text(&failure.message));
        }
        None => conditions.remove(REPLICA_FAILURE),
    }
}

fn write(
    deployment: &Deployment,
    sets: &Sets,
    created: Option<&str>,
    old: &DeploymentStatus,
    new: &DeploymentStatus,
) -> Option<Change<Deployment>> {
    let carried = revision::of(&deployment.metadata);
    let due = match (&sets.new, created) {
        (Some(set), _) => revision::next(Some(set), &sets.old),
        (None, Some(_)) => revision::next(None, &sets.old),
        (None, None) => carried,
    };
    if old == new && due == carried {
        return None;
    }
    // a merge patch takes away what it names as null: counts that fell to zero are left out of the object
    let mut body = json!({"status": {
        "availableReplicas": new.available_replicas,
        "observedGeneration": new.observed_generation,
        "readyReplicas": new.ready_replicas,
        "replicas": new.replicas,
        "unavailableReplicas": new.unavailable_replicas,
        "updatedReplicas": new.updated_replicas,
        "conditions": new.conditions,
    }});
    if due != carried {
        body["metadata"] = json!({"annotations": {revision::REVISION: due.to_string()}});
    }
    Some(Change::merge(deployment, Part::Status, body))
}

/// The conditions of a Deployment, and the time at which they are looked at.
struct Conditions {
    held: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn reason(&self, kind: &str) -> Option<&str> {
        self.get(kind)?.reason.as_deref()
    }

    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.held.iter().find(|held| held.type_ == kind)
    }

    fn remove(&mut self, kind: &str) {
        self.held.retain(|held| held.type_ != kind);
    }

    /// Sets a condition unless it already says so for the same reason.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let same =
            |held: &DeploymentCondition| held.status == status && held.reason.as_deref() == Some(reason);
        if !self.get(kind).is_some_and(same) {
            self.put(kind, status, reason, message);
        }
    }

    /// Sets a condition that holds, and that something has moved just now.
    fn renew(&mut self, kind: &str, reason: &str, message: &str) {
        self.put(kind, "True", reason, message);
    }

    fn put(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let since = self
            .get(kind)
            .filter(|held| held.status == status)
            .and_then(|held| held.last_transition_time.clone());
        self.remove(kind);
        self.held.push(DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(since.unwrap_or(Time(self.now))),
            last_update_time: Some(Time(self.now)),
        });
    }

    /// How long the rollout may still go without moving; none when it is done, paused or given up.
    fn deadline(&self, seconds: i32) -> Option<Duration> {
        let progressing = self.get(PROGRESSING)?;
        if matches!(progressing.reason.as_deref(), Some(DONE | TIMED_OUT | PAUSED)) {
            return None;
        }
        let moved = progressing.last_update_time.as_ref()?.0;
        let due = moved + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        Some(Duration::try_from(due.duration_since(self.now)).unwrap_or(Duration::ZERO))
    }
}
