//! The page Deployment: its steps, why it failed, and its log.

mod log;
mod stepper;

use jiff::Timestamp;
use serde_json::{Value, json};

pub(super) use self::log::{Range, line, text};
use super::action::Action;
use super::{Crumb, Dashboard, Page, PageError, ansi, badge, link, time};
use crate::source::CommitInfo;
use crate::store::Deployment;

/// Last lines of the failing step.
const LAST: u32 = 12;

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
    let lines = range.lines(store, id).await?;
    let commit = commit(dashboard, &row).await;
    let short = row.app_revision.as_deref().or(row.config_revision.as_deref()).map(link::short);
    let title = format!("{} in {}", row.service, row.environment);
    let service = link::service(&row.project, &row.environment, &row.service);
    let live = store.services(Some(&row.project), Some(&row.environment)).await?;
    let live = live.into_iter().find(|of| of.service == row.service);
    let serves = live.as_ref().is_some_and(|of| of.live_deployment.as_deref() == Some(row.id.as_str()));
    let url = live.and_then(|of| of.detail).filter(|_| serves);
    let again = badge::is_broken(&row.state) && !serves;
    Ok(Page {
        template: "deployment",
        title: format!("{title} · {}", short.unwrap_or("Deployment")),
        crumbs: vec![
            Crumb::new("Projects", "/".to_owned()),
            Crumb::new(&row.project, link::project(&row.project)),
            Crumb::new(&title, service.clone()),
            Crumb::new(short.unwrap_or("Deployment"), None),
        ],
        project: Some(row.project.clone()),
        switch: Vec::new(),
        view: json!({
            "id": row.id,
            "badge": badge::of_deployment(&row.state, failed.map(|step| step.name.as_str())),
            "service": row.service,
            "environment": row.environment,
            "serviceHref": service,
            "cause": row.cause,
            "commit": commit.as_ref().map(|commit| said(commit, now)),
            "revision": row.app_revision,
            "configRevision": row.config_revision.as_deref().map(link::short),
            "attempt": (row.attempt > 1).then_some(row.attempt),
            "created": time::when(now, row.created),
            "took": super::project::took(&row),
            "url": link::outside(url.as_ref().and_then(|detail| detail["url"].as_str())),
            "steps": stepper::steps(&row, &steps, now),
            "failure": failure(&row, failed.map(|step| step.name.as_str()), failed.and_then(|step| step.detail.as_deref()), &last),
            "actions": again.then(|| Action::deploy("Try again", &row.project, &row.environment, &row.service)).into_iter().collect::<Vec<_>>(),
            "log": log::view(&row, &lines),
        }),
    })
}

/// Why it failed, how to get out of it, and the last lines of the step that failed.
fn failure(
    row: &Deployment,
    step: Option<&str>,
    detail: Option<&str>,
    last: &[crate::store::LogLine],
) -> Option<Value> {
    // the row tells cause and hint apart, the step has both in one
    let cause = row.error.as_deref().or(detail)?;
    Some(json!({
        "title": step.map_or_else(|| "Why it failed".to_owned(), |step| format!("Why it failed at {}", step.to_lowercase())),
        "cause": cause,
        "hint": row.hint,
        "last": last.iter().map(|line| ansi::plain(&line.line)).collect::<Vec<_>>(),
    }))
}

/// The commit that is deployed, where its mirror is at hand.
async fn commit(dashboard: &Dashboard, row: &Deployment) -> Option<CommitInfo> {
    let (repo, revision) = row.reported_on.as_ref()?;
    let mirror = dashboard.reconciler().mirror(repo)?;
    // a page without the words of the commit is better than none
    mirror.commit_info(&revision.parse().ok()?).await.ok()
}

fn said(commit: &CommitInfo, now: Timestamp) -> Value {
    json!({"summary": commit.summary, "author": commit.author.name, "when": time::when(now, commit.at)})
}
