//! The page Service: one service in one environment.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Crumb, Dashboard, Page, PageError, badge, link, live, project, time};
use crate::config::explain;
use crate::config::service::ServiceType;
use crate::desired::Environment;
use crate::reconcile::{ServiceState, chain};
use crate::store::{DeploymentFilter, ServiceRow};

/// Deployments that are listed.
const RECENT: u32 = 10;
/// How long the page waits for the log of a pod.
const PATIENCE: Duration = Duration::from_secs(2);
/// Lines of it that are shown.
const LINES: usize = 50;

pub(super) async fn page(
    dashboard: &Dashboard,
    of: &str,
    environment: &str,
    name: &str,
) -> Result<Page, PageError> {
    let (store, now, snapshot) = (dashboard.store(), dashboard.now(), dashboard.snapshot());
    let row = store.services(Some(of), Some(environment)).await?.into_iter().find(|row| row.service == name);
    let found =
        snapshot.environments.iter().find(|e| e.project.as_str() == of && e.name.as_str() == environment);
    let wanted =
        found.and_then(|found| found.services.values().find(|service| service.name.as_str() == name));
    let row = row.or_else(|| {
        wanted.map(|_| ServiceRow {
            project: of.to_owned(),
            environment: environment.to_owned(),
            service: name.to_owned(),
            state: "pending".to_owned(),
            message: "It has not been deployed yet".to_owned(),
            live_deployment: None,
            detail: None,
            updated: now,
        })
    });
    let row = row.ok_or_else(|| {
        PageError::Missing(format!(
            "There is no service `{name}` in the environment `{environment}` of `{of}`."
        ))
    })?;
    let detail: ServiceState =
        row.detail.and_then(|detail| serde_json::from_value(detail).ok()).unwrap_or_default();
    let filter = DeploymentFilter {
        project: Some(of.to_owned()),
        environment: Some(environment.to_owned()),
        service: Some(name.to_owned()),
        limit: RECENT,
        ..DeploymentFilter::default()
    };
    let recent = store.deployments(&filter).await?;
    let moving = recent.iter().find(|deployment| deployment.ended.is_none());
    let problem = detail.problem.as_deref().map(|problem| {
        let (text, hint) =
            problem.split_once("hint: ").map_or((problem, None), |(text, hint)| (text, Some(hint)));
        let failed = recent.iter().find(|deployment| deployment.error.is_some());
        json!({"text": text.trim_end_matches([' ', ';', '\n']), "hint": hint,
            "deployment": failed.map(|deployment| link::deployment(&deployment.id))})
    });
    Ok(Page {
        template: "service",
        title: format!("{name} in {environment}"),
        crumbs: vec![
            Crumb::new("Projects", "/".to_owned()),
            Crumb::new(of, link::project(of)),
            Crumb::new(&format!("{name} in {environment}"), None),
        ],
        view: json!({
            "name": name,
            "environment": environment,
            "badge": badge::of_service(&row.state),
            "headline": row.message,
            "moving": moving.map(|moving| json!({"href": link::deployment(&moving.id),
                "badge": badge::of_deployment(&moving.state, None)})),
            "problem": problem,
            "url": link::outside(detail.url.as_deref()),
            "revision": detail.revision,
            "kind": detail.kind.map(ServiceType::as_str),
            "image": detail.image,
            "repo": detail.repo,
            "liveDeployment": row.live_deployment.as_deref().map(link::deployment),
            "updated": time::when(now, row.updated),
            "deployments": project::deployments(&recent, now, false),
            "log": log(dashboard, found, name).await,
            "settings": wanted.map(|service| explain(&service.effective.node)),
        }),
    })
}

/// The last lines of its newest pod, or why there are none.
async fn log(dashboard: &Dashboard, environment: Option<&Arc<Environment>>, service: &str) -> Value {
    let Some(environment) = environment else {
        return json!({"lines": [], "trouble": "The environment is in no configuration any more."});
    };
    let asked = dashboard.reconciler().pod_logs(environment, service);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(lines)) => {
            let lines = lines.iter().skip(lines.len().saturating_sub(LINES));
            json!({"lines": lines.map(|line| live::plain(line)).collect::<Vec<_>>(), "trouble": null})
        }
        Ok(Err(error)) => json!({"lines": [], "trouble": chain(&error)}),
        Err(_) => json!({"lines": [], "trouble": "The cluster does not answer in time."}),
    }
}
