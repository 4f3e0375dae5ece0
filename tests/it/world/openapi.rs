//! GitHub's published `OpenAPI`, as far as it is used: completes the world's answers, and checks both sides of every
//! exchange.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Map, Value, json};

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("openapi.json")).expect("the extract is JSON"));
static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

/// The operation that a request is, as `GET /repos/{owner}/{repo}`.
pub(crate) fn operation(method: &str, path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let matches = |template: &str| {
        let template: Vec<&str> = template.trim_matches('/').split('/').collect();
        template.len() == parts.len()
            && template.iter().zip(&parts).all(|(want, is)| want.starts_with('{') || want == is)
    };
    DOCUMENT["operations"].as_object()?.keys().map(String::as_str).find(|operation| {
        operation.split_once(' ').is_some_and(|(of, template)| of == method && matches(template))
    })
}

/// What a request gets wrong by the document: its body, unknown fields and unknown parameters.
pub(crate) fn mistakes_of_request(operation: &str, query: &[(String, String)], body: &Value) -> Vec<String> {
    let known = &DOCUMENT["operations"][operation];
    let mut mistakes: Vec<String> = query
        .iter()
        .filter(|(name, _)| known["query"].get(name).is_none())
        .map(|(name, _)| format!("{operation}: there is no parameter `{name}`"))
        .collect();
    if known["request"].is_object() {
        let pointer = format!("/operations/{}/request", escape(operation));
        mistakes.extend(invalid(&pointer, body).into_iter().map(|what| format!("{operation}: {what}")));
        unknown(&known["request"], body, operation, &mut mistakes);
    }
    mistakes
}

/// What an answer of the world gets wrong by the document.
pub(crate) fn mistakes_of_answer(operation: &str, status: u16, body: &Value) -> Vec<String> {
    let pointer = format!("/operations/{}/responses/{status}", escape(operation));
    if DOCUMENT.pointer(&pointer).is_none_or(Value::is_null) {
        return Vec::new();
    }
    let answer = |what| format!("{operation} answers {status}: {what}");
    invalid(&pointer, body).into_iter().map(answer).collect()
}

/// Completes an answer by what the document requires and the world does not care about.
pub(crate) fn complete(operation: &str, status: u16, ours: Value) -> Value {
    match DOCUMENT.pointer(&format!("/operations/{}/responses/{status}", escape(operation))) {
        Some(schema) if schema.is_object() => fill(schema, Some(ours)),
        _ => ours,
    }
}

fn escape(operation: &str) -> String {
    operation.replace('~', "~0").replace('/', "~1")
}

fn invalid(pointer: &str, value: &Value) -> Vec<String> {
    let validator = {
        let mut validators = VALIDATORS.lock().expect("no panic");
        let validator = validators.entry(pointer.to_owned()).or_insert_with(|| {
            let schema = json!({
                "$ref": "#/here",
                "here": DOCUMENT.pointer(pointer).expect("a schema"),
                "components": DOCUMENT["components"],
            });
            Arc::new(jsonschema::draft202012::new(&schema).expect("the extract is a schema"))
        });
        Arc::clone(validator)
    };
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Fields of a request that the document does not name: GitHub would ignore them, so they are a mistake of ours.
fn unknown(schema: &Value, value: &Value, at: &str, mistakes: &mut Vec<String>) {
    let schema = resolve(schema);
    match value {
        Value::Object(fields) => {
            let Some(properties) = schema["properties"].as_object() else { return };
            for (name, value) in fields {
                match properties.get(name) {
                    Some(property) => unknown(property, value, &format!("{at}.{name}"), mistakes),
                    None => mistakes.push(format!("{at}: there is no field `{name}`")),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                unknown(&schema["items"], item, at, mistakes);
            }
        }
        _ => {}
    }
}

fn resolve(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(reference) => resolve(&DOCUMENT["components"]["schemas"][reference.rsplit('/').next().unwrap()]),
        None => schema,
    }
}

fn fill(schema: &Value, ours: Option<Value>) -> Value {
    let schema = resolve(schema);
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[choice].as_array().and_then(|choices| choices.first()) {
            return if ours.is_none() && schema[choice].as_array().is_some_and(|all| all.iter().any(is_null)) {
                Value::Null
            } else {
                fill(first, ours)
            };
        }
    }
    match ours {
        Some(Value::Object(mut fields)) => {
            if let Some(properties) = schema["properties"].as_object() {
                for (name, property) in properties {
                    let required =
                        schema["required"].as_array().is_some_and(|all| all.iter().any(|r| r == name));
                    let given = fields.remove(name);
                    if given.is_some() || required {
                        fields.insert(name.clone(), fill(property, given));
                    }
                }
            }
            Value::Object(fields)
        }
        Some(Value::Array(items)) => {
            Value::Array(items.into_iter().map(|item| fill(&schema["items"], Some(item))).collect())
        }
        Some(value) => value,
        None if is_null(schema) => Value::Null,
        None => invent(schema),
    }
}

fn is_null(schema: &Value) -> bool {
    schema["type"] == "null" || schema["type"].as_array().is_some_and(|all| all.iter().any(|t| t == "null"))
}

fn invent(schema: &Value) -> Value {
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (Some("string"), Some("uri")) => json!("https://example.com/"),
        (Some("string"), Some("date-time")) => json!("2025-11-22T08:26:40Z"),
        (Some("string"), _) => json!("something"),
        (Some("integer" | "number"), _) => json!(1),
        (Some("boolean"), _) => json!(false),
        (Some("array"), _) => json!([]),
        _ => fill(schema, Some(Value::Object(Map::new()))),
    }
}
