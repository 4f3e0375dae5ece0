//! Verbs that ask a server.

mod change;
mod logs;
mod look;

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

pub(super) use self::change::{Approve, Deploy, Promote, Resume, Rollback, Sync};
pub(super) use self::logs::Logs;
pub(super) use self::look::{Health, PlanVerb, Projects, Status, Why};
use super::client::Client;
use super::output::{Exit, ends, say};

/// The environment that is meant where nobody names one.
const PRODUCTION: &str = "production";

/// The text of a field, or nothing.
fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The values of a field that is a list.
fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A revision as people write it.
fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}

/// A time of the server without the parts of its second.
fn seconds(time: &str) -> String {
    time.split_once('.').map_or_else(|| time.to_owned(), |(whole, _)| format!("{whole}Z"))
}

/// The environment that was named. Where none was, production: after a question on a terminal; without one, where it is
/// not protected or `yes` was said before.
async fn meant(client: &Client, named: Option<String>, yes: bool, what: &str) -> anyhow::Result<String> {
    if let Some(named) = named {
        return Ok(named);
    }
    if yes {
        return Ok(PRODUCTION.to_owned());
    }
    if io::stdin().is_terminal() {
        say(&format!("{what} {PRODUCTION}? [y/N]"));
        let mut said = String::new();
        io::stdin().lock().read_line(&mut said)?;
        return match said.trim() {
            "y" | "Y" | "yes" => Ok(PRODUCTION.to_owned()),
            _ => Err(ends(Exit::Failed, "nothing was done; hint: name the environment, or give --yes")),
        };
    }
    let projects = client.get("/api/v1/projects").await?;
    let mut mine = list(&projects, "projects").iter().filter(|it| Some(text(it, "name")) == client.project());
    let is_protected = mine.any(|it| list(it, "protected").iter().any(|name| name == PRODUCTION));
    if is_protected {
        return Err(ends(Exit::Usage, format!("`{PRODUCTION}` is protected; hint: give --yes")));
    }
    Ok(PRODUCTION.to_owned())
}

/// The 40 digits of a revision that the repository of this folder knows, such as `HEAD`.
fn resolved(revision: &str) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--verify", "--quiet", "--end-of-options"]).arg(format!("{revision}^{{commit}}"));
    let output = git.current_dir(Path::new(".")).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}

fn is_hex(text: &str) -> bool {
    (4..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
