//! How much is taken at once, and how long is waited.

use std::time::Duration;

/// GitHub sends no larger payload: <https://docs.github.com/en/webhooks/webhook-events-and-payloads#payload-cap>.
pub const WEBHOOK_BYTES: u64 = 25 * 1024 * 1024;
/// How long a webhook of `bytes` waits for the store: an ordinary one is told of a failure within two seconds,
/// the largest has time to be written, and GitHub hears of it well before its own ten seconds.
pub(super) fn webhook_store_time(bytes: usize) -> Duration {
    let mebibytes = u32::try_from(bytes / (1024 * 1024)).unwrap_or(u32::MAX);
    Duration::from_millis(1500) + Duration::from_millis(200).saturating_mul(mebibytes)
}

/// The limits that may be set. The defaults are those of the design.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; further ones wait in the system's queue.
    pub connections: usize,
    /// How long a request's head may take, and how long a connection may idle between two.
    pub head_time: Duration,
    /// How long an answer may take to begin.
    pub answer_time: Duration,
    /// How long what is under way may take when the server stops.
    pub drain_time: Duration,
    /// How long a body may take as a whole.
    pub body_time: Duration,
    /// How long may pass between two parts of a body.
    pub body_pause: Duration,
    /// Bytes of request bodies in memory at once.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_time: Duration::from_secs(10),
            answer_time: Duration::from_mins(1),
            drain_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            body_pause: Duration::from_secs(10),
            body_bytes: 128 * 1024 * 1024,
        }
    }
}
