//! Lists: selection, pages, and the forms in which a list is written.

use super::answer::{self, Body, Form};
use super::route::Target;
use super::{Api, Call};
use crate::embedded::kinds::Kind;
use crate::embedded::select::Selector;
use crate::embedded::status::{Cause, Refusal};
use crate::embedded::storage::{Key, Snapshot};
use crate::embedded::table;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::Response;
use serde_json::{Map, Value, json};

impl Api {
    /// GET of a collection.
    pub(super) fn list(&self, target: &Target, call: &Call) -> Result<Response<Body>, Refusal> {
        let selector = selector(target, call)?;
        let limit = call.query.number("limit")?.and_then(|limit| usize::try_from(limit).ok());
        let limit = limit.filter(|limit| *limit > 0);
        let token = call.query.text("continue");
        let start = if token.is_empty() { None } else { Some(Continue::parse(token)?) };
        let asked = call.query.text("resourceVersion");
        let matching = call.query.text("resourceVersionMatch");
        let exact = matching == "Exact";
        check_match(matching, asked)?;
        let snapshot = self.storage.list(
            target.kind,
            target.namespace.as_deref(),
            start.as_ref().map(|start| &start.after),
            limit,
            |stored| selector.is_everything() || selector.matches(&stored.value),
        );
        if let Some(asked) = version(asked)? {
            if asked > snapshot.revision {
                return Err(Refusal::from_the_future(asked, snapshot.revision));
            }
            // the past of an object is not kept
            if exact && asked != snapshot.revision {
                return Err(Refusal::gone("The resourceVersion for the provided list is too old."));
            }
        }
        // later pages tell the state of their own time, and the revision of the first: a watch from there misses
        // nothing
        let revision = start.map_or(snapshot.revision, |start| start.revision);
        let metadata = list_metadata(&snapshot, revision, &selector);
        Ok(self.listed(target.kind, call.form, &snapshot, metadata))
    }

    pub(super) fn listed(
        &self,
        kind: &Kind,
        form: Form,
        snapshot: &Snapshot,
        metadata: Value,
    ) -> Response<Body> {
        match form {
            Form::Full | Form::Discovery => answer::json_bytes(200, full(kind, snapshot, &metadata)),
            Form::Table => {
                let objects: Vec<&Value> = snapshot.objects.iter().map(|stored| &stored.value).collect();
                answer::json(200, &table::of(kind, &objects, &metadata, self.clock.now(), true))
            }
            Form::Metadata | Form::MetadataList => {
                let items: Vec<Value> =
                    snapshot.objects.iter().map(|stored| partial(&stored.value, true)).collect();
                answer::json(
                    200,
                    &json!({
                        "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                        "metadata": metadata, "items": items,
                    }),
                )
            }
        }
    }
}

/// Reads both selectors.
pub(super) fn selector(target: &Target, call: &Call) -> Result<Selector, Refusal> {
    Selector::parse(target.kind, call.query.text("labelSelector"), call.query.text("fieldSelector"))
}

fn check_match(matching: &str, version: &str) -> Result<(), Refusal> {
    const FIELD: &str = "resourceVersionMatch";
    let cause = match (matching, version) {
        ("", _) => return Ok(()),
        (_, "") => {
            Cause::forbidden(FIELD, "resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        ("Exact", "0") => {
            Cause::forbidden(FIELD, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        ("Exact" | "NotOlderThan", _) => return Ok(()),
        (other, _) => Cause::unsupported_in_order(FIELD, &Value::from(other), &["Exact", "NotOlderThan", ""]),
    };
    Err(Refusal::invalid_object("ListOptions", "meta.k8s.io", "", &[cause]))
}

/// Reads a `resourceVersion`; `None`: not given, or `0`, any.
pub(super) fn version(text: &str) -> Result<Option<u64>, Refusal> {
    match text {
        "" | "0" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            Refusal::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: {text:?}: \
                 strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        }),
    }
}

fn list_metadata(snapshot: &Snapshot, revision: u64, selector: &Selector) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string()});
    if let Some(after) = &snapshot.last {
        metadata["continue"] = Value::from(Continue { revision, after: after.clone() }.to_string());
        // with a selector the server does not count what remains
        if selector.is_everything() {
            metadata["remainingItemCount"] = Value::from(snapshot.remaining);
        }
    }
    metadata
}

fn full(kind: &Kind, snapshot: &Snapshot, metadata: &Value) -> Bytes {
    let mut bytes = BytesMut::new();
    let (list_kind, api_version) = (kind.list_kind, kind.api_version);
    bytes.put_slice(
        format!(
            "{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":["
        )
        .as_bytes(),
    );
    for (at, stored) in snapshot.objects.iter().enumerate() {
        bytes.put_slice(if at == 0 { b"{" } else { b",{" });
        bytes.put_slice(&stored.list_item(kind));
    }
    bytes.put_slice(b"]}");
    bytes.freeze()
}

/// An object reduced to its metadata.
pub(crate) fn partial(object: &Value, typed: bool) -> Value {
    let mut map = Map::new();
    if typed {
        map.insert("kind".to_owned(), Value::from("PartialObjectMetadata"));
        map.insert("apiVersion".to_owned(), Value::from("meta.k8s.io/v1"));
    }
    map.insert("metadata".to_owned(), object["metadata"].clone());
    Value::Object(map)
}

/// Where the next page starts.
struct Continue {
    revision: u64,
    after: Key,
}

impl std::fmt::Display for Continue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = format!("{}/{}\0", self.after.namespace, self.after.name);
        let token = json!({"v": "meta.k8s.io/v1", "rv": self.revision, "start": start});
        f.write_str(&URL_SAFE_NO_PAD.encode(token.to_string()))
    }
}

impl Continue {
    fn parse(token: &str) -> Result<Self, Refusal> {
        let refuse = |what: &str| {
            Refusal::bad_request(format!("invalid continue token: continue key is not valid: {what}"))
        };
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|error| refuse(&error.to_string()))?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|error| refuse(&error.to_string()))?;
        let start = token["start"].as_str().unwrap_or_default().trim_end_matches('\0');
        let (Some(revision), Some((namespace, name))) = (token["rv"].as_u64(), start.split_once('/')) else {
            return Err(refuse("incomplete"));
        };
        Ok(Self { revision, after: Key::new(namespace, name) })
    }
}
