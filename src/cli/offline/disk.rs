//! A config repository on disk as it would be rendered: with stand-ins for what only Git and builds know.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::config::{Problem, Repository};
use crate::desired::{self, ArtifactSource, Environment, Found, Hosts, Inputs, Run, Runtime, Service};
use crate::name::Revision;
use crate::render::policy::{self, Registries, Rules, Violation};
use crate::render::{self, Manifest, RenderError, TemplateFile, TemplateSet};
use crate::yaml::Place;

/// Stands for every revision, since a folder on disk has none.
const NO_REVISION: &str = "0000000000000000000000000000000000000000";
/// As many values that are missing are named of one service.
const MISSING: usize = 8;

/// What should exist, with every question to Git answered by the same revision.
pub(super) fn environments(repository: &Repository) -> Vec<Arc<Environment>> {
    let revision: Revision = NO_REVISION.parse().expect("forty digits");
    let answer = |lookup: desired::Lookup| {
        let found = Found::Revision {
            revision: revision.clone(),
            head: revision.clone(),
            changed: true,
            app_file: None,
        };
        (lookup.key, found)
    };
    let found: BTreeMap<_, _> =
        desired::lookups(repository, &[], |_, _| false).into_iter().map(answer).collect();
    let pinned = every_pin(repository);
    let inputs = Inputs {
        config: &pinned,
        found: &found,
        pulls: &[],
        deployed: &|_, _, _| None,
        embedded: Runtime::Process,
        trust_pull_requests: false,
        hosts: &Hosts { scheme: "https".to_owned(), port: Some(8080) },
        addresses: &|_, _| 20000,
    };
    desired::desired(&inputs, &mut desired::Memory::default())
}

/// An environment that follows releases shows what a promotion would bring, where nothing is pinned yet.
fn every_pin(repository: &Repository) -> Repository {
    let mut pinned = repository.clone();
    for project in pinned.projects.values_mut() {
        for environment in project.environments.values_mut() {
            Arc::make_mut(&mut environment.document).spec.follow = None;
        }
    }
    pinned
}

/// The templates of the repository over the built-in ones.
pub(super) fn templates(repository: &Repository) -> TemplateSet {
    let files: Vec<TemplateFile> =
        repository.templates.iter().filter_map(crate::reconcile::template_file).collect();
    TemplateSet::load(&files, None)
}

/// The manifests of a service; none where nothing of it runs.
pub(super) fn render(templates: &TemplateSet, service: &Service) -> Result<Vec<Manifest>, Vec<RenderError>> {
    match service.run() {
        Some(run) => render::render(templates, &service.template, &values(run)),
        None => Ok(Vec::new()),
    }
}

fn values(run: &Run) -> Value {
    let mut values = run.values.clone();
    values["image"] = match &run.artifact {
        ArtifactSource::Image(image) => json!(image),
        ArtifactSource::Tree(_) => json!(format!("folder:{}", "0".repeat(64))),
    };
    values
}

/// What only shows once every service of every environment is put together, rendered and held against the policy.
pub(super) fn problems(repository: &Repository) -> Vec<Problem> {
    let (registries, mut problems) = registries(repository);
    let templates = templates(repository);
    problems.extend(templates.problems().iter().map(of_template));
    let environments = environments(repository);
    problems
        .extend(environments.iter().flat_map(|environment| environment.broken.values().flatten().cloned()));
    let services =
        environments.iter().flat_map(|e| e.services.values().map(move |service| (&**e, &**service)));
    let services: Vec<_> = services.collect();
    let policy = repository.config.as_ref().and_then(|config| config.spec.policy.clone()).unwrap_or_default();
    let require_limits = policy.require_resource_limits.unwrap_or(false);
    let look = |(environment, service): &(&Environment, &Service)| match render(&templates, service) {
        Ok(manifests) => {
            let mut rules = Rules::new(environment.namespace.as_str());
            rules.hosts = service.hosts.iter().cloned().collect();
            rules.require_limits = require_limits;
            // what is built has no name yet that could be held against them
            let is_named = service.run().is_some_and(|run| matches!(run.artifact, ArtifactSource::Image(_)));
            if is_named && environment.runtime == Runtime::Cluster {
                rules.registries = registries.clone();
            }
            let violations = policy::check(&manifests, &rules).into_iter();
            (Vec::new(), violations.map(|violation| Refused::new(service, violation)).collect())
        }
        Err(errors) => (whole(&templates, service, errors), Vec::<Refused>::new()),
    };
    // rendering is most of the work, and no service waits for another
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let found: Vec<_> = std::thread::scope(|scope| {
        let parts = services.chunks(services.len().div_ceil(threads).max(1));
        let begun: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().map(look).collect::<Vec<_>>())).collect();
        begun.into_iter().flat_map(|part| part.join().expect("rendering does not panic")).collect()
    });
    let (errors, refused): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    problems.extend(errors.into_iter().flatten());
    problems.extend(of_policy(refused.into_iter().flatten()));
    problems
}

/// Where images may come from, and what is wrong with the words for that.
fn registries(repository: &Repository) -> (Registries, Vec<Problem>) {
    let Some(config) = &repository.config else { return Default::default() };
    let patterns = config.spec.policy.as_ref().and_then(|policy| policy.allowed_registries.as_deref());
    match Registries::new(patterns.unwrap_or_default()) {
        Ok(registries) => (registries, Vec::new()),
        Err(error) => {
            let place = config.place("/spec/policy/allowedRegistries").clone();
            let problem = Problem::new(place, format!("`policy.allowedRegistries`: {error}"));
            (Registries::default(), vec![problem.hint("a pattern looks like ghcr.io/acme/**")])
        }
    }
}

/// Everything that is wrong with a rendering. It ends at the first value that is missing, so it is made again with a
/// stand-in there, as long as that brings another one to light.
fn whole(templates: &TemplateSet, service: &Service, errors: Vec<RenderError>) -> Vec<Problem> {
    let missing = |error: &RenderError| match &error.problem {
        render::Problem::Missing { path, .. } => Some(path.clone()),
        _ => None,
    };
    let mut found: Vec<Problem> = errors.iter().map(|error| of_service(service, error)).collect();
    let Some(run) = service.run() else { return found };
    let (mut values, mut known, mut errors) = (values(run), BTreeSet::new(), errors);
    for _ in 0..MISSING {
        let new: Vec<_> =
            errors.iter().filter_map(missing).filter(|path| known.insert(path.clone())).collect();
        if new.is_empty() {
            break;
        }
        new.iter().for_each(|path| stand_in(&mut values, path));
        errors = render::render(templates, &service.template, &values).err().unwrap_or_default();
        // whatever else is wrong now may be so because of the stand-ins
        found.extend(errors.iter().filter(|e| missing(e).is_some()).map(|error| of_service(service, error)));
    }
    found
}

/// Puts a text where a value is missing, if that is in a map.
fn stand_in(values: &mut Value, path: &str) {
    let mut at = values;
    let steps: Vec<_> = path.split('.').filter(|step| !matches!(*step, "" | "this" | "@root")).collect();
    let Some((last, above)) = steps.split_last() else { return };
    for step in above {
        let Some(map) = at.as_object_mut() else { return };
        at = map.entry(*step).or_insert_with(|| json!({}));
    }
    if let Some(map) = at.as_object_mut() {
        map.insert((*last).to_owned(), json!("stand-in"));
    }
}

/// An error of a template, which may hold the way out in its own words.
fn of_template(error: &RenderError) -> Problem {
    let text = error.problem.to_string();
    let (message, hint) =
        text.split_once("; hint: ").map_or((&*text, error.hint), |(m, hint)| (m, Some(hint)));
    let problem = Problem::new(error.place.clone(), message);
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// An error of rendering a service, at its own file where that is what names or feeds the template.
fn of_service(service: &Service, error: &RenderError) -> Problem {
    let mut problem = of_template(error);
    let pointer = match &error.problem {
        render::Problem::NoTemplate { .. } => Some("/template/name".to_owned()),
        render::Problem::Parameter { path, .. } => Some(format!("/template/{}", path.replace('.', "/"))),
        _ => None,
    };
    problem.place = match pointer {
        Some(pointer) => service.effective.node.nearest(&pointer).clone(),
        None => mendable(service, problem.place),
    };
    problem
}

/// What the policy says of a line, where that stands, and what it says it of.
struct Refused {
    place: Place,
    object: String,
    message: String,
    hint: &'static str,
}

impl Refused {
    fn new(service: &Service, violation: Violation) -> Self {
        let Violation { object, path, place, message, hint } = violation;
        let space = if path.is_empty() { "" } else { " " };
        let (file, line) = place.rsplit_once(':').unwrap_or((&place, "1"));
        let place = Place { file: file.into(), line: line.parse().unwrap_or(1), column: 1 };
        Self { place: mendable(service, place), object, message: format!(":{space}{path} {message}"), hint }
    }
}

/// A built-in template is nobody's to mend: what is wrong then is what the service gives it.
fn mendable(service: &Service, place: Place) -> Place {
    let is_ours = place.file.starts_with("builtin/");
    if is_ours { service.effective.node.nearest("/type").clone() } else { place }
}

/// One problem for each line that the policy refuses, however many objects are made of it.
fn of_policy(refused: impl Iterator<Item = Refused>) -> Vec<Problem> {
    let mut lines: BTreeMap<(Place, String), (BTreeSet<String>, &str)> = BTreeMap::new();
    for Refused { place, object, message, hint } in refused {
        lines.entry((place, message)).or_insert_with(|| (BTreeSet::new(), hint)).0.insert(object);
    }
    let one = |((place, message), (objects, hint)): ((Place, String), (BTreeSet<String>, &str))| {
        let first = objects.first().map(String::as_str).unwrap_or_default();
        let more = match objects.len() {
            0 | 1 => String::new(),
            all => format!(" (and {} more)", all - 1),
        };
        Problem::new(place, format!("{first}{more}{message}")).hint(hint)
    };
    lines.into_iter().map(one).collect()
}
