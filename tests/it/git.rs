//! Real repositories in temporary folders, made with the `git` command as a person would.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A bare repository that a test commits to.
pub(crate) struct Repo {
    pub(crate) path: PathBuf,
}

impl Repo {
    /// An empty bare repository, whose `HEAD` names `main`.
    pub(crate) fn bare(folder: &Path, name: &str) -> Self {
        let path = folder.join(name);
        git(folder, &["init", "--quiet", "--bare", "--initial-branch=main", name]);
        Self { path }
    }

    /// Runs `git` in the repository and gives its output without the last line end.
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git(&self.path, arguments)
    }

    /// Commits files (content `None` removes one) on top of `branch`, which is made where it is missing.
    pub(crate) fn commit(&self, branch: &str, files: &[(&str, Option<&str>)], message: &str) -> String {
        let reference = format!("refs/heads/{branch}");
        let parent = self.find(&reference);
        let tree = self.tree(parent.as_deref(), files);
        let commit =
            self.commit_tree(&tree, parent.as_deref().into_iter().collect::<Vec<_>>().as_slice(), message);
        self.git(&["update-ref", &reference, &commit]);
        commit
    }

    /// Writes one file on top of `main`.
    pub(crate) fn push(&self, path: &str, content: &str) -> String {
        self.commit("main", &[(path, Some(content))], &format!("change {path}"))
    }

    /// The commit of a ref.
    pub(crate) fn find(&self, reference: &str) -> Option<String> {
        let found = self.run(&["rev-parse", "--verify", "--quiet", &format!("{reference}^{{commit}}")], b"");
        found.ok().filter(|id| !id.is_empty())
    }

    /// A tree: that of `parent` with the files changed.
    pub(crate) fn tree(&self, parent: Option<&str>, files: &[(&str, Option<&str>)]) -> String {
        let index = self.path.join("test-index");
        let _ = std::fs::remove_file(&index);
        let run = |arguments: &[&str], input: &str| {
            let mut command = command(&self.path, arguments);
            finish(command.env("GIT_INDEX_FILE", &index), input.as_bytes()).expect("git works")
        };
        if let Some(parent) = parent {
            run(&["read-tree", parent], "");
        }
        let info: String = files
            .iter()
            .map(|(path, content)| match content {
                Some(content) => format!("100644 {}\t{path}\n", self.blob(content.as_bytes())),
                None => format!("0 {}\t{path}\n", "0".repeat(40)),
            })
            .collect();
        run(&["update-index", "--add", "--index-info"], &info);
        run(&["write-tree"], "")
    }

    /// Writes a blob.
    pub(crate) fn blob(&self, content: &[u8]) -> String {
        self.run(&["hash-object", "-w", "--stdin"], content).expect("a blob")
    }

    /// Writes a tree of raw entries, which Git itself would refuse: (mode, name, id).
    pub(crate) fn raw_tree(&self, entries: &[(&str, &[u8], &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(format!("{mode} ").as_bytes());
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend(hex::decode(id).expect("an id"));
        }
        self.run(&["hash-object", "-w", "--stdin", "--literally", "-t", "tree"], &bytes).expect("a tree")
    }

    /// Writes a commit of a tree.
    pub(crate) fn commit_tree(&self, tree: &str, parents: &[&str], message: &str) -> String {
        let mut arguments = vec!["commit-tree", tree, "-m", message];
        for parent in parents {
            arguments.extend(["-p", parent]);
        }
        self.git(&arguments)
    }

    /// Feeds a script to git-fast-import(1).
    pub(crate) fn fast_import(&self, script: &str) {
        self.run(&["fast-import", "--quiet"], script.as_bytes()).expect("a script");
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Result<String, String> {
        finish(&mut command(&self.path, arguments), input)
    }
}

/// Runs `git` in a folder and gives its output without the last line end.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    finish(&mut command(folder, arguments), b"").unwrap_or_else(|error| panic!("git {arguments:?}: {error}"))
}

/// `git` without any configuration of the machine, as an author of the test.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.args(arguments).current_dir(folder).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("HOME", folder);
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Ada").env(format!("GIT_{who}_EMAIL"), "ada@example.com");
        command.env(format!("GIT_{who}_DATE"), "2026-11-22T10:00:00Z");
    }
    command
}

fn finish(command: &mut Command, input: &[u8]) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("git is installed");
    child.stdin.take().expect("a pipe").write_all(input).expect("git reads its input");
    let output = child.wait_with_output().expect("git ends");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
