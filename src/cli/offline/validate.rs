//! `validate`: everything that is wrong with a config repository as it lies on disk, its templates included.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::super::output::{Exit, Format, print, print_value, say};
use super::super::{ConfigPath, folder};
use super::disk;
use crate::config::{Repository, Severity};

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
pub(in crate::cli) struct Validate {
    #[command(flatten)]
    at: ConfigPath,
    /// text, json, yaml, name for the files alone, or github for annotations of a workflow
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t = Problems::Text)]
    #[arg(hide_possible_values = true, hide_default_value = true)]
    output: Problems,
}

impl Validate {
    pub(in crate::cli) fn run(self) -> anyhow::Result<Exit> {
        let mut repository = folder::load(&self.at.path)?;
        let of_templates = disk::problems(&repository);
        repository.problems.extend(of_templates);
        repository.problems.sort_by(|a, b| (&a.place, &a.message).cmp(&(&b.place, &b.message)));
        // what takes down two services is one mistake
        repository.problems.dedup_by(|b, a| (&a.place, &a.message) == (&b.place, &b.message));
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
        (errors, _) => format!("{}; could be read: {found}.", count(errors, "error")),
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
