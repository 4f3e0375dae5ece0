//! The helpers of templates. Every one is a pure function of its arguments: there is none that reads a clock, the
//! network, a file, the environment or chance, and there will be none.

use base64::Engine as _;
use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, JsonTruthy, Output, RenderContext, RenderError,
    RenderErrorReason, Renderable, ScopedJson,
};
use serde_json::Value;

use super::problem::Problem;
use super::scalar;
use crate::name;

/// Prints a value as a YAML scalar; put around every `{{…}}` when a template is compiled.
pub(super) const SCALAR: &str = "scalar!";
/// Prints a structure as one line of YAML; put in the place of `json` in `{{{json …}}}`.
pub(super) const FLOW: &str = "flow!";
/// Counts a step of the budget; put at the beginning of every loop's body.
pub(super) const STEP: &str = "step!";
/// Counts the steps that a partial costs; put at the beginning of every partial.
pub(super) const PARTIAL_STEP: &str = "partial!";

/// The text by which [`PARTIAL_STEP`] tells the output that a partial begins.
pub(super) const PARTIAL_MARK: &str = "\u{10FFFD}";

/// The helpers that a template may call inline.
pub(super) const INLINE: &[&str] = &[
    "and", "b64enc", "concat", "default", "eq", "gt", "indent", "join", "json", "k8sName", "lt", "ne", "not",
    "or", "quote", "required", "yaml",
];
/// The helpers that a template may open a block with.
pub(super) const BLOCKS: &[&str] = &["each", "if", "unless", "with"];

/// Registers the helpers, and takes away those of Handlebars that are not in the list.
pub(super) fn register(registry: &mut Handlebars<'_>) {
    for builtin in ["lookup", "raw", "len", "gte", "lte", "log"] {
        registry.unregister_helper(builtin);
    }
    let functions: [(&'static str, Function); 17] = [
        ("and", |a| a.every().map(|all| all.iter().all(|v| truthy(v)).into())),
        ("or", |a| a.every().map(|all| all.iter().any(|v| truthy(v)).into())),
        ("not", |a| a.value(0).map(|value| (!truthy(value)).into())),
        ("eq", |a| Ok(equal(a.value(0)?, a.value(1)?).into())),
        ("ne", |a| Ok((!equal(a.value(0)?, a.value(1)?)).into())),
        ("gt", |a| Ok((a.number(0)? > a.number(1)?).into())),
        ("lt", |a| Ok((a.number(0)? < a.number(1)?).into())),
        ("quote", |a| a.text(0).map(Value::String)),
        ("json", |a| a.value(0).map(|value| value.to_string().into())),
        ("yaml", yaml),
        ("default", default),
        ("required", required),
        ("join", join),
        ("concat", concat),
        ("b64enc", |a| a.text(0).map(|text| base64::engine::general_purpose::STANDARD.encode(text).into())),
        ("k8sName", k8s_name),
        ("indent", indent),
    ];
    for (name, function) in functions {
        registry.register_helper(name, Box::new(Pure { name, function }));
    }
    registry.register_helper("if", Box::new(If { wanted: true }));
    registry.register_helper("unless", Box::new(If { wanted: false }));
    let flow: Function = |a| scalar::flow(a.value(0)?).map(Value::String);
    registry.register_helper(FLOW, Box::new(Pure { name: "json", function: flow }));
    registry.register_helper(SCALAR, Box::new(Pure { name: "value", function: print }));
    registry.register_helper(STEP, Box::new(Step("")));
    registry.register_helper(PARTIAL_STEP, Box::new(Step(PARTIAL_MARK)));
}

type Function = fn(&Arguments<'_, '_>) -> Result<Value, Problem>;

/// A helper that makes one value of its arguments.
struct Pure {
    name: &'static str,
    function: Function,
}

impl HelperDef for Pure {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, RenderError> {
        let arguments = Arguments { helper, name: self.name };
        let value = (self.function)(&arguments).and_then(|value| match value {
            Value::String(text) => scalar::bounded(text).map(Value::String),
            other => Ok(other),
        });
        value.map(ScopedJson::Derived).map_err(report)
    }
}

/// Carries a problem through Handlebars' own error; `engine` takes it out again.
fn report(problem: Problem) -> RenderError {
    RenderErrorReason::NestedError(Box::new(problem)).into()
}

/// What a helper was called with. A value that is missing is an error, never an empty text.
struct Arguments<'a, 'rc> {
    helper: &'a Helper<'rc>,
    name: &'static str,
}

impl Arguments<'_, '_> {
    fn len(&self) -> usize {
        self.helper.params().len()
    }

    fn path(&self, index: usize) -> Option<&str> {
        self.helper.param(index)?.relative_path().map(String::as_str)
    }

    fn value(&self, index: usize) -> Result<&Value, Problem> {
        let Some(param) = self.helper.param(index) else {
            return Err(self.misused(format!("takes at least {} arguments", index + 1)));
        };
        if param.is_value_missing() {
            return Err(missing(param.relative_path()));
        }
        Ok(param.value())
    }

    fn every(&self) -> Result<Vec<&Value>, Problem> {
        (0..self.len()).map(|index| self.value(index)).collect()
    }

    fn text(&self, index: usize) -> Result<String, Problem> {
        scalar::plain(self.value(index)?, self.path(index))
    }

    fn number(&self, index: usize) -> Result<f64, Problem> {
        let value = self.value(index)?;
        value
            .as_f64()
            .ok_or_else(|| self.misused(format!("compares numbers, and was given {}", scalar::kind(value))))
    }

    fn named_count(&self, key: &str, or: usize) -> Result<usize, Problem> {
        let Some(given) = self.helper.hash_get(key) else { return Ok(or) };
        let count = given.value().as_u64().filter(|count| *count <= 253);
        let count = count.ok_or_else(|| self.misused(format!("takes a small number as `{key}`")))?;
        Ok(usize::try_from(count).unwrap_or(or))
    }

    fn misused(&self, message: String) -> Problem {
        Problem::Helper { helper: self.name, message }
    }
}

fn missing(path: Option<&String>) -> Problem {
    Problem::Missing { path: path.cloned().unwrap_or_default(), suggestion: None }
}

/// Whether a value counts as true: `false`, `null`, `0`, `""` and `[]` do not, `{}` does not either.
fn truthy(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        other => other.is_truthy(false),
    }
}

/// Compares values; numbers by what they count, so that `80` equals `80.0`.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || x.as_f64() == y.as_f64(),
        _ => a == b,
    }
}

fn print(a: &Arguments<'_, '_>) -> Result<Value, Problem> {
    scalar::scalar(a.value(0)?, a.path(0)).map(Value::String)
}

fn yaml(a: &Arguments<'_, '_>) -> Result<Value, Problem> {
    scalar::block(a.value(0)?, a.named_count("indent", 0)?).map(Value::String)
}

fn default(a: &Arguments<'_, '_>) -> Result<Value, Problem> {
    match a.value(0) {
        Ok(Value::Null) | Err(Problem::Missing { .. }) => a.value(1).cloned(),
        Ok(value) => Ok(value.clone()),
        Err(problem) => Err(problem),
    }
}

fn required(a: &Arguments<'_, '_>) -> Result<Value, Problem> {
    let message = a.text(0)?;
    match a.value(1) {
        Ok(Value::Null) | Err(Problem::Missing { .. }) => {
            Err(Problem::Required { message, path: a.path(1).map(str::to_owned) })
        }
        Ok(Value::String(text)) if text.is_empty() => {
            Err(Problem::Required { message, path: a.path(1).map(str::to_owned) })
        }
        other => other.cloned(),
    }
}

fn join(a: &Arguments<'_, '_>) -> Result<Value, Problem> {
    let list = a.value(0)?;
    let items = list
        .as_array()
        .ok_or_else(|| a.misused(format!("joins a list, and was given {}", scalar::kind(list))))?;
    let separator = a.text(1)?;
    let mut out = String::new();
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index > 0 { &separator } else { "" });
        out.push_str(&scalar::plain(item, a.path(0))?);
        out = scalar::bounded(out)?;
    }
    Ok(out.into())
}

fn concat(a: &Arguments<'_, '_>) -> Result<Value, Problem> {
    let mut out = String::new();
    for index in 0..a.len() {
        out.push_str(&a.text(index)?);
        out = scalar::bounded(out)?;
    }
    Ok(out.into())
}

fn k8s_name(a: &Arguments<'_, '_>) -> Result<Value, Problem> {
    let parts = (0..a.len()).map(|index| a.text(index)).collect::<Result<Vec<_>, _>>()?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let limit = a.named_count("limit", name::LABEL)?;
    if limit < 8 {
        return Err(a.misused("takes a limit of at least 8".to_owned()));
    }
    Ok(name::k8s_name(&parts, limit).into())
}

fn indent(a: &Arguments<'_, '_>) -> Result<Value, Problem> {
    let spaces = a.number(1)?;
    if !(0.0..=253.0).contains(&spaces) {
        return Err(a.misused("takes a small number of spaces".to_owned()));
    }
    let padding: String =
        std::iter::repeat_n(' ', (0..253).take_while(|n| f64::from(*n) < spaces).count()).collect();
    let text = a.text(0)?;
    let lines: Vec<String> = text.split('\n').map(|line| format!("{padding}{line}")).collect();
    Ok(lines.join("\n").into())
}

/// `{{#if}}` and `{{#unless}}`, whose condition must exist: Handlebars' own take a misspelt one for false.
struct If {
    wanted: bool,
}

impl HelperDef for If {
    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        context: &'rc Context,
        render: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        let name = if self.wanted { "if" } else { "unless" };
        let condition = Arguments { helper, name }.value(0).map(truthy).map_err(report)?;
        let branch = if condition == self.wanted { helper.template() } else { helper.inverse() };
        branch.map_or(Ok(()), |branch| branch.render(registry, context, render, out))
    }
}

/// Tells the output that a loop's body or a partial begins, although nothing may be written there.
struct Step(&'static str);

impl HelperDef for Step {
    fn call<'reg: 'rc, 'rc>(
        &self,
        _: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        _: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        Ok(out.write(self.0)?)
    }
}
