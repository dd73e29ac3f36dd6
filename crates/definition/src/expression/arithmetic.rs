//! `+ - * / %`. Ints and uints never wrap; an int or uint beside a double is a double.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::Value;

use super::{
    ast::Operator,
    compare::no_operator,
    failure::{Failure, Outcome},
    meter::Meter,
};

/// Applies an operator of arithmetic.
pub(crate) fn apply(meter: &mut Meter, operator: Operator, left: Value, right: Value) -> Outcome {
    match (&left, &right) {
        (Value::Int(left), Value::Int(right)) => ints(operator, *left, *right),
        (Value::Uint(left), Value::Uint(right)) => uints(operator, *left, *right),
        (Value::Double(left), Value::Double(right)) => doubles(operator, *left, *right),
        (Value::Timestamp(_) | Value::Duration(_), Value::Timestamp(_) | Value::Duration(_)) => {
            times(operator, &left, &right)
        }
        _ if operator == Operator::Add => join(meter, left, right),
        _ => mixed(operator, &left, &right),
    }
}

fn mixed(operator: Operator, left: &Value, right: &Value) -> Outcome {
    match (as_double(left), as_double(right)) {
        (Some(a), Some(b)) if matches!(left, Value::Double(_)) || matches!(right, Value::Double(_)) => {
            doubles(operator, a, b)
        }
        _ => Err(no_operator(operator, left, right)),
    }
}

/// A number as a double.
#[expect(clippy::cast_precision_loss, reason = "that is what converting to double means")]
pub(crate) fn as_double(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Uint(number) => Some(*number as f64),
        Value::Double(number) => Some(*number),
        _ => None,
    }
}

fn ints(operator: Operator, left: i64, right: i64) -> Outcome {
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        _ if right == 0 => return Err(Failure::division_by_zero()),
        Operator::Divide => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    let overflow = || Failure::overflow(format!("{left} {} {right} is beyond the range of int", operator.as_str()));
    result.map(Value::Int).ok_or_else(overflow)
}

fn uints(operator: Operator, left: u64, right: u64) -> Outcome {
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        _ if right == 0 => return Err(Failure::division_by_zero()),
        Operator::Divide => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    let overflow = || Failure::overflow(format!("{left}u {} {right}u is beyond the range of uint", operator.as_str()));
    result.map(Value::Uint).ok_or_else(overflow)
}

fn doubles(operator: Operator, left: f64, right: f64) -> Outcome {
    let result = match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide => left / right,
        _ => return Err(no_operator(operator, &Value::Double(left), &Value::Double(right))),
    };
    Ok(Value::Double(result))
}

/// `+` on what can be strung together.
fn join(meter: &mut Meter, left: Value, right: Value) -> Outcome {
    match (left, right) {
        (Value::String(left), Value::String(right)) => {
            meter.bytes(left.len() + right.len())?;
            Ok(Value::String([left.as_ref(), right.as_ref()].concat().into()))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            meter.bytes(left.len() + right.len())?;
            Ok(Value::Bytes([left.as_ref(), right.as_ref()].concat().into()))
        }
        (Value::List(mut left), Value::List(right)) => {
            meter.elements(left.len() + right.len())?;
            Arc::make_mut(&mut left).extend(right.iter().cloned());
            Ok(Value::List(left))
        }
        (left, right) => mixed(Operator::Add, &left, &right),
    }
}

fn times(operator: Operator, left: &Value, right: &Value) -> Outcome {
    match (operator, left, right) {
        (Operator::Add, Value::Timestamp(at), Value::Duration(span))
        | (Operator::Add, Value::Duration(span), Value::Timestamp(at)) => timestamp(at.checked_add_signed(*span)),
        (Operator::Subtract, Value::Timestamp(at), Value::Duration(span)) => timestamp(at.checked_sub_signed(*span)),
        (Operator::Subtract, Value::Timestamp(left), Value::Timestamp(right)) => {
            duration(Some(left.signed_duration_since(right)))
        }
        (Operator::Add, Value::Duration(left), Value::Duration(right)) => duration(left.checked_add(right)),
        (Operator::Subtract, Value::Duration(left), Value::Duration(right)) => duration(left.checked_sub(right)),
        _ => Err(no_operator(operator, left, right)),
    }
}

/// A point in time from year 1 to year 9999.
pub(crate) fn timestamp(at: Option<DateTime<Utc>>) -> Outcome {
    const FIRST: i64 = -62_135_596_800;
    const LAST: i64 = 253_402_300_799;
    at.filter(|at| (FIRST..=LAST).contains(&at.timestamp()))
        .map(Value::Timestamp)
        .ok_or_else(|| Failure::overflow("this time is outside of the years 0001 to 9999"))
}

/// A span of time whose nanoseconds fit an i64: up to 292 years.
pub(crate) fn duration(span: Option<TimeDelta>) -> Outcome {
    span.filter(|span| span.num_nanoseconds().is_some())
        .map(Value::Duration)
        .ok_or_else(|| Failure::overflow("this span of time is longer than 292 years"))
}
