//! Which resources serve the kinds, as discovery lists them.

use serde::Deserialize;
use serde_json::Value;

use super::SchemaError;

/// A resource of the API: the path segment under which a kind is served, and its other names.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    /// The version within the group.
    pub version: String,
    /// The kind of its objects.
    pub kind: String,
    /// The path segment.
    pub plural: String,
    /// The name of one.
    pub singular: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// What people type: `deploy`, `svc`.
    pub short_names: Vec<String>,
    /// Groups of resources that it belongs to: `all`.
    pub categories: Vec<String>,
    /// What the real server can do with it.
    pub verbs: Vec<String>,
    /// Its subresources.
    pub subresources: Vec<Subresource>,
}

/// A subresource, such as `status`, `scale` or `log`.
#[derive(Clone, Debug, Deserialize)]
pub struct Subresource {
    /// The path segment after the object's name.
    pub name: String,
    /// The group of its kind, where that is another than the resource's.
    pub group: Option<String>,
    /// The version of its kind, where that is another than the resource's.
    pub version: Option<String>,
    /// The kind of its objects.
    pub kind: String,
    /// What the real server can do with it.
    pub verbs: Vec<String>,
}

impl Resource {
    /// The `apiVersion` of its objects: `v1`, `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

pub(super) fn read(list: &Value) -> Result<Vec<Resource>, SchemaError> {
    Vec::deserialize(list).map_err(SchemaError::Resources)
}
