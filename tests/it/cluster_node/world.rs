//! The real program as `branchline serve` on a real node, with a forge, its repositories and a registry around it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use branchline::clock::Clock;
use branchline::settings::GitHubAuth;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::images::Images;
use crate::git::Repo;
use crate::http_backend::HttpBackend;
use crate::program::program;
use crate::server::sign;
use crate::world::{Check, World};

const SECRET: &str = "the secret of the stories";
pub(super) const SHOP: &str = "acme/shop";
const CONFIG: &str = "acme/config";

/// A server on a node.
pub(super) struct Node {
    pub(super) github: World,
    pub(super) images: Images,
    pub(super) project: String,
    client: kube::Client,
    config: Repo,
    shop: Repo,
    git: HttpBackend,
    folder: TempDir,
    server: Option<(Child, String)>,
    deliveries: AtomicU32,
}

impl Node {
    /// A world around the node of `KUBECONFIG`; none where `BRANCHLINE_TEST_REQUIRE` does not name both `kubernetes`
    /// and `node`: it may be somebody's cluster.
    pub(super) async fn open() -> Option<Self> {
        let required = std::env::var("BRANCHLINE_TEST_REQUIRE").unwrap_or_default();
        let required: Vec<_> = required.split(',').collect();
        if !["kubernetes", "node"].iter().all(|name| required.contains(name)) {
            eprintln!("skipped: no node is required");
            return None;
        }
        let github = World::start().await;
        github.live_now();
        let folder = tempfile::tempdir().unwrap();
        let file = std::env::var("KUBECONFIG").expect("KUBECONFIG names the cluster of the node");
        let registry =
            std::env::var("TESTBED_REGISTRY").expect("TESTBED_REGISTRY names a registry of the node");
        let cluster = branchline::cluster::connect::kubeconfig(file.as_ref(), Clock::system()).await.unwrap();
        let run = format!("story-{}", &uuid::Uuid::now_v7().simple().to_string()[20..]);
        let repositories = folder.path().join("git");
        std::fs::create_dir(&repositories).unwrap();
        let (config, shop) = (Repo::bare(&repositories, "config.git"), Repo::bare(&repositories, "shop.git"));
        let git = HttpBackend::serve(&repositories).await.expect("git has http-backend");
        github.repository(CONFIG, &git.url("config.git"));
        github.repository(SHOP, &git.url("shop.git"));
        Some(Self {
            images: Images::new(&registry, &run, folder.path()),
            client: cluster.client().clone(),
            project: run,
            github,
            config,
            shop,
            git,
            folder,
            server: None,
            deliveries: AtomicU32::new(0),
        })
    }

    /// Starts the server and waits until it listens.
    pub(super) fn start(&mut self) {
        let data = self.folder.path().join("data");
        let GitHubAuth::App { id, private_key } = self.github.as_app().auth else {
            unreachable!("it is an App")
        };
        let key = self.folder.path().join("app.pem");
        std::fs::write(&key, private_key.expose()).unwrap();
        let mut command = program(&data);
        let mut child = command
            .arg("serve")
            .env("KUBECONFIG", std::env::var_os("KUBECONFIG").unwrap())
            .env("BRANCHLINE_CONFIG_REPO", format!("github.com/{CONFIG}"))
            .env("BRANCHLINE_DATA_DIR", &data)
            .env("BRANCHLINE_LISTEN", "127.0.0.1:0")
            .env("BRANCHLINE_GITHUB_URL", &self.github.url)
            .env("BRANCHLINE_GITHUB_APP_ID", id.to_string())
            .env("BRANCHLINE_GITHUB_PRIVATE_KEY_FILE", key)
            .env("BRANCHLINE_WEBHOOK_SECRET", SECRET)
            .env("BRANCHLINE_GIT_HOST", self.git.url("").trim_end_matches('/'))
            .args(["--log-format", "pretty"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, urls) = mpsc::channel();
        let said = BufReader::new(child.stderr.take().unwrap());
        // it ends with the server; a failed test shows what the server said
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                eprintln!("{line}");
                if let Some(url) = line.strip_prefix("Listening on ") {
                    // who started it waits for this alone
                    let _ = sender.send(url.to_owned());
                }
            }
        });
        let url = urls.recv_timeout(Duration::from_secs(60)).expect("the server listens");
        self.server = Some((child, url));
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        let (mut child, _) = self.server.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs a verb; gives what it prints.
    pub(super) fn run(&self, arguments: &[&str]) -> String {
        let data = self.folder.path().join("data");
        let token = std::fs::read_to_string(data.join("token")).unwrap();
        let output = program(&data)
            .args(arguments)
            .args(["-p", &self.project])
            .env("BRANCHLINE_SERVER", &self.server.as_ref().unwrap().1)
            .env("BRANCHLINE_TOKEN", token.trim())
            .output()
            .unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// The record of a service, `null` where there is none.
    pub(super) fn service(&self, environment: &str, service: &str) -> Value {
        let status: Value = serde_json::from_str(&self.run(&["status", "-o", "json"])).unwrap();
        let mut rows = status["services"].as_array().unwrap().iter();
        let found = rows.find(|row| row["environment"] == environment && row["service"] == service);
        found.cloned().unwrap_or_default()
    }

    /// A commit in the config repository, and the forge's word of it. `None` removes a file.
    pub(super) async fn configure(&self, files: &[(&str, Option<&str>)]) -> String {
        let revision = self.config.commit("main", files, "configure");
        self.github.commit(CONFIG, &revision);
        self.tell("push", &pushed(CONFIG, "main", &revision)).await;
        revision
    }

    /// The forge knows what was committed to the config repository, whoever did it.
    pub(super) fn learn(&self) {
        self.github.commit(CONFIG, &self.config.find("refs/heads/main").unwrap());
    }

    /// A commit in the app repository that nobody was told of yet.
    pub(super) fn commit(&self, branch: &str, content: &str) -> String {
        if branch != "main" && self.shop.find(&format!("refs/heads/{branch}")).is_none() {
            self.shop.git(&["branch", branch, "main"]);
        }
        let revision = self.shop.commit(branch, &[("page.txt", Some(content))], content);
        self.github.commit(SHOP, &revision);
        revision
    }

    /// The forge tells of a push to the app repository.
    pub(super) async fn pushed(&self, branch: &str, revision: &str) {
        self.tell("push", &pushed(SHOP, branch, revision)).await;
    }

    /// The forge tells what happened to a pull request of the app repository.
    pub(super) async fn pull_request(&self, action: &str, number: u64, head: &str) {
        let payload = json!({
            "action": action, "number": number, "repository": {"id": 2, "full_name": SHOP},
            "pull_request": {"head": {"sha": head}}, "sender": {"login": "ada"},
        });
        self.tell("pull_request", &payload).await;
    }

    async fn tell(&self, event: &str, payload: &Value) {
        let Some((_, url)) = &self.server else { return };
        let (body, number) = (payload.to_string(), self.deliveries.fetch_add(1, Ordering::Relaxed));
        let request =
            reqwest::Client::builder().no_proxy().build().unwrap().post(format!("{url}/webhooks/github"));
        let request = request
            .header("content-type", "application/json")
            .header("x-github-event", event)
            .header("x-github-delivery", format!("delivery-{number}"))
            .header("x-hub-signature-256", sign(SECRET, body.as_bytes()));
        assert_eq!(request.body(body).send().await.unwrap().status(), 202);
    }

    /// The check run of a service on a commit of the app repository; empty where there is none.
    pub(super) fn check(&self, revision: &str, environment: &str, service: &str) -> Check {
        self.named(revision, &format!("branchline / {}/{environment} / {service}", self.project))
    }

    /// The check run of a name on a commit of the app repository; empty where there is none.
    pub(super) fn named(&self, revision: &str, name: &str) -> Check {
        let checks = self.github.checks(SHOP, revision);
        let of_name: Vec<_> = checks.into_iter().filter(|check| check.name == name).collect();
        assert!(of_name.len() <= 1, "one run of each name: {of_name:#?}");
        of_name.into_iter().next().unwrap_or_default()
    }

    /// The namespace of an environment.
    pub(super) fn namespace(&self, environment: &str) -> String {
        format!("{}-{environment}", self.project)
    }

    /// What a service answers, through the API server's own proxy.
    pub(super) async fn page(&self, environment: &str, service: &str) -> String {
        let namespace = self.namespace(environment);
        let path = format!("/api/v1/namespaces/{namespace}/services/{service}:http/proxy/");
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        self.client.request_text(request).await.unwrap_or_else(|error| format!("{error:?}"))
    }

    pub(super) fn deployments(&self, environment: &str) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &self.namespace(environment))
    }

    /// The image that a service runs.
    pub(super) async fn image(&self, environment: &str, service: &str) -> String {
        let found = self.deployments(environment).get(service).await.unwrap();
        let pod = found.spec.unwrap().template.spec.unwrap();
        pod.containers[0].image.clone().unwrap()
    }

    /// The pods of an environment that are not on their way out, as `name uid restarts`.
    pub(super) async fn pods(&self, environment: &str) -> Vec<String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace(environment));
        let pods = api.list(&ListParams::default()).await.unwrap().items.into_iter();
        let there = pods.filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let shown = there.map(|pod| {
            let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
            let restarts: i32 = statuses.iter().map(|status| status.restart_count).sum();
            format!("{} {} {restarts}", pod.metadata.name.unwrap(), pod.metadata.uid.unwrap())
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort();
        shown
    }

    /// The namespaces of this run.
    pub(super) async fn namespaces(&self) -> Vec<String> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let all = api.list(&ListParams::default()).await.unwrap().items.into_iter();
        all.filter_map(|one| one.metadata.name).filter(|name| name.starts_with(&self.project)).collect()
    }

    /// Ends the server as a person would, and gives the node back as it was.
    pub(super) async fn end(mut self) {
        let (mut child, _) = self.server.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
        let api: Api<Namespace> = Api::all(self.client.clone());
        for name in self.namespaces().await {
            api.delete(&name, &DeleteParams::default()).await.unwrap();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // after a failed test
        if let Some((mut child, _)) = self.server.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pushed(repository: &str, branch: &str, revision: &str) -> Value {
    json!({
        "ref": format!("refs/heads/{branch}"), "after": revision,
        "repository": {"id": 1, "full_name": repository}, "sender": {"login": "ada"},
    })
}
