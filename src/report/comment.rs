//! The one comment of a pull request, edited in place for as long as it lives.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reporter;
use super::markdown::{self, Pen, count, minute};
use super::outcome::ServiceOutcome;
use super::plan::{self, EnvironmentPlan};
use super::service;
use super::state::State;
use crate::name::Revision;

/// By this line we find our comment again, together with its author: alone it proves nothing, since anybody can
/// write it.
pub const MARKER: &str = "<!-- branchline: the comment of this pull request -->";
/// The longest comment: GitHub takes 65,536 characters.
const LIMIT: usize = 65_000;

/// A comment as it should read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    /// Markdown, the marker in its first line.
    pub body: String,
    /// Whether it is made where there is none. A pull request that ends without one gets none.
    pub create: bool,
}

/// What became of a pull request.
#[derive(Debug, Clone, PartialEq)]
pub struct PullOutcome {
    /// Its head.
    pub head: Revision,
    /// Its branch.
    pub branch: String,
    /// The services of its preview.
    pub services: Vec<ServiceOutcome>,
    /// Services that its preview shares with its base environment.
    pub untouched: Vec<String>,
    /// What merging it would change, where it touches the config.
    pub plan: Vec<EnvironmentPlan>,
    /// When its preview goes by itself.
    pub expires: Option<Timestamp>,
    /// Set once it is closed, merged or expired and its preview is gone.
    pub ended: Option<Ended>,
    /// Our page of the preview.
    pub page: Option<String>,
}

/// The end of a preview.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// When it was removed.
    pub at: Timestamp,
    /// Why, in a clause such as `the pull request was merged`.
    pub because: String,
}

impl Reporter {
    /// The comment of a pull request.
    #[must_use]
    pub fn comment(&self, outcome: &PullOutcome) -> Comment {
        let body = match &outcome.ended {
            Some(ended) => over(self.pen(), outcome, ended),
            None => self.living(outcome),
        };
        Comment { body, create: outcome.ended.is_none() }
    }

    /// The folded plan is the first to go when there is no room.
    fn living(&self, outcome: &PullOutcome) -> String {
        let pen = self.pen();
        let body = living(pen, outcome, true);
        if body.chars().count() <= LIMIT {
            return body;
        }
        markdown::cut(&living(pen, outcome, false), LIMIT, outcome.page.as_deref())
    }
}

fn over(pen: Pen<'_>, outcome: &PullOutcome, ended: &Ended) -> String {
    let mut body = format!("{MARKER}\n");
    let _ = writeln!(
        body,
        "The preview of {} was removed at {} UTC: {}.",
        pen.code(&outcome.branch),
        minute(ended.at),
        pen.text(&ended.because)
    );
    if let Some(page) = &outcome.page {
        let _ = writeln!(body, "\n{}", pen.link("Its history", page));
    }
    body
}

fn living(pen: Pen<'_>, outcome: &PullOutcome, with_plans: bool) -> String {
    let mut body = format!("{MARKER}\n");
    let (branch, head) = (pen.code(&outcome.branch), pen.code(outcome.head.short()));
    if outcome.services.is_empty() {
        let _ = writeln!(body, "{branch} at {head} has no preview: it changes no service that has previews.");
    } else {
        let _ = writeln!(body, "The preview of {branch} at {head}.\n");
        body.push_str(
            "| Service | Status | Preview | Changes | Logs | Updated (UTC) |\n|---|---|---|---|---|---|\n",
        );
        for service in &outcome.services {
            let _ = writeln!(body, "{}", row(pen, service));
        }
    }
    for broken in outcome.services.iter().filter(|service| service.state.is_broken()).take(3) {
        if let Some(cause) = &broken.cause {
            let name = pen.text(broken.service.as_str());
            let _ = write!(body, "\n#### {name}\n\n{}", service::cause(pen, cause));
        }
    }
    if !outcome.untouched.is_empty() {
        let _ = write!(
            body,
            "\n<details><summary>{} untouched</summary>\n\n{}\n\n</details>\n",
            count(outcome.untouched.len(), "service"),
            service::names(pen, &outcome.untouched)
        );
    }
    if !outcome.plan.is_empty() {
        let _ = writeln!(body, "\n### {} once merged\n", plan::total(&outcome.plan));
        if with_plans {
            for plan in &outcome.plan {
                let _ = writeln!(body, "{}", plan::environment(pen, plan));
            }
        } else {
            let page = outcome.page.as_deref();
            let place = page.map_or("in the check run".to_owned(), |page| pen.link("on our page", page));
            let _ = writeln!(body, "The plan is too long for a comment; it stands {place}.");
        }
    }
    if let Some(expires) = outcome.expires {
        let _ = writeln!(body, "\nThe preview goes at {} UTC unless somebody pushes.", minute(expires));
    }
    body
}

fn row(pen: Pen<'_>, service: &ServiceOutcome) -> String {
    let name = pen.code(service.service.as_str());
    let status = service::badge(pen, service);
    let url = service.url.as_deref().filter(|_| service.state == State::Live);
    let url = url.map_or_else(|| "–".to_owned(), |url| pen.link("Open", url));
    let changes = service.changes.map_or_else(|| "–".to_owned(), service::changes_in_short);
    let logs = service.page.as_deref().map_or_else(|| "–".to_owned(), |page| pen.link("Logs", page));
    format!("| {name} | {status} | {url} | {changes} | {logs} | {} |", minute(service.updated))
}
