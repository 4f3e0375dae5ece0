//! Patches other than server-side apply: JSON merge (RFC 7386), JSON patch (RFC 6902), strategic merge.

mod json;
mod strategic;

use super::status::Refusal;
use super::wire::{self, Type};
use serde_json::Value;

/// The kind of a patch, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl Kind {
    /// # Errors
    /// 415 for another media type.
    pub(crate) fn of(content_type: &str) -> Result<Self, Refusal> {
        match content_type {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(Refusal::unsupported_patch()),
        }
    }
}

/// A patch that has been read.
#[derive(Debug)]
pub(crate) enum Patch {
    Json(Vec<json::Operation>),
    Merge(Value),
    Strategic(Value, &'static Type),
}

impl Patch {
    /// Reads a patch for an object of that type.
    ///
    /// # Errors
    /// 400 for a body that is no such patch.
    pub(crate) fn parse(kind: Kind, body: &[u8], of: &str) -> Result<Self, Refusal> {
        let refuse =
            |error: serde_json::Error| Refusal::bad_request(format!("error decoding patch: {error}"));
        if kind == Kind::Json {
            return Ok(Self::Json(serde_json::from_slice(body).map_err(refuse)?));
        }
        let value: Value = serde_json::from_slice(body).map_err(refuse)?;
        if !value.is_object() {
            return Err(Refusal::bad_request("error decoding patch: the patch is no object"));
        }
        Ok(match kind {
            Kind::Strategic => Self::Strategic(value, wire::wire().named(of)),
            _ => Self::Merge(value),
        })
    }

    /// The object that the patch makes out of this one.
    ///
    /// # Errors
    /// 422 where it does not fit.
    pub(crate) fn apply(&self, object: &Value) -> Result<Value, Refusal> {
        let mut patched = object.clone();
        match self {
            Self::Json(operations) => json::apply(&mut patched, operations)?,
            Self::Merge(patch) => merge(&mut patched, patch),
            Self::Strategic(patch, of) => strategic::apply(&mut patched, patch, of)?,
        }
        Ok(patched)
    }
}

/// RFC 7386: null removes, objects merge, everything else replaces.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.shift_remove(key);
        } else {
            merge(map.entry(key.as_str()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(kind: Kind, object: Value, patch: Value) -> Value {
        let patch = Patch::parse(kind, patch.to_string().as_bytes(), "Deployment").unwrap();
        patch.apply(&object).unwrap_or(Value::Null)
    }

    #[test]
    fn a_merge_patch_removes_what_is_null_and_replaces_lists() {
        assert_eq!(
            patched(
                Kind::Merge,
                json!({"a": 1, "b": {"c": 2, "d": 3}, "l": [1, 2]}),
                json!({"a": null, "b": {"c": null, "e": {"x": null, "y": 1}}, "l": [3]})
            ),
            json!({"b": {"d": 3, "e": {"y": 1}}, "l": [3]})
        );
    }

    #[test]
    fn a_json_patch_is_all_or_nothing() {
        let object = json!({"a": [1, 2], "b": {"x/y": 1}});
        assert_eq!(
            patched(
                Kind::Json,
                object.clone(),
                json!([
                    {"op": "add", "path": "/a/-", "value": 3},
                    {"op": "remove", "path": "/b/x~1y"},
                    {"op": "move", "from": "/a/0", "path": "/c"},
                    {"op": "test", "path": "/c", "value": 1},
                ])
            ),
            json!({"a": [2, 3], "b": {}, "c": 1})
        );
        assert_eq!(patched(Kind::Json, object, json!([{"op": "remove", "path": "/nope"}])), Value::Null);
    }

    #[test]
    fn a_strategic_patch_merges_lists_by_their_key() {
        let object = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]},
            {"name": "b", "image": "2"},
        ]}}}});
        let patch = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "env": [{"name": "Y", "value": "2"}]},
            {"name": "b", "$patch": "delete"},
            {"name": "c", "image": "3"},
        ]}}}});
        assert_eq!(
            patched(Kind::Strategic, object, patch)["spec"]["template"]["spec"]["containers"],
            json!([
                {"name": "a", "image": "1",
                 "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
                {"name": "c", "image": "3"},
            ])
        );
    }
}
