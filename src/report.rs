//! Every word that we say on GitHub: outcomes in, check runs, statuses, comments and notes out.
//!
//! Pure: no clock, network or store. It owns the one table of states ([`State`]), the wording, the escaping of what
//! others wrote (titles, branches, logs) and GitHub's limits. It knows nothing of how the words get there; that is
//! [`crate::github`].
//!
//! A [`Reporter`] holds the redactor, so no text of an author, a build or a cluster leaves without passing it. What a
//! limit cuts ends in a link to our own page, where there is one.

mod check;
mod comment;
mod commit;
mod config;
mod left;
mod markdown;
mod note;
mod outcome;
pub mod page;
mod plan;
mod service;
mod state;

pub use self::check::{Action, Annotation, Check, CheckStatus, CommitStatus, Conclusion, Level, StatusState};
pub use self::comment::{Comment, Ended, MARKER, PullOutcome};
pub use self::commit::{CommitOutcome, SERVICE_CHECKS};
pub use self::config::ConfigOutcome;
pub use self::left::{Aside, Left, Why};
pub use self::outcome::{Cause, Changes, ServiceOutcome, Step, StepState};
pub use self::plan::{EnvironmentPlan, PlanOutcome};
pub use self::state::{ProjectStatus, State, UnknownState};

use crate::secret::Redactor;

/// Words outcomes; knows the live secrets.
#[derive(Clone, Default)]
pub struct Reporter {
    redactor: Redactor,
}

impl Reporter {
    /// A reporter whose every text passes `redactor`.
    #[must_use]
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor }
    }

    fn pen(&self) -> markdown::Pen<'_> {
        markdown::Pen::new(&self.redactor)
    }
}
