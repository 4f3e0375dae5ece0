//! Pure: config × heads × open pull requests × releases → the environments that should exist.
//!
//! [`lookups()`] says what must be asked of the app repositories; [`desired`] takes the answers and returns every
//! environment with its services: which revision, what is built from it, and the values that its template is given.
//! Nothing here reads Git, a clock or a cluster, so the same answers give the same environments.

mod host;
mod lookup;
mod memory;
mod preview;
mod resolve;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use host::Hosts;
pub use lookup::{Found, Lookup, LookupKey, lookups};
use memory::Making;
pub use memory::Memory;
pub use preview::{PullRequest, environment_name, former, refused, vanished};

use crate::config::environment::{Follow, Release};
use crate::config::root::ClusterType;
use crate::config::service::{AutoDeploy, Builder, ServiceType};
use crate::config::{self, Effective, Problem, Repository};
use crate::name::{
    BranchName, EnvironmentName, ImageRef, LABEL, Namespace, ProjectName, PullNumber, Revision, ServiceName,
    k8s_name,
};

/// Where the services of an environment run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// As processes of this machine.
    Process,
    /// As containers of a cluster.
    Cluster,
}

/// Everything that decides what should exist.
pub struct Inputs<'a> {
    /// What the config repository says.
    pub config: &'a Repository,
    /// What the app repositories answered to the lookups.
    pub found: &'a BTreeMap<LookupKey, Found>,
    /// The open pull requests of the app repositories.
    pub pulls: &'a [PullRequest],
    /// The revision that a service runs; asked for those that are not deployed by themselves.
    pub deployed: &'a Deployed<'a>,
    /// Where the embedded cluster runs its pods.
    pub embedded: Runtime,
    /// Whether the process runtime runs what pull requests of a forge bring.
    pub trust_pull_requests: bool,
    /// How hosts become URLs.
    pub hosts: &'a Hosts,
    /// The port on 127.0.0.1 at which the Service of a namespace is reached, on the process runtime.
    pub addresses: &'a dyn Fn(&Namespace, &str) -> u16,
}

/// The revision that a service runs, where it runs.
pub type Deployed<'a> = dyn Fn(&ProjectName, &EnvironmentName, &ServiceName) -> Option<Revision> + 'a;

/// An environment that should exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// Its project.
    pub project: ProjectName,
    /// Its name.
    pub name: EnvironmentName,
    /// Its namespace.
    pub namespace: Namespace,
    /// The cluster it runs on, and how that one is reached.
    pub cluster: (String, ClusterType),
    /// How its services run.
    pub runtime: Runtime,
    /// Whether changes by hand need a second word.
    pub protected: bool,
    /// Whether it runs branches or pins.
    pub follow: Follow,
    /// Whether what Git no longer wants is removed.
    pub prune: bool,
    /// Whether what somebody else changed is put right.
    pub self_heal: bool,
    /// The pull request that it was made for, where it is a preview.
    pub preview: Option<PullRequest>,
    /// The names of the services that are its own. A preview reaches the others in the environment it is a copy of.
    pub members: BTreeSet<ServiceName>,
    /// Its services.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// Services whose documents are broken: they are left exactly as they are.
    pub broken: BTreeMap<ServiceName, Vec<Problem>>,
    /// Whether a service that is not named here is known to be gone.
    pub absence_is_proven: bool,
}

/// A service of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The name of its objects.
    pub object_name: String,
    /// What kind it is.
    pub kind: ServiceType,
    /// The template that makes its manifests.
    pub template: String,
    /// What should run.
    pub state: Wanted,
    /// Services of the same environment that are applied before it.
    pub after: BTreeSet<ServiceName>,
    /// The hosts under which it is reached.
    pub hosts: Vec<String>,
    /// The URL for people, where it has one.
    pub url: Option<String>,
    /// The secrets that are made once per environment: key → number of characters.
    pub generated: BTreeMap<String, u32>,
    /// The sum of its layers, with the origin of every value.
    pub effective: Arc<Effective>,
}

impl Service {
    /// What runs of it, where something does.
    #[must_use]
    pub fn run(&self) -> Option<&Run> {
        match &self.state {
            Wanted::Run(run) => Some(run),
            Wanted::NotReleased | Wanted::Waiting | Wanted::Unknown(_) => None,
        }
    }

    /// The revision that runs; none for an image alone.
    #[must_use]
    pub fn revision(&self) -> Option<&Revision> {
        self.run()?.revision.as_ref()
    }
}

/// What should run of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// This revision.
    Run(Box<Run>),
    /// Nothing is pinned: no objects, and nothing is wrong.
    NotReleased,
    /// It waits for somebody to say `deploy`.
    Waiting,
    /// It cannot be known, and what runs is left as it is.
    Unknown(String),
}

/// A revision of a service, ready to be built and rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The revision of the app repository; none for an image alone.
    pub revision: Option<Revision>,
    /// Where it comes from, and what is built.
    pub artifact: ArtifactSource,
    /// The values of its template, all but `image`.
    pub values: Value,
    /// The pin that it follows.
    pub release: Option<Release>,
}

/// What a service's artifact is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSource {
    /// An image that others build: by a tag, or by its digest.
    Image(ImageRef),
    /// A tree of an app repository.
    Tree(BuildRequest),
}

/// What is built of a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The repository, as the config writes it.
    pub repo: String,
    /// The revision.
    pub revision: Revision,
    /// The folder that the build sees.
    pub context: String,
    /// The folder of the service, in which commands run.
    pub path: String,
    /// The shell command, where anything is built.
    pub command: Option<String>,
    /// The variables of the build.
    pub args: BTreeMap<String, String>,
}

/// The environments that should exist, those of projects in the order of promotion, then previews.
///
/// What `memory` holds from an earlier call is taken from there, where nothing changed that it was made of.
#[must_use]
pub fn desired(inputs: &Inputs<'_>, memory: &mut Memory) -> Vec<Arc<Environment>> {
    let before = std::mem::take(memory);
    let mut environments = Vec::new();
    if !inputs.config.is_usable() {
        return environments;
    }
    for project in inputs.config.projects.values() {
        let mut keep = |making: Making<'_>| environments.push(memory.keep(making));
        for name in project.ordered_environments() {
            keep(base_environment(inputs, project, name, &before));
        }
        preview::environments(inputs, project, &before).into_iter().for_each(keep);
    }
    environments
}

fn base_environment<'a>(
    inputs: &'a Inputs<'a>,
    project: &'a config::Project,
    name: &'a EnvironmentName,
    before: &'a Memory,
) -> Making<'a> {
    let spec = &project.environments[name].document.spec;
    let mut environment = empty(inputs, project, name, None);
    environment.follow = spec.follow.unwrap_or(Follow::Branch);
    environment.members = project.services.keys().cloned().collect();
    let mut making = Making::new(inputs, project, name, environment, before);
    for service in project.services.keys() {
        let found = inputs.found.get(&LookupKey::branch(&project.name, name, service));
        making.add(service, found.and_then(Found::app_file), |effective| {
            let release = project.environments[name].releases.as_ref();
            let release = release.and_then(|releases| releases.spec.get(service.as_str()));
            let follow = spec.follow.unwrap_or(Follow::Branch);
            let pinned = release.filter(|release| follow == Follow::Releases || release.hold).cloned();
            (revision(inputs, project, name, service, effective, found, pinned.as_ref()), pinned)
        });
    }
    making
}

/// The revision of a service in a base environment.
fn revision(
    inputs: &Inputs<'_>,
    project: &config::Project,
    base: &EnvironmentName,
    name: &ServiceName,
    effective: &Effective,
    found: Option<&Found>,
    pinned: Option<&Release>,
) -> Result<Option<Revision>, Wanted> {
    let follow = project.environments[base].document.spec.follow.unwrap_or(Follow::Branch);
    if effective.spec.source.as_ref().and_then(|source| source.repo.as_ref()).is_none() {
        Ok(None)
    } else if let Some(release) = pinned {
        Ok(Some(release.revision.clone()))
    } else if follow == Follow::Releases {
        Err(Wanted::NotReleased)
    } else if effective.spec.auto_deploy == Some(AutoDeploy::Off) {
        (inputs.deployed)(&project.name, base, name).map(Some).ok_or(Wanted::Waiting)
    } else {
        found
            .map_or(Err(Wanted::Unknown("its repository has not been read yet".to_owned())), Found::revision)
            .map(Some)
    }
}

/// An environment without services.
fn empty(
    inputs: &Inputs<'_>,
    project: &config::Project,
    base: &EnvironmentName,
    preview: Option<&PullRequest>,
) -> Environment {
    let document = &project.environments[base].document;
    let spec = &document.spec;
    let sync = spec.sync.clone().unwrap_or_default();
    let cluster = inputs.config.cluster_of(document);
    let name = preview.map_or_else(|| base.clone(), environment_name);
    let namespace = match (&preview, &spec.namespace) {
        (None, Some(namespace)) => namespace.clone(),
        _ => k8s_name(&[project.name.as_str(), name.as_str()], LABEL),
    };
    Environment {
        project: project.name.clone(),
        name,
        namespace: namespace.parse().expect("the check and k8s_name allow only namespaces"),
        runtime: if cluster.1 == ClusterType::Embedded { inputs.embedded } else { Runtime::Cluster },
        cluster,
        protected: spec.protected.unwrap_or(false),
        follow: Follow::Branch,
        prune: sync.prune.unwrap_or(true),
        self_heal: sync.self_heal.unwrap_or(true),
        preview: preview.cloned(),
        members: BTreeSet::new(),
        services: BTreeMap::new(),
        broken: BTreeMap::new(),
        absence_is_proven: inputs.config.absence_is_proven(&project.name),
    }
}

/// What is wrong with the documents comes before what then cannot be worked out from them.
fn broken_documents(inputs: &Inputs<'_>, project: &config::Project, environment: &mut Environment) {
    let mut broken: BTreeMap<ServiceName, Vec<Problem>> = BTreeMap::new();
    for problem in inputs.config.errors() {
        let services: Vec<ServiceName> = match &problem.scope {
            config::Scope::Service(of, service) if *of == project.name => vec![service.clone()],
            config::Scope::Environment(of, name) if *of == project.name && *name == environment.name => {
                environment.services.keys().chain(environment.broken.keys()).cloned().collect()
            }
            _ => continue,
        };
        for service in services {
            broken.entry(service).or_default().push(problem.clone());
        }
    }
    for (service, document) in &project.services {
        for problem in inputs.config.standing_because(project, document) {
            broken.entry(service.clone()).or_default().push(problem.clone());
        }
    }
    for (service, mut problems) in broken {
        let own = project.services.get(&service).map(|document| document.node.place.file.clone());
        // what is wrong in its own file comes first
        let order = |problem: &Problem| {
            (Some(&problem.place.file) != own.as_ref(), problem.place.clone(), problem.message.clone())
        };
        problems.sort_by_cached_key(order);
        problems.dedup();
        environment.services.remove(&service);
        environment.broken.insert(service, problems);
    }
}

/// Puts a service together once its revision is known.
fn compose(
    inputs: &Inputs<'_>,
    project: &config::Project,
    environment: &Environment,
    name: &ServiceName,
    effective: Arc<Effective>,
    revision: Result<Option<Revision>, Wanted>,
    release: Option<Release>,
) -> Result<Service, Vec<Problem>> {
    let hosts = host::of_service(inputs, project, environment, name, &effective);
    let url = hosts
        .first()
        .filter(|_| effective.kind.is_public())
        .map(|host| inputs.hosts.url(environment.runtime, host));
    let template = effective.spec.template.as_ref().and_then(|t| t.name.clone());
    let services: Vec<_> = effective.refers_to().iter().filter_map(|other| other.parse().ok()).collect();
    let mut service = Service {
        name: name.clone(),
        object_name: k8s_name(
            &[name.as_str()],
            if effective.kind == ServiceType::Cron { crate::name::CRON_JOB } else { LABEL },
        ),
        kind: effective.kind,
        template: template.unwrap_or_else(|| effective.kind.as_str().to_owned()),
        state: Wanted::NotReleased,
        after: services.into_iter().filter(|other| other != name).collect(),
        hosts,
        url,
        generated: BTreeMap::new(),
        effective,
    };
    service.state = match revision {
        Err(state) => state,
        Ok(revision) => {
            let context = resolve::Context {
                inputs,
                project,
                environment,
                service: &service,
                revision: revision.as_ref(),
            };
            let (run, generated) = context.run(revision.clone(), release)?;
            service.generated = generated;
            Wanted::Run(Box::new(run))
        }
    };
    Ok(service)
}

/// The branch that a service follows in an environment.
fn branch_of(effective: &Effective) -> BranchName {
    let branch = effective.spec.source.as_ref().and_then(|source| source.branch.as_deref()).unwrap_or("main");
    branch.parse().expect("the rules of a service have checked its branch")
}

/// What a build of this service is made with, whatever its revision.
fn build_of(effective: &Effective) -> (String, String, Option<String>) {
    let path = effective.spec.source.as_ref().and_then(|s| s.path.clone()).unwrap_or_default();
    let path = path.trim_matches('/').trim_start_matches("./").to_owned();
    let path = if path == "." { String::new() } else { path };
    let build = effective.spec.build.clone().unwrap_or_default();
    let context = build.context.map_or_else(|| path.clone(), |context| context.trim_matches('/').to_owned());
    let context = if context == "." { String::new() } else { context };
    (context, path, build.command.filter(|_| build.builder != Some(Builder::None)))
}

/// The number in the name of a preview's environment, for templates and references.
fn number(environment: &Environment) -> Option<PullNumber> {
    environment.preview.as_ref().map(|pull| pull.number)
}
