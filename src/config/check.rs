//! What must hold between the documents of a repository.

use std::collections::{BTreeMap, BTreeSet};

use super::problem::{Problem, Scope};
use super::reference::{Interpolated, Reference, ReferenceNamespace};
use super::root::ClusterType;
use super::{Document, Effective, Project, Repository, merge, rules, validate};
use crate::name::{EnvironmentName, LABEL, ServiceName, k8s_name};
use crate::yaml::{Node, Place};

/// Sums up every service, checks everything and adds what it finds to the problems of the repository.
pub(super) fn all(repository: &mut Repository, before: &Repository) {
    merge::sum_up(repository, before);
    let mut problems = Vec::new();
    for project in repository.projects.values() {
        environments(repository, project, &mut problems);
        names(project, &mut problems);
        patches(repository, project, &mut problems);
        services(project, &mut problems);
    }
    problems.sort_by(|a, b| (&a.place, &a.message, &a.scope).cmp(&(&b.place, &b.message, &b.scope)));
    problems.dedup();
    repository.problems.extend(problems);
}

/// Where a project runs: clusters, the order, promotions and previews name what exists.
fn environments(repository: &Repository, project: &Project, problems: &mut Vec<Problem>) {
    let in_project = Scope::Project(project.name.clone());
    let mut namespaces: BTreeMap<String, &EnvironmentName> = BTreeMap::new();
    for (name, environment) in &project.environments {
        let document = &environment.document;
        let scope = Scope::Environment(project.name.clone(), name.clone());
        let mut refuse = |place: &Place, message: String, hint: String| {
            problems.push(Problem::new(place.clone(), message).hint(hint).within(scope.clone()));
        };
        if name.as_str().starts_with("pr-") {
            refuse(
                document.name_place(),
                format!("`{name}` begins with `pr-`, which is for previews"),
                "give it another name".to_owned(),
            );
        }
        cluster(repository, document, &mut refuse);
        let namespace = document.spec.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| k8s_name(&[project.name.as_str(), name.as_str()], LABEL));
        let place = document.place("/spec/namespace");
        if namespace.parse::<crate::name::Namespace>().is_err()
            || namespace.starts_with("kube-")
            || ["default", "branchline"].contains(&namespace.as_str())
        {
            refuse(
                place,
                format!("`{namespace}` cannot be the namespace of an environment"),
                "leave it out, or name one of its own".to_owned(),
            );
        }
        if let Some(first) = namespaces.insert(namespace.clone(), name) {
            refuse(
                place,
                format!("the namespace `{namespace}` belongs to the environment `{first}`"),
                "give each its own".to_owned(),
            );
        }
        for service in environment.releases.iter().flat_map(|r| r.spec.keys()) {
            let is_broken = || may_be_broken(repository, project, service);
            if !project.services.keys().any(|s| s.as_str() == service) && !is_broken() {
                let releases = environment.releases.as_ref().expect("a pin stands in releases");
                let place = releases.node.key_place(&format!("/spec/{service}"));
                let problem = Problem::new(
                    place.clone(),
                    format!("there is no service `{service}`; its pin does nothing"),
                );
                problems.push(problem.hint("remove the pin").within(scope.clone()).warning());
            }
        }
    }
    let document = &project.document;
    let mut known = |pointer: String, name: &str| {
        if !project.environments.keys().any(|e| e.as_str() == name) {
            let problem =
                Problem::new(document.place(&pointer).clone(), format!("there is no environment `{name}`"));
            let hint = validate::did_you_mean(name, project.environments.keys().map(EnvironmentName::as_str));
            let hint = hint.unwrap_or_else(|| {
                format!("write projects/{}/environments/{name}/environment.yaml", project.name)
            });
            problems.push(problem.hint(hint).within(in_project.clone()).warning());
        }
    };
    for (i, name) in document.spec.environments.iter().flatten().enumerate() {
        known(format!("/spec/environments/{i}"), name);
    }
    for (i, promotion) in document.spec.promotion.iter().flatten().enumerate() {
        known(format!("/spec/promotion/{i}/from"), &promotion.from);
        known(format!("/spec/promotion/{i}/to"), &promotion.to);
    }
    if let Some(base) = document.spec.previews.as_ref().and_then(|previews| previews.base.as_deref()) {
        known("/spec/previews/base".to_owned(), base);
    }
}

/// Whether a service that is not known may stand in a document that is broken.
fn may_be_broken(repository: &Repository, project: &Project, service: &str) -> bool {
    let folder = format!("projects/{}/", project.name);
    repository.errors().any(|problem| match &problem.scope {
        Scope::Service(of, name) => *of == project.name && name.as_str() == service,
        file @ Scope::File(_) => file.may_hold(&folder),
        _ => false,
    })
}

fn cluster(
    repository: &Repository,
    document: &Document<super::EnvironmentSpec>,
    refuse: &mut impl FnMut(&Place, String, String),
) {
    let place = document.place("/spec/cluster");
    match document.spec.cluster.as_deref() {
        Some("embedded") => {}
        Some(name) if !repository.clusters.keys().any(|c| c.as_str() == name) => {
            let names = repository.clusters.keys().map(crate::name::ClusterName::as_str);
            let hint =
                validate::did_you_mean(name, names).unwrap_or_else(|| format!("write clusters/{name}.yaml"));
            refuse(place, format!("there is no cluster `{name}`"), hint);
        }
        None if repository.clusters.len() > 1 => {
            let names: Vec<_> = repository.clusters.keys().map(ToString::to_string).collect();
            refuse(
                place,
                "the environment does not say which cluster it runs on".to_owned(),
                format!("one of {}", names.join(", ")),
            );
        }
        _ => {}
    }
}

impl Repository {
    /// How the cluster of an environment is reached, and its name.
    #[must_use]
    pub fn cluster_of(&self, environment: &Document<super::EnvironmentSpec>) -> (String, ClusterType) {
        let named = environment.spec.cluster.as_deref();
        let found = match named {
            Some(name) => self.clusters.iter().find(|(c, _)| c.as_str() == name),
            None => self.clusters.iter().next(),
        };
        found.map_or(("embedded".to_owned(), ClusterType::Embedded), |(name, cluster)| {
            (name.to_string(), cluster.spec.kind)
        })
    }
}

/// Names that Kubernetes cannot tell apart are refused, with both places.
fn names(project: &Project, problems: &mut Vec<Problem>) {
    let mut mapped: BTreeMap<String, &Document<super::ServiceSpec>> = BTreeMap::new();
    for (name, document) in &project.services {
        let lower = name.as_str().to_lowercase().replace('_', "-");
        if let Some(first) = mapped.insert(lower, document) {
            let message = format!("the service `{name}` cannot be told apart from `{}`", first.name);
            let problem = Problem::new(document.name_place().clone(), message);
            let hint = format!("rename one; the other stands at {}", first.name_place());
            problems.push(problem.hint(hint).within(Scope::Service(project.name.clone(), name.clone())));
        }
    }
}

/// Patches of an environment name services that exist, and leave alone what is one for all.
fn patches(repository: &Repository, project: &Project, problems: &mut Vec<Problem>) {
    for (name, environment) in &project.environments {
        let document = &environment.document;
        let patches = document.node.at("/spec/services").map(Node::entries).unwrap_or_default();
        for (key, patch) in patches {
            if !project.services.keys().any(|s| s.as_str() == key.name) {
                if may_be_broken(repository, project, &key.name) {
                    continue;
                }
                let problem =
                    Problem::new(key.place.clone(), format!("there is no service `{}` to patch", key.name));
                let hint =
                    validate::did_you_mean(&key.name, project.services.keys().map(ServiceName::as_str));
                let hint = hint.unwrap_or_else(|| "remove the patch, or write the service".to_owned());
                problems.push(
                    problem
                        .hint(hint)
                        .within(Scope::Environment(project.name.clone(), name.clone()))
                        .warning(),
                );
                continue;
            }
            for (pointer, what) in [
                ("/build", "build"),
                ("/source/repo", "source.repo"),
                ("/source/path", "source.path"),
                ("/type", "type"),
            ] {
                if let Some(node) = patch.at(pointer) {
                    let problem = Problem::new(
                        node.place.clone(),
                        format!("`{what}` cannot differ between environments"),
                    );
                    let problem = problem.hint("one artifact serves all; `source.branch` may differ");
                    problems.push(problem.within(Scope::Environment(project.name.clone(), name.clone())));
                }
            }
        }
    }
}

/// Looks at every service in every environment, and follows what it refers to.
fn services(project: &Project, problems: &mut Vec<Problem>) {
    let mut hosts: BTreeMap<(String, String), (ServiceName, Place)> = BTreeMap::new();
    let names: BTreeSet<&str> = project.services.keys().map(ServiceName::as_str).collect();
    for name in project.services.keys() {
        let scope = Scope::Service(project.name.clone(), name.clone());
        let everywhere =
            project.environments.keys().map(Some).chain(project.environments.is_empty().then_some(None));
        for environment in everywhere {
            let Some(sum) = project.sums(environment).and_then(|sums| sums.get(name)) else { continue };
            let mut found = sum.problems.clone();
            if let Some(effective) = &sum.effective {
                found.extend(refers_to_what_exists(project, &names, environment, name, effective));
                found.extend(domains(name, effective, &mut hosts));
            }
            problems.extend(found.into_iter().map(|problem| problem.within(scope.clone())));
        }
    }
    problems.extend(cycles(project));
}

/// A host and path belong to the service that names them first.
fn domains(
    name: &ServiceName,
    effective: &Effective,
    hosts: &mut BTreeMap<(String, String), (ServiceName, Place)>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (i, domain) in effective.spec.domains.iter().flatten().enumerate() {
        let key = (domain.host.to_lowercase(), domain.path.clone().unwrap_or_else(|| "/".to_owned()));
        let place = effective.node.nearest(&format!("/domains/{i}/host")).clone();
        match hosts.get(&key) {
            Some((owner, at)) if owner != name => {
                let problem = Problem::new(
                    place,
                    format!("the host `{}{}` belongs to the service `{owner}`", key.0, key.1),
                );
                problems.push(problem.hint(format!("take another one; it stands at {at}")));
            }
            Some(_) => {}
            None => {
                hosts.insert(key, (name.clone(), place));
            }
        }
    }
    problems
}

fn refers_to_what_exists(
    project: &Project,
    names: &BTreeSet<&str>,
    environment: Option<&EnvironmentName>,
    name: &ServiceName,
    effective: &Effective,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(from) = effective.spec.build.as_ref().and_then(|build| build.from.as_deref())
        && !(names.contains(from) && from != name.as_str())
    {
        problems.push(Problem::new(
            effective.node.nearest("/build/from").clone(),
            format!("there is no other service `{from}`"),
        ));
    }
    let shared =
        environment.and_then(|e| project.environments.get(e)).and_then(|e| e.document.spec.shared.as_ref());
    let env = effective.spec.env.as_ref();
    for (place, reference) in &effective.references {
        let outputs = ReferenceNamespace::Services.keys();
        let refuse = |message: String| Problem::new(place.clone(), message);
        let problem = match reference.namespace {
            ReferenceNamespace::Services | ReferenceNamespace::Sibling
                if !names.contains(reference.name.as_str()) =>
            {
                let hint = validate::did_you_mean(&reference.name, names.iter().copied())
                    .unwrap_or_else(|| "name a service of the project".to_owned());
                Some(refuse(format!("{reference}: there is no service `{}`", reference.name)).hint(hint))
            }
            ReferenceNamespace::Services | ReferenceNamespace::Sibling
                if !outputs.contains(&reference.key.as_str()) =>
            {
                Some(
                    refuse(format!("{reference}: a service has no `{}`", reference.key))
                        .hint(format!("it has {}", outputs.join(", "))),
                )
            }
            ReferenceNamespace::Addons => Some(
                refuse(format!("{reference}: add-ons are not supported yet")).hint("leave it out until then"),
            ),
            ReferenceNamespace::Shared
                if environment.is_some() && !shared.is_some_and(|s| s.contains_key(&reference.key)) =>
            {
                let hint = "add it to `shared` of the environment".to_owned();
                Some(refuse(format!("{reference}: the environment shares no `{}`", reference.key)).hint(hint))
            }
            ReferenceNamespace::Env if !env.is_some_and(|e| e.contains_key(&reference.key)) => Some(
                refuse(format!("{reference}: the service has no variable `{}`", reference.key))
                    .hint("add it to `env`"),
            ),
            ReferenceNamespace::Git
            | ReferenceNamespace::Project
            | ReferenceNamespace::Environment
            | ReferenceNamespace::Preview
                if !reference.namespace.keys().contains(&reference.key.as_str()) =>
            {
                let keys = reference.namespace.keys().join(", ");
                Some(
                    refuse(format!("{reference}: there is no `{}`", reference.key))
                        .hint(format!("there is {keys}")),
                )
            }
            _ => None,
        };
        problems.extend(problem);
    }
    problems
}

/// Every reference in a value, with the text it stands in.
pub(super) fn references(node: &Node) -> Vec<(&Node, Reference)> {
    let mut found = Vec::new();
    rules::walk(node, &mut |node| {
        let text = node.as_str().and_then(|text| Interpolated::parse(text).ok());
        found.extend(
            text.iter().flat_map(Interpolated::references).map(|reference| (node, reference.clone())),
        );
    });
    found
}

impl Effective {
    /// The services that this one refers to; they are applied before it.
    #[must_use]
    pub fn refers_to(&self) -> BTreeSet<String> {
        self.services().map(|(_, reference)| reference.name.clone()).collect()
    }

    fn services(&self) -> impl Iterator<Item = &(Place, Reference)> {
        let services = [ReferenceNamespace::Services, ReferenceNamespace::Sibling];
        self.references.iter().filter(move |(_, reference)| services.contains(&reference.namespace))
    }
}

/// Variables of a service that refer to each other in a circle.
pub(super) fn variables_in_a_circle(effective: &Effective) -> Option<Problem> {
    let variables = effective.node.get("env").map(Node::entries).unwrap_or_default();
    let own = variables.iter().map(|(key, node)| {
        let to = references(node).into_iter().filter(|(_, r)| r.namespace == ReferenceNamespace::Env);
        (key.name.clone(), to.map(|(node, r)| (r.key, node.place.clone())).collect())
    });
    let (circle, place) = circle(&own.collect())?;
    let problem = Problem::new(place, format!("variables refer to each other in a circle: {circle}"));
    Some(problem.hint("take one of the references out"))
}

/// Services that refer to each other in a circle.
fn cycles(project: &Project) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut edges: BTreeMap<String, BTreeMap<String, Place>> = BTreeMap::new();
    for (name, sum) in project.sums(None).into_iter().flatten() {
        let Some(effective) = &sum.effective else { continue };
        let to = effective.services().filter(|(_, r)| r.name != name.as_str());
        edges.insert(name.to_string(), to.map(|(place, r)| (r.name.clone(), place.clone())).collect());
    }
    if let Some((circle, place)) = circle(&edges) {
        let message = format!("services refer to each other in a circle: {circle}");
        for name in circle.split(" → ").collect::<BTreeSet<_>>() {
            let Ok(name) = name.parse() else { continue };
            let problem = Problem::new(place.clone(), message.clone()).hint("take one of the references out");
            problems.push(problem.within(Scope::Service(project.name.clone(), name)));
        }
    }
    problems
}

/// The first circle in a graph, as `a → b → a`, and the place of the reference that closes it.
fn circle(edges: &BTreeMap<String, BTreeMap<String, Place>>) -> Option<(String, Place)> {
    let mut done = BTreeSet::new();
    edges.keys().find_map(|start| follow(start, edges, &mut Vec::new(), &mut done))
}

fn follow<'a>(
    at: &'a str,
    edges: &'a BTreeMap<String, BTreeMap<String, Place>>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<(String, Place)> {
    if !done.insert(at) && !path.contains(&at) {
        return None;
    }
    path.push(at);
    for (to, place) in edges.get(at).into_iter().flatten() {
        if let Some(from) = path.iter().position(|p| p == to) {
            let names: Vec<_> = path[from..].iter().copied().chain([to.as_str()]).collect();
            return Some((names.join(" → "), place.clone()));
        }
        if let Some(found) = follow(to, edges, path, done) {
            return Some(found);
        }
    }
    path.pop();
    None
}
