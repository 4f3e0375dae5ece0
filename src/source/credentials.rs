//! Where the token for a repository comes from: a callback, asked anew for every fetch and push.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};

use super::url::RepositoryUrl;
use super::{Cause, SourceError};
use crate::secret::Secret;

/// What the token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Fetching.
    Read,
    /// Pushing a commit or a note.
    Write,
}

/// A wish for a token.
#[derive(Debug, Clone)]
pub struct CredentialRequest {
    /// The repository that it is for. A token must be good for this one alone.
    pub url: RepositoryUrl,
    /// What it is for.
    pub access: Access,
    /// Whether the last token was refused with 401, so that a cached one is of no use.
    pub refused: bool,
}

type Answer = BoxFuture<'static, Result<Option<Secret<String>>, Cause>>;

/// The source of tokens. A token is sent as HTTP Basic `x-access-token:TOKEN`, to the repository's own origin only;
/// it never stands in a URL, an argument, a file or a log.
#[derive(Clone)]
pub struct Credentials(Arc<dyn Fn(CredentialRequest) -> Answer + Send + Sync>);

impl Credentials {
    /// No token for any repository.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| std::future::ready(Ok(None)).boxed())
    }

    /// Tokens by `callback`, which decides by the repository; `None` asks without one.
    pub fn new(callback: impl Fn(CredentialRequest) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(callback))
    }

    pub(super) async fn token(
        &self,
        request: CredentialRequest,
    ) -> Result<Option<Secret<String>>, SourceError> {
        let repository = request.url.to_string();
        (self.0)(request).await.map_err(|source| SourceError::Credentials { repository, source })
    }
}
