//! The rules, kind by kind, on one object and nothing else.

use serde_json::Value;

use super::Health;

/// Judges one live object.
#[must_use]
pub fn assess(object: &Value) -> Health {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return Health::Terminating;
    }
    let (seen, generation) = (&object["status"]["observedGeneration"], &object["metadata"]["generation"]);
    if let (Some(seen), Some(generation)) = (seen.as_i64(), generation.as_i64())
        && seen < generation
    {
        return waits("its controller has not seen the change yet");
    }
    let group =
        object["apiVersion"].as_str().and_then(|api| api.split_once('/')).map_or("", |(group, _)| group);
    match (group, object["kind"].as_str().unwrap_or_default()) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") => replica_set(object),
        ("batch", "Job") => job(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "Pod") => pod(object),
        ("", "Service") => service(object),
        // a CronJob is live as soon as it is scheduled; these have no state that a rollout should wait for
        ("networking.k8s.io" | "rbac.authorization.k8s.io" | "policy" | "autoscaling" | "", _)
        | ("batch", "CronJob") => Health::Current,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        _ => by_conditions(object),
    }
}

fn waits(why: impl Into<String>) -> Health {
    Health::InProgress(why.into())
}

fn number(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

/// `spec.replicas`, which the API server sets to 1 where it is left out.
fn replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// `Reason: message` of a condition.
pub(super) fn said(condition: &Value) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
    match (text("reason"), text("message")) {
        (reason, message) if message.is_empty() => reason,
        (reason, message) if reason.is_empty() => message,
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn deployment(object: &Value) -> Health {
    if object["status"]["observedGeneration"].is_null() {
        return waits("its controller has not seen it yet");
    }
    if object["spec"]["paused"] == true {
        return waits("it is paused");
    }
    if let Some(progress) = condition(object, "Progressing")
        && progress["reason"] == "ProgressDeadlineExceeded"
    {
        return Health::Failed(format!("progress deadline exceeded: {}", said(progress)));
    }
    let want = replicas(object);
    let updated = number(object, "updatedReplicas");
    let (ready, available) = (number(object, "readyReplicas"), number(object, "availableReplicas"));
    if updated < want {
        return waits(format!("{updated} of {want} pods are of the new version"));
    }
    let all = number(object, "replicas");
    if all > updated {
        return waits(format!("{} old pods are still there", all - updated));
    }
    if ready < want {
        return waits(format!("{ready} of {want} pods are ready"));
    }
    if available < updated {
        return waits(format!("{available} of {updated} pods are available"));
    }
    if want > 0 && !is_true(object, "Available") {
        return waits("it is not available yet");
    }
    Health::Current
}

fn stateful_set(object: &Value) -> Health {
    if object["status"]["observedGeneration"].is_null() {
        return waits("its controller has not seen it yet");
    }
    if object["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return Health::Current;
    }
    let want = replicas(object);
    let all = number(object, "replicas");
    let ready = number(object, "readyReplicas");
    if all < want {
        return waits(format!("{all} of {want} pods are made"));
    }
    if ready < want {
        return waits(format!("{ready} of {want} pods are ready"));
    }
    if all > want {
        return waits(format!("{} pods too many", all - want));
    }
    let updated = number(object, "updatedReplicas");
    let partition = object["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
    if partition > 0 {
        let due = want - partition;
        return if updated < due {
            waits(format!("{updated} of {due} pods are of the new version"))
        } else {
            Health::Current
        };
    }
    let status = &object["status"];
    if status["currentRevision"] != status["updateRevision"] {
        return waits(format!("{updated} of {want} pods are of the new version"));
    }
    Health::Current
}

fn daemon_set(object: &Value) -> Health {
    if object["status"]["observedGeneration"].is_null() {
        return waits("its controller has not seen it yet");
    }
    if object["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return Health::Current;
    }
    let want = number(object, "desiredNumberScheduled");
    for (field, what) in [
        ("currentNumberScheduled", "scheduled"),
        ("updatedNumberScheduled", "of the new version"),
        ("numberAvailable", "available"),
        ("numberReady", "ready"),
    ] {
        let have = number(object, field);
        if have < want {
            return waits(format!("{have} of {want} pods are {what}"));
        }
    }
    Health::Current
}

fn replica_set(object: &Value) -> Health {
    if let Some(failure) = condition(object, "ReplicaFailure")
        && failure["status"] == "True"
    {
        return waits(said(failure));
    }
    let want = replicas(object);
    for (field, what) in
        [("fullyLabeledReplicas", "made"), ("availableReplicas", "available"), ("readyReplicas", "ready")]
    {
        let have = number(object, field);
        if have < want {
            return waits(format!("{have} of {want} pods are {what}"));
        }
    }
    let all = number(object, "replicas");
    if all > want { waits(format!("{} pods too many", all - want)) } else { Health::Current }
}

fn job(object: &Value) -> Health {
    if is_true(object, "Complete") || object["spec"]["suspend"] == true {
        return Health::Current;
    }
    if let Some(failed) = condition(object, "Failed").filter(|failed| failed["status"] == "True") {
        return Health::Failed(said(failed));
    }
    if object["status"]["startTime"].is_null() {
        return waits("it has not started yet");
    }
    let (done, running) = (number(object, "succeeded"), number(object, "active"));
    waits(format!("{running} pods run, {done} are done"))
}

fn claim(object: &Value) -> Health {
    match object["status"]["phase"].as_str() {
        Some("Bound") => Health::Current,
        Some("Lost") => Health::Failed("its volume is lost".to_owned()),
        _ => waits("no volume is bound to it yet"),
    }
}

fn pod(object: &Value) -> Health {
    match object["status"]["phase"].as_str() {
        Some("Succeeded") => Health::Current,
        Some("Failed") => Health::Failed(said(&object["status"])),
        Some("Running") if is_true(object, "Ready") => Health::Current,
        Some("Running") => waits("it is not ready yet"),
        _ => waits("it has not started yet"),
    }
}

fn service(object: &Value) -> Health {
    let spec = &object["spec"];
    if spec["type"] == "LoadBalancer" && spec["clusterIP"].as_str().unwrap_or_default().is_empty() {
        return waits("it has no address yet");
    }
    Health::Current
}

fn definition(object: &Value) -> Health {
    if let Some(names) = condition(object, "NamesAccepted").filter(|names| names["status"] == "False") {
        return Health::Failed(said(names));
    }
    if is_true(object, "Established") { Health::Current } else { waits("it is not established yet") }
}

/// What the conventions let one say of a kind that we do not know: `Reconciling`, `Stalled`, `Ready`.
fn by_conditions(object: &Value) -> Health {
    if let Some(stalled) = condition(object, "Stalled").filter(|stalled| stalled["status"] == "True") {
        return Health::Failed(said(stalled));
    }
    if let Some(busy) = condition(object, "Reconciling").filter(|busy| busy["status"] == "True") {
        return waits(said(busy));
    }
    match condition(object, "Ready") {
        Some(ready) if ready["status"] != "True" => waits(said(ready)),
        _ => Health::Current,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(kind: &str, rest: &Value) -> Health {
        let (api, kind) = kind.rsplit_once('/').expect("version and kind");
        let mut object = json!({"apiVersion": api, "kind": kind, "metadata": {"generation": 2}});
        if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest.clone()) {
            object.extend(rest);
        }
        assess(&object)
    }

    fn waiting(why: &str) -> Health {
        Health::InProgress(why.to_owned())
    }

    #[test]
    fn a_deployment_is_current_when_the_new_pods_are_available_and_the_old_ones_gone() {
        let status = |seen: i64, all: i64, updated: i64, ready: i64| {
            json!({"spec": {"replicas": 2}, "status": {"observedGeneration": seen, "replicas": all,
                "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready,
                "conditions": [{"type": "Available", "status": "True"}]}})
        };
        let deployment = |status: Value| of("apps/v1/Deployment", &status);
        assert_eq!(deployment(status(1, 2, 2, 2)), waiting("its controller has not seen the change yet"));
        assert_eq!(deployment(status(2, 3, 1, 2)), waiting("1 of 2 pods are of the new version"));
        assert_eq!(deployment(status(2, 3, 2, 2)), waiting("1 old pods are still there"));
        assert_eq!(deployment(status(2, 2, 2, 1)), waiting("1 of 2 pods are ready"));
        assert_eq!(deployment(status(2, 2, 2, 2)), Health::Current);
        assert_eq!(deployment(json!({})), waiting("its controller has not seen it yet"));
        let late = json!({"status": {"observedGeneration": 2, "conditions": [{"type": "Progressing",
            "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}]}});
        assert!(matches!(deployment(late), Health::Failed(_)));
    }

    #[test]
    fn a_job_is_current_when_complete_and_a_cron_job_at_once() {
        let with = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "no more"}]}});
        assert_eq!(of("batch/v1/Job", &with("Complete")), Health::Current);
        assert_eq!(
            of("batch/v1/Job", &with("Failed")),
            Health::Failed("BackoffLimitExceeded: no more".into())
        );
        assert_eq!(of("batch/v1/Job", &json!({})), waiting("it has not started yet"));
        assert_eq!(of("batch/v1/CronJob", &json!({})), Health::Current);
    }

    #[test]
    fn stateful_sets_daemon_sets_claims_and_pods_follow_kstatus() {
        let set = json!({"spec": {"replicas": 1}, "status": {"observedGeneration": 2, "replicas": 1,
            "readyReplicas": 1, "updatedReplicas": 0, "currentRevision": "a", "updateRevision": "b"}});
        assert_eq!(of("apps/v1/StatefulSet", &set), waiting("0 of 1 pods are of the new version"));
        let daemons = json!({"status": {"observedGeneration": 2, "desiredNumberScheduled": 1,
            "currentNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 0}});
        assert_eq!(of("apps/v1/DaemonSet", &daemons), waiting("0 of 1 pods are available"));
        let claim = |phase: &str| of("v1/PersistentVolumeClaim", &json!({"status": {"phase": phase}}));
        assert_eq!(claim("Bound"), Health::Current);
        assert_eq!(claim("Lost"), Health::Failed("its volume is lost".into()));
        assert_eq!(of("v1/Pod", &json!({"status": {"phase": "Running"}})), waiting("it is not ready yet"));
        assert_eq!(of("v1/Pod", &json!({"metadata": {"deletionTimestamp": "x"}})), Health::Terminating);
    }

    #[test]
    fn unknown_kinds_are_judged_by_their_conditions() {
        let with = |kind: &str, status: &str| {
            of(
                "example.com/v1/Thing",
                &json!({"status": {"conditions": [{"type": kind, "status": status, "reason": "R"}]}}),
            )
        };
        assert_eq!(with("Ready", "True"), Health::Current);
        assert_eq!(with("Ready", "False"), waiting("R"));
        assert_eq!(with("Stalled", "True"), Health::Failed("R".into()));
        assert_eq!(with("Reconciling", "True"), waiting("R"));
        assert_eq!(of("example.com/v1/Thing", &json!({})), Health::Current);
    }
}
