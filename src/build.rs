//! What an artifact is made of, and making it.
//!
//! The key of a build is known from Git before anything is run ([`BuildKey`]); the same key is never built twice,
//! however many services and environments ask for it. This room knows trees, commands and folders; it knows nothing of
//! projects, environments or clusters.
//!
//! Two builders stand behind [`ImageBuilder`]: [`FolderBuilder`] for the one-machine runtime, whose result is a folder,
//! and the Docker Engine for images. [`Registry`] knows the digests of images that others built.

mod command;
mod folder;
mod key;
mod log;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::folder::{BuildEnvironment, FolderBuilder};
pub use self::key::{BuildKey, NotAKey};
pub use self::log::{LogLine, Stream};
pub use self::registry::{Registry, RegistryError};

use crate::name::{Digest, Revision};
use crate::secret::Redactor;
use crate::source::{Cause, Mirror, SourceError};

/// What a build ends in, and what a workload runs from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Artifact {
    /// An image in a registry.
    Image {
        /// `registry/repository`, without a tag.
        repository: String,
        /// What is deployed: never a tag.
        digest: Digest,
    },
    /// A folder of the builder on this machine.
    Folder {
        /// The key that it was built from and is found by.
        key: BuildKey,
    },
}

/// What is done with a tree. Together with the tree it is the key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipe {
    /// The folder of the repository that is built: `build.context`, or `source.path`. `""` is the root.
    pub context: String,
    /// The folder of the service below the context, where the command is run and the service is started: `source.path`
    /// without the context. `""` is the context itself.
    pub within: String,
    /// The shell command: `build.command`. Without one the tree itself is the result.
    pub command: Option<String>,
    /// The build's own environment variables: `build.args`, resolved.
    pub args: BTreeMap<String, String>,
}

impl Recipe {
    /// A recipe for the service at `path` of its repository, built from `context` (by default the path itself).
    #[must_use]
    pub fn at(path: &str, context: Option<&str>) -> Self {
        let plain = |path: &str| {
            let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
            parts.collect::<Vec<_>>().join("/")
        };
        let path = plain(path);
        let context = context.map_or_else(|| path.clone(), plain);
        let below = path.strip_prefix(&context).map(|rest| rest.trim_start_matches('/'));
        // a context beside the service is run in as a whole
        let within = below.unwrap_or_default().to_owned();
        Self { context, within, ..Self::default() }
    }
}

/// A build that somebody wants.
#[derive(Clone)]
pub struct BuildOrder {
    /// The repository.
    pub mirror: Mirror,
    /// The revision whose tree is built.
    pub revision: Revision,
    /// What is done with it.
    pub recipe: Recipe,
    /// Where its log lines go. The sender is waited for, so a slow reader slows the build and loses nothing; once the
    /// receiver is gone the lines are dropped.
    pub log: mpsc::Sender<LogLine>,
    /// What is hidden in the log.
    pub redactor: Redactor,
    /// Ends the build and everything that it started.
    pub cancel: CancellationToken,
}

/// A build that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// What came out.
    pub artifact: Artifact,
    /// Whether it was there already, so that nothing was run.
    pub reused: bool,
    /// How long it took, waiting included.
    pub took: Duration,
}

/// Makes artifacts from trees.
pub trait ImageBuilder: Send + Sync {
    /// The key of what the order would build. Only Git is asked.
    fn key<'a>(&'a self, order: &'a BuildOrder) -> BoxFuture<'a, Result<BuildKey, BuildError>>;

    /// Whether the artifact of the key is there, so that [`build`](Self::build) has nothing to run.
    fn has<'a>(&'a self, key: &'a BuildKey) -> BoxFuture<'a, bool>;

    /// Builds, unless the artifact is there. Those who want the same key at the same time share one build; dropping
    /// the future withdraws the wish and, where nobody else waits, ends the build.
    fn build(&self, order: BuildOrder) -> BoxFuture<'_, Result<Built, BuildError>>;

    /// Removes the artifacts of keys that are not in use and were last asked for before a moment, but none that is being
    /// built, and names them.
    ///
    /// # Errors
    /// When one cannot be removed.
    fn collect<'a>(
        &'a self,
        in_use: &'a BTreeSet<BuildKey>,
        asked_before: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<BuildKey>, BuildError>>;
}

/// Why there is no artifact.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The tree cannot be read or holds what is refused.
    #[error("the tree to build cannot be read")]
    Source {
        /// What is wrong with it, and where.
        #[source]
        source: SourceError,
    },
    /// The command ended in a failure.
    #[error("build.command failed with {status}{}", hint.map(|hint| format!("; hint: {hint}")).unwrap_or_default())]
    Failed {
        /// `exit code 2`, `signal 9`.
        status: String,
        /// What to do, for known causes.
        hint: Option<&'static str>,
        /// The last lines that it wrote, redacted.
        tail: Vec<String>,
    },
    /// The command took too long.
    #[error(
        "build.command did not end within {limit:?} and was stopped; hint: does it start a server or wait for input?"
    )]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// The last lines that it wrote, redacted.
        tail: Vec<String>,
    },
    /// The command wrote more than any log can hold.
    #[error("build.command wrote more than {limit} bytes of output and was stopped; hint: make it quieter")]
    TooMuchOutput {
        /// The limit in bytes.
        limit: u64,
        /// The last lines that it wrote, redacted.
        tail: Vec<String>,
    },
    /// The command filled the disk.
    #[error(
        "build.command wrote more than {limit} bytes of files and was stopped; hint: clean up in the command"
    )]
    TooManyFiles {
        /// The limit in bytes.
        limit: u64,
        /// The last lines that it wrote, redacted.
        tail: Vec<String>,
    },
    /// The disk.
    #[error("cannot write {}; hint: check the disk's space and the folder's permissions", path.display())]
    Disk {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Cause,
    },
    /// The shell cannot be started.
    #[error("cannot start `{program}` for build.command")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: Cause,
    },
    /// It was withdrawn, such as by a newer revision.
    #[error("the build was cancelled")]
    Cancelled,
}

impl BuildError {
    /// Whether an author has to change something, in contrast to what is tried again by itself.
    #[must_use]
    pub fn is_authors(&self) -> bool {
        match self {
            Self::Source { source } => source.is_authors(),
            Self::Disk { .. } | Self::Start { .. } | Self::Cancelled => false,
            _ => true,
        }
    }

    /// The last lines of the log, redacted, where there are any.
    #[must_use]
    pub fn tail(&self) -> &[String] {
        match self {
            Self::Failed { tail, .. }
            | Self::TimedOut { tail, .. }
            | Self::TooMuchOutput { tail, .. }
            | Self::TooManyFiles { tail, .. } => tail,
            _ => &[],
        }
    }
}

impl From<SourceError> for BuildError {
    fn from(source: SourceError) -> Self {
        Self::Source { source }
    }
}

/// How much a build may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long the command may take.
    pub time: Duration,
    /// Bytes of its log that are kept; the rest is read and dropped, with a line that says so.
    pub log_bytes: u64,
    /// Bytes of output at which it is stopped.
    pub output_bytes: u64,
    /// Bytes of the folder at which it is stopped.
    pub folder_bytes: u64,
    /// Builds that run at once.
    pub parallel: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_mins(15),
            log_bytes: 4 << 20,
            output_bytes: 256 << 20,
            folder_bytes: 10 << 30,
            parallel: 2,
        }
    }
}

fn disk(path: &std::path::Path, error: std::io::Error) -> BuildError {
    BuildError::Disk { path: path.to_owned(), source: Arc::new(error) }
}
