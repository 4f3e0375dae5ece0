//! The page Deployment: its steps, why it failed, and its log.

use http::header::{CONTENT_TYPE, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use warp::Reply;
use warp::reply::Response;

use super::{Crumb, Dashboard, Page, PageError, badge, link, live, time};
use crate::server::Problem;
use crate::store::{Deployment, LogLine, Step, Store, StoreError};

/// Log lines on the page; the script fetches those that follow.
const LINES: u32 = 500;
/// Last lines of the failing step.
const LAST: u32 = 12;
/// Lines that are read at once for the whole text.
const BATCH: u32 = 1000;
/// Bytes of text in one answer, about.
const TEXT_BYTES: usize = 8 * 1024 * 1024;
/// The steps that every deployment takes, in their order.
const ORDER: [&str; 3] = ["Build", "Apply", "Health"];

/// Which part of the log the page shows; without `from` its end.
#[derive(Debug, Deserialize)]
pub(super) struct Range {
    from: Option<i64>,
}

pub(super) async fn page(dashboard: &Dashboard, id: &str, range: &Range) -> Result<Page, PageError> {
    let (store, now) = (dashboard.store(), dashboard.now());
    let found = store.deployment(id).await?;
    let row = found.ok_or_else(|| PageError::Missing(format!("There is no deployment `{id}`.")))?;
    let steps = store.steps(id).await?;
    let failed = steps.iter().find(|step| step.state == "failed");
    let last = match failed {
        Some(step) => store.log_end(id, Some(&step.name), LAST).await?,
        None => Vec::new(),
    };
    let lines = match range.from {
        Some(from) => store.log(id, None, from.max(0), LINES).await?,
        None => store.log_end(id, None, LINES).await?,
    };
    let badge = badge::of_deployment(&row.state, failed.map(|step| step.name.as_str()));
    let title = format!("{} in {}", row.service, row.environment);
    let subject =
        row.app_revision.as_deref().or(row.config_revision.as_deref()).map_or("Deployment", link::short);
    Ok(Page {
        template: "deployment",
        title: format!("{title} · {subject}"),
        crumbs: vec![
            Crumb::new("Projects", "/".to_owned()),
            Crumb::new(&row.project, link::project(&row.project)),
            Crumb::new(&title, link::service(&row.project, &row.environment, &row.service)),
            Crumb::new(subject, None),
        ],
        view: json!({
            "id": row.id,
            "badge": badge,
            "service": row.service,
            "environment": row.environment,
            "cause": row.cause,
            "revision": row.app_revision,
            "configRevision": row.config_revision,
            "attempt": (row.attempt > 1).then_some(row.attempt),
            "created": time::when(now, row.created),
            "took": row.ended.map(|ended| time::took(row.started.unwrap_or(row.created), ended)),
            // a failing step tells it itself
            "error": row.error.as_deref().filter(|_| failed.is_none()),
            "hint": row.hint.as_deref().filter(|_| failed.is_none()),
            "steps": stepper(&row, &steps, &last, now),
            "log": log(&row, &lines),
        }),
    })
}

/// The commit, the steps that were taken, and those that are to come.
fn stepper(row: &Deployment, steps: &[Step], last: &[LogLine], now: Timestamp) -> Vec<Value> {
    let revision = row.app_revision.as_deref().or(row.config_revision.as_deref()).map(link::short);
    let mut all = vec![json!({"name": "Git", "badge": badge::of_step("done"), "state": "done",
        "took": null, "detail": revision, "failed": false, "hint": null, "last": []})];
    for step in steps {
        let failed = step.state == "failed";
        let took = step.started.map(|started| time::took(started, step.ended.unwrap_or(now)));
        // the row tells cause and hint apart, the step has both in one
        let detail =
            if failed { row.error.as_deref().or(step.detail.as_deref()) } else { step.detail.as_deref() };
        let last =
            if failed { last.iter().map(|line| live::plain(&line.line)).collect() } else { Vec::new() };
        all.push(json!({"name": step.name, "badge": badge::of_step(&step.state), "state": step.state,
            "took": took, "detail": detail, "failed": failed,
            "hint": row.hint.as_deref().filter(|_| failed), "last": last}));
    }
    if row.ended.is_none() {
        for name in ORDER.into_iter().filter(|name| !steps.iter().any(|step| step.name == *name)) {
            all.push(json!({"name": name, "badge": badge::of_step("waiting"), "state": "waiting",
                "took": null, "detail": null, "failed": false, "hint": null, "last": []}));
        }
    }
    all
}

fn log(row: &Deployment, lines: &[LogLine]) -> Value {
    let first = lines.first().map_or(0, |line| line.offset);
    let next = lines.last().map_or(0, |line| line.offset + 1);
    let line = |line: &LogLine| {
        json!({"offset": line.offset, "time": time::clock(line.time), "step": line.step,
            "stream": line.stream, "text": live::plain(&line.line)})
    };
    json!({
        "lines": lines.iter().map(line).collect::<Vec<_>>(),
        "next": next,
        "ended": row.ended.is_some(),
        "moves": badge::moves(&row.state),
        "earlier": (first > 0).then(|| format!("{}?from={}", link::deployment(&row.id), (first - i64::from(LINES)).max(0))),
        "later": (lines.len() == LINES as usize).then(|| format!("{}?from={next}", link::deployment(&row.id))),
        "text": format!("{}/log.txt", link::deployment(&row.id)),
    })
}

/// The log as text, up to a size that fits into memory many times; what is left out is named at its end.
pub(super) async fn text(dashboard: &Dashboard, id: &str, range: &Range) -> Response {
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
            text.push_str(&format!("{} {} {}\n", line.time, line.step, live::plain(&line.line)));
        }
        if text.len() > TEXT_BYTES {
            text.push_str(&format!("[the log goes on at ?from={from}]\n"));
            return Ok(Some(text));
        }
    }
}
