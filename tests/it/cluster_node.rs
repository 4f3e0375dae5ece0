//! `branchline serve` on a real Kubernetes node, with images that the services' own CI pushes: from the push to the
//! check run, and everything that may go wrong between the two.
//!
//! Told where `BRANCHLINE_TEST_REQUIRE` names `kubernetes` and `node`: `KUBECONFIG` is a cluster with a node that pulls
//! from the registry `TESTBED_REGISTRY`, and both may be written to. A `-` in the words of an image is its tag.

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::program::until;

mod images;
mod world;

use world::{Node, SHOP};

const STAGING: &str = "staging";

#[tokio::test(flavor = "multi_thread")]
async fn services_with_images_of_their_own_ci_live_on_a_node() {
    let Some(mut node) = Node::open().await else { return };
    let first = the_first_sync_is_live(&mut node).await;
    a_push_goes_live_and_says_so_on_the_commit(&node).await;
    an_image_that_is_not_there_yet_is_waited_for(&node).await;
    let late = an_image_never_comes(&node).await;
    a_crashing_image_leaves_the_old_version_serving(&node).await;
    it_is_a_failure_until_the_image_comes(&node, &late).await;
    what_others_change_is_healed(&node).await;
    a_promotion_carries_the_digest_on(&node).await;
    until("the late image is live by itself", async || node.service(STAGING, "late")["state"] == "live")
        .await;
    assert!(node.service(STAGING, "late")["problem"].is_null());
    a_service_that_leaves_the_config_is_pruned(&node).await;
    a_pull_request_has_its_preview(&node).await;
    a_fork_gets_a_check_and_nothing_else(&node).await;
    a_killed_server_leaves_every_pod_as_it_was(&mut node, &first).await;
    node.end().await;
}

/// A service of the project; `rest` are lines of its spec.
fn service(name: &str, rest: &str) -> String {
    format!("apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n{rest}")
}

fn worker(node: &Node, name: &str, more: &str) -> String {
    let image = format!("{}/{name}:1", node.images.base);
    service(name, &format!("  type: worker\n  image: {image}\n  terminationGracePeriod: 1s\n{more}"))
}

/// The path of a file of the project in the config repository.
fn path(node: &Node, file: &str) -> String {
    format!("projects/{}/{file}", node.project)
}

async fn the_first_sync_is_live(node: &mut Node) -> String {
    let revision = node.commit("main", "first");
    node.images.push("web", &revision, &[("PAGE", "first")]).await;
    node.images.push("worker", "1", &[]).await;
    let document = |kind: &str, name: &str, spec: &str| {
        format!("apiVersion: branchline.dev/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let image = format!("{}/web:${{{{ git.sha }}}}", node.images.base);
    let web = service(
        "web",
        &format!(
            "  type: web\n  source: {{repo: {SHOP}}}\n  image: \"{image}\"\n  ports: [{{name: http, port: 8080}}]\n  \
             healthCheck: {{path: /, interval: 1s}}\n  terminationGracePeriod: 6s\n"
        ),
    );
    let files = [
        ("branchline.yaml".to_owned(), document("Config", "acme", "{domains: {base: apps.example.com}}")),
        ("clusters/node.yaml".to_owned(), document("Cluster", "node", "{type: kubeconfig}")),
        (
            path(node, "project.yaml"),
            document(
                "Project",
                &node.project,
                "{environments: [staging, production], previews: {enabled: true, base: staging}}",
            ),
        ),
        (path(node, "services/web.yaml"), web),
        (path(node, "services/worker.yaml"), worker(node, "worker", "")),
        (
            path(node, "environments/staging/environment.yaml"),
            document("Environment", "staging", "{follow: branch}"),
        ),
        (
            path(node, "environments/production/environment.yaml"),
            document("Environment", "production", "{follow: releases, services: {worker: {replicas: 0}}}"),
        ),
    ];
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).collect();
    node.configure(&files).await;
    node.start();
    is_live(node, STAGING, &revision, "first").await;
    until("the worker is live", async || node.service(STAGING, "worker")["state"] == "live").await;
    assert_eq!(node.service("production", "web")["state"], "notReleased");
    revision
}

/// Waits until a revision serves its page and its check runs say so.
async fn is_live(node: &Node, environment: &str, revision: &str, page: &str) {
    until("the check run is a success", async || {
        node.check(revision, environment, "web").standing == "success"
    })
    .await;
    let check = node.check(revision, environment, "web");
    let url = format!("https://web-{}-{environment}.apps.example.com", node.project);
    assert!(check.title.contains("Live on") && check.summary.contains(&url), "{check:#?}");
    until("the aggregate follows", async || node.named(revision, "branchline").standing == "success").await;
    until("the new page is served", async || node.page(environment, "web").await == page).await;
    let image = node.image(environment, "web").await;
    assert!(image.starts_with(&format!("{}/web@sha256:", node.images.base)), "{image}");
}

async fn a_push_goes_live_and_says_so_on_the_commit(node: &Node) {
    let revision = node.commit("main", "second");
    let digest = node.images.push("web", &revision, &[("PAGE", "second")]).await;
    node.pushed("main", &revision).await;
    is_live(node, STAGING, &revision, "second").await;
    assert_eq!(node.image(STAGING, "web").await, format!("{}/web@{digest}", node.images.base));
    node.images.push("web", &revision, &[("PAGE", "the same tag, pushed again")]).await;
    node.run(&["sync"]);
    until("it has looked", async || node.run(&["status", "-o", "json"]).contains("\"busy\": false")).await;
    assert_eq!(node.page(STAGING, "web").await, "second", "what runs is a function of Git");
}

async fn an_image_that_is_not_there_yet_is_waited_for(node: &Node) {
    let revision = node.commit("main", "third");
    node.pushed("main", &revision).await;
    let image = format!("{}/web:{revision}", node.images.base);
    until("the check names the image", async || {
        let check = node.check(&revision, STAGING, "web");
        check.standing == "in_progress" && check.title.contains(&image)
    })
    .await;
    let summary = node.check(&revision, STAGING, "web").summary;
    assert!(summary.contains("What to do") && summary.contains("push that image"), "{summary}");
    let message = node.service(STAGING, "web")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.starts_with("Live on ") && message.contains(&image), "{message}");
    let why = node.run(&["why", &revision]);
    assert!(why.contains("waiting at Image") && why.contains(&image), "{why}");
    assert_eq!(node.page(STAGING, "web").await, "second", "the old version keeps running");
    let api = node.deployments(STAGING);
    let before = api.get("web").await.unwrap().metadata.uid;
    api.delete("web", &DeleteParams::default()).await.unwrap();
    until("what runs is healed meanwhile", async || {
        api.get_opt("web").await.unwrap().is_some_and(|made| made.metadata.uid != before)
    })
    .await;
    until("it serves again", async || node.page(STAGING, "web").await == "second").await;
    assert!(node.service(STAGING, "web")["message"].as_str().unwrap().contains(&image), "and it still waits");
    node.images.push("web", &revision, &[("PAGE", "third")]).await;
    is_live(node, STAGING, &revision, "third").await;
    let message = node.service(STAGING, "web")["message"].clone();
    assert_eq!(message, format!("Live on {}", &revision[..7]));
}

/// A service whose image nobody pushes for as long as a rollout may take.
async fn an_image_never_comes(node: &Node) -> String {
    let late = worker(node, "late", "  strategy: {progressDeadline: 30s}\n");
    node.configure(&[(&path(node, "services/late.yaml"), Some(&late))]).await;
    format!("{}/late:1", node.images.base)
}

async fn it_is_a_failure_until_the_image_comes(node: &Node, image: &str) {
    until("it has failed", async || {
        let row = node.service(STAGING, "late");
        let message = row["message"].as_str().unwrap_or_default();
        message.starts_with("Failed at Image") && message.contains(image)
    })
    .await;
    node.images.push("late", "1", &[]).await;
}

async fn a_crashing_image_leaves_the_old_version_serving(node: &Node) {
    let revision = node.commit("main", "fourth");
    node.images.push("web", &revision, &[("LAST_WORDS", "the till is empty")]).await;
    node.pushed("main", &revision).await;
    until("the check is a failure", async || node.check(&revision, STAGING, "web").standing == "failure")
        .await;
    let check = node.check(&revision, STAGING, "web");
    assert!(check.title.contains("keeps crashing (exit code 3"), "{check:#?}");
    for words in ["opening the shop", "the till is empty", "goes on serving"] {
        assert!(check.summary.contains(words), "{words}: {check:#?}");
    }
    assert_eq!(node.page(STAGING, "web").await, "third");
    let row = node.service(STAGING, "web");
    assert_eq!(row["state"], "live", "{row}");
    let revision = node.commit("main", "fifth");
    node.images.push("web", &revision, &[("PAGE", "fifth")]).await;
    node.pushed("main", &revision).await;
    is_live(node, STAGING, &revision, "fifth").await;
}

async fn what_others_change_is_healed(node: &Node) {
    let api = node.deployments(STAGING);
    let before = api.get("web").await.unwrap();
    let patch = Patch::Merge(json!({"spec": {"replicas": 3}}));
    api.patch("web", &PatchParams::default(), &patch).await.unwrap();
    until("the scale is healed", async || api.get("web").await.unwrap().spec.unwrap().replicas == Some(1))
        .await;
    api.delete("web", &DeleteParams::default()).await.unwrap();
    until("the deletion is healed", async || {
        let made = api.get_opt("web").await.unwrap();
        made.is_some_and(|made| made.metadata.uid != before.metadata.uid)
    })
    .await;
    until("it serves again", async || node.page(STAGING, "web").await == "fifth").await;
    until("it is live again", async || {
        let row = node.service(STAGING, "web");
        row["state"] == "live" && !row["message"].as_str().unwrap().contains('·')
    })
    .await;
}

async fn a_promotion_carries_the_digest_on(node: &Node) {
    let said = node.run(&["promote", "web", "--from", "staging", "--to", "production"]);
    node.learn();
    until("production serves it", async || node.page("production", "web").await == "fifth").await;
    assert_eq!(node.image("production", "web").await, node.image(STAGING, "web").await, "{said}");
}

async fn a_service_that_leaves_the_config_is_pruned(node: &Node) {
    for name in ["worker", "late"] {
        node.configure(&[(&path(node, &format!("services/{name}.yaml")), None)]).await;
        until("it is gone", async || node.deployments(STAGING).get_opt(name).await.unwrap().is_none()).await;
        until("its record is gone", async || node.service(STAGING, name).is_null()).await;
    }
    assert_eq!(node.page(STAGING, "web").await, "fifth");
}

async fn a_pull_request_has_its_preview(node: &Node) {
    let head = node.commit("try", "tried");
    node.images.push("web", &head, &[("PAGE", "tried")]).await;
    let number = node.github.open_pull(SHOP, "try", &head);
    node.pull_request("opened", number, &head).await;
    let preview = format!("pr-shop-{number}");
    is_live(node, &preview, &head, "tried").await;
    assert_eq!(node.page(STAGING, "web").await, "fifth");
    node.github.close_pull(SHOP, number, false);
    node.pull_request("closed", number, &head).await;
    let namespace = node.namespace(&preview);
    until("the preview is gone", async || !node.namespaces().await.contains(&namespace)).await;
    until("its record is gone", async || node.service(&preview, "web").is_null()).await;
}

async fn a_fork_gets_a_check_and_nothing_else(node: &Node) {
    let head = "f".repeat(40);
    let number = node.github.open_pull_from(SHOP, Some("eve/shop"), "try", &head);
    node.pull_request("opened", number, &head).await;
    until("the check says why", async || node.named(&head, "branchline").standing == "success").await;
    let check = node.named(&head, "branchline");
    assert!(check.title.contains("eve/shop"), "{check:#?}");
    let namespace = node.namespace(&format!("pr-shop-{number}"));
    assert!(!node.namespaces().await.contains(&namespace));
    assert!(node.service(&format!("pr-shop-{number}"), "web").is_null());
    node.github.close_pull(SHOP, number, false);
    node.pull_request("closed", number, &head).await;
}

async fn a_killed_server_leaves_every_pod_as_it_was(node: &mut Node, first: &str) {
    let waiting = node.commit("main", "sixth");
    node.pushed("main", &waiting).await;
    until("it waits", async || node.check(&waiting, STAGING, "web").standing == "in_progress").await;
    let pods = [node.pods(STAGING).await, node.pods("production").await];
    assert_eq!(pods.each_ref().map(Vec::len), [1, 1], "{pods:?}");
    node.kill();
    node.start();
    until("it looks at the same image again", async || {
        node.service(STAGING, "web")["message"].as_str().unwrap_or_default().contains(&waiting)
    })
    .await;
    assert_eq!([node.pods(STAGING).await, node.pods("production").await], pods);
    node.images.push("web", &waiting, &[("PAGE", "sixth")]).await;
    is_live(node, STAGING, &waiting, "sixth").await;
    assert_eq!(node.pods("production").await, pods[1], "a pin is not touched");
    assert_eq!(node.check(first, STAGING, "web").standing, "success", "what was said stays");
}
