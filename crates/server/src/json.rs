//! JSON at the door: bounded, strict, and refused with its place.
//!
//! Invariant: no object with a key twice, no NUL, and nothing nested deeper than [`JSON_DEPTH_MAX`] comes past here.

use std::{borrow::Cow, fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use windlass_definition::{Value, value};

use crate::problem::{FieldError, Problem};

/// Lists and objects within each other; the parser's own bound.
pub const JSON_DEPTH_MAX: usize = 127;

/// Any JSON value, with no key twice in one object.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Json(pub Value);

/// Reads a body as `T`.
///
/// # Errors
/// 400 when it is no JSON, 422 when it is JSON of another shape; both say where.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if has_nul(bytes) {
        return Err(Problem::bad_request("nul", "the body holds a NUL character (`\\u0000`), which is not allowed"));
    }
    serde_json::from_slice(bytes).map_err(|error| explain::<T>(bytes, &error))
}

/// Reads it again, this time keeping the path: only bodies that are refused pay for it.
fn explain<T: DeserializeOwned>(bytes: &[u8], error: &serde_json::Error) -> Problem {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let pointer = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Err(error) => pointer_of(error.path()),
        Ok(_) => String::new(),
    };
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned();
    let place = (error.line() > 0).then_some((error.line(), error.column()));
    let found = FieldError {
        pointer,
        message: message.clone(),
        line: place.map(|(line, _)| line),
        column: place.map(|(_, column)| column),
        ..FieldError::default()
    };
    let problem = if error.is_data() && std::str::from_utf8(bytes).is_ok() {
        Problem::invalid("invalid_body", format!("the body is not what this route reads: {message}"))
    } else {
        Problem::bad_request("invalid_json", format!("the body is not JSON: {message}"))
    };
    problem.with_errors(vec![found])
}

fn pointer_of(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// Whether the text holds an escaped NUL; a bare one is no JSON anyway.
fn has_nul(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = &rest[at + 1..];
        if escape.starts_with(b"u0000") {
            return true;
        }
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json(Value::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json(Value::Bool(value)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json(Value::Int(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json(Value::from(number)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json(Value::Double(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json(Value::string(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(Json(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Json(Value::List(Arc::new(items))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json, A::Error> {
        let mut map = value::Map::new();
        while let Some(key) = access.next_key::<Cow<'de, str>>()? {
            let Json(item) = access.next_value()?;
            if map.insert(value::Key::from(key.as_ref()), item).is_some() {
                return Err(A::Error::custom(format!("the key `{key}` stands twice in one object")));
            }
        }
        Ok(Json(Value::Map(Arc::new(map))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str, pointer: &str) {
        match read::<Json>(text.as_bytes()) {
            Ok(_) => assert_eq!(code, "ok", "{text}"),
            Err(problem) => assert_eq!(problem.code(), code, "{text}: {problem:?} {pointer}"),
        }
    }

    #[test]
    fn only_strict_json_passes() {
        check(r#"{"a":[1,{"b":"\\u0000 is fine"}]}"#, "ok", "");
        check(r#"{"a":"\u0000"}"#, "nul", "");
        check("{\"a\":\"\u{0}\"}", "invalid_json", "");
        check(r#"{"a":1,"a":2}"#, "invalid_body", "");
        check(r#"{"a":{"b":1,"b":1}}"#, "invalid_body", "/a");
        check(r#"{"a":1,}"#, "invalid_json", "");
        check("", "invalid_json", "");
        check("[1] 2", "invalid_json", "");
        check("1e999", "invalid_json", "");
        check(&"[".repeat(100_000), "invalid_json", "");
    }

    #[test]
    fn numbers_keep_64_bits() {
        let Json(value) = read(b"[9223372036854775807,18446744073709551615,1.0]").unwrap();
        assert_eq!(value.to_string(), "[9223372036854775807,18446744073709551615,1.0]");
    }
}
