//! Rows of the outbox: what GitHub, or a repository's notes, should read, and when their senders wake.

use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::clock::Clock;
use crate::name::{PullNumber, RepoSlug, Revision};
use crate::report::{Check, CheckStatus, Comment, CommitStatus, Conclusion, StatusState};
use crate::store::{Change, OutboxItem, Store, StoreError, Want};

/// The outbox channel of what goes to GitHub.
pub const CHANNEL: &str = "github";
/// The outbox channel of what goes into a repository's own notes.
pub const NOTES_CHANNEL: &str = "git-notes";

/// How long an outbox that cannot be read is left alone.
const UNREADABLE: Duration = Duration::from_secs(5);
/// How long a sender sleeps that nothing waits for; a change wakes it.
const QUIET: Duration = Duration::from_hours(1);

const CHECK: &str = "check-run";
const STATUS: &str = "commit-status";
const COMMENT: &str = "comment";
const NOTE: &str = "note";

/// How long until a row of a channel is due.
pub async fn until_due(store: &Store, channel: &str, clock: &Clock) -> Duration {
    match store.next_due(channel).await {
        Ok(Some(due)) => Duration::try_from(due.duration_since(clock.now())).unwrap_or_default(),
        Ok(None) => QUIET,
        Err(error) => unreadable(&error),
    }
}

/// Says that the outbox cannot be read, and how long it is left alone.
pub fn unreadable(error: &StoreError) -> Duration {
    tracing::warn!(error = %error, "The outbox cannot be read; it is tried again.");
    UNREADABLE
}

/// Waits until a row of the outbox may have changed.
pub async fn until_wanted(changes: &mut Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Outbox) | Err(RecvError::Lagged(_)) => return,
            Ok(_) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// A check run of a commit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CheckRow {
    pub(super) repository: RepoSlug,
    pub(super) revision: Revision,
    pub(super) check: Check,
}

/// A commit status.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StatusRow {
    pub(super) repository: RepoSlug,
    pub(super) revision: Revision,
    pub(super) status: CommitStatus,
}

/// The comment of a pull request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CommentRow {
    pub(super) repository: RepoSlug,
    pub(super) pull: PullNumber,
    pub(super) comment: Comment,
}

/// The note of a commit.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NoteRow {
    /// The repository as the config names it.
    pub(super) repository: String,
    pub(super) revision: Revision,
    pub(super) text: String,
}

/// What a row of the outbox wants.
pub(super) enum Row {
    Check(CheckRow),
    Status(StatusRow),
    Comment(CommentRow),
}

/// The row by which a commit shows a check: a check run as an App, a commit status with a token.
#[must_use]
pub fn want_check(
    repository: &RepoSlug,
    revision: &Revision,
    check: &Check,
    as_app: bool,
    now: Timestamp,
) -> Want {
    let key = format!("check/{repository}/{revision}/{}", check.name);
    if as_app {
        let row =
            CheckRow { repository: repository.clone(), revision: revision.clone(), check: check.clone() };
        return want(key, CHANNEL, CHECK, &row, now);
    }
    let status = check.as_status();
    want(
        key,
        CHANNEL,
        STATUS,
        &StatusRow { repository: repository.clone(), revision: revision.clone(), status },
        now,
    )
}

/// Whether a row says how something ended: a check run that is completed, a status that is not pending.
#[must_use]
pub fn is_concluded(item: &OutboxItem) -> bool {
    match Row::read(item) {
        Ok(Row::Check(row)) => row.check.status == CheckStatus::Completed,
        Ok(Row::Status(row)) => row.status.state != StatusState::Pending,
        Ok(Row::Comment(_)) | Err(_) => true,
    }
}

/// The row that ends a check run or a status that was left without an end; `None` where it has one.
#[must_use]
pub fn concluded_check(
    item: &OutboxItem,
    conclusion: Conclusion,
    title: &str,
    now: Timestamp,
) -> Option<Want> {
    if is_concluded(item) {
        return None;
    }
    match Row::read(item).ok()? {
        Row::Check(mut row) => {
            row.check.status = CheckStatus::Completed;
            row.check.conclusion = Some(conclusion);
            title.clone_into(&mut row.check.title);
            row.check.completed_at = Some(now);
            Some(want(item.key.clone(), CHANNEL, CHECK, &row, now))
        }
        Row::Status(mut row) => {
            let success = matches!(conclusion, Conclusion::Success | Conclusion::Neutral);
            row.status.state = if success { StatusState::Success } else { StatusState::Error };
            title.clone_into(&mut row.status.description);
            Some(want(item.key.clone(), CHANNEL, STATUS, &row, now))
        }
        Row::Comment(_) => None,
    }
}

/// The row by which a pull request shows its comment.
#[must_use]
pub fn want_comment(repository: &RepoSlug, pull: PullNumber, comment: &Comment, now: Timestamp) -> Want {
    let row = CommentRow { repository: repository.clone(), pull, comment: comment.clone() };
    want(format!("comment/{repository}/{pull}"), CHANNEL, COMMENT, &row, now)
}

/// The row by which a commit of a repository without a forge shows its note. `repository` is a URL or a path, as
/// [`crate::source::GitHosts`] takes it.
#[must_use]
pub fn want_note(repository: &str, revision: &Revision, text: &str, now: Timestamp) -> Want {
    let row =
        NoteRow { repository: repository.to_owned(), revision: revision.clone(), text: text.to_owned() };
    want(format!("note/{repository}/{revision}"), NOTES_CHANNEL, NOTE, &row, now)
}

fn want(key: String, channel: &str, kind: &str, row: &impl Serialize, now: Timestamp) -> Want {
    Want {
        key,
        channel: channel.to_owned(),
        kind: kind.to_owned(),
        payload: serde_json::to_value(row).expect("a row is plain data"),
        not_before: now,
        now,
    }
}

impl Row {
    /// Reads a row; one that an older or newer Branchline wrote may not be readable.
    pub(super) fn read(item: &OutboxItem) -> Result<Self, String> {
        match item.kind.as_str() {
            CHECK => payload(item).map(Self::Check),
            STATUS => payload(item).map(Self::Status),
            COMMENT => payload(item).map(Self::Comment),
            other => Err(format!("`{other}` is no kind of thing that GitHub can be sent")),
        }
    }

    pub(super) fn repository(&self) -> &RepoSlug {
        match self {
            Self::Check(row) => &row.repository,
            Self::Status(row) => &row.repository,
            Self::Comment(row) => &row.repository,
        }
    }
}

pub(super) fn payload<T: DeserializeOwned>(item: &OutboxItem) -> Result<T, String> {
    serde_json::from_value(item.payload.clone()).map_err(|error| format!("the row cannot be read: {error}"))
}
