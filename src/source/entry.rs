//! What a tree holds: ids, kinds and names. The names are checked before anything is made of them.

use std::fmt;

use git2::{Oid, TreeEntry};

/// The id of a blob or a tree: SHA-1 of its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId([u8; 20]);

impl ObjectId {
    pub(super) fn of(id: Oid) -> Self {
        let mut bytes = [0; 20];
        bytes.copy_from_slice(id.as_bytes());
        Self(bytes)
    }

    pub(super) fn oid(self) -> Oid {
        Oid::from_bytes(&self.0).expect("20 bytes are an id")
    }
}

/// The text is no id of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of an object takes 40 hex digits")]
pub struct NotAnId;

impl std::str::FromStr for ObjectId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let mut bytes = [0; 20];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAnId)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a tree entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A file (mode 100644).
    File,
    /// A file that may be run (mode 100755).
    Executable,
    /// A symbolic link (mode 120000); the blob holds its target.
    Link,
    /// A submodule (mode 160000). It is never followed.
    Submodule,
}

/// A file, link or submodule of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The path from the root of the repository, with `/`.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// The blob; for a submodule its commit.
    pub id: ObjectId,
    /// The size of the blob in bytes; 0 for a submodule.
    pub size: u64,
}

/// What the entry is; `Ok(None)` for a folder.
pub(super) fn kind_of(entry: &TreeEntry<'_>) -> Result<Option<EntryKind>, &'static str> {
    let mode = entry.filemode_raw();
    match mode & 0o170_000 {
        0o040_000 => Ok(None),
        0o100_000 if mode & 0o100 != 0 => Ok(Some(EntryKind::Executable)),
        0o100_000 => Ok(Some(EntryKind::File)),
        0o120_000 => Ok(Some(EntryKind::Link)),
        0o160_000 => Ok(Some(EntryKind::Submodule)),
        _ => Err("its mode is not one of a file, a link or a folder"),
    }
}

/// The path without `./` before it and slashes around it; `""` is the root.
pub(super) fn clean(path: &str) -> &str {
    let path = path.trim_matches('/');
    let path = path.strip_prefix("./").unwrap_or(path);
    if path == "." { "" } else { path }
}

/// Refuses the names that no tree may hold: those that another system, or Git itself, would read as something else.
/// The rules are those of Git's own `core.protectHFS` and `core.protectNTFS`, and ours (catalogue G2).
pub(super) fn check_name(name: &[u8]) -> Result<&str, &'static str> {
    let Ok(text) = std::str::from_utf8(name) else { return Err("its name is not UTF-8; hint: rename it") };
    let seen: String = text.chars().filter(|c| !is_ignored(*c)).flat_map(char::to_lowercase).collect();
    let rule = if text.is_empty() {
        "its name is empty"
    } else if matches!(text, "." | "..") {
        "its name leads to another folder"
    } else if text.contains(['/', '\\']) {
        "its name holds a slash"
    } else if text.chars().any(char::is_control) {
        "its name holds a control character"
    } else if text.ends_with(['.', ' ']) {
        "its name ends in a dot or a space"
    } else if text.starts_with('-') {
        "its name begins with a dash, which programs take for an option; hint: rename it"
    } else if text.len() > 255 {
        "its name is longer than 255 bytes"
    } else if matches!(seen.as_str(), ".git" | "git~1") || seen.starts_with(".git:") {
        "its name is Git's own"
    } else {
        return Ok(text);
    };
    Err(rule)
}

/// The characters that HFS+ leaves out when it compares names.
fn is_ignored(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g2_names_that_no_tree_may_hold_are_refused() {
        let long = "x".repeat(4096);
        for name in [
            "",
            ".",
            "..",
            ".git",
            ".GIT",
            "git~1",
            "GIT~1",
            ".g\u{200c}it",
            ".git::$INDEX_ALLOCATION",
            "a/b",
            "a\\b",
            "a\0b",
            "a\r",
            "a ",
            "a.",
            "-rf",
            "\u{1b}[31m",
            long.as_str(),
        ] {
            assert!(check_name(name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(check_name(b"caf\xe9").is_err());
        for name in [".gitignore", ".github", "a-b", "a b", "ünï", "..a", "git~2"] {
            assert!(check_name(name.as_bytes()).is_ok(), "{name:?}");
        }
    }
}
