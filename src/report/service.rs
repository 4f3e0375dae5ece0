//! The check run of one service: `branchline / shop/staging / api`.

use std::fmt::Write as _;

use super::Reporter;
use super::check::{Annotation, Check, CheckStatus, Level};
use super::markdown::{self, Pen, took};
use super::outcome::{Cause, Changes, ServiceOutcome, Step, StepState};
use super::state::State;

/// How many of the last lines of a log are shown.
const LOG_LINES: usize = 20;

impl Reporter {
    /// The check run of one service; `None` where an earlier word stays (what befalls a deployment after it was live
    /// is no news of the commit).
    #[must_use]
    pub fn service(&self, outcome: &ServiceOutcome) -> Option<Check> {
        let standing = outcome.state.check()?;
        let pen = self.pen();
        let title = pen.plain(&outcome.headline());
        let mut check = Check::new(
            outcome.check_name(),
            standing,
            &title,
            &summary(pen, outcome),
            outcome.page.as_deref(),
        );
        check.annotations = outcome.cause.iter().filter_map(|cause| annotation(pen, cause, "")).collect();
        check.started_at = outcome.started;
        check.completed_at = (standing.0 == CheckStatus::Completed).then_some(outcome.updated);
        Some(check)
    }
}

fn summary(pen: Pen<'_>, outcome: &ServiceOutcome) -> String {
    let mut out = String::new();
    let path = pen.code(&outcome.path());
    let revision = pen.code(outcome.revision.short());
    let _ = match outcome.state {
        State::Live => writeln!(out, "{path} runs {revision}."),
        _ => writeln!(out, "{path} at {revision}: {}.", pen.text(&outcome.badge())),
    };
    if let Some(url) = outcome.url.as_deref().filter(|_| outcome.state == State::Live) {
        let _ = writeln!(out, "\n{}", pen.link(url, url));
    }
    if let Some(cause) = &outcome.cause {
        let _ = write!(out, "\n{}", self::cause(pen, cause));
    }
    if let Some(serving) = outcome.serving.as_ref().filter(|_| outcome.state != State::Live) {
        let _ = writeln!(out, "\n{} goes on serving.", pen.code(serving.short()));
    }
    if let Some(changes) = outcome.changes {
        let _ = writeln!(out, "\nObjects: {}.", changes_in_words(changes));
    }
    if !outcome.steps.is_empty() {
        out.push_str("\n| Step | | Took |\n|---|---|---|\n");
        for step in &outcome.steps {
            let took = step.took.map(took).unwrap_or_default();
            let _ = writeln!(out, "| {} | {} | {took} |", pen.text(&step.name), sign(step));
        }
    }
    if let Some(page) = &outcome.page {
        let _ = writeln!(out, "\n{}", pen.link("Logs and details", page));
    }
    out
}

/// What went wrong, where, the way out and the last lines of the log.
pub(super) fn cause(pen: Pen<'_>, cause: &Cause) -> String {
    let mut out = String::new();
    let place = cause.place.as_ref().map(|place| format!("{}: ", pen.code(&place.to_string())));
    let _ = writeln!(out, "**Cause:** {}{}.", place.unwrap_or_default(), pen.text(&cause.message));
    if let Some(hint) = &cause.hint {
        let _ = writeln!(out, "\n**What to do:** {}.", pen.text(hint));
    }
    if !cause.log.is_empty() {
        let from = cause.log.len().saturating_sub(LOG_LINES);
        let _ = write!(
            out,
            "\nThe last lines of the log:\n\n{}",
            pen.block("text", &cause.log[from..].join("\n"))
        );
    }
    out
}

/// The line of the commit that a cause is about. `root` is where the places' files stand in the repository.
pub(super) fn annotation(pen: Pen<'_>, cause: &Cause, root: &str) -> Option<Annotation> {
    let place = cause.place.as_ref()?;
    let mut message = pen.lines(&cause.message);
    if let Some(hint) = &cause.hint {
        let _ = write!(message, "\nhint: {}", pen.lines(hint));
    }
    Some(Annotation::new(&within(root, &place.file), place.line, place.column, Level::Failure, &message))
}

/// The path of a file from the root of its repository.
pub(super) fn within(root: &str, file: &str) -> String {
    match root.trim_matches('/') {
        "" => file.to_owned(),
        root => format!("{root}/{file}"),
    }
}

fn changes_in_words(changes: Changes) -> String {
    let Changes { add, change, destroy } = changes;
    match (add, change, destroy) {
        (0, 0, 0) => "none changes".to_owned(),
        (_, _, 0) => format!("{add} to add, {change} to change, none to destroy"),
        _ => format!("{add} to add, {change} to change, **{destroy} to destroy**"),
    }
}

/// `+3 ~1 -0` for a narrow column; what is destroyed stands out.
pub(super) fn changes_in_short(changes: Changes) -> String {
    let Changes { add, change, destroy } = changes;
    let signed: Vec<String> = [
        (add > 0).then(|| format!("+{add}")),
        (change > 0).then(|| format!("\\~{change}")),
        (destroy > 0).then(|| format!("**−{destroy}**")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if signed.is_empty() { "none".to_owned() } else { signed.join(" ") }
}

fn sign(step: &Step) -> &'static str {
    match step.state {
        StepState::Waiting => "waiting",
        StepState::Running => "◔ running",
        StepState::Done => "✓ done",
        StepState::Failed => "✖ failed",
        StepState::Skipped => "– nothing to do",
    }
}

/// A table row's badge: icon and word.
pub(super) fn badge(pen: Pen<'_>, outcome: &ServiceOutcome) -> String {
    let on = match outcome.state {
        State::Live => format!(" on {}", pen.code(outcome.revision.short())),
        _ => String::new(),
    };
    format!("{} {}{on}", outcome.state.icon(), pen.text(&outcome.badge()))
}

/// A list of names for a sentence, cut after thirty.
pub(super) fn names(pen: Pen<'_>, names: &[String]) -> String {
    const SHOWN: usize = 30;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| pen.code(name)).collect();
    let rest = names.len().saturating_sub(SHOWN);
    let more = if rest == 0 { String::new() } else { format!(" and {}", markdown::count(rest, "more")) };
    shown.join(", ") + &more.replace("mores", "more")
}
