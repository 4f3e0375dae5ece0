//! The verbs of the API. Each is a commit to Git, a hint, or a word to the brake.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use warp::http::StatusCode;

use super::super::Problem;
use super::{of_store, read};
use crate::name::{EnvironmentName, ProjectName, Revision, ServiceName};
use crate::reconcile::{Hint, Pinned, Reconciler, ReleaseError, chain};
use crate::source::Person;

/// The largest body of a verb.
pub(super) const LARGEST: u64 = 1 << 20;
/// As many digits of a plan as an approval must name.
const PLAN_DIGITS: usize = 8;

/// What can be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Sync,
    Promote,
    RollBack,
    Resume,
    Deploy,
    Approve,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    project: ProjectName,
    from: EnvironmentName,
    to: EnvironmentName,
    #[serde(default)]
    services: Vec<ServiceName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    project: ProjectName,
    environment: EnvironmentName,
    service: ServiceName,
    to: Option<Revision>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resumption {
    project: ProjectName,
    environment: EnvironmentName,
    service: ServiceName,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deploy {
    project: ProjectName,
    environment: EnvironmentName,
    service: Option<ServiceName>,
    revision: Option<Revision>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approval {
    plan: String,
}

impl Verb {
    pub(super) async fn run(self, reconciler: &Reconciler, body: Value) -> Result<Value, Problem> {
        match self {
            Self::Sync => {
                reconciler.hint(Hint::Everything);
                Ok(json!({"hinted": true}))
            }
            Self::Promote => {
                let wanted: Promotion = parse(body)?;
                let (project, from, to) = (&wanted.project, &wanted.from, &wanted.to);
                known(reconciler, (project, to), None)?;
                known(reconciler, (project, from), None)?;
                let result = reconciler.promote(project, from, to, &wanted.services, operator()).await;
                pinned(reconciler, result)
            }
            Self::RollBack => {
                let wanted: Rollback = parse(body)?;
                let (project, environment, service) = (&wanted.project, &wanted.environment, &wanted.service);
                known(reconciler, (project, environment), Some(service))?;
                let to = wanted.to.as_ref();
                let result = reconciler.roll_back(project, environment, service, to, operator()).await;
                pinned(reconciler, result)
            }
            Self::Resume => {
                let wanted: Resumption = parse(body)?;
                let (project, environment, service) = (&wanted.project, &wanted.environment, &wanted.service);
                known(reconciler, (project, environment), Some(service))?;
                pinned(reconciler, reconciler.resume(project, environment, service, operator()).await)
            }
            Self::Deploy => deploy(reconciler, parse(body)?).await,
            Self::Approve => approve(reconciler, &parse::<Approval>(body)?.plan).await,
        }
    }
}

fn parse<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    serde_json::from_value(body).map_err(|error| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalidBody",
            format!("The request cannot be understood: {error}."),
        )
    })
}

/// Until accounts exist, whoever holds the token is the operator.
fn operator() -> Person {
    Person { name: "operator".to_owned(), email: "operator@localhost".to_owned() }
}

fn pinned(reconciler: &Reconciler, result: Result<Pinned, ReleaseError>) -> Result<Value, Problem> {
    let trouble = reconciler.snapshot().borrow().trouble.clone();
    match result {
        Ok(pinned) => {
            Ok(json!({"revision": pinned.revision, "path": pinned.path, "changed": pinned.changed}))
        }
        Err(error @ ReleaseError::NoEnvironment(..)) => Err(match trouble {
            // environment and service were known a moment ago, so the config at its head cannot be what it should be
            Some(trouble) => read::unreadable(&trouble),
            None => said(StatusCode::NOT_FOUND, "notFound", &error.to_string()),
        }),
        Err(ReleaseError::Unknown(message)) => Err(said(StatusCode::NOT_FOUND, "notFound", &message)),
        Err(ReleaseError::NotNow(message)) => Err(said(StatusCode::CONFLICT, "notNow", &message)),
        Err(ReleaseError::Store(error)) => Err(of_store(&error)),
        Err(error @ ReleaseError::Source(_)) => {
            Err(Problem::new(StatusCode::BAD_GATEWAY, "gitFailed", chain(&error)))
        }
    }
}

/// A clause of another room, with its hint, as a sentence and the way out.
fn said(status: StatusCode, code: &'static str, message: &str) -> Problem {
    let (clause, hint) = message.split_once("; hint: ").map_or((message, None), |(c, hint)| (c, Some(hint)));
    let mut letters = clause.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    let problem = Problem::new(status, code, format!("{first}{}.", letters.as_str()));
    match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// Says so where there is no such environment, or no such service in it.
fn known(
    reconciler: &Reconciler,
    (project, environment): (&ProjectName, &EnvironmentName),
    service: Option<&ServiceName>,
) -> Result<(), Problem> {
    let snapshot = reconciler.snapshot().borrow().clone();
    let found = read::environment(&snapshot, project.as_str(), environment.as_str())?;
    service.map_or(Ok(()), |service| read::known_service(&found, service.as_str()))
}

async fn deploy(reconciler: &Reconciler, wanted: Deploy) -> Result<Value, Problem> {
    known(reconciler, (&wanted.project, &wanted.environment), wanted.service.as_ref())?;
    let Some(revision) = wanted.revision else {
        let (project, environment) = (&wanted.project, &wanted.environment);
        if let Some(service) = &wanted.service {
            // an environment that follows releases has the newest revision by a pin alone
            let newest = reconciler.pin_newest(project, environment, service, operator()).await.transpose();
            match newest.map(|newest| pinned(reconciler, newest)) {
                Some(Ok(answer)) if answer["changed"] == false => {}
                Some(answer) => return answer,
                None => {}
            }
        }
        let hinted = reconciler.retry(project, environment, wanted.service.as_ref()).await;
        return hinted.map(|()| json!({"hinted": true})).map_err(|error| of_store(&error));
    };
    let Some(service) = wanted.service else {
        let message = "A revision belongs to one service.";
        return Err(
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "noService", message).hint("name the service")
        );
    };
    let (project, environment) = (&wanted.project, &wanted.environment);
    let result = reconciler.pin_revision(project, environment, &service, revision, operator()).await;
    pinned(reconciler, result)
}

async fn approve(reconciler: &Reconciler, plan: &str) -> Result<Value, Problem> {
    let held = reconciler.held().await.map_err(|error| of_store(&error))?;
    let mut matching: Vec<_> = held.into_iter().filter_map(|held| held.plan).collect();
    matching.retain(|id| plan.len() >= PLAN_DIGITS && id.to_string().starts_with(plan));
    let [id] = matching.as_slice() else {
        return Err(Problem::not_found(format!("No plan `{plan}` is held."))
            .hint("`branchline status` shows what is held"));
    };
    reconciler.approve(*id).await.map_err(|error| of_store(&error))?;
    Ok(json!({"approved": id}))
}
