//! What was made the last time, so that only what changed is made anew. It saves work and decides nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Environment, Inputs, Service, Wanted, broken_documents, compose};
use crate::config::environment::Release;
use crate::config::{Effective, Problem, Project};
use crate::name::{EnvironmentName, ProjectName, Revision, ServiceName};
use crate::yaml::Node;

/// The environments of an earlier call of [`super::desired`].
#[derive(Default)]
pub struct Memory(BTreeMap<(ProjectName, EnvironmentName), Known>);

/// An environment and what it was made of.
struct Known {
    frame: Frame,
    services: BTreeMap<ServiceName, (Ingredients, Arc<Service>)>,
    environment: Arc<Environment>,
}

/// What every service of an environment is made of.
#[derive(PartialEq)]
struct Frame {
    /// The environment without its services.
    environment: Environment,
    /// The last environment in the order of promotion, which domains belong to.
    last: Option<EnvironmentName>,
}

/// What one service is made of.
struct Ingredients {
    /// The sum of its layers without the app repository's file, in the environment or in the base of the preview. It is
    /// another one as soon as one of its documents, or those of its project or environment, is.
    sum: Arc<Effective>,
    /// The app repository's file.
    app: Option<Node>,
    /// Both together.
    effective: Arc<Effective>,
    /// The services that it refers to or takes its artifact from.
    others: Vec<Option<Arc<Effective>>>,
    revision: Result<Option<Revision>, Wanted>,
    release: Option<Release>,
}

impl PartialEq for Ingredients {
    fn eq(&self, other: &Self) -> bool {
        // sums that were not made anew are the very same
        let same = |(one, other): (&Option<Arc<Effective>>, &Option<Arc<Effective>>)| match (one, other) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        Arc::ptr_eq(&self.sum, &other.sum)
            && (&self.app, &self.revision, &self.release) == (&other.app, &other.revision, &other.release)
            && self.others.len() == other.others.len()
            && self.others.iter().zip(&other.others).all(same)
    }
}

/// An environment that is being put together.
pub(super) struct Making<'a> {
    inputs: &'a Inputs<'a>,
    project: &'a Project,
    /// The environment whose documents count: itself, or what a preview is a copy of.
    base: &'a EnvironmentName,
    frame: Frame,
    environment: Environment,
    /// The environment as it was, and whether its services may be taken over.
    before: Option<(&'a Known, bool)>,
    services: BTreeMap<ServiceName, (Ingredients, Arc<Service>)>,
}

impl<'a> Making<'a> {
    pub(super) fn new(
        inputs: &'a Inputs<'a>,
        project: &'a Project,
        base: &'a EnvironmentName,
        environment: Environment,
        before: &'a Memory,
    ) -> Self {
        let mut frame = Frame {
            // a file that cannot be read stops removals, and changes no service
            environment: Environment { absence_is_proven: true, ..environment.clone() },
            last: project.ordered_environments().last().copied().cloned(),
        };
        if environment.preview.is_none() {
            // only a preview reaches services that are not its own
            frame.environment.members.clear();
        }
        let known = before.0.get(&(environment.project.clone(), environment.name.clone()));
        let before = known.map(|known| (known, known.frame == frame));
        Self { inputs, project, base, frame, environment, before, services: BTreeMap::new() }
    }

    /// Adds a service. `revision` says what runs, by the sum of its layers.
    pub(super) fn add(
        &mut self,
        name: &ServiceName,
        app: Option<&Node>,
        revision: impl FnOnce(&Effective) -> (Result<Option<Revision>, Wanted>, Option<Release>),
    ) {
        match self.service(name, app, revision) {
            Ok(service) => drop(self.environment.services.insert(name.clone(), service)),
            Err(problems) => drop(self.environment.broken.insert(name.clone(), problems)),
        }
    }

    fn service(
        &mut self,
        name: &ServiceName,
        app: Option<&Node>,
        revision: impl FnOnce(&Effective) -> (Result<Option<Revision>, Wanted>, Option<Release>),
    ) -> Result<Arc<Service>, Vec<Problem>> {
        let (config, project) = (self.inputs.config, self.project);
        let effective = |name: &ServiceName, app| config.effective(project, Some(self.base), name, app, None);
        let known = self.before.filter(|(_, same)| *same).and_then(|(known, _)| known.services.get(name));
        let sum = effective(name, None)?;
        let whole = match known {
            _ if app.is_none() => Arc::clone(&sum),
            Some((of, _)) if Arc::ptr_eq(&of.sum, &sum) && of.app.as_ref() == app => {
                Arc::clone(&of.effective)
            }
            _ => effective(name, app)?,
        };
        let named = whole.refers_to().into_iter().filter_map(|name| name.parse().ok());
        let mut others: Vec<_> = named.map(|name| effective(&name, None).ok()).collect();
        let from = whole.spec.build.as_ref().and_then(|build| build.from.as_ref()?.parse().ok());
        others.extend(from.map(|from| config.effective(project, None, &from, None, None).ok()));
        let (revision, release) = revision(&whole);
        let of = Ingredients { sum, app: app.cloned(), effective: whole, others, revision, release };
        let service = match known {
            Some((old, service)) if *old == of => Arc::clone(service),
            _ => {
                let (effective, revision) = (Arc::clone(&of.effective), of.revision.clone());
                let (inputs, environment) = (self.inputs, &self.environment);
                Arc::new(compose(
                    inputs,
                    project,
                    environment,
                    name,
                    effective,
                    revision,
                    of.release.clone(),
                )?)
            }
        };
        self.services.insert(name.clone(), (of, Arc::clone(&service)));
        Ok(service)
    }
}

impl Memory {
    /// Takes a finished environment in; one that is as it was stays the very same.
    pub(super) fn keep(&mut self, making: Making<'_>) -> Arc<Environment> {
        let Making { inputs, project, frame, mut environment, before, services, .. } = making;
        broken_documents(inputs, project, &mut environment);
        let old = before.map(|(known, _)| &known.environment).filter(|old| ***old == environment);
        let environment = old.map_or_else(|| Arc::new(environment), Arc::clone);
        let key = (environment.project.clone(), environment.name.clone());
        self.0.insert(key, Known { frame, services, environment: Arc::clone(&environment) });
        environment
    }
}
