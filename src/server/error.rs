//! Errors as people and programs read them: problem details of RFC 9457.

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::json;
use warp::reject::{
    InvalidHeader, InvalidQuery, LengthRequired, MethodNotAllowed, MissingHeader, PayloadTooLarge, Reject,
    Rejection, UnsupportedMediaType,
};
use warp::reply::{Reply, Response};

use crate::store::StoreError;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Something that went wrong, with a code for programs and the way out for people.
///
/// A handler answers it like any other reply; the door adds the request's id on the way out.
#[derive(Debug, Clone)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    hint: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with a code in camel case, and a sentence.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), hint: None, headers: Vec::new() }
    }

    /// With the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With a header of the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// There is nothing here.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "notFound", detail)
    }

    /// The fault is ours; what it was is in the log under the request's id.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something went wrong on our side.")
            .hint("The server's log says what, under this request id.")
    }

    /// Too much at once; come back in a moment.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_after_seconds: u16) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .header(http::header::RETRY_AFTER, HeaderValue::from(retry_after_seconds))
    }

    /// A body that is larger than `limit` bytes.
    #[must_use]
    pub fn too_large(limit: u64) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "bodyTooLarge",
            format!("The body is larger than {limit} bytes."),
        )
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The whole answer; `request_id` names the request in it.
    pub(super) fn answer(self, request_id: &str) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
        });
        if let Some(hint) = self.hint {
            body["hint"] = hint.into();
        }
        body["requestId"] = request_id.into();
        let mut response = body.to_string().into_response();
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, PROBLEM_JSON);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl Reply for Problem {
    /// A bare answer that carries the problem; the door writes it out.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl Reject for Problem {}

impl From<StoreError> for Problem {
    /// A failing store is a passing state of ours; its error goes to the log.
    fn from(error: StoreError) -> Self {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "The store failed while answering a request."
        );
        if error.passes() {
            Self::unavailable("storeUnavailable", "The store cannot do this now.", 5)
        } else {
            Self::internal()
        }
    }
}

/// The last filter of the routes: every rejection becomes a problem.
pub(super) async fn recover(rejection: Rejection) -> Result<Response, std::convert::Infallible> {
    Ok(problem(&rejection).into_response())
}

fn problem(rejection: &Rejection) -> Problem {
    if let Some(problem) = rejection.find::<Problem>() {
        return problem.clone();
    }
    if rejection.is_not_found() {
        return Problem::not_found("There is nothing at this address.");
    }
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "badRequest", detail);
    if rejection.find::<MethodNotAllowed>().is_some() {
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "methodNotAllowed",
            "This address does not take that method.",
        )
    } else if let Some(header) = rejection.find::<InvalidHeader>() {
        bad(format!("The header {} cannot be read.", header.name()))
    } else if let Some(header) = rejection.find::<MissingHeader>() {
        bad(format!("The header {} is missing.", header.name()))
    } else if rejection.find::<InvalidQuery>().is_some() {
        bad("The query cannot be read.".to_owned())
    } else if rejection.find::<UnsupportedMediaType>().is_some() {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupportedMediaType",
            "The body is of another type.",
        )
        .hint("Send Content-Type: application/json.")
    } else if rejection.find::<PayloadTooLarge>().is_some() {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "bodyTooLarge", "The body is too large.")
    } else if rejection.find::<LengthRequired>().is_some() {
        Problem::new(
            StatusCode::LENGTH_REQUIRED,
            "lengthRequired",
            "This address takes no body of unknown length.",
        )
    } else {
        tracing::error!(?rejection, "A route rejected a request in a way that nobody expects.");
        Problem::internal()
    }
}
