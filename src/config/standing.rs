//! What a broken document leaves standing: itself, as it was when it was last sound.
//!
//! A mistake in one file must stop nothing but what the file is about. So a project goes on with its earlier
//! `project.yaml`, an environment with its earlier pins, everything with the earlier root. A service whose own document
//! is broken is known to the others as it was, and is itself left exactly as it runs. A file that cannot be read may
//! hold anything: whatever its project had and now lacks stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::load::Folder;
use super::problem::{Problem, Scope, Severity};
use super::{Document, Project, Repository};
use crate::name::ProjectName;

/// The file that a repository begins with.
const ROOT: &str = "branchline.yaml";

impl Repository {
    /// Whether nothing of it could stand.
    fn says_nothing(&self) -> bool {
        self.config.is_none() && self.projects.is_empty()
    }

    /// Everything stands, because there is nothing to read.
    pub(super) fn stands_whole(&mut self, before: &Self) {
        if before.says_nothing() {
            return;
        }
        let problems = std::mem::take(&mut self.problems);
        *self = Self { problems, ..before.clone() };
    }

    /// The root and the clusters stand where their files are broken. Without an earlier root, nothing can be known.
    pub(super) fn root_stands(&mut self, before: &Self) {
        let unread = |path: &str| self.errors().any(|problem| problem.scope == Scope::File(path.to_owned()));
        let root_unread = unread(ROOT);
        let whole = self.errors().any(|problem| problem.scope == Scope::Repository);
        let clusters_unread = root_unread || self.errors().any(|problem| problem.scope.may_hold("clusters/"));
        if before.says_nothing() {
            rescope(&mut self.problems, &Scope::File(ROOT.to_owned()), |_| Scope::Repository);
            return;
        }
        if whole || (root_unread && self.config.is_none()) {
            self.config.clone_from(&before.config);
        }
        if clusters_unread {
            for (name, cluster) in &before.clusters {
                self.clusters.entry(name.clone()).or_insert_with(|| cluster.clone());
            }
        }
        rescope(&mut self.problems, &Scope::Repository, file_of);
    }

    /// An environment that contradicts the rest stands where it stood, so that nobody looks for it elsewhere; its
    /// services are left as they are.
    pub(super) fn environments_stand(&mut self, before: &Self) {
        let broken: Vec<_> = self
            .errors()
            .filter_map(|problem| match &problem.scope {
                Scope::Environment(project, name) => Some((project.clone(), name.clone())),
                _ => None,
            })
            .collect();
        for (project, name) in broken {
            let earlier = before.projects.get(&project).and_then(|project| project.environments.get(&name));
            let (Some(earlier), Some(project)) = (earlier, self.projects.get_mut(&project)) else { continue };
            let mut earlier = earlier.clone();
            let (cluster, _) = before.cluster_of(&earlier.document);
            Arc::make_mut(&mut earlier.document).spec.cluster = Some(cluster.clone());
            project.environments.insert(name, earlier);
            if let Some((name, known)) = before.clusters.iter().find(|(name, _)| name.as_str() == cluster) {
                self.clusters.entry(name.clone()).or_insert_with(|| known.clone());
            }
        }
    }
}

impl Folder {
    /// What is broken in the folder of a project stands as it was.
    pub(super) fn stands(&mut self, name: &ProjectName, before: &Project, problems: &mut [Problem]) {
        let folder = format!("projects/{name}/");
        let errors = || problems.iter().filter(|problem| problem.severity == Severity::Error);
        let unread = errors().any(|problem| problem.scope.may_hold(&folder));
        let broken = |scope: &Scope| unread || errors().any(|problem| problem.scope == *scope);
        self.project.get_or_insert_with(|| before.document.clone());
        for (service, document) in &before.services {
            if broken(&Scope::Service(name.clone(), service.clone())) {
                self.services.entry(service.clone()).or_insert_with(|| document.clone());
            }
        }
        let mut stand = vec![Scope::Project(name.clone())];
        for (environment, earlier) in &before.environments {
            let scope = Scope::Environment(name.clone(), environment.clone());
            if !broken(&scope) {
                continue;
            }
            self.environments.entry(environment.clone()).or_insert_with(|| earlier.document.clone());
            if let Some(releases) = &earlier.releases {
                self.releases.entry(environment.clone()).or_insert_with(|| releases.clone());
            }
            stand.push(scope);
        }
        for scope in stand {
            rescope(problems, &scope, file_of);
        }
    }
}

/// The file alone: what stood in it stands.
fn file_of(problem: &Problem) -> Scope {
    Scope::File(problem.place.file.to_string())
}

fn rescope(problems: &mut [Problem], from: &Scope, to: impl Fn(&Problem) -> Scope) {
    for problem in problems.iter_mut().filter(|problem| problem.scope == *from) {
        problem.scope = to(problem);
    }
}

/// The files of documents that are not those of `ids`, which is what was read: path → blob.
pub(super) fn of(repository: &Repository, ids: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    fn at<T>(document: &Arc<Document<T>>) -> (&str, &str) {
        (&document.node.place.file, &document.blob)
    }
    let mut standing = BTreeMap::new();
    let mut look = |file: &str, blob: &str| {
        if ids.get(file).is_none_or(|id| id != blob) {
            standing.insert(file.to_owned(), blob.to_owned());
        }
    };
    let projects = || repository.projects.values();
    let environments = || projects().flat_map(|project| project.environments.values());
    let all = repository.config.iter().map(at);
    let all = all.chain(repository.clusters.values().map(at));
    let all = all.chain(projects().map(|project| at(&project.document)));
    let all = all.chain(projects().flat_map(|project| project.services.values().map(at)));
    let all = all.chain(environments().map(|environment| at(&environment.document)));
    let all = all.chain(environments().filter_map(|environment| environment.releases.as_ref().map(at)));
    all.for_each(|(file, blob)| look(file, blob));
    repository.templates.iter().for_each(|file| look(&file.path, &file.id));
    standing
}
