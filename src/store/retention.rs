//! What is forgotten, so that the file stays flat.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;
use tokio_util::sync::CancellationToken;

use super::{Store, StoreError, micros};
use crate::clock::Clock;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// Pages given back to the system at once: 16 MiB, so that no write waits long behind it.
const PAGES_AT_ONCE: &str = "PRAGMA incremental_vacuum(4096)";

/// Everything older than these times is forgotten. Nothing that is still to be done is ever forgotten:
/// deployments under way, deliveries that wait, rows that are unsent.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Log lines of deployments that ended before.
    pub logs_before: Timestamp,
    /// Deployments that ended before, unless a service runs them.
    pub deployments_before: Timestamp,
    /// Events, verdicts and commits with their last word before.
    pub events_before: Timestamp,
    /// Handled deliveries before; a repetition after that would count as new.
    pub inbox_before: Timestamp,
    /// Sent rows of the outbox last rewritten before.
    pub outbox_before: Timestamp,
}

impl Retention {
    /// What is kept at a moment: logs for 30 days, deployments, events and verdicts for 90, deliveries and what was sent
    /// for a week (GitHub delivers again for three days).
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        let before = |days: u32| now - DAY * days;
        Self {
            logs_before: before(30),
            deployments_before: before(90),
            events_before: before(90),
            inbox_before: before(7),
            outbox_before: before(7),
        }
    }
}

/// How many rows were forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retained {
    /// Log lines.
    pub log_lines: u64,
    /// Deployments.
    pub deployments: u64,
    /// Events, verdicts and commits.
    pub events: u64,
    /// Deliveries.
    pub deliveries: u64,
    /// Rows of the outbox.
    pub outbox: u64,
}

impl Store {
    /// Forgets what is old, once an hour, until `stop`.
    pub async fn keep_flat(&self, clock: &Clock, stop: &CancellationToken) {
        loop {
            match self.forget(Retention::at(clock.now())).await {
                Ok(forgotten) if forgotten == Retained::default() => {}
                Ok(forgotten) => tracing::info!(?forgotten, "What is old was forgotten."),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "What is old could not be forgotten."
                    );
                }
            }
            if stop.run_until_cancelled(clock.sleep(HOUR)).await.is_none() {
                return;
            }
        }
    }

    /// Forgets what is older than `retention` says and gives the space back.
    ///
    /// # Errors
    /// The store itself fails; what was forgotten so far stays forgotten.
    pub async fn forget(&self, retention: Retention) -> Result<Retained, StoreError> {
        let forgotten = self.write("forgetting old rows", move |c| Box::pin(forget(c, retention))).await?;
        self.write("giving space back", |c| {
            Box::pin(async move { sqlx::query(PAGES_AT_ONCE).execute(c).await.map(|_| ()) })
        })
        .await?;
        Ok(forgotten)
    }
}

async fn forget(c: &mut SqliteConnection, retention: Retention) -> sqlx::Result<Retained> {
    let log_lines = delete(
        c,
        "DELETE FROM log_lines WHERE deployment IN (SELECT id FROM deployments WHERE ended < ?)",
        retention.logs_before,
    )
    .await?;
    let deployments = delete(
        c,
        "DELETE FROM deployments WHERE ended < ?
             AND id NOT IN (SELECT live_deployment FROM services WHERE live_deployment IS NOT NULL)",
        retention.deployments_before,
    )
    .await?;
    let events = delete(c, "DELETE FROM events WHERE time < ?", retention.events_before).await?
        + delete(c, "DELETE FROM verdicts WHERE time < ?", retention.events_before).await?
        + delete(c, "DELETE FROM commits WHERE concluded < ?", retention.events_before).await?;
    let deliveries =
        delete(c, "DELETE FROM inbox WHERE received < ? AND state = 'done'", retention.inbox_before).await?;
    let outbox = delete(
        c,
        "DELETE FROM outbox WHERE changed < ? AND version <= sent_version",
        retention.outbox_before,
    )
    .await?;
    Ok(Retained { log_lines, deployments, events, deliveries, outbox })
}

async fn delete(c: &mut SqliteConnection, query: &'static str, before: Timestamp) -> sqlx::Result<u64> {
    Ok(sqlx::query(query).bind(micros(before)).execute(c).await?.rows_affected())
}
