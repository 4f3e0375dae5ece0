//! Everything that makes the objects of an API come to run on this machine, started and stopped as one.
//!
//! Controllers, the node, the addresses of Services and the proxy share one cache of watches. They are given the
//! API as a [`kube::Client`] and know nothing else of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use kube::Client;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::cache::Cache;
use super::controllers::{self, ControllerError};
use super::forward::{self, Addresses};
use super::node::logs::Logs;
use super::node::runtime::Runtime;
use super::node::{self, NodeOptions};
use super::proxy;
use crate::clock::Clock;

/// What a machine is made of.
pub struct MachineOptions {
    /// The time of schedules, statuses and backoffs.
    pub clock: Clock,
    /// What runs containers.
    pub runtime: Arc<dyn Runtime>,
    /// Where their output is kept; the API is told of it with [`super::Embedded::set_pod_logs`].
    pub logs: Logs,
    /// Where Services are listened for.
    pub addresses: Addresses,
    /// Where the hosts of Ingresses are served.
    pub proxy: TcpListener,
    /// What the runtime tracks its own tasks with; it is waited for when the machine stops.
    pub tasks: TaskTracker,
}

/// A machine at work. Dropping it stops nothing; [`Machine::stop`] does.
pub struct Machine {
    cache: Arc<Cache>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Machine {
    /// Starts everything, and comes back once the first view of the API is complete.
    ///
    /// # Errors
    /// When the API does not say which kinds it serves.
    pub async fn start(client: &Client, options: MachineOptions) -> Result<Self, ControllerError> {
        let MachineOptions { clock, runtime, logs, addresses, proxy, tasks } = options;
        let (cache, stop) = (Arc::new(Cache::default()), CancellationToken::new());
        controllers::start(client, &cache, &clock, &tasks, &stop).await?;
        forward::start(&cache, addresses, &clock, &tasks, &stop);
        proxy::start(proxy, &cache, &tasks, &stop);
        node::start(
            NodeOptions { client: client.clone(), cache: cache.clone(), clock, runtime, logs },
            &tasks,
            &stop,
        );
        cache.start(client, &tasks, &stop);
        cache.synced().await;
        Ok(Self { cache, tasks, stop })
    }

    /// What the API holds, kept up to date.
    #[must_use]
    pub fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Ends every pod and everything else, and waits for that: some seconds at most.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Listens for the hosts of Ingresses on `preferred` of 127.0.0.1, on a free port where that is taken.
///
/// # Errors
/// When no port can be listened on.
pub async fn listen(preferred: u16) -> io::Result<TcpListener> {
    match TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, preferred))).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
        }
        bound => bound,
    }
}
