//! Writing: a commit made of file changes, put on a branch only if the branch is where it was read.

use std::sync::Arc;

use git2::{
    Direction, ErrorCode, ObjectType, Oid, PushOptions, RemoteCallbacks, Repository, Signature, Time, Tree,
};
use jiff::Timestamp;
use tokio::runtime::Handle;

use super::credentials::Access;
use super::entry::{check_name, clean};
use super::fetch::Job;
use super::libgit2::said;
use super::mirror::Mirror;
use super::tree::{oid, revision};
use super::{SourceError, libgit2};
use crate::name::{BranchName, Revision};

/// A name and an e-mail address as they stand in a commit. Written by others: text, never markup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
}

impl Person {
    /// We, in commits and notes that nobody else made.
    #[must_use]
    pub fn branchline() -> Self {
        Self { name: "Branchline".to_owned(), email: "branchline@localhost".to_owned() }
    }

    pub(super) fn of(signature: &Signature<'_>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(256).collect();
        Self { name: text(signature.name_bytes()), email: text(signature.email_bytes()) }
    }

    pub(super) fn sign(&self, at: Timestamp) -> Result<Signature<'static>, git2::Error> {
        // libgit2 takes neither angle brackets nor line ends, and no empty name
        let plain =
            |text: &str| text.replace(['<', '>'], "").replace(char::is_control, " ").trim().to_owned();
        let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
        let (name, email) = (or(plain(&self.name), "unknown"), or(plain(&self.email), "unknown@localhost"));
        Signature::new(&name, &email, &Time::new(at.as_second(), 0))
    }
}

/// What happens to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileChange {
    /// The file holds these bytes from now on.
    Write {
        /// The path from the root.
        path: String,
        /// The new content.
        bytes: Vec<u8>,
    },
    /// The file, or the folder with all below it, is gone.
    Remove {
        /// The path from the root.
        path: String,
    },
}

/// A commit to be put on a branch.
#[derive(Debug, Clone)]
pub struct FileCommit {
    /// The branch.
    pub branch: BranchName,
    /// Where the branch must be: the commit that the change was made from.
    pub expected: Revision,
    /// The branch to put it on instead, for a pull request: a new one that begins at `expected`.
    pub onto_new_branch: Option<BranchName>,
    /// The changes, in order.
    pub changes: Vec<FileChange>,
    /// The user who wanted it.
    pub author: Person,
    /// Who writes it: the App.
    pub committer: Person,
    /// When.
    pub at: Timestamp,
    /// The message.
    pub message: String,
}

impl Mirror {
    /// Puts a commit on a branch of the repository itself and fetches it.
    ///
    /// A local repository is written to directly, one behind http by a push. No hook of a local repository runs.
    ///
    /// # Errors
    /// `Moved` when the branch is not where it was expected (read again and retry), `Rejected` when the other side
    /// refuses, `Refused` for a path that no tree may hold.
    pub async fn commit(&self, commit: FileCommit) -> Result<Revision, SourceError> {
        let turn = Arc::clone(&self.flight.lock).lock_owned().await;
        let mirror = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let made = mirror.commit_blocking(&commit, &Handle::current());
            drop(turn);
            made
        });
        let made = task.await.unwrap_or_else(|_| Err(self.stopped()))?;
        if let Err(error) = self.fetch().await {
            tracing::warn!(repository = %self.url(), %error, "A commit was written but could not be fetched yet.");
        }
        Ok(made)
    }

    fn commit_blocking(&self, commit: &FileCommit, runtime: &Handle) -> Result<Revision, SourceError> {
        let target = commit.onto_new_branch.as_ref().unwrap_or(&commit.branch);
        let reference = format!("refs/heads/{target}");
        let before = if commit.onto_new_branch.is_some() { Oid::ZERO_SHA1 } else { oid(&commit.expected) };
        if let Some(path) = self.state.url.local_path() {
            let repo = Repository::open(path).map_err(|e| self.failed("open it", e))?;
            self.refuse_checked_out(&repo, &reference)?;
            let made = self.write(&repo, commit)?;
            let moved = repo.reference_matching(&reference, made, !before.is_zero(), before, &commit.message);
            return match moved {
                Ok(_) => Ok(revision(made)),
                Err(error) => Err(self.not_moved(error, target.as_str(), &commit.expected)),
            };
        }
        let (repo, generation) = self.state.take()?;
        let made = self.write(&repo, commit);
        let pushed = made.and_then(|made| {
            self.push(&repo, made, &reference, before, runtime)?;
            Ok(revision(made))
        });
        self.state.give_back(repo, generation);
        pushed
    }

    /// A branch that a person has in their working tree is not moved beneath them.
    fn refuse_checked_out(&self, repo: &Repository, reference: &str) -> Result<(), SourceError> {
        let head = repo.find_reference("HEAD").ok();
        let head = head.as_ref().and_then(|head| head.symbolic_target().ok().flatten());
        if repo.is_bare() || head != Some(reference) {
            return Ok(());
        }
        let message = "it is checked out in a working tree; hint: use a bare repository";
        Err(self.rejected(reference, message))
    }

    fn write(&self, repo: &Repository, commit: &FileCommit) -> Result<Oid, SourceError> {
        let parent = repo.find_commit(oid(&commit.expected));
        let parent =
            parent.map_err(|error| self.not_moved(error, commit.branch.as_str(), &commit.expected))?;
        let mut tree = parent.tree().map_err(|e| self.failed("read the tree", e))?;
        for change in &commit.changes {
            let (path, bytes) = match change {
                FileChange::Write { path, bytes } => (path, Some(bytes)),
                FileChange::Remove { path } => (path, None),
            };
            let parts: Vec<&str> = clean(path).split('/').collect();
            if let Some(rule) = parts.iter().find_map(|part| check_name(part.as_bytes()).err()) {
                let path = path.escape_debug().to_string();
                return Err(self.refused_path(&commit.expected, path, rule));
            }
            let blob = bytes
                .map(|bytes| repo.blob(bytes))
                .transpose()
                .map_err(|e| self.failed("write a file", e))?;
            let edited = edit(repo, Some(&tree), &parts, blob).map_err(|e| self.failed("write a tree", e))?;
            let edited = edited.map_or_else(|| repo.treebuilder(None).and_then(|empty| empty.write()), Ok);
            tree = edited.and_then(|id| repo.find_tree(id)).map_err(|e| self.failed("write a tree", e))?;
        }
        let author = commit.author.sign(commit.at);
        let signed = author.and_then(|author| Ok((author, commit.committer.sign(commit.at)?)));
        let (author, committer) = signed.map_err(|e| self.failed("sign a commit", e))?;
        repo.commit(None, &author, &committer, &commit.message, &tree, &[&parent])
            .map_err(|e| self.failed("write a commit", e))
    }

    /// Pushes `made` to `reference`, if the other side still has it at `before` (all zeros: not at all).
    pub(super) fn push(
        &self,
        repo: &Repository,
        made: Oid,
        reference: &str,
        before: Oid,
        runtime: &Handle,
    ) -> Result<(), SourceError> {
        let state = &self.state;
        let wire = self.wire(runtime, Access::Write, false)?;
        let job = Job { url: &state.url, limits: &state.limits, wire, mirror: &state.path };
        // libgit2 pushes from a ref, not from a commit
        let from = format!("refs/branchline/push/{made}");
        let mut held =
            repo.reference(&from, made, true, "to be pushed").map_err(|e| self.failed("hold a commit", e))?;
        let result =
            libgit2::over(job.wire.clone(), || self.push_over_wire(repo, &job, &from, reference, before));
        held.delete().map_err(|e| self.failed("let go of a commit", e))?;
        result
    }

    fn push_over_wire(
        &self,
        repo: &Repository,
        job: &Job<'_>,
        from: &str,
        reference: &str,
        before: Oid,
    ) -> Result<(), SourceError> {
        let mut moved = false;
        let mut refusal = None;
        let mut remote =
            repo.remote_anonymous(&self.state.url.git_address()).map_err(|e| self.failed("name it", e))?;
        let pushed = {
            let mut callbacks = RemoteCallbacks::new();
            callbacks.push_negotiation(|updates| {
                moved = updates.iter().any(|update| update.src() != before);
                if moved { Err(git2::Error::from_str("the branch moved")) } else { Ok(()) }
            });
            callbacks.push_update_reference(|_, status| {
                refusal = status.map(str::to_owned);
                Ok(())
            });
            let mut options = PushOptions::new();
            options.remote_callbacks(callbacks).packbuilder_parallelism(1);
            let connected = remote.connect_auth(Direction::Push, None, None);
            connected.and_then(|mut connection| {
                connection.remote().push(&[format!("{from}:{reference}")], Some(&mut options))
            })
        };
        let expected = revision(before);
        match (pushed, refusal) {
            (Ok(()), None) => Ok(()),
            // what a server says when another push won the race after our look
            (Ok(()), Some(words))
                if words.contains("fetch first") || words.contains("failed to update ref") =>
            {
                Err(self.moved(reference, &expected))
            }
            (Ok(()), Some(words)) => Err(self.rejected(reference, &words)),
            (Err(_), _) if moved => Err(self.moved(reference, &expected)),
            (Err(error), _) if error.code() == ErrorCode::NotFastForward => {
                Err(self.moved(reference, &expected))
            }
            (Err(error), _) => Err(job.network_error("push", error)),
        }
    }

    pub(super) fn failed(&self, doing: &'static str, error: git2::Error) -> SourceError {
        let repository = self.state.url.to_string();
        SourceError::Git { repository, doing, source: said(&error) }
    }

    pub(super) fn moved(&self, reference: &str, expected: &Revision) -> SourceError {
        let repository = self.state.url.to_string();
        let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference).to_owned();
        SourceError::Moved { repository, branch, expected: expected.short().to_owned() }
    }

    fn not_moved(&self, error: git2::Error, reference: &str, expected: &Revision) -> SourceError {
        match error.code() {
            ErrorCode::Modified | ErrorCode::NotFound | ErrorCode::Exists | ErrorCode::Locked => {
                self.moved(reference, expected)
            }
            _ => self.failed("move a branch", error),
        }
    }

    fn rejected(&self, reference: &str, message: &str) -> SourceError {
        let repository = self.state.url.to_string();
        let branch = reference.strip_prefix("refs/heads/").unwrap_or(reference).to_owned();
        SourceError::Rejected { repository, branch, message: message.escape_debug().take(500).collect() }
    }

    fn refused_path(&self, at: &Revision, path: String, rule: &'static str) -> SourceError {
        SourceError::Refused { repository: self.state.url.to_string(), revision: at.clone(), path, rule }
    }
}

/// Writes the tree with `blob` at `parts` (`None` removes what is there); `None` when nothing is left of it.
fn edit(
    repo: &Repository,
    tree: Option<&Tree<'_>>,
    parts: &[&str],
    blob: Option<Oid>,
) -> Result<Option<Oid>, git2::Error> {
    let mut builder = repo.treebuilder(tree)?;
    let [name, rest @ ..] = parts else { return Ok(tree.map(Tree::id)) };
    let there = tree.and_then(|tree| tree.get_name(name));
    let (id, mode) = if rest.is_empty() {
        let executable = there.as_ref().is_some_and(|entry| entry.filemode_raw() & 0o170_111 == 0o100_111);
        (blob, if executable { 0o100_755 } else { 0o100_644 })
    } else {
        let folder = there.filter(|entry| entry.kind() == Some(ObjectType::Tree));
        let folder = folder.map(|entry| repo.find_tree(entry.id())).transpose()?;
        (edit(repo, folder.as_ref(), rest, blob)?, 0o040_000)
    };
    match id {
        Some(id) => drop(builder.insert(*name, id, mode)?),
        None if builder.get(*name)?.is_some() => builder.remove(*name)?,
        None => {}
    }
    if builder.is_empty() { Ok(None) } else { builder.write().map(Some) }
}
