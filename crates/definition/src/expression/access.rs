//! `x.field`, `x[index]` and `in`.

use crate::{Value, value::Key};

use super::{
    compare::{equal, key},
    failure::{Failure, Outcome},
    meter::Meter,
};

/// `value.field`.
pub(crate) fn field(value: &Value, field: &Key) -> Outcome {
    match value {
        Value::Map(map) => map.get(field).cloned().ok_or_else(|| no_such_key(field)),
        Value::Null => Err(Failure::no_such_key(format!("`{}` is selected from null", field.as_text()))),
        other => {
            let message = format!("`{}` cannot be selected from {}", field.as_text(), other.type_name());
            Err(Failure::no_such_overload(message))
        }
    }
}

fn no_such_key(field: &Key) -> Box<Failure> {
    Failure::no_such_key(format!("no such key: `{}`", field.as_text()))
}

/// `has(value.field)`.
pub(crate) fn has(value: &Value, field: &Key) -> Outcome<bool> {
    match value {
        Value::Map(map) => Ok(map.contains_key(field)),
        Value::Null => Ok(false),
        other => {
            let message = format!("`{}` cannot be selected from {}", field.as_text(), other.type_name());
            Err(Failure::no_such_overload(message))
        }
    }
}

/// `value[index]`.
pub(crate) fn index(value: &Value, index: &Value) -> Outcome {
    match value {
        Value::Map(map) => match key(index) {
            Some(key) => map.get(&key).cloned().ok_or_else(|| no_such_key(&key)),
            None => Err(Failure::no_such_key(format!("no key of a map is a {}", index.type_name()))),
        },
        Value::List(items) => match key(index) {
            Some(Key::Int(number)) => {
                let item = usize::try_from(number).ok().and_then(|number| items.get(number));
                item.cloned().ok_or_else(|| {
                    Failure::no_such_key(format!("index {number} is outside of a list of {}", items.len()))
                })
            }
            Some(Key::Uint(number)) => {
                Err(Failure::no_such_key(format!("index {number} is outside of a list of {}", items.len())))
            }
            _ => {
                Err(Failure::no_such_overload(format!("a list is indexed by whole numbers, not {}", index.type_name())))
            }
        },
        Value::Null => Err(Failure::no_such_key("an index is selected from null")),
        other => Err(Failure::no_such_overload(format!("`[]` does not work on {}", other.type_name()))),
    }
}

/// `item in container`.
pub(crate) fn contains(meter: &mut Meter, item: &Value, container: &Value) -> Outcome<bool> {
    match container {
        Value::Map(map) => Ok(key(item).is_some_and(|key| map.contains_key(&key))),
        Value::List(items) => {
            for candidate in items.iter() {
                if equal(meter, item, candidate)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        other => Err(Failure::no_such_overload(format!("`in` looks into lists and maps, not {}", other.type_name()))),
    }
}
