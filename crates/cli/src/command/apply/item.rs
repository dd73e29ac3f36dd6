//! What a document is about: a workflow, or a record with the fields that it wants. All that can be judged without the
//! server is judged here.

use serde_json::{Map, Value as Json};
use uuid::Uuid;
use windlass_definition::{diagnostic::Problem, source::Span, step_type::StepTypes};
use windlass_resource::{Access, DefaultValue, Kind, Operation, Record, Writing, records, validate};

use super::document::{Document, Faults};
use crate::{command::check, exit::Failure};

/// The field that says which record a document is.
const RECORD: &str = "record";

/// A document and what it is about.
#[derive(Debug)]
pub struct Item {
    /// Where it came from.
    pub document: Document,
    /// What it wants.
    pub wanted: Wanted,
}

/// What a document wants.
#[derive(Debug)]
pub enum Wanted {
    /// A workflow of that name, published.
    Workflow(String),
    /// A row.
    Row {
        /// Of which record.
        record: &'static Record,
        /// The fields that callers may set. References are as they were written.
        fields: Map<String, Json>,
        /// By what others of the documents may call it, as an export does; its id if there is a row with it.
        id: Option<Uuid>,
    },
}

/// Reads them all.
///
/// # Errors
/// The step types cannot be set up; what is wrong with documents is put to the faults.
pub fn read_all(documents: Vec<Document>, faults: &mut Faults) -> Result<Vec<Item>, Failure> {
    let types = check::step_types()?;
    let items = documents.into_iter().filter_map(|document| {
        let wanted = match document.root.get(RECORD) {
            Some(_) => row(&document, faults),
            None if document.root.get("steps").is_some() => workflow(&document, &types, faults),
            None => {
                let at = Span::at(document.root.span.start as usize);
                let problem = Problem::of_map(at, "says neither which `record` it is, nor the `steps` of a workflow");
                faults.add(&document, problem.note("`record: folders`, say; `windlass db schema` names them all"));
                None
            }
        };
        wanted.map(|wanted| Item { document, wanted })
    });
    Ok(items.collect())
}

fn workflow(document: &Document, types: &StepTypes, faults: &mut Faults) -> Option<Wanted> {
    match windlass_definition::compile(&document.text, document.format, types) {
        Ok(_) => {}
        Err(found) => {
            faults.add_all((&document.file, document.lines_before), found);
            return None;
        }
    }
    document.root.get("name").and_then(|name| name.as_str()).map(|name| Wanted::Workflow(name.to_owned()))
}

fn row(document: &Document, faults: &mut Faults) -> Option<Wanted> {
    let written = document.root.get(RECORD)?;
    let name = written.as_str().unwrap_or_default();
    let Some(record) = records::ALL.iter().copied().find(|record| record.name == name || record.slug() == name) else {
        let names = records::ALL.iter().map(|record| record.name);
        let nearest =
            names.clone().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        let problem = Problem::new(written.span, format!("there is no record `{name}`"));
        faults.add(document, problem.suggest(nearest.map(str::to_owned)));
        return None;
    };
    if !record.operations().iter().any(|it| matches!(it, Operation::Create)) {
        let message = format!("{} are made by the program alone", record.name.replace('_', " "));
        faults.add(document, Problem::new(written.span, message));
        return None;
    }
    if record.natural_key().is_none() {
        let message = format!("a {} has nothing by which it could be found again", record.noun);
        faults.add(document, Problem::new(written.span, message).note("make it with its own command"));
        return None;
    }
    let Json::Object(mut fields) = document.to_json() else { return None };
    fields.remove(RECORD);
    let id = fields.get("id").and_then(Json::as_str).and_then(|text| text.parse().ok());
    // What only the program sets stands in exports; it is not compared, and not written.
    fields.retain(|name, _| {
        record.column(name).is_none_or(|column| column.access != Access::ReadOnly || column.internal)
    });
    let before = faults_of(document, record, &fields);
    let sound = before.is_empty();
    before.into_iter().for_each(|problem| faults.add(document, problem));
    sound.then_some(Wanted::Row { record, fields, id })
}

/// What is wrong with the fields, by what the descriptor says. References are looked up later.
fn faults_of(document: &Document, record: &'static Record, fields: &Map<String, Json>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut body = fields.clone();
    for (column, to, _) in record.references() {
        let Some(value) = fields.get(column.name).filter(|value| !value.is_null()) else { continue };
        let wrong = wrong_reference(value, to);
        problems.extend(wrong.map(|message| Problem::new(document.field(column.name), message)));
        // It is judged: the rest is judged as if it were an id.
        body.insert(column.name.to_owned(), Uuid::nil().to_string().into());
    }
    for error in validate::create(record, &Json::Object(body)).err().unwrap_or_default() {
        let name = error.pointer.trim_start_matches('/').replace("~1", "/").replace("~0", "~");
        let column = record.column(&name);
        // Exports leave secrets out: whether one is missing is known once it is known whether the row is there.
        if column.is_some_and(|column| column.is_secret()) && !fields.contains_key(&name) {
            continue;
        }
        let message = if name.is_empty() { error.message } else { format!("`{name}` {}", error.message) };
        problems.push(Problem::new(document.field(&name), message));
    }
    problems
}

/// Why something is no reference: it is an id, the name of what has one, or an object of its natural key.
fn wrong_reference(value: &Json, to: &str) -> Option<String> {
    let keys = natural_key(to);
    match (value, keys.as_slice()) {
        (Json::String(text), _) if text.parse::<Uuid>().is_ok() => None,
        (Json::String(_), [_]) => None,
        (Json::Object(map), [_, ..]) if map.len() == keys.len() && keys.iter().all(|key| map.contains_key(*key)) => {
            None
        }
        (_, []) => Some(format!("must be the id of one of {to}")),
        (_, [key]) => Some(format!("must be an id, or the `{key}` of one of {to}")),
        (_, keys) => Some(format!("must be an id, or an object of {} of one of {to}", keys.join(" and "))),
    }
}

/// By which columns rows of a table are found.
pub fn natural_key(table: &str) -> Vec<&'static str> {
    match records::ALL.iter().find(|record| record.name == table) {
        Some(record) => record.natural_key().unwrap_or_default().to_vec(),
        None if table == "workflows" => vec!["name"],
        None => Vec::new(),
    }
}

impl Item {
    /// What it is called, for people: `folder Billing`.
    pub fn title(&self) -> String {
        match &self.wanted {
            Wanted::Workflow(name) => format!("workflow {name}"),
            Wanted::Row { record, fields, .. } => {
                let words =
                    record.natural_key().unwrap_or_default().iter().filter_map(|name| match fields.get(*name)? {
                        Json::Null => None,
                        Json::String(text) => Some(text.clone()),
                        other => Some(other.to_string()),
                    });
                format!("{} {}", record.noun, words.collect::<Vec<_>>().join(" in "))
            }
        }
    }

    /// The table that it is a row of.
    pub fn table(&self) -> &'static str {
        match &self.wanted {
            Wanted::Workflow(_) => "workflows",
            Wanted::Row { record, .. } => record.name,
        }
    }

    /// What it says in a column, the default included.
    pub fn says(&self, column: &str) -> Json {
        match &self.wanted {
            Wanted::Workflow(name) if column == "name" => Json::from(name.as_str()),
            Wanted::Workflow(_) => Json::Null,
            Wanted::Row { record, fields, .. } => {
                match (fields.get(column), record.column(column).and_then(|it| it.default)) {
                    (Some(value), _) => value.clone(),
                    (None, Some(DefaultValue::Text(text))) => text.into(),
                    (None, Some(DefaultValue::Int(number))) => number.into(),
                    (None, Some(DefaultValue::Bool(truth))) => truth.into(),
                    (None, _) => Json::Null,
                }
            }
        }
    }
}

/// Whether two values of a column are the same once they are kept.
pub fn same(kind: Kind, one: &Json, other: &Json) -> bool {
    match (one.is_null(), other.is_null()) {
        (false, false) if matches!(kind, Kind::Json { .. }) => one == other,
        (false, false) => matches!((kind.read(one), kind.read(other)), (Ok(one), Ok(other)) if one == other),
        (one, other) => one == other,
    }
}

/// Whether rows of a record may be changed by callers.
pub fn may_change(record: &Record) -> bool {
    matches!(record.writing, Writing::Full | Writing::Stays)
}
