//! One request to GitHub: authenticated, within the limits, with a deadline, its answer bounded and read leniently.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use octocrab::Octocrab;
use octocrab::models::AppId;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::app::{Installation, Us};
use super::error::GitHubError;
use super::limits::Limits;
use crate::clock::Clock;
use crate::name::RepoSlug;
use crate::settings::{GitHubAuth, GitHubSettings};

/// How long one request may take, its answer included.
const DEADLINE: Duration = Duration::from_secs(15);
/// The largest answer that we read: a page of 100 pull requests is about 2 MB.
const LARGEST: usize = 16 << 20;
/// Pages of one listing; beyond it the listing is incomplete, which is an error.
const PAGES: usize = 100;

/// GitHub, as an App or with a token. Clones share their limits and what they know.
#[derive(Clone)]
pub struct Client {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) crab: Arc<Octocrab>,
    /// The App's id; `None` with a token.
    pub(super) app: Option<u64>,
    pub(super) clock: Clock,
    pub(super) installations: Mutex<BTreeMap<String, Installation>>,
    pub(super) us: Mutex<Option<Us>>,
    limits: Mutex<BTreeMap<String, Limits>>,
}

/// Who a request is made as.
#[derive(Clone, Copy)]
pub(super) enum As<'a> {
    /// Whoever may act on this repository: its installation, or the token.
    Repository(&'a RepoSlug),
    /// The App itself (or the token).
    Us,
}

/// A request. `doing` completes the sentence "we were to …".
pub(super) struct Ask<'a, B: ?Sized = ()> {
    pub(super) doing: String,
    pub(super) who: As<'a>,
    pub(super) method: Method,
    /// The path with its query, each part percent-encoded.
    pub(super) path: String,
    pub(super) body: Option<&'a B>,
}

/// An answer that is no refusal.
pub(super) struct Answer {
    doing: String,
    pub(super) headers: HeaderMap,
    body: Vec<u8>,
}

impl Client {
    /// A client of the forge that the settings name.
    ///
    /// # Errors
    /// The key is no PEM, or the address none.
    pub fn new(settings: &GitHubSettings, clock: Clock) -> Result<Self, GitHubError> {
        let wrong = |what: &octocrab::Error, hint| GitHubError::Settings { what: innermost(what), hint };
        // octocrab's own retrying is a feature that we leave out: the sender decides when to try again
        let builder = Octocrab::builder()
            .base_uri(settings.url.as_str())
            .map_err(|error| wrong(&error, "BRANCHLINE_GITHUB_URL is the address of the API"))?
            .set_connect_timeout(Some(Duration::from_secs(5)))
            .set_read_timeout(Some(DEADLINE))
            .set_write_timeout(Some(DEADLINE))
            .add_header(http::header::ACCEPT, "application/vnd.github+json".to_owned());
        let (builder, app) = match &settings.auth {
            GitHubAuth::Token(token) => (builder.personal_token(token.expose().clone()), None),
            GitHubAuth::App { id, private_key } => {
                let key = private_key.expose();
                let builder = builder.app_from_rsa_pem(AppId(*id), key.as_bytes()).map_err(|error| {
                    wrong(&error, "BRANCHLINE_GITHUB_PRIVATE_KEY_FILE is the PEM file that GitHub gave")
                })?;
                (builder, Some(*id))
            }
        };
        let crab = builder.build().map_err(|error| wrong(&error, "check the address and the key"))?;
        let inner = Inner {
            crab: Arc::new(crab),
            app,
            clock,
            installations: Mutex::default(),
            us: Mutex::default(),
            limits: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether we are an App. Only Apps make check runs; with a token there are commit statuses.
    #[must_use]
    pub fn is_app(&self) -> bool {
        self.inner.app.is_some()
    }

    /// Asks and reads the answer as JSON.
    pub(super) async fn ask<T, B>(&self, ask: Ask<'_, B>) -> Result<T, GitHubError>
    where
        T: DeserializeOwned,
        B: Serialize + ?Sized,
    {
        self.answer(ask).await?.read()
    }

    /// Asks; an answer that refuses is an error.
    pub(super) async fn answer<B>(&self, ask: Ask<'_, B>) -> Result<Answer, GitHubError>
    where
        B: Serialize + ?Sized,
    {
        let now = self.inner.clock.now();
        let budget = self.budget(ask.who);
        if ask.method == Method::GET {
            self.limits().entry(budget.clone()).or_default().may_read(now)?;
        } else {
            self.limits().entry(budget.clone()).or_default().take_write(now)?;
        }
        let crab = self.crab(ask.who).await?;
        let request = http::request::Builder::new().method(ask.method.clone()).uri(ask.path.as_str());
        let unreachable = |cause| GitHubError::Unreachable { doing: ask.doing.clone(), cause };
        let request =
            crab.build_request(request, ask.body).map_err(|error| unreachable(innermost(&error)))?;
        let exchange = async {
            let response =
                crab.execute(request).await.map_err(|error| self.not_sent(&ask.doing, ask.who, &error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, LARGEST).collect().await;
            let body = body.map_err(|error| unreachable(error.to_string()))?.to_bytes();
            Ok((parts, body))
        };
        let exchanged = tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(GitHubError::Slow { doing: ask.doing.clone(), limit: DEADLINE }));
        let (parts, body) = match exchanged {
            Ok(exchanged) => exchanged,
            Err(error) => {
                if error.retry() == super::Retry::Soon {
                    let now = self.inner.clock.now();
                    self.limits().entry(budget).or_default().trouble(now, None);
                }
                return Err(error);
            }
        };
        let message = if parts.status.is_success() { String::new() } else { refusal(&body) };
        let now = self.inner.clock.now();
        let read =
            self.limits().entry(budget).or_default().answered(parts.status, &parts.headers, &message, now);
        read?;
        if parts.status.is_success() {
            return Ok(Answer { doing: ask.doing, headers: parts.headers, body: body.to_vec() });
        }
        if parts.status.is_redirection()
            && let Some(moved) = self.moved(&ask).await?
        {
            let (who, path) = (As::Repository(&moved.0), moved.1);
            let moved = Ask { doing: ask.doing, who, method: ask.method, path, body: ask.body };
            return Box::pin(self.answer(moved)).await;
        }
        Err(self.refused(ask.doing, ask.who, parts.status, message))
    }

    /// Reads a listing to its end. Pages are counted by us: an address in a `Link` header is never followed, so no
    /// answer can send us, and our token, elsewhere.
    pub(super) async fn all<T, P>(
        &self,
        doing: &str,
        who: As<'_>,
        path: &str,
        items: fn(P) -> Vec<T>,
    ) -> Result<Vec<T>, GitHubError>
    where
        P: DeserializeOwned,
    {
        let separator = if path.contains('?') { '&' } else { '?' };
        let mut all = Vec::new();
        for page in 1..=PAGES {
            let ask = Ask::<()> {
                doing: doing.to_owned(),
                who,
                method: Method::GET,
                path: format!("{path}{separator}per_page=100&page={page}"),
                body: None,
            };
            let answer = self.answer(ask).await?;
            let more = answer.has_next();
            all.extend(items(answer.read()?));
            if !more {
                return Ok(all);
            }
        }
        let cause = format!("the listing has more than {PAGES} pages");
        Err(GitHubError::Unreadable { doing: doing.to_owned(), cause })
    }

    /// Where to ask instead when a repository has been renamed: a write is never sent on by itself
    /// (<https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api#follow-redirects>).
    async fn moved<B: ?Sized>(&self, ask: &Ask<'_, B>) -> Result<Option<(RepoSlug, String)>, GitHubError> {
        let As::Repository(repository) = ask.who else { return Ok(None) };
        let Some(rest) = ask.path.strip_prefix(&format!("/repos/{repository}/")) else { return Ok(None) };
        let now = Box::pin(self.repository(repository)).await?.full_name;
        Ok((now != *repository).then(|| {
            let path = format!("/repos/{now}/{rest}");
            (now, path)
        }))
    }

    /// Limits count per installation, and installations are per owner; a token has one for everything.
    fn budget(&self, who: As<'_>) -> String {
        match who {
            As::Repository(repository) if self.is_app() => {
                repository.as_str().split('/').next().unwrap_or_default().to_ascii_lowercase()
            }
            _ => String::new(),
        }
    }

    fn limits(&self) -> MutexGuard<'_, BTreeMap<String, Limits>> {
        self.inner.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The installation's token may be refused before the request itself goes out.
    fn not_sent(&self, doing: &str, who: As<'_>, error: &octocrab::Error) -> GitHubError {
        if let octocrab::Error::GitHub { source, .. } = error {
            let status = source.status_code;
            if status == StatusCode::UNAUTHORIZED {
                return GitHubError::Unauthorized;
            }
            if let (StatusCode::FORBIDDEN | StatusCode::NOT_FOUND, As::Repository(repository)) = (status, who)
            {
                // taken off, suspended, or installed anew under another number
                self.forget_installation(repository);
                return GitHubError::NotInstalled { repository: repository.to_string() };
            }
            let doing = "get a token for the installation".to_owned();
            if status.is_server_error() {
                return GitHubError::Down { doing, status: status.as_u16() };
            }
            return GitHubError::Refused { doing, status: status.as_u16(), message: short(&source.message) };
        }
        GitHubError::Unreachable { doing: doing.to_owned(), cause: innermost(error) }
    }

    fn refused(&self, doing: String, who: As<'_>, status: StatusCode, message: String) -> GitHubError {
        let status = status.as_u16();
        match status {
            401 => GitHubError::Unauthorized,
            500.. => GitHubError::Down { doing, status },
            _ => {
                if let (403 | 404, As::Repository(repository)) = (status, who) {
                    // the App may have been installed anew, under another number
                    self.forget_installation(repository);
                }
                GitHubError::Refused { doing, status, message }
            }
        }
    }
}

impl Answer {
    /// Reads the answer; unknown fields are nothing to us.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, GitHubError> {
        serde_json::from_slice(&self.body)
            .map_err(|error| GitHubError::Unreadable { doing: self.doing.clone(), cause: error.to_string() })
    }

    /// Whether the `Link` header names a next page (RFC 8288).
    fn has_next(&self) -> bool {
        self.headers.get_all(http::header::LINK).iter().any(|link| {
            link.to_str().is_ok_and(|link| link.contains("rel=\"next\"") || link.contains("rel=next"))
        })
    }
}

/// What GitHub says against a request; an HTML page says nothing.
fn refusal(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default)]
        message: String,
        #[serde(default)]
        errors: Vec<serde_json::Value>,
    }
    let Ok(body) = serde_json::from_slice::<Body>(body) else { return "no reason was given".to_owned() };
    let reason = |error: &serde_json::Value| match error {
        serde_json::Value::String(reason) => Some(reason.clone()),
        error => error.get("message").or_else(|| error.get("code"))?.as_str().map(str::to_owned),
    };
    let reasons: Vec<String> = body.errors.iter().filter_map(reason).collect();
    let more = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    short(&(body.message + &more))
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// The innermost cause: octocrab's own words are wrappers, some with a backtrace in them.
fn innermost(error: &octocrab::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    short(&cause.to_string())
}

/// Percent-encodes one part of a path (RFC 3986, section 2.3).
pub(super) fn part(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
