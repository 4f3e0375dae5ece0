//! Keeping the number of packs small: every fetch adds one, and every lookup asks them in turn.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use git2::{Oid, Repository};

/// Small packs at which they are made into one.
const TOO_MANY: usize = 48;
/// A larger pack is left as it is.
const SMALL: u64 = 4 << 20;
const NAMES: usize = 8 + 256 * 4;

/// The small packs of a mirror, once there are too many of them.
pub(super) fn small_packs(mirror: &Path) -> Vec<PathBuf> {
    let mut small = Vec::new();
    for entry in fs::read_dir(mirror.join("objects/pack")).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_pack =
            path.extension().is_some_and(|end| end == "pack") && path.with_extension("idx").is_file();
        if is_pack && entry.metadata().is_ok_and(|file| file.len() < SMALL) {
            small.push(path);
        }
    }
    if small.len() < TOO_MANY { Vec::new() } else { small }
}

/// Writes one pack with all that the given packs hold. They can be removed afterwards.
pub(super) fn join(repo: &Repository, packs: &[PathBuf]) -> Result<(), git2::Error> {
    let mut objects = BTreeSet::new();
    for pack in packs {
        let index = fs::read(pack.with_extension("idx"));
        let names = index
            .and_then(|index| names(&index))
            .map_err(|error| git2::Error::from_str(&error.to_string()))?;
        objects.extend(names);
    }
    let mut builder = repo.packbuilder()?;
    for object in objects {
        builder.insert_object(object, None)?;
    }
    builder.write(&repo.path().join("objects/pack"), 0o444)
}

/// Removes packs whose objects are in another one: first the index, without which the pack is not seen.
pub(super) fn remove(packs: &[PathBuf]) -> io::Result<()> {
    for pack in packs {
        fs::remove_file(pack.with_extension("idx"))?;
        fs::remove_file(pack)?;
    }
    Ok(())
}

/// The object names of a pack index of version 2 (gitformat-pack(5)).
fn names(index: &[u8]) -> io::Result<Vec<Oid>> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "a pack index cannot be read");
    let count = index.get(NAMES - 4..NAMES).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    let count = count.filter(|_| index.starts_with(b"\xfftOc\0\0\0\x02")).ok_or_else(broken)? as usize;
    let names = index.get(NAMES..NAMES + count * 20).ok_or_else(broken)?;
    names.chunks_exact(20).map(|name| Oid::from_bytes(name).map_err(|_| broken())).collect()
}
