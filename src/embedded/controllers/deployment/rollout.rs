//! The arithmetic of a rollout: how many pods each ReplicaSet may have next.

use k8s_openapi::api::apps::v1::DeploymentSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Set;
use super::revision::MAXIMUM;

/// The numbers of a Deployment's strategy, percentages resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) replicas: i32,
    pub(super) recreate: bool,
    /// Pods that may exist beyond `replicas` during a rollout.
    pub(super) surge: i32,
    /// Pods that may be missing during a rollout.
    pub(super) unavailable: i32,
}

impl Limits {
    pub(super) fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1);
        let strategy = spec.strategy.clone().unwrap_or_default();
        if strategy.type_.as_deref() == Some("Recreate") {
            return Self { replicas, recreate: true, surge: 0, unavailable: 0 };
        }
        let rolling = strategy.rolling_update.unwrap_or_default();
        let quarter = || IntOrString::String("25%".to_owned());
        let surge = resolve(&rolling.max_surge.unwrap_or_else(quarter), replicas, true);
        let unavailable = resolve(&rolling.max_unavailable.unwrap_or_else(quarter), replicas, false);
        // with neither, a rollout could not take a step
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { replicas, recreate: false, surge, unavailable: unavailable.min(replicas) }
    }

    /// The most pods that may exist.
    pub(super) fn maximum(&self) -> i32 {
        self.replicas + self.surge
    }

    /// The fewest pods that must be available.
    pub(super) fn minimum(&self) -> i32 {
        self.replicas - self.unavailable
    }
}

/// A number, or a percentage of `replicas`, rounded up or down.
fn resolve(value: &IntOrString, replicas: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i32 = text.trim_end_matches('%').parse().unwrap_or(0);
            let parts = percent.saturating_mul(replicas);
            if up { parts.saturating_add(99) / 100 } else { parts / 100 }
        }
    }
}

/// How many replicas the new ReplicaSet may have, `total` being those of all sets.
pub(super) fn new_replicas(limits: &Limits, new: i32, total: i32) -> i32 {
    if limits.recreate || new >= limits.replicas {
        return limits.replicas;
    }
    let room = (limits.maximum() - total).max(0);
    new + room.min(limits.replicas - new)
}

/// The old ReplicaSets that shrink, with their new sizes: first what is not available anyway, then as much as
/// availability allows.
pub(super) fn shrink<'a>(limits: &Limits, new: &Set, old: &'a [Set]) -> Vec<(&'a Set, i32)> {
    let mut wanted: Vec<i32> = old.iter().map(|set| set.wanted).collect();
    let total = new.wanted + wanted.iter().sum::<i32>();
    let waiting = new.wanted - new.available;
    let mut budget = total - limits.minimum() - waiting;
    if budget <= 0 {
        return Vec::new();
    }
    for (set, wanted) in old.iter().zip(&mut wanted) {
        let unhealthy = (*wanted - set.available).max(0).min(budget);
        *wanted -= unhealthy;
        budget -= unhealthy;
    }
    let available = new.available + old.iter().map(|set| set.available).sum::<i32>();
    let mut spare = (available - limits.minimum()).max(0);
    for wanted in &mut wanted {
        let step = spare.min(*wanted);
        *wanted -= step;
        spare -= step;
    }
    old.iter().zip(wanted).filter(|(set, wanted)| *wanted != set.wanted).collect()
}

/// The sizes of all ReplicaSets after `spec.replicas` changed while a rollout is under way or paused: each
/// keeps its share, so that scaling neither hurries nor reverts a rollout.
pub(super) fn spread<'a>(limits: &Limits, new: Option<&'a Set>, old: &'a [Set]) -> Vec<(&'a Set, i32)> {
    let active: Vec<&Set> = old.iter().chain(new).filter(|set| set.wanted > 0).collect();
    if let [] | [_] = active[..] {
        let latest = active.first().copied().or(new).or(old.last());
        return latest.map(|set| (set, limits.replicas)).into_iter().collect();
    }
    let full = |set: &Set| set.wanted == limits.replicas && set.available == limits.replicas;
    if new.is_some_and(full) {
        return old.iter().filter(|set| set.wanted > 0).map(|set| (set, 0)).collect();
    }
    if limits.recreate {
        return Vec::new();
    }
    let total: i32 = active.iter().map(|set| set.wanted).sum();
    let allowed = if limits.replicas > 0 { limits.maximum() } else { 0 };
    let mut rest = allowed - total;
    let mut order = active;
    // the largest first; of equals the newest grows and the oldest shrinks first
    if rest > 0 {
        order.reverse();
    }
    order.sort_by_key(|set| std::cmp::Reverse(set.wanted));
    let mut sizes: Vec<(&Set, i32)> = Vec::with_capacity(order.len());
    for set in order {
        let share = if rest == 0 { 0 } else { proportion(set, limits, total, allowed) };
        let share = if rest > 0 { share.clamp(0, rest) } else { share.clamp(rest, 0) };
        rest -= share;
        sizes.push((set, set.wanted + share));
    }
    if let Some((_, wanted)) = sizes.first_mut() {
        *wanted = (*wanted + rest).max(0);
    }
    sizes
}

/// The share of growth that falls to one set: its size in proportion to what was allowed before.
fn proportion(set: &Set, limits: &Limits, total: i32, allowed: i32) -> i32 {
    if limits.replicas == 0 {
        return -set.wanted;
    }
    let before = set.annotation(MAXIMUM).filter(|maximum| *maximum > 0).unwrap_or(total).max(1);
    let exact = f64::from(set.wanted) * f64::from(allowed) / f64::from(before);
    #[expect(clippy::cast_possible_truncation, reason = "a number of pods fits")]
    let target = exact.round() as i32;
    target - set.wanted
}
