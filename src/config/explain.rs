//! The merged service as text, with the origin of every value behind it.

use crate::yaml::{Node, NodeValue, write};

/// Writes a value as YAML with `# file:line` behind every scalar, in columns.
#[must_use]
pub fn explain(node: &Node) -> String {
    let mut lines = Vec::new();
    render(node, 0, "", &mut lines);
    let width = lines.iter().map(|(text, _)| text.chars().count()).max().unwrap_or_default();
    lines
        .iter()
        .map(|(text, origin)| {
            let line = if origin.is_empty() { text.clone() } else { format!("{text:width$}  # {origin}") };
            line + "\n"
        })
        .collect()
}

fn render(node: &Node, indent: usize, lead: &str, lines: &mut Vec<(String, String)>) {
    let pad = " ".repeat(indent);
    match &node.value {
        NodeValue::Map(entries) if !entries.is_empty() => {
            let mut lead = lead;
            for (key, value) in entries {
                let head = format!(
                    "{}{lead}{}:",
                    if lead.is_empty() { pad.clone() } else { " ".repeat(indent - 2) },
                    key.name
                );
                if is_flat(value) {
                    lines.push((format!("{head} {}", flat(value)), origin(value)));
                } else {
                    lines.push((head, String::new()));
                    let deeper = if matches!(value.value, NodeValue::List(_)) { indent } else { indent + 2 };
                    render(value, deeper, "", lines);
                }
                lead = "";
            }
        }
        NodeValue::List(items) if !items.is_empty() => {
            for item in items {
                if is_flat(item) {
                    lines.push((format!("{pad}- {}", flat(item)), origin(item)));
                } else {
                    render(item, indent + 2, "- ", lines);
                }
            }
        }
        _ => lines.push((format!("{pad}{lead}{}", flat(node)), origin(node))),
    }
}

fn is_flat(node: &Node) -> bool {
    match &node.value {
        NodeValue::Map(entries) => entries.is_empty(),
        NodeValue::List(items) => items.is_empty(),
        _ => true,
    }
}

fn flat(node: &Node) -> String {
    write(&node.to_json()).trim_end().to_owned()
}

/// `file:line`, or `built-in`, which has no lines that an author could look at.
fn origin(node: &Node) -> String {
    let place = &node.place;
    if &*place.file == "built-in" { "built-in".to_owned() } else { format!("{}:{}", place.file, place.line) }
}
