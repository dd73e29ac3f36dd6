//! The routes of records in the words of OpenAPI 3.1: one path item for each address.

use serde_json::{Map, Value as Json, json};

use crate::{
    Deletion, Kind, Operation, Record,
    list::{self, PAGE_ROWS, PAGE_ROWS_MAX},
    schema,
};

/// What an operation says for which rights on a folder or a workflow are enough.
pub const WITHIN: &str = "x-within";

/// The addresses of a record below the API's beginning, each with its path item.
pub fn paths(record: &Record) -> Vec<(String, Json)> {
    let mut paths: Vec<(String, Map<String, Json>)> = Vec::new();
    for operation in record.operations() {
        let path = path(record, operation);
        let item = match paths.iter_mut().find(|(other, _)| *other == path) {
            Some((_, item)) => item,
            None => {
                paths.push((path, Map::new()));
                &mut paths.last_mut().expect("one was just added").1
            }
        };
        item.insert(method(operation).to_owned(), describe(record, operation));
    }
    paths.into_iter().map(|(path, item)| (path, Json::Object(item))).collect()
}

/// The address of an operation: `/folders/{id}/restore`.
pub fn path(record: &Record, operation: Operation) -> String {
    let slug = record.slug();
    match operation {
        Operation::List | Operation::Create => format!("/{slug}"),
        Operation::Export => format!("/{slug}/export"),
        Operation::Get | Operation::Update | Operation::Delete => format!("/{slug}/{{id}}"),
        Operation::Restore => format!("/{slug}/{{id}}/restore"),
        Operation::Transition(transition) => format!("/{slug}/{{id}}/{}", transition.verb.replace('_', "-")),
    }
}

/// The HTTP method of an operation, in lower case.
pub fn method(operation: Operation) -> &'static str {
    match operation {
        Operation::List | Operation::Export | Operation::Get => "get",
        Operation::Create | Operation::Restore | Operation::Transition(_) => "post",
        Operation::Update => "patch",
        Operation::Delete => "delete",
    }
}

/// What an operation does, in a sentence.
pub fn summary(record: &Record, operation: Operation) -> String {
    let (noun, many) = (record.noun, record.name.replace('_', " "));
    let a = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    match operation {
        Operation::List => format!("List {many}."),
        Operation::Export => format!("Take out {many}, as a file, without secrets."),
        Operation::Get => format!("Show {a} {noun}."),
        Operation::Create => format!("Make {a} {noun}."),
        Operation::Update => format!("Change {a} {noun}: what the body leaves out stays."),
        Operation::Delete if record.deletion == Deletion::Soft => {
            format!("Delete {a} {noun}; it can be restored for {} days.", crate::record::DELETED_DAYS)
        }
        Operation::Delete => format!("Delete {a} {noun}."),
        Operation::Restore => format!("Restore a deleted {noun}."),
        Operation::Transition(transition) => transition.doc.to_owned(),
    }
}

fn describe(record: &Record, operation: Operation) -> Json {
    let name = record.type_name();
    let of = |schema: &str| json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}});
    let status = match operation {
        Operation::Create => "201",
        Operation::Delete => "204",
        _ => "200",
    };
    let answer = match operation {
        Operation::List => json!({"description": "A page of the list.", "content": of(&format!("{name}Page"))}),
        Operation::Export => json!({
            "description": "The rows that the parameters let through, the oldest first, as they are read.",
            "content": {
                "application/jsonl": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
                "text/csv": {"schema": {"type": "string"}},
            },
        }),
        Operation::Delete => json!({"description": "It is deleted."}),
        _ => json!({"description": format!("The {}.", record.noun), "content": of(&name)}),
    };
    let body = match operation {
        Operation::Create => Some(of(&format!("New{name}"))),
        Operation::Update => Some(of(&format!("{name}Change"))),
        Operation::Transition(transition) if !crate::validate::taken(record, transition).is_empty() => {
            Some(json!({"application/json": {"schema": schema::transition(record, transition)}}))
        }
        _ => None,
    };
    let id = match operation {
        Operation::Transition(transition) => format!("{}_{}", transition.verb, record.noun),
        Operation::List | Operation::Export => format!("{}_{}", operation.verb(), record.name),
        other => format!("{}_{}", other.verb(), record.noun),
    };
    let mut described = json!({
        "tags": [record.area.name],
        "summary": summary(record, operation),
        "operationId": id.replace([' ', '-'], "_"),
        "parameters": parameters(record, operation),
        "responses": {status: answer},
        "security": [{"token": [record.permission(operation)]}],
    });
    if !record.lies_by.is_empty() {
        described[WITHIN] = json!(true);
    }
    if let Some(content) = body {
        // A transition that demands nothing may be asked for without a body.
        let demanded = content.pointer("/application~1json/schema/required").and_then(Json::as_array);
        let required = !matches!(operation, Operation::Transition(_)) || demanded.is_some_and(|it| !it.is_empty());
        described["requestBody"] = json!({"content": content, "required": required});
    }
    described
}

fn parameters(record: &Record, operation: Operation) -> Vec<Json> {
    let id = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}});
    let if_match = json!({"name": "If-Match", "in": "header", "required": false, "schema": {"type": "string"},
                          "description": "The ETag that was read: 412 when it is another by now."});
    match operation {
        Operation::List => list_parameters(record),
        Operation::Export => export_parameters(record),
        Operation::Create => Vec::new(),
        Operation::Get => vec![id],
        _ if !record.changes() => vec![id],
        _ => vec![id, if_match],
    }
}

/// Those of the list, but for its pages.
fn export_parameters(record: &Record) -> Vec<Json> {
    let format = json!({"name": "format", "in": "query", "required": false,
        "schema": {"type": "string", "enum": ["jsonl", "json", "csv"], "default": "jsonl"},
        "description": "`jsonl`: an object a line, as `windlass apply` reads them; `json`: an array of these; `csv`: a table."});
    let filters = list_parameters(record).into_iter().filter(|it| it["name"] != "limit" && it["name"] != "after");
    let sort = |mut parameter: Json| {
        if parameter["name"] == "sort" {
            parameter["schema"]["default"] = json!("id");
        }
        parameter
    };
    std::iter::once(format).chain(filters.map(sort)).collect()
}

fn list_parameters(record: &Record) -> Vec<Json> {
    let query = |name: &str, schema: Json, doc: &str| json!({"name": name, "in": "query", "required": false, "schema": schema, "description": doc});
    let sorts: Vec<&str> = list::sortable(record).map(|column| column.name).collect();
    let mut all = vec![
        query(
            "limit",
            json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": PAGE_ROWS_MAX, "default": PAGE_ROWS}),
            "Rows of a page.",
        ),
        query("after", json!({"type": "string"}), "The `next` of the page before."),
        query(
            "sort",
            json!({"type": "string", "default": "-id"}),
            &format!("Columns with commas between, `-` before one for the greatest first: {}.", sorts.join(", ")),
        ),
    ];
    if record.is_searchable() {
        all.push(query("q", json!({"type": "string"}), "Words that all have to be found."));
    }
    if record.deletion == Deletion::Soft {
        let schema = json!({"type": "boolean", "default": false});
        all.push(query("deleted", schema, "`true` lists those that are deleted."));
    }
    for column in record.stored().into_iter().filter(|column| column.is_filter()) {
        let schema = match column.kind {
            Kind::Enum { values } | Kind::State { values } => json!({"type": "string", "enum": values}),
            Kind::Integer { .. } => json!({"type": "integer", "format": "int64"}),
            Kind::Boolean => json!({"type": "boolean"}),
            Kind::Timestamp => json!({"type": "string", "format": "date-time"}),
            Kind::Date => json!({"type": "string", "format": "date"}),
            Kind::Id | Kind::Reference { .. } => json!({"type": "string", "format": "uuid"}),
            _ => json!({"type": "string"}),
        };
        let operators: Vec<String> =
            list::operators(column).iter().map(|op| format!("`{}.{op}`", column.name)).collect();
        let doc = format!("Only rows with this value; given twice, with one of them. Also {}.", operators.join(", "));
        all.push(query(column.name, schema, &doc));
    }
    all
}
