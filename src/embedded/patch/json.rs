//! JSON patch (RFC 6902).

use crate::embedded::status::Refusal;
use serde::Deserialize;
use serde_json::Value;

/// One step.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(crate) enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

/// Does the steps in order.
///
/// # Errors
/// 422, as the server: which step did not fit is not said.
pub(super) fn apply(object: &mut Value, operations: &[Operation]) -> Result<(), Refusal> {
    for operation in operations {
        step(object, operation).ok_or_else(Refusal::unfit_patch)?;
    }
    Ok(())
}

fn step(object: &mut Value, operation: &Operation) -> Option<()> {
    match operation {
        Operation::Add { path, value } => add(object, path, value.clone()),
        Operation::Remove { path } => remove(object, path).map(drop),
        Operation::Replace { path, value } => {
            *object.pointer_mut(path)? = value.clone();
            Some(())
        }
        Operation::Move { from, path } => {
            let value = remove(object, from)?;
            add(object, path, value)
        }
        Operation::Copy { from, path } => {
            let value = object.pointer(from)?.clone();
            add(object, path, value)
        }
        Operation::Test { path, value } => {
            (object.pointer(path).unwrap_or(&Value::Null) == value).then_some(())
        }
    }
}

/// The container that a path ends in, and the last step.
fn parent<'a>(object: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (outer, last) = path.rsplit_once('/')?;
    Some((object.pointer_mut(outer)?, last.replace("~1", "/").replace("~0", "~")))
}

fn add(object: &mut Value, path: &str, value: Value) -> Option<()> {
    if path.is_empty() {
        *object = value;
        return Some(());
    }
    match parent(object, path)? {
        (Value::Object(map), key) => {
            map.insert(key, value);
        }
        (Value::Array(list), key) if key == "-" => list.push(value),
        (Value::Array(list), key) => {
            let at: usize = key.parse().ok().filter(|at| *at <= list.len())?;
            list.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn remove(object: &mut Value, path: &str) -> Option<Value> {
    match parent(object, path)? {
        (Value::Object(map), key) => map.shift_remove(&key),
        (Value::Array(list), key) => {
            let at: usize = key.parse().ok().filter(|at| *at < list.len())?;
            Some(list.remove(at))
        }
        _ => None,
    }
}
