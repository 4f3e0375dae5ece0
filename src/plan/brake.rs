//! The deletion brake: a plan that would take away a lot, or that rests on an incomplete reading, is held.
//!
//! Counted in services per environment. What is held is deletion alone; the rest of the plan may go ahead
//! ([`super::Plan::allowed`]). The answer of a person is bound to one plan by its id.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{ENVIRONMENT_UNIT, Scope, Unit, Wanted};
use crate::hash::ContentHash;

/// From how many services on a share of them counts.
const AT_LEAST: usize = 3;
/// How far apart two answers "not found" about a pull request must lie to be believed.
const APART: Duration = Duration::from_mins(1);

/// What the brake is told.
#[derive(Debug, Clone, Default)]
pub struct Brake {
    /// `policy.maxDeletePercent`.
    pub max_delete_percent: u8,
    /// Whether the environment, or its project, is no longer in the configuration.
    pub vanished: Option<Vanished>,
    /// Services whose removal was held before. What the same change brings makes the share of what goes smaller, and is
    /// no answer.
    pub held_before: BTreeSet<String>,
    /// What could not be read completely, in words ("the list of Deployment.apps in shop-staging").
    pub incomplete: Vec<String>,
    /// How it is known that the preview's pull request is closed.
    pub closed: Option<Closed>,
    /// The plan that a person said yes to.
    pub approved: Option<ContentHash>,
}

/// What went away as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Vanished {
    /// The environment's document.
    Environment,
    /// The project's folder.
    Project,
    /// The place: the environment is somewhere else now.
    Place,
    /// The environment that was in this namespace before, by project and name.
    Owner(String),
}

/// A proof that a pull request is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// A GET of the pull request says closed.
    SaidByForge,
    /// The pull request was not found twice, in a repository that answers.
    NotFoundTwice {
        /// The first answer.
        first: Timestamp,
        /// The second answer.
        second: Timestamp,
    },
    /// There is no forge, and two complete listings of the repository lack the reference.
    TwoListings,
}

impl Closed {
    /// Answers whether the proof holds.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        match self {
            Self::SaidByForge | Self::TwoListings => true,
            Self::NotFoundTwice { first, second } => {
                second.duration_since(*first).unsigned_abs() >= APART && second > first
            }
        }
    }
}

/// Whether a plan's deletions may go ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// They may.
    Go,
    /// They wait for a person, or for a complete reading.
    Held(Held),
}

impl Verdict {
    /// Answers whether deletions wait.
    #[must_use]
    pub fn is_held(&self) -> bool {
        matches!(self, Self::Held(_))
    }
}

/// Why deletions wait, and for what answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The plan that an approval must name.
    pub plan: ContentHash,
    /// All reasons, not only the first.
    pub reasons: Vec<Reason>,
    /// Services that would go, sorted.
    pub services: Vec<String>,
}

/// One reason to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Reason {
    /// Every service of an environment that is no preview would go.
    All,
    /// More services than the policy allows would go at once.
    Share {
        /// How many would go.
        going: usize,
        /// How many there are.
        total: usize,
        /// `policy.maxDeletePercent`.
        limit: u8,
    },
    /// The environment or its project is no longer in the configuration.
    Vanished(Vanished),
    /// It was held before, and nobody has said yes.
    Before,
    /// Something was not read completely; no approval helps, a complete reading does.
    Incomplete(String),
}

/// Judges the deletions among the units; `deletes` says whether any of them loses an object.
pub(super) fn judge(
    scope: &Scope,
    brake: &Brake,
    units: &[Arc<Unit>],
    deletes: bool,
    plan: &ContentHash,
) -> Verdict {
    let there = |unit: &&Arc<Unit>| unit.name != ENVIRONMENT_UNIT && !unit.held.is_empty();
    let total = units.iter().filter(there).count();
    let mut services: Vec<String> = units
        .iter()
        .filter(there)
        .filter(|unit| matches!(&unit.wanted, Wanted::Gone) || nothing(&unit.wanted))
        .map(|unit| unit.name.clone())
        .collect();
    services.sort();
    let proven = scope.preview && brake.closed.as_ref().is_some_and(Closed::is_proven);
    let going = services.len();

    let mut reasons = Vec::new();
    if !proven && deletes {
        if let Some(what) = &brake.vanished {
            // that all of it would go is meant by that
            reasons.push(Reason::Vanished(what.clone()));
        } else {
            if !scope.preview && total > 0 && going == total {
                reasons.push(Reason::All);
            }
            if going >= AT_LEAST && going * 100 > total * usize::from(brake.max_delete_percent) {
                reasons.push(Reason::Share { going, total, limit: brake.max_delete_percent });
            }
            if reasons.is_empty() && services.iter().any(|service| brake.held_before.contains(service)) {
                reasons.push(Reason::Before);
            }
        }
    }
    if brake.approved.as_ref() == Some(plan) {
        reasons.clear();
    }
    if deletes {
        reasons.extend(brake.incomplete.iter().cloned().map(Reason::Incomplete));
    }
    if reasons.is_empty() { Verdict::Go } else { Verdict::Held(Held { plan: *plan, reasons, services }) }
}

fn nothing(wanted: &Wanted) -> bool {
    matches!(wanted, Wanted::Objects(manifests) if manifests.is_empty())
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("every service of the environment would go"),
            Self::Share { going, total, limit } => {
                write!(f, "{going} of {total} services would go, and policy.maxDeletePercent is {limit}")
            }
            Self::Vanished(Vanished::Environment) => {
                f.write_str("the environment is no longer in the configuration")
            }
            Self::Vanished(Vanished::Project) => f.write_str("the project is no longer in the configuration"),
            Self::Vanished(Vanished::Owner(owner)) => {
                write!(f, "the namespace was that of {owner} before, and has what that had")
            }
            Self::Before => f.write_str("it was held before, and nobody has approved it"),
            Self::Vanished(Vanished::Place) => f.write_str("the environment is in another namespace now"),
            Self::Incomplete(what) => write!(f, "{what} could not be read completely"),
        }
    }
}

impl Held {
    /// Answers whether the word of a person is enough: what was not read completely cannot be approved away.
    #[must_use]
    pub fn can_be_approved(&self) -> bool {
        !self.reasons.iter().any(|reason| matches!(reason, Reason::Incomplete(_)))
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for reason in &self.reasons {
            writeln!(f, "Held: {reason}.")?;
        }
        if !self.services.is_empty() {
            writeln!(f, "Would go: {}.", self.services.join(", "))?;
        }
        if self.can_be_approved() {
            write!(f, "hint: nothing is deleted until somebody approves plan {}", self.plan.short())
        } else {
            write!(f, "hint: nothing is deleted until everything was read; this is tried again by itself")
        }
    }
}
