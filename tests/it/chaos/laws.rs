//! What must be so at the end, and what a person needs to see where it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use branchline::store::{OutboxItem, Store, StoreOptions};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::script::{Pull, Script};
use super::stage::{ALL, CONFIG, JOBS, Life, SITE, Stage, short};
use crate::world::Check;

/// Lines of the server's log that are shown.
const LINES: usize = 60;

pub(super) struct Laws<'s> {
    pub(super) stage: &'s Stage,
    pub(super) script: &'s Script<'s>,
}

impl Laws<'_> {
    /// Every law that does not hold.
    pub(super) async fn broken(&self, life: &Life) -> Vec<String> {
        let mut broken = self.words();
        if broken.is_empty() {
            broken.extend(self.verdicts().await);
        }
        broken.extend(self.records().await);
        if broken.is_empty() {
            broken.extend(self.cluster().await);
            broken.extend(self.pages(life).await);
        }
        broken
    }

    /// I7, I8: every commit of an accepted webhook has one aggregate check run, which is concluded; none is left open.
    fn words(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let is_open = |check: &Check| ["queued", "in_progress"].contains(&check.standing.as_str());
        for ((repo, sha), what) in self.script.accepted() {
            let checks = self.stage.world.checks(repo, &sha);
            let aggregates: Vec<_> = checks.iter().filter(|check| check.name == "branchline").collect();
            match aggregates.as_slice() {
                [] => broken.push(format!("{} {sha} has no check run: {what}", short(repo))),
                [one] if is_open(one) => {
                    broken.push(format!("{} {sha} is still {}: {what}", short(repo), one.standing));
                }
                [_] => {}
                _ => {
                    broken.push(format!("{} {sha} has {} aggregates: {what}", short(repo), aggregates.len()))
                }
            }
        }
        for repo in ALL {
            let mut seen = BTreeSet::new();
            for (sha, check) in self.stage.world.all_checks(repo) {
                if is_open(&check) {
                    broken.push(format!("{} {sha}: `{}` is {}", short(repo), check.name, check.standing));
                }
                if !seen.insert((sha.clone(), check.name.clone())) {
                    broken.push(format!("{} {sha}: `{}` is there twice", short(repo), check.name));
                }
            }
        }
        broken
    }

    /// `branchline why` knows every one of them.
    async fn verdicts(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for ((repo, sha), what) in self.script.accepted() {
            let why = self.stage.api(&format!("why/{sha}")).await;
            if why["commits"][0]["concluded"].is_null() {
                broken.push(format!("{} {sha} has no verdict: {what}: {why}", short(repo)));
            }
        }
        broken
    }

    /// What the records should say: environment and service, and the revision.
    fn wanted(&self) -> BTreeMap<(String, String), String> {
        let newest = |repo: &str, head: &str, path: &str| {
            self.stage.repo(repo).git(&["log", "-1", "--format=%H", head, "--", path])
        };
        let mut wanted = BTreeMap::new();
        let mut add = |environment: &str, service: &str, revision: String| {
            wanted.insert((environment.to_owned(), service.to_owned()), revision);
        };
        add("staging", "web", newest(SITE, "main", "web"));
        add("staging", "worker", newest(JOBS, "main", "."));
        if self.script.docs() {
            add("staging", "docs", newest(SITE, "main", "docs"));
        }
        for pull in self.script.pulls.iter().filter(|pull| pull.open && !pull.fork && pull.repo != CONFIG) {
            let (service, path) = if pull.repo == SITE { ("web", "web") } else { ("worker", ".") };
            let environment = format!("pr-{}-{}", short(pull.repo), pull.number);
            add(&environment, service, newest(pull.repo, &pull.branch, path));
        }
        wanted
    }

    /// I1: every service is live at the revision that Git says, previews are those of the open pull requests.
    async fn records(&self) -> Vec<String> {
        let status = self.stage.api("status").await;
        let Some(rows) = status["services"].as_array() else {
            return vec!["the server does not answer".to_owned()];
        };
        let mut broken = Vec::new();
        let mut wanted = self.wanted();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        for row in rows.iter().filter(|row| row["environment"] != "production") {
            let key = (text(row, "environment"), text(row, "service"));
            match wanted.remove(&key) {
                None => broken.push(format!("{key:?} should not exist: {row}")),
                Some(revision) if row["state"] != "live" || text(row, "revision") != revision => {
                    broken.push(format!("{key:?} should be live at {revision}: {row}"));
                }
                Some(_) if !row["problem"].is_null() => broken.push(format!("{key:?} has a problem: {row}")),
                Some(_) => {}
            }
        }
        broken.extend(wanted.keys().map(|key| format!("{key:?} should exist")));
        if status["busy"] == true {
            broken.push("the server is busy".to_owned());
        }
        if !status["trouble"].is_null() {
            broken.push(format!("trouble: {}", status["trouble"]));
        }
        broken
    }

    /// I3, M7: nothing is in the cluster but what the records say.
    async fn cluster(&self) -> Vec<String> {
        let clock = branchline::clock::Clock::system();
        let kubeconfig = self.stage.data.join("kubeconfig");
        let Ok(cluster) = branchline::cluster::connect::kubeconfig(&kubeconfig, clock).await else {
            return vec!["the cluster is not reached".to_owned()];
        };
        let client = cluster.client().clone();
        let wanted: BTreeSet<(String, String)> = self
            .wanted()
            .into_keys()
            .map(|(environment, service)| (format!("shop-{environment}"), service))
            .collect();
        let mut broken = Vec::new();
        let mut found = BTreeSet::new();
        let deployments = Api::<Deployment>::all(client.clone()).list(&ListParams::default()).await;
        for deployment in deployments.map(|list| list.items).unwrap_or_default() {
            let meta = deployment.metadata;
            found.insert((meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default()));
        }
        if found != wanted {
            broken.push(format!("Deployments: {found:?}, and should be {wanted:?}"));
        }
        let namespaces = Api::<Namespace>::all(client).list(&ListParams::default()).await;
        for namespace in namespaces.map(|list| list.items).unwrap_or_default() {
            let name = namespace.metadata.name.unwrap_or_default();
            if name.starts_with("shop-pr-") && !wanted.iter().any(|(of, _)| *of == name) {
                broken.push(format!("the namespace {name} should be gone"));
            }
        }
        broken
    }

    /// What a browser gets is what Git says.
    async fn pages(&self, life: &Life) -> Vec<String> {
        let mut broken = Vec::new();
        let page =
            |revision: &str, path: &str| self.stage.repo(SITE).git(&["show", &format!("{revision}:{path}")]);
        for (environment, service) in
            self.wanted().into_keys().chain([("staging".to_owned(), "docs".to_owned())])
        {
            if service == "worker" {
                continue;
            }
            let host = format!("{service}-shop-{environment}");
            let (status, body) = life.get(&self.stage.http, &host).await;
            if service == "docs" && !self.script.docs() {
                if status == 200 {
                    broken.push(format!("{host} was removed and answers: {body}"));
                }
                continue;
            }
            // every repository counts its own pull requests
            let mut pulls = self.script.pulls.iter().filter(|pull| pull.repo == SITE);
            let pull = pulls.find(|pull| environment == format!("pr-site-{}", pull.number));
            let head = pull.map_or("main", |pull| pull.branch.as_str());
            let should = page(head, &format!("{service}/index.html"));
            if (status, body.trim_end()) != (200, should.as_str()) {
                broken.push(format!("{host} answers {status} {body:?}, and should {should:?}"));
            }
        }
        broken
    }

    /// What a person needs to see.
    pub(super) async fn report(&self, broken: &[String], mut life: Life) -> String {
        let mut out = format!("{}\n\nThe story:\n{}\n", broken.join("\n"), self.script.story.join("\n"));
        let mut shown = BTreeSet::new();
        let is_shown = |repo: &str, sha: &str| {
            let of_pull =
                |pull: &&Pull| pull.repo == repo && self.stage.world.pull_head(repo, pull.number) == sha;
            broken.iter().any(|line| line.contains(sha))
                || self.script.pulls.iter().filter(|pull| pull.open).any(|pull| of_pull(&pull))
        };
        for ((repo, sha), what) in self.script.accepted() {
            if is_shown(repo, &sha) && shown.insert(sha.clone()) && shown.len() <= 8 {
                let _ = writeln!(out, "\n{} {sha} ({what})", short(repo));
                for check in self.stage.world.checks(repo, &sha) {
                    let _ = writeln!(
                        out,
                        "  {}: {}, {}\n    {}",
                        check.name,
                        check.standing,
                        check.title,
                        check.summary.replace('\n', "\n    ")
                    );
                }
                let _ = writeln!(out, "  why: {}", self.stage.api(&format!("why/{sha}")).await);
            }
        }
        let _ = writeln!(out, "\nThe records: {:#}", self.stage.api("status").await);
        life.kill();
        let path = self.stage.data.join("branchline.db");
        let store = Store::open(&path, &StoreOptions::default()).await.unwrap();
        out.push_str("\nWhat GitHub does not read yet, or never:\n");
        for row in store.outbox_items("check/", 5000).await.unwrap() {
            if row.version > row.sent_version || row.error.is_some() {
                let OutboxItem { key, version, sent_version, tries, not_before, error, .. } = row;
                let _ = writeln!(
                    out,
                    "  {key}: {sent_version} of {version}, {tries} tries, not before {not_before}: {error:?}"
                );
            }
        }
        let log = std::fs::read_to_string(&life.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let _ = writeln!(
            out,
            "\nThe last lines of the server:\n{}",
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        );
        out
    }
}
