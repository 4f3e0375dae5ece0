//! Hints from the file system: a local repository whose refs moved.
//!
//! A hint says only that it is worth fetching. Where the watch cannot be set up, or misses something (a network file
//! system), the poll of the caller finds the change later.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use super::url::RepositoryUrl;
use super::{SourceError, lock};

/// How long the refs must be quiet before a hint is given.
const QUIET: Duration = Duration::from_millis(20);
/// How long refs that never rest can hold a hint back.
const LONGEST: Duration = Duration::from_millis(500);

/// Watches local repositories. Dropping it ends the watch.
pub struct Watcher {
    watched: Arc<Mutex<Watched>>,
    changed: Arc<Notify>,
    system: Mutex<RecommendedWatcher>,
}

#[derive(Default)]
struct Watched {
    /// The Git folder of each repository.
    folders: HashMap<PathBuf, RepositoryUrl>,
    /// The repositories that changed since the last hints.
    dirty: BTreeSet<RepositoryUrl>,
    ended: bool,
}

impl Watcher {
    /// Starts a watch of nothing yet, whose hints go to `hints`, one per repository once its refs are quiet for 20 ms.
    /// The task that sends them ends with the watcher or with the receiver.
    ///
    /// # Errors
    /// When the system gives no watch.
    pub fn start(hints: mpsc::Sender<RepositoryUrl>, tasks: &TaskTracker) -> Result<Self, SourceError> {
        let state = Arc::new(Mutex::new(Watched::default()));
        let changed = Arc::new(Notify::new());
        let handler = Handler { watched: Arc::clone(&state), changed: Arc::clone(&changed) };
        let system = notify::recommended_watcher(handler).map_err(|error| failed(Path::new("/"), error))?;
        tasks.spawn(send(Arc::clone(&state), Arc::clone(&changed), hints));
        Ok(Self { watched: state, changed, system: Mutex::new(system) })
    }

    /// Watches a repository; one that is not local is left to the poll. Watching it twice changes nothing.
    ///
    /// # Errors
    /// When its folder cannot be watched.
    pub fn watch(&self, url: &RepositoryUrl) -> Result<(), SourceError> {
        let Some(path) = url.local_path() else { return Ok(()) };
        let git = if path.join(".git").is_dir() { path.join(".git") } else { path.to_owned() };
        // events name the real path
        let git = git.canonicalize().map_err(|error| failed(path, error.into()))?;
        if lock(&self.watched).folders.contains_key(&git) {
            return Ok(());
        }
        let mut system = lock(&self.system);
        // the folder, not `HEAD` and `packed-refs` themselves: Git replaces those files
        let outcome = system
            .watch(&git, RecursiveMode::NonRecursive)
            .and_then(|()| system.watch(&git.join("refs"), RecursiveMode::Recursive));
        outcome.map_err(|error| failed(path, error))?;
        lock(&self.watched).folders.insert(git, url.clone());
        Ok(())
    }

    /// Ends the watch of a repository.
    pub fn unwatch(&self, url: &RepositoryUrl) {
        let mut watched = lock(&self.watched);
        let folders: Vec<PathBuf> =
            watched.folders.extract_if(|_, of| of == url).map(|(folder, _)| folder).collect();
        // the watch's own thread may wait for this lock, and ending a watch waits for that thread
        drop(watched);
        let mut system = lock(&self.system);
        for folder in folders {
            // a folder that is gone has no watch to end
            let _ = system.unwatch(&folder);
            let _ = system.unwatch(&folder.join("refs"));
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        lock(&self.watched).ended = true;
        self.changed.notify_one();
    }
}

struct Handler {
    watched: Arc<Mutex<Watched>>,
    changed: Arc<Notify>,
}

impl notify::EventHandler for Handler {
    fn handle_event(&mut self, event: notify::Result<Event>) {
        let Ok(event) = event else { return };
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        let mut watched = lock(&self.watched);
        let dirty: Vec<RepositoryUrl> = event
            .paths
            .iter()
            .filter_map(|path| {
                watched.folders.iter().find_map(|(git, url)| is_ref(git, path).then(|| url.clone()))
            })
            .collect();
        if !dirty.is_empty() {
            watched.dirty.extend(dirty);
            self.changed.notify_one();
        }
    }
}

/// Whether a path of a Git folder says something of its refs. Git writes `x.lock` first and renames it.
fn is_ref(git: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(git) else { return false };
    if inside.extension().is_some_and(|end| end == "lock") {
        return false;
    }
    // notes are ours, and nothing is decided by them
    (inside.starts_with("refs") && !inside.starts_with("refs/notes"))
        || inside == Path::new("HEAD")
        || inside == Path::new("packed-refs")
}

async fn send(watched: Arc<Mutex<Watched>>, changed: Arc<Notify>, hints: mpsc::Sender<RepositoryUrl>) {
    loop {
        tokio::select! {
            () = changed.notified() => {}
            () = hints.closed() => return,
        }
        let latest = tokio::time::Instant::now() + LONGEST;
        while tokio::time::Instant::now() < latest
            && tokio::time::timeout(QUIET, changed.notified()).await.is_ok()
        {}
        let (dirty, ended) = {
            let mut watched = lock(&watched);
            (std::mem::take(&mut watched.dirty), watched.ended)
        };
        if ended {
            return;
        }
        for url in dirty {
            if hints.send(url).await.is_err() {
                return;
            }
        }
    }
}

fn failed(path: &Path, error: notify::Error) -> SourceError {
    SourceError::Watch { path: path.to_owned(), source: Arc::new(error) }
}
