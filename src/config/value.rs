//! The small values that several kinds share: periods, quantities, counts or percentages, environment values.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A length of time, written `500ms`, `30s`, `10m`, `72h` or `1h30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Period(pub Duration);

impl Period {
    /// The whole seconds; what is left of a second counts as one.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0.as_secs() + u64::from(self.0.subsec_nanos() > 0)
    }
}

impl TryFrom<String> for Period {
    type Error = humantime::DurationError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        humantime::parse_duration(&text).map(Self)
    }
}

impl From<Period> for String {
    fn from(period: Period) -> Self {
        period.to_string()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&humantime::format_duration(self.0).to_string().replace(' ', ""))
    }
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"})
    }
}

/// A Kubernetes quantity such as `200m`, `1.5` or `512Mi`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"})
    }
}

/// A count such as `1` or a share such as `25%`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CountOrPercent {
    /// A count of pods.
    Count(u32),
    /// A share of the wanted pods, with its percent sign.
    Percent(String),
}

impl JsonSchema for CountOrPercent {
    fn schema_name() -> Cow<'static, str> {
        "CountOrPercent".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "minimum": 0, "pattern": "^(100|[1-9]?[0-9])%$"})
    }
}

/// The environment of a process: variables by name. In a patch, `null` takes one out.
pub type Variables = BTreeMap<String, Option<Variable>>;

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Variable {
    /// A text of at most 1000 characters, which may hold references such as `${{ services.api.url }}`.
    Text(String),
    /// A value that stands in a secret or is made once.
    From(VariableSource),
}

/// Where the value of a variable comes from when it does not stand in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VariableSource {
    /// The key of the environment's secret `branchline-secrets` that holds the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"stripe-key", length(min = 1, max = 253))]
    pub secret: Option<String>,
    /// Whether the service waits until the secret has this key. Without it the variable is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = true, extend("default" = true))]
    pub required: Option<bool>,
    /// Makes a random value once per environment; it is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = serde_json::json!({"length": 32}))]
    pub generate: Option<Generate>,
}

/// How a value is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Generate {
    /// The number of characters, letters and digits.
    #[schemars(example = 32, range(min = 8, max = 256))]
    pub length: u32,
}

impl JsonSchema for Variable {
    fn schema_name() -> Cow<'static, str> {
        "Variable".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let source = generator.subschema_for::<VariableSource>();
        json_schema!({"anyOf": [{"type": "string", "maxLength": 1000}, source]})
    }
}

/// The schema of a map of variables, whose names are upper case.
pub(super) fn variables(generator: &mut SchemaGenerator) -> Schema {
    let variable = generator.subschema_for::<Option<Variable>>();
    json_schema!({
        "type": ["object", "null"],
        "additionalProperties": variable,
        "propertyNames": {"pattern": "^[A-Z_][A-Z0-9_]*$"},
    })
}
