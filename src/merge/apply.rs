//! Server-side apply: laying an applied configuration over a live object, by who owns what.

use std::sync::LazyLock;

use serde_json::Value;

use super::compare::{Comparison, same};
use super::conflict::{self, Conflict};
use super::fieldset::FieldSet;
use super::managed::{Entry, Managed, Operation};
use super::path::Path;
use super::schema::{Schema, TypeRef};
use super::{last_applied, reset, update};

/// Who applies, and how.
#[derive(Clone, Copy, Debug)]
pub struct Apply<'a> {
    /// The field manager.
    pub manager: &'a str,
    /// Whether to take over fields that others own with other values.
    pub force: bool,
    /// The subresource that is written; empty for the object itself.
    pub subresource: &'a str,
    /// The time of the request, RFC 3339 in UTC to the second.
    pub now: &'a str,
}

/// Why an apply is refused. The texts are the server's own, so that clients can treat both alike.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Others own fields with other values. Status 409, reason `Conflict`, one cause a conflict.
    #[error("{}", conflict::message(.0))]
    Conflicts(Vec<Conflict>),
    /// The configuration, or what the live object holds, does not fit the kind. Status 500 without a reason, as on
    /// the server.
    #[error("{message}")]
    Invalid {
        /// The field; empty where it is the object as a whole.
        path: String,
        /// The whole sentence.
        message: String,
    },
    /// The request cannot be an apply. Status 400, reason `BadRequest`.
    #[error("{message}")]
    BadRequest {
        /// The whole sentence.
        message: String,
    },
}

impl ApplyError {
    /// The code of the server's Status.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Conflicts(_) => 409,
            Self::Invalid { .. } => 500,
            Self::BadRequest { .. } => 400,
        }
    }

    /// The reason of the server's Status.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Conflicts(_) => "Conflict",
            Self::Invalid { .. } => "",
            Self::BadRequest { .. } => "BadRequest",
        }
    }
}

/// One apply: what everything below needs to know.
pub(super) struct Request<'a> {
    pub(super) schema: &'a Schema,
    pub(super) kind: TypeRef,
    pub(super) live: Option<&'a Value>,
    pub(super) applied: &'a Value,
    pub(super) options: &'a Apply<'a>,
}

/// Applies a configuration and returns the new object with its `managedFields`.
///
/// `live` must be in the stored form. The result is not yet: the caller decodes it ([`Schema::normalize`] drops the
/// nulls that removal leaves), sets defaults, and resets `status` (or, for the subresource, everything else) to what
/// it was.
///
/// # Errors
/// [`ApplyError`]: conflicts with other managers unless forced, or a configuration that does not fit its kind.
pub fn apply(
    schema: &Schema,
    live: Option<&Value>,
    applied: &Value,
    options: &Apply<'_>,
) -> Result<Value, ApplyError> {
    let request = Request { schema, kind: schema.of(applied), live, applied, options };
    request.check()?;
    if let Some(object) = request.unchanged() {
        return Ok(object);
    }
    request.check_types()?;
    let (mut object, managed) = request.run()?;
    if options.manager == last_applied::MANAGER {
        last_applied::refresh(&mut object, applied);
    }
    managed.write(&mut object);
    Ok(object)
}

impl Request<'_> {
    /// The live object, where this manager applied the same before and every value still stands: nothing to do, and
    /// by far the most frequent apply there is.
    fn unchanged(&self) -> Option<Value> {
        let live = self.live?;
        if self.options.manager == last_applied::MANAGER || !self.schema.agrees(self.kind, live, self.applied)
        {
            return None;
        }
        let wanted = self.entry();
        let entries = live.get("metadata")?.get("managedFields")?.as_array()?;
        let mine = entries.iter().find(|entry| {
            text(entry, "manager") == wanted.manager
                && text(entry, "operation") == Operation::Apply.as_str()
                && text(entry, "subresource") == wanted.subresource
                && text(entry, "apiVersion") == wanted.api_version
        })?;
        let fields = FieldSet::from_fields_v1(mine.get("fieldsV1")?).ok()?;
        (fields == self.owned_fields().difference(unowned())).then(|| live.clone())
    }

    /// What the configuration names, without what this request cannot write.
    fn owned_fields(&self) -> FieldSet {
        let reset = reset::fields(
            text(self.applied, "apiVersion"),
            text(self.applied, "kind"),
            self.options.subresource,
        );
        self.schema.fields(self.kind, self.applied).difference_below(reset)
    }

    fn check(&self) -> Result<(), ApplyError> {
        let version =
            |object: &Value| object.get("apiVersion").and_then(Value::as_str).unwrap_or_default().to_owned();
        if self.applied.pointer("/metadata/managedFields").is_some_and(Value::is_array) {
            return Err(ApplyError::BadRequest { message: "metadata.managedFields must be nil".to_owned() });
        }
        if let Some(expected) = self.live.map(version).filter(|expected| *expected != version(self.applied)) {
            let message = format!(
                "Incorrect version specified in apply patch. Specified patch version: {}, expected: {expected}",
                version(self.applied)
            );
            return Err(ApplyError::BadRequest { message });
        }
        Ok(())
    }

    fn check_types(&self) -> Result<(), ApplyError> {
        let misfits = self.schema.misfits(self.kind, self.applied, false);
        let Some(first) = misfits.first() else { return Ok(()) };
        let mut message = format!("failed to create typed patch object ({}): ", describe(self.applied));
        if misfits.len() == 1 {
            message.push_str(&first.to_string());
        } else {
            message.push_str("errors:");
            for misfit in &misfits {
                message.push_str("\n  ");
                message.push_str(&misfit.to_string());
            }
        }
        Err(ApplyError::Invalid { path: first.path.clone(), message })
    }

    fn run(&self) -> Result<(Value, Managed), ApplyError> {
        let managed = self.owners()?;
        let force = self.options.force;
        match self.merge(managed.clone(), force) {
            Err(ApplyError::Conflicts(conflicts)) if self.options.manager == last_applied::MANAGER => {
                let remaining = last_applied::remaining(self, conflicts);
                if remaining.is_empty() {
                    self.merge(managed, true)
                } else {
                    Err(ApplyError::Conflicts(remaining))
                }
            }
            done => done,
        }
    }

    /// Who owns what of the live object. What nobody owned before the first apply belongs to a manager of that name.
    fn owners(&self) -> Result<Managed, ApplyError> {
        let Some(live) = self.live else { return Ok(Managed::default()) };
        let managed = Managed::of(live).map_err(|problem| ApplyError::Invalid {
            path: ".metadata.managedFields".to_owned(),
            message: format!("failed to decode managed fields: {problem}"),
        })?;
        if !managed.0.is_empty() {
            return Ok(managed);
        }
        let before = update::Update {
            manager: "before-first-apply",
            subresource: self.options.subresource,
            now: self.options.now,
        };
        Ok(update::own(self.schema, self.kind, None, live, managed, &before))
    }

    /// Lays the configuration over the live object, removes what is no longer applied and settles who owns what.
    fn merge(&self, mut managed: Managed, force: bool) -> Result<(Value, Managed), ApplyError> {
        let mut entry = self.entry();
        let last = managed.take(&entry);
        let reset = reset::fields(&entry.api_version, text(self.applied, "kind"), &entry.subresource);
        entry.fields = self.owned_fields();
        let merged = match self.live {
            Some(live) => self.schema.combine(self.kind, live, self.applied),
            None => self.applied.clone(),
        };
        let object = match &last {
            Some(last) => self.prune(merged, &last.fields, &entry.fields, &managed),
            None => merged,
        };
        let mut written = true;
        if let Some(live) = self.live {
            let changes = self.schema.compare(self.kind, live, &object).without(reset);
            let conflicts = managed.give_up(&changes);
            if !force && !conflicts.is_empty() {
                return Err(ApplyError::Conflicts(conflicts));
            }
            written = !changes.is_empty() || !same_objects(live, &object);
        }
        entry.time =
            if written { Some(self.options.now.to_owned()) } else { last.and_then(|last| last.time) };
        entry.fields = entry.fields.difference(unowned());
        managed.0.push(entry);
        managed.drop_empty();
        Ok((object, managed))
    }

    fn entry(&self) -> Entry {
        Entry {
            manager: self.options.manager.to_owned(),
            operation: Operation::Apply,
            api_version: text(self.applied, "apiVersion").to_owned(),
            subresource: self.options.subresource.to_owned(),
            time: None,
            fields: FieldSet::EMPTY,
        }
    }

    /// Removes what this manager applied the last time, does not apply now, and nobody else owns.
    ///
    /// A list item goes as a whole, with what the server defaulted in it, unless somebody owns part of it.
    fn prune(&self, merged: Value, last: &FieldSet, now: &FieldSet, others: &Managed) -> Value {
        if now.covers(last) {
            return merged;
        }
        let schema = self.schema;
        let parents = |set: &FieldSet| schema.with_parents(Some(self.kind), set);
        let fields = |object: &Value| parents(&schema.fields(self.kind, object));
        let owned = others.0.iter().fold(now.clone(), |owned, entry| owned.union(&entry.fields));
        let (last, all) = (parents(last), fields(&merged));
        let pruned = schema.remove(self.kind, &merged, &last);
        // What went along although somebody owns it comes back,
        let unowned = all.difference(&fields(&pruned).union(&parents(&owned)));
        let pruned = schema.remove(self.kind, &merged, &unowned);
        // and what went along although this manager never owned it.
        let gone = all.difference(&fields(&pruned)).intersection(&last);
        schema.remove(self.kind, &merged, &gone)
    }
}

impl Managed {
    /// Takes from every manager what the changes touch; says what was theirs and is now another value.
    pub(super) fn give_up(&mut self, changes: &Comparison) -> Vec<Conflict> {
        if changes.is_empty() {
            return Vec::new();
        }
        let written = changes.modified.union(&changes.added);
        let mut conflicts = Vec::new();
        for entry in &mut self.0 {
            let lost = entry.fields.intersection(&written);
            if !lost.is_empty() {
                let found =
                    lost.paths().into_iter().map(|path| Conflict::new(entry, path)).collect::<Vec<_>>();
                conflicts.push((entry.identity(), found));
                entry.fields = entry.fields.difference(&lost);
            }
            if !changes.removed.is_empty() {
                entry.fields = entry.fields.difference(&changes.removed);
            }
        }
        conflicts.sort_by(|a, b| a.0.cmp(&b.0));
        conflicts.into_iter().flat_map(|(_, found)| found).collect()
    }
}

/// The fields that are never in a field set: what says which object it is, and what the server alone writes.
pub(super) fn unowned() -> &'static FieldSet {
    static UNOWNED: LazyLock<FieldSet> = LazyLock::new(|| {
        const METADATA: [&str; 9] = [
            "name",
            "namespace",
            "creationTimestamp",
            "selfLink",
            "uid",
            "clusterName",
            "generation",
            "managedFields",
            "resourceVersion",
        ];
        let top = ["apiVersion", "kind", "metadata"].map(|name| Path::of(&[name]));
        FieldSet::of(top.into_iter().chain(METADATA.map(|name| Path::of(&["metadata", name]))))
    });
    &UNOWNED
}

/// Says whether two objects are the same but for their `managedFields`.
#[must_use]
pub fn same_objects(left: &Value, right: &Value) -> bool {
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else { return same(left, right) };
    left.len() == right.len()
        && left.iter().all(|(name, value)| match (right.get(name), name.as_str()) {
            (Some(other), "metadata") => same_metadata(value, other),
            (Some(other), _) => same(value, other),
            (None, _) => false,
        })
}

fn same_metadata(left: &Value, right: &Value) -> bool {
    let (Some(left), Some(right)) = (left.as_object(), right.as_object()) else { return same(left, right) };
    let own = |name: &str| name != "managedFields";
    let count = |object: &serde_json::Map<String, Value>| object.keys().filter(|name| own(name)).count();
    count(left) == count(right)
        && left
            .iter()
            .filter(|(name, _)| own(name))
            .all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
}

/// An object as the server's messages name it: `shop/api; apps/v1, Kind=Deployment`.
fn describe(object: &Value) -> String {
    let meta = |name: &str| {
        object.get("metadata").and_then(|meta| meta.get(name)).and_then(Value::as_str).unwrap_or_default()
    };
    let api_version = text(object, "apiVersion");
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{}/{}; {slash}{api_version}, Kind={}", meta("namespace"), meta("name"), text(object, "kind"))
}

pub(super) fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}
