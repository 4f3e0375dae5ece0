//! Where the server is when nobody says: the contexts in `$XDG_CONFIG_HOME/branchline/config.toml`, mode 0600.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::assemble;
use crate::settings::Environment;

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Contexts {
    /// The one that is used when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) current: Option<String>,
    /// All of them, by name.
    #[serde(default)]
    pub(super) contexts: BTreeMap<String, Context>,
}

/// A server and how to speak to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Context {
    /// Its address, such as `http://127.0.0.1:7070`.
    pub(super) server: String,
    /// The token that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    /// The project that verbs are about when nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<String>,
}

fn path(environment: &Environment) -> anyhow::Result<PathBuf> {
    let home = environment
        .config_home()
        .context("neither HOME nor XDG_CONFIG_HOME is set; hint: give --server and --token")?;
    Ok(home.join("branchline/config.toml"))
}

/// The current context, where there is one.
pub(super) fn current(environment: &Environment) -> anyhow::Result<Option<Context>> {
    let Ok(path) = path(environment) else { return Ok(None) };
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
    let contexts: Contexts =
        toml::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(contexts.current.and_then(|name| contexts.contexts.get(&name).cloned()))
}

/// Writes a context and makes it the current one.
pub(super) fn save(environment: &Environment, name: &str, context: Context) -> anyhow::Result<()> {
    let path = path(environment)?;
    let mut contexts: Contexts = match std::fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))?,
        Err(_) => Contexts::default(),
    };
    contexts.contexts.insert(name.to_owned(), context);
    contexts.current = Some(name.to_owned());
    let folder = path.parent().expect("the path names a file in a folder");
    std::fs::create_dir_all(folder)?;
    assemble::private(&path, &toml::to_string(&contexts)?)
}
