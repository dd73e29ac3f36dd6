//! Maps. What a map gives comes in the order of its keys: texts by code point.

use crate::Value;

use super::{
    super::{
        evaluator::{Evaluator, MAP_UNITS, key_value},
        failure::Outcome,
    },
    Function, Style, unsuited,
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "keys", arguments: (1, 1), style: Style::Both, call: keys },
    Function { name: "values", arguments: (1, 1), style: Style::Both, call: values },
    Function { name: "entries", arguments: (1, 1), style: Style::Both, call: entries },
];

fn keys(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let map = arguments[0].as_map().ok_or_else(|| unsuited("keys", &arguments[0]))?;
    evaluator.meter.elements(map.len())?;
    Ok(Value::list(map.keys().map(key_value)))
}

fn values(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let map = arguments[0].as_map().ok_or_else(|| unsuited("values", &arguments[0]))?;
    evaluator.meter.elements(map.len())?;
    Ok(Value::list(map.values().cloned()))
}

/// A list of `{key, value}`.
fn entries(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let map = arguments[0].as_map().ok_or_else(|| unsuited("entries", &arguments[0]))?;
    evaluator.meter.elements(map.len() * MAP_UNITS)?;
    let entry = |(key, value): (_, &Value)| Value::map([("key", key_value(key)), ("value", value.clone())]);
    Ok(Value::list(map.iter().map(entry)))
}
