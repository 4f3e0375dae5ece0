//! The folder of mirrors, and one mirror: who may touch it when, and what happens when it is damaged.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use git2::Repository;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::credentials::{Access, CredentialRequest, Credentials};
use super::fetch::{Fetched, Job, keep};
use super::history::CommitInfo;
use super::inputs::Inputs;
use super::state::{State, disk, is_whole, remove};
use super::tree::{Heads, Reader, oid};
use super::url::{GitHosts, RepositoryUrl};
use super::wire::{Wire, client};
use super::{Limits, SourceError, libgit2, lock, pack};
use crate::name::{BranchName, Revision};

/// Reads that run at once, over all mirrors.
const READERS: usize = 8;
/// Fetches and pushes that run at once, over all mirrors.
const FETCHES: usize = 8;

/// What a folder of mirrors is opened with.
#[derive(Clone)]
pub struct MirrorOptions {
    /// The operator's list of hosts.
    pub hosts: GitHosts,
    /// Where tokens come from.
    pub credentials: Credentials,
    /// How much is taken in.
    pub limits: Limits,
}

impl Default for MirrorOptions {
    fn default() -> Self {
        Self { hosts: GitHosts::default(), credentials: Credentials::none(), limits: Limits::default() }
    }
}

/// A folder of bare mirrors, one per repository. One process owns it.
#[derive(Clone)]
pub struct Mirrors(Arc<Shared>);

pub(super) struct Shared {
    dir: PathBuf,
    hosts: Arc<GitHosts>,
    credentials: Credentials,
    limits: Limits,
    client: reqwest::Client,
    open: Mutex<HashMap<String, Mirror>>,
    readers: Semaphore,
    fetches: Semaphore,
}

impl Mirrors {
    /// Opens the folder, which is made where it is missing. Mirrors in it are used as they are.
    ///
    /// # Errors
    /// When the folder cannot be made, or the HTTP client cannot be set up.
    pub fn open(dir: &Path, options: MirrorOptions) -> Result<Self, SourceError> {
        libgit2::prepare();
        fs::create_dir_all(dir).map_err(|error| disk(dir, error))?;
        let hosts = Arc::new(options.hosts);
        let client = client(&hosts, &options.limits).map_err(|error| SourceError::Unreachable {
            repository: "every repository".to_owned(),
            source: Arc::new(error),
        })?;
        Ok(Self(Arc::new(Shared {
            dir: dir.to_owned(),
            hosts,
            credentials: options.credentials,
            limits: options.limits,
            client,
            open: Mutex::new(HashMap::new()),
            readers: Semaphore::new(READERS),
            fetches: Semaphore::new(FETCHES),
        })))
    }

    /// The operator's list of hosts.
    #[must_use]
    pub fn hosts(&self) -> &GitHosts {
        &self.0.hosts
    }

    /// The mirror of a repository: the same one for every caller. Nothing is fetched yet.
    ///
    /// The first address given for a repository is the one that is fetched from, until another is given.
    #[must_use]
    pub fn mirror(&self, url: &RepositoryUrl) -> Mirror {
        let mut open = lock(&self.0.open);
        if let Some(mirror) =
            open.get(url.key()).filter(|mirror| mirror.state.url.git_address() == url.git_address())
        {
            return mirror.clone();
        }
        let state = State::new(url.clone(), self.0.dir.join(url.folder()), self.0.limits.clone());
        let flight = Flight {
            lock: Arc::new(tokio::sync::Mutex::new(())),
            started: AtomicU64::new(0),
            last: Mutex::new(None),
        };
        // another address for the same folder still takes its turn
        let flight =
            open.get(url.key()).map_or_else(|| Arc::new(flight), |mirror| Arc::clone(&mirror.flight));
        let mirror = Mirror { shared: Arc::clone(&self.0), state: Arc::new(state), flight };
        open.insert(url.key().to_owned(), mirror.clone());
        mirror
    }
}

/// The bare mirror of one repository. Clones of it are the same mirror.
#[derive(Clone)]
pub struct Mirror {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<State>,
    pub(super) flight: Arc<Flight>,
}

type Outcome = Result<Arc<Fetched>, SourceError>;

/// The fetches of one mirror, one after the other.
pub(super) struct Flight {
    pub(super) lock: Arc<tokio::sync::Mutex<()>>,
    started: AtomicU64,
    /// The last fetch that ended, and its number.
    last: Mutex<Option<(u64, Outcome)>>,
}

/// A mark in the order of a mirror's fetches: the first fetch that begins after it serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hint(u64);

impl Flight {
    /// The fetch that served the hint; a failed one only if it began after the caller arrived.
    fn done(&self, hint: Hint, arrived: u64) -> Option<Outcome> {
        let last = lock(&self.last);
        let (number, result) = last.as_ref()?;
        (*number >= hint.0 && (result.is_ok() || *number > arrived)).then(|| result.clone())
    }
}

impl Mirror {
    /// The repository that it mirrors.
    #[must_use]
    pub fn url(&self) -> &RepositoryUrl {
        &self.state.url
    }

    /// A mark for "something may have changed now". All who act on one hint share one fetch of it.
    #[must_use]
    pub fn hint(&self) -> Hint {
        Hint(self.flight.started.load(Ordering::SeqCst) + 1)
    }

    /// Brings the mirror up to date as of now: [`fetch_for`](Self::fetch_for) a new [`hint`](Self::hint).
    ///
    /// # Errors
    /// As [`fetch_for`](Self::fetch_for).
    pub async fn fetch(&self) -> Result<Arc<Fetched>, SourceError> {
        self.fetch_for(self.hint()).await
    }

    /// Brings the mirror up to date as of the hint, by one listing and at most one pack.
    ///
    /// However many callers ask for one hint, one fetch runs. A hint that comes while a fetch runs is served by the
    /// next one, since the running one may have listed before it. A fetch goes on when its callers are gone; one that
    /// failed is shared by those who waited for it, and tried again for those who come later.
    ///
    /// # Errors
    /// When the other side cannot be reached, denies, sends too much, or lists nothing; the mirror is then as before.
    pub async fn fetch_for(&self, hint: Hint) -> Result<Arc<Fetched>, SourceError> {
        let arrived = self.flight.started.load(Ordering::SeqCst);
        if let Some(done) = self.flight.done(hint, u64::MAX) {
            return done;
        }
        let turn = Arc::clone(&self.flight.lock).lock_owned().await;
        if let Some(done) = self.flight.done(hint, arrived) {
            return done;
        }
        let number = self.flight.started.fetch_add(1, Ordering::SeqCst) + 1;
        let mirror = self.clone();
        // on a task of its own, so that the turn ends with the fetch and not with the caller
        let task = tokio::task::spawn_blocking(move || {
            let result = mirror.fetch_blocking(&Handle::current()).map(Arc::new);
            *lock(&mirror.flight.last) = Some((number, result.clone()));
            drop(turn);
            result
        });
        task.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    fn fetch_blocking(&self, runtime: &Handle) -> Result<Fetched, SourceError> {
        let slot = runtime.block_on(self.shared.fetches.acquire());
        let _slot = slot.map_err(|_| self.stopped())?;
        match self.fetch_with_token(runtime, false) {
            Err(SourceError::Denied { status: 401, .. }) => self.fetch_with_token(runtime, true),
            result => result,
        }
    }

    fn fetch_with_token(&self, runtime: &Handle, refused: bool) -> Result<Fetched, SourceError> {
        let wire = self.wire(runtime, Access::Read, refused)?;
        let state = &self.state;
        let job = Job { url: &state.url, limits: &state.limits, wire, mirror: &state.path };
        let damaged = state.suspect.load(Ordering::Relaxed);
        let first = if damaged { None } else { self.fetch_into_mirror(&job) };
        match first {
            Some(Err(SourceError::Corrupt { source, .. })) => {
                tracing::warn!(repository = %state.url, error = %source, "A mirror is damaged and is cloned again.");
            }
            Some(result) => return result,
            None => {}
        }
        let wire = self.wire(runtime, Access::Read, refused)?;
        self.clone_again(&Job { url: &state.url, limits: &state.limits, wire, mirror: &state.path })
    }

    /// Fetches into the mirror that is there; `None` when there is none, or it cannot be opened.
    fn fetch_into_mirror(&self, job: &Job<'_>) -> Option<Result<Fetched, SourceError>> {
        let first = !self.state.swept.swap(true, Ordering::Relaxed);
        if first {
            self.state.sweep();
        }
        let (repo, generation) = self.state.take().ok()?;
        if first && !is_whole(&repo) {
            tracing::warn!(repository = %self.state.url, "A mirror misses commits and is cloned again.");
            return None;
        }
        let result = job.fetch(&repo);
        if result.is_ok() {
            self.join_packs(&repo);
        }
        self.state.give_back(repo, generation);
        Some(result)
    }

    /// Makes one pack of many small ones. Where that fails, they stay.
    fn join_packs(&self, repo: &Repository) {
        let packs = pack::small_packs(&self.state.path);
        if packs.is_empty() {
            return;
        }
        let joined = pack::join(repo, &packs).map_err(|error| error.to_string());
        let removed = joined.and_then(|()| {
            let _alone = self.state.alone();
            self.state.forget_handles();
            pack::remove(&packs).map_err(|error| error.to_string())
        });
        if let Err(error) = removed {
            tracing::warn!(repository = %self.state.url, error, "The packs of a mirror could not be joined.");
        }
    }

    /// Clones into a folder beside the mirror and puts it in the mirror's place once it is complete.
    fn clone_again(&self, job: &Job<'_>) -> Result<Fetched, SourceError> {
        let path = &self.state.path;
        let (fresh, old) = (path.with_extension("new"), path.with_extension("old"));
        for leftover in [&fresh, &old] {
            remove(leftover)?;
        }
        let made = Repository::init_bare(&fresh).map_err(|e| job.error("make a mirror", e));
        let fetched = made.and_then(|repo| job.fetch(&repo));
        let fetched = fetched.inspect_err(|_| drop(remove(&fresh)))?;
        let alone = self.state.alone();
        self.state.forget_handles();
        if path.exists() {
            fs::rename(path, &old).map_err(|error| disk(path, error))?;
        }
        fs::rename(&fresh, path).map_err(|error| disk(path, error))?;
        drop(alone);
        self.state.suspect.store(false, Ordering::Relaxed);
        lock(&self.state.newest).clear();
        remove(&old)?;
        Ok(fetched)
    }

    /// The connection with a token that is good for this repository; `None` for a local one.
    pub(super) fn wire(
        &self,
        runtime: &Handle,
        access: Access,
        refused: bool,
    ) -> Result<Option<Arc<Wire>>, SourceError> {
        let url = &self.state.url;
        if url.http_address().is_none() {
            return Ok(None);
        }
        let request = CredentialRequest { url: url.clone(), access, refused };
        let asked = async {
            let limit = self.state.limits.idle;
            let token = tokio::time::timeout(limit, self.shared.credentials.token(request)).await;
            token.unwrap_or_else(|_| Err(SourceError::Deadline { repository: url.to_string(), limit }))
        };
        let token = runtime.block_on(asked)?;
        Ok(Wire::new(&self.shared.client, runtime.clone(), url, token, &self.state.limits))
    }

    /// Runs `read` on a blocking thread with the mirror open. Several reads in one call are cheaper than several calls.
    ///
    /// # Errors
    /// `NotFetched` before the first fetch; otherwise what `read` says.
    pub async fn with<T, F>(&self, read: F) -> Result<T, SourceError>
    where
        T: Send + 'static,
        F: FnOnce(&Reader<'_>) -> Result<T, SourceError> + Send + 'static,
    {
        let mirror = self.clone();
        let Ok(_slot) = self.shared.readers.acquire().await else { return Err(self.stopped()) };
        let task = tokio::task::spawn_blocking(move || mirror.with_blocking(read));
        task.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// [`with`](Self::with) on the thread of the caller.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn with_blocking<T>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        let _reading = self.state.reading();
        let (repo, generation) = self.state.take()?;
        let result = read(&Reader { repo: &repo, state: &self.state });
        self.state.give_back(repo, generation);
        result
    }

    /// The branches and pull requests as of the last fetch.
    ///
    /// # Errors
    /// As [`Reader::heads`].
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method's path is not general over the lifetime"
    )]
    pub async fn heads(&self) -> Result<Heads, SourceError> {
        self.with(|reader| reader.heads()).await
    }

    /// The commit of a branch as of the last fetch.
    ///
    /// # Errors
    /// As [`Reader::branch`].
    pub async fn branch(&self, branch: &BranchName) -> Result<Revision, SourceError> {
        let branch = branch.clone();
        self.with(move |reader| reader.branch(&branch)).await
    }

    /// The bytes of the file at `path`.
    ///
    /// # Errors
    /// As [`Reader::read`].
    pub async fn read(&self, revision: &Revision, path: &str) -> Result<Vec<u8>, SourceError> {
        let (revision, path) = (revision.clone(), path.to_owned());
        self.with(move |reader| reader.read(&revision, &path)).await
    }

    /// The newest commit reachable from `head` that changed one of `inputs`.
    ///
    /// # Errors
    /// As [`Reader::newest_change`].
    pub async fn newest_change(
        &self,
        head: &Revision,
        inputs: &Inputs,
    ) -> Result<Option<Revision>, SourceError> {
        let (head, inputs) = (head.clone(), inputs.clone());
        self.with(move |reader| reader.newest_change(&head, &inputs)).await
    }

    /// For each of many sets of inputs, the newest commit reachable from `head` that changed one of them.
    ///
    /// # Errors
    /// As [`Reader::newest_changes`].
    pub async fn newest_changes(
        &self,
        head: &Revision,
        inputs: Vec<Inputs>,
    ) -> Result<Vec<Option<Revision>>, SourceError> {
        let head = head.clone();
        self.with(move |reader| reader.newest_changes(&head, &inputs)).await
    }

    /// What the commit says of itself.
    ///
    /// # Errors
    /// As [`Reader::commit`].
    pub async fn commit_info(&self, revision: &Revision) -> Result<CommitInfo, SourceError> {
        let revision = revision.clone();
        self.with(move |reader| reader.commit(&revision)).await
    }

    /// Makes sure that a commit is in the mirror, such as one that is pinned and no branch reaches any more. It is
    /// fetched by its id where it is missing, and kept.
    ///
    /// # Errors
    /// `NoRevision` when the other side does not have it or does not give it by id.
    pub async fn fetch_revision(&self, revision: &Revision) -> Result<(), SourceError> {
        if self.keep(revision).await.is_ok() {
            return Ok(());
        }
        let turn = Arc::clone(&self.flight.lock).lock_owned().await;
        let (mirror, wanted) = (self.clone(), oid(revision));
        let task = tokio::task::spawn_blocking(move || {
            let state = &mirror.state;
            let wire = mirror.wire(&Handle::current(), Access::Read, false)?;
            let job = Job { url: &state.url, limits: &state.limits, wire, mirror: &state.path };
            let (repo, generation) = state.take()?;
            let fetched = job.fetch_commit(&repo, wanted);
            state.give_back(repo, generation);
            drop(turn);
            fetched
        });
        let missing =
            || SourceError::NoRevision { repository: self.url().to_string(), revision: revision.to_string() };
        match task.await.unwrap_or_else(|_| Err(self.stopped())) {
            Err(SourceError::Git { .. } | SourceError::Unreachable { .. } | SourceError::Corrupt { .. }) => {
                Err(missing())
            }
            result => result,
        }
    }

    /// Keeps a commit reachable whatever happens to its branch, such as one that is deployed.
    ///
    /// # Errors
    /// `NoRevision` when it is not in the mirror.
    pub async fn keep(&self, revision: &Revision) -> Result<(), SourceError> {
        let revision = revision.clone();
        self.with(move |reader| {
            reader.commit_of(&revision)?;
            keep(reader.repo, oid(&revision)).map_err(|e| reader.error("keep a commit", e))
        })
        .await
    }

    pub(super) fn stopped(&self) -> SourceError {
        SourceError::Stopped { repository: self.state.url.to_string() }
    }
}
