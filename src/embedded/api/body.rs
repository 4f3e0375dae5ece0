//! Request bodies: bounded, JSON or YAML, with the fields that stand twice.

use crate::embedded::status::Refusal;
use crate::yaml;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// The server's own limit on a request body.
pub(crate) const LIMIT: usize = 3 * 1024 * 1024;

/// A body as JSON.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// Paths of keys that stand twice; the last one counts.
    pub(crate) duplicates: Vec<String>,
}

/// Reads JSON.
///
/// # Errors
/// What the parser says.
pub(crate) fn json(bytes: &[u8]) -> Result<Parsed, serde_json::Error> {
    let duplicates = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Seed { at: &Place::Root, duplicates: &duplicates }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(Parsed { value, duplicates: duplicates.into_inner() })
}

/// Reads the body of a server-side apply, which is YAML and so also JSON.
///
/// # Errors
/// 400.
pub(crate) fn apply(bytes: &[u8]) -> Result<Parsed, Refusal> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Refusal::bad_request("error decoding YAML: the body is not UTF-8"))?;
    if text.trim_start().starts_with('{')
        && let Ok(parsed) = json(bytes)
    {
        return Ok(parsed);
    }
    let refuse = |what: &str| {
        Refusal::bad_request(format!("error decoding YAML: error converting YAML to JSON: yaml: {what}"))
    };
    let mut documents = yaml::read("body", text, &yaml::Limits::manifests())
        .map_err(|error| refuse(&format!("line {}: {}", error.place.line, error.message)))?;
    match documents.len() {
        0 => Ok(Parsed { value: Value::Object(Map::new()), duplicates: Vec::new() }),
        1 => Ok(Parsed { value: documents.remove(0).to_json(), duplicates: Vec::new() }),
        count => Err(refuse(&format!("expected one document, found {count}"))),
    }
}

enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(Self::Root, name) => write!(f, "{name}"),
            Self::Field(outer, name) => write!(f, "{outer}.{name}"),
            Self::Item(outer, at) => write!(f, "{outer}[{at}]"),
        }
    }
}

struct Seed<'a> {
    at: &'a Place<'a>,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let at = Place::Item(self.at, list.len());
            match items.next_element_seed(Seed { at: &at, duplicates: self.duplicates })? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let at = Place::Field(self.at, &name);
            let value = fields.next_value_seed(Seed { at: &at, duplicates: self.duplicates })?;
            if map.contains_key(&name) {
                self.duplicates.borrow_mut().push(at.to_string());
            }
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_stand_twice_are_named_and_the_last_one_counts() {
        let parsed = json(br#"{"metadata":{"name":"a","name":"b"},"items":[{"x":1,"x":2}]}"#).unwrap();
        assert_eq!(parsed.value["metadata"]["name"], "b");
        assert_eq!(parsed.duplicates, ["metadata.name", "items[0].x"]);
    }
}
