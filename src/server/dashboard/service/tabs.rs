//! The tabs of the page Service, and what each shows.

use std::time::Duration;

use serde_json::{Value, json};

use super::Known;
use crate::cluster::logs::LogOptions;
use crate::config::explain;
use crate::desired::Wanted;
use crate::reconcile::chain;
use crate::server::dashboard::{Dashboard, PageError, ansi, project};
use crate::store::{DeploymentFilter, EventFilter};
use crate::yaml::NodeValue;

/// How long the page waits for the cluster.
const PATIENCE: Duration = Duration::from_secs(3);
/// Deployments on the overview.
const FEW: usize = 5;
/// Lines of the log on the overview, and on a tab of its own.
const LAST: u32 = 12;
const LINES: u32 = 500;

/// A tab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    Overview,
    Deployments,
    Logs,
    Variables,
    Diff,
    Events,
    Settings,
}

const ALL: [Tab; 7] =
    [Tab::Overview, Tab::Deployments, Tab::Logs, Tab::Variables, Tab::Diff, Tab::Events, Tab::Settings];

impl Tab {
    /// The tab of the last part of an address.
    pub(super) fn parse(part: Option<&str>) -> Option<Self> {
        let Some(part) = part else { return Some(Self::Overview) };
        ALL.into_iter().find(|tab| *tab != Self::Overview && tab.label().to_lowercase() == part)
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Deployments => "Deployments",
            Self::Logs => "Logs",
            Self::Variables => "Variables",
            Self::Diff => "Diff",
            Self::Events => "Events",
            Self::Settings => "Settings",
        }
    }

    /// Its address, below that of the service.
    pub(super) fn of(self, path: &str) -> String {
        match self {
            Self::Overview => path.to_owned(),
            tab => format!("{path}/{}", tab.label().to_lowercase()),
        }
    }

    /// All tabs as links, this one as the current.
    pub(super) fn links(self, path: &str) -> Vec<Value> {
        let one = |tab: &Tab| json!({"label": tab.label(), "href": tab.of(path), "current": *tab == self});
        ALL.iter().map(one).collect()
    }

    /// Puts what the tab shows into the values of the page; the others are `null`.
    pub(super) async fn fill(
        self,
        known: &Known<'_>,
        dashboard: &Dashboard,
        view: &mut Value,
    ) -> Result<(), PageError> {
        for tab in ALL {
            view[tab.label().to_lowercase()] = Value::Null;
        }
        view[self.label().to_lowercase()] = match self {
            Self::Overview => overview(known, dashboard).await,
            Self::Deployments => deployments(known, dashboard).await?,
            Self::Logs => log(known, dashboard, LINES).await,
            Self::Variables => variables(known),
            Self::Diff => diff(known, dashboard).await,
            Self::Events => events(known, dashboard).await?,
            Self::Settings => json!({"text": known.wanted.map(|wanted| explain(&wanted.effective.node))}),
        };
        Ok(())
    }
}

async fn overview(known: &Known<'_>, dashboard: &Dashboard) -> Value {
    let few = &known.history[..known.history.len().min(FEW)];
    json!({"deployments": project::deployments(few, dashboard.now(), false), "older": null, "newer": null,
        "log": log(known, dashboard, LAST).await})
}

async fn deployments(known: &Known<'_>, dashboard: &Dashboard) -> Result<Value, PageError> {
    let path = Tab::Deployments.of(&known.path());
    let filter = DeploymentFilter {
        project: Some(known.asked.project.clone()),
        environment: Some(known.asked.environment.clone()),
        service: Some(known.asked.service.clone()),
        before: known.asked.cursor.before.clone(),
        limit: project::RECENT,
        ..DeploymentFilter::default()
    };
    let rows = dashboard.store().deployments(&filter).await?;
    Ok(json!({"deployments": project::deployments(&rows, dashboard.now(), false),
        "older": project::older(&rows, &path), "newer": known.asked.cursor.before.is_some().then_some(path)}))
}

/// The last lines of its newest pod, or why there are none.
async fn log(known: &Known<'_>, dashboard: &Dashboard, most: u32) -> Value {
    let Some(environment) = known.environment else {
        return json!({"lines": [], "trouble": "the environment is in no configuration any more"});
    };
    let options = LogOptions { tail: Some(most), ..LogOptions::default() };
    let asked = dashboard.reconciler().pod_logs(environment, &known.asked.service, &options);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(lines)) => {
            let line = |line: &String| json!({"text": ansi::plain(line), "spans": ansi::pairs(line)});
            json!({"lines": lines.iter().map(line).collect::<Vec<_>>(), "trouble": null})
        }
        Ok(Err(error)) => json!({"lines": [], "trouble": chain(&error)}),
        Err(_) => json!({"lines": [], "trouble": "the cluster does not answer in time"}),
    }
}

/// Its environment variables as Git has them: a reference to a secret stays a reference.
fn variables(known: &Known<'_>) -> Value {
    let node = known.wanted.and_then(|wanted| wanted.effective.node.get("env"));
    let one = |(key, value): &(crate::yaml::Key, crate::yaml::Node)| {
        let text = match &value.value {
            NodeValue::String(text) => text.clone(),
            _ => value.to_json().to_string(),
        };
        json!({"name": key.name, "value": text, "place": format!("{}:{}", value.place.file, value.place.line)})
    };
    json!({"rows": node.map(|node| node.entries().iter().map(one).collect::<Vec<_>>()).unwrap_or_default()})
}

/// What an attempt would change now.
async fn diff(known: &Known<'_>, dashboard: &Dashboard) -> Value {
    let Some(environment) = known.environment else {
        return json!({"text": null, "trouble": "the environment is in no configuration any more"});
    };
    if known.wanted.is_some_and(|wanted| wanted.state == Wanted::NotReleased) {
        return json!({"text": null, "trouble": null});
    }
    let snapshot = dashboard.snapshot();
    let asked = dashboard.reconciler().plan_of(&snapshot, environment);
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(plan)) => {
            let text =
                plan.unit(&known.asked.service).filter(|unit| unit.is_shown()).map(ToString::to_string);
            json!({"text": text, "trouble": null})
        }
        Ok(Err(error)) => json!({"text": null, "trouble": chain(&error)}),
        Err(_) => json!({"text": null, "trouble": "the cluster does not answer in time"}),
    }
}

async fn events(known: &Known<'_>, dashboard: &Dashboard) -> Result<Value, PageError> {
    let filter = EventFilter {
        project: Some(known.asked.project.clone()),
        environment: Some(known.asked.environment.clone()),
        service: Some(known.asked.service.clone()),
        limit: 50,
        ..EventFilter::default()
    };
    let all = dashboard.store().events(&filter).await?;
    Ok(json!({"events": project::happened(&all, dashboard.now())}))
}
