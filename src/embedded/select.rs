//! Label and field selectors: which objects a list, a watch or a deletion means.

use super::kinds::Kind;
use super::status::Refusal;
use serde_json::Value;

/// A parsed selector pair.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldTerm>,
}

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Missing,
    Above(i64),
    Below(i64),
}

#[derive(Debug, Clone)]
struct FieldTerm {
    path: Vec<&'static str>,
    value: String,
    equal: bool,
}

impl Selector {
    /// Reads both selectors of a request.
    ///
    /// # Errors
    /// 400 in the server's words.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Refusal> {
        Ok(Self { labels: Labels::new(labels).parse()?, fields: parse_fields(kind, fields)? })
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.fields.iter().all(|term| term.matches(object))
            && (self.labels.is_empty() || {
                let labels = &object["metadata"]["labels"];
                self.labels.iter().all(|wanted| wanted.matches(labels[wanted.key.as_str()].as_str()))
            })
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|wanted| wanted == value)),
            Test::NotIn(values) => value.is_none_or(|value| values.iter().all(|wanted| wanted != value)),
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::Above(limit) => number().is_some_and(|number| number > *limit),
            Test::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

impl FieldTerm {
    fn matches(&self, object: &Value) -> bool {
        let found = self.path.iter().fold(object, |value, step| &value[*step]);
        let text = match found {
            Value::String(text) => text.as_str(),
            Value::Bool(true) => "true",
            // what is absent is the empty string, `false` where it is a boolean
            _ if self.path == ["spec", "unschedulable"] => "false",
            _ => "",
        };
        (text == self.value) == self.equal
    }
}

/// Fields that can be selected by, beyond name and namespace.
fn selectable(kind: &Kind) -> &'static [&'static str] {
    match kind.kind {
        "Pod" => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        "Event" => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        "Namespace" => &["status.phase"],
        "Node" => &["spec.unschedulable"],
        "Secret" => &["type"],
        "Service" => &["spec.clusterIP", "spec.type"],
        "Job" => &["status.successful"],
        _ => &[],
    }
}

fn parse_fields(kind: &Kind, text: &str) -> Result<Vec<FieldTerm>, Refusal> {
    let mut terms = Vec::new();
    for term in text.split(',').filter(|term| !term.is_empty()) {
        let (name, value, equal) = ["!=", "==", "="]
            .iter()
            .find_map(|operator| {
                term.split_once(operator).map(|(name, value)| (name, value, *operator != "!="))
            })
            .ok_or_else(|| {
                Refusal::bad_request(format!("invalid selector: '{term}'; can't understand '{term}'"))
            })?;
        let known = ["metadata.name", "metadata.namespace"].into_iter();
        let path = known.chain(selectable(kind).iter().copied()).find(|known| *known == name);
        let Some(path) = path else {
            return Err(Refusal::bad_request(unknown_field(kind, name)));
        };
        let path = if path == "source" { vec!["source", "component"] } else { path.split('.').collect() };
        terms.push(FieldTerm { path, value: value.to_owned(), equal });
    }
    Ok(terms)
}

fn unknown_field(kind: &Kind, name: &str) -> String {
    match kind.kind {
        "Job" => format!("field label {name:?} not supported for Job"),
        "Pod" | "Event" | "Namespace" | "Node" | "Secret" | "Service" => {
            format!("field label not supported: {name}")
        }
        _ => {
            format!("{name:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        }
    }
}

/// A reader of the label selector language.
struct Labels<'a> {
    rest: &'a str,
}

impl<'a> Labels<'a> {
    fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    fn parse(mut self) -> Result<Vec<Requirement>, Refusal> {
        let mut requirements = Vec::new();
        if self.peek().is_empty() {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            match self.next() {
                "" => return Ok(requirements),
                "," if !self.peek().is_empty() => {}
                "," => return Err(wrong("found '', expected: identifier after ','")),
                other => {
                    return Err(Refusal::bad_request(format!(
                        "found '{other}', expected: ',' or 'end of string'"
                    )));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, Refusal> {
        let first = self.next();
        if first == "!" {
            let key = self.next();
            if key.is_empty() {
                return Err(wrong("found '', expected: identifier"));
            }
            return Ok(Requirement { key: checked_key(key)?, test: Test::Missing });
        }
        if first == "," {
            let what = "found ',', expected: !, identifier, or 'end of string'";
            return Err(Refusal::bad_request(what));
        }
        let key = checked_key(first)?;
        let test = match self.peek() {
            "" | "," => return Ok(Requirement { key, test: Test::Exists }),
            "=" | "==" => {
                self.next();
                Test::In(vec![self.value(&key)?])
            }
            "!=" => {
                self.next();
                Test::NotIn(vec![self.value(&key)?])
            }
            "in" => {
                self.next();
                Test::In(self.set(&key)?)
            }
            "notin" => {
                self.next();
                Test::NotIn(self.set(&key)?)
            }
            comparison @ (">" | "<") => {
                self.next();
                let value = self.value(&key)?;
                let limit = value
                    .parse()
                    .map_err(|_| wrong("for 'Gt', 'Lt' operators, the value must be an integer"))?;
                if comparison == ">" { Test::Above(limit) } else { Test::Below(limit) }
            }
            other => {
                return Err(wrong(&format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt")));
            }
        };
        Ok(Requirement { key, test })
    }

    fn value(&mut self, key: &str) -> Result<String, Refusal> {
        if matches!(self.peek(), "" | ",") {
            return Ok(String::new());
        }
        checked_value(self.next(), key)
    }

    fn set(&mut self, key: &str) -> Result<Vec<String>, Refusal> {
        let open = self.next();
        if open != "(" {
            return Err(wrong(&format!("found '{open}' expected: '('")));
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                ")" => {
                    values.sort();
                    values.dedup();
                    return Ok(values);
                }
                "," => values.push(String::new()),
                "" => return Err(wrong("found '', expected: ',' or ')'")),
                value => {
                    values.push(checked_value(value, key)?);
                    match self.next() {
                        ")" => {
                            values.sort();
                            values.dedup();
                            return Ok(values);
                        }
                        "," => {}
                        other => {
                            return Err(wrong(&format!("found '{other}', expected: ',' or ')'")));
                        }
                    }
                }
            }
        }
    }

    fn peek(&self) -> &'a str {
        Self { rest: self.rest }.next()
    }

    fn next(&mut self) -> &'a str {
        let text = self.rest.trim_start();
        let symbol = |c: char| "=!<>(),".contains(c);
        let length = match text.chars().next() {
            None => 0,
            Some(first) if symbol(first) => {
                if text.starts_with("==") || text.starts_with("!=") {
                    2
                } else {
                    1
                }
            }
            Some(_) => text.find(|c: char| symbol(c) || c.is_whitespace()).unwrap_or(text.len()),
        };
        let (token, rest) = text.split_at(length);
        self.rest = rest;
        token
    }
}

fn wrong(what: &str) -> Refusal {
    Refusal::bad_request(format!("unable to parse requirement: {what}"))
}

fn checked_key(key: &str) -> Result<String, Refusal> {
    let problems = super::validation::names::qualified_name(key);
    if problems.is_empty() {
        return Ok(key.to_owned());
    }
    Err(wrong(&format!("<nil>: Invalid value: {key:?}: {}", problems.join("; "))))
}

fn checked_value(value: &str, key: &str) -> Result<String, Refusal> {
    let problems = super::validation::names::label_value(value);
    if problems.is_empty() {
        return Ok(value.to_owned());
    }
    Err(wrong(&format!("values[0][{key}]: Invalid value: {value:?}: {}", problems.join("; "))))
}

/// Whether a `LabelSelector` object (`matchLabels`, `matchExpressions`) picks these labels.
pub(crate) fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"]
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| &labels[key.as_str()] == value));
    equal
        && selector["matchExpressions"].as_array().is_none_or(|all| {
            all.iter().all(|one| {
                let found = &labels[one["key"].as_str().unwrap_or_default()];
                let listed = one["values"].as_array().is_some_and(|values| values.contains(found));
                match one["operator"].as_str() {
                    Some("In") => found.is_string() && listed,
                    Some("NotIn") => !listed,
                    Some("Exists") => found.is_string(),
                    Some("DoesNotExist") => !found.is_string(),
                    _ => false,
                }
            })
        })
}

/// A `LabelSelector` object as text, in the way that `scale` and tables print it.
pub(crate) fn selector_text(selector: &Value) -> String {
    let mut terms: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    terms.sort();
    for one in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = one["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            one["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        terms.push(match one["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("Exists") => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    terms.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::kinds::named;
    use serde_json::json;

    fn picks(labels: &str, fields: &str) -> bool {
        let object = json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web", "tier": "front", "n": "5"}},
            "status": {"phase": "Running"},
        });
        Selector::parse(named("Pod"), labels, fields).unwrap().matches(&object)
    }

    #[test]
    fn labels_are_selected_by_equality_set_and_presence() {
        for yes in [
            "",
            "app=web",
            "app==web,tier!=back",
            "app in (web, api)",
            "app notin (api)",
            "tier",
            "!x",
            "missing!=1",
            "n>4",
            "n<6",
        ] {
            assert!(picks(yes, ""), "{yes}");
        }
        for no in ["app=api", "app!=web", "app in (api)", "app notin (web,api)", "!tier", "x", "n>5"] {
            assert!(!picks(no, ""), "{no}");
        }
    }

    #[test]
    fn fields_are_selected_by_name_namespace_and_phase() {
        assert!(picks("", "metadata.name=web,status.phase!=Failed"));
        assert!(!picks("", "metadata.namespace=other"));
        assert!(picks("", "spec.nodeName="));
    }

    #[test]
    fn a_selector_that_cannot_be_read_is_refused_in_the_servers_words() {
        let message =
            |labels, fields| Selector::parse(named("ConfigMap"), labels, fields).unwrap_err().message;
        assert_eq!(message("a in b", ""), "unable to parse requirement: found 'b' expected: '('");
        assert_eq!(
            message("", "foo=bar"),
            "\"foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        );
    }
}
