//! Environments for pull requests: which should exist, and what runs in them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::lookup::{Found, LookupKey};
use super::{Environment, Follow, Inputs, Making, Memory, Runtime, Wanted, empty};
use crate::config::root::ClusterType;
use crate::config::{Effective, Project};
use crate::name::{
    BranchName, EnvironmentName, LABEL, ProjectName, PullNumber, Revision, ServiceName, k8s_name,
};

/// An open pull request of an app repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullRequest {
    /// The repository that it wants to change: a key that is equal for equal repositories.
    pub repository: String,
    /// The short name of the repository, for names and hosts.
    pub short_name: String,
    /// Its number there.
    pub number: PullNumber,
    /// The commit that it proposes.
    pub head: Revision,
    /// The branch that it wants to change; none where the repository has no forge to say so.
    pub base: Option<BranchName>,
    /// Whether a forge holds its repository: strangers may open one there.
    pub of_forge: bool,
    /// The repository that the proposed commit comes from, where that is another one.
    pub fork: Option<String>,
    /// Whether it is a draft.
    pub draft: bool,
    /// Whether a bot made it.
    pub bot: bool,
    /// Its labels.
    pub labels: Vec<String>,
    /// Whether its last push is longer ago than previews of its project last.
    pub expired: bool,
}

/// The environment of a pull request: `pr-<repository>-<number>`.
///
/// # Panics
/// Never: `k8s_name` makes an environment name of every text that begins with `pr-`.
#[must_use]
pub fn environment_name(pull: &PullRequest) -> EnvironmentName {
    let short = k8s_name(&[&pull.short_name], 30);
    k8s_name(&["pr", &short, &pull.number.to_string()], LABEL - 23)
        .parse()
        .expect("a label that begins with pr-")
}

/// The environment that previews of a project are copies of.
pub(super) fn base(project: &Project) -> Option<&EnvironmentName> {
    let previews =
        project.document.spec.previews.as_ref().filter(|previews| previews.enabled == Some(true))?;
    let named = previews.base.as_deref();
    let first = project.ordered_environments().first().copied();
    match named {
        Some(name) => project.environments.keys().find(|e| e.as_str() == name),
        None => first,
    }
}

/// A preview that is no longer wanted: where it is, and nothing in it.
#[must_use]
pub fn former(
    project: &Project,
    environments: &[Arc<Environment>],
    name: &EnvironmentName,
) -> Option<Environment> {
    let base = base(project).or_else(|| project.ordered_environments().first().copied())?;
    let base = environments.iter().find(|e| e.project == project.name && e.name == *base)?;
    Some(Environment {
        name: name.clone(),
        namespace: k8s_name(&[project.name.as_str(), name.as_str()], LABEL).parse().ok()?,
        preview: None,
        members: BTreeSet::new(),
        services: BTreeMap::new(),
        broken: BTreeMap::new(),
        ..Environment::clone(base)
    })
}

/// An environment that left the configuration, in the namespace that it has by its name, and nothing in it.
///
/// # Panics
/// Never: what `k8s_name` makes is a namespace.
#[must_use]
pub fn vanished(project: &ProjectName, name: &EnvironmentName, absence_is_proven: bool) -> Environment {
    let namespace = k8s_name(&[project.as_str(), name.as_str()], LABEL);
    Environment {
        project: project.clone(),
        name: name.clone(),
        namespace: namespace.parse().expect("k8s_name makes only namespaces"),
        cluster: ("embedded".to_owned(), ClusterType::Embedded),
        runtime: Runtime::Cluster,
        protected: false,
        follow: Follow::Branch,
        prune: true,
        self_heal: false,
        preview: None,
        members: BTreeSet::new(),
        services: BTreeMap::new(),
        broken: BTreeMap::new(),
        absence_is_proven,
    }
}

/// Why the rules of a project give a pull request no preview, in a clause; nothing where they give one.
pub(super) fn refusal(project: &Project, pull: &PullRequest) -> Option<String> {
    let Some(rules) = project.document.spec.previews.as_ref().filter(|_| base(project).is_some()) else {
        return Some(format!("the project `{}` has no previews", project.name));
    };
    let missing = rules.labels.iter().flatten().find(|label| !pull.labels.contains(label));
    match missing {
        _ if pull.fork.is_some() => Some("its head is in another repository".to_owned()),
        _ if pull.expired => Some("its last push is too long ago".to_owned()),
        _ if pull.draft && rules.drafts != Some(true) => Some("it is a draft".to_owned()),
        _ if pull.bot && rules.bots != Some(true) => Some("a bot made it".to_owned()),
        Some(label) => Some(format!("it has no label `{label}`")),
        None => None,
    }
}

/// The projects that give a pull request no preview, although it is open, and why, in a clause.
#[must_use]
pub fn refused(inputs: &Inputs<'_>) -> Vec<(ProjectName, PullRequest, String)> {
    let mut all = Vec::new();
    for project in inputs.config.projects.values() {
        for (pull, judged) in considered(inputs, project) {
            if let Err(why) = judged {
                all.push((project.name.clone(), pull.clone(), why));
            }
        }
    }
    all
}

/// The previews of a project.
pub(super) fn environments<'a>(
    inputs: &'a Inputs<'a>,
    project: &'a Project,
    before: &'a Memory,
) -> Vec<Making<'a>> {
    let Some(base) = base(project) else { return Vec::new() };
    let mut environments: Vec<Making<'_>> = Vec::new();
    for (pull, judged) in considered(inputs, project) {
        let members = judged.unwrap_or_default();
        if members.is_empty() {
            continue;
        }
        let mut environment = empty(inputs, project, base, Some(pull));
        environment.members.clone_from(&members);
        let mut making = Making::new(inputs, project, base, environment, before);
        for service in &members {
            let head = inputs.found.get(&LookupKey::pull(&project.name, pull, service));
            let found = head.or_else(|| inputs.found.get(&LookupKey::branch(&project.name, base, service)));
            making.add(service, found.and_then(Found::app_file), |effective| {
                (revision(effective, found), None)
            });
        }
        environments.push(making);
    }
    environments
}

/// Each pull request with the services that its preview has of its own, or why it gets none. The newest ones are the
/// first to go where there are too many.
fn considered<'i>(
    inputs: &'i Inputs<'_>,
    project: &Project,
) -> Vec<(&'i PullRequest, Result<BTreeSet<ServiceName>, String>)> {
    let rules = project.document.spec.previews.clone().unwrap_or_default();
    let most = rules.max_concurrent.unwrap_or(10) as usize;
    let mut pulls: Vec<_> = inputs.pulls.iter().collect();
    pulls.sort_by_key(|pull| (pull.number, pull.repository.clone()));
    let mut made = 0;
    let judge = |pull: &'i PullRequest| {
        if let Some(why) = refusal(project, pull) {
            return (pull, Err(why));
        }
        let Some(base) = base(project) else { return (pull, Ok(BTreeSet::new())) };
        let members = members(inputs, project, base, pull);
        if members.is_empty() {
            return (pull, Ok(members));
        }
        let cluster = inputs.config.cluster_of(&project.environments[base].document);
        let as_processes = cluster.1 == ClusterType::Embedded && inputs.embedded == Runtime::Process;
        if as_processes && pull.of_forge && !inputs.trust_pull_requests {
            let why =
                "it would run as processes of the server's machine, which needs `--trust-pull-requests`";
            return (pull, Err(why.to_owned()));
        }
        if made >= most {
            return (pull, Err(format!("there are {most} previews already")));
        }
        made += 1;
        (pull, Ok(members))
    };
    pulls.into_iter().map(judge).collect()
}

/// The services that a preview has of its own; none when the pull request changes none.
fn members(
    inputs: &Inputs<'_>,
    project: &Project,
    base: &EnvironmentName,
    pull: &PullRequest,
) -> BTreeSet<ServiceName> {
    let changed = changed(inputs, project, base, pull);
    let all = project.document.spec.previews.as_ref().is_some_and(|rules| rules.affected_only == Some(false));
    if changed.is_empty() || !all {
        affected(inputs, project, base, &changed)
    } else {
        project.services.keys().cloned().collect()
    }
}

/// The services that a pull request itself changes.
fn changed(
    inputs: &Inputs<'_>,
    project: &Project,
    base: &EnvironmentName,
    pull: &PullRequest,
) -> BTreeSet<ServiceName> {
    let mut changed = BTreeSet::new();
    for name in project.services.keys() {
        let key = LookupKey::pull(&project.name, pull, name);
        let into_its_branch = pull.base.as_ref().is_none_or(|branch| {
            inputs
                .config
                .effective(project, Some(base), name, None, None)
                .is_ok_and(|sum| super::branch_of(&sum) == *branch)
        });
        if into_its_branch && inputs.found.get(&key).is_some_and(Found::is_changed) {
            changed.insert(name.clone());
        }
    }
    changed
}

/// Those services and, in any number of steps, the ones that refer to them.
fn affected(
    inputs: &Inputs<'_>,
    project: &Project,
    base: &EnvironmentName,
    changed: &BTreeSet<ServiceName>,
) -> BTreeSet<ServiceName> {
    let mut refers: BTreeMap<&ServiceName, BTreeSet<String>> = BTreeMap::new();
    for name in project.services.keys() {
        if let Ok(sum) = inputs.config.effective(project, Some(base), name, None, None) {
            refers.insert(name, sum.refers_to());
        }
    }
    let mut affected = changed.clone();
    loop {
        let more: Vec<_> = refers
            .iter()
            .filter(|(name, to)| {
                !affected.contains(**name) && affected.iter().any(|a| to.contains(a.as_str()))
            })
            .map(|(name, _)| (*name).clone())
            .collect();
        if more.is_empty() {
            return affected;
        }
        affected.extend(more);
    }
}

/// The revision of a service of a preview: the head where the repository is the pull request's, the base's otherwise.
fn revision(effective: &Effective, found: Option<&Found>) -> Result<Option<Revision>, Wanted> {
    let has_source = effective.spec.source.as_ref().is_some_and(|source| source.repo.is_some());
    match found {
        Some(found) => found.revision().map(Some),
        None if has_source => Err(Wanted::Unknown("its repository has not been read yet".to_owned())),
        None => Ok(None),
    }
}
