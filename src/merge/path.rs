//! Paths to fields: how one step selects a child, how steps are ordered, written and read.
//!
//! A step is a field name, the key fields of a list item, a set member or an index. The written form is that
//! of `FieldsV1` (`f:`, `k:`, `v:`, `i:`), the displayed form that of conflict messages.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde_json::{Number, Value};

/// One step from a value to its child.
///
/// The order is the one of `FieldsV1`: names, then keys, then set members, then indexes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathElement {
    /// A field of a struct or an entry of a map.
    Field(Arc<str>),
    /// The list item whose key fields have these values, sorted by name.
    Key(Arc<[(Arc<str>, Scalar)]>),
    /// The member of a set with this value.
    Value(Scalar),
    /// An item of an atomic list.
    Index(i64),
}

impl PathElement {
    /// Makes a field step.
    #[must_use]
    pub fn field(name: &str) -> Self {
        Self::Field(Arc::from(name))
    }

    /// Makes a list item step; the fields are sorted here.
    #[must_use]
    pub fn key(mut fields: Vec<(Arc<str>, Scalar)>) -> Self {
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Self::Key(fields.into())
    }

    /// Writes the step as `FieldsV1` does.
    pub(crate) fn write(&self) -> String {
        let mut text = String::new();
        match self {
            Self::Field(name) => {
                text.reserve(name.len() + 2);
                text.push_str("f:");
                text.push_str(name);
            }
            Self::Key(fields) => {
                text.push_str("k:{");
                for (position, (name, value)) in fields.iter().enumerate() {
                    if position > 0 {
                        text.push(',');
                    }
                    write_string(&mut text, name, false);
                    text.push(':');
                    value.write(&mut text);
                }
                text.push('}');
            }
            Self::Value(value) => {
                text.push_str("v:");
                value.write(&mut text);
            }
            Self::Index(index) => {
                let _ = write!(text, "i:{index}");
            }
        }
        text
    }

    /// Reads a step as `FieldsV1` writes it; `None` where the kind of step is one that this version does not know.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub(crate) fn read(text: &str) -> Result<Option<Self>, String> {
        let Some((kind, rest)) = text.split_at_checked(2) else {
            return Err(format!("key must be 2 characters long: {text:?}"));
        };
        if !kind.ends_with(':') {
            return Err(format!("missing colon: {text}"));
        }
        let json =
            |rest: &str| serde_json::from_str::<Value>(rest).map_err(|problem| format!("{text}: {problem}"));
        Ok(Some(match kind {
            "f:" => Self::field(rest),
            "v:" => Self::Value(Scalar::from(&json(rest)?)),
            "k:" => match json(rest)? {
                Value::Object(fields) => Self::key(
                    fields
                        .iter()
                        .map(|(name, value)| (Arc::from(name.as_str()), Scalar::from(value)))
                        .collect(),
                ),
                _ => return Err(format!("{text}: the key fields are no object")),
            },
            "i:" => Self::Index(rest.parse().map_err(|_| format!("{text}: no index"))?),
            _ => return Ok(None),
        }))
    }
}

impl fmt::Display for PathElement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(out, ".{name}"),
            Self::Key(fields) => {
                out.write_char('[')?;
                for (position, (name, value)) in fields.iter().enumerate() {
                    if position > 0 {
                        out.write_char(',')?;
                    }
                    write!(out, "{name}={value}")?;
                }
                out.write_char(']')
            }
            Self::Value(value) => write!(out, "[={value}]"),
            Self::Index(index) => write!(out, "[{index}]"),
        }
    }
}

/// Steps from an object to one of its fields. Displayed as in conflict messages: `.spec.containers[name="a"].image`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<PathElement>);

impl Path {
    /// Makes a path of field names.
    #[must_use]
    pub fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| PathElement::field(name)).collect())
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| element.fmt(out))
    }
}

/// A value inside a step: a key field's or a set member's.
///
/// Numbers are compared by value, so that `80` and `80.0` select the same item.
#[derive(Clone, Debug)]
pub enum Scalar {
    /// A whole number, also one that was written `80.0`.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// A truth value.
    Bool(bool),
    /// A list or map: never made by a typed list, but readable, since a client may write any field set.
    Json(Arc<Value>),
    /// An explicit null.
    Null,
}

impl Scalar {
    fn rank(&self) -> u8 {
        match self {
            Self::Int(_) | Self::Float(_) => 0,
            Self::Text(_) => 1,
            Self::Bool(_) => 2,
            Self::Json(value) => 3 + u8::from(value.is_object()),
            Self::Null => 5,
        }
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Int(number) => {
                let _ = write!(text, "{number}");
            }
            Self::Float(number) => {
                let _ = write!(text, "{number}");
            }
            Self::Text(value) => write_string(text, value, true),
            Self::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
            Self::Json(value) => {
                let _ = write!(text, "{value}");
            }
            Self::Null => text.push_str("null"),
        }
    }
}

impl From<&Value> for Scalar {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => number_scalar(number),
            Value::String(text) => Self::Text(Arc::from(text.as_str())),
            Value::Array(_) | Value::Object(_) => Self::Json(Arc::new(value.clone())),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "whole numbers below 2^53 only")]
fn number_scalar(number: &Number) -> Scalar {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(whole) = number.as_i64() {
        return Scalar::Int(whole);
    }
    let float = number.as_f64().unwrap_or(f64::NAN);
    if float.fract() == 0.0 && float.abs() < EXACT { Scalar::Int(float as i64) } else { Scalar::Float(float) }
}

impl Ord for Scalar {
    #[expect(
        clippy::cast_precision_loss,
        reason = "whole numbers are compared with others as the server does, by value"
    )]
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Int(a), Self::Float(b)) => (*a as f64).total_cmp(b),
            (Self::Float(a), Self::Int(b)) => a.total_cmp(&(*b as f64)),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Json(a), Self::Json(b)) if self.rank() == other.rank() => {
                a.to_string().cmp(&b.to_string())
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scalar {}

impl fmt::Display for Scalar {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(out, "{number}"),
            Self::Float(number) => write!(out, "{number}"),
            Self::Text(text) => out.write_str(&quote(text)),
            Self::Bool(value) => write!(out, "{value}"),
            Self::Json(value) => write!(out, "{value}"),
            Self::Null => out.write_str("null"),
        }
    }
}

/// Quotes a text as Go's `%q` does, which is how the server prints manager names and key values.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        let escape: Cow<'_, str> = match character {
            '"' => "\\\"".into(),
            '\\' => "\\\\".into(),
            '\n' => "\\n".into(),
            '\r' => "\\r".into(),
            '\t' => "\\t".into(),
            '\u{7}' => "\\a".into(),
            '\u{8}' => "\\b".into(),
            '\u{b}' => "\\v".into(),
            '\u{c}' => "\\f".into(),
            control if control.is_ascii_control() => format!("\\x{:02x}", u32::from(control)).into(),
            control if control.is_control() => format!("\\u{:04x}", u32::from(control)).into(),
            plain => {
                quoted.push(plain);
                continue;
            }
        };
        quoted.push_str(&escape);
    }
    quoted.push('"');
    quoted
}

/// Writes a JSON string; with `html`, as Go's encoder does for values, `<`, `>` and `&` are escaped.
fn write_string(out: &mut String, text: &str, html: bool) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' if html => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            '\0'..='\u{1f}' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}
