//! The file: its lock, its pragmas, its schema.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use super::{StoreError, StoreOptions};

/// The schema, one file per version; a released file is never edited.
const MIGRATIONS: &[&str] =
    &[include_str!("migrations/0001_rows.sql"), include_str!("migrations/0002_commits.sql")];
/// `BrLn` in the file's header: <https://sqlite.org/pragma.html#pragma_application_id>.
const APPLICATION_ID: i64 = 0x4272_4c6e;
const PAGE_BYTES: u32 = 4096;
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a predecessor in the same data folder may take to finish its last commit.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Which file it is, whatever its name: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId(u64, u64);

/// What [`open`] gives.
pub(super) struct Opened {
    pub(super) writer: WriterFile,
    pub(super) readers: SqlitePool,
}

/// The writing connection with the lock that makes it the only one.
pub(super) struct WriterFile {
    path: PathBuf,
    file: FileId,
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    _lock: File,
}

/// Opens the file for one writer and the readers, its schema up to date.
pub(super) async fn open(path: &Path, options: &StoreOptions) -> Result<Opened, StoreError> {
    let lock = lock(path).await?;
    let file = make(path).await?;
    let writing = writing(path, options);
    let failed = |error| StoreError::from_sqlx(path, "opening", error);
    let mut connection = writing.connect().await.map_err(failed)?;
    migrate(path, &mut connection).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(options.readers.max(1))
        .acquire_timeout(BUSY_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(reading(path))
        .await
        .map_err(failed)?;
    let writer = WriterFile {
        path: path.to_owned(),
        file,
        options: writing,
        connection: Some(connection),
        _lock: lock,
    };
    Ok(Opened { writer, readers })
}

/// Bytes of the file and its write-ahead log; 0 where they cannot be asked.
pub(super) async fn size(path: &Path) -> u64 {
    let mut bytes = 0;
    for suffix in ["", "-wal"] {
        bytes += tokio::fs::metadata(beside(path, suffix)).await.map_or(0, |found| found.len());
    }
    bytes
}

/// Whether `path` still names the file that was opened.
async fn check_there(path: &Path, file: FileId) -> Result<(), StoreError> {
    match tokio::fs::metadata(path).await {
        Ok(found) if file_id(&found) == file => Ok(()),
        Ok(_) => Err(StoreError::Gone { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(StoreError::Gone { path: path.to_owned() })
        }
        Err(error) => Err(StoreError::Open { path: path.to_owned(), source: Arc::new(error) }),
    }
}

impl WriterFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The connection, opened again where it was given up.
    pub(super) async fn connection(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        check_there(&self.path, self.file).await?;
        if self.connection.is_none() {
            let opened = self.options.connect().await;
            self.connection =
                Some(opened.map_err(|error| StoreError::from_sqlx(&self.path, "opening again", error))?);
        }
        Ok(self.connection.as_mut().expect("was opened above"))
    }

    /// Gives the connection up after a spoilt transaction: where `SQLite` has rolled it back by itself, as it
    /// does on a full disk, sqlx still counts it as open. A lock held elsewhere spoils nothing.
    pub(super) async fn recover(&mut self, error: &StoreError) {
        if matches!(error, StoreError::Busy { .. }) {
            return;
        }
        if let Some(connection) = self.connection.take() {
            // Closing may fail for the same reason; the next write opens afresh.
            let _ = connection.close_hard().await;
        }
    }

    pub(super) async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }
}

fn file_id(metadata: &std::fs::Metadata) -> FileId {
    FileId(metadata.dev(), metadata.ino())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Takes the lock beside the file; the system lets it go when the process ends, however it ends.
async fn lock(path: &Path) -> Result<File, StoreError> {
    let failed = |error: io::Error| StoreError::Open { path: path.to_owned(), source: Arc::new(error) };
    if let Some(folder) = path.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    let lock = private().open(beside(path, ".lock")).map_err(failed)?;
    let patience = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < patience => {
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: path.to_owned() }),
        }
    }
}

/// Makes the file readable by its owner alone; the files that `SQLite` puts beside it take over its mode.
async fn make(path: &Path) -> Result<FileId, StoreError> {
    let failed = |error: io::Error| StoreError::Open { path: path.to_owned(), source: Arc::new(error) };
    drop(private().open(path).map_err(failed)?);
    Ok(file_id(&tokio::fs::metadata(path).await.map_err(failed)?))
}

fn private() -> std::fs::OpenOptions {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true).read(true).mode(0o600);
    options
}

fn writing(path: &Path, options: &StoreOptions) -> SqliteConnectOptions {
    let writing = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .page_size(PAGE_BYTES)
        .auto_vacuum(SqliteAutoVacuum::Incremental)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_size_limit", "67108864")
        .disable_statement_logging();
    match options.max_bytes {
        Some(bytes) => writing.pragma("max_page_count", (bytes / u64::from(PAGE_BYTES)).max(1).to_string()),
        None => writing,
    }
}

fn reading(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging()
}

/// Brings the tables up to date in one transaction: a kill in the middle leaves the old version.
async fn migrate(path: &Path, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let doing = "reading the schema version";
    let failed = |error| StoreError::from_sqlx(path, doing, error);
    let found = pragma(connection, "PRAGMA user_version").await.map_err(failed)?;
    let application = pragma(connection, "PRAGMA application_id").await.map_err(failed)?;
    let tables = pragma(connection, "SELECT count(*) FROM sqlite_schema").await.map_err(failed)?;
    let known = i64::try_from(MIGRATIONS.len()).expect("few migrations");
    if application != APPLICATION_ID && (tables > 0 || application != 0) {
        return Err(StoreError::NotOurs { path: path.to_owned() });
    }
    if found > known {
        return Err(StoreError::Newer { path: path.to_owned(), found, known });
    }
    if found == known {
        return Ok(());
    }
    let failed = |error| StoreError::from_sqlx(path, "bringing the schema up to date", error);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    for (version, statements) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        sqlx::raw_sql(*statements).execute(&mut *transaction).await.map_err(failed)?;
        // A pragma takes no parameters; both numbers are ours.
        let header = format!("PRAGMA user_version = {version}; PRAGMA application_id = {APPLICATION_ID}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(header)).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

async fn pragma(connection: &mut SqliteConnection, query: &'static str) -> sqlx::Result<i64> {
    sqlx::query_scalar(query).fetch_one(connection).await
}
