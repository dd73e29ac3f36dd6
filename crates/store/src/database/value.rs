//! Values and rows: what goes into a statement and what comes out of it, the same for both databases.

use std::{borrow::Cow, sync::Arc};

use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::{Id, TenantKey};

use crate::StoreError;

/// The text of a statement. Placeholders are `$1`, `$2` … on both databases.
pub type Sql = Cow<'static, str>;

/// One value of a parameter or a column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL's null.
    Null,
    /// A boolean; 0 or 1 on SQLite.
    Bool(bool),
    /// Any integer; it takes the width of the column.
    Int(i64),
    /// A floating point number.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A UUID; 16 bytes on SQLite.
    Uuid(Uuid),
    /// A time of an ordinary table: RFC 3339 text on SQLite.
    Time(Timestamp),
    /// A time of a hot table: integer microseconds on SQLite.
    Instant(Timestamp),
    /// JSON text; `jsonb` on PostgreSQL.
    Json(Arc<str>),
    /// For `in`: see [`Dialect::in_uuids`](super::Dialect::in_uuids).
    Uuids(Vec<Uuid>),
    /// For `in`: see [`Dialect::in_texts`](super::Dialect::in_texts).
    Texts(Vec<Arc<str>>),
    /// For `in`: see [`Dialect::in_ints`](super::Dialect::in_ints).
    Ints(Vec<i64>),
    /// An array of a batch; PostgreSQL only.
    List(Vec<Value>),
}

impl Value {
    /// JSON of anything that serialises.
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Value {
        // Only maps with keys that are not text fail here, and no record has one.
        serde_json::to_string(value).map_or(Value::Null, |text| Value::Json(text.into()))
    }
}

macro_rules! from {
    ($($from:ty => |$name:ident| $to:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($name: $from) -> Value {
                $to
            }
        })*
    };
}

from! {
    bool => |value| Value::Bool(value);
    i64 => |value| Value::Int(value);
    i32 => |value| Value::Int(i64::from(value));
    u32 => |value| Value::Int(i64::from(value));
    f64 => |value| Value::Float(value);
    &str => |value| Value::Text(value.into());
    String => |value| Value::Text(value.into());
    &String => |value| Value::Text(value.as_str().into());
    Arc<str> => |value| Value::Text(value);
    Vec<u8> => |value| Value::Bytes(value);
    &[u8] => |value| Value::Bytes(value.to_vec());
    [u8; 32] => |value| Value::Bytes(value.to_vec());
    Uuid => |value| Value::Uuid(value);
    Timestamp => |value| Value::Time(value);
    TenantKey => |value| Value::Int(i64::from(value.0));
    Vec<Uuid> => |value| Value::Uuids(value);
    Vec<Arc<str>> => |value| Value::Texts(value);
    Vec<i64> => |value| Value::Ints(value);
}

impl<T> From<Id<T>> for Value {
    fn from(id: Id<T>) -> Value {
        Value::Uuid(id.uuid())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// The values of one row, read by position.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<Value>);

impl Row {
    fn wrong(&self, column: usize, wanted: &'static str) -> StoreError {
        StoreError::damaged(format!("column {column} holds {:?}, not {wanted}", self.0.get(column)))
    }

    /// Whether that column is null (or beyond the row).
    pub fn is_null(&self, column: usize) -> bool {
        matches!(self.0.get(column), None | Some(Value::Null))
    }

    /// A value that may be null, read by one of the other functions.
    pub fn opt<T>(
        &self,
        column: usize,
        read: impl FnOnce(&Row, usize) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        if self.is_null(column) { Ok(None) } else { read(self, column).map(Some) }
    }

    /// An integer.
    pub fn int(&self, column: usize) -> Result<i64, StoreError> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            Some(Value::Bool(value)) => Ok(i64::from(*value)),
            _ => Err(self.wrong(column, "an integer")),
        }
    }

    /// An integer of 32 bits.
    pub fn int32(&self, column: usize) -> Result<i32, StoreError> {
        i32::try_from(self.int(column)?).map_err(|_| self.wrong(column, "an integer of 32 bits"))
    }

    /// A tenant's key.
    pub fn tenant(&self, column: usize) -> Result<TenantKey, StoreError> {
        self.int32(column).map(TenantKey)
    }

    /// A boolean.
    pub fn bool(&self, column: usize) -> Result<bool, StoreError> {
        match self.0.get(column) {
            Some(Value::Bool(value)) => Ok(*value),
            Some(Value::Int(value)) => Ok(*value != 0),
            _ => Err(self.wrong(column, "a boolean")),
        }
    }

    /// Text (also JSON as text).
    pub fn text(&self, column: usize) -> Result<&str, StoreError> {
        match self.0.get(column) {
            Some(Value::Text(value) | Value::Json(value)) => Ok(value),
            _ => Err(self.wrong(column, "text")),
        }
    }

    /// Text as an owned string.
    pub fn string(&self, column: usize) -> Result<String, StoreError> {
        self.text(column).map(str::to_owned)
    }

    /// Text that is shared.
    pub fn shared(&self, column: usize) -> Result<Arc<str>, StoreError> {
        match self.0.get(column) {
            Some(Value::Text(value) | Value::Json(value)) => Ok(Arc::clone(value)),
            _ => Err(self.wrong(column, "text")),
        }
    }

    /// JSON, parsed.
    pub fn json(&self, column: usize) -> Result<serde_json::Value, StoreError> {
        serde_json::from_str(self.text(column)?).map_err(|_| self.wrong(column, "JSON"))
    }

    /// Bytes.
    pub fn bytes(&self, column: usize) -> Result<Vec<u8>, StoreError> {
        match self.0.get(column) {
            Some(Value::Bytes(value)) => Ok(value.clone()),
            _ => Err(self.wrong(column, "bytes")),
        }
    }

    /// A SHA-256.
    pub fn hash(&self, column: usize) -> Result<[u8; 32], StoreError> {
        self.bytes(column)?.try_into().map_err(|_| self.wrong(column, "a hash of 32 bytes"))
    }

    /// A UUID.
    pub fn uuid(&self, column: usize) -> Result<Uuid, StoreError> {
        match self.0.get(column) {
            Some(Value::Uuid(value)) => Ok(*value),
            Some(Value::Bytes(value)) => Uuid::from_slice(value).map_err(|_| self.wrong(column, "a UUID")),
            _ => Err(self.wrong(column, "a UUID")),
        }
    }

    /// An id of the kind that is asked for.
    pub fn id<T>(&self, column: usize) -> Result<Id<T>, StoreError> {
        self.uuid(column).map(Id::new)
    }

    /// A time, in whichever form the database keeps it.
    pub fn time(&self, column: usize) -> Result<Timestamp, StoreError> {
        match self.0.get(column) {
            Some(Value::Time(value) | Value::Instant(value)) => Ok(*value),
            Some(Value::Int(micros)) => Ok(Timestamp::from_micros(*micros)),
            Some(Value::Text(text)) => Timestamp::parse(text).ok_or_else(|| self.wrong(column, "a time")),
            _ => Err(self.wrong(column, "a time")),
        }
    }
}
