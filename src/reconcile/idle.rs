//! Whether anything is under way, for whoever waits.

use std::collections::BTreeSet;

use super::Reconciler;
use crate::name::{EnvironmentName, ProjectName, ServiceName};

/// A part of what is deployed; what is not named is meant as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Part<'a> {
    /// The name of a project.
    pub project: Option<&'a str>,
    /// The name of an environment.
    pub environment: Option<&'a str>,
    /// The name of a service.
    pub service: Option<&'a str>,
}

impl Part<'_> {
    /// Whether something lies in it; an attempt at an environment is one at all of its services.
    pub(super) fn has(
        &self,
        project: &ProjectName,
        environment: &EnvironmentName,
        service: Option<&ServiceName>,
    ) -> bool {
        self.project.is_none_or(|name| name == project.as_str())
            && self.environment.is_none_or(|name| name == environment.as_str())
            && service.is_none_or(|service| self.service.is_none_or(|name| name == service.as_str()))
    }
}

impl Reconciler {
    /// Waits until no hint is unserved, no environment is being attempted, no rollout runs and all is told.
    pub async fn idle(&self) {
        let mut busy = self.0.busy.subscribe();
        let mut looking = self.0.looking.subscribe();
        loop {
            // the sender lives in `self`, so waiting cannot fail
            let _ = looking.wait_for(|looking| *looking == 0).await;
            let _ = busy.wait_for(BTreeSet::is_empty).await;
            let idle = self.0.rollouts.idle().await && self.0.teller.idle().await;
            if idle && busy.borrow().is_empty() && *looking.borrow() == 0 {
                return;
            }
        }
    }

    /// Whether anything of this part is being attempted or rolled out, or may yet be, as long as somebody looks.
    pub async fn is_busy(&self, part: &Part<'_>) -> bool {
        let attempted =
            |(project, environment): &(ProjectName, EnvironmentName)| part.has(project, environment, None);
        *self.0.looking.borrow() > 0
            || self.0.busy.borrow().iter().any(attempted)
            || self.0.rollouts.any(part).await
            // what is told about a commit belongs to no environment
            || (part.environment.is_none() && self.0.teller.is_busy())
    }
}
