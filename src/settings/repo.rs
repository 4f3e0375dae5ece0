//! `URL[#BRANCH][:PATH]`: which repository, which branch of it, which folder in it.

use std::fmt;
use std::str::FromStr;

use super::SettingsError;
use crate::name::BranchName;

/// The config repository as it is named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRepo {
    /// Its address or local path, as given.
    pub url: String,
    /// The branch, where it is not the repository's own default.
    pub branch: Option<BranchName>,
    /// The folder in it, without slashes at its ends; empty for the whole repository.
    pub path: String,
}

impl FromStr for ConfigRepo {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let wrong = || SettingsError::Value {
            name: "--config-repo (BRANCHLINE_CONFIG_REPO)",
            value: text.to_owned(),
            expected: "a repository",
            hint: "URL[#BRANCH][:PATH], as in https://github.com/acme/config#main:platform",
        };
        let (url, branch, path) = if let Some((url, rest)) = text.split_once('#') {
            let (branch, path) = rest.split_once(':').unwrap_or((rest, ""));
            (url, Some(branch.parse::<BranchName>().map_err(|_| wrong())?), path)
        } else {
            let (url, path) = without_branch(text);
            (url, None, path)
        };
        let path = path.trim_matches('/');
        if url.is_empty() || path.split('/').any(|part| part == "..") {
            return Err(wrong());
        }
        Ok(Self { url: url.to_owned(), branch, path: path.to_owned() })
    }
}

/// Finds the colon before the path: one in the path of an address, not the one of its scheme or port, and not
/// that of `git@host:path`.
fn without_branch(text: &str) -> (&str, &str) {
    let path_begins = match text.split_once("://") {
        Some((scheme, rest)) => rest.find('/').map(|slash| scheme.len() + 3 + slash),
        None if text.split(':').next().is_some_and(|before| before.contains('@')) => None,
        None => Some(0),
    };
    match path_begins.and_then(|from| text[from..].rfind(':').map(|colon| from + colon)) {
        Some(colon) => (&text[..colon], &text[colon + 1..]),
        None => (text, ""),
    }
}

impl fmt::Display for ConfigRepo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)?;
        if let Some(branch) = &self.branch {
            write!(f, "#{branch}")?;
        }
        if !self.path.is_empty() {
            write!(f, ":{}", self.path)?;
        }
        Ok(())
    }
}
