//! `branchline demo`: the sample on this machine, with nothing installed but Rust and git.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};

use super::assemble::{self, Running};
use super::output::{Exit, Format, Output, Progress, print, print_value, say, table};
use super::serve::until_told;
use super::{context, sample};
use crate::name::{EnvironmentName, ProjectName};
use crate::secret::Redactor;
use crate::settings::{Environment, Flags, Settings};
use crate::source::Person;
use crate::store::ServiceRow;
use crate::telemetry::{LogFormat, start_logging};

/// How long the sample may take to settle.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long one answer of a service may take.
const ANSWER: Duration = Duration::from_secs(10);

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
        if self.fresh {
            remove(&data)?;
        }
        std::fs::create_dir_all(&data)?;
        let data = data.canonicalize()?;
        sample::make(&data)?;
        let settings = self.settings(&environment, &data)?;
        let redactor = Redactor::new();
        settings.teach(&redactor);
        let filter = environment.log_filter().unwrap_or("error");
        start_logging(LogFormat::Pretty, Some(filter), false, redactor)?;
        let running = assemble::start(&settings, None).await?;
        if !self.once {
            remember(&environment, &running);
        }
        let result = settle(&running, &data, !self.is_for_machines()).await;
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
        let well = |service: &Value| {
            let answers = service["httpStatus"].is_null()
                || service["httpStatus"].as_u64().is_some_and(|status| status < 400);
            service["state"] == "live" && answers
        };
        let settled = !services.is_empty() && services.iter().all(well);
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
        print(&format!("Settled in {} s\n", begun.elapsed().as_secs().max(1)));
        settled
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

/// Only what a demo made itself is removed.
fn remove(data: &Path) -> anyhow::Result<()> {
    if !data.exists() {
        return Ok(());
    }
    let is_demo = data.join("git/config.git/HEAD").is_file() || data.read_dir()?.next().is_none();
    anyhow::ensure!(
        is_demo,
        "{} holds no demo, so nothing in it is removed; hint: give another --data-dir",
        data.display()
    );
    std::fs::remove_dir_all(data).with_context(|| format!("{} cannot be removed", data.display()))
}

fn is_free(address: &str) -> bool {
    std::net::TcpListener::bind(address).is_ok()
}

/// Waits until staging is live, promotes it to production once, and asks every service for its front page.
async fn settle(running: &Running, data: &Path, tell: bool) -> anyhow::Result<Vec<Value>> {
    let (project, staging, production): (ProjectName, EnvironmentName, EnvironmentName) =
        ("shop".parse()?, "staging".parse()?, "production".parse()?);
    let progress = Progress::new(tell);
    progress.on("Building and starting staging…");
    let rows = settled(running).await?;
    let released = rows.iter().any(|row| row.environment == "production" && row.state != "notReleased");
    let staged = rows.iter().filter(|row| row.environment == "staging").all(|row| row.state == "live");
    if !released && staged {
        progress.on("Promoting staging to production…");
        let author = Person { name: "Demo".to_owned(), email: "demo@localhost".to_owned() };
        let before = running.reconciler.snapshot().borrow().config_revision.clone();
        running.reconciler.promote(&project, &staging, &production, &[], author).await?;
        let mut snapshot = running.reconciler.snapshot();
        let seen = snapshot.wait_for(|snapshot| snapshot.config_revision != before);
        tokio::time::timeout(PATIENCE, seen).await.context("the promotion was not seen")??;
    }
    // the promotion of this run or of one that was cut off
    sample::fast_forward(data, "config")?;
    let mut rows = settled(running).await?;
    let snapshot = running.reconciler.snapshot().borrow().clone();
    rows.sort_by_key(|row| (snapshot.rank(&row.project, &row.environment), row.service.clone()));
    let mut services = Vec::new();
    for row in rows {
        services.push(asked(&row, running.proxy).await?);
    }
    Ok(services)
}

/// The records of all services once nothing moves any more.
async fn settled(running: &Running) -> anyhow::Result<Vec<ServiceRow>> {
    let reconciler = &running.reconciler;
    let wait = async {
        let mut snapshot = reconciler.snapshot();
        snapshot.wait_for(|snapshot| snapshot.at.is_some()).await?;
        loop {
            reconciler.idle().await;
            let rows = reconciler.store().services(None, None).await?;
            let wanted: usize =
                snapshot.borrow().environments.iter().map(|e| e.services.len() + e.broken.len()).sum();
            let has_problem =
                |row: &ServiceRow| row.detail.as_ref().is_some_and(|d| d["problem"].is_string());
            let moving = rows.iter().any(|row| row.state == "pending" && !has_problem(row));
            if rows.len() >= wanted && !moving {
                return anyhow::Ok(rows);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .context("the sample did not settle in time; hint: `branchline status` says what it waits for")?
}

/// A service as the result lists it, with the status of its front page.
async fn asked(row: &ServiceRow, proxy: Option<SocketAddr>) -> anyhow::Result<Value> {
    let detail = row.detail.clone().unwrap_or_default();
    let url = detail["url"].as_str().map(str::to_owned);
    let status = match (&url, proxy) {
        (Some(url), Some(proxy)) => get(url, proxy).await?,
        _ => None,
    };
    Ok(json!({
        "project": row.project,
        "environment": row.environment,
        "service": row.service,
        "state": row.state,
        "message": row.message,
        "revision": detail["revision"],
        "url": url,
        "httpStatus": status,
    }))
}

/// The status of a GET, through the proxy, whatever the names below `localhost` resolve to here.
async fn get(url: &str, proxy: SocketAddr) -> anyhow::Result<Option<u16>> {
    let host = url::Url::parse(url)?.host_str().unwrap_or_default().to_owned();
    let client = reqwest::Client::builder().resolve(&host, proxy).timeout(ANSWER).no_proxy().build()?;
    Ok(client.get(url).send().await.ok().map(|answer| answer.status().as_u16()))
}
