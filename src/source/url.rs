//! Which repository is meant, and whether it may be asked at all.

use std::fmt;
use std::net::IpAddr;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use url::{Host, Url};

use super::address::is_private;
use crate::hash::Hasher;
use crate::name::RepoSlug;

const FORGES: [&str; 2] = ["github.com", "gitlab.com"];
const LONGEST: usize = 1024;

/// A repository address that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is refused as a repository: {rule}; hint: {hint}")]
pub struct UrlError {
    /// The text, with what cannot be printed escaped, cut to 120 characters.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
    /// The way out.
    pub hint: &'static str,
}

const WRITE_IT: &str = "write https://HOST/OWNER/NAME, OWNER/NAME or ../NAME.git";
const ALLOW_HOST: &str = "the operator can name the host with --git-host";
const ALLOW_FILE: &str = "the operator can allow local paths with --git-host file";

fn refuse(text: &str, rule: &'static str, hint: &'static str) -> UrlError {
    // what stands before an `@` may be a password
    let shown = text.rsplit_once('@').map_or(text, |(_, rest)| rest);
    UrlError { text: shown.escape_debug().take(120).collect(), rule, hint }
}

/// The hosts that repositories may be on besides github.com and gitlab.com: the operator's `--git-host`.
///
/// An entry is `HOST` or `HOST:PORT` (https; plain http too where it is an address or `localhost`),
/// `http://HOST[:PORT]` (plain http) or `file` (local paths). A host that is named may have a private address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GitHosts {
    file: bool,
    named: Vec<NamedHost>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct NamedHost {
    plain: bool,
    host: String,
    port: Option<u16>,
}

impl FromStr for GitHosts {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let mut hosts = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            hosts.add(entry)?;
        }
        Ok(hosts)
    }
}

impl GitHosts {
    /// Adds one entry, such as the host of the forge that the operator named.
    ///
    /// # Errors
    /// When the entry is no host.
    pub fn add(&mut self, entry: &str) -> Result<(), UrlError> {
        if entry == "file" {
            self.file = true;
            return Ok(());
        }
        let not_a_host =
            || refuse(entry, "it is no host", "an entry is HOST, HOST:PORT, http://HOST or file");
        let (plain, full) = match entry.split_once("://") {
            Some(("http", _)) => (true, entry.to_owned()),
            Some(("https", rest)) => (false, format!("http://{rest}")),
            Some(_) => return Err(not_a_host()),
            None => (false, format!("http://{entry}")),
        };
        let url = Url::parse(&full).map_err(|_| not_a_host())?;
        if url.username() != "" || url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(not_a_host());
        }
        let host = url.host_str().ok_or_else(not_a_host)?.to_ascii_lowercase();
        let local = matches!(url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_))) || host == "localhost";
        // the default port of the scheme used for parsing is swallowed by `port()`
        let port = if full.ends_with(":80") { Some(80) } else { url.port() };
        self.named.push(NamedHost { plain: plain || local, host, port });
        Ok(())
    }

    /// Whether the host is named, whichever its port: then private addresses are allowed for it.
    pub(super) fn names(&self, host: &str) -> bool {
        self.named.iter().any(|named| named.host.eq_ignore_ascii_case(host))
    }

    fn permits(&self, url: &Url) -> Result<(), (&'static str, &'static str)> {
        let host = url.host_str().unwrap_or_default();
        let plain = url.scheme() == "http";
        let named = self
            .named
            .iter()
            .filter(|named| named.host == host)
            .filter(|named| named.port.is_none() || named.port == url.port_or_known_default());
        for entry in named {
            if !plain || entry.plain {
                return Ok(());
            }
        }
        let address = match url.host() {
            Some(Host::Ipv4(v4)) => Some(IpAddr::V4(v4)),
            Some(Host::Ipv6(v6)) => Some(IpAddr::V6(v6)),
            _ => None,
        };
        match address {
            Some(address) if is_private(address) => Err(("its address is private", ALLOW_HOST)),
            _ if plain => Err((
                "plain http is not safe",
                "write https://, or let the operator allow it with --git-host http://HOST",
            )),
            None if FORGES.contains(&host) && url.port().is_none() => Ok(()),
            _ => Err(("its host is not one that this server fetches from", ALLOW_HOST)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    Http(Url),
    Local(PathBuf),
}

/// A repository that may be fetched: parsed, normalised, and allowed by the operator's list.
///
/// Two spellings of one repository are equal and have the same [`key`](Self::key).
#[derive(Debug, Clone)]
pub struct RepositoryUrl {
    key: String,
    shown: String,
    address: Address,
    /// Where it is fetched from when the forge names another place than its address.
    clone_from: Option<Address>,
}

impl PartialEq for RepositoryUrl {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for RepositoryUrl {}

impl PartialOrd for RepositoryUrl {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RepositoryUrl {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

impl std::hash::Hash for RepositoryUrl {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl RepositoryUrl {
    /// Parses what the operator named as the config repository: like [`parse`](Self::parse), and a local path needs
    /// no permission, since naming it is one.
    ///
    /// # Errors
    /// When it is not an address that Branchline fetches from.
    pub fn of_operator(text: &str, hosts: &GitHosts) -> Result<Self, UrlError> {
        let hosts = GitHosts { file: true, ..hosts.clone() };
        match Self::absolute(text, &hosts) {
            Err(error) if Path::new(text).is_dir() => match std::path::absolute(text) {
                Ok(path) => Ok(Self::local(&path)),
                Err(_) => Err(error),
            },
            parsed => parsed,
        }
    }

    /// Parses an address from the config repository `base`.
    ///
    /// `https://HOST/OWNER/NAME`, `HOST/OWNER/NAME` and `OWNER/NAME` (github.com) are known; `../NAME.git` and
    /// `./NAME` are resolved against `base` as Git does for submodules (gitmodules(5)), on the same host or under
    /// the same parent folder.
    ///
    /// # Errors
    /// When the text is no repository address, or names one that the operator did not allow.
    pub fn parse(text: &str, base: &Self, hosts: &GitHosts) -> Result<Self, UrlError> {
        check_text(text)?;
        if !(text.starts_with("./") || text.starts_with("../")) {
            return Self::absolute(text, hosts);
        }
        match &base.address {
            Address::Http(url) => {
                let path = join(url.path(), text)
                    .ok_or_else(|| refuse(text, "it leads above the host", WRITE_IT))?;
                let mut url = url.clone();
                url.set_path(&path);
                Self::http(text, url)
            }
            Address::Local(folder) => {
                let outside = || {
                    refuse(text, "it leads out of the folder that holds the config repository", ALLOW_FILE)
                };
                let joined = join(&folder.to_string_lossy(), text).ok_or_else(outside)?;
                let path = PathBuf::from(joined);
                let inside = folder.parent().is_some_and(|parent| path.starts_with(parent) && path != parent);
                if inside || hosts.file { Ok(Self::local(&path)) } else { Err(outside()) }
            }
        }
    }

    fn absolute(text: &str, hosts: &GitHosts) -> Result<Self, UrlError> {
        check_text(text)?;
        let ssh = || refuse(text, "ssh is not supported", "write https://HOST/OWNER/NAME and give a token");
        let local = |path: &str| {
            if !hosts.file {
                return Err(refuse(text, "local paths are not allowed", ALLOW_FILE));
            }
            normal(Path::new(path))
                .map(|path| Self::local(&path))
                .ok_or_else(|| refuse(text, "it is no plain path", WRITE_IT))
        };
        let full = match text.split_once("://") {
            Some(("https" | "http", rest)) if rest.starts_with('/') => {
                return Err(refuse(text, "it names no host", WRITE_IT));
            }
            Some(("https" | "http", _)) => text.to_owned(),
            Some(("file", path)) if path.starts_with('/') => return local(path),
            Some(("ssh" | "git+ssh" | "ssh+git", _)) => return Err(ssh()),
            Some(_) => return Err(refuse(text, "only https is supported", WRITE_IT)),
            None if text.starts_with('/') => return local(text),
            None if text.contains('@') => return Err(ssh()),
            None => {
                let (first, rest) =
                    text.split_once('/').ok_or_else(|| refuse(text, "it names no repository", WRITE_IT))?;
                let port = first.split_once(':').map(|(_, port)| port);
                if port.is_some_and(|port| port.parse::<u16>().is_err()) {
                    return Err(ssh());
                }
                let is_host = first.contains(['.', ':']) || rest.contains('/');
                if is_host { format!("https://{text}") } else { format!("https://github.com/{text}") }
            }
        };
        let url = Url::parse(&full).map_err(|_| refuse(text, "it is no address", WRITE_IT))?;
        hosts.permits(&url).map_err(|(rule, hint)| refuse(text, rule, hint))?;
        Self::http(text, url)
    }

    fn http(text: &str, mut url: Url) -> Result<Self, UrlError> {
        let path = url.path().trim_end_matches('/').to_owned();
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if parts
            .iter()
            .any(|part| part.is_empty() || part.starts_with('-') || matches!(*part, "." | ".." | ".git"))
        {
            return Err(refuse(text, "its path has an empty or unusual part", WRITE_IT));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        let bare = path.strip_suffix(".git").unwrap_or(&path).to_owned();
        if FORGES.contains(&host.as_str()) {
            let slug = bare.trim_start_matches('/');
            let fits = if host == "github.com" { slug.parse::<RepoSlug>().is_ok() } else { parts.len() >= 2 };
            if !fits {
                return Err(refuse(text, "it names no repository", WRITE_IT));
            }
            url.set_path(&format!("{bare}.git"));
        } else {
            url.set_path(&path);
        }
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let scheme = if url.scheme() == "http" { "http://" } else { "" };
        let shown = format!("{scheme}{host}{port}{bare}");
        // GitHub's owners and names differ by more than the case of their letters
        let key = if host == "github.com" { shown.to_ascii_lowercase() } else { shown.clone() };
        Ok(Self { key, shown, address: Address::Http(url), clone_from: None })
    }

    fn local(path: &Path) -> Self {
        let shown = path.display().to_string();
        Self {
            key: format!("file://{shown}"),
            shown,
            address: Address::Local(path.to_owned()),
            clone_from: None,
        }
    }

    /// The same repository, fetched from the `clone_url` that the forge's API gives for it.
    ///
    /// # Errors
    /// When that address is not allowed.
    pub fn cloned_from(&self, clone_url: &str, hosts: &GitHosts) -> Result<Self, UrlError> {
        let other = Self::absolute(clone_url, hosts)?;
        Ok(Self { clone_from: Some(other.address), ..self.clone() })
    }

    /// The one spelling of the repository, for maps and for the store.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The repository's own name: the last part of its path without `.git`.
    #[must_use]
    pub fn name(&self) -> &str {
        let last = self.shown.rsplit('/').next().unwrap_or(&self.shown);
        last.strip_suffix(".git").unwrap_or(last)
    }

    /// `owner/name` where the repository is GitHub's.
    #[must_use]
    pub fn github_slug(&self) -> Option<RepoSlug> {
        self.shown.strip_prefix("github.com/").and_then(|slug| slug.parse().ok())
    }

    /// Whether a forge tells us of its pull requests. Elsewhere `refs/pull/<n>/head` is an open pull request.
    #[must_use]
    pub fn has_forge(&self) -> bool {
        FORGES.iter().any(|forge| self.shown.strip_prefix(forge).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The folder of a local repository: what can be watched.
    #[must_use]
    pub fn local_path(&self) -> Option<&Path> {
        match self.fetched() {
            Address::Local(path) => Some(path),
            Address::Http(_) => None,
        }
    }

    /// The host and port that credentials may be sent to, `None` for a local path.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        let url = self.http_address()?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        Some(format!("{}{port}", url.host_str().unwrap_or_default()))
    }

    fn fetched(&self) -> &Address {
        self.clone_from.as_ref().unwrap_or(&self.address)
    }

    pub(super) fn http_address(&self) -> Option<&Url> {
        match self.fetched() {
            Address::Http(url) => Some(url),
            Address::Local(_) => None,
        }
    }

    /// The address as libgit2 takes it.
    pub(super) fn git_address(&self) -> String {
        match self.fetched() {
            Address::Http(url) => url.to_string(),
            // a plain path with a colon would be taken for ssh
            Address::Local(path) => {
                Url::from_file_path(path).map_or_else(|()| path.display().to_string(), |url| url.to_string())
            }
        }
    }

    /// The folder name of its mirror.
    pub(super) fn folder(&self) -> String {
        let name: String =
            self.name().chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(40).collect();
        let hash = Hasher::new("repository").text(&self.key).finish().short();
        format!("{name}-{}.git", &hash[..16])
    }
}

/// Refuses what no address holds, before anything is made of it.
fn check_text(text: &str) -> Result<(), UrlError> {
    let rule = if text.is_empty() {
        "it is empty"
    } else if text.len() > LONGEST {
        "it is too long"
    } else if text.starts_with('-') {
        "it begins with a dash"
    } else if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        "it holds a space, a backslash or a control character"
    } else if let Some((helper, _)) = text.split_once("::")
        && helper.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    {
        "transport helpers are not run"
    } else if let Some((_, rest)) = text.split_once("://")
        && rest.split('/').next().unwrap_or_default().contains('@')
        && !text.starts_with("ssh")
    {
        return Err(refuse(
            text,
            "a URL never holds a name or a password",
            "give the token to the server, not in the URL",
        ));
    } else if !text.starts_with('/') && text.contains(['?', '#', '%']) {
        "it has a query, a fragment or an escape"
    } else {
        return Ok(());
    };
    Err(refuse(text, rule, WRITE_IT))
}

/// Joins a relative address to a path as Git does for submodules: the path itself is the folder that `..` leaves.
fn join(base: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = base.trim_end_matches('/').split('/').collect();
    for part in relative.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." if parts.len() > 1 => drop(parts.pop()),
            "" | ".." => return None,
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    (joined.starts_with('/') && joined.len() > 1).then_some(joined)
}

/// The path without `.` and without a slash at its end; `None` where it holds `..`.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::Normal(_) => normal.push(component),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (normal.parent().is_some()).then_some(normal)
}

#[cfg(test)]
#[path = "url/tests.rs"]
mod tests;
