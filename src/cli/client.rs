//! The server's API, as verbs ask it.

use anyhow::Context as _;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::output::{Exit, ends};
use super::{Target, context};
use crate::settings::Environment;

/// How long an answer may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A server.
pub(super) struct Client {
    http: reqwest::Client,
    pub(super) server: String,
    token: Option<String>,
    /// The project that the context names.
    pub(super) project: Option<String>,
}

impl Client {
    /// The server that the flags, the environment or the current context name.
    pub(super) fn new(target: &Target) -> anyhow::Result<Self> {
        let context = context::current(&Environment::of_process())?;
        let server = target.server.clone().or_else(|| context.as_ref().map(|context| context.server.clone()));
        let Some(server) = server else {
            let message = "no server is named; hint: run `branchline demo`, or give --server URL";
            return Err(ends(Exit::Usage, message));
        };
        // a token goes only to the server that it was given for
        let own = context.as_ref().filter(|context| context.server == server);
        let token = target.token.clone().or_else(|| own.and_then(|context| context.token.clone()));
        let project = target.project.clone().or_else(|| own.and_then(|context| context.project.clone()));
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, server: server.trim_end_matches('/').to_owned(), token, project })
    }

    /// Asks for something.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    /// Wants something done.
    pub(super) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some(body)).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.server);
        let mut request = self.http.request(method, &url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.map_err(|error| {
            let message = format!("{} cannot be reached: {}", self.server, error.without_url());
            ends(Exit::Unreachable, message + "; hint: is the server running?")
        })?;
        let status = answer.status();
        let text = answer.text().await.context("the answer broke off")?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        let detail = value["detail"].as_str().map_or_else(|| format!("the server answers {status}"), plain);
        let hint = value["hint"].as_str().map(|hint| format!("; hint: {}", plain(hint))).unwrap_or_default();
        let exit = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::SignIn,
            StatusCode::NOT_FOUND => Exit::NotFound,
            StatusCode::CONFLICT => Exit::Held,
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => Exit::Usage,
            _ => Exit::Failed,
        };
        Err(ends(exit, detail + &hint))
    }
}

/// A text of a server without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n' || *c == '\t').collect()
}

/// A part of a path, escaped.
pub(super) fn part(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
