//! Commit statuses, which a personal token can write.

use http::Method;
use serde::de::IgnoredAny;

use super::client::{As, Ask, Client};
use super::error::GitHubError;
use crate::name::{RepoSlug, Revision};
use crate::report::CommitStatus;

impl Client {
    /// Writes a commit status. The newest of a context counts, so writing one again is no harm
    /// (<https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>).
    pub(super) async fn put_status(
        &self,
        repository: &RepoSlug,
        revision: &Revision,
        status: &CommitStatus,
    ) -> Result<(), GitHubError> {
        let ask = Ask {
            doing: format!("write the status `{}` of {} in {repository}", status.context, revision.short()),
            who: As::Repository(repository),
            method: Method::POST,
            path: format!("/repos/{repository}/statuses/{revision}"),
            body: Some(status),
        };
        self.ask::<IgnoredAny, _>(ask).await.map(drop)
    }
}
