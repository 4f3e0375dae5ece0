//! Check runs: found by our own id before a second one is made, written with all of their annotations.

use std::collections::BTreeMap;

use http::Method;
use serde::{Deserialize, Serialize};

use super::client::{As, Ask, Client};
use super::error::GitHubError;
use crate::name::{RepoSlug, Revision};
use crate::report::{Action, Annotation, Check, CheckStatus, Conclusion};

/// Annotations that one request may carry; further requests add to them
/// (<https://docs.github.com/en/rest/checks/runs#update-a-check-run>, `output.annotations`).
const ANNOTATIONS: usize = 50;
/// Annotations of one run; what lies beyond stands in its summary.
const ALL_ANNOTATIONS: usize = 500;

/// A check run that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) id: u64,
    /// How many annotations it has already.
    annotations: usize,
}

#[derive(Deserialize)]
struct WireRun {
    id: u64,
    #[serde(default)]
    external_id: Option<String>,
    #[serde(default)]
    output: WireOutput,
}

#[derive(Deserialize, Default)]
struct WireOutput {
    #[serde(default)]
    annotations_count: usize,
}

#[derive(Deserialize)]
struct WireRuns {
    check_runs: Vec<WireRun>,
}

#[derive(Serialize)]
struct Write<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_sha: Option<&'a str>,
    external_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details_url: Option<&'a str>,
    status: CheckStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    conclusion: Option<Conclusion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    output: Output<'a>,
    actions: &'a [Action],
}

#[derive(Serialize)]
struct Output<'a> {
    title: &'a str,
    summary: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    annotations: &'a [Annotation],
}

impl From<WireRun> for Run {
    fn from(wire: WireRun) -> Self {
        Self { id: wire.id, annotations: wire.output.annotations_count }
    }
}

impl Client {
    /// The check runs that we made on a commit, by our own id.
    pub(super) async fn our_runs(
        &self,
        repository: &RepoSlug,
        revision: &Revision,
    ) -> Result<BTreeMap<String, Run>, GitHubError> {
        let app = self.inner.app.map(|id| format!("&app_id={id}")).unwrap_or_default();
        let path = format!("/repos/{repository}/commits/{revision}/check-runs?filter=latest{app}");
        let doing = format!("list the check runs of {} in {repository}", revision.short());
        let runs =
            self.all(&doing, As::Repository(repository), &path, |page: WireRuns| page.check_runs).await?;
        let ours = |run: WireRun| Some((run.external_id.clone().filter(|id| !id.is_empty())?, run.into()));
        Ok(runs.into_iter().filter_map(ours).collect())
    }

    /// Makes a check run, its first annotations with it.
    pub(super) async fn create_run(
        &self,
        repository: &RepoSlug,
        revision: &Revision,
        external_id: &str,
        check: &Check,
    ) -> Result<Run, GitHubError> {
        let annotations = &check.annotations[..check.annotations.len().min(ANNOTATIONS)];
        let mut write = write(check, external_id, annotations);
        write.head_sha = Some(revision.as_str());
        let ask = Ask {
            doing: format!("make the check run `{}` on {} in {repository}", check.name, revision.short()),
            who: As::Repository(repository),
            method: Method::POST,
            path: format!("/repos/{repository}/check-runs"),
            body: Some(&write),
        };
        let run: Run = self.ask::<WireRun, _>(ask).await?.into();
        let run = Run { annotations: run.annotations.max(annotations.len()), ..run };
        self.annotate(repository, run, external_id, check).await?;
        Ok(run)
    }

    /// Makes an existing check run read `check`.
    pub(super) async fn update_run(
        &self,
        repository: &RepoSlug,
        id: u64,
        external_id: &str,
        check: &Check,
    ) -> Result<Run, GitHubError> {
        // without annotations first: the answer says how many are there, and each request adds to them
        let run = self.patch_run(repository, id, &write(check, external_id, &[])).await?;
        self.annotate(repository, run, external_id, check).await?;
        Ok(run)
    }

    /// Adds the annotations that are not there yet. They are the same in every version of a commit's check, so their
    /// number says which are missing, also after a restart in the middle.
    async fn annotate(
        &self,
        repository: &RepoSlug,
        run: Run,
        external_id: &str,
        check: &Check,
    ) -> Result<(), GitHubError> {
        let all = &check.annotations[..check.annotations.len().min(ALL_ANNOTATIONS)];
        for missing in all.get(run.annotations..).unwrap_or_default().chunks(ANNOTATIONS) {
            self.patch_run(repository, run.id, &write(check, external_id, missing)).await?;
        }
        Ok(())
    }

    async fn patch_run(&self, repository: &RepoSlug, id: u64, write: &Write<'_>) -> Result<Run, GitHubError> {
        let ask = Ask {
            doing: format!("rewrite the check run `{}` in {repository}", write.name),
            who: As::Repository(repository),
            method: Method::PATCH,
            path: format!("/repos/{repository}/check-runs/{id}"),
            body: Some(write),
        };
        self.ask::<WireRun, _>(ask).await.map(Run::from)
    }
}

fn write<'a>(check: &'a Check, external_id: &'a str, annotations: &'a [Annotation]) -> Write<'a> {
    Write {
        name: &check.name,
        head_sha: None,
        external_id,
        details_url: check.details_url.as_deref(),
        status: check.status,
        conclusion: check.conclusion,
        started_at: check.started_at.map(seconds),
        completed_at: check.completed_at.map(seconds),
        output: Output {
            title: &check.title,
            summary: &check.summary,
            text: check.text.as_deref(),
            annotations,
        },
        actions: &check.actions[..check.actions.len().min(3)],
    }
}

/// GitHub's form of a time: `YYYY-MM-DDTHH:MM:SSZ`.
fn seconds(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
