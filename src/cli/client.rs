//! The server's API, as verbs ask it.

use anyhow::Context as _;
use futures::{Stream, StreamExt as _};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;

use super::output::{Exit, ends, plain};
use super::{Target, context};
use crate::settings::Environment;

/// How long an answer may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A server.
pub(super) struct Client {
    http: reqwest::Client,
    pub(super) server: String,
    token: Option<String>,
    /// The project that is meant.
    project: Option<String>,
}

impl Client {
    /// The server that the flags, the environment or the current context name.
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        let environment = Environment::of_process();
        let given =
            |flag: &Option<String>, name| flag.clone().or_else(|| environment.get(name).map(str::to_owned));
        let context = context::current(&environment)?;
        let server = given(&target.server, "BRANCHLINE_SERVER")
            .or_else(|| context.as_ref().map(|context| context.server.clone()));
        let Some(server) = server else {
            let message = "no server is named; hint: run `branchline demo`, or give --server URL";
            return Err(ends(Exit::Usage, message));
        };
        let usable = url::Url::parse(&server)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if !usable {
            let message =
                format!("`{server}` is no address of a server; hint: write it as http://127.0.0.1:7070");
            return Err(ends(Exit::Usage, message));
        }
        // a token goes only to the server that it was given for
        let own = context.as_ref().filter(|context| context.server == server);
        let token = given(&target.token, "BRANCHLINE_TOKEN")
            .or_else(|| own.and_then(|context| context.token.clone()));
        let project = target.project.clone().or_else(|| own.and_then(|context| context.project.clone()));
        let http = reqwest::Client::builder()
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, server: server.trim_end_matches('/').to_owned(), token, project })
    }

    /// The project that the flag or the context names, where one does.
    pub(super) fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    /// The project, which this verb needs. Where none is named, the server says which there are.
    pub(super) async fn wanted_project(&self) -> anyhow::Result<&str> {
        if let Some(project) = self.project() {
            return Ok(project);
        }
        let answered = self.get("/api/v1/projects").await?;
        let known: Vec<_> = answered["projects"].as_array().into_iter().flatten().collect();
        let known: Vec<_> = known.iter().filter_map(|project| project["name"].as_str()).collect();
        let there_is = if known.is_empty() { "there is none yet".to_owned() } else { known.join(", ") };
        Err(ends(Exit::Usage, format!("no project is named; hint: give -p: {there_is}")))
    }

    /// Asks for something.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        read(self.send(Method::GET, path, None).await?).await
    }

    /// Wants something done.
    pub(super) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        read(self.send(Method::POST, path, Some(body)).await?).await
    }

    /// The data of server-sent events, one by one
    /// (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
    pub(super) async fn events(
        &self,
        path: &str,
    ) -> anyhow::Result<impl Stream<Item = anyhow::Result<String>> + use<>> {
        let bytes = Box::pin(self.send(Method::GET, path, None).await?.bytes_stream());
        Ok(futures::stream::unfold((bytes, Vec::new()), |(mut bytes, mut held)| async move {
            loop {
                if let Some(end) = held.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = held.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line);
                    if let Some(data) = line.trim_end_matches(['\r', '\n']).strip_prefix("data:") {
                        return Some((Ok(data.to_owned()), (bytes, held)));
                    }
                    continue;
                }
                match bytes.next().await? {
                    Ok(part) => held.extend_from_slice(&part),
                    Err(error) => {
                        let message = format!("the answer broke off: {}", root(&error.without_url()));
                        return Some((Err(ends(Exit::Unreachable, message)), (bytes, held)));
                    }
                }
            }
        }))
    }

    /// The answer, where it is a good one.
    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Response> {
        let url = format!("{}{path}", self.server);
        let mut request = self.http.request(method, &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|error| {
            let why = root(&error.without_url());
            let message = format!("{} cannot be reached: {why}; hint: is the server running?", self.server);
            ends(Exit::Unreachable, message)
        })?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(refusal(answer).await)
    }
}

/// Why the server does not do it, with the code that the program ends with.
async fn refusal(answer: Response) -> anyhow::Error {
    let status = answer.status();
    let value: Value = answer.json().await.unwrap_or_default();
    let exit = match (status, value["code"].as_str()) {
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Exit::SignIn,
        (StatusCode::NOT_FOUND, _) => Exit::NotFound,
        (StatusCode::CONFLICT, Some("held")) => Exit::Held,
        (StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, _) => Exit::Usage,
        _ => Exit::Failed,
    };
    let detail = value["detail"].as_str().map_or_else(|| format!("the server answers {status}"), clause);
    let hint = match (exit, value["hint"].as_str()) {
        // the server tells programs how; a person gives a flag
        (Exit::SignIn, _) if status == StatusCode::UNAUTHORIZED => {
            Some("give --token or BRANCHLINE_TOKEN: the file `token` of the server's data folder".to_owned())
        }
        (_, hint) => hint.map(clause),
    };
    ends(exit, detail + &hint.map(|hint| format!("; hint: {hint}")).unwrap_or_default())
}

async fn read(answer: Response) -> anyhow::Result<Value> {
    let text = answer.text().await.context("the answer broke off")?;
    serde_json::from_str(&text).context("the answer is no JSON; is this a Branchline server?")
}

/// A sentence of the server as the clause that stands behind `error:`.
fn clause(sentence: &str) -> String {
    let text = plain(sentence);
    let text = text.trim_end_matches('.');
    let mut letters = text.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// The deepest cause, which says most.
fn root(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// A part of a path, escaped.
pub(super) fn part(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
