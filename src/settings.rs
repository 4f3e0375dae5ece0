//! Flags and environment, read once. The only reader of the process environment.
