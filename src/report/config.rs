//! The check run `branchline / config`: what a commit of the config repository gets wrong, at its lines.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Reporter;
use super::check::{Annotation, Check, CheckStatus, Conclusion, Level};
use super::markdown::count;
use super::service::within;
use crate::config::{Problem, Severity};

/// Problems that the summary spells out; all of them are annotations.
const SPELLED: usize = 50;

/// What a commit of the config repository says.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigOutcome {
    /// What is wrong with it.
    pub problems: Vec<Problem>,
    /// Where the config lies in its repository; empty at the root. The problems' files are named from there.
    pub root: String,
    /// What became of it after the merge, in a sentence, such as `Applied to 3 environments`.
    pub synced: Option<String>,
    /// Our page.
    pub page: Option<String>,
    /// When it was read.
    pub checked: Timestamp,
}

impl Reporter {
    /// The check run of a commit of the config repository.
    #[must_use]
    pub fn config(&self, outcome: &ConfigOutcome) -> Check {
        let pen = self.pen();
        let errors = outcome.problems.iter().filter(|problem| problem.severity == Severity::Error).count();
        let warnings = outcome.problems.len() - errors;
        let also = if warnings == 0 { String::new() } else { format!(", {}", count(warnings, "warning")) };
        let (title, conclusion) = match (errors, &outcome.synced) {
            (0, Some(synced)) => (pen.plain(synced) + &also, Conclusion::Success),
            (0, None) => (format!("Valid{also}"), Conclusion::Success),
            _ => (count(errors, "problem") + &also, Conclusion::Failure),
        };
        let mut summary = String::new();
        if outcome.problems.is_empty() {
            summary.push_str("Every file is read and means something.\n");
        }
        for problem in outcome.problems.iter().take(SPELLED) {
            let warning = if problem.severity == Severity::Warning { "warning: " } else { "" };
            let place = pen.code(&within(&outcome.root, &problem.place.to_string()));
            let _ = writeln!(summary, "- {place}: {warning}{}", pen.text(&problem.message));
            if let Some(hint) = &problem.hint {
                let _ = writeln!(summary, "  **What to do:** {}", pen.text(hint));
            }
        }
        if outcome.problems.len() > SPELLED {
            let more = count(outcome.problems.len() - SPELLED, "more problem");
            let _ = writeln!(summary, "\n… and {more}, each at its line.");
        }
        if errors > 0 {
            summary.push_str(
                "\nWhat these lines belong to stays as it runs now; nothing of it is changed or removed. The rest goes on.\n",
            );
        }
        let standing = (CheckStatus::Completed, Some(conclusion));
        let name = "branchline / config".to_owned();
        let mut check = Check::new(name, standing, &title, &summary, outcome.page.as_deref());
        check.annotations =
            outcome.problems.iter().map(|problem| annotate(self, problem, &outcome.root)).collect();
        check.completed_at = Some(outcome.checked);
        check
    }
}

fn annotate(reporter: &Reporter, problem: &Problem, root: &str) -> Annotation {
    let pen = reporter.pen();
    let level = match problem.severity {
        Severity::Error => Level::Failure,
        Severity::Warning => Level::Warning,
    };
    let mut message = pen.lines(&problem.message);
    if let Some(hint) = &problem.hint {
        let _ = write!(message, "\nhint: {}", pen.lines(hint));
    }
    let place = &problem.place;
    Annotation::new(&within(root, &place.file), place.line, place.column, level, &message)
}
