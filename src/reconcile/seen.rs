//! Commits that we were told of, or saw: each is remembered until its last word has been said.
//!
//! A push's own commit never decides what is deployed; that is the head's. It gets a check at once, and a last word:
//! [`super::judge`] says what it is about, [`super::tell`] what became of that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::survey::Memory;
use super::{Hint, Reconciler, Snapshot};
use crate::desired::Found;
use crate::github::inbox;
use crate::github::payload::{Notice, What};
use crate::name::{BranchName, PullNumber, Revision};
use crate::report::{CommitOutcome, page};
use crate::source::RepositoryUrl;
use crate::store::{NewCommit, StoreError};

/// The head of a branch or a pull request: the repository, the revision, and the way as it stands in the store.
pub(crate) type Head = (String, String, String);

/// By which way a commit came to us.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Via {
    /// As the head of a branch.
    Branch(BranchName),
    /// As the head of a pull request.
    Pull(PullNumber),
    /// A deployment reports on it.
    Deployment,
}

impl Via {
    /// Reads what stands in the store.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text == crate::store::VIA_DEPLOYMENT {
            return Some(Self::Deployment);
        }
        match text.strip_prefix("pull/") {
            Some(number) => number.parse().ok().map(|number| Self::Pull(PullNumber(number))),
            None => text.strip_prefix("refs/heads/")?.parse().ok().map(Self::Branch),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Branch(branch) => format!("refs/heads/{branch}"),
            Self::Pull(number) => format!("pull/{number}"),
            Self::Deployment => crate::store::VIA_DEPLOYMENT.to_owned(),
        }
    }
}

impl Reconciler {
    /// Remembers the commits that deliveries name, and hints at their repositories. When this answers, each has a row
    /// that outlives us, and, where a service or the config follows it, a queued check is on its way.
    ///
    /// # Errors
    /// The store does not answer: the deliveries are to be handed in again.
    pub async fn see(&self, deliveries: &[inbox::Hint]) -> Result<(), StoreError> {
        let mut commits = Vec::new();
        let mut hints = BTreeSet::new();
        for delivery in deliveries {
            let Some(url) = self.repository_of(&delivery.notice) else {
                hints.insert(Hint::Everything);
                continue;
            };
            match &delivery.notice.what {
                What::Push { .. } | What::Deleted { .. } | What::PullRequest { .. } => {
                    hints.insert(Hint::Repository(url.clone()));
                }
                _ => drop(hints.insert(Hint::Everything)),
            }
            commits.extend(self.commit_of(&url, &delivery.notice.what));
        }
        for commit in self.store().see_commits(commits).await? {
            self.queue(&commit).await?;
        }
        hints.into_iter().for_each(|hint| self.hint(hint));
        Ok(())
    }

    /// The repository of a notice, by the name that the forge gives to it.
    fn repository_of(&self, notice: &Notice) -> Option<RepositoryUrl> {
        let slug = &notice.repository.as_ref()?.slug;
        let parts = &self.0.parts;
        RepositoryUrl::parse(slug.as_str(), &parts.config.url, parts.mirrors.hosts()).ok()
    }

    fn commit_of(&self, url: &RepositoryUrl, what: &What) -> Option<NewCommit> {
        let (via, revision, before) = match what {
            What::Push { reference, before, after: Some(after) } => {
                let branch = reference.strip_prefix("refs/heads/")?.parse().ok()?;
                (Via::Branch(branch), after, before.as_ref())
            }
            What::PullRequest { number, head, .. } => (Via::Pull(*number), head, None),
            _ => return None,
        };
        Some(NewCommit {
            repo: url.key().to_owned(),
            revision: revision.to_string(),
            via: via.text(),
            before: before.map(ToString::to_string),
            seen: self.0.parts.clock.now(),
        })
    }

    /// Says that a commit is queued, where it is known already that somebody follows it.
    async fn queue(&self, commit: &NewCommit) -> Result<(), StoreError> {
        let snapshot = self.0.snapshot.borrow().clone();
        let (Some(url), Some(via), Ok(revision)) =
            (self.url_of(&commit.repo), Via::read(&commit.via), commit.revision.parse())
        else {
            return Ok(());
        };
        if !url.has_forge() || !self.is_followed(&snapshot, &url, &via) {
            return Ok(());
        }
        let outcome =
            CommitOutcome { waits: true, page: self.page(page::PROJECTS), ..CommitOutcome::of(commit.seen) };
        self.want(&url, &revision, &self.reporter().commit(&outcome)).await
    }

    /// Whether the config, or a service of it, has anything to do with a branch or a pull request.
    pub(super) fn is_followed(&self, snapshot: &Snapshot, url: &RepositoryUrl, via: &Via) -> bool {
        let config = &self.0.parts.config;
        let is_config = url.key() == config.url.key();
        match via {
            Via::Branch(branch) => {
                is_config && *branch == config.branch
                    || self.followers(snapshot, url, branch).next().is_some()
            }
            Via::Pull(_) => is_config || snapshot.mirrors.keys().any(|repo| self.is_at(snapshot, repo, url)),
            Via::Deployment => true,
        }
    }

    /// The heads that a survey saw.
    pub(super) fn heads(&self, snapshot: &Snapshot) -> Arc<BTreeSet<Head>> {
        let config = &self.0.parts.config;
        let mut heads: Vec<(&RepositoryUrl, String, Via)> = Vec::new();
        if let Some(revision) = &snapshot.config_revision {
            heads.push((&config.url, revision.to_string(), Via::Branch(config.branch.clone())));
        }
        if snapshot.stuck.is_none() {
            // many services follow one branch
            let mut branches: BTreeMap<(&str, &BranchName), &Revision> = BTreeMap::new();
            for lookup in snapshot.lookups.iter().filter(|lookup| lookup.head.is_none()) {
                if let Some(Found::Revision { head, .. }) = snapshot.found.get(&lookup.key) {
                    branches.insert((&lookup.repo.0, &lookup.branch), head);
                }
            }
            for ((repo, branch), head) in branches {
                if let Some(Ok(mirror)) = snapshot.mirrors.get(repo) {
                    heads.push((mirror.url(), head.to_string(), Via::Branch(branch.clone())));
                }
            }
            let mirrors: Vec<_> = snapshot.mirrors.values().flatten().collect();
            for pull in &snapshot.pulls {
                if let Some(mirror) = mirrors.iter().find(|mirror| mirror.url().key() == pull.repository) {
                    heads.push((mirror.url(), pull.head.to_string(), Via::Pull(pull.number)));
                }
            }
        }
        let keys = heads.into_iter().map(|(url, revision, via)| (url.key().to_owned(), revision, via.text()));
        Arc::new(keys.collect())
    }

    /// Remembers the heads that the last survey saw: whoever missed a webhook is served by the poll.
    pub(super) async fn see_heads(&self, memory: &mut Memory) -> Result<(), StoreError> {
        let heads = Arc::clone(&self.0.snapshot.borrow().heads);
        let now = self.0.parts.clock.now();
        let new = heads.difference(&memory.heads).cloned().map(|(repo, revision, via)| NewCommit {
            repo,
            revision,
            via,
            before: None,
            seen: now,
        });
        let new: Vec<_> = new.collect();
        if !new.is_empty() {
            self.store().see_commits(new).await?;
        }
        memory.heads = heads;
        Ok(())
    }
}
