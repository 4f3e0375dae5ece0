//! Verbs that need no server: `validate`, `render`, `explain`, `schema`.

mod disk;
mod validate;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;

pub(super) use self::validate::Validate;
use super::output::{Exit, Format, Output, ends, print, print_value, say};
use super::{ConfigPath, folder};
use crate::config::{Repository, explain, schema};
use crate::name::{EnvironmentName, ProjectName, ServiceName};
use crate::render;

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
        let environments = disk::environments(&repository);
        let found = environments.iter().find(|e| e.project == project && e.name == environment);
        let Some(found) = found else {
            return Err(ends(Exit::Usage, "the config is broken; hint: run `branchline validate`"));
        };
        if let Some(problems) = found.broken.get(&name) {
            problems.iter().for_each(|problem| say(&problem.to_string()));
            return Ok(Exit::Usage);
        }
        say("The revision and the image stand for those of Git, which a folder on disk does not have.");
        let rendered = disk::render(&disk::templates(&repository), &found.services[&name]);
        let manifests = rendered.map_err(|errors| {
            let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
            ends(Exit::Usage, text.join("\n"))
        })?;
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
            let refused = || format!("{} cannot be written to; hint: name another folder", folder.display());
            std::fs::create_dir_all(&folder).with_context(refused)?;
            for (name, text) in schema::files() {
                std::fs::write(folder.join(name), text).with_context(refused)?;
            }
            return Ok(Exit::Ok);
        }
        match self.kind {
            None => {
                let all: BTreeMap<_, _> =
                    schema::Kind::ALL.iter().map(|kind| (kind.as_str(), schema::schema(*kind))).collect();
                print_value(&json!(all), Format::Json);
            }
            Some(word) => {
                match schema::Kind::ALL.iter().find(|kind| kind.as_str().eq_ignore_ascii_case(&word)) {
                    Some(kind) => print_value(&schema::schema(*kind), Format::Json),
                    None => {
                        let kinds = schema::Kind::ALL.map(schema::Kind::as_str).join(", ");
                        return Err(ends(
                            Exit::NotFound,
                            format!("there is no kind `{word}`; hint: there is {kinds}"),
                        ));
                    }
                }
            }
        }
        Ok(Exit::Ok)
    }
}
