//! All check runs of one commit: the aggregate `branchline`, which can be required, and one per service.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Reporter;
use super::check::{Annotation, Check, CheckStatus, Conclusion};
use super::markdown::{Pen, count};
use super::outcome::{Cause, ServiceOutcome};
use super::service;
use super::state::State;

/// Services of one commit that get a check run of their own; with more, the aggregate alone lists the rest. GitHub
/// takes 500 writes an hour (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>), and
/// each service needs about three.
pub const SERVICE_CHECKS: usize = 40;
/// Rows of the aggregate's table; beyond them stands a count.
const ROWS: usize = 200;

/// What became of one commit.
#[derive(Debug, Clone, PartialEq)]
pub struct CommitOutcome {
    /// The services that it affects.
    pub services: Vec<ServiceOutcome>,
    /// Services that it leaves as they are, as `environment/service`.
    pub untouched: Vec<String>,
    /// Why nothing can be said of services: the clone, the parsing or the rendering failed.
    pub failure: Option<Cause>,
    /// The repository of the head, where a pull request comes from another one: nothing of it is fetched or built.
    pub from_fork: Option<String>,
    /// Our page of the commit.
    pub page: Option<String>,
    /// Now: the end, where nothing moves any more and no service says when.
    pub updated: Timestamp,
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
    outcome.failure.iter().chain(beyond).filter_map(|cause| service::annotation(pen, cause, "")).collect()
}

/// The worst of all, once nothing moves any more.
fn standing(outcome: &CommitOutcome, services: &[&ServiceOutcome]) -> (CheckStatus, Option<Conclusion>) {
    let completed = |conclusion| (CheckStatus::Completed, Some(conclusion));
    let any = |wanted: fn(State) -> bool| services.iter().any(|service| wanted(service.state));
    if outcome.failure.is_some() {
        return completed(Conclusion::Failure);
    }
    if any(State::is_moving) {
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
    let left = |state| matches!(state, State::Superseded | State::Cancelled);
    if !services.is_empty() && services.iter().all(|service| left(service.state)) {
        return completed(Conclusion::Cancelled);
    }
    completed(Conclusion::Success)
}

/// Whether it never got to run; a crash after that is an event of its own.
fn has_failed(state: State) -> bool {
    matches!(state, State::Failed | State::TimedOut)
}

fn words(pen: Pen<'_>, outcome: &CommitOutcome, services: &[&ServiceOutcome]) -> (String, String) {
    if let Some(failure) = &outcome.failure {
        return (pen.plain(&failure.message), service::cause(pen, failure));
    }
    if let Some(fork) = &outcome.from_fork {
        let title = format!("No preview: the head is in {}", pen.plain(fork));
        let summary = format!(
            "The head of this pull request is in another repository, {}. Nothing of it is fetched, built or run: \
             its code would run with the rights of this one.\n\n\
             **What to do:** push the branch to this repository, where that is wanted; its preview follows.\n",
            pen.code(fork)
        );
        return (title, summary);
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
    if !outcome.untouched.is_empty() {
        let _ = write!(
            summary,
            "\n<details><summary>{} untouched</summary>\n\n{}\n\n</details>\n",
            count(outcome.untouched.len(), "service"),
            service::names(pen, &outcome.untouched)
        );
    }
    if summary.is_empty() {
        summary.push_str("No service reads what this commit changes, so nothing is built or deployed.\n");
    }
    (pen.plain(&title(services)), summary)
}

fn title(services: &[&ServiceOutcome]) -> String {
    let all = services.len();
    let of = |wanted: fn(State) -> bool| services.iter().filter(|service| wanted(service.state)).count();
    let broken = of(has_failed);
    let moving = of(State::is_moving);
    let asked = of(|state| state == State::AwaitingApproval);
    match services {
        [] => "No affected services".to_owned(),
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
        _ => format!(
            "{} live, {} superseded or cancelled",
            count(of(|state| state == State::Live), "service"),
            of(|state| matches!(state, State::Superseded | State::Cancelled))
        ),
    }
}
