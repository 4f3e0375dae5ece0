//! In which order objects are sent: by stage within a service, by need between services.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
pub(super) fn sort(units: &[Arc<Unit>]) -> Result<Vec<usize>, PlanError> {
    let position: BTreeMap<&str, usize> =
        units.iter().enumerate().map(|(index, unit)| (unit.name.as_str(), index)).collect();
    let names = names(units);
    let needs: BTreeMap<&str, BTreeSet<&str>> =
        units.iter().map(|unit| (unit.name.as_str(), needs(&names, unit).collect())).collect();
    let mut missing: BTreeMap<&str, usize> = needs.iter().map(|(name, needs)| (*name, needs.len())).collect();
    let mut needed_by: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, needs) in &needs {
        needs.iter().for_each(|need| needed_by.entry(need).or_default().push(name));
    }
    let mut sorted = Vec::with_capacity(units.len());
    let mut ready: BTreeSet<&str> =
        missing.iter().filter(|(_, missing)| **missing == 0).map(|(name, _)| *name).collect();
    while !ready.is_empty() {
        for name in std::mem::take(&mut ready) {
            sorted.push(position[name]);
            missing.remove(name);
            for waiting in needed_by.get(name).into_iter().flatten() {
                if let Some(left) = missing.get_mut(waiting) {
                    *left -= 1;
                    if *left == 0 {
                        ready.insert(waiting);
                    }
                }
            }
        }
    }
    match missing.keys().next() {
        Some(first) => Err(PlanError::Cycle(circle(first, &missing, &needs))),
        None => Ok(sorted),
    }
}

/// The names of all units.
pub(super) fn names(units: &[Arc<Unit>]) -> BTreeSet<&str> {
    units.iter().map(|unit| unit.name.as_str()).collect()
}

/// The units of a plan that must stand before one: those that it names, and the environment's own.
///
/// A name that no unit has is no constraint: the reference was checked where its place in the file is known.
pub(super) fn needs<'a>(names: &BTreeSet<&'a str>, unit: &Unit) -> impl Iterator<Item = &'a str> {
    let own = (unit.name != ENVIRONMENT_UNIT).then_some(ENVIRONMENT_UNIT);
    own.into_iter().chain(unit.after.iter().map(String::as_str)).filter_map(|name| names.get(name).copied())
}

/// One circle among units that all wait: follow first needs until a name comes again.
fn circle<'a>(
    first: &'a str,
    waiting: &BTreeMap<&'a str, usize>,
    needs: &BTreeMap<&'a str, BTreeSet<&'a str>>,
) -> Vec<String> {
    let mut path: Vec<&str> = Vec::new();
    let mut at = first;
    loop {
        if let Some(begin) = path.iter().position(|seen| *seen == at) {
            let mut circle: Vec<String> = path[begin..].iter().map(|name| (*name).to_owned()).collect();
            circle.push(at.to_owned());
            return circle;
        }
        path.push(at);
        at = needs[at]
            .iter()
            .find(|need| waiting.contains_key(*need))
            .expect("every unit still waits for another");
    }
}
