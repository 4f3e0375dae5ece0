//! What references give in one service of one environment.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::values;
use super::{ArtifactSource, BuildRequest, Environment, Inputs, Run, Runtime, Service, build_of, number};
use crate::config::environment::Release;
use crate::config::reference::{Interpolated, Piece, Reference, ReferenceNamespace};
use crate::config::value::{Variable, VariableSource};
use crate::config::{Problem, Project};
use crate::name::{LABEL, Namespace, Revision, ServiceName, k8s_name};
use crate::yaml::{Node, Place};

/// The Secret of an environment that holds what its owners put there.
pub(super) const SECRETS: &str = "branchline-secrets";
/// The Secret of an environment that holds what was made once.
pub(super) const GENERATED: &str = "branchline-generated";
/// How deep variables may refer to variables; the check has refused circles.
const DEPTH: u32 = 50;

/// What a service is put together from.
pub(super) struct Context<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) project: &'a Project,
    pub(super) environment: &'a Environment,
    pub(super) service: &'a Service,
    pub(super) revision: Option<&'a Revision>,
}

/// A value that a reference gives: a text, or a key of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Given {
    Text(String),
    Secret { name: &'static str, key: String },
}

impl Context<'_> {
    /// Puts the run together: the artifact, the values and the secrets that must be made.
    pub(super) fn run(
        &self,
        revision: Option<Revision>,
        release: Option<Release>,
    ) -> Result<(Run, BTreeMap<String, u32>), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut generated = BTreeMap::new();
        let env = self.variables(&mut problems, &mut generated);
        let resolved = self.resolved(&self.service.effective.node, &mut problems);
        let artifact = self.artifact(&resolved, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let values = values::of(self, &resolved, &env);
        Ok((
            Run { revision, artifact: artifact.expect("without problems there is one"), values, release },
            generated,
        ))
    }

    fn artifact(&self, resolved: &Value, problems: &mut Vec<Problem>) -> Option<ArtifactSource> {
        let effective = &self.service.effective;
        if let Some(image) = resolved["image"].as_str() {
            if self.environment.runtime == Runtime::Process {
                let place = effective.node.nearest("/image").clone();
                let problem =
                    Problem::new(place, "a service with an `image` needs a cluster or the Docker runtime");
                problems.push(
                    problem.hint("this environment runs as processes of this machine: give it a `source`"),
                );
                return None;
            }
            return match image.parse() {
                Ok(image) => Some(ArtifactSource::Image(image)),
                Err(error) => {
                    let place = effective.node.nearest("/image").clone();
                    let problem = Problem::new(place, error.to_string());
                    problems.push(problem.hint("a commit makes a good tag: `:${{ git.sha }}`"));
                    None
                }
            };
        }
        let from = effective.spec.build.as_ref().and_then(|build| build.from.clone());
        let builder = from.and_then(|from| {
            let name: ServiceName = from.parse().ok()?;
            self.inputs.config.effective(self.project, None, &name, None, None).ok()
        });
        let (context, path, command) = build_of(builder.as_ref().unwrap_or(effective));
        let args =
            builder.as_ref().unwrap_or(effective).spec.build.as_ref().and_then(|build| build.args.clone());
        let args = args
            .into_iter()
            .flatten()
            .filter_map(|(key, text)| Some((key, self.text(&text, &effective.node.place, 0, problems)?)));
        Some(ArtifactSource::Tree(BuildRequest {
            repo: effective.spec.source.as_ref()?.repo.clone()?,
            revision: self.revision?.clone(),
            context,
            path,
            command,
            args: args.collect(),
        }))
    }

    /// The environment of the service, as a template takes it.
    fn variables(&self, problems: &mut Vec<Problem>, generated: &mut BTreeMap<String, u32>) -> Vec<Value> {
        let variables = self.service.effective.spec.env.iter().flatten();
        let mut env = Vec::new();
        for (name, variable) in variables {
            let Some(variable) = variable else { continue };
            let place = self.service.effective.node.nearest(&format!("/env/{name}")).clone();
            if let Variable::From(VariableSource { generate: Some(how), .. }) = variable {
                generated.insert(self.generated_key(name), how.length);
            }
            match self.variable(name, variable, &place, 0, problems) {
                Some(Given::Text(value)) => env.push(json!({"name": name, "value": value})),
                Some(Given::Secret { name: secret, key }) => {
                    env.push(json!({"name": name, "secret": {"name": secret, "key": key}}))
                }
                None => {}
            }
        }
        env
    }

    fn generated_key(&self, variable: &str) -> String {
        format!("{}.{variable}", self.service.object_name)
    }

    fn variable(
        &self,
        name: &str,
        variable: &Variable,
        place: &Place,
        depth: u32,
        problems: &mut Vec<Problem>,
    ) -> Option<Given> {
        match variable {
            Variable::From(VariableSource { secret: Some(key), .. }) => {
                Some(Given::Secret { name: SECRETS, key: key.clone() })
            }
            Variable::From(_) => Some(Given::Secret { name: GENERATED, key: self.generated_key(name) }),
            Variable::Text(text) => {
                let parsed = Interpolated::parse(text).ok()?;
                if let [Piece::Reference(reference)] = parsed.pieces.as_slice() {
                    return self.given(reference, place, depth, problems);
                }
                self.text(text, place, depth, problems).map(Given::Text)
            }
        }
    }

    /// A text with its references resolved. A secret cannot be a part of a text.
    fn text(&self, text: &str, place: &Place, depth: u32, problems: &mut Vec<Problem>) -> Option<String> {
        let parsed = Interpolated::parse(text).ok()?;
        let resolved = parsed.resolve(|reference| match self.given(reference, place, depth, problems) {
            Some(Given::Text(value)) => Ok(value),
            Some(Given::Secret { .. }) => {
                let problem = Problem::new(
                    place.clone(),
                    format!("{reference} is a secret and cannot be a part of a text"),
                );
                problems
                    .push(problem.hint("give it a variable of its own, and put them together in the app"));
                Err(())
            }
            None => Err(()),
        });
        resolved.ok()
    }

    /// What a reference gives here.
    fn given(
        &self,
        reference: &Reference,
        place: &Place,
        depth: u32,
        problems: &mut Vec<Problem>,
    ) -> Option<Given> {
        let text = |text: String| Some(Given::Text(text));
        let document = |problems: &mut Vec<Problem>| {
            problems.push(Problem::new(place.clone(), format!("{reference} has no value here")));
            None
        };
        if depth > DEPTH {
            return document(problems);
        }
        let environment = self.environment;
        match (reference.namespace, reference.key.as_str()) {
            (ReferenceNamespace::Services | ReferenceNamespace::Sibling, key) => {
                let given = reference.name.parse().ok().and_then(|name| self.output(&name, key));
                given.map_or_else(|| document(problems), text)
            }
            (ReferenceNamespace::Shared, key) => {
                let shared = self.shared(key);
                match shared {
                    Some((variable, place)) => self.variable(key, &variable, &place, depth + 1, problems),
                    None => document(problems),
                }
            }
            (ReferenceNamespace::Env, key) => {
                let variable =
                    self.service.effective.spec.env.as_ref().and_then(|env| env.get(key)).cloned().flatten();
                match variable {
                    Some(variable) => self.variable(key, &variable, place, depth + 1, problems),
                    None => document(problems),
                }
            }
            (ReferenceNamespace::Git, "branch") => {
                text(super::branch_of(&self.service.effective).to_string())
            }
            (ReferenceNamespace::Git, key) => match self.revision {
                Some(revision) => {
                    text(if key == "sha" { revision.to_string() } else { revision.short().to_owned() })
                }
                None => document(problems),
            },
            (ReferenceNamespace::Project, _) => text(self.project.name.to_string()),
            (ReferenceNamespace::Environment, "namespace") => text(environment.namespace.to_string()),
            (ReferenceNamespace::Environment, _) => text(environment.name.to_string()),
            (ReferenceNamespace::Preview, _) => {
                text(number(environment).map(|n| n.to_string()).unwrap_or_default())
            }
            (ReferenceNamespace::Secrets, key) => Some(Given::Secret { name: SECRETS, key: key.to_owned() }),
            (ReferenceNamespace::Addons, _) => document(problems),
        }
    }

    fn shared(&self, key: &str) -> Option<(Variable, Place)> {
        let base = self
            .environment
            .preview
            .as_ref()
            .and_then(|_| super::preview::base(self.project))
            .unwrap_or(&self.environment.name);
        let document = &self.project.environments.get(base)?.document;
        let variable = document.spec.shared.as_ref()?.get(key)?.clone()?;
        Some((variable, document.place(&format!("/spec/shared/{key}")).clone()))
    }

    /// An output of another service: in a preview, of the preview's own one where it has it, else of the base's.
    fn output(&self, name: &ServiceName, key: &str) -> Option<String> {
        let base = super::preview::base(self.project).filter(|_| self.environment.preview.is_some());
        let effective = self
            .inputs
            .config
            .effective(self.project, Some(base.unwrap_or(&self.environment.name)), name, None, None)
            .ok()?;
        let here = self.environment.preview.is_none() || self.environment.members.contains(name);
        let namespace = if here { self.environment.namespace.clone() } else { self.base_namespace(base?) };
        let object = k8s_name(&[name.as_str()], LABEL);
        let (host, port) = match self.environment.runtime {
            Runtime::Process => ("127.0.0.1".to_owned(), (self.inputs.addresses)(&namespace, &object)),
            Runtime::Cluster => (format!("{object}.{namespace}.svc"), 80),
        };
        let public = || {
            let base_environment = base.map(|base| super::empty(self.inputs, self.project, base, None));
            let environment = if here { self.environment } else { base_environment.as_ref()? };
            super::host::of_service(self.inputs, self.project, environment, name, &effective)
                .into_iter()
                .next()
        };
        match key {
            "url" if port == 80 => Some(format!("http://{host}")),
            "url" => Some(format!("http://{host}:{port}")),
            "host" => Some(host),
            "port" => Some(port.to_string()),
            "publicHost" => public(),
            "publicUrl" => public().map(|host| self.inputs.hosts.url(self.environment.runtime, &host)),
            _ => None,
        }
    }

    fn base_namespace(&self, base: &crate::name::EnvironmentName) -> Namespace {
        super::empty(self.inputs, self.project, base, None).namespace
    }

    /// The sum with every text resolved, as JSON.
    fn resolved(&self, node: &Node, problems: &mut Vec<Problem>) -> Value {
        let mut value = node.to_json();
        if let Some(map) = value.as_object_mut() {
            // variables and build arguments have rules of their own
            map.remove("env");
            map.remove("build");
        }
        self.resolve_in(&mut value, node, "", problems);
        value
    }

    fn resolve_in(&self, value: &mut Value, node: &Node, pointer: &str, problems: &mut Vec<Problem>) {
        match value {
            Value::String(text) if text.contains("${{") => {
                let place = node.nearest(pointer).clone();
                if let Some(resolved) = self.text(text, &place, 0, problems) {
                    *text = resolved;
                }
            }
            Value::Array(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.resolve_in(item, node, &format!("{pointer}/{i}"), problems);
                }
            }
            Value::Object(map) => {
                for (key, item) in map.iter_mut() {
                    let step = key.replace('~', "~0").replace('/', "~1");
                    self.resolve_in(item, node, &format!("{pointer}/{step}"), problems);
                }
            }
            _ => {}
        }
    }
}
