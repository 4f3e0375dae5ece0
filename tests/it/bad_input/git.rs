//! Repositories that are not as they should be.

use std::path::PathBuf;

use serde_json::json;

use crate::demo::world::Demo;
use crate::git::{Repo, git};
use crate::program::until;

fn bare(demo: &Demo, name: &str) -> Repo {
    Repo { path: demo.data.join("git").join(format!("{name}.git")) }
}

/// Puts a tree on top of a branch, as nobody's Git would.
fn push_tree(repo: &Repo, tree: &str) {
    let parent = repo.find("refs/heads/main").unwrap();
    let commit = repo.commit_tree(tree, &[&parent], "hostile");
    repo.git(&["update-ref", "refs/heads/main", &commit]);
}

/// Takes the last commit back.
fn take_back(repo: &Repo) {
    repo.git(&["update-ref", "refs/heads/main", "refs/heads/main~1"]);
}

/// Moves a repository away; gives where it is.
fn hide(demo: &Demo, name: &str) -> PathBuf {
    let away = demo.data.join(format!("{name}-away"));
    std::fs::rename(bare(demo, name).path, &away).unwrap();
    away
}

fn bring_back(demo: &Demo, name: &str) {
    let path = bare(demo, name).path;
    let _ = std::fs::remove_dir_all(&path);
    std::fs::rename(demo.data.join(format!("{name}-away")), path).unwrap();
}

/// Everything serves as before, and nothing of it is about to go.
async fn all_serves(demo: &Demo) {
    for host in ["web-shop-staging", "api-shop-staging", "web-shop-production", "api-shop-production"] {
        until(&format!("{host} serves"), async || demo.get(host).await.0 == 200).await;
    }
    assert_eq!(demo.status()["held"], json!([]), "nothing is about to go");
    for row in demo.status()["services"].as_array().unwrap() {
        assert_eq!(row["state"], "live", "{row}");
    }
}

/// `status` tells it, while everything goes on.
async fn is_told(demo: &Demo, what: &str) {
    until(&format!("status says {what}"), async || {
        demo.run(&["sync"]);
        demo.run(&["status"]).0.contains(what)
    })
    .await;
    all_serves(demo).await;
}

async fn is_well(demo: &Demo) {
    until("all is well again", async || {
        demo.run(&["sync"]);
        let status = demo.status();
        let services = status["services"].as_array().unwrap();
        status["trouble"].is_null() && services.iter().all(|row| row["problem"].is_null())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_that_are_not_as_they_should_be_change_nothing_that_runs() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(&folder.path().join("demo"));
    hostile_trees(&demo).await;
    branches_that_go(&demo).await;
    history_that_is_rewritten(&demo).await;
    let demo = repositories_that_are_gone(demo).await;
    demo.end();
}

async fn hostile_trees(demo: &Demo) {
    let (web, config) = (bare(demo, "web"), bare(demo, "config"));
    let page = web.blob(b"<!doctype html>\n<title>Hostile</title>\n");
    let out = web.blob(b"../../../../../../etc/passwd");
    let commit = web.find("refs/heads/main").unwrap();
    let file = ("100644", &b"index.html"[..], page.as_str());
    for (entry, what) in [
        (("120000", &b"secrets.txt"[..], out.as_str()), "secrets.txt: it is a link that leaves the folder"),
        (("160000", b"module", commit.as_str()), "module: it is a submodule"),
        (("100644", b"..", page.as_str()), "..: its name leads to another folder"),
        (("100644", b".git", page.as_str()), ".git: its name is Git's own"),
    ] {
        push_tree(&web, &web.raw_tree(&[file, entry]));
        is_told(demo, what).await;
        assert!(!demo.get("web-shop-staging").await.1.contains("Hostile"));
        take_back(&web);
        is_well(demo).await;
    }
    let root = entries(&config, "main");
    let link = config.blob(b"/etc/passwd");
    let head = config.find("refs/heads/main").unwrap();
    let mut hostile = entries(&config, "main:projects");
    hostile.push(("100644".to_owned(), "..".to_owned(), link.clone()));
    let hostile = raw_tree(&config, &hostile);
    for (mode, id, what) in [
        ("120000", &link, "projects:1:1: it is a symbolic link"),
        ("160000", &head, "projects:1:1: it is a submodule"),
        ("40000", &hostile, "projects/..: its name leads to another folder"),
    ] {
        let with = |(m, name, i): &(String, String, String)| match name.as_str() {
            "projects" => (mode.to_owned(), name.clone(), id.clone()),
            _ => (m.clone(), name.clone(), i.clone()),
        };
        let tree = raw_tree(&config, &root.iter().map(with).collect::<Vec<_>>());
        push_tree(&config, &tree);
        is_told(demo, what).await;
        take_back(&config);
        is_well(demo).await;
    }
}

/// The entries of a tree: mode, name, id.
fn entries(repo: &Repo, tree: &str) -> Vec<(String, String, String)> {
    let entry = |line: &str| {
        let (head, name) = line.split_once('\t').unwrap();
        let mut head = head.split(' ');
        let mode = head.next().unwrap().trim_start_matches('0').to_owned();
        (mode, name.to_owned(), head.nth(1).unwrap().to_owned())
    };
    repo.git(&["ls-tree", tree]).lines().map(entry).collect()
}

fn raw_tree(repo: &Repo, entries: &[(String, String, String)]) -> String {
    let raw: Vec<_> =
        entries.iter().map(|(mode, name, id)| (mode.as_str(), name.as_bytes(), id.as_str())).collect();
    repo.raw_tree(&raw)
}

async fn branches_that_go(demo: &Demo) {
    for (name, what) in [("web", "web.git has no branch main"), ("config", "config.git has no branch main")] {
        let repo = bare(demo, name);
        repo.git(&["branch", "--move", "main", "other"]);
        is_told(demo, what).await;
        repo.git(&["branch", "--move", "other", "main"]);
        is_well(demo).await;
    }
}

async fn history_that_is_rewritten(demo: &Demo) {
    let page = "<!doctype html>\n<title>Rewritten</title>\n";
    let work = demo.work("web");
    git(&work, &["switch", "--quiet", "--orphan", "rewritten"]);
    std::fs::write(work.join("index.html"), page).unwrap();
    git(&work, &["add", "--all"]);
    git(&work, &["commit", "--quiet", "--message", "Another history"]);
    git(&work, &["push", "--quiet", "--force", "origin", "HEAD:main"]);
    until("what the branch names now is served", async || demo.get("web-shop-staging").await.1 == page).await;
    assert_ne!(demo.get("web-shop-production").await.1, page, "the pinned commit is still there");
    all_serves(demo).await;
}

async fn repositories_that_are_gone(demo: Demo) -> Demo {
    let served = demo.get("web-shop-staging").await;
    for (name, what) in [("web", "web.git cannot be reached"), ("config", "config.git cannot be reached")] {
        hide(&demo, name);
        is_told(&demo, what).await;
        bring_back(&demo, name);
        is_well(&demo).await;
        hide(&demo, name);
        let empty = bare(&demo, name);
        let folder = empty.path.parent().unwrap();
        Repo::bare(folder, &format!("{name}.git"));
        is_told(&demo, &format!("{name}.git lists no branch")).await;
        bring_back(&demo, name);
        is_well(&demo).await;
    }
    for name in ["web", "config"] {
        hide(&demo, name);
    }
    let revision = demo.push("worker", "more.txt", "more\n");
    until("the others go on", async || demo.service("staging", "worker")["revision"] == revision.as_str())
        .await;
    let data = demo.kill();
    let demo = Demo::serve(&data, |_| {});
    until("what ran is back", async || demo.get("web-shop-staging").await == served).await;
    all_serves(&demo).await;
    for what in ["web.git cannot be reached", "config.git cannot be reached"] {
        is_told(&demo, what).await;
    }
    for name in ["web", "config"] {
        bring_back(&demo, name);
    }
    is_well(&demo).await;
    demo
}
