//! The stories: one file each, one binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, and says where")]
#![expect(
    clippy::disallowed_methods,
    reason = "a test ends its tasks with itself, and is told by the environment"
)]

mod bad_input;
mod build;
mod chaos;
mod cli;
mod cluster_node;
mod config;
mod dashboard;
mod demo;
mod desired;
mod embedded_api;
mod embedded_cluster;
mod embedded_node;
mod embedded_process;
mod embedded_proxy;
mod git;
mod github;
mod house;
mod http_backend;
mod merge;
mod program;
mod registry;
mod render;
mod report;
mod server;
mod source;
mod source_http;
mod store;
mod world;
