//! The check of descriptors: what cannot be meant is found by a test, everything at once.

mod core;

use std::collections::BTreeSet;

use crate::{
    Access, Column, Datum, Deletion, Effect, Guard, Index, Kind, OnDelete, Operation, Ownership, Record, Unique,
    Writing,
    ddl::{NAME_BYTES_MAX, unique_name},
    tables, validate,
};

/// Characters of the longest name of a table or column: names of constraints have two of them and stay under
/// PostgreSQL's 63.
const NAME_CHARS_MAX: usize = 28;
/// Verbs that mean something already.
const VERBS: &[&str] = &["list", "get", "create", "update", "delete", "restore", "apply", "export"];
/// Words that SQL does not take for names.
const SQL_WORDS: &[&str] = &[
    "all",
    "and",
    "any",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "cast",
    "check",
    "column",
    "constraint",
    "create",
    "default",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "index",
    "insert",
    "into",
    "is",
    "join",
    "like",
    "limit",
    "not",
    "null",
    "on",
    "or",
    "order",
    "primary",
    "references",
    "select",
    "set",
    "table",
    "then",
    "to",
    "union",
    "unique",
    "update",
    "user",
    "using",
    "values",
    "when",
    "where",
    "with",
];

pub use core::check_tables;

/// Everything that is wrong with these descriptors, each as a sentence that begins with the record and column.
pub fn check(records: &[&Record]) -> Vec<String> {
    let mut found = Findings::default();
    let mut names = BTreeSet::new();
    let mut types = BTreeSet::new();
    for (at, record) in records.iter().enumerate() {
        if !names.insert(record.name) || tables::find(record.name).is_some() {
            found.say(record.name, "there are two tables of this name");
        }
        if !types.insert(record.type_name()) {
            found.say(record.name, "there are two records of this noun");
        }
        check_record(record, &mut found);
        check_references(record, (records, at), &mut found);
    }
    found.0
}

#[derive(Default)]
struct Findings(Vec<String>);

impl Findings {
    fn say(&mut self, place: impl AsRef<str>, what: impl AsRef<str>) {
        self.0.push(format!("{}: {}", place.as_ref(), what.as_ref()));
    }
}

fn check_record(record: &Record, found: &mut Findings) {
    let name = record.name;
    check_name(name, name, found);
    check_doc(name, record.doc, found);
    if record.noun.is_empty() || record.noun.chars().any(|it| !it.is_ascii_lowercase() && it != ' ' && it != '-') {
        found.say(name, "the noun must be words in lower case");
    }
    for permission in [record.area.read, record.area.write] {
        check_permission(name, permission, found);
    }
    if record.columns.is_empty() {
        found.say(name, "it has no columns");
    }
    if record.column(record.key).is_none_or(Column::is_nullable) {
        found.say(name, format!("`{}` is no key", record.key));
    }
    let standard: BTreeSet<&str> = ["tenant_key", "id", "search_text", "revision", "created_at", "created_by"]
        .into_iter()
        .chain(["updated_at", "updated_by", "deleted_at"])
        .chain(["limit", "after", "sort", "q", "deleted"])
        .collect();
    let mut names = BTreeSet::new();
    for column in record.columns {
        let place = format!("{name}.{}", column.name);
        if standard.contains(column.name) {
            found.say(&place, "every record has this name already, or lists do");
        }
        if !names.insert(column.name) {
            found.say(&place, "there are two columns of this name");
        }
        check_column(&place, column, found);
        let by_callers = matches!(record.writing, Writing::Full | Writing::Stays | Writing::Link | Writing::Append)
            && !column.generated;
        if column.required && column.access == Access::ReadOnly && by_callers {
            found.say(&place, "nobody could give what is required and set by the program alone");
        }
    }
    if record.deletion == Deletion::Soft && !record.changes() {
        found.say(name, "only what changes can be hidden");
    }
    if let Some(name) = record.found_by
        && !record.column(name).is_some_and(|column| column.is_secret() && matches!(column.kind, Kind::Bytes { .. }))
    {
        found.say(record.name, format!("`{name}` is no secret hash by which a row could be found"));
    }
    check_keys(record, found);
    check_states(record, found);
    check_examples(record, found);
}

fn check_name(place: &str, name: &str, found: &mut Findings) {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !first || !bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        found.say(place, "a name must be letters in lower case, digits and `_`, and begin with a letter");
    }
    if name.len() > NAME_CHARS_MAX {
        found.say(place, format!("a name must have at most {NAME_CHARS_MAX} characters"));
    }
    if SQL_WORDS.contains(&name) {
        found.say(place, "SQL does not take this word for a name");
    }
}

fn check_doc(place: &str, doc: &str, found: &mut Findings) {
    if !doc.ends_with('.') || !doc.starts_with(|first: char| first.is_uppercase() || first == '`') {
        found.say(place, "its documentation must be a sentence: a capital first, a full stop last");
    }
}

fn check_permission(place: &str, permission: &str, found: &mut Findings) {
    let part = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if !permission.split_once('.').is_some_and(|(area, verb)| part(area) && part(verb)) {
        found.say(place, format!("the permission `{permission}` must be `area.verb`"));
    }
}

fn check_column(place: &str, column: &Column, found: &mut Findings) {
    check_name(place, column.name, found);
    check_doc(place, column.doc, found);
    if let Err(message) = column.default_datum() {
        found.say(place, format!("the default {message}"));
    }
    if column.required && column.default.is_some() {
        found.say(place, "what is required needs no default");
    }
    if column.required && column.deprecated.is_some() {
        found.say(place, "what should not be used cannot be required");
    }
    if column.searchable && (!matches!(column.kind, Kind::Text { .. }) || column.is_secret() || column.internal) {
        found.say(place, "only text that is shown can be searched");
    }
    let plain = matches!(column.kind, Kind::Text { .. } | Kind::Json { .. } | Kind::Bytes { .. });
    if column.is_secret() && (!plain || column.default.is_some() || column.internal) {
        found.say(place, "what is secret is text, JSON or bytes, and has no default");
    }
    match column.kind {
        Kind::Text { chars_min, chars_max, pattern, .. } => {
            if chars_min > chars_max || chars_max == 0 {
                found.say(place, format!("no text has {chars_min} to {chars_max} characters"));
            }
            if pattern.is_some_and(|pattern| pattern.compiled().is_none()) {
                found.say(place, "its pattern is no regular expression");
            }
        }
        Kind::Integer { min, max } | Kind::Decimal { min, max, .. } if min > max => {
            found.say(place, format!("no number is {min} to {max}"));
        }
        Kind::Decimal { scale, .. } if !(1..=9).contains(&scale) => found.say(place, "a decimal has 1 to 9 decimals"),
        Kind::Json { bytes_max, .. } | Kind::Bytes { bytes_max } if bytes_max == 0 || bytes_max > 16 << 20 => {
            found.say(place, "it must have at most 16 MiB");
        }
        Kind::Enum { values } | Kind::State { values } => check_words(place, values, found),
        _ => {}
    }
    if matches!(column.kind, Kind::State { .. }) && column.access != Access::ReadOnly {
        found.say(place, "a state is changed by transitions alone");
    }
    if matches!(column.kind, Kind::Reference { on_delete: OnDelete::SetNull, .. }) && !column.is_nullable() {
        found.say(place, "what cannot be null cannot become null");
    }
}

fn check_words(place: &str, words: &[&str], found: &mut Findings) {
    if words.len() < 2 {
        found.say(place, "there must be two words at least");
    }
    let mut seen = BTreeSet::new();
    for word in words {
        if word.is_empty()
            || !word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
        {
            found.say(place, format!("the word `{word}` must be letters in lower case, digits, `_` and `-`"));
        }
        if !seen.insert(word) {
            found.say(place, format!("the word `{word}` stands there twice"));
        }
    }
}

fn check_keys(record: &Record, found: &mut Findings) {
    let keys = record.unique.iter().map(|Unique(columns)| ("unique", *columns, unique_name(record, columns)));
    let by = |columns: &[&str]| format!("{}_by_{}", record.name, columns.join("_"));
    let indexes = record.indexes.iter().map(|Index(columns)| ("index", *columns, by(columns)));
    for (what, columns, name) in keys.chain(indexes) {
        let place = format!("{} {what} ({})", record.name, columns.join(", "));
        if columns.is_empty() {
            found.say(&place, "it names no column");
        }
        if name.len() > NAME_BYTES_MAX {
            found.say(&place, "its name would be too long for PostgreSQL");
        }
        for name in columns {
            let Some(column) = record.column(name) else {
                found.say(&place, format!("there is no column `{name}`"));
                continue;
            };
            if column.is_secret() || matches!(column.kind, Kind::Json { .. } | Kind::Bytes { .. }) {
                found.say(&place, format!("`{name}` cannot be part of a key"));
            }
            let free = match column.kind {
                Kind::Text { chars_min, .. } => chars_min > 0,
                Kind::Integer { min, .. } | Kind::Decimal { min, .. } => min > i64::MIN,
                Kind::Boolean => false,
                _ => true,
            };
            let within = what == "unique" && columns.last() != Some(name);
            if within && column.is_nullable() && !free {
                found.say(&place, format!("`{name}` may be null and has no other value free to stand for it"));
            }
        }
    }
}

fn check_states(record: &Record, found: &mut Findings) {
    let states = record.columns.iter().filter(|column| matches!(column.kind, Kind::State { .. })).count();
    let Some(state) = record.state() else {
        if !record.transitions.is_empty() {
            found.say(record.name, "it has transitions, but no column of its state");
        }
        return;
    };
    if states > 1 {
        found.say(record.name, "it has two columns of its state");
    }
    if record.transitions.is_empty() {
        found.say(record.name, "it has a state that nothing changes");
    }
    if !record.changes() {
        found.say(record.name, "what never changes has no states");
    }
    let words = state.words().unwrap_or_default();
    let mut reached: BTreeSet<&str> = words.iter().take(1).copied().collect();
    let mut verbs = BTreeSet::new();
    for transition in record.transitions {
        let place = format!("{} {}", record.name, transition.verb);
        check_name(&place, transition.verb, found);
        check_doc(&place, transition.doc, found);
        if VERBS.contains(&transition.verb) {
            found.say(&place, "this verb means something already");
        }
        if !verbs.insert(transition.verb) {
            found.say(&place, "there are two transitions of this verb");
        }
        if transition.from.is_empty() {
            found.say(&place, "it leads from no state");
        }
        for word in transition.from.iter().chain([&transition.to]) {
            if !words.contains(word) {
                found.say(&place, format!("there is no state `{word}`"));
            }
        }
        if let Some(permission) = transition.permission {
            check_permission(&place, permission, found);
        }
        reached.insert(transition.to);
        check_guards(record, (&place, transition.guards), found);
        check_effects(record, (&place, transition.effects), found);
    }
    for word in words.iter().filter(|word| !reached.contains(**word)) {
        found.say(format!("{}.{}", record.name, state.name), format!("nothing leads to the state `{word}`"));
    }
}

fn check_guards(record: &Record, (place, guards): (&str, &[Guard]), found: &mut Findings) {
    for guard in guards {
        let Some(column) = record.column(guard.column()) else {
            found.say(place, format!("there is no column `{}`", guard.column()));
            continue;
        };
        let fits = match guard {
            Guard::Has(_) | Guard::HasNot(_) => column.is_nullable(),
            Guard::Past(_) | Guard::NotPast(_) => matches!(column.kind, Kind::Timestamp),
            Guard::AnotherThan(_) => matches!(column.kind, Kind::Text { .. }),
        };
        if !fits {
            found.say(place, format!("no guard can ask that {}", guard.words()));
        }
    }
}

fn check_effects(record: &Record, (place, effects): (&str, &[Effect]), found: &mut Findings) {
    for effect in effects {
        let Some(column) = record.columns.iter().find(|column| column.name == effect.column()) else {
            found.say(place, format!("there is no column `{}` of its own", effect.column()));
            continue;
        };
        let fits = match effect {
            Effect::Stamp(_) => matches!(column.kind, Kind::Timestamp),
            Effect::Sign(_) => matches!(column.kind, Kind::Text { .. }),
            Effect::Clear(_) => column.is_nullable(),
            Effect::Count(_) => matches!(column.kind, Kind::Integer { .. }) && !column.is_nullable(),
            Effect::Take(_) | Effect::Demand(_) => {
                !matches!(column.kind, Kind::State { .. } | Kind::Reference { .. }) && !column.searchable
            }
        };
        if !fits {
            found.say(place, format!("no effect {}", effect.words()));
        }
    }
}

fn check_references(record: &Record, (records, at): (&[&Record], usize), found: &mut Findings) {
    for (column, to, on_delete) in record.references() {
        let place = format!("{}.{}", record.name, column.name);
        let target = records.iter().position(|other| other.name == to);
        match target.map(|place| records[place]) {
            None if tables::find(to).is_some_and(|table| table.key == ["tenant_key", "id"]) => {
                if record.ownership == Ownership::Global {
                    found.say(&place, "what is the installation's cannot refer to what is a tenant's");
                }
            }
            None => found.say(&place, format!("there is no table `{to}`")),
            Some(other) => {
                if target.is_some_and(|target| target > at) {
                    found.say(&place, format!("`{to}` must be declared before"));
                }
                match (record.ownership, other.ownership) {
                    (Ownership::Global, Ownership::Tenant) => {
                        found.say(&place, "what is the installation's cannot refer to what is a tenant's");
                    }
                    // Whoever deletes it would see that another tenant has to do with it.
                    (Ownership::Tenant, Ownership::Global)
                        if other.operations().iter().any(|it| matches!(it, Operation::Delete)) =>
                    {
                        found.say(
                            &place,
                            "what tenants refer to, being the installation's, cannot be deleted by callers",
                        );
                    }
                    _ => {}
                }
                let hidden = other.deletion == Deletion::Soft && on_delete == OnDelete::Cascade;
                if hidden && record.deletion == Deletion::Soft {
                    found.say(&place, "what is hidden when it is deleted cannot go with what is hidden");
                }
            }
        }
    }
}

fn check_examples(record: &Record, found: &mut Findings) {
    let made = record.operations().iter().any(|it| matches!(it, crate::Operation::Create));
    if made && record.examples.is_empty() {
        found.say(record.name, "it has no example of a body");
    }
    for example in record.examples {
        match serde_json::from_str(example) {
            Err(error) => found.say(record.name, format!("an example is no JSON: {error}")),
            Ok(body) => {
                let read = if made { validate::create } else { validate::create_by_program };
                for error in read(record, &body).err().unwrap_or_default() {
                    found.say(record.name, format!("an example is refused: {} {}", error.pointer, error.message));
                }
            }
        }
    }
    // What is shown must be shown as it was read.
    for column in record.columns.iter().filter(|column| column.default.is_some()) {
        if let Ok(datum) = column.default_datum()
            && datum != Datum::Null
            && column.kind.read(&column.kind.show(&datum)).as_ref() != Ok(&datum)
        {
            found.say(format!("{}.{}", record.name, column.name), "the default does not read back");
        }
    }
}
