//! The line of the house, once: from a hint to a report.
//!
//! ```text
//! hint → survey (source → config → desired) → attempt (key → render → plan) → rollout (build → apply → observe → report)
//! ```
//!
//! A hint only says that something may have changed. The survey reads Git again and makes a [`Snapshot`] of what
//! should exist; an attempt compares one environment of it with the inventory, without waiting for anything; a
//! rollout carries one service of it to its end. A newer snapshot calls off a rollout that has become old; it never
//! interrupts a write. The only module that knows the order of the phases.

mod answers;
mod approvals;
mod artifact;
mod attempt;
mod basis;
mod clusters;
mod collect;
mod earlier;
mod forge;
mod head;
mod idle;
mod image;
mod judge;
mod last_good;
mod observe;
mod pause;
mod places;
mod planning;
mod podlog;
mod prepare;
mod quiet;
mod record;
mod recover;
mod release;
mod removal;
mod rollout;
mod seen;
mod survey;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use approvals::HeldRemoval;
pub(crate) use head::template_file;
pub use idle::Part;
pub use record::{STATES, ServiceState};
pub(crate) use record::{cause_and_hint, unheard_of};
pub(crate) use release::release_before;
pub use release::{PinRequest, Pinned, ReleaseError};

use crate::build::{ImageBuilder, Registry};
use crate::clock::Clock;
use crate::cluster::{Cluster, ClusterError};
use crate::config::Repository;
use crate::desired::{Environment, Found, Hosts, Lookup, LookupKey, PullRequest, Runtime};
use crate::name::{BranchName, EnvironmentName, Namespace, ProjectName, Revision, ServiceName};
use crate::render::{RenderCache, TemplateSet};
use crate::report::page::Pages;
use crate::secret::Redactor;
use crate::source::{Mirror, Mirrors, RepositoryUrl, SourceError, Watcher};
use crate::store::{Store, StoreError};

/// How often a repository is asked although nothing hinted at it.
const POLL: Duration = Duration::from_secs(60);
/// How long something that should be there already is waited for before it is looked for again.
const SOON: Duration = Duration::from_secs(2);
/// How long a look that did not come to its end waits for the next.
const AGAIN: Duration = Duration::from_secs(10);

/// Renderings that are remembered, beside those of the services as they are.
const RENDERED: usize = 128;

/// What is told of a panic: it ends what it happened in, and nothing else.
const FAULT: &str = "a fault of Branchline itself; hint: its log says where, please report it";

/// Does something when it is dropped, however that comes about.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Says that something may have changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hint {
    /// In this repository.
    Repository(RepositoryUrl),
    /// In this environment of the cluster, or a person asks for a look.
    Environment(ProjectName, EnvironmentName),
    /// Anywhere.
    Everything,
}

impl Hint {
    /// In this environment.
    pub(crate) fn at(environment: &Environment) -> Self {
        Self::Environment(environment.project.clone(), environment.name.clone())
    }
}

/// Where the config repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigSource {
    /// The repository.
    pub url: RepositoryUrl,
    /// Its branch.
    pub branch: BranchName,
    /// The folder of the config in it; `""` is the root.
    pub path: String,
}

/// The port on 127.0.0.1 at which the Service of a namespace is reached, on the process runtime.
pub type Addresses = Arc<dyn Fn(&Namespace, &str) -> u16 + Send + Sync>;

/// Everything that a reconciler works with.
pub struct Parts {
    /// Where history, logs and the outbox are.
    pub store: Store,
    /// The mirrors of the config repository and the app repositories.
    pub mirrors: Mirrors,
    /// Where the config repository is.
    pub config: ConfigSource,
    /// Makes artifacts; none where images are built elsewhere.
    pub builder: Option<Arc<dyn ImageBuilder>>,
    /// Knows the digests of images that others built.
    pub registry: Registry,
    /// The clusters by name; `embedded` is the one inside.
    pub clusters: BTreeMap<String, Cluster>,
    /// How the embedded cluster runs its pods.
    pub embedded: Runtime,
    /// Whether that one runs what pull requests of a forge bring, where it runs processes.
    pub trust_pull_requests: bool,
    /// How hosts become URLs.
    pub hosts: Hosts,
    /// Addresses on the process runtime.
    pub addresses: Addresses,
    /// The time.
    pub clock: Clock,
    /// What is hidden in logs.
    pub redactor: Redactor,
    /// The forge, where one is set.
    pub github: Option<crate::github::Client>,
    /// Hints at changes of repositories on this machine.
    pub watcher: Option<Watcher>,
    /// Our pages, where whoever reads a report can open them.
    pub pages: Option<Pages>,
}

/// What should exist, as of the last survey.
#[derive(Clone, Default)]
pub struct Snapshot {
    /// The revision of the config repository.
    pub config_revision: Option<Revision>,
    /// What it says.
    pub config: Arc<Repository>,
    /// The environments that should exist.
    pub environments: Vec<Arc<Environment>>,
    /// Why the config repository could not be read, while the last good state goes on.
    pub trouble: Option<String>,
    /// When the survey ended.
    pub at: Option<Timestamp>,
    /// When the survey began: what was told before is part of it.
    pub(crate) begun: Option<Timestamp>,
    /// Why the config could not be followed; then nothing was asked of the app repositories.
    pub(crate) stuck: Option<String>,
    /// The short names of the repositories whose pull requests were not listed completely.
    pub(crate) unlisted: BTreeSet<String>,
    /// The open pull requests of the app repositories.
    pub(crate) pulls: Vec<PullRequest>,
    /// Those that get no preview in a project, and why.
    pub(crate) refused: Vec<(ProjectName, PullRequest, String)>,
    /// What the app repositories were asked, and what they answered.
    pub(crate) lookups: Arc<Vec<Arc<Lookup>>>,
    pub(crate) found: Arc<BTreeMap<LookupKey, Found>>,
    /// The app repositories, as the config writes them.
    pub(crate) mirrors: BTreeMap<String, Result<Mirror, String>>,
    /// The heads that the survey saw: repository, revision and way.
    pub(crate) heads: Arc<BTreeSet<seen::Head>>,
    /// Why repositories could not be fetched, by their keys.
    pub(crate) unfetched: BTreeMap<String, String>,
    /// The templates of the config repository over the built-in ones.
    pub(crate) templates: Option<Arc<TemplateSet>>,
}

impl Snapshot {
    /// An environment that should exist, by its names as anybody may write them.
    #[must_use]
    pub fn environment(&self, project: &str, name: &str) -> Option<&Arc<Environment>> {
        self.environments
            .iter()
            .find(|found| found.project.as_str() == project && found.name.as_str() == name)
    }

    /// The place of an environment in the order of promotion; those that are in no configuration come last.
    #[must_use]
    pub fn rank(&self, project: &str, environment: &str) -> usize {
        let known = self.config.projects.values().find(|known| known.name.as_str() == project);
        let ordered = known.map(|known| known.ordered_environments()).unwrap_or_default();
        ordered.iter().position(|name| name.as_str() == environment).unwrap_or(ordered.len())
    }
}

/// Why a survey or an attempt could not be made. What runs is left as it is.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A repository cannot be read.
    #[error("a repository cannot be read")]
    Source(#[from] SourceError),
    /// The store does not answer.
    #[error("the store does not answer")]
    Store(#[from] StoreError),
    /// The cluster does not answer, or refuses.
    #[error("the cluster does not do what it was asked")]
    Cluster(#[from] ClusterError),
    /// The environment runs on a cluster that this server does not reach.
    #[error("the cluster `{0}` is not reached from here; hint: start the server with its kubeconfig")]
    NoCluster(String),
    /// An artifact cannot be removed.
    #[error("what was built cannot be cleaned up")]
    Build(#[from] crate::build::BuildError),
    /// No plan can be made.
    #[error(transparent)]
    Plan(#[from] crate::plan::PlanError),
}

impl ReconcileError {
    /// Whether the same may go well a little later: nobody has to change what is wished for.
    fn may_pass(&self) -> bool {
        !matches!(self, Self::NoCluster(_) | Self::Plan(_))
    }
}

/// Keeps every environment in step with Git. Clones are the same reconciler.
#[derive(Clone)]
pub struct Reconciler(Arc<Inner>);

pub(crate) struct Inner {
    parts: Parts,
    instance: String,
    hints: mpsc::Sender<Hint>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    sets: tokio::sync::Mutex<BTreeMap<places::Place, Arc<clusters::Handle>>>,
    /// Places that are remembered in the store, once they were read.
    placed: tokio::sync::Mutex<Option<BTreeSet<String>>>,
    /// Namespaces that somebody deleted since the start, by cluster.
    lost_namespaces: Mutex<BTreeSet<places::Place>>,
    watches: Mutex<BTreeMap<String, crate::cluster::watch::Watches>>,
    rollouts: rollout::Running,
    pauses: pause::Pauses,
    images: image::Images,
    surveyed: tokio::sync::Mutex<survey::Memory>,
    busy: watch::Sender<BTreeSet<(ProjectName, EnvironmentName)>>,
    /// Hints that no look has served yet, and looks under way.
    looking: watch::Sender<usize>,
    /// Whether a hint found no room in the queue.
    overflowed: AtomicBool,
    /// What every service should be, as of its last attempt.
    wishes: Mutex<BTreeMap<rollout::Key, prepare::Wish>>,
    /// Services with a deployment that an earlier process did not finish.
    unfinished: Mutex<BTreeSet<rollout::Key>>,
    attempted: Mutex<attempt::Attempted>,
    rendered: RenderCache,
    teller: tell::Teller,
    /// Hints that are given after a pause.
    later: Mutex<BTreeSet<Hint>>,
    records: record::Records,
    absent: Mutex<BTreeMap<(ProjectName, EnvironmentName), Option<Timestamp>>>,
    /// Where the forge says that repositories are cloned from, by their keys.
    clones: Mutex<BTreeMap<String, forge::ClonedFrom>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Reconciler {
    /// Makes a reconciler. Nothing runs before [`Reconciler::start`]; the steps can be called one by one.
    #[must_use]
    pub fn new(parts: Parts, tasks: &TaskTracker, stop: &CancellationToken) -> (Self, mpsc::Receiver<Hint>) {
        let (hints, receiver) = mpsc::channel(1024);
        let source = &parts.config;
        let instance =
            crate::hash::Hasher::new("instance").text(source.url.key()).text(&source.path).finish().short();
        let inner = Inner {
            parts,
            instance,
            hints,
            snapshot: watch::Sender::default(),
            sets: tokio::sync::Mutex::default(),
            placed: tokio::sync::Mutex::default(),
            lost_namespaces: Mutex::default(),
            watches: Mutex::default(),
            rollouts: rollout::Running::default(),
            pauses: pause::Pauses::default(),
            images: image::Images::default(),
            surveyed: tokio::sync::Mutex::default(),
            busy: watch::Sender::default(),
            looking: watch::Sender::default(),
            overflowed: AtomicBool::default(),
            wishes: Mutex::default(),
            unfinished: Mutex::default(),
            attempted: Mutex::default(),
            rendered: RenderCache::new(RENDERED),
            teller: tell::Teller::default(),
            later: Mutex::default(),
            records: record::Records::default(),
            absent: Mutex::default(),
            clones: Mutex::default(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        (Self(Arc::new(inner)), receiver)
    }

    /// Runs until the token is cancelled: every hint is surveyed, and every poll interval everything is.
    pub fn start(&self, mut hints: mpsc::Receiver<Hint>) {
        let teller = self.clone();
        self.0.tasks.spawn(async move { teller.tell_until_stopped().await });
        let collector = self.clone();
        self.0.tasks.spawn(async move { collector.collect_until_stopped().await });
        let this = self.clone();
        self.0.tasks.spawn(async move {
            if let Err(error) = this.recover().await {
                tracing::error!(error = %chain(&error), "What an earlier process left half-written could not be put right.");
            }
            let mut wanted = BTreeSet::from([Hint::Everything]);
            let mut taken = 0;
            let mut polled = this.0.parts.clock.now();
            loop {
                this.look_safely(std::mem::take(&mut wanted)).await;
                this.0.looking.send_modify(|looking| *looking -= std::mem::take(&mut taken));
                // counted from the last poll, so that hints do not put the next one off
                let since = this.0.parts.clock.now().duration_since(polled).unsigned_abs();
                let poll = this.0.parts.clock.sleep(POLL.saturating_sub(since));
                tokio::select! {
                    () = this.0.stop.cancelled() => return,
                    () = poll => {
                        wanted.insert(Hint::Everything);
                        polled = this.0.parts.clock.now();
                    }
                    hint = hints.recv() => match hint {
                        Some(hint) => {
                            taken += 1;
                            wanted.insert(hint);
                        }
                        None => return,
                    },
                }
                // whatever else has come meanwhile is served by the same look
                while let Ok(hint) = hints.try_recv() {
                    taken += 1;
                    wanted.insert(hint);
                }
                if this.0.overflowed.swap(false, Ordering::SeqCst) {
                    wanted.insert(Hint::Everything);
                }
            }
        });
    }

    /// Hints that something may have changed. A full queue makes everything due.
    pub fn hint(&self, hint: Hint) {
        // counted first, so that nobody takes it before it is counted
        self.0.looking.send_modify(|looking| *looking += 1);
        if self.0.hints.try_send(hint).is_err() {
            self.0.overflowed.store(true, Ordering::SeqCst);
            self.0.looking.send_modify(|looking| *looking -= 1);
            tracing::debug!("The queue of hints is full; the next look is at everything.");
        }
    }

    /// Hints once more after a pause: something failed, or was not there yet.
    fn hint_after(&self, pause: Duration, hint: Hint) {
        if !self.0.later.lock().expect("no holder of this lock panics").insert(hint.clone()) {
            return;
        }
        let this = self.clone();
        self.0.tasks.spawn(async move {
            let pause = this.0.parts.clock.sleep(pause);
            if this.0.stop.run_until_cancelled(pause).await.is_some() {
                this.0.later.lock().expect("no holder of this lock panics").remove(&hint);
                this.hint(hint);
            }
        });
    }

    /// What should exist, as of the last survey; the receiver is told of each new one.
    #[must_use]
    pub fn snapshot(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.snapshot.subscribe()
    }

    /// The store that everything is recorded in.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.parts.store
    }

    /// The cluster that an environment runs on.
    ///
    /// # Errors
    /// When this server does not reach it.
    pub fn cluster(&self, environment: &Environment) -> Result<&Cluster, ReconcileError> {
        let found = self.0.parts.clusters.get(self.reached_as(&environment.cluster));
        found.ok_or_else(|| ReconcileError::NoCluster(environment.cluster.0.clone()))
    }

    /// A look that a fault of ours may end, but not the next one too.
    async fn look_safely(&self, hints: BTreeSet<Hint>) {
        let this = self.clone();
        let look = self.0.tasks.spawn(async move { this.look(&hints).await });
        if let Err(fault) = look.await {
            tracing::error!(error = %fault, "A look at Git and the clusters ended in a fault of ours.");
            let trouble = format!("the last look at Git was not finished, and what runs goes on: {FAULT}");
            self.0.snapshot.send_modify(|snapshot| Arc::make_mut(snapshot).trouble = Some(trouble));
        }
    }

    /// Surveys what the hints are about and attempts every environment that is due. Errors are logged where they stop.
    pub async fn look(&self, hints: &BTreeSet<Hint>) {
        self.0.looking.send_modify(|looking| *looking += 1);
        let _looked = AtEnd(|| self.0.looking.send_modify(|looking| *looking -= 1));
        let before = self.0.snapshot.borrow().clone();
        if let Err(error) = self.survey(hints).await {
            tracing::warn!(error = %chain(&error), "The survey did not come to its end; what runs goes on.");
            let again = hints.iter().filter(|hint| !matches!(hint, Hint::Environment(..)));
            again.for_each(|hint| self.hint_after(AGAIN, hint.clone()));
        }
        let now = self.0.snapshot.borrow().clone();
        self.attempt_due(&before, &now, hints).await;
        self.tell();
    }

    /// Makes the plan of an environment anew and changes nothing.
    ///
    /// # Errors
    /// When the cluster does not answer, or no plan can be made.
    pub async fn plan_of(
        &self,
        snapshot: &Snapshot,
        environment: &Arc<Environment>,
    ) -> Result<crate::plan::Plan, ReconcileError> {
        self.plan_environment(snapshot, environment).await.map(|planned| planned.plan)
    }

    fn state_key(environment: &Environment, service: &ServiceName) -> rollout::Key {
        (environment.project.clone(), environment.name.clone(), service.clone())
    }
}

/// An error and everything behind it, in one line, with the ways out at its end.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let (mut texts, mut hints) = (Vec::new(), Vec::new());
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        match text.split_once("hint: ") {
            Some((text, hint)) => {
                texts.push(text.trim_end_matches([' ', ';', '\n']).to_owned());
                hints.push(hint.to_owned());
            }
            None => texts.push(text),
        }
        next = error.source();
    }
    // a cause that is repeated by what it caused says nothing new
    texts.dedup_by(|cause, of| of.ends_with(&**cause));
    let hints = if hints.is_empty() { String::new() } else { format!("; hint: {}", hints.join("; ")) };
    texts.join(": ") + &hints
}
