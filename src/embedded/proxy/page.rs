//! What the proxy itself says when no pod answers.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};

use super::Problem;
use super::upstream::Body;

/// How a client wants to be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    html: bool,
}

impl Page {
    pub(super) fn for_request<B>(request: &Request<B>) -> Self {
        let accepted = request.headers().get(ACCEPT).and_then(|accepted| accepted.to_str().ok());
        Self { html: accepted.is_some_and(|accepted| accepted.contains("text/html")) }
    }

    pub(super) fn say(self, problem: &Problem) -> Response<Body> {
        let status = status(problem);
        let text = if self.html { html(status, problem) } else { plain(problem) };
        let kind = if self.html { "text/html; charset=utf-8" } else { "text/plain; charset=utf-8" };
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn status(problem: &Problem) -> StatusCode {
    match problem {
        Problem::NoHost => StatusCode::BAD_REQUEST,
        Problem::UnknownHost { .. } | Problem::UnknownPath { .. } => StatusCode::NOT_FOUND,
        Problem::NoService { .. } | Problem::NoPod { .. } | Problem::Unreachable { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Problem::Broken { .. } => StatusCode::BAD_GATEWAY,
        Problem::Slow { .. } => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// What follows the first sentence, line by line.
fn details(problem: &Problem) -> Vec<String> {
    match problem {
        Problem::UnknownHost { known, .. } if known.is_empty() => {
            vec!["No service has a host yet.".to_owned()]
        }
        Problem::UnknownHost { known, .. } => std::iter::once("Known hosts:".to_owned())
            .chain(known.iter().map(|host| format!("  {host}")))
            .collect(),
        Problem::NoPod { reasons, .. } if reasons.is_empty() => vec!["It has no pods.".to_owned()],
        Problem::NoPod { reasons, .. } => reasons.clone(),
        Problem::Broken { cause, .. } => vec![cause.clone()],
        _ => Vec::new(),
    }
}

fn plain(problem: &Problem) -> String {
    let mut lines = vec![problem.to_string()];
    lines.extend(details(problem));
    lines.push(String::new());
    lines.join("\n")
}

fn html(status: StatusCode, problem: &Problem) -> String {
    let title = escape(&format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default()));
    let first = escape(&problem.to_string());
    let rest = escape(&details(problem).join("\n"));
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title>\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem}}\
         pre{{white-space:pre-wrap;opacity:.75}}</style>\
         <h1>{title}</h1><p>{first}</p><pre>{rest}</pre></html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_host_names_the_known_ones_and_nothing_is_markup() {
        let problem = Problem::UnknownHost {
            host: "<b>".to_owned(),
            known: vec!["web-shop-staging.localhost".to_owned()],
        };
        insta::assert_snapshot!(plain(&problem), @r"
        No service has the host <b>.
        Known hosts:
          web-shop-staging.localhost
        ");
        assert!(html(StatusCode::NOT_FOUND, &problem).contains("<p>No service has the host &lt;b&gt;.</p>"));
    }

    #[test]
    fn no_ready_pod_says_why() {
        let reasons =
            vec!["web-1: CrashLoopBackOff: back-off 10s restarting failed container=web".to_owned()];
        let problem = Problem::NoPod { service: "shop-staging/web".to_owned(), reasons };
        insta::assert_snapshot!(plain(&problem), @r"
        No pod of shop-staging/web is ready.
        web-1: CrashLoopBackOff: back-off 10s restarting failed container=web
        ");
        assert_eq!(status(&problem), StatusCode::SERVICE_UNAVAILABLE);
    }
}
