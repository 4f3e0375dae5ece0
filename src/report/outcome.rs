//! What became of a service: the input of every report.

use std::time::Duration;

use jiff::Timestamp;

use super::state::State;
use crate::name::{EnvironmentName, ProjectName, Revision, ServiceName};
use crate::yaml::Place;

/// What became of one service in one environment.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceOutcome {
    /// Its project.
    pub project: ProjectName,
    /// Its environment.
    pub environment: EnvironmentName,
    /// Its name.
    pub service: ServiceName,
    /// The revision that this is about.
    pub revision: Revision,
    /// Where its deployment stands.
    pub state: State,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// Where it answers, once it does.
    pub url: Option<String>,
    /// Our page of the deployment, where people can reach our pages.
    pub page: Option<String>,
    /// What it changes in the cluster, once that is known.
    pub changes: Option<Changes>,
    /// Why it failed, waits or was left.
    pub cause: Option<Cause>,
    /// The revision that goes on serving where this one failed.
    pub serving: Option<Revision>,
    /// When its deployment began.
    pub started: Option<Timestamp>,
    /// When its state last changed; the end, where it has ended.
    pub updated: Timestamp,
}

/// A step of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name, such as `build`.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// How long it took, once it has ended.
    pub took: Option<Duration>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepState {
    /// Its turn has not come.
    Waiting,
    /// It is at work.
    Running,
    /// It is done.
    Done,
    /// It failed.
    Failed,
    /// There was nothing to do.
    Skipped,
}

/// How many objects a plan touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Made.
    pub add: usize,
    /// Changed.
    pub change: usize,
    /// Taken away.
    pub destroy: usize,
}

/// Why something did not go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// What went wrong, in one sentence without a full stop.
    pub message: String,
    /// The line that it is about, in the repository of the commit that is reported on.
    pub place: Option<Place>,
    /// The way out.
    pub hint: Option<String>,
    /// The last lines of the log.
    pub log: Vec<String>,
}

impl Cause {
    /// A cause of one sentence.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

impl ServiceOutcome {
    /// `shop/staging/api`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.project, self.environment, self.service)
    }

    /// The name of its own check run.
    #[must_use]
    pub fn check_name(&self) -> String {
        format!("branchline / {}/{} / {}", self.project, self.environment, self.service)
    }

    /// The step that failed, or is at work.
    #[must_use]
    pub fn step(&self) -> Option<&str> {
        let at = |state| self.steps.iter().find(|step| step.state == state).map(|step| step.name.as_str());
        at(StepState::Failed).or_else(|| at(StepState::Running))
    }

    /// Its badge in words: `Failed at build`.
    #[must_use]
    pub fn badge(&self) -> String {
        self.state.badge(self.step())
    }

    /// The sentence that says it all: `Live on 3f2c1aa`, `Failed at build: cc is not installed`.
    #[must_use]
    pub fn headline(&self) -> String {
        let badge = self.badge();
        match (&self.cause, self.state) {
            (_, State::Live) => format!("{badge} on {}", self.revision.short()),
            (Some(cause), _) => format!("{badge}: {}", cause.message),
            (None, state) if state.is_moving() => format!("{badge} {}", self.revision.short()),
            (None, _) => badge,
        }
    }
}
