//! How a value is printed into the text of a template so that no value can be read as anything else.

use serde_json::Value;

use super::problem::Problem;

/// The most that one value may print: nothing in Kubernetes is larger than an object of about 1 MiB.
pub(super) const LARGEST: usize = 1 << 20;
/// The deepest structure that is printed.
const DEEPEST: usize = 64;
/// The first of the characters that stand for a line of a template in rendered text; see `engine`.
pub(super) const FIRST_MARK: char = '\u{F0000}';

/// What a value is, as a message names it.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Prints a text, a number or a boolean as a YAML scalar: texts always in double quotes.
pub(super) fn scalar(value: &Value, path: Option<&str>) -> Result<String, Problem> {
    match value {
        Value::String(text) => {
            let mut out = String::with_capacity(text.len() + 2);
            quote(text, &mut out);
            bounded(out)
        }
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        _ => Err(Problem::NoScalar { path: path.map(str::to_owned), found: kind(value) }),
    }
}

/// The plain text of a text, a number or a boolean.
pub(super) fn plain(value: &Value, path: Option<&str>) -> Result<String, Problem> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => scalar(other, path),
    }
}

/// Refuses a text that is too long to be part of an object.
pub(super) fn bounded(text: String) -> Result<String, Problem> {
    if text.len() > LARGEST { Err(Problem::Budget("1 MiB in one value")) } else { Ok(text) }
}

/// Prints a structure as JSON on one line, which is YAML's flow style.
pub(super) fn flow(value: &Value) -> Result<String, Problem> {
    let mut out = String::new();
    write_flow(value, 0, &mut out)?;
    bounded(out)
}

/// Prints a structure in YAML's block style. The first line begins where the text stands, every further one with
/// `indent` spaces.
pub(super) fn block(value: &Value, indent: usize) -> Result<String, Problem> {
    let mut out = String::new();
    write_block(value, indent, 0, &mut out)?;
    bounded(out)
}

/// Quotes a text so that YAML 1.1, YAML 1.2 and JSON readers all read that text.
///
/// JSON's escapes are YAML's too. Beyond them, everything that YAML takes for a line break (U+0085, U+2028, U+2029),
/// does not allow in a stream (C1 controls, U+FFFE, U+FFFF), or might drop (U+FEFF) is escaped, and so are our own
/// marks.
pub(super) fn quote(text: &str, out: &mut String) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1F}'
            | '\u{7F}'..='\u{9F}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{FEFF}'
            | '\u{FFFE}'
            | '\u{FFFF}' => {
                // writing to a String cannot fail
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            FIRST_MARK.. => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn write_scalar(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => quote(text, out),
        other => out.push_str(&other.to_string()),
    }
}

fn room(out: &str, depth: usize) -> Result<(), Problem> {
    if depth > DEEPEST {
        return Err(Problem::Budget("64 levels in one structure"));
    }
    if out.len() > LARGEST { Err(Problem::Budget("1 MiB in one value")) } else { Ok(()) }
}

fn write_flow(value: &Value, depth: usize, out: &mut String) -> Result<(), Problem> {
    room(out, depth)?;
    match value {
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_flow(item, depth + 1, out)?;
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                quote(key, out);
                out.push_str(": ");
                write_flow(item, depth + 1, out)?;
            }
            out.push('}');
        }
        scalar => write_scalar(scalar, out),
    }
    Ok(())
}

fn write_block(value: &Value, indent: usize, depth: usize, out: &mut String) -> Result<(), Problem> {
    room(out, depth)?;
    let line = |out: &mut String, indent: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent));
    };
    match value {
        Value::Array(items) if !items.is_empty() => {
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    line(out, indent);
                }
                out.push_str("- ");
                write_block(item, indent + 2, depth + 1, out)?;
            }
        }
        Value::Object(map) if !map.is_empty() => {
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    line(out, indent);
                }
                quote(key, out);
                out.push(':');
                if nested(item) {
                    line(out, indent + 2);
                } else {
                    out.push(' ');
                }
                write_block(item, indent + 2, depth + 1, out)?;
            }
        }
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        scalar => write_scalar(scalar, out),
    }
    Ok(())
}

fn nested(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => false,
    }
}
