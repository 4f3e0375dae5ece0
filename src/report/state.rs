//! The one table of states: pages, CLI, API and GitHub speak of a deployment in these words alone.

use std::fmt;
use std::str::FromStr;

use super::check::{CheckStatus, Conclusion};

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It waits for its turn.
    Queued,
    /// It waits for a person.
    AwaitingApproval,
    /// Its image is being made.
    Building,
    /// What it changes is being worked out.
    Planning,
    /// Its hooks run.
    Releasing,
    /// It is applied and becomes healthy.
    RollingOut,
    /// It runs.
    Live,
    /// It did not get to run.
    Failed,
    /// It did not get to run in time.
    TimedOut,
    /// It ran, and does not any more.
    Crashed,
    /// A newer one came before it was live.
    Superseded,
    /// A person stopped it.
    Cancelled,
    /// It ran until a newer one took its place.
    Replaced,
    /// It ran until it was taken away.
    Removed,
}

/// A state in no row of the table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no state of a deployment")]
pub struct UnknownState(pub String);

/// How a project stands on its card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProjectStatus {
    /// What should run runs.
    Active,
    /// Something moves.
    Building,
    /// Something is broken.
    Failed,
}

impl State {
    /// All of them, in the order of a deployment's life.
    pub const ALL: [Self; 14] = [
        Self::Queued,
        Self::AwaitingApproval,
        Self::Building,
        Self::Planning,
        Self::Releasing,
        Self::RollingOut,
        Self::Live,
        Self::Failed,
        Self::TimedOut,
        Self::Crashed,
        Self::Superseded,
        Self::Cancelled,
        Self::Replaced,
        Self::Removed,
    ];

    /// The word of the API and of the store, such as `rollingOut`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::AwaitingApproval => "awaitingApproval",
            Self::Building => "building",
            Self::Planning => "planning",
            Self::Releasing => "releasing",
            Self::RollingOut => "rollingOut",
            Self::Live => "live",
            Self::Failed => "failed",
            Self::TimedOut => "timedOut",
            Self::Crashed => "crashed",
            Self::Superseded => "superseded",
            Self::Cancelled => "cancelled",
            Self::Replaced => "replaced",
            Self::Removed => "removed",
        }
    }

    /// The sign of its badge; the word stands beside it, so that no meaning hangs on the sign or its colour.
    #[must_use]
    pub fn icon(self) -> &'static str {
        match self {
            Self::Queued => "○",
            Self::AwaitingApproval => "⏸",
            Self::Building | Self::Planning | Self::Releasing | Self::RollingOut => "◔",
            Self::Live => "●",
            Self::Failed | Self::TimedOut | Self::Crashed => "✖",
            Self::Superseded | Self::Cancelled | Self::Replaced | Self::Removed => "◌",
        }
    }

    /// The word of its badge.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "Queued",
            Self::AwaitingApproval => "Needs approval",
            Self::Building => "Building",
            Self::Planning => "Planning",
            Self::Releasing => "Releasing",
            Self::RollingOut => "Rolling out",
            Self::Live => "Live",
            Self::Failed | Self::TimedOut => "Failed",
            Self::Crashed => "Crashing",
            Self::Superseded => "Superseded",
            Self::Cancelled => "Cancelled",
            Self::Replaced => "Replaced",
            Self::Removed => "Removed",
        }
    }

    /// Its badge in words: `Failed at build`, `Live`.
    #[must_use]
    pub fn badge(self, step: Option<&str>) -> String {
        match (self, step) {
            (Self::Failed | Self::TimedOut, Some(step)) => format!("Failed at {}", step.to_lowercase()),
            _ => self.word().to_owned(),
        }
    }

    /// Whether it still moves by itself.
    #[must_use]
    pub fn is_moving(self) -> bool {
        matches!(self, Self::Queued | Self::Building | Self::Planning | Self::Releasing | Self::RollingOut)
    }

    /// Whether it ended without running as it should.
    #[must_use]
    pub fn is_broken(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut | Self::Crashed)
    }

    /// What its check run says. `None` where an earlier word stays: what happens to a deployment after it was live
    /// is no news of the commit.
    #[must_use]
    pub fn check(self) -> Option<(CheckStatus, Option<Conclusion>)> {
        let completed = |conclusion| Some((CheckStatus::Completed, Some(conclusion)));
        match self {
            Self::Queued => Some((CheckStatus::Queued, None)),
            Self::AwaitingApproval => completed(Conclusion::ActionRequired),
            Self::Building | Self::Planning | Self::Releasing | Self::RollingOut => {
                Some((CheckStatus::InProgress, None))
            }
            Self::Live => completed(Conclusion::Success),
            Self::Failed => completed(Conclusion::Failure),
            Self::TimedOut => completed(Conclusion::TimedOut),
            Self::Superseded | Self::Cancelled => completed(Conclusion::Cancelled),
            Self::Crashed | Self::Replaced | Self::Removed => None,
        }
    }

    /// How it shows on its project's card; `None` where it says nothing about what should run.
    #[must_use]
    pub fn project_status(self) -> Option<ProjectStatus> {
        match self {
            Self::Live => Some(ProjectStatus::Active),
            Self::Failed | Self::TimedOut | Self::Crashed => Some(ProjectStatus::Failed),
            Self::Superseded | Self::Cancelled | Self::Replaced | Self::Removed => None,
            _ => Some(ProjectStatus::Building),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.chars().take(80).collect()))
    }
}

impl ProjectStatus {
    /// The word of its badge.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Building => "building",
            Self::Failed => "failed",
        }
    }

    /// The status of a project from the states of its services: broken before moving before fine.
    #[must_use]
    pub fn of(states: impl IntoIterator<Item = State>) -> Self {
        let mut found = Self::Active;
        for status in states.into_iter().filter_map(State::project_status) {
            found = match (found, status) {
                (Self::Failed, _) | (_, Self::Failed) => Self::Failed,
                (Self::Building, _) | (_, Self::Building) => Self::Building,
                _ => Self::Active,
            };
        }
        found
    }
}
