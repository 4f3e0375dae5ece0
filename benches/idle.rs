//! A server with nothing to do: the memory that it holds, and the processor time that it takes.
//!
//! Goal: 60 MB resident. `demo` runs the sample (four services in two environments, the embedded cluster with its node,
//! the dashboard) until it has settled; then it is left alone. Its services are processes of their own and not counted.
#![expect(clippy::disallowed_methods, reason = "a bench waits for the clock on the wall")]
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use crate::common::{cpu_of, resident};

/// How long the server is left alone before, and while, it is looked at.
const QUIET: Duration = Duration::from_secs(10);

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut server = Command::new(env!("CARGO_BIN_EXE_branchline"))
        .args(["demo", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path().join("demo"))
        .env("HOME", folder.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let measured = measure(&mut server);
    // it ends its services itself
    Command::new("kill").args(["-TERM", &server.id().to_string()]).status()?;
    server.wait()?;
    measured
}

fn measure(server: &mut Child) -> anyhow::Result<()> {
    let lines = BufReader::new(server.stdout.take().context("it is piped")?).lines();
    lines.map_while(Result::ok).find(|line| line.starts_with("Settled in")).context("it did not settle")?;
    std::thread::sleep(QUIET);
    let process = server.id().to_string();
    let before = cpu_of(&process)?;
    std::thread::sleep(QUIET);
    let cpu = cpu_of(&process)?.saturating_sub(before);
    println!("idle server, the sample settled on the embedded cluster with its node:");
    println!("  {} MB resident (goal: 60)", resident(&process)?);
    println!("  {:.2} % of one core", cpu.as_secs_f64() / QUIET.as_secs_f64() * 100.0);
    Ok(())
}
