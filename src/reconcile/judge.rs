//! What a commit is about: which services should be at which revision because of it, and which it leaves as they are.
//!
//! Read from Git and the last survey alone. What became of those services is [`super::tell`]'s to say.

mod pull;

use std::sync::Arc;
use std::time::Duration;

use super::head::ConfigHead;
use super::seen::Via;
use super::{AGAIN, Hint, Reconciler, SOON, Snapshot, chain};
use crate::config::environment::Follow;
use crate::config::service::AutoDeploy;
use crate::config::{Problem, Severity};
use crate::desired::Lookup;
use crate::name::{BranchName, EnvironmentName, ProjectName, Revision, ServiceName};
use crate::report::{Aside, Cause, Why};
use crate::source::{Inputs as Paths, Mirror, Reader, RepositoryUrl, SourceError};
use crate::store::{SeenCommit, StoreError};

/// How long a commit that we were told of may be missing: a forge tells us of it before all of its servers have it.
const MISSING: Duration = Duration::from_secs(60);

/// How long a commit waits for a config that can say who follows it.
const HELD: Duration = Duration::from_hours(24);

/// What a commit is about.
#[derive(Default)]
pub(super) struct Judged {
    /// Whether anything follows the branch or the pull request that brought it.
    pub(super) followed: bool,
    /// Why it cannot be judged yet.
    pub(super) waits: Option<String>,
    pub(super) targets: Vec<Target>,
    /// Why it is about no service; counts only where it has no targets.
    pub(super) aside: Option<Aside>,
    pub(super) failure: Option<(&'static str, Cause)>,
    /// What it says, where it is a commit of the config.
    pub(super) config: Option<Config>,
}

/// What a commit says as config.
pub(super) struct Config {
    pub(super) problems: Vec<Problem>,
    /// Whether it is what the last survey followed.
    pub(super) is_head: bool,
}

/// A service that a commit is about.
pub(super) struct Target {
    pub(super) project: ProjectName,
    pub(super) environment: EnvironmentName,
    pub(super) service: ServiceName,
    pub(super) aim: Aim,
}

/// What a commit means for a service.
pub(super) enum Aim {
    /// It should be at this revision.
    At(Option<Revision>),
    /// It is left as it is.
    Left(Why),
}

/// Where a commit stands on its branch.
enum Place {
    On {
        head: Revision,
    },
    /// The branch is elsewhere.
    Off {
        head: Revision,
    },
    NoBranch,
}

impl Judged {
    fn waits(why: impl Into<String>) -> Self {
        Self { followed: true, waits: Some(why.into()), ..Self::default() }
    }

    fn aside(aside: Aside) -> Self {
        Self { followed: true, aside: Some(aside), ..Self::default() }
    }

    fn failed(step: &'static str, why: impl Into<String>) -> Self {
        Self { followed: true, failure: Some((step, Cause::new(why))), ..Self::default() }
    }

    /// What several ways say of one commit, together.
    fn and(mut self, other: Self) -> Self {
        if self.followed && other.followed && (self.aside.is_none() || other.aside.is_none()) {
            // one way brings it nowhere, the other one does
            self.aside = None;
        } else {
            self.aside = self.aside.or(other.aside);
        }
        self.followed |= other.followed;
        self.waits = self.waits.or(other.waits);
        self.failure = self.failure.or(other.failure);
        self.config = self.config.or(other.config);
        self.targets.extend(other.targets);
        self
    }
}

impl Reconciler {
    /// The questions about services that follow a branch of a repository.
    pub(super) fn followers<'s>(
        &'s self,
        snapshot: &'s Snapshot,
        url: &'s RepositoryUrl,
        branch: &'s BranchName,
    ) -> impl Iterator<Item = &'s Arc<Lookup>> {
        snapshot.lookups.iter().filter(move |lookup| {
            lookup.head.is_none() && lookup.branch == *branch && self.is_at(snapshot, &lookup.repo.0, url)
        })
    }

    /// Whether a repository of the config, as it is written there, is at an address; also while the forge does not say
    /// where it is cloned from.
    pub(super) fn is_at(&self, snapshot: &Snapshot, repo: &str, url: &RepositoryUrl) -> bool {
        match snapshot.mirrors.get(repo) {
            Some(Ok(mirror)) => mirror.url() == url,
            Some(Err(_)) => self.address(repo).is_ok_and(|address| address == *url),
            None => false,
        }
    }

    /// That nobody has looked at a commit yet, or that it is not known yet who follows it: a config that cannot be read,
    /// or not all of it, proves no absence.
    fn early(&self, snapshot: &Snapshot, url: &RepositoryUrl, row: &SeenCommit, via: &Via) -> Option<Judged> {
        let followed = self.is_followed(snapshot, url, via);
        let is_known = || snapshot.mirrors.keys().any(|repo| self.is_at(snapshot, repo, url));
        let is_broken = snapshot.at.is_none() || snapshot.config.errors().next().is_some();
        let is_young = !self.is_older(row, HELD);
        let why = if !self.is_covered(snapshot, row) {
            "it has not been looked at yet"
        } else if !followed && !is_known() && is_broken && is_young {
            "not all of the config can be read, so it is not known who follows it"
        } else {
            return None;
        };
        Some(Judged { followed, ..Judged::waits(why) })
    }

    /// That nothing can be said of a commit as long as its repository cannot be read.
    fn unread(&self, snapshot: &Snapshot, url: &RepositoryUrl, row: &SeenCommit) -> Option<Judged> {
        let nowhere = || {
            let mut mirrors = snapshot.mirrors.iter();
            mirrors
                .find_map(|(repo, mirror)| mirror.as_ref().err().filter(|_| self.is_at(snapshot, repo, url)))
        };
        let why = snapshot.unfetched.get(url.key()).or_else(nowhere)?;
        // the poll goes on asking after that
        if !self.is_missing_long(row) {
            self.hint_after(AGAIN, Hint::Repository(url.clone()));
        }
        Some(Judged::waits(why.clone()))
    }

    /// Judges a commit by every way by which it is known.
    pub(super) async fn judge(
        &self,
        snapshot: &Snapshot,
        url: &RepositoryUrl,
        revision: &Revision,
        rows: &[SeenCommit],
    ) -> Result<Judged, StoreError> {
        let mut judged = Judged::default();
        for row in rows {
            let one = match Via::read(&row.via) {
                Some(Via::Branch(branch)) => self.on_branch(snapshot, url, revision, &branch, row).await?,
                Some(Via::Pull(number)) => self.in_pull(snapshot, url, revision, number, row).await?,
                Some(Via::Deployment) | None => continue,
            };
            judged = judged.and(one);
        }
        Ok(judged)
    }

    async fn on_branch(
        &self,
        snapshot: &Snapshot,
        url: &RepositoryUrl,
        revision: &Revision,
        branch: &BranchName,
        row: &SeenCommit,
    ) -> Result<Judged, StoreError> {
        let source = &self.0.parts.config;
        let is_config = url == &source.url && *branch == source.branch;
        if let Some(early) = self.early(snapshot, url, row, &Via::Branch(branch.clone())) {
            return Ok(early);
        }
        let followers: Vec<Arc<Lookup>> = self.followers(snapshot, url, branch).cloned().collect();
        if !is_config && followers.is_empty() {
            return Ok(Judged::default());
        }
        if let Some(why) = snapshot.stuck.as_ref().filter(|_| !is_config) {
            return Ok(Judged::failed("Config", why.clone()));
        }
        if let Some(unread) = self.unread(snapshot, url, row) {
            return Ok(unread);
        }
        let mirror = self.mirror_of(url);
        let place = match place(&mirror, revision, branch).await {
            Ok(place) => place,
            Err(error) => return Ok(Judged::failed("Git", chain(&error))),
        };
        let mut judged = match place {
            Place::NoBranch => return Ok(Judged::aside(Aside::Superseded(None))),
            Place::Off { head } => {
                return if self.is_overtaken(row, &head).await? {
                    Ok(Judged::aside(Aside::Superseded(Some(head))))
                } else {
                    self.hint_after(SOON, Hint::Repository(url.clone()));
                    Ok(Judged::waits(format!("the branch `{branch}` does not lead to it yet")))
                };
            }
            Place::On { head } if is_config => self.as_config(snapshot, &mirror, revision, Some(&head)).await,
            Place::On { .. } => Judged { followed: true, ..Judged::default() },
        };
        match newest(&mirror, revision, row.before.as_deref(), followers.clone()).await {
            Ok(found) => {
                for (lookup, (now, before)) in followers.iter().zip(found) {
                    judged.targets.extend(branch_target(snapshot, lookup, now, before));
                }
                Ok(judged)
            }
            Err(error) => Ok(Judged::failed("Git", chain(&error))),
        }
    }

    /// What a commit says as config. `head` is the newest one of its branch; none for a pull request.
    async fn as_config(
        &self,
        snapshot: &Snapshot,
        mirror: &Mirror,
        revision: &Revision,
        head: Option<&Revision>,
    ) -> Judged {
        let path = &self.0.parts.config.path;
        let problems = if snapshot.config_revision.as_ref() == Some(revision) {
            snapshot.config.problems.clone()
        } else {
            match ConfigHead::at(mirror, revision.clone(), path, None, None).await {
                Ok(read) => read.config.problems.clone(),
                Err(error) => return Judged::failed("Config", chain(&error)),
            }
        };
        let failure = first_error(&problems).map(|cause| ("Config", cause));
        let is_head = snapshot.config_revision.as_ref() == Some(revision);
        let aside = match head {
            Some(head) if head != revision => Some(Aside::Superseded(Some(head.clone()))),
            _ => None,
        };
        let config = Some(Config { problems, is_head: is_head && head.is_some() });
        Judged { followed: true, aside, failure, config, ..Judged::default() }
    }

    /// Whether the last survey began after a commit was told, or saw it itself.
    fn is_covered(&self, snapshot: &Snapshot, row: &SeenCommit) -> bool {
        // a clock that was put back must not make it wait
        let is_past = row.seen <= self.0.parts.clock.now();
        let is_head = || {
            let head = (row.repo.clone(), row.revision.clone(), row.via.clone());
            snapshot.heads.contains(&head)
        };
        snapshot.begun.is_some_and(|begun| row.seen <= begun || !is_past || is_head())
    }

    fn is_missing_long(&self, row: &SeenCommit) -> bool {
        self.is_older(row, MISSING)
    }

    fn is_older(&self, row: &SeenCommit, age: Duration) -> bool {
        self.0.parts.clock.now().duration_since(row.seen).unsigned_abs() >= age
    }

    /// Whether another head took the place of a commit, or else the forge has not got as far as it yet.
    async fn is_overtaken(&self, row: &SeenCommit, head: &Revision) -> Result<bool, StoreError> {
        if self.is_missing_long(row) {
            return Ok(true);
        }
        let heads = self.store().commits(head.as_str(), 100).await?;
        let by =
            |other: &SeenCommit| (&other.repo, &other.via) == (&row.repo, &row.via) && other.seen >= row.seen;
        Ok(heads.iter().any(by))
    }
}

/// The first error of the config, as the cause of a failure.
fn first_error(problems: &[Problem]) -> Option<Cause> {
    let mut errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let first = errors.next()?;
    let more = errors.count();
    let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
    Some(Cause {
        message: format!("{}: {}{more}", first.place, first.message),
        place: None,
        hint: first.hint.clone(),
        log: Vec::new(),
    })
}

async fn place(mirror: &Mirror, revision: &Revision, branch: &BranchName) -> Result<Place, SourceError> {
    let (revision, branch) = (revision.clone(), branch.clone());
    mirror
        .with(move |reader| {
            let head = match reader.branch(&branch) {
                Ok(head) => head,
                Err(SourceError::NoBranch { .. }) => return Ok(Place::NoBranch),
                Err(error) => return Err(error),
            };
            match reader.is_ancestor(&revision, &head) {
                Ok(true) => Ok(Place::On { head }),
                Ok(false) | Err(SourceError::NoRevision { .. }) => Ok(Place::Off { head }),
                Err(error) => Err(error),
            }
        })
        .await
}

/// The newest commit that changed some inputs, as of two commits.
type Newest = (Option<Revision>, Option<Revision>);

/// For each question, the newest commit that changed its inputs: as of a commit, and as of where the branch was before.
async fn newest(
    mirror: &Mirror,
    revision: &Revision,
    before: Option<&str>,
    asked: Vec<Arc<Lookup>>,
) -> Result<Vec<Newest>, SourceError> {
    let (revision, before) = (revision.clone(), before.and_then(|before| before.parse::<Revision>().ok()));
    mirror
        .with(move |reader: &Reader<'_>| {
            // a pattern that cannot be read is the survey's to tell
            let paths: Vec<_> =
                asked.iter().map(|lookup| Paths::new(&lookup.paths, &lookup.ignored).ok()).collect();
            let sound: Vec<_> = paths.iter().flatten().cloned().collect();
            let now = reader.newest_changes(&revision, &sound)?;
            let then = match before.map(|before| reader.newest_changes(&before, &sound)) {
                // what a force push left behind may be gone
                None | Some(Err(SourceError::NoRevision { .. })) => vec![None; sound.len()],
                Some(found) => found?,
            };
            let mut found = now.into_iter().zip(then);
            let of = |paths: Option<Paths>| paths.and_then(|_| found.next()).unwrap_or_default();
            Ok(paths.into_iter().map(of).collect())
        })
        .await
}

/// What a commit of a branch means for a service that follows it.
fn branch_target(
    snapshot: &Snapshot,
    lookup: &Lookup,
    now: Option<Revision>,
    before: Option<Revision>,
) -> Option<Target> {
    let (project, environment, service) = lookup.key.names();
    let (project, environment, service): (ProjectName, EnvironmentName, ServiceName) =
        (project.parse().ok()?, environment.parse().ok()?, service.parse().ok()?);
    let wanted = snapshot.environment(project.as_str(), environment.as_str())?;
    let follows = wanted.services.get(&service);
    let held = follows.and_then(|service| Some(service.run()?.release.as_ref()?.revision.clone()));
    let by_hand = follows.is_some_and(|s| s.effective.spec.auto_deploy == Some(AutoDeploy::Off));
    let aim = if wanted.follow == Follow::Releases {
        Aim::Left(Why::FollowsReleases)
    } else if now.is_none() || now == before {
        Aim::Left(Why::NoInputChanged)
    } else if let Some(release) = held {
        Aim::Left(Why::Held(release))
    } else if by_hand {
        Aim::Left(Why::Waits)
    } else {
        Aim::At(now)
    };
    Some(Target { project, environment, service, aim })
}
