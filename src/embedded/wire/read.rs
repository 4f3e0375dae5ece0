//! Reading a JSON value as a type: what is kept, what is dropped, what is refused.

use super::{Field, Shape, Type, wire};
use crate::embedded::quantity::{self, Quantity};
use base64::Engine as _;
use serde_json::{Map, Number, Value};

/// A value as the server would store it.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) value: Value,
    /// Paths of fields that the type does not have, in the order met: `spec.containers[0].foo`.
    pub(crate) unknown: Vec<String>,
}

/// Reads `value` as a type.
///
/// # Errors
/// The message of the Go decoder: the first value of a wrong type.
pub(crate) fn read(value: Value, of: &Type) -> Result<Decoded, String> {
    let mut reader = Reader { path: Vec::new(), owner: of.name, unknown: Vec::new() };
    let value = match value {
        Value::Object(map) => reader.object(map, of)?,
        Value::Null => zero_struct(of),
        other => return Err(reader.mismatch(&other, of.name)),
    };
    Ok(Decoded { value, unknown: reader.unknown })
}

#[derive(Clone, Copy)]
enum Step {
    Field(&'static str),
    Item(usize),
}

struct Reader {
    path: Vec<Step>,
    /// The struct whose field is being read.
    owner: &'static str,
    unknown: Vec<String>,
}

impl Reader {
    fn object(&mut self, map: Map<String, Value>, of: &Type) -> Result<Value, String> {
        let mut read: Vec<(usize, Value)> = Vec::with_capacity(map.len() + of.always.len());
        let outer = self.owner;
        for (key, value) in map {
            let Some(&at) = of.index.get(key.as_str()) else {
                self.unknown.push(self.path_to(Some(&key), true));
                continue;
            };
            let field = &of.fields[at];
            self.owner = of.name;
            self.path.push(Step::Field(field.name));
            let value = self.field(value, field)?;
            self.path.pop();
            if let Some(value) = value {
                read.push((at, value));
            }
        }
        self.owner = outer;
        for &at in &of.always {
            if !read.iter().any(|(present, _)| *present == at) {
                read.push((at, zero(&of.fields[at])));
            }
        }
        read.sort_unstable_by_key(|(at, _)| *at);
        let fields = read.into_iter().map(|(at, value)| (of.fields[at].name.to_owned(), value));
        Ok(Value::Object(fields.collect()))
    }

    fn field(&mut self, value: Value, field: &Field) -> Result<Option<Value>, String> {
        if value.is_null() {
            return Ok(None);
        }
        let mut value = self.value(value, &field.shape)?;
        if !field.omit_empty && value.as_array().is_some_and(Vec::is_empty) {
            // the stored form knows no difference between an empty list and none
            value = Value::Null;
        }
        let dropped = !field.pointer && (field.omit_empty || field.omit_zero) && is_empty(&value, field);
        Ok((!dropped).then_some(value))
    }

    fn value(&mut self, value: Value, shape: &Shape) -> Result<Value, String> {
        match (shape, value) {
            (Shape::Struct(at), Value::Object(map)) => self.object(map, wire().at(*at)),
            (Shape::Struct(at), Value::Null) => Ok(zero_struct(wire().at(*at))),
            (Shape::Struct(at), other) => Err(self.mismatch(&other, &format!("v1.{}", wire().at(*at).name))),
            (Shape::List(of), Value::Array(items)) => {
                let read = items.into_iter().enumerate().map(|(at, item)| {
                    self.path.push(Step::Item(at));
                    let item = self.value(item, of)?;
                    self.path.pop();
                    Ok(item)
                });
                read.collect::<Result<_, _>>().map(Value::Array)
            }
            (Shape::Map(of), Value::Object(map)) => {
                let read = map.into_iter().map(|(key, value)| Ok((key, self.value(value, of)?)));
                read.collect::<Result<_, _>>().map(Value::Object)
            }
            (Shape::Raw, value) => Ok(value),
            (shape, value) => self.scalar(value, shape),
        }
    }

    fn scalar(&self, value: Value, shape: &Shape) -> Result<Value, String> {
        match (shape, value) {
            (Shape::String(_), Value::Null) => Ok(Value::String(String::new())),
            (Shape::String(_) | Shape::IntOrString, value @ Value::String(_))
            | (Shape::Bool, value @ Value::Bool(_)) => Ok(value),
            (Shape::Int(bits), Value::Number(number)) => self.integer(number, *bits),
            (Shape::Quantity, Value::String(text)) => {
                Ok(Value::String(Quantity::parse(&text).map_err(str::to_owned)?.canonical()))
            }
            (Shape::Quantity, Value::Number(number)) => {
                Ok(Value::String(Quantity::parse(&number.to_string()).map_err(str::to_owned)?.canonical()))
            }
            (Shape::Quantity, _) => Err(quantity::MALFORMED.to_owned()),
            (Shape::Time, Value::String(text)) => time(&text, 0),
            (Shape::MicroTime, Value::String(text)) => time(&text, 6),
            (Shape::IntOrString, Value::Number(number)) => self.integer(number, 32),
            (Shape::Bytes, Value::String(text)) => bytes(text),
            (shape, other) => Err(self.mismatch(&other, &shape.go_type())),
        }
    }

    fn integer(&self, number: Number, bits: u8) -> Result<Value, String> {
        let fits = number.as_i64().is_some_and(|n| match bits {
            8 => u8::try_from(n).is_ok(),
            32 => i32::try_from(n).is_ok(),
            _ => true,
        });
        if fits {
            return Ok(Value::Number(number));
        }
        Err(self.mismatch_of(&format!("number {number}"), &Shape::Int(bits).go_type()))
    }

    fn mismatch(&self, value: &Value, wanted: &str) -> String {
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        self.mismatch_of(found, wanted)
    }

    fn mismatch_of(&self, found: &str, wanted: &str) -> String {
        if self.path.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {wanted}");
        }
        let path = self.path_to(None, false);
        format!("json: cannot unmarshal {found} into Go struct field {}.{path} of type {wanted}", self.owner)
    }

    fn path_to(&self, last: Option<&str>, with_items: bool) -> String {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) => {
                    path.push_str(if path.is_empty() { "" } else { "." });
                    path.push_str(name);
                }
                Step::Item(at) if with_items => {
                    path.push('[');
                    path.push_str(&at.to_string());
                    path.push(']');
                }
                Step::Item(_) => {}
            }
        }
        if let Some(last) = last {
            path.push_str(if path.is_empty() { "" } else { "." });
            path.push_str(last);
        }
        path
    }
}

impl Shape {
    fn go_type(&self) -> String {
        match self {
            Self::Struct(at) => format!("v1.{}", wire().at(*at).name),
            Self::List(of) => format!("[]{}", of.go_type()),
            Self::Map(of) => format!("map[string]{}", of.go_type()),
            Self::String("string") => "string".to_owned(),
            Self::String("UID") => "types.UID".to_owned(),
            Self::String(name) => format!("v1.{name}"),
            Self::Bool => "bool".to_owned(),
            Self::Int(8) => "uint8".to_owned(),
            Self::Int(bits) => format!("int{bits}"),
            Self::Quantity => "resource.Quantity".to_owned(),
            Self::Time => "v1.Time".to_owned(),
            Self::MicroTime => "v1.MicroTime".to_owned(),
            Self::IntOrString => "int32".to_owned(),
            Self::Bytes => "[]uint8".to_owned(),
            Self::Raw => "v1.FieldsV1".to_owned(),
        }
    }
}

fn is_empty(value: &Value, field: &Field) -> bool {
    match (&field.shape, value) {
        // a struct that is no pointer is never left out, except where `omitzero` says so
        (Shape::Struct(_) | Shape::Quantity | Shape::IntOrString | Shape::Time | Shape::MicroTime, _) => {
            false
        }
        (_, Value::Null | Value::Bool(false)) => true,
        (_, Value::Number(number)) => number.as_i64() == Some(0),
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::Object(map)) => map.is_empty() && field.shape != Shape::Raw,
        _ => false,
    }
}

fn zero(field: &Field) -> Value {
    if field.pointer {
        return Value::Null;
    }
    match &field.shape {
        Shape::Struct(at) => zero_struct(wire().at(*at)),
        Shape::String(_) => Value::String(String::new()),
        Shape::Bool => Value::Bool(false),
        Shape::Int(_) | Shape::IntOrString => Value::from(0),
        Shape::Quantity => Value::from("0"),
        Shape::List(_) | Shape::Map(_) | Shape::Time | Shape::MicroTime | Shape::Bytes | Shape::Raw => {
            Value::Null
        }
    }
}

fn zero_struct(of: &Type) -> Value {
    let fields = of.always.iter().map(|&at| (of.fields[at].name.to_owned(), zero(&of.fields[at])));
    Value::Object(fields.collect())
}

fn time(text: &str, decimals: usize) -> Result<Value, String> {
    if decimals == 6 && text.split_once('.').map_or(0, |(_, rest)| digits(rest)) != 6 {
        let rest = text.get(19..).unwrap_or_default();
        return Err(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse {rest:?} as \".000000\""
        ));
    }
    let parsed: jiff::Timestamp = text.parse().map_err(|_| {
        format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\"")
    })?;
    Ok(Value::String(if decimals == 0 {
        parsed.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else {
        parsed.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
    }))
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

fn bytes(text: String) -> Result<Value, String> {
    let text = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "") } else { text };
    match base64::engine::general_purpose::STANDARD.decode(&text) {
        Ok(_) => Ok(Value::String(text)),
        Err(base64::DecodeError::InvalidByte(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", text.len() / 4 * 4)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read_as(kind: &str, value: Value) -> Result<Decoded, String> {
        read(value, wire().named(kind))
    }

    #[test]
    fn unknown_fields_nulls_and_empty_values_are_not_stored() {
        let sent = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "foo": 1,
            "metadata": {"name": "a", "labels": {}, "annotations": null, "labelz": {}},
            "data": {"x": "y"},
        });
        let decoded = read_as("ConfigMap", sent).unwrap();
        assert_eq!(
            decoded.value,
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"x": "y"}})
        );
        assert_eq!(decoded.unknown, ["foo", "metadata.labelz"]);
    }

    #[test]
    fn structs_that_are_not_pointers_stand_even_when_empty() {
        let decoded = read_as("Deployment", json!({"spec": {"replicas": 0, "minReadySeconds": 0}})).unwrap();
        assert_eq!(
            decoded.value,
            json!({
                "metadata": {}, "status": {},
                "spec": {
                    "replicas": 0, "selector": null, "strategy": {},
                    "template": {"metadata": {}, "spec": {"containers": null}},
                },
            })
        );
    }

    #[test]
    fn a_value_of_a_wrong_type_is_named_as_the_go_decoder_names_it() {
        let message = |kind, value| read_as(kind, value).unwrap_err();
        assert_eq!(
            message("ConfigMap", json!({"data": {"x": 1}})),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
        assert_eq!(
            message("Deployment", json!({"spec": {"replicas": "x"}})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        assert_eq!(
            message("Pod", json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "abc"}}}]}})),
            quantity::MALFORMED
        );
    }

    #[test]
    fn quantities_and_times_are_stored_in_canonical_form() {
        let decoded = read_as(
            "Pod",
            json!({
                "metadata": {"deletionTimestamp": "2026-01-02T03:04:05.678+01:00"},
                "spec": {"containers": [{"resources": {"limits": {"cpu": 0.5, "memory": "1024Mi"}}}]},
            }),
        )
        .unwrap();
        assert_eq!(decoded.value["metadata"]["deletionTimestamp"], "2026-01-02T02:04:05Z");
        assert_eq!(
            decoded.value["spec"]["containers"][0]["resources"],
            json!({"limits": {"cpu": "500m", "memory": "1Gi"}})
        );
    }
}
