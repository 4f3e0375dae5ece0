//! The runtime of one machine: containers are processes, images are folders.
//!
//! A container runs in its folder, from an environment that holds nothing of ours but what the caller hands in,
//! under a supervisor that ends it when we die. Processes share the network of the machine: each container is
//! given a `PORT` of its own. What a kernel would enforce (security context, limits, mounts) is not enforced.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Either};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use self::ports::Ports;
use super::node::logs::Log;
use super::node::runtime::{Container, ImageError, Launch, Place, PodPlan, Runtime, Signal, StartError};
use super::supervise::record::{Record, end_leftovers};
use super::supervise::{KILL, TERMINATE};
use crate::clock::Clock;

mod folder;
mod ports;

/// How long the output of a process may stay open after its end; only an escaped descendant holds it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Finds the folder of an artifact by its key; `None` where it is not there.
pub type Folders = Arc<dyn Fn(&str) -> Option<PathBuf> + Send + Sync>;

/// What the process runtime is given.
#[derive(Clone)]
pub struct ProcessOptions {
    /// Finds the folder of an artifact by its key.
    pub folders: Folders,
    /// Where the runtime keeps its records and the temporary folders of pods. It is its alone.
    pub data: PathBuf,
    /// The `branchline` program: it supervises, and serves static sites.
    pub program: PathBuf,
    /// The environment that every process starts from: `PATH`, `LANG`, where toolchains lie.
    pub env: BTreeMap<String, String>,
    /// The clock of log lines.
    pub clock: Clock,
}

/// Runs containers as processes of this machine.
pub struct ProcessRuntime {
    options: ProcessOptions,
    ports: Ports,
    tasks: TaskTracker,
}

impl ProcessRuntime {
    /// Sets up the runtime, and ends what an earlier one left running.
    ///
    /// # Errors
    /// When its folders cannot be made or read.
    pub fn new(options: ProcessOptions, tasks: TaskTracker) -> io::Result<Self> {
        let records = options.data.join("run");
        std::fs::create_dir_all(&records)?;
        let ended = end_leftovers(&records)?;
        if ended > 0 {
            tracing::warn!(count = ended, "Processes that an earlier run had left over were ended.");
        }
        let scratch = options.data.join("scratch");
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)?;
        }
        Ok(Self { options, ports: Ports::new(), tasks })
    }

    fn scratch(&self, pod: &str) -> PathBuf {
        self.options.data.join("scratch").join(pod)
    }

    /// The environment that a container of that pod starts from, before its own.
    fn base(&self, pod: &str) -> BTreeMap<String, String> {
        let mut env = self.options.env.clone();
        let scratch = self.scratch(pod);
        for (name, folder) in [("HOME", "home"), ("TMPDIR", "tmp")] {
            env.insert(name.to_owned(), scratch.join(folder).to_string_lossy().into_owned());
        }
        env
    }

    fn launch(&self, launch: Launch) -> Result<Box<dyn Container>, StartError> {
        let folder =
            folder::find(&self.options.folders, &launch.image).map_err(|error| StartError::System {
                what: format!("finding the folder of image {:?}", launch.image),
                source: io::Error::new(io::ErrorKind::NotFound, error),
            })?;
        let folder = folder::inside(&folder, launch.working_dir.as_deref())?;
        let mut env = self.base(&launch.pod);
        env.extend(launch.env);
        let start = Start {
            program: self.options.program.clone(),
            records: self.options.data.join("run"),
            folder,
            env,
        };
        let (id, mut child) = start.spawn(&launch.command, true)?;
        let (orders, received) = mpsc::channel(8);
        let (ended, end) = watch::channel(None);
        let outputs = (child.stdout.take(), child.stderr.take());
        let pipe = child.stdin.take();
        let (log, clock, record) = (launch.log, self.options.clock.clone(), start.record(&id));
        self.tasks.spawn(async move {
            let (out, err) = outputs;
            let now = || clock.now();
            let drained = futures::future::join(drain(&log, out, now), drain(&log, err, now));
            let (drained, waited) =
                (std::pin::pin!(drained), std::pin::pin!(wait(child, pipe, received, record)));
            let code = match futures::future::select(waited, drained).await {
                Either::Left((code, drained)) => {
                    // the pipes of a process that has ended close with it
                    let _ = tokio::time::timeout(LAST_WORDS, drained).await;
                    code
                }
                Either::Right((_, waited)) => waited.await,
            };
            log.close();
            ended.send_replace(Some(code));
        });
        Ok(Box::new(Process { id, start, orders, end }))
    }
}

async fn drain<R: tokio::io::AsyncRead + Unpin>(
    log: &Log,
    output: Option<R>,
    now: impl Fn() -> jiff::Timestamp,
) {
    if let Some(output) = output {
        log.drain(output, now).await;
    }
}

/// Waits for a supervisor to end, passing orders on, and gives the exit code of its program.
async fn wait(
    mut child: Child,
    mut pipe: Option<ChildStdin>,
    mut orders: mpsc::Receiver<Signal>,
    record: PathBuf,
) -> i32 {
    loop {
        tokio::select! {
            ended = child.wait() => return match ended {
                Ok(status) => code(status, &record),
                Err(error) => {
                    tracing::error!(error = %error, "A supervisor could not be waited for.");
                    1
                }
            },
            Some(signal) = orders.recv() => {
                let order = match signal {
                    Signal::Terminate => TERMINATE,
                    Signal::Kill => KILL,
                };
                if let Some(pipe) = &mut pipe {
                    // a supervisor that no longer reads has ended or is about to
                    let _ = pipe.write_all(&[order]).await;
                }
            }
        }
    }
}

fn code(status: ExitStatus, record: &Path) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    if let Some(code) = status.code() {
        return code;
    }
    // somebody killed the supervisor: what it held goes too
    let left = std::fs::read(record).ok().and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
    if let Some(left) = left {
        left.end();
        // a record that stays is looked at again at the next start
        let _ = std::fs::remove_file(record);
    }
    128 + status.signal().unwrap_or(0)
}

/// How the processes of one container are started; what it holds may be secret.
#[derive(Clone)]
struct Start {
    program: PathBuf,
    records: PathBuf,
    folder: PathBuf,
    env: BTreeMap<String, String>,
}

impl Start {
    fn record(&self, id: &str) -> PathBuf {
        self.records.join(format!("{id}.json"))
    }

    fn spawn(&self, command: &[String], heard: bool) -> Result<(String, Child), StartError> {
        let (program, arguments) = command.split_first().ok_or(StartError::NoCommand)?;
        let program = match program.as_str() {
            // a static site is served by ourselves, wherever we lie
            "branchline" => self.program.clone().into_os_string(),
            program => OsString::from(program),
        };
        let id = uuid::Uuid::now_v7().simple().to_string();
        let output = || if heard { Stdio::piped() } else { Stdio::null() };
        let child = Command::new(&self.program)
            .arg("supervise")
            .arg("--record")
            .arg(self.record(&id))
            .arg("--")
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.folder)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(output())
            .stderr(output())
            .spawn()
            .map_err(|source| StartError::System { what: "starting a supervisor".to_owned(), source })?;
        Ok((id, child))
    }
}

/// A container that runs as a process.
struct Process {
    id: String,
    start: Start,
    orders: mpsc::Sender<Signal>,
    end: watch::Receiver<Option<i32>>,
}

impl Container for Process {
    fn id(&self) -> &str {
        &self.id
    }

    fn ended(&self) -> BoxFuture<'static, i32> {
        let mut end = self.end.clone();
        async move {
            let code = end.wait_for(Option::is_some).await.ok().and_then(|code| *code);
            // the runtime is being shut down, and the process with it
            code.unwrap_or(137)
        }
        .boxed()
    }

    fn signal(&self, signal: Signal) {
        // full means that it has been told eight times already
        let _ = self.orders.try_send(signal);
    }

    fn exec<'a>(&'a self, command: &'a [String], limit: Duration) -> BoxFuture<'a, Result<i32, StartError>> {
        async move {
            let (id, mut child) = self.start.spawn(command, false)?;
            // dropped at the end of this block, which ends a command that takes too long
            let _pipe = child.stdin.take();
            match tokio::time::timeout(limit, child.wait()).await {
                Ok(Ok(status)) => Ok(code(status, &self.start.record(&id))),
                Ok(Err(source)) => {
                    Err(StartError::System { what: "waiting for a command".to_owned(), source })
                }
                Err(_) => Err(StartError::TimedOut { limit }),
            }
        }
        .boxed()
    }
}

impl Runtime for ProcessRuntime {
    fn name(&self) -> &'static str {
        "process"
    }

    fn image(&self, image: &str) -> Result<String, ImageError> {
        folder::find(&self.options.folders, image).map(|_| image.to_owned())
    }

    fn place<'a>(&'a self, pod: &'a PodPlan) -> BoxFuture<'a, Result<Place, StartError>> {
        async move {
            let mut place = Place {
                address: IpAddr::V4(Ipv4Addr::LOCALHOST),
                ports: BTreeMap::new(),
                port: BTreeMap::new(),
            };
            for (container, ports) in &pod.ports {
                let real = self.ports.take(&pod.uid).ok_or(StartError::NoPort)?;
                place.port.insert(container.clone(), real);
                // the first port is the one that PORT stands for; an app that opens more must open them as they are
                if let Some(first) = ports.first() {
                    place.ports.entry(*first).or_insert(real);
                }
            }
            for folder in ["home", "tmp"] {
                let path = self.scratch(&pod.uid).join(folder);
                let made = tokio::fs::create_dir_all(&path).await;
                made.map_err(|source| StartError::System {
                    what: format!("making {}", path.display()),
                    source,
                })?;
            }
            Ok(place)
        }
        .boxed()
    }

    fn leave<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, ()> {
        async move {
            self.ports.give_back(uid);
            let scratch = self.scratch(uid);
            if let Err(error) = tokio::fs::remove_dir_all(&scratch).await
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %scratch.display(), error = %error, "A temporary folder could not be removed.");
            }
        }
        .boxed()
    }

    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Box<dyn Container>, StartError>> {
        async move { self.launch(launch) }.boxed()
    }
}
