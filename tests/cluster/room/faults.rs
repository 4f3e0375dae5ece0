//! Bad answers: what is tried again, what is reported, and what is never concluded from them.

use std::sync::atomic::Ordering;

use branchline::cluster::{ApplySet, ClusterError, Outcome};
use http::{Method, Request};
use kube::client::Body;
use serde_json::json;

use super::ground::{INSTANCE, errors, grounds};
use super::line::{Fate, over};

fn is_patch(request: &Request<Body>) -> bool {
    request.method() == Method::PATCH
}

fn is_list(request: &Request<Body>) -> bool {
    request.uri().query().is_some_and(|query| query.contains("labelSelector"))
}

fn is_discovery(request: &Request<Body>) -> bool {
    matches!(request.uri().path(), "/api/v1" | "/apis" | "/apis/apps/v1")
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_and_nothing_is_lost() {
    for ground in grounds().await {
        for fate in [Fate::Answer(429), Fate::Answer(503), Fate::Answer(504), Fate::Lost] {
            let (cluster, left) = over(&ground, 3, fate, is_patch);
            let set = ApplySet::open(&cluster, &ground.namespace, INSTANCE).await.unwrap();
            let value = uuid::Uuid::now_v7().to_string();
            let changes = ground.apply(&set, "api", vec![ground.config("api", "api", &value)]).await;
            assert!(!changes.failed(), "{:?}", errors(&changes));
            assert_eq!(left.load(Ordering::Relaxed), 0);
            assert_eq!(ground.live("v1", "ConfigMap", "api").await.unwrap()["data"]["key"], value);
        }
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_server_that_stays_overloaded_ends_in_an_error_of_the_platform() {
    for ground in grounds().await {
        let (cluster, _) = over(&ground, 1000, Fate::Answer(503), is_patch);
        let set = ApplySet::open(&cluster, &ground.namespace, INSTANCE).await.unwrap();
        let changes = ground.apply(&set, "api", vec![ground.config("api", "api", "1")]).await;
        let (_, error) = changes.errors().next().expect("an error");
        assert!(error.is_transient() && !error.is_authors(), "{error}");
        ground.finish().await;
    }
}

#[tokio::test]
async fn nothing_is_pruned_when_a_list_or_discovery_fails() {
    for ground in grounds().await {
        let set = ground.set().await;
        let both = || vec![ground.config("api", "old", "1"), ground.deployment("api", "app:1", 0)];
        ground.sync(&set, "api", both()).await.unwrap();
        for choose in [is_list, is_discovery] {
            let (cluster, _) = over(&ground, 1000, Fate::Answer(500), choose);
            let set = ApplySet::open(&cluster, &ground.namespace, INSTANCE).await.unwrap();
            let failed = ground.sync(&set, "api", vec![]).await.unwrap_err();
            assert!(matches!(failed, ClusterError::Incomplete { .. }), "{failed}");
            assert!(ground.live("v1", "ConfigMap", "old").await.is_some());
            assert_eq!(ground.set().await.held("api").len(), 2);
        }
        let pruned = ground.sync(&set, "api", vec![]).await.unwrap();
        assert_eq!(pruned.count(Outcome::Pruned), 2, "{:?}", errors(&pruned));
        ground.finish().await;
    }
}

#[tokio::test]
async fn an_object_that_somebody_makes_in_between_is_not_adopted() {
    for ground in grounds().await {
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "api"}, "data": {"a": "theirs"}});
        let fate = Fate::After(ground.path("configmaps", ""), theirs);
        let (cluster, left) =
            over(&ground, 1, fate, |request| is_patch(request) && request.uri().path().ends_with("/api"));
        let set = ApplySet::open(&cluster, &ground.namespace, INSTANCE).await.unwrap();
        let changes = ground.apply(&set, "api", vec![ground.config("api", "api", "ours")]).await;
        assert_eq!(left.load(Ordering::Relaxed), 0);
        assert!(matches!(changes.errors().next(), Some((_, ClusterError::NotOurs { .. }))), "{changes:?}");
        let live = ground.live("v1", "ConfigMap", "api").await.unwrap();
        assert_eq!(live["data"], json!({"a": "theirs"}), "what we added is taken back");
        assert!(live["metadata"]["labels"].is_null());
        ground.finish().await;
    }
}
