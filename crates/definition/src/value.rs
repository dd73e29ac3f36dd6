//! The values of the language: JSON, and what expressions know beyond it.
//!
//! Cloning a value is cheap: text, lists and maps are shared. Maps are ordered by key in code point order, so that
//! the same value is written the same way on every machine. Between steps there is only JSON: see [`Value::into_json`].

use std::{collections::BTreeMap, fmt, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};

mod json;
mod key;
mod serde;

pub(crate) use json::check_json_depth;
pub use json::{BYTES_MAX, DEPTH_MAX};
pub use key::Key;

/// The entries of a map value.
pub type Map = BTreeMap<Key, Value>;

/// A value of the language.
#[derive(Debug, Clone, Default)]
pub enum Value {
    /// `null`, and the output of whatever did not complete.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without fraction and exponent.
    Int(i64),
    /// A whole number above the range of [`Value::Int`], or one that an expression made with `u`.
    Uint(u64),
    /// A number with a fraction or exponent; stays one.
    Double(f64),
    /// Text.
    String(Arc<str>),
    /// Bytes; only within expressions.
    Bytes(Arc<[u8]>),
    /// A list.
    List(Arc<Vec<Value>>),
    /// A map.
    Map(Arc<Map>),
    /// A point in time; only within expressions.
    Timestamp(DateTime<Utc>),
    /// A span of time; only within expressions.
    Duration(TimeDelta),
    /// The type of a value; only within expressions.
    Type(&'static str),
}

impl Value {
    /// Text.
    pub fn string(text: impl AsRef<str>) -> Value {
        Value::String(text.as_ref().into())
    }

    /// A list.
    pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
        Value::List(Arc::new(items.into_iter().collect()))
    }

    /// A map with text keys.
    pub fn map<K: AsRef<str>>(entries: impl IntoIterator<Item = (K, Value)>) -> Value {
        let entries = entries.into_iter().map(|(key, value)| (Key::from(key.as_ref()), value));
        Value::Map(Arc::new(entries.collect()))
    }

    /// This map with one more entry; a map of that one entry when this is not a map.
    #[must_use]
    pub fn with_entry(self, key: &str, value: Value) -> Value {
        let mut map = match self {
            Value::Map(map) => map,
            _ => Arc::default(),
        };
        Arc::make_mut(&mut map).insert(Key::from(key), value);
        Value::Map(map)
    }

    /// The text of a text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a whole number that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            Value::Uint(number) => i64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The truth of a bool.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The items of a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a map.
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Whether this is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The type's name, as `type()` shows it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Type(_) => "type",
        }
    }

    /// The value within text: null is nothing, text itself, lists and maps compact JSON.
    pub fn to_text(&self) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        match self {
            Value::Null => String::new(),
            Value::Bool(value) => value.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Uint(number) => number.to_string(),
            Value::Double(number) => {
                serde_json::Number::from_f64(*number).map_or_else(|| number.to_string(), |it| it.to_string())
            }
            Value::String(text) => text.to_string(),
            Value::Bytes(bytes) => STANDARD.encode(bytes),
            Value::List(_) | Value::Map(_) => serde_json::to_string(self).unwrap_or_default(),
            Value::Timestamp(at) => timestamp_text(at),
            Value::Duration(span) => duration_text(*span),
            Value::Type(name) => (*name).to_owned(),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::string(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text.into())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Int(number.into())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        i64::try_from(number).map_or(Value::Uint(number), Value::Int)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Double(number)
    }
}

/// Structural equality, so that a state compares equal to its replay: a double is equal to itself even when it is
/// not a number, and never to an int. The `==` of expressions is another: see `expression`.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Uint(a), Value::Uint(b)) => a == b,
            (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits(),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::List(a), Value::List(b)) => Arc::ptr_eq(a, b) || a == b,
            (Value::Map(a), Value::Map(b)) => Arc::ptr_eq(a, b) || a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::Type(a), Value::Type(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

/// RFC 3339 in UTC, with as many decimals as the time has.
pub fn timestamp_text(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}

/// Seconds with as many decimals as the span has, then `s`: `5400s`, `0.25s`.
pub fn duration_text(span: TimeDelta) -> String {
    let nanos = i128::from(span.num_seconds()) * 1_000_000_000 + i128::from(span.subsec_nanos());
    let (sign, nanos) = if nanos < 0 { ("-", -nanos) } else { ("", nanos) };
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let decimals = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", decimals.trim_end_matches('0'))
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}
