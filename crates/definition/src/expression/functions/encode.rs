//! JSON, base64, hashes, identifiers.

use base64::{Engine, engine::general_purpose};
use sha2::{Digest, Sha256};

use crate::Value;

use super::{
    super::{
        evaluator::Evaluator,
        failure::{Failure, Outcome},
        meter::Meter,
    },
    Function, Style, text_of, unsuited,
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "json", arguments: (1, 1), style: Style::Both, call: json },
    Function { name: "parse_json", arguments: (1, 1), style: Style::Both, call: parse_json },
    Function { name: "base64", arguments: (1, 1), style: Style::Both, call: base64 },
    Function { name: "base64_decode", arguments: (1, 1), style: Style::Both, call: base64_decode },
    Function { name: "sha256", arguments: (1, 1), style: Style::Both, call: sha256 },
    Function { name: "uuid", arguments: (0, 0), style: Style::Global, call: uuid },
];

/// A value as JSON, paid for.
pub(super) fn into_json(meter: &mut Meter, value: Value) -> Outcome {
    meter.whole(&value, 2)?;
    value.into_json().map_err(Failure::invalid_argument)
}

/// Compact text, keys in code point order.
fn json(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let value = into_json(&mut evaluator.meter, std::mem::take(&mut arguments[0]))?;
    let text = serde_json::to_string(&value).map_err(Failure::invalid_argument)?;
    evaluator.meter.bytes(text.len())?;
    Ok(Value::from(text))
}

fn parse_json(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let text = text_of("parse_json", &arguments[0])?;
    // A short text can be many values: `[0,0,0…`.
    evaluator.meter.charge(text.len() as u64 / 8)?;
    crate::value::check_json_depth(text).map_err(Failure::invalid_argument)?;
    serde_json::from_str(text).map_err(|error| Failure::invalid_argument(format!("this text is not JSON: {error}")))
}

fn bytes_of<'a>(name: &str, value: &'a Value) -> Outcome<&'a [u8]> {
    match value {
        Value::String(text) => Ok(text.as_bytes()),
        Value::Bytes(bytes) => Ok(bytes),
        other => Err(unsuited(name, other)),
    }
}

fn base64(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let bytes = bytes_of("base64", &arguments[0])?;
    evaluator.meter.bytes(bytes.len() * 2)?;
    Ok(Value::from(general_purpose::STANDARD.encode(bytes)))
}

/// To text when the bytes are UTF-8, else to bytes; the standard and the URL alphabet, with or without padding.
fn base64_decode(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let text = text_of("base64_decode", &arguments[0])?;
    evaluator.meter.bytes(text.len() * 2)?;
    let plain = text.trim_end_matches('=');
    let engine =
        if plain.contains(['-', '_']) { &general_purpose::URL_SAFE_NO_PAD } else { &general_purpose::STANDARD_NO_PAD };
    let bytes =
        engine.decode(plain).map_err(|error| Failure::invalid_argument(format!("this is not base64: {error}")))?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(error) => Value::Bytes(error.into_bytes().into()),
    })
}

/// In hexadecimal; of a text its UTF-8, of anything else but bytes its JSON.
fn sha256(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    if !matches!(arguments[0], Value::String(_) | Value::Bytes(_)) {
        arguments[0] = json(evaluator, arguments)?;
    }
    let bytes = bytes_of("sha256", &arguments[0])?;
    evaluator.meter.bytes(bytes.len() * 4)?;
    Ok(Value::from(hex::encode(Sha256::digest(bytes))))
}

/// The scope's identifier of this place; a further call in the same evaluation gives another one.
fn uuid(evaluator: &mut Evaluator<'_>, _: &mut [Value]) -> Outcome {
    let place = evaluator.place.wrapping_add(evaluator.uuids);
    evaluator.uuids += 1;
    evaluator.meter.charge(10)?;
    Ok(Value::from(evaluator.scope.uuid(place).to_string()))
}
