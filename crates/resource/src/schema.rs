//! JSON Schema of records: what answers hold, what bodies may hold, and the form that people fill in.

use serde_json::{Map, Value as Json, json};

use crate::{Access, Column, DefaultValue, Kind, Record, Shape, Transition, datum::show_decimal, validate::taken};

/// A schema and its name among the components.
pub type Named = (String, Json);

/// The schemas of a record: itself, a page of it, and its bodies.
pub fn components(record: &Record) -> Vec<Named> {
    let name = record.type_name();
    let mut all = vec![(name.clone(), shown(record)), (format!("{name}Page"), page(record))];
    if record.operations().iter().any(|it| matches!(it, crate::Operation::Create)) {
        all.push((format!("New{name}"), new(record)));
    }
    if record.operations().iter().any(|it| matches!(it, crate::Operation::Update)) {
        all.push((format!("{name}Change"), change(record)));
    }
    all
}

/// What answers hold.
pub fn shown(record: &Record) -> Json {
    let columns: Vec<&Column> = record.stored().into_iter().filter(|column| column.is_shown()).collect();
    let properties = columns.iter().map(|column| (column.name.to_owned(), property(column, Side::Answer)));
    let required: Vec<&str> = columns.iter().map(|column| column.name).collect();
    json!({
        "type": "object",
        "description": record.doc,
        "properties": properties.collect::<Map<_, _>>(),
        "required": required,
    })
}

fn page(record: &Record) -> Json {
    json!({
        "type": "object",
        "description": format!("A page of a list of {}.", record.name.replace('_', " ")),
        "properties": {
            "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{}", record.type_name())},
                      "description": "In order."},
            "next": {"type": ["string", "null"], "description": "Ask with `after` = this for more; null at the end."},
        },
        "required": ["items", "next"],
    })
}

/// What makes one.
pub fn new(record: &Record) -> Json {
    let columns = record.columns.iter().filter(|column| column.access != Access::ReadOnly);
    body(Side::New, columns, |column| column.required, &format!("What makes a {}.", record.noun))
}

/// What changes one: the columns that it names, and nothing else.
pub fn change(record: &Record) -> Json {
    let columns = record.columns.iter().filter(|column| column.access == Access::Editable);
    body(Side::Change, columns, |_| false, &format!("What changes of a {}; what is left out stays.", record.noun))
}

/// What a transition's body may hold.
pub fn transition(record: &Record, transition: &Transition) -> Json {
    let taken = taken(record, transition);
    let needed = |column: &Column| taken.iter().any(|(other, needed)| *needed && other.name == column.name);
    body(Side::Change, taken.iter().map(|(column, _)| *column), needed, transition.doc)
}

fn body<'a>(
    side: Side,
    columns: impl Iterator<Item = &'a Column>,
    needed: impl Fn(&Column) -> bool,
    doc: &str,
) -> Json {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for column in columns {
        properties.insert(column.name.to_owned(), property(column, side));
        if needed(column) {
            required.push(column.name);
        }
    }
    let mut schema = json!({
        "type": "object",
        "description": doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// The form that people fill in: fields in their order, each with a widget, a label and its bounds.
pub fn form(record: &Record) -> Json {
    let fields: Vec<Json> = record
        .columns
        .iter()
        .filter(|column| column.access != Access::ReadOnly)
        .map(|column| {
            json!({
                "name": column.name,
                "label": label(column.name),
                "help": column.doc,
                "widget": widget(column),
                "required": column.required,
                "write_once": column.access == Access::WriteOnce,
                "deprecated": column.deprecated,
                "schema": property(column, Side::New),
            })
        })
        .collect();
    json!({ "record": record.name, "title": label(record.noun), "fields": fields })
}

fn label(name: &str) -> String {
    let words = name.trim_end_matches("_id").replace('_', " ");
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn widget(column: &Column) -> &'static str {
    match column.kind {
        _ if column.is_secret() => "secret",
        Kind::Text { chars_max, .. } if chars_max > 500 => "text_area",
        Kind::Text { .. } | Kind::Id => "text",
        Kind::Integer { .. } | Kind::Decimal { .. } => "number",
        Kind::Boolean => "switch",
        Kind::Timestamp => "date_time",
        Kind::Date => "date",
        Kind::Json { .. } => "json",
        Kind::Bytes { .. } => "file",
        Kind::Reference { .. } => "reference",
        Kind::Enum { .. } | Kind::State { .. } => "select",
    }
}

/// Which way a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Answer,
    New,
    Change,
}

fn property(column: &Column, side: Side) -> Json {
    let mut schema = of_kind(&column.kind);
    if let (true, Some(kind)) = (column.is_nullable(), schema.get("type").cloned()) {
        schema.insert("type".to_owned(), json!([kind, "null"]));
        if let Some(Json::Array(words)) = schema.get_mut("enum") {
            words.push(Json::Null);
        }
    }
    schema.insert("description".to_owned(), column.doc.into());
    if side == Side::New
        && let Some(default) = default(column)
    {
        schema.insert("default".to_owned(), default);
    }
    if column.deprecated.is_some() {
        schema.insert("deprecated".to_owned(), true.into());
    }
    if column.is_secret() {
        schema.insert("writeOnly".to_owned(), true.into());
    }
    Json::Object(schema)
}

fn default(column: &Column) -> Option<Json> {
    match column.default? {
        DefaultValue::Int(units) => match column.kind {
            Kind::Decimal { scale, .. } => Some(show_decimal(units, scale).into()),
            _ => Some(units.into()),
        },
        DefaultValue::Text(text) => Some(text.into()),
        DefaultValue::Bool(value) => Some(value.into()),
        DefaultValue::Json(text) => serde_json::from_str(text).ok(),
    }
}

fn of_kind(kind: &Kind) -> Map<String, Json> {
    let schema = match *kind {
        Kind::Text { chars_min, chars_max, pattern, .. } => {
            let mut schema = json!({"type": "string"});
            if chars_min > 0 {
                schema["minLength"] = chars_min.into();
            }
            if chars_max < u32::MAX {
                schema["maxLength"] = chars_max.into();
            }
            if let Some(pattern) = pattern {
                schema["pattern"] = pattern.regex.into();
            }
            schema
        }
        Kind::Integer { min, max } => {
            let mut schema = json!({"type": "integer", "format": "int64"});
            if min > i64::MIN {
                schema["minimum"] = min.into();
            }
            if max < i64::MAX {
                schema["maximum"] = max.into();
            }
            schema
        }
        Kind::Decimal { scale, .. } => {
            json!({"type": "string", "format": "decimal", "pattern": format!(r"^-?[0-9]+(\.[0-9]{{1,{scale}}})?$")})
        }
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Timestamp => json!({"type": "string", "format": "date-time"}),
        Kind::Date => json!({"type": "string", "format": "date"}),
        Kind::Json { shape: Shape::Any, .. } => json!({}),
        Kind::Json { shape: Shape::Object, .. } => json!({"type": "object"}),
        Kind::Json { shape: Shape::List, .. } => json!({"type": "array", "items": {}}),
        Kind::Json { shape: Shape::Texts, .. } => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Bytes { .. } => json!({"type": "string", "format": "byte"}),
        Kind::Id | Kind::Reference { .. } => json!({"type": "string", "format": "uuid"}),
        Kind::Enum { values } | Kind::State { values } => json!({"type": "string", "enum": values}),
    };
    match schema {
        Json::Object(map) => map,
        _ => Map::new(),
    }
}
