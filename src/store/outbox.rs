//! The outbox: what the outside should read, row by row, until it does.
//!
//! A row has a key that is unique ("the check run of this service on this commit") and a payload: what it
//! should read. Wanting something else rewrites the row and raises its version; only the newest version is
//! ever sent. A sender claims rows, makes them so, and completes or fails them. Claims are forgotten when
//! the store is opened, so a sender that died holds nothing up.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use super::rows::{json, time};
use super::{Change, Store, StoreError, micros};

/// What something outside should read.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    /// What it is about; unique.
    pub key: String,
    /// Who sends it: rows of one channel are sent by one sender.
    pub channel: String,
    /// Which kind of thing it is.
    pub kind: String,
    /// What it should read.
    pub payload: Value,
    /// Not to be sent earlier.
    pub not_before: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// A row of the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxItem {
    /// What it is about.
    pub key: String,
    /// Who sends it.
    pub channel: String,
    /// Which kind of thing it is.
    pub kind: String,
    /// What it should read.
    pub payload: Value,
    /// Counts the rewritings of the payload, from 1.
    pub version: i64,
    /// The version that the outside reads; 0 before the first.
    pub sent_version: i64,
    /// The id that the outside gave to it.
    pub external_id: Option<String>,
    /// How often sending it has failed in a row.
    pub tries: u32,
    /// Not to be sent earlier.
    pub not_before: Timestamp,
    /// Why it failed last.
    pub error: Option<String>,
    /// When its payload was last rewritten.
    pub changed: Timestamp,
}

/// How the outbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutboxCounts {
    /// Rows whose newest version is not sent.
    pub unsent: u64,
    /// Those of them whose sending has failed at least once.
    pub failing: u64,
}

impl Store {
    /// Says what something outside should read. The same payload again changes nothing; another one raises
    /// the version, and keeps the later of both `not_before`, so that rewritings within a pause become one.
    /// Answers the version.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn want(&self, want: Want) -> Result<i64, StoreError> {
        let tell = self.tell();
        self.write_then(
            "writing to the outbox",
            move |c| {
                Box::pin(async move {
                    sqlx::query_scalar(
                        "INSERT INTO outbox (key, channel, kind, payload, version, not_before, changed)
                         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6)
                         ON CONFLICT (key) DO UPDATE SET
                             channel = excluded.channel,
                             kind = excluded.kind,
                             payload = excluded.payload,
                             version = version + (payload <> excluded.payload),
                             not_before = CASE WHEN payload = excluded.payload THEN not_before
                                          ELSE max(not_before, excluded.not_before) END,
                             changed = CASE WHEN payload = excluded.payload THEN changed
                                       ELSE excluded.changed END
                         RETURNING version",
                    )
                    .bind(want.key)
                    .bind(want.channel)
                    .bind(want.kind)
                    .bind(want.payload.to_string())
                    .bind(micros(want.not_before))
                    .bind(micros(want.now))
                    .fetch_one(c)
                    .await
                })
            },
            move |_: &i64| tell(Change::Outbox),
        )
        .await
    }

    /// Claims what is due in `channel` for `lease`, at most `limit` rows, the longest due first. Nobody else
    /// gets them until they are completed, failed, or the lease runs out.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn claim(
        &self,
        channel: &str,
        now: Timestamp,
        lease: Duration,
        limit: u32,
    ) -> Result<Vec<OutboxItem>, StoreError> {
        let channel = channel.to_owned();
        let until = micros(now).saturating_add(i64::try_from(lease.as_micros()).unwrap_or(i64::MAX));
        self.write_one("claiming from the outbox", move |c| {
            Box::pin(async move {
                let mut items: Vec<OutboxItem> = sqlx::query_as(
                    "UPDATE outbox SET claimed_until = ?1 WHERE key IN (
                         SELECT key FROM outbox WHERE version > sent_version AND channel = ?2
                             AND not_before <= ?3 AND claimed_until <= ?3
                         ORDER BY not_before, changed, key LIMIT ?4)
                     RETURNING *",
                )
                .bind(until)
                .bind(channel)
                .bind(micros(now))
                .bind(limit)
                .fetch_all(c)
                .await?;
                items.sort_by(|a, b| {
                    (a.not_before, a.changed, &a.key).cmp(&(b.not_before, b.changed, &b.key))
                });
                Ok(items)
            })
        })
        .await
    }

    /// Notes that the outside reads `version` of `key`. A version wanted meanwhile is sent at
    /// `not_before` or later.
    ///
    /// # Errors
    /// The store itself fails; the row will be sent again.
    pub async fn complete(
        &self,
        key: &str,
        version: i64,
        external_id: Option<&str>,
        not_before: Timestamp,
    ) -> Result<(), StoreError> {
        let (key, external_id) = (key.to_owned(), external_id.map(str::to_owned));
        self.write_one("completing in the outbox", move |c| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE outbox SET sent_version = max(sent_version, ?2),
                         external_id = coalesce(?3, external_id),
                         tries = 0, error = NULL, claimed_until = 0, not_before = max(not_before, ?4)
                     WHERE key = ?1",
                )
                .bind(key)
                .bind(version)
                .bind(external_id)
                .bind(micros(not_before))
                .execute(c)
                .await
                .map(|_| ())
            })
        })
        .await
    }

    /// Notes that sending failed; it is tried again at `not_before`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn fail(&self, key: &str, error: &str, not_before: Timestamp) -> Result<(), StoreError> {
        let (key, error) = (key.to_owned(), error.to_owned());
        self.write_one("noting a failure in the outbox", move |c| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE outbox SET tries = tries + 1, error = ?2, claimed_until = 0, not_before = ?3
                     WHERE key = ?1",
                )
                .bind(key)
                .bind(error)
                .bind(micros(not_before))
                .execute(c)
                .await
                .map(|_| ())
            })
        })
        .await
    }

    /// Gives up on `version` of `key`: it can never be sent (the commit is unknown, the repository gone). The
    /// error stays to be seen; wanting something else starts again.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn give_up(&self, key: &str, version: i64, error: &str) -> Result<(), StoreError> {
        let (key, error) = (key.to_owned(), error.to_owned());
        self.write_one("giving up in the outbox", move |c| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE outbox SET sent_version = max(sent_version, ?2), tries = 0, error = ?3,
                         claimed_until = 0
                     WHERE key = ?1",
                )
                .bind(key)
                .bind(version)
                .bind(error)
                .execute(c)
                .await
                .map(|_| ())
            })
        })
        .await
    }

    /// When the next unsent row of `channel` becomes due; it may lie in the past.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn next_due(&self, channel: &str) -> Result<Option<Timestamp>, StoreError> {
        let channel = channel.to_owned();
        let due: Option<i64> = self
            .read("asking the outbox what is due", |c| {
                Box::pin(async move {
                    sqlx::query_scalar(
                        "SELECT min(max(not_before, claimed_until)) FROM outbox
                         WHERE version > sent_version AND channel = ?",
                    )
                    .bind(channel)
                    .fetch_one(c)
                    .await
                })
            })
            .await?;
        Ok(due.and_then(|micros| Timestamp::from_microsecond(micros).ok()))
    }

    /// The row of `key`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn outbox_item(&self, key: &str) -> Result<Option<OutboxItem>, StoreError> {
        let key = key.to_owned();
        self.read("reading the outbox", |c| {
            Box::pin(async move {
                sqlx::query_as("SELECT * FROM outbox WHERE key = ?").bind(key).fetch_optional(c).await
            })
        })
        .await
    }

    /// The rows whose key begins with `prefix`, by key, at most `limit`.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn outbox_items(&self, prefix: &str, limit: u32) -> Result<Vec<OutboxItem>, StoreError> {
        let (from, to) = (prefix.to_owned(), format!("{prefix}\u{10ffff}"));
        self.read("listing the outbox", move |c| {
            Box::pin(async move {
                sqlx::query_as("SELECT * FROM outbox WHERE key >= ? AND key < ? ORDER BY key LIMIT ?")
                    .bind(from)
                    .bind(to)
                    .bind(limit)
                    .fetch_all(c)
                    .await
            })
        })
        .await
    }

    /// How many rows are unsent, and how many of them fail.
    ///
    /// # Errors
    /// The store itself fails.
    pub async fn count_outbox(&self) -> Result<OutboxCounts, StoreError> {
        let (unsent, failing): (i64, i64) = self
            .read("counting the outbox", |c| {
                Box::pin(async move {
                    sqlx::query_as(
                        "SELECT count(*), coalesce(sum(tries > 0), 0) FROM outbox WHERE version > sent_version",
                    )
                    .fetch_one(c)
                    .await
                })
            })
            .await?;
        Ok(OutboxCounts { unsent: unsent.unsigned_abs(), failing: failing.unsigned_abs() })
    }

    /// Forgets the claims of a process that is no more.
    pub(super) async fn release_claims(&self) -> Result<(), StoreError> {
        self.write_one("releasing claims in the outbox", |c| {
            Box::pin(async move {
                sqlx::query("UPDATE outbox SET claimed_until = 0 WHERE claimed_until <> 0")
                    .execute(c)
                    .await
                    .map(|_| ())
            })
        })
        .await
    }
}

impl FromRow<'_, SqliteRow> for OutboxItem {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            key: row.try_get("key")?,
            channel: row.try_get("channel")?,
            kind: row.try_get("kind")?,
            payload: json("payload", row.try_get("payload")?)?,
            version: row.try_get("version")?,
            sent_version: row.try_get("sent_version")?,
            external_id: row.try_get("external_id")?,
            tries: row.try_get("tries")?,
            not_before: time(row, "not_before")?,
            error: row.try_get("error")?,
            changed: time(row, "changed")?,
        })
    }
}
