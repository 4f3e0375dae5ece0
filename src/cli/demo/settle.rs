//! Waits until the sample has settled, and asks every service for its front page.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::super::assemble::Running;
use super::super::output::Progress;
use super::super::sample;
use crate::name::{EnvironmentName, ProjectName};
use crate::report::State;
use crate::source::Person;
use crate::store::{DeploymentFilter, ServiceRow, StoreError};

/// How long the sample may take to settle.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long one answer of a service may take.
const ANSWER: Duration = Duration::from_secs(10);
/// How often it is said what is waited for.
const TOLD: Duration = Duration::from_secs(10);
/// As many deployments are named at most.
const MOVING: u32 = 20;

/// Waits until staging is live, promotes it to production once, and asks every service for its front page.
pub(super) async fn settle(running: &Running, data: &Path) -> anyhow::Result<Vec<Value>> {
    let (project, staging, production): (ProjectName, EnvironmentName, EnvironmentName) =
        ("shop".parse()?, "staging".parse()?, "production".parse()?);
    let progress = Progress::new(true);
    progress.on("Building and starting staging…");
    let rows = settled(running, &progress).await?;
    let released = rows.iter().any(|row| row.environment == "production" && row.state != "notReleased");
    let staged = rows.iter().filter(|row| row.environment == "staging").all(|row| row.state == "live");
    if !released && staged {
        progress.on("Promoting staging to production…");
        let author = Person { name: "Demo".to_owned(), email: "demo@localhost".to_owned() };
        let before = running.reconciler.snapshot().borrow().config_revision.clone();
        running.reconciler.promote(&project, &staging, &production, &[], author).await?;
        let mut snapshot = running.reconciler.snapshot();
        let seen = snapshot.wait_for(|snapshot| snapshot.config_revision != before);
        tokio::time::timeout(PATIENCE, seen).await.context("the promotion was not seen")??;
    }
    // the promotion of this run or of one that was cut off
    sample::fast_forward(data, "config")?;
    let mut rows = settled(running, &progress).await?;
    let snapshot = running.reconciler.snapshot().borrow().clone();
    rows.sort_by_key(|row| (snapshot.rank(&row.project, &row.environment), row.service.clone()));
    let mut services = Vec::new();
    for row in rows {
        services.push(asked(&row, running.proxy).await?);
    }
    Ok(services)
}

/// What is wrong with a service as the result lists it, in a clause.
pub(super) fn trouble(service: &Value) -> Option<String> {
    let text = |field: &str| service[field].as_str().unwrap_or_default();
    let at = format!("{} in {}", text("service"), text("environment"));
    if text("state") != "live" {
        return Some(format!("{at} is {}: {}", text("state"), text("message")));
    }
    match (service["url"].as_str(), service["httpStatus"].as_u64()) {
        (Some(url), Some(status)) if status >= 400 => Some(format!("{at} answers {status} at {url}")),
        (Some(url), None) => Some(format!("{at} does not answer at {url}")),
        _ => None,
    }
}

/// The records of all services once nothing moves any more. Meanwhile it says what it waits for.
async fn settled(running: &Running, progress: &Progress) -> anyhow::Result<Vec<ServiceRow>> {
    let tell = async {
        loop {
            tokio::time::sleep(TOLD).await;
            // where the store does not answer, there is nothing to say of it here
            if let Ok(text) = waited_for(running).await {
                progress.on(&text);
            }
        }
    };
    let wait = tokio::time::timeout(PATIENCE, quiet(running));
    let ended = tokio::select! {
        ended = wait => ended,
        () = tell => unreachable!("it tells until the wait ends"),
    };
    match ended {
        Ok(rows) => rows,
        Err(_) => {
            anyhow::bail!(
                "the sample did not settle in {} s. {}; hint: `branchline demo` carries on from there, and `branchline status` beside it says more",
                PATIENCE.as_secs(),
                waited_for(running).await?
            )
        }
    }
}

/// What still moves, for people: deployments under way, and services that none has begun of.
async fn waited_for(running: &Running) -> Result<String, StoreError> {
    let store = running.reconciler.store();
    let filter = DeploymentFilter { unfinished: true, limit: MOVING, ..DeploymentFilter::default() };
    let under_way = store.deployments(&filter).await?;
    let word =
        |state: &str| state.parse::<State>().map_or_else(|_| state.to_owned(), |state| state.badge(None));
    let mut moving: BTreeMap<(String, String), String> = BTreeMap::new();
    for row in store.services(None, None).await?.into_iter().filter(is_moving) {
        moving.insert((row.service, row.environment), row.message);
    }
    for deployment in under_way {
        moving.insert((deployment.service, deployment.environment), word(&deployment.state));
    }
    let all: Vec<_> =
        moving.iter().map(|((service, at), how)| format!("{service} in {at} ({how})")).collect();
    Ok(match all.as_slice() {
        [] => "Waiting for the repositories and the cluster…".to_owned(),
        all => format!("Waiting for {}…", all.join(", ")),
    })
}

fn is_moving(row: &ServiceRow) -> bool {
    let has_problem = row.detail.as_ref().is_some_and(|detail| detail["problem"].is_string());
    row.state == "pending" && !has_problem
}

async fn quiet(running: &Running) -> anyhow::Result<Vec<ServiceRow>> {
    let reconciler = &running.reconciler;
    let mut snapshot = reconciler.snapshot();
    snapshot.wait_for(|snapshot| snapshot.at.is_some()).await?;
    loop {
        reconciler.idle().await;
        let rows = reconciler.store().services(None, None).await?;
        let wanted: usize =
            snapshot.borrow().environments.iter().map(|e| e.services.len() + e.broken.len()).sum();
        if rows.len() >= wanted && !rows.iter().any(is_moving) {
            return Ok(rows);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A service as the result lists it, with the status of its front page.
async fn asked(row: &ServiceRow, proxy: Option<SocketAddr>) -> anyhow::Result<Value> {
    let detail = row.detail.clone().unwrap_or_default();
    let url = detail["url"].as_str().map(str::to_owned);
    let status = match (&url, proxy) {
        (Some(url), Some(proxy)) => get(url, proxy).await?,
        _ => None,
    };
    Ok(json!({
        "project": row.project,
        "environment": row.environment,
        "service": row.service,
        "state": row.state,
        "message": row.message,
        "revision": detail["revision"],
        "url": url,
        "httpStatus": status,
    }))
}

/// The status of a GET, through the proxy, whatever the names below `localhost` resolve to here.
async fn get(url: &str, proxy: SocketAddr) -> anyhow::Result<Option<u16>> {
    let host = url::Url::parse(url)?.host_str().unwrap_or_default().to_owned();
    let client = reqwest::Client::builder().resolve(&host, proxy).timeout(ANSWER).no_proxy().build()?;
    Ok(client.get(url).send().await.ok().map(|answer| answer.status().as_u16()))
}
