//! The pages for people: Projects, Project, Service, Deployment, and the live log of a deployment.
//!
//! Pages are rendered here, whole, and say everything with scripts off. The one script only adds what a page
//! cannot do by itself: it asks for the page again every few seconds and puts what changed in its place, and it
//! follows a log over a WebSocket. A page knows what the store and the last survey say; it changes nothing.

mod action;
mod ansi;
mod assets;
mod badge;
mod deployment;
mod link;
mod live;
mod matrix;
mod project;
mod projects;
mod service;
mod time;

use std::sync::Arc;

use http::StatusCode;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};
use warp::filters::BoxedFilter;
use warp::filters::path::FullPath;
use warp::reply::Response;
use warp::{Filter, Reply};

use self::assets::Assets;
use super::api::{project_names, project_status};
use super::{Problem, ServerState};
use crate::clock::Clock;
use crate::reconcile::{Reconciler, Snapshot, chain};
use crate::render::{RenderError, html};
use crate::store::{Store, StoreError};

/// How often an open page asks for news, in seconds.
const REFRESH: u32 = 3;
/// The templates, by their names.
const TEMPLATES: [(&str, &str); 13] = [
    ("layout", include_str!("../../templates/dashboard/layout.hbs")),
    ("badge", include_str!("../../templates/dashboard/badge.hbs")),
    ("actions", include_str!("../../templates/dashboard/actions.hbs")),
    ("line", include_str!("../../templates/dashboard/line.hbs")),
    ("cell", include_str!("../../templates/dashboard/cell.hbs")),
    ("podlog", include_str!("../../templates/dashboard/podlog.hbs")),
    ("events", include_str!("../../templates/dashboard/events.hbs")),
    ("deployments", include_str!("../../templates/dashboard/deployments.hbs")),
    ("projects", include_str!("../../templates/dashboard/projects.hbs")),
    ("project", include_str!("../../templates/dashboard/project.hbs")),
    ("service", include_str!("../../templates/dashboard/service.hbs")),
    ("deployment", include_str!("../../templates/dashboard/deployment.hbs")),
    ("error", include_str!("../../templates/dashboard/error.hbs")),
];

/// The templates without the end of their last lines, so that one can stand in the middle of a line.
fn templates() -> impl Iterator<Item = (&'static str, &'static str)> {
    TEMPLATES.into_iter().map(|(name, text)| (name, text.trim_end()))
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum PageError {
    /// Nothing has this name.
    #[error("{0}")]
    Missing(String),
    /// The store does not answer.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// A template and its values do not fit.
    #[error("the page cannot be rendered")]
    Render(#[from] RenderError),
}

/// A page before its frame.
struct Page {
    template: &'static str,
    title: String,
    crumbs: Vec<Crumb>,
    /// The project that it is about.
    project: Option<String>,
    /// The same page in the other environments.
    switch: Vec<Switch>,
    view: Value,
}

/// An environment to look at instead.
#[derive(serde::Serialize)]
struct Switch {
    name: String,
    href: String,
    current: bool,
}

/// Where a list goes on: before the entry with this id.
#[derive(Debug, Clone, Default, serde::Deserialize)]
struct Cursor {
    before: Option<String>,
}

/// A step of the way to a page; its last one is the page itself.
#[derive(serde::Serialize)]
struct Crumb {
    name: String,
    href: Option<String>,
}

impl Crumb {
    fn new(name: &str, href: impl Into<Option<String>>) -> Self {
        Self { name: name.to_owned(), href: href.into() }
    }
}

/// What all pages share. Clones share it too.
#[derive(Clone)]
struct Dashboard(Arc<Inner>);

struct Inner {
    pages: html::Pages,
    assets: Assets,
    reconciler: Reconciler,
    clock: Clock,
}

/// The pages, their files and the live log.
///
/// # Panics
/// When a template of ours is no Handlebars, which a test excludes.
#[must_use]
pub fn routes(state: &ServerState, reconciler: &Reconciler) -> BoxedFilter<(Response,)> {
    let pages = html::Pages::new(templates()).expect("our own templates compile");
    let assets = Assets::new();
    let files = assets::routes(&assets);
    let inner = Inner { pages, assets, reconciler: reconciler.clone(), clock: state.clock.clone() };
    let dashboard = Dashboard(Arc::new(inner));
    let with = {
        let dashboard = dashboard.clone();
        warp::any().map(move || dashboard.clone())
    };
    let projects = warp::path::end()
        .and(warp::get())
        .and(warp::query::<projects::Search>())
        .and(with.clone())
        .then(|search, d: Dashboard| async move { d.reply(projects::page(&d, &search).await).await });
    let project = warp::path!("projects" / String)
        .and(warp::get())
        .and(warp::query::<Cursor>())
        .and(with.clone())
        .then(|name: String, cursor, d: Dashboard| async move {
            d.reply(project::page(&d, &name, &cursor).await).await
        });
    let service = warp::path!("projects" / String / "environments" / String / "services" / String / ..)
        .and(last_part())
        .and(warp::get())
        .and(warp::query::<Cursor>())
        .and(with.clone())
        .then(|project, environment, service, tab, cursor, d: Dashboard| async move {
            let asked = service::Asked { project, environment, service, tab, cursor };
            d.reply(service::page(&d, asked).await).await
        });
    let deployment = warp::path!("deployments" / String)
        .and(warp::get())
        .and(warp::query::<deployment::Range>())
        .and(with.clone())
        .then(|id: String, range: deployment::Range, d: Dashboard| async move {
            d.reply(deployment::page(&d, &id, &range).await).await
        });
    let log = warp::path!("deployments" / String / "log.txt")
        .and(warp::get())
        .and(warp::query::<deployment::Range>())
        .and(with.clone())
        .then(|id: String, range, d: Dashboard| async move { deployment::text(&d, &id, &range).await });
    let pages =
        projects.or(project).unify().or(service).unify().or(deployment).unify().or(log).unify().boxed();
    let lost = warp::get().and(warp::path::full()).and(warp::header::headers_cloned()).and(with).and_then(
        |path: FullPath, headers: HeaderMap, d: Dashboard| async move {
            if !is_for_a_page(path.as_str(), &headers) {
                return Err(warp::reject::not_found());
            }
            let missing = PageError::Missing(format!("There is no page at `{}`.", path.as_str()));
            Ok(d.reply(Err(missing)).await)
        },
    );
    pages.or(files).unify().or(live::routes(state)).unify().or(lost).unify().boxed()
}

/// Whether a browser asks, and for nothing that programs ask for.
fn is_for_a_page(path: &str, headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let for_programs = ["/api/", "/webhooks/", "/schemas/", "/assets/"];
    accept.contains("text/html") && !for_programs.iter().any(|prefix| path.starts_with(prefix))
}

/// The last part of an address, where there is one.
fn last_part() -> BoxedFilter<(Option<String>,)> {
    let one = warp::path::param::<String>().and(warp::path::end()).map(Some);
    one.or(warp::path::end().map(|| None)).unify().boxed()
}

impl Dashboard {
    fn store(&self) -> &Store {
        self.0.reconciler.store()
    }

    fn reconciler(&self) -> &Reconciler {
        &self.0.reconciler
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.reconciler.snapshot().borrow().clone()
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The page in its frame, or a page that says why there is none.
    async fn reply(&self, page: Result<Page, PageError>) -> Response {
        let (status, page) = match page {
            Ok(page) => (StatusCode::OK, page),
            Err(error) => excuse(&error),
        };
        match self.render(page).await {
            Ok(text) => {
                let mut response = text.into_response();
                *response.status_mut() = status;
                let html = HeaderValue::from_static("text/html; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, html);
                response
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "A page could not be rendered.");
                Problem::internal().into_response()
            }
        }
    }

    async fn render(&self, page: Page) -> Result<String, PageError> {
        let mut values = page.view;
        let (now, snapshot) = (self.now(), self.snapshot());
        // a page that says why there is none has a frame too
        let rows = self.store().services(None, None).await.unwrap_or_default();
        let held = self.reconciler().held().await.unwrap_or_default();
        let sidebar = project_names(&snapshot, &held, &rows).into_iter().map(|name| {
            let mine: Vec<_> = rows.iter().filter(|row| row.project == name).collect();
            let status = project_status(&snapshot, &held, name, &mine);
            json!({"name": name, "href": link::project(name), "current": page.project.as_deref() == Some(name),
                "badge": badge::of_project(status)})
        });
        values["frame"] = json!({
            "title": page.title,
            "crumbs": page.crumbs,
            "switch": page.switch,
            "projects": sidebar.collect::<Vec<_>>(),
            "atHome": page.template == "projects",
            "style": self.0.assets.style(),
            "script": self.0.assets.script(),
            "icon": self.0.assets.icon(),
            "refresh": REFRESH,
            "trouble": snapshot.trouble,
            "config": snapshot.config_revision.as_ref().map(crate::name::Revision::short),
            "version": env!("CARGO_PKG_VERSION"),
            "now": now.to_string(),
            "clock": time::clock(now),
        });
        Ok(self.0.pages.render(page.template, &values)?)
    }
}

/// The page in the place of one that cannot be made.
fn excuse(error: &PageError) -> (StatusCode, Page) {
    let (status, title, detail) = match error {
        PageError::Missing(what) => (StatusCode::NOT_FOUND, "Nothing is here", what.clone()),
        PageError::Store(cause) => {
            tracing::error!(error = %chain(cause), "The store failed while a page was made.");
            let detail = "The store does not answer now. The page asks again by itself.";
            (StatusCode::SERVICE_UNAVAILABLE, "Not available now", detail.to_owned())
        }
        PageError::Render(_) => {
            tracing::error!(error = %chain(error), "A page could not be rendered.");
            let detail = "Something went wrong on our side; the server's log says what.";
            (StatusCode::INTERNAL_SERVER_ERROR, "Not available", detail.to_owned())
        }
    };
    let crumbs = vec![Crumb::new("Projects", "/".to_owned()), Crumb::new(title, None)];
    let (title, view) = (title.to_owned(), json!({ "detail": detail }));
    (status, Page { template: "error", title, crumbs, project: None, switch: Vec::new(), view })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_templates_compile() {
        assert!(html::Pages::new(templates()).is_ok());
    }
}
