//! Keys of maps.

use std::{
    borrow::{Borrow, Cow},
    cmp::Ordering,
    sync::Arc,
};

use super::Value;

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
    /// The entry of a map under a text key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        match self {
            Value::Map(map) => map.get(&TextKey(key) as &dyn KeyView),
            _ => None,
        }
    }
}
