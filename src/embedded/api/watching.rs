//! GET with `watch`: from the query to a stream.

use super::answer::{self, Body};
use super::route::Target;
use super::{Api, Call, list};
use crate::embedded::status::{Cause, Refusal};
use crate::embedded::watch::{self, Watch};
use bytes::Bytes;
use futures::StreamExt as _;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::Value;
use std::time::Duration;

/// The longest a watch lives: as the server, 30 to 60 minutes where the client does not say.
const LONGEST: Duration = Duration::from_mins(45);

impl Api {
    /// Opens a watch.
    pub(super) fn watch(&self, target: &Target, call: &Call) -> Result<Response<Body>, Refusal> {
        let query = &call.query;
        let send_initial = query.flag("sendInitialEvents");
        check(send_initial, query.has("sendInitialEvents"), query.text("resourceVersionMatch"))?;
        let timeout = query.number("timeoutSeconds")?.and_then(|seconds| u64::try_from(seconds).ok());
        let watch = Watch {
            kind: target.kind,
            namespace: target.namespace.clone(),
            selector: list::selector(target, call)?,
            form: call.form,
            bookmarks: query.flag("allowWatchBookmarks"),
            timeout: timeout.filter(|seconds| *seconds > 0).map_or(LONGEST, Duration::from_secs),
            clock: self.clock.clone(),
        };
        let asked = query.text("resourceVersion");
        let since = list::version(asked).map_err(|_| {
            Refusal::internal(format!(
                "resourceVersion: Invalid value: {asked:?}: strconv.ParseUint: parsing {asked:?}: invalid syntax"
            ))
        })?;
        let fresh = since.is_none() && !query.has("sendInitialEvents");
        if send_initial || fresh {
            let (objects, subscription) =
                self.storage.list_and_subscribe(target.kind, target.namespace.as_deref());
            return Ok(streamed(watch.stream(&objects, subscription, send_initial)));
        }
        match self.storage.subscribe(target.kind, since) {
            Ok(subscription) => Ok(streamed(watch.stream(&[], subscription, false))),
            Err(oldest) => {
                let asked = since.unwrap_or_default();
                let gone = Refusal::gone(format!("too old resource version: {asked} ({oldest})"));
                let line = watch::line("ERROR", gone.to_json().to_string().as_bytes());
                let body = Full::new(line).map_err(|never| match never {}).boxed_unsync();
                Ok(answer::streamed(200, "application/json", body))
            }
        }
    }
}

fn check(send_initial: bool, present: bool, matching: &str) -> Result<(), Refusal> {
    const FIELD: &str = "resourceVersionMatch";
    let mut causes = Vec::new();
    let cause = if present && matching.is_empty() {
        Cause::forbidden(FIELD, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    } else if !present && !matching.is_empty() {
        Cause::forbidden(
            FIELD,
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )
    } else if send_initial && matching != "NotOlderThan" {
        Cause::forbidden(FIELD, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
    } else {
        return Ok(());
    };
    causes.push(cause);
    if !present && matching != "NotOlderThan" {
        causes.push(Cause::unsupported(FIELD, &Value::from(matching), &["NotOlderThan"]));
    }
    Err(Refusal::invalid_object("ListOptions", "meta.k8s.io", "", &causes))
}

fn streamed(
    lines: impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
) -> Response<Body> {
    let body = StreamBody::new(lines.map(|line| line.map(Frame::data)));
    answer::streamed(200, "application/json", body.boxed_unsync())
}
