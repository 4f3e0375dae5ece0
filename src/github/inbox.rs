//! From a stored delivery to a hint that somebody acts on, at least once.
//!
//! The webhook stores a delivery and wakes the reader; the reader reads the rows, in their order, and hands
//! out hints. So what came in before a restart is handed out after it, by the same code, and a burst waits in
//! the store, not in memory. A row is done when whoever acts says so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::payload::{self, Notice};
use crate::clock::Clock;
use crate::store::{Delivery, NewDelivery, Received, Store, StoreError, Tried};

/// The name of GitHub among the senders of the inbox.
const SOURCE: &str = "github";
/// Rows that are read at once.
const BATCH: u32 = 200;
/// How often acting on a delivery may fail before it is set aside.
const ALLOWED_TRIES: u32 = 5;
/// How long a delivery that failed waits for its next attempt.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// A stored delivery that says where to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    /// Its row in the inbox.
    pub row: i64,
    /// GitHub's id of the delivery.
    pub delivery: String,
    /// When it came in: "commit to applied" is counted from here.
    pub received: Timestamp,
    /// What it says.
    pub notice: Notice,
}

/// The way in for the webhook. Clones share the reader that they wake.
#[derive(Clone)]
pub struct Inbox {
    store: Store,
    clock: Clock,
    woken: Arc<Notify>,
}

/// The way out for whoever acts on hints; there is one.
pub struct HintReader {
    store: Store,
    clock: Clock,
    woken: Arc<Notify>,
    after: i64,
    unfinished: BTreeSet<i64>,
    retry_at: Option<Timestamp>,
}

impl Inbox {
    /// Makes both ends. The reader begins with what is left from before.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> (Self, HintReader) {
        let woken = Arc::new(Notify::new());
        let reader = HintReader {
            store: store.clone(),
            clock: clock.clone(),
            woken: woken.clone(),
            after: 0,
            unfinished: BTreeSet::new(),
            retry_at: None,
        };
        (Self { store, clock, woken }, reader)
    }

    /// Stores a delivery whose signature is right; when this answers, it is on the disk.
    ///
    /// # Errors
    /// The store fails: GitHub must be told, so that the failure shows and can be sent again.
    pub async fn take(&self, id: &str, event: &str, body: Vec<u8>) -> Result<Received, StoreError> {
        let delivery = NewDelivery {
            source: SOURCE.to_owned(),
            id: id.to_owned(),
            event: event.to_owned(),
            body,
            received: self.clock.now(),
        };
        let received = self.store.receive(delivery).await?;
        // Also after a repetition: the first may have been stored after its sender gave up waiting.
        self.woken.notify_one();
        Ok(received)
    }
}

impl HintReader {
    /// The next hints, at least one, in the order of arrival. Those of the last batch that were neither
    /// finished nor failed are handed out again.
    ///
    /// # Errors
    /// The store fails; asking again is right.
    pub async fn next(&mut self) -> Result<Vec<Hint>, StoreError> {
        if let Some(first) = self.unfinished.first() {
            self.after = self.after.min(first - 1);
            self.unfinished.clear();
        }
        loop {
            if self.retry_at.is_some_and(|due| due <= self.clock.now()) {
                self.retry_at = None;
                self.after = 0;
            }
            let rows = self.store.waiting_deliveries(self.after, BATCH).await?;
            if rows.is_empty() {
                self.wait().await;
                continue;
            }
            self.after = rows.last().map_or(self.after, |row| row.seq);
            let mut hints = Vec::new();
            for row in rows {
                hints.extend(self.hint(row).await?);
            }
            if !hints.is_empty() {
                self.unfinished = hints.iter().map(|hint| hint.row).collect();
                return Ok(hints);
            }
        }
    }

    /// Notes that these hints were acted on.
    ///
    /// # Errors
    /// The store fails; the hints will be handed out again.
    pub async fn finish(&mut self, hints: &[Hint]) -> Result<(), StoreError> {
        let rows: Vec<i64> = hints.iter().map(|hint| hint.row).collect();
        self.store.finish_deliveries(&rows).await?;
        for row in &rows {
            self.unfinished.remove(row);
        }
        Ok(())
    }

    /// Notes that acting on a hint failed. It is handed out again later, and after some failures set aside.
    ///
    /// # Errors
    /// The store fails; the hint will be handed out again.
    pub async fn fail(&mut self, hint: &Hint, error: &str) -> Result<Tried, StoreError> {
        let tried = self.store.fail_delivery(hint.row, error, ALLOWED_TRIES).await?;
        self.unfinished.remove(&hint.row);
        match tried {
            Tried::Waiting => {
                let due = self.clock.now() + RETRY_AFTER;
                self.retry_at.get_or_insert(due);
            }
            Tried::Quarantined => {
                tracing::error!(delivery.id = %hint.delivery, error, "A delivery failed too often and is set aside.");
            }
        }
        Ok(tried)
    }

    /// Waits for a new delivery, or until those that failed are due again.
    async fn wait(&self) {
        let failed_are_due = async {
            match self.retry_at {
                Some(due) => {
                    let left = due.duration_since(self.clock.now());
                    self.clock.sleep(left.try_into().unwrap_or(Duration::ZERO)).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.woken.notified() => {}
            () = failed_are_due => {}
        }
    }

    /// What a row hints at. One that cannot be read is set aside at once: it was readable when it came in, so
    /// another version of this program stored it.
    async fn hint(&self, row: Delivery) -> Result<Option<Hint>, StoreError> {
        match payload::read(&row.event, &row.body) {
            Ok(Some(notice)) => {
                Ok(Some(Hint { row: row.seq, delivery: row.id, received: row.received, notice }))
            }
            Ok(None) => {
                self.store.finish_deliveries(&[row.seq]).await?;
                Ok(None)
            }
            Err(error) => {
                tracing::error!(delivery.id = %row.id, %error, "A stored delivery cannot be read and is set aside.");
                self.store.fail_delivery(row.seq, &error.to_string(), 1).await?;
                Ok(None)
            }
        }
    }
}
