//! What can go wrong with the store, and which of it a caller may wait out.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Primary result codes of `SQLite` that matter here: <https://sqlite.org/rescode.html>.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const NOMEM: i32 = 7;
    pub(super) const READONLY: i32 = 8;
    pub(super) const INTERRUPT: i32 = 9;
    pub(super) const IOERR: i32 = 10;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const NOTADB: i32 = 26;
}

/// Why the store did not do what it was asked. Cheap to clone: one failed commit answers many writers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file or its folder cannot be made or opened.
    #[error("the store {} cannot be opened\nhint: the data folder must be writable by this user", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Another process works with the same data folder.
    #[error(
        "the store {} is in use by another process\nhint: stop the other server, or give this one its own --data-dir",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of another program.
    #[error("{} is a database, but not a store of Branchline\nhint: choose another --data-dir", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer Branchline; going back is refused.
    #[error(
        "the store {} has schema {found}, this Branchline knows up to {known}\nhint: start the newer version again, or move the file away: an empty store loses history, never a workload",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// The file is damaged.
    #[error(
        "the store {} is damaged ({doing})\nhint: stop the server and move the file away: an empty store loses history, never a workload",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What `SQLite` said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The file was removed or replaced under the running server.
    #[error("the store {} was removed or replaced while the server runs\nhint: restart the server", path.display())]
    Gone {
        /// The file.
        path: PathBuf,
    },
    /// No space is left, on the disk or under the size limit.
    #[error(
        "the store {} is full ({doing})\nhint: free space on its disk; the server carries on by itself",
        path.display()
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What `SQLite` said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The file is locked by somebody else, or all connections are taken.
    #[error("the store {} is busy ({doing})\nhint: another program may hold a lock on it", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What `SQLite` said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The disk refuses to read or write.
    #[error("the disk under the store {} refuses ({doing})", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What `SQLite` said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The rows refuse the write: a key that exists, a row that it refers to and does not.
    #[error("the store refuses: {doing}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// What `SQLite` said.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// No answer within the deadline. A write may still be committed later.
    #[error("the store gave no answer within {waited:?} ({doing})")]
    Slow {
        /// What was being done.
        doing: &'static str,
        /// How long was waited.
        waited: Duration,
    },
    /// The store was closed.
    #[error("the store is closed ({doing})")]
    Closed {
        /// What was being done.
        doing: &'static str,
    },
    /// A statement failed for another reason: a fault of ours.
    #[error("the store failed ({doing})")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// What sqlx said.
        #[source]
        source: Arc<sqlx::Error>,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing the program or the call.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Busy { .. } | Self::Disk { .. } | Self::Slow { .. })
    }

    /// Sorts what sqlx said into what a caller can act on.
    pub(super) fn from_sqlx(path: &Path, doing: &'static str, error: sqlx::Error) -> Self {
        let primary = result_code(&error);
        let timed_out = matches!(error, sqlx::Error::PoolTimedOut);
        let closed = matches!(error, sqlx::Error::PoolClosed);
        let (path, source) = (path.to_owned(), Arc::new(error));
        match primary {
            Some(code::BUSY | code::LOCKED) => Self::Busy { path, doing, source },
            Some(code::FULL) => Self::Full { path, doing, source },
            Some(code::READONLY | code::IOERR | code::CANTOPEN) => Self::Disk { path, doing, source },
            Some(code::CORRUPT | code::NOTADB) => Self::Damaged { path, doing, source },
            Some(code::CONSTRAINT) => Self::Refused { doing, source },
            _ if timed_out => Self::Busy { path, doing, source },
            _ if closed => Self::Closed { doing },
            _ => Self::Query { doing, source },
        }
    }
}

/// The primary result code: the low byte of the extended one.
fn result_code(error: &sqlx::Error) -> Option<i32> {
    let extended: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether this failure concerns the file, and so every write of the same transaction, not one statement.
pub(super) fn spoils_transaction(error: &sqlx::Error) -> bool {
    match result_code(error) {
        Some(primary) => matches!(
            primary,
            code::BUSY
                | code::LOCKED
                | code::NOMEM
                | code::READONLY
                | code::INTERRUPT
                | code::IOERR
                | code::CORRUPT
                | code::FULL
                | code::CANTOPEN
                | code::NOTADB
        ),
        // Without a code it is either a row that does not decode, or the connection's thread that is gone.
        None => matches!(error, sqlx::Error::WorkerCrashed | sqlx::Error::Io(_) | sqlx::Error::Protocol(_)),
    }
}
