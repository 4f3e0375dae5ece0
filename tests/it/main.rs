//! The stories: one file each, one binary.
