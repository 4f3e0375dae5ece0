//! A full disk, and what fills one. The data folder is a small file system of its own, mounted in a namespace of this
//! test's; where the machine lets nobody make one, the story is told only if `BRANCHLINE_TEST_REQUIRE` names `mount`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::demo::world::Demo;
use crate::program::until;
use crate::server::sign;

/// Set in the namespace: the folder that the small file system is mounted on.
const HERE: &str = "BRANCHLINE_TEST_SMALL_DISK";
/// Mounts it, with the repositories on the disk of the machine: it is the server's disk that is full, not Git's.
const MOUNT: &str = r#"
mkdir -p "$SMALL" "$LARGE/git" "$LARGE/work" && mount -t tmpfs -o size=160m small "$SMALL" &&
mkdir "$SMALL/git" "$SMALL/work" && mount --bind "$LARGE/git" "$SMALL/git" && mount --bind "$LARGE/work" "$SMALL/work" &&
exec "$@"
"#;

const PAGE: &str = "<!doctype html>\n<title>On a full disk</title>\n";

#[test]
fn a_full_disk_stops_nothing_and_is_told() {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount"]);
        command
    };
    let can = unshare().args(["mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !can.as_ref().is_ok_and(|output| output.status.success()) {
        let required = std::env::var("BRANCHLINE_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == "mount"),
            "no file system can be mounted here: {can:?}"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    let output = unshare()
        .args(["sh", "-c", MOUNT, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "bad_input::disk::in_the_namespace", "--ignored", "--nocapture"])
        .env("SMALL", &small)
        .env("LARGE", folder.path().join("large"))
        .env(HERE, &small)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the story above runs it where the small file system is mounted"]
async fn in_the_namespace() {
    let Some(data) = std::env::var_os(HERE).map(PathBuf::from) else { return };
    let demo = Demo::start(&data);
    let demo = what_nothing_runs_is_removed(demo).await;
    let ballast = fill(&data);
    serves_on(&demo).await;
    let revision = demo.push("web", "index.html", PAGE);
    until("it is told", async || {
        let status = demo.status().to_string();
        status.contains("No space left") || status.contains("is full")
    })
    .await;
    serves_on(&demo).await;
    let mut deliveries = 0;
    until("what cannot be kept is not accepted", async || {
        deliveries += 1;
        deliver(&demo, deliveries).await == 503
    })
    .await;
    assert_eq!(demo.answers("/livez").await, 200, "a restart would not help");
    assert_eq!(demo.answers("/readyz").await, 503);
    fs::remove_file(&ballast).unwrap();
    until("webhooks are accepted", async || deliver(&demo, deliveries).await == 202).await;
    until("it goes on by itself", async || demo.get("web-shop-staging").await.1 == PAGE).await;
    until("and says so", async || {
        let web = demo.service("staging", "web");
        web["revision"] == revision.as_str() && web["problem"].is_null() && demo.status()["trouble"].is_null()
    })
    .await;
    demo.end();
}

/// Delivers a webhook as GitHub does, and gives the status of the answer.
async fn deliver(demo: &Demo, number: u32) -> u16 {
    let secret = fs::read_to_string(demo.data.join("webhook-secret")).unwrap();
    let repository = json!({"id": 7, "full_name": "acme/nobodys"});
    let (before, after) = ("0".repeat(40), format!("{number:040x}"));
    let body = json!({"ref": "refs/heads/main", "before": before, "after": after, "repository": repository,
        "sender": {"login": "ada"}, "commits": [{"id": after, "message": "x".repeat(64 << 10)}]});
    let body = body.to_string();
    let request = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = request
        .post(format!("{}/webhooks/github", demo.server))
        .header("content-type", "application/json")
        .header("x-github-event", "push")
        .header("x-github-delivery", format!("delivery-{number}"))
        .header("x-hub-signature-256", sign(secret.trim(), body.as_bytes()))
        .body(body);
    request.send().await.unwrap().status().as_u16()
}

async fn serves_on(demo: &Demo) {
    for host in ["web-shop-staging", "api-shop-staging", "web-shop-production"] {
        assert_eq!(demo.get(host).await.0, 200, "{host} serves");
    }
}

/// Artifacts of long ago: those that run stay, the others go.
async fn what_nothing_runs_is_removed(demo: Demo) -> Demo {
    let folders = demo.data.join("builds/folders");
    let unused = folders.join("ab".repeat(32));
    fs::create_dir(&unused).unwrap();
    File::create(unused.join("done")).unwrap();
    demo.end();
    let names = || fs::read_dir(&folders).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let before = names();
    let long_ago = SystemTime::now() - Duration::from_hours(8 * 24);
    for folder in &before {
        File::options().append(true).open(folder.join("done")).unwrap().set_modified(long_ago).unwrap();
    }
    let demo = Demo::start(folders.parent().unwrap().parent().unwrap());
    until("what nothing runs is removed", async || !unused.exists()).await;
    assert_eq!(names().len(), before.len() - 1, "all else stays");
    serves_on(&demo).await;
    demo
}

/// Fills the file system to its last byte.
fn fill(data: &Path) -> PathBuf {
    let path = data.join("ballast");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    path
}
