//! What applying does to objects: ours, others', and those that are both.

use branchline::cluster::{ClusterError, Outcome};
use branchline::plan::Wanted;
use serde_json::json;

use super::ground::{errors, grounds};

#[tokio::test]
async fn applying_twice_changes_nothing() {
    for ground in grounds().await {
        let set = ground.set().await;
        let wanted = || vec![ground.config("api", "api", "1"), ground.deployment("api", "app:1", 1)];
        let first = ground.apply(&set, "api", wanted()).await;
        assert_eq!(first.count(Outcome::Created), 2, "{:?}", errors(&first));
        let version =
            ground.live("apps/v1", "Deployment", "api").await.unwrap()["metadata"]["generation"].clone();
        // also after a restart, when only the cluster knows what was applied
        for set in [set, ground.set().await] {
            let again = ground.apply(&set, "api", wanted()).await;
            assert_eq!(again.count(Outcome::Unchanged), 2);
            assert!(again.changes.iter().all(|change| change.live.is_none()), "nothing was sent");
        }
        let live = ground.live("apps/v1", "Deployment", "api").await.unwrap();
        assert_eq!(live["metadata"]["generation"], version);
        ground.finish().await;
    }
}

#[tokio::test]
async fn only_the_changed_object_is_sent() {
    for ground in grounds().await {
        let set = ground.set().await;
        let deployment = || ground.deployment("api", "app:1", 1);
        ground.apply(&set, "api", vec![ground.config("api", "api", "1"), deployment()]).await;
        let second = ground.apply(&set, "api", vec![ground.config("api", "api", "2"), deployment()]).await;
        assert_eq!(second.outcome(&ground.key("v1", "ConfigMap", "api")), Some(Outcome::Configured));
        assert_eq!(second.outcome(&ground.key("apps/v1", "Deployment", "api")), Some(Outcome::Unchanged));
        assert_eq!(ground.live("v1", "ConfigMap", "api").await.unwrap()["data"]["key"], "2");
        ground.finish().await;
    }
}

#[tokio::test]
async fn an_object_that_is_not_ours_is_never_adopted() {
    for ground in grounds().await {
        // it even carries our labels: somebody copied them
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "api", "labels":
            {"applyset.kubernetes.io/part-of": ground.id(), "app.kubernetes.io/managed-by": "branchline"}},
            "data": {"key": "theirs"}});
        ground.post(&ground.path("configmaps", ""), &theirs, "kubectl").await;
        let set = ground.set().await;
        let changes = ground.apply(&set, "api", vec![ground.config("api", "api", "ours")]).await;
        assert!(matches!(changes.errors().next(), Some((_, ClusterError::NotOurs { .. }))));
        let text = errors(&changes).remove(0).replace(ground.namespace.as_str(), "NS");
        insta::allow_duplicates! { insta::assert_snapshot!(text, @r#"
        ConfigMap/NS/api exists and is not ours (it is managed by kubectl)
        hint: rename the service, or hand the object over with the annotation `branchline.dev/adopt: "true"`
        "#); }
        assert_eq!(ground.live("v1", "ConfigMap", "api").await.unwrap()["data"]["key"], "theirs");

        let consent = json!({"metadata": {"annotations": {"branchline.dev/adopt": "true"}}});
        ground.patch(&ground.path("configmaps", "api"), &consent, "kubectl").await;
        let changes = ground.apply(&set, "api", vec![ground.config("api", "api", "ours")]).await;
        assert!(!changes.failed(), "{:?}", errors(&changes));
        assert_eq!(ground.live("v1", "ConfigMap", "api").await.unwrap()["data"]["key"], "ours");
        ground.finish().await;
    }
}

#[tokio::test]
async fn fields_of_others_are_left_alone_and_fields_of_ours_are_healed() {
    for ground in grounds().await {
        let set = ground.set().await;
        let wanted = || vec![ground.deployment("api", "app:1", 1)];
        ground.apply(&set, "api", wanted()).await;
        let path = ground.path("deployments", "api");
        let theirs = json!({"metadata": {"annotations": {"example.com/note": "theirs"}},
            "spec": {"replicas": 5, "revisionHistoryLimit": 3}});
        ground.patch(&path, &theirs, "kubectl-edit").await;

        let key = ground.key("apps/v1", "Deployment", "api");
        let plan = ground.plan(&set, "api", Wanted::Objects(wanted()), std::slice::from_ref(&key));
        let healed = branchline::cluster::apply::apply(&set, plan.unit("api").unwrap(), false).await.unwrap();
        assert!(!healed.failed(), "{:?}", errors(&healed));
        assert_eq!(healed.changes[0].overruled[0].manager, "kubectl-edit");
        assert_eq!(healed.changes[0].overruled[0].path, ".spec.replicas");
        let live = ground.live("apps/v1", "Deployment", "api").await.unwrap();
        assert_eq!(live["spec"]["replicas"], 1);
        assert_eq!(live["spec"]["revisionHistoryLimit"], 3);
        assert_eq!(live["metadata"]["annotations"]["example.com/note"], "theirs");
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_field_that_another_tool_declares_is_reported_and_not_taken() {
    for ground in grounds().await {
        let set = ground.set().await;
        ground.apply(&set, "api", vec![ground.config("api", "api", "1")]).await;
        let theirs = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "api"}, "data": {"extra": "theirs"}});
        ground.apply_as(&ground.path("configmaps", "api"), &theirs, "flux").await;
        let both =
            ground.object("api", "v1", "ConfigMap", "api", json!({"data": {"key": "1", "extra": "ours"}}));
        let changes = ground.apply(&set, "api", vec![both]).await;
        let text = errors(&changes).remove(0).replace(ground.namespace.as_str(), "NS");
        insta::allow_duplicates! { insta::assert_snapshot!(text, @r"
        ConfigMap/NS/api: .data.extra is held by `flux`
        hint: take these fields out of one of the two tools
        "); }
        assert_eq!(ground.live("v1", "ConfigMap", "api").await.unwrap()["data"]["extra"], "theirs");
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_fight_ends_after_a_few_rounds_and_names_the_other_manager() {
    for ground in grounds().await {
        let set = ground.set().await;
        let wanted = || vec![ground.config("api", "api", "ours")];
        ground.apply(&set, "api", wanted()).await;
        let key = ground.key("v1", "ConfigMap", "api");
        let mut said = Vec::new();
        for round in 0..8 {
            ground
                .patch(
                    &ground.path("configmaps", "api"),
                    &json!({"data": {"key": round.to_string()}}),
                    "robot",
                )
                .await;
            let plan = ground.plan(&set, "api", Wanted::Objects(wanted()), std::slice::from_ref(&key));
            let changes =
                branchline::cluster::apply::apply(&set, plan.unit("api").unwrap(), false).await.unwrap();
            said.extend(changes.errors().map(|(_, error)| error.to_string()));
        }
        assert_eq!(said.len(), 3, "five heals a minute, then it is reported");
        assert!(
            said[0].contains("changed back again and again: .data.key is held by `robot`"),
            "{}",
            said[0]
        );
        ground.finish().await;
    }
}

#[tokio::test]
async fn replicas_belong_to_the_autoscaler_once_the_deployment_is_made() {
    for ground in grounds().await {
        let set = ground.set().await;
        let wanted = |image: &str| {
            let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"});
            let spec = json!({"spec": {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 9}});
            let scaler = ground.object("api", "autoscaling/v2", "HorizontalPodAutoscaler", "api", spec);
            vec![ground.deployment("api", image, 2), scaler]
        };
        let made = ground.apply(&set, "api", wanted("app:1")).await;
        assert!(!made.failed(), "{:?}", errors(&made));
        assert_eq!(ground.live("apps/v1", "Deployment", "api").await.unwrap()["spec"]["replicas"], 2);
        let scale = json!({"spec": {"replicas": 7}});
        ground.patch(&format!("{}/scale", ground.path("deployments", "api")), &scale, "hpa").await;
        for image in ["app:2", "app:3"] {
            let changed = ground.apply(&set, "api", wanted(image)).await;
            assert!(!changed.failed(), "{:?}", errors(&changed));
            let live = ground.live("apps/v1", "Deployment", "api").await.unwrap();
            assert_eq!(live["spec"]["replicas"], 7);
            assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], image);
        }
        ground.finish().await;
    }
}

#[tokio::test]
async fn all_errors_of_a_service_are_told_at_once_and_later_stages_are_only_tried() {
    for ground in grounds().await {
        let set = ground.set().await;
        let bad = ground.object("api", "v1", "ConfigMap", "api", json!({"data": {"not allowed": "x"}}));
        let unknown = ground.object("api", "v1", "ConfigMap", "other", json!({"dat": {}}));
        let worse = ground.object(
            "api",
            "apps/v1",
            "Deployment",
            "api",
            json!({"spec": {"replicas": -1,
            "selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "app", "image": "x"}]}}}}),
        );
        let service =
            ground.object("api", "v1", "Service", "api", json!({"spec": {"ports": [{"port": 80}]}}));
        let changes = ground.apply(&set, "api", vec![bad, unknown, worse, service]).await;
        assert_eq!(changes.count(Outcome::Failed), 3, "{:?}", errors(&changes));
        assert_eq!(changes.outcome(&ground.key("v1", "Service", "api")), Some(Outcome::Skipped));
        assert!(ground.live("v1", "Service", "api").await.is_none());
        let said = errors(&changes).join("\n");
        assert!(said.contains("spec.replicas: Invalid value: -1"), "{said}");
        assert!(said.contains(".dat: field not declared in schema"), "{said}");
        ground.finish().await;
    }
}

#[tokio::test]
async fn an_unknown_kind_is_named_as_such() {
    for ground in grounds().await {
        let set = ground.set().await;
        let thing = ground.object("api", "example.com/v1", "Thing", "api", json!({}));
        let changes = ground.apply(&set, "api", vec![thing]).await;
        assert!(matches!(changes.errors().next(), Some((_, ClusterError::UnknownKind { .. }))));
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_deleted_object_is_made_again() {
    for ground in grounds().await {
        let set = ground.set().await;
        let wanted = || vec![ground.config("api", "api", "1")];
        ground.apply(&set, "api", wanted()).await;
        ground.send("DELETE", &ground.path("configmaps", "api"), None, "").await.unwrap();
        let key = ground.key("v1", "ConfigMap", "api");
        let plan = ground.plan(&set, "api", Wanted::Objects(wanted()), std::slice::from_ref(&key));
        let healed = branchline::cluster::apply::apply(&set, plan.unit("api").unwrap(), false).await.unwrap();
        assert_eq!(healed.outcome(&key), Some(Outcome::Created), "{:?}", errors(&healed));
        assert_eq!(ground.apply(&set, "api", wanted()).await.count(Outcome::Unchanged), 1);
        ground.finish().await;
    }
}

#[tokio::test]
async fn a_changed_job_is_made_anew_and_a_plan_can_be_tried_without_a_change() {
    for ground in grounds().await {
        let set = ground.set().await;
        let job = |command: &str| {
            let pod = json!({"restartPolicy": "Never", "containers": [{"name": "job", "image": "app:1", "command": [command]}]});
            vec![ground.object(
                "api",
                "batch/v1",
                "Job",
                "migrate",
                json!({"spec": {"template": {"spec": pod}}}),
            )]
        };
        let made = ground.apply(&set, "api", job("one")).await;
        assert!(!made.failed(), "{:?}", errors(&made));
        let first = ground.live("batch/v1", "Job", "migrate").await.unwrap();

        let plan = ground.plan(&set, "api", Wanted::Objects(job("two")), &[]);
        assert_eq!(plan.counts().destroy, 1);
        let other = ground.plan(&set, "web", Wanted::Objects(vec![ground.config("web", "web", "1")]), &[]);
        let tried = branchline::cluster::apply::try_out(&set, other.unit("web").unwrap()).await;
        assert_eq!(tried.count(Outcome::Skipped), 1, "{:?}", errors(&tried));
        assert!(ground.live("v1", "ConfigMap", "web").await.is_none());

        let changed = ground.apply(&set, "api", job("two")).await;
        assert!(!changed.failed(), "{:?}", errors(&changed));
        let second = ground.live("batch/v1", "Job", "migrate").await.unwrap();
        assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
        assert_eq!(second["spec"]["template"]["spec"]["containers"][0]["command"][0], "two");
        assert_eq!(ground.apply(&set, "api", job("two")).await.count(Outcome::Unchanged), 1);
        ground.finish().await;
    }
}
