//! The folder builder: the tree at a revision, unpacked, with `build.command` run in it.
//!
//! ```text
//! DIR/folders/<key>/app     the tree and what the command made of it
//! DIR/folders/<key>/done    written last: without it the folder is unfinished and made anew
//! DIR/scratch/<key>/        HOME and TMPDIR of a running build
//! DIR/records/<key>.json    the process of a running build, for the next start
//! ```
//!
//! The command runs where the result stays, since what it makes may hold its own path (a Python environment does);
//! so the marker, not a rename, is what makes a folder whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures::future::{BoxFuture, FutureExt};
use jiff::Timestamp;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, futimens};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command::Task;
use super::log::{Log, Stream};
use super::{Artifact, BuildError, BuildKey, BuildOrder, Built, ImageBuilder, Limits, LogLine, disk};
use crate::source::SourceError;

/// How long a full log is waited for with a line of our own.
const PATIENCE: Duration = Duration::from_secs(5);

/// All that a build sees of the machine's environment. Only `settings` reads the real one.
#[derive(Debug, Clone, Default)]
pub struct BuildEnvironment {
    /// `PATH`.
    pub path: OsString,
    /// `LANG`, where it is set.
    pub lang: Option<OsString>,
    /// Where toolchains lie: `RUSTUP_HOME`, `RUSTUP_TOOLCHAIN`, `GOROOT`, `JAVA_HOME`, `PYENV_ROOT`, `NVM_DIR`, those
    /// that are set.
    pub toolchains: BTreeMap<String, OsString>,
}

/// Builds folders on this machine. Clones are the same builder.
#[derive(Clone)]
pub struct FolderBuilder(Arc<Shared>);

struct Shared {
    dir: PathBuf,
    environment: BuildEnvironment,
    supervisor: Option<PathBuf>,
    limits: Limits,
    running: Semaphore,
    keys: Mutex<HashMap<BuildKey, Arc<Slot>>>,
    tasks: TaskTracker,
}

/// What the marker of a finished folder says.
#[derive(Serialize, Deserialize)]
struct Marker {
    /// The folder of the service below `app`.
    within: String,
}

/// The builds of one key, one after the other.
#[derive(Default)]
struct Slot {
    turn: tokio::sync::Mutex<()>,
    started: AtomicU64,
    /// How the last one failed, and its number: those who waited for it fail with it instead of running it again.
    failed: Mutex<Option<(u64, BuildError)>>,
}

impl FolderBuilder {
    /// Opens the builder's folder. What an earlier process left unfinished is removed.
    ///
    /// `supervisor` is the program whose verb `supervise` stands between us and each command, so that no command
    /// outlives us. End the leftovers named by [`records`](Self::records) before.
    ///
    /// # Errors
    /// When the folder cannot be made or cleaned up.
    pub fn open(
        dir: &Path,
        environment: BuildEnvironment,
        supervisor: Option<PathBuf>,
        limits: Limits,
        tasks: TaskTracker,
    ) -> Result<Self, BuildError> {
        // commands run elsewhere, and are told of HOME, TMPDIR and their record by path
        let dir = std::path::absolute(dir).map_err(|error| disk(dir, error))?;
        remove(&dir.join("scratch"))?;
        for folder in [dir.join("folders"), dir.join("scratch"), Self::records(&dir)] {
            fs::create_dir_all(&folder).map_err(|error| disk(&folder, error))?;
        }
        let running = Semaphore::new(limits.parallel.max(1));
        let keys = Mutex::new(HashMap::new());
        Ok(Self(Arc::new(Shared { dir, environment, supervisor, limits, running, keys, tasks })))
    }

    /// Where supervisors of a builder in `dir` keep their records.
    #[must_use]
    pub fn records(dir: &Path) -> PathBuf {
        dir.join("records")
    }

    /// The finished folder of a key: what a process is started in. `None` when it must be built (again).
    #[must_use]
    pub fn folder(&self, key: &BuildKey) -> Option<PathBuf> {
        let folder = self.0.folder(key);
        let marker: Marker = serde_json::from_slice(&fs::read(folder.join("done")).ok()?).ok()?;
        Some(folder.join("app").join(marker.within)).filter(|folder| folder.is_dir())
    }

    async fn key_of(&self, order: &BuildOrder) -> Result<BuildKey, BuildError> {
        let (revision, recipe) = (order.revision.clone(), order.recipe.clone());
        let repository = order.mirror.url().to_string();
        let key = order.mirror.with(move |reader| {
            let tree = reader.tree_id(&revision, &recipe.context)?;
            let service = format!("{}/{}", recipe.context, recipe.within);
            match (tree, reader.tree_id(&revision, &service)?) {
                (Some(tree), Some(_)) => Ok(BuildKey::of_folder(tree, &recipe)),
                _ => Err(SourceError::NoPath {
                    repository,
                    revision,
                    path: service.trim_matches('/').to_owned(),
                }),
            }
        });
        Ok(key.await?)
    }

    async fn build_order(&self, order: BuildOrder) -> Result<Built, BuildError> {
        let began = Instant::now();
        let key = self.key_of(&order).await?;
        let built = |reused| Built { artifact: Artifact::Folder { key }, reused, took: began.elapsed() };
        if self.folder(&key).is_some() {
            self.0.note_use(&key);
            return Ok(built(true));
        }
        // the wish ends with this future; the work ends in order, on a task of its own
        let cancel = order.cancel.child_token();
        let _withdraw = cancel.clone().drop_guard();
        let shared = Arc::clone(&self.0);
        let work = async move { shared.take_turn(&key, &order, &cancel).await };
        match self.0.tasks.spawn(work).await {
            Ok(done) => done.map(built),
            Err(_) => Err(BuildError::Cancelled),
        }
    }
}

impl ImageBuilder for FolderBuilder {
    fn key<'a>(&'a self, order: &'a BuildOrder) -> BoxFuture<'a, Result<BuildKey, BuildError>> {
        self.key_of(order).boxed()
    }

    fn has<'a>(&'a self, key: &'a BuildKey) -> BoxFuture<'a, bool> {
        std::future::ready(self.folder(key).is_some()).boxed()
    }

    fn build(&self, order: BuildOrder) -> BoxFuture<'_, Result<Built, BuildError>> {
        self.build_order(order).boxed()
    }

    fn collect<'a>(
        &'a self,
        in_use: &'a BTreeSet<BuildKey>,
        asked_before: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<BuildKey>, BuildError>> {
        self.0.collect(in_use, asked_before).boxed()
    }
}

impl Shared {
    async fn collect(
        &self,
        in_use: &BTreeSet<BuildKey>,
        asked_before: Timestamp,
    ) -> Result<Vec<BuildKey>, BuildError> {
        let folders = self.dir.join("folders");
        let entries = fs::read_dir(&folders).map_err(|error| disk(&folders, error))?;
        let keys = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<BuildKey>().ok());
        let unused: BTreeSet<BuildKey> = keys.filter(|key| !in_use.contains(key)).collect();
        let mut removed = Vec::new();
        for key in unused {
            let folder = self.folder(&key);
            let asked = fs::metadata(folder.join("done")).and_then(|marker| marker.modified());
            if asked.is_ok_and(|asked| asked >= SystemTime::from(asked_before)) {
                continue;
            }
            let slot = self.slot(&key);
            let Ok(_turn) = slot.turn.try_lock() else { continue };
            blocking(move || discard(&folder)).await?;
            removed.push(key);
        }
        Ok(removed)
    }

    /// What is wanted again is young again.
    fn note_use(&self, key: &BuildKey) {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let marker = File::options().append(true).open(self.folder(key).join("done"));
        if let Err(error) = marker.and_then(|marker| Ok(futimens(&marker, &times)?)) {
            tracing::warn!(%key, error = &error as &dyn std::error::Error, "It could not be noted that an artifact is in use.");
        }
    }

    fn folder(&self, key: &BuildKey) -> PathBuf {
        self.dir.join("folders").join(key.to_string())
    }

    fn slot(&self, key: &BuildKey) -> Arc<Slot> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // a slot that nobody holds has nothing to remember
        keys.retain(|_, slot| Arc::strong_count(slot) > 1);
        Arc::clone(keys.entry(*key).or_default())
    }

    /// Builds the key once it is this order's turn, unless another has built it by then. Says whether it was there.
    async fn take_turn(
        self: &Arc<Self>,
        key: &BuildKey,
        order: &BuildOrder,
        cancel: &CancellationToken,
    ) -> Result<bool, BuildError> {
        let slot = self.slot(key);
        let arrived = slot.started.load(Ordering::SeqCst);
        let waits = slot.turn.try_lock().is_err();
        if waits {
            say(order, "The same tree is being built already; waiting for it.").await;
        }
        let _turn = tokio::select! {
            () = cancel.cancelled() => return Err(BuildError::Cancelled),
            turn = slot.turn.lock() => turn,
        };
        if FolderBuilder(Arc::clone(self)).folder(key).is_some() {
            return Ok(true);
        }
        let failed = slot.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((number, error)) = failed
            && (number > arrived || (waits && number == arrived))
        {
            return Err(error);
        }
        let _slot = tokio::select! {
            () = cancel.cancelled() => return Err(BuildError::Cancelled),
            permit = self.running.acquire() => permit.map_err(|_| BuildError::Cancelled)?,
        };
        let number = slot.started.fetch_add(1, Ordering::SeqCst) + 1;
        let done = self.run(key, order, cancel).await;
        let error = done.as_ref().err().filter(|error| !matches!(error, BuildError::Cancelled));
        *slot.failed.lock().unwrap_or_else(PoisonError::into_inner) =
            error.map(|error| (number, error.clone()));
        done.map(|()| false)
    }

    async fn run(
        &self,
        key: &BuildKey,
        order: &BuildOrder,
        cancel: &CancellationToken,
    ) -> Result<(), BuildError> {
        let folder = self.folder(key);
        let scratch = self.dir.join("scratch").join(key.to_string());
        let result = self.fill(key, order, cancel, &folder, &scratch).await;
        let failed = result.is_err();
        let cleaned = blocking(move || {
            remove(&scratch)?;
            if failed { discard(&folder) } else { Ok(()) }
        });
        // the first error is the one to tell
        result.and(cleaned.await)
    }

    async fn fill(
        &self,
        key: &BuildKey,
        order: &BuildOrder,
        cancel: &CancellationToken,
        folder: &Path,
        scratch: &Path,
    ) -> Result<(), BuildError> {
        let app = folder.join("app");
        let (home, temporary) = (scratch.join("home"), scratch.join("tmp"));
        let clear = [folder.to_owned(), scratch.to_owned()];
        let make = [home.clone(), temporary.clone()];
        blocking(move || {
            clear.iter().try_for_each(|folder| discard(folder))?;
            make.iter().try_for_each(|folder| fs::create_dir_all(folder).map_err(|error| disk(folder, error)))
        })
        .await?;
        let (revision, context, into) = (order.revision.clone(), order.recipe.context.clone(), app.clone());
        let unpacked = order.mirror.with(move |reader| reader.unpack(&revision, &context, &into)).await?;
        let text = format!(
            "Unpacked {} file{} of {} at {}.",
            unpacked.files,
            if unpacked.files == 1 { "" } else { "s" },
            order.mirror.url(),
            order.revision.short()
        );
        say(order, &text).await;
        if let Some(command) = &order.recipe.command {
            say(order, &format!("$ {command}")).await;
            let record = Self::records(&self.dir).join(format!("{key}.json"));
            let task = Task {
                command,
                folder: &app,
                scratch,
                within: &order.recipe.within,
                variables: self.variables(order, &home, &temporary),
                supervisor: self.supervisor.as_deref().map(|program| (program, record)),
                limits: &self.limits,
                redactor: &order.redactor,
                cancel,
            };
            task.run(Log::new(order.log.clone(), self.limits.log_bytes)).await?;
        }
        if cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let folder = folder.to_owned();
        let marker = Marker { within: order.recipe.within.clone() };
        blocking(move || mark_done(&folder, &marker)).await
    }

    fn records(dir: &Path) -> PathBuf {
        FolderBuilder::records(dir)
    }

    /// The whole environment of a command: nothing of ours but what decisions name.
    fn variables(&self, order: &BuildOrder, home: &Path, temporary: &Path) -> BTreeMap<OsString, OsString> {
        let mut variables = BTreeMap::new();
        for (name, value) in &order.recipe.args {
            variables.insert(name.into(), value.into());
        }
        for (name, value) in &self.environment.toolchains {
            variables.insert(name.into(), value.clone());
        }
        if let Some(lang) = &self.environment.lang {
            variables.insert("LANG".into(), lang.clone());
        }
        variables.insert("PATH".into(), self.environment.path.clone());
        variables.insert("HOME".into(), home.into());
        variables.insert("TMPDIR".into(), temporary.into());
        variables
    }
}

async fn say(order: &BuildOrder, text: &str) {
    let line = LogLine { stream: Stream::Builder, text: order.redactor.redact(text) };
    // nobody reads any more, or not in time: the build goes on without the line
    let _ = order.log.send_timeout(line, PATIENCE).await;
}

async fn blocking(work: impl FnOnce() -> Result<(), BuildError> + Send + 'static) -> Result<(), BuildError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(BuildError::Cancelled))
}

/// Writes the marker so that it is there after a crash only if the folder was whole before it.
fn mark_done(folder: &Path, content: &Marker) -> Result<(), BuildError> {
    let (marker, fresh) = (folder.join("done"), folder.join("done.new"));
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(&serde_json::to_vec(content)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &marker)?;
        File::open(folder)?.sync_all()
    });
    written.map_err(|error| disk(&marker, error))
}

/// Removes the folder of a key: its marker first, so that what a crash leaves of it is unfinished.
fn discard(folder: &Path) -> Result<(), BuildError> {
    let marker = folder.join("done");
    match fs::remove_file(&marker) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk(&marker, error)),
        _ => remove(folder),
    }
}

/// Removes a folder with all in it. What a build has just been killed in may still grow for a moment.
fn remove(folder: &Path) -> Result<(), BuildError> {
    let mut tries = 0;
    loop {
        match fs::remove_dir_all(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && tries < 10 => tries += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && tries == 0 => {
                tries = 1;
                open_up(folder);
            }
            Err(error) => return Err(disk(folder, error)),
        }
    }
}

/// Makes every folder below writable again: package managers make some that are not.
fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // what cannot be opened up is reported by the removal
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(entries.filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()));
    }
}
