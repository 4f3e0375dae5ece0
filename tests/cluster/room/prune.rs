//! What is deleted, and what never is.

use branchline::cluster::inventory::ApplySet;
use branchline::cluster::{ClusterError, Outcome, prune};
use branchline::plan::Wanted;
use serde_json::json;

use super::ground::{errors, grounds};

#[tokio::test]
async fn what_a_service_no_longer_renders_is_deleted_and_struck_off() {
    for ground in grounds().await {
        let set = ground.set().await;
        let keep = || ground.config("api", "keep", "1");
        ground.sync(&set, "api", vec![keep(), ground.config("api", "old", "1")]).await.unwrap();
        let pruned = ground.sync(&set, "api", vec![keep()]).await.unwrap();
        assert_eq!(
            pruned.outcome(&ground.key("v1", "ConfigMap", "old")),
            Some(Outcome::Pruned),
            "{:?}",
            errors(&pruned)
        );
        assert!(ground.live("v1", "ConfigMap", "old").await.is_none());
        assert!(ground.live("v1", "ConfigMap", "keep").await.is_some());
        let again: ApplySet = ground.set().await;
        assert_eq!(again.held("api").len(), 1);
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_copied_label_is_never_pruned() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.sync(&set, "api", vec![ground.config("api", "old", "1")]).await.unwrap();
        let ours = ground.live("v1", "ConfigMap", "old").await.unwrap();
        let copy = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "copy", "labels": ours["metadata"]["labels"]}});
        ground.post(&ground.path("configmaps", ""), &copy, "kubectl").await;
        ground.sync(&set, "api", vec![]).await.unwrap();
        assert!(ground.live("v1", "ConfigMap", "old").await.is_none());
        assert!(ground.live("v1", "ConfigMap", "copy").await.is_some());
        ground.finish().await;
    }
}

#[tokio::test]
async fn an_object_that_lost_our_label_is_let_go_and_not_deleted() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.sync(&set, "api", vec![ground.config("api", "old", "1")]).await.unwrap();
        let unlabel = json!({"metadata": {"labels": {"applyset.kubernetes.io/part-of": null}}});
        ground.patch(&ground.path("configmaps", "old"), &unlabel, "kubectl").await;
        let changes = ground.sync(&set, "api", vec![]).await.unwrap();
        assert_eq!(changes.outcome(&ground.key("v1", "ConfigMap", "old")), Some(Outcome::Released));
        assert!(ground.live("v1", "ConfigMap", "old").await.is_some());
        assert!(set.held("api").is_empty());
        ground.finish().await;
    }
}

#[tokio::test]
async fn another_object_of_the_same_name_is_not_deleted_in_place_of_ours() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.sync(&set, "api", vec![ground.config("api", "old", "1")]).await.unwrap();
        ground.send("DELETE", &ground.path("configmaps", "old"), None, "").await.unwrap();
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "old"}});
        ground.post(&ground.path("configmaps", ""), &theirs, "kubectl").await;
        ground.sync(&set, "api", vec![]).await.unwrap();
        assert!(ground.live("v1", "ConfigMap", "old").await.is_some());
        ground.finish().await;
    }
}

#[tokio::test]
async fn nothing_is_pruned_when_a_kind_of_the_set_cannot_be_listed() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.sync(&set, "api", vec![ground.config("api", "old", "1")]).await.unwrap();
        // a kind that the cluster no longer serves: "not there" would be a guess
        let ghost = ground.key("gone.example.com/v1", "Ghost", "x");
        set.intend("other", [ghost]).await.unwrap();
        let failed = ground.sync(&set, "api", vec![]).await.unwrap_err();
        assert!(matches!(failed, ClusterError::Incomplete { .. }), "{failed}");
        assert!(ground.live("v1", "ConfigMap", "old").await.is_some());
        assert_eq!(set.held("api").len(), 1);
        ground.finish().await;
    }
}

#[tokio::test]
async fn claims_and_what_is_marked_to_be_kept_stay() {
    for ground in grounds().await {
        let set = ground.set().await;
        let claim = ground.object(
            "api",
            "v1",
            "PersistentVolumeClaim",
            "data",
            json!({"spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        );
        let mut marked = ground.config("api", "marked", "1").into_object();
        marked["metadata"]["annotations"] = json!({"branchline.dev/prune": "keep"});
        let marked = branchline::render::manifest::Manifest::new(marked, "t", 1).unwrap();
        let volume = ground.key("v1", "PersistentVolumeClaim", "data");
        ground.sync(&set, "api", vec![claim, marked]).await.unwrap();
        let changes = ground.sync(&set, "api", vec![]).await.unwrap();
        assert_eq!(changes.outcome(&volume), Some(Outcome::Kept));
        assert_eq!(changes.outcome(&ground.key("v1", "ConfigMap", "marked")), Some(Outcome::Kept));
        assert!(ground.live("v1", "ConfigMap", "marked").await.is_some());
        ground.finish().await;
    }
}

#[tokio::test]
async fn an_object_that_was_left_over_without_a_record_is_found_by_its_label() {
    for ground in grounds().await {
        let set = ground.set().await;
        let both = vec![ground.config("api", "lost", "1"), ground.config("api", "old", "1")];
        ground.sync(&set, "api", both).await.unwrap();
        set.settle("api", [(ground.key("v1", "ConfigMap", "lost"), None)]).await.unwrap();
        let plan = ground.plan(&set, "api", Wanted::Gone, &[]);
        prune::prune(&set, plan.unit("api").unwrap(), false).await.unwrap();
        assert!(ground.live("v1", "ConfigMap", "lost").await.is_none());
        assert!(ground.set().await.units().is_empty());
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_foreign_finalizer_is_waited_for_and_never_taken_off() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.sync(&set, "api", vec![ground.config("api", "old", "1")]).await.unwrap();
        let path = ground.path("configmaps", "old");
        ground.patch(&path, &json!({"metadata": {"finalizers": ["example.com/wait"]}}), "kubectl").await;
        let plan = ground.plan(&set, "api", Wanted::Gone, &[]);
        let unit = plan.unit("api").unwrap();
        let pruning = prune::prune(&set, unit, false);
        let letting_go = async {
            // the object is being deleted before somebody lets it go
            loop {
                let live = ground.live("v1", "ConfigMap", "old").await.unwrap();
                if !live["metadata"]["deletionTimestamp"].is_null() {
                    assert_eq!(live["metadata"]["finalizers"][0], "example.com/wait");
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            ground.patch(&path, &json!({"metadata": {"finalizers": null}}), "kubectl").await;
        };
        let (pruned, ()) = tokio::join!(pruning, letting_go);
        assert_eq!(pruned.unwrap().count(Outcome::Pruned), 1);
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_preview_goes_with_its_namespace_and_a_foreign_namespace_stays() {
    for ground in grounds().await {
        let set = ground.set().await;
        let refused = prune::namespace(&set).await.unwrap_err();
        assert!(matches!(refused, ClusterError::NotOurs { .. }), "{refused}");
        ground.finish().await;
    }
    // only a cluster with controllers empties a namespace
    let Some(ground) = super::ground::real().await else { return };
    let name = format!("{}-pr", ground.namespace);
    let set = ApplySet::open(&ground.cluster, &name.parse().unwrap(), super::ground::INSTANCE).await.unwrap();
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {"app.kubernetes.io/managed-by": "branchline"}}});
    let object = branchline::render::manifest::Manifest::new(object, "t", 1).unwrap();
    ground.apply(&set, branchline::plan::ENVIRONMENT_UNIT, vec![object]).await;
    assert_eq!(prune::namespace(&set).await.unwrap(), Outcome::Pruned);
    assert_eq!(prune::namespace(&set).await.unwrap(), Outcome::Pruned, "it is gone already");
    ground.finish().await;
}
