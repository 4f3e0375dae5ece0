//! Content hashes: SHA-256 over framed parts. The only hashing in the house.
//!
//! Every part is framed by its length, so `("ab", "c")` and `("a", "bc")` differ, and every hash begins with a
//! domain, so that a build key never equals an input digest by accident.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A SHA-256 hash of content. Its text is 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The first 32 hex digits: enough to name a thing, short enough for a label or a tag.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..16])
    }

    /// The 32 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

/// The text is no content hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not 64 hex digits")]
pub struct NotAHash(String);

impl FromStr for ContentHash {
    type Err = NotAHash;
    fn from_str(text: &str) -> Result<Self, NotAHash> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| NotAHash(text.chars().take(80).collect()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ContentHash {
    type Error = NotAHash;
    fn try_from(text: String) -> Result<Self, NotAHash> {
        text.parse()
    }
}

impl From<ContentHash> for String {
    fn from(hash: ContentHash) -> Self {
        hash.to_string()
    }
}

/// Hashes parts in the order they are given.
#[derive(Clone)]
pub struct Hasher(Context);

impl Hasher {
    /// Begins a hash of the given domain, such as `build key`.
    #[must_use]
    pub fn new(domain: &str) -> Self {
        Self(Context::new(&SHA256)).text(domain)
    }

    /// Adds bytes, framed by their length.
    #[must_use]
    pub fn part(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.frame(bytes.as_ref());
        self
    }

    /// Adds a text, framed by its length.
    #[must_use]
    pub fn text(self, text: &str) -> Self {
        self.part(text.as_bytes())
    }

    /// Adds a JSON value in its canonical form: maps in the order of their keys, whatever order they came in.
    #[must_use]
    pub fn json(mut self, value: &Value) -> Self {
        self.value(value);
        self
    }

    /// Ends the hash.
    #[must_use]
    pub fn finish(self) -> ContentHash {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.finish().as_ref());
        ContentHash(bytes)
    }

    fn frame(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.0.update(b"n"),
            Value::Bool(true) => self.0.update(b"t"),
            Value::Bool(false) => self.0.update(b"f"),
            Value::Number(number) => {
                self.0.update(b"#");
                self.frame(number.to_string().as_bytes());
            }
            Value::String(text) => {
                self.0.update(b"s");
                self.frame(text.as_bytes());
            }
            Value::Array(items) => {
                self.0.update(b"[");
                self.0.update(&(items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(map) => {
                self.0.update(b"{");
                self.0.update(&(map.len() as u64).to_le_bytes());
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_unstable_by_key(|(key, _)| key.as_str());
                for (key, item) in keys {
                    self.frame(key.as_bytes());
                    self.value(item);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parts_are_framed_and_domains_stay_apart() {
        let hash =
            |domain: &str, parts: &[&str]| parts.iter().fold(Hasher::new(domain), |h, p| h.text(p)).finish();
        assert_ne!(hash("x", &["ab", "c"]), hash("x", &["a", "bc"]));
        assert_ne!(hash("x", &["a"]), hash("y", &["a"]));
        assert_eq!(hash("x", &["a"]).to_string().parse(), Ok(hash("x", &["a"])));
    }

    #[test]
    fn the_order_of_keys_does_not_change_a_hash() {
        let hash = |value| Hasher::new("x").json(&value).finish();
        assert_eq!(hash(json!({"a": 1, "b": [2]})), hash(json!({"b": [2], "a": 1})));
        assert_ne!(hash(json!([1, 2])), hash(json!([2, 1])));
        assert_ne!(hash(json!("1")), hash(json!(1)));
    }
}
