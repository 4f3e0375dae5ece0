//! The check run `branchline / plan`: what a pull request of the config repository would change.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Reporter;
use super::check::{Check, CheckStatus, Conclusion};
use super::markdown::{Pen, count};
use super::outcome::{Cause, Changes};
use super::service;
use crate::name::{EnvironmentName, ProjectName, Revision};

/// The plan of a pull request.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanOutcome {
    /// Its head.
    pub head: Revision,
    /// The base that the head was merged onto.
    pub base: Revision,
    /// The plan of each environment that it affects.
    pub environments: Vec<EnvironmentPlan>,
    /// Our page.
    pub page: Option<String>,
    /// When it was made.
    pub planned: Timestamp,
}

/// The plan of one environment.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentPlan {
    /// Its project.
    pub project: ProjectName,
    /// Its name.
    pub environment: EnvironmentName,
    /// How many objects it touches.
    pub changes: Changes,
    /// The objects that go, as `Deployment/shop-staging/api`.
    pub destroys: Vec<String>,
    /// The plan as a reviewer reads it.
    pub text: String,
    /// Why the merge would not be applied by itself, such as the brake.
    pub held: Option<String>,
    /// Why it cannot be planned.
    pub failure: Option<Cause>,
}

impl Reporter {
    /// The check run of a plan.
    #[must_use]
    pub fn plan(&self, outcome: &PlanOutcome) -> Check {
        let pen = self.pen();
        let failed = outcome.environments.iter().filter(|plan| plan.failure.is_some()).count();
        let held = outcome.environments.iter().any(|plan| plan.held.is_some());
        let conclusion = match (failed, held) {
            (0, false) => Conclusion::Success,
            (0, true) => Conclusion::ActionRequired,
            _ => Conclusion::Failure,
        };
        let title = match failed {
            0 => total(&outcome.environments),
            n => format!("{n} of {} cannot be planned", count(outcome.environments.len(), "environment")),
        };
        let mut summary = format!(
            "Planned for {} merged onto {}, against what runs now.\n",
            pen.code(outcome.head.short()),
            pen.code(outcome.base.short())
        );
        if outcome.environments.is_empty() {
            summary.push_str("\nMerging this changes nothing that runs.\n");
        }
        for plan in &outcome.environments {
            let _ = write!(summary, "\n{}", environment(pen, plan));
        }
        let standing = (CheckStatus::Completed, Some(conclusion));
        let name = "branchline / plan".to_owned();
        let mut check = Check::new(name, standing, &title, &summary, outcome.page.as_deref());
        check.annotations = outcome
            .environments
            .iter()
            .filter_map(|plan| service::annotation(pen, plan.failure.as_ref()?, ""))
            .collect();
        check.completed_at = Some(outcome.planned);
        check
    }
}

/// `Plan: 3 to add, 1 to change, 0 to destroy`, over all environments.
pub(super) fn total(plans: &[EnvironmentPlan]) -> String {
    let sum = |of: fn(&Changes) -> usize| plans.iter().map(|plan| of(&plan.changes)).sum::<usize>();
    let (add, change, destroy) = (sum(|c| c.add), sum(|c| c.change), sum(|c| c.destroy));
    match add + change + destroy {
        0 => "No changes".to_owned(),
        _ => format!("Plan: {add} to add, {change} to change, {destroy} to destroy"),
    }
}

/// The plan of an environment, its text folded, what goes in bold above it.
pub(super) fn environment(pen: Pen<'_>, plan: &EnvironmentPlan) -> String {
    let mut out = format!("#### {}/{}\n\n", plan.project, plan.environment);
    if let Some(failure) = &plan.failure {
        out.push_str(&service::cause(pen, failure));
        return out;
    }
    if let Some(held) = &plan.held {
        let _ = writeln!(out, "⏸ Held: {}.\n", pen.text(held));
    }
    for object in plan.destroys.iter().take(20) {
        let _ = writeln!(out, "- **destroys {}**", pen.text(object));
    }
    if plan.destroys.len() > 20 {
        let _ = writeln!(out, "- **… and {}**", count(plan.destroys.len() - 20, "more object"));
    }
    let headline = total(std::slice::from_ref(plan));
    let _ = write!(
        out,
        "\n<details><summary>{headline}</summary>\n\n{}\n</details>\n",
        pen.block("diff", &plan.text)
    );
    out
}
