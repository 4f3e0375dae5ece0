//! Says on each open commit what became of it: rows of the outbox, made anew from what is recorded.
//!
//! One task does all the telling. It is woken when something moved, reads the commits that have not had their last
//! word, and says what is so now; so a kill anywhere costs nothing but time. Nothing is sent here. Where there is a
//! forge, its check runs (or commit statuses) are wanted; where there is none, a note on the commit.

mod last;
mod standing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, watch};

use self::standing::{Standing, of_held};
use super::judge::{Aim, Judged};
use super::{Reconciler, Snapshot, chain};
use crate::github::{want_check, want_note};
use crate::name::Revision;
use crate::report::page;
use crate::report::{Check, CheckStatus, CommitOutcome, ConfigOutcome, Left, Reporter, ServiceOutcome, Why};
use crate::source::{Mirror, RepositoryUrl};
use crate::store::{Deployment, DeploymentFilter, SeenCommit, StoreError};

/// Deployments of one commit that are looked at.
const MOST: u32 = 500;
/// Open commits that are looked at in one go, the oldest first.
const OPEN: u32 = 1000;
/// How long what moves is gathered before it is told; and at least as long as the last telling took.
const GATHER: Duration = Duration::from_millis(100);
/// How long a store that fails is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// The task that tells, and what it knows.
#[derive(Default)]
pub(super) struct Teller {
    woken: Notify,
    /// How often somebody asked, and how many of those were served.
    asked: watch::Sender<u64>,
    told: watch::Sender<u64>,
    kept: Mutex<BTreeMap<(String, String), Kept>>,
}

/// What is kept of an open commit from one telling to the next.
#[derive(Default, Clone)]
struct Kept {
    /// By the survey that began then, and the ways by which it was known.
    judged: Option<(Option<Timestamp>, usize, Arc<Judged>)>,
    /// What was said last.
    said: Vec<Check>,
}

impl Teller {
    /// Whether nothing is left to tell; waits until that is so.
    pub(super) async fn idle(&self) -> bool {
        let waited = self.is_busy();
        let mut told = self.told.subscribe();
        // the sender lives in `self`, so waiting cannot fail
        let _ = told.wait_for(|told| *told >= *self.asked.borrow()).await;
        !waited
    }

    /// Whether something is left to tell.
    pub(super) fn is_busy(&self) -> bool {
        *self.told.borrow() < *self.asked.borrow()
    }
}

impl Reconciler {
    /// Has it told what moved.
    pub(super) fn tell(&self) {
        self.0.teller.asked.send_modify(|asked| *asked += 1);
        self.0.teller.woken.notify_one();
    }

    /// Tells until the reconciler stops.
    pub(super) async fn tell_until_stopped(&self) {
        let clock = self.0.parts.clock.clone();
        let stop = &self.0.stop;
        let mut pause = GATHER;
        loop {
            let woken = async {
                self.0.teller.woken.notified().await;
                clock.sleep(pause).await;
            };
            if stop.run_until_cancelled(woken).await.is_none() {
                return;
            }
            let asked = *self.0.teller.asked.borrow();
            let begun = clock.now();
            pause = match self.tell_open().await {
                Ok(()) => clock.now().duration_since(begun).unsigned_abs().max(GATHER),
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "What became of commits could not be told; it is tried again.");
                    self.0.teller.woken.notify_one();
                    PAUSE
                }
            };
            self.0.teller.told.send_replace(asked);
        }
    }

    /// Says on every open commit what is so now.
    async fn tell_open(&self) -> Result<(), StoreError> {
        let snapshot = self.0.snapshot.borrow().clone();
        let mut commits: BTreeMap<(String, String), Vec<SeenCommit>> = BTreeMap::new();
        for row in self.store().open_commits(OPEN).await? {
            commits.entry((row.repo.clone(), row.revision.clone())).or_default().push(row);
        }
        {
            let mut kept = self.0.teller.kept.lock().expect("no holder of this lock panics");
            kept.retain(|key, _| commits.contains_key(key));
        }
        if commits.is_empty() {
            return Ok(());
        }
        for ((repo, revision), rows) in commits {
            if let (Some(url), Ok(revision)) = (self.url_of(&repo), revision.parse::<Revision>()) {
                self.tell_commit(&snapshot, &url, &revision, &rows).await?;
            } else {
                self.store().conclude_commit(&rows, "not followed", None, self.0.parts.clock.now()).await?;
            }
        }
        Ok(())
    }

    async fn tell_commit(
        &self,
        snapshot: &Snapshot,
        url: &RepositoryUrl,
        revision: &Revision,
        rows: &[SeenCommit],
    ) -> Result<(), StoreError> {
        let key = (url.key().to_owned(), revision.to_string());
        let kept = self.0.teller.kept.lock().expect("no holder of this lock panics").get(&key).cloned();
        let mut kept = kept.unwrap_or_default();
        let judged = match &kept.judged {
            Some((begun, ways, judged)) if *begun == snapshot.begun && *ways == rows.len() => {
                Arc::clone(judged)
            }
            _ => Arc::new(self.judge(snapshot, url, revision, rows).await?),
        };
        // what waits is judged anew each time
        kept.judged = judged.waits.is_none().then(|| (snapshot.begun, rows.len(), Arc::clone(&judged)));
        let outcome = self.outcome(snapshot, url, revision, &judged, rows).await?;
        let config = judged.config.as_ref().map(|config| ConfigOutcome {
            problems: config.problems.clone(),
            root: self.0.parts.config.path.clone(),
            synced: None,
            page: self.page(page::PROJECTS),
            checked: outcome.updated,
        });
        let now = self.0.parts.clock.now();
        let is_told = !kept.said.is_empty() || self.is_told(url, revision).await?;
        if !judged.followed && outcome.services.is_empty() && !is_told {
            // a look that has not reached it yet may still find somebody who follows it
            if judged.waits.is_some() {
                return Ok(());
            }
            return self.store().conclude_commit(rows, "not followed", None, now).await;
        }
        let reporter = self.reporter();
        let mut checks = reporter.commit(&outcome);
        let is_over = checks[0].status == CheckStatus::Completed;
        checks.extend(config.as_ref().map(|config| reporter.config(config)));
        if kept.said != checks {
            if url.has_forge() {
                self.want(url, revision, &checks).await?;
            } else {
                let text = reporter.note(Some(&outcome), config.as_ref());
                self.store().want(want_note(&url.to_string(), revision, &text, now)).await?;
            }
            kept.said.clone_from(&checks);
        }
        self.0.teller.kept.lock().expect("no holder of this lock panics").insert(key, kept);
        if is_over {
            self.conclude(url, revision, rows, &outcome, &checks[0].title).await?;
        }
        Ok(())
    }

    /// What became of a commit, as far as it is known.
    async fn outcome(
        &self,
        snapshot: &Snapshot,
        url: &RepositoryUrl,
        revision: &Revision,
        judged: &Judged,
        rows: &[SeenCommit],
    ) -> Result<CommitOutcome, StoreError> {
        let seen = rows.iter().map(|row| row.seen).max().unwrap_or_else(|| self.0.parts.clock.now());
        let mut outcome = CommitOutcome::of(seen);
        outcome.waits = judged.waits.is_some();
        outcome.failure.clone_from(&judged.failure);
        outcome.aside.clone_from(&judged.aside);
        let mut services = BTreeMap::new();
        for target in &judged.targets {
            let standing = match &target.aim {
                Aim::Left(why) => Standing::Left(why.clone()),
                Aim::At(wanted) => self.standing(snapshot, target, wanted.as_ref()).await?,
            };
            match standing {
                Standing::Is(service) => drop(services.insert(service.path(), *service)),
                Standing::Left(why) => outcome.left.push(Left { service: target.path(), why }),
                Standing::Waits => outcome.waits = true,
                Standing::Failed(step, cause) => drop(outcome.failure.get_or_insert((step, cause))),
            }
        }
        let filter = DeploymentFilter {
            reported_on: Some((url.key().to_owned(), revision.to_string())),
            limit: MOST,
            ..DeploymentFilter::default()
        };
        let mut known: Vec<(String, String, String)> = Vec::new();
        for deployment in self.store().deployments(&filter).await? {
            let key =
                (deployment.project.clone(), deployment.environment.clone(), deployment.service.clone());
            // the newest comes first
            if known.contains(&key) {
                continue;
            }
            known.push(key);
            if let Some(service) = self.service_outcome(&deployment, revision).await? {
                services.entry(service.path()).or_insert(service);
            }
        }
        for deployment in self.brought(revision).await? {
            if let Some(service) = self.service_outcome(&deployment, revision).await? {
                services.entry(service.path()).or_insert(service);
            }
        }
        if judged.config.as_ref().is_some_and(|config| config.is_head) {
            self.of_config_head(snapshot, revision, &mut outcome, &mut services).await?;
        }
        outcome.services = services.into_values().collect();
        outcome.page = self.page(&commit_page(&outcome.services));
        Ok(outcome)
    }

    /// The deployments by which the config brought a commit of an app to environments. What the config changed there
    /// later is no news of the app.
    async fn brought(&self, revision: &Revision) -> Result<Vec<Deployment>, StoreError> {
        let filter = DeploymentFilter {
            revision: Some(revision.to_string()),
            limit: MOST,
            ..DeploymentFilter::default()
        };
        let at = self.store().deployments(&filter).await?.into_iter();
        let mut of_service: BTreeMap<_, Vec<Deployment>> = BTreeMap::new();
        for deployment in at.filter(|at| at.app_revision.as_deref() == Some(revision.as_str())) {
            let key =
                (deployment.project.clone(), deployment.environment.clone(), deployment.service.clone());
            of_service.entry(key).or_default().push(deployment);
        }
        let config = self.0.parts.config.url.key();
        let first = |deployments: Vec<Deployment>| {
            // the newest comes first: the last attempt at what came first
            let digest = deployments.last()?.input_digest.clone();
            let arrival = deployments.into_iter().find(|deployment| deployment.input_digest == digest);
            arrival.filter(|arrival| arrival.reported_on.as_ref().is_some_and(|(repo, _)| repo == config))
        };
        Ok(of_service.into_values().filter_map(first).collect())
    }

    /// What the newest commit of the config does beside its deployments: services that go, and those that may not.
    async fn of_config_head(
        &self,
        snapshot: &Snapshot,
        revision: &Revision,
        outcome: &mut CommitOutcome,
        services: &mut BTreeMap<String, ServiceOutcome>,
    ) -> Result<(), StoreError> {
        if snapshot.stuck.is_none() {
            outcome.waits |= !self.has_attempted(revision) || self.removes_any(snapshot).await?;
        }
        for verdict in self.store().verdicts(revision.as_str(), MOST).await? {
            if verdict.verdict == "removed" {
                let service = format!("{}/{}/{}", verdict.project, verdict.environment, verdict.service);
                outcome.left.push(Left { service, why: Why::Removed });
            }
        }
        let (waiting, under_way) = self.waiting_removals(snapshot).await?;
        outcome.waits |= under_way;
        for held in waiting.iter().flat_map(|held| of_held(held, revision, outcome.updated)) {
            services.entry(held.path()).or_insert(held);
        }
        Ok(())
    }

    fn has_attempted(&self, revision: &Revision) -> bool {
        let attempted = self.0.attempted.lock().expect("no holder of this lock panics");
        attempted.config.as_ref() == Some(revision) && attempted.failed.is_empty()
    }

    /// Whether a check of a commit is in the outbox.
    async fn is_told(&self, url: &RepositoryUrl, revision: &Revision) -> Result<bool, StoreError> {
        let Some(prefix) = prefix(url, revision) else { return Ok(false) };
        Ok(!self.store().outbox_items(&prefix, 1).await?.is_empty())
    }

    /// The mirror of a repository as a row of the outbox names it.
    #[must_use]
    pub fn mirror(&self, repo: &str) -> Option<Mirror> {
        self.url_of(repo).map(|url| self.mirror_of(&url))
    }

    /// The address of a repository by its key, as it is shown, or as the config writes it.
    pub(super) fn url_of(&self, repo: &str) -> Option<RepositoryUrl> {
        let parts = &self.0.parts;
        let is = |url: &RepositoryUrl| repo == url.key() || repo == url.to_string();
        if is(&parts.config.url) {
            return Some(parts.config.url.clone());
        }
        let snapshot: Arc<Snapshot> = self.0.snapshot.borrow().clone();
        let known = snapshot.mirrors.values().flatten().map(Mirror::url).find(|url| is(url));
        known.cloned().or_else(|| self.address(repo).ok())
    }

    /// The address of a page of ours, where a reader of a report can open it.
    pub(super) fn page(&self, path: &str) -> Option<String> {
        self.0.parts.pages.as_ref().map(|pages| pages.address(path))
    }

    pub(super) fn reporter(&self) -> Reporter {
        Reporter::new(self.0.parts.redactor.clone())
    }

    /// Wants check runs on a commit of the forge.
    pub(super) async fn want(
        &self,
        url: &RepositoryUrl,
        revision: &Revision,
        checks: &[Check],
    ) -> Result<(), StoreError> {
        let Some(slug) = url.github_slug() else { return Ok(()) };
        let as_app = self.0.parts.github.as_ref().is_some_and(crate::github::Client::is_app);
        let now = self.0.parts.clock.now();
        for check in checks {
            self.store().want(want_check(&slug, revision, check, as_app, now)).await?;
        }
        Ok(())
    }
}

/// What the keys of the checks of a commit begin with.
fn prefix(url: &RepositoryUrl, revision: &Revision) -> Option<String> {
    url.github_slug().filter(|_| url.has_forge()).map(|slug| format!("check/{slug}/{revision}/"))
}

/// The page that says most about a commit: that of the one project it is about.
fn commit_page(services: &[ServiceOutcome]) -> String {
    match services {
        [first, rest @ ..] if rest.iter().all(|service| service.project == first.project) => {
            page::project(first.project.as_str())
        }
        _ => page::PROJECTS.to_owned(),
    }
}
