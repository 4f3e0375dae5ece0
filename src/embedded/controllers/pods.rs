//! What controllers read from a pod.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// The annotation in which the node tells which port of this machine stands for which `containerPort`.
///
/// Processes share one network, so two pods cannot both listen on the port that their manifest names. Its value
/// is a JSON object, `{"8080": 20017}`.
pub(crate) const PORTS_ANNOTATION: &str = "branchline.dev/ports";

/// The phase of a pod; one that has none yet is pending.
pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether the pod has run to its end.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether the pod counts as one of its controller's.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether the pod is ready to serve.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when the pod is ready, none if it is not.
pub(crate) fn ready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition(pod, "Ready").filter(|ready| ready.status == "True")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

/// How often the containers of the pod were restarted.
pub(crate) fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|status| status.restart_count).sum()
}

/// The port of this machine on which the pod serves what its manifest calls `port`.
pub(crate) fn real_port(pod: &Pod, port: u16) -> u16 {
    let told = pod.metadata.annotations.as_ref().and_then(|all| all.get(PORTS_ANNOTATION));
    let ports: BTreeMap<u16, u16> = told.and_then(|told| serde_json::from_str(told).ok()).unwrap_or_default();
    ports.get(&port).copied().unwrap_or(port)
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|held| held.type_ == kind)
}
