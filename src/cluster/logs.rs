//! Logs of a service's pods, line by line.

use std::collections::VecDeque;
use std::time::Duration;

use futures::Stream;
use futures::StreamExt as _;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;

use super::request::{JSON, METADATA_LIST, escape};
use super::{Cluster, ClusterError, prune};
use crate::name::Namespace;
use crate::secret::Redactor;

/// The longest line that is passed on; the rest of it is cut away.
const LONGEST: usize = 64 << 10;
/// How much more of a long line is read before it is cut, so that no secret is cut in two and shows.
const SLACK: usize = 8 << 10;
/// How long the first byte of an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a log that is not followed may take.
const WHOLE: Duration = Duration::from_secs(30);

/// What of a log is read.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// The container; the only one where it is left out.
    pub container: Option<String>,
    /// Whether to wait for more.
    pub follow: bool,
    /// Only so many last lines.
    pub tail: Option<u32>,
    /// The container before its last restart.
    pub previous: bool,
    /// Only lines of the last so many seconds.
    pub since_seconds: Option<u32>,
    /// Whether each line begins with its time.
    pub timestamps: bool,
}

/// A pod of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodRef {
    /// The pod's name.
    pub name: String,
    /// When it was made, RFC 3339.
    pub created: String,
}

/// The pods of a service, the newest first.
///
/// # Errors
/// When the list cannot be read completely.
pub async fn pods(
    cluster: &Cluster,
    namespace: &Namespace,
    service: &str,
) -> Result<Vec<PodRef>, ClusterError> {
    let path = cluster.resource("v1", "Pod").await?.collection(Some(namespace.as_str()));
    let selector = escape(&format!("{}={}", prune::SERVICE, prune::service_label(service)));
    let path = format!("{path}?labelSelector={selector}");
    let mut pods: Vec<PodRef> = cluster
        .list(&path, "Pod", METADATA_LIST)
        .await?
        .iter()
        .map(|pod| {
            let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
            PodRef { name: text("name"), created: text("creationTimestamp") }
        })
        .collect();
    pods.sort_by(|a, b| (&b.created, &b.name).cmp(&(&a.created, &a.name)));
    Ok(pods)
}

/// Opens a log. The stream ends with the log, or goes on while the container runs when it is followed.
///
/// # Errors
/// When there is no such pod or container, or it has no log yet.
pub async fn stream(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    options: &LogOptions,
    redactor: &Redactor,
) -> Result<impl Stream<Item = Result<String, ClusterError>> + Send + use<>, ClusterError> {
    let what = format!("log of Pod/{namespace}/{pod}");
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?{}", query(options));
    let request = http::Request::get(path)
        .header(http::header::ACCEPT, "*/*")
        .body(Body::empty())
        .map_err(|bad| ClusterError::Unreadable { what: what.clone(), why: bad.to_string() })?;
    let answer = tokio::time::timeout(ANSWER, cluster.client().send(request))
        .await
        .map_err(|_| ClusterError::TimedOut { what: what.clone(), after: ANSWER })?
        .map_err(|failed| ClusterError::Unreachable { what: what.clone(), source: Box::new(failed) })?;
    if !answer.status().is_success() {
        let (head, body) = answer.into_parts();
        return Err(super::request::refusal(what, head.status, body).await);
    }
    let lines = Lines {
        body: answer.into_body(),
        what,
        redactor: redactor.clone(),
        line: Vec::new(),
        ready: VecDeque::new(),
        ended: false,
    };
    Ok(futures::stream::unfold(lines, |mut lines| async move {
        let line = lines.next().await?;
        Some((line, lines))
    }))
}

/// The last lines of a log that is not followed.
///
/// # Errors
/// As [`stream`].
pub async fn tail(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    options: &LogOptions,
    redactor: &Redactor,
) -> Result<Vec<String>, ClusterError> {
    let options = LogOptions { follow: false, ..options.clone() };
    let whole = async {
        let lines = stream(cluster, namespace, pod, &options, redactor).await?;
        let lines: Vec<_> = lines.collect().await;
        lines.into_iter().collect()
    };
    tokio::time::timeout(WHOLE, whole).await.unwrap_or_else(|_| {
        Err(ClusterError::TimedOut { what: format!("log of Pod/{namespace}/{pod}"), after: WHOLE })
    })
}

fn query(options: &LogOptions) -> String {
    let mut query = Vec::new();
    if let Some(container) = &options.container {
        query.push(format!("container={}", escape(container)));
    }
    if let Some(tail) = options.tail {
        query.push(format!("tailLines={tail}"));
    }
    if let Some(since) = options.since_seconds {
        query.push(format!("sinceSeconds={since}"));
    }
    for (flag, name) in
        [(options.follow, "follow"), (options.previous, "previous"), (options.timestamps, "timestamps")]
    {
        if flag {
            query.push(format!("{name}=true"));
        }
    }
    query.join("&")
}

/// Cuts a body into redacted lines. A line is redacted when it is whole, so that a followed log shows it at once.
struct Lines {
    body: Body,
    what: String,
    redactor: Redactor,
    line: Vec<u8>,
    ready: VecDeque<String>,
    ended: bool,
}

impl Lines {
    async fn next(&mut self) -> Option<Result<String, ClusterError>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.take(&frame.into_data().unwrap_or_default()),
                Some(Err(source)) => {
                    self.ended = true;
                    return Some(Err(ClusterError::Unreachable {
                        what: self.what.clone(),
                        source: Box::new(source),
                    }));
                }
                None => {
                    self.ended = true;
                    if !self.line.is_empty() {
                        self.end_line();
                    }
                }
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (part, ends) = part.strip_suffix(b"\n").map_or((part, false), |part| (part, true));
            let room = (LONGEST + SLACK).saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if ends {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = self.redactor.redact(String::from_utf8_lossy(&line).trim_end_matches('\r'));
        let end = line.floor_char_boundary(LONGEST);
        self.ready.push_back(line[..end].to_owned());
    }
}

/// Which containers a pod has, for a choice.
///
/// # Errors
/// When there is no such pod.
pub async fn containers(cluster: &Cluster, namespace: &str, pod: &str) -> Result<Vec<String>, ClusterError> {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
    let live: Value = cluster.read_as(&path, &format!("Pod/{namespace}/{pod}"), JSON).await?;
    let list = live["spec"]["containers"].as_array();
    let names = list.into_iter().flatten().filter_map(|container| container["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(chunks: &[&[u8]], redactor: &Redactor) -> Vec<String> {
        let mut lines = Lines {
            body: Body::from(Vec::new()),
            what: "log".to_owned(),
            redactor: redactor.clone(),
            line: Vec::new(),
            ready: VecDeque::new(),
            ended: false,
        };
        chunks.iter().for_each(|chunk| lines.take(chunk));
        let mut read = Vec::new();
        while let Some(line) = lines.next().await {
            read.push(line.expect("a line"));
        }
        read
    }

    #[tokio::test]
    async fn lines_are_whole_and_redacted_wherever_the_chunks_are_cut() {
        let redactor = Redactor::new();
        redactor.add("hunter2-hunter2");
        let chunks: [&[u8]; 4] = [b"one\ntw", b"o hunter2-", b"hunter2\r\n\xc3", b"\xa4"];
        assert_eq!(read(&chunks, &redactor).await, ["one", "two [redacted]", "\u{e4}"]);
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut() {
        let long = vec![b'x'; 3 * LONGEST];
        let lines = read(&[&long, &long, b"\nnext\n"], &Redactor::new()).await;
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LONGEST, 4]);
    }
}
