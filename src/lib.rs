//! Branchline turns Git into running services.
//!
//! ```text
//! hint → source → config → desired → build → render → plan → apply → observe → report
//! ```
//!
//! The modules stand in a strict order: each may use only those above it in this list.
//! `tests/it/house.rs` holds that order. [`reconcile`] is the line above spelled out.

/// Many small objects are made and dropped on many threads, and the memory of a burst is to be given back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod hash;
pub mod name;
pub mod secret;
pub mod clock;
pub mod settings;
pub mod telemetry;
pub mod yaml;
pub mod store;
pub mod config;
pub mod source;
pub mod desired;
pub mod render;
pub mod merge;
pub mod plan;
pub mod build;
pub mod cluster;
pub mod embedded;
pub mod report;
pub mod github;
pub mod reconcile;
pub mod server;
pub mod cli;
