//! Equality and order.
//!
//! `==` and `<` are the Common Expression Language's, in which numbers of different types compare as doubles. Sorting
//! needs an order without contradictions, so [`total_order`] compares them exactly.

use std::{cmp::Ordering, mem::discriminant};

use crate::{
    Value,
    value::{Key, Map},
};

use super::{
    ast::Operator,
    failure::{Failure, Outcome},
    meter::Meter,
};

/// `==`: numbers by what they stand for, values of different types never.
pub(crate) fn equal(meter: &mut Meter, left: &Value, right: &Value) -> Outcome<bool> {
    meter.charge(1)?;
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::String(left), Value::String(right)) => {
            meter.bytes(left.len().min(right.len()))?;
            left == right
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            meter.bytes(left.len().min(right.len()))?;
            left == right
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => left == right,
        (Value::Duration(left), Value::Duration(right)) => left == right,
        (Value::Type(left), Value::Type(right)) => left == right,
        (Value::List(left), Value::List(right)) => left.len() == right.len() && equal_lists(meter, left, right)?,
        (Value::Map(left), Value::Map(right)) => left.len() == right.len() && equal_maps(meter, left, right)?,
        _ => numbers(left, right) == Some(Ordering::Equal),
    })
}

fn equal_lists(meter: &mut Meter, left: &[Value], right: &[Value]) -> Outcome<bool> {
    for (left, right) in left.iter().zip(right) {
        if !equal(meter, left, right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal_maps(meter: &mut Meter, left: &Map, right: &Map) -> Outcome<bool> {
    for ((left_key, left), (right_key, right)) in left.iter().zip(right) {
        if left_key != right_key || !equal(meter, left, right)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// `<`, `<=`, `>`, `>=`.
pub(crate) fn ordered(meter: &mut Meter, operator: Operator, left: &Value, right: &Value) -> Outcome<bool> {
    let order = match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => {
            meter.bytes(left.len().min(right.len()))?;
            Some(left.cmp(right))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            meter.bytes(left.len().min(right.len()))?;
            Some(left.cmp(right))
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(right)),
        (Value::Duration(left), Value::Duration(right)) => Some(left.cmp(right)),
        _ if is_number(left) && is_number(right) => numbers(left, right),
        _ => return Err(no_operator(operator, left, right)),
    };
    Ok(order.is_some_and(|order| match operator {
        Operator::Less => order.is_lt(),
        Operator::LessOrEqual => order.is_le(),
        Operator::Greater => order.is_gt(),
        _ => order.is_ge(),
    }))
}

/// `operator` is not made for these.
pub(crate) fn no_operator(operator: Operator, left: &Value, right: &Value) -> Box<Failure> {
    let (left, right) = (left.type_name(), right.type_name());
    Failure::no_such_overload(format!("`{}` does not work on {left} and {right}", operator.as_str()))
}

pub(crate) fn is_number(value: &Value) -> bool {
    matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_))
}

/// The order of two numbers; `None` when one is not a number.
#[expect(clippy::cast_precision_loss, reason = "the specification compares numbers of different types as doubles")]
fn numbers(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Uint(left), Value::Uint(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Uint(right)) => Some(i128::from(*left).cmp(&i128::from(*right))),
        (Value::Uint(left), Value::Int(right)) => Some(i128::from(*left).cmp(&i128::from(*right))),
        (Value::Int(left), Value::Double(right)) => (*left as f64).partial_cmp(right),
        (Value::Double(left), Value::Int(right)) => left.partial_cmp(&(*right as f64)),
        (Value::Uint(left), Value::Double(right)) => (*left as f64).partial_cmp(right),
        (Value::Double(left), Value::Uint(right)) => left.partial_cmp(&(*right as f64)),
        _ => None,
    }
}

/// One order over all values, without contradictions: by kind, then by content. Numbers are one kind; NaN comes last
/// among them. What is equal here is `==`.
pub(crate) fn total_order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bytes(left), Value::Bytes(right)) => left.cmp(right),
        (Value::Timestamp(left), Value::Timestamp(right)) => left.cmp(right),
        (Value::Duration(left), Value::Duration(right)) => left.cmp(right),
        (Value::Type(left), Value::Type(right)) => left.cmp(right),
        (Value::List(left), Value::List(right)) => {
            let orders = left.iter().zip(right.iter()).map(|(left, right)| total_order(left, right));
            first_difference(orders).then(left.len().cmp(&right.len()))
        }
        (Value::Map(left), Value::Map(right)) => {
            let entries = left.iter().zip(right.iter());
            let orders = entries.map(|(left, right)| left.0.cmp(right.0).then_with(|| total_order(left.1, right.1)));
            first_difference(orders).then(left.len().cmp(&right.len()))
        }
        _ if is_number(left) && is_number(right) => exact_numbers(left, right),
        _ => rank(left).cmp(&rank(right)),
    }
}

fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Int(_) | Value::Uint(_) | Value::Double(_) => 2,
        Value::String(_) => 3,
        Value::Bytes(_) => 4,
        Value::List(_) => 5,
        Value::Map(_) => 6,
        Value::Timestamp(_) => 7,
        Value::Duration(_) => 8,
        Value::Type(_) => 9,
    }
}

fn exact_numbers(left: &Value, right: &Value) -> Ordering {
    match (whole(left), whole(right), left, right) {
        (Some(left), Some(right), ..) => left.cmp(&right),
        (Some(left), None, _, Value::Double(right)) => whole_with_double(left, *right),
        (None, Some(right), Value::Double(left), _) => whole_with_double(right, *left).reverse(),
        (_, _, Value::Double(left), Value::Double(right)) => {
            left.partial_cmp(right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
        }
        _ => Ordering::Equal,
    }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(number) => Some((*number).into()),
        Value::Uint(number) => Some((*number).into()),
        _ => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what is beyond an i128 is beyond every whole number here")]
fn whole_with_double(whole: i128, double: f64) -> Ordering {
    if double.is_nan() {
        return Ordering::Less;
    }
    // The cast saturates, and the whole part of a double below 2^127 is exact.
    whole.cmp(&(double.trunc() as i128)).then_with(|| 0.0.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal))
}

/// Whether two values can stand in one sorted list.
pub(crate) fn sortable(left: &Value, right: &Value) -> bool {
    let kind =
        matches!(left, Value::Bool(_) | Value::String(_) | Value::Bytes(_) | Value::Timestamp(_) | Value::Duration(_));
    (kind && discriminant(left) == discriminant(right)) || (is_number(left) && is_number(right))
}

/// The key that a value is in a map; `None` when it is of no kind that can be one. A double is the whole number that it
/// stands for.
#[expect(clippy::cast_possible_truncation, reason = "within the bounds that are checked")]
pub(crate) fn key(value: &Value) -> Option<Key> {
    const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Bool(value) => Some(Key::Bool(*value)),
        Value::Int(number) => Some(Key::Int(*number)),
        Value::Uint(number) => Some(i64::try_from(*number).map_or(Key::Uint(*number), Key::Int)),
        Value::Double(number) if number.fract() == 0.0 && number.abs() <= LARGEST_EXACT => {
            Some(Key::Int(*number as i64))
        }
        Value::String(text) => Some(Key::String(text.clone())),
        _ => None,
    }
}
