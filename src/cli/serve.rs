//! `branchline serve`: the server, until it is told to stop.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use super::assemble;
use super::output::{Exit, say};
use crate::secret::Redactor;
use crate::settings::{Environment, Flags, Settings};
use crate::telemetry::{LogFormat, start_logging};

#[derive(clap::Args)]
pub(super) struct Serve {
    /// The config repository: URL[#BRANCH][:PATH]
    #[arg(long, value_name = "REPOSITORY")]
    config_repo: Option<String>,
    /// Where everything is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the server listens; by default 127.0.0.1:7070
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Where people reach the pages, as reports on GitHub link to them
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// A Git host beyond github.com and gitlab.com that may be fetched from; `file` for local paths
    #[arg(long, value_name = "HOST")]
    git_host: Vec<String>,
    /// Runs previews of a forge's repository as processes of this machine
    #[arg(long)]
    trust_pull_requests: bool,
    /// How the embedded cluster runs pods: as processes of this machine
    #[arg(long, default_value = "process", hide_possible_values = true)]
    runtime: RuntimeName,
    /// json or pretty
    #[arg(long, value_name = "FORMAT", default_value = "json")]
    log_format: LogFormat,
}

/// The runtimes of the embedded cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum RuntimeName {
    /// Processes of this machine.
    Process,
}

impl Serve {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let RuntimeName::Process = self.runtime;
        let environment = Environment::of_process();
        let flags = Flags {
            config_repo: self.config_repo,
            data_dir: self.data_dir,
            listen: self.listen,
            git_hosts: self.git_host,
            trust_pull_requests: self.trust_pull_requests,
            public_url: self.public_url,
        };
        let settings = Settings::read(&flags, &environment)?;
        let redactor = Redactor::new();
        settings.teach(&redactor);
        start_logging(self.log_format, environment.log_filter(), false, redactor)?;
        let running = assemble::start(&settings, settings.kubeconfig.as_deref()).await?;
        say(&format!("Listening on http://{}", running.server));
        if let Some(proxy) = running.proxy {
            say(&format!(
                "Services of the embedded cluster run as processes of this machine, behind http://{proxy}"
            ));
        }
        until_told().await?;
        running.end().await?;
        Ok(Exit::Ok)
    }
}

/// Waits for the signal that asks us to end.
pub(super) async fn until_told() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
