//! A Kubernetes API, however it is reached: over the network by a kubeconfig, or as a [`kube::Client`] that is
//! handed in.
//!
//! What is done here is decided elsewhere: a [`crate::plan::Plan`] comes in, a [`apply::ChangeSet`], a
//! [`health::Health`] or an event comes out. Manifests travel as plain JSON, never through typed structs, so that
//! no field is lost that we do not know. It must not know Git, templates or what a deployment is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::core::response::{Status, reason};

use crate::clock::Clock;
use crate::render::manifest::ObjectKey;

pub mod apply;
pub mod connect;
mod conflict;
pub mod discovery;
pub mod health;
pub mod inventory;
pub mod logs;
pub mod object;
pub mod prune;
mod request;
pub mod secret;
pub mod watch;

pub use apply::{Change, ChangeSet, Outcome};
pub use inventory::ApplySet;

/// How often one object may be taken back from another manager within [`FIGHT_WINDOW`].
const FIGHT_LIMIT: usize = 5;
/// See [`FIGHT_LIMIT`].
const FIGHT_WINDOW: Duration = Duration::from_mins(1);

/// A handle on one cluster; clones share the connection, the caches and the request window.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    clock: Clock,
    window: request::Window,
    discovery: discovery::Cache,
    fights: Mutex<BTreeMap<ObjectKey, VecDeque<Timestamp>>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// Wraps a client. Its own retries must be off: this module has a policy of its own.
    #[must_use]
    pub fn new(client: Client, clock: Clock) -> Self {
        let inner = Inner {
            client,
            clock,
            window: request::Window::new(),
            discovery: discovery::Cache::default(),
            fights: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The client underneath.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.inner.client
    }

    /// The clock that waits go by.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// What tells this cluster from every other: the UID of its `kube-system` namespace.
    ///
    /// Another answer under the same kubeconfig means that the cluster was replaced: stop and ask.
    ///
    /// # Errors
    /// When the API does not answer, or has no such namespace.
    pub async fn identity(&self) -> Result<String, ClusterError> {
        let namespace = self.read("/api/v1/namespaces/kube-system", "Namespace/kube-system").await?;
        Ok(object::uid(&namespace).to_owned())
    }

    /// Notes that an object is taken back from another manager; false when that happens too often.
    fn may_take_back(&self, key: &ObjectKey) -> bool {
        let now = self.inner.clock.now();
        let mut fights = self.inner.fights.lock().expect("no holder of this lock panics");
        let recent = |at: &Timestamp| now.duration_since(*at).unsigned_abs() < FIGHT_WINDOW;
        fights.retain(|_, times| times.back().is_some_and(recent));
        let times = fights.entry(key.clone()).or_default();
        times.retain(recent);
        if times.len() >= FIGHT_LIMIT {
            return false;
        }
        times.push_back(now);
        true
    }
}

/// A field that another manager holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Conflict {
    /// The other field manager.
    pub manager: String,
    /// The field, as Kubernetes writes it (`.spec.replicas`).
    pub path: String,
}

/// What can go wrong between us and a cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A kubeconfig cannot be used.
    #[error("{file}: {why}")]
    Kubeconfig {
        /// The file.
        file: String,
        /// What is wrong with it, and the way out.
        why: String,
    },
    /// No answer came.
    #[error(
        "{what}: the cluster does not answer\nhint: check that its API server is up and can be reached from here"
    )]
    Unreachable {
        /// What was asked.
        what: String,
        /// The transport's own words.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer took too long.
    #[error("{what}: no answer within {} s", .after.as_secs())]
    TimedOut {
        /// What was asked.
        what: String,
        /// How long was waited.
        after: Duration,
    },
    /// The API server said no.
    #[error("{what}: {}", words(status))]
    Refused {
        /// What was asked.
        what: String,
        /// Its answer.
        status: Box<Status>,
    },
    /// The answer cannot be read.
    #[error("{what}: the cluster's answer is not what Kubernetes answers: {why}")]
    Unreadable {
        /// What was asked.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// Discovery was read completely, and the kind is not served.
    #[error(
        "the cluster does not know the kind {kind} of {api}\nhint: install what brings this kind (a CustomResourceDefinition), or take the object out of the template"
    )]
    UnknownKind {
        /// API version, or group.
        api: String,
        /// The kind.
        kind: String,
    },
    /// Discovery, or a list, could not be read completely. Nothing is deleted on such grounds.
    #[error("{what} could not be read completely")]
    Incomplete {
        /// What was read.
        what: String,
        /// Why not.
        #[source]
        source: Box<ClusterError>,
    },
    /// An object of that name exists and is not ours.
    #[error(
        "{key} exists and is not ours (it is managed by {})\nhint: rename the service, or hand the object over with the annotation `branchline.dev/adopt: \"true\"`",
        or_nobody(managers)
    )]
    NotOurs {
        /// The object.
        key: ObjectKey,
        /// Its field managers.
        managers: Vec<String>,
    },
    /// Another tool declares the same fields.
    #[error("{key}: {}\nhint: take these fields out of one of the two tools", held_by(conflicts))]
    Conflicts {
        /// The object.
        key: ObjectKey,
        /// Which fields, and who holds them.
        conflicts: Vec<Conflict>,
    },
    /// Another manager keeps changing what we put back.
    #[error(
        "{key} is changed back again and again: {}\nhint: stop the other tool, or take these fields out of the template",
        held_by(conflicts)
    )]
    Fight {
        /// The object.
        key: ObjectKey,
        /// Which fields, and who holds them.
        conflicts: Vec<Conflict>,
    },
    /// The plan said that this cannot be done.
    #[error("{key}: {why}")]
    Planned {
        /// The object.
        key: ObjectKey,
        /// The plan's reason.
        why: String,
    },
    /// The namespace is run by another Branchline.
    #[error(
        "the namespace {namespace} belongs to another Branchline (instance {found})\nhint: give the environment another namespace, or remove the ConfigMap `branchline` there when the other one is gone for good"
    )]
    OtherInstance {
        /// The namespace.
        namespace: String,
        /// The instance that the ApplySet parent names.
        found: String,
    },
    /// The ApplySet is run by another tool.
    #[error(
        "the ConfigMap `branchline` in {namespace} is not ours (tooling {found})\nhint: remove or rename it, or give the environment another namespace"
    )]
    OtherTool {
        /// The namespace.
        namespace: String,
        /// Its tooling annotation.
        found: String,
    },
    /// The inventory cannot be read, so nothing may be concluded from it.
    #[error(
        "ConfigMap/{namespace}/branchline: the record of `{unit}` cannot be read: {why}\nhint: remove the key `{unit}` from its data; nothing that runs is deleted by that"
    )]
    Inventory {
        /// The namespace.
        namespace: String,
        /// The unit.
        unit: String,
        /// The reader's words.
        why: String,
    },
    /// An object that was deleted stays.
    #[error("{key} does not go away{}", waits_for(finalizers))]
    Stays {
        /// The object.
        key: ObjectKey,
        /// What still has to let it go.
        finalizers: Vec<String>,
    },
}

impl ClusterError {
    /// The API server's answer, when it was a refusal.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            Self::Incomplete { source, .. } => source.status(),
            _ => None,
        }
    }

    /// Answers whether the same request may succeed later without anybody changing anything in Git.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Unreadable { .. }
            | Self::Stays { .. } => true,
            Self::Refused { status, .. } => {
                matches!(status.code, 401 | 403 | 408 | 409 | 429 | 500..) && !is_misfit(&status.message)
            }
            Self::Incomplete { source, .. } => source.is_transient(),
            _ => false,
        }
    }

    /// Whether the object that was asked for is not there, by the server's own word.
    /// Answers whether the author of the configuration can mend it, and nobody else.
    #[must_use]
    pub fn is_authors(&self) -> bool {
        match self {
            Self::UnknownKind { .. }
            | Self::NotOurs { .. }
            | Self::Conflicts { .. }
            | Self::Fight { .. }
            | Self::Planned { .. } => true,
            Self::Refused { status, .. } => matches!(status.code, 400 | 422) || is_misfit(&status.message),
            _ => false,
        }
    }

    /// Whether the namespace of what was asked for is gone, or about to be: the server answers a write with 404 about a
    /// `namespaces`, or with 403 and the cause `NamespaceTerminating` (its admission plugin `NamespaceLifecycle`).
    #[must_use]
    pub fn lacks_namespace(&self) -> bool {
        let Some(details) = self.status().and_then(|status| status.details.as_ref()) else { return false };
        self.is_code(404) && details.kind == "namespaces"
            || self.is_code(403) && details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
    }

    fn is_absent(&self) -> bool {
        self.is_code(404) && self.status().is_some_and(|status| status.reason == reason::NOT_FOUND)
    }

    fn is_code(&self, code: u16) -> bool {
        self.status().is_some_and(|status| status.code == code)
    }
}

/// Whether a refusal is about a manifest that does not fit its kind; server-side apply answers so with a 500.
fn is_misfit(words: &str) -> bool {
    words.contains("failed to create typed patch object")
}

/// The words of a refusal: every cause on its own line where the server names fields.
fn words(status: &Status) -> String {
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    let named: Vec<String> = causes
        .iter()
        .filter(|cause| !cause.field.is_empty())
        .map(|cause| format!("{}: {}", cause.field, cause.message))
        .collect();
    let message = if is_misfit(&status.message) {
        // "failed to create typed patch object (ns/name; v1, Kind=X): .spec.x: field not declared in schema"
        status.message.split_once("): ").map_or(status.message.as_str(), |(_, words)| words)
    } else {
        status.message.as_str()
    };
    let words = if named.is_empty() { message.to_owned() } else { named.join("; ") };
    match hint(status, &words) {
        Some(hint) => format!("{words}\nhint: {hint}"),
        None => words,
    }
}

/// The way out of the refusals that people meet most.
fn hint(status: &Status, words: &str) -> Option<&'static str> {
    if words.contains("field is immutable") || words.contains("updates to statefulset spec") {
        return Some(
            "this field cannot be changed in place: give the object another name, or delete it yourself first",
        );
    }
    if words.contains("field not declared in schema") {
        return Some("the kind has no such field; mend its name in the template");
    }
    if words.contains("exceeded quota") {
        return Some("raise the namespace's ResourceQuota, or ask for less");
    }
    match status.code {
        401 => Some("the credentials of the cluster are not accepted any more"),
        403 if words.contains("admission webhook") || words.contains("ValidatingAdmissionPolicy") => {
            Some("a policy of the cluster forbids it")
        }
        403 => Some("the role of the deploying ServiceAccount does not allow this"),
        _ => None,
    }
}

fn or_nobody(managers: &[String]) -> String {
    if managers.is_empty() { "nobody".to_owned() } else { managers.join(", ") }
}

fn held_by(conflicts: &[Conflict]) -> String {
    let each: Vec<String> = conflicts
        .iter()
        .map(|conflict| format!("{} is held by `{}`", conflict.path, conflict.manager))
        .collect();
    each.join(", ")
}

fn waits_for(finalizers: &[String]) -> String {
    if finalizers.is_empty() { String::new() } else { format!(": it waits for {}", finalizers.join(", ")) }
}
