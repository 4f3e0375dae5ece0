//! Verbs that need no server: `validate`, `render`, `explain`, `schema`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};

use super::output::{Exit, Format, Output, ends, print, print_value, say};
use super::{ConfigPath, folder};
use crate::config::{Repository, Severity, explain, schema};
use crate::desired::{self, ArtifactSource, Environment, Found, Hosts, Inputs, Runtime, Service};
use crate::name::{EnvironmentName, ProjectName, Revision, ServiceName};
use crate::render::{self, TemplateFile, TemplateSet};

/// Stands for every revision, since a folder on disk has none.
const NO_REVISION: &str = "0000000000000000000000000000000000000000";

/// How the problems of a config repository are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Problems {
    Text,
    Json,
    Yaml,
    Github,
    Name,
}

#[derive(clap::Args)]
pub(super) struct Validate {
    #[command(flatten)]
    at: ConfigPath,
    /// text, json, yaml, name for the files alone, or github for annotations of a workflow
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Problems::Text)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    output: Problems,
}

impl Validate {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let repository = folder::load(&self.at.path)?;
        let errors = repository.errors().count();
        match self.output {
            Problems::Json => print_value(&problems_as_json(&repository), Format::Json),
            Problems::Yaml => print_value(&problems_as_json(&repository), Format::Yaml),
            Problems::Github => repository.problems.iter().for_each(|problem| print(&annotation(problem))),
            Problems::Name => {
                let files: BTreeSet<_> =
                    repository.problems.iter().map(|problem| &problem.place.file).collect();
                files.iter().for_each(|file| print(&format!("{file}\n")));
            }
            Problems::Text => {
                repository.problems.iter().for_each(|problem| print(&format!("{problem}\n")));
                say(&summary(&repository, errors));
            }
        }
        Ok(if errors == 0 { Exit::Ok } else { Exit::Usage })
    }
}

/// A problem as a command to a workflow
/// (<https://docs.github.com/actions/reference/workflow-commands-for-github-actions>).
fn annotation(problem: &crate::config::Problem) -> String {
    let word = if problem.severity == Severity::Warning { "warning" } else { "error" };
    let hint = problem.hint.as_deref().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
    let message = format!("{}{hint}", problem.message).replace('%', "%25").replace('\n', "%0A");
    let place = &problem.place;
    format!("::{word} file={},line={},col={}::{message}\n", place.file, place.line, place.column)
}

fn summary(repository: &Repository, errors: usize) -> String {
    let count = |n: usize, noun: &str| if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") };
    let projects = repository.projects.values();
    let services: usize = projects.clone().map(|project| project.services.len()).sum();
    let environments: usize = projects.map(|project| project.environments.len()).sum();
    let found = format!(
        "{}, {}, {}",
        count(repository.projects.len(), "project"),
        count(services, "service"),
        count(environments, "environment")
    );
    match (errors, repository.problems.len() - errors) {
        (0, 0) => format!("Valid: {found}."),
        (0, warnings) => format!("Valid, with {}: {found}.", count(warnings, "warning")),
        (errors, _) => format!("{}; sound: {found}.", count(errors, "error")),
    }
}

fn problems_as_json(repository: &Repository) -> Value {
    let problem = |problem: &crate::config::Problem| {
        json!({
            "file": &*problem.place.file,
            "line": problem.place.line,
            "column": problem.place.column,
            "severity": problem.severity,
            "message": problem.message,
            "hint": problem.hint,
        })
    };
    json!({"valid": repository.errors().next().is_none(), "problems": repository.problems.iter().map(problem).collect::<Vec<_>>()})
}

#[derive(clap::Args)]
pub(super) struct Render {
    /// The service
    service: String,
    #[command(flatten)]
    at: ConfigPath,
    /// The environment
    #[arg(short, long, value_name = "ENV")]
    environment: String,
    /// The project, where there are several
    #[arg(short, long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Render {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let repository = folder::load(&self.at.path)?;
        let (project, name, environment) =
            find(&repository, self.project.as_deref(), &self.service, Some(&self.environment))?;
        let environment = environment.expect("an environment was asked for");
        let environments = on_disk(&repository);
        let found = environments.iter().find(|e| e.project == project && e.name == environment);
        let Some(found) = found else {
            return Err(ends(Exit::Usage, "the config is broken; hint: run `branchline validate`"));
        };
        if let Some(problems) = found.broken.get(&name) {
            problems.iter().for_each(|problem| say(&problem.to_string()));
            return Ok(Exit::Usage);
        }
        say("The revision and the image stand for those of Git, which a folder on disk does not have.");
        let manifests = rendered(&repository, &found.services[&name])?;
        match self.output.format {
            Format::Json => print_value(
                &manifests.iter().map(|manifest| manifest.object().clone()).collect(),
                Format::Json,
            ),
            Format::Name => manifests.iter().for_each(|manifest| print(&format!("{}\n", manifest.key()))),
            Format::Text | Format::Wide | Format::Yaml => {
                let document = |manifest: &render::Manifest| {
                    format!("# {}\n{}", manifest.place(), crate::yaml::write(manifest.object()))
                };
                print(&manifests.iter().map(document).collect::<Vec<_>>().join("---\n"));
            }
        }
        Ok(Exit::Ok)
    }
}

fn rendered(repository: &Repository, service: &Service) -> anyhow::Result<Vec<render::Manifest>> {
    let Some(run) = service.run() else { return Ok(Vec::new()) };
    let mut values = run.values.clone();
    values["image"] = match &run.artifact {
        ArtifactSource::Image(image) => json!(image),
        ArtifactSource::Tree(_) => json!(format!("folder:{}", "0".repeat(64))),
    };
    let files: Vec<TemplateFile> =
        repository.templates.iter().filter_map(crate::reconcile::template_file).collect();
    let templates = TemplateSet::load(&files, None);
    render::render(&templates, &service.template, &values).map_err(|errors| {
        let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
        ends(Exit::Usage, text.join("\n"))
    })
}

/// What should exist, with every question to Git answered by the same revision.
fn on_disk(repository: &Repository) -> Vec<Arc<Environment>> {
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

#[derive(clap::Args)]
pub(super) struct Explain {
    /// The service
    service: String,
    #[command(flatten)]
    at: ConfigPath,
    /// The environment; without one, what all environments begin with
    #[arg(short, long, value_name = "ENV")]
    environment: Option<String>,
    /// The project, where there are several
    #[arg(short, long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        let repository = folder::load(&self.at.path)?;
        let found = find(&repository, self.project.as_deref(), &self.service, self.environment.as_deref())?;
        let (project, name, environment) = found;
        match repository.effective(&repository.projects[&project], environment.as_ref(), &name, None, None) {
            Ok(sum) => {
                match self.output.format {
                    Format::Json | Format::Yaml => print_value(&sum.node.to_json(), self.output.format),
                    Format::Name => print(&format!("{project}/{name}\n")),
                    Format::Text | Format::Wide => print(&explain(&sum.node)),
                }
                Ok(Exit::Ok)
            }
            Err(problems) => {
                problems.iter().for_each(|problem| say(&problem.to_string()));
                Ok(Exit::Usage)
            }
        }
    }
}

/// The project, service and environment that a verb is about.
fn find(
    repository: &Repository,
    project: Option<&str>,
    service: &str,
    environment: Option<&str>,
) -> anyhow::Result<(ProjectName, ServiceName, Option<EnvironmentName>)> {
    let mut candidates =
        repository.projects.values().filter(|p| project.is_none_or(|name| p.name.as_str() == name));
    let with_service = |p: &&crate::config::Project| p.services.keys().any(|s| s.as_str() == service);
    let Some(found) = candidates.find(with_service) else {
        let file = format!("/services/{service}.yaml");
        let broken: Vec<_> =
            repository.errors().filter(|problem| problem.place.file.ends_with(&file)).collect();
        if !broken.is_empty() {
            broken.iter().for_each(|problem| say(&problem.to_string()));
            return Err(ends(Exit::Usage, format!("the file of `{service}` is broken")));
        }
        let known: Vec<_> =
            repository.projects.values().flat_map(|p| p.services.keys().map(ToString::to_string)).collect();
        let hint = if known.is_empty() {
            "the config has no services".to_owned()
        } else {
            format!("there is {}", known.join(", "))
        };
        return Err(ends(Exit::NotFound, format!("there is no service `{service}`; hint: {hint}")));
    };
    let name = found.services.keys().find(|s| s.as_str() == service).cloned().expect("it was just found");
    let environment = match environment {
        None => None,
        Some(wanted) => match found.environments.keys().find(|e| e.as_str() == wanted) {
            Some(environment) => Some(environment.clone()),
            None => {
                let known: Vec<_> = found.ordered_environments().iter().map(ToString::to_string).collect();
                return Err(ends(
                    Exit::NotFound,
                    format!("there is no environment `{wanted}`; hint: there is {}", known.join(", ")),
                ));
            }
        },
    };
    Ok((found.name.clone(), name, environment))
}

#[derive(clap::Args)]
pub(super) struct SchemaVerb {
    /// The kind, such as Service; without one, all of them
    kind: Option<String>,
    /// Writes all schemas to this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

impl SchemaVerb {
    pub(super) fn run(self) -> anyhow::Result<Exit> {
        if let Some(folder) = self.write {
            for (name, text) in schema::files() {
                std::fs::write(folder.join(name), text)?;
            }
            return Ok(Exit::Ok);
        }
        match self.kind {
            None => {
                let all: BTreeMap<_, _> =
                    schema::Kind::ALL.iter().map(|kind| (kind.as_str(), schema::schema(*kind))).collect();
                print_value(&json!(all), Format::Json);
            }
            Some(word) => match schema::Kind::parse(&word) {
                Some(kind) => print_value(&schema::schema(kind), Format::Json),
                None => {
                    let kinds = schema::Kind::ALL.map(schema::Kind::as_str).join(", ");
                    return Err(ends(Exit::NotFound, format!("there is no kind `{word}`; hint: {kinds}")));
                }
            },
        }
        Ok(Exit::Ok)
    }
}
