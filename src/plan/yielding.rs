//! Fields that we apply when an object is made and then leave to another manager: the ignore list.

use std::collections::BTreeMap;

use crate::render::manifest::{Manifest, ObjectKey};

/// Paths, per object, on which a conflict yields instead of being healed.
///
/// Built in: the replicas of what a HorizontalPodAutoscaler of the same service scales.
pub(super) fn yields(manifests: &[&Manifest]) -> BTreeMap<ObjectKey, Vec<String>> {
    let mut yields: BTreeMap<ObjectKey, Vec<String>> = BTreeMap::new();
    for scaler in manifests.iter().filter(|manifest| manifest.kind() == "HorizontalPodAutoscaler") {
        let target = &scaler.object()["spec"]["scaleTargetRef"];
        let text = |field: &str| target[field].as_str().unwrap_or_default();
        let key = ObjectKey::new(text("apiVersion"), text("kind"), scaler.namespace(), text("name"));
        yields.entry(key).or_default().push(".spec.replicas".to_owned());
    }
    yields
}
