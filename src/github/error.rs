//! What goes wrong with GitHub, and when it is worth another try.

use std::time::Duration;

use jiff::Timestamp;

/// What went wrong, and with what.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitHubError {
    /// The settings make no client.
    #[error("GitHub cannot be used: {what}; hint: {hint}")]
    Settings {
        /// What is wrong with them.
        what: String,
        /// The way out.
        hint: &'static str,
    },
    /// No answer came.
    #[error("GitHub did not answer when we were to {doing}: {cause}; it is tried again")]
    Unreachable {
        /// What we were doing.
        doing: String,
        /// What the network said.
        cause: String,
    },
    /// No answer came in time. What was asked may have been done all the same.
    #[error("GitHub took longer than {limit:?} when we were to {doing}; it is tried again")]
    Slow {
        /// What we were doing.
        doing: String,
        /// How long we waited.
        limit: Duration,
    },
    /// A rate limit, or our own budget below it.
    #[error("GitHub's {limit} is reached; nothing is sent there before {until:.0}")]
    Limited {
        /// Which one.
        limit: &'static str,
        /// When it is over.
        until: Timestamp,
    },
    /// GitHub has troubles of its own.
    #[error("GitHub answered {status} when we were to {doing}; it is tried again")]
    Down {
        /// What we were doing.
        doing: String,
        /// The HTTP status.
        status: u16,
    },
    /// Our credentials are not accepted.
    #[error(
        "GitHub does not accept our credentials (401); \
         hint: check the token, or the App's id and key, and this machine's clock"
    )]
    Unauthorized,
    /// The App is not installed where it is needed.
    #[error("the App is not installed on {repository}, or suspended; hint: see to it on the App's page")]
    NotInstalled {
        /// The repository.
        repository: String,
    },
    /// GitHub understood and refused.
    #[error("GitHub refused to {doing} ({status}): {message}")]
    Refused {
        /// What we were doing.
        doing: String,
        /// The HTTP status.
        status: u16,
        /// What GitHub says.
        message: String,
    },
    /// The answer is not what the documentation says.
    #[error("GitHub's answer cannot be read when we were to {doing}: {cause}")]
    Unreadable {
        /// What we were doing.
        doing: String,
        /// What the reader says.
        cause: String,
    },
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before this time.
    At(Timestamp),
    /// Soon, then later and later: it may be over in a moment.
    Soon,
    /// Once somebody has changed something there: seldom.
    WhenMended,
    /// No: what is wanted cannot be.
    Never,
}

impl GitHubError {
    /// Whether trying again can help.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Limited { until, .. } => Retry::At(*until),
            Self::Unreachable { .. }
            | Self::Slow { .. }
            | Self::Down { .. }
            | Self::Unreadable { .. }
            | Self::Refused { status: 408 | 409, .. } => Retry::Soon,
            // permission may be given back; GitHub answers 404 for what we may not see
            Self::Settings { .. }
            | Self::Unauthorized
            | Self::NotInstalled { .. }
            | Self::Refused { status: 403 | 404 | 451, .. } => Retry::WhenMended,
            Self::Refused { .. } => Retry::Never,
        }
    }

    /// Whether GitHub says that what we named is not there, or not for us.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404 | 410, .. })
    }
}
