//! The listener, its limits and layers, and the routes. The only user of warp.
//!
//! ```text
//! accept (connections, header time) → request id → trace → headers → compression → door → routes
//! ```
//!
//! [`Server::bind`] takes a listener; [`Routes`] is what it answers: the base of this module, and any group of
//! routes that another module adds with [`Routes::and`]. The *door* stands before all of them: which host and
//! which listener a route is for, the token and origin of whatever changes something, the size of bodies, the
//! time an answer may take, and what a panic looks like. So a group cannot forget them.
//!
//! Until accounts exist, a listener that is not on loopback answers webhooks and health alone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::github::inbox::Inbox;
use crate::secret::Secret;
use crate::store::Store;
use crate::telemetry::Metrics;

pub mod api;
pub mod body;
mod budget;
pub mod dashboard;
mod door;
mod drain;
pub mod error;
mod figures;
mod health;
mod layers;
mod limits;
mod listener;
mod metrics;
mod routes;
mod schemas;
mod token;
mod webhook;

pub use error::Problem;
pub use figures::Figures;
pub use health::Readiness;
pub use limits::{Limits, WEBHOOK_BYTES};
pub use listener::PeerAddr;
pub use routes::Routes;
pub use token::{TokenError, secret_file};

/// Why the server does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on\nhint: is it taken? give another --listen ADDR:PORT")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// What the server is told once, at start.
pub struct ServerSettings {
    /// Where people reach the pages, where that is not the listener itself; its host is ours too.
    pub public_url: Option<String>,
    /// What whoever changes something has to show.
    pub token: Secret<String>,
    /// The secrets of webhooks; without any, every webhook is refused.
    pub webhook_secrets: Vec<Secret<String>>,
    /// What `/health` calls this place: `embedded`, `production`.
    pub environment: String,
    /// How much is taken at once, and how long is waited.
    pub limits: Limits,
}

/// What every route may use. Clones share it.
#[derive(Clone)]
pub struct ServerState {
    /// The rows.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// The figures of all rooms.
    pub metrics: Metrics,
    /// Where webhooks go.
    pub inbox: Inbox,
    /// What was told at start.
    pub settings: Arc<ServerSettings>,
    /// Whether the rest of the program is ready, as `/readyz` tells it.
    pub readiness: Readiness,
    /// Cancelled when the server begins to stop: streams and sockets that never end by themselves end then.
    pub stopping: CancellationToken,
    /// The server's own figures.
    pub figures: Figures,
    /// When it was started.
    pub started: Timestamp,
    budget: budget::Budget,
}

impl ServerState {
    /// Gathers the state; the server's figures are registered in `metrics`.
    #[must_use]
    pub fn new(store: Store, clock: Clock, metrics: Metrics, inbox: Inbox, settings: ServerSettings) -> Self {
        let figures = Figures::register(&metrics);
        let started = clock.now();
        let budget = budget::Budget::new(settings.limits.body_bytes);
        Self {
            store,
            clock,
            metrics,
            inbox,
            settings: Arc::new(settings),
            readiness: Readiness::default(),
            stopping: CancellationToken::new(),
            figures,
            started,
            budget,
        }
    }
}

/// A server that listens and does not answer yet.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    state: ServerState,
}

impl Server {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub async fn bind(address: SocketAddr, state: ServerState) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, state })
    }

    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop`, then lets what is under way finish for as long as the limits allow. All of its
    /// tasks are those of `tasks`.
    pub async fn serve(self, routes: Routes, tasks: &TaskTracker, stop: CancellationToken) {
        let state = &self.state;
        if state.settings.webhook_secrets.is_empty() {
            tracing::warn!(
                "No webhook secret is set, so every webhook is refused; BRANCHLINE_WEBHOOK_SECRET sets it."
            );
        }
        let loopback = self.address.ip().is_loopback();
        if !loopback {
            tracing::info!(server.listen = %self.address, "This listener is not on loopback: it serves /webhooks and /health only.");
        }
        let limits = state.settings.limits;
        let door = door::Door::new(state, loopback);
        let service = layers::assemble(door, routes, state);
        let stopping = state.stopping.clone();
        listener::run(self.listener, service, limits, tasks, stop, stopping).await;
    }
}
