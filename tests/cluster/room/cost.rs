//! How many requests things cost.

use std::sync::atomic::Ordering;

use branchline::cluster::{ApplySet, Outcome};

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
async fn a_cluster_is_told_from_another_by_its_identity() {
    let mut seen = Vec::new();
    for ground in grounds().await {
        let identity = ground.cluster.identity().await.unwrap();
        assert!(!identity.is_empty() && !seen.contains(&identity));
        seen.push(identity);
        ground.finish().await;
    }
}
