//! What people do meanwhile: drawn from a seed, each with the webhook that GitHub sends for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::random::Random;
use super::stage::{CONFIG, JOBS, SECRET, SITE, Stage, short};
use crate::git::Repo;
use crate::server::sign;

/// A pull request that people opened.
pub(super) struct Pull {
    pub(super) repo: &'static str,
    pub(super) number: u64,
    pub(super) branch: String,
    pub(super) open: bool,
    /// From another repository.
    pub(super) fork: bool,
}

/// What was accepted: the repository and the commit, and what was done.
type Accepted = Arc<Mutex<BTreeMap<(&'static str, String), String>>>;

pub(super) struct Script<'s> {
    stage: &'s Stage,
    random: Random,
    steps: usize,
    serial: usize,
    /// What the config says now.
    level: usize,
    docs: bool,
    pub(super) pulls: Vec<Pull>,
    pub(super) story: Vec<String>,
    accepted: Accepted,
    deliveries: Arc<Mutex<BTreeSet<String>>>,
    sending: JoinSet<()>,
}

impl<'s> Script<'s> {
    pub(super) fn new(stage: &'s Stage, random: Random) -> Self {
        Self {
            stage,
            random,
            steps: 0,
            serial: 0,
            level: 0,
            docs: true,
            pulls: Vec::new(),
            story: Vec::new(),
            accepted: Arc::default(),
            deliveries: Arc::default(),
            sending: JoinSet::new(),
        }
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    pub(super) fn docs(&self) -> bool {
        self.docs
    }

    /// The commits that were named by a webhook that was answered with 202, and what they are.
    pub(super) fn accepted(&self) -> BTreeMap<(&'static str, String), String> {
        self.accepted.lock().expect("no panic").clone()
    }

    pub(super) fn accepted_deliveries(&self) -> usize {
        self.deliveries.lock().expect("no panic").len()
    }

    /// Waits until every webhook was accepted.
    pub(super) async fn delivered(&mut self) {
        while let Some(sent) = self.sending.join_next().await {
            sent.unwrap();
        }
    }

    /// What stands there before the first server.
    pub(super) fn opening(&mut self) {
        let build = "grep -q broken index.html && { echo it is broken; exit 1; }\nmkdir -p out && cp index.html out/\n";
        let page = self.page("web");
        self.push(
            SITE,
            &[
                ("web/build.sh", build),
                ("web/index.html", &page),
                ("docs/index.html", "docs"),
                ("README.md", "site"),
            ],
            "the site",
        );
        self.push(JOBS, &[("worker.sh", WORKER)], "the jobs");
        self.config("the config");
    }

    /// One step, drawn.
    pub(super) fn step(&mut self) {
        self.steps += 1;
        let open: Vec<usize> = (0..self.pulls.len()).filter(|at| self.pulls[*at].open).collect();
        match self.random.below(24) {
            0..=2 => self.push_page("web"),
            3 => self.push_page("docs"),
            4 => {
                let worker = format!("{WORKER}# {}\n", self.number());
                self.push(JOBS, &[("worker.sh", &worker)], "the worker");
            }
            5 => {
                let text = self.page("readme");
                self.push(SITE, &[("README.md", &text)], "what nobody reads");
            }
            6 => {
                self.push_page("web");
                self.push_page("web");
            }
            7 => self.push_three(),
            8 | 9 => {
                let page = format!("broken {}", self.number());
                self.push(SITE, &[("web/index.html", &page)], "a broken page");
            }
            10 => self.push(SITE, &[("web/index.html", "as it was once")], "the same page again"),
            11 => self.force_push(),
            12 | 13 => {
                self.level += 1;
                self.config("another level");
            }
            14 => {
                let text = self.page("readme");
                self.push(CONFIG, &[("README.md", &text)], "what the config does not read");
            }
            15 | 16 => {
                self.docs = !self.docs;
                self.config(if self.docs { "docs are back" } else { "no docs" });
            }
            17 => self.break_config(),
            18 | 19 if open.len() < 3 => self.open_pull(),
            20 if self.pulls.iter().all(|pull| !pull.fork) => self.open_fork(),
            21 | 22 if open.is_empty() => self.open_pull(),
            _ if open.is_empty() => self.push_page("web"),
            kind => {
                let at = *self.random.pick(&open);
                if matches!(kind, 21 | 22) { self.push_to_pull(at) } else { self.close_pull(at) }
            }
        }
    }

    /// From now on the config cannot be read.
    pub(super) fn break_config(&mut self) {
        let typo =
            "apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {name: worker}\nspec: {typo: worker}\n";
        self.push(CONFIG, &[("projects/shop/services/worker.yaml", typo)], "a broken config");
    }

    /// Everything is as it should be at last.
    pub(super) fn mend(&mut self) {
        let page = self.page("web");
        self.push(SITE, &[("web/index.html", &page)], "a page that builds");
        self.config("a config that is read");
        for at in 0..self.pulls.len() {
            if self.pulls[at].open && !self.pulls[at].fork {
                self.push_to_pull(at);
            }
        }
    }

    fn number(&mut self) -> usize {
        self.serial += 1;
        self.serial
    }

    fn page(&mut self, what: &str) -> String {
        format!("{what} {}", self.number())
    }

    fn push_page(&mut self, service: &str) {
        let page = self.page(service);
        self.push(SITE, &[(&format!("{service}/index.html"), &page)], &format!("a page of {service}"));
    }

    /// Three commits with one push.
    fn push_three(&mut self) {
        let repo = self.stage.repo(SITE);
        let before = repo.find("main").unwrap();
        for file in ["web/index.html", "docs/index.html", "README.md"] {
            let page = self.page(file);
            repo.commit("main", &[(file, Some(&page))], &page);
        }
        self.pushed(SITE, "main", Some(&before), "three commits at once");
    }

    /// The newest commit is replaced by another one.
    fn force_push(&mut self) {
        let repo = self.stage.repo(SITE);
        let before = repo.find("main").unwrap();
        let Some(parent) = repo.find("main~1") else { return };
        let page = self.page("web");
        let tree = repo.tree(Some(&parent), &[("web/index.html", Some(&page))]);
        let commit = repo.commit_tree(&tree, &[&parent], &page);
        repo.git(&["update-ref", "refs/heads/main", &commit]);
        self.pushed(SITE, "main", Some(&before), "a forced push");
    }

    fn config(&mut self, what: &str) {
        let level = self.level;
        let service = |name: &str, spec: &str| {
            format!(
                "apiVersion: branchline.dev/v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {spec}\n"
            )
        };
        let web = "{type: static, source: {repo: acme/site, path: web}, build: {command: sh build.sh}, static: {root: out}, healthCheck: {path: /, interval: 1s}}";
        let docs = "{type: static, source: {repo: acme/site, path: docs}, build: {builder: none}, healthCheck: {path: /, interval: 1s}}";
        let worker = format!(
            "{{type: worker, source: {{repo: acme/jobs}}, build: {{builder: none}}, command: [sh, worker.sh], env: {{LEVEL: \"{level}\"}}}}"
        );
        let (web, docs, worker) = (service("web", web), service("docs", docs), service("worker", &worker));
        let files = [
            (
                "branchline.yaml",
                Some(
                    "apiVersion: branchline.dev/v1\nkind: Config\nmetadata: {name: chaos}\nspec: {domains: {base: localhost}}\n",
                ),
            ),
            (
                "projects/shop/project.yaml",
                Some(
                    "apiVersion: branchline.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec: {environments: [staging, production], previews: {enabled: true, base: staging}}\n",
                ),
            ),
            (
                "projects/shop/environments/staging/environment.yaml",
                Some(
                    "apiVersion: branchline.dev/v1\nkind: Environment\nmetadata: {name: staging}\nspec: {follow: branch}\n",
                ),
            ),
            (
                "projects/shop/environments/production/environment.yaml",
                Some(
                    "apiVersion: branchline.dev/v1\nkind: Environment\nmetadata: {name: production}\nspec: {follow: releases}\n",
                ),
            ),
            ("projects/shop/services/web.yaml", Some(web.as_str())),
            ("projects/shop/services/worker.yaml", Some(worker.as_str())),
            ("projects/shop/services/docs.yaml", self.docs.then_some(docs.as_str())),
        ];
        let repo = self.stage.repo(CONFIG);
        let before = repo.find("main");
        let number = self.number();
        repo.commit("main", &files, &format!("{what} {number}"));
        self.pushed(CONFIG, "main", before.as_deref(), what);
    }

    /// A commit on main, pushed.
    fn push(&mut self, name: &'static str, files: &[(&str, &str)], what: &str) {
        let repo = self.stage.repo(name);
        let before = repo.find("main");
        let files: Vec<_> = files.iter().map(|(path, content)| (*path, Some(*content))).collect();
        let number = self.number();
        repo.commit("main", &files, &format!("{what} {number}"));
        self.pushed(name, "main", before.as_deref(), what);
    }

    fn open_pull(&mut self) {
        let repo = *self.random.pick(&[SITE, SITE, JOBS, CONFIG]);
        let branch = format!("try-{}", self.number());
        let bare = self.stage.repo(repo);
        let main = bare.find("main").unwrap();
        bare.git(&["update-ref", &format!("refs/heads/{branch}"), &main]);
        self.change(&bare, repo, &branch);
        self.pushed(repo, &branch, None, "a branch to propose");
        let head = bare.find(&format!("refs/heads/{branch}")).unwrap();
        let number = self.stage.world.open_pull(repo, &branch, &head);
        self.pulls.push(Pull { repo, number, branch, open: true, fork: false });
        self.pull_moved(repo, number, "opened", &head);
    }

    /// A stranger's pull request: its commit is in no branch of ours.
    fn open_fork(&mut self) {
        let bare = self.stage.repo(SITE);
        let main = bare.find("main").unwrap();
        let tree = bare.tree(Some(&main), &[("web/index.html", Some("from afar"))]);
        let number = self.number();
        let head = bare.commit_tree(&tree, &[&main], &format!("from afar {number}"));
        let number = self.stage.world.open_pull_from(SITE, Some("mallory/site"), "main", &head);
        self.pulls.push(Pull { repo: SITE, number, branch: String::new(), open: true, fork: true });
        self.pull_moved(SITE, number, "opened", &head);
    }

    /// Changes what a branch proposes.
    fn change(&mut self, bare: &Repo, repo: &str, branch: &str) {
        let text = self.page(branch);
        let file = match repo {
            SITE => "web/index.html",
            JOBS => "note.txt",
            _ => "README.md",
        };
        bare.commit(branch, &[(file, Some(&text))], &text);
    }

    fn push_to_pull(&mut self, at: usize) {
        let Pull { repo, number, fork: false, ref branch, .. } = self.pulls[at] else { return };
        let branch = branch.clone();
        let bare = self.stage.repo(repo);
        let before = bare.find(&format!("refs/heads/{branch}")).unwrap();
        self.change(&bare, repo, &branch);
        self.pushed(repo, &branch, Some(&before), "a push to a pull request");
        let head = bare.find(&format!("refs/heads/{branch}")).unwrap();
        self.stage.world.push_to_pull(repo, number, &head);
        self.pull_moved(repo, number, "synchronize", &head);
    }

    /// Closes a pull request, and merges it where it is a site's and the dice say so.
    fn close_pull(&mut self, at: usize) {
        let Pull { repo, number, fork, ref branch, .. } = self.pulls[at];
        let branch = branch.clone();
        let bare = self.stage.repo(repo);
        let merged = !fork && repo == SITE && self.random.percent(50);
        let head = if fork {
            self.stage.world.pull_head(repo, number)
        } else {
            bare.find(&format!("refs/heads/{branch}")).unwrap()
        };
        self.stage.world.close_pull(repo, number, merged);
        self.pulls[at].open = false;
        if merged {
            let main = bare.find("main").unwrap();
            let page = bare.git(&["show", &format!("{head}:web/index.html")]);
            let tree = bare.tree(Some(&main), &[("web/index.html", Some(&page))]);
            let commit = bare.commit_tree(&tree, &[&main, &head], &format!("merge {branch}"));
            bare.git(&["update-ref", "refs/heads/main", &commit]);
            self.pushed(repo, "main", Some(&main), "a merge");
        }
        self.pull_moved(repo, number, "closed", &head);
    }

    /// GitHub learns of what was pushed, and says so.
    fn pushed(&mut self, name: &'static str, branch: &str, before: Option<&str>, what: &str) {
        let repo = self.stage.repo(name);
        let head = repo.find(&format!("refs/heads/{branch}")).unwrap();
        let range = before.map_or_else(|| head.clone(), |before| format!("{before}..{head}"));
        for commit in repo.git(&["rev-list", &range]).lines() {
            self.stage.world.commit(name, commit);
        }
        let zeros = "0".repeat(40);
        let body = json!({
            "ref": format!("refs/heads/{branch}"), "before": before.unwrap_or(&zeros), "after": head,
            "repository": { "id": 7, "full_name": name }, "sender": { "login": "ada" },
            "commits": [{ "id": head, "message": what }],
        });
        let owed = (branch == "main").then_some((name, head));
        self.send("push", body, owed, &format!("{what} ({} {branch})", short(name)));
    }

    fn pull_moved(&mut self, repo: &'static str, number: u64, action: &str, head: &str) {
        let body = json!({
            "action": action, "number": number, "pull_request": { "head": { "sha": head } },
            "repository": { "id": 7, "full_name": repo }, "sender": { "login": "ada" },
        });
        let what = format!("pull request {} #{number} {action}", short(repo));
        self.send("pull_request", body, Some((repo, head.to_owned())), &what);
    }

    /// Sends a webhook, as GitHub's users would, until it is accepted; now and then it is lost, or comes twice.
    fn send(&mut self, event: &'static str, body: Value, owed: Option<(&'static str, String)>, what: &str) {
        let id = format!("delivery-{}", self.number());
        let commit =
            body["after"].as_str().or(body["pull_request"]["head"]["sha"].as_str()).unwrap_or_default();
        let is_lost = self.random.percent(8);
        let lost = if is_lost { ", whose webhook is lost" } else { "" };
        self.story.push(format!("{:>4} {} {what}{lost}", self.steps, &commit[..7]));
        if is_lost {
            return;
        }
        let times = if self.random.percent(10) { 2 } else { 1 };
        let body = body.to_string();
        let (http, url) = (self.stage.http.clone(), format!("{}/webhooks/github", self.stage.server));
        let (accepted, deliveries) = (Arc::clone(&self.accepted), Arc::clone(&self.deliveries));
        let what = what.to_owned();
        self.sending.spawn(async move {
            for _ in 0..times {
                loop {
                    let request = http
                        .post(&url)
                        .header("content-type", "application/json")
                        .header("x-github-event", event)
                        .header("x-github-delivery", &id)
                        .header("x-hub-signature-256", sign(SECRET, body.as_bytes()))
                        .body(body.clone());
                    match request.send().await {
                        Ok(answer) if answer.status() == 202 => break,
                        // dead, or on its way to be: tried again, as a person presses Redeliver
                        _ => tokio::time::sleep(Duration::from_millis(40)).await,
                    }
                }
            }
            deliveries.lock().expect("no panic").insert(id);
            if let Some(commit) = owed {
                accepted.lock().expect("no panic").insert(commit, what);
            }
        });
    }
}

/// A worker that waits; it ends when it is told to.
const WORKER: &str = "trap 'exit 0' TERM\nwhile true; do sleep 1 & wait $!; done\n";
