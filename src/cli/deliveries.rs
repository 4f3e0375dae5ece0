//! The loop that works off the inbox: what deliveries name is remembered, and only then they count as done.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::github::inbox::HintReader;
use crate::reconcile::Reconciler;
use crate::store::StoreError;

/// How long a store that fails is left alone.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads deliveries until `stop`.
pub(super) async fn run(
    mut deliveries: HintReader,
    reconciler: Reconciler,
    clock: Clock,
    stop: CancellationToken,
) {
    loop {
        let Some(read) = stop.run_until_cancelled(next(&mut deliveries, &reconciler)).await else { return };
        if let Err(error) = read {
            tracing::warn!(error = %error, "The inbox could not be worked off; it is tried again.");
            if stop.run_until_cancelled(clock.sleep(PAUSE)).await.is_none() {
                return;
            }
        }
    }
}

async fn next(deliveries: &mut HintReader, reconciler: &Reconciler) -> Result<(), StoreError> {
    let hints = deliveries.next().await?;
    reconciler.see(&hints).await?;
    deliveries.finish(&hints).await
}
