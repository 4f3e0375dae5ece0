//! A config repository as it lies on disk, for verbs that work without a server.

use std::path::Path;

use anyhow::Context;

use super::output::{Exit, ends};
use crate::config::{self, File, Problem, Repository};
use crate::yaml::Place;

/// Reads the config in a folder. Links are not followed, as in Git; what is no part of the layout is left alone.
pub(super) fn load(folder: &Path) -> anyhow::Result<Repository> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        let message =
            format!("{} is no folder; hint: name the folder of the config repository", folder.display());
        return Err(ends(Exit::NotFound, message));
    }
    for part in ["branchline.yaml", "clusters", "projects", "templates", "secrets"] {
        collect(folder, &folder.join(part), &mut files)?;
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let is_empty = files.is_empty();
    let mut repository = config::load(files);
    if is_empty {
        repository.problems = vec![nothing_in(folder)];
    }
    Ok(repository)
}

/// What is wrong with a folder that holds no config at all: it is probably another one that was meant.
fn nothing_in(folder: &Path) -> Problem {
    let here = if folder == Path::new(".") { "this folder".to_owned() } else { folder.display().to_string() };
    let place = Place { file: "branchline.yaml".into(), line: 1, column: 1 };
    Problem::new(place, format!("there is no `branchline.yaml` in {here}, and no `projects/`"))
        .hint("name the folder of the config repository, as in `branchline validate ../config`")
}

fn collect(root: &Path, at: &Path, files: &mut Vec<File>) -> anyhow::Result<()> {
    let Ok(metadata) = at.symlink_metadata() else { return Ok(()) };
    let name = at.strip_prefix(root).unwrap_or(at).to_string_lossy().replace('\\', "/");
    if metadata.is_dir() {
        for entry in at.read_dir().with_context(|| format!("{name} cannot be read"))? {
            collect(root, &entry?.path(), files)?;
        }
        return Ok(());
    }
    let (id, bytes) = if metadata.is_symlink() {
        (String::new(), Err(config::LINK.to_owned()))
    } else if metadata.len() > config::LARGEST {
        (String::new(), Err(config::too_large(metadata.len())))
    } else {
        let bytes = std::fs::read(at).with_context(|| format!("{name} cannot be read"))?;
        (crate::hash::Hasher::new("file").part(&bytes).finish().to_string(), Ok(bytes.into()))
    };
    files.push(File { path: name, id, bytes });
    Ok(())
}
