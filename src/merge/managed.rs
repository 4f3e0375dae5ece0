//! `metadata.managedFields`: which manager owns what, by which operation and since when.

use serde_json::{Map, Value};

use super::fieldset::FieldSet;
use super::path::quote;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

impl Operation {
    /// The word in `managedFields`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub manager: String,
    /// By which operation.
    pub operation: Operation,
    /// In which version of the kind the fields are named.
    pub api_version: String,
    /// Through which subresource; empty for the object itself.
    pub subresource: String,
    /// When the entry last changed, RFC 3339 in UTC to the second.
    pub time: Option<String>,
    /// What the manager owns.
    pub fields: FieldSet,
}

impl Entry {
    /// Says whether both entries are one manager's: appliers are told apart by name and subresource, updaters also
    /// by version.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// The text by which the server orders managers in messages.
    pub(super) fn identity(&self) -> String {
        let mut identity = Map::new();
        identity.insert("manager".into(), self.manager.as_str().into());
        identity.insert("operation".into(), self.operation.as_str().into());
        if self.operation == Operation::Update {
            identity.insert("apiVersion".into(), self.api_version.as_str().into());
        }
        if !self.subresource.is_empty() {
            identity.insert("subresource".into(), self.subresource.as_str().into());
        }
        Value::Object(identity).to_string()
    }

    /// The manager as conflict messages name it: `"kubectl" using apps/v1`, `"hpa" with subresource "scale"`.
    pub(super) fn describe(&self) -> String {
        let mut text = quote(&self.manager);
        if !self.subresource.is_empty() {
            text.push_str(" with subresource ");
            text.push_str(&quote(&self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(" using ");
            text.push_str(&self.api_version);
        }
        text
    }
}

/// All entries of an object, in no particular order until they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Managed(pub(super) Vec<Entry>);

impl Managed {
    /// Reads the entries of an object; an object without any has none.
    pub(super) fn of(object: &Value) -> Result<Self, String> {
        match object.pointer("/metadata/managedFields") {
            Some(Value::Array(entries)) => Self::read(entries),
            _ => Ok(Self::default()),
        }
    }

    fn read(list: &[Value]) -> Result<Self, String> {
        let mut managed = Self(Vec::with_capacity(list.len()));
        for (position, entry) in list.iter().enumerate() {
            let entry = read_entry(position, entry)?;
            match managed.find(&entry) {
                Some(place) => managed.0[place] = entry,
                None => managed.0.push(entry),
            }
        }
        Ok(managed)
    }

    pub(super) fn find(&self, entry: &Entry) -> Option<usize> {
        self.0.iter().position(|other| other.is(entry))
    }

    pub(super) fn take(&mut self, entry: &Entry) -> Option<Entry> {
        self.find(entry).map(|place| self.0.swap_remove(place))
    }

    /// Drops entries that own nothing any more.
    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// Writes the entries into an object, sorted as the server does: appliers first, then by time and name.
    pub(super) fn write(mut self, object: &mut Value) {
        let Some(object) = object.as_object_mut() else { return };
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        let Some(metadata) = metadata.as_object_mut() else { return };
        if self.0.is_empty() {
            metadata.shift_remove("managedFields");
            return;
        }
        self.0.sort_by(|a, b| {
            let order = |entry: &Entry| (entry.operation, seconds(entry.time.as_deref()));
            order(a)
                .cmp(&order(b))
                .then_with(|| a.manager.cmp(&b.manager))
                .then_with(|| a.api_version.cmp(&b.api_version))
                .then_with(|| a.subresource.cmp(&b.subresource))
        });
        let entries = self.0.into_iter().map(write_entry).collect();
        metadata.insert("managedFields".into(), Value::Array(entries));
    }

    /// Merges the oldest updaters into one entry a version, until no more than ten are left.
    ///
    /// The server's limit, so that objects that many hands touch do not grow without end.
    pub(super) fn cap_updaters(&mut self) {
        const MOST: usize = 10;
        const BUCKET: &str = "ancient-changes";
        let updaters = self.0.iter().filter(|entry| entry.operation == Operation::Update);
        let mut over = updaters.clone().count().saturating_sub(MOST);
        if over == 0 {
            return;
        }
        let mut oldest: Vec<Entry> = updaters.cloned().collect();
        oldest.sort_by_cached_key(|entry| (seconds(entry.time.as_deref()), entry.identity()));
        let mut first: Vec<Entry> = Vec::new();
        for entry in oldest {
            if over == 0 {
                break;
            }
            let Some(kept) = first.iter().find(|kept| kept.api_version == entry.api_version) else {
                first.push(entry);
                continue;
            };
            let mut bucket = Entry { manager: BUCKET.into(), subresource: String::new(), ..entry.clone() };
            let before = match self.take(&bucket) {
                Some(before) => Some(before),
                None => self.take(kept),
            };
            if let Some(before) = before {
                bucket.fields = entry.fields.union(&before.fields);
            }
            self.take(&entry);
            self.0.push(bucket);
            over -= 1;
        }
    }
}

fn read_entry(position: usize, entry: &Value) -> Result<Entry, String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return Err("operation must be `Apply` or `Update`".to_owned()),
    };
    if text("apiVersion").is_empty() {
        return Err("apiVersion must not be empty".to_owned());
    }
    match text("fieldsType") {
        "FieldsV1" => {}
        "" => return Err(format!("missing fieldsType in managed fields entry {position}")),
        other => {
            return Err(format!("invalid fieldsType {} in managed fields entry {position}", quote(other)));
        }
    }
    let fields = match entry.get("fieldsV1") {
        None | Some(Value::Null) => FieldSet::EMPTY,
        Some(fields) => {
            FieldSet::from_fields_v1(fields).map_err(|problem| format!("error decoding set: {problem}"))?
        }
    };
    Ok(Entry {
        manager: text("manager").to_owned(),
        operation,
        api_version: text("apiVersion").to_owned(),
        subresource: text("subresource").to_owned(),
        time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
        fields,
    })
}

fn write_entry(entry: Entry) -> Value {
    let mut written = Map::with_capacity(7);
    written.insert("manager".into(), entry.manager.into());
    written.insert("operation".into(), entry.operation.as_str().into());
    written.insert("apiVersion".into(), entry.api_version.into());
    if let Some(time) = entry.time {
        written.insert("time".into(), time.into());
    }
    written.insert("fieldsType".into(), "FieldsV1".into());
    written.insert("fieldsV1".into(), entry.fields.to_fields_v1());
    if !entry.subresource.is_empty() {
        written.insert("subresource".into(), entry.subresource.into());
    }
    Value::Object(written)
}

/// A time to the second; none is before all others.
fn seconds(time: Option<&str>) -> i64 {
    time.and_then(|time| time.parse::<jiff::Timestamp>().ok()).map_or(0, jiff::Timestamp::as_second)
}
