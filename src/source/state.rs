//! What is known of one mirror between its fetches: open handles, the cache of history, and whether it is whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use git2::Repository;

use super::history::Newest;
use super::libgit2::said;
use super::url::RepositoryUrl;
use super::{Limits, SourceError, lock};

/// Handles to one repository that are kept open.
const KEPT_OPEN: usize = 4;

/// What a mirror's readers and writers share.
pub(super) struct State {
    pub(super) url: RepositoryUrl,
    pub(super) path: PathBuf,
    pub(super) limits: Limits,
    pool: Mutex<Pool>,
    /// Held by readers, and alone by whoever removes files that they may have open.
    files: RwLock<()>,
    pub(super) newest: Mutex<Newest>,
    /// Something in it could not be read: the next fetch clones again.
    pub(super) suspect: AtomicBool,
    /// What an earlier process left behind was removed.
    pub(super) swept: AtomicBool,
}

/// Open handles to the repository. A handle from before a new clone is not taken back.
struct Pool {
    generation: u64,
    repos: Vec<Repository>,
}

impl State {
    pub(super) fn new(url: RepositoryUrl, path: PathBuf, limits: Limits) -> Self {
        Self {
            url,
            path,
            limits,
            pool: Mutex::new(Pool { generation: 0, repos: Vec::new() }),
            files: RwLock::new(()),
            newest: Mutex::new(Newest::new()),
            suspect: AtomicBool::new(false),
            swept: AtomicBool::new(false),
        }
    }

    /// Begins to read: until the guard is dropped, no file that may be open is removed.
    pub(super) fn reading(&self) -> RwLockReadGuard<'_, ()> {
        self.files.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn take(&self) -> Result<(Repository, u64), SourceError> {
        let mut pool = lock(&self.pool);
        if let Some(repo) = pool.repos.pop() {
            return Ok((repo, pool.generation));
        }
        let generation = pool.generation;
        drop(pool);
        let repository = || self.url.to_string();
        if !self.path.exists() {
            return Err(SourceError::NotFetched { repository: repository() });
        }
        match Repository::open_bare(&self.path) {
            Ok(repo) => Ok((repo, generation)),
            Err(error) => {
                self.suspect.store(true, Ordering::Relaxed);
                Err(SourceError::Corrupt { repository: repository(), source: said(&error) })
            }
        }
    }

    /// Waits until nobody reads.
    pub(super) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.files.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of every open handle: the files beneath them change.
    pub(super) fn forget_handles(&self) {
        let mut pool = lock(&self.pool);
        pool.generation += 1;
        pool.repos.clear();
    }

    pub(super) fn give_back(&self, repo: Repository, generation: u64) {
        let mut pool = lock(&self.pool);
        if pool.generation == generation && pool.repos.len() < KEPT_OPEN {
            pool.repos.push(repo);
        }
    }

    /// Removes the locks and half-written packs of a process that was killed (catalogue G12). We own the folder, and
    /// hold the turn.
    pub(super) fn sweep(&self) {
        let mut folders = vec![self.path.join("refs"), self.path.join("objects/pack")];
        let mut found = vec![self.path.join("packed-refs.lock"), self.path.join("HEAD.lock")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                } else if path.extension().is_some_and(|end| end == "lock") || name.starts_with("pack_git2") {
                    found.push(path);
                }
            }
        }
        for path in found {
            if fs::remove_file(&path).is_ok() {
                tracing::info!(file = %path.display(), "A file that a killed process left in a mirror was removed.");
            }
        }
    }
}

/// Whether every ref names a commit that is there with its tree.
pub(super) fn is_whole(repo: &Repository) -> bool {
    let Ok(references) = repo.references() else { return false };
    references.into_iter().all(|reference| {
        let target = reference.map(|reference| reference.target());
        target.is_ok_and(|target| {
            target.is_none_or(|id| repo.find_commit(id).is_ok_and(|commit| commit.tree().is_ok()))
        })
    })
}

pub(super) fn remove(folder: &Path) -> Result<(), SourceError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(disk(folder, error)),
        _ => Ok(()),
    }
}

pub(super) fn disk(path: &Path, error: io::Error) -> SourceError {
    SourceError::Disk { path: path.to_owned(), source: Arc::new(error) }
}
