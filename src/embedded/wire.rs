//! How an object is written: the fields of every served type, in order, and what is left out of JSON when empty.
//!
//! The real server decodes a request into Go structs and encodes those again, so what it stores differs from what
//! was sent: unknown fields and nulls are gone, empty optional values are gone, quantities are canonical, structs
//! that are not pointers stand as `{}`. `OpenAPI` does not tell these facts, so they are kept in `wire/types.txt`,
//! generated from the field tags of `k8s.io/api` 0.34: one type a line, one field a word
//! (`name:type`, `*` pointer, `[]` list, `{}` map of strings, `?` omitempty, `!` omitzero, `@key` patch merge key,
//! `^` retainKeys).

mod read;

pub(crate) use read::read;

use std::collections::HashMap;
use std::sync::LazyLock;

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Struct(usize),
    List(Box<Shape>),
    Map(Box<Shape>),
    /// With the name of the Go type, which the server prints when it is not a string.
    String(&'static str),
    Bool,
    /// With its width in bits.
    Int(u8),
    Quantity,
    Time,
    MicroTime,
    IntOrString,
    Bytes,
    Raw,
}

/// One field of a type.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) pointer: bool,
    pub(crate) omit_empty: bool,
    pub(crate) omit_zero: bool,
    /// Strategic merge: lists of objects are merged by this key; `""` merges lists of plain values.
    pub(crate) merge_key: Option<&'static str>,
}

/// One struct type.
#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<Field>,
    index: HashMap<&'static str, usize>,
    /// Fields that stand in the JSON even when nothing was given.
    always: Vec<usize>,
}

impl Type {
    /// The field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.index.get(name).map(|&at| &self.fields[at])
    }
}

/// All types.
#[derive(Debug)]
pub(crate) struct Wire {
    types: Vec<Type>,
    by_name: HashMap<&'static str, usize>,
}

static WIRE: LazyLock<Wire> = LazyLock::new(|| Wire::parse(include_str!("wire/types.txt")));

/// The types of every served kind.
pub(crate) fn wire() -> &'static Wire {
    &WIRE
}

impl Wire {
    /// The type of that name: a kind, or `DeleteOptions`.
    ///
    /// # Panics
    /// When there is none: callers pass names of the table.
    pub(crate) fn named(&self, name: &str) -> &Type {
        &self.types[self.by_name[name]]
    }

    pub(crate) fn at(&self, index: usize) -> &Type {
        &self.types[index]
    }

    fn parse(text: &'static str) -> Self {
        let lines: Vec<&'static str> = text.lines().filter(|line| !line.is_empty()).collect();
        let name_of = |line: &'static str| line.split(' ').next().unwrap_or_default();
        let by_name: HashMap<_, _> = lines.iter().enumerate().map(|(at, line)| (name_of(line), at)).collect();
        let types = lines.iter().map(|line| Type::parse(line, &by_name)).collect();
        Self { types, by_name }
    }
}

impl Type {
    fn parse(line: &'static str, types: &HashMap<&'static str, usize>) -> Self {
        let mut words = line.split(' ');
        let name = words.next().unwrap_or_default();
        let fields: Vec<Field> = words.map(|word| Field::parse(word, types)).collect();
        let index = fields.iter().enumerate().map(|(at, field)| (field.name, at)).collect();
        let always = (0..fields.len()).filter(|&at| fields[at].stands_when_empty()).collect();
        Self { name, fields, index, always }
    }
}

impl Field {
    fn parse(word: &'static str, types: &HashMap<&'static str, usize>) -> Self {
        let (name, rest) = word.split_once(':').expect("every word of the table is name:type");
        let rest = rest.strip_suffix('^').unwrap_or(rest);
        let (rest, merge_key) = rest.split_once('@').map_or((rest, None), |(rest, key)| (rest, Some(key)));
        let (rest, omit_zero) = rest.strip_suffix('!').map_or((rest, false), |rest| (rest, true));
        let (rest, omit_empty) = rest.strip_suffix('?').map_or((rest, false), |rest| (rest, true));
        let (rest, pointer) = rest.strip_prefix('*').map_or((rest, false), |rest| (rest, true));
        Self { name, shape: Shape::parse(rest, types), pointer, omit_empty, omit_zero, merge_key }
    }

    fn stands_when_empty(&self) -> bool {
        let never_empty = matches!(
            self.shape,
            Shape::Struct(_) | Shape::Quantity | Shape::IntOrString | Shape::Time | Shape::MicroTime
        );
        !self.omit_zero && (!self.omit_empty || (never_empty && !self.pointer))
    }
}

impl Shape {
    fn parse(text: &'static str, types: &HashMap<&'static str, usize>) -> Self {
        if let Some(of) = text.strip_prefix("[]") {
            return Self::List(Box::new(Self::parse(of, types)));
        }
        if let Some(of) = text.strip_prefix("{}") {
            return Self::Map(Box::new(Self::parse(of, types)));
        }
        if let Some(of) = text.strip_prefix('*') {
            return Self::parse(of, types);
        }
        let (text, go) = text.split_once('=').unwrap_or((text, "string"));
        match text {
            "string" => Self::String(go),
            "bool" => Self::Bool,
            "int32" => Self::Int(32),
            "int64" | "int" => Self::Int(64),
            "uint8" => Self::Int(8),
            "quantity" => Self::Quantity,
            "time" => Self::Time,
            "microtime" => Self::MicroTime,
            "intorstring" => Self::IntOrString,
            "bytes" => Self::Bytes,
            "raw" => Self::Raw,
            name => Self::Struct(*types.get(name).unwrap_or_else(|| panic!("no type {name} in the table"))),
        }
    }
}
