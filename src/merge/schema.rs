//! The types of Kubernetes objects, as far as merging, checking and serving them needs.
//!
//! The built-in data is `schema/openapi.json`: the parts of a real API server's `/openapi/v3` and discovery that
//! belong to the kinds served here, descriptions removed, and `schema/go_fields.json`: which optional fields the
//! server's Go types leave out when they hold the zero value, which no `OpenAPI` document says.
//! The test `the_committed_schema_is_the_servers` (tests/cluster/schema.rs) compares the first with a running server
//! and, told to, writes it anew.

mod openapi;
mod resources;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

pub use self::openapi::SchemaError;
pub use self::resources::{Resource, Subresource};

/// Points at a type of a [`Schema`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TypeRef(pub(super) u32);

impl TypeRef {
    /// Any value; a list or map is replaced as a whole.
    pub(super) const UNTYPED: Self = Self(0);
    /// Any value; what it is shows itself: maps merge key by key, lists are replaced as a whole.
    /// The type of kinds that the schema does not know.
    pub const DEDUCED: Self = Self(1);
}

/// Types by name, and the kinds of objects that they describe.
#[derive(Debug)]
pub struct Schema {
    pub(super) types: Vec<Type>,
    kinds: HashMap<String, HashMap<String, TypeRef>>,
    resources: Vec<Resource>,
    version: String,
}

/// What a value may be: any of a scalar, a list and a map.
#[derive(Clone, Debug, Default)]
pub(super) struct Type {
    pub(super) scalar: Option<ScalarKind>,
    pub(super) list: Option<ListType>,
    pub(super) map: Option<MapType>,
    /// The `format` of the document.
    pub(super) format: Option<Arc<str>>,
    /// The texts that the document allows; empty where any is.
    pub(super) allowed: Vec<Box<str>>,
}

/// The kinds of scalars that merging tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    /// An integer or a number.
    Numeric,
    /// A string.
    Text,
    /// A boolean.
    Boolean,
    /// Any scalar: int-or-string, quantities, times.
    Any,
}

/// A list and how its items are told apart.
#[derive(Clone, Debug)]
pub(super) struct ListType {
    pub(super) element: TypeRef,
    pub(super) items: Items,
}

/// How the items of a list are told apart.
#[derive(Clone, Debug)]
pub(super) enum Items {
    /// Not at all: the list is one value.
    Atomic,
    /// By their value.
    Set,
    /// By the values of these fields, sorted by name, with the defaults of absent ones.
    Keyed(Vec<(Arc<str>, Option<super::path::Scalar>)>),
}

/// A struct, a map, or both.
#[derive(Clone, Debug)]
pub(super) struct MapType {
    /// Sorted by name.
    pub(super) fields: Vec<Field>,
    /// The type of entries that are no declared fields; `None` where there may be none.
    pub(super) element: Option<TypeRef>,
    pub(super) atomic: bool,
}

/// A declared field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: Arc<str>,
    pub(super) kind: TypeRef,
    pub(super) default: Option<Value>,
    pub(super) required: bool,
    pub(super) presence: Presence,
}

/// When the server's answer holds a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// When it was set, to whatever value.
    Set,
    /// When it is not the zero of its type: `0`, `""`, `false`, an empty list or map.
    NotZero,
    /// Always: an unset one is the zero of its type, or null for lists, maps and pointers.
    Always,
}

impl ListType {
    pub(super) fn is_atomic(&self) -> bool {
        matches!(self.items, Items::Atomic)
    }
}

impl MapType {
    pub(super) fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok().map(|place| &self.fields[place])
    }

    /// The type below a key, and whether the key is a declared field.
    pub(super) fn below(&self, name: &str) -> Option<(TypeRef, Option<&Field>)> {
        match self.field(name) {
            Some(field) => Some((field.kind, Some(field))),
            None => self.element.map(|element| (element, None)),
        }
    }
}

impl Schema {
    /// The kinds that Branchline's templates and its embedded API know, as Kubernetes 1.34 defines them.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static BUILTIN: LazyLock<Schema> = LazyLock::new(|| {
            let document: Value = serde_json::from_str(include_str!("schema/openapi.json"))
                .expect("the committed document is JSON; a test reads it");
            let go = serde_json::from_str(include_str!("schema/go_fields.json"))
                .expect("the committed list is JSON; a test reads it");
            Schema::read(&document, &go).expect("the committed document is a schema; a test reads it")
        });
        &BUILTIN
    }

    /// Reads the `components` of an `/openapi/v3` document: the definitions and the kinds they declare.
    ///
    /// # Errors
    /// [`SchemaError`] names the definition that merging cannot use.
    pub fn from_openapi(document: &Value) -> Result<Self, SchemaError> {
        let schemas = document.pointer("/components/schemas").or_else(|| document.get("schemas"));
        Self::read(&serde_json::json!({ "schemas": schemas }), &Value::Null)
    }

    fn read(document: &Value, go: &Value) -> Result<Self, SchemaError> {
        let (types, kinds) = openapi::types(document.get("schemas").unwrap_or(&Value::Null), go)?;
        let resources = document.get("resources").map_or_else(|| Ok(Vec::new()), resources::read)?;
        let version = document.get("version").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { types, kinds, resources, version })
    }

    /// The type of a kind, `None` where the schema does not know it; then [`TypeRef::DEDUCED`] is the server's answer
    /// to custom resources.
    #[must_use]
    pub fn kind(&self, api_version: &str, kind: &str) -> Option<TypeRef> {
        self.kinds.get(api_version)?.get(kind).copied()
    }

    /// The type of an object by its own words, deduced where the schema does not know the kind.
    #[must_use]
    pub fn of(&self, object: &Value) -> TypeRef {
        let text = |key| object.get(key).and_then(Value::as_str).unwrap_or_default();
        self.kind(text("apiVersion"), text("kind")).unwrap_or(TypeRef::DEDUCED)
    }

    /// The resources of the built-in kinds as the server's discovery lists them; empty for other schemas.
    #[must_use]
    pub fn resources(&self) -> &[Resource] {
        &self.resources
    }

    /// The `gitVersion` of the server that the schema was taken from.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn get(&self, kind: TypeRef) -> &Type {
        &self.types[kind.0 as usize]
    }
}

/// What a value of a type may be, for those who check or default objects field by field.
#[derive(Debug)]
pub enum Shape<'a> {
    /// A scalar, with the format of the `OpenAPI` document (`int32`, `int-or-string`, `date-time`, …).
    Scalar(ScalarKind, Option<&'a str>),
    /// A list of one type.
    List(TypeRef),
    /// A struct: its declared fields by name.
    Struct(Vec<Property<'a>>),
    /// A map with values of one type.
    Map(TypeRef),
    /// Anything.
    Any,
}

/// A declared field of a struct.
#[derive(Debug)]
pub struct Property<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub kind: TypeRef,
    /// The default that the document declares; the zero of structs is `{}`.
    pub default: Option<&'a Value>,
    /// Whether the document requires it.
    pub required: bool,
}

impl Schema {
    /// Describes a type.
    pub fn shape(&self, kind: TypeRef) -> Shape<'_> {
        let found = self.get(kind);
        match found {
            Type { map: Some(map), scalar: None, .. } if !map.fields.is_empty() => {
                Shape::Struct(map.fields.iter().map(Field::describe).collect())
            }
            Type { map: Some(MapType { element: Some(element), .. }), scalar: None, .. } => {
                Shape::Map(*element)
            }
            Type { list: Some(list), scalar: None, .. } => Shape::List(list.element),
            Type { scalar: Some(scalar), list: None, map: None, format, .. } => {
                Shape::Scalar(*scalar, format.as_deref())
            }
            Type { scalar: Some(scalar), format: Some(format), .. } => Shape::Scalar(*scalar, Some(format)),
            _ => Shape::Any,
        }
    }

    /// The texts that a scalar type allows; empty where any is.
    pub fn allowed(&self, kind: TypeRef) -> impl Iterator<Item = &str> {
        self.get(kind).allowed.iter().map(|text| &**text)
    }

    /// Finds a declared field of a struct type.
    pub fn property(&self, kind: TypeRef, name: &str) -> Option<Property<'_>> {
        self.get(kind).map.as_ref()?.field(name).map(Field::describe)
    }
}

impl Field {
    fn describe(&self) -> Property<'_> {
        Property {
            name: &self.name,
            kind: self.kind,
            default: self.default.as_ref(),
            required: self.required,
        }
    }
}
