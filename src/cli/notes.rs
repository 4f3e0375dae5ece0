//! The loop that writes what the outbox wants as notes: where there is no forge, a commit's report is a note on it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::github::{NOTES_CHANNEL, send_notes, unreadable, until_due, until_wanted};
use crate::reconcile::Reconciler;
use crate::source::Person;

/// How long changes are gathered, so that the steps of a rollout are not a note each.
const GATHER: Duration = Duration::from_millis(250);

/// Writes whatever becomes due, until `stop`.
pub(super) async fn run(reconciler: Reconciler, clock: Clock, stop: CancellationToken) {
    let by = Person::branchline();
    let store = reconciler.store().clone();
    let mut changes = store.changes();
    loop {
        let wait = match send_notes(&store, |repo| reconciler.mirror(repo), &by, &clock).await {
            Ok(sent) if !sent.is_idle() => GATHER,
            Ok(_) => until_due(&store, NOTES_CHANNEL, &clock).await.max(GATHER),
            Err(error) => unreadable(&error),
        };
        let woken = async {
            until_wanted(&mut changes).await;
            clock.sleep(GATHER).await;
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = clock.sleep(wait) => {}
            () = woken => {}
        }
    }
}
