//! `FieldsV1`: how a field set stands in `metadata.managedFields`.
//!
//! Every step is a key of an object; an empty object is a member; a member that also has children holds the
//! key `.`. Keys stand in the order of the steps, so that the text is byte for byte the server's.

use serde_json::{Map, Value};

use super::fieldset::{FieldSet, Node};
use super::path::PathElement;

impl FieldSet {
    /// Writes the set as the value of `fieldsV1`.
    #[must_use]
    pub fn to_fields_v1(&self) -> Value {
        Value::Object(self.write(false))
    }

    fn write(&self, member: bool) -> Map<String, Value> {
        let mut fields = Map::with_capacity(self.nodes.len() + usize::from(member));
        if member && !self.nodes.is_empty() {
            fields.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for node in &self.nodes {
            fields.insert(node.element.write(), Value::Object(node.children.write(node.member)));
        }
        fields
    }

    /// Reads the value of `fieldsV1`. Kinds of steps that a later version may bring are left out, as the server does.
    ///
    /// # Errors
    /// A sentence that names the step that cannot be read.
    pub fn from_fields_v1(fields: &Value) -> Result<Self, String> {
        match fields {
            Value::Object(fields) => Ok(read(fields)?.0),
            _ => Err("fieldsV1 is no object".to_owned()),
        }
    }
}

/// Reads one level; says also whether the level itself is a member.
fn read(fields: &Map<String, Value>) -> Result<(FieldSet, bool), String> {
    let mut member = false;
    let mut nodes: Vec<Node> = Vec::with_capacity(fields.len());
    for (key, below) in fields {
        if key == "." {
            member = true;
            continue;
        }
        let Some(element) = PathElement::read(key)? else { continue };
        let (children, own) = match below {
            Value::Object(below) => read(below)?,
            _ => return Err(format!("{key}: no object")),
        };
        nodes.push(Node { element, member: own, children });
    }
    let mut set = FieldSet::from_nodes(nodes);
    set.nodes.dedup_by(|later, kept| {
        let same = later.element == kept.element;
        if same {
            kept.member |= later.member;
            kept.children = kept.children.union(&later.children);
        }
        same
    });
    member |= set.nodes.is_empty();
    Ok((set, member))
}
