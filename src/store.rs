//! Rows, not domain words: history, logs, inbox, outbox, cluster state. The only user of sqlx.
//!
//! One `SQLite` file in the data folder. States, kinds and verdicts are plain text here: what they mean
//! belongs to the rooms that write them. Times are passed in; the store asks no clock and makes no ids but
//! row numbers.
//!
//! **Writing.** One connection writes. A writer task takes every write that waits, runs them in one
//! transaction, so that one that fails harms no other, and answers after the commit, which is synced to the disk
//! (`synchronous=FULL` over a write-ahead log). So an answered write survives kill -9 and power loss, and
//! hundreds of concurrent webhooks share one sync. Reading uses a few read-only connections beside it.
//!
//! **Losing it.** The store is not the truth: Git and the cluster are. A store that is lost starts empty;
//! what is gone is history, logs and approvals, never a workload. A damaged file is therefore refused with a
//! hint to move it away, and nothing here tries to mend it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

mod commits;
mod deployments;
mod error;
mod events;
mod inbox;
mod kv;
mod logs;
mod outbox;
mod retention;
mod rows;
mod services;
mod sqlite;
mod verdicts;
mod writer;

use writer::Undo;

pub use commits::{NewCommit, SeenCommit, VIA_DEPLOYMENT};
pub use deployments::{Deployment, DeploymentChange, DeploymentFilter, NewDeployment, Step};
pub use error::StoreError;
pub use events::{Event, EventFilter, NewEvent};
pub use inbox::{Delivery, InboxCounts, NewDelivery, Received, Tried};
pub use logs::{LogLimits, LogLine, LogTail, NewLine};
pub use outbox::{OutboxCounts, OutboxItem, Want};
pub use retention::{Retained, Retention};
pub use services::ServiceRow;
pub use verdicts::Verdict;

/// How long a read may take before it is given up.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// How long a write may wait for its turn and its commit. Longer than the busy timeout, so that a lock held
/// elsewhere is named as such.
const WRITE_DEADLINE: Duration = Duration::from_secs(15);
/// Changes a slow reader of [`Store::changes`] may be behind before it is told that it missed some.
const CHANGES_KEPT: usize = 1024;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Connections that read, beside the one that writes.
    pub readers: u32,
    /// The size in bytes that the file may grow to; writes beyond it end in [`StoreError::Full`].
    pub max_bytes: Option<u64>,
    /// How much log text is kept.
    pub logs: LogLimits,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { readers: 3, max_bytes: None, logs: LogLimits::default() }
    }
}

/// What changed, told after the commit to whoever shows live pages or waits for work.
///
/// A hint to read again, not the change itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A deployment was made or moved on, or one of its steps did.
    Deployment {
        /// Its id.
        id: String,
        /// Its project.
        project: String,
        /// Its environment.
        environment: String,
        /// Its service.
        service: String,
    },
    /// The current record of a service was written or removed.
    Service {
        /// Its project.
        project: String,
        /// Its environment.
        environment: String,
        /// Its name.
        service: String,
    },
    /// An event was added.
    Event {
        /// The project it belongs to.
        project: String,
        /// Its row number.
        id: i64,
    },
    /// The outbox wants something new.
    Outbox,
}

/// How the store is doing, for health pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreHealth {
    /// Where the file lies.
    pub path: PathBuf,
    /// Bytes of the file and its write-ahead log.
    pub bytes: u64,
    /// Writes that wait for their turn.
    pub waiting: usize,
}

/// The one handle on the rows; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    writer: writer::Writer,
    readers: SqlitePool,
    changes: broadcast::Sender<Change>,
    tails: logs::Tails,
    log_limits: LogLimits,
    tasks: TaskTracker,
}

impl Store {
    /// Opens the store at `path`, making the file and bringing its tables up to date.
    ///
    /// # Errors
    /// The file cannot be opened, belongs to another program or a newer Branchline, is damaged, or another
    /// process holds it.
    pub async fn open(path: &Path, options: &StoreOptions) -> Result<Self, StoreError> {
        let opened = sqlite::open(path, options).await?;
        let tasks = TaskTracker::new();
        let writer = writer::Writer::start(opened.writer, &tasks);
        let store = Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                writer,
                readers: opened.readers,
                changes: broadcast::Sender::new(CHANGES_KEPT),
                tails: logs::Tails::default(),
                log_limits: options.logs,
                tasks,
            }),
        };
        store.release_claims().await?;
        Ok(store)
    }

    /// Waits until all accepted writes are committed, then lets the file go. Later calls end in
    /// [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.writer.stop();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        self.inner.readers.close().await;
    }

    /// Listens to changes; each is sent after its commit. A reader that falls behind is told so by
    /// [`broadcast::error::RecvError::Lagged`] and reads everything again.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Asks the writer to sync a write and a reader to answer.
    ///
    /// # Errors
    /// Whatever a webhook would meet now: full, busy, gone, damaged.
    pub async fn health(&self) -> Result<StoreHealth, StoreError> {
        self.put("branchline", "health", b"probe").await?;
        self.read("asking a reader", |c| {
            Box::pin(async move { sqlx::query("SELECT 1").execute(c).await.map(|_| ()) })
        })
        .await?;
        let path = &self.inner.path;
        Ok(StoreHealth {
            path: path.clone(),
            bytes: sqlite::size(path).await,
            waiting: self.inner.writer.waiting(),
        })
    }

    /// Runs `query` on a reading connection.
    async fn read<T, F>(&self, doing: &'static str, query: F) -> Result<T, StoreError>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send,
        T: Send,
    {
        let answer = tokio::time::timeout(READ_DEADLINE, async {
            let mut connection = self.inner.readers.acquire().await?;
            query(&mut connection).await
        });
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(StoreError::from_sqlx(&self.inner.path, doing, error)),
            Err(_) => Err(StoreError::Slow { doing, waited: READ_DEADLINE }),
        }
    }

    /// Runs `work` in the next group commit and answers once it is on the disk.
    async fn write<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        self.write_then(doing, work, |_| ()).await
    }

    /// As [`Store::write`], for `work` that changes rows in one statement only: it is cheaper.
    async fn write_one<T, F>(&self, doing: &'static str, work: F) -> Result<T, StoreError>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send + 'static,
        T: Send + 'static,
    {
        in_time(doing, self.inner.writer.write(doing, Undo::Statement, work, |_| ())).await
    }

    /// As [`Store::write`], and calls `then` right after the commit, even when nobody waits for the answer
    /// any more.
    async fn write_then<T, F, A>(&self, doing: &'static str, work: F, then: A) -> Result<T, StoreError>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send + 'static,
        A: FnOnce(&T) + Send + 'static,
        T: Send + 'static,
    {
        in_time(doing, self.inner.writer.write(doing, Undo::Savepoint, work, then)).await
    }

    /// Tells the listeners; having none is fine.
    fn tell(&self) -> impl Fn(Change) + Send + 'static {
        let changes = self.inner.changes.clone();
        move |change| {
            let _ = changes.send(change);
        }
    }
}

async fn in_time<T>(
    doing: &'static str,
    written: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(WRITE_DEADLINE, written).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::Slow { doing, waited: WRITE_DEADLINE }),
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

/// Microseconds since 1970, the form of every time in the tables.
fn micros(time: Timestamp) -> i64 {
    time.as_microsecond()
}
