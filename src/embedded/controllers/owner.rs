//! Who controls whom: owner references and label selectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource;
use serde_json::json;

use super::super::cache::Kind;
use super::change::{Change, Part};

/// The labels of an object.
pub(crate) type Labels = BTreeMap<String, String>;

/// The reference by which `owner` controls what it makes.
pub(crate) fn reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The reference to the one that controls the object.
pub(crate) fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// Whether the object with that UID controls this one.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, owner: &ObjectMeta) -> bool {
    owner.uid.is_some() && controller(meta).map(|owner| &owner.uid) == owner.uid.as_ref()
}

/// Whether the labels satisfy the selector. An empty selector of a workload selects nothing.
pub(crate) fn selects(selector: &LabelSelector, labels: Option<&Labels>) -> bool {
    let none = Labels::new();
    let labels = labels.unwrap_or(&none);
    let exact = selector.match_labels.iter().flatten();
    let rules = selector.match_expressions.as_deref().unwrap_or_default();
    if selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty) && rules.is_empty() {
        return false;
    }
    exact.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && rules.iter().all(|rule| {
            let listed = |value: &String| rule.values.as_deref().unwrap_or_default().contains(value);
            match rule.operator.as_str() {
                "In" => labels.get(&rule.key).is_some_and(listed),
                "NotIn" => !labels.get(&rule.key).is_some_and(listed),
                "Exists" => labels.contains_key(&rule.key),
                "DoesNotExist" => !labels.contains_key(&rule.key),
                _ => false,
            }
        })
}

/// What `owner` controls among `candidates`, and the adoptions that bring in those that nobody controls.
pub(crate) fn claim<O, K>(
    owner: &O,
    selector: &LabelSelector,
    candidates: Vec<Arc<K>>,
) -> (Vec<Arc<K>>, Vec<Change<K>>)
where
    O: Resource<DynamicType = ()>,
    K: Kind,
{
    let (mut claimed, mut adoptions) = (Vec::new(), Vec::new());
    for candidate in candidates {
        let meta = candidate.meta();
        if is_controlled_by(meta, owner.meta()) {
            claimed.push(candidate);
        } else if controller(meta).is_none()
            && meta.deletion_timestamp.is_none()
            && owner.meta().deletion_timestamp.is_none()
            && selects(selector, meta.labels.as_ref())
        {
            let mut owners = meta.owner_references.clone().unwrap_or_default();
            owners.push(reference(owner));
            let body = json!({"metadata": {"ownerReferences": owners}});
            adoptions.push(Change::merge(&*candidate, Part::Object, body));
        }
    }
    (claimed, adoptions)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;

    #[test]
    fn a_selector_asks_for_all_of_its_rules() {
        let rule = |operator: &str, values: &[&str]| LabelSelector {
            match_labels: Some([("app".to_owned(), "web".to_owned())].into()),
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "tier".to_owned(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(ToString::to_string).collect()),
            }]),
        };
        let labels: Labels =
            [("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "front".to_owned())].into();
        assert!(selects(&rule("In", &["front", "back"]), Some(&labels)));
        assert!(!selects(&rule("NotIn", &["front"]), Some(&labels)));
        assert!(selects(&rule("Exists", &[]), Some(&labels)));
        assert!(!selects(&rule("DoesNotExist", &[]), Some(&labels)));
        assert!(!selects(&LabelSelector::default(), Some(&labels)), "nothing is selected by nothing");
    }
}
