//! The log of a deployment: its lines on the page, and the whole of it as text.

use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use warp::Reply;
use warp::reply::Response;

use crate::server::Problem;
use crate::server::dashboard::{Dashboard, ansi, link, time};
use crate::store::{Deployment, LogLine, Store, StoreError};

/// Log lines on the page; the script fetches those that follow.
const LINES: u32 = 500;
/// Lines that are read at once for the whole text.
const BATCH: u32 = 1000;
/// Bytes of text in one answer, about.
const TEXT_BYTES: usize = 8 * 1024 * 1024;

/// Which part of the log the page shows; without `from` its end. `to` is the first line that is not shown.
#[derive(Debug, Deserialize)]
pub(in crate::server::dashboard) struct Range {
    from: Option<i64>,
    to: Option<i64>,
}

impl Range {
    pub(super) async fn lines(&self, store: &Store, id: &str) -> Result<Vec<LogLine>, StoreError> {
        match self.from {
            Some(from) => {
                let wanted = self.to.map_or(i64::from(LINES), |to| to - from.max(0));
                let most = u32::try_from(wanted.clamp(0, i64::from(LINES))).unwrap_or(LINES);
                store.log(id, None, from.max(0), most).await
            }
            None => store.log_end(id, None, LINES).await,
        }
    }
}

pub(super) fn view(row: &Deployment, lines: &[LogLine]) -> Value {
    let first = lines.first().map_or(0, |line| line.offset);
    let next = lines.last().map_or(0, |line| line.offset + 1);
    let page = link::deployment(&row.id);
    json!({
        "lines": lines.iter().map(line).collect::<Vec<_>>(),
        "next": next,
        "ended": row.ended.is_some(),
        "earlier": (first > 0).then(|| format!("{page}?from={}&to={first}", (first - i64::from(LINES)).max(0))),
        "later": (lines.len() == LINES as usize).then(|| format!("{page}?from={next}")),
        "text": format!("{page}/log.txt"),
        "file": format!("{}-{}-{}.log", row.service, row.environment, row.id.get(..8).unwrap_or(&row.id)),
    })
}

/// A line, for the page and for the socket alike.
pub(in crate::server::dashboard) fn line(line: &LogLine) -> Value {
    json!({"offset": line.offset, "step": line.step, "stream": line.stream, "time": time::clock(line.time),
        "text": ansi::plain(&line.line), "spans": ansi::pairs(&line.line)})
}

/// The log as text, up to a size that fits into memory many times; what is left out is named at its end.
pub(in crate::server::dashboard) async fn text(dashboard: &Dashboard, id: &str, range: &Range) -> Response {
    match whole(dashboard.store(), id, range.from.unwrap_or(0).max(0)).await {
        Ok(Some(text)) => {
            let mut response = text.into_response();
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, plain);
            response
        }
        Ok(None) => Problem::not_found(format!("There is no deployment `{id}`.")).into_response(),
        Err(error) => Problem::from(error).into_response(),
    }
}

async fn whole(store: &Store, id: &str, mut from: i64) -> Result<Option<String>, StoreError> {
    if store.deployment(id).await?.is_none() {
        return Ok(None);
    }
    let mut text = String::new();
    loop {
        let lines = store.log(id, None, from, BATCH).await?;
        let Some(last) = lines.last() else { return Ok(Some(text)) };
        from = last.offset + 1;
        for line in &lines {
            text.push_str(&format!("{} {} {}\n", line.time, line.step, ansi::plain(&line.line)));
        }
        if text.len() > TEXT_BYTES {
            text.push_str(&format!("[the log goes on at ?from={from}]\n"));
            return Ok(Some(text));
        }
    }
}
