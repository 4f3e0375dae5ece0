//! The embedded cluster with its controllers and its node: what is asked for comes to run, as real processes.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, LogParams, PropagationPolicy};
use serde_json::{Value, json};

use crate::embedded_cluster::{Cluster, PATIENCE, deployment, is_live, probe, server, service};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_comes_to_run_rolls_over_and_goes() {
    let cluster = Cluster::start().await;
    cluster.apply::<Service>("web", &service()).await;
    cluster.apply::<Deployment>("web", &deployment(2, &server("one"), &probe())).await;
    cluster.wait("web", is_live(2)).await;
    let slices: Vec<EndpointSlice> = cluster.api().list(&ListParams::default()).await.unwrap().items;
    assert_eq!(slices.len(), 2, "each pod has a port of its own");
    for slice in &slices {
        let port = slice.ports.as_ref().unwrap()[0].port.unwrap();
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/")).await.unwrap().text().await.unwrap();
        assert_eq!(answer, "one");
    }
    let pod = cluster.pods().await.remove(0).metadata.name.unwrap();
    let log = cluster.api::<Pod>().logs(&pod, &LogParams::default()).await.unwrap();
    assert_eq!(log, "listening\n");

    cluster.apply::<Deployment>("web", &deployment(2, &server("two"), &probe())).await;
    let rolled = cluster.wait("web", is_live(2)).await;
    assert_eq!(rolled.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"], "2");

    cluster.api::<Deployment>().delete("web", &DeleteParams::background()).await.unwrap();
    cluster.wait_for_none::<Pod>().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_fails_is_started_again_and_says_why_it_waits() {
    let cluster = Cluster::start().await;
    let pod = |name: &str, spec: &Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"}, "spec": spec});
    let container = |image: &str, script: &str| json!({"containers": [{"name": "main", "image": image, "command": ["sh", "-c", script]}]});
    cluster.apply::<Pod>("crash", &pod("crash", &container("folder:app", "echo broken; exit 7"))).await;
    cluster.apply::<Pod>("image", &pod("image", &container("nginx:1", ""))).await;
    cluster.apply::<Pod>("folder", &pod("folder", &container("folder:absent", ""))).await;
    let waiting = |reason: &'static str| {
        move |pod: &Pod| {
            let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            let state = statuses.and_then(|all| all.first()?.state.as_ref()?.waiting.as_ref());
            state.is_some_and(|waiting| waiting.reason.as_deref() == Some(reason))
        }
    };
    let crash = cluster.wait("crash", waiting("CrashLoopBackOff")).await;
    let state = crash.status.unwrap().container_statuses.unwrap().remove(0);
    assert_eq!(state.restart_count, 1, "the first restart is at once");
    assert_eq!(state.last_state.unwrap().terminated.unwrap().exit_code, 7);
    assert!(
        state
            .state
            .unwrap()
            .waiting
            .unwrap()
            .message
            .unwrap()
            .starts_with("back-off 10s restarting failed container=main")
    );
    let previous = LogParams { previous: true, ..LogParams::default() };
    assert_eq!(cluster.api::<Pod>().logs("crash", &previous).await.unwrap(), "broken\n");
    for name in ["image", "folder"] {
        let pod = cluster.wait(name, waiting("ErrImagePull")).await;
        let state = pod.status.unwrap().container_statuses.unwrap().remove(0).state.unwrap();
        let message = state.waiting.unwrap().message.unwrap();
        let expected = if name == "image" { "needs the Docker runtime" } else { "is not on this machine" };
        assert!(message.contains(expected), "{message}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_to_its_end_and_a_failing_one_gives_up() {
    let cluster = Cluster::start().await;
    let job = |name: &str, script: &str| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [
                {"name": "main", "image": "folder:app", "command": ["sh", "-c", script]},
            ]}}},
        })
    };
    cluster.apply::<Job>("good", &job("good", "echo done")).await;
    cluster.apply::<Job>("bad", &job("bad", "exit 1")).await;
    let ended = |job: &Job| {
        let conditions = job.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|held| matches!(held.type_.as_str(), "Complete" | "Failed"))
    };
    let good = cluster.wait::<Job>("good", ended).await.status.unwrap();
    assert_eq!((good.succeeded, good.failed), (Some(1), None));
    let bad = cluster.wait::<Job>("bad", ended).await.status.unwrap();
    assert_eq!((bad.succeeded, bad.failed), (None, Some(1)));
    let foreground =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Foreground), ..DeleteParams::default() };
    cluster.api::<Job>().delete("good", &foreground).await.unwrap();
    cluster.api::<Job>().delete("bad", &DeleteParams::background()).await.unwrap();
    cluster.wait_for_none::<Job>().await;
    cluster.wait_for_none::<Pod>().await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_namespace_ends_all_that_is_in_it() {
    let cluster = Cluster::start().await;
    cluster.apply::<Deployment>("web", &deployment(1, &json!(["sleep", "300"]), &json!({}))).await;
    cluster.wait("web", is_live(1)).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    cluster.wait_for_none::<Deployment>().await;
    cluster.wait_for_none::<Pod>().await;
    let gone = async {
        while namespaces.get_opt("shop").await.unwrap().is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the namespace goes");
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_no_longer_alive_is_started_again() {
    let cluster = Cluster::start().await;
    let script = "echo up; sleep 300";
    let liveness = json!({"livenessProbe": {"exec": {"command": ["test", "!", "-e", "sick"]}, "periodSeconds": 1, "failureThreshold": 1}});
    cluster.apply::<Deployment>("web", &deployment(1, &json!(["sh", "-c", script]), &liveness)).await;
    cluster.wait("web", is_live(1)).await;
    let name = cluster.pods().await.remove(0).metadata.name.unwrap();
    let sick = cluster.root.path().join("folders/app/sick");
    std::fs::write(&sick, "").unwrap();
    let restarted = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        statuses.is_some_and(|all| all[0].restart_count > 0)
    };
    cluster.wait::<Pod>(&name, restarted).await;
    cluster.end().await;
}
