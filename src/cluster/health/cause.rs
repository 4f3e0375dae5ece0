//! Why a workload is not becoming ready: its own conditions first, then its newest pods, container by container.

use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::kinds::{condition, said};
use crate::cluster::logs::{self, LogOptions};
use crate::cluster::request::{JSON, escape};
use crate::cluster::{Cluster, ClusterError, object};
use crate::render::manifest::ObjectKey;
use crate::secret::Redactor;

/// How many last lines of a failing container are shown.
const LINES: u32 = 20;
/// How long a pod may find no node before that counts as a failure: a node may be on its way.
const UNSCHEDULABLE: Duration = Duration::from_mins(1);

/// The exit codes of SIGKILL and SIGTERM.
const KILLED: [i64; 2] = [137, 143];

/// Why something fails, and what it said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// One sentence for people.
    pub message: String,
    /// The pod.
    pub pod: Option<String>,
    /// The container.
    pub container: Option<String>,
    /// Its exit code.
    pub exit_code: Option<i64>,
    /// Its last lines, redacted.
    pub log: Vec<String>,
    /// Whether it cannot mend itself: no need to wait for the deadline.
    #[serde(skip)]
    pub is_final: bool,
}

impl Cause {
    fn of(message: String, is_final: bool) -> Self {
        Self { message, pod: None, container: None, exit_code: None, log: Vec::new(), is_final }
    }
}

/// Looks for the cause below a workload that is not current. `None` when nothing stands out.
pub(super) async fn find(
    cluster: &Cluster,
    key: &ObjectKey,
    live: &Value,
    redactor: &Redactor,
) -> Result<Option<Cause>, ClusterError> {
    if let Some(failure) = condition(live, "ReplicaFailure").filter(|failure| failure["status"] == "True") {
        return Ok(Some(Cause::of(format!("no pod can be made: {}", said(failure)), true)));
    }
    let pods = match (key.group.as_str(), key.kind.as_str()) {
        ("apps" | "batch", _) => newest_pods(cluster, key, live).await?,
        ("", "Pod") => vec![live.clone()],
        _ => return Ok(None),
    };
    let now = cluster.clock().now();
    let mut causes: Vec<(Cause, &Value)> =
        pods.iter().filter_map(|pod| Some((of_pod(pod, now)?, pod))).collect();
    causes.sort_by_key(|(cause, _)| !cause.is_final);
    let Some((mut cause, pod)) = causes.into_iter().next() else { return Ok(None) };
    if let Some(container) = cause.container.clone() {
        cause.log = last_lines(cluster, pod, &container, redactor).await;
    }
    // who was killed does not know why
    if cause.exit_code.is_some_and(|code| KILLED.contains(&code))
        && let Some(why) = unhealthy(cluster, pod).await
    {
        cause.message = format!("{}: {}", cause.message, redactor.redact(&why));
    }
    Ok(Some(cause))
}

/// What the node said last of a pod's probes. That it cannot be read takes nothing away from the cause.
async fn unhealthy(cluster: &Cluster, pod: &Value) -> Option<String> {
    let uid = object::uid(pod);
    let path = cluster.resource("v1", "Event").await.ok()?.collection(pod["metadata"]["namespace"].as_str());
    let path =
        format!("{path}?fieldSelector={}", escape(&format!("involvedObject.uid={uid},reason=Unhealthy")));
    let events = cluster.list(&path, "Event", JSON).await.ok()?;
    let newest = events.iter().max_by_key(|event| event["lastTimestamp"].as_str().unwrap_or_default())?;
    newest["message"].as_str().map(str::to_owned)
}

/// Pods of the version that is being rolled out: what an older version does says nothing about this one.
async fn newest_pods(cluster: &Cluster, key: &ObjectKey, live: &Value) -> Result<Vec<Value>, ClusterError> {
    let Some(mut labels) = live["spec"]["selector"]["matchLabels"].as_object().cloned() else {
        return Ok(Vec::new());
    };
    let namespace = key.namespace.as_deref();
    let selector = |labels: &serde_json::Map<String, Value>| {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
            .collect();
        escape(&pairs.join(","))
    };
    match key.kind.as_str() {
        "Deployment" => {
            let path = cluster.resource("apps/v1", "ReplicaSet").await?.collection(namespace);
            let path = format!("{path}?labelSelector={}", selector(&labels));
            let sets = cluster.list(&path, "ReplicaSet", JSON).await?;
            let revision = &live["metadata"]["annotations"]["deployment.kubernetes.io/revision"];
            let newest = sets.iter().find(|set| {
                let owners = set["metadata"]["ownerReferences"].as_array();
                owners.into_iter().flatten().any(|owner| owner["uid"] == object::uid(live))
                    && set["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == *revision
            });
            let Some(hash) = newest.map(|set| &set["metadata"]["labels"]["pod-template-hash"]) else {
                return Ok(Vec::new());
            };
            labels.insert("pod-template-hash".to_owned(), hash.clone());
        }
        "StatefulSet" => {
            let revision = live["status"]["updateRevision"].clone();
            labels.insert("controller-revision-hash".to_owned(), revision);
        }
        _ => {}
    }
    let path = cluster.resource("v1", "Pod").await?.collection(namespace);
    let path = format!("{path}?labelSelector={}", selector(&labels));
    cluster.list(&path, "Pod", JSON).await
}

/// What stands in the way of one pod.
fn of_pod(pod: &Value, now: Timestamp) -> Option<Cause> {
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return None;
    }
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if let Some(scheduled) = condition(pod, "PodScheduled").filter(|scheduled| scheduled["status"] == "False")
    {
        let since = scheduled["lastTransitionTime"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
        let long = since.is_some_and(|since| now.duration_since(since).unsigned_abs() >= UNSCHEDULABLE);
        let cause = Cause::of(format!("pod {name} finds no node: {}", said(scheduled)), long);
        return Some(Cause { pod: Some(name.to_owned()), ..cause });
    }
    ["initContainerStatuses", "containerStatuses"]
        .iter()
        .filter_map(|list| pod["status"][*list].as_array())
        .flatten()
        .find_map(|status| of_container(pod, name, status))
}

fn of_container(pod: &Value, name: &str, status: &Value) -> Option<Cause> {
    let container = status["name"].as_str().unwrap_or_default();
    let waiting = &status["state"]["waiting"];
    let ended = [&status["state"]["terminated"], &status["lastState"]["terminated"]]
        .into_iter()
        .find(|ended| ended.is_object());
    let exit_code = ended.and_then(|ended| ended["exitCode"].as_i64());
    let place = format!("container {container} of pod {name}");
    let (message, is_final) = match waiting["reason"].as_str() {
        Some("ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull") => {
            (format!("the image of {place} cannot be pulled: {}", said(waiting)), true)
        }
        Some("ErrImagePull") => (format!("the image of {place} cannot be pulled: {}", said(waiting)), false),
        Some("CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError") => {
            (format!("{place} cannot be started: {}", said(waiting)), true)
        }
        Some("CrashLoopBackOff") => {
            let restarts = status["restartCount"].as_i64().unwrap_or(0);
            let times = if restarts == 1 { "restart" } else { "restarts" };
            (format!("{place} keeps crashing ({}, {restarts} {times})", ending(ended)), true)
        }
        _ => {
            let once = pod["spec"]["restartPolicy"] == "Never";
            let crashed = status["state"]["terminated"].is_object() && exit_code != Some(0);
            if !crashed {
                return None;
            }
            (format!("{place} ended ({})", ending(ended)), once)
        }
    };
    let cause = Cause::of(message, is_final);
    Some(Cause { pod: Some(name.to_owned()), container: Some(container.to_owned()), exit_code, ..cause })
}

/// `exit code 1`, or why it was killed.
fn ending(ended: Option<&Value>) -> String {
    let Some(ended) = ended else { return "no exit code".to_owned() };
    let code = ended["exitCode"]
        .as_i64()
        .map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"));
    match ended["reason"].as_str() {
        None | Some("Error" | "Completed" | "") => code,
        Some(reason) => format!("{reason}, {code}"),
    }
}

/// A log that cannot be read takes nothing away from the cause, so that failure is only noted in it.
async fn last_lines(cluster: &Cluster, pod: &Value, container: &str, redactor: &Redactor) -> Vec<String> {
    let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default();
    let mut options =
        LogOptions { container: Some(container.to_owned()), tail: Some(LINES), ..LogOptions::default() };
    for previous in [false, true] {
        options.previous = previous;
        match logs::tail(cluster, text("namespace"), text("name"), &options, redactor).await {
            Ok(lines) if !lines.is_empty() => return lines,
            _ => {}
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(state: &Value, last: &Value, restarts: i64) -> Value {
        json!({"metadata": {"name": "api-1"}, "spec": {"restartPolicy": "Always"}, "status": {"containerStatuses":
            [{"name": "api", "state": state, "lastState": last, "restartCount": restarts}]}})
    }

    fn cause(pod: &Value) -> Option<(String, bool)> {
        let now = "2026-11-22T12:00:00Z".parse().expect("a time");
        of_pod(pod, now).map(|cause| (cause.message, cause.is_final))
    }

    #[test]
    fn the_cause_names_pod_container_and_exit_code() {
        let crash = pod(
            &json!({"waiting": {"reason": "CrashLoopBackOff"}}),
            &json!({"terminated": {"exitCode": 3, "reason": "Error"}}),
            2,
        );
        assert_eq!(
            cause(&crash),
            Some(("container api of pod api-1 keeps crashing (exit code 3, 2 restarts)".into(), true))
        );
        let killed = pod(&json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}), &json!({}), 0);
        assert_eq!(
            cause(&killed),
            Some(("container api of pod api-1 ended (OOMKilled, exit code 137)".into(), false))
        );
        let pull =
            pod(&json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}}), &json!({}), 0);
        assert_eq!(
            cause(&pull),
            Some((
                "the image of container api of pod api-1 cannot be pulled: ErrImagePull: not found".into(),
                false
            ))
        );
        assert_eq!(cause(&pod(&json!({"running": {}}), &json!({}), 0)), None);
    }

    #[test]
    fn a_pod_without_a_node_fails_only_after_a_while() {
        let since = |at: &str| {
            json!({"metadata": {"name": "api-1"}, "status": {"conditions": [{"type": "PodScheduled",
                "status": "False", "reason": "Unschedulable", "message": "0/1 nodes", "lastTransitionTime": at}]}})
        };
        let words = "pod api-1 finds no node: Unschedulable: 0/1 nodes".to_owned();
        assert_eq!(cause(&since("2026-11-22T11:59:30Z")), Some((words.clone(), false)));
        assert_eq!(cause(&since("2026-11-22T11:59:00Z")), Some((words, true)));
    }
}
