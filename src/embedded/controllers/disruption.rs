//! `PodDisruptionBudget`: how many pods may be evicted now.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;

use super::change::{Change, Part};
use super::deployment::Decision;
use super::owner::{self, Labels};
use super::pods::{is_active, is_ready};

/// Whether a budget is about pods with these labels.
pub(crate) fn selects(budget: &PodDisruptionBudget, labels: Option<&Labels>) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    // an empty selector of policy/v1 selects every pod of the namespace
    selector.is_some_and(|selector| *selector == LabelSelector::default() || owner::selects(selector, labels))
}

/// Decides on the status of a budget. `expected` is the number of pods that the controllers of the selected
/// ones are asked for.
pub(crate) fn decide(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: impl Fn(&[&Arc<Pod>]) -> i32,
    now: Timestamp,
) -> Decision {
    let mut decision = Decision::default();
    let Some(spec) = &budget.spec else { return decision };
    let selected: Vec<_> =
        pods.iter().filter(|pod| is_active(pod) && selects(budget, pod.metadata.labels.as_ref())).collect();
    let expected = expected(&selected);
    let healthy = i32::try_from(selected.iter().filter(|pod| is_ready(pod)).count()).unwrap_or(i32::MAX);
    let desired = match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => (expected - resolve(unavailable, expected)).max(0),
        (None, Some(available)) => resolve(available, expected),
        (None, None) => 0,
    };
    let allowed = (healthy - desired).max(0);
    let allowed = if expected > 0 { allowed } else { 0 };
    let old = budget.status.clone().unwrap_or_default();
    let new = PodDisruptionBudgetStatus {
        conditions: Some(vec![condition(budget, &old, allowed, now)]),
        current_healthy: healthy,
        desired_healthy: desired,
        disrupted_pods: old.disrupted_pods.clone(),
        disruptions_allowed: allowed,
        expected_pods: expected,
        observed_generation: budget.metadata.generation,
    };
    if old != new {
        decision.write(Change::merge(budget, Part::Status, json!({"status": new})));
    }
    decision
}

fn condition(
    budget: &PodDisruptionBudget,
    old: &PodDisruptionBudgetStatus,
    allowed: i32,
    now: Timestamp,
) -> Condition {
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let held = old.conditions.iter().flatten().find(|held| held.type_ == "DisruptionAllowed");
    let since = held.filter(|held| held.status == status).map(|held| held.last_transition_time.clone());
    Condition {
        type_: "DisruptionAllowed".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: String::new(),
        observed_generation: budget.metadata.generation,
        last_transition_time: since.unwrap_or(Time(now)),
    }
}

/// A number, or a percentage of `whole`, rounded up.
fn resolve(value: &IntOrString, whole: i32) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i32 = text.trim_end_matches('%').parse().unwrap_or(0);
            percent.saturating_mul(whole).saturating_add(99) / 100
        }
    }
}
