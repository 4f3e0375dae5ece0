//! The `branchline` binary: one program that is server, dashboard, API and command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    branchline::cli::main()
}
