//! Filters of SCIM (RFC 7644, section 3.4.2.2), and the paths of its patches, which hold filters.
//!
//! Invariant: a filter is at most [`FILTER_BYTES_MAX`] long, [`DEPTH_MAX`] deep and has [`TERMS_MAX`] terms, so neither
//! reading nor judging one goes far.

use std::cmp::Ordering;

use chrono::{DateTime, FixedOffset};
use serde_json::{Map, Value as Json};
use uuid::Uuid;
use windlass_store::Exactly;

use super::attributes::{Attribute, Kind, Named, Path, Schema};
use crate::problem::Problem;

/// Bytes of a filter.
pub const FILTER_BYTES_MAX: usize = 2_048;
/// Parentheses and brackets within each other.
pub const DEPTH_MAX: u32 = 16;
/// Comparisons of a filter.
pub const TERMS_MAX: u32 = 64;

/// What a comparison asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Contains.
    Co,
    /// Starts with.
    Sw,
    /// Ends with.
    Ew,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
}

/// With what is compared.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// Text; folded where letters in upper and lower case are the same.
    Text(String),
    /// True or false.
    Boolean(bool),
    /// A point in time.
    Time(DateTime<FixedOffset>),
    /// Unassigned.
    Null,
}

/// A filter.
#[derive(Debug, Clone)]
pub enum Filter {
    /// All of them hold.
    And(Vec<Filter>),
    /// One of them holds.
    Or(Vec<Filter>),
    /// It does not hold.
    Not(Box<Filter>),
    /// A value is like that.
    Compare(Path, Op, Literal),
    /// There is a value.
    Present(Path),
    /// There is one value for which this holds, and of which that attribute is like that.
    Within(Path, Box<Filter>, Option<(&'static Attribute, Op, Literal)>),
}

/// Where a patch changes something.
#[derive(Debug)]
pub enum Target {
    /// An attribute: of all its values, or of those for which the filter holds.
    Attribute(Path, Option<Filter>),
    /// All of an extension.
    Extension(&'static Schema),
}

/// Reads a filter.
///
/// # Errors
/// 400 `invalidFilter`, with the place.
pub fn parse(schema: &'static Schema, text: &str) -> Result<Filter, Problem> {
    let mut reader = Reader::of(schema, text)?;
    let filter = reader.any(None)?;
    reader.end()?;
    Ok(filter)
}

/// Reads a path; `None` when it names nothing that is known.
///
/// # Errors
/// 400 `invalidFilter`, when it holds a filter that is none.
pub fn parse_path(schema: &'static Schema, text: &str) -> Result<Option<Target>, Problem> {
    let mut reader = Reader::of(schema, text.trim())?;
    let name = reader.name();
    let path = match schema.named(name) {
        Some(Named::Attribute(path)) => path,
        Some(Named::Extension(extension)) if reader.rest().is_empty() => return Ok(Some(Target::Extension(extension))),
        _ => return Ok(None),
    };
    if reader.rest().is_empty() {
        return Ok(Some(Target::Attribute(path, None)));
    }
    if !reader.takes("[") || path.sub.is_some() || !path.attribute.many {
        return Ok(None);
    }
    let filter = reader.deeper(|reader| reader.any(Some(path.attribute)))?;
    reader.must("]")?;
    if reader.rest().is_empty() {
        return Ok(Some(Target::Attribute(path, Some(filter))));
    }
    let sub = reader.rest().strip_prefix('.').and_then(|name| path.attribute.sub(name));
    Ok(sub.map(|sub| Target::Attribute(Path { sub: Some(sub), ..path }, Some(filter))))
}

struct Reader<'a> {
    schema: &'static Schema,
    text: &'a str,
    at: usize,
    depth: u32,
    terms: u32,
}

impl<'a> Reader<'a> {
    fn of(schema: &'static Schema, text: &'a str) -> Result<Reader<'a>, Problem> {
        let reader = Reader { schema, text, at: 0, depth: 0, terms: 0 };
        if text.len() > FILTER_BYTES_MAX {
            return Err(reader.refused(&format!("it has over {FILTER_BYTES_MAX} bytes")));
        }
        Ok(reader)
    }

    fn refused(&self, why: &str) -> Problem {
        let at = self.text[..self.at].chars().count() + 1;
        Problem::bad_request("invalid_filter", format!("the filter cannot be read at character {at}: {why}"))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes a sign, if it is next.
    fn takes(&mut self, sign: &str) -> bool {
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    fn must(&mut self, sign: &str) -> Result<(), Problem> {
        self.spaces();
        if self.takes(sign) { Ok(()) } else { Err(self.refused(&format!("`{sign}` is missing"))) }
    }

    fn end(&mut self) -> Result<(), Problem> {
        self.spaces();
        if self.rest().is_empty() { Ok(()) } else { Err(self.refused("nothing more is expected")) }
    }

    /// The characters of a name or word that are next.
    fn name(&mut self) -> &'a str {
        let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.' | ':' | '$');
        let name = self.rest();
        let name = &name[..name.find(|it| !is_part(it)).unwrap_or(name.len())];
        self.at += name.len();
        name
    }

    /// Takes a word, if it is next.
    fn word(&mut self, word: &str) -> bool {
        self.spaces();
        let before = self.at;
        if self.name().eq_ignore_ascii_case(word) {
            return true;
        }
        self.at = before;
        false
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Problem>) -> Result<T, Problem> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.refused(&format!("it is over {DEPTH_MAX} deep")));
        }
        let read = read(self)?;
        self.depth -= 1;
        Ok(read)
    }

    /// `a or b`; within the brackets of an attribute, names are its own.
    fn any(&mut self, of: Option<&'static Attribute>) -> Result<Filter, Problem> {
        let mut all = vec![self.all(of)?];
        while self.word("or") {
            all.push(self.all(of)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::Or(all) })
    }

    /// `a and b`.
    fn all(&mut self, of: Option<&'static Attribute>) -> Result<Filter, Problem> {
        let mut all = vec![self.one(of)?];
        while self.word("and") {
            all.push(self.one(of)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Filter::And(all) })
    }

    fn one(&mut self, of: Option<&'static Attribute>) -> Result<Filter, Problem> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(self.refused(&format!("it has over {TERMS_MAX} terms")));
        }
        let is_not = self.word("not");
        self.spaces();
        if is_not || self.rest().starts_with('(') {
            self.must("(")?;
            let inner = self.deeper(|reader| reader.any(of))?;
            self.must(")")?;
            return Ok(if is_not { Filter::Not(Box::new(inner)) } else { inner });
        }
        let path = self.path(of)?;
        if of.is_none() && self.takes("[") {
            return self.within(path);
        }
        match self.comparison(path.compared())? {
            Some((op, literal)) => Ok(Filter::Compare(path, op, literal)),
            None => Ok(Filter::Present(path)),
        }
    }

    fn path(&mut self, of: Option<&'static Attribute>) -> Result<Path, Problem> {
        let before = self.at;
        let name = self.name();
        let found = match of {
            Some(attribute) => Path::within(attribute, name),
            None => match self.schema.named(name) {
                Some(Named::Attribute(path)) => Some(path),
                _ => None,
            },
        };
        found.ok_or_else(|| {
            self.at = before;
            let name = name.chars().take(60).collect::<String>();
            self.refused(&if name.is_empty() {
                "a name is missing".to_owned()
            } else {
                format!("`{name}` is no attribute")
            })
        })
    }

    /// `emails[type eq "work"]`, and as some clients send it with an attribute of the value behind it.
    fn within(&mut self, path: Path) -> Result<Filter, Problem> {
        if path.sub.is_some() || path.attribute.sub.is_empty() {
            return Err(self.refused(&format!("`{}` has no parts", path.attribute.name)));
        }
        let filter = self.deeper(|reader| reader.any(Some(path.attribute)))?;
        self.must("]")?;
        if !self.takes(".") {
            return Ok(Filter::Within(path, Box::new(filter), None));
        }
        let sub = self.path(Some(path.attribute))?.attribute;
        let Some((op, literal)) = self.comparison(sub)? else {
            let present = Filter::Present(Path { extension: None, attribute: sub, sub: None });
            return Ok(Filter::Within(path, Box::new(Filter::And(vec![filter, present])), None));
        };
        Ok(Filter::Within(path, Box::new(filter), Some((sub, op, literal))))
    }

    /// An operator and what it compares with; `None` for `pr`.
    fn comparison(&mut self, of: &'static Attribute) -> Result<Option<(Op, Literal)>, Problem> {
        self.spaces();
        let before = self.at;
        let op = match self.name().to_ascii_lowercase().as_str() {
            "pr" => return Ok(None),
            "eq" => Op::Eq,
            "ne" => Op::Ne,
            "co" => Op::Co,
            "sw" => Op::Sw,
            "ew" => Op::Ew,
            "gt" => Op::Gt,
            "ge" => Op::Ge,
            "lt" => Op::Lt,
            "le" => Op::Le,
            _ => {
                self.at = before;
                return Err(self.refused("an operator is missing: eq, ne, co, sw, ew, gt, ge, lt, le or pr"));
            }
        };
        self.spaces();
        let before = self.at;
        let literal = self.literal()?;
        let fits = |reader: &Self, what: &str| reader.refused(&format!("`{}` is compared with {what}", of.name));
        let literal = match (of.kind, literal) {
            (_, Json::Null) if matches!(op, Op::Eq | Op::Ne) => Literal::Null,
            (Kind::Boolean, Json::Bool(value)) if matches!(op, Op::Eq | Op::Ne) => Literal::Boolean(value),
            (Kind::Boolean, Json::String(text)) if matches!(op, Op::Eq | Op::Ne) => {
                match text.to_ascii_lowercase().as_str() {
                    "true" => Literal::Boolean(true),
                    "false" => Literal::Boolean(false),
                    _ => return Err(fits(self, "true or false")),
                }
            }
            (Kind::Boolean, _) => return Err(fits(self, "true or false, by eq or ne")),
            (Kind::Time, Json::String(text)) if !matches!(op, Op::Co | Op::Sw | Op::Ew) => {
                let time = DateTime::parse_from_rfc3339(&text);
                Literal::Time(time.map_err(|_| fits(self, "a time such as \"2026-01-31T12:00:00Z\""))?)
            }
            (Kind::Text | Kind::Reference, Json::String(text)) => Literal::Text(folded(of, &text)),
            _ => {
                self.at = before;
                return Err(fits(self, "text in quotation marks"));
            }
        };
        Ok(Some((op, literal)))
    }

    fn literal(&mut self) -> Result<Json, Problem> {
        let rest = self.rest();
        let length = match rest.strip_prefix('"') {
            None => rest.find(|it: char| it.is_whitespace() || matches!(it, ')' | ']')).unwrap_or(rest.len()),
            Some(inner) => {
                let mut is_escaped = false;
                let end = inner.bytes().position(|byte| {
                    let ends = byte == b'"' && !is_escaped;
                    is_escaped = byte == b'\\' && !is_escaped;
                    ends
                });
                end.map(|end| end + 2).ok_or_else(|| self.refused("a quotation mark is missing"))?
            }
        };
        let read = match &rest[..length] {
            text if text.eq_ignore_ascii_case("true") => Some(Json::Bool(true)),
            text if text.eq_ignore_ascii_case("false") => Some(Json::Bool(false)),
            text => serde_json::from_str(text).ok(),
        };
        let read = read.filter(|it| !matches!(it, Json::Object(_) | Json::Array(_)));
        let read = read.ok_or_else(|| self.refused("a value is missing: text stands in quotation marks"))?;
        self.at += length;
        Ok(read)
    }
}

fn folded(of: &Attribute, text: &str) -> String {
    if of.case_exact { text.to_owned() } else { text.to_lowercase() }
}

impl Filter {
    /// Whether it holds for a resource.
    pub fn holds(&self, resource: &Map<String, Json>) -> bool {
        match self {
            Filter::And(all) => all.iter().all(|it| it.holds(resource)),
            Filter::Or(any) => any.iter().any(|it| it.holds(resource)),
            Filter::Not(inner) => !inner.holds(resource),
            Filter::Present(path) => path.values(resource).iter().any(|it| !it.is_null()),
            Filter::Compare(path, op, literal) => {
                let of = path.compared();
                let values = path.values(resource);
                let values = values.iter().map(|it| it.get("value").filter(|_| it.is_object()).unwrap_or(it));
                compare(of, (*op, literal), values)
            }
            Filter::Within(path, filter, further) => path.values(resource).iter().any(|value| {
                let Some(value) = value.as_object() else { return false };
                let further_holds = || match further {
                    None => true,
                    Some((of, op, literal)) => compare(of, (*op, literal), value.get(of.name).into_iter()),
                };
                filter.holds(value) && further_holds()
            }),
        }
    }

    /// As much of it as the database finds by itself.
    pub fn exactly(&self) -> Exactly {
        match self {
            Filter::And(all) => all.iter().map(Filter::exactly).find(|it| *it != Exactly::Any).unwrap_or(Exactly::Any),
            Filter::Compare(path, Op::Eq, Literal::Text(text)) if path.extension.is_none() => {
                exactly(path.attribute.name, path.sub.map(|it| it.name), text)
            }
            Filter::Within(path, _, Some((sub, Op::Eq, Literal::Text(text)))) if path.extension.is_none() => {
                exactly(path.attribute.name, Some(sub.name), text)
            }
            Filter::Within(path, filter, None) => match &**filter {
                Filter::Compare(inner, Op::Eq, Literal::Text(text)) if path.extension.is_none() => {
                    exactly(path.attribute.name, Some(inner.attribute.name), text)
                }
                _ => Exactly::Any,
            },
            _ => Exactly::Any,
        }
    }

    /// Whether it asks about that attribute.
    pub fn mentions(&self, name: &str) -> bool {
        match self {
            Filter::And(all) | Filter::Or(all) => all.iter().any(|it| it.mentions(name)),
            Filter::Not(inner) => inner.mentions(name),
            Filter::Compare(path, ..) | Filter::Present(path) | Filter::Within(path, ..) => path.attribute.name == name,
        }
    }

    /// What a value is like for which it holds, as far as it says so by `eq` alone.
    pub fn describes(&self) -> Option<Map<String, Json>> {
        match self {
            Filter::And(all) => {
                let mut map = Map::new();
                for one in all {
                    map.extend(one.describes()?);
                }
                Some(map)
            }
            Filter::Compare(path, Op::Eq, literal) => {
                let value = match literal {
                    Literal::Text(text) => Json::from(text.as_str()),
                    Literal::Boolean(value) => Json::from(*value),
                    Literal::Time(_) | Literal::Null => return None,
                };
                Some(Map::from_iter([(path.attribute.name.to_owned(), value)]))
            }
            _ => None,
        }
    }
}

/// Where the database looks for something that is equal to a text.
fn exactly(attribute: &str, sub: Option<&str>, text: &str) -> Exactly {
    let plain = text.is_ascii() && !text.contains(['"', '\\']);
    match (attribute, sub) {
        ("id", None) => Exactly::Id(text.parse().unwrap_or(Uuid::nil())),
        ("userName", None) => Exactly::UserName(text.to_owned()),
        ("externalId", None) => Exactly::ExternalId(text.to_owned()),
        ("displayName", None) if plain => Exactly::Name(text.to_owned()),
        ("emails", Some("value") | None) if plain => Exactly::Email(text.to_owned()),
        ("members", Some("value") | None) => Exactly::With(text.parse().unwrap_or(Uuid::nil())),
        _ => Exactly::Any,
    }
}

/// Whether any of the values is like that; for `ne`, whether none is equal.
fn compare<'a>(of: &Attribute, (op, literal): (Op, &Literal), values: impl Iterator<Item = &'a Json>) -> bool {
    let mut values = values.filter(|it| !it.is_null());
    match (op, literal) {
        (Op::Eq, Literal::Null) => values.next().is_none(),
        (Op::Ne, Literal::Null) => values.next().is_some(),
        (Op::Ne, literal) => !values.any(|it| is_like(of, (Op::Eq, literal), it)),
        (op, literal) => values.any(|it| is_like(of, (op, literal), it)),
    }
}

fn is_like(of: &Attribute, (op, literal): (Op, &Literal), value: &Json) -> bool {
    let order = match (literal, value) {
        (Literal::Boolean(wanted), Json::Bool(value)) => return value == wanted,
        (Literal::Time(wanted), Json::String(value)) => {
            let Ok(value) = DateTime::parse_from_rfc3339(value) else { return false };
            value.cmp(wanted)
        }
        (Literal::Text(wanted), Json::String(value)) => {
            let value = folded(of, value);
            match op {
                Op::Co => return value.contains(wanted.as_str()),
                Op::Sw => return value.starts_with(wanted.as_str()),
                Op::Ew => return value.ends_with(wanted.as_str()),
                _ => value.as_str().cmp(wanted),
            }
        }
        _ => return false,
    };
    match op {
        Op::Eq => order == Ordering::Equal,
        Op::Gt => order == Ordering::Greater,
        Op::Ge => order != Ordering::Less,
        Op::Lt => order == Ordering::Less,
        Op::Le => order != Ordering::Greater,
        Op::Ne | Op::Co | Op::Sw | Op::Ew => false,
    }
}
