//! Pure: config × heads × open pull requests × releases → the environments that should exist.
