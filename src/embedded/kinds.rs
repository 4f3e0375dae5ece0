//! The kinds that the embedded API serves: one row each, everything that routing and discovery need.
//!
//! Knows no object; what an object of a kind means stands in `defaults`, `validation` and `strategy`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// One served resource.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    reason = "a row of a table: independent facts, named as Kubernetes names them"
)]
pub(crate) struct Kind {
    /// Place in [`KINDS`]; storage is indexed by it.
    pub(crate) index: usize,
    /// `""` for core.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    /// `v1` or `apps/v1`.
    pub(crate) api_version: &'static str,
    /// Plural in lower case, as in URLs.
    pub(crate) resource: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) list_kind: &'static str,
    pub(crate) short: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) namespaced: bool,
    /// Has a `status` subresource.
    pub(crate) status: bool,
    /// Has a `scale` subresource.
    pub(crate) scale: bool,
    /// `metadata.generation` counts changes of its spec.
    pub(crate) generation: bool,
    /// A PUT to a name that does not exist creates it.
    pub(crate) create_on_update: bool,
    /// An update must name the `resourceVersion` that it read.
    pub(crate) versioned_update: bool,
    /// DELETE answers with the object, not with a Status.
    pub(crate) returns_deleted: bool,
    /// The hash that discovery prints for the stored version.
    pub(crate) storage_hash: &'static str,
}

impl Kind {
    /// `configmaps` or `deployments.apps`, as in `NotFound` and Conflict messages.
    pub(crate) fn qualified_resource(&self) -> String {
        qualified(self.resource, self.group)
    }

    /// `ConfigMap` or `Deployment.apps`, as in Invalid messages.
    pub(crate) fn qualified_kind(&self) -> String {
        qualified(self.kind, self.group)
    }

    /// The verbs of the main resource, sorted.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        const ALL: &[&str] =
            &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
        const NAMESPACE: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
        if self.resource == "namespaces" { NAMESPACE } else { ALL }
    }
}

fn qualified(noun: &str, group: &str) -> String {
    if group.is_empty() { noun.to_owned() } else { format!("{noun}.{group}") }
}

struct Row {
    api: &'static str,
    resource: &'static str,
    singular: &'static str,
    kind: &'static str,
    list_kind: &'static str,
    short: &'static [&'static str],
    all: bool,
    flags: &'static str,
    hash: &'static str,
}

/// Flags: c cluster-scoped, s status, S scale, g generation, p created by PUT, u an update must name the
/// resourceVersion, d deletion answers with the object.
const fn row(
    api: &'static str,
    names: [&'static str; 4],
    short: &'static [&'static str],
    all: bool,
    flags: &'static str,
    hash: &'static str,
) -> Row {
    let [resource, singular, kind, list_kind] = names;
    Row { api, resource, singular, kind, list_kind, short, all, flags, hash }
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("v1", ["configmaps", "configmap", "ConfigMap", "ConfigMapList"], &["cm"], false, "", "qFsyl6wFWjQ="),
    row("v1", ["endpoints", "endpoints", "Endpoints", "EndpointsList"], &["ep"], false, "p", "fWeeMqaN/OA="),
    row("v1", ["events", "event", "Event", "EventList"], &["ev"], false, "p", "r2yiGXH7wu8="),
    row("v1", ["limitranges", "limitrange", "LimitRange", "LimitRangeList"], &["limits"], false, "p", "EBKMFVe6cwo="),
    row("v1", ["namespaces", "namespace", "Namespace", "NamespaceList"], &["ns"], false, "csd", "Q3oi5N2YM8M="),
    row("v1", ["nodes", "node", "Node", "NodeList"], &["no"], false, "cs", "XwShjMxG9Fs="),
    row("v1", ["persistentvolumeclaims", "persistentvolumeclaim", "PersistentVolumeClaim", "PersistentVolumeClaimList"], &["pvc"], false, "sd", "QWTyNDq0dC4="),
    row("v1", ["pods", "pod", "Pod", "PodList"], &["po"], true, "sdg", "xPOwRZ+Yhw8="),
    row("v1", ["resourcequotas", "resourcequota", "ResourceQuota", "ResourceQuotaList"], &["quota"], false, "sd", "8uhSgffRX6w="),
    row("v1", ["secrets", "secret", "Secret", "SecretList"], &[], false, "", "S6u1pOWzb84="),
    row("v1", ["serviceaccounts", "serviceaccount", "ServiceAccount", "ServiceAccountList"], &["sa"], false, "d", "pbx9ZvyFpBE="),
    row("v1", ["services", "service", "Service", "ServiceList"], &["svc"], true, "sdp", "0/CO1lhkEBI="),
    row("apps/v1", ["deployments", "deployment", "Deployment", "DeploymentList"], &["deploy"], true, "sSg", "8aSe+NMegvE="),
    row("apps/v1", ["replicasets", "replicaset", "ReplicaSet", "ReplicaSetList"], &["rs"], true, "sSg", "P1RzHs8/mWQ="),
    row("autoscaling/v2", ["horizontalpodautoscalers", "horizontalpodautoscaler", "HorizontalPodAutoscaler", "HorizontalPodAutoscalerList"], &["hpa"], true, "s", "qwQve8ut294="),
    row("batch/v1", ["cronjobs", "cronjob", "CronJob", "CronJobList"], &["cj"], true, "sg", "sd5LIXh4Fjs="),
    row("batch/v1", ["jobs", "job", "Job", "JobList"], &[], true, "sg", "mudhfqk/qZY="),
    row("coordination.k8s.io/v1", ["leases", "lease", "Lease", "LeaseList"], &[], false, "pu", "gqkMMb/YqFM="),
    row("discovery.k8s.io/v1", ["endpointslices", "endpointslice", "EndpointSlice", "EndpointSliceList"], &[], false, "g", "qgS0xkrxYAI="),
    row("networking.k8s.io/v1", ["ingresses", "ingress", "Ingress", "IngressList"], &["ing"], false, "sg", "39NQlfNR+bo="),
    row("networking.k8s.io/v1", ["networkpolicies", "networkpolicy", "NetworkPolicy", "NetworkPolicyList"], &["netpol"], false, "g", "YpfwF18m1G8="),
    row("policy/v1", ["poddisruptionbudgets", "poddisruptionbudget", "PodDisruptionBudget", "PodDisruptionBudgetList"], &["pdb"], false, "sgu", "EVWiDmWqyJw="),
    row("rbac.authorization.k8s.io/v1", ["rolebindings", "rolebinding", "RoleBinding", "RoleBindingList"], &[], false, "p", "eGsCzGH6b1g="),
    row("rbac.authorization.k8s.io/v1", ["roles", "role", "Role", "RoleList"], &[], false, "p", "7FuwZcIIItM="),
];

/// All served kinds, by group and resource.
pub(crate) static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let served = ROWS.iter().enumerate().map(|(index, row)| {
        let (group, version) = row.api.split_once('/').unwrap_or(("", row.api));
        let has = |flag| row.flags.contains(flag);
        Kind {
            index,
            group,
            version,
            api_version: row.api,
            resource: row.resource,
            singular: row.singular,
            kind: row.kind,
            list_kind: row.list_kind,
            short: row.short,
            categories: if row.all { &["all"] } else { &[] },
            namespaced: !has('c'),
            status: has('s'),
            scale: has('S'),
            generation: has('g'),
            create_on_update: has('p'),
            versioned_update: has('u'),
            returns_deleted: has('d'),
            storage_hash: row.hash,
        }
    });
    served.collect()
});

static BY_RESOURCE: LazyLock<HashMap<(&'static str, &'static str), &'static Kind>> =
    LazyLock::new(|| KINDS.iter().map(|kind| ((kind.api_version, kind.resource), kind)).collect());

/// Finds a kind by API version and plural resource name.
pub(crate) fn by_resource(api_version: &str, resource: &str) -> Option<&'static Kind> {
    BY_RESOURCE.get(&(api_version, resource)).copied()
}

/// Finds a kind by its name; served kinds have distinct names.
///
/// # Panics
/// When the name is none of ours: callers pass literals.
pub(crate) fn named(kind: &str) -> &'static Kind {
    KINDS.iter().find(|known| known.kind == kind).expect("a literal of the table above")
}
