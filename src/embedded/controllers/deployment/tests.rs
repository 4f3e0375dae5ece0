//! Rollouts played to their end on a table: decisions are carried out, pods become ready, and what a user would
//! see is written down.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

/// A Deployment, its ReplicaSets, and pods that become ready only when told.
struct Table {
    deployment: Deployment,
    sets: BTreeMap<String, ReplicaSet>,
    now: Timestamp,
    /// The fewest available pods ever seen, and the most pods that ever were.
    extremes: (i32, i32),
}

impl Table {
    fn new(spec: &Value) -> Self {
        let mut full = json!({
            "replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "folder:1"}]}},
        });
        for (name, value) in spec.as_object().unwrap() {
            full[name] = value.clone();
        }
        let deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "web", "generation": 1, "resourceVersion": "1"},
            "spec": full,
        }));
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        Self { deployment: deployment.unwrap(), sets: BTreeMap::new(), now, extremes: (i32::MAX, 0) }
    }

    fn change(&mut self, change: impl FnOnce(&mut k8s_openapi::api::apps::v1::DeploymentSpec)) {
        change(self.deployment.spec.as_mut().unwrap());
        *self.deployment.metadata.generation.as_mut().unwrap() += 1;
    }

    fn image(&mut self, image: &str) {
        let image = image.to_owned();
        self.change(|spec| spec.template.spec.as_mut().unwrap().containers[0].image = Some(image));
    }

    fn decide(&self) -> Decision {
        let sets = self.sets.values().cloned().map(Arc::new).collect();
        decide(&self.deployment, sets, &[], self.now)
    }

    /// Takes one decision and carries it out; false when nothing was left to do.
    fn step(&mut self) -> bool {
        let decision = self.decide();
        let acted = !decision.writes.is_empty();
        for write in decision.writes {
            match write {
                Write::ReplicaSet(Change::Create(set)) => {
                    let mut set = *set;
                    let name = set.metadata.name.clone().unwrap();
                    set.metadata.uid = Some(name.clone());
                    set.metadata.generation = Some(1);
                    set.metadata.creation_timestamp =
                        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(self.now));
                    self.sets.insert(name, set);
                }
                Write::ReplicaSet(Change::Merge { key, body, .. }) => {
                    let set = self.sets.remove(&key.name).unwrap();
                    self.sets.insert(key.name, merged(&set, &body));
                }
                Write::ReplicaSet(Change::Delete { key, .. }) => drop(self.sets.remove(&key.name)),
                Write::Deployment(Change::Merge { body, .. }) => {
                    self.deployment = merged(&self.deployment, &body);
                }
                other => panic!("{other:?}"),
            }
        }
        acted
    }

    /// Lets every ReplicaSet have the pods it is asked for; those of images other than `broken` become ready.
    fn pods_follow(&mut self, broken: &str) {
        for set in self.sets.values_mut() {
            let spec = set.spec.as_ref().unwrap();
            let image = spec.template.as_ref().unwrap().spec.as_ref().unwrap().containers[0].image.clone();
            let replicas = spec.replicas.unwrap();
            let ready = if image.as_deref() == Some(broken) { 0 } else { replicas };
            let status = set.status.get_or_insert_default();
            (status.replicas, status.ready_replicas, status.available_replicas) =
                (replicas, Some(ready), Some(ready));
            status.observed_generation = set.metadata.generation;
        }
        let sum = |count: fn(&ReplicaSet) -> i32| self.sets.values().map(count).sum::<i32>();
        let available = sum(|set| set.status.as_ref().unwrap().available_replicas.unwrap());
        let total = sum(|set| set.status.as_ref().unwrap().replicas);
        self.extremes = (self.extremes.0.min(available), self.extremes.1.max(total));
    }

    fn settle(&mut self, broken: &str) {
        for _ in 0..100 {
            let acted = self.step();
            self.now += Duration::from_secs(1);
            self.pods_follow(broken);
            if !acted && self.decide().writes.is_empty() {
                return;
            }
        }
        panic!("the rollout does not settle: {:?}", self.decide());
    }

    /// Replicas by image, the revision, and the conditions.
    fn summary(&self) -> String {
        let mut lines: Vec<String> = Vec::new();
        for set in self.sets.values() {
            let spec = set.spec.as_ref().unwrap();
            let image =
                spec.template.as_ref().unwrap().spec.as_ref().unwrap().containers[0].image.clone().unwrap();
            lines.push(format!(
                "{image} revision {}: {}",
                revision::of(&set.metadata),
                spec.replicas.unwrap()
            ));
        }
        lines.sort();
        let status = self.deployment.status.clone().unwrap_or_default();
        for condition in status.conditions.unwrap_or_default() {
            lines.push(format!("{}={} {}", condition.type_, condition.status, condition.reason.unwrap()));
        }
        lines.join("\n")
    }
}

fn merged<T: serde::Serialize + serde::de::DeserializeOwned>(object: &T, patch: &Value) -> T {
    fn merge(target: &mut Value, patch: &Value) {
        let Some(changes) = patch.as_object() else { return *target = patch.clone() };
        if !target.is_object() {
            *target = json!({});
        }
        for (name, change) in changes {
            if change.is_null() {
                target.as_object_mut().unwrap().remove(name);
            } else {
                merge(&mut target[name], change);
            }
        }
    }
    let mut value = serde_json::to_value(object).unwrap();
    merge(&mut value, patch);
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_new_deployment_makes_its_set_and_becomes_available() {
    let mut table = Table::new(&json!({}));
    table.settle("");
    insta::assert_snapshot!(table.summary(), @r"
    folder:1 revision 1: 4
    Available=True MinimumReplicasAvailable
    Progressing=True NewReplicaSetAvailable
    ");
    assert_eq!(table.deployment.metadata.annotations.as_ref().unwrap()[revision::REVISION], "1");
}

#[test]
fn a_rollout_keeps_within_its_surge_and_its_unavailability() {
    let rolling = json!({"strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}});
    let mut table = Table::new(&rolling);
    table.settle("");
    table.extremes = (i32::MAX, 0);
    table.image("folder:2");
    table.settle("");
    insta::assert_snapshot!(table.summary(), @r"
    folder:1 revision 1: 0
    folder:2 revision 2: 4
    Available=True MinimumReplicasAvailable
    Progressing=True NewReplicaSetAvailable
    ");
    assert_eq!(table.extremes, (4, 5));
}

#[test]
fn a_broken_rollout_leaves_the_old_pods_and_misses_its_deadline() {
    let mut table = Table::new(&json!({"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}));
    table.settle("");
    table.image("folder:2");
    table.settle("folder:2");
    let waiting = table.decide().again.unwrap();
    assert!(waiting > Duration::from_secs(500), "{waiting:?}");
    table.now += waiting;
    table.settle("folder:2");
    insta::assert_snapshot!(table.summary(), @r"
    folder:1 revision 1: 4
    folder:2 revision 2: 1
    Available=True MinimumReplicasAvailable
    Progressing=False ProgressDeadlineExceeded
    ");
}

#[test]
fn going_back_uses_the_old_set_under_a_new_revision() {
    let mut table = Table::new(&json!({}));
    table.settle("");
    table.image("folder:2");
    table.settle("");
    table.image("folder:1");
    table.settle("");
    insta::assert_snapshot!(table.summary(), @r"
    folder:1 revision 3: 4
    folder:2 revision 2: 0
    Available=True MinimumReplicasAvailable
    Progressing=True NewReplicaSetAvailable
    ");
}

#[test]
fn history_is_kept_up_to_its_limit() {
    let mut table = Table::new(&json!({"revisionHistoryLimit": 1}));
    for image in ["folder:1", "folder:2", "folder:3", "folder:4"] {
        table.image(image);
        table.settle("");
    }
    insta::assert_snapshot!(table.summary(), @r"
    folder:3 revision 3: 0
    folder:4 revision 4: 4
    Available=True MinimumReplicasAvailable
    Progressing=True NewReplicaSetAvailable
    ");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut table = Table::new(&json!({}));
    table.settle("");
    table.change(|spec| spec.paused = Some(true));
    table.image("folder:2");
    table.change(|spec| spec.replicas = Some(6));
    table.settle("");
    insta::assert_snapshot!(table.summary(), @r"
    folder:1 revision 1: 6
    Progressing=Unknown DeploymentPaused
    Available=True MinimumReplicasAvailable
    ");
    table.change(|spec| spec.paused = Some(false));
    table.settle("");
    insta::assert_snapshot!(table.summary(), @r"
    folder:1 revision 1: 0
    folder:2 revision 2: 6
    Available=True MinimumReplicasAvailable
    Progressing=True NewReplicaSetAvailable
    ");
}

#[test]
fn recreate_stops_the_old_pods_before_it_makes_new_ones() {
    let mut table = Table::new(&json!({"strategy": {"type": "Recreate"}}));
    table.settle("");
    table.extremes = (i32::MAX, 0);
    table.image("folder:2");
    table.settle("");
    assert_eq!(table.extremes, (0, 4));
    insta::assert_snapshot!(table.summary(), @r"
    folder:1 revision 1: 0
    folder:2 revision 2: 4
    Available=True MinimumReplicasAvailable
    Progressing=True NewReplicaSetAvailable
    ");
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_the_shares() {
    let mut table = Table::new(
        &json!({"replicas": 10, "strategy": {"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}}),
    );
    table.settle("");
    table.image("folder:2");
    table.settle("folder:2");
    table.change(|spec| spec.replicas = Some(15));
    while table.step() {}
    let mut sizes: Vec<_> =
        table.sets.values().map(|set| set.spec.as_ref().unwrap().replicas.unwrap()).collect();
    sizes.sort_unstable();
    // the example of the Kubernetes documentation: 8 + 5 of 13 become 11 + 7 of 18
    assert_eq!(sizes, [7, 11]);
}

proptest::proptest! {
    #[test]
    fn no_rollout_leaves_its_bounds_and_every_one_ends(
        replicas in 0_i32..12, surge in 0_i32..5, unavailable in 0_i32..5,
    ) {
        let rolling = json!({"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let mut table = Table::new(&json!({"replicas": replicas, "strategy": rolling}));
        table.settle("");
        table.extremes = (i32::MAX, 0);
        table.image("folder:2");
        table.settle("");
        let missing = if surge == 0 { unavailable.max(1) } else { unavailable };
        proptest::prop_assert!(table.extremes.0 >= (replicas - missing).max(0));
        proptest::prop_assert!(table.extremes.1 <= replicas + surge);
        let running: Vec<_> = table.sets.values().filter(|set| set.spec.as_ref().unwrap().replicas > Some(0)).collect();
        proptest::prop_assert!(running.len() <= 1);
    }
}
