//! The values of the language: JSON, and what expressions know beyond it.
//!
//! Cloning a value is cheap: text, lists and maps are shared. Maps are ordered by key in code point order, so that
//! the same value is written the same way on every machine. Between steps there is only JSON: see [`Value::into_json`].

use std::{
    borrow::{Borrow, Cow},
    cmp::Ordering,
    collections::BTreeMap,
    fmt,
    sync::Arc,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};

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

/// The key of a map. JSON has text keys only; expressions may use the others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number; an unsigned one that fits is kept as this.
    Int(i64),
    /// A whole number above the range of [`Key::Int`].
    Uint(u64),
    /// Text.
    String(Arc<str>),
}

impl Key {
    /// The key as the text that JSON writes.
    pub fn as_text(&self) -> Cow<'_, str> {
        match self {
            Key::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Key::Int(value) => Cow::Owned(value.to_string()),
            Key::Uint(value) => Cow::Owned(value.to_string()),
            Key::String(value) => Cow::Borrowed(value),
        }
    }
}

/// What a key looks like from outside, so that a map can be asked for a text without making a key of it.
trait KeyView {
    fn view(&self) -> BorrowedKey<'_>;
}

/// In the same order as [`Key`].
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum BorrowedKey<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(&'a str),
}

struct TextKey<'a>(&'a str);

impl KeyView for TextKey<'_> {
    fn view(&self) -> BorrowedKey<'_> {
        BorrowedKey::String(self.0)
    }
}

impl KeyView for Key {
    fn view(&self) -> BorrowedKey<'_> {
        match self {
            Key::Bool(value) => BorrowedKey::Bool(*value),
            Key::Int(value) => BorrowedKey::Int(*value),
            Key::Uint(value) => BorrowedKey::Uint(*value),
            Key::String(value) => BorrowedKey::String(value),
        }
    }
}

impl<'a> Borrow<dyn KeyView + 'a> for Key {
    fn borrow(&self) -> &(dyn KeyView + 'a) {
        self
    }
}

impl PartialEq for dyn KeyView + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Eq for dyn KeyView + '_ {}

impl PartialOrd for dyn KeyView + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn KeyView + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.view().cmp(&other.view())
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Key {
        Key::String(text.into())
    }
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

    /// The entry of a map under a text key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(map) => map.get(&TextKey(key) as &dyn KeyView),
            _ => None,
        }
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

/// Writes JSON; what JSON does not know is written as [`Value::into_json`] would turn it, a double that is not
/// finite as null.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Uint(number) => serializer.serialize_u64(*number),
            Value::Double(number) => serializer.serialize_f64(*number),
            Value::String(text) => serializer.serialize_str(text),
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items.iter() {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries.iter() {
                    map.serialize_entry(key.as_text().as_ref(), value)?;
                }
                map.end()
            }
            Value::Bytes(_) | Value::Timestamp(_) | Value::Duration(_) | Value::Type(_) => {
                serializer.serialize_str(&self.to_text())
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Double(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::string(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::with_capacity(access.size_hint().unwrap_or(0).min(1024));
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(Arc::new(items)))
    }

    /// The last of equal keys wins; documents, which refuse them, do not come through here.
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, value)) = access.next_entry::<Cow<'de, str>, Value>()? {
            map.insert(Key::from(key.as_ref()), value);
        }
        Ok(Value::Map(Arc::new(map)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_kind_of_each_number() {
        for (text, written) in [
            ("1", "1"),
            ("1.0", "1.0"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "1.8446744073709552e+19"),
            ("1e2", "100.0"),
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(value.to_string(), written, "{text}");
        }
    }

    #[test]
    fn maps_are_written_in_code_point_order() {
        let value: Value = serde_json::from_str(r#"{"b":1,"a":{"é":1,"z":2},"A":[]}"#).unwrap();
        assert_eq!(value.to_string(), r#"{"A":[],"a":{"z":2,"é":1},"b":1}"#);
    }

    #[test]
    fn what_json_does_not_know_becomes_text() {
        let value = Value::list([
            Value::Uint(7),
            Value::Duration(TimeDelta::milliseconds(250)),
            Value::Timestamp(DateTime::from_timestamp(0, 0).unwrap()),
        ]);
        assert_eq!(value.into_json().unwrap().to_string(), r#"[7,"0.25s","1970-01-01T00:00:00Z"]"#);
        assert!(Value::Double(f64::NAN).into_json().is_err());
    }

    #[test]
    fn keys_that_become_the_same_text_are_refused() {
        let keys = [Key::Int(1), Key::from("1")];
        let map = Value::Map(Arc::new(keys.into_iter().map(|key| (key, Value::Null)).collect()));
        assert!(map.into_json().is_err());
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |depth| (0..depth).fold(Value::Null, |value, _| Value::list([value]));
        assert!(nested(DEPTH_MAX).into_json().is_ok());
        assert!(nested(DEPTH_MAX + 1).into_json().is_err());
        assert!(check_json_depth(&nested(DEPTH_MAX).to_string()).is_ok());
        assert!(check_json_depth(&nested(DEPTH_MAX + 1).to_string()).is_err());
        assert!(check_json_depth(&format!(r#"["\"{}"]"#, "[".repeat(200))).is_ok());

        // Sixty lists of two that share their item: more bytes than there are atoms, counted in no time.
        let doubled = (0..60).fold(Value::Null, |value, _| Value::list([value.clone(), value]));
        assert_eq!(doubled.json_bytes_within(BYTES_MAX), None);
        assert_eq!(Value::list([Value::from(1i64), Value::string("ab")]).json_bytes_within(BYTES_MAX), Some(12));
    }

    #[test]
    fn a_map_is_asked_for_a_text() {
        let map = Value::map([("a", Value::from(1i64)), ("b", Value::from(2i64))]);
        assert_eq!(map.get("b"), Some(&Value::Int(2)));
        assert_eq!(map.get("c"), None);
    }
}
