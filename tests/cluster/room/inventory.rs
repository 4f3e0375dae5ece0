//! The record of what we applied, in the cluster itself.

use branchline::cluster::{ApplySet, ClusterError, Outcome};
use branchline::plan::ENVIRONMENT_UNIT;
use branchline::render::manifest::Manifest;
use serde_json::json;

use super::ground::{INSTANCE, grounds};

#[tokio::test]
async fn the_parent_is_an_apply_set_that_other_tools_understand() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground
            .apply(&set, "api", vec![ground.config("api", "api", "1"), ground.deployment("api", "app:1", 0)])
            .await;
        let parent = ground.live("v1", "ConfigMap", "branchline").await.unwrap();
        assert_eq!(parent["metadata"]["labels"]["applyset.kubernetes.io/id"], ground.id());
        let annotations = &parent["metadata"]["annotations"];
        assert_eq!(annotations["applyset.kubernetes.io/tooling"], "branchline/v1");
        assert_eq!(annotations["applyset.kubernetes.io/contains-group-kinds"], "ConfigMap,Deployment.apps");
        let member = ground.live("v1", "ConfigMap", "api").await.unwrap();
        assert_eq!(member["metadata"]["labels"]["applyset.kubernetes.io/part-of"], ground.id());
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_second_instance_and_another_tool_are_refused() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.apply(&set, "api", vec![ground.config("api", "api", "1")]).await;
        let other = ApplySet::open(&ground.cluster, &ground.namespace, "another").await.unwrap_err();
        assert!(matches!(other, ClusterError::OtherInstance { .. }), "{other}");
        let theirs =
            json!({"metadata": {"annotations": {"applyset.kubernetes.io/tooling": "kubectl/v1.34"}}});
        ground.patch(&ground.path("configmaps", "branchline"), &theirs, "kubectl").await;
        let other = ApplySet::open(&ground.cluster, &ground.namespace, "test-instance").await.unwrap_err();
        assert!(matches!(other, ClusterError::OtherTool { .. }), "{other}");
        ground.finish().await;
    }
}

#[tokio::test]
async fn objects_are_written_down_before_they_are_applied() {
    for ground in grounds().await {
        let set = ground.set().await;
        let bad = ground.object("api", "v1", "ConfigMap", "api", json!({"data": {"not allowed": "x"}}));
        assert!(ground.apply(&set, "api", vec![bad]).await.failed());
        let held = ground.set().await.held("api");
        assert_eq!(held.len(), 1, "an apply that was cut short leaves no orphan behind");
        assert!(held[0].uid.is_empty());
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_parent_that_somebody_deleted_is_written_again_in_full() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.apply(&set, "api", vec![ground.config("api", "api", "1")]).await;
        ground.send("DELETE", &ground.path("configmaps", "branchline"), None, "").await.unwrap();
        ground.apply(&set, "web", vec![ground.config("web", "web", "1")]).await;
        assert_eq!(ground.set().await.units(), ["api", "web"]);
        ground.finish().await;
    }
}

#[tokio::test]
async fn many_services_write_one_parent_at_the_same_time() {
    for ground in grounds().await {
        let set = ground.set().await;
        let names: Vec<String> = (0..20).map(|index| format!("svc-{index:02}")).collect();
        let applies = names.iter().map(|name| ground.apply(&set, name, vec![ground.config(name, name, "1")]));
        for changes in futures::future::join_all(applies).await {
            assert!(!changes.failed(), "{:?}", super::ground::errors(&changes));
        }
        let read = ground.set().await;
        assert_eq!(read.units(), names);
        assert!(names.iter().all(|name| !read.held(name)[0].applied.is_empty()));
        ground.finish().await;
    }
}

#[tokio::test]
async fn the_namespace_is_ours_once_we_made_it_and_costs_nothing_afterwards() {
    for ground in grounds().await {
        let name = format!("{}-own", ground.namespace);
        let namespace: branchline::name::Namespace = name.parse().unwrap();
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
            "labels": {"app.kubernetes.io/managed-by": "branchline"}}});
        let wanted = || vec![Manifest::new(object.clone(), "templates/test.yaml.hbs", 1).unwrap()];
        let set = ApplySet::open(&ground.cluster, &namespace, INSTANCE).await.unwrap();
        let made = ground.apply(&set, ENVIRONMENT_UNIT, wanted()).await;
        assert_eq!(made.count(Outcome::Created), 1, "{:?}", super::ground::errors(&made));
        let set = ApplySet::open(&ground.cluster, &namespace, INSTANCE).await.unwrap();
        assert_eq!(ground.apply(&set, ENVIRONMENT_UNIT, wanted()).await.count(Outcome::Unchanged), 1);
        assert!(set.group_kinds().await.is_empty(), "a namespace is no member of its own set");

        // one that was there before is not taken over
        let set = ground.set().await;
        let mut theirs = object.clone();
        theirs["metadata"]["name"] = json!(ground.namespace.as_str());
        let theirs = Manifest::new(theirs, "templates/test.yaml.hbs", 1).unwrap();
        let refused = ground.apply(&set, ENVIRONMENT_UNIT, vec![theirs]).await;
        assert!(matches!(refused.errors().next(), Some((_, ClusterError::NotOurs { .. }))));
        ground.send("DELETE", &format!("/api/v1/namespaces/{name}"), None, "").await.unwrap();
        ground.finish().await;
    }
}
