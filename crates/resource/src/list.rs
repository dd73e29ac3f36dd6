//! What a list is asked for: `?status=draft&created_at.gte=2026-01-01T00:00:00Z&sort=-name&q=order&limit=20`.
//!
//! A filter is a column, an optional operator behind a dot, and a value. A column given twice has to be one of the
//! values. Everything that is wrong is refused at once; nothing unknown is ignored.

use std::{collections::BTreeMap, fmt};

use crate::{Column, Datum, Deletion, FieldError, Kind, Record, cursor};

/// Rows of a page when nobody says.
pub const PAGE_ROWS: u32 = 50;
/// Rows of a page at most.
pub const PAGE_ROWS_MAX: u32 = 1_000;
/// Columns that a list is sorted by, at most.
pub const SORTS_MAX: usize = 3;
/// Words of a search at most.
pub const WORDS_MAX: usize = 8;
/// Values of one filter at most.
pub const VALUES_MAX: usize = 100;
/// Characters of a text that lists are sorted by.
const SORT_CHARS_MAX: u32 = 500;

/// What a list is asked for.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// What must hold of each row.
    pub filters: Vec<Filter>,
    /// The order; its last column is the id, so that no two rows are equal in it.
    pub sort: Vec<Sort>,
    /// Rows of the page.
    pub limit: u32,
    /// The sorted columns of the row after which the page begins.
    pub after: Option<Vec<Datum>>,
    /// Words that each have to be found, in lower case.
    pub words: Vec<String>,
    /// Which rows.
    pub rows: Rows,
}

/// Which rows a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Those that are not deleted.
    Live,
    /// Those that are, and can be restored.
    Deleted,
}

/// Something that must hold of each row.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Of this column.
    pub column: &'static Column,
    /// How it compares.
    pub op: Op,
    /// With what; several for [`Op::In`], none for [`Op::Null`].
    pub values: Vec<Datum>,
}

/// How a column compares with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// It is one of the values.
    In,
    /// It is none of the values.
    NotIn,
    /// It is less.
    Less,
    /// It is less or equal.
    AtMost,
    /// It is more.
    More,
    /// It is more or equal.
    AtLeast,
    /// It is null, or it is not.
    Null(bool),
}

/// A column of the order.
#[derive(Debug, Clone, Copy)]
pub struct Sort {
    /// The column.
    pub column: &'static Column,
    /// Whether the greatest comes first.
    pub descending: bool,
}

impl fmt::Display for Sort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.descending { "-" } else { "" }, self.column.name)
    }
}

/// The columns that a record's lists may be sorted by.
pub fn sortable(record: &Record) -> impl Iterator<Item = &'static Column> + use<> {
    let short = |column: &&Column| match column.kind {
        Kind::Text { chars_max, .. } => chars_max <= SORT_CHARS_MAX,
        _ => true,
    };
    record.stored().into_iter().filter(|column| column.is_sort()).filter(move |column| short(column))
}

/// The operators of a column's filters, as they stand behind the dot.
pub fn operators(column: &Column) -> Vec<&'static str> {
    let mut all = vec!["ne"];
    let ordered = matches!(
        column.kind,
        Kind::Text { .. } | Kind::Integer { .. } | Kind::Decimal { .. } | Kind::Timestamp | Kind::Date
    );
    if ordered {
        all.extend(["lt", "lte", "gt", "gte"]);
    }
    if column.is_nullable() {
        all.push("null");
    }
    all
}

impl ListQuery {
    /// All rows, the newest first.
    pub fn all(record: &Record) -> ListQuery {
        ListQuery {
            filters: Vec::new(),
            sort: vec![id_of(record, true)],
            limit: PAGE_ROWS,
            after: None,
            words: Vec::new(),
            rows: Rows::Live,
        }
    }

    /// Reads the parameters of an address, in their order, already decoded.
    ///
    /// # Errors
    /// Everything that is wrong with them; the pointer is the parameter's name behind a slash.
    pub fn parse(record: &Record, pairs: &[(String, String)]) -> Result<ListQuery, Vec<FieldError>> {
        let mut query = ListQuery::all(record);
        let mut errors = Vec::new();
        let mut after = None;
        let mut filters: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (name, value) in pairs {
            let refused = match name.as_str() {
                "limit" => parse_limit(value).map(|limit| query.limit = limit),
                "sort" => parse_sort(record, value).map(|sort| query.sort = sort),
                "after" => {
                    after = Some(value);
                    Ok(())
                }
                "q" if record.is_searchable() => parse_words(value).map(|words| query.words = words),
                "deleted" if record.deletion == Deletion::Soft => parse_rows(value).map(|rows| query.rows = rows),
                name => {
                    let (column, op) = name.split_once('.').unwrap_or((name, ""));
                    filters.entry((column, op)).or_default().push(value);
                    Ok(())
                }
            };
            if let Err(message) = refused {
                errors.push(FieldError::of(name, message));
            }
        }
        for ((column, op), values) in filters {
            match parse_filter(record, (column, op), &values) {
                Ok(filter) => query.filters.push(filter),
                Err(message) => {
                    let name = if op.is_empty() { column.to_owned() } else { format!("{column}.{op}") };
                    errors.push(FieldError::of(&name, message));
                }
            }
        }
        if let Some(text) = after {
            query.after = cursor::read(&query.sort, text);
            if query.after.is_none() {
                errors.push(FieldError::of("after", "is no cursor of a list in this order; begin again without it"));
            }
        }
        if errors.is_empty() { Ok(query) } else { Err(errors) }
    }

    /// The cursor after a row, given by [`Record::stored`].
    pub fn cursor(&self, record: &Record, row: &[Datum]) -> String {
        let value = |sort: &Sort| record.position(sort.column.name).and_then(|at| row.get(at)).cloned();
        let values: Vec<Datum> = self.sort.iter().map(|sort| value(sort).unwrap_or(Datum::Null)).collect();
        cursor::write(&self.sort, &values)
    }
}

fn id_of(record: &Record, descending: bool) -> Sort {
    Sort { column: record.stored()[0], descending }
}

fn parse_limit(text: &str) -> Result<u32, String> {
    let limit = text.parse().ok().filter(|limit| (1..=PAGE_ROWS_MAX).contains(limit));
    limit.ok_or_else(|| format!("must be 1 to {PAGE_ROWS_MAX}"))
}

fn parse_rows(text: &str) -> Result<Rows, String> {
    match text {
        "true" => Ok(Rows::Deleted),
        "false" => Ok(Rows::Live),
        _ => Err("must be true or false".to_owned()),
    }
}

fn parse_words(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    if words.len() > WORDS_MAX || text.contains('\0') {
        return Err(format!("must be at most {WORDS_MAX} words"));
    }
    Ok(words)
}

fn parse_sort(record: &Record, text: &str) -> Result<Vec<Sort>, String> {
    let mut sort: Vec<Sort> = Vec::new();
    for part in text.split(',') {
        let (name, descending) = part.strip_prefix('-').map_or((part, false), |name| (name, true));
        let column = sortable(record).find(|column| column.name == name).ok_or_else(|| {
            let names: Vec<&str> = sortable(record).map(|column| column.name).collect();
            format!("`{name}` cannot be sorted by; there are {}", names.join(", "))
        })?;
        if sort.iter().any(|other| other.column.name == name) {
            return Err(format!("names `{name}` twice"));
        }
        sort.push(Sort { column, descending });
    }
    if sort.len() > SORTS_MAX {
        return Err(format!("must be at most {SORTS_MAX} columns"));
    }
    match sort.iter().position(|sort| sort.column.name == "id") {
        // Nothing is equal in its id.
        Some(at) => sort.truncate(at + 1),
        None => sort.push(id_of(record, sort.last().is_some_and(|last| last.descending))),
    }
    Ok(sort)
}

fn parse_filter(record: &Record, (name, op): (&str, &str), texts: &[&str]) -> Result<Filter, String> {
    let column = record.stored().into_iter().find(|column| column.name == name && column.is_filter());
    let column = column.ok_or_else(|| {
        let columns = record.stored().into_iter().filter(|column| column.is_filter());
        let mut names: Vec<&str> = columns.map(|column| column.name).collect();
        names.extend(["limit", "after", "sort"]);
        names.extend(record.is_searchable().then_some("q"));
        names.extend((record.deletion == Deletion::Soft).then_some("deleted"));
        format!("is no parameter of this list; there are {}", names.join(", "))
    })?;
    if !op.is_empty() && !operators(column).contains(&op) {
        return Err(format!("has no operator `{op}`; there are {}", operators(column).join(", ")));
    }
    if texts.len() > VALUES_MAX {
        return Err(format!("has {} values; at most {VALUES_MAX} are allowed", texts.len()));
    }
    let op = match op {
        "ne" => Op::NotIn,
        "lt" => Op::Less,
        "lte" => Op::AtMost,
        "gt" => Op::More,
        "gte" => Op::AtLeast,
        "null" => match texts {
            ["true"] => return Ok(Filter { column, op: Op::Null(true), values: Vec::new() }),
            ["false"] => return Ok(Filter { column, op: Op::Null(false), values: Vec::new() }),
            _ => return Err("must be true or false, once".to_owned()),
        },
        _ => Op::In,
    };
    if texts.len() > 1 && !matches!(op, Op::In | Op::NotIn) {
        return Err("is given more than once".to_owned());
    }
    let values = texts.iter().map(|text| parse_operand(&column.kind, text)).collect::<Result<_, _>>()?;
    Ok(Filter { column, op, values })
}

/// A value to compare with: of the column's kind, but not bound to its range.
fn parse_operand(kind: &Kind, text: &str) -> Result<Datum, String> {
    let free = match *kind {
        Kind::Text { fold, .. } => Kind::Text { chars_min: 0, chars_max: 10_000, pattern: None, fold },
        // One with a small range may be a column of 32 bits, which is compared with no more than that.
        Kind::Integer { max, .. } if max <= i32::MAX.into() => {
            Kind::Integer { min: i32::MIN.into(), max: i32::MAX.into() }
        }
        Kind::Integer { .. } => Kind::Integer { min: i64::MIN, max: i64::MAX },
        Kind::Decimal { scale, .. } => Kind::Decimal { scale, min: i64::MIN, max: i64::MAX },
        other => other,
    };
    free.parse(text)
}
