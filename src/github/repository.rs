//! Repositories, and what a person may do there.

use http::Method;
use serde::Deserialize;

use super::client::{As, Ask, Client, part};
use super::error::GitHubError;
use crate::name::RepoSlug;

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Repository {
    /// Its number, which stays when it is renamed.
    pub id: u64,
    /// Its name now, `owner/name`.
    pub full_name: RepoSlug,
    /// Where it is fetched from.
    pub clone_url: String,
    /// The branch that it shows first.
    pub default_branch: String,
    /// Whether it takes no writes any more.
    #[serde(default)]
    pub archived: bool,
}

/// What a person may do in a repository
/// (<https://docs.github.com/en/rest/collaborators/collaborators#get-repository-permissions-for-a-user>): `maintain`
/// is told as `write`, `triage` as `read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// Nothing.
    None,
    /// Look.
    Read,
    /// Push.
    Write,
    /// Everything.
    Admin,
}

impl Client {
    /// The repository of this name, also where it has been renamed.
    ///
    /// # Errors
    /// It is not there or not for us ([`GitHubError::is_not_found`]), or GitHub does not answer.
    pub async fn repository(&self, repository: &RepoSlug) -> Result<Repository, GitHubError> {
        self.ask::<_, ()>(Ask {
            doing: format!("read the repository {repository}"),
            who: As::Repository(repository),
            method: Method::GET,
            path: format!("/repos/{repository}"),
            body: None,
        })
        .await
    }

    /// What a person may do in a repository, asked now. A word that we do not know is [`Permission::None`].
    ///
    /// # Errors
    /// GitHub does not answer. A person whom it does not know has no permission.
    pub async fn permission(&self, repository: &RepoSlug, user: &str) -> Result<Permission, GitHubError> {
        #[derive(Deserialize)]
        struct Found {
            permission: String,
        }
        let asked = self.ask::<Found, ()>(Ask {
            doing: format!("ask what a person may do in {repository}"),
            who: As::Repository(repository),
            method: Method::GET,
            path: format!("/repos/{repository}/collaborators/{}/permission", part(user)),
            body: None,
        });
        match asked.await {
            Ok(found) => Ok(match found.permission.as_str() {
                "admin" => Permission::Admin,
                "write" => Permission::Write,
                "read" => Permission::Read,
                _ => Permission::None,
            }),
            Err(error) if error.is_not_found() => Ok(Permission::None),
            Err(error) => Err(error),
        }
    }
}
