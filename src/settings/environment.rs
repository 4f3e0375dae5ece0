//! The process's environment, read once.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where toolchains lie; builds and processes get these of ours and nothing else.
const TOOLCHAINS: [&str; 8] =
    ["PATH", "LANG", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN", "GOROOT", "JAVA_HOME", "PYENV_ROOT", "NVM_DIR"];

/// Variables by name. An empty variable counts as not set.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The environment of this process; variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of `name` as a path.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// The entries of `name`, separated by commas, without the space around them.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get(name).unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty())
    }

    /// `$XDG_STATE_HOME`, or `~/.local/state`
    /// (<https://specifications.freedesktop.org/basedir-spec/latest/>).
    #[must_use]
    pub fn state_home(&self) -> Option<PathBuf> {
        self.base("XDG_STATE_HOME", ".local/state")
    }

    /// `$XDG_CONFIG_HOME`, or `~/.config`.
    #[must_use]
    pub fn config_home(&self) -> Option<PathBuf> {
        self.base("XDG_CONFIG_HOME", ".config")
    }

    /// The log filter: `BRANCHLINE_LOG`, or `RUST_LOG`.
    #[must_use]
    pub fn log_filter(&self) -> Option<&str> {
        self.get("BRANCHLINE_LOG").or(self.get("RUST_LOG"))
    }

    /// Whether colours are unwanted (<https://no-color.org>).
    #[must_use]
    pub fn no_color(&self) -> bool {
        self.get("NO_COLOR").is_some()
    }

    /// Where this machine's toolchains lie. `RUSTUP_HOME` is ours where it is unset and there.
    #[must_use]
    pub fn toolchains(&self) -> BTreeMap<String, String> {
        let mut found: BTreeMap<String, String> = TOOLCHAINS
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.get(name)?.to_owned())))
            .collect();
        let rustup = self.path("HOME").map(|home| home.join(".rustup")).filter(|folder| folder.is_dir());
        if let Some(rustup) = rustup.and_then(|folder| folder.into_os_string().into_string().ok()) {
            found.entry("RUSTUP_HOME".to_owned()).or_insert(rustup);
        }
        found
    }

    /// A base folder; the specification has relative ones ignored.
    fn base(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        let set = self.path(name).filter(|path| path.is_absolute());
        set.or_else(|| Some(self.path("HOME")?.join(below_home)))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}
