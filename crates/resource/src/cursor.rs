//! Cursors: where a page ended, so that the next one begins there whatever was added meanwhile.
//!
//! A cursor holds the order and the last row's values in it. It is opaque to callers, and no secret.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value as Json;

use crate::{Datum, list::Sort};

/// Characters of a cursor at most.
pub(crate) const CURSOR_CHARS_MAX: usize = 8_000;

/// The cursor after a row with these values of the sorted columns.
pub(crate) fn write(sort: &[Sort], values: &[Datum]) -> String {
    let mut parts = vec![Json::from(order(sort))];
    parts.extend(sort.iter().zip(values).map(|(sort, value)| sort.column.kind.show(value)));
    URL_SAFE_NO_PAD.encode(Json::from(parts).to_string())
}

/// The values of a cursor; `None` when it is none of this order.
pub(crate) fn read(sort: &[Sort], text: &str) -> Option<Vec<Datum>> {
    if text.len() > CURSOR_CHARS_MAX {
        return None;
    }
    let parts: Vec<Json> = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    let (first, values) = parts.split_first()?;
    if first.as_str() != Some(&order(sort)) || values.len() != sort.len() {
        return None;
    }
    let read = |(sort, value): (&Sort, &Json)| match value {
        Json::Null => sort.column.is_nullable().then_some(Datum::Null),
        value => sort.column.kind.read(value).ok(),
    };
    sort.iter().zip(values).map(read).collect()
}

fn order(sort: &[Sort]) -> String {
    sort.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
