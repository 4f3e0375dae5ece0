//! What stands around the set: so that many new objects need not be looked for one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::super::ClusterError;
use super::super::request::METADATA_LIST;
use super::{ApplySet, is_namespaced};
use crate::plan::{Action, Plan};
use crate::render::manifest::ObjectKey;

/// From how many new objects of a kind on one list of it is cheaper than a look at each.
const MANY: usize = 8;
/// How long such a list is believed; what appears meanwhile is noticed, and let go of, when it is applied onto.
const LATELY: Duration = Duration::from_secs(30);

/// What stands in the namespace, whoever made it.
#[derive(Debug)]
pub(super) struct Around {
    at: Timestamp,
    /// The names of every object of these kinds, by API group and kind.
    names: BTreeMap<(String, String), BTreeSet<String>>,
}

impl ApplySet {
    /// Lists the kinds of which a plan makes many objects, by their metadata. For a while an object that no list held
    /// is known not to be there. Each object of a kind that cannot be listed is looked for by itself.
    pub async fn look_around(&self, plan: &Plan) {
        let steps = plan.units.iter().flat_map(|unit| &unit.steps);
        let new = steps.filter(|step| step.action == Action::Create && is_namespaced(&step.key));
        let mut many: BTreeMap<(&str, &str), (&str, usize)> = BTreeMap::new();
        for manifest in new.filter_map(|step| step.manifest.as_ref()) {
            let (group, kind) = (manifest.key().group.as_str(), manifest.kind());
            many.entry((group, kind)).or_insert((manifest.api_version(), 0)).1 += 1;
        }
        many.retain(|_, (_, count)| *count >= MANY);
        let now = self.cluster.clock().now();
        let lists = many.into_iter().map(|((group, kind), (api, _))| async move {
            match self.names(api, kind).await {
                Ok(names) => Some(((group.to_owned(), kind.to_owned()), names)),
                Err(error) => {
                    tracing::debug!(kind, namespace = %self.namespace, error = %error, "A kind could not be listed.");
                    None
                }
            }
        });
        let names = futures::future::join_all(lists).await.into_iter().flatten().collect();
        *self.around() = Some(Around { at: now, names });
    }

    /// The names of all objects of a kind.
    async fn names(&self, api: &str, kind: &str) -> Result<BTreeSet<String>, ClusterError> {
        let path = self.cluster.resource(api, kind).await?.collection(Some(self.namespace.as_str()));
        let found = self.cluster.list(&path, kind, METADATA_LIST).await?;
        let name = |item: &Value| item["metadata"]["name"].as_str().map(str::to_owned);
        Ok(found.iter().filter_map(name).collect())
    }

    /// Whether a list that was read lately says that an object is not there.
    pub(in crate::cluster) fn is_absent(&self, key: &ObjectKey) -> bool {
        let around = self.around();
        let now = self.cluster.clock().now();
        let fresh = around.as_ref().filter(|around| now.duration_since(around.at).unsigned_abs() < LATELY);
        let names = fresh.and_then(|around| around.names.get(&(key.group.clone(), key.kind.clone())));
        names.is_some_and(|names| !names.contains(&key.name))
    }

    fn around(&self) -> std::sync::MutexGuard<'_, Option<Around>> {
        self.around.lock().expect("no holder of this lock panics")
    }
}
