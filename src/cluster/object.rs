//! What a live object's metadata says: whose it is, who manages what, and whether our part of it is still whole.

use serde_json::Value;

use crate::hash::Hasher;
use crate::plan::{FIELD_MANAGER, PART_OF};

/// Annotation by which somebody hands an object over to us.
pub const ADOPT: &str = "branchline.dev/adopt";

/// The object's UID; empty where it has none.
#[must_use]
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// The object's resourceVersion.
#[must_use]
pub fn resource_version(object: &Value) -> &str {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default()
}

/// A label of the object.
#[must_use]
pub fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["labels"][name].as_str()
}

/// What our field manager applied: its `FieldsV1` tree, where there is one.
#[must_use]
pub fn applied_fields(object: &Value) -> Option<&Value> {
    entries(object)
        .find(|entry| {
            entry["manager"] == FIELD_MANAGER
                && entry["operation"] == "Apply"
                && entry["subresource"].as_str().unwrap_or_default().is_empty()
        })
        .map(|entry| &entry["fieldsV1"])
}

fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten()
}

/// Every other field manager of the object, sorted, each once.
#[must_use]
pub fn other_managers(object: &Value) -> Vec<String> {
    let mut managers: Vec<String> = entries(object)
        .filter_map(|entry| entry["manager"].as_str())
        .filter(|manager| *manager != FIELD_MANAGER)
        .map(str::to_owned)
        .collect();
    managers.sort();
    managers.dedup();
    managers
}

/// Who wrote last, other than we and apart from status: whom a drift is put down to.
#[must_use]
pub fn last_actor(object: &Value) -> Option<String> {
    entries(object)
        .filter(|entry| entry["manager"] != FIELD_MANAGER && entry["subresource"] != "status")
        .max_by_key(|entry| entry["time"].as_str().unwrap_or_default())
        .and_then(|entry| entry["manager"].as_str().map(str::to_owned))
}

/// Whether the manager declares fields of this object (server-side apply), rather than having changed them once.
#[must_use]
pub fn declares(object: &Value, manager: &str) -> bool {
    entries(object).any(|entry| entry["manager"] == manager && entry["operation"] == "Apply")
}

/// Whether our field manager owns a label of the object.
#[must_use]
pub fn owns_label(object: &Value, name: &str) -> bool {
    let label = format!("f:{name}");
    applied_fields(object).is_some_and(|fields| fields["f:metadata"]["f:labels"].get(&label).is_some())
}

/// Whether a controller made the object and looks after it.
#[must_use]
pub fn is_controlled(object: &Value) -> bool {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().any(|owner| owner["controller"] == true)
}

/// Whether the object is a member of the `ApplySet`: it carries the label, our field manager put it there, and no
/// controller owns the object. A copied label makes nothing ours.
#[must_use]
pub fn is_member(object: &Value, set: &str) -> bool {
    label(object, PART_OF) == Some(set) && owns_label(object, PART_OF) && !is_controlled(object)
}

/// Whether its owner hands the object over to us.
#[must_use]
pub fn is_handed_over(object: &Value) -> bool {
    object["metadata"]["annotations"][ADOPT].as_str() == Some("true")
}

/// Fingerprint of what our field manager owns, but for the paths on which we yield.
///
/// Whenever another manager changes one of our fields, or takes it by force, our entry shrinks: another
/// fingerprint is drift, and the same one is none, whatever others did to their own fields.
#[must_use]
pub fn owned_hash(object: &Value, yields: &[String]) -> String {
    let Some(fields) = applied_fields(object) else { return String::new() };
    let mut fields = fields.clone();
    for path in yields {
        remove(&mut fields, path.split('.').skip(1).map(|step| format!("f:{step}")).collect());
    }
    Hasher::new("owned").json(&fields).finish().short()[..16].to_owned()
}

/// Takes a path such as `.spec.replicas` out of an object.
pub(super) fn remove_field(object: &mut Value, path: &str) {
    remove(object, path.split('.').skip(1).map(str::to_owned).collect());
}

fn remove(from: &mut Value, mut steps: Vec<String>) {
    let Some(last) = steps.pop() else { return };
    let mut at = from;
    for step in steps {
        let Some(next) = at.get_mut(&step) else { return };
        at = next;
    }
    if let Value::Object(map) = at {
        map.shift_remove(&last);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(manager: &str, label: &str, controlled: bool) -> Value {
        json!({"metadata": {
            "labels": {PART_OF: label},
            "ownerReferences": [{"controller": controlled}],
            "managedFields": [{"manager": manager, "operation": "Apply", "fieldsV1":
                {"f:metadata": {"f:labels": {format!("f:{PART_OF}"): {}}}, "f:spec": {"f:replicas": {}, "f:x": {}}}}],
        }})
    }

    #[test]
    fn a_copied_label_makes_nothing_ours() {
        assert!(is_member(&object(FIELD_MANAGER, "set", false), "set"));
        assert!(!is_member(&object("kubectl", "set", false), "set"));
        assert!(!is_member(&object(FIELD_MANAGER, "other", false), "set"));
        assert!(!is_member(&object(FIELD_MANAGER, "set", true), "set"));
    }

    #[test]
    fn only_the_loss_of_a_field_that_we_hold_changes_the_fingerprint() {
        let yields = [".spec.replicas".to_owned()];
        let whole = object(FIELD_MANAGER, "set", false);
        let mut others = whole.clone();
        others["metadata"]["managedFields"]
            .as_array_mut()
            .expect("a list")
            .push(json!({"manager": "kubectl"}));
        assert_eq!(owned_hash(&whole, &[]), owned_hash(&others, &[]));
        let mut scaled = whole.clone();
        remove_field(&mut scaled["metadata"]["managedFields"][0]["fieldsV1"], ".f:spec.f:replicas");
        assert_ne!(owned_hash(&whole, &[]), owned_hash(&scaled, &[]));
        assert_eq!(owned_hash(&whole, &yields), owned_hash(&scaled, &yields));
    }
}
