//! Puts the rooms together: what `serve` and `demo` run.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::output::{Exit, ends};
use crate::build::{BuildEnvironment, BuildKey, FolderBuilder, Limits, Registry};
use crate::clock::Clock;
use crate::cluster::{self, Cluster};
use crate::desired::{Hosts, Runtime};
use crate::embedded::cache::Key;
use crate::embedded::machine::{self, Machine, MachineOptions};
use crate::embedded::node::logs::Logs;
use crate::embedded::process::{ProcessOptions, ProcessRuntime};
use crate::embedded::sealed::Sealed;
use crate::embedded::{Embedded, EmbeddedOptions, Tls, forward, kubeconfig, supervise};
use crate::github::{
    self,
    inbox::{HintReader, Inbox},
};
use crate::name::{BranchName, Namespace};
use crate::reconcile::{Addresses, ConfigSource, Hint, Parts, Reconciler};
use crate::report::page::Pages;
use crate::secret::{Redactor, Secret};
use crate::server::{self, Routes, Server, ServerSettings, ServerState, secret_file};
use crate::settings::{ConfigRepo, DEFAULT_GITHUB_URL, Environment, Settings};
use crate::source::{Credentials, GitHosts, MirrorOptions, Mirrors, RepositoryUrl, Watcher};
use crate::store::{Store, StoreOptions};
use crate::telemetry::Metrics;

/// Where the hosts of the embedded cluster are served, unless that is taken.
const PROXY: u16 = 8080;
/// How long everything may take to end.
const FAREWELL: Duration = Duration::from_secs(40);

/// A server that runs.
pub(super) struct Running {
    pub(super) reconciler: Reconciler,
    pub(super) server: SocketAddr,
    pub(super) proxy: Option<SocketAddr>,
    pub(super) token: Secret<String>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    /// Ends everything, the processes of the runtime first.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(FAREWELL, self.tasks.wait()).await.is_err() {
            anyhow::bail!("not everything ended within {FAREWELL:?}");
        }
        self.reconciler.store().close().await;
        Ok(())
    }
}

/// Starts a server for a config repository. `real` is the cluster of `KUBECONFIG`, which only `serve` uses.
pub(super) async fn start(settings: &Settings, real: Option<&Path>) -> anyhow::Result<Running> {
    let (tasks, stop, clock) = (TaskTracker::new(), CancellationToken::new(), Clock::system());
    let redactor = Redactor::new();
    settings.teach(&redactor);
    let (repo, url, mut hosts) = config_repository(settings)?;
    let data = &settings.data_dir;
    folder(data)?;
    let token = secret_file(&data.join("token"), "bl_")?;
    redactor.add(token.expose());
    let store = Store::open(&settings.store_path(), &StoreOptions::default())
        .await
        .context("the store cannot be opened")?;
    let github = settings.github.as_ref().map(|of| github::Client::new(of, clock.clone())).transpose()?;
    if let (Some(client), Some(of)) = (&github, &settings.github) {
        // the operator named the forge, so its own host may be fetched from
        let forge = url::Url::parse(&of.url)?;
        if let (Some(host), false) = (forge.host_str(), of.url == DEFAULT_GITHUB_URL) {
            let port = forge.port().map(|port| format!(":{port}")).unwrap_or_default();
            hosts.add(&if forge.scheme() == "http" {
                format!("http://{host}{port}")
            } else {
                format!("{host}{port}")
            })?;
        }
        tasks.spawn(github::run(store.clone(), client.clone(), clock.clone(), stop.clone()));
    }
    let options =
        MirrorOptions { hosts, credentials: credentials(github.clone()), ..MirrorOptions::default() };
    let mirrors = Mirrors::open(&data.join("mirrors"), options)?;
    let here = Here { settings, clock: &clock, tasks: &tasks, stop: &stop };
    let builder = here.builder(data)?;
    let addresses = addresses(&store, &tasks, &stop).await?;
    let door = here.listen(&store, &token).await?;
    let server = door.server.address();
    let (client, proxy) = here.embedded(&store, &addresses, &builder).await?;
    let mut clusters = BTreeMap::from([("embedded".to_owned(), Cluster::new(client, clock.clone()))]);
    if let Some(path) = real {
        let cluster = cluster::connect::kubeconfig(path, clock.clone()).await?;
        clusters.insert("kubeconfig".to_owned(), cluster);
    }
    let (hints, mut changed) = mpsc::channel(64);
    let watcher = Watcher::start(hints, &tasks)?;
    // Git's own default for a repository that names none
    let main: BranchName = "main".parse()?;
    let parts = Parts {
        store: store.clone(),
        mirrors,
        config: ConfigSource { url, branch: repo.branch.unwrap_or(main), path: repo.path },
        builder: Some(Arc::new(builder)),
        registry: Registry::new().context("the client of registries cannot be set up")?,
        clusters,
        embedded: Runtime::Process,
        trust_pull_requests: settings.trust_pull_requests,
        hosts: Hosts { scheme: "https".to_owned(), port: proxy.map(|proxy| proxy.port()) },
        addresses,
        clock: clock.clone(),
        redactor,
        github: github.clone(),
        watcher: Some(watcher),
        pages: pages(settings, server),
    };
    let (reconciler, hints) = Reconciler::new(parts, &tasks, &stop);
    reconciler.start(hints);
    let of_changes = reconciler.clone();
    let ended = stop.clone();
    tasks.spawn(async move {
        while let Some(Some(url)) = ended.run_until_cancelled(changed.recv()).await {
            of_changes.hint(Hint::Repository(url));
        }
    });
    let (kept, time, ends) = (store.clone(), clock.clone(), stop.clone());
    tasks.spawn(async move { kept.keep_flat(&time, &ends).await });
    tasks.spawn(super::notes::run(reconciler.clone(), clock.clone(), stop.clone()));
    here.serve(door, &reconciler);
    Ok(Running { reconciler, server, proxy, token, tasks, stop })
}

/// The config repository, and the hosts that may be fetched from. It is asked for before anything is made.
fn config_repository(settings: &Settings) -> anyhow::Result<(ConfigRepo, RepositoryUrl, GitHosts)> {
    let Some(repo) = settings.config_repo.clone() else {
        return Err(ends(Exit::Usage, "no config repository is named; hint: give --config-repo URL"));
    };
    let mut hosts: GitHosts = settings.git_hosts.join(",").parse()?;
    let url = RepositoryUrl::of_operator(&repo.url, &hosts)?;
    // a config repository on this machine may name others on this machine
    if url.local_path().is_some() {
        hosts.add("file")?;
    }
    Ok((repo, url, hosts))
}

/// What this machine gives.
struct Here<'a> {
    settings: &'a Settings,
    clock: &'a Clock,
    tasks: &'a TaskTracker,
    stop: &'a CancellationToken,
}

impl Here<'_> {
    fn builder(&self, data: &Path) -> anyhow::Result<FolderBuilder> {
        let environment = Environment::of_process();
        let folder = data.join("builds");
        let records = FolderBuilder::records(&folder);
        std::fs::create_dir_all(&records)?;
        supervise::record::end_leftovers(&records).context("what an earlier run left cannot be ended")?;
        let known = BuildEnvironment {
            path: environment.get("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin").into(),
            lang: environment.get("LANG").map(Into::into),
            toolchains: self
                .settings
                .toolchains
                .iter()
                .map(|(name, value)| (name.clone(), value.into()))
                .collect(),
        };
        let program = std::env::current_exe().context("the path of this program is not known")?;
        let builder =
            FolderBuilder::open(&folder, known, Some(program), Limits::default(), self.tasks.clone())?;
        Ok(builder)
    }

    /// The embedded cluster with its controllers, its node and its proxy, and the kubeconfig of its port.
    async fn embedded(
        &self,
        store: &Store,
        addresses: &Addresses,
        builder: &FolderBuilder,
    ) -> anyhow::Result<(kube::Client, Option<SocketAddr>)> {
        let (data, clock, tasks, stop) = (&self.settings.data_dir, self.clock, self.tasks, self.stop);
        let state = Arc::new(Sealed::open(store.clone(), &data.join("seal-key"))?);
        let embedded = Embedded::new(EmbeddedOptions { clock: clock.clone(), state }).await?;
        let client = embedded.client();
        let logs = Logs::new(clock.clone());
        embedded.set_pod_logs(Arc::new(logs.clone()));
        let environment = Environment::of_process();
        let mut env: BTreeMap<String, String> = self.settings.toolchains.clone();
        for name in ["PATH", "LANG"] {
            env.extend(environment.get(name).map(|value| (name.to_owned(), value.to_owned())));
        }
        let options = ProcessOptions {
            folders: {
                let builder = builder.clone();
                Arc::new(move |key: &str| builder.folder(&key.parse::<BuildKey>().ok()?))
            },
            data: data.join("runtime"),
            program: std::env::current_exe().context("the path of this program is not known")?,
            env,
            clock: clock.clone(),
        };
        let runtime = Arc::new(
            ProcessRuntime::new(options, tasks.clone()).context("the process runtime cannot be set up")?,
        );
        let proxy = machine::listen(PROXY).await.context("no port can be listened on")?;
        let address = proxy.local_addr()?;
        let options = MachineOptions {
            clock: clock.clone(),
            runtime,
            logs,
            addresses: listened(addresses),
            proxy,
            tasks: TaskTracker::new(),
        };
        let machine = Machine::start(&client, options).await?;
        let stop = stop.clone();
        tasks.spawn(async move {
            stop.cancelled().await;
            machine.stop().await;
        });
        self.port(&embedded, data).await?;
        Ok((client, Some(address)))
    }

    async fn port(&self, embedded: &Embedded, data: &Path) -> anyhow::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let token = secret_file(&data.join("cluster-token"), "")?;
        let tls = Tls::generate()?;
        private(&data.join("kubeconfig"), &kubeconfig(listener.local_addr()?, &tls, &token))?;
        let (embedded, tasks, stop) = (embedded.clone(), self.tasks.clone(), self.stop.clone());
        self.tasks.spawn(async move { embedded.serve(listener, &tls, token, &tasks, stop).await });
        Ok(())
    }

    /// Takes the port of the server; it answers once there is a reconciler to answer for.
    async fn listen(&self, store: &Store, token: &Secret<String>) -> anyhow::Result<Door> {
        let (inbox, deliveries) = Inbox::new(store.clone(), self.clock.clone());
        let settings = ServerSettings {
            public_url: self.settings.public_url.clone(),
            token: token.clone(),
            webhook_secrets: self.settings.webhook_secrets.clone(),
            environment: "embedded".to_owned(),
            limits: server::Limits::default(),
        };
        let metrics = Metrics::default();
        let state = ServerState::new(store.clone(), self.clock.clone(), metrics, inbox, settings);
        let server = Server::bind(self.settings.listen, state.clone()).await?;
        Ok(Door { server, state, deliveries })
    }

    fn serve(&self, door: Door, reconciler: &Reconciler) {
        let Door { server, state, deliveries } = door;
        let (reader, clock, stop) = (reconciler.clone(), self.clock.clone(), self.stop.clone());
        self.tasks.spawn(super::deliveries::run(deliveries, reader, clock, stop));
        let routes = Routes::base(&state)
            .and(server::api::routes(&state, reconciler))
            .and(server::dashboard::routes(&state, reconciler));
        let (tasks, stop) = (self.tasks.clone(), self.stop.clone());
        self.tasks.spawn(async move { server.serve(routes, &tasks, stop).await });
    }
}

/// A server that listens and does not answer yet.
struct Door {
    server: Server,
    state: ServerState,
    deliveries: HintReader,
}

/// Where a reader of our reports opens the pages. The listener itself is such a place only for people at this machine,
/// so only where the reports are notes in its repositories.
fn pages(settings: &Settings, listen: SocketAddr) -> Option<Pages> {
    let at_this_machine = settings.github.is_none() && listen.ip().is_loopback();
    let listener = at_this_machine.then(|| format!("http://{listen}"));
    settings.public_url.clone().or(listener).map(|base| Pages::at(&base))
}

/// Tokens for the repositories of the forge, and for no other.
fn credentials(github: Option<github::Client>) -> Credentials {
    Credentials::new(move |request| {
        let github = github.clone();
        Box::pin(async move {
            let (Some(client), Some(slug)) = (github, request.url.github_slug()) else { return Ok(None) };
            client.git_token(&slug).await.map_err(|error| Arc::new(error) as crate::source::Cause)
        })
    })
}

/// Addresses on 127.0.0.1, allotted once per Service and kept in the store, as long as no other program takes them.
async fn addresses(
    store: &Store,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Addresses> {
    const SPACE: &str = "addresses";
    let rows = store.list(SPACE).await?;
    let known: BTreeMap<String, u16> = rows
        .into_iter()
        .filter_map(|(key, bytes)| Some((key, String::from_utf8(bytes).ok()?.parse().ok()?)))
        .filter(|(_, port)| is_free(*port))
        .collect();
    let known = Arc::new(Mutex::new(known));
    let (sender, mut allotted) = mpsc::unbounded_channel::<(String, u16)>();
    let (store, stop) = (store.clone(), stop.clone());
    tasks.spawn(async move {
        while let Some(Some((key, port))) = stop.run_until_cancelled(allotted.recv()).await {
            if let Err(error) = store.put(SPACE, &key, port.to_string().as_bytes()).await {
                tracing::warn!(error = %error, "The address of a Service could not be kept; it may be another one after a restart.");
            }
        }
    });
    Ok(Arc::new(move |namespace: &Namespace, name: &str| {
        let mut known = known.lock().expect("no holder of this lock panics");
        let key = format!("{namespace}/{name}");
        if let Some(port) = known.get(&key) {
            return *port;
        }
        let taken: HashSet<u16> = known.values().copied().collect();
        let chosen = forward::choose(&Key::new(namespace.as_str(), name), 80, |port| {
            taken.contains(&port) || !is_free(port)
        });
        // with every port of the range allotted, the Service has no address, and says so when it is asked
        let port = chosen.unwrap_or(0);
        known.insert(key.clone(), port);
        // the receiver ends only with the program
        let _ = sender.send((key, port));
        port
    }))
}

/// Whether no other program listens there: requests would go to it.
fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The same addresses, as the machine listens on them. Only the first port of a Service has one.
fn listened(addresses: &Addresses) -> forward::Addresses {
    let addresses = Arc::clone(addresses);
    Arc::new(move |service: Key, port: u16| {
        let namespace = service.namespace.parse::<Namespace>().ok().filter(|_| port == 80);
        let address = namespace.map(|namespace| addresses(&namespace, &service.name));
        Box::pin(async move { address.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))) })
    })
}

/// A folder for its owner alone.
fn folder(path: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("the folder {} cannot be made", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    Ok(())
}

/// Writes a file for its owner alone, whole or not at all.
pub(super) fn private(path: &Path, text: &str) -> anyhow::Result<()> {
    let new: PathBuf = path.with_extension("new");
    // what an earlier process left behind
    let _ = std::fs::remove_file(&new);
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    std::io::Write::write_all(&mut file, text.as_bytes())?;
    std::fs::rename(&new, path)?;
    Ok(())
}
