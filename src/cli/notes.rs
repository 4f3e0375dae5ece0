//! The loop that writes what the outbox wants as notes: where there is no forge, a commit's report is a note on it.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::github::{NOTES_CHANNEL, send_notes};
use crate::reconcile::Reconciler;
use crate::source::Person;
use crate::store::{Change, Store};

/// How long changes are gathered, so that the steps of a rollout are not a note each.
const GATHER: Duration = Duration::from_millis(250);
/// How long a store that fails is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes whatever becomes due, until `stop`.
pub(super) async fn run(reconciler: Reconciler, clock: Clock, stop: CancellationToken) {
    let by = Person { name: "Branchline".to_owned(), email: "branchline@localhost".to_owned() };
    let store = reconciler.store().clone();
    let mut changes = store.changes();
    loop {
        let wait = match send_notes(&store, |repo| reconciler.mirror(repo), &by, &clock).await {
            Ok(sent) if !sent.is_idle() => GATHER,
            Ok(_) => until_due(&store, &clock).await,
            Err(error) => {
                tracing::warn!(error = %error, "The notes that are due cannot be read; it is tried again.");
                PAUSE
            }
        };
        let woken = async {
            loop {
                match changes.recv().await {
                    Ok(Change::Outbox) | Err(RecvError::Lagged(_)) => return clock.sleep(GATHER).await,
                    Ok(_) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(wait) => {}
            () = woken => {}
        }
    }
}

async fn until_due(store: &Store, clock: &Clock) -> Duration {
    match store.next_due(NOTES_CHANNEL).await {
        Ok(Some(due)) => Duration::try_from(due.duration_since(clock.now())).unwrap_or_default().max(GATHER),
        Ok(None) => Duration::from_hours(1),
        Err(error) => {
            tracing::warn!(error = %error, "The outbox cannot be read; it is tried again.");
            PAUSE
        }
    }
}
