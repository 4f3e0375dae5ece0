//! Flags and environment become settings. The only reader of the process's environment.
//!
//! One way in: the environment is read once into an [`Environment`], and every variable is looked up there;
//! clap's own `env` feature is not used. A flag, where it is given, wins over its variable. Secrets go into
//! [`Secret`] on the way in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::secret::{Redactor, Secret};

mod environment;
mod repo;

pub use environment::Environment;
pub use repo::ConfigRepo;

/// Where the server listens unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7070";
/// GitHub's own API.
pub const DEFAULT_GITHUB_URL: &str = "https://api.github.com";

/// Why the settings cannot be used. Each names the variable or flag and the way out.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value does not read as what it should be.
    #[error("{name} is {value:?}, which is not {expected}\nhint: {hint}")]
    Value {
        /// The variable or flag.
        name: &'static str,
        /// What it is set to; never a secret.
        value: String,
        /// What it should be.
        expected: &'static str,
        /// An example.
        hint: &'static str,
    },
    /// A value is needed and not there.
    #[error("{name} is not set\nhint: {hint}")]
    Missing {
        /// The variable or flag.
        name: &'static str,
        /// How to set it.
        hint: &'static str,
    },
    /// Two values exclude each other.
    #[error("{first} and {second} are both set\nhint: {hint}")]
    Both {
        /// One of them.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Which to take.
        hint: &'static str,
    },
    /// A file that a variable names cannot be read.
    #[error("{name} names {}, which cannot be read\nhint: {hint}", path.display())]
    File {
        /// The variable.
        name: &'static str,
        /// The file.
        path: PathBuf,
        /// What is expected there.
        hint: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is no place to keep things.
    #[error("there is no folder for data: neither HOME nor XDG_STATE_HOME is set\nhint: give --data-dir")]
    NoHome,
}

/// How we speak to the forge.
#[derive(Clone)]
pub enum GitHubAuth {
    /// A personal token: commit statuses instead of check runs.
    Token(Secret<String>),
    /// An App with its private key, PEM.
    App {
        /// The App's id.
        id: u64,
        /// Its private key, PEM.
        private_key: Secret<String>,
    },
}

/// A forge.
#[derive(Clone)]
pub struct GitHubSettings {
    /// The base address of its API, without a slash at the end.
    pub url: String,
    /// Who we are there.
    pub auth: GitHubAuth,
}

/// The flags that `serve` and `demo` share with these variables; given ones win.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config-repo URL[#BRANCH][:PATH]`.
    pub config_repo: Option<String>,
    /// `--data-dir DIR`.
    pub data_dir: Option<PathBuf>,
    /// `--listen ADDR`.
    pub listen: Option<String>,
    /// `--git-host HOST`, any number of times.
    pub git_hosts: Vec<String>,
    /// `--trust-pull-requests`.
    pub trust_pull_requests: bool,
    /// `--public-url URL`.
    pub public_url: Option<String>,
}

/// What the server runs with.
#[derive(Clone)]
pub struct Settings {
    /// The config repository; `demo` makes its own.
    pub config_repo: Option<ConfigRepo>,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Where people reach its pages, where that is not the listener itself.
    pub public_url: Option<String>,
    /// The forge, where one is set.
    pub github: Option<GitHubSettings>,
    /// The secrets that a webhook may be signed with: one, or two while they are exchanged.
    pub webhook_secrets: Vec<Secret<String>>,
    /// Git hosts beyond the forge that may be fetched from; `file` stands for local paths.
    pub git_hosts: Vec<String>,
    /// Whether the process runtime runs previews of a forge's repository.
    pub trust_pull_requests: bool,
    /// The kubeconfig of a cluster that names none itself.
    pub kubeconfig: Option<PathBuf>,
    /// What builds and processes get to know of this machine's toolchains.
    pub toolchains: BTreeMap<String, String>,
}

impl Settings {
    /// Reads the settings of `serve` and `demo`.
    ///
    /// # Errors
    /// A value cannot be used, two exclude each other, or there is no folder for data.
    pub fn read(flags: &Flags, environment: &Environment) -> Result<Self, SettingsError> {
        let config_repo = flags.config_repo.as_deref().or(environment.get("BRANCHLINE_CONFIG_REPO"));
        let data_dir = flags.data_dir.clone().or(environment.path("BRANCHLINE_DATA_DIR"));
        let listen = flags.listen.as_deref().or(environment.get("BRANCHLINE_LISTEN"));
        let mut git_hosts = flags.git_hosts.clone();
        git_hosts.extend(environment.list("BRANCHLINE_GIT_HOST").map(str::to_owned));
        Ok(Self {
            config_repo: config_repo.map(ConfigRepo::from_str).transpose()?,
            data_dir: data_dir
                .or_else(|| environment.state_home().map(|home| home.join("branchline")))
                .ok_or(SettingsError::NoHome)?,
            listen: address(listen.unwrap_or(DEFAULT_LISTEN))?,
            public_url: public_url(flags.public_url.as_deref().or(environment.get("BRANCHLINE_PUBLIC_URL")))?,
            github: github(environment)?,
            webhook_secrets: webhook_secrets(environment)?,
            git_hosts,
            trust_pull_requests: flags.trust_pull_requests
                || switch(environment, "BRANCHLINE_TRUST_PULL_REQUESTS")?,
            kubeconfig: environment.path("KUBECONFIG"),
            toolchains: environment.toolchains(),
        })
    }

    /// Where the store lies.
    #[must_use]
    pub fn store_path(&self) -> PathBuf {
        self.data_dir.join("branchline.db")
    }

    /// Tells the redactor every secret that these settings hold.
    pub fn teach(&self, redactor: &Redactor) {
        for secret in &self.webhook_secrets {
            redactor.add(secret.expose());
        }
        match self.github.as_ref().map(|github| &github.auth) {
            Some(GitHubAuth::Token(token)) => redactor.add(token.expose()),
            Some(GitHubAuth::App { private_key, .. }) => {
                // A key is shown line by line, so every line of it is a secret.
                private_key
                    .expose()
                    .lines()
                    .filter(|line| !line.starts_with("--"))
                    .for_each(|line| redactor.add(line));
            }
            None => {}
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, SettingsError> {
    text.parse().map_err(|_| SettingsError::Value {
        name: "--listen (BRANCHLINE_LISTEN)",
        value: text.to_owned(),
        expected: "an address and a port",
        hint: "127.0.0.1:7070, or 0.0.0.0:7070 for webhooks from outside",
    })
}

fn public_url(text: Option<&str>) -> Result<Option<String>, SettingsError> {
    let Some(text) = text else { return Ok(None) };
    let usable = url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https") && url.host().is_some() && url.path() == "/"
    });
    if usable {
        return Ok(Some(text.trim_end_matches('/').to_owned()));
    }
    Err(SettingsError::Value {
        name: "--public-url (BRANCHLINE_PUBLIC_URL)",
        value: text.to_owned(),
        expected: "the address of the pages",
        hint: "https://branchline.example.com, without a path",
    })
}

fn github(environment: &Environment) -> Result<Option<GitHubSettings>, SettingsError> {
    const TOKEN: &str = "BRANCHLINE_GITHUB_TOKEN";
    const APP: &str = "BRANCHLINE_GITHUB_APP_ID";
    const KEY: &str = "BRANCHLINE_GITHUB_PRIVATE_KEY_FILE";
    let url = github_url(environment.get("BRANCHLINE_GITHUB_URL").unwrap_or(DEFAULT_GITHUB_URL))?;
    let auth = match (environment.get(TOKEN), environment.get(APP), environment.path(KEY)) {
        (None, None, None) => return Ok(None),
        (Some(token), None, None) => GitHubAuth::Token(Secret::new(token.to_owned())),
        (Some(_), _, _) => {
            return Err(SettingsError::Both {
                first: TOKEN,
                second: APP,
                hint: "the App alone is better: only Apps make check runs",
            });
        }
        (None, Some(id), Some(path)) => {
            GitHubAuth::App { id: app_id(APP, id)?, private_key: key(KEY, &path)? }
        }
        (None, Some(_), None) => {
            return Err(SettingsError::Missing {
                name: KEY,
                hint: "it names the PEM file of the App's private key",
            });
        }
        (None, None, Some(_)) => {
            return Err(SettingsError::Missing { name: APP, hint: "it is the number on the App's page" });
        }
    };
    Ok(Some(GitHubSettings { url, auth }))
}

fn github_url(text: &str) -> Result<String, SettingsError> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(SettingsError::Value {
            name: "BRANCHLINE_GITHUB_URL",
            value: text.to_owned(),
            expected: "the address of a GitHub API",
            hint: "https://api.github.com, or https://HOST/api/v3 for GitHub Enterprise",
        }),
    }
}

fn app_id(name: &'static str, text: &str) -> Result<u64, SettingsError> {
    text.parse().map_err(|_| SettingsError::Value {
        name,
        value: text.to_owned(),
        expected: "a number",
        hint: "it is the number on the App's page",
    })
}

fn key(name: &'static str, path: &Path) -> Result<Secret<String>, SettingsError> {
    let read = std::fs::read_to_string(path).map_err(|source| SettingsError::File {
        name,
        path: path.to_owned(),
        hint: "it is the PEM file that GitHub gave for the App",
        source,
    })?;
    Ok(Secret::new(read))
}

/// One secret, or two for as long as the forge may still sign with the old one.
fn webhook_secrets(environment: &Environment) -> Result<Vec<Secret<String>>, SettingsError> {
    let secrets: Vec<_> =
        environment.list("BRANCHLINE_WEBHOOK_SECRET").map(|secret| Secret::new(secret.to_owned())).collect();
    if secrets.len() > 2 {
        return Err(SettingsError::Value {
            name: "BRANCHLINE_WEBHOOK_SECRET",
            value: format!("{} secrets", secrets.len()),
            expected: "one secret, or two during a rotation",
            hint: "OLD,NEW; drop the old one once every webhook signs with the new one",
        });
    }
    Ok(secrets)
}

fn switch(environment: &Environment, name: &'static str) -> Result<bool, SettingsError> {
    match environment.get(name) {
        None | Some("false" | "0" | "no") => Ok(false),
        Some("true" | "1" | "yes") => Ok(true),
        Some(other) => Err(SettingsError::Value {
            name,
            value: other.to_owned(),
            expected: "a switch",
            hint: "true or false",
        }),
    }
}

#[cfg(test)]
mod tests;
