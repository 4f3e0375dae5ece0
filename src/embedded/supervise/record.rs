//! What is known of a running process after Branchline has died, and ending what was left over.
//!
//! A supervisor ends its group by itself. Only when it was killed too is something left over; then the record
//! names the process by its number and the time it started, since the number alone may belong to another by now.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

/// How long leftovers may take to disappear once killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// One process, told apart from any later one of the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pid: i32,
    /// When it started, in the words of the system.
    started: Option<String>,
}

impl Record {
    /// Describes a process that runs now.
    pub(crate) fn of(pid: Pid) -> Self {
        let pid = pid.as_raw_nonzero().get();
        Self { pid, started: started(pid) }
    }

    /// Keeps the record where the next start of Branchline finds it.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_vec(self)?)
    }

    /// Whether that very process still runs.
    pub(crate) fn is_alive(&self) -> bool {
        let now = started(self.pid);
        now.is_some() && now == self.started
    }

    /// Kills the group of the process, if it is still that process.
    pub(crate) fn end(&self) -> bool {
        let alive = self.is_alive();
        if let Some(pid) = Pid::from_raw(self.pid).filter(|_| alive) {
            // it may end between the look and the signal
            let _ = kill_process_group(pid, Signal::KILL);
        }
        alive
    }
}

/// Ends every process whose record lies in `folder`, and says how many there were.
///
/// # Errors
/// When the folder cannot be read. Records that cannot be read are removed.
pub(crate) fn end_leftovers(folder: &Path) -> io::Result<usize> {
    let mut ended = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let record: Option<Record> =
            fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        ended.extend(record.filter(Record::end));
        match fs::remove_file(&path) {
            // the supervisor, ending too, was faster
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    let start = Instant::now();
    while ended.iter().any(Record::is_alive) && start.elapsed() < PATIENCE {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(ended.len())
}

/// When a process started; none when it does not run (one that only waits to be buried does not).
#[cfg(target_os = "linux")]
fn started(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the second field is the name, in parentheses, and may hold anything
    let rest = &stat[stat.rfind(')')? + 1..];
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    // proc(5): field 22, in clock ticks since boot
    fields.nth(18).map(ToOwned::to_owned)
}

#[cfg(not(target_os = "linux"))]
fn started(pid: i32) -> Option<String> {
    let answer = std::process::Command::new("ps")
        .args(["-o", "stat=,lstart=", "-p", &pid.to_string()])
        .output()
        .ok()?;
    let line = String::from_utf8(answer.stdout).ok()?;
    let (state, started) = line.trim().split_once(' ')?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}
