//! Which path an object of a kind lives at.
//!
//! One request per API version, kept for a while. A kind that is not served is told apart from a discovery that
//! could not be read: only the first is an answer.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::{Cluster, ClusterError};

/// How long an answer is good for.
const FRESH: Duration = Duration::from_mins(5);
/// How long "no such kind" is good for: a `CustomResourceDefinition` may have been installed.
const FRESH_MISS: Duration = Duration::from_secs(10);

/// A kind as the cluster serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// The API group; empty for the core group.
    pub group: String,
    /// The API version within the group.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// The plural in paths.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// `apps/v1`, or `v1` for the core group.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// The path of one object.
    #[must_use]
    pub fn path(&self, namespace: Option<&str>, name: &str) -> String {
        format!("{}/{name}", self.collection(namespace))
    }

    /// The path of all objects, of one namespace or of all.
    #[must_use]
    pub fn collection(&self, namespace: Option<&str>) -> String {
        let root = root(&self.api_version());
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }
}

fn root(api_version: &str) -> String {
    if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") }
}

/// What discovery answered, by API version.
#[derive(Default)]
pub(super) struct Cache {
    versions: Mutex<BTreeMap<String, (Timestamp, Vec<Resource>)>>,
}

impl Cache {
    /// What is known of a kind: nothing, that it is not served, or where it lives.
    fn get(&self, api_version: &str, kind: &str, now: Timestamp) -> Known {
        let versions = self.versions.lock().expect("no holder of this lock panics");
        let Some((read, resources)) = versions.get(api_version) else { return Known::Nothing };
        let age = now.duration_since(*read).unsigned_abs();
        match resources.iter().find(|resource| resource.kind == kind) {
            Some(found) if age < FRESH => Known::Served(found.clone()),
            None if age < FRESH_MISS => Known::NotServed,
            _ => Known::Nothing,
        }
    }

    fn put(&self, api_version: &str, resources: Vec<Resource>, now: Timestamp) {
        let mut versions = self.versions.lock().expect("no holder of this lock panics");
        versions.insert(api_version.to_owned(), (now, resources));
    }

    fn of_group(&self, group: &str, kind: &str) -> Option<Resource> {
        let versions = self.versions.lock().expect("no holder of this lock panics");
        let mut resources = versions.values().flat_map(|(_, resources)| resources);
        resources.find(|resource| resource.group == group && resource.kind == kind).cloned()
    }
}

enum Known {
    Nothing,
    NotServed,
    Served(Resource),
}

impl Cluster {
    /// Finds out where objects of a kind live.
    ///
    /// # Errors
    /// [`ClusterError::UnknownKind`] when the cluster does not serve it; [`ClusterError::Incomplete`] when the
    /// cluster cannot say.
    pub async fn resource(&self, api_version: &str, kind: &str) -> Result<Resource, ClusterError> {
        let unknown = || ClusterError::UnknownKind { api: api_version.to_owned(), kind: kind.to_owned() };
        let now = self.inner.clock.now();
        match self.inner.discovery.get(api_version, kind, now) {
            Known::Served(resource) => return Ok(resource),
            Known::NotServed => return Err(unknown()),
            Known::Nothing => {}
        }
        let what = format!("discovery of {api_version}");
        let resources = match self.read(&root(api_version), &what).await {
            Ok(list) => resources(api_version, &list),
            Err(failed) if failed.is_code(404) => Vec::new(),
            Err(source) => return Err(ClusterError::Incomplete { what, source: Box::new(source) }),
        };
        let found = resources.iter().find(|resource| resource.kind == kind).cloned();
        self.inner.discovery.put(api_version, resources, now);
        found.ok_or_else(unknown)
    }

    /// Finds out where objects of a kind live, whatever the version: that of the group's own preference.
    ///
    /// # Errors
    /// As [`Cluster::resource`].
    pub async fn resource_of_group(&self, group: &str, kind: &str) -> Result<Resource, ClusterError> {
        if let Some(known) = self.inner.discovery.of_group(group, kind) {
            return Ok(known);
        }
        if group.is_empty() {
            return self.resource("v1", kind).await;
        }
        let what = "discovery of the API groups";
        let groups = self
            .read("/apis", what)
            .await
            .map_err(|source| ClusterError::Incomplete { what: what.to_owned(), source: Box::new(source) })?;
        let unknown = || ClusterError::UnknownKind { api: group.to_owned(), kind: kind.to_owned() };
        let mut all = groups["groups"].as_array().into_iter().flatten();
        let found = all.find(|found| found["name"] == group).ok_or_else(unknown)?;
        let preferred = found["preferredVersion"]["groupVersion"].as_str();
        let others = found["versions"].as_array().into_iter().flatten();
        let others = others.filter_map(|version| version["groupVersion"].as_str());
        for version in preferred.into_iter().chain(others) {
            match self.resource(version, kind).await {
                Err(ClusterError::UnknownKind { .. }) => {}
                answer => return answer,
            }
        }
        Err(unknown())
    }
}

/// The kinds of an `APIResourceList`; subresources are left out.
fn resources(api_version: &str, list: &Value) -> Vec<Resource> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    list["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|resource| {
            let plural = resource["name"].as_str().filter(|name| !name.contains('/'))?;
            Some(Resource {
                group: group.to_owned(),
                version: version.to_owned(),
                kind: resource["kind"].as_str()?.to_owned(),
                plural: plural.to_owned(),
                namespaced: resource["namespaced"].as_bool()?,
            })
        })
        .collect()
}
