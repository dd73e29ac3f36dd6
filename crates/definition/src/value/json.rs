//! Values as JSON: what is more than JSON becomes JSON, within bounds.

use std::sync::Arc;

use super::{Key, Map, Value};

/// Lists and maps within each other, at most. Fits what JSON readers accept by default, with room around it.
pub const DEPTH_MAX: usize = 100;

/// Bytes of a value as JSON, at most, if no setting says otherwise.
pub const BYTES_MAX: usize = 16 << 20;

const TOO_DEEP: &str = "lists and maps are more than 100 deep within each other (value_depth_max)";

/// Refuses JSON text that is nested more than [`DEPTH_MAX`] deep, before anything reads it.
pub(crate) fn check_json_depth(text: &str) -> Result<(), &'static str> {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(TOO_DEEP);
        }
    }
    Ok(())
}

impl Value {
    /// The value as JSON knows it: unsigned numbers that fit become signed, times become RFC 3339 text, spans
    /// `"5400s"`, bytes base64, types their names, keys text. The same value again if it is JSON already.
    ///
    /// # Errors
    /// A double that is not finite has no JSON form, keys `1` and `"1"` cannot both be text, and a value is at most
    /// [`DEPTH_MAX`] deep; the message says so.
    pub fn into_json(self) -> Result<Value, &'static str> {
        self.to_json(0)
    }

    fn to_json(&self, depth: usize) -> Result<Value, &'static str> {
        if self.is_json(depth)? {
            return Ok(self.clone());
        }
        Ok(match self {
            Value::Uint(number) => i64::try_from(*number).map_or(Value::Uint(*number), Value::Int),
            Value::List(items) => {
                let items: Result<Vec<Value>, _> = items.iter().map(|item| item.to_json(depth + 1)).collect();
                Value::List(Arc::new(items?))
            }
            Value::Map(map) => {
                let mut entries = Map::new();
                for (key, value) in map.iter() {
                    let key = match key {
                        Key::String(_) => key.clone(),
                        other => Key::from(other.as_text().as_ref()),
                    };
                    if entries.insert(key, value.to_json(depth + 1)?).is_some() {
                        return Err("two keys of a map are the same as text, so it has no JSON form");
                    }
                }
                Value::Map(Arc::new(entries))
            }
            other => Value::string(other.to_text()),
        })
    }

    fn is_json(&self, depth: usize) -> Result<bool, &'static str> {
        if depth > DEPTH_MAX {
            return Err(TOO_DEEP);
        }
        match self {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::String(_) => Ok(true),
            Value::Uint(number) => Ok(i64::try_from(*number).is_err()),
            Value::Double(number) if number.is_finite() => Ok(true),
            Value::Double(_) => Err("a number that is not finite has no JSON form"),
            Value::List(items) => {
                for item in items.iter() {
                    if !item.is_json(depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Value::Map(map) => {
                for (key, value) in map.iter() {
                    if !matches!(key, Key::String(_)) || !value.is_json(depth + 1)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Value::Bytes(_) | Value::Timestamp(_) | Value::Duration(_) | Value::Type(_) => Ok(false),
        }
    }

    /// About how many bytes the value takes as JSON, parts that are shared counted each time they appear; `None` when
    /// that is more than `bytes_max`. It stops counting there, so it takes no longer for a larger value.
    pub fn json_bytes_within(&self, bytes_max: usize) -> Option<usize> {
        let mut left = bytes_max;
        self.take_bytes(&mut left)?;
        Some(bytes_max - left)
    }

    fn take_bytes(&self, left: &mut usize) -> Option<()> {
        let own = match self {
            Value::String(text) => text.len() + 2,
            Value::Bytes(bytes) => bytes.len() * 4 / 3 + 2,
            Value::Timestamp(_) | Value::Duration(_) | Value::Type(_) => 24,
            _ => 4,
        };
        *left = left.checked_sub(own)?;
        match self {
            Value::List(items) => items.iter().try_for_each(|item| item.take_bytes(left)),
            Value::Map(map) => map.iter().try_for_each(|(key, value)| {
                *left = left.checked_sub(key.as_text().len() + 4)?;
                value.take_bytes(left)
            }),
            _ => Some(()),
        }
    }

    /// The same value in `serde_json`'s terms, for libraries that want it.
    pub fn to_serde(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Int(number) => (*number).into(),
            Value::Uint(number) => (*number).into(),
            Value::Double(number) => serde_json::Number::from_f64(*number).map_or(serde_json::Value::Null, Into::into),
            Value::List(items) => items.iter().map(Value::to_serde).collect(),
            Value::Map(map) => serde_json::Value::Object(
                map.iter().map(|(key, value)| (key.as_text().into_owned(), value.to_serde())).collect(),
            ),
            other => other.to_text().into(),
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Value {
        match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => {
                if let Some(number) = number.as_i64() {
                    Value::Int(number)
                } else if let Some(number) = number.as_u64() {
                    Value::Uint(number)
                } else {
                    Value::Double(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            serde_json::Value::String(text) => Value::String(text.into()),
            serde_json::Value::Array(items) => Value::list(items.into_iter().map(Value::from)),
            serde_json::Value::Object(map) => Value::map(map.into_iter().map(|(key, value)| (key, Value::from(value)))),
        }
    }
}

#[cfg(test)]
mod tests;
