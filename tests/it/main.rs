//! The stories: one file each, one binary.

mod config;
mod git;
mod http_backend;
mod merge;
mod render;
mod source;
mod source_http;
mod store;
