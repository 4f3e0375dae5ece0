//! What the config repository says: typed, validated, with the place of every value. It does not know Git.
//!
//! [`load`] takes the files of one revision and returns a [`Repository`]: everything that is sound, and a
//! [`Problem`] for everything that is not. A problem takes down what its [`Scope`] names; the rest goes on.
//! [`Repository::effective`] sums up the layers of a service in an environment.

mod check;
mod document;
mod explain;
pub mod environment;
mod load;
mod merge;
mod problem;
pub mod project;
pub mod reference;
pub mod root;
mod rules;
pub mod schema;
pub mod service;
mod standing;
mod unsupported;
mod validate;
pub mod value;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use document::{Document, File, LARGEST, LINK, SUBMODULE, too_large};
pub use explain::explain;
pub use load::{app_service, load, load_after};
pub use merge::Effective;
pub use problem::{Problem, Scope, Severity};

use crate::name::{ClusterName, EnvironmentName, ProjectName, ServiceName};
use environment::{EnvironmentSpec, Releases};
use merge::Sums;
use project::ProjectSpec;
use root::{ClusterSpec, ConfigSpec};
use service::ServiceSpec;

/// Everything that a config repository says at one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Repository {
    /// `kind: Config`, where there is one.
    pub config: Option<Arc<Document<ConfigSpec>>>,
    /// The clusters by name.
    pub clusters: BTreeMap<ClusterName, Arc<Document<ClusterSpec>>>,
    /// The projects by name.
    pub projects: BTreeMap<ProjectName, Project>,
    /// The files under `templates/`.
    pub templates: Vec<File>,
    /// What is wrong, in the order of the files.
    pub problems: Vec<Problem>,
    /// What was read of each file, by its path, with the id of its blob.
    files: BTreeMap<String, (String, Arc<document::Read>)>,
    /// Documents that are broken now and stand as they were: the path of their file, and the id of its blob then.
    pub standing: BTreeMap<String, String>,
}

/// A project with what stands in its folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Its name, which is also that of its folder.
    pub name: ProjectName,
    /// `kind: Project`.
    pub document: Arc<Document<ProjectSpec>>,
    /// The sound services by name.
    pub services: BTreeMap<ServiceName, Arc<Document<ServiceSpec>>>,
    /// The sound environments by name, in no order of promotion.
    pub environments: BTreeMap<EnvironmentName, Environment>,
    /// Its services in no environment.
    sums: Sums,
}

/// An environment and its pins.
#[derive(Debug, Clone, PartialEq)]
pub struct Environment {
    /// `kind: Environment`.
    pub document: Arc<Document<EnvironmentSpec>>,
    /// `kind: Releases`, where there is one.
    pub releases: Option<Arc<Document<Releases>>>,
    /// The services of the project in this environment.
    sums: Sums,
}

impl Repository {
    /// Whether anything can be known at all: no problem takes down the whole repository.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        !self.errors().any(|problem| problem.scope == Scope::Repository)
    }

    /// The problems that keep something from being deployed.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// The problems that keep a service from being deployed to an environment.
    pub fn errors_of<'a>(
        &'a self,
        project: &'a ProjectName,
        environment: &'a EnvironmentName,
        service: &'a ServiceName,
    ) -> impl Iterator<Item = &'a Problem> {
        self.errors().filter(move |problem| match &problem.scope {
            Scope::Repository => true,
            Scope::Project(p) => p == project,
            Scope::Environment(p, e) => p == project && e == environment,
            Scope::Service(p, s) => p == project && s == service,
            Scope::File(_) => false,
        })
    }

    /// Whether what does not stand in a project's folder is known to be gone: every file of it could be read.
    /// Where not, nothing of the project is removed.
    #[must_use]
    pub fn absence_is_proven(&self, project: &ProjectName) -> bool {
        let folder = format!("projects/{project}/");
        self.errors().all(|problem| match &problem.scope {
            Scope::Repository => false,
            Scope::Project(p) => p != project,
            file @ Scope::File(_) => !file.may_hold(&folder),
            Scope::Environment(..) | Scope::Service(..) => true,
        })
    }

    /// What is wrong with a service whose document stands as it was; empty where it is as the repository has it.
    #[must_use]
    pub fn standing_because(&self, project: &Project, service: &Document<ServiceSpec>) -> Vec<&Problem> {
        let file = &*service.node.place.file;
        if self.standing.get(file) != Some(&service.blob) {
            return Vec::new();
        }
        let folder = format!("projects/{}/", project.name);
        let within = |prefix: &str| -> Vec<&Problem> {
            self.errors().filter(|problem| problem.scope.may_hold(prefix)).collect()
        };
        // it may have been moved into the file that cannot be read
        Some(within(file)).filter(|problems| !problems.is_empty()).unwrap_or_else(|| within(&folder))
    }

    /// How a host is made where nothing else is said: `{service}-{project}-{environment}.{base}`.
    #[must_use]
    pub fn domain(&self) -> (&str, &str) {
        let domains = self.config.as_ref().and_then(|config| config.spec.domains.as_ref());
        let base = domains.and_then(|d| d.base.as_deref()).unwrap_or("localhost");
        let pattern =
            domains.and_then(|d| d.pattern.as_deref()).unwrap_or("{service}-{project}-{environment}.{base}");
        (base, pattern)
    }
}

impl Project {
    /// The environments in the order of promotion, then those that stand in no order.
    #[must_use]
    pub fn ordered_environments(&self) -> Vec<&EnvironmentName> {
        let order = self.document.spec.environments.as_deref().unwrap_or_default();
        let rank =
            |name: &EnvironmentName| order.iter().position(|o| o == name.as_str()).unwrap_or(order.len());
        let mut names: Vec<_> = self.environments.keys().collect();
        names.sort_by_key(|name| (rank(name), name.as_str()));
        names
    }
}
