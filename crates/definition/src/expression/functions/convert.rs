//! Conversions between types, and `type`.

use chrono::{DateTime, Utc};

use crate::Value;

use super::{
    super::{
        arithmetic,
        evaluator::Evaluator,
        failure::{Failure, Outcome},
    },
    Function, Style, unsuited,
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "int", arguments: (1, 1), style: Style::Global, call: int },
    Function { name: "uint", arguments: (1, 1), style: Style::Global, call: uint },
    Function { name: "double", arguments: (1, 1), style: Style::Global, call: double },
    Function { name: "string", arguments: (1, 1), style: Style::Global, call: string },
    Function { name: "bytes", arguments: (1, 1), style: Style::Global, call: bytes },
    Function { name: "bool", arguments: (1, 1), style: Style::Global, call: bool },
    Function { name: "dyn", arguments: (1, 1), style: Style::Global, call: dynamic },
    Function { name: "type", arguments: (1, 1), style: Style::Global, call: type_of },
    Function { name: "timestamp", arguments: (1, 1), style: Style::Global, call: timestamp },
    Function { name: "duration", arguments: (1, 1), style: Style::Global, call: duration },
];

/// Bounds of int and uint as doubles; the upper ones are the first doubles that do not fit.
const INT_FLOOR: f64 = -9_223_372_036_854_775_808.0;
const INT_CEILING: f64 = 9_223_372_036_854_775_808.0;
const UINT_CEILING: f64 = 18_446_744_073_709_551_616.0;

fn range(value: &Value, name: &str) -> Box<Failure> {
    Failure::overflow(format!("{} is beyond the range of {name}", value.to_text()))
}

fn unreadable(text: &str, name: &str) -> Box<Failure> {
    let shown: String = text.chars().take(40).collect();
    Failure::invalid_argument(format!("\"{}\" is not the text of a {name}", shown.escape_debug()))
}

#[expect(clippy::cast_possible_truncation, reason = "within the bounds that are checked; the fraction goes")]
fn int(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    match &arguments[0] {
        Value::Int(number) => Ok(Value::Int(*number)),
        value @ Value::Uint(number) => i64::try_from(*number).map(Value::Int).map_err(|_| range(value, "int")),
        Value::Double(number) if *number > INT_FLOOR && *number < INT_CEILING => Ok(Value::Int(*number as i64)),
        value @ Value::Double(_) => Err(range(value, "int")),
        Value::String(text) => text.parse().map(Value::Int).map_err(|_| unreadable(text, "int")),
        Value::Timestamp(at) => Ok(Value::Int(at.timestamp())),
        other => Err(unsuited("int", other)),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds that are checked")]
fn uint(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    match &arguments[0] {
        Value::Uint(number) => Ok(Value::Uint(*number)),
        value @ Value::Int(number) => u64::try_from(*number).map(Value::Uint).map_err(|_| range(value, "uint")),
        Value::Double(number) if *number >= 0.0 && *number < UINT_CEILING => Ok(Value::Uint(*number as u64)),
        value @ Value::Double(_) => Err(range(value, "uint")),
        Value::String(text) => text.parse().map(Value::Uint).map_err(|_| unreadable(text, "uint")),
        other => Err(unsuited("uint", other)),
    }
}

fn double(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    match &arguments[0] {
        Value::String(text) => text.parse().map(Value::Double).map_err(|_| unreadable(text, "double")),
        other => arithmetic::as_double(other).map(Value::Double).ok_or_else(|| unsuited("double", other)),
    }
}

fn string(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    match &arguments[0] {
        Value::String(text) => Ok(Value::String(text.clone())),
        Value::Bytes(bytes) => {
            evaluator.meter.bytes(bytes.len())?;
            let text = std::str::from_utf8(bytes).map_err(|_| Failure::invalid_argument("these bytes are not UTF-8"));
            text.map(Value::string)
        }
        value @ (Value::Null | Value::List(_) | Value::Map(_)) => {
            Err(Failure::no_such_overload(format!("`string` does not work on {}; `json` does", value.type_name())))
        }
        other => Ok(Value::from(other.to_text())),
    }
}

fn bytes(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    match &arguments[0] {
        Value::Bytes(bytes) => Ok(Value::Bytes(bytes.clone())),
        Value::String(text) => {
            evaluator.meter.bytes(text.len())?;
            Ok(Value::Bytes(text.as_bytes().into()))
        }
        other => Err(unsuited("bytes", other)),
    }
}

fn bool(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    match &arguments[0] {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::String(text) => match text.as_ref() {
            "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(Value::Bool(false)),
            other => Err(unreadable(other, "bool")),
        },
        other => Err(unsuited("bool", other)),
    }
}

fn dynamic(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    Ok(std::mem::take(&mut arguments[0]))
}

fn type_of(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    Ok(Value::Type(arguments[0].type_name()))
}

/// RFC 3339 text, or seconds since 1970.
fn timestamp(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    match &arguments[0] {
        Value::Timestamp(at) => Ok(Value::Timestamp(*at)),
        Value::Int(seconds) => arithmetic::timestamp(DateTime::from_timestamp(*seconds, 0)),
        Value::String(text) => {
            let at = DateTime::parse_from_rfc3339(text).map_err(|_| unreadable(text, "timestamp (RFC 3339)"))?;
            // A leap second is the last nanosecond of the second before it.
            let nanoseconds = at.timestamp_subsec_nanos().min(999_999_999);
            arithmetic::timestamp(DateTime::<Utc>::from_timestamp(at.timestamp(), nanoseconds))
        }
        other => Err(unsuited("timestamp", other)),
    }
}

fn duration(_: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    match &arguments[0] {
        Value::Duration(span) => Ok(Value::Duration(*span)),
        Value::String(text) => super::time::parse_duration(text),
        other => Err(unsuited("duration", other)),
    }
}
