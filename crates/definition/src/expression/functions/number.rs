//! Numbers.

use crate::Value;

use super::{
    super::{
        evaluator::Evaluator,
        failure::{Failure, Outcome},
    },
    Function, Style, unsuited,
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "abs", arguments: (1, 1), style: Style::Both, call: abs },
    Function { name: "ceil", arguments: (1, 1), style: Style::Both, call: ceil },
    Function { name: "floor", arguments: (1, 1), style: Style::Both, call: floor },
    Function { name: "round", arguments: (1, 1), style: Style::Both, call: round },
];

fn abs(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    match &arguments[0] {
        Value::Int(number) => number
            .checked_abs()
            .map(Value::Int)
            .ok_or_else(|| Failure::overflow(format!("the absolute value of {number} is beyond the range of int"))),
        Value::Uint(number) => Ok(Value::Uint(*number)),
        Value::Double(number) => Ok(Value::Double(number.abs())),
        other => Err(unsuited("abs", other)),
    }
}

fn ceil(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    rounded("ceil", &arguments[0], f64::ceil)
}

fn floor(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    rounded("floor", &arguments[0], f64::floor)
}

/// Halves go away from zero.
fn round(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    rounded("round", &arguments[0], f64::round)
}

/// A double stays a double; `int()` makes an int of it.
fn rounded(name: &str, value: &Value, how: fn(f64) -> f64) -> Outcome {
    match value {
        Value::Int(_) | Value::Uint(_) => Ok(value.clone()),
        Value::Double(number) => Ok(Value::Double(how(*number))),
        other => Err(unsuited(name, other)),
    }
}
