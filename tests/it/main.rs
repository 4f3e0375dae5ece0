//! The stories: one file each, one binary.

mod merge;
