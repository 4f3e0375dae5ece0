//! Branchline turns Git into running services.
//!
//! ```text
//! hint → source → config → desired → build → render → plan → apply → observe → report
//! ```
//!
//! The modules stand in a strict order: each may use only those above it in this list.
//! `tests/it/house.rs` holds that order. [`reconcile`] is the line above spelled out.

pub mod build;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod desired;
pub mod embedded;
pub mod github;
pub mod hash;
pub mod merge;
pub mod name;
pub mod plan;
pub mod reconcile;
pub mod render;
pub mod report;
pub mod secret;
pub mod server;
pub mod settings;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod yaml;
