//! One fetch: list, download what is new, then move our refs. It runs on a blocking thread, one at a time per mirror.
//!
//! Our refs move only after a complete listing and a complete pack. What a force push leaves behind stays reachable
//! under `refs/branchline/kept/`, so that the last good state can still be read (catalogue G9, G10).

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use git2::{
    AutotagOption, Direction, ErrorClass, ErrorCode, FetchOptions, Oid, Reference, RemoteCallbacks,
    Repository,
};

use super::libgit2::said;
use super::tree::{is_damage, pull_number, revision};
use super::url::RepositoryUrl;
use super::wire::Wire;
use super::{Limits, SourceError, libgit2, note};
use crate::name::Revision;

const KEPT: &str = "refs/branchline/kept/";

/// A ref that a fetch moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefChange {
    /// Its full name, such as `refs/heads/main`.
    pub name: String,
    /// What it named before, `None` where it is new.
    pub old: Option<Revision>,
    /// What it names now, `None` where it is gone: proven by a complete listing.
    pub new: Option<Revision>,
}

/// What a fetch brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// The refs that moved, by name.
    pub changes: Vec<RefChange>,
    /// Bytes of the pack received.
    pub bytes: u64,
    /// Objects received.
    pub objects: u64,
}

/// A fetch or a push of one repository.
pub(super) struct Job<'j> {
    pub(super) url: &'j RepositoryUrl,
    pub(super) limits: &'j Limits,
    pub(super) wire: Option<Arc<Wire>>,
    /// The folder of the mirror, for errors of the disk.
    pub(super) mirror: &'j Path,
}

struct Listing {
    refs: BTreeMap<String, Oid>,
    default: Option<String>,
}

impl Job<'_> {
    /// Fetches into `repo`.
    pub(super) fn fetch(&self, repo: &Repository) -> Result<Fetched, SourceError> {
        libgit2::over(self.wire.clone(), || self.fetch_over_wire(repo))
    }

    fn fetch_over_wire(&self, repo: &Repository) -> Result<Fetched, SourceError> {
        let mut remote =
            repo.remote_anonymous(&self.url.git_address()).map_err(|e| self.error("name it", e))?;
        let mut connection = remote
            .connect_auth(Direction::Fetch, None, None)
            .map_err(|error| self.network_error("connect", error))?;
        let listing = self.list(connection.list().map_err(|e| self.network_error("list it", e))?)?;
        let ours = ours(repo).map_err(|e| self.error("list our refs", e))?;
        let mut fetched = Fetched::default();
        if ours != listing.refs {
            let mut wanted = vec!["+refs/heads/*:refs/heads/*"];
            if !self.url.has_forge() {
                wanted.extend(["+refs/pull/*:refs/pull/*", "+refs/notes/branchline:refs/notes/branchline"]);
            }
            self.download(connection.remote(), &wanted, &mut fetched)?;
            for (name, id) in &listing.refs {
                if ours.get(name) != Some(id) {
                    let complete = repo.find_commit(*id).and_then(|commit| commit.tree());
                    complete.map_err(|e| self.network_error("find what it sent", e))?;
                }
            }
            fetched.changes =
                self.move_refs(repo, &ours, &listing.refs).map_err(|e| self.error("move our refs", e))?;
        }
        if let Some(default) = listing.default {
            repo.set_head(&default).map_err(|e| self.error("set HEAD", e))?;
        }
        Ok(fetched)
    }

    /// Fetches one commit by its id and keeps it, where the other side gives commits by id (GitHub and GitLab do).
    pub(super) fn fetch_commit(&self, repo: &Repository, commit: Oid) -> Result<(), SourceError> {
        libgit2::over(self.wire.clone(), || {
            let mut remote =
                repo.remote_anonymous(&self.url.git_address()).map_err(|e| self.error("name it", e))?;
            let connection = remote.connect_auth(Direction::Fetch, None, None);
            let mut connection = connection.map_err(|error| self.network_error("connect", error))?;
            let wanted = format!("{commit}:{KEPT}{commit}");
            self.download(connection.remote(), &[&wanted], &mut Fetched::default())?;
            let complete = repo.find_commit(commit).and_then(|commit| commit.tree());
            complete.map_err(|error| self.network_error("find what it sent", error))?;
            keep(repo, commit).map_err(|error| self.error("keep a commit", error))
        })
    }

    fn list(&self, heads: &[git2::RemoteHead<'_>]) -> Result<Listing, SourceError> {
        let mut listing = Listing { refs: BTreeMap::new(), default: None };
        for head in heads {
            // git2 panics on a name that is not UTF-8
            let Ok(name) = catch_unwind(AssertUnwindSafe(|| head.name().to_owned())) else { continue };
            if name == "HEAD" {
                listing.default =
                    catch_unwind(AssertUnwindSafe(|| head.symref_target().map(str::to_owned))).ok().flatten();
            }
            let is_branch = name.starts_with("refs/heads/");
            let is_pull = !self.url.has_forge() && pull_number(&name).is_some();
            let is_note = !self.url.has_forge() && name == note::NOTES;
            if (is_branch || is_pull || is_note) && Reference::is_valid_name(&name) {
                listing.refs.insert(name, head.oid());
            }
        }
        let repository = self.url.to_string();
        if !listing.refs.keys().any(|name| name.starts_with("refs/heads/")) {
            return Err(SourceError::EmptyListing { repository });
        }
        if listing.refs.len() as u64 > self.limits.refs {
            let what = "branches and pull requests";
            return Err(SourceError::TooLarge { repository, what, limit: self.limits.refs });
        }
        listing.default = listing.default.filter(|name| listing.refs.contains_key(name));
        Ok(listing)
    }

    fn download(
        &self,
        remote: &mut git2::Remote<'_>,
        wanted: &[&str],
        fetched: &mut Fetched,
    ) -> Result<(), SourceError> {
        let broken: Cell<Option<SourceError>> = Cell::new(None);
        let seen = Cell::new((0, 0));
        let started = Instant::now();
        let repository = || self.url.to_string();
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(|progress| {
            let (objects, bytes) = (progress.total_objects() as u64, progress.received_bytes() as u64);
            seen.set((objects, bytes));
            let limits = self.limits;
            let error = if objects > limits.fetch_objects {
                let what = "objects in one fetch";
                SourceError::TooLarge { repository: repository(), what, limit: limits.fetch_objects }
            } else if bytes > limits.fetch_bytes {
                let what = "bytes in one fetch";
                SourceError::TooLarge { repository: repository(), what, limit: limits.fetch_bytes }
            } else if started.elapsed() > limits.deadline {
                SourceError::Deadline { repository: repository(), limit: limits.deadline }
            } else {
                return true;
            };
            broken.set(Some(error));
            false
        });
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks).download_tags(AutotagOption::None);
        let done = remote.download(wanted, Some(&mut options));
        drop(options);
        (fetched.objects, fetched.bytes) = seen.get();
        done.map_err(|error| broken.take().unwrap_or_else(|| self.network_error("fetch", error)))
    }

    /// Moves our refs to what the listing says. Deletions go first, so that a folder of branches can take the place
    /// of a branch. A crash in between is mended by the next fetch, which compares anew.
    fn move_refs(
        &self,
        repo: &Repository,
        ours: &BTreeMap<String, Oid>,
        theirs: &BTreeMap<String, Oid>,
    ) -> Result<Vec<RefChange>, git2::Error> {
        let message = format!("fetched from {}", self.url);
        let mut changes = Vec::new();
        for (name, old) in ours.iter().filter(|(name, _)| !theirs.contains_key(*name)) {
            keep(repo, *old)?;
            repo.find_reference(name)?.delete()?;
            changes.push(RefChange { name: name.clone(), old: Some(revision(*old)), new: None });
        }
        for (name, new) in theirs.iter().filter(|(name, new)| ours.get(*name) != Some(new)) {
            let old = ours.get(name).copied();
            if let Some(old) = old
                && !repo.graph_descendant_of(*new, old)?
            {
                keep(repo, old)?;
            }
            repo.reference(name, *new, true, &message)?;
            changes.push(RefChange { name: name.clone(), old: old.map(revision), new: Some(revision(*new)) });
        }
        changes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(changes)
    }

    /// An error of our own disk or of libgit2's use.
    pub(super) fn error(&self, doing: &'static str, error: git2::Error) -> SourceError {
        let repository = self.url.to_string();
        if is_damage(&error) {
            return SourceError::Corrupt { repository, source: said(&error) };
        }
        SourceError::Git { repository, doing, source: said(&error) }
    }

    /// An error while we spoke with the other side.
    pub(super) fn network_error(&self, doing: &'static str, error: git2::Error) -> SourceError {
        let what = if doing == "push" { "write" } else { "read" };
        if let Some(told) = self.wire.as_ref().and_then(|wire| wire.error(self.url, what)) {
            return told;
        }
        // libgit2 has no code for it
        if ["object format", "sha256", "object id type", "oid type"]
            .iter()
            .any(|words| error.message().contains(words))
        {
            let what = "SHA-256 object ids";
            return SourceError::Unsupported { repository: self.url.to_string(), what };
        }
        let local_and_there = self.url.local_path().is_none_or(Path::exists);
        if is_damage(&error) && local_and_there {
            return SourceError::Corrupt { repository: self.url.to_string(), source: said(&error) };
        }
        let repository = self.url.to_string();
        // the other side is there and has not failed: then it is our disk that the system speaks of
        if error.class() == ErrorClass::Os && local_and_there {
            return SourceError::Disk { path: self.mirror.to_owned(), source: said(&error) };
        }
        match (error.class(), error.code()) {
            (
                ErrorClass::Net
                | ErrorClass::Http
                | ErrorClass::Os
                | ErrorClass::Indexer
                | ErrorClass::Repository,
                _,
            )
            | (_, ErrorCode::NotFound | ErrorCode::Eof) => {
                SourceError::Unreachable { repository, source: said(&error) }
            }
            _ => SourceError::Git { repository, doing, source: said(&error) },
        }
    }
}

/// The refs that follow the other side, by name.
fn ours(repo: &Repository) -> Result<BTreeMap<String, Oid>, git2::Error> {
    let mut ours = BTreeMap::new();
    for reference in repo.references()? {
        let reference = reference?;
        let (Ok(name), Some(target)) = (reference.name(), reference.target()) else { continue };
        if name.starts_with("refs/heads/") || name.starts_with("refs/pull/") || name == note::NOTES {
            ours.insert(name.to_owned(), target);
        }
    }
    Ok(ours)
}

/// Keeps a commit reachable under a ref of our own.
pub(super) fn keep(repo: &Repository, commit: Oid) -> Result<(), git2::Error> {
    repo.reference(&format!("{KEPT}{commit}"), commit, true, "kept").map(drop)
}
