//! GitHub in memory, served over HTTP on the loopback: a test tells it what people do there and asks what they see.
//!
//! Its rules stand in `world/RULES.md`, each with the address of GitHub's documentation. Every exchange is checked
//! against GitHub's published `OpenAPI` (`world/openapi.json`); a mistake of either side fails the test when the world
//! ends.

use std::sync::{Arc, Mutex, MutexGuard};

use branchline::secret::Secret;
use branchline::settings::{GitHubAuth, GitHubSettings};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

mod answers;
mod app_key;
mod openapi;
mod server;
mod state;

use self::state::{APP_ID, EPOCH, Planned, Repository, State};
pub(crate) use self::state::{APP_SLUG, Fault, TOKEN, TOKEN_USER};

/// A world of its own; dropping it ends it, and fails the test where somebody broke GitHub's document.
pub(crate) struct World {
    /// The base address of its API.
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    _server: AbortOnDropHandle<()>,
}

/// A check run as a person sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) name: String,
    /// `queued`, `in_progress`, or the conclusion.
    pub(crate) standing: String,
    pub(crate) title: String,
    pub(crate) summary: String,
    /// `path:line:column level message`.
    pub(crate) annotations: Vec<String>,
}

impl World {
    /// An empty world.
    pub(crate) async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State { url: url.clone(), ..State::default() }));
        let server = tokio::spawn(server::serve(listener, Arc::clone(&state)));
        Self { url, state, _server: AbortOnDropHandle::new(server) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the world is held")
    }

    fn with<T>(&self, repository: &str, change: impl FnOnce(&mut Repository, &str) -> T) -> T {
        let mut state = self.state();
        let time = state.time();
        change(state.repository(repository), &time)
    }

    /// What happens from now on happens now, for a peer that has the machine's clock.
    pub(crate) fn live_now(&self) {
        self.state().second = jiff::Timestamp::now().as_second() - EPOCH;
    }

    /// The App's number and private key, for a program's settings.
    pub(crate) fn app() -> (u64, String) {
        (APP_ID, app_key::pem())
    }

    /// Settings that act as the App.
    pub(crate) fn as_app(&self) -> GitHubSettings {
        let auth = GitHubAuth::App { id: APP_ID, private_key: Secret::new(app_key::pem()) };
        GitHubSettings { url: self.url.clone(), auth }
    }

    /// Settings that act with a personal token.
    pub(crate) fn with_token(&self) -> GitHubSettings {
        GitHubSettings { url: self.url.clone(), auth: GitHubAuth::Token(Secret::new(TOKEN.to_owned())) }
    }

    /// Makes a repository that the App is installed on, fetched from `clone_url`.
    pub(crate) fn repository(&self, name: &str, clone_url: &str) {
        let mut state = self.state();
        let id = state.id();
        let made = Repository {
            id,
            name: name.to_owned(),
            clone_url: clone_url.to_owned(),
            installed: true,
            ..Repository::default()
        };
        state.repositories.insert(name.to_ascii_lowercase(), made);
    }

    /// GitHub learns of a commit.
    pub(crate) fn commit(&self, repository: &str, sha: &str) {
        self.with(repository, |repository, _| repository.commits.insert(sha.to_owned()));
    }

    /// Somebody opens a pull request from a branch of the same repository.
    pub(crate) fn open_pull(&self, repository: &str, branch: &str, sha: &str) -> u64 {
        self.open_pull_from(repository, Some(repository), branch, sha)
    }

    /// Somebody opens a pull request whose head is in another repository; `None`: one that was deleted since.
    pub(crate) fn open_pull_from(
        &self,
        repository: &str,
        head: Option<&str>,
        branch: &str,
        sha: &str,
    ) -> u64 {
        self.commit(repository, sha);
        self.with(repository, |repository, time| {
            let number = repository.pulls.keys().last().map_or(1, |last| last + 1);
            let base = repository.shown();
            let head = head.map_or(Value::Null, |name| {
                let mut head = base.clone();
                head["full_name"] = json!(name);
                head
            });
            let pull = json!({
                "number": number, "id": number, "state": "open", "title": format!("Change {branch}"),
                "user": { "login": "alice", "id": 3, "type": "User" },
                "head": { "ref": branch, "sha": sha, "label": branch, "repo": head },
                "base": { "ref": "main", "sha": "0".repeat(40), "label": "main", "repo": base },
                "draft": false, "labels": [], "html_url": format!("https://github.com/{}/pull/{number}", repository.name),
                "created_at": time, "updated_at": time, "closed_at": null, "merged_at": null,
            });
            repository.pulls.insert(number, pull);
            number
        })
    }

    /// Changes a pull request as somebody would: `draft`, `labels`, `user`, ….
    pub(crate) fn change_pull(&self, repository: &str, number: u64, change: impl FnOnce(&mut Value)) {
        self.with(repository, |repository, time| {
            let pull = repository.pulls.get_mut(&number).expect("a pull request");
            change(pull);
            pull["updated_at"] = json!(time);
        });
    }

    /// Somebody pushes to a pull request's branch.
    pub(crate) fn push_to_pull(&self, repository: &str, number: u64, sha: &str) {
        self.commit(repository, sha);
        self.change_pull(repository, number, |pull| pull["head"]["sha"] = json!(sha));
    }

    /// The commit that a pull request proposes.
    pub(crate) fn pull_head(&self, repository: &str, number: u64) -> String {
        self.with(repository, |repository, _| {
            repository.pulls[&number]["head"]["sha"].as_str().unwrap_or_default().to_owned()
        })
    }

    /// Somebody closes or merges a pull request.
    pub(crate) fn close_pull(&self, repository: &str, number: u64, merged: bool) {
        self.with(repository, |repository, time| {
            let pull = repository.pulls.get_mut(&number).expect("a pull request");
            pull["state"] = json!("closed");
            pull["closed_at"] = json!(time);
            pull["merged_at"] = if merged { json!(time) } else { Value::Null };
        });
    }

    /// A pull request is gone as if it had never been.
    pub(crate) fn forget_pull(&self, repository: &str, number: u64) {
        self.with(repository, |repository, _| repository.pulls.remove(&number));
    }

    /// The App is taken off a repository, or put back on it.
    pub(crate) fn install(&self, repository: &str, installed: bool) {
        self.with(repository, |repository, _| repository.installed = installed);
    }

    /// A repository gets another name.
    pub(crate) fn rename(&self, from: &str, to: &str) {
        let mut state = self.state();
        let mut repository = state.repositories.remove(&from.to_ascii_lowercase()).expect("a repository");
        to.clone_into(&mut repository.name);
        state.repositories.insert(to.to_ascii_lowercase(), repository);
        state.renamed.insert(from.to_ascii_lowercase(), to.to_owned());
    }

    /// A person gets `admin`, `write`, `read` or `none`.
    pub(crate) fn permit(&self, repository: &str, user: &str, permission: &str) {
        self.with(repository, |repository, _| {
            repository.permissions.insert(user.to_owned(), permission.to_owned());
        });
    }

    /// A person comments; answers the comment's number.
    pub(crate) fn comment_as(&self, repository: &str, pull: u64, user: &str, body: &str) -> u64 {
        let id = self.state().id();
        self.with(repository, |repository, time| {
            repository.comments.push(json!({
                "id": id, "number": pull, "body": body, "created_at": time, "updated_at": time,
                "user": { "login": user, "id": 9, "type": "User" },
            }));
        });
        id
    }

    /// Somebody deletes every comment on a pull request.
    pub(crate) fn delete_comments(&self, repository: &str, pull: u64) {
        self.with(repository, |repository, _| {
            repository.comments.retain(|comment| comment["number"] != pull)
        });
    }

    /// Somebody locks a conversation.
    pub(crate) fn lock(&self, repository: &str, pull: u64) {
        self.with(repository, |repository, _| repository.locked.insert(pull));
    }

    /// A webhook delivery of the App, as GitHub remembers it.
    pub(crate) fn delivered(&self, guid: &str, event: &str, status: u16) {
        let mut state = self.state();
        let (id, time) = (state.id(), state.time());
        state.deliveries.insert(
            0,
            json!({
                "id": id, "guid": guid, "delivered_at": time, "redelivery": false, "duration": 0.1,
                "status": if status == 202 { "OK" } else { "failed" }, "status_code": status, "event": event,
                "action": null, "installation_id": 1, "repository_id": 2,
            }),
        );
    }

    /// The next `times` requests whose `POST /repos/…` contains `at` meet a fault.
    pub(crate) fn fail(&self, at: &str, fault: Fault, times: usize) {
        self.state().faults.push(Planned { at: at.to_owned(), fault, times });
    }

    /// `Link` headers name this address from now on.
    pub(crate) fn link_to(&self, host: &str) {
        self.state().link_host = Some(host.to_owned());
    }

    /// The check runs of a commit, by name; the same name twice where there are two.
    pub(crate) fn checks(&self, repository: &str, sha: &str) -> Vec<Check> {
        let all = self.all_checks(repository);
        all.into_iter().filter(|(commit, _)| commit == sha).map(|(_, check)| check).collect()
    }

    /// Every check run of a repository with its commit, by name.
    pub(crate) fn all_checks(&self, repository: &str) -> Vec<(String, Check)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.with(repository, |repository, _| {
            let mut checks: Vec<(String, Check)> = repository
                .runs
                .iter()
                .map(|run| {
                    let annotations = repository.annotations.get(&run["id"].as_u64().unwrap_or(0));
                    let check = Check {
                        name: text(&run["name"]),
                        standing: text(
                            run["conclusion"].as_str().map_or(&run["status"], |_| &run["conclusion"]),
                        ),
                        title: text(&run["output"]["title"]),
                        summary: text(&run["output"]["summary"]),
                        annotations: annotations.into_iter().flatten().map(annotation).collect(),
                    };
                    (text(&run["head_sha"]), check)
                })
                .collect();
            checks.sort_by(|(_, a), (_, b)| a.name.cmp(&b.name));
            checks
        })
    }

    /// The statuses of a commit as `context: state description`, the newest of each context.
    pub(crate) fn statuses(&self, repository: &str, sha: &str) -> Vec<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.with(repository, |repository, _| {
            let newest: std::collections::BTreeMap<String, String> = repository
                .statuses
                .iter()
                .filter(|status| status["sha"] == sha)
                .map(|status| {
                    let says = format!("{} {}", text(&status["state"]), text(&status["description"]));
                    (text(&status["context"]), says)
                })
                .collect();
            newest.into_iter().map(|(context, says)| format!("{context}: {says}")).collect()
        })
    }

    /// The comments on a pull request, as author and text.
    pub(crate) fn comments(&self, repository: &str, pull: u64) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.with(repository, |repository, _| {
            let of_pull = repository.comments.iter().filter(|comment| comment["number"] == pull);
            of_pull.map(|comment| (text(&comment["user"]["login"]), text(&comment["body"]))).collect()
        })
    }

    /// How many requests contained `what` in their `POST /repos/…`.
    pub(crate) fn asked(&self, what: &str) -> usize {
        self.state().asked.iter().filter(|asked| asked.contains(what)).count()
    }
}

fn annotation(annotation: &Value) -> String {
    let text = |name: &str| annotation[name].as_str().unwrap_or_default().to_owned();
    format!(
        "{}:{}:{} {} {}",
        text("path"),
        annotation["start_line"],
        annotation["start_column"],
        text("annotation_level"),
        text("message")
    )
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let mistakes = std::mem::take(&mut self.state().mistakes);
        assert!(mistakes.is_empty(), "against GitHub's OpenAPI: {mistakes:#?}");
    }
}
