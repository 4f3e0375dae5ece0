//! `logs`: of a deployment, to its end, or of the newest pod of a service.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::{list, text};
use crate::cli::Target;
use crate::cli::client::{Client, part};
use crate::cli::output::{Exit, Format, ends, plain, print, print_value, say};

/// How often the log of a deployment is asked for more.
const PAUSE: Duration = Duration::from_millis(300);

#[derive(clap::Args)]
pub(in crate::cli) struct Logs {
    /// A deployment's id, or a service with -e
    what: String,
    /// The environment of the service
    #[arg(short, long, value_name = "ENV")]
    environment: Option<String>,
    /// Goes on until the deployment, or the pod, has ended
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines of the pod
    #[arg(long, value_name = "N", requires = "environment")]
    tail: Option<u32>,
    /// Only lines of the pod that are not older than this, such as 10m
    #[arg(long, value_name = "TIME", requires = "environment", value_parser = length_of_time)]
    since: Option<humantime::Duration>,
    /// The container of the pod before its last restart
    #[arg(long, requires = "environment")]
    previous: bool,
    /// Only lines that contain this
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Logs {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        match &self.environment {
            Some(environment) => self.of_service(&client, environment).await,
            None => self.of_deployment(&client).await,
        }
    }

    fn wants(&self, line: &str) -> bool {
        self.grep.as_ref().is_none_or(|wanted| line.contains(wanted))
    }

    async fn of_service(&self, client: &Client, environment: &str) -> anyhow::Result<Exit> {
        let mut query = format!("?follow={}&previous={}", self.follow, self.previous);
        if let Some(tail) = self.tail {
            query += &format!("&tail={tail}");
        }
        if let Some(since) = self.since {
            query += &format!("&since={}", since.as_secs().max(1));
        }
        let project = part(client.wanted_project().await?);
        let (environment, service) = (part(environment), part(&self.what));
        let path =
            format!("/api/v1/projects/{project}/environments/{environment}/services/{service}/logs{query}");
        if self.follow {
            let mut lines = std::pin::pin!(client.events(&path).await?);
            while let Some(line) = lines.next().await {
                let line = line?;
                if self.wants(&line) {
                    self.one(&json!({"line": line}), &line);
                }
            }
            return Ok(Exit::Ok);
        }
        let mut logs = client.get(&path).await?;
        let wanted = |line: &Value| line.as_str().is_some_and(|line| self.wants(line));
        logs["lines"] = list(&logs, "lines").iter().filter(|line| wanted(line)).cloned().collect();
        if list(&logs, "lines").is_empty() {
            self.nothing("a static site writes none, and a cron job only once it has run");
        }
        match self.target.output.format {
            Format::Json | Format::Yaml => print_value(&logs, self.target.output.format),
            _ => list(&logs, "lines")
                .iter()
                .filter_map(Value::as_str)
                .for_each(|line| print(&(plain(line) + "\n"))),
        }
        Ok(Exit::Ok)
    }

    /// Says that there is no line to show, and why that may be.
    fn nothing(&self, why: &str) {
        match &self.grep {
            Some(wanted) => say(&format!("No line of `{}` contains `{wanted}`.", self.what)),
            None => say(&format!("There is no line of `{}`: {why}.", self.what)),
        }
    }

    /// A line that comes by itself: as it is, or as a document of its own.
    fn one(&self, value: &Value, line: &str) {
        match self.target.output.format {
            Format::Json => print(&format!("{value}\n")),
            Format::Yaml => print(&format!("---\n{}", crate::yaml::write(value))),
            _ => print(&(plain(line) + "\n")),
        }
    }

    async fn of_deployment(&self, client: &Client) -> anyhow::Result<Exit> {
        let (mut next, mut all, mut shown) = (0, Vec::new(), false);
        let whole = !self.follow && matches!(self.target.output.format, Format::Json | Format::Yaml);
        loop {
            let path = format!("/api/v1/deployments/{}/logs?from={next}", part(&self.what));
            let logs = client.get(&path).await.map_err(|error| hinted(error, &self.what))?;
            let lines = list(&logs, "lines");
            for line in lines.iter().filter(|line| self.wants(text(line, "line"))) {
                shown = true;
                if whole {
                    all.push(line.clone());
                } else {
                    self.one(line, &format!("[{}] {}", clock(text(line, "time")), text(line, "line")));
                }
            }
            next = logs["next"].as_i64().unwrap_or(next);
            if !lines.is_empty() {
                continue;
            }
            let ended = logs["ended"].as_bool() == Some(true);
            if ended || !self.follow {
                if !shown {
                    self.nothing("it has written none so far");
                }
                if whole {
                    let value = json!({"lines": all, "state": logs["state"], "ended": ended});
                    print_value(&value, self.target.output.format);
                }
                return Ok(match text(&logs, "state") {
                    "failed" | "timedOut" | "crashed" if ended => Exit::Failed,
                    _ => Exit::Ok,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What `--since` takes, in words for whoever gives something else.
fn length_of_time(text: &str) -> Result<humantime::Duration, &'static str> {
    text.parse().map_err(|_| "it takes a length of time such as 30s, 10m or 2h")
}

/// Whoever names a service without its environment is told.
fn hinted(error: anyhow::Error, what: &str) -> anyhow::Error {
    let missing =
        crate::cli::output::exit_of(&error) == Exit::NotFound && !error.to_string().contains("hint: ");
    if !missing {
        return error;
    }
    let hint = format!(
        "`branchline logs {what} -e ENV` shows a service, `branchline status -o wide` lists deployments"
    );
    ends(Exit::NotFound, format!("{error}; hint: {hint}"))
}

/// The time of day of an RFC 3339 time.
fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}
