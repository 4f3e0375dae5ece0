//! What the demo shows, told with the real program: pushes, mistakes, previews, releases, drift and kill -9.

pub(crate) mod drift;
mod verbs;
pub(crate) mod world;

use kube::api::ListParams;
use serde_json::json;

use crate::program::{left_over, program, until};
use world::Demo;

const HELLO: &str = "<!doctype html>\n<title>Hello</title>\n";

#[tokio::test(flavor = "multi_thread")]
async fn commits_go_live_and_mistakes_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder.path().join("demo"));
    wrong_addresses_are_told_from_wrong_methods(&demo).await;
    commits_are_live(&demo).await;
    broken_code_leaves_the_old_version_serving(&demo).await;
    services_come_and_go(&demo).await;
    an_emptied_config_stops_nothing(&demo).await;
    an_environment_goes_once_somebody_says_so(&demo).await;
    releases_are_commits(&demo).await;
    drift::is_healed(&demo).await;
    drift::is_healed_while_a_rollout_waits(&demo).await;
    drift::is_healed_where_a_namespace_was_deleted(&demo).await;
    what_takes_a_namespace_over_asks_before_anything_goes(&demo).await;
    a_word_that_was_given_outlives_the_process(demo).await.end();
}

async fn wrong_addresses_are_told_from_wrong_methods(demo: &Demo) {
    for path in
        ["/api/v1/nothing", "/api/v1/deployments/nobody/nothing", "/schemas/v1/nothing.json", "/nothing"]
    {
        assert_eq!(demo.answers(path).await, 404, "{path}");
    }
    for path in ["/api/v1/sync", "/api/v1/promotions", "/webhooks/github"] {
        assert_eq!(demo.answers(path).await, 405, "{path}");
    }
}

async fn commits_are_live(demo: &Demo) {
    let revision = demo.push("web", "index.html", HELLO);
    until("the commit is served", async || demo.get("web-shop-staging").await == (200, HELLO.to_owned()))
        .await;
    until("the record says so", async || demo.service("staging", "web")["revision"] == revision.as_str())
        .await;
    assert_ne!(demo.get("web-shop-production").await.1, HELLO, "production follows releases");
    until("the commit has its note", async || {
        let note = demo.note("web", &revision);
        let page = format!("{}/deployments/", demo.server);
        note.contains("staging") && note.to_lowercase().contains("live") && note.contains(&page)
    })
    .await;
    let first = demo.git("web", &["rev-list", "--max-parents=0", "HEAD"]);
    let note = demo.note("web", &first);
    assert!(
        note.contains("http://web-shop-production.localhost:"),
        "every live service has its address: {note}"
    );
}

async fn broken_code_leaves_the_old_version_serving(demo: &Demo) {
    let before = demo.service("staging", "api")["revision"].clone();
    let revision = demo.push("api", "main.rs", "fn main() { let oops: u32 = \"not a number\"; }\n");
    until("the failure is known", async || demo.service("staging", "api")["problem"].is_string()).await;
    let row = demo.service("staging", "api");
    assert_eq!((&row["state"], &row["revision"]), (&json!("live"), &before));
    assert!(demo.run(&["status"]).0.contains("Failed at Build"));
    let (why, _) = demo.run(&["why", &revision]);
    assert!(why.contains("failed at Build") && why.contains("mismatched types"), "{why}");
    assert_eq!(demo.get("api-shop-staging").await.0, 200);
    until("the note says so", async || demo.note("api", &revision).contains("Failed at build")).await;
    demo.revert("api");
    until("it is well again", async || {
        let row = demo.service("staging", "api");
        row["problem"].is_null() && row["state"] == "live" && !row["message"].as_str().unwrap().contains('·')
    })
    .await;
}

async fn services_come_and_go(demo: &Demo) {
    let web = std::fs::read_to_string(demo.work("config").join("projects/shop/services/web.yaml")).unwrap();
    let second = web.replace("name: web", "name: second");
    demo.push("config", "projects/shop/services/second.yaml", &second);
    until("the new service answers", async || demo.get("second-shop-staging").await.0 == 200).await;
    demo.push(
        "config",
        "projects/shop/services/second.yaml",
        &second.replace("type: static", "typo: static"),
    );
    until("the broken file is told", async || demo.service("staging", "second")["problem"].is_string()).await;
    assert_eq!(demo.get("second-shop-staging").await.0, 200, "what runs goes on");
    assert!(demo.service("staging", "web")["problem"].is_null(), "the others know nothing of it");
    demo.revert("config");
    until("the problem is gone", async || demo.service("staging", "second")["problem"].is_null()).await;
    demo.git("config", &["rm", "--quiet", "projects/shop/services/second.yaml"]);
    demo.git("config", &["commit", "--quiet", "--message", "no second"]);
    demo.git("config", &["push", "--quiet"]);
    until("its record is gone", async || demo.service("staging", "second").is_null()).await;
    assert_ne!(demo.get("second-shop-staging").await.0, 200);
    assert_eq!(drift::deployments(demo, "shop-staging").await.get_opt("second").await.unwrap(), None);
}

async fn an_emptied_config_stops_nothing(demo: &Demo) {
    for removed in ["projects", "."] {
        demo.git("config", &["rm", "-r", "--quiet", removed]);
        demo.git("config", &["commit", "--quiet", "--message", "gone"]);
        demo.git("config", &["push", "--quiet"]);
        until("it is held, and said so", async || {
            let status = demo.status();
            status["trouble"].is_string() || status["held"].as_array().is_some_and(|held| held.len() == 2)
        })
        .await;
        assert_eq!(demo.get("web-shop-staging").await.0, 200);
        assert_eq!(demo.get("api-shop-production").await.0, 200);
        demo.revert("config");
        until("all is well again", async || {
            let status = demo.status();
            status["trouble"].is_null() && status["held"] == json!([]) && status["busy"] == false
        })
        .await;
    }
    let page = "<!doctype html>\n<title>After</title>\n";
    demo.push("web", "index.html", page);
    until("commits go on", async || demo.get("web-shop-staging").await.1 == page).await;
}

async fn an_environment_goes_once_somebody_says_so(demo: &Demo) {
    let file = "projects/shop/environments/extra/environment.yaml";
    let at = |namespace: &str| {
        let kind = "apiVersion: branchline.dev/v1\nkind: Environment\nmetadata: {name: extra}";
        format!("{kind}\nspec: {{follow: branch{namespace}}}\n")
    };
    demo.push("config", file, &at(""));
    until("it serves", async || demo.get("web-shop-extra").await.0 == 200).await;
    until("all is live", async || demo.status()["busy"] == false).await;
    let all = deployed(demo, "shop-extra").await;
    assert!(all > 0);
    demo.push("config", file, &at(", namespace: elsewhere"));
    let reason = removal_is_held(demo).await;
    assert_eq!(reason, "the environment is in another namespace now");
    until("it is made elsewhere", async || deployed(demo, "elsewhere").await == all).await;
    assert_eq!(deployed(demo, "shop-extra").await, all, "nothing stops");
    approve(demo);
    until("it is in one place", async || deployed(demo, "shop-extra").await == 0).await;
    until("nothing is held", async || demo.status()["held"] == json!([])).await;
    assert_eq!(demo.service("extra", "web")["state"], "live");
    until("it serves from there", async || demo.get("web-shop-extra").await.0 == 200).await;
    demo.git("config", &["rm", "--quiet", file]);
    demo.git("config", &["commit", "--quiet", "--message", "no extra"]);
    demo.git("config", &["push", "--quiet"]);
    let reason = removal_is_held(demo).await;
    assert_eq!(reason, "the environment is no longer in the configuration");
    assert_eq!(demo.get("web-shop-extra").await.0, 200, "nothing stops");
    approve(demo);
    until("its records are gone", async || {
        let status = demo.status();
        let mut rows = status["services"].as_array().unwrap().iter();
        status["held"] == json!([]) && rows.all(|row| row["environment"] != "extra")
    })
    .await;
    assert_ne!(demo.get("web-shop-extra").await.0, 200);
    assert_eq!(deployed(demo, "elsewhere").await, 0);
    let revision = demo.git("config", &["rev-parse", "HEAD"]);
    until("its commit no longer waits for anybody", async || {
        let note = demo.note("config", revision.trim());
        note.contains("emoved") && !note.contains("approv")
    })
    .await;
    assert_eq!(demo.get("web-shop-staging").await.0, 200);
}

/// A project of three sleepers.
fn sleepers(project: &str, names: [&str; 3]) -> Vec<(String, String)> {
    let head = "apiVersion: branchline.dev/v1";
    let folder = format!("projects/{project}");
    let environment = format!(
        "{head}\nkind: Environment\nmetadata: {{name: live}}\nspec: {{follow: branch, namespace: sleepers}}\n"
    );
    let mut files = vec![
        (
            format!("{folder}/project.yaml"),
            format!("{head}\nkind: Project\nmetadata: {{name: {project}}}\nspec: {{}}\n"),
        ),
        (format!("{folder}/environments/live/environment.yaml"), environment),
    ];
    files.extend(names.map(|name| {
        let spec = "type: worker\n  source: {repo: ../worker.git}\n  command: [sh, worker.sh]";
        let service = format!("{head}\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n");
        (format!("{folder}/services/{name}.yaml"), service)
    }));
    files
}

async fn what_takes_a_namespace_over_asks_before_anything_goes(demo: &Demo) {
    let change = |gone: Option<&str>, files: Vec<(String, String)>| {
        if let Some(gone) = gone {
            demo.git("config", &["rm", "-r", "--quiet", gone]);
        }
        for (file, text) in files {
            let path = demo.work("config").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        demo.git("config", &["add", "--all"]);
        demo.git("config", &["commit", "--quiet", "--message", "sleepers"]);
        demo.git("config", &["push", "--quiet"]);
    };
    let named = async |names: [&str; 3]| {
        let all = drift::deployments(demo, "sleepers").await.list(&ListParams::default()).await.unwrap();
        names.iter().all(|name| all.iter().any(|one| one.metadata.name.as_deref() == Some(*name)))
    };
    change(None, sleepers("first", ["one", "two", "three"]));
    until("they run", async || named(["one", "two", "three"]).await).await;
    until("all is live", async || demo.status()["busy"] == false).await;
    change(Some("projects/first"), sleepers("second", ["uno", "due", "tre"]));
    until("the others run too", async || named(["uno", "due", "tre"]).await).await;
    until("the removal of the first is held", async || {
        demo.whole_status().await["held"][0]["reasons"]
            .to_string()
            .contains("the namespace was that of first/live")
    })
    .await;
    demo.run(&["sync"]);
    until("it has looked again", async || demo.whole_status().await["busy"] == false).await;
    assert!(named(["one", "two", "three"]).await, "nothing goes before somebody says so");
    change(Some("projects/second"), Vec::new());
    until("both wait", async || {
        let status = demo.whole_status().await;
        let held = status["held"].as_array().unwrap();
        held.iter().any(|held| held["services"].as_array().unwrap().len() == 6)
    })
    .await;
    assert!(named(["one", "two", "three"]).await && named(["uno", "due", "tre"]).await);
    until("all of them go", async || {
        for held in demo.whole_status().await["held"].as_array().unwrap() {
            if let Some(plan) = held["plan"].as_str() {
                demo.run(&["approve", &plan[..12]]);
            }
        }
        deployed(demo, "sleepers").await == 0 && demo.whole_status().await["held"] == json!([])
    })
    .await;
}

async fn a_word_that_was_given_outlives_the_process(demo: Demo) -> Demo {
    let file = "projects/shop/environments/extra/environment.yaml";
    let extra =
        "apiVersion: branchline.dev/v1\nkind: Environment\nmetadata: {name: extra}\nspec: {follow: branch}\n";
    demo.push("config", file, extra);
    until("it serves", async || demo.get("web-shop-extra").await.0 == 200).await;
    until("all is live", async || demo.status()["busy"] == false).await;
    demo.git("config", &["rm", "--quiet", file]);
    demo.git("config", &["commit", "--quiet", "--message", "no extra"]);
    demo.git("config", &["push", "--quiet"]);
    removal_is_held(&demo).await;
    approve(&demo);
    let demo = Demo::start(&demo.kill());
    until("it is gone", async || {
        demo.status()["held"] == json!([]) && deployed(&demo, "shop-extra").await == 0
    })
    .await;
    demo
}

/// Waits until the removal of what `extra` was is held, and gives the reasons.
async fn removal_is_held(demo: &Demo) -> String {
    until("its removal is held", async || demo.status()["held"][0]["environment"] == "extra").await;
    let status = demo.status();
    let reasons = status["held"][0]["reasons"].as_array().unwrap().iter();
    reasons.filter_map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ")
}

fn approve(demo: &Demo) {
    let plan = demo.status()["held"][0]["plan"].as_str().unwrap().to_owned();
    let (said, well) = demo.run(&["approve", &plan[..12]]);
    assert!(well, "{said}");
}

/// How many Deployments a namespace has.
async fn deployed(demo: &Demo, namespace: &str) -> usize {
    drift::deployments(demo, namespace).await.list(&ListParams::default()).await.unwrap().items.len()
}

async fn releases_are_commits(demo: &Demo) {
    // while a rollout runs, the old version answers too
    until("staging has settled", async || demo.status()["busy"] == false).await;
    let page = demo.get("web-shop-staging").await.1;
    let before = demo.get("web-shop-production").await.1;
    let (said, well) = demo.run(&["promote", "web", "--from", "staging", "--to", "production"]);
    assert!(well, "{said}");
    until("the promotion is served", async || demo.get("web-shop-production").await.1 == page).await;
    until("the promotion is recorded", async || demo.status()["busy"] == false).await;
    let (said, well) = demo.run(&["rollback", "web", "--environment", "production"]);
    assert!(well, "{said}");
    until("the release before is served", async || demo.get("web-shop-production").await.1 == before).await;
    until("the rollback is recorded", async || demo.status()["busy"] == false).await;
    let (said, well) = demo.run(&["rollback", "web", "--environment", "production"]);
    assert!(!well && said.contains("no earlier release"), "what was rolled back from stays away: {said}");
    let newest = demo.git("web", &["rev-parse", "HEAD"]);
    let (said, well) = demo.run(&["deploy", "web", "--environment", "production"]);
    assert!(well && said.starts_with("Committed "), "{said}");
    until("the newest is served", async || demo.get("web-shop-production").await.1 == page).await;
    let (said, well) = demo.run(&["promote", "web", "--from", "staging", "--to", "production"]);
    assert!(well, "{said}");
    let (said, well) = demo.run(&["promote", "web", "--from", "staging", "--to", "production"]);
    assert!(well && said.starts_with("Nothing changed: "), "{said}");
    until("it has settled", async || demo.status()["busy"] == false).await;
    let (said, well) = demo.run(&["rollback", "web", "--environment", "staging"]);
    assert!(well, "{said}");
    until("it is held, and says how to go on", async || {
        let row = demo.service("staging", "web");
        row["message"].as_str().is_some_and(|message| message.contains("branchline resume web -e staging"))
    })
    .await;
    let (said, well) = demo.run(&["resume", "web", "--environment", "staging"]);
    assert!(well, "{said}");
    until("it follows its branch again", async || {
        demo.service("staging", "web")["revision"].as_str() == Some(newest.trim())
    })
    .await;
    let (said, well) = demo.run(&["resume", "web", "--environment", "staging"]);
    assert!(!well && said.contains("it follows its branch"), "{said}");
    until("it has settled", async || demo.status()["busy"] == false).await;
    demo.git("config", &["pull", "--quiet", "--ff-only"]);
    let changes = ["log", "-8", "--format=%s", "--", "projects/shop/environments/production/releases.yaml"];
    let log = demo.git("config", &changes);
    assert!(log.contains("web from staging to production") && log.contains("back to"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_follow_their_pull_request_also_while_nobody_looks() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder.path().join("demo"));
    let propose = |demo: &Demo, content: &str| {
        demo.git("web", &["switch", "--quiet", "--force-create", "try", "main"]);
        std::fs::write(demo.work("web").join("index.html"), content).unwrap();
        demo.git("web", &["commit", "--quiet", "--all", "--message", "Try"]);
        demo.git("web", &["push", "--quiet", "--force", "origin", "HEAD:refs/pull/1/head"]);
    };
    propose(&demo, HELLO);
    until("the preview answers", async || demo.get("web-shop-pr-web-1").await == (200, HELLO.to_owned()))
        .await;
    until("its record is live", async || demo.service("pr-web-1", "web")["state"] == "live").await;
    demo.git("web", &["push", "--quiet", "origin", ":refs/pull/1/head"]);
    until("its record is gone", async || demo.service("pr-web-1", "web").is_null()).await;
    assert_ne!(demo.get("web-shop-pr-web-1").await.0, 200);
    propose(&demo, HELLO);
    until("it is back", async || demo.service("pr-web-1", "web")["state"] == "live").await;

    let pages = [demo.deployments("staging", "web").await, demo.deployments("production", "api").await];
    let work = demo.work("web");
    let data = demo.kill();
    until("nothing outlives the server", async || left_over(&data).is_empty()).await;
    crate::git::git(&work, &["push", "--quiet", "origin", ":refs/pull/1/head"]);
    let demo = Demo::start(&data);
    until("the preview that was closed meanwhile is gone", async || {
        demo.service("pr-web-1", "web").is_null()
    })
    .await;
    for service in demo.status()["services"].as_array().unwrap() {
        assert_eq!(service["state"], "live", "{service}");
        assert!(service["problem"].is_null(), "{service}");
    }
    for host in ["web-shop-staging", "api-shop-staging", "web-shop-production", "api-shop-production"] {
        until("it serves again", async || demo.get(host).await.0 == 200).await;
    }
    let again = [demo.deployments("staging", "web").await, demo.deployments("production", "api").await];
    assert_eq!(again, pages, "the same input is deployed once");
    demo.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_answers_500_makes_the_demo_fail() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let demo = Demo::start(&data);
    let main = std::fs::read_to_string(demo.work("api").join("main.rs")).unwrap();
    let broken = main.replace("\"200 OK\", app.about()", "\"500 Internal Server Error\", app.about()");
    assert_ne!(main, broken);
    demo.push("api", "main.rs", &broken);
    demo.end();
    let output = program(&data)
        .args(["demo", "--once", "-o", "json", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .output()
        .unwrap();
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &said["settled"]), (Some(1), &json!(false)), "{said:#}");
    assert_eq!(left_over(&data), Vec::<String>::new());
}
