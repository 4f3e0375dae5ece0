//! The stories: one file each, one binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]

mod merge;
mod store;
