//! The `scale` subresource: one number of a Deployment or a ReplicaSet, seen as an `autoscaling/v1` Scale.

use super::body::Parsed;
use super::write::{Writer, Written};
use crate::embedded::kinds::Kind;
use crate::embedded::patch::Patch;
use crate::embedded::select::selector_text;
use crate::embedded::status::{Cause, Refusal};
use crate::embedded::storage::Key;
use crate::embedded::{defaults, ownership, wire};
use serde_json::{Map, Value, json};

/// The Scale of an object.
pub(crate) fn of(_kind: &Kind, object: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut status = json!({"replicas": object["status"]["replicas"].as_i64().unwrap_or(0)});
    let selector = selector_text(&object["spec"]["selector"]);
    if !selector.is_empty() {
        status["selector"] = Value::from(selector);
    }
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(0);
    let spec = if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) };
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

impl Writer<'_> {
    /// PUT of a Scale.
    pub(super) fn replace_scale(&mut self, name: &str, body: &Parsed) -> Result<Written, Refusal> {
        self.rescale(name, |_| Ok(body.value.clone()))
    }

    /// PATCH of a Scale, other than apply.
    pub(super) fn patch_scale(&mut self, name: &str, patch: &Patch) -> Result<Written, Refusal> {
        self.rescale(name, |scale| patch.apply(scale))
    }

    /// Server-side apply of a Scale: an apply of the one field.
    pub(super) fn apply_scale(&mut self, name: &str, body: &Parsed) -> Result<Written, Refusal> {
        let scale = Self::checked(name, body.value.clone())?;
        let mut metadata = json!({"name": name});
        if !self.namespace.is_empty() {
            metadata["namespace"] = Value::from(self.namespace);
        }
        let applied = json!({
            "apiVersion": self.kind.api_version, "kind": self.kind.kind,
            "metadata": metadata, "spec": {"replicas": replicas(&scale)},
        });
        self.apply(name, Parsed { value: applied, duplicates: Vec::new() })
    }

    fn rescale(
        &mut self,
        name: &str,
        change: impl Fn(&Value) -> Result<Value, Refusal>,
    ) -> Result<Written, Refusal> {
        let key = Key::new(self.namespace, name);
        loop {
            let live = self.api.storage.get(self.kind, &key);
            let live = live.ok_or_else(|| Refusal::not_found(self.kind, name))?;
            let scale = Self::checked(name, change(&of(self.kind, &live.value))?)?;
            let version = scale["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            let mut object = live.value.clone();
            if !version.is_empty() {
                object["metadata"]["resourceVersion"] = Value::from(version);
            }
            let mut object = ownership::scaled(self, &object, replicas(&scale));
            defaults::apply(self.kind, &mut object);
            if let Some(stored) = self.update(&key, &live, object)? {
                return Ok((200, stored));
            }
        }
    }

    fn checked(name: &str, scale: Value) -> Result<Value, Refusal> {
        let refuse = |what: &str| {
            Refusal::bad_request(format!("Scale in version \"v1\" cannot be handled as a Scale: {what}"))
        };
        let scale = wire::read(scale, wire::wire().named("Scale")).map_err(|what| refuse(&what))?.value;
        if let Some(given) = scale["metadata"]["name"].as_str().filter(|given| *given != name) {
            return Err(super::write::wrong_name(given, name));
        }
        if replicas(&scale) < 0 {
            let why = "must be greater than or equal to 0";
            let cause = Cause::invalid("spec.replicas", &json!(replicas(&scale)), why);
            return Err(Refusal::invalid_object("Scale", "autoscaling", name, &[cause]));
        }
        Ok(scale)
    }
}

fn replicas(scale: &Value) -> i64 {
    scale["spec"]["replicas"].as_i64().unwrap_or(0)
}
