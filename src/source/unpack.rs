//! Writing a tree out into a folder, by hand: no checkout, no filter, no hook (no tree is ever checked out).

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;

use super::SourceError;
use super::entry::{Entry, EntryKind, clean};
use super::state::disk;
use super::tree::Reader;
use crate::name::Revision;

/// As many links as Linux follows in one path.
const LONGEST_CHAIN: usize = 40;
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files and links.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Reader<'_> {
    /// Writes the folder `path` of a revision (`""` is the root) into `into`, which must be empty or missing.
    ///
    /// Files get mode 644 or 755. Links are made last, so that no file is ever written through one, and only where
    /// they stay inside.
    ///
    /// # Errors
    /// `NoPath` when there is nothing at `path`; `Refused` for hostile names, links that leave the folder, submodules
    /// and LFS pointers; `TooLarge`; `Disk`.
    pub fn unpack(&self, revision: &Revision, path: &str, into: &Path) -> Result<Unpacked, SourceError> {
        let root = clean(path);
        let entries = self.files(revision, root)?;
        if entries.is_empty() {
            let repository = self.state.url.to_string();
            return Err(SourceError::NoPath {
                repository,
                revision: revision.clone(),
                path: root.to_owned(),
            });
        }
        let limit = self.state.limits.unpack_bytes;
        if entries.iter().map(|entry| entry.size).sum::<u64>() > limit {
            return Err(self.too_large("bytes in the files to unpack", limit));
        }
        let links = self.links(revision, root, &entries)?;
        fs::create_dir_all(into).map_err(|error| disk(into, error))?;
        let mut unpacked = Unpacked::default();
        for entry in &entries {
            let inside = below(&entry.path, root);
            match entry.kind {
                EntryKind::Submodule => {
                    let rule = "it is a submodule, which is not followed; hint: put the files there";
                    return Err(self.refused(revision, &entry.path, rule));
                }
                EntryKind::Link => continue,
                EntryKind::File | EntryKind::Executable => {}
            }
            let bytes = self.content(revision, entry)?;
            let target = into.join(inside);
            let mode = if entry.kind == EntryKind::Executable { 0o755 } else { 0o644 };
            write_file(&target, &bytes, mode).map_err(|error| disk(&target, error))?;
            unpacked.files += 1;
            unpacked.bytes += entry.size;
        }
        for (inside, target) in &links {
            let link = into.join(inside);
            let made = make_parent(&link).and_then(|()| symlink(target, &link));
            made.map_err(|error| disk(&link, error))?;
            unpacked.files += 1;
        }
        Ok(unpacked)
    }

    fn content(&self, revision: &Revision, entry: &Entry) -> Result<Vec<u8>, SourceError> {
        let blob = self.repo.find_blob(entry.id.oid()).map_err(|e| self.damage(e))?;
        if blob.content().starts_with(LFS_POINTER) && entry.size < 1024 {
            let rule = "it is a Git LFS pointer, and its content is not in the repository; hint: commit the file itself";
            return Err(self.refused(revision, &entry.path, rule));
        }
        Ok(blob.content().to_vec())
    }

    /// The links of the tree, path → target, each of which stays inside whatever the others do.
    fn links(
        &self,
        revision: &Revision,
        root: &str,
        entries: &[Entry],
    ) -> Result<BTreeMap<String, String>, SourceError> {
        let mut links = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Link) {
            let rule = "it is a link whose target is no path; hint: remove it";
            let target = String::from_utf8(self.blob(entry.id)?);
            let target = target.map_err(|_| self.refused(revision, &entry.path, rule))?;
            if target.is_empty() || target.contains('\0') {
                return Err(self.refused(revision, &entry.path, rule));
            }
            links.insert(below(&entry.path, root).to_owned(), target);
        }
        for (link, target) in &links {
            check_link(link, target, &links).map_err(|rule| {
                let path = if root.is_empty() { link.clone() } else { format!("{root}/{link}") };
                self.refused(revision, &path, rule)
            })?;
        }
        Ok(links)
    }
}

fn below<'p>(path: &'p str, root: &str) -> &'p str {
    match path.strip_prefix(root) {
        // a single file is unpacked under its own name
        Some("") => path.rsplit('/').next().unwrap_or(path),
        Some(rest) if !root.is_empty() => rest.trim_start_matches('/'),
        _ => path,
    }
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn write_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    make_parent(path)?;
    // `create_new` neither follows a link nor takes over a file that is there
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)
}

/// Follows a link through the other links of the tree and refuses it when it leaves the tree or never ends.
fn check_link(link: &str, target: &str, links: &BTreeMap<String, String>) -> Result<(), &'static str> {
    const LEAVES: &str = "it is a link that leaves the folder; hint: link to a path inside it";
    let folder = |path: &str| path.rsplit_once('/').map_or_else(Vec::new, |(folder, _)| parts(folder));
    let mut at = folder(link);
    let mut ahead = parts(target);
    ahead.reverse();
    let mut followed = 0;
    if target.starts_with('/') {
        return Err(LEAVES);
    }
    while let Some(part) = ahead.pop() {
        match part.as_str() {
            "." => continue,
            ".." => {
                at.pop().ok_or(LEAVES)?;
                continue;
            }
            _ => at.push(part),
        }
        if let Some(next) = links.get(&at.join("/")) {
            followed += 1;
            if followed > LONGEST_CHAIN {
                return Err("it is a link that never ends; hint: remove it");
            }
            if next.starts_with('/') {
                return Err(LEAVES);
            }
            at.pop();
            ahead.extend(parts(next).into_iter().rev());
        }
    }
    Ok(())
}

fn parts(path: &str) -> Vec<String> {
    path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(links: &[(&str, &str)]) -> Result<(), &'static str> {
        let links: BTreeMap<String, String> =
            links.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        links.iter().try_for_each(|(link, target)| check_link(link, target, &links))
    }

    #[test]
    fn g1_links_that_leave_or_never_end_are_refused() {
        for links in [
            &[("a", "/etc/passwd")][..],
            &[("a", "../x")],
            &[("a/b", "../../x")],
            &[("a", "a")],
            &[("a", "b"), ("b", "a")],
            // lexically inside, and yet outside once the other link is followed
            &[("p/q/d", "../.."), ("l", "p/q/d/../x")],
            &[("a", "b/../../../x"), ("b", "c/d")],
        ] {
            assert!(check(links).is_err(), "{links:?}");
        }
        let chain: Vec<(String, String)> =
            (0..64).map(|n| (format!("l{n}"), format!("l{}", n + 1))).collect();
        let chain: Vec<(&str, &str)> = chain.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert!(check(&chain).is_err());
    }

    #[test]
    fn links_that_stay_inside_are_kept() {
        for links in [
            &[("a", "b")][..],
            &[("a/b", "../c/./d")],
            &[("d", "p/q"), ("l", "d/../x")],
            &[("current", "releases/1"), ("app", "current/bin/app")],
        ] {
            assert_eq!(check(links), Ok(()), "{links:?}");
        }
    }
}
