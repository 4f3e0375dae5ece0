//! Verbs that ask a server.

use std::time::Duration;

use serde_json::{Value, json};

use super::Target;
use super::client::{Client, part, plain};
use super::output::{Exit, Format, ends, print, print_value, say, table};

/// The text of a field, or nothing.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Prints the answer as a table for people, or whole for machines.
fn answer(format: Format, value: &Value, people: impl FnOnce(&Value) -> String) {
    if format == Format::Text { print(&plain(&people(value))) } else { print_value(value, format) }
}

fn wanted_project(client: &Client) -> anyhow::Result<String> {
    client.project.clone().ok_or_else(|| ends(Exit::Usage, "no project is named; hint: give -p PROJECT"))
}

#[derive(clap::Args)]
pub(super) struct Status {
    #[command(flatten)]
    target: Target,
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let query = client
            .project
            .as_deref()
            .map(|project| format!("?project={}", part(project)))
            .unwrap_or_default();
        let status = client.get(&format!("/api/v1/status{query}")).await?;
        answer(self.target.output, &status, |status| {
            let mut out = String::new();
            if let Some(trouble) = status["trouble"].as_str() {
                out += &format!("! {trouble}\n\n");
            }
            let rows = status["services"].as_array().cloned().unwrap_or_default();
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    ["environment", "service", "state", "message", "url"]
                        .map(|field| first_line(text(row, field)))
                        .to_vec()
                })
                .collect();
            out += &table(&["ENVIRONMENT", "SERVICE", "STATE", "", "URL"], &rows);
            for held in status["held"].as_array().into_iter().flatten() {
                let services: Vec<_> =
                    held["services"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let go_on = match text(held, "plan").get(..12) {
                    Some(plan) => format!("`branchline approve {plan}` lets it go ahead."),
                    None => "Nothing stops; put its configuration back to go on.".to_owned(),
                };
                out += &format!(
                    "\nHeld in {}: the removal of {}. {go_on}\n",
                    text(held, "environment"),
                    services.join(", "),
                );
            }
            out
        });
        Ok(Exit::Ok)
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

/// What a container engine asks: the server of this machine, wherever it listens.
#[derive(clap::Args)]
pub(super) struct Health {
    /// Where the server listens
    #[arg(long, env = "BRANCHLINE_LISTEN", default_value = crate::settings::DEFAULT_LISTEN)]
    listen: std::net::SocketAddr,
}

impl Health {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let url = format!("http://127.0.0.1:{}/health", self.listen.port());
        let client = reqwest::Client::builder().timeout(Duration::from_secs(3)).no_proxy().build()?;
        match client.get(url).send().await {
            Ok(answer) if answer.status().is_success() => Ok(Exit::Ok),
            Ok(answer) => Err(ends(Exit::Failed, format!("the server answers {}", answer.status()))),
            Err(error) => {
                Err(ends(Exit::Unreachable, format!("the server cannot be reached: {}", error.without_url())))
            }
        }
    }
}

#[derive(clap::Args)]
pub(super) struct Projects {
    #[command(flatten)]
    target: Target,
}

impl Projects {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let projects = client.get("/api/v1/projects").await?;
        answer(self.target.output, &projects, |projects| {
            let rows = projects["projects"].as_array().cloned().unwrap_or_default();
            let rows: Vec<_> = rows
                .iter()
                .map(|row| {
                    vec![
                        text(row, "name").to_owned(),
                        text(row, "status").to_owned(),
                        row["services"].to_string(),
                        text(row, "description").to_owned(),
                    ]
                })
                .collect();
            table(&["NAME", "STATUS", "SERVICES", "DESCRIPTION"], &rows)
        });
        Ok(Exit::Ok)
    }
}

#[derive(clap::Args)]
pub(super) struct Why {
    /// A revision, or its first digits
    revision: String,
    #[command(flatten)]
    target: Target,
}

impl Why {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let verdicts = client.get(&format!("/api/v1/why/{}", part(&self.revision))).await?;
        let rows = verdicts["verdicts"].as_array().cloned().unwrap_or_default();
        if rows.is_empty() {
            let message = format!(
                "nothing is known of {}; hint: has it been pushed to a branch that is followed?",
                self.revision
            );
            return Err(ends(Exit::NotFound, message));
        }
        answer(self.target.output, &verdicts, |_| {
            let mut out = String::new();
            for row in &rows {
                let short = text(row, "revision").get(..7).unwrap_or_default();
                let head = ["project", "environment", "service"].map(|field| text(row, field)).join("/");
                out += &format!("{short} {head}: {}\n", text(row, "verdict"));
                for line in text(row, "detail").lines() {
                    out += &format!("    {line}\n");
                }
            }
            out
        });
        Ok(Exit::Ok)
    }
}

#[derive(clap::Args)]
pub(super) struct PlanVerb {
    /// The environment
    #[arg(short, long)]
    environment: String,
    /// Exits with 2 where there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    target: Target,
}

impl PlanVerb {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let (project, environment) = (wanted_project(&client)?, part(&self.environment));
        let plan = client
            .get(&format!("/api/v1/projects/{}/environments/{environment}/plan", part(&project)))
            .await?;
        answer(self.target.output, &plan, |plan| text(plan, "text").to_owned() + "\n");
        let changes = plan["changes"].as_bool() == Some(true);
        Ok(if self.detailed_exitcode && changes { Exit::Usage } else { Exit::Ok })
    }
}

#[derive(clap::Args)]
pub(super) struct Logs {
    /// A deployment, or a service with -e
    what: String,
    /// The environment of the service
    #[arg(short, long)]
    environment: Option<String>,
    /// Goes on until the deployment has ended
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    target: Target,
}

impl Logs {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        if let Some(environment) = &self.environment {
            let project = wanted_project(&client)?;
            let path = format!(
                "/api/v1/projects/{}/environments/{}/services/{}/logs",
                part(&project),
                part(environment),
                part(&self.what)
            );
            let logs = client.get(&path).await?;
            answer(self.target.output, &logs, |logs| {
                logs["lines"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .fold(String::new(), |text, line| text + line + "\n")
            });
            return Ok(Exit::Ok);
        }
        let mut next = 0;
        loop {
            let logs =
                client.get(&format!("/api/v1/deployments/{}/logs?from={next}", part(&self.what))).await?;
            let lines = logs["lines"].as_array().cloned().unwrap_or_default();
            for line in &lines {
                print(&format!("[{}] {}\n", clock(text(line, "time")), plain(text(line, "line"))));
            }
            next = logs["next"].as_i64().unwrap_or(next);
            if !lines.is_empty() {
                continue;
            }
            let ended = logs["ended"].as_bool() == Some(true);
            if ended || !self.follow {
                return Ok(match text(&logs, "state") {
                    "failed" | "timedOut" | "crashed" if ended => Exit::Failed,
                    _ => Exit::Ok,
                });
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
}

/// The time of day of an RFC 3339 time.
fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

#[derive(clap::Args)]
pub(super) struct Sync {
    #[command(flatten)]
    target: Target,
}

impl Sync {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        Client::new(&self.target)?.post("/api/v1/sync", json!({})).await?;
        say("Git and the clusters are being looked at.");
        Ok(Exit::Ok)
    }
}

#[derive(clap::Args)]
pub(super) struct Promote {
    /// The services; without any, all that are live
    services: Vec<String>,
    /// Where the release comes from
    #[arg(long)]
    from: String,
    /// Where it goes
    #[arg(long, default_value = "production")]
    to: String,
    #[command(flatten)]
    target: Target,
}

impl Promote {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let body = json!({"project": wanted_project(&client)?, "from": self.from, "to": self.to, "services": self.services});
        Ok(committed(&self.target, &client, &client.post("/api/v1/promotions", body).await?))
    }
}

#[derive(clap::Args)]
pub(super) struct Rollback {
    /// The service
    service: String,
    /// The environment
    #[arg(short, long, default_value = "production")]
    environment: String,
    /// The revision to go back to; by default the one before
    #[arg(long)]
    to: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Rollback {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let body = json!({"project": wanted_project(&client)?, "environment": self.environment, "service": self.service, "to": self.to});
        Ok(committed(&self.target, &client, &client.post("/api/v1/rollbacks", body).await?))
    }
}

/// Says what was committed, and where: a shell may believe that it talks to another server.
fn committed(target: &Target, client: &Client, commit: &Value) -> Exit {
    answer(target.output, commit, |commit| {
        format!(
            "Committed {} in {} on {}\n",
            text(commit, "revision").get(..7).unwrap_or_default(),
            text(commit, "path"),
            client.server
        )
    });
    Exit::Ok
}

#[derive(clap::Args)]
pub(super) struct Approve {
    /// The plan, or its first digits
    plan: String,
    #[command(flatten)]
    target: Target,
}

impl Approve {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let approved = client.post("/api/v1/approvals", json!({"plan": self.plan})).await?;
        answer(self.target.output, &approved, |_| "The removal goes ahead.\n".to_owned());
        Ok(Exit::Ok)
    }
}

#[derive(clap::Args)]
pub(super) struct Deploy {
    /// The service; without one, all
    service: Option<String>,
    /// The environment
    #[arg(short, long, default_value = "production")]
    environment: String,
    /// Pins this revision of the service's repository: 40 digits
    #[arg(long = "ref")]
    reference: Option<String>,
    /// Waits until what was asked for is live or has failed
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    target: Target,
}

impl Deploy {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let project = wanted_project(&client)?;
        let body = json!({"project": project, "environment": self.environment, "service": self.service, "revision": self.reference});
        let commit = client.post("/api/v1/deployments", body).await?;
        if commit["revision"].is_string() {
            committed(&self.target, &client, &commit);
        } else {
            say(&format!("{} is being looked at.", self.environment));
        }
        if !self.wait {
            return Ok(Exit::Ok);
        }
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let status = client.get(&format!("/api/v1/status?project={}", part(&project))).await?;
            let services = status["services"].as_array().cloned().unwrap_or_default();
            let mut mine = services.iter().filter(|row| {
                text(row, "environment") == self.environment
                    && self.service.as_deref().is_none_or(|service| text(row, "service") == service)
            });
            if status["busy"].as_bool() == Some(false) {
                let failed = mine.find(|row| row["problem"].is_string());
                return match failed {
                    Some(row) => Err(ends(
                        Exit::Failed,
                        format!("{}: {}", text(row, "service"), plain(text(row, "problem"))),
                    )),
                    None => Ok(Exit::Ok),
                };
            }
        }
        Err(ends(
            Exit::Timeout,
            "it took longer than 10 minutes; hint: `branchline status` shows how it goes on",
        ))
    }
}
