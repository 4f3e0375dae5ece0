//! How many requests things cost.

use std::sync::atomic::Ordering;

use branchline::cluster::{ApplySet, ClusterError, Outcome};
use branchline::plan::Wanted;
use serde_json::{Value, json};

use super::ground::{INSTANCE, grounds};
use super::line::{Fate, over};

#[tokio::test]
async fn one_changed_object_costs_one_request_and_one_note_and_no_change_costs_none() {
    for ground in grounds().await {
        let many = 1000;
        let (cluster, left) = over(&ground, many, Fate::Counted, |_| true);
        let set = ApplySet::open(&cluster, &ground.namespace, INSTANCE).await.unwrap();
        let wanted = |value: &str| {
            let configs = (0..5).map(|index| ground.config("api", &format!("c{index}"), "same"));
            configs.chain([ground.config("api", "api", value)]).collect::<Vec<_>>()
        };
        ground.apply(&set, "api", wanted("1")).await;

        let before = left.load(Ordering::Relaxed);
        assert_eq!(ground.apply(&set, "api", wanted("1")).await.count(Outcome::Unchanged), 6);
        assert_eq!(before - left.load(Ordering::Relaxed), 0, "nothing to do costs nothing");
        assert_eq!(ground.apply(&set, "api", wanted("2")).await.count(Outcome::Configured), 1);
        assert_eq!(before - left.load(Ordering::Relaxed), 2, "the object, and the record");
        ground.finish().await;
    }
}

#[tokio::test]
async fn many_new_objects_are_looked_for_by_one_list() {
    for ground in grounds().await {
        let (cluster, left) = over(&ground, 1000, Fate::Counted, |_| true);
        let set = ApplySet::open(&cluster, &ground.namespace, INSTANCE).await.unwrap();
        let wanted: Vec<_> =
            (0..20).map(|index| ground.config("api", &format!("c{index:02}"), "1")).collect();
        // discovery is asked once, whoever asks
        cluster.resource("v1", "ConfigMap").await.unwrap();

        let before = left.load(Ordering::Relaxed);
        let plan = ground.plan(&set, "api", Wanted::Objects(wanted.clone()), &[]);
        set.look_around(&plan).await;
        assert_eq!(ground.apply(&set, "api", wanted).await.count(Outcome::Created), 20);
        assert_eq!(
            before - left.load(Ordering::Relaxed),
            1 + 20 + 2,
            "the list, the objects, and the record twice"
        );
        ground.finish().await;
    }
}

#[tokio::test]
async fn what_a_list_held_or_came_after_it_is_not_adopted() {
    for ground in grounds().await {
        let theirs = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"other": "theirs"}});
        ground.post(&ground.path("configmaps", ""), &theirs("c00"), "kubectl").await;
        let set = ground.set().await;
        let wanted: Vec<_> =
            (0..20).map(|index| ground.config("api", &format!("c{index:02}"), "1")).collect();
        let plan = ground.plan(&set, "api", Wanted::Objects(wanted.clone()), &[]);
        set.look_around(&plan).await;
        ground.post(&ground.path("configmaps", ""), &theirs("c01"), "kubectl").await;
        let changes = ground.apply(&set, "api", wanted).await;
        assert_eq!(changes.count(Outcome::Created), 18);
        for name in ["c00", "c01"] {
            let key = ground.key("v1", "ConfigMap", name);
            let (_, error) = changes.errors().find(|(change, _)| change.key == key).expect("it failed");
            assert!(matches!(error, ClusterError::NotOurs { .. }), "{error}");
            let live = ground.live("v1", "ConfigMap", name).await.unwrap();
            assert_eq!(live["data"], json!({"other": "theirs"}), "it is as it was");
            assert_eq!(live["metadata"]["labels"], Value::Null, "and carries no label of ours");
        }
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_cluster_is_told_from_another_by_its_identity() {
    let mut seen = Vec::new();
    for ground in grounds().await {
        let identity = ground.cluster.identity().await.unwrap();
        assert!(!identity.is_empty() && !seen.contains(&identity));
        seen.push(identity);
        ground.finish().await;
    }
}
