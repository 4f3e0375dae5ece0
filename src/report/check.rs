//! A check run and its little sister, the commit status, in GitHub's own words and within its limits.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::markdown;

/// The longest summary and text of a check run, in characters
/// (<https://docs.github.com/en/rest/checks/runs#create-a-check-run>, `output`).
pub(super) const TEXT: usize = 65_535;
/// The longest title of a check run that we write.
const TITLE: usize = 200;
/// The longest description of a commit status
/// (<https://docs.github.com/en/rest/commits/statuses#create-a-commit-status>).
const DESCRIPTION: usize = 140;
/// The longest message of an annotation, in bytes: 64 KB, held well below.
const MESSAGE: usize = 4_000;

/// A check run as it should read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, constant for one subject, so that a branch rule can require it.
    pub name: String,
    /// Where it stands.
    pub status: CheckStatus,
    /// How it ended; there is one exactly when it is completed.
    pub conclusion: Option<Conclusion>,
    /// One sentence.
    pub title: String,
    /// Markdown.
    pub summary: String,
    /// More Markdown below it.
    pub text: Option<String>,
    /// Lines of the commit with something to say. All of them: the sender sends 50 a request.
    pub annotations: Vec<Annotation>,
    /// Our page.
    pub details_url: Option<String>,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Buttons, at most three.
    pub actions: Vec<Action>,
}

/// Where a check run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    /// It waits.
    Queued,
    /// It moves.
    InProgress,
    /// It has ended.
    Completed,
}

/// How a check run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Well.
    Success,
    /// Badly.
    Failure,
    /// Without a word for or against.
    Neutral,
    /// It was stopped, or a newer commit came.
    Cancelled,
    /// Too late.
    TimedOut,
    /// A person has to do something.
    ActionRequired,
}

/// A line of the commit with something to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotation {
    /// The file, from the root of the repository.
    pub path: String,
    /// The line, from 1.
    pub start_line: u32,
    /// The same line: ours are about one.
    pub end_line: u32,
    /// The column, from 1.
    pub start_column: u32,
    /// The same column.
    pub end_column: u32,
    /// How bad it is.
    pub annotation_level: Level,
    /// What is to be said, as plain text.
    pub message: String,
    /// Its headline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// How bad an annotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Notice,
    /// Worth a look.
    Warning,
    /// It has to be mended.
    Failure,
}

/// A button of a check run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// What stands on it, at most 20 characters.
    pub label: String,
    /// What it does, at most 40 characters.
    pub description: String,
    /// What we are told when somebody presses it, at most 20 characters.
    pub identifier: String,
}

/// A commit status: all that a personal token can write, because only Apps make check runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// How it stands.
    pub state: StatusState,
    /// The name of the check that it stands for.
    pub context: String,
    /// One sentence, at most 140 characters.
    pub description: String,
    /// Our page.
    pub target_url: Option<String>,
}

/// How a commit status stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusState {
    /// It moves, or waits for a person.
    Pending,
    /// Well.
    Success,
    /// Badly.
    Failure,
    /// It ended without an answer.
    Error,
}

impl Action {
    /// A button; texts are cut to GitHub's limits
    /// (<https://docs.github.com/en/rest/checks/runs#create-a-check-run>, `actions`).
    #[must_use]
    pub fn new(label: &str, description: &str, identifier: &str) -> Self {
        let cut = |text: &str, limit| text.chars().take(limit).collect();
        Self { label: cut(label, 20), description: cut(description, 40), identifier: cut(identifier, 20) }
    }
}

impl Annotation {
    pub(super) fn new(path: &str, line: u32, column: u32, level: Level, message: &str) -> Self {
        let line = line.max(1);
        Self {
            path: path.trim_start_matches('/').to_owned(),
            start_line: line,
            end_line: line,
            start_column: column.max(1),
            end_column: column.max(1),
            annotation_level: level,
            message: markdown::cut(message, MESSAGE, None),
            title: None,
        }
    }
}

impl Check {
    /// A check run within GitHub's limits. `text` that is too long ends in a link to `page`.
    pub(super) fn new(
        name: String,
        (status, conclusion): (CheckStatus, Option<Conclusion>),
        title: &str,
        summary: &str,
        page: Option<&str>,
    ) -> Self {
        Self {
            name,
            status,
            conclusion,
            title: markdown::cut(title, TITLE, None),
            summary: markdown::cut(summary, TEXT, page),
            text: None,
            annotations: Vec::new(),
            details_url: page.map(str::to_owned),
            started_at: None,
            completed_at: None,
            actions: Vec::new(),
        }
    }

    /// The commit status that says the same, for a personal token.
    #[must_use]
    pub fn as_status(&self) -> CommitStatus {
        let state = match self.conclusion {
            None | Some(Conclusion::ActionRequired) => StatusState::Pending,
            Some(Conclusion::Success | Conclusion::Neutral) => StatusState::Success,
            Some(Conclusion::Failure | Conclusion::TimedOut) => StatusState::Failure,
            Some(Conclusion::Cancelled) => StatusState::Error,
        };
        CommitStatus {
            state,
            context: self.name.clone(),
            description: markdown::cut(&self.title, DESCRIPTION, None),
            target_url: self.details_url.clone(),
        }
    }
}
