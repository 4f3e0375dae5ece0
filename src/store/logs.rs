//! Log lines of deployments: numbered without gap, bounded, and followed live.
//!
//! Offsets count the lines of a deployment from 0, over all of its steps, in the order in which they were
//! appended. A follower is only told that there is more and reads the rows itself, so that nothing is ever
//! shown twice or left out, however slow it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, SqliteConnection};
use tokio::sync::watch;

use super::rows::time;
use super::{Store, StoreError, micros};

/// Lines that a follower reads at once.
const PAGE: u32 = 1000;

/// How much log text is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogLimits {
    /// Bytes of one line; the rest of a longer one is replaced by a marker.
    pub line_bytes: usize,
    /// Bytes of one step; when they are used up a marker line stands at the end.
    pub step_bytes: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { line_bytes: 16 * 1024, step_bytes: 16 * 1024 * 1024 }
    }
}

/// A line to be appended, already redacted.
#[derive(Debug, Clone)]
pub struct NewLine {
    /// `stdout`, `stderr`, or ours.
    pub stream: String,
    /// When it was written.
    pub time: Timestamp,
    /// The text without its end of line.
    pub line: String,
}

/// A line as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Its number in the deployment, from 0.
    pub offset: i64,
    /// The step it belongs to.
    pub step: String,
    /// `stdout`, `stderr`, or ours.
    pub stream: String,
    /// When it was written.
    pub time: Timestamp,
    /// The text.
    pub line: String,
}

/// Per deployment with followers: the offset of the line to come next.
#[derive(Debug, Default, Clone)]
pub(super) struct Tails(Arc<Mutex<BTreeMap<String, watch::Sender<i64>>>>);

/// Follows the log of a deployment.
#[derive(Debug)]
pub struct LogTail {
    store: Store,
    deployment: String,
    step: Option<String>,
    next: i64,
    grown: watch::Receiver<i64>,
}

impl Store {
    /// Appends lines to a step. Answers the offset of the line to come next.
    ///
    /// Lines beyond the limits are cut with a marker in their place, once per step; that is no error.
    ///
    /// # Errors
    /// [`StoreError::Query`] where there is no such deployment; otherwise the store itself fails.
    pub async fn append_log(
        &self,
        deployment: &str,
        step: &str,
        lines: Vec<NewLine>,
    ) -> Result<i64, StoreError> {
        let limits = self.inner.log_limits;
        let (deployment, step) = (deployment.to_owned(), step.to_owned());
        let (tails, of) = (self.inner.tails.clone(), deployment.clone());
        self.write_then(
            "appending to a log",
            move |c| Box::pin(async move { append(c, &deployment, &step, lines, limits).await }),
            move |next: &i64| tails.grown(&of, *next),
        )
        .await
    }

    /// Lines of a deployment, of one step where given, from offset `from` on, at most `limit`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn log(
        &self,
        deployment: &str,
        step: Option<&str>,
        from: i64,
        limit: u32,
    ) -> Result<Vec<LogLine>, StoreError> {
        let (deployment, step) = (deployment.to_owned(), step.map(str::to_owned));
        self.read("reading a log", move |c| {
            Box::pin(async move {
                sqlx::query_as(
                    r#"SELECT * FROM log_lines
                       WHERE deployment = ?1 AND "offset" >= ?2 AND (?3 IS NULL OR step = ?3)
                       ORDER BY "offset" LIMIT ?4"#,
                )
                .bind(deployment)
                .bind(from)
                .bind(step)
                .bind(limit)
                .fetch_all(c)
                .await
            })
        })
        .await
    }

    /// The last lines of a deployment, of one step where given, in their order.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn log_end(
        &self,
        deployment: &str,
        step: Option<&str>,
        lines: u32,
    ) -> Result<Vec<LogLine>, StoreError> {
        let (deployment, step) = (deployment.to_owned(), step.map(str::to_owned));
        let mut found: Vec<LogLine> = self
            .read("reading the end of a log", move |c| {
                Box::pin(async move {
                    sqlx::query_as(
                        r#"SELECT * FROM log_lines
                           WHERE deployment = ?1 AND (?2 IS NULL OR step = ?2)
                           ORDER BY "offset" DESC LIMIT ?3"#,
                    )
                    .bind(deployment)
                    .bind(step)
                    .bind(lines)
                    .fetch_all(c)
                    .await
                })
            })
            .await?;
        found.reverse();
        Ok(found)
    }

    /// Follows a log from offset `from` on: what is there, then what comes.
    #[must_use]
    pub fn follow_log(&self, deployment: &str, step: Option<&str>, from: i64) -> LogTail {
        LogTail {
            store: self.clone(),
            deployment: deployment.to_owned(),
            step: step.map(str::to_owned),
            next: from,
            grown: self.inner.tails.watch(deployment),
        }
    }
}

impl LogTail {
    /// The next lines, at least one; waits for them as long as it takes. Whether more will ever come is told
    /// by the deployment's state. Cancel safe: lines are handed out once, and none is lost when the wait is
    /// given up.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn next(&mut self) -> Result<Vec<LogLine>, StoreError> {
        loop {
            let lines = self.ready().await?;
            if !lines.is_empty() {
                return Ok(lines);
            }
            // The sender lives in the store that this tail holds.
            let _ = self.grown.changed().await;
        }
    }

    /// The next lines that are there already; none where the end is reached for now.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn ready(&mut self) -> Result<Vec<LogLine>, StoreError> {
        self.grown.mark_unchanged();
        let lines = self.store.log(&self.deployment, self.step.as_deref(), self.next, PAGE).await?;
        if let Some(last) = lines.last() {
            self.next = last.offset + 1;
        }
        Ok(lines)
    }
}

impl Tails {
    fn watch(&self, deployment: &str) -> watch::Receiver<i64> {
        let mut tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tails.retain(|of, tail| of == deployment || !tail.is_closed());
        tails.entry(deployment.to_owned()).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn grown(&self, deployment: &str, next: i64) {
        let tails = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = tails.get(deployment) {
            tail.send_replace(next);
        }
    }
}

async fn append(
    c: &mut SqliteConnection,
    deployment: &str,
    step: &str,
    lines: Vec<NewLine>,
    limits: LogLimits,
) -> sqlx::Result<i64> {
    let first: i64 = sqlx::query_scalar("SELECT log_next FROM deployments WHERE id = ?")
        .bind(deployment)
        .fetch_one(&mut *c)
        .await?;
    let (bytes, cut): (i64, bool) =
        sqlx::query_as("SELECT bytes, cut FROM log_sizes WHERE deployment = ? AND step = ?")
            .bind(deployment)
            .bind(step)
            .fetch_optional(&mut *c)
            .await?
            .unwrap_or((0, false));
    let mut kept = Kept { first, bytes: bytes.unsigned_abs(), cut, rows: Vec::new() };
    for line in lines {
        kept.take(line, limits);
    }
    let next = kept.next();
    sqlx::query(
        r#"INSERT INTO log_lines (deployment, "offset", step, stream, time, line)
           SELECT ?1, value ->> 0, ?2, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?3)"#,
    )
    .bind(deployment)
    .bind(step)
    .bind(serde_json::Value::Array(kept.rows).to_string())
    .execute(&mut *c)
    .await?;
    sqlx::query("INSERT OR REPLACE INTO log_sizes (deployment, step, bytes, cut) VALUES (?, ?, ?, ?)")
        .bind(deployment)
        .bind(step)
        .bind(i64::try_from(kept.bytes).unwrap_or(i64::MAX))
        .bind(kept.cut)
        .execute(&mut *c)
        .await?;
    sqlx::query("UPDATE deployments SET log_next = ? WHERE id = ?")
        .bind(next)
        .bind(deployment)
        .execute(c)
        .await?;
    Ok(next)
}

/// The lines of one batch that are kept.
struct Kept {
    first: i64,
    bytes: u64,
    cut: bool,
    rows: Vec<serde_json::Value>,
}

impl Kept {
    fn next(&self) -> i64 {
        self.first + i64::try_from(self.rows.len()).expect("a batch is no longer than memory")
    }

    fn take(&mut self, new: NewLine, limits: LogLimits) {
        if self.cut {
            return;
        }
        let mut text = shortened(new.line, limits.line_bytes);
        self.bytes += text.len() as u64 + 1;
        if self.bytes > limits.step_bytes {
            self.cut = true;
            text = format!("[the log of this step is cut here, after {} bytes]", limits.step_bytes);
        }
        self.rows.push(serde_json::json!([self.next(), new.stream, micros(new.time), text]));
    }
}

fn shortened(line: String, limit: usize) -> String {
    if line.len() <= limit {
        return line;
    }
    let (kept, left_out) = line.split_at(line.floor_char_boundary(limit));
    format!("{kept} [{} bytes more]", left_out.len())
}

impl FromRow<'_, SqliteRow> for LogLine {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            offset: row.try_get("offset")?,
            step: row.try_get("step")?,
            stream: row.try_get("stream")?,
            time: time(row, "time")?,
            line: row.try_get("line")?,
        })
    }
}
