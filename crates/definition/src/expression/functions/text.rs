//! Texts.

use crate::Value;

use super::{
    super::{
        evaluator::Evaluator,
        failure::{Failure, Outcome},
        pattern::Pattern,
    },
    Function, Style, list_of, text_of, unsuited,
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { name: "contains", arguments: (2, 2), style: Style::Both, call: contains },
    Function { name: "startsWith", arguments: (2, 2), style: Style::Both, call: starts_with },
    Function { name: "endsWith", arguments: (2, 2), style: Style::Both, call: ends_with },
    Function { name: "matches", arguments: (2, 2), style: Style::Both, call: matches },
    Function { name: "lower", arguments: (1, 1), style: Style::Both, call: lower },
    Function { name: "upper", arguments: (1, 1), style: Style::Both, call: upper },
    Function { name: "trim", arguments: (1, 1), style: Style::Both, call: trim },
    Function { name: "split", arguments: (2, 3), style: Style::Both, call: split },
    Function { name: "join", arguments: (1, 2), style: Style::Both, call: join },
    Function { name: "replace", arguments: (3, 4), style: Style::Both, call: replace },
];

/// The two texts that a function works on, paid for.
fn two<'a>(evaluator: &mut Evaluator<'_>, name: &str, arguments: &'a [Value]) -> Outcome<(&'a str, &'a str)> {
    let (left, right) = (text_of(name, &arguments[0])?, text_of(name, &arguments[1])?);
    evaluator.meter.bytes(left.len() + right.len())?;
    Ok((left, right))
}

fn contains(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let (text, part) = two(evaluator, "contains", arguments)?;
    Ok(Value::Bool(text.contains(part)))
}

fn starts_with(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let (text, part) = two(evaluator, "startsWith", arguments)?;
    Ok(Value::Bool(text.starts_with(part)))
}

fn ends_with(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let (text, part) = two(evaluator, "endsWith", arguments)?;
    Ok(Value::Bool(text.ends_with(part)))
}

fn matches(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let (text, pattern) = two(evaluator, "matches", arguments)?;
    let pattern = Pattern::compile_within(&mut evaluator.meter, pattern)?;
    pattern.matches(&mut evaluator.meter, text).map(Value::Bool)
}

fn lower(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let text = text_of("lower", &arguments[0])?;
    evaluator.meter.bytes(text.len() * 4)?;
    Ok(Value::from(text.to_lowercase()))
}

fn upper(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let text = text_of("upper", &arguments[0])?;
    evaluator.meter.bytes(text.len() * 4)?;
    Ok(Value::from(text.to_uppercase()))
}

fn trim(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let text = text_of("trim", &arguments[0])?;
    evaluator.meter.bytes(text.len())?;
    Ok(Value::string(text.trim()))
}

/// How many pieces or replacements are wanted: all without the argument or when it is negative.
fn limit(name: &str, argument: Option<&Value>) -> Outcome<usize> {
    match argument {
        None => Ok(usize::MAX),
        Some(value) => {
            let count = value.as_i64().ok_or_else(|| unsuited(name, value))?;
            Ok(usize::try_from(count).unwrap_or(usize::MAX))
        }
    }
}

/// At each separator, and with a third argument into that many pieces at most; an empty separator cuts between all
/// code points.
fn split(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let (text, separator) = two(evaluator, "split", arguments)?;
    let count = limit("split", arguments.get(2))?;
    if count == 0 {
        return Ok(Value::list([]));
    }
    let mut pieces: Vec<Value> = Vec::new();
    let mut rest = text;
    while pieces.len() + 1 < count {
        let cut = if separator.is_empty() {
            rest.char_indices().nth(1).map(|(index, _)| (index, index))
        } else {
            rest.find(separator).map(|index| (index, index + separator.len()))
        };
        let Some((end, next)) = cut else { break };
        evaluator.meter.elements(1)?;
        pieces.push(Value::string(&rest[..end]));
        rest = &rest[next..];
    }
    if !(separator.is_empty() && rest.is_empty()) {
        pieces.push(Value::string(rest));
    }
    Ok(Value::list(pieces))
}

/// Items that are no texts are written as within a text.
fn join(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let items = list_of("join", &arguments[0])?;
    let separator = arguments.get(1).map_or(Ok(""), |separator| text_of("join", separator))?;
    let mut text = String::new();
    for (index, item) in items.iter().enumerate() {
        let separator = if index == 0 { "" } else { separator };
        evaluator.meter.whole(item, 2)?;
        evaluator.meter.bytes(separator.len())?;
        text.push_str(separator);
        match item {
            Value::String(item) => text.push_str(item),
            other => {
                let json = other.clone().into_json().map_err(Failure::invalid_argument)?;
                text.push_str(&json.to_text());
            }
        }
    }
    Ok(Value::from(text))
}

/// Every occurrence of a text, or with a fourth argument the first so many.
fn replace(evaluator: &mut Evaluator<'_>, arguments: &mut [Value]) -> Outcome {
    let (text, old) = two(evaluator, "replace", arguments)?;
    let new = text_of("replace", &arguments[2])?;
    let count = limit("replace", arguments.get(3))?;
    let found = text.matches(old).take(count).count();
    evaluator.meter.bytes(found.saturating_mul(new.len()))?;
    evaluator.meter.elements(found / 8)?;
    Ok(Value::from(text.replacen(old, new, count)))
}
