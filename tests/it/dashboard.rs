//! The pages and the live log as a browser meets them: over a real socket, with a store filled by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use branchline::clock::Clock;
use branchline::desired::{Hosts, Runtime};
use branchline::github::inbox::Inbox;
use branchline::reconcile::{ConfigSource, Parts, Reconciler, STATES};
use branchline::secret::{Redactor, Secret};
use branchline::server::{Limits, Routes, Server, ServerSettings, ServerState, dashboard};
use branchline::source::{Credentials, GitHosts, MirrorOptions, Mirrors, RepositoryUrl};
use branchline::store::{
    DeploymentChange, NewDeployment, NewEvent, NewLine, ServiceRow, Step, Store, StoreOptions,
};
use branchline::telemetry::Metrics;
use futures::{SinkExt, StreamExt};
use reqwest::Response;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const PATIENCE: Duration = Duration::from_mins(2);
const EVIL: &str = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'>{{x}}";
const REVISION: &str = "3f2c1aa000000000000000000000000000000000";

/// A server with the pages over a store, and a config repository that nobody has read yet.
struct World {
    _folder: TempDir,
    store: Store,
    clock: Clock,
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    client: reqwest::Client,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, tasks, stop) = (Clock::system(), TaskTracker::new(), CancellationToken::new());
        let store = Store::open(&folder.path().join("store.db"), &StoreOptions::default()).await.unwrap();
        let hosts: GitHosts = "".parse().unwrap();
        let options = MirrorOptions {
            hosts: hosts.clone(),
            credentials: Credentials::none(),
            ..MirrorOptions::default()
        };
        let config = folder.path().join("config.git");
        std::fs::create_dir(&config).unwrap();
        let parts = Parts {
            store: store.clone(),
            mirrors: Mirrors::open(&folder.path().join("mirrors"), options).unwrap(),
            config: ConfigSource {
                url: RepositoryUrl::of_operator(config.to_str().unwrap(), &hosts).unwrap(),
                branch: "main".parse().unwrap(),
                path: String::new(),
            },
            builder: None,
            registry: branchline::build::Registry::new().unwrap(),
            clusters: BTreeMap::new(),
            embedded: Runtime::Process,
            trust_pull_requests: false,
            hosts: Hosts { scheme: "https".to_owned(), port: None },
            addresses: Arc::new(|_, _| 0),
            clock: clock.clone(),
            redactor: Redactor::new(),
            github: None,
            watcher: None,
            pages: None,
        };
        let (reconciler, _hints) = Reconciler::new(parts, &tasks, &stop);
        let (inbox, _deliveries) = Inbox::new(store.clone(), clock.clone());
        let settings = ServerSettings {
            public_url: None,
            token: Secret::new("bl_token".to_owned()),
            webhook_secrets: Vec::new(),
            environment: "test".to_owned(),
            limits: Limits::default(),
        };
        let state = ServerState::new(store.clone(), clock.clone(), Metrics::default(), inbox, settings);
        let routes = Routes::base(&state).and(dashboard::routes(&state, &reconciler));
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), state).await.unwrap();
        let address = server.address();
        let (of_server, ended) = (tasks.clone(), stop.clone());
        tasks.spawn(async move { server.serve(routes, &of_server, ended).await });
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().unwrap();
        Self { _folder: folder, store, clock, address, stop, tasks, client }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        assert!(!answer.headers()["content-security-policy"].to_str().unwrap().contains("unsafe"));
        answer.text().await.unwrap()
    }

    async fn service(&self, name: &str, state: &str, message: &str, detail: Value) {
        let row = ServiceRow {
            project: "shop".to_owned(),
            environment: "staging".to_owned(),
            service: name.to_owned(),
            state: state.to_owned(),
            message: message.to_owned(),
            live_deployment: None,
            detail: Some(detail),
            updated: self.clock.now(),
        };
        self.store.put_service(row).await.unwrap();
    }

    async fn deployment(&self, id: &str, cause: &str) {
        let new = NewDeployment {
            id: id.to_owned(),
            project: "shop".to_owned(),
            environment: "staging".to_owned(),
            service: "api".to_owned(),
            input_digest: id.to_owned(),
            state: "building".to_owned(),
            app_revision: Some(REVISION.to_owned()),
            config_revision: None,
            artifact: None,
            cause: cause.to_owned(),
            reported_on: None,
            brings: None,
            created: self.clock.now(),
        };
        self.store.create_deployment(new).await.unwrap();
    }

    async fn write(&self, id: &str, lines: impl IntoIterator<Item = String>) {
        let time = self.clock.now();
        let lines =
            lines.into_iter().map(|line| NewLine { stream: "stdout".to_owned(), time, line }).collect();
        self.store.append_log(id, "Build", lines).await.unwrap();
    }

    async fn live(&self) -> Live {
        let url = format!("ws://{}/api/v1/deployments/logs/live", self.address);
        Live(connect_async(url).await.unwrap().0)
    }
}

/// A live log.
struct Live(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Live {
    async fn ask(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn subscribe(&mut self, id: &str, from: i64) {
        self.ask(&json!({"type": "subscribe-deployment", "deployment": id, "from": from})).await;
    }

    /// The next message that says something; none where the socket was closed.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a message comes");
            match next {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).ok(),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The texts of lines until one is `last`.
    async fn until(&mut self, last: &str) -> (Vec<String>, i64) {
        let mut all = Vec::new();
        loop {
            let message = self.next().await.expect("the socket stays open");
            if message["type"] != "lines" {
                continue;
            }
            all.extend(
                message["lines"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|line| line["text"].as_str().unwrap().to_owned()),
            );
            if all.iter().any(|line| line == last) {
                return (all, message["next"].as_i64().unwrap());
            }
        }
    }
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("line {number}")).collect()
}

#[tokio::test]
async fn whatever_stands_in_the_store_stays_inert_text() {
    let world = World::new().await;
    let detail =
        json!({"problem": EVIL, "url": "javascript:alert(1)", "revision": EVIL, "image": EVIL, "repo": EVIL});
    world.service("api", "degraded", EVIL, detail.clone()).await;
    world.service(EVIL, EVIL, EVIL, detail).await;
    world.deployment("one", EVIL).await;
    world.write("one", [EVIL.to_owned()]).await;
    let step = Step {
        deployment: "one".to_owned(),
        name: "Build".to_owned(),
        state: "failed".to_owned(),
        started: None,
        ended: None,
        detail: Some(EVIL.to_owned()),
    };
    world.store.put_step(step).await.unwrap();
    let change = DeploymentChange {
        state: Some("failed".to_owned()),
        ended: Some(world.clock.now()),
        error: Some(EVIL.to_owned()),
        hint: Some(EVIL.to_owned()),
        ..DeploymentChange::default()
    };
    world.store.update_deployment("one", change).await.unwrap();
    let event = NewEvent {
        project: "shop".to_owned(),
        environment: Some(EVIL.to_owned()),
        service: Some(EVIL.to_owned()),
        time: world.clock.now(),
        kind: "held".to_owned(),
        actor: None,
        message: EVIL.to_owned(),
    };
    world.store.add_event(event).await.unwrap();
    let held = json!({"plan": EVIL, "services": [EVIL], "text": EVIL}).to_string();
    world.store.put("held", "shop/staging", held.as_bytes()).await.unwrap();

    for path in
        ["/", "/projects/shop", "/projects/shop/environments/staging/services/api", "/deployments/one"]
    {
        let page = world.page(path).await;
        assert!(!page.contains("<script>alert") && !page.contains("<img src=x"), "{path}: {page}");
        assert!(!page.contains("href=\"javascript:"), "{path}");
        assert!(!page.contains(" style=") && !page.contains(" onclick="), "{path}");
        if path != "/" {
            assert!(page.contains("&lt;script&gt;alert(1)"), "{path} shows the text");
        }
    }
    let page = world.page("/deployments/one").await;
    assert!(page.contains("Failed at build"), "the badge names the step: {page}");
}

#[tokio::test]
async fn services_show_in_the_words_of_the_one_table() {
    let world = World::new().await;
    for state in STATES {
        world
            .service(
                &state.to_lowercase(),
                state,
                "A sentence",
                json!({"kind": "web", "url": "http://api.localhost:8080"}),
            )
            .await;
    }
    let page = world.page("/projects/shop").await;
    for word in
        ["Not released", "Pending", "Live", "Degraded", "Crashed", "Sleeping", "Paused", "Held", "Completed"]
    {
        assert!(page.contains(&format!("</span> {word}</span>")), "{word}: {page}");
    }
    assert!(
        page.contains("href=\"http://api.localhost:8080/\" target=\"_blank\" rel=\"noopener noreferrer\"")
    );
    assert!(world.page("/").await.contains("Failed"), "a crashed service shows on the card");
    let missing = world.get("/projects/none").await;
    assert_eq!(missing.status(), 404);
    assert!(missing.text().await.unwrap().contains("There is no project"));
}

#[tokio::test]
async fn a_browser_that_is_lost_gets_a_page_and_a_program_a_problem() {
    let world = World::new().await;
    let ask = async |path: &str, accept: &str| {
        let request = world.client.get(format!("http://{}{path}", world.address)).header("accept", accept);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 404, "{path}");
        answer.headers()["content-type"].to_str().unwrap().to_owned()
    };
    let browser = "text/html,application/xhtml+xml,*/*;q=0.8";
    assert_eq!(ask("/nope", browser).await, "text/html; charset=utf-8");
    assert_eq!(ask("/nope", "*/*").await, "application/problem+json");
    assert_eq!(ask("/api/v1/nope", browser).await, "application/problem+json");
}

#[tokio::test]
async fn a_project_that_left_the_configuration_is_held_and_not_well() {
    let world = World::new().await;
    world.service("api", "live", "Live", json!({"kind": "web"})).await;
    let held = json!({
        "project": "shop", "environment": "staging", "cluster": "embedded", "namespace": "shop-staging",
        "plan": null, "services": ["api"], "reasons": ["the project is no longer in the configuration"], "text": "- api",
    });
    world.store.put("held", "shop/staging/embedded/shop-staging", held.to_string().as_bytes()).await.unwrap();
    for path in ["/", "/projects/shop"] {
        let page = world.page(path).await;
        assert!(page.contains("</span> Held</span>") && !page.contains("Active"), "{path}: {page}");
    }
    assert!(world.page("/").await.contains("its removal is held"));
}

#[tokio::test]
async fn files_are_kept_for_good_under_the_name_of_their_content() {
    let world = World::new().await;
    let page = world.page("/").await;
    for (before, media_type) in
        [("href=\"/assets/style.", "text/css"), ("src=\"/assets/script.", "text/javascript")]
    {
        let at = page.find(before).expect(before);
        let path = page[at..].split('"').nth(1).unwrap();
        let answer = world.get(path).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(media_type));
        assert!(answer.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        let etag = answer.headers()["etag"].clone();
        let url = format!("http://{}{path}", world.address);
        let again = world.client.get(url).header("if-none-match", etag).send().await.unwrap();
        assert_eq!(again.status(), 304);
    }
    assert_eq!(world.get("/assets/style.000000000000.css").await.status(), 404);
}

#[tokio::test]
async fn a_live_log_goes_on_without_gap_or_double_after_a_new_connection() {
    let world = World::new().await;
    world.deployment("one", "It is new here").await;
    world.write("one", numbered(0..2500)).await;
    let mut live = world.live().await;
    live.subscribe("one", 0).await;
    let (mut seen, next) = live.until("line 2499").await;
    assert_eq!(next, 2500);
    drop(live);
    world.write("one", numbered(2500..2600)).await;
    let mut live = world.live().await;
    live.subscribe("one", next).await;
    seen.extend(live.until("line 2599").await.0);
    world.write("one", numbered(2600..2601)).await;
    seen.extend(live.until("line 2600").await.0);
    assert_eq!(seen, numbered(0..2601));

    let change = DeploymentChange {
        state: Some("live".to_owned()),
        ended: Some(world.clock.now()),
        ..DeploymentChange::default()
    };
    world.store.update_deployment("one", change).await.unwrap();
    loop {
        let message = live.next().await.expect("the end is told");
        if message["ended"] == true {
            assert_eq!((&message["type"], &message["word"]), (&json!("state"), &json!("Live")));
            break;
        }
    }
}

#[tokio::test]
async fn a_live_log_ends_with_the_server_and_is_for_our_own_pages_only() {
    let world = World::new().await;
    let url = format!("ws://{}/api/v1/deployments/logs/live", world.address);
    let mut foreign = url.into_client_request().unwrap();
    foreign.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    match connect_async(foreign).await {
        Err(WsError::Http(answer)) => assert_eq!(answer.status(), 403),
        other => panic!("a foreign page was let in: {other:?}"),
    }
    let mut live = world.live().await;
    live.subscribe("none", 0).await;
    assert_eq!(live.next().await.unwrap()["type"], "error");
    world.stop.cancel();
    assert_eq!(live.next().await, None);
    world.tasks.close();
    tokio::time::timeout(PATIENCE, world.tasks.wait()).await.expect("the server ends");
}

#[tokio::test]
async fn editors_get_the_schemas_as_they_stand_in_the_repository() {
    let world = World::new().await;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/schema/v1")).unwrap() {
        let (path, name) = (file.as_ref().unwrap().path(), file.unwrap().file_name());
        if path.is_file() {
            let answer = world.get(&format!("/schemas/v1/{}", name.to_str().unwrap())).await;
            assert_eq!(answer.headers()["content-type"], "application/schema+json");
            assert_eq!(answer.text().await.unwrap(), std::fs::read_to_string(path).unwrap());
        }
    }
}
