//! How GitHub answers, rule by rule; RULES.md has the address of each in its documentation.

use serde_json::{Value, json};

use super::state::{APP_ID, APP_SLUG, Repository, State, TOKEN_USER};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The App itself, by its signed token.
    App,
    /// An installation of it.
    Installation(u64),
    /// The user of the personal token.
    User,
}

/// A request, read.
pub(crate) struct Asked<'a> {
    pub(crate) caller: Caller,
    /// The operation of the `OpenAPI` document.
    pub(crate) operation: &'a str,
    pub(crate) path: Vec<&'a str>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Value,
}

/// An answer; lists are cut into pages later.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
    /// Where the list stands in the body, for what comes in pages.
    pub(crate) list: Option<&'static str>,
}

fn ok(body: Value) -> Answer {
    Answer { status: 200, body, list: None }
}

fn created(body: Value) -> Answer {
    Answer { status: 201, body, list: None }
}

fn refuse(status: u16, message: &str) -> Answer {
    let body = json!({
        "message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string(),
    });
    Answer { status, body, list: None }
}

pub(crate) fn not_found() -> Answer {
    refuse(404, "Not Found")
}

/// A request that the document refuses (rule V1).
pub(crate) fn unprocessable(mistakes: &[String]) -> Answer {
    let mut answer = refuse(422, "Validation Failed");
    answer.body["errors"] = json!(mistakes);
    answer
}

/// Answers a request.
pub(crate) fn answer(state: &mut State, asked: &Asked<'_>) -> Answer {
    match (asked.operation, asked.caller) {
        ("GET /app", Caller::App) => {
            return ok(json!({ "id": APP_ID, "slug": APP_SLUG, "name": "Branchline" }));
        }
        ("GET /user", Caller::User) => return ok(json!({ "login": TOKEN_USER, "id": 7, "type": "User" })),
        ("GET /app/hook/deliveries", Caller::App) => return ok(Value::Array(state.deliveries.clone())),
        ("POST /app/installations/{installation_id}/access_tokens", Caller::App) => {
            let installation: u64 = asked.path[2].parse().unwrap_or(0);
            let known = state.repositories.values().any(|one| one.installed && number(one) == installation);
            if !known {
                return not_found();
            }
            let token = format!("ghs_{}", state.id());
            state.tokens.insert(token.clone(), installation);
            let permissions = json!({ "checks": "write", "contents": "read", "pull_requests": "write" });
            let expires = "2999-01-01T00:00:00Z";
            return created(json!({ "token": token, "expires_at": expires, "permissions": permissions }));
        }
        _ => {}
    }
    if asked.path.first() != Some(&"repos") {
        return not_found();
    }
    let name = format!("{}/{}", asked.path[1], asked.path[2]).to_ascii_lowercase();
    let id = state.id();
    let time = state.time();
    // R1: what one may not see is not there
    let Some(repository) = state.repositories.get_mut(&name) else { return not_found() };
    match asked.caller {
        Caller::App if asked.operation.ends_with("/installation") => {
            return if repository.installed { ok(json!({ "id": number(repository) })) } else { not_found() };
        }
        Caller::App => return refuse(401, "A JSON web token could not be decoded"),
        Caller::Installation(installation) if !repository.installed || number(repository) != installation => {
            return not_found();
        }
        _ => {}
    }
    of_repository(repository, asked, id, &time)
}

/// One installation per owner.
fn number(repository: &Repository) -> u64 {
    let owner = repository.name.split('/').next().unwrap_or_default();
    10_000 + owner.bytes().map(u64::from).sum::<u64>()
}

fn of_repository(repository: &mut Repository, asked: &Asked<'_>, id: u64, time: &str) -> Answer {
    let last = asked.path.last().copied().unwrap_or_default();
    let number: u64 = asked.path.iter().rev().find_map(|part| part.parse().ok()).unwrap_or(0);
    let query = |name: &str| asked.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    match asked.operation {
        "GET /repos/{owner}/{repo}" => ok(repository.shown()),
        "GET /repos/{owner}/{repo}/pulls" => {
            let state = query("state").unwrap_or("open");
            let shown = |pull: &&Value| state == "all" || pull["state"] == state;
            let mut pulls: Vec<Value> = repository.pulls.values().filter(shown).cloned().collect();
            if query("direction") != Some("asc") {
                pulls.reverse();
            }
            Answer { status: 200, body: Value::Array(pulls), list: Some("") }
        }
        "GET /repos/{owner}/{repo}/pulls/{pull_number}" => {
            repository.pulls.get(&number).cloned().map_or_else(not_found, ok)
        }
        "GET /repos/{owner}/{repo}/commits/{ref}/check-runs" => list_runs(repository, asked, query("filter")),
        "POST /repos/{owner}/{repo}/check-runs" => create_run(repository, asked, id, time),
        "PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}" => update_run(repository, asked, number),
        "POST /repos/{owner}/{repo}/statuses/{sha}" => create_status(repository, asked, last, id, time),
        "GET /repos/{owner}/{repo}/issues/{issue_number}/comments" => {
            if !repository.pulls.contains_key(&number) {
                return not_found();
            }
            let of = |comment: &&Value| comment["number"] == number;
            let comments: Vec<Value> = repository.comments.iter().filter(of).map(without_number).collect();
            Answer { status: 200, body: Value::Array(comments), list: Some("") }
        }
        "POST /repos/{owner}/{repo}/issues/{issue_number}/comments" => {
            create_comment(repository, asked, number, id, time)
        }
        "PATCH /repos/{owner}/{repo}/issues/comments/{comment_id}" => {
            edit_comment(repository, asked, number, time)
        }
        "GET /repos/{owner}/{repo}/collaborators/{username}/permission" => {
            match repository.permissions.get(asked.path[4]) {
                Some(permission) => ok(json!({ "permission": permission, "role_name": permission })),
                None => not_found(),
            }
        }
        _ => not_found(),
    }
}

fn list_runs(repository: &Repository, asked: &Asked<'_>, filter: Option<&str>) -> Answer {
    let sha = asked.path[4];
    if !repository.commits.contains(sha) {
        return refuse(422, &format!("No commit found for SHA: {sha}"));
    }
    let mut runs: Vec<Value> = repository.runs.iter().filter(|run| run["head_sha"] == sha).cloned().collect();
    // C5: only the newest of each name, unless all are asked for
    if filter != Some("all") {
        let newest = runs.clone();
        runs.retain(|run| {
            !newest
                .iter()
                .any(|other| other["name"] == run["name"] && other["id"].as_u64() > run["id"].as_u64())
        });
    }
    runs.reverse();
    Answer {
        status: 200,
        body: json!({ "total_count": runs.len(), "check_runs": runs }),
        list: Some("check_runs"),
    }
}

fn create_run(repository: &mut Repository, asked: &Asked<'_>, id: u64, time: &str) -> Answer {
    // C1: only Apps make check runs
    if !matches!(asked.caller, Caller::Installation(_)) {
        return refuse(403, "You must authenticate via a GitHub App.");
    }
    let sha = asked.body["head_sha"].as_str().unwrap_or_default();
    // C3: the commit must be known
    if !repository.commits.contains(sha) {
        return refuse(422, &format!("No commit found for SHA: {sha}"));
    }
    // C2: the same name on the same commit makes a second run
    let mut run = json!({
        "id": id, "head_sha": sha, "name": asked.body["name"], "external_id": null, "details_url": null,
        "status": "queued", "conclusion": null, "started_at": time, "completed_at": null,
        "output": { "title": null, "summary": null, "text": null, "annotations_count": 0 },
        "app": { "id": APP_ID, "slug": APP_SLUG },
        "actions": [],
    });
    if let Err(refusal) = write_run(repository, &mut run, &asked.body) {
        return *refusal;
    }
    repository.runs.push(run.clone());
    created(run)
}

fn update_run(repository: &mut Repository, asked: &Asked<'_>, id: u64) -> Answer {
    if !matches!(asked.caller, Caller::Installation(_)) {
        return refuse(403, "You must authenticate via a GitHub App.");
    }
    let Some(at) = repository.runs.iter().position(|run| run["id"] == id) else { return not_found() };
    let mut run = repository.runs[at].clone();
    if let Err(refusal) = write_run(repository, &mut run, &asked.body) {
        return *refusal;
    }
    repository.runs[at] = run.clone();
    ok(run)
}

fn write_run(repository: &mut Repository, run: &mut Value, body: &Value) -> Result<(), Box<Answer>> {
    for field in ["name", "details_url", "external_id", "status", "started_at", "completed_at", "actions"] {
        if let Some(value) = body.get(field) {
            run[field] = value.clone();
        }
    }
    match body.get("conclusion") {
        // C6: a conclusion completes the run
        Some(conclusion) => {
            run["conclusion"] = conclusion.clone();
            run["status"] = json!("completed");
        }
        None if body["status"] == "completed" => {
            return Err(Box::new(unprocessable(&["a completed run needs a conclusion".to_owned()])));
        }
        None => run["conclusion"] = Value::Null,
    }
    if let Some(output) = body.get("output") {
        let annotations = repository.annotations.entry(run["id"].as_u64().unwrap_or(0)).or_default();
        // C4: at most 50 a request, each request adds to those before
        annotations.extend(output["annotations"].as_array().cloned().unwrap_or_default());
        for field in ["title", "summary", "text"] {
            run["output"][field] = output.get(field).cloned().unwrap_or(Value::Null);
        }
        run["output"]["annotations_count"] = json!(annotations.len());
    }
    Ok(())
}

fn create_status(repository: &mut Repository, asked: &Asked<'_>, sha: &str, id: u64, time: &str) -> Answer {
    if !repository.commits.contains(sha) {
        return refuse(422, &format!("No commit found for SHA: {sha}"));
    }
    // S1: 1000 statuses for one commit and context
    let same = |status: &&Value| status["sha"] == sha && status["context"] == asked.body["context"];
    if repository.statuses.iter().filter(same).count() >= 1000 {
        return unprocessable(&[
            "This SHA and context has reached the maximum number of statuses.".to_owned()
        ]);
    }
    let status = json!({
        "id": id, "sha": sha, "state": asked.body["state"], "context": asked.body["context"],
        "description": asked.body["description"], "target_url": asked.body["target_url"], "created_at": time,
    });
    repository.statuses.push(status.clone());
    let mut shown = status;
    shown.as_object_mut().expect("an object").remove("sha");
    created(shown)
}

fn create_comment(
    repository: &mut Repository,
    asked: &Asked<'_>,
    number: u64,
    id: u64,
    time: &str,
) -> Answer {
    if !repository.pulls.contains_key(&number) {
        return not_found();
    }
    // I2: nobody comments on a locked conversation
    if repository.locked.contains(&number) {
        return refuse(403, "Unable to create comment because issue is locked.");
    }
    if let Some(refusal) = too_long(&asked.body) {
        return refusal;
    }
    let comment = json!({
        "id": id, "number": number, "body": asked.body["body"], "created_at": time, "updated_at": time,
        "user": author(asked.caller),
    });
    repository.comments.push(comment.clone());
    created(without_number(&comment))
}

fn edit_comment(repository: &mut Repository, asked: &Asked<'_>, id: u64, time: &str) -> Answer {
    let Some(comment) = repository.comments.iter_mut().find(|comment| comment["id"] == id) else {
        return not_found();
    };
    // I3: an App edits its own comments only
    if comment["user"]["login"] != author(asked.caller)["login"] {
        return refuse(403, "Resource not accessible by integration");
    }
    if let Some(refusal) = too_long(&asked.body) {
        return refusal;
    }
    comment["body"] = asked.body["body"].clone();
    comment["updated_at"] = json!(time);
    ok(without_number(comment))
}

/// I1: 65,536 characters.
fn too_long(body: &Value) -> Option<Answer> {
    let length = body["body"].as_str().unwrap_or_default().chars().count();
    (length > 65_536).then(|| unprocessable(&["body is too long (maximum is 65536 characters)".to_owned()]))
}

fn author(caller: Caller) -> Value {
    match caller {
        Caller::User => json!({ "login": TOKEN_USER, "id": 7, "type": "User" }),
        _ => json!({ "login": format!("{APP_SLUG}[bot]"), "id": 8, "type": "Bot" }),
    }
}

fn without_number(comment: &Value) -> Value {
    let mut comment = comment.clone();
    comment.as_object_mut().expect("an object").remove("number");
    comment
}
