//! The one that writes: group commit.
//!
//! Writes wait in a bounded queue. The task takes all that wait (up to a limit), runs them in one
//! transaction and answers each after the commit. While one commit is being synced the next group gathers, so
//! the cost of a sync is shared exactly when it matters, and a lone write waits for nobody.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::{StoreError, spoils_transaction};
use super::sqlite::WriterFile;

/// Writes that may wait; further callers wait for a place.
const QUEUE: usize = 1024;
/// Writes in one transaction at most.
const GROUP: usize = 256;
/// How long a failed connection is left alone before the next attempt to open it.
const REOPEN_AFTER: Duration = Duration::from_millis(200);

/// How a write that fails takes back what it has done so far, without harm to the others of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Undo {
    /// By a savepoint around it.
    Savepoint,
    /// By `SQLite` itself: it changes rows in one statement, which happens whole or not at all. Saves two of
    /// three trips to the connection.
    Statement,
}

/// The queue to the writer task.
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    stop: CancellationToken,
}

impl Writer {
    /// Starts the task that owns the writing connection and the lock on the file.
    pub(super) fn start(file: WriterFile, tasks: &TaskTracker) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        tasks.spawn(run(file, jobs, stop.clone()));
        Self { queue, stop }
    }

    /// Takes no further writes; those accepted are still committed.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Writes that wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Queues `work` and waits for its commit.
    pub(super) async fn write<T, F, A>(
        &self,
        doing: &'static str,
        undo: Undo,
        work: F,
        then: A,
    ) -> Result<T, StoreError>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send + 'static,
        A: FnOnce(&T) + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Write { doing, undo, work: Some(work), then: Some(then), value: None, reply: Some(reply) };
        self.queue.send(Box::new(job)).await.map_err(|_| StoreError::Closed { doing })?;
        answer.await.map_err(|_| StoreError::Closed { doing })?
    }
}

/// One queued write, whatever it answers.
trait Job: Send {
    fn doing(&self) -> &'static str;
    fn undo(&self) -> Undo;
    fn run<'j>(&'j mut self, connection: &'j mut SqliteConnection) -> BoxFuture<'j, sqlx::Result<()>>;
    fn answer(&mut self, outcome: Result<(), StoreError>);
}

struct Write<T, F, A> {
    doing: &'static str,
    undo: Undo,
    work: Option<F>,
    then: Option<A>,
    value: Option<T>,
    reply: Option<oneshot::Sender<Result<T, StoreError>>>,
}

impl<T, F, A> Job for Write<T, F, A>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send,
    A: FnOnce(&T) + Send,
    T: Send,
{
    fn doing(&self) -> &'static str {
        self.doing
    }

    fn undo(&self) -> Undo {
        self.undo
    }

    fn run<'j>(&'j mut self, connection: &'j mut SqliteConnection) -> BoxFuture<'j, sqlx::Result<()>> {
        let work = self.work.take().expect("a write runs once");
        Box::pin(async move {
            self.value = Some(work(connection).await?);
            Ok(())
        })
    }

    fn answer(&mut self, outcome: Result<(), StoreError>) {
        let (Some(reply), Some(then)) = (self.reply.take(), self.then.take()) else { return };
        let answer = outcome.map(|()| self.value.take().expect("a write that went well has a value"));
        if let Ok(value) = &answer {
            then(value);
        }
        // Whoever asked may have given up meanwhile; the row is there all the same.
        let _ = reply.send(answer);
    }
}

async fn run(mut file: WriterFile, mut jobs: mpsc::Receiver<Box<dyn Job>>, stop: CancellationToken) {
    let mut group = Vec::with_capacity(GROUP);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled(), if !jobs.is_closed() => jobs.close(),
            taken = jobs.recv_many(&mut group, GROUP) => {
                if taken == 0 {
                    break;
                }
                commit_group(&mut file, &mut group).await;
                group.clear();
            }
        }
    }
    file.close().await;
}

/// Runs the group in one transaction and answers everybody.
async fn commit_group(file: &mut WriterFile, group: &mut [Box<dyn Job>]) {
    let outcomes = match file.connection().await {
        Ok(connection) => attempt(connection, group).await,
        Err(error) => {
            for job in group {
                job.answer(Err(error.clone()));
            }
            tokio::time::sleep(REOPEN_AFTER).await;
            return;
        }
    };
    match outcomes {
        Ok(outcomes) => {
            for (job, outcome) in group.iter_mut().zip(outcomes) {
                let doing = job.doing();
                job.answer(outcome.map_err(|error| StoreError::from_sqlx(file.path(), doing, error)));
            }
        }
        Err(error) => {
            let error = StoreError::from_sqlx(file.path(), "committing", error);
            file.recover(&error).await;
            for job in group {
                job.answer(Err(error.clone()));
            }
        }
    }
}

/// The outcome of each write, or the error that spoilt the whole transaction.
async fn attempt(
    connection: &mut SqliteConnection,
    group: &mut [Box<dyn Job>],
) -> sqlx::Result<Vec<sqlx::Result<()>>> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let alone = group.len() == 1;
    let mut outcomes = Vec::with_capacity(group.len());
    for job in group {
        let plain = alone || job.undo() == Undo::Statement;
        let outcome =
            if plain { job.run(&mut transaction).await } else { guarded(&mut transaction, job).await };
        match outcome {
            Err(error) if spoils_transaction(&error) => return Err(error),
            outcome => outcomes.push(outcome),
        }
    }
    if alone && outcomes.iter().any(Result::is_err) {
        transaction.rollback().await?;
    } else {
        transaction.commit().await?;
    }
    Ok(outcomes)
}

/// Runs one write behind a savepoint, so that its failure takes back itself alone.
async fn guarded(connection: &mut SqliteConnection, job: &mut Box<dyn Job>) -> sqlx::Result<()> {
    sqlx::query("SAVEPOINT one_write").execute(&mut *connection).await?;
    let outcome = job.run(connection).await;
    if outcome.is_err() {
        sqlx::query("ROLLBACK TO one_write").execute(&mut *connection).await?;
    }
    sqlx::query("RELEASE one_write").execute(&mut *connection).await?;
    outcome
}
