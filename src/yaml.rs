//! The one reader and the one writer of YAML, with the place of every value.
//!
//! Everything that is ours (the config repository, rendered manifests) is read by [`read`] into [`Node`]s that know
//! their file, line and column, under a budget, with duplicate keys refused. Everything is written by [`write()`],
//! which quotes what an older reader would take for a boolean or a number. Files of other tools (a kubeconfig) go
//! through [`foreign`], so that no file is ever read by two parsers.

mod node;

pub use node::{Key, Node, NodeValue, Place};

use std::sync::Arc;

use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Error};

/// How much a file may ask of the reader before it is refused.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the text.
    pub bytes: usize,
    /// Values of all documents together, aliases counted each time they are used.
    pub nodes: usize,
    /// Levels of nesting.
    pub depth: usize,
    /// Documents of one file.
    pub documents: usize,
}

impl Limits {
    /// For a file of the config repository: 1 MiB, 20,000 values, 32 levels, 100 documents.
    #[must_use]
    pub fn config() -> Self {
        Self { bytes: 1 << 20, nodes: 20_000, depth: 32, documents: 100 }
    }

    /// For rendered manifests: 4 MiB, 200,000 values, 64 levels, 1,000 documents.
    #[must_use]
    pub fn manifests() -> Self {
        Self { bytes: 4 << 20, nodes: 200_000, depth: 64, documents: 1_000 }
    }
}

/// A text that is no acceptable YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct YamlError {
    /// Where the reader stopped.
    pub place: Place,
    /// What it found there.
    pub message: String,
}

/// Reads all documents of a text; empty documents are left out.
///
/// # Errors
/// The first thing that is no YAML, a duplicate key, or a breach of `limits`, with its place.
pub fn read(file: &str, text: &str, limits: &Limits) -> Result<Vec<Node>, YamlError> {
    let file: Arc<str> = file.into();
    let refuse = |line, column, message: String| YamlError {
        place: Place { file: Arc::clone(&file), line, column },
        message,
    };
    if text.len() > limits.bytes {
        return Err(refuse(
            1,
            1,
            format!("the file has {} bytes, more than the {} that are read", text.len(), limits.bytes),
        ));
    }
    if let Some((line, column)) = first_tab(text) {
        return Err(refuse(line, column, "a tab cannot indent YAML; hint: use spaces".to_owned()));
    }
    let nodes: Vec<node::Read> =
        serde_saphyr::from_multiple_with_options(text, options(limits)).map_err(|error| {
            let error = error.without_snippet();
            let (line, column) = error.location().map_or((1, 1), |at| node::line_column(&at));
            refuse(line, column, describe(error))
        })?;
    Ok(nodes.into_iter().map(|node| node.place(&file)).filter(|node| !node.is_null()).collect())
}

/// Writes a value as one YAML document that YAML 1.1 readers understand as we do.
///
/// # Panics
/// Never: every JSON value has a YAML form.
#[must_use]
pub fn write(value: &Value) -> String {
    // a folded line is harder to read than a long one, and no diff of ours wraps
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(value, options).expect("every JSON value can be written as YAML")
}

/// Reads a file of another tool, such as a kubeconfig or a Compose file, by the parser that such tools use.
///
/// # Errors
/// What the parser says, with its line and column.
pub fn foreign(text: &str) -> Result<Value, serde_yaml::Error> {
    serde_yaml::from_str(text)
}

fn options(limits: &Limits) -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: limits.nodes,
            max_events: limits.nodes * 3,
            max_depth: limits.depth,
            max_documents: limits.documents,
            max_aliases: 200,
            max_anchors: 100,
            max_merge_keys: 100,
            max_total_scalar_bytes: limits.bytes,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        underscored_numbers_as_strings: true,
        leading_zero_numbers_as_strings: true,
    }
}

/// Finds a tab in the indentation of a line: the commonest mistake, and parsers name it badly.
fn first_tab(text: &str) -> Option<(u32, u32)> {
    (1..).zip(text.lines()).find_map(|(line, content)| {
        let indent = content.len() - content.trim_start_matches([' ', '\t']).len();
        let tab = content[..indent].find('\t')?;
        let blank = content.trim().is_empty();
        (!blank).then(|| (line, u32::try_from(tab + 1).unwrap_or(u32::MAX)))
    })
}

/// Words a parser's error for the author of the file, without the place, which stands before it.
fn describe(error: &Error) -> String {
    if let Error::DuplicateMappingKey { key: Some(key), .. } = error {
        return format!("the key `{key}` stands here a second time");
    }
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default().trim();
    if text.contains("budget breached") {
        return "the file asks too much of the reader; hint: split it, nest less, use fewer aliases"
            .to_owned();
    }
    // the parser repeats the place, which we print ourselves
    let text = text.split(" at line ").next().unwrap_or(text);
    text.strip_prefix("error: ").unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        read("a.yaml", text, &Limits::config()).expect_err(text).to_string()
    }

    #[test]
    fn every_value_knows_its_place() {
        let nodes =
            read("a.yaml", "a: 1\nb:\n  - x\n  - {c: no, d: 0755}\n---\n---\ne: ~\n", &Limits::config())
                .expect("valid");
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].at("/b/1/c").expect("there").place.to_string(), "a.yaml:4:9");
        assert_eq!(nodes[0].to_json(), serde_json::json!({"a": 1, "b": ["x", {"c": "no", "d": "0755"}]}));
        assert_eq!(nodes[1].to_json(), serde_json::json!({"e": null}));
    }

    #[test]
    fn what_is_refused_names_its_place() {
        insta::assert_snapshot!(refused("a: 1\nb: 2\na: 3\n"), @"a.yaml:3:1: the key `a` stands here a second time");
        insta::assert_snapshot!(refused("a:\n\tb: 1\n"), @"a.yaml:2:1: a tab cannot indent YAML; hint: use spaces");
        insta::assert_snapshot!(refused("a: [1, 2\nb: 3\n"), @"a.yaml:2:2: illegal placement of ':' indicator");
        insta::assert_snapshot!(refused("a: *nowhere\n"), @"a.yaml:1:4: alias references unknown anchor");
    }

    #[test]
    fn an_alias_bomb_ends_in_an_error() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..9 {
            let row = vec![format!("*a{}", i - 1); 9].join(", ");
            bomb += &format!("a{i}: &a{i} [{row}]\n");
        }
        assert!(refused(&bomb).contains("asks too much of the reader"), "{}", refused(&bomb));
        let deep = "[".repeat(100_000);
        assert!(!refused(&deep).is_empty());
    }

    #[test]
    fn what_is_written_is_read_the_same_by_old_readers() {
        let value = serde_json::json!({"a": "no", "b": "on", "c": "12:30", "d": "1_0", "e": "0755", "f": "x: y\n", "h": "long ".repeat(40), "g": [true, 1.5, null]});
        let text = write(&value);
        assert_eq!(read("a", &text, &Limits::config()).expect("ours")[0].to_json(), value);
        assert_eq!(foreign(&text).expect("theirs"), value);
        assert!(text.contains("a: \"no\"") || text.contains("a: 'no'"), "{text}");
    }
}
