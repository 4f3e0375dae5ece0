//! Verbs that only look: `status`, `projects`, `why`, `plan`.

use std::time::Duration;

use serde_json::Value;

use super::{is_hex, list, resolved, seconds, short, text};
use crate::cli::Target;
use crate::cli::client::{Client, part};
use crate::cli::output::{Exit, answer, ends, table};
use crate::settings::{DEFAULT_LISTEN, Environment};

#[derive(clap::Args)]
pub(in crate::cli) struct Status {
    #[command(flatten)]
    target: Target,
}

impl Status {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let query = client.project().map(|project| format!("?project={}", part(project))).unwrap_or_default();
        let status = client.get(&format!("/api/v1/status{query}")).await?;
        let name =
            |row: &Value| ["project", "environment", "service"].map(|field| text(row, field)).join("/");
        answer(
            self.target.output.format,
            &status,
            |wide| screen(&status, wide),
            || list(&status, "services").iter().map(name).collect(),
        );
        Ok(Exit::Ok)
    }
}

/// One screen: what is wrong with the configuration, the services, what is held.
fn screen(status: &Value, wide: bool) -> String {
    let mut out = String::new();
    for trouble in text(status, "trouble").lines() {
        out += &format!("! {trouble}\n");
    }
    for problem in list(status, "problems") {
        out += &format!("! {}: {}\n", text(problem, "place"), text(problem, "message"));
        if let Some(hint) = problem["hint"].as_str() {
            out += &format!("  hint: {hint}\n");
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    let services = list(status, "services");
    let several = services.iter().any(|row| text(row, "project") != text(&services[0], "project"));
    let mut head = vec!["PROJECT", "ENVIRONMENT", "SERVICE", "STATE", "REVISION"];
    let mut fields = vec!["project", "environment", "service", "state"];
    if !(several || wide) {
        head.remove(0);
        fields.remove(0);
    }
    head.extend(if wide { vec!["KIND", "DEPLOYMENT", "UPDATED", "URL"] } else { vec!["URL"] });
    // most of the time there is nothing to say
    let messages = services.iter().any(|row| !more(row).is_empty());
    head.extend(messages.then_some("MESSAGE"));
    let row = |row: &Value| {
        let cell = |field: &&str| if *field == "state" { state(row) } else { text(row, field).to_owned() };
        let mut cells: Vec<String> = fields.iter().map(cell).collect();
        cells.push(short(text(row, "revision")).to_owned());
        if wide {
            cells.push(text(row, "kind").to_owned());
            let moving = &row["moving"];
            cells.push(text(if moving.is_object() { moving } else { row }, "deployment").to_owned());
            cells.push(seconds(text(row, "updated")));
        }
        cells.push(text(row, "url").to_owned());
        cells.extend(messages.then(|| more(row)));
        cells
    };
    if services.is_empty() {
        out += "No service is known yet.\n";
    } else {
        out += &table(&head, &services.iter().map(row).collect::<Vec<_>>());
    }
    for held in list(status, "held") {
        let services: Vec<_> = list(held, "services").iter().filter_map(Value::as_str).collect();
        let go_on = match text(held, "plan").get(..12) {
            Some(plan) => format!("`branchline approve {plan}` lets it go ahead."),
            None => "Nothing stops until that is put right.".to_owned(),
        };
        let environment = text(held, "environment");
        let reasons: Vec<_> = list(held, "reasons").iter().filter_map(Value::as_str).collect();
        let (services, reasons) = (services.join(", "), reasons.join(", and "));
        out += &format!("\nHeld in {environment}: the removal of {services}, since {reasons}. {go_on}\n");
    }
    out
}

/// How it is, and what goes on.
fn state(row: &Value) -> String {
    let state = text(row, "state");
    let moving = match text(&row["moving"], "state") {
        "" => return state.to_owned(),
        "rollingOut" => "rolling out",
        "awaitingApproval" => "awaiting approval",
        other => other,
    };
    if state == "pending" { moving.to_owned() } else { format!("{state}, {moving}") }
}

/// What its message says beyond state and revision.
fn more(row: &Value) -> String {
    let message = text(row, "message").lines().next().unwrap_or_default();
    let live = format!("Live on {}", short(text(row, "revision")));
    message.strip_prefix(&live).unwrap_or(message).trim_start_matches(" · ").to_owned()
}

/// What a container engine asks: the server of this machine, wherever it listens.
#[derive(clap::Args)]
pub(in crate::cli) struct Health {
    /// Where the server listens; by default what the server of this environment is told
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<std::net::SocketAddr>,
}

impl Health {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let environment = Environment::of_process();
        let listen = match self.listen {
            Some(listen) => listen,
            None => environment.get("BRANCHLINE_LISTEN").unwrap_or(DEFAULT_LISTEN).parse()?,
        };
        let url = format!("http://127.0.0.1:{}/health", listen.port());
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
pub(in crate::cli) struct Projects {
    #[command(flatten)]
    target: Target,
}

impl Projects {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let answered = client.get("/api/v1/projects").await?;
        let projects = list(&answered, "projects");
        let people = |wide: bool| {
            let mut head = vec!["NAME", "STATUS", "SERVICES", "ENVIRONMENTS", "DESCRIPTION"];
            if wide {
                head.push("OWNERS");
            }
            let joined = |row: &Value, field| {
                list(row, field).iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            };
            let row = |row: &Value| {
                let mut cells = vec![
                    text(row, "name").to_owned(),
                    text(row, "status").to_owned(),
                    row["services"].to_string(),
                    joined(row, "environments"),
                    text(row, "description").to_owned(),
                ];
                if wide {
                    cells.push(joined(row, "owners"));
                }
                cells
            };
            match projects {
                [] if answered["trouble"].is_string() => format!("! {}\n", text(&answered, "trouble")),
                [] => "There is no project yet.\n".to_owned(),
                projects => table(&head, &projects.iter().map(row).collect::<Vec<_>>()),
            }
        };
        let names = || projects.iter().map(|row| text(row, "name").to_owned()).collect();
        answer(self.target.output.format, &answered, people, names);
        Ok(Exit::Ok)
    }
}

#[derive(clap::Args)]
pub(in crate::cli) struct Why {
    /// A revision, or its first digits; a name such as HEAD is looked up in the repository of this folder
    revision: String,
    #[command(flatten)]
    target: Target,
}

impl Why {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let Some(revision) =
            resolved(&self.revision).or_else(|| is_hex(&self.revision).then_some(self.revision.clone()))
        else {
            let message = format!(
                "`{}` is no revision; hint: give at least 4 of its digits, or a name that the repository of this folder knows",
                self.revision
            );
            return Err(ends(Exit::Usage, message));
        };
        let verdicts = client.get(&format!("/api/v1/why/{}", part(&revision))).await?;
        let (rows, commits) = (list(&verdicts, "verdicts"), list(&verdicts, "commits"));
        if rows.is_empty() && commits.is_empty() {
            let message = format!(
                "nothing is known of {}; hint: has it been pushed to a branch that is followed?",
                short(&revision)
            );
            return Err(ends(Exit::NotFound, message));
        }
        let place =
            |row: &Value| ["project", "environment", "service"].map(|field| text(row, field)).join("/");
        let people = |wide: bool| {
            let mut out = String::new();
            let of_commits = commits.iter().map(|row| (row, text(row, "repo").to_owned()));
            for (row, what) in of_commits.chain(rows.iter().map(|row| (row, place(row)))) {
                let time = if wide { format!(" {}", seconds(text(row, "time"))) } else { String::new() };
                let revision = short(text(row, "revision"));
                out += &format!("{revision}{time} {what}: {}\n", text(row, "verdict"));
                for line in text(row, "detail").lines() {
                    out += format!("    {line}").trim_end();
                    out.push('\n');
                }
            }
            out
        };
        answer(self.target.output.format, &verdicts, people, || rows.iter().map(place).collect());
        Ok(Exit::Ok)
    }
}

#[derive(clap::Args)]
pub(in crate::cli) struct PlanVerb {
    /// The environment
    #[arg(short, long, value_name = "ENV")]
    environment: String,
    /// Exits with 2 where there are changes
    #[arg(long)]
    detailed_exitcode: bool,
    #[command(flatten)]
    target: Target,
}

impl PlanVerb {
    pub(in crate::cli) async fn run(self) -> anyhow::Result<Exit> {
        let client = Client::new(&self.target)?;
        let (project, environment) = (part(client.wanted_project().await?), part(&self.environment));
        let plan = client.get(&format!("/api/v1/projects/{project}/environments/{environment}/plan")).await?;
        answer(
            self.target.output.format,
            &plan,
            |_| text(&plan, "text").to_owned() + "\n",
            || list(&plan, "objects").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        );
        let changes = plan["changes"].as_bool() == Some(true);
        Ok(if self.detailed_exitcode && changes { Exit::Usage } else { Exit::Ok })
    }
}
