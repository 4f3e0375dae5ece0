//! Pull requests: which are open, and the proof that one is closed.

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;

use super::client::{As, Ask, Client};
use super::error::GitHubError;
use crate::name::{PullNumber, RepoSlug, Revision};

/// A pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pull {
    /// Its number in its repository.
    pub number: PullNumber,
    /// What it says it is about.
    pub title: String,
    /// What it brings.
    pub head: Branch,
    /// What it is to be merged into.
    pub base: Branch,
    /// Whether its author still works on it.
    pub draft: bool,
    /// The names of its labels.
    pub labels: Vec<String>,
    /// Its author's login, empty where the account is gone.
    pub author: String,
    /// Whether its author is no person.
    pub by_bot: bool,
    /// Its page.
    pub url: String,
    /// When anything about it last changed.
    pub updated: Timestamp,
    /// When it was made.
    pub created: Timestamp,
}

/// One side of a pull request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// The repository; `None` where it is gone, as a deleted fork is.
    pub repository: Option<RepoSlug>,
    /// The branch, as GitHub writes it.
    pub name: String,
    /// Its newest commit.
    pub revision: Revision,
}

/// Whether a pull request is open, as far as it can be proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullStanding {
    /// It is open.
    Open(Box<Pull>),
    /// GitHub says that it is closed.
    Closed {
        /// Whether its head was merged.
        merged: bool,
    },
    /// There is none of this number, in a repository that answers. Proof only when it is seen twice, a minute apart.
    Missing,
}

impl Pull {
    /// Whether its head is in another repository than its base: then nothing of it is fetched or built.
    #[must_use]
    pub fn is_from_fork(&self) -> bool {
        match (&self.head.repository, &self.base.repository) {
            (Some(head), Some(base)) => !head.as_str().eq_ignore_ascii_case(base.as_str()),
            _ => true,
        }
    }
}

impl Client {
    /// The open pull requests, all of them or an error: an incomplete listing would look like closed ones.
    ///
    /// # Errors
    /// GitHub does not answer, or not for us.
    pub async fn open_pulls(&self, repository: &RepoSlug) -> Result<Vec<Pull>, GitHubError> {
        let doing = format!("list the open pull requests of {repository}");
        let path = format!("/repos/{repository}/pulls?state=open&sort=created&direction=asc");
        let listed: Vec<Wire> =
            self.all(&doing, As::Repository(repository), &path, |page: Vec<Wire>| page).await?;
        let mut pulls: Vec<Pull> =
            listed.into_iter().filter(|pull| pull.state != "closed").map(Pull::from).collect();
        // a pull request that is opened or closed meanwhile moves the others over a page's border
        pulls.sort_by_key(|pull| pull.number);
        pulls.dedup_by_key(|pull| pull.number);
        Ok(pulls)
    }

    /// Whether a pull request is open. `Missing` is told only where the repository itself answers, so that a lost
    /// permission never looks like a closed pull request.
    ///
    /// # Errors
    /// GitHub does not answer, or the repository is not for us.
    pub async fn pull(&self, repository: &RepoSlug, number: PullNumber) -> Result<PullStanding, GitHubError> {
        let asked = self.ask::<Wire, ()>(Ask {
            doing: format!("read the pull request {repository}#{number}"),
            who: As::Repository(repository),
            method: Method::GET,
            path: format!("/repos/{repository}/pulls/{number}"),
            body: None,
        });
        match asked.await {
            Ok(pull) if pull.state == "closed" => {
                Ok(PullStanding::Closed { merged: pull.merged_at.is_some() })
            }
            Ok(pull) => Ok(PullStanding::Open(Box::new(pull.into()))),
            Err(error) if error.is_not_found() => {
                self.repository(repository).await?;
                Ok(PullStanding::Missing)
            }
            Err(error) => Err(error),
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    number: u64,
    state: String,
    #[serde(default)]
    title: String,
    head: WireBranch,
    base: WireBranch,
    #[serde(default)]
    draft: Option<bool>,
    #[serde(default)]
    labels: Vec<WireLabel>,
    user: Option<WireUser>,
    #[serde(default)]
    html_url: String,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(default)]
    merged_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct WireBranch {
    #[serde(rename = "ref")]
    name: String,
    sha: Revision,
    repo: Option<WireRepository>,
}

#[derive(Deserialize)]
struct WireRepository {
    full_name: RepoSlug,
}

#[derive(Deserialize)]
struct WireLabel {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct WireUser {
    login: String,
    #[serde(default, rename = "type")]
    kind: String,
}

impl From<Wire> for Pull {
    fn from(wire: Wire) -> Self {
        let by_bot = wire.user.as_ref().is_some_and(|user| user.kind == "Bot");
        Self {
            number: PullNumber(wire.number),
            title: wire.title,
            head: wire.head.into(),
            base: wire.base.into(),
            draft: wire.draft.unwrap_or(false),
            labels: wire.labels.into_iter().map(|label| label.name).collect(),
            author: wire.user.map(|user| user.login).unwrap_or_default(),
            by_bot,
            url: wire.html_url,
            updated: wire.updated_at,
            created: wire.created_at,
        }
    }
}

impl From<WireBranch> for Branch {
    fn from(wire: WireBranch) -> Self {
        Self { repository: wire.repo.map(|repo| repo.full_name), name: wire.name, revision: wire.sha }
    }
}
