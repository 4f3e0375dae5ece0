//! Reading what is refused.
//!
//! A connection that is closed while its peer still sends is reset, and the peer never sees why it was
//! refused. So the rest of a refused body is read and thrown away, within bounds.

use std::time::Duration;

use bytes::Buf;
use futures::{Stream, StreamExt};

/// Beyond these bytes whoever sends on is cut off.
pub(super) const BYTES: usize = 64 * 1024 * 1024;
/// Beyond this time too.
const TIME: Duration = Duration::from_secs(5);

/// Reads and drops what is left of a body.
pub(super) async fn drain<B: Buf, E>(body: impl Stream<Item = Result<B, E>>) {
    let read = async {
        let mut body = std::pin::pin!(body);
        let mut bytes = 0;
        while let Some(Ok(chunk)) = body.next().await {
            bytes += chunk.remaining();
            if bytes > BYTES {
                break;
            }
        }
    };
    // Whoever is too slow is cut off without an answer.
    let _ = tokio::time::timeout(TIME, read).await;
}
