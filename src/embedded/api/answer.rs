//! Responses: what the client accepts, and how objects, lists and refusals are written.

use crate::embedded::status::Refusal;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

/// The body of every response.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// How an object or a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Full,
    /// Rows and columns, for `kubectl get`.
    Table,
    /// `PartialObjectMetadata`.
    Metadata,
    /// `PartialObjectMetadataList`.
    MetadataList,
    /// `APIGroupDiscoveryList`.
    Discovery,
}

const OFFERED: &str = "application/json";

/// Takes the first form of the `Accept` header that is known here.
///
/// # Errors
/// 406 when there is none.
pub(crate) fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    for offer in accept.split(',') {
        let mut parts = offer.split(';').map(str::trim);
        if !matches!(parts.next(), Some("application/json" | "*/*" | "application/*" | "")) {
            continue;
        }
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let value = |name| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let form = match (value("as"), value("g"), value("v")) {
            (None, _, _) => Form::Full,
            (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Form::Table,
            (Some("PartialObjectMetadata"), Some("meta.k8s.io"), Some("v1")) => Form::Metadata,
            (Some("PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) => Form::MetadataList,
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => Form::Discovery,
            _ => continue,
        };
        return Ok(form);
    }
    Err(Refusal::not_acceptable(format!("406: Not Acceptable\n\nAvailable representations: {OFFERED}")))
}

/// A JSON response of bytes that are already JSON.
pub(crate) fn json_bytes(code: u16, bytes: Bytes) -> Response<Body> {
    typed(code, "application/json", bytes)
}

/// A JSON response.
pub(crate) fn json(code: u16, value: &Value) -> Response<Body> {
    let bytes = serde_json::to_vec(value).expect("a JSON value is always JSON");
    json_bytes(code, Bytes::from(bytes))
}

/// A response of plain text.
pub(crate) fn text(code: u16, text: &'static str) -> Response<Body> {
    typed(code, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

/// A response of that media type.
pub(crate) fn typed(code: u16, media_type: &'static str, bytes: Bytes) -> Response<Body> {
    let body = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    streamed(code, media_type, body)
}

/// A response whose body comes piece by piece.
pub(crate) fn streamed(code: u16, media_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A refusal as a Status.
pub(crate) fn refusal(refusal: &Refusal) -> Response<Body> {
    json(refusal.code, &refusal.to_json())
}

/// Adds warnings in the way that clients print them.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}
