//! The config at the head of its branch. A new revision is read with the one before at hand: Git says which files
//! changed, and only those are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{self, File, Repository};
use crate::name::{BranchName, Revision};
use crate::render::{TemplateFile, TemplateSet};
use crate::source::{EntryKind, Mirror, ObjectId, Reader, SourceError};

/// What a config consists of: a file and four folders.
const PARTS: [&str; 5] = ["branchline.yaml", "clusters", "projects", "secrets", "templates"];

/// One revision of the config.
pub(super) struct ConfigHead {
    pub(super) revision: Revision,
    pub(super) config: Arc<Repository>,
    pub(super) templates: Arc<TemplateSet>,
    /// Its files by their paths within the config.
    files: BTreeMap<String, File>,
}

impl ConfigHead {
    /// Reads the config in the folder `path` at the head of a branch as of the last fetch, unless `before` is it. What
    /// is broken stands as it was before, or as an `earlier` process had it.
    pub(super) async fn read(
        mirror: &Mirror,
        branch: &BranchName,
        path: &str,
        before: Option<&Arc<Self>>,
        earlier: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, SourceError> {
        let branch = branch.clone();
        let revision = mirror.with(move |reader| reader.branch(&branch)).await?;
        Self::at(mirror, revision, path, before, earlier).await
    }

    /// Reads the config in the folder `path` at a revision, unless `before` is it.
    pub(super) async fn at(
        mirror: &Mirror,
        revision: Revision,
        path: &str,
        before: Option<&Arc<Self>>,
        earlier: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>, SourceError> {
        if let Some(before) = before.filter(|before| before.revision == revision) {
            return Ok(Arc::clone(before));
        }
        let (known, head, path) = (before.cloned(), revision.clone(), path.trim_matches('/').to_owned());
        let files = mirror.with(move |reader| files(reader, &path, &head, known.as_deref())).await?;
        Ok(Arc::new(Self::of(revision, files, before.or(earlier))))
    }

    /// Reads what an earlier process took in: the config at a revision, with `standing` in the place of files that were
    /// broken there (path → blob).
    pub(super) async fn earlier(
        mirror: &Mirror,
        path: &str,
        revision: Revision,
        standing: BTreeMap<String, ObjectId>,
    ) -> Result<Arc<Self>, SourceError> {
        let (head, path) = (revision.clone(), path.trim_matches('/').to_owned());
        let files = mirror.with(move |reader| {
            let mut files = files(reader, &path, &head, None)?;
            for (path, id) in standing {
                let bytes = Ok(reader.blob(id)?.into());
                files.insert(path.clone(), File { path, id: id.to_string(), bytes });
            }
            Ok(files)
        });
        Ok(Arc::new(Self::of(revision, files.await?, None)))
    }

    fn of(revision: Revision, files: BTreeMap<String, File>, before: Option<&Arc<Self>>) -> Self {
        let all = files.values().cloned();
        let config = match before {
            Some(before) => config::load_after(&before.config, all),
            None => config::load(all),
        };
        let templates = match before.filter(|before| before.config.templates == config.templates) {
            Some(before) => Arc::clone(&before.templates),
            None => {
                let files: Vec<_> = config.templates.iter().filter_map(template_file).collect();
                Arc::new(TemplateSet::load(&files, before.map(|before| &*before.templates)))
            }
        };
        Self { revision, config: Arc::new(config), templates, files }
    }

    /// What is wrong beyond single projects, in one sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        let first = self.config.errors().find(|problem| !problem.place.file.starts_with("projects/"))?;
        let what = if self.config.is_usable() {
            "and what it said there before stands"
        } else {
            "so it is not known what should run"
        };
        Some(format!("the config is broken at {}, {what}: {first}", self.revision.short()))
    }
}

/// Every file of the config, as Git has it.
fn files(
    reader: &Reader<'_>,
    root: &str,
    head: &Revision,
    before: Option<&ConfigHead>,
) -> Result<BTreeMap<String, File>, SourceError> {
    // a history that was rewritten may have taken the earlier revision away
    let changes = before.and_then(|before| Some((before, reader.changed(&before.revision, head).ok()?)));
    let Some((before, changes)) = changes else { return all(reader, root, head) };
    let mut files = before.files.clone();
    for change in changes {
        let Some(path) = within(root, &change.path) else { continue };
        files.remove(path);
        if change.new.is_some() {
            let found = below(reader, root, head, &change.path)?;
            if found.is_empty() {
                // a name that no tree may hold: reading all of it says which
                return all(reader, root, head);
            }
            files.extend(found);
        }
    }
    Ok(files)
}

/// Every file of the config. Whatever else stands in its repository is not looked at.
fn all(reader: &Reader<'_>, root: &str, head: &Revision) -> Result<BTreeMap<String, File>, SourceError> {
    let mut files = BTreeMap::new();
    for part in PARTS {
        let path = if root.is_empty() { part.to_owned() } else { format!("{root}/{part}") };
        files.extend(below(reader, root, head, &path)?);
    }
    Ok(files)
}

/// The files of the config at or below a path of its repository; links, submodules and what is too large by the reason
/// alone.
fn below(
    reader: &Reader<'_>,
    root: &str,
    head: &Revision,
    prefix: &str,
) -> Result<BTreeMap<String, File>, SourceError> {
    let mut files = BTreeMap::new();
    for entry in reader.files(head, prefix)? {
        let Some(path) = within(root, &entry.path) else { continue };
        let bytes = match entry.kind {
            EntryKind::Link => Err(config::LINK.to_owned()),
            EntryKind::Submodule => Err(config::SUBMODULE.to_owned()),
            _ if entry.size > config::LARGEST => Err(config::too_large(entry.size)),
            EntryKind::File | EntryKind::Executable => Ok(reader.blob(entry.id)?.into()),
        };
        files.insert(path.to_owned(), File { path: path.to_owned(), id: entry.id.to_string(), bytes });
    }
    Ok(files)
}

/// The path within the config, of a file that belongs to it and not to whatever else stands in its repository.
fn within<'a>(root: &str, path: &'a str) -> Option<&'a str> {
    let path = if root.is_empty() { path } else { path.strip_prefix(root)?.strip_prefix('/')? };
    let first = path.split('/').next().unwrap_or_default();
    PARTS.contains(&first).then_some(path)
}

/// A file of `templates/`, as the renderer takes it.
pub(crate) fn template_file(file: &File) -> Option<TemplateFile> {
    let path = file.path.strip_prefix("templates/").unwrap_or(&file.path).to_owned();
    Some(TemplateFile { path, blob: file.id.clone(), bytes: Arc::clone(file.bytes.as_ref().ok()?) })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::source::{GitHosts, MirrorOptions, Mirrors, RepositoryUrl};

    /// Commits what `git fast-import` is told about files: on top of the branch, or as a history of its own.
    fn commit(repo: &Path, onto: bool, files: &str) {
        let from = if onto { "from refs/heads/main^0\n" } else { "" };
        let stream = format!(
            "commit refs/heads/main\ncommitter Ada <ada@example.com> 1700000000 +0000\ndata 1\nx\n{from}{files}"
        );
        let mut git = Command::new("git")
            .args(["fast-import", "--quiet", "--force"])
            .current_dir(repo)
            .stdin(Stdio::piped())
            .spawn()
            .expect("git");
        git.stdin.take().expect("piped").write_all(stream.as_bytes()).expect("written");
        assert!(git.wait().expect("git ends").success());
    }

    fn write(mode: &str, path: &str, text: &str) -> String {
        format!("M {mode} inline {path}\ndata {}\n{text}\n", text.len())
    }

    #[tokio::test]
    async fn a_revision_read_after_another_is_read_as_if_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.git");
        let made = Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&path).status();
        assert!(made.expect("git").success());
        let hosts: GitHosts = "file".parse().expect("hosts");
        let url = RepositoryUrl::of_operator(&path.display().to_string(), &hosts).expect("a URL");
        let options = MirrorOptions { hosts, ..MirrorOptions::default() };
        let mirror = Mirrors::open(&folder.path().join("mirrors"), options).expect("mirrors").mirror(&url);
        let service =
            |name: &str, text: &str| write("644", &format!("c/projects/shop/services/{name}"), text);
        let steps = [
            (
                false,
                service("a.yaml", "1") + &service("b.yaml", "1") + &write("644", "c/branchline.yaml", "1"),
            ),
            (true, service("a.yaml", "2")),
            (
                true,
                service("c.yaml", "1")
                    + &write("644", "c/README.md", "1")
                    + &write("644", "branchline.yaml", "1"),
            ),
            (true, "D c/projects/shop/services/b.yaml\n".to_owned()),
            (true, service("c.yaml", "1") + &write("755", "c/projects/shop/services/a.yaml", "2")),
            (true, "D c/projects/shop/services/a.yaml\n".to_owned() + &service("a.yaml/x.yaml", "1")),
            (true, "D c/projects/shop/services/a.yaml/x.yaml\n".to_owned() + &service("a.yaml", "3")),
            (true, write("120000", "c/projects/shop/services/link.yaml", "a.yaml")),
            (true, service("d.yaml", "1")),
            (true, "D c/projects/shop/services/link.yaml\n".to_owned()),
            (true, write("644", "c/templates/web/10-x.yaml.hbs", "x: 1")),
            (false, service("e.yaml", "1")),
        ];
        let main: BranchName = "main".parse().expect("a branch");
        let mut before = None;
        for (onto, files) in steps {
            commit(&path, onto, &files);
            mirror.fetch().await.expect("fetched");
            let alone = ConfigHead::read(&mirror, &main, "c/", None, None).await;
            let after = ConfigHead::read(&mirror, &main, "c/", before.as_ref(), None).await;
            match (alone, after) {
                (Ok(alone), Ok(after)) => {
                    assert_eq!(alone.files, after.files, "after {files}");
                    assert_eq!(alone.config, after.config, "after {files}");
                    before = Some(after);
                }
                (Err(alone), Err(after)) => assert_eq!(alone.to_string(), after.to_string(), "after {files}"),
                (alone, after) => panic!("{:?} and {:?} after {files}", alone.err(), after.err()),
            }
        }
        assert_eq!(before.expect("the last one is sound").files.len(), 1);
    }
}
