//! `branchline supervise`: one process of a pod, kept on a string.
//!
//! Between Branchline and each process that it runs stands a supervisor. It starts the program in a process group
//! of its own and holds the reading end of a pipe whose writing end only Branchline holds. When Branchline dies,
//! however it dies, the pipe closes and the supervisor ends the whole group. When the program ends, whatever it
//! left running ends with it, as with the first process of a container. The supervisor ends as the program did.
//!
//! It knows nothing of pods: a program, its arguments, a record to keep, and one byte per order on the pipe.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use self::record::Record;

mod descendants;
pub(crate) mod record;

/// The order to ask the group to end (SIGTERM).
pub(crate) const TERMINATE: u8 = b't';
/// The order to end the group at once (SIGKILL).
pub(crate) const KILL: u8 = b'k';

/// How long the group has to end by itself once Branchline is gone.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a shell answers for a program that is not there.
const NOT_FOUND: u8 = 127;
/// What a shell answers for a program that may not be run.
const NOT_RUNNABLE: u8 = 126;

/// Why a supervisor cannot do its work.
#[derive(Debug, thiserror::Error)]
enum SuperviseError {
    #[error("it is called as `supervise --record FILE -- PROGRAM ARGUMENT...`, by Branchline itself")]
    Usage,
    #[error("standard input is not the pipe that Branchline holds")]
    Pipe {
        #[source]
        source: std::io::Error,
    },
    #[error("signals cannot be listened to")]
    Signals {
        #[source]
        source: std::io::Error,
    },
    #[error("cannot start {program:?}")]
    Start {
        program: OsString,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot keep the record {path}")]
    Record {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the program cannot be waited for")]
    Wait {
        #[source]
        source: std::io::Error,
    },
}

/// Runs the verb `supervise`; `arguments` are those after the verb.
///
/// The exit code is the program's own, or 128 and the number of the signal that ended it, as in a shell.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(supervise(arguments.into_iter())),
        Err(source) => Err(SuperviseError::Signals { source }),
    };
    match outcome {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            let missing = |source: &std::io::Error| source.kind() == std::io::ErrorKind::NotFound;
            complain(&error);
            match error {
                SuperviseError::Start { source, .. } if !missing(&source) => ExitCode::from(NOT_RUNNABLE),
                _ => ExitCode::from(NOT_FOUND),
            }
        }
    }
}

/// Writes the error where the program's own words go: into the log of its pod.
fn complain(error: &SuperviseError) {
    use std::io::Write;
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    // nobody is left to tell when this fails
    let _ = writeln!(std::io::stderr(), "branchline: {error}{cause}");
}

async fn supervise(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitStatus, SuperviseError> {
    let (flag, path, end) = (arguments.next(), arguments.next(), arguments.next());
    let (Some(path), Some(program)) = (path.map(PathBuf::from), arguments.next()) else {
        return Err(SuperviseError::Usage);
    };
    if flag.is_none_or(|flag| flag != "--record") || end.is_none_or(|end| end != "--") {
        return Err(SuperviseError::Usage);
    }
    let mut orders = orders().map_err(|source| SuperviseError::Pipe { source })?;
    descendants::adopt();
    let started = Command::new(&program).args(arguments).process_group(0).stdin(Stdio::null()).spawn();
    let mut child = started.map_err(|source| SuperviseError::Start { program, source })?;
    let group =
        child.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("a child that was just started");
    let record = Record::of(group);
    let kept = record.write(&path);
    let outcome = match kept {
        Ok(()) => watch(&mut child, group, &mut orders).await,
        Err(source) => Err(SuperviseError::Record { path: path.clone(), source }),
    };
    // whatever the program left behind ends with it
    let _ = kill_process_group(group, Signal::KILL);
    descendants::end();
    // a record that stays is looked at and removed at the next start
    let _ = std::fs::remove_file(&path);
    outcome
}

/// The pipe that Branchline holds the other end of.
fn orders() -> std::io::Result<pipe::Receiver> {
    pipe::Receiver::from_file(File::from(std::io::stdin().as_fd().try_clone_to_owned()?))
}

/// Waits for the program to end, passing on what it is told.
async fn watch(
    child: &mut Child,
    group: Pid,
    orders: &mut pipe::Receiver,
) -> Result<ExitStatus, SuperviseError> {
    let listen = |kind| signal(kind).map_err(|source| SuperviseError::Signals { source });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut hangup = listen(SignalKind::hangup())?;
    let wait = |source| SuperviseError::Wait { source };
    let tell = |signal| {
        // a group that is gone already needs no signal
        let _ = kill_process_group(group, signal);
    };
    loop {
        let mut order = [0_u8];
        tokio::select! {
            ended = child.wait() => return ended.map_err(wait),
            read = orders.read(&mut order) => match read {
                Ok(1) if order[0] == TERMINATE => tell(Signal::TERM),
                Ok(1) if order[0] == KILL => tell(Signal::KILL),
                Ok(1) => {}
                Ok(_) | Err(_) => {
                    tell(Signal::TERM);
                    if let Ok(ended) = tokio::time::timeout(FAREWELL, child.wait()).await {
                        return ended.map_err(wait);
                    }
                    tell(Signal::KILL);
                    return child.wait().await.map_err(wait);
                }
            },
            _ = terminate.recv() => tell(Signal::TERM),
            _ = interrupt.recv() => tell(Signal::TERM),
            _ = hangup.recv() => tell(Signal::TERM),
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(u8::MAX)
}
