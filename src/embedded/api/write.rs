//! Creating and changing objects: the order of steps that every write goes through.
//!
//! decode → defaults → ownership → strategy → admission → validation → compare and swap. Reading and merging happen
//! outside the storage's lock; who loses the race reads again.

use super::Api;
use super::body::Parsed;
use super::query::WriteOptions;
use crate::embedded::kinds::Kind;
use crate::embedded::part::Part;
use crate::embedded::status::{Cause, Refusal};
use crate::embedded::storage::{Clash, Key, Stored};
use crate::embedded::validation::{self, names};
use crate::embedded::{admission, defaults, ownership, strategy};
use serde_json::{Value, json};
use std::sync::Arc;

/// How often a write that lost a race is tried again.
const ATTEMPTS: usize = 64;

/// An object and the code to answer with.
pub(crate) type Written = (u16, Arc<Stored>);

/// One write request.
pub(crate) struct Writer<'a> {
    pub(crate) api: &'a Api,
    pub(crate) kind: &'static Kind,
    /// `""` for a cluster-scoped kind.
    pub(crate) namespace: &'a str,
    pub(crate) part: Part,
    pub(crate) options: WriteOptions,
    /// A PUT: the UID that it names is a precondition.
    pub(crate) replaces: bool,
    /// What the client is told beside the answer.
    pub(crate) warnings: Vec<String>,
    /// The time of the request, RFC 3339.
    pub(crate) now: String,
}

impl Writer<'_> {
    /// POST: stores a new object.
    pub(crate) fn create(&mut self, body: Parsed) -> Result<Written, Refusal> {
        let mut object = self.decoded(body)?;
        self.place(&mut object, None)?;
        defaults::apply(self.kind, &mut object);
        let mut object = self.owned_by_update(None, object)?;
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.shift_remove("resourceVersion");
        }
        self.insert(object)
    }

    /// PUT: replaces an object.
    pub(crate) fn replace(&mut self, name: &str, body: Parsed) -> Result<Written, Refusal> {
        let mut object = self.decoded(body)?;
        self.place(&mut object, Some(name))?;
        defaults::apply(self.kind, &mut object);
        let key = Key::new(self.namespace, name);
        for _ in 0..ATTEMPTS {
            let Some(live) = self.api.storage.get(self.kind, &key) else {
                if !self.kind.create_on_update || self.part != Part::Main {
                    return Err(Refusal::not_found(self.kind, name));
                }
                let object = self.owned_by_update(None, object.clone())?;
                return self.insert(object);
            };
            let mut object = object.clone();
            self.keep_other_parts(&mut object, &live.value);
            let object = self.owned_by_update(Some(&live.value), object)?;
            if let Some(stored) = self.update(&key, &live, object)? {
                return Ok((200, stored));
            }
        }
        Err(Refusal::modified(self.kind, name))
    }

    /// PATCH other than apply: `change` makes the new object out of the live one.
    pub(crate) fn patch(
        &mut self,
        name: &str,
        change: impl Fn(&Value) -> Result<Value, Refusal>,
    ) -> Result<Written, Refusal> {
        let key = Key::new(self.namespace, name);
        for _ in 0..ATTEMPTS {
            let live =
                self.api.storage.get(self.kind, &key).ok_or_else(|| Refusal::not_found(self.kind, name))?;
            let patched = change(&live.value)?;
            let mut object = self.patched(&patched)?;
            self.place(&mut object, Some(name))?;
            defaults::apply(self.kind, &mut object);
            self.keep_other_parts(&mut object, &live.value);
            let object = self.owned_by_update(Some(&live.value), object)?;
            if let Some(stored) = self.update(&key, &live, object)? {
                return Ok((200, stored));
            }
        }
        Err(Refusal::modified(self.kind, name))
    }

    /// Server-side apply.
    pub(crate) fn apply(&mut self, name: &str, body: Parsed) -> Result<Written, Refusal> {
        let applied = self.appliable(name, body)?;
        let key = Key::new(self.namespace, name);
        for _ in 0..ATTEMPTS {
            let live = self.api.storage.get(self.kind, &key);
            let Some(live) = live else {
                return self.apply_new(name, &applied);
            };
            let merged = ownership::applied(self, Some(&live.value), &applied)?;
            let mut object = self.normalised(merged, &applied)?;
            defaults::apply(self.kind, &mut object);
            if let Some(stored) = self.update(&key, &live, object)? {
                return Ok((200, stored));
            }
        }
        Err(Refusal::modified(self.kind, name))
    }

    fn apply_new(&mut self, name: &str, applied: &Value) -> Result<Written, Refusal> {
        if self.part != Part::Main {
            return Err(Refusal::not_found(self.kind, name));
        }
        if let Some(uid) = applied["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty()) {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(Refusal::conflict(self.kind, name, &why));
        }
        let merged = ownership::applied(self, None, applied)?;
        let mut object = self.normalised(merged, applied)?;
        self.place(&mut object, Some(name))?;
        defaults::apply(self.kind, &mut object);
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.shift_remove("resourceVersion");
        }
        self.insert(object)
    }

    /// Checks that the object is meant for the place that the URL names, and puts it there.
    fn place(&self, object: &mut Value, name: Option<&str>) -> Result<(), Refusal> {
        let metadata = &mut object["metadata"];
        let given = metadata["namespace"].as_str().unwrap_or_default();
        if self.kind.namespaced {
            if !given.is_empty() && given != self.namespace {
                return Err(wrong_namespace());
            }
            metadata["namespace"] = Value::from(self.namespace);
        } else if !given.is_empty() {
            return Err(wrong_namespace());
        }
        let Some(name) = name else { return Ok(()) };
        match metadata["name"].as_str() {
            None | Some("") => metadata["name"] = Value::from(name),
            Some(given) if given != name => return Err(wrong_name(given, name)),
            Some(_) => {}
        }
        Ok(())
    }

    fn owned_by_update(&self, live: Option<&Value>, object: Value) -> Result<Value, Refusal> {
        ownership::updated(self, live, &object)
    }

    /// What a subresource may not touch stays as it is.
    fn keep_other_parts(&self, object: &mut Value, live: &Value) {
        strategy::keep_other_parts(self.kind, self.part, object, live);
    }

    /// Stores an object that does not exist yet.
    fn insert(&mut self, mut object: Value) -> Result<Written, Refusal> {
        let generated = self.name_new(&mut object)?;
        strategy::prepare_create(self.kind, &mut object);
        admission::create(self, &mut object)?;
        let mut causes = validation::create(self.kind, &object);
        if causes.is_empty() {
            causes =
                self.api.addresses.assign(self.kind, &mut object, &self.api.storage, self.options.dry_run);
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if !causes.is_empty() {
            return Err(Refusal::invalid(self.kind, &name, &causes));
        }
        if self.options.dry_run {
            if self.api.storage.get(self.kind, &Key::new(self.namespace, &name)).is_some() {
                return Err(self.exists(&name));
            }
            return Ok((201, Stored::tried(object)));
        }
        for _ in 0..if generated { 8 } else { 1 } {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if let Ok(stored) =
                self.api.storage.create(self.kind, Key::new(self.namespace, &name), object.clone())
            {
                return Ok((201, stored));
            }
            if generated {
                object["metadata"]["name"] = Value::Null;
                self.name_new(&mut object)?;
            }
        }
        Err(self.exists(&name))
    }

    /// The refusal of a name that is taken.
    fn exists(&self, name: &str) -> Refusal {
        let taken = self.api.storage.get(self.kind, &Key::new(self.namespace, name));
        let going = taken.is_some_and(|taken| taken.value["metadata"]["deletionTimestamp"].is_string());
        Refusal::already_exists(self.kind, name, going)
    }

    /// Fills what the system gives a new object; says whether its name was generated.
    fn name_new(&self, object: &mut Value) -> Result<bool, Refusal> {
        let metadata = &mut object["metadata"];
        let mut generated = false;
        if metadata["name"].as_str().is_none_or(str::is_empty)
            && let Some(prefix) = metadata["generateName"].as_str().filter(|prefix| !prefix.is_empty())
        {
            metadata["name"] = Value::from(names::generated(prefix));
            generated = true;
        }
        if metadata["name"].as_str().is_none_or(str::is_empty) {
            let cause = Cause::required("metadata.name", "name or generateName is required");
            return Err(Refusal::invalid(self.kind, "", &[cause]));
        }
        metadata["uid"] = Value::from(names::uid());
        metadata["creationTimestamp"] = Value::from(self.now.as_str());
        if let Some(metadata) = metadata.as_object_mut() {
            for gone in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"] {
                metadata.shift_remove(gone);
            }
        }
        if self.kind.generation {
            metadata["generation"] = Value::from(1);
        }
        Ok(generated)
    }

    /// Stores a changed object; `None`: somebody else was faster.
    pub(super) fn update(
        &mut self,
        key: &Key,
        live: &Arc<Stored>,
        mut object: Value,
    ) -> Result<Option<Arc<Stored>>, Refusal> {
        self.check_version(&object, &live.value, &key.name)?;
        strategy::inherit_metadata(&mut object, &live.value);
        strategy::prepare_update(self.kind, self.part, &mut object, &live.value);
        let mut causes = validation::update(self.kind, self.part, &object, &live.value);
        if causes.is_empty() {
            causes = self.api.addresses.reassign(self.kind, &mut object, &live.value, &self.api.storage);
        }
        if !causes.is_empty() {
            return Err(Refusal::invalid(self.kind, &key.name, &causes));
        }
        if ownership::same(&object, &live.value) {
            return Ok(Some(Arc::clone(live)));
        }
        if self.options.dry_run {
            object["metadata"]["resourceVersion"] = live.value["metadata"]["resourceVersion"].clone();
            return Ok(Some(Stored::tried(object)));
        }
        let result = if strategy::is_finished(self.kind, &object) {
            self.api.storage.remove(self.kind, key, live, object)
        } else {
            self.api.storage.replace(self.kind, key.clone(), live, object)
        };
        match result {
            Ok(stored) => Ok(Some(stored)),
            Err(Clash::Changed) => Ok(None),
            Err(_) => Err(Refusal::not_found(self.kind, &key.name)),
        }
    }

    /// Optimistic locking: the version and UID that the client read.
    fn check_version(&self, object: &Value, live: &Value, name: &str) -> Result<(), Refusal> {
        let (given, current) = (&object["metadata"], &live["metadata"]);
        let version = given["resourceVersion"].as_str().unwrap_or_default();
        let unversioned = version.is_empty() || version == "0";
        if !unversioned {
            let read: u64 = version.parse().map_err(|_| {
                Refusal::internal(format!("strconv.ParseUint: parsing {version:?}: invalid syntax"))
            })?;
            if Some(read.to_string().as_str()) != current["resourceVersion"].as_str() {
                return Err(Refusal::modified(self.kind, name));
            }
        } else if self.kind.versioned_update && self.part == Part::Main {
            let field = "metadata.resourceVersion";
            let cause = Cause::invalid(field, &json!(0), "must be specified for an update");
            return Err(Refusal::invalid(self.kind, name, &[cause]));
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (uid, of_live) = (text(&given["uid"]), text(&current["uid"]));
        if self.replaces && !uid.is_empty() && uid != of_live {
            let place = [self.kind.resource, self.namespace, name];
            let place: Vec<&str> = place.into_iter().filter(|part| !part.is_empty()).collect();
            return Err(Refusal::conflict(
                self.kind,
                name,
                &format!(
                    "StorageError: invalid object, Code: 4, Key: /registry/{}, ResourceVersion: 0, \
                     AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, \
                     UID in object meta: {of_live}",
                    place.join("/")
                ),
            ));
        }
        Ok(())
    }
}

pub(super) fn wrong_namespace() -> Refusal {
    Refusal::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    )
}

pub(super) fn wrong_name(given: &str, name: &str) -> Refusal {
    Refusal::bad_request(format!(
        "the name of the object ({given}) does not match the name on the URL ({name})"
    ))
}
