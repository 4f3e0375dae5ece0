//! In which order objects are sent: by stage within a service, by need between services.

use std::collections::BTreeSet;
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
    let mut by_name: Vec<usize> = (0..units.len()).collect();
    by_name.sort_by_key(|index| units[*index].name.as_str());
    // from here on a unit is its place among the names
    let place = |name: &str| by_name.binary_search_by(|index| units[*index].name.as_str().cmp(name)).ok();
    let own = place(ENVIRONMENT_UNIT);
    let needs: Vec<Vec<usize>> = (0..by_name.len())
        .map(|at| {
            let named = units[by_name[at]].after.iter().filter_map(|name| place(name));
            own.filter(|own| *own != at).into_iter().chain(named).collect()
        })
        .collect();
    let mut missing: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (at, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|need| needed_by[*need].push(at));
    }
    let mut sorted = Vec::with_capacity(units.len());
    let mut ready: BTreeSet<usize> = (0..missing.len()).filter(|at| missing[*at] == 0).collect();
    while !ready.is_empty() {
        for at in std::mem::take(&mut ready) {
            sorted.push(by_name[at]);
            for waiting in &needed_by[at] {
                missing[*waiting] -= 1;
                if missing[*waiting] == 0 {
                    ready.insert(*waiting);
                }
            }
        }
    }
    match missing.iter().position(|missing| *missing > 0) {
        Some(first) => {
            let names = circle(first, &missing, &needs).into_iter();
            Err(PlanError::Cycle(names.map(|at| units[by_name[at]].name.clone()).collect()))
        }
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

/// One circle among units that all wait: follow first needs until one comes again.
fn circle(first: usize, missing: &[usize], needs: &[Vec<usize>]) -> Vec<usize> {
    let mut path = Vec::new();
    let mut at = first;
    loop {
        if let Some(begin) = path.iter().position(|seen| *seen == at) {
            let mut circle = path.split_off(begin);
            circle.push(at);
            return circle;
        }
        path.push(at);
        let waiting = needs[at].iter().find(|need| missing[**need] > 0);
        at = *waiting.expect("every unit still waits for another");
    }
}
