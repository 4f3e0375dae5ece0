//! A YAML value that knows where it stands.

use std::fmt;
use std::sync::Arc;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

/// A place in a file. Its text is `file:line:column`, counted from one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The path of the file, as the author knows it.
    pub file: Arc<str>,
    /// The line, from one.
    pub line: u32,
    /// The column in characters, from one.
    pub column: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where the value begins.
    pub place: Place,
    /// The value.
    pub value: NodeValue,
}

/// The key of a map entry and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key itself.
    pub name: String,
    /// Where it stands.
    pub place: Place,
}

/// What a [`Node`] holds. Maps keep the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are those of JSON")]
pub enum NodeValue {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

impl Node {
    /// Whether the value is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.value == NodeValue::Null
    }

    /// The entry of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, node)| node)
    }

    /// The entry of a map, with its key.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        self.entries().iter().find(|(k, _)| k.name == key).map(|(k, node)| (k, node))
    }

    /// The entries of a map; none for any other value.
    #[must_use]
    pub fn entries(&self) -> &[(Key, Node)] {
        if let NodeValue::Map(entries) = &self.value { entries } else { &[] }
    }

    /// The items of a list; none for any other value.
    #[must_use]
    pub fn items(&self) -> &[Node] {
        if let NodeValue::List(items) = &self.value { items } else { &[] }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let NodeValue::String(text) = &self.value { Some(text) } else { None }
    }

    /// The value at a JSON pointer (RFC 6901).
    #[must_use]
    pub fn at(&self, pointer: &str) -> Option<&Node> {
        match self.walk(pointer) {
            (node, true) => Some(node),
            (_, false) => None,
        }
    }

    /// The place of the value at a JSON pointer, or of the nearest value above it.
    #[must_use]
    pub fn nearest(&self, pointer: &str) -> &Place {
        &self.walk(pointer).0.place
    }

    /// The place of the key at a JSON pointer, or of the nearest value above it where there is no such key.
    #[must_use]
    pub fn key_place(&self, pointer: &str) -> &Place {
        let (parent, last) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        let name = unescape(last);
        self.at(parent)
            .and_then(|node| node.entry(&name))
            .map_or_else(|| self.nearest(pointer), |(key, _)| &key.place)
    }

    /// Walks a pointer as far as it goes; the flag says whether the whole pointer was walked.
    fn walk(&self, pointer: &str) -> (&Node, bool) {
        let mut node = self;
        for step in pointer.split('/').skip(1) {
            let next = match &node.value {
                NodeValue::List(items) => step.parse().ok().and_then(|index: usize| items.get(index)),
                _ => node.get(&unescape(step)),
            };
            match next {
                Some(next) => node = next,
                None => return (node, false),
            }
        }
        (node, true)
    }

    /// The value as JSON, without its places.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(flag) => Value::Bool(*flag),
            NodeValue::Number(number) => Value::Number(number.clone()),
            NodeValue::String(text) => Value::String(text.clone()),
            NodeValue::List(items) => items.iter().map(Node::to_json).collect(),
            NodeValue::Map(entries) => Value::Object(
                entries.iter().map(|(k, node)| (k.name.clone(), node.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// A value that stands in no file of its own, at `place`.
    #[must_use]
    pub fn from_json(value: &Value, place: &Place) -> Self {
        let value = match value {
            Value::Null => NodeValue::Null,
            Value::Bool(flag) => NodeValue::Bool(*flag),
            Value::Number(number) => NodeValue::Number(number.clone()),
            Value::String(text) => NodeValue::String(text.clone()),
            Value::Array(items) => {
                NodeValue::List(items.iter().map(|item| Self::from_json(item, place)).collect())
            }
            Value::Object(map) => NodeValue::Map(
                map.iter()
                    .map(|(name, item)| {
                        (Key { name: name.clone(), place: place.clone() }, Self::from_json(item, place))
                    })
                    .collect(),
            ),
        };
        Self { place: place.clone(), value }
    }
}

/// Undoes the escapes of a JSON pointer's step.
fn unescape(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

impl Key {
    /// The key as a step of a JSON pointer (RFC 6901, section 3).
    #[must_use]
    pub fn step(&self) -> String {
        self.name.replace('~', "~0").replace('/', "~1")
    }
}

/// The line and column of a location, from one.
pub(super) fn line_column(at: &Location) -> (u32, u32) {
    let clamp = |n: u64| u32::try_from(n).unwrap_or(u32::MAX).max(1);
    (clamp(at.line()), clamp(at.column()))
}

/// A value as the parser gives it; [`Read::place`] makes it a [`Node`] of a file.
pub(super) struct Read(Spanned<ReadValue>);

enum ReadValue {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Read>),
    Map(Vec<(Spanned<String>, Read)>),
}

impl Read {
    pub(super) fn place(self, file: &Arc<str>) -> Node {
        let at = |location: &Location| {
            let (line, column) = line_column(location);
            Place { file: Arc::clone(file), line, column }
        };
        let value = match self.0.value {
            ReadValue::Null => NodeValue::Null,
            ReadValue::Bool(flag) => NodeValue::Bool(flag),
            ReadValue::Number(number) => NodeValue::Number(number),
            ReadValue::String(text) => NodeValue::String(text),
            ReadValue::List(items) => {
                NodeValue::List(items.into_iter().map(|item| item.place(file)).collect())
            }
            ReadValue::Map(entries) => NodeValue::Map(
                entries
                    .into_iter()
                    .map(|(key, item)| {
                        (Key { place: at(&key.referenced), name: key.value }, item.place(file))
                    })
                    .collect(),
            ),
        };
        Node { place: at(&self.0.referenced), value }
    }
}

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Read)
    }
}

impl<'de> Deserialize<'de> for ReadValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = ReadValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<ReadValue, E> {
        Ok(ReadValue::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<ReadValue, E> {
        Ok(ReadValue::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<ReadValue, D::Error> {
        ReadValue::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<ReadValue, E> {
        Ok(ReadValue::Bool(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ReadValue, E> {
        Ok(ReadValue::Number(number.into()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<ReadValue, E> {
        Ok(ReadValue::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<ReadValue, E> {
        Number::from_f64(number).map(ReadValue::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ReadValue, E> {
        Ok(ReadValue::String(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<ReadValue, E> {
        Ok(ReadValue::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ReadValue, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(ReadValue::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ReadValue, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(ReadValue::Map(entries))
    }
}
