//! One document: its envelope, its typed spec, and the tree that knows the place of every value.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::environment::{EnvironmentSpec, Releases};
use super::problem::{Problem, Scope};
use super::project::ProjectSpec;
use super::root::{ClusterSpec, ConfigSpec};
use super::schema::{API_VERSION, Kind};
use super::service::ServiceSpec;
use super::{unsupported, validate};
use crate::name::ProjectName;
use crate::yaml::{Limits, Node, Place, read};

/// Why a link is not read.
pub const LINK: &str = "it is a symbolic link, and those are not followed; hint: put the file itself there";
/// Why a submodule is not read.
pub const SUBMODULE: &str =
    "it is a submodule, and those are not followed; hint: put the files themselves there";
/// The largest file in bytes that is read.
pub const LARGEST: u64 = 4 << 20;

/// Why a file over [`LARGEST`] is not read.
#[must_use]
pub fn too_large(bytes: u64) -> String {
    format!("the file has {bytes} bytes, more than the {LARGEST} that are read; hint: keep it elsewhere")
}

/// A file of a repository, as Git has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path from the root of the config.
    pub path: String,
    /// The id of its blob, or any text that changes when its content does.
    pub id: String,
    /// Its content; or why it is not read, and the way out after `hint: `.
    pub bytes: Result<Arc<[u8]>, String>,
}

/// A document of a known kind, with its typed spec.
#[derive(Debug, Clone, PartialEq)]
pub struct Document<T> {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `metadata.annotations`.
    pub annotations: BTreeMap<String, String>,
    /// `spec`.
    pub spec: T,
    /// The whole document with its places; `/spec/…` points into the spec.
    pub node: Node,
    /// The id of the blob that it stands in.
    pub blob: String,
}

impl<T> Document<T> {
    /// The place of the value at a pointer such as `/spec/ports/0`, or of the nearest value above it.
    #[must_use]
    pub fn place(&self, pointer: &str) -> &Place {
        self.node.nearest(pointer)
    }

    /// The place of its name.
    #[must_use]
    pub fn name_place(&self) -> &Place {
        self.place("/metadata/name")
    }
}

/// A document whose envelope is sound and whose spec satisfies its schema.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Checked {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Where its name stands.
    pub(super) place: Place,
    pub(super) typed: Result<Typed, Problem>,
}

/// A document with the spec of its kind.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Typed {
    Config(Arc<Document<ConfigSpec>>),
    Cluster(Arc<Document<ClusterSpec>>),
    Project(Arc<Document<ProjectSpec>>),
    Service(Arc<Document<ServiceSpec>>),
    Environment(Arc<Document<EnvironmentSpec>>),
    Releases(Arc<Document<Releases>>),
    /// Add-ons are refused before they are typed.
    Addon,
}

/// Everything that a file says, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Read {
    pub(super) documents: Vec<Checked>,
    pub(super) problems: Vec<Problem>,
}

fn typed<T: DeserializeOwned>(
    kind: Kind,
    name: &str,
    node: Node,
    blob: &str,
) -> Result<Arc<Document<T>>, Problem> {
    let spec = node.get("spec").map_or(serde_json::Value::Null, Node::to_json);
    let spec = serde_json::from_value(spec).map_err(|error| {
        // the schema has passed, so this is a rule that only the type knows, such as the shape of a period
        let place = node.nearest("/spec").clone();
        Problem::new(place, format!("{} `{name}`: {error}", kind.as_str()))
    })?;
    let texts = |key: &str| {
        let entries = node.at("/metadata").and_then(|m| m.get(key)).map(Node::entries).unwrap_or_default();
        entries.iter().filter_map(|(k, v)| Some((k.name.clone(), v.as_str()?.to_owned()))).collect()
    };
    Ok(Arc::new(Document {
        labels: texts("labels"),
        annotations: texts("annotations"),
        name: name.to_owned(),
        spec,
        node,
        blob: blob.to_owned(),
    }))
}

/// Reads the documents of a file. What is wrong with one does not touch the others.
pub(super) fn read_file(file: &File) -> Read {
    let mut problems = Vec::new();
    let documents = documents(file, &mut problems);
    Read { documents, problems }
}

fn documents(file: &File, problems: &mut Vec<Problem>) -> Vec<Checked> {
    let start = Place { file: file.path.as_str().into(), line: 1, column: 1 };
    let mut refuse = |problem: Problem| problems.push(problem.within(Scope::File(file.path.clone())));
    let bytes = match &file.bytes {
        Ok(bytes) => bytes,
        Err(why) => {
            refuse(Problem::refused(start, why));
            return Vec::new();
        }
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        refuse(
            Problem::new(start, "the file is not UTF-8").hint("save it as UTF-8 without a byte order mark"),
        );
        return Vec::new();
    };
    let nodes = match read(&file.path, text.strip_prefix('\u{feff}').unwrap_or(text), &Limits::config()) {
        Ok(nodes) => nodes,
        Err(error) => {
            refuse(Problem::refused(error.place, &error.message));
            return Vec::new();
        }
    };
    if nodes.is_empty() {
        refuse(Problem::new(start, "the file holds no document").hint("remove it, or write one"));
    }
    nodes.into_iter().filter_map(|node| check(node, file, problems)).collect()
}

/// Checks the envelope first, because a document of an unknown kind has no schema to be held against.
fn check(node: Node, file: &File, problems: &mut Vec<Problem>) -> Option<Checked> {
    let scope = scope_of(&node, &file.path);
    let mut refuse = |problem: Problem| problems.push(problem.within(scope.clone()));
    let Some(word) = node.get("kind").and_then(Node::as_str) else {
        refuse(Problem::new(node.place.clone(), "the document has no `kind`").hint(kinds()));
        return None;
    };
    let Some(kind) = Kind::parse(word) else {
        let place = node.nearest("/kind").clone();
        refuse(Problem::new(place, format!("there is no kind `{word}`")).hint(did_you_mean_kind(word)));
        return None;
    };
    match node.get("apiVersion").and_then(Node::as_str) {
        Some(API_VERSION) => {}
        Some(other) => {
            let place = node.nearest("/apiVersion").clone();
            let hint = format!("this version of Branchline reads {API_VERSION}");
            refuse(
                Problem::new(place, format!("`{other}` is an API version that is not known here")).hint(hint),
            );
            return None;
        }
        None => {
            refuse(
                Problem::new(node.place.clone(), "the document has no `apiVersion`")
                    .hint(format!("apiVersion: {API_VERSION}")),
            );
            return None;
        }
    }
    let found = [validate::against_schema(kind, &node), unsupported::found(kind, &node)].concat();
    let sound = found.is_empty();
    found.into_iter().for_each(refuse);
    let name = node.at("/metadata/name").and_then(Node::as_str).filter(|_| sound)?.to_owned();
    let place = node.nearest("/metadata/name").clone();
    let blob = &file.id;
    let typed = match kind {
        Kind::Config => typed(kind, &name, node, blob).map(Typed::Config),
        Kind::Cluster => typed(kind, &name, node, blob).map(Typed::Cluster),
        Kind::Project => typed(kind, &name, node, blob).map(Typed::Project),
        Kind::Service => typed(kind, &name, node, blob).map(Typed::Service),
        Kind::Environment => typed(kind, &name, node, blob).map(Typed::Environment),
        Kind::Releases => typed(kind, &name, node, blob).map(Typed::Releases),
        Kind::Addon => Ok(Typed::Addon),
    };
    Some(Checked { kind, name, place, typed })
}

/// What a document that is wrong takes down: itself, where its kind and name can be read.
fn scope_of(node: &Node, path: &str) -> Scope {
    let file = || Scope::File(path.to_owned());
    let Some(project) = project_of(path) else {
        let config = node.get("kind").and_then(Node::as_str) == Some("Config");
        return if config { Scope::Repository } else { file() };
    };
    let name = node.at("/metadata/name").and_then(Node::as_str).unwrap_or_default();
    match node.get("kind").and_then(Node::as_str) {
        Some("Project") => Scope::Project(project),
        Some("Service") => name.parse().map_or_else(|_| file(), |name| Scope::Service(project, name)),
        Some("Environment" | "Releases") => {
            name.parse().map_or_else(|_| file(), |name| Scope::Environment(project, name))
        }
        _ => file(),
    }
}

/// The project in whose folder a file stands.
pub(super) fn project_of(path: &str) -> Option<ProjectName> {
    path.strip_prefix("projects/")?.split('/').next()?.parse().ok()
}

fn kinds() -> String {
    format!("one of {}", Kind::ALL.map(Kind::as_str).join(", "))
}

fn did_you_mean_kind(word: &str) -> String {
    validate::did_you_mean(word, Kind::ALL.iter().map(|kind| kind.as_str())).unwrap_or_else(kinds)
}
