//! Running one shell command within limits: its own process group, its own environment, ended as a whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{FusedFuture, FutureExt};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::log::{Log, Stream, read};
use super::{BuildError, Limits};
use crate::secret::Redactor;

/// How long the rest of the output, and a supervisor, are waited for.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often the size of the folder is looked at, at most.
const LOOK: Duration = Duration::from_secs(2);

/// What is run, and where.
pub(super) struct Task<'t> {
    pub(super) command: &'t str,
    /// The folder that it may fill.
    pub(super) folder: &'t Path,
    /// Where its HOME and TMPDIR lie: what it puts there counts too.
    pub(super) scratch: &'t Path,
    /// Where below it the command is run.
    pub(super) within: &'t str,
    /// All of its environment.
    pub(super) variables: BTreeMap<OsString, OsString>,
    /// The program that stands between us and the command, and the record that it keeps.
    pub(super) supervisor: Option<(&'t Path, PathBuf)>,
    pub(super) limits: &'t Limits,
    pub(super) redactor: &'t Redactor,
    pub(super) cancel: &'t CancellationToken,
}

/// Why the command was stopped before its end.
#[derive(Clone, Copy)]
enum Stop {
    Cancelled,
    Time,
    Output,
    Files,
}

impl Task<'_> {
    /// Runs the command to its end, or to the first limit. When this returns, or is dropped, its group is ended.
    pub(super) async fn run(&self, log: Log) -> Result<(), BuildError> {
        let mut group = self.start()?;
        let log = Mutex::new(log);
        let written = AtomicU64::new(0);
        let flood = CancellationToken::new();
        let count = |bytes: u64| {
            let within = written.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.limits.output_bytes;
            if !within {
                flood.cancel();
            }
            within
        };
        let (output, errors) = (group.child.stdout.take(), group.child.stderr.take());
        let (output, errors) = (output.expect("it was piped"), errors.expect("it was piped"));
        let reading = async {
            let output = read(output, Stream::Output, self.redactor, &log, count);
            let errors = read(errors, Stream::Error, self.redactor, &log, count);
            tokio::join!(output, errors);
        };
        let mut reading = pin!(reading.fuse());
        let deadline = Instant::now() + self.limits.time;
        let mut outgrown = pin!(self.outgrown());
        let ended = loop {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => break Err(Stop::Cancelled),
                () = flood.cancelled() => break Err(Stop::Output),
                () = sleep_until(deadline) => break Err(Stop::Time),
                () = &mut outgrown => break Err(Stop::Files),
                status = group.child.wait() => break Ok(status),
                // the pipes are read all along; a command may close them and go on
                () = &mut reading => {}
            }
        };
        // what it left running holds the pipes open
        group.end().await;
        if !reading.is_terminated() {
            // a reader of the log that is slower than this misses the last lines
            let _ = timeout(FAREWELL, &mut reading).await;
        }
        let tail = log.lock().await.tail();
        self.outcome(ended, tail)
    }

    fn start(&self) -> Result<Group, BuildError> {
        let shell = ["sh", "-c", self.command];
        let mut command = if let Some((program, record)) = &self.supervisor {
            let mut command = Command::new(program);
            command.arg("supervise").arg("--record").arg(record).arg("--").args(shell).stdin(Stdio::piped());
            command
        } else {
            let mut command = Command::new(shell[0]);
            command.args(&shell[1..]).stdin(Stdio::null());
            command
        };
        command.current_dir(self.folder.join(self.within)).env_clear().envs(&self.variables);
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| BuildError::Start {
            program: self
                .supervisor
                .as_ref()
                .map_or_else(|| "sh".to_owned(), |(path, _)| path.display().to_string()),
            source: Arc::new(error),
        })?;
        let pid =
            child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("a child that was just started");
        Ok(Group { orders: child.stdin.take(), child, pid, ended: false })
    }

    /// Ends when the folder holds more than it may. Looking costs at most a twentieth of the time.
    async fn outgrown(&self) {
        let mut pause = LOOK;
        loop {
            sleep(pause).await;
            let (folders, limit) =
                (vec![self.folder.to_owned(), self.scratch.to_owned()], self.limits.folder_bytes);
            let began = Instant::now();
            let size = tokio::task::spawn_blocking(move || size(folders, limit)).await;
            if size.is_ok_and(|size| size > limit) {
                return;
            }
            pause = LOOK.max(began.elapsed() * 20);
        }
    }

    fn outcome(
        &self,
        ended: Result<io::Result<ExitStatus>, Stop>,
        tail: Vec<String>,
    ) -> Result<(), BuildError> {
        let limits = self.limits;
        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(BuildError::Failed { status: words(status), hint: hint(&tail), tail }),
            Ok(Err(error)) => Err(BuildError::Start { program: "sh".to_owned(), source: Arc::new(error) }),
            Err(Stop::Cancelled) => Err(BuildError::Cancelled),
            Err(Stop::Time) => Err(BuildError::TimedOut { limit: limits.time, tail }),
            Err(Stop::Output) => Err(BuildError::TooMuchOutput { limit: limits.output_bytes, tail }),
            Err(Stop::Files) => Err(BuildError::TooManyFiles { limit: limits.folder_bytes, tail }),
        }
    }
}

/// A running command and everything that it started.
struct Group {
    child: Child,
    /// The string that a supervisor hangs on: one byte is an order, its end is the end of the group.
    orders: Option<ChildStdin>,
    pid: Pid,
    ended: bool,
}

impl Group {
    /// Kills what is left of the group and waits until its first process is gone.
    async fn end(&mut self) {
        match self.orders.as_mut() {
            Some(orders) => {
                // a supervisor that has ended already takes no orders
                let _ = orders.write_all(b"k").await;
                if timeout(FAREWELL, self.child.wait()).await.is_err() {
                    self.kill();
                }
            }
            None => self.kill(),
        }
        self.ended = true;
        let _ = timeout(FAREWELL, self.child.wait()).await;
    }

    fn kill(&self) {
        // a group that is gone already needs no signal
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // a supervisor ends its group when the string is let go
        if !self.ended && self.orders.is_none() {
            self.kill();
        }
    }
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// What to do about causes that are known by their words.
fn hint(tail: &[String]) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 5] = [
        ("No space left on device", "the disk is full"),
        ("command not found", "install the tool on this machine, and see that it is on PATH"),
        (": not found", "install the tool on this machine, and see that it is on PATH"),
        ("Could not resolve host", "the build needs the network and did not get it"),
        ("Permission denied", "the build may write into its own folder only; is the script executable?"),
    ];
    let last = tail.iter().rev();
    let mut hints = last.filter_map(|line| KNOWN.iter().find(|(words, _)| line.contains(words)));
    hints.next().map(|(_, hint)| *hint)
}

/// The size of the files of folders, as far as it is at most a little over `limit`.
fn size(mut folders: Vec<PathBuf>, limit: u64) -> u64 {
    let mut size = 0;
    while let Some(folder) = folders.pop() {
        // files come and go while the command runs
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => size += entry.metadata().map_or(0, |file| file.len()),
                _ => {}
            }
            if size > limit {
                return size;
            }
        }
    }
    size
}
