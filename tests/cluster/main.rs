//! The cluster suite: the same tests against the embedded API and, where asked for, a real API server.
//!
//! `BRANCHLINE_TEST_REQUIRE=kubernetes` adds the server of `KUBECONFIG`. A difference is a bug of the embedded API.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]
#![expect(clippy::disallowed_methods, reason = "a test is told by the environment which server it may use")]

// `cargo test cluster` selects tests by their paths
#[path = "suite.rs"]
mod cluster;
