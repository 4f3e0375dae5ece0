//! Git's smart HTTP protocol (gitprotocol-http(5)) for libgit2, over the one HTTP client.
//!
//! Here stand the rules that libgit2 does not have: a deadline, a limit on bytes, no redirect to another origin, no
//! private address, and the token sent to the repository's own origin only.

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes};
use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, StatusCode};
use tokio::runtime::Handle;
use tokio::time::Instant;
use url::Url;

use super::address::{GuardedResolver, PrivateAddress};
use super::url::{GitHosts, RepositoryUrl};
use super::{Cause, Limits, SourceError, lock};
use crate::secret::Secret;

const REDIRECTS: usize = 5;
const LARGEST_REQUEST: usize = 64 << 20;
/// Servers have long looked at the first word of it to tell Git from a browser.
const AGENT: &str = concat!("git/2.0 (branchline ", env!("CARGO_PKG_VERSION"), ")");

/// Makes the HTTP client of all fetches. It follows no redirect and reads no proxy from the environment.
pub(super) fn client(hosts: &Arc<GitHosts>, limits: &Limits) -> Result<Client, reqwest::Error> {
    Client::builder()
        .user_agent(AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(limits.idle)
        .dns_resolver(Arc::new(GuardedResolver { hosts: Arc::clone(hosts) }))
        .build()
}

/// Why the wire gave up. libgit2 passes on the text of an error only, so it is kept here.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    Status(u16),
    Forbidden(String),
    Deadline,
    TooManyBytes,
    Network(Cause),
}

/// The connection of one fetch or push.
pub(super) struct Wire {
    client: Client,
    runtime: Handle,
    token: Option<Secret<String>>,
    origin: Url,
    base: Mutex<Url>,
    deadline: Instant,
    limits: Limits,
    received: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

impl Wire {
    /// A wire to `url`; `None` for a local repository.
    pub(super) fn new(
        client: &Client,
        runtime: Handle,
        url: &RepositoryUrl,
        token: Option<Secret<String>>,
        limits: &Limits,
    ) -> Option<Arc<Self>> {
        let address = url.http_address()?.clone();
        Some(Arc::new(Self {
            client: client.clone(),
            runtime,
            token,
            origin: address.clone(),
            base: Mutex::new(address),
            deadline: Instant::now() + limits.deadline,
            limits: limits.clone(),
            received: AtomicU64::new(0),
            failure: Mutex::new(None),
        }))
    }

    /// The error that ended the wire, in the words of this room.
    pub(super) fn error(&self, url: &RepositoryUrl, what: &'static str) -> Option<SourceError> {
        let repository = url.to_string();
        let failure = lock(&self.failure).take()?;
        Some(match failure {
            Failure::Status(status @ (401 | 403 | 404)) => SourceError::Denied { repository, status, what },
            Failure::Status(status) => {
                let source: Cause = Arc::new(io::Error::other(format!("the server answers {status}")));
                SourceError::Unreachable { repository, source }
            }
            Failure::Forbidden(rule) => SourceError::Forbidden { repository, rule },
            Failure::Deadline => SourceError::Deadline { repository, limit: self.limits.deadline },
            Failure::TooManyBytes => SourceError::TooLarge {
                repository,
                what: "bytes in one fetch",
                limit: self.limits.fetch_bytes,
            },
            Failure::Network(source) => SourceError::Unreachable { repository, source },
        })
    }

    fn fail(&self, failure: Failure) -> io::Error {
        let text = match &failure {
            Failure::Status(status) => format!("the server answers {status}"),
            Failure::Forbidden(rule) => rule.clone(),
            Failure::Deadline => "the deadline has passed".to_owned(),
            Failure::TooManyBytes => "the answer is too large".to_owned(),
            Failure::Network(cause) => cause.to_string(),
        };
        lock(&self.failure).get_or_insert(failure);
        io::Error::other(text)
    }

    fn network(&self, error: reqwest::Error) -> io::Error {
        let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
        while let Some(error) = cause {
            if let Some(private) = error.downcast_ref::<PrivateAddress>() {
                return self.fail(Failure::Forbidden(private.to_string()));
            }
            cause = error.source();
        }
        self.fail(Failure::Network(Arc::new(error.without_url())))
    }

    /// Waits for `work` until the other side was silent for too long, or the deadline.
    fn wait<T>(&self, work: impl Future<Output = reqwest::Result<T>>) -> io::Result<T> {
        let silent = Instant::now() + self.limits.idle;
        let until = silent.min(self.deadline);
        match self.runtime.block_on(async { tokio::time::timeout_at(until, work).await }) {
            Ok(answer) => answer.map_err(|error| self.network(error)),
            Err(_) if until == self.deadline => Err(self.fail(Failure::Deadline)),
            Err(_) => {
                let seconds = Duration::as_secs(&self.limits.idle);
                let cause = io::Error::new(io::ErrorKind::TimedOut, format!("no byte for {seconds} s"));
                Err(self.fail(Failure::Network(Arc::new(cause))))
            }
        }
    }

    fn send(&self, call: &Call, body: Vec<u8>) -> io::Result<Response> {
        let body = Bytes::from(body);
        for _ in 0..REDIRECTS {
            let base = lock(&self.base).clone();
            let target = call.target(&base);
            let mut request =
                self.client.request(call.method(), target.clone()).header(ACCEPT, call.answer());
            if call.method() == Method::POST {
                request = request.header(CONTENT_TYPE, call.content()).body(body.clone());
            }
            if let Some(token) = self.token.as_ref().filter(|_| same_origin(&base, &self.origin)) {
                request = request.basic_auth("x-access-token", Some(token.expose()));
            }
            let response = self.wait(request.send())?;
            let status = response.status();
            if status.is_redirection() {
                let base = self.redirected(call, &target, &response)?;
                *lock(&self.base) = base;
                continue;
            }
            if status != StatusCode::OK {
                return Err(self.fail(Failure::Status(status.as_u16())));
            }
            if response.headers().get(CONTENT_TYPE) != Some(&HeaderValue::from_static(call.answer())) {
                let cause = io::Error::other("it does not speak Git's smart HTTP protocol");
                return Err(self.fail(Failure::Network(Arc::new(cause))));
            }
            return Ok(response);
        }
        Err(self.fail(Failure::Forbidden("it redirects too often".to_owned())))
    }

    /// The new base of the repository, where the redirect stays on the same origin (a renamed repository).
    fn redirected(&self, call: &Call, target: &Url, response: &Response) -> io::Result<Url> {
        let location =
            response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let next = target.join(location).ok().filter(|_| call.method() == Method::GET);
        let Some(next) = next.filter(|next| same_origin(next, &self.origin)) else {
            return Err(self.fail(Failure::Forbidden("it redirects to another place".to_owned())));
        };
        let mut base = next.clone();
        let Some(path) = next.path().strip_suffix("/info/refs") else {
            return Err(self.fail(Failure::Forbidden("it redirects to what is no repository".to_owned())));
        };
        base.set_path(path);
        base.set_query(None);
        Ok(base)
    }
}

fn same_origin(one: &Url, other: &Url) -> bool {
    one.origin() == other.origin()
}

/// One of the four requests of the protocol.
struct Call {
    advertise: bool,
    service: &'static str,
}

impl Call {
    fn method(&self) -> Method {
        if self.advertise { Method::GET } else { Method::POST }
    }

    fn target(&self, base: &Url) -> Url {
        let mut url = base.clone();
        let path = base.path().trim_end_matches('/');
        if self.advertise {
            url.set_path(&format!("{path}/info/refs"));
            url.set_query(Some(&format!("service={}", self.service)));
        } else {
            url.set_path(&format!("{path}/{}", self.service));
        }
        url
    }

    fn content(&self) -> &'static str {
        match self.service {
            "git-upload-pack" => "application/x-git-upload-pack-request",
            _ => "application/x-git-receive-pack-request",
        }
    }

    fn answer(&self) -> &'static str {
        match (self.service, self.advertise) {
            ("git-upload-pack", true) => "application/x-git-upload-pack-advertisement",
            ("git-upload-pack", false) => "application/x-git-upload-pack-result",
            (_, true) => "application/x-git-receive-pack-advertisement",
            (_, false) => "application/x-git-receive-pack-result",
        }
    }
}

/// What libgit2 asks for streams of the protocol.
pub(super) struct Subtransport(pub(super) Arc<Wire>);

impl SmartSubtransport for Subtransport {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        let (advertise, service) = match action {
            Service::UploadPackLs => (true, "git-upload-pack"),
            Service::UploadPack => (false, "git-upload-pack"),
            Service::ReceivePackLs => (true, "git-receive-pack"),
            Service::ReceivePack => (false, "git-receive-pack"),
        };
        let call = Call { advertise, service };
        Ok(Box::new(Stream {
            wire: Arc::clone(&self.0),
            call,
            request: Vec::new(),
            response: None,
            chunk: Bytes::new(),
        }))
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One request and its answer: what is written is sent with the first read.
struct Stream {
    wire: Arc<Wire>,
    call: Call,
    request: Vec<u8>,
    response: Option<Response>,
    chunk: Bytes,
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wire = Arc::clone(&self.wire);
        let response = match &mut self.response {
            Some(response) => response,
            none => none.insert(wire.send(&self.call, std::mem::take(&mut self.request))?),
        };
        while self.chunk.is_empty() {
            let Some(chunk) = wire.wait(response.chunk())? else { return Ok(0) };
            let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if wire.received.fetch_add(length, Ordering::Relaxed) + length > wire.limits.fetch_bytes {
                return Err(wire.fail(Failure::TooManyBytes));
            }
            self.chunk = chunk;
        }
        let length = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.request.len() + bytes.len() > LARGEST_REQUEST {
            return Err(self.wire.fail(Failure::TooManyBytes));
        }
        self.request.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
