//! The parent in the cluster: how it is read, checked and written.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Map, Value, json};

use super::super::request::{Call, JSON, MERGE, METADATA};
use super::super::{ClusterError, object};
use super::{ApplySet, ID, INSTANCE, KINDS, PARENT, Record, TOOLING, TOOLING_KEY, TRIES, Written};
use crate::plan::FIELD_MANAGER;

impl ApplySet {
    pub(super) fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps/{PARENT}", self.namespace)
    }

    pub(super) fn what(&self) -> String {
        format!("ConfigMap/{}/{PARENT}", self.namespace)
    }

    /// Reads the parent and checks whose it is.
    pub(super) async fn read(&self, written: &mut Written) -> Result<Option<Value>, ClusterError> {
        let parent = self.cluster.find(&self.path(), &self.what(), JSON).await?;
        let Some(parent) = parent else {
            *written = Written { upto: written.upto, ..Written::default() };
            return Ok(None);
        };
        let annotation = |name: &str| parent["metadata"]["annotations"][name].as_str();
        let namespace = || self.namespace.to_string();
        if parent["metadata"]["labels"][ID] != self.id.as_str() || annotation(TOOLING_KEY) != Some(TOOLING) {
            let found = annotation(TOOLING_KEY).unwrap_or("none").to_owned();
            return Err(ClusterError::OtherTool { namespace: namespace(), found });
        }
        if annotation(INSTANCE) != Some(&self.instance) {
            let found = annotation(INSTANCE).unwrap_or("unknown").to_owned();
            return Err(ClusterError::OtherInstance { namespace: namespace(), found });
        }
        let kinds = annotation(KINDS).unwrap_or_default().split(',').filter(|kind| !kind.is_empty());
        written.kinds = kinds.map(str::to_owned).collect();
        object::resource_version(&parent).clone_into(&mut written.resource_version);
        Ok(Some(parent))
    }

    pub(super) fn records(&self, parent: &Value) -> Result<BTreeMap<String, Record>, ClusterError> {
        let data = parent["data"].as_object();
        data.into_iter()
            .flatten()
            .map(|(unit, text)| {
                let record = serde_json::from_str(text.as_str().unwrap_or_default());
                let unreadable = |bad: serde_json::Error| ClusterError::Inventory {
                    namespace: self.namespace.to_string(),
                    unit: unit.clone(),
                    why: bad.to_string(),
                };
                Ok((unit.clone(), record.map_err(unreadable)?))
            })
            .collect()
    }

    /// Writes everything that changed since the last write, guarded by the parent's resourceVersion.
    pub(super) async fn write(&self, written: &mut Written) -> Result<(), ClusterError> {
        let (dirty, upto) = {
            let mut state = self.state();
            (std::mem::take(&mut state.dirty), state.change)
        };
        let result = self.write_units(written, &dirty).await;
        match &result {
            Ok(()) => written.upto = upto,
            Err(_) => self.state().dirty.extend(dirty),
        }
        result
    }

    async fn write_units(&self, written: &mut Written, dirty: &BTreeSet<String>) -> Result<(), ClusterError> {
        for tried in 1.. {
            let failed = match self.write_once(written, dirty).await {
                Ok(parent) => {
                    object::resource_version(&parent).clone_into(&mut written.resource_version);
                    return Ok(());
                }
                Err(failed) => failed,
            };
            // 404: somebody removed the parent; 409: somebody made or wrote it. What it says is ours to say.
            if tried >= TRIES || !(failed.is_code(404) || failed.is_code(409)) {
                return Err(failed);
            }
            self.read(written).await?;
        }
        Ok(())
    }

    async fn write_once(
        &self,
        written: &mut Written,
        dirty: &BTreeSet<String>,
    ) -> Result<Value, ClusterError> {
        let what = self.what();
        if written.resource_version.is_empty() {
            let all = self.kinds_of(None);
            let (method, path) = (Method::POST, self.path());
            let path = path.trim_end_matches(PARENT).trim_end_matches('/');
            let body = serde_json::to_vec(&self.parent(&all)).expect("JSON values can always be written");
            let path = format!("{path}?fieldManager={FIELD_MANAGER}");
            let call = Call { what: &what, method, path, accept: METADATA, content_type: JSON, body };
            let made = self.cluster.call(call).await?;
            written.kinds = all;
            return Ok(made);
        }
        // kinds are only ever added here: until everything of a kind is seen gone, it must be listed
        let kinds: BTreeSet<String> = written.kinds.union(&self.kinds_of(Some(dirty))).cloned().collect();
        let mut metadata = json!({"resourceVersion": written.resource_version});
        if kinds != written.kinds {
            metadata["annotations"] = json!({KINDS: join(&kinds)});
        }
        let data: Map<String, Value> = dirty.iter().map(|unit| (unit.clone(), self.text(unit))).collect();
        let body = json!({"metadata": metadata, "data": data}).to_string().into_bytes();
        let path = format!("{}?fieldManager={FIELD_MANAGER}", self.path());
        // the answer with all records in it would be read for its version alone
        let (accept, method) = (METADATA, Method::PATCH);
        let call = Call { what: &what, method, path, accept, content_type: MERGE, body };
        let parent = self.cluster.call(call).await?;
        written.kinds = kinds;
        Ok(parent)
    }

    /// The parent as it is made.
    fn parent(&self, kinds: &BTreeSet<String>) -> Value {
        let units = self.units();
        let data: Map<String, Value> = units.iter().map(|unit| (unit.clone(), self.text(unit))).collect();
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": PARENT,
                "namespace": self.namespace.as_str(),
                "labels": {ID: self.id, "app.kubernetes.io/managed-by": FIELD_MANAGER},
                "annotations": {TOOLING_KEY: TOOLING, KINDS: join(kinds), INSTANCE: self.instance},
            },
            "data": data,
        })
    }

    /// A unit's record as it stands in the parent; null for one that has none, which a merge patch removes.
    fn text(&self, unit: &str) -> Value {
        let record = self.record(unit);
        record.map_or(Value::Null, |record| {
            Value::String(serde_json::to_string(&record).expect("a record can always be written"))
        })
    }
}

fn join(kinds: &BTreeSet<String>) -> String {
    kinds.iter().map(String::as_str).collect::<Vec<_>>().join(",")
}
