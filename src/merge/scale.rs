//! Who owns the replicas after a write of the `scale` subresource.
//!
//! The server hands a Scale the owners of `.spec.replicas`, settles them there and hands them back. That leaves marks
//! which a plain update would not: a Scale leaves zero replicas out, so that scaling to zero takes the field from its
//! owners and gives it to nobody; an updater is not recognised when it comes back, because the Scale's version is
//! part of its identity, and gets a second entry without a time; and where nobody owned the field, nobody will.

use serde_json::Value;

use super::fieldset::FieldSet;
use super::managed::{Entry, Managed, Operation};
use super::path::Path;
use super::update::Update;

const SCALE_VERSION: &str = "autoscaling/v1";

/// Returns the live object with other replicas and the `managedFields` that a PUT or patch of its scale leaves behind.
#[must_use]
pub fn scale(live: &Value, replicas: i64, options: &Update<'_>) -> Value {
    let mut object = live.clone();
    object["spec"]["replicas"] = replicas.into();
    let before = live.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
    let parent = Managed::of(live).unwrap_or_default();
    let path = Path::of(&["spec", "replicas"]);
    let field = FieldSet::of([path.clone()]);
    let lent = |entry: &Entry| Entry {
        api_version: SCALE_VERSION.to_owned(),
        fields: field.clone(),
        ..entry.clone()
    };
    let owners = parent.0.iter().filter(|entry| entry.fields.contains(&path)).map(lent).collect();
    let mut scaled = settled(Managed(owners), before, replicas, &field, options);

    let mut managed = Managed::default();
    for mut entry in parent.0 {
        if entry.fields.contains(&path) && scaled.take(&entry).is_none() {
            entry.fields = entry.fields.difference(&field);
        }
        managed.0.push(entry);
    }
    let api_version = live.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    for entry in scaled.0 {
        managed.0.push(Entry {
            api_version: api_version.to_owned(),
            time: None,
            fields: field.clone(),
            ..entry
        });
    }
    managed.drop_empty();
    managed.write(&mut object);
    object
}

/// Who owns the replicas of the Scale after the write.
fn settled(mut owners: Managed, before: i64, after: i64, field: &FieldSet, options: &Update<'_>) -> Managed {
    if owners.0.is_empty() || before == after {
        return owners;
    }
    owners.0.clear();
    if after != 0 {
        owners.0.push(Entry {
            manager: options.manager.to_owned(),
            operation: Operation::Update,
            api_version: SCALE_VERSION.to_owned(),
            subresource: "scale".to_owned(),
            time: None,
            fields: field.clone(),
        });
    }
    owners
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scaled(replicas: i64) -> Value {
        let entry = |manager: &str, operation: &str| {
            json!({
                "manager": manager, "operation": operation, "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:paused": {}, "f:replicas": {}}}
            })
        };
        let live = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "api", "managedFields": [entry("branchline", "Apply"), entry("kubectl", "Update")]},
            "spec": {"replicas": 1}
        });
        scale(&live, replicas, &Update { manager: "hpa", subresource: "scale", now: "2026-01-02T00:00:00Z" })
    }

    fn owners(object: &Value) -> Vec<String> {
        let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
        let line = |entry: &Value| {
            format!("{} {} {}", entry["manager"], entry["subresource"], entry["fieldsV1"]["f:spec"])
        };
        entries.map(line).collect()
    }

    #[test]
    fn whoever_scales_owns_the_replicas() {
        assert_eq!(
            owners(&scaled(2)),
            [
                r#""branchline" null {"f:paused":{}}"#,
                r#""hpa" "scale" {"f:replicas":{}}"#,
                r#""kubectl" null {"f:paused":{}}"#,
            ]
        );
    }

    #[test]
    fn nobody_owns_zero_replicas() {
        assert_eq!(
            owners(&scaled(0)),
            [r#""branchline" null {"f:paused":{}}"#, r#""kubectl" null {"f:paused":{}}"#]
        );
    }

    #[test]
    fn scaling_to_the_same_number_splits_an_updaters_entry() {
        assert_eq!(
            owners(&scaled(1)),
            [
                r#""branchline" null {"f:paused":{},"f:replicas":{}}"#,
                r#""kubectl" null {"f:replicas":{}}"#,
                r#""kubectl" null {"f:paused":{}}"#,
            ]
        );
    }
}
