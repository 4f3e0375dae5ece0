//! One Kubernetes object as a template made it, and the key that tells it from every other.
//!
//! Knows the four fields by which Kubernetes names a thing; does not know how the text was made nor what is
//! allowed to stand in it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use crate::hash::{self, ContentHash};

/// What tells one object of a cluster from another: API group, kind, namespace and name.
///
/// The version is left out on purpose. `networking.k8s.io/v1beta1` and `networking.k8s.io/v1` are two ways to
/// read the same object, and groups that handed their kinds on (`extensions` to `apps` and `networking.k8s.io`)
/// count as the group that owns the kind today.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKey {
    /// The API group; empty for the core group.
    pub group: String,
    /// The kind, such as `Deployment`.
    pub kind: String,
    /// The namespace; `None` for an object of the whole cluster.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: String,
}

impl ObjectKey {
    /// Makes the key of an object of the given API version, such as `apps/v1`.
    #[must_use]
    pub fn new(api_version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Self {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self {
            group: todays_group(group, kind).to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.filter(|namespace| !namespace.is_empty()).map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// Reads the key out of an object, as a cluster or a template gives it. `None` where `apiVersion`, `kind` or
    /// `metadata.name` is missing or no text.
    #[must_use]
    pub fn of(object: &Value) -> Option<Self> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).filter(|s| !s.is_empty());
        Some(Self::new(
            text("/apiVersion")?,
            text("/kind")?,
            text("/metadata/namespace"),
            text("/metadata/name")?,
        ))
    }
}

impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // what tells most of the objects of one namespace apart
        self.name.hash(state);
        self.kind.hash(state);
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{}/{namespace}/{}", self.kind, self.name),
            None => write!(f, "{}/{}", self.kind, self.name),
        }
    }
}

/// The group that owns a kind today, for the groups that Kubernetes took apart.
fn todays_group<'a>(group: &'a str, kind: &str) -> &'a str {
    match (group, kind) {
        ("extensions", "Ingress" | "NetworkPolicy") => "networking.k8s.io",
        ("extensions", "Deployment" | "DaemonSet" | "ReplicaSet") => "apps",
        ("extensions" | "policy", "PodSecurityPolicy") => "policy",
        ("", "Event") => "events.k8s.io",
        _ => group,
    }
}

/// A rendered object with the template that made it. A clone is the same object, not a copy of it.
///
/// [`Manifest::new`] checks that the object has the four fields of its key, so that the accessors cannot fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest(Arc<Made>);

#[derive(Debug, Clone)]
struct Made {
    object: Value,
    key: ObjectKey,
    template: String,
    line: u32,
    /// Made when it is first asked for.
    hash: OnceLock<ContentHash>,
}

impl PartialEq for Made {
    fn eq(&self, other: &Self) -> bool {
        (&self.object, &self.template, self.line) == (&other.object, &other.template, other.line)
    }
}

/// Why a rendered document is no object of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnObject {
    /// The document is a text, a number, a list or nothing.
    #[error("the document is no map")]
    NoMap,
    /// A field of the key is missing, empty or no text.
    #[error("`{0}` is missing or no text")]
    Field(&'static str),
}

impl Manifest {
    /// Takes an object made by `template` at `line`.
    ///
    /// # Errors
    /// Where `apiVersion`, `kind` or `metadata.name` is missing or no text, or `metadata.namespace` is no text.
    pub fn new(object: Value, template: impl Into<String>, line: u32) -> Result<Self, NotAnObject> {
        let Value::Object(map) = &object else { return Err(NotAnObject::NoMap) };
        let text = |value: Option<&Value>, field| match value {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            _ => Err(NotAnObject::Field(field)),
        };
        let metadata = map.get("metadata").and_then(Value::as_object);
        let api_version = text(map.get("apiVersion"), "apiVersion")?;
        let kind = text(map.get("kind"), "kind")?;
        let name = text(metadata.and_then(|m| m.get("name")), "metadata.name")?;
        let namespace = match metadata.and_then(|m| m.get("namespace")) {
            None => None,
            given => Some(text(given, "metadata.namespace")?),
        };
        let key = ObjectKey::new(&api_version, &kind, namespace.as_deref(), &name);
        Ok(Self(Arc::new(Made { object, key, template: template.into(), line, hash: OnceLock::new() })))
    }

    /// The object: `apiVersion`, `kind`, `metadata` and the rest.
    #[must_use]
    pub fn object(&self) -> &Value {
        &self.0.object
    }

    /// The template's file and the line of it where the object begins.
    #[must_use]
    pub fn origin(&self) -> (&str, u32) {
        (&self.0.template, self.0.line)
    }

    /// Gives the object away.
    #[must_use]
    pub fn into_object(self) -> Value {
        Arc::unwrap_or_clone(self.0).object
    }

    /// The object's key.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        &self.0.key
    }

    /// The API version, such as `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> &str {
        self.0.object["apiVersion"].as_str().unwrap_or_default()
    }

    /// The kind, such as `Deployment`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.0.key.kind
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.key.name
    }

    /// The object's namespace; `None` for an object of the whole cluster.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.0.key.namespace.as_deref()
    }

    /// A label of the object.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.0.object.get("metadata")?.get("labels")?.get(name)?.as_str()
    }

    /// The hash of the object alone: two templates that make the same object make the same hash.
    #[must_use]
    pub fn hash(&self) -> ContentHash {
        *self.0.hash.get_or_init(|| hash::Hasher::new("manifest").json(&self.0.object).finish())
    }

    /// Where the object was made, file and line: `templates/web/10-deployment.yaml.hbs:3`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.0.template, self.0.line)
    }

    /// Adds labels (or annotations) to a map that `path` names, such as `["spec", "template", "metadata"]`; the map
    /// is made where it is missing. The values given win.
    pub(crate) fn stamp(&mut self, path: &[&str], what: &str, values: &[(String, String)]) {
        let made = Arc::make_mut(&mut self.0);
        made.hash = OnceLock::new();
        let mut at = &mut made.object;
        for step in path.iter().chain([&what]) {
            let Value::Object(map) = at else { return };
            at = map.entry(*step).or_insert_with(|| Value::Object(Map::new()));
        }
        if let Value::Object(map) = at {
            map.extend(values.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn manifest(object: Value) -> Manifest {
        Manifest::new(object, "templates/web/10-deployment.yaml.hbs", 1).expect("an object")
    }

    #[test]
    fn a_key_reads_as_kind_namespace_and_name() {
        let deployment = manifest(json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "api", "namespace": "shop-staging"}}));
        assert_eq!(deployment.key().to_string(), "Deployment/shop-staging/api");
        assert_eq!(deployment.key().group, "apps");
        let namespace =
            manifest(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop-staging"}}));
        assert_eq!(namespace.key().to_string(), "Namespace/shop-staging");
        assert_eq!(namespace.key().group, "");
    }

    #[test]
    fn two_versions_of_one_kind_are_one_identity() {
        let key = |version| ObjectKey::new(version, "Ingress", Some("shop"), "web");
        assert_eq!(key("extensions/v1beta1"), key("networking.k8s.io/v1"));
        assert_ne!(key("networking.k8s.io/v1"), key("example.com/v1"));
    }

    #[test]
    fn the_order_of_fields_does_not_change_the_hash() {
        let one = manifest(
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "labels": {"x": "1", "y": "2"}}}),
        );
        let two = manifest(
            json!({"metadata": {"labels": {"y": "2", "x": "1"}, "name": "a"}, "kind": "Service", "apiVersion": "v1"}),
        );
        assert_eq!(one.hash(), two.hash());
    }

    #[test]
    fn a_document_without_a_key_is_refused_by_the_field() {
        let refused = |object| Manifest::new(object, "t", 1).expect_err("no object").to_string();
        assert_eq!(refused(json!([])), "the document is no map");
        assert_eq!(refused(json!({"kind": "Service"})), "`apiVersion` is missing or no text");
        assert_eq!(
            refused(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"generateName": "a-"}})),
            "`metadata.name` is missing or no text"
        );
        assert_eq!(
            refused(
                json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": ""}})
            ),
            "`metadata.namespace` is missing or no text"
        );
    }

    #[test]
    fn labels_are_stamped_where_the_object_has_a_place_for_them() {
        let mut job = manifest(json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"},
            "spec": {"template": {"spec": {}}}}));
        let ours = [("branchline.dev/service".to_owned(), "a".to_owned())];
        job.stamp(&["metadata"], "labels", &ours);
        job.stamp(&["spec", "template", "metadata"], "labels", &ours);
        assert_eq!(job.label("branchline.dev/service"), Some("a"));
        assert_eq!(
            job.object().pointer("/spec/template/metadata/labels"),
            Some(&json!({"branchline.dev/service": "a"}))
        );
    }
}
