//! What stands on a commit where there is no forge: plain text for `git log --notes=branchline`.

use std::fmt::Write as _;

use super::Reporter;
use super::check::Check;
use super::commit::CommitOutcome;
use super::config::ConfigOutcome;
use super::state::State;

impl Reporter {
    /// The note of a commit: what its check runs would say. The same outcomes make the same text.
    #[must_use]
    pub fn note(&self, commit: Option<&CommitOutcome>, config: Option<&ConfigOutcome>) -> String {
        let mut note = String::new();
        if let Some(config) = config {
            self.lines(&mut note, &self.config(config), None);
        }
        let Some(commit) = commit else { return note };
        for check in self.commit(commit) {
            let of_check = |service: &&super::ServiceOutcome| {
                service.state == State::Live
                    && self.service(service).is_some_and(|own| own.name == check.name)
            };
            let url = commit.services.iter().find(of_check).and_then(|service| service.url.as_deref());
            self.lines(&mut note, &check, url);
        }
        note
    }

    fn lines(&self, note: &mut String, check: &Check, url: Option<&str>) {
        let pen = self.pen();
        let _ = writeln!(note, "{}: {}", pen.plain(&check.name), pen.plain(&check.title));
        for annotation in &check.annotations {
            let place = format!("{}:{}:{}", annotation.path, annotation.start_line, annotation.start_column);
            let message = pen.lines(&annotation.message).replace('\n', "\n    ");
            let _ = writeln!(note, "  {}: {message}", pen.plain(&place));
        }
        for address in url.into_iter().chain(check.details_url.as_deref()) {
            let _ = writeln!(note, "  {}", pen.plain(address));
        }
    }
}
