//! A Kubernetes API in this process, with a one-machine runtime behind it.

pub mod cache;
pub mod controllers;
