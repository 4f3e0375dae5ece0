//! The stories of the suite. They stand below `cluster`, so that `cargo test cluster` selects them.

mod answers;
mod apply;
mod deletion;
mod harness;
mod objects;
mod room;
mod schema;
mod twin;
mod watching;
