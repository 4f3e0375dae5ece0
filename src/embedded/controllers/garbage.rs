//! Objects whose owners are gone are deleted; owners that wait for their dependents are let go.
//!
//! The graph of owners and dependents is held in memory from metadata watches on every kind. Before anything is
//! deleted, an owner that the graph does not know is asked for by name: absence must be proven. The three
//! propagation policies are those of
//! <https://kubernetes.io/docs/concepts/architecture/garbage-collection/#cascading-deletion>.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use serde_json::{Value, json};

use super::catalog::{Catalog, Served};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// An object in the graph.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    served: Served,
    meta: ObjectMeta,
}

impl Node {
    fn owners(&self) -> &[OwnerReference] {
        self.meta.owner_references.as_deref().unwrap_or_default()
    }

    fn is_leaving(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    fn waits_for(&self, finalizer: &str) -> bool {
        self.is_leaving() && self.meta.finalizers.iter().flatten().any(|held| held == finalizer)
    }
}

/// Who owns whom.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<String, Node>,
    dependents: BTreeMap<String, BTreeSet<String>>,
}

/// What becomes of an object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It stays as it is.
    Stay,
    /// Its owners are gone: it goes too.
    Delete(PropagationPolicy),
    /// Some owners are gone, others hold it: these references are dropped.
    Release(BTreeSet<String>),
    /// It waited for its dependents and may go.
    Finish(&'static str),
}

impl Graph {
    /// Takes in an object, and names the objects to look at.
    pub(crate) fn put(&self, served: &Served, meta: ObjectMeta) -> BTreeSet<String> {
        let Some(uid) = meta.uid.clone() else { return BTreeSet::new() };
        let mut state = self.lock();
        let node = Node { served: served.clone(), meta };
        let mut due: BTreeSet<String> = BTreeSet::from([uid.clone()]);
        for owner in node.owners() {
            state.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            due.insert(owner.uid.clone());
        }
        if node.is_leaving() {
            due.extend(state.dependents.get(&uid).into_iter().flatten().cloned());
        }
        if let Some(old) = state.nodes.insert(uid.clone(), node) {
            let kept: BTreeSet<_> =
                state.nodes[&uid].owners().iter().map(|owner| owner.uid.clone()).collect();
            for owner in old.owners().iter().filter(|owner| !kept.contains(&owner.uid)) {
                state.drop_edge(&owner.uid, &uid);
                due.insert(owner.uid.clone());
            }
        }
        due
    }

    /// Takes in that an object is gone, and names the objects to look at.
    pub(crate) fn remove(&self, uid: &str) -> BTreeSet<String> {
        let mut state = self.lock();
        let mut due: BTreeSet<String> = state.dependents.get(uid).cloned().unwrap_or_default();
        if let Some(node) = state.nodes.remove(uid) {
            for owner in node.owners() {
                state.drop_edge(&owner.uid, uid);
                due.insert(owner.uid.clone());
            }
        }
        due
    }

    /// The UIDs of all known objects of a kind, to find those that a new listing lacks.
    pub(crate) fn of_kind(&self, served: &Served) -> BTreeSet<String> {
        let state = self.lock();
        let same = |node: &Node| node.served.resource == served.resource;
        state.nodes.iter().filter(|(_, node)| same(node)).map(|(uid, _)| uid.clone()).collect()
    }

    fn node(&self, uid: &str) -> Option<Node> {
        self.lock().nodes.get(uid).cloned()
    }

    /// The owners of an object that the graph does not know.
    fn unknown_owners(&self, uid: &str) -> Vec<OwnerReference> {
        let state = self.lock();
        let owners = state.nodes.get(uid).map(|node| node.owners().to_vec()).unwrap_or_default();
        owners.into_iter().filter(|owner| !state.nodes.contains_key(&owner.uid)).collect()
    }

    /// Judges an object; `absent` are those of its owners that were proven not to exist.
    fn judge(&self, uid: &str, absent: &BTreeSet<String>) -> Verdict {
        let state = self.lock();
        let Some(node) = state.nodes.get(uid) else { return Verdict::Stay };
        let dependents: Vec<_> =
            state.dependents.get(uid).into_iter().flatten().filter_map(|uid| state.nodes.get(uid)).collect();
        let blocks = |dependent: &&Node| {
            dependent
                .owners()
                .iter()
                .any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
        };
        if node.waits_for(ORPHAN) && dependents.is_empty() {
            return Verdict::Finish(ORPHAN);
        }
        if node.waits_for(FOREGROUND) && !dependents.iter().any(blocks) {
            return Verdict::Finish(FOREGROUND);
        }
        let orphaned = node
            .owners()
            .iter()
            .find(|owner| state.nodes.get(&owner.uid).is_some_and(|owner| owner.waits_for(ORPHAN)));
        if let Some(owner) = orphaned {
            return Verdict::Release(BTreeSet::from([owner.uid.clone()]));
        }
        if node.is_leaving() || node.owners().is_empty() {
            return Verdict::Stay;
        }
        let waiting: BTreeSet<_> = node
            .owners()
            .iter()
            .filter(|owner| state.nodes.get(&owner.uid).is_some_and(|owner| owner.waits_for(FOREGROUND)))
            .map(|owner| owner.uid.clone())
            .collect();
        let lost: BTreeSet<_> = absent.union(&waiting).cloned().collect();
        if node.owners().iter().any(|owner| !lost.contains(&owner.uid)) {
            return if lost.is_empty() { Verdict::Stay } else { Verdict::Release(lost) };
        }
        if waiting.is_empty() || dependents.is_empty() {
            Verdict::Delete(PropagationPolicy::Background)
        } else {
            Verdict::Delete(PropagationPolicy::Foreground)
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn drop_edge(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }
}

/// Looks at one object and does what its owners' state asks for; names the objects to look at after that.
pub(crate) async fn collect(
    client: &Client,
    catalog: &Catalog,
    graph: &Graph,
    uid: &str,
    manager: &str,
) -> Result<BTreeSet<String>, kube::Error> {
    let Some(node) = graph.node(uid) else { return Ok(BTreeSet::new()) };
    let mut absent = BTreeSet::new();
    for owner in graph.unknown_owners(uid) {
        if is_absent(client, catalog, &node, &owner).await? {
            absent.insert(owner.uid);
        }
    }
    let verdict = graph.judge(uid, &absent);
    if verdict == Verdict::Finish(ORPHAN) || verdict == Verdict::Finish(FOREGROUND) {
        tracing::debug!(kind = node.served.resource.kind, name = node.meta.name, "An owner is let go.");
    }
    perform(client, graph, node, verdict, manager).await
}

/// Whether an owner that the graph does not know truly does not exist.
async fn is_absent(
    client: &Client,
    catalog: &Catalog,
    node: &Node,
    owner: &OwnerReference,
) -> Result<bool, kube::Error> {
    // an owner of a kind that is not served cannot be asked for: nothing is proven
    let Some(served) = catalog.find(&owner.api_version, &owner.kind) else { return Ok(false) };
    let namespace = node.meta.namespace.as_deref().unwrap_or_default();
    let found = served.api(client.clone(), namespace).get_metadata_opt(&owner.name).await?;
    Ok(found.is_none_or(|found| found.metadata.uid.as_deref() != Some(&owner.uid)))
}

async fn perform(
    client: &Client,
    graph: &Graph,
    node: Node,
    verdict: Verdict,
    manager: &str,
) -> Result<BTreeSet<String>, kube::Error> {
    let name = node.meta.name.as_deref().unwrap_or_default();
    let api = node.served.api(client.clone(), node.meta.namespace.as_deref().unwrap_or_default());
    let answer = match verdict {
        Verdict::Stay => return Ok(BTreeSet::new()),
        Verdict::Delete(policy) => {
            let preconditions = Preconditions { uid: node.meta.uid.clone(), resource_version: None };
            let params = DeleteParams {
                propagation_policy: Some(policy),
                preconditions: Some(preconditions),
                ..DeleteParams::default()
            };
            api.delete(name, &params).await.map(drop)
        }
        Verdict::Release(lost) => {
            let kept: Vec<_> = node.owners().iter().filter(|owner| !lost.contains(&owner.uid)).collect();
            patch(&api, &node.meta, json!({"ownerReferences": kept}), manager).await
        }
        Verdict::Finish(finalizer) => {
            let kept: Vec<_> =
                node.meta.finalizers.iter().flatten().filter(|held| *held != finalizer).collect();
            patch(&api, &node.meta, json!({"finalizers": kept}), manager).await
        }
    };
    match answer {
        // its deletion will be seen too, but by then the graph no longer knows whom it concerns
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Ok(graph.remove(node.meta.uid.as_deref().unwrap_or_default()))
        }
        answer => answer.map(|()| BTreeSet::new()),
    }
}

async fn patch(
    api: &kube::Api<kube::api::DynamicObject>,
    meta: &ObjectMeta,
    mut changes: Value,
    manager: &str,
) -> Result<(), kube::Error> {
    changes["uid"] = json!(meta.uid);
    changes["resourceVersion"] = json!(meta.resource_version);
    let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
    let body = json!({"metadata": changes});
    api.patch_metadata(meta.name.as_deref().unwrap_or_default(), &params, &Patch::Merge(&body))
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use kube::api::ApiResource;

    use super::*;

    fn served() -> Served {
        Served {
            resource: ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&()),
            namespaced: true,
        }
    }

    fn meta(uid: &str, owners: &[&str], finalizers: &[&str]) -> ObjectMeta {
        let owner = |uid: &&str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": uid, "uid": uid, "blockOwnerDeletion": true});
        let mut value =
            json!({"name": uid, "uid": uid, "ownerReferences": owners.iter().map(owner).collect::<Vec<_>>()});
        if !finalizers.is_empty() {
            value["finalizers"] = json!(finalizers);
            value["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(value).unwrap()
    }

    fn graph(nodes: &[ObjectMeta]) -> Graph {
        let graph = Graph::default();
        for node in nodes {
            graph.put(&served(), node.clone());
        }
        graph
    }

    fn set(uids: &[&str]) -> BTreeSet<String> {
        uids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_object_goes_when_its_last_owner_is_proven_gone() {
        let graph = graph(&[meta("child", &["a", "b"], &[]), meta("b", &[], &[])]);
        assert_eq!(graph.judge("child", &set(&[])), Verdict::Stay, "a may exist");
        assert_eq!(graph.judge("child", &set(&["a"])), Verdict::Release(set(&["a"])));
        assert_eq!(graph.remove("b"), set(&["child"]));
        assert_eq!(graph.judge("child", &set(&["a", "b"])), Verdict::Delete(PropagationPolicy::Background));
    }

    #[test]
    fn in_the_foreground_the_owner_waits_for_its_dependents() {
        let graph = graph(&[meta("owner", &[], &[FOREGROUND]), meta("child", &["owner"], &[])]);
        assert_eq!(graph.judge("owner", &set(&[])), Verdict::Stay);
        assert_eq!(graph.judge("child", &set(&[])), Verdict::Delete(PropagationPolicy::Background));
        assert_eq!(graph.remove("child"), set(&["owner"]));
        assert_eq!(graph.judge("owner", &set(&[])), Verdict::Finish(FOREGROUND));
    }

    #[test]
    fn orphans_are_released_before_their_owner_goes() {
        let graph = graph(&[meta("owner", &[], &[ORPHAN]), meta("child", &["owner"], &[])]);
        assert_eq!(graph.judge("owner", &set(&[])), Verdict::Stay);
        assert_eq!(graph.judge("child", &set(&[])), Verdict::Release(set(&["owner"])));
        assert_eq!(graph.put(&served(), meta("child", &[], &[])), set(&["child", "owner"]));
        assert_eq!(graph.judge("owner", &set(&[])), Verdict::Finish(ORPHAN));
    }
}
