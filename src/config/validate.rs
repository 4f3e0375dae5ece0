//! Holds a document against the schema of its kind and words every difference for its author.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::problem::Problem;
use super::schema::{Kind, app_service_schema, schema};
use crate::yaml::{Node, Place};

/// A schema and what checks values against it.
struct Checker {
    schema: Value,
    validator: Validator,
}

impl Checker {
    fn new(schema: Value) -> Self {
        let validator = jsonschema::draft7::new(&schema).expect("a generated schema is a schema");
        Self { schema, validator }
    }
}

static CHECKERS: LazyLock<BTreeMap<&'static str, Checker>> = LazyLock::new(|| {
    let kinds = Kind::ALL.into_iter().map(|kind| (kind.as_str(), Checker::new(schema(kind))));
    kinds.chain([(APP_SERVICE, Checker::new(app_service_schema()))]).collect()
});

const APP_SERVICE: &str = "app-service";

/// Every difference between a document and the schema of its kind, in the order of the file.
pub(super) fn against_schema(kind: Kind, node: &Node) -> Vec<Problem> {
    differences(&CHECKERS[kind.as_str()], node)
}

/// Every difference between an app repository's `.branchline/service.yaml` and its schema.
pub(super) fn against_app_schema(node: &Node) -> Vec<Problem> {
    differences(&CHECKERS[APP_SERVICE], node)
}

fn differences(checker: &Checker, node: &Node) -> Vec<Problem> {
    let value = node.to_json();
    let mut problems = Vec::new();
    for error in checker.validator.iter_errors(&value) {
        word(&error, node, &checker.schema, &mut problems);
    }
    problems.sort_by(|a, b| {
        (a.place.line, a.place.column, &a.message).cmp(&(b.place.line, b.place.column, &b.message))
    });
    problems.dedup();
    problems
}

/// Words one difference. Of alternatives, the one that the author meant by the type of the value is worded.
fn word(error: &ValidationError<'_>, node: &Node, schema: &Value, problems: &mut Vec<Problem>) {
    let pointer = error.instance_path().to_string();
    let here = || node.nearest(&pointer).clone();
    let field = field_name(&pointer);
    let mut push = |problem| problems.push(problem);
    match error.kind() {
        ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
            let options = constants(context);
            match meant(context, &pointer) {
                _ if !options.is_empty() => {
                    problems.push(not_an_option(error.instance(), &options, here(), &field))
                }
                Some(branch) => branch.iter().for_each(|error| word(error, node, schema, problems)),
                None => {
                    let wants: Vec<_> = context.iter().flatten().flat_map(wanted_types).collect();
                    problems.push(type_problem(error.instance(), &wants, here(), &field));
                }
            }
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = known_fields(error, schema);
            for name in unexpected {
                let step = name.replace('~', "~0").replace('/', "~1");
                let place = node.key_place(&format!("{pointer}/{step}")).clone();
                let problem = Problem::new(place, format!("there is no field `{name}` here"));
                let hint = did_you_mean(name, known.iter().map(String::as_str))
                    .unwrap_or_else(|| format!("it takes {}", known.join(", ")));
                problems.push(problem.hint(hint));
            }
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let within = if pointer.is_empty() { "the document".to_owned() } else { field };
            push(Problem::new(here(), format!("{within} has no `{name}`")));
        }
        ValidationErrorKind::Type { .. } => {
            push(type_problem(error.instance(), &wanted_types(error), here(), &field))
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<_> =
                options.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            push(not_an_option(error.instance(), &options, here(), &field));
        }
        ValidationErrorKind::Constant { expected_value } => {
            push(Problem::new(here(), format!("{field} must be `{}`", plain(expected_value))));
        }
        ValidationErrorKind::Pattern { pattern } => {
            push(pattern_problem(error.instance(), pattern, here(), &field))
        }
        ValidationErrorKind::PropertyNames { error: inner } => {
            let name = plain(inner.instance());
            let place = node.key_place(&format!("{pointer}/{name}")).clone();
            let problem = Problem::new(place, format!("`{name}` cannot name a variable"));
            push(problem.hint("names take the characters A-Z, 0-9 and _, and do not begin with a digit"));
        }
        ValidationErrorKind::MaxLength { limit } => {
            push(Problem::new(here(), format!("{field} is longer than {limit} characters")));
        }
        ValidationErrorKind::MinLength { .. } | ValidationErrorKind::MinItems { .. } => {
            push(Problem::new(here(), format!("{field} is empty")));
        }
        ValidationErrorKind::MaxItems { limit } => {
            push(Problem::new(here(), format!("{field} has more than {limit} items")))
        }
        ValidationErrorKind::Minimum { limit } => {
            push(Problem::new(here(), format!("{field} is less than {limit}")))
        }
        ValidationErrorKind::Maximum { limit } => {
            push(Problem::new(here(), format!("{field} is more than {limit}")))
        }
        _ => push(Problem::new(here(), format!("{field}: {error}"))),
    }
}

/// The words that alternatives of single words offer; none where an alternative is anything else.
fn constants<'a>(context: &'a [Vec<ValidationError<'static>>]) -> Vec<&'a str> {
    let mut words = Vec::new();
    for error in context.iter().flatten() {
        match error.kind() {
            ValidationErrorKind::Constant { expected_value } => words.extend(expected_value.as_str()),
            ValidationErrorKind::Enum { options } => {
                words.extend(options.as_array().into_iter().flatten().filter_map(Value::as_str))
            }
            ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context } => {
                words.extend(constants(context))
            }
            ValidationErrorKind::Type { .. } if !wanted_types(error).is_empty() => return Vec::new(),
            ValidationErrorKind::Type { .. } => {}
            _ => return Vec::new(),
        }
    }
    words
}

/// Of the alternatives of a value, the one whose own type the value has.
fn meant<'a>(
    context: &'a [Vec<ValidationError<'static>>],
    pointer: &str,
) -> Option<&'a Vec<ValidationError<'static>>> {
    let wrong_type = |error: &ValidationError<'_>| {
        matches!(error.kind(), ValidationErrorKind::Type { .. })
            && error.instance_path().to_string() == pointer
    };
    context.iter().find(|errors| !errors.iter().any(wrong_type))
}

/// The fields that the place of an error takes: the schema that refused the field lists them.
fn known_fields(error: &ValidationError<'_>, schema: &Value) -> Vec<String> {
    let path = error.schema_path().to_string();
    let parent = path.strip_suffix("/additionalProperties").unwrap_or(&path);
    let properties = resolve(schema, parent).and_then(|s| s.get("properties")).and_then(Value::as_object);
    properties.map(|p| p.keys().cloned().collect()).unwrap_or_default()
}

/// Follows a schema path through the references that it passes.
fn resolve<'a>(root: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = root;
    for step in path.split('/').filter(|step| !step.is_empty()) {
        at = match step {
            "$ref" => root.pointer(at.get("$ref")?.as_str()?.strip_prefix('#')?)?,
            _ => match at {
                Value::Array(items) => items.get(step.parse::<usize>().ok()?)?,
                _ => at.get(step)?,
            },
        };
    }
    Some(at)
}

/// The types that a value could have had, `null` aside.
fn wanted_types(error: &ValidationError<'_>) -> Vec<String> {
    let names = match error.kind() {
        ValidationErrorKind::Type { kind: TypeKind::Single(one) } => vec![one.to_string()],
        ValidationErrorKind::Type { kind: TypeKind::Multiple(many) } => {
            many.iter().map(|t| t.to_string()).collect()
        }
        _ => Vec::new(),
    };
    names.into_iter().filter(|name| name != "null").collect()
}

fn type_problem(instance: &Value, wants: &[String], place: Place, field: &str) -> Problem {
    let problem = Problem::new(place, format!("{field} {}", wrong_type(instance, wants)));
    let wants_text = wants.iter().any(|want| want == "string");
    if wants_text && (instance.is_number() || instance.is_boolean()) {
        return problem.hint(format!("quote it: \"{}\"", plain(instance)));
    }
    problem
}

fn wrong_type(instance: &Value, wants: &[String]) -> String {
    let is = match instance {
        Value::Null => "is empty",
        Value::Bool(_) => "is true or false",
        Value::Number(_) => "is a number",
        Value::String(_) => "is a text",
        Value::Array(_) => "is a list",
        Value::Object(_) => "is a map",
    };
    let name = |want: &String| match want.as_str() {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "a map",
    };
    if wants.is_empty() {
        return format!("{is}, which it does not take");
    }
    format!("{is}; it takes {}", wants.iter().map(name).collect::<Vec<_>>().join(" or "))
}

fn not_an_option(instance: &Value, options: &[&str], place: Place, field: &str) -> Problem {
    let word = plain(instance);
    let problem = Problem::new(place, format!("{field} cannot be `{word}`"));
    problem.hint(
        did_you_mean(&word, options.iter().copied())
            .unwrap_or_else(|| format!("it takes {}", options.join(", "))),
    )
}

fn pattern_problem(instance: &Value, pattern: &str, place: Place, field: &str) -> Problem {
    let problem = Problem::new(place, format!("{field} cannot be `{}`", plain(instance)));
    match pattern {
        "^([0-9]+(ms|s|m|h|d))+$" => problem.hint("it takes a length of time such as 500ms, 30s, 10m or 72h"),
        p if p.contains("Ki|Mi|Gi") => problem.hint("it takes a quantity such as 200m, 1.5 or 512Mi"),
        p if p.contains("%$") => problem.hint("it takes a count such as 1, or a share such as 25%"),
        "^/" => problem.hint("it begins with /"),
        other => problem.hint(format!("it must match {other}")),
    }
}

/// The name of a field for people: the end of its pointer.
fn field_name(pointer: &str) -> String {
    let steps: Vec<_> = pointer.split('/').skip(1).filter(|step| *step != "spec").collect();
    if steps.is_empty() { "the document".to_owned() } else { format!("`{}`", steps.join(".")) }
}

fn plain(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(80).collect()
}

/// The known word that is nearest to one that is not known, if any is near. One of which the other is the beginning comes
/// first, then the fewest letters to change, then the longest beginning that both have.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let typed = word.to_lowercase();
    let nearness = |known: &'a str| {
        let lower = known.to_lowercase();
        let long_enough = typed.len().min(lower.len()) > 2;
        let begins = long_enough && (typed.starts_with(&lower) || lower.starts_with(&typed));
        let common = typed.chars().zip(lower.chars()).take_while(|(a, b)| a == b).count();
        (!begins, distance(&typed, &lower), Reverse(common), known)
    };
    let (is_other, letters, _, nearest) = known.map(nearness).min()?;
    let allowed = (word.chars().count() / 3).max(1);
    (!is_other || letters <= allowed).then(|| format!("did you mean {nearest}?"))
}

/// The number of letters to insert, drop, change or swap (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
