//! What a forge tells the survey: where a repository is cloned from, and its pull requests.
//!
//! Absence is proven: a pull request that a listing lacks is asked for by its number, and only "closed" or "not found"
//! twice, a minute apart, is believed. A forge that does not answer closes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::survey::short_name;
use super::{Hint, Reconciler, chain};
use crate::config::Repository;
use crate::desired::PullRequest;
use crate::github::{Client, Pull, PullStanding};
use crate::name::RepoSlug;
use crate::source::{Mirror, RepositoryUrl, UrlError};

/// How far apart two answers "not found" must lie to be believed.
const APART: Duration = Duration::from_mins(1);

/// Where the forge says that a repository is cloned from.
#[derive(Clone)]
pub(super) struct ClonedFrom {
    url: RepositoryUrl,
    /// Whether that address failed, so that it is asked for again.
    stale: bool,
}

/// What was learnt of the forge, from one survey to the next.
#[derive(Default)]
pub(super) struct Known {
    /// When a pull request was not found first.
    missing: BTreeMap<(String, u64), Timestamp>,
    /// The repositories whose last listing was complete, by their keys.
    listed: BTreeSet<String>,
}

impl Reconciler {
    /// The mirror of a repository at the address that the forge gives for it; at the address itself where there is no
    /// forge. A forge that does not say where is no reason to ask another host of the same name.
    pub(super) async fn cloned_from(&self, url: &RepositoryUrl) -> Result<Mirror, String> {
        let (Some(client), Some(slug)) = (&self.0.parts.github, url.github_slug()) else {
            return Ok(self.0.parts.mirrors.mirror(url));
        };
        let known = self.0.clones.lock().expect("no holder of this lock panics").get(url.key()).cloned();
        if let Some(ClonedFrom { url, stale: false }) = known {
            return Ok(self.0.parts.mirrors.mirror(&url));
        }
        let repository = client.repository(&slug).await.map_err(|error| {
            tracing::warn!(repository = %slug, error = %chain(&error), "The forge does not say where a repository is cloned from.");
            chain(&error)
        })?;
        let clone = url.cloned_from(&repository.clone_url, self.0.parts.mirrors.hosts()).map_err(|error| {
            tracing::warn!(repository = %slug, error = %error, "The forge names an address that may not be fetched from.");
            error.to_string()
        })?;
        let mut clones = self.0.clones.lock().expect("no holder of this lock panics");
        clones.insert(url.key().to_owned(), ClonedFrom { url: clone.clone(), stale: false });
        Ok(self.0.parts.mirrors.mirror(&clone))
    }

    /// Lets the forge be asked again where a repository is cloned from: it may have moved.
    pub(super) fn ask_again_where(&self, key: &str) {
        let mut clones = self.0.clones.lock().expect("no holder of this lock panics");
        clones.entry(key.to_owned()).and_modify(|clone| clone.stale = true);
    }

    /// The address of a repository, as the config writes it.
    pub(super) fn address(&self, repo: &str) -> Result<RepositoryUrl, UrlError> {
        let parts = &self.0.parts;
        RepositoryUrl::parse(repo, &parts.config.url, parts.mirrors.hosts())
    }

    /// The mirror of a repository, at the address that the forge gave for it where it gave one.
    pub(super) fn mirror_of(&self, url: &RepositoryUrl) -> Mirror {
        let clones = self.0.clones.lock().expect("no holder of this lock panics");
        self.0.parts.mirrors.mirror(clones.get(url.key()).map_or(url, |clone| &clone.url))
    }

    /// The open pull requests of the repositories of the forge, and the short names of those that could not be listed.
    /// `before` are the pull requests of the last survey; they stand where nothing hints at a repository.
    pub(super) async fn forge_pulls(
        &self,
        known: &mut Known,
        config: &Repository,
        mirrors: impl Iterator<Item = &Mirror>,
        before: &[PullRequest],
        hinted: &impl Fn(&RepositoryUrl) -> bool,
    ) -> (Vec<PullRequest>, BTreeSet<String>) {
        let Some(client) = &self.0.parts.github else {
            return (Vec::new(), mirrors.map(short_name).collect());
        };
        let mut silent = BTreeSet::new();
        let mut all: Vec<PullRequest> = Vec::new();
        let mirrors: Vec<&Mirror> = mirrors.collect();
        // what was not asked for meanwhile is listed again
        known.listed.retain(|key| mirrors.iter().any(|mirror| mirror.url().key() == key));
        for mirror in mirrors {
            let (url, Some(slug)) = (mirror.url(), mirror.url().github_slug()) else { continue };
            if all.iter().any(|pull| pull.repository == url.key()) {
                continue;
            }
            let mine = before.iter().filter(|pull| pull.repository == url.key());
            if known.listed.contains(url.key()) && !hinted(url) {
                all.extend(mine.cloned());
                continue;
            }
            match client.open_pulls(&slug).await {
                Ok(pulls) => {
                    known.listed.insert(url.key().to_owned());
                    all.extend(pulls.into_iter().map(|pull| self.pull_request(config, url, pull)));
                    for pull in mine.cloned().collect::<Vec<_>>() {
                        let listed =
                            all.iter().any(|p| p.repository == pull.repository && p.number == pull.number);
                        if !listed && !self.is_closed(known, client, &slug, &pull).await {
                            all.push(pull);
                            self.hint_after(super::SOON, Hint::Repository(url.clone()));
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(repository = %slug, error = %chain(&error), "The pull requests could not be listed; those that are known stay.");
                    all.extend(mine.cloned());
                    known.listed.remove(url.key());
                    silent.insert(short_name(mirror));
                }
            }
        }
        (all, silent)
    }

    pub(super) fn pull_request(&self, config: &Repository, url: &RepositoryUrl, pull: Pull) -> PullRequest {
        let age = self.0.parts.clock.now().duration_since(pull.updated).unsigned_abs();
        PullRequest {
            repository: url.key().to_owned(),
            short_name: url.name().trim_end_matches(".git").to_owned(),
            number: pull.number,
            head: pull.head.revision.clone(),
            base: pull.base.name.parse().ok(),
            of_forge: true,
            fork: fork_of(&pull),
            draft: pull.draft,
            bot: pull.by_bot,
            labels: pull.labels,
            expired: age > super::survey::expiry(config),
        }
    }

    /// Whether a pull request that a listing lacks is closed, as far as that is proven.
    async fn is_closed(
        &self,
        known: &mut Known,
        client: &Client,
        slug: &RepoSlug,
        pull: &PullRequest,
    ) -> bool {
        let key = (pull.repository.clone(), pull.number.0);
        let now = self.0.parts.clock.now();
        match client.pull(slug, pull.number).await {
            Ok(PullStanding::Closed { .. }) => {
                known.missing.remove(&key);
                true
            }
            Ok(PullStanding::Open(_)) => {
                known.missing.remove(&key);
                false
            }
            Ok(PullStanding::Missing) => {
                let first = *known.missing.entry(key).or_insert(now);
                now.duration_since(first).unsigned_abs() >= APART
            }
            Err(error) => {
                tracing::warn!(repository = %slug, pull = pull.number.0, error = %chain(&error), "A pull request could not be read; it counts as open.");
                false
            }
        }
    }
}

/// The repository that a pull request's head comes from, where that is another one.
pub(super) fn fork_of(pull: &Pull) -> Option<String> {
    let from = || pull.head.repository.as_ref().map(ToString::to_string);
    pull.is_from_fork().then(|| from().unwrap_or_else(|| "a repository that is gone".to_owned()))
}
