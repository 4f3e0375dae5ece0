//! Reading a mirror: heads, trees and blobs, with every entry name checked on the way (catalogue G1 to G3).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository, Tree, TreeEntry};

use super::SourceError;
use super::entry::{Entry, EntryKind, ObjectId, check_name, clean, kind_of};
use super::libgit2::said;
use super::state::State;
use crate::name::{BranchName, PullNumber, Revision};

/// The branches and pull requests of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heads {
    /// The branch that `HEAD` names, where it exists.
    pub default: Option<BranchName>,
    /// Every branch and its commit.
    pub branches: BTreeMap<BranchName, Revision>,
    /// `refs/pull/<n>/head`, in repositories without a forge.
    pub pulls: BTreeMap<PullNumber, Revision>,
    /// Branches whose names Branchline does not take (longer than 100 characters, or not UTF-8).
    pub unusable: BTreeSet<String>,
}

/// One mirror, open for reading on a blocking thread. Everything is read by revision; nothing is checked out.
pub struct Reader<'r> {
    pub(super) repo: &'r Repository,
    pub(super) state: &'r State,
}

impl Reader<'_> {
    /// The branches and pull requests as of the last fetch.
    ///
    /// # Errors
    /// When the mirror is damaged.
    pub fn heads(&self) -> Result<Heads, SourceError> {
        let mut heads = Heads::default();
        let references = self.repo.references().map_err(|e| self.error("list the refs", e))?;
        for reference in references {
            let reference = reference.map_err(|e| self.error("list the refs", e))?;
            let Some(target) = reference.target() else { continue };
            let name = String::from_utf8_lossy(reference.name_bytes());
            if let Some(branch) = name.strip_prefix("refs/heads/") {
                match branch.parse() {
                    Ok(branch) if reference.name().is_ok() => {
                        drop(heads.branches.insert(branch, revision(target)));
                    }
                    _ => drop(heads.unusable.insert(branch.to_owned())),
                }
            } else if let Some(number) = pull_number(&name) {
                heads.pulls.insert(number, revision(target));
            }
        }
        let head = self.repo.find_reference("HEAD").ok();
        let target = head.as_ref().and_then(|head| head.symbolic_target().ok().flatten());
        let branch: Option<BranchName> =
            target.and_then(|name| name.strip_prefix("refs/heads/")?.parse().ok());
        heads.default = branch.filter(|branch| heads.branches.contains_key(branch));
        Ok(heads)
    }

    /// The commit of a branch as of the last fetch.
    ///
    /// # Errors
    /// `NoBranch` when the last listing did not hold it.
    pub fn branch(&self, branch: &BranchName) -> Result<Revision, SourceError> {
        let missing =
            || SourceError::NoBranch { repository: self.state.url.to_string(), branch: branch.clone() };
        match self.repo.find_reference(&format!("refs/heads/{branch}")) {
            Ok(reference) => reference.target().map(revision).ok_or_else(missing),
            Err(error) if error.code() == ErrorCode::NotFound => Err(missing()),
            Err(error) => Err(self.error("read a branch", error)),
        }
    }

    /// Finds the commit that a person means: a branch, a full id, or at least 7 digits of one.
    ///
    /// # Errors
    /// `NoRevision` when there is none, or more than one.
    pub fn resolve(&self, text: &str) -> Result<Revision, SourceError> {
        if let Ok(branch) = text.parse()
            && let Ok(revision) = self.branch(&branch)
        {
            return Ok(revision);
        }
        let is_id = (7..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        let found = is_id.then(|| self.repo.find_commit_by_prefix(text).ok()).flatten();
        found.map(|commit| revision(commit.id())).ok_or_else(|| SourceError::NoRevision {
            repository: self.state.url.to_string(),
            revision: text.escape_debug().take(120).collect(),
        })
    }

    /// The bytes of the file at `path`.
    ///
    /// # Errors
    /// `NoPath` when it is not there, `Refused` when it is a link, a submodule or a folder, `TooLarge`.
    pub fn read(&self, revision: &Revision, path: &str) -> Result<Vec<u8>, SourceError> {
        let missing = || {
            let repository = self.state.url.to_string();
            SourceError::NoPath { repository, revision: revision.clone(), path: path.to_owned() }
        };
        let entry = self.entry(revision, path)?.ok_or_else(missing)?;
        let rule = match self.kind(revision, path, &entry)? {
            Some(EntryKind::File | EntryKind::Executable) => return self.blob(ObjectId::of(entry.id())),
            Some(EntryKind::Link) => "it is a symbolic link, which is not followed; hint: put the file there",
            Some(EntryKind::Submodule) => {
                "it is a submodule, which is not followed; hint: put the files there"
            }
            None => "it is a folder, and a file was expected",
        };
        Err(self.refused(revision, path, rule))
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// `TooLarge` over [`Limits::blob_bytes`](super::Limits), `Corrupt` when it is missing.
    pub fn blob(&self, id: ObjectId) -> Result<Vec<u8>, SourceError> {
        let limit = self.state.limits.blob_bytes;
        if self.size(id)? > limit {
            return Err(self.too_large("bytes in one file", limit));
        }
        let blob = self.repo.find_blob(id.oid()).map_err(|e| self.damage(e))?;
        Ok(blob.content().to_vec())
    }

    pub(super) fn size(&self, id: ObjectId) -> Result<u64, SourceError> {
        let odb = self.repo.odb().map_err(|e| self.damage(e))?;
        let (size, _) = odb.read_header(id.oid()).map_err(|e| self.damage(e))?;
        Ok(size as u64)
    }

    /// Every file, link and submodule at or below `prefix` (`""` is the root), in the order of Git's trees.
    ///
    /// A prefix that is not there gives an empty list: the caller decides what absence means.
    ///
    /// # Errors
    /// `Refused` for a name that no tree may hold, `TooLarge` over the limits on entries and depth.
    pub fn files(&self, revision: &Revision, prefix: &str) -> Result<Vec<Entry>, SourceError> {
        let prefix = clean(prefix);
        let mut files = Vec::new();
        if prefix.is_empty() {
            let tree = self.tree(revision)?;
            self.collect(revision, &tree, "", 0, &mut files)?;
            return Ok(files);
        }
        let Some(entry) = self.entry(revision, prefix)? else { return Ok(files) };
        match self.kind(revision, prefix, &entry)? {
            Some(kind) => files.push(self.file(prefix.to_owned(), kind, entry.id())?),
            None => self.collect(revision, &self.subtree(entry.id())?, prefix, 0, &mut files)?,
        }
        Ok(files)
    }

    fn collect(
        &self,
        revision: &Revision,
        tree: &Tree<'_>,
        folder: &str,
        depth: u64,
        files: &mut Vec<Entry>,
    ) -> Result<(), SourceError> {
        let limits = &self.state.limits;
        if depth > limits.depth {
            return Err(self.too_large("folders within folders", limits.depth));
        }
        for entry in tree {
            let path = self.child(revision, folder, &entry)?;
            match self.kind(revision, &path, &entry)? {
                Some(kind) => files.push(self.file(path, kind, entry.id())?),
                None => self.collect(revision, &self.subtree(entry.id())?, &path, depth + 1, files)?,
            }
            if files.len() as u64 > limits.entries {
                return Err(self.too_large("files in a tree", limits.entries));
            }
        }
        Ok(())
    }

    fn file(&self, path: String, kind: EntryKind, id: Oid) -> Result<Entry, SourceError> {
        let id = ObjectId::of(id);
        let size = if kind == EntryKind::Submodule { 0 } else { self.size(id)? };
        Ok(Entry { path, kind, id, size })
    }

    /// The id of the tree or blob at `path` (`""` is the root), `None` where there is none. Equal ids are equal
    /// content.
    ///
    /// # Errors
    /// When the revision is not there or the path is none.
    pub fn tree_id(&self, revision: &Revision, path: &str) -> Result<Option<ObjectId>, SourceError> {
        if clean(path).is_empty() {
            return Ok(Some(ObjectId::of(self.commit_of(revision)?.tree_id())));
        }
        Ok(self.entry(revision, path)?.map(|entry| ObjectId::of(entry.id())))
    }

    pub(super) fn commit_of(&self, revision: &Revision) -> Result<git2::Commit<'_>, SourceError> {
        self.repo.find_commit(oid(revision)).map_err(|error| match error.code() {
            ErrorCode::NotFound => SourceError::NoRevision {
                repository: self.state.url.to_string(),
                revision: revision.to_string(),
            },
            _ => self.damage(error),
        })
    }

    pub(super) fn tree(&self, revision: &Revision) -> Result<Tree<'_>, SourceError> {
        let id = self.commit_of(revision)?.tree_id();
        self.subtree(id)
    }

    pub(super) fn subtree(&self, id: Oid) -> Result<Tree<'_>, SourceError> {
        self.repo.find_tree(id).map_err(|e| self.damage(e))
    }

    pub(super) fn entry(
        &self,
        revision: &Revision,
        path: &str,
    ) -> Result<Option<TreeEntry<'static>>, SourceError> {
        let mut tree = self.tree(revision)?;
        let mut parts = clean(path).split('/').peekable();
        while let Some(part) = parts.next() {
            check_name(part.as_bytes()).map_err(|rule| self.refused(revision, path, rule))?;
            let Some(entry) = tree.get_name(part).map(|entry| entry.to_owned()) else { return Ok(None) };
            if parts.peek().is_none() {
                return Ok(Some(entry));
            }
            if entry.kind() != Some(ObjectType::Tree) {
                return Ok(None);
            }
            tree = self.subtree(entry.id())?;
        }
        Ok(None)
    }

    /// The path of an entry of `folder`, once its name is checked.
    pub(super) fn child(
        &self,
        revision: &Revision,
        folder: &str,
        entry: &TreeEntry<'_>,
    ) -> Result<String, SourceError> {
        let join = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        check_name(entry.name_bytes()).map(join).map_err(|rule| {
            let name = String::from_utf8_lossy(entry.name_bytes());
            let shown: String = name.escape_debug().take(120).collect();
            self.refused(revision, &join(&shown), rule)
        })
    }

    pub(super) fn kind(
        &self,
        revision: &Revision,
        path: &str,
        entry: &TreeEntry<'_>,
    ) -> Result<Option<EntryKind>, SourceError> {
        kind_of(entry).map_err(|rule| self.refused(revision, path, rule))
    }

    /// The error that refuses an entry because of a rule.
    #[must_use]
    pub fn refused(&self, revision: &Revision, path: &str, rule: &'static str) -> SourceError {
        let repository = self.state.url.to_string();
        SourceError::Refused { repository, revision: revision.clone(), path: path.to_owned(), rule }
    }

    pub(super) fn too_large(&self, what: &'static str, limit: u64) -> SourceError {
        SourceError::TooLarge { repository: self.state.url.to_string(), what, limit }
    }

    /// An object that must be there is not: the next fetch clones again.
    pub(super) fn damage(&self, error: git2::Error) -> SourceError {
        self.state.suspect.store(true, Ordering::Relaxed);
        SourceError::Corrupt { repository: self.state.url.to_string(), source: said(&error) }
    }

    pub(super) fn error(&self, doing: &'static str, error: git2::Error) -> SourceError {
        if is_damage(&error) {
            return self.damage(error);
        }
        SourceError::Git { repository: self.state.url.to_string(), doing, source: said(&error) }
    }
}

/// Whether libgit2 speaks of objects or refs on our disk that it cannot read.
pub(super) fn is_damage(error: &git2::Error) -> bool {
    let class = error.class();
    matches!(class, ErrorClass::Odb | ErrorClass::Object | ErrorClass::Zlib | ErrorClass::Tree)
        || (class == ErrorClass::Reference && error.code() == ErrorCode::GenericError)
        || error.code() == ErrorCode::HashsumMismatch
}

pub(super) fn revision(id: Oid) -> Revision {
    id.to_string().parse().expect("an object id is 40 hex digits")
}

pub(super) fn oid(revision: &Revision) -> Oid {
    Oid::from_str(revision.as_str()).expect("a revision is 40 hex digits")
}

pub(super) fn pull_number(reference: &str) -> Option<PullNumber> {
    let digits = reference.strip_prefix("refs/pull/")?.strip_suffix("/head")?;
    let plain = !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok().map(PullNumber)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_are_pull_requests() {
        assert_eq!(pull_number("refs/pull/12/head"), Some(PullNumber(12)));
        for name in ["refs/pull/012/head", "refs/pull/x/head", "refs/pull/+1/head", "refs/pull/1/merge"] {
            assert_eq!(pull_number(name), None, "{name}");
        }
    }
}
