//! What is written down about services and their deployments, so that pages, the command line and GitHub say the same.

mod cause;
mod ends;
mod rows;

pub(crate) use rows::unheard_of;
pub(super) use rows::{Record, Records};

use std::collections::BTreeSet;
use std::sync::Mutex;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::prepare::Prepared;
use super::rollout::{Key, Work};
use super::{ReconcileError, Reconciler};
use crate::cluster::{ChangeSet, Outcome};
use crate::config::service::ServiceType;
use crate::desired::{Environment, Service};
use crate::hash::ContentHash;
use crate::name::{ImageRef, ServiceName};
use crate::store::{
    Deployment, DeploymentChange, DeploymentFilter, NewEvent, ServiceRow, Step, StoreError,
    Verdict as VerdictRow,
};

/// The states of a service, as pages, the command line and the API name them.
pub const STATES: [&str; 10] = [
    "notReleased",
    "pending",
    "live",
    "degraded",
    "failed",
    "crashed",
    "sleeping",
    "paused",
    "held",
    "completed",
];
/// States of a deployment that has come to its end.
const ENDED: [&str; 8] =
    ["live", "failed", "superseded", "cancelled", "timedOut", "replaced", "crashed", "removed"];

/// The event of something that somebody changed.
const HEALED: &str = "healed";
/// The last lines of a log that the verdict of a failure shows.
const LINES: usize = 20;

/// What the current record of a service holds beside its state and headline.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceState {
    /// The revision that is live.
    pub revision: Option<String>,
    /// Hash of what is live.
    pub digest: Option<ContentHash>,
    /// Hash of what failed last; it is not tried again until the input changes.
    pub failed_digest: Option<ContentHash>,
    /// The URL for people.
    pub url: Option<String>,
    /// What kind of service it is.
    pub kind: Option<ServiceType>,
    /// The image or folder that is live.
    pub image: Option<String>,
    /// The tag that the image was found by, as the config writes it.
    pub tag: Option<ImageRef>,
    /// What keeps a newer state from going live.
    pub problem: Option<String>,
    /// Why the input of `failed_digest` failed. Something else may stand in the way meanwhile.
    pub failure: Option<String>,
    /// The repository, as the config writes it.
    pub repo: Option<String>,
}

/// A rollout that has begun.
pub(super) struct Begun {
    /// The deployment that it belongs to; empty where a service is removed that never was live.
    pub(super) id: String,
    /// Whether it only puts right what somebody changed.
    pub(super) heals: bool,
    /// What is told once it has come to a good end: the kind and the words of an event.
    pub(super) event: Option<(&'static str, String)>,
    /// What was not as it had been applied.
    put_right: Mutex<BTreeSet<String>>,
}

impl Begun {
    /// One that is about a deployment of its own.
    fn new(id: String) -> Self {
        Self { id, heals: false, event: None, put_right: Mutex::default() }
    }

    /// One that puts right what somebody changed.
    fn healing(live: Option<String>, event: Option<(&'static str, String)>) -> Self {
        Self { heals: true, event, ..Self::new(live.unwrap_or_default()) }
    }

    /// Notes what a write put right.
    pub(super) fn note(&self, changes: &ChangeSet) {
        let mut put_right = self.put_right.lock().expect("no holder of this lock panics");
        for change in &changes.changes {
            let what = format!("{} {}", change.key.kind, change.key.name);
            if change.outcome == Outcome::Created {
                put_right.insert(format!("{what} was gone"));
            }
            let taken = change.overruled.iter();
            put_right.extend(taken.map(|by| format!("`{}` changed `{}` of {what}", by.manager, by.path)));
        }
    }

    /// The event that tells of it.
    pub(super) fn told(&self) -> Option<(&'static str, String)> {
        let (kind, words) = self.event.clone()?;
        let put_right = self.put_right.lock().expect("no holder of this lock panics");
        let all: Vec<&str> = put_right.iter().map(String::as_str).collect();
        let words = if kind == HEALED && !all.is_empty() {
            format!("{}: {}", words.split(", because").next().unwrap_or(&words), all.join(", "))
        } else {
            words
        };
        Some((kind, words))
    }
}

/// Why a rollout failed.
pub(super) struct Failure {
    pub(super) step: &'static str,
    pub(super) message: String,
    pub(super) log: Vec<String>,
    /// Whether it is tried again by itself.
    pub(super) platform: bool,
}

impl Reconciler {
    fn now(&self) -> Timestamp {
        self.0.parts.clock.now()
    }
    /// [`Reconciler::put_record`] of a service of an environment.
    async fn put_row(
        &self,
        environment: &Environment,
        service: &ServiceName,
        change: impl FnOnce(&mut ServiceRow, &mut ServiceState),
    ) -> Result<(), StoreError> {
        self.put_record(&Self::state_key(environment, service), change).await
    }
    /// Begins a rollout where there is something to do. Takes up a deployment that an earlier process left.
    pub(super) async fn begin(&self, work: &Work) -> Result<Option<Begun>, ReconcileError> {
        let record = self.record(&Self::state_key(&work.environment, &work.name)).await?;
        let known = record.as_ref().map(|record| record.detail.clone()).unwrap_or_default();
        let live = record.and_then(|record| record.row.live_deployment.clone());
        let Some(digest) = work.digest() else {
            let id = live.unwrap_or_default();
            if work.unit.gone && work.unit.changes() {
                return Ok(Some(Begun::new(id)));
            }
            let left = !work.environment.services.contains_key(&work.name);
            if left
                && work.unit.gone
                && !work.unit.prune.iter().any(|step| step.action == crate::plan::Action::Keep)
            {
                self.forget(&Self::state_key(&work.environment, &work.name), &id).await?;
            }
            return Ok(None);
        };
        if known.digest == Some(digest) && live.is_some() {
            if !work.unit.changes() {
                if known.failed_digest != Some(digest) {
                    self.record_unchanged(work).await?;
                }
                return Ok(None);
            }
            // to go back to what is live after a failure is nobody's drift
            let event = known.failed_digest.is_none().then(|| healed(work, "What Git says was put back"));
            return Ok(Some(Begun::healing(live, event.flatten())));
        }
        if known.failed_digest == Some(digest) {
            self.record_failure_again(work).await?;
            return Ok(None);
        }
        // the row first: by it whatever the deployment leaves is found, should the service go meanwhile
        self.put_row(&work.environment, &work.name, |row, _| {
            if row.live_deployment.is_none() {
                "pending".clone_into(&mut row.state);
            }
        })
        .await?;
        let Some(wish) = work.prepared.as_deref().map(Prepared::wish) else { return Ok(None) };
        let id = self.deployment_of(work, &wish, "queued").await?;
        Ok(Some(Begun::new(id)))
    }
    /// Begins to put a service that does not move on back as it ran.
    pub(super) async fn begin_standing(&self, work: &Work) -> Result<Begun, StoreError> {
        let record = self.record(&Self::state_key(&work.environment, &work.name)).await?;
        let live = record.and_then(|record| record.row.live_deployment.clone());
        let event = healed(work, "What ran was put back");
        Ok(Begun::healing(live, event))
    }
    async fn unfinished(&self, (project, environment, service): &Key) -> Result<Vec<Deployment>, StoreError> {
        let filter = DeploymentFilter {
            project: Some(project.to_string()),
            environment: Some(environment.to_string()),
            service: Some(service.to_string()),
            unfinished: true,
            limit: 50,
            ..DeploymentFilter::default()
        };
        self.store().deployments(&filter).await
    }
    /// Writes down that a step has begun, and the state that the deployment is in meanwhile.
    pub(super) async fn step(&self, begun: &Begun, name: &str, state: &str) -> Result<(), StoreError> {
        if begun.heals || begun.id.is_empty() {
            return Ok(());
        }
        let now = self.now();
        let change = DeploymentChange {
            state: Some(state.to_owned()),
            started: Some(now),
            ..DeploymentChange::default()
        };
        self.store().update_deployment(&begun.id, change).await?;
        self.put_step(begun, name, "running", None).await?;
        self.tell();
        Ok(())
    }
    pub(super) async fn step_done(
        &self,
        begun: &Begun,
        name: &str,
        detail: Option<&str>,
    ) -> Result<(), StoreError> {
        if begun.heals || begun.id.is_empty() {
            return Ok(());
        }
        self.put_step(begun, name, "done", detail).await
    }
    async fn put_step(
        &self,
        begun: &Begun,
        name: &str,
        state: &str,
        detail: Option<&str>,
    ) -> Result<(), StoreError> {
        let now = self.now();
        let started = self
            .store()
            .steps(&begun.id)
            .await?
            .into_iter()
            .find(|step| step.name == name)
            .and_then(|step| step.started);
        self.store()
            .put_step(Step {
                deployment: begun.id.clone(),
                name: name.to_owned(),
                state: state.to_owned(),
                started: started.or(Some(now)),
                ended: (state != "running").then_some(now),
                detail: detail.map(str::to_owned),
            })
            .await
    }
    pub(super) async fn end(
        &self,
        id: &str,
        state: &str,
        failure: Option<(&str, Option<&str>)>,
    ) -> Result<(), StoreError> {
        let change = DeploymentChange {
            state: Some(state.to_owned()),
            ended: Some(self.now()),
            error: failure.map(|(error, _)| error.to_owned()),
            hint: failure.and_then(|(_, hint)| hint.map(str::to_owned)),
            ..DeploymentChange::default()
        };
        self.store().update_deployment(id, change).await?;
        self.tell();
        Ok(())
    }
    pub(super) async fn forget(&self, key: &Key, id: &str) -> Result<(), StoreError> {
        for deployment in self.unfinished(key).await? {
            self.end(&deployment.id, "cancelled", None).await?;
        }
        if !id.is_empty() {
            self.end(id, "removed", None).await?;
        }
        self.drop_good(key).await?;
        self.remove_record(key).await
    }
    pub(super) async fn event(
        &self,
        environment: &Environment,
        service: Option<&ServiceName>,
        kind: &str,
        message: &str,
    ) -> Result<(), StoreError> {
        let event = NewEvent {
            project: environment.project.to_string(),
            environment: Some(environment.name.to_string()),
            service: service.map(ToString::to_string),
            time: self.now(),
            kind: kind.to_owned(),
            actor: None,
            message: message.to_owned(),
        };
        self.store().add_event(event).await.map(|_| ())
    }
    /// Lets what failed be tried again although its input has not changed, because somebody asks for it. Tags are looked
    /// up anew.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn retry(
        &self,
        project: &crate::name::ProjectName,
        environment: &crate::name::EnvironmentName,
        service: Option<&ServiceName>,
    ) -> Result<(), StoreError> {
        for (name, _) in self.records_of(project, environment).await? {
            if service.is_none_or(|service| *service == name) {
                let key = (project.clone(), environment.clone(), name);
                self.put_record(&key, |_, detail| detail.failed_digest = None).await?;
                self.0.pauses.end(&key);
            }
        }
        self.look_up_again(project, environment, service);
        self.hint(super::Hint::Environment(project.clone(), environment.clone()));
        Ok(())
    }
    async fn verdict(&self, work: &Work, verdict: &str, detail: Option<String>) -> Result<(), StoreError> {
        let Some(service) = work.prepared.as_ref().map(|prepared| &prepared.service) else { return Ok(()) };
        let repo = repo_of(service).and_then(|repo| self.url_of(&repo));
        let (Some(revision), Some(repo)) = (service.revision(), repo) else { return Ok(()) };
        self.verdict_on(work, (repo.key().to_owned(), revision.to_string()), verdict, detail).await
    }
    async fn verdict_on(
        &self,
        work: &Work,
        (repo, revision): (String, String),
        verdict: &str,
        detail: Option<String>,
    ) -> Result<(), StoreError> {
        self.store()
            .put_verdicts(vec![VerdictRow {
                repo,
                revision,
                project: work.environment.project.to_string(),
                environment: work.environment.name.to_string(),
                service: work.name.to_string(),
                verdict: verdict.to_owned(),
                detail,
                time: self.now(),
            }])
            .await
    }
}

/// An error's text, and the way out that it ends in.
pub(crate) fn cause_and_hint(message: &str) -> (&str, Option<&str>) {
    let (text, hint) =
        message.split_once("hint: ").map_or((message, None), |(text, hint)| (text, Some(hint)));
    (text.trim_end_matches([' ', ';', '\n']), hint)
}

fn artifact_of(work: &Work) -> Option<Value> {
    let image = work.prepared.as_ref()?.image.as_ref()?;
    Some(json!({"image": image}))
}

pub(super) fn repo_of(service: &Service) -> Option<String> {
    service.effective.spec.source.as_ref()?.repo.clone()
}

fn live_on(revision: Option<&str>) -> String {
    match revision {
        Some(revision) => format!("Live on {}", revision.get(..7).unwrap_or(revision)),
        None => "Live".to_owned(),
    }
}

/// What is said of something that was put back, unless it is only that the embedded cluster was started again.
fn healed(work: &Work, what: &str) -> Option<(&'static str, String)> {
    if work.handle.came_back_empty(&work.unit.name) {
        return None;
    }
    // what is gone as a whole was not changed by anybody
    let lost = work.unit.steps.iter().all(|step| step.action == crate::plan::Action::Create);
    let (kind, why) = if lost {
        ("restored", "it was gone from the cluster as a whole")
    } else {
        (HEALED, "it had been changed or removed in the cluster")
    };
    Some((kind, format!("{what}, because {why}")))
}

/// The headline of a service that something keeps from moving on.
fn and_yet(row: &ServiceRow, detail: &ServiceState, why: &str) -> String {
    let first = why.lines().next().unwrap_or_default();
    match &row.live_deployment {
        Some(_) => format!("Live on {} · {first}", short(detail.revision.as_deref())),
        None => first.to_owned(),
    }
}

fn short(revision: Option<&str>) -> &str {
    revision.map_or("its image", |revision| revision.get(..7).unwrap_or(revision))
}
