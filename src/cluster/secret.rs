//! The Secret of an environment that holds what is made once and never shown.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::{Cluster, ClusterError};
use crate::name::Namespace;
use crate::plan::{FIELD_MANAGER, GENERATED};

/// The name of the Secret.
pub const NAME: &str = "branchline-generated";
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Sees to it that every key has a value; a value that is there is never changed. Costs no request without keys.
///
/// # Errors
/// When the Secret cannot be read or written.
///
/// # Panics
/// When the machine gives no random bytes.
pub async fn ensure_generated(
    cluster: &Cluster,
    namespace: &Namespace,
    keys: &BTreeMap<String, u32>,
) -> Result<(), ClusterError> {
    if keys.is_empty() {
        return Ok(());
    }
    let what = format!("Secret/{namespace}/{NAME}");
    let failed =
        |error: kube::Error| ClusterError::Unreachable { what: what.clone(), source: Box::new(error) };
    let api: Api<Secret> = Api::namespaced(cluster.client().clone(), namespace.as_str());
    let there = api.get_opt(NAME).await.map_err(failed)?;
    let data = there.as_ref().and_then(|secret| secret.data.clone()).unwrap_or_default();
    let missing: BTreeMap<_, _> = keys
        .iter()
        .filter(|(key, _)| !data.contains_key(*key))
        .map(|(key, length)| (key.clone(), STANDARD.encode(random(*length))))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let failed =
        |error: kube::Error| ClusterError::Unreachable { what: what.clone(), source: Box::new(error) };
    if there.is_some() {
        let patch = json!({"data": missing});
        api.patch(
            NAME,
            &PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() },
            &Patch::Merge(patch),
        )
        .await
        .map_err(failed)?;
    } else {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": missing,
            "metadata": {"name": NAME, "annotations": {GENERATED: "true"}, "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER}},
        });
        let secret = serde_json::from_value(secret).expect("the Secret above is one");
        api.create(
            &PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() },
            &secret,
        )
        .await
        .map_err(failed)?;
    }
    Ok(())
}

/// Letters and digits, each as likely as any other.
fn random(length: u32) -> String {
    let mut text = String::new();
    while text.len() < length as usize {
        let mut bytes = [0u8; 64];
        aws_lc_rs::rand::fill(&mut bytes).expect("the machine gives random bytes");
        // bytes beyond the last whole turn would favour the first letters
        let usable = bytes.iter().filter(|byte| usize::from(**byte) < 256 - 256 % LETTERS.len());
        text.extend(usable.map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])));
    }
    text.truncate(length as usize);
    text
}
