//! One request to the API: its window, its time limit, its retries, and its errors in words.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::client::Body;
use kube::core::response::Status;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{Cluster, ClusterError};

/// Requests in flight at most; the knee of a small API server lies between 8 and 16.
const WIDEST: usize = 16;
/// Good answers after which a narrowed window opens by one.
const PATIENCE: usize = 32;
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// How often a request is sent at most.
const TRIES: u32 = 6;
/// The first wait between two tries, doubled from then on.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// The longest wait between two tries, also when the server asks for more.
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// The largest answer that is read: a page of 500 objects of 100 KiB.
const LARGEST: usize = 64 << 20;

/// How many requests may be in flight: halved by each 429, opened again by good answers.
pub(super) struct Window {
    permits: Semaphore,
    size: AtomicUsize,
    good: AtomicUsize,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { permits: Semaphore::new(WIDEST), size: AtomicUsize::new(WIDEST), good: AtomicUsize::new(0) }
    }

    fn narrow(&self) {
        let size = self.size.load(Ordering::Relaxed);
        let taken = self.permits.forget_permits(size / 2);
        self.size.fetch_sub(taken, Ordering::Relaxed);
        self.good.store(0, Ordering::Relaxed);
    }

    fn widen(&self) {
        if self.size.load(Ordering::Relaxed) < WIDEST && self.good.fetch_add(1, Ordering::Relaxed) >= PATIENCE
        {
            self.good.store(0, Ordering::Relaxed);
            self.size.fetch_add(1, Ordering::Relaxed);
            self.permits.add_permits(1);
        }
    }
}

/// What is asked. All calls may be sent again: each says what should be, or carries a precondition.
pub(super) struct Call<'a> {
    /// For people: `Deployment/shop-staging/api`.
    pub(super) what: &'a str,
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: String,
    pub(super) accept: &'static str,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

/// Plain JSON.
pub(super) const JSON: &str = "application/json";
/// Metadata alone, of one object.
pub(super) const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// Metadata alone, of a list.
pub(super) const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// Server-side apply.
pub(super) const APPLY: &str = "application/apply-patch+yaml";
/// RFC 7386.
pub(super) const MERGE: &str = "application/merge-patch+json";

/// An error, and the wait that the server asks for when the call may be sent again.
type Attempt = Result<Value, (ClusterError, Option<Duration>)>;

impl Cluster {
    /// Reads one path.
    pub(super) async fn read(&self, path: &str, what: &str) -> Result<Value, ClusterError> {
        self.read_as(path, what, JSON).await
    }

    /// Reads one path in another representation.
    pub(super) async fn read_as(
        &self,
        path: &str,
        what: &str,
        accept: &'static str,
    ) -> Result<Value, ClusterError> {
        let (path, body) = (path.to_owned(), Vec::new());
        self.call(Call { what, method: Method::GET, path, accept, content_type: JSON, body }).await
    }

    /// Reads one path; `None` when nothing is there. A path that the server does not serve is no such answer: it
    /// ends in a 404 without a reason.
    pub(super) async fn find(
        &self,
        path: &str,
        what: &str,
        accept: &'static str,
    ) -> Result<Option<Value>, ClusterError> {
        match self.read_as(path, what, accept).await {
            Ok(object) => Ok(Some(object)),
            Err(failed) if failed.is_absent() => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Reads every page of a list. Any page that fails makes the list incomplete.
    pub(super) async fn list(
        &self,
        path: &str,
        what: &str,
        accept: &'static str,
    ) -> Result<Vec<Value>, ClusterError> {
        let incomplete = |source| ClusterError::Incomplete {
            what: format!("the list of {what}"),
            source: Box::new(source),
        };
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let mark = if path.contains('?') { '&' } else { '?' };
            let follow = if next.is_empty() { String::new() } else { format!("&continue={}", escape(&next)) };
            let page = format!("{path}{mark}limit=500{follow}");
            let page = self.read_as(&page, what, accept).await.map_err(incomplete)?;
            match page.get("items") {
                Some(Value::Array(found)) => items.extend(found.iter().cloned()),
                // an empty list of metadata
                Some(Value::Null) => {}
                _ => {
                    let why = "a list without items".to_owned();
                    return Err(incomplete(ClusterError::Unreadable { what: what.to_owned(), why }));
                }
            }
            page["metadata"]["continue"].as_str().unwrap_or_default().clone_into(&mut next);
            if next.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Sends a call until it is answered for good: overload, cut connections and time limits are tried again.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Value, ClusterError> {
        let mut wait = FIRST_WAIT;
        let mut tried = 1;
        loop {
            let asked = match self.attempt(&call).await {
                Ok(answer) => return Ok(answer),
                Err((failed, asked)) if tried >= TRIES || asked.is_none() => return Err(failed),
                Err((_, asked)) => asked.unwrap_or_default(),
            };
            self.inner.clock.sleep(jitter(wait).max(asked).min(LONGEST_WAIT)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            tried += 1;
        }
    }

    /// Sends a call once.
    async fn attempt(&self, call: &Call<'_>) -> Attempt {
        let _permit = self.inner.window.permits.acquire().await.expect("the window is never closed");
        let what = || call.what.to_owned();
        let request = http::Request::builder()
            .method(call.method.clone())
            .uri(&call.path)
            .header(header::ACCEPT, call.accept)
            .header(header::CONTENT_TYPE, call.content_type)
            .body(Body::from(call.body.clone()))
            .map_err(|bad| (ClusterError::Unreadable { what: what(), why: bad.to_string() }, None))?;
        let exchange = async {
            let response = self.inner.client.send(request).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((head, body))
        };
        let (head, body) = match tokio::time::timeout(ANSWER, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) => {
                return Err((ClusterError::Unreachable { what: what(), source }, Some(Duration::ZERO)));
            }
            Err(_) => {
                return Err((ClusterError::TimedOut { what: what(), after: ANSWER }, Some(Duration::ZERO)));
            }
        };
        if head.status.is_success() {
            self.inner.window.widen();
            return serde_json::from_slice(&body)
                .map_err(|bad| (ClusterError::Unreadable { what: what(), why: bad.to_string() }, None));
        }
        if head.status == StatusCode::TOO_MANY_REQUESTS {
            self.inner.window.narrow();
        }
        let asked = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let again = matches!(head.status.as_u16(), 429 | 502 | 503 | 504)
            .then(|| asked.map_or(Duration::ZERO, Duration::from_secs));
        Err((ClusterError::Refused { what: what(), status: Box::new(status(head.status, &body)) }, again))
    }
}

/// The Status of an error answer, or one made of its plain text.
fn status(code: StatusCode, body: &[u8]) -> Status {
    let read: Option<Status> = serde_json::from_slice(body).ok();
    let mut status = read.unwrap_or_else(|| {
        let text: String = String::from_utf8_lossy(body).chars().take(500).collect();
        Status::failure(text.trim(), code.canonical_reason().unwrap_or_default())
    });
    status.code = code.as_u16();
    status
}

/// The error that a refused answer stands for.
pub(super) async fn refusal(what: String, code: StatusCode, body: Body) -> ClusterError {
    let read = tokio::time::timeout(ANSWER, Limited::new(body, LARGEST).collect()).await;
    let bytes = read.ok().and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();
    ClusterError::Refused { what, status: Box::new(status(code, &bytes)) }
}

/// Between half and all of a wait, so that many who were refused together do not come back together.
fn jitter(wait: Duration) -> Duration {
    let mut byte = [0];
    // without randomness all wait the same time, which is no error
    let _ = aws_lc_rs::rand::fill(&mut byte);
    wait / 2 + wait * u32::from(byte[0]) / 512
}

/// A value of a query.
pub(super) fn escape(value: &str) -> String {
    url::form_urlencoded::byte_serialize(value.as_bytes()).collect()
}
