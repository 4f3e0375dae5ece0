//! The verbs of the command line. Standard output is data, standard error is progress and complaints.
//!
//! Owns words on a terminal and exit codes; what a verb does stands in the rooms above.

mod assemble;
mod client;
mod context;
mod deliveries;
mod demo;
mod folder;
mod notes;
mod offline;
mod output;
mod remote;
mod sample;
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use output::{Exit, Format};

use crate::embedded;
use crate::settings::Environment;

/// Push, see it build, click the preview: GitOps for a team on GitHub.
#[derive(Parser)]
#[command(name = "branchline", version, max_term_width = 100, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the sample on this machine: commits it into fresh repositories, deploys it and prints its URLs
    Demo(demo::Demo),
    /// Runs the server
    Serve(serve::Serve),
    /// Checks a config repository as it lies on disk, and names everything that is wrong
    Validate(offline::Validate),
    /// Prints the manifests of a service
    Render(offline::Render),
    /// Prints the merged service with the origin of every value
    Explain(offline::Explain),
    /// Prints what would change in the cluster
    Plan(remote::PlanVerb),
    /// Shows the services and how they are
    Status(remote::Status),
    /// Says what became of a revision
    Why(remote::Why),
    /// Prints the log of a deployment or of a service
    Logs(remote::Logs),
    /// Reconciles now, or pins a revision with --ref
    Deploy(remote::Deploy),
    /// Moves what is live in one environment on to another
    Promote(remote::Promote),
    /// Puts the release before the live one back
    Rollback(remote::Rollback),
    /// Lets a service follow its branch again that a rollback or a pinned revision holds
    Resume(remote::Resume),
    /// Says yes to a removal that the brake holds
    Approve(remote::Approve),
    /// Looks at Git and the cluster now
    Sync(remote::Sync),
    /// Lists the projects
    Projects(remote::Projects),
    /// Prints the JSON Schemas of the config format, or writes them to a folder
    Schema(offline::SchemaVerb),
    /// Prints the completions of a shell
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Asks the server on this machine whether it is well
    #[command(hide = true)]
    Health(remote::Health),
    /// Stands between Branchline and a process of its runtime
    #[command(hide = true)]
    Supervise {
        /// What the supervisor is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Serves a folder over HTTP
    #[command(hide = true)]
    ServeStatic {
        /// What the server is told.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

/// Where the server is that a verb talks to.
#[derive(clap::Args, Clone)]
pub(crate) struct Target {
    /// The project; by default that of the current context
    #[arg(short, long, value_name = "NAME")]
    project: Option<String>,
    #[command(flatten)]
    output: output::Output,
    /// The server; by default that of the environment, then that of the current context
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The token; by default that of the environment, then that of the current context
    #[arg(long)]
    token: Option<String>,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    // the supervisor stands behind every process, so it begins before anything else is set up
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(verb) if verb == "supervise" => return embedded::supervise::main(arguments),
        Some(verb) if verb == "serve-static" => {
            let port = Environment::of_process().get("PORT").map(Into::into);
            return embedded::serve_static::main(arguments, port);
        }
        _ => {}
    }
    let cli = Cli::parse();
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::complain(&error);
            output::exit_of(&error).into()
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<Exit> {
    match cli.verb {
        Verb::Validate(verb) => verb.run(),
        Verb::Render(verb) => verb.run(),
        Verb::Explain(verb) => verb.run(),
        Verb::Schema(verb) => verb.run(),
        Verb::Completion { shell } => {
            let mut bytes = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "branchline", &mut bytes);
            output::print(&String::from_utf8_lossy(&bytes));
            Ok(Exit::Ok)
        }
        Verb::Supervise { .. } | Verb::ServeStatic { .. } => unreachable!("both have been run before"),
        verb => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(run_async(verb))
        }
    }
}

async fn run_async(verb: Verb) -> anyhow::Result<Exit> {
    // one provider of cryptography for every TLS connection; a second call would only say that it is there
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match verb {
        Verb::Demo(verb) => verb.run().await,
        Verb::Serve(verb) => verb.run().await,
        Verb::Plan(verb) => verb.run().await,
        Verb::Status(verb) => verb.run().await,
        Verb::Why(verb) => verb.run().await,
        Verb::Logs(verb) => verb.run().await,
        Verb::Deploy(verb) => verb.run().await,
        Verb::Promote(verb) => verb.run().await,
        Verb::Rollback(verb) => verb.run().await,
        Verb::Resume(verb) => verb.run().await,
        Verb::Approve(verb) => verb.run().await,
        Verb::Sync(verb) => verb.run().await,
        Verb::Projects(verb) => verb.run().await,
        Verb::Health(verb) => verb.run().await,
        _ => unreachable!("the other verbs do not wait for anything"),
    }
}

/// The folder of a config repository on disk.
#[derive(clap::Args)]
pub(crate) struct ConfigPath {
    /// The folder of the config repository
    #[arg(default_value = ".")]
    path: PathBuf,
}
