//! The options that stand in a request's query, checked as the server checks them.

use crate::embedded::status::{Cause, Refusal};
use serde_json::Value;

/// The query, undecided.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned();
        Self(pairs.collect())
    }

    /// The first value of that name; absent is empty.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0.iter().any(|(key, value)| key == name && matches!(value.as_str(), "true" | "1" | ""))
    }

    /// # Errors
    /// 400 when it is no number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        match self.text(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Refusal::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }
}

/// What to do about fields that are unknown or stand twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Debug, Clone)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) manager: String,
    pub(crate) force: bool,
    pub(crate) validation: FieldValidation,
}

impl WriteOptions {
    /// Reads the options of a write. `of` is the name of the server's type: `CreateOptions`, `UpdateOptions`,
    /// `PatchOptions`; `apply` says that the patch is a server-side apply.
    ///
    /// # Errors
    /// 422 in the server's words.
    pub(crate) fn parse(query: &Query, user_agent: &str, of: &str, apply: bool) -> Result<Self, Refusal> {
        let mut causes = Vec::new();
        let manager = query.text("fieldManager");
        if apply && manager.is_empty() {
            causes.push(Cause::required("fieldManager", "is required for apply patch"));
        }
        if of == "PatchOptions" && !apply && query.has("force") {
            causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
        }
        if manager.len() > 128 {
            causes.push(Cause::too_long("fieldManager", 128));
        }
        let dry_run = dry_run(query.text("dryRun"), query.has("dryRun"), &mut causes);
        let validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                causes.push(Cause::unsupported("fieldValidation", &Value::from(other), &supported));
                FieldValidation::Warn
            }
        };
        if !causes.is_empty() {
            return Err(Refusal::invalid_object(of, "meta.k8s.io", "", &causes));
        }
        let manager = if manager.is_empty() { agent_name(user_agent) } else { manager.to_owned() };
        Ok(Self { dry_run, manager, force: query.flag("force"), validation })
    }
}

/// Whether a write is only tried.
pub(crate) fn dry_run(value: &str, present: bool, causes: &mut Vec<Cause>) -> bool {
    if present && value != "All" {
        causes.push(Cause::unsupported("dryRun", &Value::from(vec![value]), &["All"]));
    }
    value == "All"
}

/// The manager of a client that names none: what stands before the slash in its `User-Agent`.
fn agent_name(user_agent: &str) -> String {
    let name: String = user_agent.split('/').next().unwrap_or_default().chars().take(128).collect();
    if name.is_empty() { "unknown".to_owned() } else { name }
}
