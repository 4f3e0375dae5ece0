//! GitHub as Branchline sees it: what we read there, and the sender that makes it read what we want.
//!
//! The only user of octocrab, which brings authentication and transport; requests, answers and the reading of rate
//! limits are ours, so that a field that GitHub adds or a value that it invents breaks nothing. What is *said* is
//! worded by [`crate::report`]; this room carries it there.
//!
//! * [`Client`]: as an App or with a token, against any base address (GitHub Enterprise, a test's world).
//! * [`want_check`], [`want_comment`], [`want_note`]: rows of the outbox, what GitHub should read.
//! * [`inbox`], [`payload`], [`signature`]: webhooks, from the raw bytes to a hint.
//! * [`send_due`] and [`run`]: the sender that makes it so, across restarts, refusals and rate limits.
//!
//! Documentation: <https://docs.github.com/en/rest>.

mod app;
mod checks;
mod client;
mod comments;
mod deliveries;
mod error;
pub mod inbox;
mod limits;
mod note;
mod outbox;
pub mod payload;
mod pulls;
mod repository;
mod sender;
pub mod signature;
mod statuses;

pub use self::client::Client;
pub use self::deliveries::FailedDelivery;
pub use self::error::{GitHubError, Retry};
pub use self::note::send_notes;
pub use self::outbox::{
    CHANNEL, NOTES_CHANNEL, concluded_check, is_concluded, unreadable, until_due, until_wanted, want_check,
    want_comment, want_note,
};
pub use self::pulls::{Branch, Pull, PullStanding};
pub use self::repository::{Permission, Repository};
pub use self::sender::{Sent, run, send_due};
