//! What changed between commits, and which commit changed it.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::ControlFlow;

use git2::{ErrorCode, ObjectType, Oid, Tree, TreeEntry};
use jiff::Timestamp;

use super::commit::Person;
use super::entry::{ObjectId, clean};
use super::inputs::Inputs;
use super::tree::{Reader, oid, revision};
use super::{SourceError, lock};
use crate::name::Revision;

const LONGEST_MESSAGE: usize = 64 << 10;
/// Entries of the cache of newest changes; it is emptied when it is full.
const REMEMBERED: usize = 20_000;

/// A path that differs between two commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path of the file, link or submodule.
    pub path: String,
    /// Its blob before, `None` where it is new.
    pub old: Option<ObjectId>,
    /// Its blob after, `None` where it is gone.
    pub new: Option<ObjectId>,
}

/// What a commit says of itself. All of it was written by others: it is text, never markup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// The commit.
    pub revision: Revision,
    /// Who wrote it.
    pub author: Person,
    /// Who committed it.
    pub committer: Person,
    /// When it was committed.
    pub at: Timestamp,
    /// The first line of its message, cut to 200 characters.
    pub summary: String,
    /// Its message, cut to 64 KiB.
    pub message: String,
    /// Its parents, the first one first.
    pub parents: Vec<Revision>,
}

/// The cache of newest changes: inputs → commit → the newest commit at or before it that changed them.
pub(super) type Newest = HashMap<String, HashMap<Oid, Option<Oid>>>;

impl Reader<'_> {
    /// What the commit says of itself.
    ///
    /// # Errors
    /// `NoRevision` when it is not there.
    pub fn commit(&self, of: &Revision) -> Result<CommitInfo, SourceError> {
        let commit = self.commit_of(of)?;
        let bytes = commit.message_bytes();
        let message = String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_MESSAGE)]).into_owned();
        Ok(CommitInfo {
            revision: of.clone(),
            author: Person::of(&commit.author()),
            committer: Person::of(&commit.committer()),
            at: Timestamp::from_second(commit.time().seconds()).unwrap_or(Timestamp::UNIX_EPOCH),
            summary: message.trim_start().lines().next().unwrap_or_default().chars().take(200).collect(),
            message,
            parents: commit.parent_ids().map(revision).collect(),
        })
    }

    /// Whether `commit` is reachable from `from` (a commit reaches itself).
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn is_ancestor(&self, commit: &Revision, from: &Revision) -> Result<bool, SourceError> {
        self.commit_of(commit)?;
        self.commit_of(from)?;
        if commit == from {
            return Ok(true);
        }
        self.repo.graph_descendant_of(oid(from), oid(commit)).map_err(|e| self.error("compare commits", e))
    }

    /// The newest commit that both reach, `None` where their histories have nothing in common.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn merge_base(&self, one: &Revision, other: &Revision) -> Result<Option<Revision>, SourceError> {
        self.commit_of(one)?;
        self.commit_of(other)?;
        match self.repo.merge_base(oid(one), oid(other)) {
            Ok(base) => Ok(Some(revision(base))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(self.error("compare commits", error)),
        }
    }

    /// The paths that differ between two commits, in order. The cost follows what changed, not the size of the tree.
    ///
    /// # Errors
    /// When one of the commits is not there, `Refused` for a hostile name, `TooLarge` over the limit on entries.
    pub fn changed(&self, from: &Revision, to: &Revision) -> Result<Vec<Change>, SourceError> {
        let (old, new) = (self.tree(from)?, self.tree(to)?);
        let limit = self.state.limits.entries;
        let mut changes = Vec::new();
        let mut visit = |change| {
            changes.push(change);
            if changes.len() as u64 > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut walk = Walk { reader: self, at: to, enter: &|_| true, visit: &mut visit };
        if walk.differences(Some(&old), Some(&new), "", 0)?.is_break() {
            return Err(self.too_large("changed files", limit));
        }
        Ok(changes)
    }

    /// The newest commit reachable from `head` that changed one of `inputs`, `None` where none ever did.
    ///
    /// History is simplified as git-log(1) does for paths: a merge that took the inputs over from one of its parents
    /// is not a change, the commit on that parent's side is; so what a pull request built is what its merge deploys.
    ///
    /// # Errors
    /// When the head is not there, `TooLarge` when the history is longer than its limit.
    pub fn newest_change(&self, head: &Revision, inputs: &Inputs) -> Result<Option<Revision>, SourceError> {
        let start = oid(head);
        let mut at = start;
        let mut steps = 0;
        let found = loop {
            if let Some(known) = lock(&self.state.newest).get(inputs.key()).and_then(|known| known.get(&at)) {
                break *known;
            }
            steps += 1;
            if steps > self.state.limits.history {
                return Err(self.too_large("commits of history", self.state.limits.history));
            }
            match self.step(at, inputs)? {
                Step::Follow(parent) => at = parent,
                Step::Changed => break Some(at),
                Step::Never => break None,
            }
        };
        self.remember(inputs, start, found);
        Ok(found.map(revision))
    }

    fn step(&self, at: Oid, inputs: &Inputs) -> Result<Step, SourceError> {
        let at = revision(at);
        let commit = self.commit_of(&at)?;
        let tree = self.subtree(commit.tree_id())?;
        if commit.parent_count() == 0 {
            let changed = self.inputs_differ(&at, None, &tree, inputs)?;
            return Ok(if changed { Step::Changed } else { Step::Never });
        }
        for parent in commit.parents() {
            let before = self.subtree(parent.tree_id())?;
            if !self.inputs_differ(&at, Some(&before), &tree, inputs)? {
                return Ok(Step::Follow(parent.id()));
            }
        }
        Ok(Step::Changed)
    }

    fn inputs_differ(
        &self,
        at: &Revision,
        old: Option<&Tree<'_>>,
        new: &Tree<'_>,
        inputs: &Inputs,
    ) -> Result<bool, SourceError> {
        if old.is_some_and(|old| old.id() == new.id()) {
            return Ok(false);
        }
        if let (Some(old), Some(paths)) = (old, inputs.only_plain()) {
            for path in paths {
                if self.id_below(old, path)? != self.id_below(new, path)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let enter = |folder: &str| inputs.may_hold(folder);
        let mut visit = |change: Change| {
            if inputs.matches(&change.path) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut walk = Walk { reader: self, at, enter: &enter, visit: &mut visit };
        Ok(walk.differences(old, Some(new), "", 0)?.is_break())
    }

    fn id_below(&self, tree: &Tree<'_>, path: &str) -> Result<Option<(Oid, i32)>, SourceError> {
        let path = clean(path);
        if path.is_empty() {
            return Ok(Some((tree.id(), 0)));
        }
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        let Some(entry) = tree.get_name(first) else { return Ok(None) };
        match (rest, entry.kind()) {
            ("", _) => Ok(Some((entry.id(), entry.filemode()))),
            (rest, Some(ObjectType::Tree)) => self.id_below(&self.subtree(entry.id())?, rest),
            _ => Ok(None),
        }
    }

    fn remember(&self, inputs: &Inputs, head: Oid, found: Option<Oid>) {
        let mut newest = lock(&self.state.newest);
        if newest.values().map(HashMap::len).sum::<usize>() >= REMEMBERED {
            newest.clear();
        }
        newest.entry(inputs.key().to_owned()).or_default().insert(head, found);
    }
}

enum Step {
    Follow(Oid),
    Changed,
    Never,
}

/// A walk over the files that differ between two trees.
struct Walk<'w> {
    reader: &'w Reader<'w>,
    /// The commit that a refusal names.
    at: &'w Revision,
    /// Whether to enter a folder that differs.
    enter: &'w dyn Fn(&str) -> bool,
    visit: &'w mut dyn FnMut(Change) -> ControlFlow<()>,
}

impl Walk<'_> {
    fn differences(
        &mut self,
        old: Option<&Tree<'_>>,
        new: Option<&Tree<'_>>,
        folder: &str,
        depth: u64,
    ) -> Result<ControlFlow<()>, SourceError> {
        let deepest = self.reader.state.limits.depth;
        if depth > deepest {
            return Err(self.reader.too_large("folders within folders", deepest));
        }
        let mut old = old.into_iter().flat_map(Tree::iter).peekable();
        let mut new = new.into_iter().flat_map(Tree::iter).peekable();
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Ok(ControlFlow::Continue(())),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => key(old).cmp(&key(new)),
            };
            let before = if order.is_le() { old.next() } else { None };
            let after = if order.is_ge() { new.next() } else { None };
            if let (Some(before), Some(after)) = (&before, &after)
                && before.id() == after.id()
                && before.filemode_raw() == after.filemode_raw()
            {
                continue;
            }
            if self.pair(before.as_ref(), after.as_ref(), folder, depth)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    /// Visits one name that differs; both sides are of one kind, since folders sort apart from files.
    fn pair(
        &mut self,
        before: Option<&TreeEntry<'_>>,
        after: Option<&TreeEntry<'_>>,
        folder: &str,
        depth: u64,
    ) -> Result<ControlFlow<()>, SourceError> {
        let Some(named) = after.or(before) else { return Ok(ControlFlow::Continue(())) };
        let path = self.reader.child(self.at, folder, named)?;
        if named.kind() == Some(ObjectType::Tree) {
            if !(self.enter)(&path) {
                return Ok(ControlFlow::Continue(()));
            }
            let reader = self.reader;
            let tree =
                |entry: Option<&TreeEntry<'_>>| entry.map(|entry| reader.subtree(entry.id())).transpose();
            let (before, after) = (tree(before)?, tree(after)?);
            return self.differences(before.as_ref(), after.as_ref(), &path, depth + 1);
        }
        let id = |entry: Option<&TreeEntry<'_>>| entry.map(|entry| ObjectId::of(entry.id()));
        Ok((self.visit)(Change { path, old: id(before), new: id(after) }))
    }
}

/// The key by which Git sorts the entries of a tree: a folder's name ends in a slash, so that a file and a folder of
/// one name are two entries.
fn key(entry: &TreeEntry<'_>) -> Vec<u8> {
    let mut name = entry.name_bytes().to_vec();
    if entry.kind() == Some(ObjectType::Tree) {
        name.push(b'/');
    }
    name
}
