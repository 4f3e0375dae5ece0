//! What a webhook says, as far as we listen: a hint where to look again, never the state itself.
//!
//! Own small structs: everything that is not named here is skipped unread, whatever it holds, so that a
//! payload that grows, or is nested a hundred thousand deep, costs nothing.
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads>

use serde::Deserialize;

use crate::name::{NameError, PullNumber, RepoSlug, Revision};

/// Why a payload cannot be used. GitHub sends none of these.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is not the JSON that it should be.
    #[error("the payload of {event} is not the JSON of that event")]
    Json {
        /// The event.
        event: String,
        /// Where it goes wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A part is missing.
    #[error("the payload of {event} has no {part}")]
    Missing {
        /// The event.
        event: String,
        /// The part.
        part: &'static str,
    },
    /// A name in it is none.
    #[error("the payload of {event} names something that cannot be")]
    Name {
        /// The event.
        event: String,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
}

/// A repository; the id stays when it is renamed or handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryId {
    /// GitHub's id.
    pub id: u64,
    /// Its name at the time.
    pub slug: RepoSlug,
}

/// What a delivery hints at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The repository it is about.
    pub repository: Option<RepositoryId>,
    /// Who caused it; to be asked for their permission, never trusted.
    pub actor: Option<String>,
    /// What happened.
    pub what: What,
}

/// What happened, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A ref moved, came or went.
    Push {
        /// The full name of the ref.
        reference: String,
        /// Where it pointed until now; nothing when it is new.
        before: Option<Revision>,
        /// Where it points now; nothing when it is gone.
        after: Option<Revision>,
    },
    /// A branch or tag is gone.
    Deleted {
        /// Its short name.
        reference: String,
    },
    /// Something about a pull request.
    PullRequest {
        /// Its number.
        number: PullNumber,
        /// `opened`, `synchronize`, `closed`, `labeled`, …
        action: String,
        /// Its head at the time.
        head: Revision,
    },
    /// Somebody asked for a check run of ours again.
    CheckRerequested {
        /// The check run's name.
        name: String,
        /// The commit.
        head: Revision,
        /// Our own id of it.
        external_id: Option<String>,
    },
    /// Somebody pressed a button on a check run of ours.
    CheckAction {
        /// The check run's name.
        name: String,
        /// The commit.
        head: Revision,
        /// Our own id of it.
        external_id: Option<String>,
        /// Which button.
        identifier: String,
    },
    /// Somebody asked for all checks of a commit again.
    SuiteRerequested {
        /// The commit.
        head: Revision,
    },
    /// A merge queue made or dropped a group.
    MergeGroup {
        /// `checks_requested` or `destroyed`.
        action: String,
        /// The commit to be checked.
        head: Revision,
    },
    /// Somebody commented on a pull request.
    Comment {
        /// The pull request.
        number: PullNumber,
        /// GitHub's id of the comment.
        id: u64,
        /// What it says.
        body: String,
    },
    /// The App was installed, removed, suspended, or given other repositories.
    Installation {
        /// Which of them.
        action: String,
    },
    /// The repository was renamed, transferred, archived, made public or removed.
    RepositoryChanged {
        /// Which of them.
        action: String,
    },
}

/// Reads the payload of `event`. Events and actions that we do not listen to are `None`.
///
/// # Errors
/// The payload is not what GitHub sends for the event.
pub fn read(event: &str, body: &[u8]) -> Result<Option<Notice>, PayloadError> {
    let known = [
        "push",
        "delete",
        "pull_request",
        "check_run",
        "check_suite",
        "merge_group",
        "issue_comment",
        "installation",
        "installation_repositories",
        "repository",
    ];
    if !known.contains(&event) {
        return Ok(None);
    }
    let raw: Raw = serde_json::from_slice(body)
        .map_err(|source| PayloadError::Json { event: event.to_owned(), source })?;
    Reader { event, raw }.notice()
}

/// All parts of all events that we listen to; every one may be missing or null.
#[derive(Deserialize)]
struct Raw {
    action: Option<String>,
    repository: Option<RawRepository>,
    sender: Option<RawUser>,
    r#ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    deleted: Option<bool>,
    number: Option<u64>,
    pull_request: Option<RawPullRequest>,
    check_run: Option<RawCheckRun>,
    requested_action: Option<RawAction>,
    check_suite: Option<RawHead>,
    merge_group: Option<RawHead>,
    issue: Option<RawIssue>,
    comment: Option<RawComment>,
}

#[derive(Deserialize)]
struct RawRepository {
    id: u64,
    full_name: String,
}

#[derive(Deserialize)]
struct RawUser {
    login: String,
}

#[derive(Deserialize)]
struct RawPullRequest {
    head: RawCommit,
}

#[derive(Deserialize)]
struct RawCommit {
    sha: String,
}

#[derive(Deserialize)]
struct RawCheckRun {
    name: String,
    head_sha: String,
    external_id: Option<String>,
}

#[derive(Deserialize)]
struct RawAction {
    identifier: String,
}

#[derive(Deserialize)]
struct RawHead {
    head_sha: String,
}

#[derive(Deserialize)]
struct RawIssue {
    number: u64,
    pull_request: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct RawComment {
    id: u64,
    body: Option<String>,
}

struct Reader<'a> {
    event: &'a str,
    raw: Raw,
}

impl Reader<'_> {
    fn notice(mut self) -> Result<Option<Notice>, PayloadError> {
        let actor = self.raw.sender.take().map(|sender| sender.login);
        let repository = self.raw.repository.as_ref().map(|raw| self.repository(raw)).transpose()?;
        let Some(what) = self.what()? else { return Ok(None) };
        if repository.is_none() && !matches!(what, What::Installation { .. }) {
            return Err(self.missing("repository"));
        }
        Ok(Some(Notice { repository, actor, what }))
    }

    fn what(&mut self) -> Result<Option<What>, PayloadError> {
        Ok(match self.event {
            "push" => Some(self.push()?),
            "delete" => {
                let reference = self.part(self.raw.r#ref.clone(), "ref")?;
                Some(What::Deleted { reference })
            }
            "pull_request" => Some(self.pull_request()?),
            "check_run" => self.check_run()?,
            "check_suite" if self.raw.action.as_deref() == Some("rerequested") => {
                let suite = self.raw.check_suite.take();
                let suite = self.part(suite, "check_suite")?;
                Some(What::SuiteRerequested { head: self.revision(&suite.head_sha)? })
            }
            "merge_group" => {
                let group = self.raw.merge_group.take();
                let group = self.part(group, "merge_group")?;
                Some(What::MergeGroup { action: self.action()?, head: self.revision(&group.head_sha)? })
            }
            "issue_comment" => self.comment()?,
            "installation" | "installation_repositories" => {
                Some(What::Installation { action: self.action()? })
            }
            "repository" => Some(What::RepositoryChanged { action: self.action()? }),
            _ => None,
        })
    }

    fn push(&self) -> Result<What, PayloadError> {
        let reference = self.part(self.raw.r#ref.clone(), "ref")?;
        let after = self.part(self.raw.after.as_deref(), "after")?;
        // A ref that is gone points to forty zeros, and so does one before it came.
        let is_none = |revision: &str| revision.bytes().all(|digit| digit == b'0');
        let gone = self.raw.deleted == Some(true) || is_none(after);
        let after = if gone { None } else { Some(self.revision(after)?) };
        let before = self.raw.before.as_deref().filter(|before| !is_none(before));
        Ok(What::Push { reference, before: before.map(|before| self.revision(before)).transpose()?, after })
    }

    fn pull_request(&self) -> Result<What, PayloadError> {
        let number = self.part(self.raw.number, "number")?;
        let head = &self.part(self.raw.pull_request.as_ref(), "pull_request")?.head.sha;
        Ok(What::PullRequest {
            number: PullNumber(number),
            action: self.action()?,
            head: self.revision(head)?,
        })
    }

    fn check_run(&mut self) -> Result<Option<What>, PayloadError> {
        let action = self.action()?;
        if !["rerequested", "requested_action"].contains(&action.as_str()) {
            return Ok(None);
        }
        let run = self.raw.check_run.take();
        let RawCheckRun { name, head_sha, external_id } = self.part(run, "check_run")?;
        let head = self.revision(&head_sha)?;
        if action == "rerequested" {
            return Ok(Some(What::CheckRerequested { name, head, external_id }));
        }
        let pressed = self.raw.requested_action.take();
        let identifier = self.part(pressed, "requested_action")?.identifier;
        Ok(Some(What::CheckAction { name, head, external_id, identifier }))
    }

    fn comment(&mut self) -> Result<Option<What>, PayloadError> {
        let issue = self.raw.issue.take();
        let issue = self.part(issue, "issue")?;
        // An edited comment is no command: who reads it later would not see what was asked.
        if issue.pull_request.is_none() || self.action()? != "created" {
            return Ok(None);
        }
        let comment = self.raw.comment.take();
        let comment = self.part(comment, "comment")?;
        let body = comment.body.unwrap_or_default();
        Ok(Some(What::Comment { number: PullNumber(issue.number), id: comment.id, body }))
    }

    fn action(&self) -> Result<String, PayloadError> {
        self.part(self.raw.action.clone(), "action")
    }

    fn repository(&self, raw: &RawRepository) -> Result<RepositoryId, PayloadError> {
        let slug = raw.full_name.parse().map_err(|source| self.name(source))?;
        Ok(RepositoryId { id: raw.id, slug })
    }

    fn revision(&self, text: &str) -> Result<Revision, PayloadError> {
        text.parse().map_err(|source| self.name(source))
    }

    fn part<T>(&self, part: Option<T>, name: &'static str) -> Result<T, PayloadError> {
        part.ok_or_else(|| self.missing(name))
    }

    fn missing(&self, part: &'static str) -> PayloadError {
        PayloadError::Missing { event: self.event.to_owned(), part }
    }

    fn name(&self, source: NameError) -> PayloadError {
        PayloadError::Name { event: self.event.to_owned(), source }
    }
}

#[cfg(test)]
mod tests;
