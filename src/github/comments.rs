//! The one comment of a pull request: found by its author and its marker, edited in place.

use http::Method;
use serde::{Deserialize, Serialize};

use super::client::{As, Ask, Client};
use super::error::GitHubError;
use crate::name::{PullNumber, RepoSlug};
use crate::report::MARKER;

#[derive(Deserialize)]
struct WireComment {
    id: u64,
    user: Option<WireUser>,
    #[serde(default)]
    body: Option<String>,
}

#[derive(Deserialize)]
struct WireUser {
    login: String,
}

#[derive(Serialize)]
struct Body<'a> {
    body: &'a str,
}

impl Client {
    /// Our comment on a pull request: the oldest that we wrote and that begins with our marker. The marker alone
    /// proves nothing, because anybody can write it.
    pub(super) async fn our_comment(
        &self,
        repository: &RepoSlug,
        pull: PullNumber,
    ) -> Result<Option<u64>, GitHubError> {
        let us = self.us().await?;
        let doing = format!("list the comments of {repository}#{pull}");
        let path = format!("/repos/{repository}/issues/{pull}/comments");
        let comments: Vec<WireComment> =
            self.all(&doing, As::Repository(repository), &path, |page: Vec<WireComment>| page).await?;
        let ours = |comment: &WireComment| {
            comment.user.as_ref().is_some_and(|user| user.login.eq_ignore_ascii_case(&us.login))
                && comment.body.as_deref().is_some_and(|body| body.starts_with(MARKER))
        };
        Ok(comments.into_iter().filter(ours).map(|comment| comment.id).min())
    }

    /// Makes our comment.
    pub(super) async fn create_comment(
        &self,
        repository: &RepoSlug,
        pull: PullNumber,
        body: &str,
    ) -> Result<u64, GitHubError> {
        let ask = Ask {
            doing: format!("comment on {repository}#{pull}"),
            who: As::Repository(repository),
            method: Method::POST,
            path: format!("/repos/{repository}/issues/{pull}/comments"),
            body: Some(&Body { body }),
        };
        self.ask::<WireComment, _>(ask).await.map(|comment| comment.id)
    }

    /// Makes our comment read `body`.
    pub(super) async fn edit_comment(
        &self,
        repository: &RepoSlug,
        id: u64,
        body: &str,
    ) -> Result<(), GitHubError> {
        let ask = Ask {
            doing: format!("edit our comment in {repository}"),
            who: As::Repository(repository),
            method: Method::PATCH,
            path: format!("/repos/{repository}/issues/comments/{id}"),
            body: Some(&Body { body }),
        };
        self.ask::<WireComment, _>(ask).await.map(drop)
    }
}
