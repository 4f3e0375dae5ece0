//! Badges: an icon and a word, from the one table of states.

use serde::Serialize;

use crate::report::{ProjectStatus, State};
use crate::server::api::HELD;

/// What stands beside a name. The tone only colours what the word says already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Badge {
    icon: &'static str,
    word: String,
    tone: &'static str,
}

impl Badge {
    fn new(icon: &'static str, word: impl Into<String>, tone: &'static str) -> Self {
        // many fonts lack the sign for a pause, and some draw it in colours of their own
        let icon = if icon == "⏸" { "❚❚" } else { icon };
        Self { icon, word: word.into(), tone }
    }
}

/// The badge of a deployment; `step` is the one at which it failed.
pub(super) fn of_deployment(state: &str, step: Option<&str>) -> Badge {
    let Ok(state) = state.parse::<State>() else { return Badge::new("○", state, "quiet") };
    let tone = match state {
        State::Live => "good",
        State::AwaitingApproval => "warning",
        _ if state.is_broken() => "bad",
        _ if state.is_moving() && state != State::Queued => "moving",
        _ => "quiet",
    };
    Badge::new(state.icon(), state.badge(step), tone)
}

/// Whether a deployment ended without running as it should.
pub(super) fn is_broken(state: &str) -> bool {
    state.parse::<State>().is_ok_and(State::is_broken)
}

/// The badge of a service in an environment.
pub(super) fn of_service(state: &str) -> Badge {
    match state {
        "notReleased" => Badge::new("○", "Not released", "quiet"),
        "pending" => Badge::new("◔", "Pending", "moving"),
        "live" => Badge::new("●", "Live", "good"),
        "completed" => Badge::new("●", "Completed", "good"),
        "degraded" => Badge::new("▲", "Degraded", "bad"),
        "failed" => Badge::new("✖", "Failed", "bad"),
        "crashed" => Badge::new("✖", "Crashed", "bad"),
        "sleeping" => Badge::new("☾", "Sleeping", "quiet"),
        "paused" => Badge::new("⏸", "Paused", "warning"),
        "held" => Badge::new("⏸", "Held", "warning"),
        other => Badge::new("○", other, "quiet"),
    }
}

/// The badge of a project, by its status in the API.
pub(super) fn of_project(status: &str) -> Badge {
    if status == ProjectStatus::Failed.as_str() {
        Badge::new("✖", "Failed", "bad")
    } else if status == ProjectStatus::Building.as_str() {
        Badge::new("◔", "Building", "moving")
    } else if status == HELD {
        Badge::new("⏸", "Held", "warning")
    } else {
        Badge::new("●", "Active", "good")
    }
}

/// The badge of a step of a deployment.
pub(super) fn of_step(state: &str) -> Badge {
    match state {
        "done" => Badge::new("✔", "Done", "good"),
        "running" => Badge::new("◔", "Running", "moving"),
        "failed" => Badge::new("✖", "Failed", "bad"),
        "waiting" => Badge::new("○", "Waiting", "quiet"),
        "skipped" => Badge::new("–", "Not needed", "quiet"),
        "notBegun" => Badge::new("◌", "Not begun", "quiet"),
        other => Badge::new("◌", other, "quiet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::STATES;

    #[test]
    fn every_state_of_the_table_has_a_word_of_its_own() {
        for state in State::ALL {
            assert_ne!(of_deployment(state.as_str(), None).word, state.as_str(), "{state}");
        }
        for state in STATES {
            assert_ne!(of_service(state).word, state);
        }
        assert_eq!(of_deployment("failed", Some("Build")), Badge::new("✖", "Failed at build", "bad"));
    }
}
