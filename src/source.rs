//! Git as Branchline sees it: bare mirrors that are fetched, read by (revision, path) and written to by commits.
//!
//! This room owns every use of `git2` and `notify`. It knows repositories, branches, trees and commits; it knows
//! nothing of projects, services or GitHub. No tree is ever checked out: what somebody else wrote is read from the
//! object database and every entry name is checked on the way ([`Reader`]).
//!
//! * [`RepositoryUrl`] and [`GitHosts`]: which repositories may be named at all.
//! * [`Mirrors`] and [`Mirror`]: one bare mirror per repository, one fetch at a time, however many ask.
//! * [`Reader`]: heads, files, blobs, changes and history of one mirror, synchronous, on a blocking thread.
//! * [`FileCommit`] and notes: what we write, with compare-and-swap on the ref.
//! * [`Watcher`]: hints from the file system for local repositories.
//!
//! Absence must be proven: a failed or an empty listing is an error and never changes the refs we have.

mod address;
mod commit;
mod credentials;
mod entry;
mod fetch;
mod history;
mod inputs;
mod libgit2;
mod mirror;
mod note;
mod pack;
mod state;
mod tree;
mod unpack;
mod url;
mod watch;
mod wire;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::address::is_private;
pub use self::commit::{FileChange, FileCommit, Person};
pub use self::credentials::{Access, CredentialRequest, Credentials};
pub use self::entry::{Entry, EntryKind, NotAnId, ObjectId};
pub use self::fetch::{Fetched, RefChange};
pub use self::history::{Change, CommitInfo};
pub use self::inputs::{Inputs, PatternError};
pub use self::mirror::{Hint, Mirror, MirrorOptions, Mirrors};
pub use self::note::NoteMode;
pub use self::tree::{Heads, Reader};
pub use self::unpack::Unpacked;
pub use self::url::{GitHosts, RepositoryUrl, UrlError};
pub use self::watch::Watcher;

use crate::name::{BranchName, Revision};

/// The cause beneath an error, shared because one fetch can fail for many callers.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// What went wrong with a repository, and where.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The other side did not answer, or not with Git.
    #[error("{repository} cannot be reached; hint: check the address and the network, it is tried again")]
    Unreachable {
        /// The repository asked.
        repository: String,
        /// What the network or the server said.
        #[source]
        source: Cause,
    },
    /// The other side answered 401, 403 or 404.
    #[error(
        "{repository} answers {status}: it does not exist, or our token may not {what} it; \
         hint: check the name, and that the App is installed on it"
    )]
    Denied {
        /// The repository asked.
        repository: String,
        /// The HTTP status.
        status: u16,
        /// `read` or `write`.
        what: &'static str,
    },
    /// Something that the address rules forbid, found on the way (a redirect, a private address).
    #[error("{repository} is refused: {rule}; hint: --git-host names the hosts that may be used")]
    Forbidden {
        /// The repository asked.
        repository: String,
        /// The rule that it breaks.
        rule: String,
    },
    /// A kind of repository that libgit2 cannot read.
    #[error("{repository} uses {what}, which is not supported; hint: convert it to SHA-1, Git's default")]
    Unsupported {
        /// The repository asked.
        repository: String,
        /// What it uses.
        what: &'static str,
    },
    /// A listing without a single branch. It changes nothing of what we have.
    #[error(
        "{repository} lists no branch: nothing is taken as deleted; \
         hint: push a branch, or check that the repository is the right one"
    )]
    EmptyListing {
        /// The repository asked.
        repository: String,
    },
    /// The deadline of a fetch or a push.
    #[error(
        "{repository} took longer than {limit:?}; hint: it is tried again, a large repository needs a longer deadline"
    )]
    Deadline {
        /// The repository asked.
        repository: String,
        /// The deadline.
        limit: Duration,
    },
    /// One of [`Limits`] was reached.
    #[error(
        "{repository} has more than {limit} {what}; hint: keep large files out of Git, or raise the limit"
    )]
    TooLarge {
        /// The repository asked.
        repository: String,
        /// What there is too much of, such as `objects in one fetch`.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Our copy is damaged. The next fetch clones it again.
    #[error("our mirror of {repository} is damaged; it is cloned again by the next fetch")]
    Corrupt {
        /// The repository mirrored.
        repository: String,
        /// What libgit2 found.
        #[source]
        source: Cause,
    },
    /// Nothing was fetched yet.
    #[error("{repository} was not fetched yet")]
    NotFetched {
        /// The repository asked.
        repository: String,
    },
    /// The branch is not (or no longer) there.
    #[error("{repository} has no branch {branch}; hint: push it, or name another in source.branch")]
    NoBranch {
        /// The repository asked.
        repository: String,
        /// The branch.
        branch: BranchName,
    },
    /// The commit is not in our mirror.
    #[error(
        "{repository} has no commit {revision}; hint: it may have been removed by a force push before it was seen"
    )]
    NoRevision {
        /// The repository asked.
        repository: String,
        /// The commit.
        revision: String,
    },
    /// No such path at that revision.
    #[error("{repository} has no {path} at {}", revision.short())]
    NoPath {
        /// The repository asked.
        repository: String,
        /// The commit.
        revision: Revision,
        /// The path.
        path: String,
    },
    /// A tree entry that we do not follow: a hostile name, a link that leaves the tree, a submodule, an LFS pointer.
    #[error("{repository} at {}: {path}: {rule}", revision.short())]
    Refused {
        /// The repository asked.
        repository: String,
        /// The commit.
        revision: Revision,
        /// The path of the entry, with what cannot be printed escaped.
        path: String,
        /// The rule that it breaks, and the way out.
        rule: &'static str,
    },
    /// The branch moved while we wrote.
    #[error(
        "{repository}: {branch} moved from {expected} while it was written to; hint: read it again and retry"
    )]
    Moved {
        /// The repository written to.
        repository: String,
        /// The branch or ref.
        branch: String,
        /// The commit that was expected.
        expected: String,
    },
    /// The other side refused the write.
    #[error("{repository} refuses the write to {branch}: {message}")]
    Rejected {
        /// The repository written to.
        repository: String,
        /// The branch or ref.
        branch: String,
        /// Its words.
        message: String,
    },
    /// The local disk.
    #[error("cannot write {}; hint: check the disk's space and the folder's permissions", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Cause,
    },
    /// Anything else that libgit2 refuses.
    #[error("{repository}: cannot {doing}")]
    Git {
        /// The repository asked.
        repository: String,
        /// What was tried.
        doing: &'static str,
        /// libgit2's words.
        #[source]
        source: Cause,
    },
    /// The token for the repository could not be had.
    #[error("no token for {repository}")]
    Credentials {
        /// The repository asked.
        repository: String,
        /// What the forge said.
        #[source]
        source: Cause,
    },
    /// The file watch.
    #[error("cannot watch {}; it is polled instead", path.display())]
    Watch {
        /// The repository's folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Cause,
    },
    /// The process is stopping.
    #[error("the work on {repository} was stopped")]
    Stopped {
        /// The repository asked.
        repository: String,
    },
}

impl SourceError {
    /// Whether an author has to change something, in contrast to what is tried again by itself.
    #[must_use]
    pub fn is_authors(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. }
                | Self::Forbidden { .. }
                | Self::Unsupported { .. }
                | Self::EmptyListing { .. }
                | Self::TooLarge { .. }
                | Self::NoBranch { .. }
                | Self::NoRevision { .. }
                | Self::NoPath { .. }
                | Self::Refused { .. }
                | Self::Rejected { .. }
        )
    }
}

/// How much of a repository is taken in. A limit that is reached is an error that names it.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long a fetch or a push may take.
    pub deadline: Duration,
    /// How long the other side may be silent.
    pub idle: Duration,
    /// Bytes of one fetch.
    pub fetch_bytes: u64,
    /// Objects of one fetch.
    pub fetch_objects: u64,
    /// Branches and pull requests.
    pub refs: u64,
    /// Entries of one tree listing.
    pub entries: u64,
    /// Folders within folders.
    pub depth: u64,
    /// Bytes of one blob that is read into memory.
    pub blob_bytes: u64,
    /// Bytes of a tree that is unpacked.
    pub unpack_bytes: u64,
    /// Commits looked at to find the newest change of a path.
    pub history: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: Duration::from_mins(5),
            idle: Duration::from_secs(30),
            fetch_bytes: 2 << 30,
            fetch_objects: 5_000_000,
            refs: 50_000,
            entries: 200_000,
            depth: 64,
            blob_bytes: 32 << 20,
            unpack_bytes: 2 << 30,
            history: 1_000_000,
        }
    }
}

/// Locks a mutex. What this room keeps under one is whole after every line, so a panic of another thread spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
