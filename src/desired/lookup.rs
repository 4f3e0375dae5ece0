//! What must be asked of the app repositories before it is known what should exist.

use std::collections::BTreeMap;

use super::preview::PullRequest;
use super::{Wanted, branch_of, build_of};
use crate::config::{Effective, Project, Repository};
use crate::name::{BranchName, EnvironmentName, ProjectName, PullNumber, Revision, ServiceName};
use crate::yaml::{Node, Place};

/// Which question an answer belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LookupKey {
    project: ProjectName,
    service: ServiceName,
    at: At,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    /// The branch that an environment follows.
    Branch(EnvironmentName),
    /// The head of a pull request of a repository.
    Pull(String, PullNumber),
}

impl LookupKey {
    /// The service on the branch that an environment follows.
    #[must_use]
    pub fn branch(project: &ProjectName, environment: &EnvironmentName, service: &ServiceName) -> Self {
        Self { project: project.clone(), service: service.clone(), at: At::Branch(environment.clone()) }
    }

    /// The service at the head of a pull request.
    #[must_use]
    pub fn pull(project: &ProjectName, pull: &PullRequest, service: &ServiceName) -> Self {
        let at = At::Pull(pull.repository.clone(), pull.number);
        Self { project: project.clone(), service: service.clone(), at }
    }

    /// The project, the environment (for a pull request, `#` and its number) and the service, for records.
    #[must_use]
    pub fn names(&self) -> (String, String, String) {
        let at = match &self.at {
            At::Branch(environment) => environment.to_string(),
            At::Pull(_, number) => format!("#{number}"),
        };
        (self.project.to_string(), at, self.service.to_string())
    }
}

/// A question to an app repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Which one.
    pub key: LookupKey,
    /// The repository, as the config writes it, and where.
    pub repo: (String, Place),
    /// The branch whose head is asked for.
    pub branch: BranchName,
    /// The head to ask in place of the branch's, and where it left the branch, for a pull request.
    pub head: Option<Revision>,
    /// The paths whose change makes a new revision.
    pub paths: Vec<String>,
    /// The paths whose change does not.
    pub ignored: Vec<String>,
    /// Where `.branchline/service.yaml` is looked for.
    pub app_file: String,
}

/// What an app repository answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// The revision of the service.
    Revision {
        /// The newest commit reachable from the head that changed one of the inputs.
        revision: Revision,
        /// The head itself.
        head: Revision,
        /// Whether the pull request changes the service; always for a branch.
        changed: bool,
        /// The app repository's own file at that revision.
        app_file: Option<Node>,
    },
    /// The question has no answer, and why: the branch is gone, the repository cannot be reached, nothing was ever
    /// committed there. What runs is left as it is.
    Nothing(String),
}

impl Found {
    /// The revision of the service.
    ///
    /// # Errors
    /// That it is not known, and why.
    pub fn revision(&self) -> Result<Revision, Wanted> {
        match self {
            Self::Revision { revision, .. } => Ok(revision.clone()),
            Self::Nothing(why) => Err(Wanted::Unknown(why.clone())),
        }
    }

    pub(super) fn app_file(&self) -> Option<&Node> {
        if let Self::Revision { app_file, .. } = self { app_file.as_ref() } else { None }
    }

    pub(super) fn is_changed(&self) -> bool {
        matches!(self, Self::Revision { changed: true, .. })
    }
}

/// Every question that the config asks of app repositories, for branches and for open pull requests.
///
/// `of` says whether a repository, as a service writes it, is the one of a pull request.
#[must_use]
pub fn lookups(
    config: &Repository,
    pulls: &[PullRequest],
    of: impl Fn(&str, &PullRequest) -> bool,
) -> Vec<Lookup> {
    let mut all = BTreeMap::new();
    for project in config.projects.values() {
        for environment in project.environments.keys() {
            for name in project.services.keys() {
                let Ok(effective) = config.effective(project, Some(environment), name, None, None) else {
                    continue;
                };
                let key = LookupKey::branch(&project.name, environment, name);
                if let Some(lookup) = lookup(key.clone(), &effective, None) {
                    all.insert(key, lookup);
                }
            }
        }
        let Some(base) = super::preview::base(project).filter(|_| !pulls.is_empty()) else { continue };
        for name in project.services.keys() {
            let Ok(effective) = config.effective(project, Some(base), name, None, None) else { continue };
            let repo = effective.spec.source.as_ref().and_then(|source| source.repo.clone());
            for pull in pulls.iter().filter(|pull| repo.as_deref().is_some_and(|repo| of(repo, pull))) {
                if super::preview::refusal(project, pull).is_some() {
                    continue;
                }
                let key = LookupKey::pull(&project.name, pull, name);
                if let Some(lookup) = lookup(key.clone(), &effective, Some(pull.head.clone())) {
                    all.insert(key, lookup);
                }
            }
        }
    }
    all.into_values().collect()
}

impl Project {
    /// The repositories of the project's services, as the config writes them, with the place of each.
    #[must_use]
    pub fn repositories(&self, config: &Repository) -> BTreeMap<String, Place> {
        let sums =
            self.services.keys().filter_map(|name| config.effective(self, None, name, None, None).ok());
        sums.filter_map(|sum| {
            Some((sum.spec.source.clone()?.repo?, sum.node.nearest("/source/repo").clone()))
        })
        .collect()
    }
}

fn lookup(key: LookupKey, effective: &Effective, head: Option<Revision>) -> Option<Lookup> {
    let repo = effective.spec.source.as_ref()?.repo.clone()?;
    let build = effective.spec.build.clone().unwrap_or_default();
    let (context, path, _) = build_of(effective);
    let file = ".branchline/service.yaml";
    Some(Lookup {
        key,
        repo: (repo, effective.node.nearest("/source/repo").clone()),
        branch: branch_of(effective),
        head,
        paths: build.paths.unwrap_or_else(|| vec![context]),
        ignored: build.ignored_paths.unwrap_or_default(),
        app_file: if path.is_empty() { file.to_owned() } else { format!("{path}/{file}") },
    })
}
