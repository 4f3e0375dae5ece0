//! A Kubernetes API in this process, with a one-machine runtime behind it.
//!
//! ```text
//! Embedded  ── client() ──► kube::Client, no socket        ── serve() ──► TLS, a token, loopback only
//!     api          request → response: route, body, query, write, delete, list, discovery
//!     storage      objects by kind, one revision, the last events        persist  what outlives the process
//!     wire         how an object is written    defaults    validation    admission    strategy    ownership
//!     watch select table patch                 what clients ask for
//! controllers      what makes Deployments into Pods, through a kube::Client like anybody else
//! node             takes Pods and runs them    process supervise        as processes, each on a string
//! proxy forward    the way in to them, by host and by Service           machine  all of these, as one
//! ```
//!
//! Semantics are those of Kubernetes 1.34; docs/embedded.md lists what is missing. A request that is accepted is
//! answered as the real server answers it: tests/cluster holds that.

mod addresses;
mod admission;
mod api;
mod backends;
pub mod cache;
pub mod controllers;
mod defaults;
pub mod forward;
mod kinds;
mod logs;
pub mod machine;
pub mod node;
mod ownership;
mod part;
mod patch;
mod persist;
pub mod process;
pub mod proxy;
mod quality;
mod quantity;
mod queue;
pub mod sealed;
mod select;
mod serve;
pub mod serve_static;
mod status;
mod storage;
mod strategy;
pub mod supervise;
mod table;
mod validation;
mod watch;
mod wire;

pub use logs::{LogError, LogRequest, PodLogs};
pub use persist::{KeepNothing, KeptObjects, StateError, StateStore};
pub use serve::{ServeError, Tls, kubeconfig};

use self::api::Api;
use self::kinds::named;
use self::storage::{Key, Storage};
use crate::clock::Clock;
use serde_json::json;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

/// What an embedded cluster is made of.
pub struct EmbeddedOptions {
    /// Where creation, deletion and management times come from.
    pub clock: Clock,
    /// Where Secrets and ApplySet parents are kept over a restart.
    pub state: Arc<dyn StateStore>,
}

/// The embedded cluster's API. Cheap to clone; clones are the same cluster.
#[derive(Clone)]
pub struct Embedded(Arc<Api>);

/// The namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

impl Embedded {
    /// Starts a cluster with its own namespaces and what the state store kept.
    ///
    /// # Errors
    /// The state store's, when what was kept cannot be read.
    pub async fn new(options: EmbeddedOptions) -> Result<Self, StateError> {
        let api = Api {
            storage: Storage::new(),
            addresses: addresses::Addresses::new(),
            clock: options.clock,
            persisted: persist::Persisted::new(options.state),
            logs: OnceLock::new(),
        };
        for name in NAMESPACES {
            add_namespace(&api, name);
        }
        api.persisted
            .restore(|kind, key, object| {
                if !key.namespace.is_empty() {
                    add_namespace(&api, &key.namespace);
                }
                // two entries of one key cannot be: the store's keys are unique
                let _ = api.storage.create(kind, key, object);
            })
            .await?;
        Ok(Self(Arc::new(api)))
    }

    /// A client that reaches the API without a socket. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        let api = Arc::clone(&self.0);
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let api = Arc::clone(&api);
            async move { Ok::<_, Infallible>(api.handle(request).await) }
        });
        kube::Client::new(service, "default")
    }

    /// Says who answers for `pods/NAME/log`. The first call counts.
    pub fn set_pod_logs(&self, logs: Arc<dyn PodLogs>) {
        // a second node is not supported; the first keeps answering
        let _ = self.0.logs.set(logs);
    }
}

fn add_namespace(api: &Api, name: &str) {
    let namespace = json!({
        "kind": "Namespace", "apiVersion": "v1",
        "metadata": {
            "name": name, "uid": validation::names::uid(), "creationTimestamp": api.now(),
            "labels": {"kubernetes.io/metadata.name": name},
        },
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"},
    });
    // it may be there already
    let _ = api.storage.create(named("Namespace"), Key::new("", name), namespace);
}
