//! The sample as fresh Git repositories: what `demo` runs and people change.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

#[derive(rust_embed::Embed)]
#[folder = "sample-repo/"]
struct Sample;

/// The repositories of the sample, by their folders.
pub(super) const REPOSITORIES: [(&str, &str); 5] = [
    ("config", "config"),
    ("web", "apps/web"),
    ("api", "apps/api"),
    ("worker", "apps/worker"),
    ("report", "apps/report"),
];

/// Makes `DIR/git/<name>.git` and `DIR/work/<name>` of every repository of the sample; those that are there stay.
pub(super) fn make(data: &Path) -> anyhow::Result<()> {
    for (name, folder) in REPOSITORIES {
        let bare = data.join("git").join(format!("{name}.git"));
        if bare.join("HEAD").is_file() && work(data, name).join(".git").is_dir() {
            continue;
        }
        // half of a repository is worse than none
        for leftover in [&bare, &work(data, name)] {
            if leftover.exists() {
                std::fs::remove_dir_all(leftover)?;
            }
        }
        repository(data, name, folder)
            .with_context(|| format!("the repository `{name}` of the sample cannot be made"))?;
    }
    Ok(())
}

/// The working clone of a repository.
pub(super) fn work(data: &Path, name: &str) -> PathBuf {
    data.join("work").join(name)
}

fn repository(data: &Path, name: &str, folder: &str) -> anyhow::Result<()> {
    let (bare, work) = (data.join("git").join(format!("{name}.git")), work(data, name));
    std::fs::create_dir_all(&bare)?;
    std::fs::create_dir_all(&work)?;
    git(&bare, &["init", "--quiet", "--bare", "--initial-branch=main", "."])?;
    git(&work, &["init", "--quiet", "--initial-branch=main", "."])?;
    for (key, value) in [
        ("user.name", "Demo"),
        ("user.email", "demo@localhost"),
        ("commit.gpgSign", "false"),
        ("pull.ff", "only"),
    ] {
        git(&work, &["config", key, value])?;
    }
    for file in
        Sample::iter().filter(|path| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')))
    {
        let path = work.join(file.strip_prefix(folder).unwrap_or(&file).trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().context("a file stands in a folder")?)?;
        std::fs::write(&path, Sample::get(&file).context("the sample holds what it lists")?.data)?;
    }
    git(&work, &["add", "--all"])?;
    git(&work, &["commit", "--quiet", "--message", "The sample"])?;
    let origin = bare.to_str().context("the data folder's path is UTF-8")?;
    git(&work, &["remote", "add", "origin", origin])?;
    git(&work, &["push", "--quiet", "--set-upstream", "origin", "main"])
}

/// Brings a clean working clone up to date with what was committed beside it.
pub(super) fn fast_forward(data: &Path, name: &str) -> anyhow::Result<()> {
    let work = work(data, name);
    let clean = command(&work, &["status", "--porcelain"]).output().context("git cannot be started")?;
    if clean.status.success() && clean.stdout.is_empty() {
        git(&work, &["pull", "--quiet", "--ff-only"])?;
    }
    Ok(())
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    // nothing of the person's own Git settings decides what the sample looks like
    command
        .current_dir(folder)
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .stdin(Stdio::null());
    command
}

fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output = command(folder, arguments).output().context("git cannot be started; hint: install git")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "git {} failed: {}", arguments.join(" "), said.trim());
    Ok(())
}
