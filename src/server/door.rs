//! Who may knock where: the check before every route.
//!
//! Webhooks and health are open to any host name and on any listener: a webhook proves itself by its
//! signature, health tells nothing. All other routes are for our own host names, so that a foreign page cannot
//! reach them by pointing its name here, and for a loopback listener, until accounts exist. Whatever changes
//! something needs the token, JSON, and the same origin.

use std::net::IpAddr;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::Authority;
use http::{Method, StatusCode};

use super::ServerState;
use super::error::Problem;
use super::limits::WEBHOOK_BYTES;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What the check knows.
#[derive(Clone)]
pub(super) struct Door {
    loopback: bool,
    public: Option<Public>,
    /// The digest, so that comparing tells nothing of the length either.
    token: [u8; 32],
}

/// The address that people know.
#[derive(Clone)]
struct Public {
    host: String,
    origin: String,
}

impl Door {
    pub(super) fn new(state: &ServerState, loopback: bool) -> Self {
        let settings = &state.settings;
        let public =
            settings.public_url.as_deref().and_then(|text| url::Url::parse(text).ok()).and_then(|url| {
                Some(Public { host: url.host_str()?.to_owned(), origin: url.origin().ascii_serialization() })
            });
        Self { loopback, public, token: sha256(settings.token.expose()) }
    }

    /// Lets a request in, or says why not.
    pub(super) fn check(&self, head: &Parts) -> Result<(), Problem> {
        small_enough(&head.headers)?;
        let path = head.uri.path();
        if open(path) {
            return Ok(());
        }
        if !self.loopback {
            return Err(Problem::new(StatusCode::NOT_FOUND, "notServedHere", "This listener serves webhooks and health only.")
                .hint("Until accounts exist, pages and API are served on a loopback listener: reach it through an SSH tunnel or kubectl port-forward."));
        }
        let host = host(head).ok_or_else(|| {
            Problem::new(StatusCode::BAD_REQUEST, "badHost", "The request names no host, or several.")
        })?;
        if !self.ours(host.host()) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "foreignHost",
                format!("{} is none of our host names.", host.host()),
            )
            .hint("Use localhost, or set BRANCHLINE_PUBLIC_URL to the address that people use."));
        }
        let changes = !head.method.is_safe();
        if changes || head.headers.contains_key(header::UPGRADE) {
            self.same_origin(&head.headers, &host)?;
        }
        if changes { self.may_change(&head.headers, &head.method) } else { Ok(()) }
    }

    fn ours(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost")
            || IpAddr::from_str(address).is_ok_and(|address| address.is_loopback())
            || self.public.as_ref().is_some_and(|public| host.eq_ignore_ascii_case(&public.host))
    }

    /// A browser says where a request comes from; other programs do not, and need not.
    fn same_origin(&self, headers: &HeaderMap, host: &Authority) -> Result<(), Problem> {
        let foreign = || {
            Err(Problem::new(StatusCode::FORBIDDEN, "foreignOrigin", "The request comes from another site."))
        };
        if headers.get(SEC_FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none") {
            return foreign();
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let (first, more) = (origins.next(), origins.next());
        match (first.map(HeaderValue::to_str), more) {
            (None, _) => Ok(()),
            (Some(Ok(origin)), None) if self.is_own(origin, host) => Ok(()),
            _ => foreign(),
        }
    }

    fn is_own(&self, origin: &str, host: &Authority) -> bool {
        let public = self.public.as_ref().is_some_and(|public| origin.eq_ignore_ascii_case(&public.origin));
        let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
        public || authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
    }

    fn may_change(&self, headers: &HeaderMap, method: &Method) -> Result<(), Problem> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = shown
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let right = token
            .is_some_and(|(_, token)| verify_slices_are_equal(&sha256(token.trim()), &self.token).is_ok());
        if !right {
            return Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "This needs the server's token.",
            )
            .hint(
                "Send Authorization: Bearer TOKEN; the token stands in the file `token` of the data folder.",
            )
            .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        }
        if method != Method::DELETE && !is_json(headers) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupportedMediaType",
                "The body is of another type.",
            )
            .hint("Send Content-Type: application/json."));
        }
        Ok(())
    }
}

/// Routes that prove or show nothing by their host name.
fn open(path: &str) -> bool {
    path.starts_with("/webhooks/") || ["/health", "/livez", "/readyz"].contains(&path)
}

/// The host that the request is for: that of its address, or the one `Host` header.
fn host(head: &Parts) -> Option<Authority> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (first, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return None;
    }
    let named = first.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    head.uri.authority().cloned().or(named).filter(|authority| !authority.as_str().contains('@'))
}

/// Whether the announced size is within what the largest route takes.
fn small_enough(headers: &HeaderMap) -> Result<(), Problem> {
    match announced(headers) {
        Some(bytes) if bytes > WEBHOOK_BYTES => Err(Problem::too_large(WEBHOOK_BYTES)),
        _ => Ok(()),
    }
}

/// The announced size of the body.
pub(super) fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the body calls itself JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    named
        .and_then(|named| named.split(';').next())
        .is_some_and(|named| named.trim().eq_ignore_ascii_case("application/json"))
}

fn sha256(text: &str) -> [u8; 32] {
    digest(&SHA256, text.as_bytes()).as_ref().try_into().expect("SHA-256 has 32 bytes")
}
