//! The `branchline` binary: one program that is server, dashboard, API and command line.

fn main() {}
