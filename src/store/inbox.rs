//! The inbox: deliveries that were accepted, durable before the answer, handled at least once.

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, SqliteConnection};

use super::rows::time;
use super::{Store, StoreError, micros};

/// Bytes of bodies that are read at once.
const BYTES_AT_ONCE: i64 = 8 * 1024 * 1024;

/// A delivery as it comes in, its signature already checked.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// Who sends: `github`.
    pub source: String,
    /// The sender's own id of this delivery.
    pub id: String,
    /// The sender's name of the event.
    pub event: String,
    /// The raw bytes.
    pub body: Vec<u8>,
    /// Now.
    pub received: Timestamp,
}

/// What became of a delivery that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is new and on the disk, as this row.
    Stored {
        /// Its row number; grows in the order of arrival.
        seq: i64,
    },
    /// This id was there before; the first one stands.
    Again {
        /// Whether the body is the same too.
        same_body: bool,
    },
}

/// A delivery that waits to be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its row number.
    pub seq: i64,
    /// Who sent it.
    pub source: String,
    /// The sender's own id.
    pub id: String,
    /// The sender's name of the event.
    pub event: String,
    /// The raw bytes.
    pub body: Vec<u8>,
    /// When it came in.
    pub received: Timestamp,
    /// How often handling it has failed.
    pub tries: u32,
    /// Why it failed last.
    pub error: Option<String>,
}

/// Where a delivery stands after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// It will be tried again.
    Waiting,
    /// It failed too often and is set aside, to be looked at.
    Quarantined,
}

/// How many deliveries wait, and how many are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InboxCounts {
    /// Not handled yet.
    pub waiting: u64,
    /// Set aside.
    pub quarantined: u64,
}

impl Store {
    /// Stores a delivery; when this answers, it is on the disk. The same id again is stored once.
    ///
    /// # Errors
    /// The store itself fails: then the sender must be told so, and sends again.
    pub async fn receive(&self, delivery: NewDelivery) -> Result<Received, StoreError> {
        let body_digest = digest(&SHA256, &delivery.body).as_ref().to_vec();
        self.write_one("storing a delivery", move |c| {
            Box::pin(async move { receive(c, delivery, body_digest).await })
        })
        .await
    }

    /// Deliveries that wait after row `after`, oldest first, at most `limit`, and of large ones fewer: their
    /// bodies together stay within 8 MiB, or it is one.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn waiting_deliveries(&self, after: i64, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        self.read("reading the inbox", move |c| {
            Box::pin(async move {
                sqlx::query_as(
                    "SELECT * FROM inbox WHERE seq IN (
                         SELECT seq FROM (
                             SELECT seq, sum(length(body)) OVER (ORDER BY seq) AS bytes,
                                 row_number() OVER (ORDER BY seq) AS place
                             FROM (SELECT seq, body FROM inbox WHERE state = 'waiting' AND seq > ?1
                                   ORDER BY seq LIMIT ?2))
                         WHERE bytes <= ?3 OR place = 1)
                     ORDER BY seq",
                )
                .bind(after)
                .bind(limit)
                .bind(BYTES_AT_ONCE)
                .fetch_all(c)
                .await
            })
        })
        .await
    }

    /// Deliveries that are set aside, newest first, at most `limit`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn quarantined_deliveries(&self, limit: u32) -> Result<Vec<Delivery>, StoreError> {
        self.read("reading the quarantine", move |c| {
            Box::pin(async move {
                sqlx::query_as("SELECT * FROM inbox WHERE state = 'quarantined' ORDER BY seq DESC LIMIT ?")
                    .bind(limit)
                    .fetch_all(c)
                    .await
            })
        })
        .await
    }

    /// Marks deliveries as handled and drops their bodies; their ids stay, so that a repetition is known.
    ///
    /// # Errors
    /// The store itself fails; they will be handled again.
    pub async fn finish_deliveries(&self, rows: &[i64]) -> Result<(), StoreError> {
        let rows = serde_json::Value::from(rows).to_string();
        self.write_one("finishing deliveries", move |c| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE inbox SET state = 'done', body = NULL, error = NULL
                     WHERE seq IN (SELECT value FROM json_each(?))",
                )
                .bind(rows)
                .execute(c)
                .await
                .map(|_| ())
            })
        })
        .await
    }

    /// Notes that handling a delivery failed; after `allowed` failures it is set aside.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn fail_delivery(&self, seq: i64, error: &str, allowed: u32) -> Result<Tried, StoreError> {
        let error = error.to_owned();
        let state: Option<String> = self
            .write_one("noting a failed delivery", move |c| {
                Box::pin(async move {
                    sqlx::query_scalar(
                        "UPDATE inbox SET tries = tries + 1, error = ?2,
                             state = CASE WHEN tries + 1 >= ?3 THEN 'quarantined' ELSE state END
                         WHERE seq = ?1 RETURNING state",
                    )
                    .bind(seq)
                    .bind(error)
                    .bind(allowed)
                    .fetch_optional(c)
                    .await
                })
            })
            .await?;
        Ok(if state.as_deref() == Some("quarantined") { Tried::Quarantined } else { Tried::Waiting })
    }

    /// How many deliveries wait and are set aside.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn count_inbox(&self) -> Result<InboxCounts, StoreError> {
        let (waiting, quarantined): (i64, i64) = self
            .read("counting the inbox", |c| {
                Box::pin(async move {
                    sqlx::query_as(
                        "SELECT (SELECT count(*) FROM inbox WHERE state = 'waiting'),
                                (SELECT count(*) FROM inbox WHERE state = 'quarantined')",
                    )
                    .fetch_one(c)
                    .await
                })
            })
            .await?;
        Ok(InboxCounts { waiting: waiting.unsigned_abs(), quarantined: quarantined.unsigned_abs() })
    }
}

async fn receive(c: &mut SqliteConnection, new: NewDelivery, body_digest: Vec<u8>) -> sqlx::Result<Received> {
    let stored: Option<i64> = sqlx::query_scalar(
        "INSERT INTO inbox (source, delivery, event, body, body_digest, received, state)
         VALUES (?, ?, ?, ?, ?, ?, 'waiting') ON CONFLICT (source, delivery) DO NOTHING RETURNING seq",
    )
    .bind(&new.source)
    .bind(&new.id)
    .bind(new.event)
    .bind(new.body)
    .bind(&body_digest)
    .bind(micros(new.received))
    .fetch_optional(&mut *c)
    .await?;
    if let Some(seq) = stored {
        return Ok(Received::Stored { seq });
    }
    let first: Vec<u8> =
        sqlx::query_scalar("SELECT body_digest FROM inbox WHERE source = ? AND delivery = ?")
            .bind(new.source)
            .bind(new.id)
            .fetch_one(c)
            .await?;
    Ok(Received::Again { same_body: first == body_digest })
}

impl FromRow<'_, SqliteRow> for Delivery {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            seq: row.try_get("seq")?,
            source: row.try_get("source")?,
            id: row.try_get("delivery")?,
            event: row.try_get("event")?,
            body: row.try_get::<Option<Vec<u8>>, _>("body")?.unwrap_or_default(),
            received: time(row, "received")?,
            tries: row.try_get("tries")?,
            error: row.try_get("error")?,
        })
    }
}
