//! The server as its peers meet it: over a real socket, with a real store.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use aws_lc_rs::hmac;
use branchline::clock::Clock;
use branchline::github::inbox::{HintReader, Inbox};
use branchline::secret::Secret;
use branchline::server::{Limits, Routes, Server, ServerSettings, ServerState};
use branchline::store::{Store, StoreOptions};
use branchline::telemetry::Metrics;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::program::until;

mod door;
mod hostile;
mod kill;
mod webhook;

const SECRET: &str = "It's a Secret to Everybody";
const TOKEN: &str = "bl_the-token-of-the-test";
const HEAD: &str = "3f2c1aa000000000000000000000000000000000";
const PATIENCE: Duration = Duration::from_mins(2);

/// What a test may set.
struct Setup {
    listen: &'static str,
    secrets: Vec<&'static str>,
    public_url: Option<&'static str>,
    limits: Limits,
    store: StoreOptions,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0",
            secrets: vec![SECRET],
            public_url: None,
            limits: Limits::default(),
            store: StoreOptions::default(),
        }
    }
}

/// A running server.
struct World {
    folder: TempDir,
    store: Store,
    reader: HintReader,
    state: ServerState,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    client: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, store, reader, state) = bind(folder.path(), setup).await;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let address = server.address();
        let routes = Routes::base(&state).and(door::routes());
        {
            let (tasks_of_server, stop) = (tasks.clone(), stop.clone());
            tasks.spawn(async move { server.serve(routes, &tasks_of_server, stop).await });
        }
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
        Self { folder, store, reader, state, address, stop, tasks, client }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.address.port())
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    /// A delivery as GitHub sends it.
    fn delivery(&self, id: &str, event: &str, body: &str) -> RequestBuilder {
        self.unsigned(id, event, body)
            .header("content-type", "application/json")
            .header("x-hub-signature-256", sign(SECRET, body.as_bytes()))
    }

    /// A delivery without signature and content type.
    fn unsigned(&self, id: &str, event: &str, body: &str) -> RequestBuilder {
        self.post("/webhooks/github")
            .header("x-github-event", event)
            .header("x-github-delivery", id)
            .body(body.to_owned())
    }

    /// What arrives after `request` was sent byte by byte as it is.
    async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.address.port())).await.unwrap();
        // A server that has answered may close before all is sent.
        let _ = stream.write_all(request.as_ref()).await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection stays open: {}", String::from_utf8_lossy(&answer));
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn stored(&self) -> Vec<String> {
        let rows = self.store.waiting_deliveries(0, 10_000).await.unwrap();
        rows.into_iter().map(|row| row.id).collect()
    }

    async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await.expect("the server stops");
        self.store.close().await;
    }
}

async fn bind(folder: &Path, setup: Setup) -> (Server, Store, HintReader, ServerState) {
    let store = Store::open(&folder.join("branchline.db"), &setup.store).await.unwrap();
    let (inbox, reader) = Inbox::new(store.clone(), Clock::system());
    let settings = ServerSettings {
        public_url: setup.public_url.map(str::to_owned),
        token: Secret::new(TOKEN.to_owned()),
        webhook_secrets: setup.secrets.into_iter().map(|secret| Secret::new(secret.to_owned())).collect(),
        environment: "embedded".to_owned(),
        limits: setup.limits,
    };
    let state = ServerState::new(store.clone(), Clock::system(), Metrics::default(), inbox, settings);
    let server = Server::bind(setup.listen.parse().unwrap(), state.clone()).await.unwrap();
    (server, store, reader, state)
}

pub(crate) fn sign(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

/// A push payload of about `bytes`.
fn push(bytes: usize) -> String {
    let payload = json!({
        "ref": "refs/heads/main",
        "after": HEAD,
        "repository": { "id": 7, "full_name": "acme/api" },
        "sender": { "login": "ada" },
        "padding": "x".repeat(bytes),
    });
    payload.to_string()
}

/// The problem that an answer holds, checked for its form.
async fn problem(response: Response) -> Value {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["requestId"], id);
    assert!(problem["code"].is_string() && problem["detail"].is_string(), "{problem}");
    problem
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_how_it_is_to_whoever_asks() {
    let world = World::new().await;
    let health = world.get("/health").await;
    assert_eq!(health.status(), 200);
    let health: Value = health.json().await.unwrap();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["environment"], "embedded");
    assert!(health["uptime"].is_number() && health["timestamp"].is_string(), "{health}");
    assert_eq!(world.get("/livez").await.status(), 200);

    world.state.readiness.waits_for("config", "the config repository is not read yet");
    let ready = world.get("/readyz").await;
    assert_eq!(ready.status(), 503);
    let ready: Value = ready.json().await.unwrap();
    assert_eq!(ready["waitsFor"]["config"], "the config repository is not read yet");
    world.state.readiness.ready("config");
    assert_eq!(world.get("/readyz").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_notices_a_store_that_is_gone_and_liveness_does_not_care() {
    let world = World::new().await;
    std::fs::remove_file(world.folder.path().join("branchline.db")).unwrap();
    let health = world.get("/health").await;
    assert_eq!(health.status(), 503);
    assert_eq!(health.json::<Value>().await.unwrap()["status"], "degraded");
    assert_eq!(world.get("/readyz").await.status(), 503);
    assert_eq!(world.get("/livez").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_there_for_prometheus() {
    let world = World::new().await;
    let sent = world.delivery("d-1", "push", &push(10)).send().await.unwrap();
    assert_eq!(sent.status(), 202);
    let figures = world.get("/metrics").await;
    assert_eq!(
        figures.headers()["content-type"],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let figures = figures.text().await.unwrap();
    for line in [
        "branchline_webhooks_total{outcome=\"stored\"} 1",
        "branchline_inbox_waiting 1",
        "branchline_http_answers_total{class=\"2xx\"} 1",
        "branchline_webhook_seconds_count 1",
    ] {
        assert!(figures.contains(line), "{line} is missing:\n{figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_finishes_what_is_under_way_and_takes_nothing_new() {
    let world = World::new().await;
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    let body = push(10);
    let head = format!(
        "POST /webhooks/github HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         x-github-event: push\r\nx-github-delivery: d-1\r\nx-hub-signature-256: {}\r\ncontent-length: {}\r\n\r\n",
        sign(SECRET, body.as_bytes()),
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // Another request on another connection: by the time it is answered, the first has been read too.
    assert_eq!(world.get("/livez").await.status(), 200);
    slow.write_all(&body.as_bytes()[..10]).await.unwrap();
    assert_eq!(world.get("/livez").await.status(), 200);

    world.stop.cancel();
    world.state.stopping.cancelled().await;
    // a process that another test starts just now holds a copy of every socket until it has become its own program
    until("nothing new is taken", async || TcpStream::connect(world.address).await.is_err()).await;
    slow.write_all(&body.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(world.stored().await, ["d-1"]);
    world.stop().await;
}
