//! The layers of a service, and their sum with the origin of every value.
//!
//! Low to high: built-in, defaults of the config, defaults of the project, the app repository's file, the service,
//! the environment's patch, the preview's patch. Maps merge deep, lists replace, `null` removes. A variable of the
//! environment is replaced whole, so that a secret never keeps half of a text.

use super::problem::Problem;
use super::service::{ServiceSpec, ServiceType};
use super::{Project, Repository};
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
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The sum, typed.
    pub spec: ServiceSpec,
    /// What kind of service it is.
    pub kind: ServiceType,
    /// The sum with the origin of every value; its root is the spec.
    pub node: Node,
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
    ) -> Result<Effective, Vec<Problem>> {
        let sum = self.sum(project, environment, service, app, preview)?;
        let problems = super::rules::of_service(service, &sum, &project.services[service]);
        if problems.is_empty() { Ok(sum) } else { Err(problems) }
    }

    /// The sum of the layers, whether or not it keeps the rules.
    pub(super) fn sum(
        &self,
        project: &Project,
        environment: Option<&EnvironmentName>,
        service: &ServiceName,
        app: Option<&Node>,
        preview: Option<&Node>,
    ) -> Result<Effective, Vec<Problem>> {
        let document = &project.services[service];
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
        Ok(Effective { spec, kind, node: sum })
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

fn built_in(kind: &str) -> Node {
    let mut text = BUILT_IN.to_owned();
    if ["web", "private", "static"].contains(&kind) {
        text += LISTENS;
    }
    let parse =
        |text: &str| read("built-in", text, &Limits::config()).expect("the built-in layer is YAML").remove(0);
    let mut sum = parse(&text);
    if kind == "cron" {
        sum = overlay(sum, &parse(CRON), false);
    }
    let place = Place { file: "built-in".into(), line: 1, column: 1 };
    Node::from_json(&sum.to_json(), &place)
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
