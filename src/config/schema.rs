//! The JSON Schemas of the kinds (draft-07, which editors read), generated from the types.
//!
//! The same schemas check the files here, so an editor and `branchline validate` never disagree.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::environment::{EnvironmentSpec, Releases};
use super::project::ProjectSpec;
use super::root::{AddonSpec, ClusterSpec, ConfigSpec};
use super::service::ServiceSpec;

/// The one version of the config format.
pub const API_VERSION: &str = "branchline.dev/v1";

/// The kinds of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is described in its own module")]
pub enum Kind {
    Config,
    Cluster,
    Project,
    Service,
    Addon,
    Environment,
    Releases,
}

impl Kind {
    /// All kinds, in the order in which people meet them.
    pub const ALL: [Self; 7] = [
        Self::Config,
        Self::Cluster,
        Self::Project,
        Self::Service,
        Self::Addon,
        Self::Environment,
        Self::Releases,
    ];

    /// The word that stands behind `kind:`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "Config",
            Self::Cluster => "Cluster",
            Self::Project => "Project",
            Self::Service => "Service",
            Self::Addon => "Addon",
            Self::Environment => "Environment",
            Self::Releases => "Releases",
        }
    }

    /// The kind of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The name of its schema file in `schema/v1/`.
    #[must_use]
    pub fn file(self) -> String {
        format!("{}.json", self.as_str().to_ascii_lowercase())
    }
}

/// The schema of a kind, as it stands in `schema/v1/`.
#[must_use]
pub fn schema(kind: Kind) -> Value {
    let mut schema = match kind {
        Kind::Config => document::<ConfigSpec>(kind),
        Kind::Cluster => document::<ClusterSpec>(kind),
        Kind::Project => document::<ProjectSpec>(kind),
        Kind::Service => document::<ServiceSpec>(kind),
        Kind::Addon => document::<AddonSpec>(kind),
        Kind::Environment => document::<EnvironmentSpec>(kind),
        Kind::Releases => document::<Releases>(kind),
    };
    schema.sort_all_objects();
    schema
}

/// The schema of the files `.branchline/service.yaml` of app repositories: the spec of a service, without envelope.
#[must_use]
pub fn app_service_schema() -> Value {
    let mut schema = spec::<ServiceSpec>();
    schema["$id"] = json!("https://branchline.dev/schemas/v1/app-service.json");
    schema["title"] = json!(".branchline/service.yaml of an app repository");
    schema.sort_all_objects();
    schema
}

fn spec<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.transforms.push(Box::new(RecursiveTransform(tidy)));
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Wraps the schema of a spec in the envelope that every document has.
fn document<T: JsonSchema>(kind: Kind) -> Value {
    let mut spec = spec::<T>();
    let map = spec.as_object_mut().expect("the schema of a struct is an object");
    let definitions = map.remove("definitions").unwrap_or_else(|| json!({}));
    map.remove("$schema");
    let title = map.remove("title");
    let description = map.get("description").cloned().or(title).unwrap_or_default();
    let texts = |what: &str, example: Value| json!({"type": "object", "description": what, "additionalProperties": {"type": "string", "maxLength": 1000}, "examples": [example]});
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": format!("https://branchline.dev/schemas/v1/{}", kind.file()),
        "title": kind.as_str(),
        "description": description,
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": API_VERSION, "description": "The version of the format.", "examples": [API_VERSION]},
            "kind": {"const": kind.as_str(), "description": "What the document describes.", "examples": [kind.as_str()]},
            "metadata": {
                "type": "object",
                "description": "What the document is called.",
                "additionalProperties": false,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 63, "description": "Its name, unique among its kind in the project.", "examples": ["shop"]},
                    "labels": texts("Words for people and searches.", json!({"team": "checkout"})),
                    "annotations": texts("Notes for tools, such as `branchline.dev/renamed-from`.", json!({"branchline.dev/renamed-from": "shop-api"})),
                },
                "examples": [{"name": "shop"}],
            },
            "spec": spec,
        },
        "definitions": definitions,
    })
}

/// Drops what Rust types add and no author needs: integer formats.
fn tidy(schema: &mut Schema) {
    if let Some(map) = schema.as_object_mut()
        && map
            .get("format")
            .and_then(Value::as_str)
            .is_some_and(|f| f.starts_with("uint") || f.starts_with("int"))
    {
        map.remove("format");
    }
}

/// The schema files by name, as `schema/v1/` holds them.
///
/// # Panics
/// Never: every schema is JSON.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    let text = |schema: &Value| serde_json::to_string_pretty(schema).expect("a schema is JSON") + "\n";
    let kinds = Kind::ALL.into_iter().map(|kind| (kind.file(), text(&schema(kind))));
    kinds.chain([("app-service.json".to_owned(), text(&app_service_schema()))]).collect()
}
