//! What an object must be to be stored: causes in the server's words, by kind.

pub(crate) mod names;

mod batch;
mod core;
mod meta;
mod network;
mod pod;
mod workload;

use super::kinds::Kind;
use super::part::Part;
use super::status::Cause;
use serde_json::Value;

/// What is wrong with a new object.
pub(crate) fn create(kind: &Kind, object: &Value) -> Vec<Cause> {
    let mut causes = meta::object(kind, object);
    causes.extend(own(kind, object, None));
    causes
}

/// What is wrong with a changed object.
pub(crate) fn update(kind: &Kind, part: Part, object: &Value, live: &Value) -> Vec<Cause> {
    // the server looks at metadata twice for every kind, and then as often as the kind's own rules do
    let mut causes = meta::common(&object["metadata"]);
    causes.extend(meta::update(object, live));
    if !matches!(kind.kind, "PodDisruptionBudget" | "Event") {
        causes.extend(meta::update(object, live));
    }
    if !matches!(kind.kind, "PodDisruptionBudget" | "Event" | "Lease") {
        causes.extend(meta::finalizers(object));
    }
    if matches!(part, Part::Main | Part::Scale) {
        let times = match kind.kind {
            "PersistentVolumeClaim" | "Role" | "RoleBinding" => 2,
            "ConfigMap" | "Secret" | "ServiceAccount" | "Pod" | "Ingress" | "NetworkPolicy" | "Job"
            | "Namespace" | "Endpoints" => 1,
            _ => 0,
        };
        for _ in 0..times {
            causes.extend(meta::object(kind, object));
        }
        causes.extend(own(kind, object, Some(live)));
    } else if kind.kind == "Service" {
        causes.extend(network::service_status(object));
    }
    causes
}

fn own(kind: &Kind, object: &Value, live: Option<&Value>) -> Vec<Cause> {
    match kind.kind {
        "ConfigMap" => core::config_map(object, live),
        "Secret" => core::secret(object, live),
        "PersistentVolumeClaim" => core::claim(object, live),
        "Service" => network::service(object, live),
        "Ingress" => network::ingress(object),
        "NetworkPolicy" => network::policy(object),
        "Pod" => pod::pod(object, live),
        "Deployment" => workload::deployment(object, live),
        "ReplicaSet" => workload::replica_set(object, live),
        "Job" => batch::job(object, live),
        "CronJob" => batch::cron_job(object, live),
        "HorizontalPodAutoscaler" => workload::autoscaler(object),
        "PodDisruptionBudget" => workload::budget(object),
        "RoleBinding" => core::role_binding(object, live),
        "Role" => core::role(object),
        "Event" if live.is_none() => core::event(object),
        _ => Vec::new(),
    }
}

/// The text at `object[field]`; absent is empty.
fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// The list at `object[field]`; absent is empty.
fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn not_negative(object: &Value, field: &str, at: &str) -> Option<Cause> {
    let value = object[field].as_i64()?;
    (value < 0).then(|| {
        Cause::invalid(format!("{at}.{field}"), &object[field], "must be greater than or equal to 0")
    })
}

fn immutable(object: &Value, live: &Value, at: &str) -> Option<Cause> {
    (object != live).then(|| Cause::invalid(at, object, "field is immutable"))
}
