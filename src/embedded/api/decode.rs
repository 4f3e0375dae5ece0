//! What a body says, read as the kind that it is meant for: unknown and doubled fields are told or refused.

use super::body::Parsed;
use super::query::FieldValidation;
use super::write::{Writer, wrong_name, wrong_namespace};
use crate::embedded::status::{Cause, Refusal};
use crate::embedded::wire;
use serde_json::{Value, json};

impl Writer<'_> {
    /// The body of an apply: checked for what it must and must not say.
    pub(super) fn appliable(&mut self, name: &str, body: Parsed) -> Result<Value, Refusal> {
        let Parsed { value: mut applied, duplicates } = body;
        if !duplicates.is_empty() {
            let named = |path: &String| path.rsplit('.').next().unwrap_or_default().to_owned();
            let lines: Vec<String> = duplicates
                .iter()
                .map(|path| format!("line 1: key {:?} already set in map", named(path)))
                .collect();
            match self.options.validation {
                FieldValidation::Ignore => {}
                FieldValidation::Warn => self.warnings.extend(lines),
                FieldValidation::Strict => {
                    return Err(Refusal::bad_request(format!(
                        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
                        lines.join("\n  ")
                    )));
                }
            }
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&applied["apiVersion"]), text(&applied["kind"]));
        if api_version != self.kind.api_version || kind != self.kind.kind {
            let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
            return Err(Refusal::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
        }
        if applied["metadata"].get("managedFields").is_some() {
            return Err(Refusal::bad_request("metadata.managedFields must be nil"));
        }
        match applied["metadata"]["name"].as_str() {
            None | Some("") => {
                return Err(Refusal::bad_request(format!(
                    "the name of the object ({name} based on URL) was undeterminable: name must be provided"
                )));
            }
            Some(given) if given != name => return Err(wrong_name(given, name)),
            Some(_) => {}
        }
        if !applied["metadata"].is_object() {
            applied["metadata"] = json!({});
        }
        let given = applied["metadata"]["namespace"].as_str().unwrap_or_default();
        if !given.is_empty() && given != self.namespace {
            return Err(wrong_namespace());
        }
        Ok(applied)
    }

    /// A body read as the kind, with what is unknown told or refused.
    pub(super) fn decoded(&mut self, body: Parsed) -> Result<Value, Refusal> {
        let Parsed { value: mut object, duplicates } = body;
        let kind = self.kind;
        if object.is_null() {
            object = json!({});
        }
        if !object.is_object() {
            return Err(Refusal::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): couldn't get version/kind; \
                 json parse error: the body is no object",
                kind.kind
            )));
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, name) = (text(&object["apiVersion"]), text(&object["kind"]));
        let version = api_version.rsplit('/').next().unwrap_or_default();
        let refuse = |what: &str| {
            let (name, version) = (or(&name, kind.kind), or(version, kind.version));
            Refusal::bad_request(format!(
                "{name} in version {version:?} cannot be handled as a {}: {what}",
                kind.kind
            ))
        };
        if !name.is_empty() && name != kind.kind {
            return Err(refuse(&format!(
                "converting ({version}.{name}) to ({}.{}): unknown conversion",
                or(kind.group.split('.').next().unwrap_or_default(), "core"),
                kind.kind
            )));
        }
        if !api_version.is_empty() && api_version != kind.api_version {
            return Err(refuse(&format!(
                "no kind {name:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:110\""
            )));
        }
        object["kind"] = Value::from(kind.kind);
        object["apiVersion"] = Value::from(kind.api_version);
        let forgets = forgets_managers(&object);
        let mut decoded = wire::read(object, wire::wire().named(kind.kind)).map_err(|what| refuse(&what))?;
        if forgets {
            decoded.value["metadata"]["managedFields"] = json!([]);
        }
        let problems = strict_problems(&duplicates, &decoded.unknown);
        if self.options.validation == FieldValidation::Strict && !problems.is_empty() {
            return Err(refuse(&format!("strict decoding error: {}", problems.join(", "))));
        }
        if self.options.validation == FieldValidation::Warn {
            self.warnings.extend(problems);
        }
        Ok(decoded.value)
    }

    /// A patched object read as the kind.
    pub(super) fn patched(&mut self, object: &Value) -> Result<Value, Refusal> {
        let told = |what: &str, object: &Value| {
            let mut shown = object.clone();
            if let Some(map) = shown.as_object_mut() {
                map.sort_keys();
            }
            // `sort_keys` sorts one level, as the server's patching does
            let cause = Cause::invalid("patch", &Value::from(shown.to_string()), what);
            Refusal::invalid_object("", "", "", &[cause])
        };
        if !object.is_object() {
            return Err(told("the patched object is no object", object));
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (api_version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        if kind != self.kind.kind || api_version != self.kind.api_version {
            let what = format!(
                "no kind {kind:?} is registered for version {api_version:?} in scheme \"pkg/runtime/scheme.go:110\""
            );
            return Err(told(&what, object));
        }
        let of = wire::wire().named(self.kind.kind);
        let forgets = forgets_managers(object);
        let mut decoded = wire::read(object.clone(), of).map_err(|what| told(&what, object))?;
        if forgets {
            decoded.value["metadata"]["managedFields"] = json!([]);
        }
        let problems = strict_problems(&[], &decoded.unknown);
        match self.options.validation {
            FieldValidation::Strict if !problems.is_empty() => {
                return Err(told(&format!("strict decoding error: {}", problems.join(", ")), object));
            }
            FieldValidation::Warn => self.warnings.extend(problems),
            _ => {}
        }
        Ok(decoded.value)
    }

    /// A merged object as the server would write it.
    pub(super) fn normalised(&self, object: Value, applied: &Value) -> Result<Value, Refusal> {
        let decoded = wire::read(object, wire::wire().named(self.kind.kind)).map_err(|what| {
            let metadata = &applied["metadata"];
            let text = |field: &str| metadata[field].as_str().unwrap_or_default();
            let slash = if self.kind.group.is_empty() { "/" } else { "" };
            let kind = format!("{slash}{}, Kind={}", self.kind.api_version, self.kind.kind);
            Refusal::internal(format!(
                "failed to convert new object ({}/{}; {kind}) to proper version: \
                 unable to convert unstructured object to {kind}: {what}",
                text("namespace"),
                text("name"),
            ))
        })?;
        Ok(decoded.value)
    }
}

/// Whether an object asks the server to forget who owns what: an empty list, or one that says nothing.
fn forgets_managers(object: &Value) -> bool {
    object["metadata"]["managedFields"].as_array().is_some_and(|entries| match entries.as_slice() {
        [] => true,
        [only] => only.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    })
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn strict_problems(duplicates: &[String], unknown: &[String]) -> Vec<String> {
    let twice = duplicates.iter().map(|path| format!("duplicate field {path:?}"));
    twice.chain(unknown.iter().map(|path| format!("unknown field {path:?}"))).collect()
}
