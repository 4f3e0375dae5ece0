//! Words what Handlebars reports for the author of a template.

use handlebars::{RenderErrorReason, TemplateErrorReason};
use serde_json::Value;

use super::output::Breach;
use super::problem::{Problem, RenderError, nearest};
use super::rewrite::column;
use super::scalar;

/// The problem behind an error of a rendering with these values.
pub(super) fn problem(error: &handlebars::RenderError, values: &Value) -> Problem {
    match error.reason() {
        RenderErrorReason::NestedError(inner) => match inner.downcast_ref::<Problem>() {
            Some(Problem::Missing { path, .. }) => missing(path, values),
            Some(problem) => problem.clone(),
            None => Problem::Other(inner.to_string()),
        },
        RenderErrorReason::MissingVariable(Some(path)) => missing(path, values),
        RenderErrorReason::IOError(inner) => {
            match inner.get_ref().and_then(|inner| inner.downcast_ref::<Breach>()) {
                Some(breach) => Problem::Budget(breach.0),
                None => Problem::Other(inner.to_string()),
            }
        }
        other => Problem::Other(other.to_string()),
    }
}

/// The problem behind an error of the parser.
pub(super) fn syntax(file: &str, error: &handlebars::TemplateError, marked: &[bool]) -> RenderError {
    let (line, seen) = error.pos().unwrap_or((1, 1));
    let message = match error.reason() {
        TemplateErrorReason::InvalidParam(text) => format!("`{text}` is no value"),
        TemplateErrorReason::MismatchingClosedHelper(opened, closing) => {
            format!("`{{{{/{closing}}}}}` closes `{{{{#{opened}}}}}`")
        }
        // the parser names its own tokens, which say nothing to the author
        _ => "the tag here is not understood".to_owned(),
    };
    RenderError::new(file, line, column(marked, line, seen), Problem::Syntax(message))
}

/// The problem of a path that leads nowhere, with the name that was probably meant.
fn missing(path: &str, values: &Value) -> Problem {
    let mut at = values;
    let mut walked = String::new();
    let steps = path.split(['.', '/']).map(|step| step.trim_matches(['[', ']']));
    for step in steps.filter(|step| !matches!(*step, "" | "this" | "@root")) {
        let next = match at {
            Value::Object(map) => map.get(step),
            Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        let Some(next) = next else {
            let keys = at.as_object().into_iter().flatten().map(|(key, _)| key.as_str());
            let suggestion = nearest(step, keys).map(|key| format!("{walked}{key}"));
            return Problem::Missing { path: path.to_owned(), suggestion };
        };
        walked = format!("{walked}{step}.");
        at = next;
    }
    match at {
        Value::Array(_) | Value::Object(_) => Problem::Missing { path: path.to_owned(), suggestion: None },
        other => Problem::NoList { path: path.to_owned(), found: scalar::kind(other) },
    }
}
