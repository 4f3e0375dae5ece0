//! The cluster suite: the same tests against the embedded API and, where asked for, a real API server.

mod schema;
mod server;
mod twin;
