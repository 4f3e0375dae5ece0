//! The seam between a node and what really runs its containers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::logs::Log;

/// What runs the containers of a node: processes, or (later) a container engine.
pub trait Runtime: Send + Sync + 'static {
    /// The scheme of container IDs, `process`.
    fn name(&self) -> &'static str;

    /// Finds what an image reference names, without starting it.
    ///
    /// # Errors
    /// When this runtime cannot run such an image, or it is not here.
    fn image(&self, image: &str) -> Result<String, ImageError>;

    /// Makes room for a pod: its address, its ports and what it may write to.
    fn place<'a>(&'a self, pod: &'a PodPlan) -> BoxFuture<'a, Result<Place, StartError>>;

    /// Takes back the room of a pod whose containers have ended.
    fn leave<'a>(&'a self, uid: &'a str) -> BoxFuture<'a, ()>;

    /// Starts a container.
    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Box<dyn Container>, StartError>>;
}

/// A container that was started.
pub trait Container: Send + Sync {
    /// The name of this run, without the scheme.
    fn id(&self) -> &str;

    /// Waits until all of it has ended and its output has been taken in; gives the exit code.
    fn ended(&self) -> BoxFuture<'static, i32>;

    /// Asks it to end, or ends it.
    fn signal(&self, signal: Signal);

    /// Runs another command where the container runs, and gives its exit code.
    ///
    /// # Errors
    /// When the command does not start or does not end within `limit`.
    fn exec<'a>(&'a self, command: &'a [String], limit: Duration) -> BoxFuture<'a, Result<i32, StartError>>;
}

/// How a container is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// It may clean up.
    Terminate,
    /// It ends now.
    Kill,
}

/// What a runtime needs to know of a pod before its containers start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPlan {
    /// The UID.
    pub uid: String,
    /// The ports that each container says it listens on.
    pub ports: BTreeMap<String, Vec<u16>>,
}

/// Where a pod is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its address.
    pub address: IpAddr,
    /// The port that stands for each `containerPort`; what is not named stands for itself.
    pub ports: BTreeMap<u16, u16>,
    /// `PORT` of each container; none where the container has a network of its own and may choose.
    pub port: BTreeMap<String, u16>,
}

impl Place {
    /// The port on which the pod really serves what its manifest calls `port`.
    #[must_use]
    pub fn real(&self, port: u16) -> u16 {
        self.ports.get(&port).copied().unwrap_or(port)
    }
}

/// All that is needed to start a container; its environment may hold secrets.
#[derive(Clone)]
pub struct Launch {
    /// UID of the pod.
    pub pod: String,
    /// Name of the container.
    pub container: String,
    /// The image reference.
    pub image: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The folder to run in, where the manifest names one.
    pub working_dir: Option<String>,
    /// The environment that the manifest gives.
    pub env: BTreeMap<String, String>,
    /// Where its output goes.
    pub log: Arc<Log>,
}

/// Why an image cannot be run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It is not the kind of image that this runtime runs.
    #[error(
        "image {image:?} needs the Docker runtime; hint: start with --runtime docker, or build the service from source"
    )]
    NeedsDocker {
        /// The reference.
        image: String,
    },
    /// There is no such image here.
    #[error("the folder of image {image:?} is not on this machine; hint: deploy again to rebuild it")]
    Missing {
        /// The reference.
        image: String,
    },
}

/// Why a container did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The manifest names nothing to run.
    #[error("no command is given; hint: set `command` of the service")]
    NoCommand,
    /// The working directory is not in the image.
    #[error("the working directory {path:?} is not a folder of the image")]
    WorkingDir {
        /// As the manifest gives it.
        path: String,
    },
    /// No port of this machine is free in the range for pods.
    #[error("no port of 127.0.0.1 is free for the pod")]
    NoPort,
    /// The system refused.
    #[error("{what} failed")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A command in the container took too long.
    #[error("the command did not end within {limit:?}")]
    TimedOut {
        /// How long it was given.
        limit: Duration,
    },
}
