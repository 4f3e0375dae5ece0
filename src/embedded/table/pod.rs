//! The cells of a pod: its state in one word takes the most rules.

use super::cells::{age, list, text};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The cells after the name.
pub(super) fn cells(pod: &Value, age: Value, now: Timestamp) -> Vec<Value> {
    let status = &pod["status"];
    let statuses = list(&status["containerStatuses"]);
    let ready =
        statuses.iter().filter(|one| one["ready"] == json!(true) && one["state"]["running"].is_object());
    let none_if_empty = |value: &str| json!(if value.is_empty() { "<none>" } else { value });
    vec![
        json!(format!("{}/{}", ready.count(), list(&pod["spec"]["containers"]).len())),
        json!(state(pod)),
        json!(restarts(statuses, now)),
        age,
        none_if_empty(text(&status["podIP"])),
        none_if_empty(text(&pod["spec"]["nodeName"])),
        none_if_empty(text(&status["nominatedNodeName"])),
        json!("<none>"),
    ]
}

fn restarts(statuses: &[Value], now: Timestamp) -> String {
    let total: i64 = statuses.iter().filter_map(|one| one["restartCount"].as_i64()).sum();
    let ended = |one: &Value| one["lastState"]["terminated"]["finishedAt"].as_str().map(str::to_owned);
    match statuses.iter().filter_map(ended).max() {
        Some(last) if total > 0 => format!("{total} ({} ago)", age(&json!(last), now)),
        _ => total.to_string(),
    }
}

fn state(pod: &Value) -> String {
    let status = &pod["status"];
    let mut reason = match text(&status["reason"]) {
        "" => text(&status["phase"]).to_owned(),
        reason => reason.to_owned(),
    };
    let scheduled = |one: &Value| one["type"] == "PodScheduled" && one["reason"] == "SchedulingGated";
    if list(&status["conditions"]).iter().any(scheduled) {
        "SchedulingGated".clone_into(&mut reason);
    }
    match initializing(pod) {
        Some(word) => reason = word,
        None => reason = running(list(&status["containerStatuses"]), reason, status),
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        let ended = matches!(text(&status["phase"]), "Failed" | "Succeeded");
        return match text(&status["reason"]) {
            "NodeLost" => "Unknown".to_owned(),
            _ if ended => reason,
            _ => "Terminating".to_owned(),
        };
    }
    reason
}

/// The word for a pod whose init containers are not done.
fn initializing(pod: &Value) -> Option<String> {
    let statuses = list(&pod["status"]["initContainerStatuses"]);
    let total = list(&pod["spec"]["initContainers"]).len();
    for (at, status) in statuses.iter().enumerate() {
        let state = &status["state"];
        let terminated = &state["terminated"];
        if terminated.is_object() && terminated["exitCode"].as_i64() == Some(0) {
            continue;
        }
        if status["started"] == json!(true) && state["running"].is_object() {
            continue;
        }
        let word = if terminated.is_object() {
            ended(terminated)
        } else {
            match text(&state["waiting"]["reason"]) {
                "" | "PodInitializing" => format!("{at}/{total}"),
                reason => reason.to_owned(),
            }
        };
        return Some(format!("Init:{word}"));
    }
    None
}

fn running(statuses: &[Value], phase: String, status: &Value) -> String {
    let mut reason = phase;
    let mut any_running = false;
    for one in statuses.iter().rev() {
        let state = &one["state"];
        let waiting = text(&state["waiting"]["reason"]);
        if !waiting.is_empty() {
            waiting.clone_into(&mut reason);
        } else if state["terminated"].is_object() {
            reason = ended(&state["terminated"]);
        } else if one["ready"] == json!(true) && state["running"].is_object() {
            any_running = true;
        }
    }
    if reason == "Completed" && any_running {
        let ready =
            list(&status["conditions"]).iter().any(|one| one["type"] == "Ready" && one["status"] == "True");
        return if ready { "Running" } else { "NotReady" }.to_owned();
    }
    reason
}

fn ended(terminated: &Value) -> String {
    match text(&terminated["reason"]) {
        "" => match terminated["signal"].as_i64().unwrap_or(0) {
            0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
            signal => format!("Signal:{signal}"),
        },
        reason => reason.to_owned(),
    }
}
