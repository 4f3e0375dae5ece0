//! What is wrong with the config, where, what it takes down, and the way out.

use std::fmt;

use serde::Serialize;

use crate::name::{EnvironmentName, ProjectName, ServiceName};
use crate::yaml::Place;

/// Something that the author of the config has to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
    /// What cannot be deployed because of it.
    pub scope: Scope,
    /// Whether it only deserves a look.
    pub severity: Severity,
}

/// What a problem takes down. Everything else goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Scope {
    /// All of it: nothing can be known.
    #[default]
    Repository,
    /// A project: its services run on as they are.
    Project(ProjectName),
    /// An environment of a project.
    Environment(ProjectName, EnvironmentName),
    /// A service of a project, in all of its environments.
    Service(ProjectName, ServiceName),
    /// A file whose documents could not be read: whatever may stand in it is kept as it is.
    File(String),
}

impl Scope {
    /// Whether it is a file that may hold anything of a folder: one in it, or what stands in the place of the folder.
    #[must_use]
    pub fn may_hold(&self, folder: &str) -> bool {
        let Self::File(path) = self else { return false };
        path.starts_with(folder)
            || folder.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('/'))
    }
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// It is not deployed until it is mended.
    #[default]
    Error,
    /// It is deployed all the same.
    Warning,
}

impl Problem {
    /// A problem at a place, which takes down everything until [`Problem::within`] says otherwise.
    #[must_use]
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            place,
            message: message.into(),
            hint: None,
            scope: Scope::Repository,
            severity: Severity::Error,
        }
    }

    /// A problem in words that may hold the way out, after `hint: `.
    pub(super) fn refused(place: Place, words: &str) -> Self {
        match words.split_once("; hint: ") {
            Some((message, hint)) => Self::new(place, message).hint(hint),
            None => Self::new(place, words),
        }
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says what the problem takes down.
    #[must_use]
    pub fn within(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Makes it a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, message, hint, severity, .. } = self;
        let word = if *severity == Severity::Warning { "warning: " } else { "" };
        write!(f, "{place}: {word}{message}")?;
        hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  hint: {hint}"))
    }
}
