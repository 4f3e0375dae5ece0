//! The world over HTTP: who asks, what goes wrong, pages, and the check against the `OpenAPI` document.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::answers::{self, Answer, Asked, Caller};
use super::state::{APP_ID, Fault, State, TOKEN};
use super::{app_key, openapi};

type Reply = Response<Full<Bytes>>;

/// Serves the world until it is dropped.
pub(crate) async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        let service = service_fn(move |request| {
            let state = Arc::clone(&state);
            async move { exchange(&state, request).await }
        });
        // an error of the service cuts the connection, which is how `CutAfterSuccess` looks from outside
        tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no panic while the world is held")
}

async fn exchange(state: &Mutex<State>, request: Request<Incoming>) -> Result<Reply, io::Error> {
    let (parts, body) = request.into_parts();
    let bytes = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let body: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
    let method = parts.method.as_str();
    let path = parts.uri.path();
    let query: Vec<(String, String)> =
        url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let mut state = lock(state);
    state.asked.push(format!("{method} {path}"));
    let fault = state.fault(&format!("{method} {path}"));
    if let Some(reply) = fault.as_ref().and_then(faulty) {
        return Ok(reply);
    }
    let Some(caller) = caller(&state, &parts.headers) else {
        return Ok(reply(401, &json!({ "message": "Bad credentials", "status": "401" }), &[]));
    };
    if let Some(moved) = moved(&state, method, path) {
        return Ok(moved);
    }
    let Some(operation) = openapi::operation(method, path) else {
        state.mistakes.push(format!("{method} {path} is no operation that the world knows"));
        return Ok(reply(404, &json!({ "message": "Not Found" }), &[]));
    };
    let mut mistakes = openapi::mistakes_of_request(operation, &query, &body);
    if !parts.headers.contains_key("user-agent") {
        mistakes.push("a request without User-Agent".to_owned());
    }
    let path: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
    let asked = Asked { caller, operation, path: path.iter().map(String::as_str).collect(), query, body };
    let answer = if mistakes.is_empty() {
        answers::answer(&mut state, &asked)
    } else {
        answers::unprocessable(&mistakes)
    };
    state.mistakes.extend(mistakes);
    let reply = finish(&mut state, &asked, parts.uri.path(), answer);
    if fault == Some(Fault::CutAfterSuccess) {
        return Err(io::Error::other("the connection is cut"));
    }
    Ok(reply)
}

fn decoded(part: &str) -> String {
    // `a%2Fb` within a part; `+` is itself there
    let part = part.replace('+', "%2B");
    url::form_urlencoded::parse(format!("x={part}").as_bytes())
        .next()
        .map_or(part.clone(), |(_, v)| v.into_owned())
}

/// Cuts a list into pages, completes the answer and checks it.
fn finish(state: &mut State, asked: &Asked<'_>, path: &str, answer: Answer) -> Reply {
    let Answer { status, mut body, list } = answer;
    let mut headers = Vec::new();
    if let Some(list) = list {
        let number = |name: &str, otherwise: usize| {
            let given = asked.query.iter().find(|(key, _)| key == name);
            given.and_then(|(_, value)| value.parse().ok()).unwrap_or(otherwise)
        };
        let (size, page) = (number("per_page", 30).clamp(1, 100), number("page", 1).max(1));
        let items = if list.is_empty() { &mut body } else { &mut body[list] };
        let all = std::mem::take(items.as_array_mut().expect("a list"));
        let more = all.len() > page * size;
        *items = Value::Array(all.into_iter().skip((page - 1) * size).take(size).collect());
        if more {
            let host = state.link_host.clone().unwrap_or_else(|| state.url.clone());
            headers.push(("link", format!("<{host}{path}?page={}>; rel=\"next\"", page + 1)));
        }
    }
    let body = openapi::complete(asked.operation, status, body);
    // the document forgets that a deleted fork is null (rule P3)
    let mistakes = openapi::mistakes_of_answer(asked.operation, status, &body);
    state.mistakes.extend(mistakes.into_iter().filter(|mistake| !mistake.contains("/head/repo: null")));
    headers.push(("x-ratelimit-limit", "5000".to_owned()));
    headers.push(("x-ratelimit-remaining", "4990".to_owned()));
    reply(status, &body, &headers)
}

fn caller(state: &State, headers: &HeaderMap) -> Option<Caller> {
    let token = headers.get("authorization")?.to_str().ok()?;
    let token = token.strip_prefix("Bearer ").or_else(|| token.strip_prefix("token "))?;
    if token == TOKEN {
        return Some(Caller::User);
    }
    if let Some(installation) = state.tokens.get(token) {
        return Some(Caller::Installation(*installation));
    }
    app_key::issuer(token).filter(|issuer| *issuer == APP_ID).map(|_| Caller::App)
}

/// R2: what was renamed answers with its address by number.
fn moved(state: &State, method: &str, path: &str) -> Option<Reply> {
    let mut parts = path.trim_matches('/').splitn(4, '/');
    let (repos, owner, name) = (parts.next()?, parts.next()?, parts.next()?);
    let now =
        state.renamed.get(&format!("{owner}/{name}").to_ascii_lowercase()).filter(|_| repos == "repos")?;
    let rest = parts.next().map(|rest| format!("/{rest}")).unwrap_or_default();
    let status = if method == "GET" { 301 } else { 307 };
    let to = format!("{}/repos/{now}{rest}", state.url);
    let body = json!({ "message": "Moved Permanently", "url": to, "documentation_url": "" });
    Some(reply(status, &body, &[("location", to)]))
}

fn faulty(fault: &Fault) -> Option<Reply> {
    let message =
        |text: &str| json!({ "message": text, "documentation_url": "https://docs.github.com/rest" });
    let secondary =
        "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.";
    Some(match fault {
        Fault::SecondaryLimit(None) => reply(403, &message(secondary), &[]),
        Fault::SecondaryLimit(Some(after)) => {
            reply(403, &message(secondary), &[("retry-after", after.to_string())])
        }
        Fault::TooMany(after) => {
            reply(429, &message("too many requests"), &[("retry-after", after.to_string())])
        }
        Fault::Exhausted(seconds) => {
            let date = "Sat, 22 Nov 2025 08:26:40 GMT".to_owned();
            let reset = (1_763_800_000 + seconds).to_string();
            let headers =
                [("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", reset), ("date", date)];
            reply(403, &message("API rate limit exceeded"), &headers)
        }
        Fault::BadGateway => raw(502, b"<html><body><h1>Unicorn!</h1></body></html>"),
        Fault::Garbage => raw(200, b"\xff\xfe{not json"),
        Fault::Forbidden => reply(403, &message("Resource not accessible by integration"), &[]),
        Fault::Unauthorized => reply(401, &message("Bad credentials"), &[]),
        Fault::CutAfterSuccess => return None,
    })
}

fn reply(status: u16, body: &Value, headers: &[(&'static str, String)]) -> Reply {
    let mut reply = raw(status, body.to_string().as_bytes());
    reply.headers_mut().insert("content-type", "application/json; charset=utf-8".parse().expect("a value"));
    for (name, value) in headers {
        reply.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    reply
}

fn raw(status: u16, body: &[u8]) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::copy_from_slice(body)));
    *reply.status_mut() = StatusCode::from_u16(status).expect("a status");
    reply
}
