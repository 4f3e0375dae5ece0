//! What a static site says about itself, and which file a path names.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use http::StatusCode;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::ServeError;

/// The settings of a site, as `static` of a service has them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Site {
    /// The folder that is served.
    pub(super) root: PathBuf,
    /// Whether an unknown path is answered with `index.html`.
    pub(super) spa_fallback: bool,
    /// The page of an unknown path.
    pub(super) not_found: Option<String>,
    redirects: Vec<Redirect>,
    headers: Vec<Headers>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Redirect {
    from: String,
    to: String,
    status: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Headers {
    path: String,
    headers: BTreeMap<String, String>,
}

impl Site {
    /// Reads the arguments of the verb.
    pub(super) fn of(arguments: Vec<OsString>) -> Result<Self, ServeError> {
        let mut site = Self::default();
        let mut words = arguments.into_iter();
        while let Some(word) = words.next() {
            let unknown = || ServeError::Argument { argument: word.to_string_lossy().into_owned() };
            let text = word.to_str().ok_or_else(unknown)?;
            match text.split_once('=') {
                Some(("--site", json)) => site = parse(json)?,
                Some(("--not-found", page)) => site.not_found = Some(page.to_owned()),
                _ if text == "--site" => {
                    let json = words.next().ok_or_else(unknown)?;
                    site = parse(json.to_str().ok_or_else(unknown)?)?;
                }
                _ if text == "--spa-fallback" => site.spa_fallback = true,
                _ if text.starts_with('-') => return Err(unknown()),
                _ => site.root = PathBuf::from(&word),
            }
        }
        if site.root.as_os_str().is_empty() {
            site.root = PathBuf::from(".");
        }
        Ok(site)
    }

    /// Where else the path leads.
    pub(super) fn redirect(&self, path: &str) -> Option<(&str, StatusCode)> {
        let rule = self.redirects.iter().find(|rule| matches(&rule.from, path))?;
        let status = rule.status.and_then(|status| StatusCode::from_u16(status).ok());
        Some((&rule.to, status.filter(StatusCode::is_redirection).unwrap_or(StatusCode::MOVED_PERMANENTLY)))
    }

    /// Adds what the site says for that path.
    pub(super) fn add_headers(&self, path: &str, headers: &mut HeaderMap) {
        for (name, value) in
            self.headers.iter().filter(|rule| matches(&rule.path, path)).flat_map(|rule| &rule.headers)
        {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
    }
}

fn parse(json: &str) -> Result<Site, ServeError> {
    // a service without `static` hands over `null`
    let site: Option<Site> = serde_json::from_str(json).map_err(|source| ServeError::Site { source })?;
    Ok(site.unwrap_or_default())
}

/// A path, or all that begin like it: `/assets/*`.
fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern,
    }
}

/// The file that a path of a request names, below the folder of the site.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) path: PathBuf,
    /// Whether the path ends with a slash.
    pub(super) is_folder: bool,
}

impl Target {
    /// None where nothing may be served: a part that begins with a dot, a NUL, a backslash, broken escapes.
    pub(super) fn of(path: &str) -> Option<Self> {
        let mut target = PathBuf::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let part = decode(part)?;
            if part.starts_with('.') || part.contains(['/', '\\', '\0']) {
                return None;
            }
            target.push(part);
        }
        Some(Self { path: target, is_folder: path.ends_with('/') })
    }
}

/// Replaces `%41` by `A`; none where that is no text.
fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_file_below_the_folder_or_nothing() {
        let named = |path: &str| Target::of(path).map(|target| target.path.to_string_lossy().into_owned());
        assert_eq!(named("/a%20b/c.html").as_deref(), Some("a b/c.html"));
        assert_eq!(named("//a//").as_deref(), Some("a"));
        for hidden in ["/../x", "/%2e%2e/x", "/.git/config", "/a/%2Fetc", "/a%00", "/a%", "/..%5cx", "/%ff"] {
            assert_eq!(named(hidden), None, "{hidden}");
        }
    }

    #[test]
    fn a_site_is_told_in_words_or_as_one_json_text() {
        let of = |words: &[&str]| Site::of(words.iter().map(OsString::from).collect());
        let told = of(&["dist", "--spa-fallback", "--not-found=oops.html"]).unwrap();
        let json = r#"{"root": "dist", "spaFallback": true, "notFound": "oops.html"}"#;
        assert_eq!(told, of(&["--site", json]).unwrap());
        assert_eq!(of(&["--site", "null"]).unwrap().root, PathBuf::from("."));
        insta::assert_snapshot!(
            of(&["--magic"]).unwrap_err(),
            @r#""--magic" is not understood; hint: serve-static [FOLDER] [--spa-fallback] [--not-found=PAGE] [--site=JSON]"#
        );
    }

    #[test]
    fn redirects_and_headers_are_by_path() {
        let json = r#"{"redirects": [{"from": "/old", "to": "/new"}, {"from": "/x/*", "to": "/y", "status": 302}],
            "headers": [{"path": "/assets/*", "headers": {"Cache-Control": "max-age=60"}}]}"#;
        let site = Site::of(vec!["--site".into(), json.into()]).unwrap();
        assert_eq!(site.redirect("/old"), Some(("/new", StatusCode::MOVED_PERMANENTLY)));
        assert_eq!(site.redirect("/x/1"), Some(("/y", StatusCode::FOUND)));
        assert_eq!(site.redirect("/new"), None);
        let mut headers = HeaderMap::new();
        site.add_headers("/assets/app.js", &mut headers);
        assert_eq!(headers["cache-control"], "max-age=60");
    }
}
