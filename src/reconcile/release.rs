//! What is released: promotions, rollbacks and pinned revisions.

mod pin;

use std::sync::Arc;

pub use self::pin::{PinRequest, Pinned};
use super::Reconciler;
use super::record::{Record, repo_of};
use crate::config::environment::{Follow, Release};
use crate::config::project::Requirement;
use crate::desired::{Found, LookupKey};
use crate::hash::ContentHash;
use crate::name::{Digest, EnvironmentName, ImageRef, ProjectName, Revision, ServiceName};
use crate::source::{Person, SourceError};
use crate::store::{Deployment, StoreError};

/// The states of deployments that were live at some time and may be gone back to.
const LIVED: [&str; 2] = ["live", "replaced"];
/// Why nothing was pinned.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// There is no such thing.
    #[error("{0}")]
    Unknown(String),
    /// The configuration has no such environment.
    #[error("there is no environment `{1}` in the project `{0}`")]
    NoEnvironment(ProjectName, EnvironmentName),
    /// It cannot be pinned as it is.
    #[error("{0}")]
    NotNow(String),
    /// The repository.
    #[error("the pin could not be committed")]
    Source(#[from] SourceError),
    /// The store.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
}

impl Reconciler {
    /// Moves what is live in one environment on to another: the same revision and artifact, never built again.
    ///
    /// # Errors
    /// When a service is not live where it comes from, or the commit cannot be made.
    pub async fn promote(
        &self,
        project: &ProjectName,
        from: &EnvironmentName,
        to: &EnvironmentName,
        services: &[ServiceName],
        author: Person,
    ) -> Result<Pinned, ReleaseError> {
        self.known(project, to, Some(Follow::Releases))?;
        self.known(project, from, None)?;
        let healthy = self.requires_health(project, from, to);
        let mut pins = Vec::new();
        for (name, record) in self.records_of(project, from).await? {
            if !services.is_empty() && !services.contains(&name) {
                continue;
            }
            let detail = &record.detail;
            let (Some(_), Some(revision)) = (&record.row.live_deployment, &detail.revision) else {
                if services.contains(&name) {
                    return Err(ReleaseError::NotNow(format!(
                        "`{name}` is not live in {from}; hint: `branchline status` says why"
                    )));
                }
                continue;
            };
            if healthy {
                expect_healthy(&name, from, &record)?;
            }
            let (digest, key) = artifact(detail.image.as_deref());
            let release = Release {
                revision: revision
                    .parse()
                    .map_err(|error: crate::name::NameError| ReleaseError::Unknown(error.to_string()))?,
                digest,
                key,
                promoted_from: Some(from.to_string()),
                by: Some(author.name.clone()),
                hold: false,
                reason: None,
            };
            pins.push((name, Some(release)));
        }
        if let Some(missing) = services.iter().find(|name| !pins.iter().any(|(pinned, _)| pinned == *name)) {
            return Err(ReleaseError::Unknown(format!("there is no service `{missing}` in {from}")));
        }
        if pins.is_empty() {
            return Err(ReleaseError::NotNow(format!("nothing is live in {from} yet")));
        }
        let names: Vec<_> = pins.iter().map(|(name, _)| name.to_string()).collect();
        let message = format!("release: {} from {from} to {to}", names.join(", "));
        let (project, environment) = (project.clone(), to.clone());
        self.pin(PinRequest { project, environment, pins, message, author }).await
    }

    /// Puts the release before the live one back, and holds it against the branch.
    ///
    /// # Errors
    /// When there is no earlier release, or the commit cannot be made.
    pub async fn roll_back(
        &self,
        project: &ProjectName,
        environment: &EnvironmentName,
        service: &ServiceName,
        to: Option<&Revision>,
        author: Person,
    ) -> Result<Pinned, ReleaseError> {
        self.known(project, environment, None)?;
        let filter = crate::store::DeploymentFilter {
            project: Some(project.to_string()),
            environment: Some(environment.to_string()),
            service: Some(service.to_string()),
            states: LIVED.map(str::to_owned).to_vec(),
            limit: 100,
            ..Default::default()
        };
        let deployments = self.store().deployments(&filter).await?;
        let live = deployments.iter().find(|d| d.state == "live").and_then(|d| d.app_revision.clone());
        let earlier = match to {
            Some(to) => deployments.iter().find(|d| {
                let revision = d.app_revision.as_deref();
                revision == Some(to.as_str()) && revision != live.as_deref()
            }),
            None => release_before(&deployments, live.as_deref()),
        };
        if to.is_some_and(|to| live.as_deref() == Some(to.as_str())) {
            let live = live.as_deref().map_or("that", |revision| &revision[..7]).to_owned();
            return Err(ReleaseError::NotNow(format!(
                "`{service}` is live at {live} in {environment} already"
            )));
        }
        let Some(earlier) = earlier else {
            return Err(ReleaseError::NotNow(format!(
                "`{service}` has no earlier release in {environment} to go back to"
            )));
        };
        let revision = earlier.app_revision.clone().unwrap_or_default();
        let (digest, key) =
            artifact(earlier.artifact.as_ref().and_then(|artifact| artifact["image"].as_str()));
        let bad = live.as_deref().map_or("nothing", |revision| &revision[..7]).to_owned();
        let release = Release {
            revision: revision
                .parse()
                .map_err(|error: crate::name::NameError| ReleaseError::Unknown(error.to_string()))?,
            digest,
            key,
            promoted_from: None,
            by: Some(author.name.clone()),
            hold: true,
            reason: Some(format!("rollback of {bad}")),
        };
        let message = format!("release: {service} in {environment} back to {}", &revision[..7]);
        let pins = vec![(service.clone(), Some(release))];
        self.pin(PinRequest {
            project: project.clone(),
            environment: environment.clone(),
            pins,
            message,
            author,
        })
        .await
    }

    /// Pins the newest revision of a service in an environment that follows releases; nothing where it follows its
    /// branch, and has that anyway.
    ///
    /// # Errors
    /// When the newest revision is not known, or the commit cannot be made.
    pub async fn pin_newest(
        &self,
        project: &ProjectName,
        environment: &EnvironmentName,
        service: &ServiceName,
        author: Person,
    ) -> Result<Option<Pinned>, ReleaseError> {
        let snapshot = Arc::clone(&self.0.snapshot.borrow());
        let follows = snapshot.environment(project.as_str(), environment.as_str()).map(|of| of.follow);
        if follows != Some(Follow::Releases) {
            return Ok(None);
        }
        let found = snapshot.found.get(&LookupKey::branch(project, environment, service));
        let Some(Ok(revision)) = found.map(Found::revision) else {
            return Err(ReleaseError::NotNow(format!(
                "the newest revision of `{service}` is not known; hint: `branchline validate` says what is wrong with it"
            )));
        };
        self.pin_revision(project, environment, service, revision, author).await.map(Some)
    }

    /// Takes the pin out that holds a service against its branch.
    ///
    /// # Errors
    /// When nothing holds it, or the commit cannot be made.
    pub async fn resume(
        &self,
        project: &ProjectName,
        environment: &EnvironmentName,
        service: &ServiceName,
        author: Person,
    ) -> Result<Pinned, ReleaseError> {
        self.known(project, environment, None)?;
        let snapshot = Arc::clone(&self.0.snapshot.borrow());
        let of = &snapshot.config.projects[project].environments[environment];
        if of.document.spec.follow == Some(Follow::Releases) {
            return Err(ReleaseError::NotNow(format!(
                "`{environment}` follows releases; hint: `branchline promote {service} --to {environment}` moves it on"
            )));
        }
        let pin = of.releases.as_ref().and_then(|releases| releases.spec.get(service.as_str()));
        if !pin.is_some_and(|pin| pin.hold) {
            return Err(ReleaseError::NotNow(format!(
                "nothing holds `{service}` in {environment}: it follows its branch"
            )));
        }
        let message = format!("release: {service} in {environment} follows its branch again");
        let pins = vec![(service.clone(), None)];
        let (project, environment) = (project.clone(), environment.clone());
        self.pin(PinRequest { project, environment, pins, message, author }).await
    }

    /// Pins a revision of a service's own repository, and holds it against the branch.
    ///
    /// # Errors
    /// When there is no such service or revision, or the commit cannot be made.
    pub async fn pin_revision(
        &self,
        project: &ProjectName,
        environment: &EnvironmentName,
        service: &ServiceName,
        revision: Revision,
        author: Person,
    ) -> Result<Pinned, ReleaseError> {
        let snapshot = Arc::clone(&self.0.snapshot.borrow());
        let found = snapshot
            .environment(project.as_str(), environment.as_str())
            .ok_or_else(|| no_environment(project, environment))?;
        let repo = found.services.get(service).and_then(|service| repo_of(service));
        let Some(url) = repo.and_then(|repo| self.address(&repo).ok()) else {
            return Err(ReleaseError::NotNow(format!(
                "`{service}` has no repository that could be read, so no revision of it can be pinned; hint: \
                 `branchline validate` says what is wrong with it"
            )));
        };
        match self.mirror_of(&url).fetch_revision(&revision).await {
            Err(SourceError::NoRevision { .. }) => {
                return Err(ReleaseError::Unknown(format!(
                    "there is no commit {revision} in the repository of `{service}`; hint: push it first"
                )));
            }
            fetched => fetched?,
        }
        let message = format!("release: {service} in {environment} at {}", revision.short());
        let release = Release {
            revision,
            digest: None,
            key: None,
            promoted_from: None,
            by: Some(author.name.clone()),
            hold: found.follow == Follow::Branch,
            reason: Some("deploy".to_owned()),
        };
        let pins = vec![(service.clone(), Some(release))];
        let (project, environment) = (project.clone(), environment.clone());
        self.pin(PinRequest { project, environment, pins, message, author }).await
    }

    /// Whether the project's `promotion` asks for health on this way.
    fn requires_health(&self, project: &ProjectName, from: &EnvironmentName, to: &EnvironmentName) -> bool {
        let snapshot = self.0.snapshot.borrow();
        let found = snapshot.config.projects.get(project);
        let ways = found.and_then(|found| found.document.spec.promotion.as_ref());
        ways.into_iter().flatten().any(|way| {
            way.from == from.as_str() && way.to == to.as_str() && way.require.contains(&Requirement::Healthy)
        })
    }

    fn known(
        &self,
        project: &ProjectName,
        name: &EnvironmentName,
        follow: Option<Follow>,
    ) -> Result<(), ReleaseError> {
        let snapshot = Arc::clone(&self.0.snapshot.borrow());
        let Some(found) = snapshot.config.projects.get(project) else {
            return Err(ReleaseError::Unknown(format!("there is no project `{project}`")));
        };
        let Some(environment) = found.environments.get(name) else {
            return Err(no_environment(project, name));
        };
        if follow == Some(Follow::Releases) && environment.document.spec.follow != Some(Follow::Releases) {
            let message = format!(
                "`{name}` follows branches, so a promotion would do nothing; hint: set `follow: releases`"
            );
            return Err(ReleaseError::NotNow(message));
        }
        Ok(())
    }
}

fn expect_healthy(name: &ServiceName, from: &EnvironmentName, record: &Record) -> Result<(), ReleaseError> {
    let state = &record.row.state;
    if state == "live" {
        return Ok(());
    }
    Err(ReleaseError::NotNow(format!(
        "`{name}` is {state} in {from}, and `promotion.require` asks for `healthy`; hint: mend it, or name only the \
         services that are well"
    )))
}

fn no_environment(project: &ProjectName, name: &EnvironmentName) -> ReleaseError {
    ReleaseError::NoEnvironment(project.clone(), name.clone())
}

/// The release before the live one. What was rolled back from is younger than the first deployment of what is live, and
/// is never gone back to unasked. `deployments` are those of one service in one environment, newest first.
pub(crate) fn release_before<'a>(
    deployments: &'a [Deployment],
    live: Option<&str>,
) -> Option<&'a Deployment> {
    let lived = |one: &&Deployment| LIVED.contains(&one.state.as_str()) && one.app_revision.is_some();
    let of_live = |one: &Deployment| lived(&one) && one.app_revision.as_deref() == live;
    let older = deployments.iter().rposition(of_live).map_or(0, |first| first + 1);
    deployments[older..].iter().find(lived)
}

/// What a release keeps of the image or folder that ran.
fn artifact(image: Option<&str>) -> (Option<Digest>, Option<ContentHash>) {
    let digest = image.and_then(|image| image.parse::<ImageRef>().ok()?.digest());
    (digest, image.and_then(|image| image.strip_prefix("folder:")?.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment((revision, state): (&str, &str)) -> Deployment {
        Deployment {
            id: String::new(),
            project: "shop".to_owned(),
            environment: "production".to_owned(),
            service: "web".to_owned(),
            input_digest: String::new(),
            attempt: 1,
            state: state.to_owned(),
            app_revision: Some(revision.to_owned()),
            config_revision: None,
            artifact: None,
            cause: String::new(),
            reported_on: None,
            created: jiff::Timestamp::UNIX_EPOCH,
            started: None,
            ended: None,
            error: None,
            hint: None,
        }
    }

    #[test]
    fn what_was_rolled_back_from_is_not_gone_back_to() {
        let before = |live, newest_first: &[(&str, &str)]| {
            let all: Vec<_> = newest_first.iter().copied().map(deployment).collect();
            release_before(&all, live)?.app_revision.clone()
        };
        let history = [("3", "live"), ("broken", "failed"), ("2", "replaced"), ("1", "replaced")];
        assert_eq!(before(Some("3"), &history).as_deref(), Some("2"));
        let rolled_back = [("2", "live"), ("3", "replaced"), ("2", "replaced"), ("1", "replaced")];
        assert_eq!(before(Some("2"), &rolled_back).as_deref(), Some("1"));
        assert_eq!(before(Some("1"), &[("1", "live")]), None);
        assert_eq!(before(None, &history[1..]).as_deref(), Some("2"));
    }
}
