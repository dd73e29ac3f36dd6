//! Columns: what one field of a record holds, and who may see and change it.

use std::sync::OnceLock;

use regex::Regex;

/// Characters of a text that says nothing else.
const TEXT_CHARS_MAX: u32 = 200;
/// Bytes of a JSON value that says nothing else.
const JSON_BYTES_MAX: u32 = 64 << 10;
/// Bytes of a binary value that says nothing else.
const BYTES_MAX: u32 = 64 << 10;

/// One field of a record.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name, in the table and in JSON.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it is for: a sentence.
    pub doc: &'static str,
    /// Whether it always has a value that somebody gave.
    pub required: bool,
    /// What it holds when nobody gave a value.
    pub default: Option<DefaultValue>,
    /// Who may set it.
    pub access: Access,
    /// Whether it is ever shown again once it was given, and what is kept of it.
    pub secrecy: Secrecy,
    /// Whether `?q=` looks into it.
    pub searchable: bool,
    /// Whether only the program sees it.
    pub internal: bool,
    /// Whether the record's behaviour fills it in when a row is made.
    pub generated: bool,
    /// Why it should not be used any more.
    pub deprecated: Option<&'static str>,
}

/// Whether a value is ever shown again, and what is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// It is shown, and kept as it is.
    Shown,
    /// It is never shown; it is kept sealed by the vault, and the program alone reads it.
    Sealed,
    /// It is never shown; a hash of it alone is kept, so that it can be compared and not read. What callers give is kept as
    /// its SHA-256, which is for what nobody can guess; what the program alone writes is a hash already.
    Hashed,
}

/// What a column holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Text of so many characters.
    Text {
        /// At least.
        chars_min: u32,
        /// At most.
        chars_max: u32,
        /// What it has to look like.
        pattern: Option<&'static Pattern>,
        /// What is done to it before it is kept.
        fold: Fold,
    },
    /// A whole number of 64 bits.
    Integer {
        /// At least.
        min: i64,
        /// At most.
        max: i64,
    },
    /// An exact number with a fixed count of decimals, as for money; kept as a count of the smallest unit.
    Decimal {
        /// Decimals, 1 to 9.
        scale: u32,
        /// At least, in the smallest unit.
        min: i64,
        /// At most, in the smallest unit.
        max: i64,
    },
    /// True or false.
    Boolean,
    /// A point in time, to the microsecond.
    Timestamp,
    /// A day of the calendar.
    Date,
    /// Any JSON value of a shape.
    Json {
        /// Which values.
        shape: Shape,
        /// Bytes of its text at most.
        bytes_max: u32,
    },
    /// Bytes, base64 in JSON.
    Bytes {
        /// At most.
        bytes_max: u32,
    },
    /// A UUID that names something which need not be there.
    Id,
    /// The id of a row of another table, of the same tenant.
    Reference {
        /// That table.
        to: &'static str,
        /// What becomes of this row when that one is deleted.
        on_delete: OnDelete,
    },
    /// One of these words.
    Enum {
        /// The words.
        values: &'static [&'static str],
    },
    /// Where the row stands in its life: one of these words, the first at its beginning; only transitions change it.
    State {
        /// The words.
        values: &'static [&'static str],
    },
}

/// What is done to a text before it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fold {
    /// Nothing.
    Kept,
    /// It is put into lower case.
    Lower,
}

/// Which JSON values a column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any but null.
    Any,
    /// Objects.
    Object,
    /// Lists.
    List,
    /// Lists of texts.
    Texts,
}

/// What becomes of a row when the row that it refers to is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDelete {
    /// The other row is not deleted while this one is there.
    Restrict,
    /// It goes too.
    Cascade,
    /// It stays and refers to nothing.
    SetNull,
}

/// Who may set a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever may write the record, at any time.
    Editable,
    /// The same, when the row is made.
    WriteOnce,
    /// The program.
    ReadOnly,
}

/// What a column holds when nobody gave a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultValue {
    /// This text, word, time or id.
    Text(&'static str),
    /// This number; of a decimal in its smallest unit.
    Int(i64),
    /// This truth.
    Bool(bool),
    /// The JSON of this text.
    Json(&'static str),
}

/// What a text has to look like: a regular expression, and its meaning in words for messages.
#[derive(Debug)]
pub struct Pattern {
    /// The regular expression; it should be anchored.
    pub regex: &'static str,
    /// What it means: completes "it must be …".
    pub meaning: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// A pattern and its meaning.
    pub const fn new(regex: &'static str, meaning: &'static str) -> Pattern {
        Pattern { regex, meaning, compiled: OnceLock::new() }
    }

    /// The compiled expression; `None` when it is none, which the check of descriptors reports.
    pub fn compiled(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| Regex::new(self.regex).ok()).as_ref()
    }
}

/// Patterns that many records share.
pub mod patterns {
    use super::Pattern;

    /// `build-and-test`.
    pub static SLUG: Pattern = Pattern::new(
        r"^[a-z0-9]([a-z0-9_-]*[a-z0-9])?$",
        "lower-case letters, digits, `-` and `_`, with a letter or digit at both ends",
    );
    /// `#1f6feb`.
    pub static COLOR: Pattern = Pattern::new(r"^#[0-9a-f]{6}$", "a colour such as `#1f6feb`");
    /// `ada@example.org`.
    pub static EMAIL: Pattern = Pattern::new(r"^[^@\s]+@[^@\s]+$", "an e-mail address");
    /// `https://example.org/x`, and nothing but https.
    pub static HTTPS: Pattern = Pattern::new(r"^https://[^\s]+$", "an https address");
    /// `https://example.org/x`.
    pub static URL: Pattern = Pattern::new(r"^https?://[^\s]+$", "an http or https address");
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        doc: "",
        required: false,
        default: None,
        access: Access::Editable,
        secrecy: Secrecy::Shown,
        searchable: false,
        internal: false,
        generated: false,
        deprecated: None,
    }
}

/// Text: up to 200 characters, unless [`Column::chars`] says otherwise.
pub const fn text(name: &'static str) -> Column {
    column(name, Kind::Text { chars_min: 0, chars_max: TEXT_CHARS_MAX, pattern: None, fold: Fold::Kept })
}

/// A whole number of 64 bits; [`Column::range`] bounds it.
pub const fn integer(name: &'static str) -> Column {
    column(name, Kind::Integer { min: i64::MIN, max: i64::MAX })
}

/// An exact number with that many decimals; [`Column::range`] bounds it, in its smallest unit.
pub const fn decimal(name: &'static str, scale: u32) -> Column {
    column(name, Kind::Decimal { scale, min: i64::MIN, max: i64::MAX })
}

/// True or false.
pub const fn boolean(name: &'static str) -> Column {
    column(name, Kind::Boolean)
}

/// A point in time.
pub const fn timestamp(name: &'static str) -> Column {
    column(name, Kind::Timestamp)
}

/// A day.
pub const fn date(name: &'static str) -> Column {
    column(name, Kind::Date)
}

/// JSON of that shape: up to 64 KiB, unless [`Column::bytes_max`] says otherwise.
pub const fn json(name: &'static str, shape: Shape) -> Column {
    column(name, Kind::Json { shape, bytes_max: JSON_BYTES_MAX })
}

/// Bytes: up to 64 KiB, unless [`Column::bytes_max`] says otherwise.
pub const fn bytes(name: &'static str) -> Column {
    column(name, Kind::Bytes { bytes_max: BYTES_MAX })
}

/// A UUID without a foreign key.
pub const fn id(name: &'static str) -> Column {
    column(name, Kind::Id)
}

/// The id of a row of that table; that one is not deleted while this row is there, unless [`Column::on_delete`] says
/// otherwise.
pub const fn reference(name: &'static str, to: &'static str) -> Column {
    column(name, Kind::Reference { to, on_delete: OnDelete::Restrict })
}

/// One of these words.
pub const fn enumeration(name: &'static str, values: &'static [&'static str]) -> Column {
    column(name, Kind::Enum { values })
}

/// The state of a row: one of these words, the first at its beginning.
pub const fn state(name: &'static str, values: &'static [&'static str]) -> Column {
    column(name, Kind::State { values }).read_only()
}

impl Column {
    /// What it is for: a sentence.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Column {
        self.doc = doc;
        self
    }

    /// Whoever makes a row has to give it.
    #[must_use]
    pub const fn required(mut self) -> Column {
        self.required = true;
        self
    }

    /// How many characters a text may have.
    #[must_use]
    pub const fn chars(mut self, min: u32, max: u32) -> Column {
        if let Kind::Text { pattern, fold, .. } = self.kind {
            self.kind = Kind::Text { chars_min: min, chars_max: max, pattern, fold };
        }
        self
    }

    /// What a text has to look like.
    #[must_use]
    pub const fn pattern(mut self, pattern: &'static Pattern) -> Column {
        if let Kind::Text { chars_min, chars_max, fold, .. } = self.kind {
            self.kind = Kind::Text { chars_min, chars_max, pattern: Some(pattern), fold };
        }
        self
    }

    /// A text is kept in lower case.
    #[must_use]
    pub const fn lower(mut self) -> Column {
        if let Kind::Text { chars_min, chars_max, pattern, .. } = self.kind {
            self.kind = Kind::Text { chars_min, chars_max, pattern, fold: Fold::Lower };
        }
        self
    }

    /// Between which numbers it lies; of a decimal in its smallest unit.
    #[must_use]
    pub const fn range(mut self, min: i64, max: i64) -> Column {
        self.kind = match self.kind {
            Kind::Integer { .. } => Kind::Integer { min, max },
            Kind::Decimal { scale, .. } => Kind::Decimal { scale, min, max },
            other => other,
        };
        self
    }

    /// How many bytes JSON or bytes may have.
    #[must_use]
    pub const fn bytes_max(mut self, bytes_max: u32) -> Column {
        self.kind = match self.kind {
            Kind::Json { shape, .. } => Kind::Json { shape, bytes_max },
            Kind::Bytes { .. } => Kind::Bytes { bytes_max },
            other => other,
        };
        self
    }

    /// What becomes of the row when the one that it refers to is deleted.
    #[must_use]
    pub const fn on_delete(mut self, on_delete: OnDelete) -> Column {
        if let Kind::Reference { to, .. } = self.kind {
            self.kind = Kind::Reference { to, on_delete };
        }
        self
    }

    /// What it holds when nobody gives a value; then it is never null.
    #[must_use]
    pub const fn default(mut self, value: DefaultValue) -> Column {
        self.default = Some(value);
        self
    }

    /// It is given when the row is made, and never changes.
    #[must_use]
    pub const fn write_once(mut self) -> Column {
        self.access = Access::WriteOnce;
        self
    }

    /// Only the program sets it.
    #[must_use]
    pub const fn read_only(mut self) -> Column {
        self.access = Access::ReadOnly;
        self
    }

    /// It is never shown again: not in answers, not in the audit, not in exports. The vault seals it.
    #[must_use]
    pub const fn secret(mut self) -> Column {
        self.secrecy = Secrecy::Sealed;
        self
    }

    /// It is never shown again, and nobody can read it: its hash alone is kept.
    #[must_use]
    pub const fn hashed(mut self) -> Column {
        self.secrecy = Secrecy::Hashed;
        self
    }

    /// `?q=` looks into it.
    #[must_use]
    pub const fn searchable(mut self) -> Column {
        self.searchable = true;
        self
    }

    /// Only the program sees it.
    #[must_use]
    pub const fn internal(mut self) -> Column {
        self.internal = true;
        self.access = Access::ReadOnly;
        self
    }

    /// It always has a value, which the record's behaviour gives it when the row is made.
    #[must_use]
    pub const fn generated(mut self) -> Column {
        self.generated = true;
        self.required = true;
        self.access = Access::ReadOnly;
        self
    }

    /// It should not be used any more, and what to use instead.
    #[must_use]
    pub const fn deprecated(mut self, instead: &'static str) -> Column {
        self.deprecated = Some(instead);
        self
    }

    /// Whether the table lets it be null.
    pub fn is_nullable(&self) -> bool {
        !self.required && self.default.is_none() && !matches!(self.kind, Kind::State { .. })
    }

    /// Whether answers show it.
    pub fn is_shown(&self) -> bool {
        !self.is_secret() && !self.internal
    }

    /// Whether it is never shown again.
    pub fn is_secret(&self) -> bool {
        self.secrecy != Secrecy::Shown
    }

    /// Whether what it is given is a hash already: the program alone gives it.
    pub fn is_hash(&self) -> bool {
        self.secrecy == Secrecy::Hashed && matches!(self.access, Access::ReadOnly)
    }

    /// What its table holds: of a secret, bytes.
    pub fn stored_kind(&self) -> Kind {
        match self.secrecy {
            Secrecy::Shown => self.kind,
            _ if self.is_hash() => self.kind,
            Secrecy::Sealed | Secrecy::Hashed => Kind::Bytes { bytes_max: u32::MAX },
        }
    }

    /// Whether lists may be filtered by it.
    pub fn is_filter(&self) -> bool {
        self.is_shown() && !matches!(self.kind, Kind::Json { .. } | Kind::Bytes { .. })
    }

    /// Whether lists may be sorted by it.
    pub fn is_sort(&self) -> bool {
        self.is_filter() && !matches!(self.kind, Kind::Reference { .. })
    }

    /// The words of an enumeration or a state.
    pub fn words(&self) -> Option<&'static [&'static str]> {
        match self.kind {
            Kind::Enum { values } | Kind::State { values } => Some(values),
            _ => None,
        }
    }
}
