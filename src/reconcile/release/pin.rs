//! Pins: commits to `releases.yaml`, by compare-and-swap on the branch.

use serde_json::{Map, Value, json};

use super::{ReleaseError, no_environment};
use crate::config::environment::Release;
use crate::name::{EnvironmentName, ProjectName, Revision, ServiceName};
use crate::reconcile::head::ConfigHead;
use crate::reconcile::{Hint, Reconciler, chain};
use crate::source::{FileChange, FileCommit, Person, SourceError};
use crate::yaml;

/// How often a commit is tried when the branch moves meanwhile.
const TRIES: u32 = 3;

/// What somebody wants pinned.
#[derive(Debug, Clone)]
pub struct PinRequest {
    /// The project.
    pub project: ProjectName,
    /// The environment whose pins change.
    pub environment: EnvironmentName,
    /// The pins by service; `None` takes one out.
    pub pins: Vec<(ServiceName, Option<Release>)>,
    /// What the commit says.
    pub message: String,
    /// Who wants it.
    pub author: Person,
}

/// A commit that pins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The commit in the config repository: the newest one, where all is pinned like that already.
    pub revision: Revision,
    /// Whether anything changed.
    pub changed: bool,
    /// The file that it changed.
    pub path: String,
}

impl Reconciler {
    /// Commits pins to `releases.yaml` of an environment.
    ///
    /// # Errors
    /// When the environment is not known, or the branch moved three times meanwhile.
    pub async fn pin(&self, request: PinRequest) -> Result<Pinned, ReleaseError> {
        let source = &self.0.parts.config;
        let mirror = self.mirror_of(&source.url);
        let folder =
            format!("projects/{}/environments/{}/releases.yaml", request.project, request.environment);
        let mut last = None;
        for _ in 0..TRIES {
            mirror.fetch().await?;
            let head = ConfigHead::read(&mirror, &source.branch, &source.path, None, None).await?;
            let config = &head.config;
            let project = config.projects.get(&request.project);
            let environment = project.and_then(|project| project.environments.get(&request.environment));
            let Some(environment) = environment else {
                let folder = format!("projects/{}/", request.project);
                if let Some(problem) = config.errors().find(|p| p.place.file.starts_with(&folder)) {
                    return Err(ReleaseError::NotNow(format!(
                        "the files of `{}` are broken, so no pin can be written: {problem}",
                        request.project
                    )));
                }
                return Err(no_environment(&request.project, &request.environment));
            };
            let path = environment
                .releases
                .as_ref()
                .map_or_else(|| folder.clone(), |releases| releases.node.place.file.to_string());
            let mut releases =
                environment.releases.as_ref().map(|releases| releases.spec.clone()).unwrap_or_default();
            let before = releases.clone();
            for (service, pin) in &request.pins {
                match pin {
                    // who says it again changes nothing
                    Some(pin) if before.get(service.as_str()).is_some_and(|old| is_same(old, pin)) => {}
                    Some(pin) => drop(releases.insert(service.to_string(), pin.clone())),
                    None => drop(releases.remove(service.as_str())),
                }
            }
            if releases == before {
                return Ok(Pinned { revision: head.revision.clone(), changed: false, path });
            }
            let in_repository = if source.path.is_empty() {
                path.clone()
            } else {
                format!("{}/{path}", source.path.trim_matches('/'))
            };
            let commit = FileCommit {
                branch: source.branch.clone(),
                expected: head.revision.clone(),
                onto_new_branch: None,
                changes: vec![FileChange::Write {
                    path: in_repository,
                    bytes: write(&request.environment, &releases).into_bytes(),
                }],
                author: request.author.clone(),
                committer: Person::branchline(),
                at: self.0.parts.clock.now(),
                message: request.message.clone(),
            };
            match mirror.commit(commit).await {
                Ok(revision) => {
                    self.hint(Hint::Repository(source.url.clone()));
                    return Ok(Pinned { revision, changed: true, path });
                }
                Err(error @ SourceError::Moved { .. }) => last = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let why = last.map(|error| chain(&error)).unwrap_or_default();
        Err(ReleaseError::NotNow(format!("the branch moved while it was written to: {why}")))
    }
}

/// Whether two pins mean the same, whoever wrote them.
fn is_same(one: &Release, other: &Release) -> bool {
    let meant = |pin: &Release| Release { by: None, reason: None, ..pin.clone() };
    meant(one) == meant(other)
}

/// The file, whole: nobody else writes it, so nothing of it needs to be kept.
fn write(environment: &EnvironmentName, releases: &std::collections::BTreeMap<String, Release>) -> String {
    let pins: Map<String, Value> =
        releases.iter().map(|(name, release)| (name.clone(), json!(release))).collect();
    let document = json!({
        "apiVersion": crate::config::schema::API_VERSION,
        "kind": "Releases",
        "metadata": {"name": environment},
        "spec": pins,
    });
    let head = "# yaml-language-server: $schema=https://branchline.dev/schemas/v1/releases.json\n# Written by Branchline: promote, rollback and deploy --ref.\n";
    head.to_owned() + &yaml::write(&document)
}
