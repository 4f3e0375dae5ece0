use serde_json::Value;

use super::super::change::Write;
use super::*;

fn job(spec: &Value, status: &Value) -> Job {
    let mut full = json!({"template": {"spec": {"restartPolicy": "Never", "containers": []}}, "completions": 1, "parallelism": 1});
    for (name, value) in spec.as_object().unwrap() {
        full[name] = value.clone();
    }
    let value = json!({
        "metadata": {"name": "report", "namespace": "shop", "uid": "job", "resourceVersion": "1"},
        "spec": full, "status": status,
    });
    serde_json::from_value(value).unwrap()
}

fn pod(name: &str, phase: &str, tracked: bool) -> Arc<Pod> {
    let value = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": name,
            "finalizers": if tracked { json!([TRACKING]) } else { json!([]) },
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "report", "uid": "job", "controller": true}],
        },
        "status": {"phase": phase, "containerStatuses": [{
            "name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}},
        }]},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn summary(decision: &Decision) -> Vec<String> {
    let line = |write: &Write| match write {
        Write::Pod(Change::Create(_)) => "create pod".to_owned(),
        Write::Pod(Change::Delete { key, .. }) => format!("delete {}", key.name),
        Write::Pod(Change::Merge { key, .. }) => format!("release {}", key.name),
        Write::Job(Change::Delete { .. }) => "delete job".to_owned(),
        Write::Job(Change::Merge { body, .. }) => {
            let status = &body["status"];
            let last =
                status["conditions"].as_array().and_then(|all| all.last().cloned()).unwrap_or_default();
            format!(
                "status succeeded={} failed={} {}/{}",
                status["succeeded"], status["failed"], last["type"], last["reason"]
            )
        }
        other => format!("{other:?}"),
    };
    decision.writes.iter().map(line).collect()
}

#[test]
fn a_job_makes_its_pod_and_ends_when_that_succeeded() {
    let now = at("2026-01-01T00:00:00Z");
    let first = decide(&job(&json!({}), &json!({})), &[], now);
    assert_eq!(summary(&first), ["status succeeded=null failed=null null/null", "create pod"]);
    let last = decide(&job(&json!({}), &json!({})), &[pod("a", "Succeeded", true)], now);
    assert_eq!(
        summary(&last),
        ["status succeeded=1 failed=null \"Complete\"/\"CompletionsReached\"", "release a"]
    );
}

#[test]
fn an_end_is_counted_once_however_often_it_is_seen() {
    let told = json!({"failed": 1, "uncountedTerminatedPods": {"failed": ["a"]}, "startTime": "2026-01-01T00:00:00Z"});
    let again = decide(&job(&json!({}), &told), &[pod("a", "Failed", true)], at("2026-01-01T00:00:01Z"));
    assert!(summary(&again).iter().any(|line| line.contains("failed=1")), "{:?}", summary(&again));
    let released = decide(&job(&json!({}), &told), &[pod("a", "Failed", false)], at("2026-01-01T00:00:01Z"));
    assert!(summary(&released).iter().any(|line| line.contains("failed=1")), "{:?}", summary(&released));
}

#[test]
fn after_a_failure_the_next_pod_waits_and_the_limit_ends_the_job() {
    let told = json!({"failed": 1, "startTime": "2026-01-01T00:00:00Z"});
    let ended = [pod("a", "Failed", false)];
    let waiting = decide(&job(&json!({}), &told), &ended, at("2026-01-01T00:00:04Z"));
    assert_eq!(waiting.again, Some(Duration::from_secs(6)));
    let due = decide(&job(&json!({}), &told), &ended, at("2026-01-01T00:00:10Z"));
    assert!(summary(&due).contains(&"create pod".to_owned()));
    let none_left = decide(&job(&json!({"backoffLimit": 0}), &told), &ended, at("2026-01-01T00:00:10Z"));
    assert_eq!(summary(&none_left), ["status succeeded=null failed=1 \"Failed\"/\"BackoffLimitExceeded\""]);
}

#[test]
fn a_job_that_runs_too_long_is_stopped_and_then_failed() {
    let spec = json!({"activeDeadlineSeconds": 5});
    let told = json!({"startTime": "2026-01-01T00:00:00Z"});
    let running = [pod("a", "Running", true)];
    let waiting = decide(&job(&spec, &told), &running, at("2026-01-01T00:00:02Z"));
    assert_eq!(waiting.again, Some(Duration::from_secs(3)));
    let late = decide(&job(&spec, &told), &running, at("2026-01-01T00:00:05Z"));
    assert_eq!(
        summary(&late),
        ["status succeeded=null failed=null \"FailureTarget\"/\"DeadlineExceeded\"", "delete a"]
    );
}

#[test]
fn a_finished_job_goes_when_its_time_to_live_has_passed() {
    let spec = json!({"ttlSecondsAfterFinished": 60});
    let told = json!({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    let young = decide(&job(&spec, &told), &[], at("2026-01-01T00:00:20Z"));
    assert_eq!((summary(&young).len(), young.again), (0, Some(Duration::from_secs(40))));
    assert_eq!(summary(&decide(&job(&spec, &told), &[], at("2026-01-01T00:01:00Z"))), ["delete job"]);
}
