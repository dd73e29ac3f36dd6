//! Values of columns: between JSON, addresses and statements.
//!
//! Invariant: what a column's kind reads is within the column's bounds, and shows again as what was read.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::NaiveDate;
use serde_json::Value as Json;
use uuid::Uuid;
use windlass_definition::time::Timestamp;

use crate::{Column, DefaultValue, Fold, Kind, Pattern, Shape};

/// The form of a day.
const DAY: &str = "%Y-%m-%d";

/// One value of a column, as statements carry it.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// No value.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number; a decimal as a count of its smallest unit.
    Int(i64),
    /// Text, also a word of an enumeration, and a day as `2026-11-21`.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// An id.
    Uuid(Uuid),
    /// A point in time.
    Time(Timestamp),
    /// JSON, as text.
    Json(String),
}

impl Datum {
    /// Whether it is no value.
    pub fn is_null(&self) -> bool {
        *self == Datum::Null
    }

    /// Its text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Datum::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Datum::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Its id, if it is one.
    pub fn as_uuid(&self) -> Option<Uuid> {
        match self {
            Datum::Uuid(uuid) => Some(*uuid),
            _ => None,
        }
    }

    /// Its point in time, if it is one.
    pub fn as_time(&self) -> Option<Timestamp> {
        match self {
            Datum::Time(at) => Some(*at),
            _ => None,
        }
    }
}

/// Reads a decimal as a count of its smallest unit.
pub(crate) fn read_decimal(text: &str, scale: u32) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(rest) {
        return None;
    }
    let rest = rest.trim_end_matches('0');
    let missing = scale.checked_sub(u32::try_from(rest.len()).ok()?)?;
    let whole: i128 = whole.parse().ok()?;
    let rest: i128 = if rest.is_empty() { 0 } else { rest.parse().ok()? };
    let units = whole.checked_mul(10i128.pow(scale))?.checked_add(rest * 10i128.pow(missing))?;
    i64::try_from(units * sign).ok()
}

/// Writes a count of the smallest unit as a decimal, with all its decimals.
pub(crate) fn show_decimal(units: i64, scale: u32) -> String {
    let width = scale as usize + 1;
    let digits = format!("{:0>width$}", units.unsigned_abs());
    let (whole, rest) = digits.split_at(digits.len() - scale as usize);
    let sign = if units < 0 { "-" } else { "" };
    format!("{sign}{whole}.{rest}")
}

impl Kind {
    /// Reads a value that is not null.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence: `must be text`.
    pub fn read(&self, json: &Json) -> Result<Datum, String> {
        match (self, json) {
            (Kind::Boolean, Json::Bool(value)) => Ok(Datum::Bool(*value)),
            (Kind::Boolean, _) => Err("must be true or false".to_owned()),
            (Kind::Integer { min, max }, Json::Number(number)) => match number.as_i64() {
                Some(value) => within(value, (*min, *max), ToString::to_string).map(Datum::Int),
                None => Err("must be a whole number of 64 bits".to_owned()),
            },
            (Kind::Integer { .. }, _) => Err("must be a whole number".to_owned()),
            // A number is taken as it is written: `0.1` is a tenth.
            (Kind::Decimal { .. }, Json::Number(number)) => self.parse(&number.to_string()),
            (Kind::Json { shape, bytes_max }, json) => read_json(json, *shape, *bytes_max),
            (_, Json::String(text)) => self.parse(text),
            _ => Err(format!("must be {}", self.form())),
        }
    }

    /// Reads a value from text, as it stands in addresses, on the command line, or in a JSON string.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence.
    pub fn parse(&self, text: &str) -> Result<Datum, String> {
        let wrong = || format!("must be {}", self.form());
        match self {
            Kind::Text { chars_min, chars_max, pattern, fold } => {
                read_text(text, (*chars_min, *chars_max), *pattern, *fold)
            }
            Kind::Integer { min, max } => {
                let value = text.parse().map_err(|_| wrong())?;
                within(value, (*min, *max), ToString::to_string).map(Datum::Int)
            }
            Kind::Decimal { scale, min, max } => {
                let units = read_decimal(text, *scale).ok_or_else(wrong)?;
                within(units, (*min, *max), |units| show_decimal(*units, *scale)).map(Datum::Int)
            }
            Kind::Boolean => text.parse().map(Datum::Bool).map_err(|_| wrong()),
            Kind::Timestamp => Timestamp::parse(text).filter(|at| in_range(*at)).map(Datum::Time).ok_or_else(wrong),
            Kind::Date => {
                // The form alone: `2026-1-2` would sort wrongly as text.
                let day = NaiveDate::parse_from_str(text, DAY).ok().filter(|_| text.len() == 10);
                day.map(|day| Datum::Text(day.format(DAY).to_string())).ok_or_else(wrong)
            }
            Kind::Json { shape, bytes_max } => {
                let json = serde_json::from_str(text).map_err(|_| wrong())?;
                read_json(&json, *shape, *bytes_max)
            }
            Kind::Bytes { bytes_max } => {
                let bytes = STANDARD.decode(text).map_err(|_| wrong())?;
                if bytes.len() > *bytes_max as usize {
                    return Err(format!("has {} bytes; at most {bytes_max} are allowed", bytes.len()));
                }
                Ok(Datum::Bytes(bytes))
            }
            Kind::Id | Kind::Reference { .. } => {
                let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36);
                id.map(Datum::Uuid).ok_or_else(wrong)
            }
            Kind::Enum { values } | Kind::State { values } => {
                let word = values.iter().find(|word| **word == text);
                word.map(|word| Datum::Text((*word).to_owned())).ok_or_else(wrong)
            }
        }
    }

    /// What it has to look like, as the rest of "must be …".
    pub fn form(&self) -> String {
        match self {
            Kind::Text { .. } => "text".to_owned(),
            Kind::Integer { .. } => "a whole number".to_owned(),
            Kind::Decimal { scale, .. } => format!("a decimal with at most {scale} decimals, such as \"12.5\""),
            Kind::Boolean => "true or false".to_owned(),
            Kind::Timestamp => "a time such as 2026-11-21T15:00:00Z".to_owned(),
            Kind::Date => "a day such as 2026-11-21".to_owned(),
            Kind::Json { shape, .. } => shape.form().to_owned(),
            Kind::Bytes { .. } => "base64".to_owned(),
            Kind::Id | Kind::Reference { .. } => "an id such as 019aa7d0-0000-7000-8000-000000000000".to_owned(),
            Kind::Enum { values } | Kind::State { values } => format!("one of {}", values.join(", ")),
        }
    }

    /// A stored value as JSON.
    pub fn show(&self, datum: &Datum) -> Json {
        match (datum, self) {
            (Datum::Null, _) => Json::Null,
            (Datum::Bool(value), _) => Json::from(*value),
            (Datum::Int(units), Kind::Decimal { scale, .. }) => Json::from(show_decimal(*units, *scale)),
            (Datum::Int(value), _) => Json::from(*value),
            (Datum::Text(text), _) => Json::from(text.as_str()),
            (Datum::Bytes(bytes), _) => Json::from(STANDARD.encode(bytes)),
            (Datum::Uuid(uuid), _) => Json::from(uuid.to_string()),
            (Datum::Time(at), _) => Json::from(at.to_string()),
            (Datum::Json(text), _) => serde_json::from_str(text).unwrap_or(Json::Null),
        }
    }
}

impl Shape {
    /// What it has to look like, as the rest of "must be …".
    pub fn form(self) -> &'static str {
        match self {
            Shape::Any => "a JSON value",
            Shape::Object => "an object",
            Shape::List => "a list",
            Shape::Texts => "a list of texts",
        }
    }

    fn fits(self, json: &Json) -> bool {
        match self {
            Shape::Any => true,
            Shape::Object => json.is_object(),
            Shape::List => json.is_array(),
            Shape::Texts => json.as_array().is_some_and(|items| items.iter().all(Json::is_string)),
        }
    }
}

impl Column {
    /// What it holds when nobody gave a value; null if nothing is said.
    ///
    /// # Errors
    /// The default is none of its kind: what is wrong with it.
    pub fn default_datum(&self) -> Result<Datum, String> {
        match (self.default, self.kind) {
            (None, Kind::State { values }) => {
                values.first().map(|word| Datum::Text((*word).to_owned())).ok_or_else(|| "has no words".to_owned())
            }
            (None, _) => Ok(Datum::Null),
            (Some(DefaultValue::Int(number)), Kind::Integer { min, max } | Kind::Decimal { min, max, .. }) => {
                within(number, (min, max), ToString::to_string).map(Datum::Int)
            }
            (Some(DefaultValue::Bool(value)), Kind::Boolean) => Ok(Datum::Bool(value)),
            (Some(DefaultValue::Json(text)), Kind::Json { .. }) => self.kind.parse(text),
            (
                Some(DefaultValue::Text(text)),
                Kind::Text { .. } | Kind::Enum { .. } | Kind::State { .. } | Kind::Date | Kind::Timestamp | Kind::Id,
            ) => self.kind.parse(text),
            _ => Err(format!("must be {}", self.kind.form())),
        }
    }
}

/// Years that both databases and RFC 3339 can hold.
fn in_range(at: Timestamp) -> bool {
    const YEAR_1: i64 = -62_135_596_800_000_000;
    const YEAR_10000: i64 = 253_402_300_800_000_000;
    (YEAR_1..YEAR_10000).contains(&at.micros())
}

fn within(value: i64, (min, max): (i64, i64), show: impl Fn(&i64) -> String) -> Result<i64, String> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(match (min, max) {
        (min, i64::MAX) => format!("must be {} or more", show(&min)),
        (i64::MIN, max) => format!("must be {} or less", show(&max)),
        (min, max) => format!("must be {} to {}", show(&min), show(&max)),
    })
}

fn read_text(text: &str, (min, max): (u32, u32), pattern: Option<&Pattern>, fold: Fold) -> Result<Datum, String> {
    if text.contains('\0') {
        return Err("holds a NUL character, which is not allowed".to_owned());
    }
    let text = fold.apply(text);
    let chars = text.chars().count();
    if chars < min as usize {
        return Err(if min == 1 {
            "must not be empty".to_owned()
        } else {
            format!("has {chars} characters; at least {min} are needed")
        });
    }
    if chars > max as usize {
        return Err(format!("has {chars} characters; at most {max} are allowed"));
    }
    match pattern {
        Some(pattern) if !pattern.compiled().is_some_and(|regex| regex.is_match(&text)) => {
            Err(format!("must be {}", pattern.meaning))
        }
        _ => Ok(Datum::Text(text)),
    }
}

fn read_json(json: &Json, shape: Shape, bytes_max: u32) -> Result<Datum, String> {
    if !shape.fits(json) {
        return Err(format!("must be {}", shape.form()));
    }
    let text = json.to_string();
    if text.len() > bytes_max as usize {
        return Err(format!("has {} bytes as JSON; at most {bytes_max} are allowed", text.len()));
    }
    // PostgreSQL's JSON cannot hold it.
    if text.contains("\\u0000") && has_nul(json) {
        return Err("holds a NUL character, which is not allowed".to_owned());
    }
    Ok(Datum::Json(text))
}

fn has_nul(json: &Json) -> bool {
    match json {
        Json::String(text) => text.contains('\0'),
        Json::Array(items) => items.iter().any(has_nul),
        Json::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        for (text, scale, units) in [
            ("12.5", 2, Some(1250)),
            ("-0.01", 2, Some(-1)),
            ("7", 2, Some(700)),
            ("0.100", 1, Some(1)),
            ("0.01", 1, None),
            ("1e3", 2, None),
            (".5", 1, None),
            ("92233720368547758.07", 2, Some(i64::MAX)),
            ("-92233720368547758.08", 2, Some(i64::MIN)),
            ("92233720368547758.08", 2, None),
        ] {
            assert_eq!(read_decimal(text, scale), units, "{text}");
        }
        for (units, text) in [(1250, "12.50"), (-1, "-0.01"), (0, "0.00"), (i64::MIN, "-92233720368547758.08")] {
            assert_eq!(show_decimal(units, 2), text);
            assert_eq!(read_decimal(text, 2), Some(units));
        }
    }
}
