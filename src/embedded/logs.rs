//! `pods/NAME/log`: asked of whoever runs the pods.

use super::api::Query;
use super::api::answer::{self, Body};
use super::status::Refusal;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::Value;
use std::sync::Arc;

/// Which lines of which container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// UID of the pod: another pod of the same name has other logs.
    pub uid: String,
    /// The container.
    pub container: String,
    /// Go on with what is written from now on, until the container ends.
    pub follow: bool,
    /// The container's run before the present one.
    pub previous: bool,
    /// Begin each line with its time, RFC 3339.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only lines written in the last so many seconds.
    pub since_seconds: Option<u64>,
    /// Only lines written since then.
    pub since_time: Option<jiff::Timestamp>,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Why there are no lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The container has not started: `container "web" in pod "web-1" is waiting to start: ContainerCreating`.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    NotStarted {
        /// The container.
        container: String,
        /// The pod.
        pod: String,
        /// The reason of its waiting state.
        reason: String,
    },
    /// There is no such run of the container.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious {
        /// The container.
        container: String,
        /// The pod.
        pod: String,
    },
    /// The logs could not be read.
    #[error("the logs could not be read: {0}")]
    Unreadable(String),
}

/// Whoever runs pods and keeps what they print.
pub trait PodLogs: Send + Sync {
    /// Opens the lines of a container, as they are to be sent: the request's options are already applied.
    fn open(
        &self,
        request: LogRequest,
    ) -> BoxFuture<'_, Result<BoxStream<'static, Result<Bytes, std::io::Error>>, LogError>>;
}

/// Answers a request for logs.
pub(crate) async fn answer(
    source: Option<&Arc<dyn PodLogs>>,
    pod: &Value,
    query: &Query,
) -> Result<Response<Body>, Refusal> {
    let request = request(pod, query)?;
    if pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
        // not on a node yet: it has printed nothing
        return Ok(answer::typed(204, "text/plain", Bytes::new()));
    }
    let Some(source) = source else {
        let reason = format!("no node runs the pod {:?}", request.pod);
        return Err(Refusal::internal(reason));
    };
    let lines = source.open(request).await.map_err(|error| match error {
        LogError::Unreadable(_) => Refusal::internal(error.to_string()),
        _ => Refusal::bad_request(error.to_string()),
    })?;
    let body = StreamBody::new(lines.map(|bytes| bytes.map(Frame::data)));
    Ok(answer::streamed(200, "text/plain", body.boxed_unsync()))
}

fn request(pod: &Value, query: &Query) -> Result<LogRequest, Refusal> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &pod["metadata"];
    let number = |name| -> Result<Option<u64>, Refusal> {
        Ok(query.number(name)?.and_then(|number| u64::try_from(number).ok()))
    };
    let since_time = match query.text("sinceTime") {
        "" => None,
        time => {
            Some(time.parse().map_err(|_| Refusal::bad_request(format!("sinceTime {time:?} is no time")))?)
        }
    };
    Ok(LogRequest {
        namespace: text(&metadata["namespace"]),
        pod: text(&metadata["name"]),
        uid: text(&metadata["uid"]),
        container: container(pod, query.text("container"))?,
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        timestamps: query.flag("timestamps"),
        tail_lines: number("tailLines")?,
        since_seconds: number("sinceSeconds")?,
        since_time,
        limit_bytes: number("limitBytes")?,
    })
}

/// The container asked for, or the only one.
fn container(pod: &Value, asked: &str) -> Result<String, Refusal> {
    let names = |list: &str| -> Vec<String> {
        let all = pod["spec"][list].as_array().into_iter().flatten();
        all.filter_map(|container| container["name"].as_str().map(str::to_owned)).collect()
    };
    let (containers, init) = (names("containers"), names("initContainers"));
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if asked.is_empty() {
        if let [only] = containers.as_slice()
            && init.is_empty()
        {
            return Ok(only.clone());
        }
        let mut message = format!(
            "a container name must be specified for pod {pod_name}, choose one of: [{}]",
            containers.join(" ")
        );
        if !init.is_empty() {
            message = format!("{message} or one of the init containers: [{}]", init.join(" "));
        }
        return Err(Refusal::bad_request(message));
    }
    if containers.iter().chain(&init).any(|name| name == asked) {
        return Ok(asked.to_owned());
    }
    Err(Refusal::bad_request(format!("container {asked} is not valid for pod {pod_name}")))
}
