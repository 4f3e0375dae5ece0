//! Strict Handlebars templates → parsed, checked manifests.
//!
//! Owns the templates, the text they make and what may stand in it. Pure: no clock, network, file or environment;
//! the same values and templates give the same bytes. Does not know the config repository, Git or a cluster.

pub mod manifest;

pub use manifest::{Manifest, ObjectKey};
