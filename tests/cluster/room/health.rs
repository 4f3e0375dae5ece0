//! What a service's health says, down to the pod.

use std::time::Duration;

use branchline::cluster::health::{self, Health};
use branchline::cluster::watch::Watches;
use branchline::secret::Redactor;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::ground::{Ground, embedded, real};

/// Writes an object's status, as the controllers of a cluster do.
async fn status(ground: &Ground, path: &str, status: Value) {
    ground.patch(&format!("{path}/status"), &json!({"status": status}), "kube-controller-manager").await;
}

/// What the controllers make of a Deployment: its newest ReplicaSet and one pod of it.
async fn rollout(ground: &Ground, pod_status: Value) {
    let deployment = ground.live("apps/v1", "Deployment", "api").await.unwrap();
    let path = ground.path("deployments", "api");
    let revision = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}});
    ground.patch(&path, &revision, "kube-controller-manager").await;
    let labels = json!({"app": "api", "pod-template-hash": "abc"});
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"] = labels.clone();
    let set = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "api-abc", "labels": labels,
        "annotations": {"deployment.kubernetes.io/revision": "1"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "controller": true,
            "uid": deployment["metadata"]["uid"]}]},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}});
    let sets = path.replace("deployments/api", "replicasets");
    ground.post(&sets, &set, "kube-controller-manager").await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "api-abc-1", "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    ground.post(&ground.path("pods", ""), &pod, "kube-controller-manager").await;
    status(ground, &ground.path("pods", "api-abc-1"), pod_status).await;
}

#[tokio::test]
async fn a_crash_loop_fails_the_service_and_names_pod_and_exit_code() {
    let ground = embedded().await;
    let set = ground.set().await;
    ground.apply(&set, "api", vec![ground.deployment("api", "app:1", 1)]).await;
    let crashing = json!({"phase": "Running", "containerStatuses": [{"name": "app", "image": "app:1", "imageID": "",
        "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}}}]});
    rollout(&ground, crashing).await;
    let keys = [ground.key("apps/v1", "Deployment", "api"), ground.key("v1", "ConfigMap", "branchline")];
    let checkup = health::check(&ground.cluster, &keys, &Redactor::new()).await.unwrap();
    let words = "container app of pod api-abc-1 keeps crashing (exit code 2, 3 restarts)";
    assert!(matches!(&checkup.health, Health::Failed(why) if why.ends_with(words)), "{:?}", checkup.health);
    let cause = checkup.cause.expect("a cause");
    assert_eq!((cause.pod.as_deref(), cause.exit_code), (Some("api-abc-1"), Some(2)));
    ground.finish().await;
}

#[tokio::test]
async fn what_an_older_version_does_says_nothing_about_the_new_one() {
    let ground = embedded().await;
    let set = ground.set().await;
    ground.apply(&set, "api", vec![ground.deployment("api", "app:1", 1)]).await;
    let crashing = json!({"phase": "Running", "containerStatuses": [{"name": "app", "image": "app:1", "imageID": "",
        "ready": false, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
    rollout(&ground, crashing).await;
    let second = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}});
    ground.patch(&ground.path("deployments", "api"), &second, "kube-controller-manager").await;
    let keys = [ground.key("apps/v1", "Deployment", "api")];
    let checkup = health::check(&ground.cluster, &keys, &Redactor::new()).await.unwrap();
    assert!(matches!(checkup.health, Health::InProgress(_)), "{:?}", checkup.health);
    ground.finish().await;
}

#[tokio::test]
async fn a_service_is_current_when_its_objects_are() {
    let ground = embedded().await;
    let set = ground.set().await;
    let claim = ground.object(
        "api",
        "v1",
        "PersistentVolumeClaim",
        "data",
        json!({"spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    );
    ground.apply(&set, "api", vec![claim, ground.config("api", "api", "1")]).await;
    let keys = [ground.key("v1", "PersistentVolumeClaim", "data"), ground.key("v1", "ConfigMap", "api")];
    let check = || async { health::check(&ground.cluster, &keys, &Redactor::new()).await.unwrap().health };
    assert!(matches!(check().await, Health::InProgress(why) if why.contains("no volume is bound")));
    status(&ground, &ground.path("persistentvolumeclaims", "data"), json!({"phase": "Bound"})).await;
    assert_eq!(check().await, Health::Current);
    ground.finish().await;
}

#[tokio::test]
async fn the_real_controllers_bring_a_service_to_current_and_a_quota_fails_it() {
    let Some(ground) = real().await else { return };
    let set = ground.set().await;
    ground.apply(&set, "api", vec![ground.deployment("api", "app:1", 0)]).await;
    let keys = [ground.key("apps/v1", "Deployment", "api")];
    let redactor = Redactor::new();
    // nothing is watched: the clock alone tells
    let (watches, _events) = Watches::new(&ground.cluster, &TaskTracker::new(), &CancellationToken::new());
    let moves = watches.moves(ground.namespace.as_str(), "api");
    let wait = || health::wait(&ground.cluster, &keys, &redactor, &moves, Duration::from_secs(30));
    assert_eq!(wait().await.unwrap().health, Health::Current);
    let quota = ground.object("api", "v1", "ResourceQuota", "none", json!({"spec": {"hard": {"pods": "0"}}}));
    ground.apply(&set, "guard", vec![quota]).await;
    let quota = ground.path("resourcequotas", "none");
    while ground.send("GET", &quota, None, "").await.unwrap()["status"]["hard"].is_null() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ground.apply(&set, "api", vec![ground.deployment("api", "app:1", 1)]).await;
    let health = wait().await.unwrap().health;
    assert!(matches!(&health, Health::Failed(why) if why.contains("exceeded quota")), "{health:?}");
    ground.finish().await;
}
