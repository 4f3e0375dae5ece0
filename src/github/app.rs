//! Who we are on GitHub: an App with its installations, or the user of a token.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};

use http::Method;
use octocrab::Octocrab;
use octocrab::models::InstallationId;
use serde::Deserialize;

use super::client::{As, Ask, Client};
use super::error::GitHubError;
use crate::name::RepoSlug;
use crate::secret::Secret;

/// How a repository is reached. octocrab keeps an installation's token in the value itself, and a clone of it has a
/// token of its own: so one value is shared by all repositories of an installation.
pub(super) struct Installation {
    id: u64,
    crab: Arc<Octocrab>,
}

/// The author of what we write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Us {
    /// The login that stands on our comments.
    pub(super) login: String,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

#[derive(Deserialize)]
struct App {
    slug: String,
}

#[derive(Deserialize)]
struct User {
    login: String,
}

impl Client {
    /// The login that stands on our comments: `slug[bot]` for an App
    /// (<https://docs.github.com/en/rest/apps/apps#get-the-authenticated-app>), the user's for a token.
    pub(super) async fn us(&self) -> Result<Us, GitHubError> {
        if let Some(us) = self.inner.us.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(us);
        }
        let ask = |path: &str| Ask::<()> {
            doing: "ask who we are".to_owned(),
            who: As::Us,
            method: Method::GET,
            path: path.to_owned(),
            body: None,
        };
        let login = if self.is_app() {
            format!("{}[bot]", self.ask::<App, ()>(ask("/app")).await?.slug)
        } else {
            self.ask::<User, ()>(ask("/user")).await?.login
        };
        let us = Us { login };
        *self.inner.us.lock().unwrap_or_else(PoisonError::into_inner) = Some(us.clone());
        Ok(us)
    }

    /// A token for Git over HTTPS to this repository, where we are an App: minted for it alone
    /// (<https://docs.github.com/en/rest/apps/apps#create-an-installation-access-token-for-an-app>).
    ///
    /// # Errors
    /// The App is not installed there, or GitHub does not answer.
    pub async fn git_token(&self, repository: &RepoSlug) -> Result<Option<Secret<String>>, GitHubError> {
        #[derive(Deserialize)]
        struct Token {
            token: String,
        }
        if !self.is_app() {
            return Ok(None);
        }
        let id = self.installation_id(repository).await?;
        let name = repository.as_str().split('/').next_back().unwrap_or_default();
        let body = serde_json::json!({ "repositories": [name] });
        let minted: Token = self
            .ask(Ask {
                doing: format!("get a token for {repository}"),
                who: As::Us,
                method: Method::POST,
                path: format!("/app/installations/{id}/access_tokens"),
                body: Some(&body),
            })
            .await?;
        Ok(Some(Secret::new(minted.token)))
    }

    /// The octocrab that acts as `who`.
    pub(super) async fn crab(&self, who: As<'_>) -> Result<Arc<Octocrab>, GitHubError> {
        let repository = match who {
            As::Repository(repository) if self.is_app() => repository,
            _ => return Ok(Arc::clone(&self.inner.crab)),
        };
        if let Some(known) = self.installations().get(repository.as_str()) {
            return Ok(Arc::clone(&known.crab));
        }
        let id = self.installation_id(repository).await?;
        let mut installations = self.installations();
        let known = installations.values().find(|known| known.id == id).map(|known| Arc::clone(&known.crab));
        let crab = match known {
            Some(crab) => crab,
            None => Arc::new(self.inner.crab.installation(InstallationId(id)).map_err(|_| {
                GitHubError::Settings {
                    what: "an installation needs an App".to_owned(),
                    hint: "set BRANCHLINE_GITHUB_APP_ID and its key",
                }
            })?),
        };
        installations.insert(repository.as_str().to_owned(), Installation { id, crab: Arc::clone(&crab) });
        Ok(crab)
    }

    /// Forgets how a repository is reached, so that the next request asks anew.
    pub(super) fn forget_installation(&self, repository: &RepoSlug) {
        self.installations().remove(repository.as_str());
    }

    async fn installation_id(&self, repository: &RepoSlug) -> Result<u64, GitHubError> {
        let asked = Box::pin(self.ask::<Id, ()>(Ask {
            doing: format!("find our installation on {repository}"),
            who: As::Us,
            method: Method::GET,
            path: format!("/repos/{repository}/installation"),
            body: None,
        }));
        match asked.await {
            Ok(found) => Ok(found.id),
            Err(error) if error.is_not_found() => {
                Err(GitHubError::NotInstalled { repository: repository.to_string() })
            }
            Err(error) => Err(error),
        }
    }

    fn installations(&self) -> MutexGuard<'_, BTreeMap<String, Installation>> {
        self.inner.installations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
