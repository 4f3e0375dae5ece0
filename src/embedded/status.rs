//! What the server says when it does not do what was asked: a Kubernetes `Status` object with its HTTP code.
//!
//! Each constructor is one sentence of the real server; a client tells cases apart by `reason` and `causes`.

use super::kinds::Kind;
use serde_json::{Map, Value, json};

/// One reason why an object is not valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) field: String,
}

impl Cause {
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, detail: impl AsRef<str>) -> Self {
        let message = format!("Invalid value: {}: {}", go_value(value), detail.as_ref());
        Self { reason: "FieldValueInvalid", message, field: field.into() }
    }

    pub(crate) fn required(field: impl Into<String>, detail: &str) -> Self {
        let message =
            if detail.is_empty() { "Required value".to_owned() } else { format!("Required value: {detail}") };
        Self { reason: "FieldValueRequired", message, field: field.into() }
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        let message = format!("Duplicate value: {}", go_value(value));
        Self { reason: "FieldValueDuplicate", message, field: field.into() }
    }

    pub(crate) fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self {
            reason: "FieldValueNotFound",
            message: format!("Not found: {}", go_value(value)),
            field: field.into(),
        }
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: impl AsRef<str>) -> Self {
        let message = format!("Forbidden: {}", detail.as_ref());
        Self { reason: "FieldValueForbidden", message, field: field.into() }
    }

    pub(crate) fn unsupported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let mut sorted = supported.to_vec();
        sorted.sort_unstable();
        Self::unsupported_in_order(field, value, &sorted)
    }

    /// Like [`Cause::unsupported`], for the few lists that the server does not sort.
    pub(crate) fn unsupported_in_order(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let message =
            format!("Unsupported value: {}: supported values: {}", go_value(value), quoted.join(", "));
        Self { reason: "FieldValueNotSupported", message, field: field.into() }
    }

    pub(crate) fn too_long(field: impl Into<String>, limit: usize) -> Self {
        let message = format!("Too long: may not be more than {limit} bytes");
        Self { reason: "FieldValueTooLong", message, field: field.into() }
    }

    fn to_json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

/// Values stand in messages as JSON; strings with Go's quoting.
fn go_value(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}").replace("\\'", "'"),
        other => other.to_string(),
    }
}

/// An answer that is no success.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// `None`: no `details` at all, as the server does for errors that it does not know.
    pub(crate) details: Option<Value>,
}

impl Refusal {
    fn new(code: u16, reason: &'static str, message: impl Into<String>, details: Option<Value>) -> Self {
        Self { code, reason, message: message.into(), details }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message, None)
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", kind.qualified_resource());
        Self::new(404, "NotFound", message, Some(details(name, kind.group, kind.resource)))
    }

    pub(crate) fn no_such_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message, Some(json!({})))
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message, Some(json!({})))
    }

    pub(crate) fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(406, "NotAcceptable", message, Some(json!({})))
    }

    /// A PATCH of a media type that is none of the four.
    pub(crate) fn unsupported_patch() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type", Some(json!({})))
    }

    /// A body that is no JSON by its own account.
    pub(crate) fn unsupported_media_type() -> Self {
        // `kubectl create KIND` sends protobuf, and falls back to nothing else
        let message = "the body of the request was in an unknown format - accepted media types include: \
            application/json; hint: `kubectl create … --dry-run=client -o yaml | kubectl create --validate=false -f -` sends JSON";
        Self::new(415, "UnsupportedMediaType", message, None)
    }

    /// `going` says that the object which has the name is on its way out.
    pub(crate) fn already_exists(kind: &Kind, name: &str, going: bool) -> Self {
        let prefix = if going { "object is being deleted: " } else { "" };
        let message = format!("{prefix}{} \"{name}\" already exists", kind.qualified_resource());
        Self::new(409, "AlreadyExists", message, Some(details(name, kind.group, kind.resource)))
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let resource = kind.qualified_resource();
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message, Some(details(name, kind.group, kind.resource)))
    }

    /// A precondition of a deletion does not hold; the server names the kind here, not the resource.
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified_kind());
        Self::new(409, "Conflict", message, Some(details(name, kind.group, kind.kind)))
    }

    /// The object changed since it was read.
    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// Server-side apply met fields of other managers: pairs of the cause's message and the field.
    pub(crate) fn apply_conflict(message: String, conflicts: &[(String, String)]) -> Self {
        let cause = |(message, path): &(String, String)| json!({"reason": "FieldManagerConflict", "message": message, "field": path});
        let causes: Vec<Value> = conflicts.iter().map(cause).collect();
        Self::new(409, "Conflict", message, Some(json!({"causes": causes})))
    }

    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str, cause: Option<&Cause>) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.qualified_resource());
        let mut told = details(name, kind.group, kind.resource);
        if let Some(cause) = cause {
            told["causes"] = json!([cause.to_json()]);
        }
        Self::new(403, "Forbidden", message, Some(told))
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        Self::invalid_object(kind.kind, kind.group, name, causes)
    }

    /// The object of that kind is not valid; `causes` is not empty.
    pub(crate) fn invalid_object(kind: &str, group: &str, name: &str, causes: &[Cause]) -> Self {
        let mut seen: Vec<String> = Vec::new();
        for cause in causes {
            let line = format!("{}: {}", cause.field, cause.message);
            if !seen.contains(&line) {
                seen.push(line);
            }
        }
        let all = if seen.len() == 1 { seen.remove(0) } else { format!("[{}]", seen.join(", ")) };
        let noun = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut told = details(name, group, kind);
        told["causes"] = causes.iter().map(Cause::to_json).collect();
        Self::new(422, "Invalid", format!("{noun} \"{name}\" is invalid: {all}"), Some(told))
    }

    /// A patch that does not fit the object it was made for.
    pub(crate) fn unfit_patch() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::new(422, "Invalid", message, Some(json!({})))
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized", None)
    }

    /// The request was sent to a name that is none of this machine's.
    pub(crate) fn foreign_host() -> Self {
        let message =
            "this API answers to localhost and loopback addresses only; hint: use the kubeconfig as written";
        Self::new(403, "Forbidden", message, Some(json!({})))
    }

    pub(crate) fn foreign_origin() -> Self {
        let message =
            "this API does not answer to pages in a browser; hint: use kubectl and the kubeconfig as written";
        Self::new(403, "Forbidden", message, Some(json!({})))
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        Self::new(413, "RequestEntityTooLarge", message, Some(json!({})))
    }

    pub(crate) fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message, None)
    }

    /// The client knows a resource version that this server never gave.
    pub(crate) fn from_the_future(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let causes = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
        Self::new(504, "Timeout", message, Some(json!({"causes": causes, "retryAfterSeconds": 1})))
    }

    /// An error that the real server answers with code 500 and no reason.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message, None)
    }

    /// The Status object.
    pub(crate) fn to_json(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {},
            "status": "Failure", "message": self.message,
        });
        if !self.reason.is_empty() {
            status["reason"] = Value::from(self.reason);
        }
        if let Some(details) = &self.details {
            status["details"] = details.clone();
        }
        status["code"] = Value::from(self.code);
        status
    }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut map = Map::new();
    for (key, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            map.insert(key.to_owned(), Value::from(value));
        }
    }
    Value::Object(map)
}
