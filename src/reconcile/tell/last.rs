//! The last word on a commit: written where people read it, and kept for `branchline why`.

use jiff::Timestamp;

use super::{MOST, prefix};
use crate::github::{concluded_check, is_concluded};
use crate::name::Revision;
use crate::reconcile::Reconciler;
use crate::report::{CommitOutcome, Conclusion, Left, ServiceOutcome, State};
use crate::source::RepositoryUrl;
use crate::store::{SeenCommit, StoreError, Verdict};

impl Reconciler {
    /// The last word on a commit: none of its check runs is left without a conclusion, and `branchline why` knows.
    pub(super) async fn conclude(
        &self,
        url: &RepositoryUrl,
        revision: &Revision,
        rows: &[SeenCommit],
        outcome: &CommitOutcome,
        title: &str,
    ) -> Result<(), StoreError> {
        let now = self.0.parts.clock.now();
        if let Some(prefix) = prefix(url, revision) {
            for item in self.store().outbox_items(&prefix, MOST).await? {
                if is_concluded(&item) {
                    continue;
                }
                // a deployment that went live, and was replaced before anybody was told
                let is_of = |service: &&ServiceOutcome| item.key.ends_with(&service.check_name());
                let state = outcome.services.iter().find(is_of).map(|service| service.state);
                let (conclusion, title) = match state {
                    Some(State::Replaced | State::Removed | State::Crashed) => {
                        (Conclusion::Success, "Was live")
                    }
                    _ => (Conclusion::Cancelled, "Superseded"),
                };
                if let Some(want) = concluded_check(&item, conclusion, title, now) {
                    self.store().want(want).await?;
                }
            }
        }
        let mut verdicts = Vec::new();
        for service in &outcome.services {
            let (verdict, detail) = verdict_on(service, revision);
            let key =
                (service.project.to_string(), service.environment.to_string(), service.service.to_string());
            verdicts.push(verdict_row(url, revision, key, &verdict, detail, now));
        }
        // what the commit left alone at first may have been brought to it later, by a promotion
        let later = |left: &&Left| outcome.services.iter().all(|service| service.path() != left.service);
        for left in outcome.left.iter().filter(later) {
            let mut names = left.service.splitn(3, '/').map(str::to_owned);
            let (verdict, detail) = left.why.verdict();
            if let (Some(project), Some(environment), Some(service)) =
                (names.next(), names.next(), names.next())
            {
                verdicts.push(verdict_row(
                    url,
                    revision,
                    (project, environment, service),
                    verdict,
                    detail,
                    now,
                ));
            }
        }
        self.store().put_verdicts(verdicts).await?;
        self.store().conclude_commit(rows, &outcome.verdict(), Some(title), now).await
    }
}

fn verdict_row(
    url: &RepositoryUrl,
    revision: &Revision,
    (project, environment, service): (String, String, String),
    verdict: &str,
    detail: Option<String>,
    time: Timestamp,
) -> Verdict {
    let (repo, revision) = (url.key().to_owned(), revision.to_string());
    Verdict { repo, revision, project, environment, service, verdict: verdict.to_owned(), detail, time }
}

/// The verdict on a service, and more about it.
fn verdict_on(service: &ServiceOutcome, revision: &Revision) -> (String, Option<String>) {
    match service.state {
        State::Failed | State::TimedOut => {
            let step = service.step().map_or_else(|| "failed".to_owned(), |step| format!("failed at {step}"));
            let detail = service.cause.as_ref().map(|cause| {
                let hint = cause.hint.iter().map(|hint| format!("hint: {hint}"));
                let log = cause.log.iter().map(|line| format!("  {line}"));
                std::iter::once(cause.message.clone()).chain(hint).chain(log).collect::<Vec<_>>().join("\n")
            });
            (step, detail)
        }
        State::Superseded => ("superseded".to_owned(), None),
        State::Cancelled => ("closed".to_owned(), None),
        State::AwaitingApproval => {
            ("held".to_owned(), service.cause.as_ref().map(|cause| cause.message.clone()))
        }
        _ => {
            let other = (service.revision != *revision).then(|| format!("at {}", service.revision.short()));
            ("deployed".to_owned(), other)
        }
    }
}
