//! What may stand in an object: the second fence before the cluster, and the one that names the path.
//!
//! Looks at parsed objects, never at text, and at exactly those that are sent. Knows nothing of how they were made
//! but the template's line, which it repeats.

mod network;
mod pod;
mod storage;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde_json::Value;

use super::manifest::{Manifest, ObjectKey};
use super::values::is_label_value;
use crate::name::ImageRef;

/// The largest object that is sent: etcd refuses requests beyond 1.5 MiB, and managed fields come on top.
const LARGEST_OBJECT: usize = 1 << 20;
/// The largest sum of annotations (Kubernetes' `TotalAnnotationSizeLimitB`).
const LARGEST_ANNOTATIONS: usize = 256 << 10;

/// The kinds that a template may make, with the version that is served everywhere we support.
pub const KINDS: &[(&str, &str)] = &[
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "Ingress"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
    ("v1", "ConfigMap"),
    ("v1", "LimitRange"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "ResourceQuota"),
    ("v1", "Service"),
    ("v1", "ServiceAccount"),
];

/// What is allowed to one service in one environment.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The environment's namespace, the only one that objects may stand in.
    pub namespace: String,
    /// Whether the environment's own Namespace object may be among them.
    pub own_namespace: bool,
    /// The API version and kind of everything that may be made; [`KINDS`] unless a caller says otherwise.
    pub kinds: BTreeSet<(String, String)>,
    /// The hosts that belong to the service in this environment.
    pub hosts: BTreeSet<String>,
    /// Where images may come from; everywhere when it was made of no patterns.
    pub registries: Registries,
    /// Whether every container must say its requests and limits.
    pub require_limits: bool,
}

impl Rules {
    /// The rules of an environment's namespace with nothing granted beyond the built-in kinds.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            own_namespace: false,
            kinds: KINDS.iter().map(|(version, kind)| ((*version).to_owned(), (*kind).to_owned())).collect(),
            hosts: BTreeSet::new(),
            registries: Registries::default(),
            require_limits: false,
        }
    }
}

/// A list of patterns such as `111122223333.dkr.ecr.*` or `ghcr.io/acme/**`.
///
/// A pattern is held against the image without tag and digest. One without a `/` is held against the registry's host
/// alone. `*` stays within one step of the path, `**` does not. An image without a host comes from `docker.io`.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    patterns: Vec<String>,
    hosts: GlobSet,
    paths: GlobSet,
}

impl Registries {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The first pattern that is none.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, globset::Error> {
        let (mut hosts, mut paths) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns.iter().map(AsRef::as_ref) {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build()?;
            if pattern.contains('/') { &mut paths } else { &mut hosts }.add(glob);
        }
        Ok(Self {
            patterns: patterns.iter().map(|pattern| pattern.as_ref().to_owned()).collect(),
            hosts: hosts.build()?,
            paths: paths.build()?,
        })
    }

    /// Whether an image may be used.
    #[must_use]
    pub fn allow(&self, image: &str) -> bool {
        if self.patterns.is_empty() {
            return true;
        }
        let Ok(image) = image.parse::<ImageRef>() else { return false };
        let host = image.registry();
        self.hosts.is_match(host) || self.paths.is_match(format!("{host}/{}", image.path()))
    }

    fn shown(&self) -> String {
        self.patterns.join(", ")
    }
}

/// Something that an object may not say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violation {
    /// The object, as `Deployment/shop-staging/api`.
    pub object: String,
    /// The path within the object, as `.spec.template.spec.hostNetwork`; empty for the object itself.
    pub path: String,
    /// The template's file and line, as `templates/web/10-deployment.yaml.hbs:3`.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.path.is_empty() { "" } else { " " };
        let Self { object, path, place, message, hint } = self;
        write!(f, "{place}: {object}:{space}{path} {message}; hint: {hint}")
    }
}

/// Checks the objects of one service against the rules. Gives everything that is wrong with any of them, in their
/// order.
#[must_use]
pub fn check(manifests: &[Manifest], rules: &Rules) -> Vec<Violation> {
    let accounts: BTreeSet<&str> =
        manifests.iter().filter(|m| m.kind() == "ServiceAccount").map(Manifest::name).collect();
    let mut violations = Vec::new();
    let mut seen: BTreeMap<&ObjectKey, &Manifest> = BTreeMap::new();
    for manifest in manifests {
        let mut checker = Checker { manifest, rules, accounts: &accounts, violations: &mut violations };
        checker.object();
        if let Some(first) = seen.insert(manifest.key(), manifest) {
            checker.refuse(
                "",
                format!("is made twice, also by {}", first.place()),
                "an object has one identity whatever version it is written in: give it another name, or make it once",
            );
        }
    }
    violations
}

/// Whether a label's or an annotation's name is one that only we, or the inventory, may set.
pub(super) fn is_reserved(name: &str) -> bool {
    let prefix = name.split_once('/').map_or("", |(prefix, _)| prefix);
    let ours = prefix == "branchline.dev" || prefix.ends_with(".branchline.dev");
    (ours && name != "branchline.dev/prune")
        || prefix == "applyset.kubernetes.io"
        || matches!(
            name,
            "app.kubernetes.io/name"
                | "app.kubernetes.io/instance"
                | "app.kubernetes.io/part-of"
                | "app.kubernetes.io/managed-by"
        )
}

/// Checks one object; the files below hold the rules of its kinds.
struct Checker<'a> {
    manifest: &'a Manifest,
    rules: &'a Rules,
    accounts: &'a BTreeSet<&'a str>,
    violations: &'a mut Vec<Violation>,
}

impl Checker<'_> {
    fn refuse(&mut self, path: &str, message: impl Into<String>, hint: &'static str) {
        self.violations.push(Violation {
            object: self.manifest.key().to_string(),
            path: path.to_owned(),
            place: self.manifest.place(),
            message: message.into(),
            hint,
        });
    }

    /// Refuses what stands at `path`, if anything stands there that counts.
    fn refuse_set(&mut self, parent: &Value, path: &str, field: &str, hint: &'static str) {
        if parent.get(field).is_some_and(counts) {
            self.refuse(&format!("{path}.{field}"), "is not allowed", hint);
        }
    }

    fn object(&mut self) {
        let manifest = self.manifest;
        let object = manifest.object();
        if !self.kind() {
            return;
        }
        self.metadata();
        self.size();
        if object.get("status").is_some() {
            self.refuse(".status", "is not allowed", "the cluster writes it: leave it out");
        }
        let spec = &object["spec"];
        match manifest.kind() {
            "Deployment" | "StatefulSet" | "Job" => self.pod(&spec["template"], ".spec.template"),
            "CronJob" => {
                self.pod(&spec["jobTemplate"]["spec"]["template"], ".spec.jobTemplate.spec.template");
            }
            "Service" => self.service(spec),
            "Ingress" => self.ingress(spec),
            "PersistentVolumeClaim" => self.claim(spec, ".spec"),
            _ => {}
        }
        for (index, claim) in list(&spec["volumeClaimTemplates"]) {
            self.claim(&claim["spec"], &format!(".spec.volumeClaimTemplates[{index}].spec"));
        }
    }

    /// Checks kind and namespace; `false` where the object is not to be looked at any further.
    fn kind(&mut self) -> bool {
        let manifest = self.manifest;
        let (version, kind) = (manifest.api_version(), manifest.kind());
        if (version, kind) == ("v1", "Namespace") {
            return self.namespace_object();
        }
        if kind == "List" || manifest.object().get("items").is_some() {
            self.refuse(
                "",
                "is a list of objects",
                "write each object as a document of its own, split by `---`",
            );
            return false;
        }
        if !self.rules.kinds.contains(&(version.to_owned(), kind.to_owned())) {
            let other =
                self.rules.kinds.iter().find(|(_, known)| known == kind).map(|(version, _)| version.clone());
            match other {
                Some(other) => self.refuse(
                    ".apiVersion",
                    format!("is `{version}`, but {kind} is written as `{other}`"),
                    "change apiVersion",
                ),
                None => self.refuse(
                    ".kind",
                    format!("`{kind}` of `{version}` is not among the kinds that a template may make"),
                    "docs/templates.md lists them; what belongs to the whole cluster is set up by its operator",
                ),
            }
            return false;
        }
        match manifest.namespace() {
            Some(namespace) if namespace == self.rules.namespace => {}
            Some(namespace) => {
                let message =
                    format!("is `{namespace}`, but the environment's is `{}`", self.rules.namespace);
                self.refuse(".metadata.namespace", message, "write `namespace: {{namespace}}`");
            }
            None => self.refuse(".metadata.namespace", "is missing", "write `namespace: {{namespace}}`"),
        }
        true
    }

    fn namespace_object(&mut self) -> bool {
        let own = self.rules.own_namespace && self.manifest.name() == self.rules.namespace;
        if !own {
            self.refuse(
                "",
                "is no object of this environment",
                "the environment's own Namespace is made for you",
            );
        }
        own
    }

    fn metadata(&mut self) {
        let manifest = self.manifest;
        let metadata = &manifest.object()["metadata"];
        let known = ["name", "namespace", "labels", "annotations"];
        for (field, value) in metadata.as_object().into_iter().flatten() {
            if !known.contains(&field.as_str()) && counts(value) {
                self.refuse(
                    &format!(".metadata.{field}"),
                    "is not allowed",
                    "a template sets name, namespace, labels and annotations; the rest is the cluster's",
                );
            }
        }
        if !valid_name(manifest.kind(), manifest.name()) {
            self.refuse(
                ".metadata.name",
                format!("`{}` is no valid name of a {}", manifest.name(), manifest.kind()),
                "make names with {{k8sName part part limit=63}}",
            );
        }
        self.labels(&metadata["labels"]);
        self.annotations(&metadata["annotations"]);
    }

    fn labels(&mut self, labels: &Value) {
        for (name, value) in labels.as_object().into_iter().flatten() {
            let path = || format!(".metadata.labels[{name:?}]");
            if !value.as_str().is_some_and(is_label_value) || !valid_qualified_name(name) {
                self.refuse(
                    &path(),
                    "is no valid label",
                    "a label's value has up to 63 letters, digits, `-`, `_` and `.`, and is quoted where it could be a number",
                );
            }
            if is_reserved(name) && !self.is_ours(name, value) {
                self.refuse(&path(), "is a label that only Branchline sets", "choose another name");
            }
        }
    }

    /// Whether a reserved label is one of those that were put on the object after rendering.
    fn is_ours(&self, name: &str, value: &Value) -> bool {
        match name {
            "app.kubernetes.io/managed-by" => value == "branchline",
            "app.kubernetes.io/instance" => value == self.rules.namespace.as_str(),
            "app.kubernetes.io/name"
            | "app.kubernetes.io/part-of"
            | "branchline.dev/project"
            | "branchline.dev/environment"
            | "branchline.dev/service" => true,
            _ => false,
        }
    }

    fn annotations(&mut self, annotations: &Value) {
        let mut size = 0;
        for (name, value) in annotations.as_object().into_iter().flatten() {
            size += name.len() + value.as_str().map_or(0, str::len);
            let path = || format!(".metadata.annotations[{name:?}]");
            if !value.is_string() || !valid_qualified_name(name) {
                self.refuse(
                    &path(),
                    "is no valid annotation",
                    "an annotation's value is a text: write {{quote value}}",
                );
            }
            if is_reserved(name) {
                self.refuse(&path(), "is an annotation that only Branchline sets", "choose another name");
            }
        }
        if size > LARGEST_ANNOTATIONS {
            let message = format!("have {size} bytes, more than the 262144 that Kubernetes accepts");
            self.refuse(".metadata.annotations", message, "put large texts into a ConfigMap");
        }
    }

    fn size(&mut self) {
        let size = json_size(self.manifest.object());
        if size > LARGEST_OBJECT {
            let message = format!("has {size} bytes, more than the 1048576 that are sent");
            self.refuse("", message, "split it, or keep large data in a volume");
        }
    }
}

/// Whether a value says anything: `null`, `false`, an empty list and an empty map do not.
fn counts(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

/// The items of a list with their index; none for anything else.
fn list(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

/// The bytes of a value as compact JSON, near enough for a limit, without writing it.
fn json_size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(_) => 20,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| json_size(item) + 1).sum::<usize>(),
        Value::Object(map) => {
            2 + map.iter().map(|(key, item)| key.len() + 4 + json_size(item)).sum::<usize>()
        }
    }
}

/// Whether a text names an object of a kind: a DNS label for kinds whose name becomes one, otherwise a DNS subdomain
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/names/>).
fn valid_name(kind: &str, name: &str) -> bool {
    let limit = match kind {
        "CronJob" => 52,
        "Namespace" | "Service" | "Job" | "StatefulSet" => 63,
        _ => 253,
    };
    let label = |text: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    };
    // a Service's name begins with a letter: RFC 1035
    let begins = kind != "Service" || name.starts_with(|c: char| c.is_ascii_lowercase());
    let shape = if limit == 63 { label(name) } else { name.split('.').all(label) };
    name.len() <= limit && begins && shape
}

/// Whether a text is the name of a label or an annotation: an optional DNS prefix, `/`, and up to 63 characters.
fn valid_qualified_name(name: &str) -> bool {
    let (prefix, name) = name.split_once('/').map_or((None, name), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(|prefix| valid_name("", prefix)) && !name.is_empty() && is_label_value(name)
}
