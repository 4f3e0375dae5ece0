//! Mistakes in the config repository.

use kube::api::DeleteParams;
use serde_json::json;

use crate::demo::world::Demo;
use crate::program::until;

const WEB: &str = "projects/shop/services/web.yaml";
const HEAD: &str = "apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: static\n  source: {repo: ../web.git}\n";

fn page(title: &str) -> String {
    format!("<!doctype html>\n<title>{title}</title>\n")
}

/// What is told of a service, where nothing else is wrong.
async fn is_told(demo: &Demo, service: &str, what: &str) {
    until(&format!("{service} says {what}"), async || {
        let row = demo.service("staging", service);
        row["problem"].as_str().is_some_and(|problem| problem.contains(what))
            && demo.run(&["status"]).0.contains(what)
    })
    .await;
    assert_eq!(demo.get("web-shop-staging").await.0, 200, "what runs goes on");
    assert_eq!(demo.status()["held"], json!([]), "nothing of it is about to go");
}

async fn is_well(demo: &Demo) {
    until("all is well again", async || {
        let status = demo.status();
        let quiet = status["trouble"].is_null() && status["problems"] == json!([]);
        let services = status["services"].as_array().unwrap();
        quiet && services.iter().all(|row| row["problem"].is_null() && row["state"] == "live")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_named_at_their_place_and_stop_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder.path().join("demo"));
    mistakes_in_a_service(&demo).await;
    mistakes_in_a_template(&demo).await;
    a_policy_that_refuses_what_runs(&demo).await;
    hostile_values_stay_values(&demo).await;
    let demo = what_is_broken_comes_back_after_a_restart(demo).await;
    demo.end();
}

/// One service whose file is broken and one whose template is: both ran before, so both run again.
async fn what_is_broken_comes_back_after_a_restart(demo: Demo) -> Demo {
    let served = demo.get("web-shop-staging").await;
    demo.push("config", WEB, "\tbroken\n");
    std::fs::create_dir_all(demo.work("config").join("templates/web")).unwrap();
    demo.push("config", "templates/web/90-more.yaml.hbs", "{{nmae}}\n");
    is_told(&demo, "web", "web.yaml:1:1: a tab").await;
    is_told(&demo, "api", "90-more.yaml.hbs:1:").await;
    let data = demo.kill();
    let demo = Demo::start(&data);
    until("both serve again", async || {
        demo.get("web-shop-staging").await == served && demo.get("api-shop-staging").await.0 == 200
    })
    .await;
    is_told(&demo, "web", "web.yaml:1:1: a tab").await;
    is_told(&demo, "api", "90-more.yaml.hbs:1:").await;
    let api = crate::demo::drift::deployments(&demo, "shop-staging").await;
    let before = api.get("web").await.unwrap().metadata.uid;
    api.delete("web", &DeleteParams::default()).await.unwrap();
    until("what ran is put back", async || {
        api.get_opt("web").await.unwrap().is_some_and(|made| made.metadata.uid != before)
    })
    .await;
    until("it serves", async || demo.get("web-shop-staging").await == served).await;
    demo.revert("config");
    demo.git("config", &["revert", "--no-edit", "HEAD~2"]);
    demo.git("config", &["push", "--quiet"]);
    is_well(&demo).await;
    demo
}

async fn mistakes_in_a_service(demo: &Demo) {
    let aliases = |n: u32| (0..9).map(|_| format!("*a{n}")).collect::<Vec<_>>().join(", ");
    let bomb = (1..9)
        .fold("x: &a0 [lol]\n".to_owned(), |text, n| text + &format!("x{n}: &a{n} [{}]\n", aliases(n - 1)));
    for (text, what) in [
        (format!("{HEAD}\tdescription: tabs\n"), "web.yaml:7:1: a tab"),
        (format!("{HEAD}  type: worker\n"), "web.yaml:7:3: "),
        (format!("{HEAD}  replicas: many\n"), "web.yaml:7:13: "),
        (format!("{HEAD}  healthcheck: {{path: /}}\n"), "web.yaml:7:3: "),
        (
            format!("{HEAD}  env: {{A: '${{{{ env.B }}}}', B: '${{{{ env.A }}}}'}}\n"),
            "in a circle: A → B → A",
        ),
        (format!("{HEAD}  env: {{A: '${{{{ services.nobody.url }}}}'}}\n"), "web.yaml:7:12: "),
        (bomb, "the file asks too much of the reader"),
    ] {
        let revision = demo.push("config", WEB, &text);
        is_told(demo, "web", what).await;
        until("the commit is told", async || demo.note("config", &revision).contains(what.trim_end())).await;
        assert!(demo.service("staging", "api")["problem"].is_null(), "the others know nothing of it");
        demo.revert("config");
    }
    is_well(demo).await;
}

async fn mistakes_in_a_template(demo: &Demo) {
    let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: all}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\n";
    let elsewhere =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{name}}, namespace: kube-system}\ndata: {}\n";
    let missing =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{nmae}}, namespace: {{namespace}}}\ndata: {}\n";
    for (text, what) in
        [(role, "ClusterRoleBinding"), (elsewhere, "kube-system"), (missing, "90-more.yaml.hbs:3:")]
    {
        std::fs::create_dir_all(demo.work("config").join("templates/static")).unwrap();
        demo.push("config", "templates/static/90-more.yaml.hbs", text);
        is_told(demo, "web", what).await;
        is_told(demo, "web", "templates/static/90-more.yaml.hbs:").await;
        demo.revert("config");
        is_well(demo).await;
    }
}

/// Nothing but the policy changes, and what was rendered before is refused.
async fn a_policy_that_refuses_what_runs(demo: &Demo) {
    let path = demo.work("config").join("branchline.yaml");
    let whole = std::fs::read_to_string(path).unwrap();
    let (without_limits, _) = whole.split_once("  defaults:").unwrap();
    let revision = demo.push("config", "branchline.yaml", without_limits);
    until("all run without limits", async || demo.note("config", &revision).contains("Live")).await;
    is_well(demo).await;
    let strict = without_limits.replace("policy: {", "policy: {requireResourceLimits: true, ");
    demo.push("config", "branchline.yaml", &strict);
    is_told(demo, "web", "policy.requireResourceLimits").await;
    demo.revert("config");
    is_well(demo).await;
    demo.push("config", "branchline.yaml", &whole);
    is_well(demo).await;
}

/// A value never becomes YAML or a template, wherever it stands.
async fn hostile_values_stay_values(demo: &Demo) {
    let hostile = "x: y\n---\nkind: ClusterRole # {{#each this}} {{{name}}} ${{ */ *a &b ! | > % @ `";
    let text = json!({
        "apiVersion": "branchline.dev/v1", "kind": "Service", "metadata": {"name": "worker"},
        "spec": {"type": "worker", "source": {"repo": "../worker.git"}, "build": {"builder": "none"},
            "command": ["sh", "worker.sh"], "description": hostile.replace("${{", "$${{"),
            "env": {"API_URL": "${{ services.api.url }}", "HOSTILE": hostile.replace("${{", "$${{")}},
    });
    let revision = demo.push("config", "projects/shop/services/worker.yaml", &text.to_string());
    let api = crate::demo::drift::deployments(demo, "shop-staging").await;
    until("the value is there, whole and alone", async || {
        let worker = serde_json::to_value(api.get("worker").await.unwrap()).unwrap();
        let env = worker["spec"]["template"]["spec"]["containers"][0]["env"].as_array().unwrap();
        env.iter().any(|variable| variable["name"] == "HOSTILE" && variable["value"] == hostile)
    })
    .await;
    is_well(demo).await;
    assert!(!demo.note("config", &revision).contains("problem"));
    demo.revert("config");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_root_stops_no_commit_also_after_a_restart() {
    const BROKEN: [(&str, &str, &str); 4] = [
        ("branchline.yaml", "kind: [\n", "branchline.yaml:1:7"),
        ("projects/shop/project.yaml", "kind: Project\nkind: Project\n", "projects/shop/project.yaml:2:1"),
        (
            "projects/shop/environments/staging/environment.yaml",
            "{spec: {}}\n",
            "staging/environment.yaml:1:1",
        ),
        ("projects/shop/environments/production/releases.yaml", "spec: \t\n", "production/releases.yaml:1:"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder.path().join("demo"));
    let before = demo.get("web-shop-production").await;
    assert_eq!(before.0, 200);
    let mut last = String::new();
    for (file, text, what) in BROKEN {
        demo.push("config", file, text);
        until("it is told", async || demo.run(&["status"]).0.contains(what)).await;
        last = page(&format!("{file} is broken"));
        demo.push("web", "index.html", &last);
        until("commits go live all the same", async || demo.get("web-shop-staging").await.1 == last).await;
    }
    let data = demo.kill();
    let demo = Demo::start(&data);
    until("all of it is back", async || demo.get("web-shop-staging").await.1 == last).await;
    let (status, _) = demo.run(&["status"]);
    assert!(BROKEN.iter().all(|(_, _, what)| status.contains(what)), "all is still told:\n{status}");
    assert_eq!(demo.get("web-shop-production").await, before);
    assert_eq!(demo.get("api-shop-production").await.0, 200);
    assert_eq!(demo.status()["held"], json!([]), "nothing of it is about to go");
    let after = page("all of it is still broken");
    demo.push("web", "index.html", &after);
    until("commits go live again", async || demo.get("web-shop-staging").await.1 == after).await;
    demo.git("config", &["pull", "--quiet", "--ff-only"]);
    demo.git("config", &["revert", "--no-edit", "HEAD~4..HEAD"]);
    demo.git("config", &["push", "--quiet"]);
    is_well(&demo).await;
    demo.end();
}
