//! What a commit leaves as it is, and why.

use std::fmt::Write as _;

use super::commit::{CommitOutcome, ROWS};
use super::markdown::{Pen, count};
use super::service;
use crate::name::Revision;

/// A service that a commit leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// `project/environment/service`.
    pub service: String,
    /// Why.
    pub why: Why,
}

/// Why a commit leaves a service as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The service reads nothing that the commit changes.
    NoInputChanged,
    /// A newer commit came before this one was deployed.
    Superseded(Revision),
    /// It is deployed when somebody says so.
    Waits,
    /// Its environment runs releases, not branches.
    FollowsReleases,
    /// This release is held.
    Held(Revision),
    /// The commit took it out of the configuration.
    Removed,
}

/// Why a commit affects no service, whatever it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Aside {
    /// Its pull request comes from this repository: nothing of it is fetched or built.
    Fork(String),
    /// Its pull request gets no preview, and why, in a clause such as `it is a draft`.
    NoPreview(String),
    /// Its pull request was closed before a preview was made.
    Closed,
    /// A newer commit took its place before anything was made of it; `None` where the branch is gone.
    Superseded(Option<Revision>),
}

impl Why {
    /// The verdict of `branchline why`, and more about it.
    #[must_use]
    pub fn verdict(&self) -> (&'static str, Option<String>) {
        match self {
            Self::NoInputChanged => ("no input changed", None),
            Self::Superseded(by) => ("superseded", Some(format!("by {}", by.short()))),
            Self::Waits => ("waiting", Some("it is deployed by `branchline deploy`".to_owned())),
            Self::FollowsReleases => {
                ("no input changed", Some("the environment follows releases".to_owned()))
            }
            Self::Held(release) => ("paused", Some(format!("the release {} is held", release.short()))),
            Self::Removed => ("removed", None),
        }
    }
}

/// The services that are left as they are: those with a reason of their own one by one, the others folded.
pub(super) fn left(pen: Pen<'_>, outcome: &CommitOutcome, summary: &mut String) {
    let (untouched, told): (Vec<_>, Vec<_>) =
        outcome.left.iter().partition(|left| left.why == Why::NoInputChanged);
    if !told.is_empty() && !summary.is_empty() {
        summary.push('\n');
    }
    for left in told.iter().take(ROWS) {
        let (verdict, detail) = left.why.verdict();
        let detail = detail.map(|detail| format!(": {}", pen.text(&detail))).unwrap_or_default();
        let _ = writeln!(summary, "- {} {verdict}{detail}", pen.code(&left.service));
    }
    if !untouched.is_empty() {
        let names: Vec<String> = untouched.iter().map(|left| left.service.clone()).collect();
        let _ = write!(
            summary,
            "\n<details><summary>{} untouched</summary>\n\n{}\n\n</details>\n",
            count(names.len(), "service"),
            service::names(pen, &names)
        );
    }
}

pub(super) fn set_aside(pen: Pen<'_>, aside: &Aside) -> (String, String) {
    match aside {
        Aside::Fork(fork) => {
            let title = format!("No preview: the head is in {}", pen.plain(fork));
            let summary = format!(
                "The head of this pull request is in another repository, {}. Nothing of it is fetched, built or \
                 run: its code would run with the rights of this one.\n\n\
                 **What to do:** push the branch to this repository, where that is wanted; its preview follows.\n",
                pen.code(fork)
            );
            (title, summary)
        }
        Aside::NoPreview(why) => {
            (format!("No preview: {}", pen.plain(why)), format!("No preview is made: {}.\n", pen.text(why)))
        }
        Aside::Closed => {
            let summary = "The pull request was closed before anything was made of this commit.\n";
            ("The pull request is closed".to_owned(), summary.to_owned())
        }
        Aside::Superseded(Some(by)) => {
            let summary = format!("{} came before anything was made of this commit.\n", pen.code(by.short()));
            (format!("Superseded by {}", by.short()), summary)
        }
        Aside::Superseded(None) => {
            let summary = "The branch was deleted before anything was made of this commit.\n";
            ("The branch is gone".to_owned(), summary.to_owned())
        }
    }
}
