//! What somebody changes or deletes in the cluster is put back.

use std::fmt::Debug;

use branchline::cluster::Cluster;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::world::Demo;
use crate::program::until;

async fn cluster(demo: &Demo) -> Cluster {
    let clock = branchline::clock::Clock::system();
    branchline::cluster::connect::kubeconfig(&demo.data.join("kubeconfig"), clock).await.unwrap()
}

pub(crate) async fn deployments(demo: &Demo, namespace: &str) -> Api<Deployment> {
    Api::namespaced(cluster(demo).await.client().clone(), namespace)
}

/// Waits until another object stands in the place of one that was deleted.
async fn is_made_again<K>(what: &str, api: &Api<K>, name: &str, before: &ObjectMeta)
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    until(what, async || {
        let made = api.get_opt(name).await.unwrap();
        made.is_some_and(|made| made.meta().uid != before.uid)
    })
    .await;
}

pub(super) async fn is_healed(demo: &Demo) {
    let api = deployments(demo, "shop-staging").await;
    let before = api.get("api").await.unwrap();
    let replicas = before.spec.as_ref().unwrap().replicas;
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    api.patch("api", &PatchParams::default(), &patch).await.unwrap();
    until("the scale is healed", async || api.get("api").await.unwrap().spec.unwrap().replicas == replicas)
        .await;
    api.delete("api", &DeleteParams::default()).await.unwrap();
    is_made_again("the deletion is healed", &api, "api", &before.metadata).await;
    until("it serves again", async || demo.get("api-shop-staging").await.0 == 200).await;
    until("what was put right is told", async || {
        let page = demo.page("/projects/shop").await;
        page.contains(".spec.replicas") && page.contains("Deployment api was gone")
    })
    .await;
    until("it is live again", async || {
        demo.service("staging", "api")["state"] == "live" && demo.status()["busy"] == false
    })
    .await;
}

pub(super) async fn is_healed_while_a_rollout_waits(demo: &Demo) {
    let api = deployments(demo, "shop-staging").await;
    let before = api.get("api").await.unwrap();
    let main = std::fs::read_to_string(demo.work("api").join("main.rs")).unwrap();
    let listen = "let listener =";
    let slow = main.replacen(listen, &format!("thread::sleep(Duration::from_secs(5));\n    {listen}"), 1);
    assert_ne!(main, slow);
    demo.push("api", "main.rs", &slow);
    until("its rollout waits", async || {
        api.get("api").await.unwrap().metadata.generation != before.metadata.generation
    })
    .await;
    api.delete("api", &DeleteParams::default()).await.unwrap();
    is_made_again("the deployment is back", &api, "api", &before.metadata).await;
    until("the rollout ends well", async || {
        let row = demo.service("staging", "api");
        row["state"] == "live" && row["problem"].is_null() && demo.status()["busy"] == false
    })
    .await;
    demo.revert("api");
}

pub(super) async fn is_healed_where_a_namespace_was_deleted(demo: &Demo) {
    let cluster = cluster(demo).await;
    let namespaces: Api<Namespace> = Api::all(cluster.client().clone());
    let before = namespaces.get("shop-staging").await.unwrap();
    namespaces.delete("shop-staging", &DeleteParams::default()).await.unwrap();
    is_made_again("the namespace is another one", &namespaces, "shop-staging", &before.metadata).await;
    for host in ["api-shop-staging", "web-shop-staging"] {
        until("it serves again", async || demo.get(host).await.0 == 200).await;
    }
    until("all of it is live again", async || {
        let status = demo.status();
        let mut rows = status["services"].as_array().unwrap().iter();
        status["busy"] == false && rows.all(|row| row["state"] == "live" && row["problem"].is_null())
    })
    .await;
}
