//! In which order objects are sent: by stage within a service, by need between services.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{ENVIRONMENT_UNIT, PlanError, Unit};
use crate::render::manifest::ObjectKey;

/// A stage of an apply; each waits until the one before it was accepted. Pruning goes the other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The namespace itself.
    Namespace,
    /// What bounds everything else: quota, limits, RBAC, network policy.
    Guard,
    /// What workloads read or mount, and kinds that we do not know.
    Config,
    /// What runs.
    Workload,
    /// What finds, scales and protects workloads.
    Traffic,
    /// What lets the world in.
    Ingress,
}

impl Stage {
    /// All stages in their order.
    pub const ALL: [Self; 6] =
        [Self::Namespace, Self::Guard, Self::Config, Self::Workload, Self::Traffic, Self::Ingress];

    /// The stage of an object.
    #[must_use]
    pub fn of(key: &ObjectKey) -> Self {
        match (key.group.as_str(), key.kind.as_str()) {
            ("", "Namespace") => Self::Namespace,
            ("", "ResourceQuota" | "LimitRange")
            | ("rbac.authorization.k8s.io", _)
            | ("networking.k8s.io", "NetworkPolicy") => Self::Guard,
            ("apps", _) | ("batch", "Job" | "CronJob") | ("", "Pod" | "ReplicationController") => {
                Self::Workload
            }
            ("", "Service")
            | ("autoscaling", "HorizontalPodAutoscaler")
            | ("policy", "PodDisruptionBudget") => Self::Traffic,
            ("networking.k8s.io", "Ingress") | ("gateway.networking.k8s.io", _) => Self::Ingress,
            _ => Self::Config,
        }
    }
}

/// Positions of the units, each after those that it needs, otherwise by name.
pub(super) fn sort(units: &[Unit]) -> Result<Vec<usize>, PlanError> {
    let position: BTreeMap<&str, usize> =
        units.iter().enumerate().map(|(index, unit)| (unit.name.as_str(), index)).collect();
    let mut waits: BTreeMap<&str, BTreeSet<&str>> =
        units.iter().map(|unit| (unit.name.as_str(), needs(units, unit).collect())).collect();
    let mut sorted = Vec::with_capacity(units.len());
    while !waits.is_empty() {
        let ready: Vec<&str> =
            waits.iter().filter(|(_, after)| after.is_empty()).map(|(name, _)| *name).collect();
        if ready.is_empty() {
            return Err(PlanError::Cycle(circle(&waits)));
        }
        for name in ready {
            waits.remove(name);
            for after in waits.values_mut() {
                after.remove(name);
            }
            sorted.push(position[name]);
        }
    }
    Ok(sorted)
}

/// The units that must stand before one: those that it names, and the environment's own.
///
/// A name that no unit has is no constraint: the reference was checked where its place in the file is known.
pub(super) fn needs<'a>(units: &'a [Unit], unit: &'a Unit) -> impl Iterator<Item = &'a str> {
    units
        .iter()
        .map(|other| other.name.as_str())
        .filter(|name| unit.after.contains(*name) || (*name == ENVIRONMENT_UNIT && unit.name != *name))
}

/// One circle among units that all wait: follow first needs until a name comes again.
fn circle(waits: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut at = *waits.keys().next().expect("only called while units wait");
    loop {
        if let Some(begin) = path.iter().position(|seen| *seen == at) {
            let mut circle: Vec<String> = path[begin..].iter().map(|name| (*name).to_owned()).collect();
            circle.push(at.to_owned());
            return circle;
        }
        path.push(at);
        at = waits[at].iter().next().expect("every unit still waits for another");
    }
}
