//! The layers of a service, and their sum with the origin of every value.
//!
//! Low to high: built-in, defaults of the config, defaults of the project, the app repository's file, the service,
//! the environment's patch, the preview's patch. Maps merge deep, lists replace, `null` removes. A variable of the
//! environment is replaced whole, so that a secret never keeps half of a text.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use super::problem::Problem;
use super::reference::Reference;
use super::service::{ServiceSpec, ServiceType};
use super::{Project, Repository, check, rules};
use crate::name::{EnvironmentName, ServiceName};
use crate::yaml::{Limits, Node, NodeValue, Place, read};

/// What a service begins with.
const BUILT_IN: &str = "
autoDeploy: commit
build: {builder: auto}
replicas: 1
strategy: {type: rolling, maxSurge: 25%, maxUnavailable: 0, progressDeadline: 10m}
terminationGracePeriod: 30s
";
/// What a service that listens begins with.
const LISTENS: &str = "ports: [{name: http, port: 8080}]";
/// What a service on a schedule begins with.
const CRON: &str = "{timeZone: Etc/UTC, concurrencyPolicy: Forbid}";

/// A service of an environment: the sum of its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The sum, typed.
    pub spec: ServiceSpec,
    /// What kind of service it is.
    pub kind: ServiceType,
    /// The sum with the origin of every value; its root is the spec.
    pub node: Node,
    /// Every reference in it, and where.
    pub(super) references: Vec<(Place, Reference)>,
}

/// The services of a project, each with all that can be said of it alone.
pub(super) type Sums = BTreeMap<ServiceName, Arc<Sum>>;

/// A service summed up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sum {
    /// The sum, unless the layers do not add up.
    pub(super) effective: Option<Arc<Effective>>,
    /// Why they do not, or which rules the sum breaks.
    pub(super) problems: Vec<Problem>,
}

impl Sum {
    fn checked(&self) -> Result<Arc<Effective>, Vec<Problem>> {
        match &self.effective {
            Some(effective) if self.problems.is_empty() => Ok(Arc::clone(effective)),
            _ => Err(self.problems.clone()),
        }
    }
}

/// Sums up every service, in every environment and in none. A service whose documents are those of `before` is taken
/// from there.
pub(super) fn sum_up(repository: &mut Repository, before: &Repository) {
    let same = |old: Option<&Arc<_>>, new: Option<&Arc<_>>| match (old, new) {
        (Some(old), Some(new)) => Arc::ptr_eq(old, new),
        (None, None) => true,
        _ => false,
    };
    let same_root = same(before.config.as_ref(), repository.config.as_ref());
    let mut all = Vec::new();
    for project in repository.projects.values() {
        let old = before.projects.get(&project.name);
        let old = old.filter(|old| same_root && Arc::ptr_eq(&old.document, &project.document));
        for environment in std::iter::once(None).chain(project.environments.keys().map(Some)) {
            let known = old.and_then(|old| old.known(project, environment));
            let sum = |(name, document): (&ServiceName, &Arc<_>)| {
                let known = known.filter(|_| {
                    old.and_then(|old| old.services.get(name)).is_some_and(|old| Arc::ptr_eq(old, document))
                });
                let known = known.and_then(|sums| sums.get(name)).cloned();
                (
                    name.clone(),
                    known.unwrap_or_else(|| Arc::new(repository.sum(project, environment, name, None, None))),
                )
            };
            let sums: Sums = project.services.iter().map(sum).collect();
            all.push((project.name.clone(), environment.cloned(), sums));
        }
    }
    for (project, environment, sums) in all {
        let Some(project) = repository.projects.get_mut(&project) else { continue };
        match environment {
            Some(name) => {
                if let Some(environment) = project.environments.get_mut(&name) {
                    environment.sums = sums;
                }
            }
            None => project.sums = sums,
        }
    }
}

impl Project {
    /// The sums of one environment, or of none.
    pub(super) fn sums(&self, environment: Option<&EnvironmentName>) -> Option<&Sums> {
        match environment {
            Some(name) => self.environments.get(name).map(|environment| &environment.sums),
            None => Some(&self.sums),
        }
    }

    /// The sums of an environment whose document is still the same in `new`.
    fn known(&self, new: &Self, environment: Option<&EnvironmentName>) -> Option<&Sums> {
        let document = |project: &Self| Some(Arc::clone(&project.environments.get(environment?)?.document));
        match (document(self), document(new)) {
            (Some(old), Some(new)) if !Arc::ptr_eq(&old, &new) => None,
            _ => self.sums(environment),
        }
    }
}

impl Repository {
    /// Sums up the layers of a service in an environment.
    ///
    /// `app` is the `.branchline/service.yaml` of its app repository, `preview` the patch of a preview.
    ///
    /// # Errors
    /// What the sum lacks or contradicts, at the place of the service.
    pub fn effective(
        &self,
        project: &Project,
        environment: Option<&EnvironmentName>,
        service: &ServiceName,
        app: Option<&Node>,
        preview: Option<&Node>,
    ) -> Result<Arc<Effective>, Vec<Problem>> {
        let known = project.sums(environment).and_then(|sums| sums.get(service));
        match known.filter(|_| app.is_none() && preview.is_none()) {
            Some(sum) => sum.checked(),
            None => self.sum(project, environment, service, app, preview).checked(),
        }
    }

    fn sum(
        &self,
        project: &Project,
        environment: Option<&EnvironmentName>,
        service: &ServiceName,
        app: Option<&Node>,
        preview: Option<&Node>,
    ) -> Sum {
        match self.layers(project, environment, service, app, preview) {
            Ok(effective) => {
                let mut problems = rules::of_service(service, &effective, &project.services[service]);
                problems.extend(check::variables_in_a_circle(&effective));
                Sum { effective: Some(Arc::new(effective)), problems }
            }
            Err(problems) => Sum { effective: None, problems },
        }
    }

    /// The sum of the layers, whether or not it keeps the rules.
    fn layers(
        &self,
        project: &Project,
        environment: Option<&EnvironmentName>,
        service: &ServiceName,
        app: Option<&Node>,
        preview: Option<&Node>,
    ) -> Result<Effective, Vec<Problem>> {
        let Some(document) = project.services.get(service) else {
            let place = project.document.name_place().clone();
            return Err(vec![Problem::new(place, format!("there is no sound service `{service}`"))]);
        };
        let own = document.node.get("spec");
        let defaults = |node: Option<&Node>| node.and_then(|n| n.at("/spec/defaults/service")).cloned();
        let patch = environment
            .and_then(|name| project.environments.get(name))
            .and_then(|e| e.document.node.at("/spec/services"))
            .and_then(|services| services.get(service.as_str()));
        let app = app.map(|node| self.allowed(node));
        let layers = [
            defaults(self.config.as_ref().map(|c| &c.node)),
            defaults(Some(&project.document.node)),
            app,
            own.cloned(),
            patch.cloned(),
            preview.cloned(),
        ];
        let kind =
            layers.iter().flatten().rev().find_map(|layer| layer.get("type")?.as_str().map(str::to_owned));
        let mut sum = built_in(kind.as_deref().unwrap_or_default());
        for layer in layers.iter().flatten() {
            sum = overlay(sum, layer, false);
        }
        let at = || document.place("/spec").clone();
        let spec: ServiceSpec = serde_json::from_value(sum.to_json()).map_err(|error| {
            vec![Problem::new(at(), format!("the service `{service}` does not add up: {error}"))]
        })?;
        let Some(kind) = spec.kind else {
            let problem = Problem::new(at(), format!("the service `{service}` has no `type`"));
            return Err(vec![problem.hint("one of web, private, worker, cron, job, static")]);
        };
        let references = check::references(&sum);
        let references =
            references.into_iter().map(|(node, reference)| (node.place.clone(), reference)).collect();
        Ok(Effective { spec, kind, node: sum, references })
    }

    /// The fields of an app repository's file that the config lets it set.
    fn allowed(&self, app: &Node) -> Node {
        let fields = self.app_repo_fields();
        let entries = app.entries().iter().filter(|(key, _)| fields.contains(&key.name)).cloned().collect();
        Node { place: app.place.clone(), value: NodeValue::Map(entries) }
    }

    /// The fields that `.branchline/service.yaml` may set.
    #[must_use]
    pub fn app_repo_fields(&self) -> Vec<String> {
        const DEFAULT: [&str; 6] = ["build", "command", "args", "ports", "healthCheck", "hooks"];
        let set = self.config.as_ref().and_then(|c| c.spec.app_repo_fields.clone());
        set.unwrap_or_else(|| DEFAULT.map(str::to_owned).to_vec())
    }
}

/// The built-in layer of services that do not listen, that listen, and on a schedule.
static LAYERS: LazyLock<[Node; 3]> = LazyLock::new(|| {
    let place = Place { file: "built-in".into(), line: 1, column: 1 };
    let parse =
        |text: &str| read("built-in", text, &Limits::config()).expect("the built-in layer is YAML").remove(0);
    let listens = parse(&format!("{BUILT_IN}{LISTENS}"));
    let cron = overlay(parse(BUILT_IN), &parse(CRON), false);
    [parse(BUILT_IN), listens, cron].map(|layer| Node::from_json(&layer.to_json(), &place))
});

fn built_in(kind: &str) -> Node {
    let layer = match kind {
        "web" | "private" | "static" => 1,
        "cron" => 2,
        _ => 0,
    };
    LAYERS[layer].clone()
}

/// Lays a patch over a value. `whole` says that the entries of this map are replaced, not merged.
fn overlay(base: Node, patch: &Node, whole: bool) -> Node {
    let (NodeValue::Map(mut entries), NodeValue::Map(changes)) = (base.value, &patch.value) else {
        return patch.clone();
    };
    for (key, change) in changes {
        let at = entries.iter().position(|(k, _)| k.name == key.name);
        if change.is_null() {
            if let Some(at) = at {
                entries.remove(at);
            }
            continue;
        }
        match at {
            Some(at) if !whole => {
                let old = std::mem::replace(&mut entries[at].1, change.clone());
                entries[at].1 = overlay(old, change, key.name == "env");
                entries[at].0 = key.clone();
            }
            Some(at) => entries[at] = (key.clone(), without_nulls(change)),
            None => entries.push((key.clone(), without_nulls(change))),
        }
    }
    // a map that was extended keeps the origin of its nearest layer
    Node { place: patch.place.clone(), value: NodeValue::Map(entries) }
}

/// A `null` that removes nothing leaves nothing.
fn without_nulls(node: &Node) -> Node {
    let value = match &node.value {
        NodeValue::Map(entries) => NodeValue::Map(
            entries
                .iter()
                .filter(|(_, n)| !n.is_null())
                .map(|(k, n)| (k.clone(), without_nulls(n)))
                .collect(),
        ),
        other => other.clone(),
    };
    Node { place: node.place.clone(), value }
}
