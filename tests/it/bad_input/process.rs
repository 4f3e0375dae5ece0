//! Builds and processes that do not do what they should.

use crate::demo::world::Demo;
use crate::program::{left_over, until};

const API: &str = "projects/shop/services/api.yaml";
const WORKER: &str = "projects/shop/services/worker.yaml";

/// The service `api`, with other words for its build, its command and its health.
fn api(demo: &Demo, change: impl FnOnce(String) -> String) -> String {
    let text = std::fs::read_to_string(demo.work("config").join(API)).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed);
    changed
}

/// What is told of the api, while the version before serves.
async fn is_told(demo: &Demo, what: &str) {
    until(&format!("api says {what}"), async || {
        let row = demo.service("staging", "api");
        row["problem"].as_str().is_some_and(|problem| problem.contains(what))
    })
    .await;
    serves(demo).await;
}

async fn serves(demo: &Demo) {
    assert_eq!(demo.get("api-shop-staging").await.0, 200, "the version before serves");
    assert_eq!(demo.service("staging", "api")["state"], "live");
}

async fn is_well(demo: &Demo) {
    until("the api is well again", async || {
        let row = demo.service("staging", "api");
        row["problem"].is_null() && row["state"] == "live" && demo.status()["busy"] == false
    })
    .await;
}

/// How many processes of the demo were started with these words.
fn running(demo: &Demo, words: &str) -> usize {
    left_over(&demo.data)
        .iter()
        .filter(|command| command.contains(words) && !command.contains("supervise"))
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_and_processes_that_misbehave_leave_the_version_before_serving() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder.path().join("demo"));
    a_build_that_hangs_is_called_off_by_what_mends_it(&demo).await;
    a_build_that_never_stops_printing_is_stopped(&demo).await;
    a_process_that_ends_at_once_is_told_with_its_last_words(&demo).await;
    a_process_that_never_becomes_ready_is_told(&demo).await;
    a_process_that_ignores_sigterm_is_killed(&demo).await;
    demo.end();
}

async fn a_build_that_hangs_is_called_off_by_what_mends_it(demo: &Demo) {
    let hangs = api(demo, |text| text.replace("rustc -O -o api main.rs", "sleep 4321"));
    demo.push("config", API, &hangs);
    until("it builds", async || running(demo, "sleep 4321") > 0).await;
    serves(demo).await;
    assert_eq!(demo.deployments("staging", "api").await[0]["state"], "building");
    demo.revert("config");
    is_well(demo).await;
    assert_eq!(running(demo, "sleep 4321"), 0, "nothing of it goes on");
    assert_eq!(demo.deployments("staging", "api").await[0]["state"], "superseded");
}

async fn a_build_that_never_stops_printing_is_stopped(demo: &Demo) {
    let endless = api(demo, |text| {
        text.replace("rustc -O -o api main.rs", "yes $(head -c 5000 /dev/zero | tr '\\0' x)")
    });
    demo.push("config", API, &endless);
    is_told(demo, "wrote more than 268435456 bytes of output and was stopped").await;
    assert_eq!(running(demo, "yes xxx"), 0);
    let store = std::fs::metadata(demo.data.join("branchline.db")).unwrap().len();
    assert!(store < 64 << 20, "its log was cut: the store has {store} bytes");
    demo.revert("config");
    is_well(demo).await;
}

async fn a_process_that_ends_at_once_is_told_with_its_last_words(demo: &Demo) {
    let crashes = api(demo, |text| {
        text.replace(r#"["./api"]"#, r#"["sh", "-c", "echo the roof is on fire >&2; exit 3"]"#)
    });
    let revision = demo.push("config", API, &crashes);
    is_told(demo, "exit").await;
    let app = demo.git("api", &["rev-parse", "HEAD"]);
    until("its last words are told", async || demo.run(&["why", &app]).0.contains("the roof is on fire"))
        .await;
    let cause = "keeps crashing (exit code 3";
    until("the commit is told", async || demo.note("config", &revision).contains(cause)).await;
    demo.revert("config");
    is_well(demo).await;
}

async fn a_process_that_never_becomes_ready_is_told(demo: &Demo) {
    let deaf = api(demo, |text| {
        text.replace(r#"["./api"]"#, r#"["sleep", "8765"]"#) + "  strategy: {progressDeadline: 5s}\n"
    });
    demo.push("config", API, &deaf);
    until("it is told", async || !demo.service("staging", "api")["problem"].is_null()).await;
    serves(demo).await;
    let problem = demo.service("staging", "api")["problem"].to_string();
    assert!(problem.contains("ready") || problem.contains("deadline"), "{problem}");
    demo.revert("config");
    is_well(demo).await;
    until("nothing of it is left", async || running(demo, "sleep 8765") == 0).await;
}

async fn a_process_that_ignores_sigterm_is_killed(demo: &Demo) {
    let text = std::fs::read_to_string(demo.work("config").join(WORKER)).unwrap();
    let stubborn = "trap '' TERM; while :; do sleep 1; done";
    let changed = text.replace(r#"["sh", "worker.sh"]"#, &format!(r#"["sh", "-c", "{stubborn}"]"#))
        + "  terminationGracePeriod: 2s\n";
    assert_ne!(text, changed);
    demo.push("config", WORKER, &changed);
    until("it runs", async || running(demo, stubborn) > 0).await;
    demo.revert("config");
    until("it is gone", async || running(demo, stubborn) == 0).await;
    until("the worker is as before", async || {
        let row = demo.service("staging", "worker");
        row["state"] == "live" && running(demo, "worker.sh") > 0
    })
    .await;
}
