//! Deletion: preconditions, propagation, finalizers, the grace of pods and the two steps of namespaces.

use super::answer::{self, Body, Form};
use super::query::{Query, dry_run};
use super::route::Target;
use super::{Api, Call, key, list};
use crate::embedded::kinds::Kind;
use crate::embedded::status::{Cause, Refusal};
use crate::embedded::storage::{Clash, Key, Snapshot, Stored};
use crate::embedded::{admission, strategy, wire};
use http::Response;
use jiff::ToSpan as _;
use serde_json::{Value, json};
use std::sync::Arc;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What a deletion asks for, from its body and its query.
#[derive(Debug, Default)]
struct DeleteOptions {
    dry_run: bool,
    grace: Option<i64>,
    propagation: Option<String>,
    uid: Option<String>,
    version: Option<String>,
}

impl DeleteOptions {
    fn parse(query: &Query, body: &[u8]) -> Result<Self, Refusal> {
        let mut options = if body.is_empty() { Self::of_query(query)? } else { Self::of_body(body)? };
        let mut causes = Vec::new();
        if body.is_empty() {
            options.dry_run = dry_run(query.text("dryRun"), query.has("dryRun"), &mut causes);
        }
        if let Some(policy) = &options.propagation
            && !["Foreground", "Background", "Orphan"].contains(&policy.as_str())
        {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            let value = Value::from(policy.as_str());
            causes.push(Cause::unsupported_in_order("propagationPolicy", &value, &supported));
        }
        if options.grace.is_some_and(|grace| grace < 0) {
            // the server takes it for an immediate deletion
            options.grace = Some(1);
        }
        if causes.is_empty() {
            return Ok(options);
        }
        Err(Refusal::invalid_object("DeleteOptions", "meta.k8s.io", "", &causes))
    }

    fn of_query(query: &Query) -> Result<Self, Refusal> {
        let text = |name| Some(query.text(name).to_owned()).filter(|text| !text.is_empty());
        Ok(Self {
            dry_run: false,
            grace: query.number("gracePeriodSeconds")?,
            propagation: text("propagationPolicy"),
            uid: None,
            version: None,
        })
    }

    fn of_body(body: &[u8]) -> Result<Self, Refusal> {
        let refuse = |what: String| {
            Refusal::bad_request(format!(
                "DeleteOptions in version \"v1\" cannot be handled as a DeleteOptions: {what}"
            ))
        };
        let value: Value = serde_json::from_slice(body).map_err(|error| refuse(error.to_string()))?;
        let options = wire::read(value, wire::wire().named("DeleteOptions")).map_err(refuse)?.value;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut causes = Vec::new();
        let tried = options["dryRun"].as_array().is_some_and(|values| !values.is_empty());
        if tried && options["dryRun"] != json!(["All"]) {
            causes.push(Cause::unsupported("dryRun", &options["dryRun"], &["All"]));
            return Err(Refusal::invalid_object("DeleteOptions", "meta.k8s.io", "", &causes));
        }
        let orphan = options["orphanDependents"]
            .as_bool()
            .map(|orphan| if orphan { "Orphan".to_owned() } else { "Background".to_owned() });
        Ok(Self {
            dry_run: tried,
            grace: options["gracePeriodSeconds"].as_i64(),
            propagation: text(&options["propagationPolicy"]).or(orphan),
            uid: text(&options["preconditions"]["uid"]),
            version: text(&options["preconditions"]["resourceVersion"]),
        })
    }
}

/// What became of an object that was deleted.
enum Deleted {
    /// It is gone; its last state.
    Gone(Arc<Stored>),
    /// It waits for its finalizers, its processes or its contents.
    Waiting(Arc<Stored>),
}

impl Api {
    /// DELETE of an object.
    pub(super) async fn delete(
        &self,
        target: &Target,
        name: &str,
        call: &Call,
    ) -> Result<Response<Body>, Refusal> {
        let options = DeleteOptions::parse(&call.query, &call.body)?;
        if target.kind.kind == "Namespace" && admission::IMMORTAL.contains(&name) {
            return Err(Refusal::forbidden(target.kind, name, "this namespace may not be deleted", None));
        }
        let deleted = self.remove(target.kind, &key(target, name), &options)?;
        let (Deleted::Gone(stored) | Deleted::Waiting(stored)) = &deleted;
        if !options.dry_run {
            self.persist(target.kind, &stored.value).await?;
        }
        Ok(match &deleted {
            Deleted::Gone(stored) if !target.kind.returns_deleted => {
                answer::json(200, &success(target.kind, &stored.value))
            }
            _ => self.one(target.kind, call.form, 200, stored),
        })
    }

    /// DELETE of a collection: what the selectors pick, one by one.
    pub(super) async fn delete_collection(
        &self,
        target: &Target,
        call: &Call,
    ) -> Result<Response<Body>, Refusal> {
        let options = DeleteOptions::parse(&call.query, &call.body)?;
        let selector = list::selector(target, call)?;
        let mut snapshot =
            self.storage.list(target.kind, target.namespace.as_deref(), None, None, |stored| {
                selector.matches(&stored.value)
            });
        let mut objects = Vec::new();
        for stored in snapshot.objects {
            let metadata = &stored.value["metadata"];
            let text = |field: &str| metadata[field].as_str().unwrap_or_default();
            match self.remove(target.kind, &Key::new(text("namespace"), text("name")), &options) {
                Ok(_) => {
                    if !options.dry_run {
                        self.persist(target.kind, &stored.value).await?;
                    }
                    objects.push(stored);
                }
                // somebody else deleted it first
                Err(refusal) if refusal.code == 404 => {}
                Err(refusal) => return Err(refusal),
            }
        }
        snapshot = Snapshot { objects, revision: snapshot.revision, remaining: 0, last: None };
        let metadata = json!({"resourceVersion": snapshot.revision.to_string()});
        Ok(self.listed(target.kind, Form::Full, &snapshot, metadata))
    }

    fn remove(&self, kind: &'static Kind, key: &Key, options: &DeleteOptions) -> Result<Deleted, Refusal> {
        loop {
            let live = self.storage.get(kind, key).ok_or_else(|| Refusal::not_found(kind, &key.name))?;
            check_preconditions(kind, key, options, &live.value)?;
            let mut object = live.value.clone();
            let gone = self.mark(kind, options, &mut object);
            if options.dry_run {
                let tried = Stored::tried(object);
                return Ok(if gone { Deleted::Gone(tried) } else { Deleted::Waiting(tried) });
            }
            let result = if gone {
                self.storage.remove(kind, key, &live, object).map(Deleted::Gone)
            } else if object == live.value {
                return Ok(Deleted::Waiting(live));
            } else {
                self.storage.replace(kind, key.clone(), &live, object).map(Deleted::Waiting)
            };
            match result {
                Ok(deleted) => return Ok(deleted),
                Err(Clash::Changed) => {}
                Err(_) => return Err(Refusal::not_found(kind, &key.name)),
            }
        }
    }

    /// Marks an object as being deleted; says whether nothing holds it.
    fn mark(&self, kind: &Kind, options: &DeleteOptions, object: &mut Value) -> bool {
        propagate(options.propagation.as_deref(), object);
        let grace = if kind.kind == "Pod" { pod_grace(object, options.grace) } else { 0 };
        if kind.kind == "Namespace" {
            return self.mark_namespace(object);
        }
        let held = object["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
        let gone = grace == 0 && !held;
        if gone && kind.kind != "Pod" {
            return true;
        }
        let metadata = &object["metadata"];
        let marked = metadata["deletionTimestamp"].is_string();
        let shorter = metadata["deletionGracePeriodSeconds"].as_i64().is_none_or(|known| grace < known);
        if !marked || shorter {
            let first = !marked;
            let start = if first || grace == 0 {
                self.clock.now()
            } else {
                deletion_start(metadata, self.clock.now())
            };
            let at = start.checked_add(grace.seconds()).unwrap_or(start);
            object["metadata"]["deletionTimestamp"] =
                Value::from(at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            object["metadata"]["deletionGracePeriodSeconds"] = Value::from(grace);
            if first {
                strategy::next_generation(object);
            }
        }
        gone
    }

    /// A namespace goes in two steps: first it takes nothing new, then, when its contents are gone, its own
    /// finalizer is taken off by the controller.
    fn mark_namespace(&self, object: &mut Value) -> bool {
        if !object["metadata"]["deletionTimestamp"].is_string() {
            object["metadata"]["deletionTimestamp"] = Value::from(self.now());
            object["status"]["phase"] = json!("Terminating");
            return false;
        }
        let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
        none(&object["spec"]["finalizers"]) && none(&object["metadata"]["finalizers"])
    }
}

fn check_preconditions(kind: &Kind, key: &Key, options: &DeleteOptions, live: &Value) -> Result<(), Refusal> {
    let metadata = &live["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default();
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != text("uid")) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). \
             The object might have been deleted and then recreated",
            text("uid")
        );
        return Err(Refusal::precondition(kind, &key.name, &why));
    }
    if let Some(version) = options.version.as_deref().filter(|version| *version != text("resourceVersion")) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            text("resourceVersion")
        );
        return Err(Refusal::precondition(kind, &key.name, &why));
    }
    Ok(())
}

/// Notes the propagation policy as a finalizer, for the garbage collector.
fn propagate(policy: Option<&str>, object: &mut Value) {
    let Some(policy) = policy else { return };
    let before = object["metadata"].get("finalizers").and_then(Value::as_array);
    let mut finalizers: Vec<Value> = before.cloned().unwrap_or_default();
    finalizers.retain(|name| name != FOREGROUND && name != ORPHAN);
    match policy {
        "Foreground" => finalizers.push(json!(FOREGROUND)),
        "Orphan" => finalizers.push(json!(ORPHAN)),
        _ => {}
    }
    let after = (!finalizers.is_empty()).then_some(Value::Array(finalizers));
    if let Some(metadata) = object["metadata"].as_object_mut() {
        match after {
            Some(list) => {
                metadata.insert("finalizers".to_owned(), list);
            }
            None => {
                metadata.shift_remove("finalizers");
            }
        }
    }
}

/// How long a pod may take to stop: nothing where nothing runs.
fn pod_grace(pod: &Value, asked: Option<i64>) -> i64 {
    let scheduled = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !scheduled || ended {
        return 0;
    }
    asked.or_else(|| pod["spec"]["terminationGracePeriodSeconds"].as_i64()).unwrap_or(30)
}

/// When the deletion of an object began: its deadline less its grace.
fn deletion_start(metadata: &Value, now: jiff::Timestamp) -> jiff::Timestamp {
    let deadline: Option<jiff::Timestamp> =
        metadata["deletionTimestamp"].as_str().and_then(|text| text.parse().ok());
    let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    deadline.and_then(|deadline| deadline.checked_sub(grace.seconds()).ok()).unwrap_or(now)
}

fn success(kind: &Kind, object: &Value) -> Value {
    let mut details = json!({"name": object["metadata"]["name"]});
    if !kind.group.is_empty() {
        details["group"] = Value::from(kind.group);
    }
    details["kind"] = Value::from(kind.resource);
    details["uid"] = object["metadata"]["uid"].clone();
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
