//! Pods made from templates, and the hash that names a template.

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::Value;

/// The label that tells the ReplicaSets of one Deployment apart.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// Letters and digits in which no word can be spelled, as Kubernetes uses in generated names.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A pod of `template`, controlled by `owner`, whose name begins with the owner's.
pub(crate) fn pod(template: &PodTemplateSpec, namespace: &str, owner: OwnerReference) -> Pod {
    let meta = template.metadata.clone().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", owner.name)),
            namespace: Some(namespace.to_owned()),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// A short name for the content of a template.
///
/// `collisions` is counted up by the Deployment when two contents came to the same name. The value differs
/// from what a real controller computes from Go structs; nothing may depend on it but equality.
pub(crate) fn hash(template: &PodTemplateSpec, collisions: Option<i32>) -> String {
    let value = serde_json::to_value(template).expect("a template is plain data");
    let mut state = Fnv(0x811c_9dc5);
    state.value(&value);
    if let Some(collisions) = collisions {
        state.bytes(&collisions.to_le_bytes());
    }
    let digits = state.0.to_string();
    digits.bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// Whether two templates make the same pods; the hash label that the controller adds is left out.
pub(crate) fn equal(left: &PodTemplateSpec, right: &PodTemplateSpec) -> bool {
    bare(left) == bare(right)
}

fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// FNV-1a over a value with its keys in order.
struct Fnv(u32);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| *key);
                self.bytes(b"{");
                for (key, value) in entries {
                    self.bytes(key.as_bytes());
                    self.bytes(b":");
                    self.value(value);
                }
                self.bytes(b"}");
            }
            Value::Array(items) => {
                self.bytes(b"[");
                for item in items {
                    self.value(item);
                }
                self.bytes(b"]");
            }
            plain => {
                self.bytes(plain.to_string().as_bytes());
                self.bytes(b",");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(image: &str, labels: &Value) -> PodTemplateSpec {
        let value =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": image}]}});
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_hash_is_the_content_and_equality_leaves_out_the_hash_itself() {
        let plain = template("folder:1", &json!({"app": "web"}));
        let labelled = template("folder:1", &json!({"app": "web", "pod-template-hash": "x"}));
        assert!(equal(&plain, &labelled));
        assert!(!equal(&plain, &template("folder:2", &json!({"app": "web"}))));
        assert_eq!(hash(&plain, None), hash(&plain.clone(), None));
        assert_ne!(hash(&plain, None), hash(&plain, Some(1)));
        assert_ne!(hash(&plain, None), hash(&template("folder:2", &json!({"app": "web"})), None));
    }
}
