//! A reconciler with its store, its repositories and a cluster whose requests are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use branchline::clock::Clock;
use branchline::cluster::{Cluster, connect};
use branchline::desired::{Hosts, Runtime};
use branchline::embedded::cache::Cache;
use branchline::embedded::{Embedded, EmbeddedOptions, KeepNothing, controllers};
use branchline::reconcile::{ConfigSource, Hint, Parts, Reconciler};
use branchline::secret::Redactor;
use branchline::source::{GitHosts, MirrorOptions, Mirrors, RepositoryUrl};
use branchline::store::{Store, StoreOptions};
use http::{Method, Request};
use kube::client::Body;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::repository::{PROJECT, Repo, SERVICES, config, name, service, source};

/// How long everything may take to settle.
const PATIENCE: Duration = Duration::from_mins(10);
/// What the cluster of a kubeconfig is called in the config.
const REAL: &str = "real";

/// Which API server is asked.
pub(crate) enum Server {
    /// Our own, in this process.
    Embedded,
    /// That of a kubeconfig.
    Real(PathBuf),
}

/// A request that was answered.
pub(crate) struct Call {
    method: Method,
    path: String,
    pub(crate) answered: Instant,
}

impl Call {
    /// What was asked of which kind.
    pub(crate) fn kind(&self) -> String {
        let parts: Vec<_> = self.path.split('/').collect();
        let kind = parts.iter().position(|part| *part == "namespaces").and_then(|at| parts.get(at + 2));
        format!("{} {}", self.method, kind.unwrap_or(&"other"))
    }

    /// Whether it applied the Deployment of a service.
    pub(crate) fn is_apply_of(&self, number: usize) -> bool {
        self.method == Method::PATCH && self.path.ends_with(&format!("/deployments/{}", name(number)))
    }
}

#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Call>>>);

/// What is measured.
pub(crate) struct World {
    /// For people.
    pub(crate) server: String,
    reconciler: Reconciler,
    client: kube::Client,
    calls: Calls,
    config: Repo,
    apps: Repo,
    namespace: String,
    count: Mutex<usize>,
    stop: CancellationToken,
    tasks: TaskTracker,
    folder: TempDir,
}

impl World {
    /// Everything that stands before the first hint.
    pub(crate) async fn start(server: Server) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let (tasks, stop, clock) = (TaskTracker::new(), CancellationToken::new(), Clock::system());
        let namespace = format!("bench-{}", std::process::id());
        let (words, client) = match &server {
            Server::Embedded => {
                let client = embedded(&clock, &tasks, &stop).await?;
                ("the embedded API with its controllers, without its node".to_owned(), client)
            }
            Server::Real(file) => {
                let client = connect::kubeconfig(file, clock.clone()).await?.client().clone();
                let version = client.apiserver_version().await?.git_version;
                (format!("a kube-apiserver {version} on this machine"), client)
            }
        };
        let calls = Calls::default();
        let counted = Cluster::new(calls.count(client.clone()), clock.clone());
        let name = if matches!(server, Server::Embedded) { "embedded" } else { REAL };
        let (config_repo, apps) =
            (Repo::bare(folder.path(), "config.git")?, Repo::bare(folder.path(), "apps.git")?);
        config_repo.commit(&config(&namespace, (name == REAL).then_some(REAL)))?;
        apps.commit(&(0..SERVICES).map(|number| source(number, "first")).collect::<Vec<_>>())?;
        let hosts: GitHosts = "file".parse()?;
        let store = Store::open(&folder.path().join("branchline.db"), &StoreOptions::default()).await?;
        let parts = Parts {
            store,
            mirrors: Mirrors::open(
                &folder.path().join("mirrors"),
                MirrorOptions { hosts: hosts.clone(), ..MirrorOptions::default() },
            )?,
            config: ConfigSource {
                url: RepositoryUrl::of_operator(&config_repo.path.display().to_string(), &hosts)?,
                branch: "main".parse()?,
                path: String::new(),
            },
            builder: None,
            registry: branchline::build::Registry::new()?,
            clusters: BTreeMap::from([(name.to_owned(), counted)]),
            embedded: Runtime::Cluster,
            trust_pull_requests: false,
            hosts: Hosts { scheme: "https".to_owned(), port: None },
            addresses: Arc::new(|_, _| 0),
            clock,
            redactor: Redactor::new(),
            github: None,
            watcher: None,
            pages: None,
        };
        let (reconciler, hints) = Reconciler::new(parts, &tasks, &stop);
        reconciler.start(hints);
        Ok(Self {
            server: words,
            reconciler,
            client,
            calls,
            config: config_repo,
            apps,
            namespace,
            count: Mutex::new(0),
            stop,
            tasks,
            folder,
        })
    }

    /// One look because of one hint, with its attempts.
    pub(crate) async fn look(&self, hint: &Hint) {
        self.reconciler.look(&BTreeSet::from([hint.clone()])).await;
    }

    /// Hints at a change, as a webhook does.
    pub(crate) fn hint(&self, hint: Hint) {
        self.reconciler.hint(hint);
    }

    /// Waits until every hint is served and every rollout has ended, and sees to it that everything is live.
    pub(crate) async fn settled(&self) -> anyhow::Result<()> {
        tokio::time::timeout(PATIENCE, self.reconciler.idle()).await?;
        let rows = self.reconciler.store().services(None, None).await?;
        let not_live = rows.iter().find(|row| row.state != "live");
        ensure!(not_live.is_none(), "a service is not live: {not_live:?}");
        ensure!(rows.len() == SERVICES, "{} of {SERVICES} services are known", rows.len());
        Ok(())
    }

    /// What a synced write takes where the store is.
    pub(crate) fn synced_write(&self) -> anyhow::Result<Duration> {
        crate::common::synced_write(self.folder.path())
    }

    /// What was asked of the cluster since the last call of this.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes a variable of one service in the config repository.
    pub(crate) fn change_config(&self, number: usize) -> anyhow::Result<Hint> {
        self.config.commit(&[service(number, &self.another())])?;
        hint_at(&self.config)
    }

    /// Changes the source of one service in its app repository.
    pub(crate) fn change_source(&self, number: usize) -> anyhow::Result<Hint> {
        self.apps.commit(&[source(number, &self.another())])?;
        hint_at(&self.apps)
    }

    /// Ends everything, and takes away what stands on a cluster that stays.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(PATIENCE, self.tasks.wait()).await?;
        self.reconciler.store().close().await;
        let gone = Request::delete(format!("/api/v1/namespaces/{}", self.namespace)).body(Vec::new())?;
        self.client.request::<serde_json::Value>(gone).await?;
        Ok(())
    }

    /// A text that was never used before.
    fn another(&self) -> String {
        let mut count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        format!("number-{count}")
    }
}

/// The hint that names the environment.
pub(crate) fn environment() -> anyhow::Result<Hint> {
    Ok(Hint::Environment(PROJECT.parse()?, "staging".parse()?))
}

fn hint_at(repo: &Repo) -> anyhow::Result<Hint> {
    let url = RepositoryUrl::of_operator(&repo.path.display().to_string(), &"file".parse()?)?;
    Ok(Hint::Repository(url))
}

impl Calls {
    /// A client that writes down every request but watches.
    fn count(&self, client: kube::Client) -> kube::Client {
        let calls = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, calls) = (client.clone(), calls.clone());
            async move {
                let (method, uri) = (request.method().clone(), request.uri().clone());
                let answer = client.send(request).await;
                if !uri.query().is_some_and(|query| query.contains("watch=")) {
                    let call = Call { method, path: uri.path().to_owned(), answered: Instant::now() };
                    calls.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
                }
                answer
            }
        });
        kube::Client::new(service, "default")
    }
}

async fn embedded(
    clock: &Clock,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<kube::Client> {
    let options = EmbeddedOptions { clock: clock.clone(), state: Arc::new(KeepNothing) };
    let client = Embedded::new(options).await?.client();
    let cache = Arc::new(Cache::default());
    controllers::start(&client, &cache, clock, tasks, stop).await?;
    cache.start(&client, tasks, stop);
    cache.synced().await;
    Ok(client)
}
