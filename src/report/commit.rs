//! All check runs of one commit: the aggregate `branchline`, which can be required, and one per service.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Reporter;
use super::check::{Annotation, Check, CheckStatus, Conclusion};
use super::left::{self, Aside, Left, Why};
use super::markdown::{Pen, count};
use super::outcome::{Cause, ServiceOutcome};
use super::service;
use super::state::State;

/// Services of one commit that get a check run of their own; with more, the aggregate alone lists the rest. GitHub
/// takes 500 writes an hour (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>), and
/// each service needs about three.
pub const SERVICE_CHECKS: usize = 40;
/// Rows of the aggregate's table; beyond them stands a count.
pub(super) const ROWS: usize = 200;

/// What became of one commit.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitOutcome {
    /// The services that it affects.
    pub services: Vec<ServiceOutcome>,
    /// Services that read its branch and get no deployment for it.
    pub left: Vec<Left>,
    /// Whether it is not known yet what it affects, or not all of that has begun.
    pub waits: bool,
    /// Why nothing can be said of services: the step that failed before any is known, and the cause.
    pub failure: Option<(&'static str, Cause)>,
    /// Why it affects no service, whatever it changes.
    pub aside: Option<Aside>,
    /// Our page of the commit.
    pub page: Option<String>,
    /// Now: the end, where nothing moves any more and no service says when.
    pub updated: Timestamp,
}

impl CommitOutcome {
    /// A commit that affects nothing.
    #[must_use]
    pub fn of(updated: Timestamp) -> Self {
        Self {
            services: Vec::new(),
            left: Vec::new(),
            waits: false,
            failure: None,
            aside: None,
            page: None,
            updated,
        }
    }

    /// The one word on the commit, as `branchline why` says it.
    #[must_use]
    pub fn verdict(&self) -> String {
        let of = |wanted: fn(State) -> bool| self.services.iter().find(|service| wanted(service.state));
        if let Some((step, _)) = &self.failure {
            return format!("failed at {step}");
        }
        if self.waits || of(State::is_moving).is_some() {
            return "under way".to_owned();
        }
        if let Some(broken) = of(has_failed) {
            return broken.step().map_or_else(|| "failed".to_owned(), |step| format!("failed at {step}"));
        }
        if of(|state| state == State::AwaitingApproval).is_some() {
            return "held".to_owned();
        }
        if !self.services.is_empty() {
            let all_left = self.services.iter().all(|service| is_left(service.state));
            return if all_left { "superseded" } else { "deployed" }.to_owned();
        }
        match &self.aside {
            Some(Aside::Fork(_)) => "fork",
            Some(Aside::NoPreview(_)) => "no preview",
            Some(Aside::Closed) => "closed",
            Some(Aside::Superseded(_)) => "superseded",
            None => self.loudest().map_or("no input changed", |why| why.verdict().0),
        }
        .to_owned()
    }

    /// What matters most about the services that are left as they are.
    fn loudest(&self) -> Option<&Why> {
        let rank = |why: &Why| match why {
            Why::Superseded(_) => 0,
            Why::Removed => 1,
            Why::Waits => 2,
            Why::Held(_) => 3,
            Why::FollowsReleases | Why::NoInputChanged => 4,
        };
        self.left.iter().map(|left| &left.why).min_by_key(|why| rank(why))
    }
}

impl Reporter {
    /// The check runs of a commit, the aggregate first.
    #[must_use]
    pub fn commit(&self, outcome: &CommitOutcome) -> Vec<Check> {
        let mut services: Vec<&ServiceOutcome> = outcome.services.iter().collect();
        services.sort_by_key(|service| service.path());
        let mut checks = vec![self.aggregate(outcome, &services)];
        checks.extend(services.iter().take(SERVICE_CHECKS).filter_map(|service| self.service(service)));
        checks
    }

    fn aggregate(&self, outcome: &CommitOutcome, services: &[&ServiceOutcome]) -> Check {
        let pen = self.pen();
        let standing = standing(outcome, services);
        let (title, summary) = words(pen, outcome, services);
        let mut check =
            Check::new("branchline".to_owned(), standing, &title, &summary, outcome.page.as_deref());
        check.annotations = annotations(pen, outcome, services);
        check.started_at = services.iter().filter_map(|service| service.started).min();
        if standing.0 == CheckStatus::Completed {
            check.completed_at =
                Some(services.iter().map(|service| service.updated).max().unwrap_or(outcome.updated));
        }
        check
    }
}

fn annotations(pen: Pen<'_>, outcome: &CommitOutcome, services: &[&ServiceOutcome]) -> Vec<Annotation> {
    // the services' own check runs carry theirs; only what has none stands here
    let beyond = services.iter().skip(SERVICE_CHECKS).filter_map(|service| service.cause.as_ref());
    outcome
        .failure
        .iter()
        .map(|(_, cause)| cause)
        .chain(beyond)
        .filter_map(|cause| service::annotation(pen, cause, ""))
        .collect()
}

/// The worst of all, once nothing moves any more.
fn standing(outcome: &CommitOutcome, services: &[&ServiceOutcome]) -> (CheckStatus, Option<Conclusion>) {
    let completed = |conclusion| (CheckStatus::Completed, Some(conclusion));
    let any = |wanted: fn(State) -> bool| services.iter().any(|service| wanted(service.state));
    if outcome.failure.is_some() {
        return completed(Conclusion::Failure);
    }
    if outcome.waits || any(State::is_moving) {
        let all_wait = services.iter().all(|service| service.state == State::Queued);
        let status = if all_wait { CheckStatus::Queued } else { CheckStatus::InProgress };
        return (status, None);
    }
    if any(has_failed) {
        return completed(Conclusion::Failure);
    }
    if any(|state| state == State::AwaitingApproval) {
        return completed(Conclusion::ActionRequired);
    }
    if !services.is_empty() {
        let all_left = services.iter().all(|service| is_left(service.state));
        return completed(if all_left { Conclusion::Cancelled } else { Conclusion::Success });
    }
    match (&outcome.aside, outcome.loudest()) {
        (Some(Aside::Closed), _) => completed(Conclusion::Neutral),
        (Some(Aside::Superseded(_)), _) | (None, Some(Why::Superseded(_))) => {
            completed(Conclusion::Cancelled)
        }
        _ => completed(Conclusion::Success),
    }
}

/// Whether it was called off before it ran.
fn is_left(state: State) -> bool {
    matches!(state, State::Superseded | State::Cancelled)
}

/// Whether it never got to run; a crash after that is an event of its own.
fn has_failed(state: State) -> bool {
    matches!(state, State::Failed | State::TimedOut)
}

fn words(pen: Pen<'_>, outcome: &CommitOutcome, services: &[&ServiceOutcome]) -> (String, String) {
    if let Some((_, failure)) = &outcome.failure {
        return (pen.plain(&failure.message), service::cause(pen, failure));
    }
    if let (Some(aside), [], false) = (&outcome.aside, services, outcome.waits) {
        return left::set_aside(pen, aside);
    }
    let mut summary = String::new();
    if !services.is_empty() {
        summary.push_str("| Service | Status | Address |\n|---|---|---|\n");
        for service in services.iter().take(ROWS) {
            let live = service.url.as_deref().filter(|_| service.state == State::Live);
            let url = live.map(|url| pen.link(url, url)).unwrap_or_default();
            let name = match &service.page {
                Some(page) => pen.link(&service.path(), page),
                None => pen.text(&service.path()),
            };
            let _ = writeln!(summary, "| {name} | {} | {url} |", service::badge(pen, service));
        }
        if services.len() > ROWS {
            let _ = writeln!(summary, "\n… and {}.", count(services.len() - ROWS, "more service"));
        }
    }
    for broken in services.iter().filter(|service| has_failed(service.state)).take(5) {
        if let Some(cause) = &broken.cause {
            let _ = write!(
                summary,
                "\n**{}** {}\n\n{}",
                pen.text(&broken.path()),
                pen.text(&broken.badge().to_lowercase()),
                service::cause(pen, cause)
            );
        }
    }
    left::left(pen, outcome, &mut summary);
    if summary.is_empty() {
        summary.push_str(if outcome.waits {
            "It is being looked at.\n"
        } else {
            "No service reads what this commit changes, so nothing is built or deployed.\n"
        });
    }
    (pen.plain(&title(outcome, services)), summary)
}

fn title(outcome: &CommitOutcome, services: &[&ServiceOutcome]) -> String {
    let all = services.len();
    let of = |wanted: fn(State) -> bool| services.iter().filter(|service| wanted(service.state)).count();
    let broken = of(has_failed);
    let moving = of(State::is_moving);
    let asked = of(|state| state == State::AwaitingApproval);
    match services {
        [] if outcome.waits => "Queued".to_owned(),
        [] => match outcome.loudest() {
            Some(Why::Superseded(by)) => format!("Superseded by {}", by.short()),
            Some(Why::Removed) => {
                let removed = outcome.left.iter().filter(|left| left.why == Why::Removed).count();
                format!("{} removed", count(removed, "service"))
            }
            Some(Why::Waits) => "Waits for `branchline deploy`".to_owned(),
            _ => "No affected services".to_owned(),
        },
        // what came after it was live is no news of the commit
        [one] if one.state.check().is_none() => {
            format!("{}: was live on {}", one.path(), one.revision.short())
        }
        [one] => format!("{}: {}", one.path(), one.headline()),
        _ if broken > 0 => {
            let first = services.iter().find(|service| has_failed(service.state));
            let name =
                first.map(|service| format!(": {} {}", service.path(), service.badge().to_lowercase()));
            format!("{broken} of {} failed{}", count(all, "service"), name.unwrap_or_default())
        }
        _ if moving > 0 => format!("{} of {} live", of(|state| state == State::Live), count(all, "service")),
        _ if asked > 0 => format!("{asked} of {} wait for approval", count(all, "service")),
        _ if of(|state| state == State::Live) == all => format!("{} live", count(all, "service")),
        _ => {
            let live = of(|state| state == State::Live);
            match of(|state| matches!(state, State::Superseded | State::Cancelled)) {
                0 => format!("{live} of {} live", count(all, "service")),
                others => format!("{} live, {others} superseded or cancelled", count(live, "service")),
            }
        }
    }
}
