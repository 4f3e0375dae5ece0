//! What changed between commits, and which commit changed it.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};
use std::ops::ControlFlow;

use git2::{ErrorCode, ObjectType, Oid, Tree, TreeEntry};
use jiff::Timestamp;

use super::commit::Person;
use super::entry::{ObjectId, check_name};
use super::inputs::Inputs;
use super::tree::{Reader, oid, revision};
use super::{SourceError, lock};
use crate::name::Revision;

const LONGEST_MESSAGE: usize = 64 << 10;
/// Sets of inputs whose newest changes are remembered; when there are more, all are forgotten.
const REMEMBERED: usize = 20_000;
/// Heads remembered for one set of inputs; when there are more, they are forgotten.
const HEADS: usize = 16;

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
    /// When one of the commits is not there, `TooLarge` over the limit on entries.
    pub fn changed(&self, from: &Revision, to: &Revision) -> Result<Vec<Change>, SourceError> {
        let (old, new) = (self.tree(from)?, self.tree(to)?);
        let limit = self.state.limits.entries;
        let mut changes = Vec::new();
        let mut visit = |change| {
            changes.push(change);
            if changes.len() as u64 > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut walk = Walk { reader: self, enter: &|_| true, visit: &mut visit };
        if walk.differences(Some(&old), Some(&new), "", 0)?.is_break() {
            return Err(self.too_large("changed files", limit));
        }
        Ok(changes)
    }

    /// The newest commit reachable from `head` that changed one of `inputs`, `None` where none ever did.
    ///
    /// # Errors
    /// As [`newest_changes`](Self::newest_changes).
    pub fn newest_change(&self, head: &Revision, inputs: &Inputs) -> Result<Option<Revision>, SourceError> {
        let mut found = self.newest_changes(head, std::slice::from_ref(inputs))?;
        Ok(found.pop().flatten())
    }

    /// For each of many sets of inputs, the newest commit reachable from `head` that changed one of them, `None` where
    /// none ever did. History is walked once for all of them.
    ///
    /// History is simplified as git-log(1) does for paths: a merge that took the inputs over from one of its parents
    /// is not a change, the commit on that parent's side is; so what a pull request built is what its merge deploys.
    ///
    /// # Errors
    /// When the head is not there, `TooLarge` when the history is longer than its limit.
    pub fn newest_changes(
        &self,
        head: &Revision,
        inputs: &[Inputs],
    ) -> Result<Vec<Option<Revision>>, SourceError> {
        let mut found = vec![None; inputs.len()];
        let known = self.known(inputs);
        let mut search = Search::default();
        let start = self.commit_of(head)?;
        search.add(&start, (0..inputs.len()).collect());
        let mut steps = 0;
        while let Some((at, mut pending)) = search.next() {
            for (index, answer) in known.get(&at).into_iter().flatten() {
                if let Some(place) = pending.iter().position(|pending| pending == index) {
                    pending.swap_remove(place);
                    found[*index] = *answer;
                }
            }
            if pending.is_empty() {
                continue;
            }
            steps += 1;
            if steps > self.state.limits.history {
                return Err(self.too_large("commits of history", self.state.limits.history));
            }
            for index in self.step(at, pending, inputs, &mut search)? {
                found[index] = Some(at);
            }
        }
        self.remember(inputs, start.id(), &found);
        Ok(found.into_iter().map(|found| found.map(revision)).collect())
    }

    /// Looks at one commit: which of the pending inputs it changed. The others go on to a parent that has them as they
    /// are here.
    fn step(
        &self,
        at: Oid,
        mut pending: Vec<usize>,
        inputs: &[Inputs],
        search: &mut Search,
    ) -> Result<Vec<usize>, SourceError> {
        let commit = self.commit_of(&revision(at))?;
        let tree = self.subtree(commit.tree_id())?;
        if commit.parent_count() == 0 {
            return self.touched(None, &tree, &pending, inputs);
        }
        for parent in commit.parents() {
            let before = self.subtree(parent.tree_id())?;
            let touched = self.touched(Some(&before), &tree, &pending, inputs)?;
            pending.retain(|index| !touched.contains(index));
            search.add(&parent, std::mem::replace(&mut pending, touched));
            if pending.is_empty() {
                break;
            }
        }
        Ok(pending)
    }

    /// Those of the pending inputs that differ between two trees.
    fn touched(
        &self,
        old: Option<&Tree<'_>>,
        new: &Tree<'_>,
        pending: &[usize],
        inputs: &[Inputs],
    ) -> Result<Vec<usize>, SourceError> {
        if old.is_some_and(|old| old.id() == new.id()) {
            return Ok(Vec::new());
        }
        let left = RefCell::new(pending.to_vec());
        let mut touched = Vec::new();
        let enter = |folder: &str| left.borrow().iter().any(|index| inputs[*index].may_hold(folder));
        let mut visit = |change: Change| {
            let mut left = left.borrow_mut();
            touched.extend(left.extract_if(.., |index| inputs[*index].matches(&change.path)));
            if left.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut walk = Walk { reader: self, enter: &enter, visit: &mut visit };
        let _all_or_enough = walk.differences(old, Some(new), "", 0)?;
        Ok(touched)
    }

    /// What earlier searches found: commit → inputs and their answer from there.
    fn known(&self, inputs: &[Inputs]) -> HashMap<Oid, Vec<(usize, Option<Oid>)>> {
        let newest = lock(&self.state.newest);
        let mut known: HashMap<Oid, Vec<(usize, Option<Oid>)>> = HashMap::new();
        for (index, inputs) in inputs.iter().enumerate() {
            for (commit, answer) in newest.get(inputs.key()).into_iter().flatten() {
                known.entry(*commit).or_default().push((index, *answer));
            }
        }
        known
    }

    fn remember(&self, inputs: &[Inputs], head: Oid, found: &[Option<Oid>]) {
        let mut newest = lock(&self.state.newest);
        if newest.len() + inputs.len() > REMEMBERED {
            newest.clear();
        }
        for (inputs, found) in inputs.iter().zip(found) {
            let heads = newest.entry(inputs.key().to_owned()).or_default();
            if heads.len() >= HEADS {
                heads.clear();
            }
            heads.insert(head, *found);
        }
    }
}

/// The commits still to look at, the newest first, and the inputs that are looked for from each.
#[derive(Default)]
struct Search {
    order: BinaryHeap<(i64, Oid)>,
    pending: HashMap<Oid, Vec<usize>>,
}

impl Search {
    fn add(&mut self, commit: &git2::Commit<'_>, inputs: Vec<usize>) {
        if inputs.is_empty() {
            return;
        }
        let pending = self.pending.entry(commit.id()).or_insert_with(|| {
            self.order.push((commit.time().seconds(), commit.id()));
            Vec::new()
        });
        pending.extend(inputs);
    }

    fn next(&mut self) -> Option<(Oid, Vec<usize>)> {
        let (_, at) = self.order.pop()?;
        self.pending.remove(&at).map(|pending| (at, pending))
    }
}

/// A walk over the files that differ between two trees.
struct Walk<'w> {
    reader: &'w Reader<'w>,
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
        let path = child_shown(folder, named);
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

/// The path of an entry for comparing and showing. A name that no tree may hold is escaped; whoever reads it is refused.
fn child_shown(folder: &str, entry: &TreeEntry<'_>) -> String {
    let name = match check_name(entry.name_bytes()) {
        Ok(name) => name.to_owned(),
        Err(_) => String::from_utf8_lossy(entry.name_bytes()).escape_debug().take(300).collect(),
    };
    if folder.is_empty() { name } else { format!("{folder}/{name}") }
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
