//! Every verb that asks a server, as a person types it beside a demo that runs.

use std::path::Path;

use serde_json::Value;

use super::world::Demo;
use crate::program::until;

#[tokio::test(flavor = "multi_thread")]
async fn every_verb_says_what_it_did_or_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder.path().join("demo"));
    looking_has_columns_for_people_and_formats_for_machines(&demo);
    what_is_not_there_is_told_with_what_is(&demo);
    a_revision_may_have_a_name(&demo).await;
    logs_come_to_their_end_or_go_on(&demo);
    changes_are_commits_or_another_look(&demo).await;
    demo.end();
}

fn here(demo: &Demo) -> &Path {
    &demo.data
}

/// The data of a verb that went well.
fn well(demo: &Demo, arguments: &[&str]) -> String {
    let (out, err, code) = demo.verb(here(demo), arguments);
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    out
}

fn looking_has_columns_for_people_and_formats_for_machines(demo: &Demo) {
    let status = well(demo, &["status"]);
    let head: Vec<_> = status.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["ENVIRONMENT", "SERVICE", "STATE", "REVISION", "URL"]);
    let first = status.lines().nth(1).unwrap();
    assert!(first.starts_with("staging "), "in the order of promotion: {status}");
    let wide = well(demo, &["status", "-o", "wide"]);
    assert!(wide.contains("DEPLOYMENT") && wide.contains("static"), "{wide}");
    let names = well(demo, &["status", "-o", "name"]);
    assert!(names.lines().any(|name| name == "shop/production/web"), "{names}");
    let value: Value = serde_json::from_str(&well(demo, &["status", "-o", "json"])).unwrap();
    assert_eq!(value["services"].as_array().unwrap().len(), names.lines().count());
    assert_eq!(well(demo, &["projects", "-o", "name"]), "shop\n");
    assert!(well(demo, &["projects"]).contains("staging, production"));
    assert!(well(demo, &["plan", "-e", "staging"]).contains("Plan: 0 to add, 0 to change, 0 to destroy."));
    assert_eq!(well(demo, &["plan", "-e", "staging", "--detailed-exitcode", "-o", "name"]), "");
}

fn what_is_not_there_is_told_with_what_is(demo: &Demo) {
    let said = |arguments: &[&str], code| {
        let (out, err, ended) = demo.verb(here(demo), arguments);
        assert_eq!((ended, out.as_str()), (code, ""), "{arguments:?}: {out}{err}");
        err
    };
    let unknown =
        "error: there is no environment `nope` in the project `shop`\nhint: there is staging, production\n";
    assert_eq!(said(&["deploy", "-e", "nope"], 3), unknown);
    assert_eq!(said(&["plan", "-e", "nope"], 3), unknown);
    assert_eq!(said(&["rollback", "web", "-e", "nope"], 3), unknown);
    assert_eq!(said(&["logs", "web", "-e", "nope"], 3), unknown);
    let unknown = "error: there is no service `nope` in staging\nhint: there is api, report, web, worker\n";
    assert_eq!(said(&["deploy", "nope", "-e", "staging"], 3), unknown);
    assert_eq!(said(&["logs", "nope", "-e", "staging"], 3), unknown);
    assert_eq!(
        said(&["status", "-p", "nope"], 3),
        "error: there is no project `nope`\nhint: there is shop\n"
    );
    assert!(said(&["logs", "web"], 3).contains("hint: `branchline logs web -e ENV`"));
    assert!(said(&["approve", "12345678"], 3).contains("hint: `branchline status` shows what is held"));
    assert!(said(&["sync", "--token", "wrong"], 4).contains("hint: give --token"));
    assert!(said(&["rollback", "web", "-e", "staging"], 1).contains("no earlier release"));
    assert!(
        said(&["promote", "--from", "production", "--to", "staging"], 1)
            .contains("hint: set `follow: releases`")
    );
    let nowhere = "0123456789012345678901234567890123456789";
    assert!(
        said(&["deploy", "web", "-e", "production", "--ref", nowhere], 3)
            .contains(&format!("there is no commit {nowhere} in the repository of `web`"))
    );
    assert!(said(&["why", "no-such-branch"], 2).contains("hint: give at least 4 of its digits"));
}

async fn a_revision_may_have_a_name(demo: &Demo) {
    let web = demo.work("web");
    let (out, err, code) = demo.verb(&web, &["why", "HEAD"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("shop/staging/web: deployed"), "{out}");
    demo.push("web", "index.html", "<!doctype html>\n<title>Second</title>\n");
    until("it is known", async || {
        let out = demo.verb(&web, &["why", "HEAD"]).0;
        out.contains("web.git: deployed") && out.contains("shop/staging/web: deployed")
    })
    .await;
    let names = demo.verb(&web, &["why", "HEAD", "-o", "name"]).0;
    assert_eq!(names, "shop/production/web\nshop/staging/web\n");
}

fn logs_come_to_their_end_or_go_on(demo: &Demo) {
    let worker = well(demo, &["logs", "worker", "-e", "staging", "--tail", "1"]);
    assert_eq!(worker.lines().count(), 1, "{worker}");
    let parcels = well(demo, &["logs", "worker", "-e", "staging", "--grep", "parcel 1 "]);
    assert_eq!(parcels, "parcel 1 is on its way\n");
    let status: Value = serde_json::from_str(&well(demo, &["status", "-o", "json"])).unwrap();
    let mut rows = status["services"].as_array().unwrap().iter();
    let api = rows.find(|row| row["environment"] == "staging" && row["service"] == "api").unwrap();
    let id = api["deployment"].as_str().unwrap();
    assert!(well(demo, &["logs", id, "--follow"]).contains("$ rustc"));
    let whole: Value = serde_json::from_str(&well(demo, &["logs", id, "-o", "json"])).unwrap();
    assert_eq!((&whole["state"], &whole["ended"]), (&"live".into(), &true.into()));
}

async fn changes_are_commits_or_another_look(demo: &Demo) {
    until("staging has settled", async || demo.status()["busy"] == false).await;
    assert!(well(demo, &["promote", "web", "--from", "staging"]).starts_with("Committed "));
    until("production has it", async || {
        demo.service("production", "web")["revision"] == demo.service("staging", "web")["revision"]
    })
    .await;
    let first = demo.git("web", &["rev-list", "--max-parents=0", "HEAD"]);
    let pinned = well(demo, &["rollback", "web", "--to", &first[..8], "-o", "json"]);
    let pinned: Value = serde_json::from_str(&pinned).unwrap();
    assert_eq!(pinned["path"], "projects/shop/environments/production/releases.yaml");
    until("it is back", async || demo.service("production", "web")["revision"] == first.as_str()).await;
    assert_eq!(well(demo, &["sync", "-o", "json"]), "{\n  \"hinted\": true\n}\n");
    assert_eq!(well(demo, &["deploy", "web", "-e", "staging", "--wait"]), "");
    demo.push("worker", "worker.sh", "exit 3\n");
    until("the worker crashes", async || demo.service("staging", "worker")["problem"].is_string()).await;
    let (_, err, code) = demo.verb(here(demo), &["deploy", "worker", "-e", "staging", "--wait"]);
    assert!(code == 1 && err.contains("\nerror: worker: "), "{code}: {err}");
    assert_eq!(well(demo, &["deploy", "web", "-e", "staging", "--wait"]), "", "it is not asked about others");
    demo.push("worker", "worker.sh", "sleep 3\nexit 3\n");
    until("what crashes later is not promoted", async || {
        let (_, err, code) = demo.verb(here(demo), &["promote", "worker", "--from", "staging"]);
        code == 1
            && err.contains("`worker` is degraded in staging, and `promotion.require` asks for `healthy`")
    })
    .await;
}
