//! `HorizontalPodAutoscaler` without metrics: keeps a Deployment within its bounds, and says that it can do no more.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::super::cache::Key;
use super::change::{Change, Part};
use super::deployment::Decision;

const NO_METRICS: &str =
    "the embedded cluster measures no CPU and no memory, so it scales only into the bounds";

/// Decides on the replicas of the scaled Deployment and on the status of its autoscaler.
pub(crate) fn decide(
    autoscaler: &HorizontalPodAutoscaler,
    target: Option<&Deployment>,
    now: Timestamp,
) -> Decision {
    let mut decision = Decision::default();
    let Some(spec) = &autoscaler.spec else { return decision };
    let current = target.and_then(|target| target.spec.as_ref()).and_then(|spec| spec.replicas).unwrap_or(0);
    let (least, most) = (spec.min_replicas.unwrap_or(1), spec.max_replicas);
    // a target that somebody scaled to nothing stays so, as in Kubernetes
    let desired = if current == 0 { 0 } else { current.clamp(least, most.max(least)) };
    if desired != current {
        let namespace = autoscaler.metadata.namespace.clone().unwrap_or_default();
        let key = Key::new(namespace, spec.scale_target_ref.name.clone());
        let body = json!({"spec": {"replicas": desired}});
        decision.write(Change::<Deployment>::Merge { key, part: Part::Scale, body });
    }
    let old = autoscaler.status.clone().unwrap_or_default();
    let conditions = match target {
        None => vec![("AbleToScale", "False", "FailedGetScale", "the scaled Deployment does not exist")],
        Some(_) if current == 0 => {
            vec![(
                "ScalingActive",
                "False",
                "ScalingDisabled",
                "scaling is disabled since the replica count of the target is zero",
            )]
        }
        Some(_) => vec![
            (
                "AbleToScale",
                "True",
                "SucceededGetScale",
                "the HPA controller was able to get the target's current scale",
            ),
            ("ScalingActive", "False", "FailedGetResourceMetric", NO_METRICS),
        ],
    };
    let condition = |(kind, status, reason, message): (&str, &str, &str, &str)| {
        let held = old.conditions.iter().flatten().find(|held| held.type_ == kind && held.status == status);
        HorizontalPodAutoscalerCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(
                held.and_then(|held| held.last_transition_time.clone()).unwrap_or(Time(now)),
            ),
        }
    };
    let new = HorizontalPodAutoscalerStatus {
        conditions: Some(conditions.into_iter().map(condition).collect()),
        current_replicas: Some(current),
        desired_replicas: desired,
        observed_generation: autoscaler.metadata.generation,
        ..HorizontalPodAutoscalerStatus::default()
    };
    if old != new {
        decision.write(Change::merge(autoscaler, Part::Status, json!({"status": new})));
    }
    decision
}
