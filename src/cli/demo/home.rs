//! The folder of a demo: which one may be taken, and what is removed before a fresh start.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::output::{Exit, ends};
use super::super::sample::{REPOSITORIES, work};

/// The file that says that a demo made the folder.
const MARK: &str = "made-by-branchline-demo";
const WORDS: &str = "`branchline demo --fresh` removes what it made in this folder.\n";
/// The folders of the repositories, which hold what people make beside ours.
const SHARED: [&str; 2] = ["git", "work"];
/// What a server makes in its folder, beside the store.
const OF_SERVER: [&str; 8] =
    ["builds", "mirrors", "runtime", "token", "cluster-token", "webhook-secret", "kubeconfig", "seal-key"];
/// What the files of the store begin with.
const STORE: &str = "branchline.db";
/// What a running server holds.
const LOCK: &str = "branchline.db.lock";

/// Makes the folder, or takes one that a demo made or that has nothing in it where a demo puts things.
pub(super) fn take(data: &Path, fresh: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(data).with_context(|| {
        format!("the folder {} cannot be made; hint: give another --data-dir", data.display())
    })?;
    let mark = data.join(MARK);
    let unreadable =
        || format!("the folder {} cannot be used; hint: give another --data-dir", data.display());
    if !mark.is_file()
        && let Some(somebodys) = in_the_way(data).with_context(unreadable)?
    {
        let message = format!(
            "{} is there, and no demo made it; hint: give an empty folder, or a new one, as --data-dir",
            somebodys.display()
        );
        return Err(ends(Exit::Usage, message));
    }
    if fresh {
        is_idle(data)?;
        remove(data)?;
    }
    std::fs::write(mark, WORDS).with_context(unreadable)
}

/// What would be written into, and removed by `--fresh`, although it is somebody's. Empty folders may be there, as
/// places to mount at.
fn in_the_way(data: &Path) -> io::Result<Option<PathBuf>> {
    for entry in data.read_dir()? {
        let entry = entry?;
        let name = entry.file_name();
        let ours = SHARED.iter().chain(&OF_SERVER).any(|ours| name == **ours)
            || name.to_string_lossy().starts_with(STORE);
        let empty = entry.file_type()?.is_dir() && entry.path().read_dir()?.next().is_none();
        if ours && !empty {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Refuses a folder that a server works with: its files would go from under it.
fn is_idle(data: &Path) -> anyhow::Result<()> {
    let Ok(lock) = File::open(data.join(LOCK)) else { return Ok(()) };
    lock.try_lock().map_err(|_| {
        let message =
            format!("a server runs in {}; hint: stop it first, or give another --data-dir", data.display());
        ends(Exit::Usage, message)
    })
}

/// Removes what the demo and its server made, and nothing else.
fn remove(data: &Path) -> anyhow::Result<()> {
    for (name, _) in REPOSITORIES {
        gone(&data.join("git").join(format!("{name}.git")))?;
        gone(&work(data, name))?;
    }
    for name in OF_SERVER {
        gone(&data.join(name))?;
    }
    for entry in data.read_dir().with_context(|| format!("{} cannot be read", data.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(STORE) && name != LOCK {
            gone(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file or a folder, where it is there. What a link points at stays.
fn gone(path: &Path) -> anyhow::Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed.with_context(|| format!("{} cannot be removed; hint: remove it yourself", path.display()))
}
