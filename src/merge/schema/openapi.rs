//! From `OpenAPI` v3 definitions to types, by the rules of the server's own conversion.
//!
//! `x-kubernetes-list-type` (else the patch strategy) says how items are told apart, `x-kubernetes-map-type` whether a
//! map or struct is one value. Both also stand on a reference, and then hold for that field alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Field, Items, ListType, MapType, Presence, ScalarKind, Type, TypeRef};
use crate::merge::path::Scalar;

/// Why a document is no schema that objects can be merged by.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The document holds no definitions.
    #[error("no definitions at components.schemas; hint: pass a document of /openapi/v3")]
    NoDefinitions,
    /// A definition refers to one that is not there.
    #[error(
        "{definition} refers to {missing}, which is not in the document; hint: pass the documents of all groups that it uses"
    )]
    Dangling {
        /// Where the reference stands.
        definition: String,
        /// What it names.
        missing: String,
    },
    /// A definition uses a marker in a way that merging does not know.
    #[error("{definition}: {problem}; hint: is this a document of another Kubernetes version?")]
    Marker {
        /// Where it stands.
        definition: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The list of resources cannot be read.
    #[error("the list of resources cannot be read; hint: regenerate it from a server")]
    Resources(#[source] serde_json::Error),
}

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const RAW_EXTENSION: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";

type Kinds = HashMap<String, HashMap<String, TypeRef>>;

/// Converts the definitions; `go` is the list of fields whose presence the document does not tell.
pub(super) fn types(definitions: &Value, go: &Value) -> Result<(Vec<Type>, Kinds), SchemaError> {
    let Value::Object(definitions) = definitions else { return Err(SchemaError::NoDefinitions) };
    let mut reader =
        Reader { types: vec![untyped(), deduced()], named: HashMap::new(), atomic: HashMap::new() };
    for name in definitions.keys() {
        let kind = reader.add(Type::default());
        reader.named.insert(name.as_str(), kind);
    }
    let mut kinds = Kinds::new();
    for (name, definition) in definitions {
        let facts = Facts::of(go, name);
        let kind = reader.named[name.as_str()];
        reader.types[kind.0 as usize] = match name.as_str() {
            QUANTITY => {
                Type { scalar: Some(ScalarKind::Any), format: Some("quantity".into()), ..Type::default() }
            }
            RAW_EXTENSION => untyped(),
            _ => reader.definition(name, definition, &facts)?,
        };
        for (api_version, object_kind) in group_version_kinds(definition) {
            kinds.entry(api_version).or_default().insert(object_kind, kind);
        }
    }
    reader.resolve_atomic();
    let mut types = reader.types;
    complete_keys(&mut types);
    complete_presence(&mut types);
    Ok((types, kinds))
}

fn untyped() -> Type {
    Type {
        scalar: Some(ScalarKind::Any),
        list: Some(ListType { element: TypeRef::UNTYPED, items: Items::Atomic }),
        map: Some(MapType { fields: Vec::new(), element: Some(TypeRef::UNTYPED), atomic: true }),
        format: None,
        allowed: Vec::new(),
    }
}

fn deduced() -> Type {
    Type {
        map: Some(MapType { fields: Vec::new(), element: Some(TypeRef::DEDUCED), atomic: false }),
        ..untyped()
    }
}

/// The fields of one Go type whose presence the document does not tell.
struct Facts<'a> {
    zero: HashSet<&'a str>,
    always: HashSet<&'a str>,
}

impl<'a> Facts<'a> {
    fn of(go: &'a Value, name: &str) -> Self {
        let names = |list: &str| {
            let found = go.get(list).and_then(|types| types.get(name)).and_then(Value::as_array);
            found.into_iter().flatten().filter_map(Value::as_str).collect()
        };
        Self { zero: names("zero"), always: names("always") }
    }
}

struct Reader<'a> {
    types: Vec<Type>,
    named: HashMap<&'a str, TypeRef>,
    /// Types made for references that override the map type: (what they refer to, atomic) → the copy.
    atomic: HashMap<(TypeRef, bool), TypeRef>,
}

impl Reader<'_> {
    fn add(&mut self, kind: Type) -> TypeRef {
        let place = u32::try_from(self.types.len()).expect("a document has far fewer than 2^32 types");
        self.types.push(kind);
        TypeRef(place)
    }

    fn definition(&mut self, name: &str, schema: &Value, facts: &Facts<'_>) -> Result<Type, SchemaError> {
        let kind = schema.get("type").and_then(Value::as_str);
        let format = schema.get("format").and_then(Value::as_str);
        let scalar = match (kind, format) {
            (Some("integer" | "number"), _) => Some(ScalarKind::Numeric),
            (Some("boolean"), _) => Some(ScalarKind::Boolean),
            (Some("string"), None | Some("byte")) => Some(ScalarKind::Text),
            (Some("string") | None, _) => Some(ScalarKind::Any),
            _ => None,
        };
        let list = if matches!(kind, Some("array") | None) { Some(self.list(name, schema)?) } else { None };
        let map =
            if matches!(kind, Some("object") | None) { Some(self.map(name, schema, facts)?) } else { None };
        let allowed = strings(schema.get("enum")).map(Box::from).collect();
        Ok(Type { scalar, list, map, format: format.map(Arc::from), allowed })
    }

    fn list(&mut self, name: &str, schema: &Value) -> Result<ListType, SchemaError> {
        let element = match schema.get("items") {
            Some(items) => self.reference(name, items)?,
            None => TypeRef::UNTYPED,
        };
        let text = |key: &str| schema.get(key).and_then(Value::as_str);
        let keyed =
            |keys: Vec<&str>| Items::Keyed(keys.into_iter().map(|key| (Arc::from(key), None)).collect());
        let items = match (text("x-kubernetes-list-type"), text("x-kubernetes-patch-strategy")) {
            (Some("atomic"), _) | (None, None | Some("retainKeys")) => Items::Atomic,
            (Some("set"), _) => Items::Set,
            (Some("map"), _) => {
                let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                let mut keys: Vec<&str> = keys.into_iter().flatten().filter_map(Value::as_str).collect();
                keys.sort_unstable();
                if keys.is_empty() {
                    return Err(SchemaError::Marker {
                        definition: name.to_owned(),
                        problem: "a list of type map without keys".to_owned(),
                    });
                }
                keyed(keys)
            }
            (None, Some("merge" | "merge,retainKeys")) => {
                text("x-kubernetes-patch-merge-key").map_or(Items::Set, |key| keyed(vec![key]))
            }
            (Some(other), _) | (None, Some(other)) => {
                return Err(SchemaError::Marker {
                    definition: name.to_owned(),
                    problem: format!("unknown list type or patch strategy {other}"),
                });
            }
        };
        Ok(ListType { element, items })
    }

    fn map(&mut self, name: &str, schema: &Value, facts: &Facts<'_>) -> Result<MapType, SchemaError> {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let required: HashSet<&str> = strings(schema.get("required")).collect();
        let mut fields = Vec::with_capacity(properties.len());
        for (field, property) in properties {
            let kind = self.reference(name, property)?;
            let default = property.get("default").filter(|default| !default.is_null()).cloned();
            fields.push(Field {
                presence: presence(field, default.as_ref(), required.contains(field.as_str()), facts),
                required: required.contains(field.as_str()),
                name: Arc::from(field.as_str()),
                kind,
                default,
            });
        }
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        let preserve = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        let element = match schema.get("additionalProperties") {
            None if preserve || fields.is_empty() => Some(TypeRef::DEDUCED),
            Some(Value::Bool(true)) => Some(TypeRef::DEDUCED),
            None | Some(Value::Bool(false)) => None,
            Some(below) => Some(self.reference(name, below)?),
        };
        Ok(MapType { fields, element, atomic: map_type(name, schema)? == Some(true) })
    }

    /// The type of a property or item: a reference, also one wrapped in `allOf`, or a type of its own.
    fn reference(&mut self, name: &str, schema: &Value) -> Result<TypeRef, SchemaError> {
        let wrapped =
            schema.get("allOf").and_then(Value::as_array).filter(|all| all.len() == 1).map(|all| &all[0]);
        let pointer = schema.get("$ref").or_else(|| wrapped?.get("$ref")).and_then(Value::as_str);
        let Some(pointer) = pointer else {
            let facts = Facts { zero: HashSet::new(), always: HashSet::new() };
            let inline = self.definition(name, schema, &facts)?;
            return Ok(self.add(inline));
        };
        let target = pointer.rsplit('/').next().unwrap_or(pointer);
        let Some(kind) = self.named.get(target).copied() else {
            return Err(SchemaError::Dangling { definition: name.to_owned(), missing: target.to_owned() });
        };
        let Some(atomic) = map_type(name, schema)? else { return Ok(kind) };
        if let Some(copy) = self.atomic.get(&(kind, atomic)) {
            return Ok(*copy);
        }
        let copy = self.add(Type::default());
        self.atomic.insert((kind, atomic), copy);
        Ok(copy)
    }

    /// Fills the copies that references with a map type of their own stand for, once all definitions are read.
    fn resolve_atomic(&mut self) {
        for ((kind, atomic), copy) in &self.atomic {
            let mut found = self.types[kind.0 as usize].clone();
            if let Some(map) = &mut found.map {
                map.atomic = *atomic;
            }
            self.types[copy.0 as usize] = found;
        }
    }
}

fn map_type(name: &str, schema: &Value) -> Result<Option<bool>, SchemaError> {
    match schema.get("x-kubernetes-map-type").map(Value::as_str) {
        None => Ok(None),
        Some(Some("atomic")) => Ok(Some(true)),
        Some(Some("granular")) => Ok(Some(false)),
        Some(other) => Err(SchemaError::Marker {
            definition: name.to_owned(),
            problem: format!("unknown map type {}", other.unwrap_or("that is no text")),
        }),
    }
}

/// What the document and the list tell; [`complete_presence`] adds what depends on the field's type.
fn presence(field: &str, default: Option<&Value>, required: bool, facts: &Facts<'_>) -> Presence {
    let zero = match default {
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(Value::Bool(value)) => !value,
        Some(Value::Object(fields)) => fields.is_empty(),
        _ => false,
    };
    if facts.zero.contains(field) {
        Presence::NotZero
    } else if zero || required || facts.always.contains(field) {
        Presence::Always
    } else {
        Presence::Set
    }
}

/// Optional lists and maps are left out when empty: the server's Go types have no pointers to them.
fn complete_presence(types: &mut [Type]) {
    let containers: Vec<bool> = types
        .iter()
        .map(|kind| {
            let map = kind.map.as_ref().is_some_and(|map| map.fields.is_empty() && map.element.is_some());
            kind.scalar.is_none() && (kind.list.is_some() || map)
        })
        .collect();
    for field in types.iter_mut().filter_map(|kind| kind.map.as_mut()).flat_map(|map| &mut map.fields) {
        if field.presence == Presence::Set && containers[field.kind.0 as usize] {
            field.presence = Presence::NotZero;
        }
    }
}

/// Gives the keys of lists the defaults that their items' fields declare.
fn complete_keys(types: &mut [Type]) {
    let mut found = Vec::new();
    for (place, kind) in types.iter().enumerate() {
        let Some(ListType { element, items: Items::Keyed(keys) }) = &kind.list else { continue };
        let item = types[element.0 as usize].map.as_ref();
        let default = |key: &str| item.and_then(|item| item.field(key)?.default.as_ref()).map(Scalar::from);
        found.push((place, keys.iter().map(|(key, _)| (Arc::clone(key), default(key))).collect()));
    }
    for (place, keys) in found {
        if let Some(list) = &mut types[place].list {
            list.items = Items::Keyed(keys);
        }
    }
}

fn group_version_kinds(definition: &Value) -> Vec<(String, String)> {
    let list = definition.get("x-kubernetes-group-version-kind").and_then(Value::as_array);
    let text = |entry: &Value, key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
    list.into_iter()
        .flatten()
        .filter_map(|entry| {
            let (group, version, kind) =
                (text(entry, "group")?, text(entry, "version")?, text(entry, "kind")?);
            Some((if group.is_empty() { version } else { format!("{group}/{version}") }, kind))
        })
        .collect()
}

fn strings(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}
