//! The real program, told with nothing of this machine's settings, and what it leaves behind.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take on a machine that does much else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// The program with nothing of this machine's settings.
pub(crate) fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_branchline"));
    command.env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME", "RUSTUP_TOOLCHAIN"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.env("XDG_CONFIG_HOME", data.with_extension("settings"));
    command
}

/// The command lines of processes that name the data folder or run in it.
pub(crate) fn left_over(data: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let inside = std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(data));
        if entry.file_name().to_string_lossy().parse::<u32>().is_ok()
            && !command.is_empty()
            && (inside || command.contains(data.to_str().unwrap()))
        {
            found.push(command);
        }
    }
    found
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
