//! Verbs that change something: a commit to the config repository, a word to the brake, or another look.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{is_hex, list, meant, resolved, short, text};
use crate::cli::Target;
use crate::cli::client::{Client, part};
use crate::cli::output::{Exit, Format, Progress, answer, ends, plain, say};

/// How long `deploy --wait` waits.
const PATIENCE: Duration = Duration::from_mins(10);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(300);

/// Says what was committed, and where: a shell may believe that it talks to another server.
fn committed(target: &Target, client: &Client, commit: &Value) -> Exit {
    let people = |_| {
        let (revision, path) = (short(text(commit, "revision")), text(commit, "path"));
        if commit["changed"] == false {
            return format!("Nothing changed: {path} on {} says so already.\n", client.server);
        }
        format!("Committed {revision} in {path} on {}\n", client.server)
    };
    answer(target.output.format, commit, people, || vec![text(commit, "revision").to_owned()]);
    Exit::Ok
}

/// Says that something goes on, and prints what the server answered where a machine asks.
fn begun(target: &Target, value: &Value, what: &str) {
    say(what);
    if matches!(target.output.format, Format::Json | Format::Yaml) {
        answer(target.output.format, value, |_| String::new(), Vec::new);
    }
}

#[derive(clap::Args)]
pub(in crate::cli) struct Sync {
    #[command(flatten)]
    target: Target,
}

impl Sync {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let value = Client::new(&self.target)?.post("/api/v1/sync", json!({})).await?;
        begun(&self.target, &value, "Git and the clusters are being looked at.");
        Ok(Exit::Ok)
    }
}

#[derive(clap::Args)]
pub(in crate::cli) struct Approve {
    /// The plan, or its first digits
    plan: String,
    #[command(flatten)]
    target: Target,
}

impl Approve {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let approved = client.post("/api/v1/approvals", json!({"plan": self.plan})).await?;
        let names = || vec![text(&approved, "approved").to_owned()];
        answer(self.target.output.format, &approved, |_| "The removal goes ahead.\n".to_owned(), names);
        Ok(Exit::Ok)
    }
}

#[derive(clap::Args)]
pub(in crate::cli) struct Promote {
    /// The services; without any, all that are live
    services: Vec<String>,
    /// Where the release comes from
    #[arg(long, value_name = "ENV")]
    from: String,
    /// Where it goes; without it production, after a question on a terminal
    #[arg(long, value_name = "ENV")]
    to: Option<String>,
    /// Asks nothing
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

impl Promote {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let project = client.wanted_project().await?.to_owned();
        let to = meant(&client, self.to, self.yes, "Promote to").await?;
        let body = json!({"project": project, "from": self.from, "to": to, "services": self.services});
        Ok(committed(&self.target, &client, &client.post("/api/v1/promotions", body).await?))
    }
}

#[derive(clap::Args)]
pub(in crate::cli) struct Rollback {
    /// The service
    service: String,
    /// The environment; without it production, after a question on a terminal
    #[arg(short, long, value_name = "ENV")]
    environment: Option<String>,
    /// The revision to go back to, or its first digits; by default the one before
    #[arg(long, value_name = "REVISION")]
    to: Option<String>,
    /// Asks nothing
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

impl Rollback {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let project = client.wanted_project().await?.to_owned();
        let environment = meant(&client, self.environment, self.yes, "Roll back in").await?;
        let to = match &self.to {
            Some(digits) => Some(deployed(&client, &project, &environment, &self.service, digits).await?),
            None => None,
        };
        let body = json!({"project": project, "environment": environment, "service": self.service, "to": to});
        Ok(committed(&self.target, &client, &client.post("/api/v1/rollbacks", body).await?))
    }
}

#[derive(clap::Args)]
pub(in crate::cli) struct Resume {
    /// The service
    service: String,
    /// The environment; without it production, after a question on a terminal
    #[arg(short, long, value_name = "ENV")]
    environment: Option<String>,
    /// Asks nothing
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

impl Resume {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let project = client.wanted_project().await?.to_owned();
        let environment = meant(&client, self.environment, self.yes, "Resume in").await?;
        let body = json!({"project": project, "environment": environment, "service": self.service});
        Ok(committed(&self.target, &client, &client.post("/api/v1/resumptions", body).await?))
    }
}

/// The one revision that begins with these digits among those that were deployed.
async fn deployed(
    client: &Client,
    project: &str,
    environment: &str,
    service: &str,
    digits: &str,
) -> anyhow::Result<String> {
    let query = format!(
        "/api/v1/deployments?project={}&environment={}&service={}",
        part(project),
        part(environment),
        part(service)
    );
    let all = client.get(&query).await?;
    let mut found: Vec<&str> = list(&all, "deployments")
        .iter()
        .map(|row| text(row, "revision"))
        .filter(|revision| {
            !revision.is_empty() && is_hex(digits) && revision.starts_with(&digits.to_lowercase())
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [one] => Ok((*one).to_owned()),
        [] => Err(ends(
            Exit::NotFound,
            format!(
                "no deployment of `{service}` in {environment} is at `{digits}`; hint: its page lists its deployments"
            ),
        )),
        _ => {
            Err(ends(Exit::Usage, format!("several revisions begin with `{digits}`; hint: give more digits")))
        }
    }
}

#[derive(clap::Args)]
pub(in crate::cli) struct Deploy {
    /// The service; without one, all
    service: Option<String>,
    /// The environment; without it production, after a question on a terminal
    #[arg(short, long, value_name = "ENV")]
    environment: Option<String>,
    /// Pins this revision of the service's repository: 40 digits, or a name that the repository of this folder knows
    #[arg(long = "ref", value_name = "REVISION")]
    reference: Option<String>,
    /// Waits until what was asked for is live or has failed
    #[arg(long)]
    wait: bool,
    /// Asks nothing
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    target: Target,
}

impl Deploy {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let project = client.wanted_project().await?.to_owned();
        let environment = meant(&client, self.environment, self.yes, "Deploy in").await?;
        let reference = self.reference.as_deref().map(revision).transpose()?;
        let body = json!({"project": project, "environment": environment, "service": self.service, "revision": reference});
        let value = client.post("/api/v1/deployments", body).await?;
        if value["revision"].is_string() {
            committed(&self.target, &client, &value);
        } else {
            begun(&self.target, &value, &format!("{environment} is being looked at."));
        }
        if self.wait {
            settled(&client, &project, &environment, self.service.as_deref()).await
        } else {
            Ok(Exit::Ok)
        }
    }
}

/// The 40 digits that `--ref` means.
fn revision(name: &str) -> anyhow::Result<String> {
    let whole = || (name.len() == 40 && is_hex(name)).then(|| name.to_lowercase());
    resolved(name).or_else(whole).ok_or_else(|| {
        let hint = "give all 40 digits, or a name that the repository of this folder knows";
        ends(Exit::Usage, format!("`{name}` is no revision; hint: {hint}"))
    })
}

/// Waits until nothing of what was asked for moves any more, and says whether all of it is well.
async fn settled(
    client: &Client,
    project: &str,
    environment: &str,
    service: Option<&str>,
) -> anyhow::Result<Exit> {
    let progress = Progress::new(true);
    progress.on(&format!("Waiting for {}…", service.unwrap_or(environment)));
    let mut query = format!("/api/v1/status?project={}&environment={}", part(project), part(environment));
    if let Some(service) = service {
        query += &format!("&service={}", part(service));
    }
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let status = client.get(&query).await?;
        if status["busy"].as_bool() != Some(false) {
            continue;
        }
        if let Some(row) = list(&status, "services").iter().find(|row| row["problem"].is_string()) {
            let problem = plain(text(row, "problem"));
            return Err(ends(Exit::Failed, format!("{}: {problem}", text(row, "service"))));
        }
        if let Some(trouble) = trouble(&status, environment, service.is_some()) {
            return Err(ends(Exit::Failed, format!("what is live may not be the newest: {trouble}")));
        }
        // a removal that is held is no matter of one service that was named
        if let Some(held) = list(&status, "held").first().filter(|_| service.is_none()) {
            let way = match text(held, "plan").get(..8) {
                Some(plan) => format!("`branchline approve {plan}`, after a look at `branchline plan`"),
                None => "`branchline status` says what is in the way".to_owned(),
            };
            let message = format!("a removal in {environment} is held; hint: {way}");
            return Err(ends(Exit::Held, message));
        }
        return Ok(Exit::Ok);
    }
    let message = "it took longer than 10 minutes; hint: `branchline status` shows how it goes on";
    Err(ends(Exit::Timeout, message))
}

/// What keeps Git from being followed: in general or, unless one service was named, in the files of an environment.
fn trouble(status: &Value, environment: &str, of_one_service: bool) -> Option<String> {
    if let Some(trouble) = status["trouble"].as_str() {
        return Some(plain(trouble).replace("\n  hint: ", "; hint: "));
    }
    let mine = |problem: &&Value| {
        let place = text(problem, "place");
        !place.contains("/environments/") || place.contains(&format!("/environments/{environment}/"))
    };
    let problem = list(status, "problems").iter().find(mine).filter(|_| !of_one_service)?;
    let hint = problem["hint"].as_str().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
    Some(plain(&format!("{}: {}{hint}", text(problem, "place"), text(problem, "message"))))
}
