//! `branchline demo`: the sample on this machine, with nothing installed but Rust and git.

mod home;
mod settle;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use serde_json::{Value, json};

use super::assemble::{self, Running};
use super::output::{Exit, Format, Output, complain, ends, print, print_value, say, table};
use super::serve::until_told;
use super::{context, sample};
use crate::secret::Redactor;
use crate::settings::{Environment, Flags, Settings};
use crate::telemetry::{LogFormat, start_logging};

#[derive(clap::Args)]
pub(super) struct Demo {
    /// Where everything is kept; a folder that holds a demo is carried on
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the server listens; by default 127.0.0.1:7070, or a free port where that is taken
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Removes what an earlier demo left, and starts anew
    #[arg(long)]
    fresh: bool,
    /// Ends once everything has settled: 0 where all is well, 1 where it is not
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    output: Output,
}

impl Demo {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let begun = Instant::now();
        let environment = Environment::of_process();
        let data = self.data_dir(&environment)?;
        home::take(&data, self.fresh)?;
        let data = data.canonicalize().with_context(|| format!("{} cannot be found", data.display()))?;
        let settings = self.settings(&environment, &data)?;
        sample::make(&data)?;
        let redactor = Redactor::new();
        settings.teach(&redactor);
        let filter = environment.log_filter().unwrap_or("error");
        start_logging(LogFormat::Pretty, Some(filter), false, redactor)?;
        let running = assemble::start(&settings, None).await?;
        if !self.once {
            remember(&environment, &running);
        }
        let result = settle::settle(&running, &data).await;
        let settled = match result {
            Ok(services) => self.show(&running, &data, &services, begun),
            Err(error) => {
                running.end().await?;
                return Err(error);
            }
        };
        if self.once {
            running.end().await?;
            return Ok(if settled { Exit::Ok } else { Exit::Failed });
        }
        until_told().await?;
        say("Ending the services…");
        running.end().await?;
        Ok(Exit::Ok)
    }

    fn is_for_machines(&self) -> bool {
        matches!(self.output.format, Format::Json | Format::Yaml)
    }

    fn data_dir(&self, environment: &Environment) -> anyhow::Result<PathBuf> {
        let given = self.data_dir.clone().or_else(|| environment.path("BRANCHLINE_DATA_DIR"));
        let home = || environment.state_home().map(|home| home.join("branchline/demo"));
        given.or_else(home).context(
            "there is no folder for data: neither HOME nor XDG_STATE_HOME is set; hint: give --data-dir",
        )
    }

    /// The settings of the demo: its own config repository, a webhook secret of its own, and no cluster but its own.
    fn settings(&self, environment: &Environment, data: &Path) -> anyhow::Result<Settings> {
        let listen = self.listen.clone().or_else(|| environment.get("BRANCHLINE_LISTEN").map(str::to_owned));
        let listen = listen.unwrap_or_else(|| {
            if is_free("127.0.0.1:7070") { "127.0.0.1:7070".to_owned() } else { "127.0.0.1:0".to_owned() }
        });
        let repo = data.join("git/config.git");
        let flags = Flags {
            config_repo: Some(repo.to_str().context("the data folder's path is UTF-8")?.to_owned()),
            data_dir: Some(data.to_owned()),
            listen: Some(listen),
            ..Flags::default()
        };
        let mut settings = Settings::read(&flags, environment)?;
        settings.kubeconfig = None;
        settings.github = None;
        if settings.webhook_secrets.is_empty() {
            settings.webhook_secrets.push(crate::server::secret_file(&data.join("webhook-secret"), "")?);
        } else {
            assemble::private(&data.join("webhook-secret"), settings.webhook_secrets[0].expose())?;
        }
        Ok(settings)
    }

    fn show(&self, running: &Running, data: &Path, services: &[Value], begun: Instant) -> bool {
        let settled =
            !services.is_empty() && services.iter().all(|service| settle::trouble(service).is_none());
        services.iter().for_each(|service| self.complain(service));
        if self.is_for_machines() {
            let proxy = running.proxy.map(|proxy| format!("http://{proxy}"));
            let server = format!("http://{}", running.server);
            print_value(
                &json!({"settled": settled, "listen": server, "proxy": proxy, "dataDir": data, "services": services}),
                self.output.format,
            );
            return settled;
        }
        let cell = |service: &Value, field: &str| match &service[field] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let rows: Vec<_> = services
            .iter()
            .map(|service| {
                let revision = cell(service, "revision");
                vec![
                    cell(service, "environment"),
                    cell(service, "service"),
                    cell(service, "state"),
                    revision.get(..7).unwrap_or_default().to_owned(),
                    cell(service, "httpStatus"),
                    cell(service, "url"),
                ]
            })
            .collect();
        if !self.once {
            print(&how_to_go_on(data));
        }
        print(&table(&["ENVIRONMENT", "SERVICE", "STATE", "REVISION", "HTTP", "URL"], &rows));
        if !self.once {
            print(&format!("\nThe dashboard       http://{}\n", running.server));
        }
        let and_yet = if settled { "" } else { ", and not all is well" };
        print(&format!("Settled in {} s{and_yet}\n", begun.elapsed().as_secs().max(1)));
        settled
    }

    /// Says what is wrong with a service, where anything is, and where more stands.
    fn complain(&self, service: &Value) {
        let Some(trouble) = settle::trouble(service) else { return };
        let text = |field: &str| service[field].as_str().unwrap_or_default();
        let first = if self.once { "run the demo without --once, then " } else { "" };
        let logs = format!("`branchline logs {} -e {}`", text("service"), text("environment"));
        complain(&ends(Exit::Failed, format!("{trouble}; hint: {first}{logs} shows what it said")));
    }
}

/// Lines that can be pasted one by one, in any order.
fn how_to_go_on(data: &Path) -> String {
    let (work, kubeconfig, me) = (data.join("work"), data.join("kubeconfig"), program());
    let (work, kubeconfig) = (work.display(), kubeconfig.display());
    format!(
        "
Push a change       cd {work}/web && echo '<p>New</p>' >> index.html && git commit -qam 'A new line' && git push -q
Promote it          {me} promote web --from staging --to production
Open a pull request cd {work}/web && git switch -qC try && echo '<p>Try</p>' >> index.html && git commit -qam Try && git push -qf origin HEAD:refs/pull/1/head && git switch -q main
Close it            cd {work}/web && git push -q origin :refs/pull/1/head
Break something     cd {work}/api && echo 'oops' >> main.rs && git commit -qam 'Break it' && git push -q
Ask why             cd {work}/api && {me} why HEAD
Mend it             cd {work}/api && git revert --no-edit HEAD && git push -q
Look                {me} status
Kubernetes          kubectl --kubeconfig {kubeconfig} get deploy,pods,svc,ingress -A

"
    )
}

/// Lets the command line know the demo, so that its verbs need no flags.
fn remember(environment: &Environment, running: &Running) {
    let shop = context::Context {
        server: format!("http://{}", running.server),
        token: Some(running.token.expose().clone()),
        project: Some("shop".to_owned()),
    };
    if let Err(error) = context::save(environment, "demo", shop) {
        say(&format!("The command line does not know this demo: {error}"));
    }
}

/// How this program is called from another shell.
fn program() -> String {
    let found = std::env::current_exe().ok();
    let environment = Environment::of_process();
    let folders = environment.get("PATH").map(std::env::split_paths).into_iter().flatten();
    let on_the_path = folders.map(|folder| folder.join("branchline")).any(|path| path.is_file());
    match found.filter(|_| !on_the_path) {
        Some(path) => path.display().to_string(),
        None => "branchline".to_owned(),
    }
}

fn is_free(address: &str) -> bool {
    std::net::TcpListener::bind(address).is_ok()
}
