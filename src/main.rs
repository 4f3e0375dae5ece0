//! The `branchline` binary: one program that is server, dashboard, API and command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // verbs that Branchline calls itself, before anything is set up that they do not need
    match arguments.next() {
        Some(verb) if verb == "supervise" => branchline::embedded::supervise::main(arguments),
        _ => ExitCode::SUCCESS,
    }
}
