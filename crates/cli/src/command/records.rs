//! `windlass <area> <noun> …`: records, over the same routes as every other client.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use clap::ArgMatches;
use futures::StreamExt;
use http::Method;
use serde_json::{Map, Value};
use windlass_resource::{Column, Kind, Operation, Record, openapi, validate};

use super::{Context, runs};
use crate::{
    args::RecordCall,
    client::{Call, Client, escape},
    exit::{Exit, Failure, Outcome},
    input, output,
    output::table::{Table, cell, status, time_cell},
};

/// Columns that a table shows beside the id.
const CELLS_MAX: usize = 5;
/// Characters of a cell.
const CELL_CHARS_MAX: usize = 60;

/// Carries it out.
///
/// # Errors
/// The server refuses, or is not there.
pub async fn run(call: RecordCall, context: &Context) -> Outcome {
    let request = request(&call)?;
    let client = context.client().await?;
    let outcome = send(&client, request, (&call, context)).await;
    client.close().await;
    outcome
}

async fn send(client: &Client, request: Call, (call, context): (&RecordCall, &Context)) -> Outcome {
    if matches!(call.operation, Operation::Export) {
        let to = call.matches.get_one::<PathBuf>("output").map(PathBuf::as_path);
        return save(client, request, to).await.map(|()| Exit::Done);
    }
    let answer = client.send(request).await?;
    if matches!(call.operation, Operation::Delete) {
        if context.json() {
            output::json(&serde_json::json!({ "deleted": call.matches.get_one::<String>("id") }))?;
        } else {
            output::line(format!("{} deleted", call.record.noun))?;
        }
        return Ok(Exit::Done);
    }
    if context.json() {
        output::line(answer.text())?;
        return Ok(Exit::Done);
    }
    let value: Value = answer.read()?;
    match call.operation {
        Operation::List => print_list(call.record, &value)?,
        _ => print_one(call.record, &value)?,
    }
    Ok(Exit::Done)
}

/// Writes an answer to a file, or to standard output, as it comes.
///
/// # Errors
/// The server refuses, or the file cannot be written.
pub async fn save(client: &Client, request: Call, to: Option<&Path>) -> Result<(), Failure> {
    let mut pieces = client.pieces(request).await?;
    let failed = |error: std::io::Error| Failure::refused(format!("it cannot be written: {error}"));
    let mut out: Box<dyn Write + Send> = match to {
        Some(path) => Box::new(File::create(path).map_err(failed)?),
        None => Box::new(std::io::stdout()),
    };
    while let Some(piece) = pieces.next().await {
        out.write_all(&piece?).map_err(failed)?;
    }
    out.flush().map_err(failed)
}

fn request(call: &RecordCall) -> Result<Call, Failure> {
    let (record, matches) = (call.record, &call.matches);
    let id = text(matches, "id").map(escape).unwrap_or_default();
    let path = openapi::path(record, call.operation).replace("{id}", &id);
    let method = match openapi::method(call.operation) {
        "get" => Method::GET,
        "patch" => Method::PATCH,
        "delete" => Method::DELETE,
        _ => Method::POST,
    };
    let mut request = match call.operation {
        Operation::List | Operation::Export => Call::get(format!("{path}{}", query(matches)?)),
        Operation::Create | Operation::Update => {
            Call { method, ..Call::get(path) }.json(&body(matches, record.columns.iter())?)
        }
        Operation::Transition(transition) => {
            let taken = validate::taken(record, transition);
            Call { method, ..Call::get(path) }.json(&body(matches, taken.iter().map(|(column, _)| *column))?)
        }
        Operation::Get | Operation::Delete | Operation::Restore => Call { method, ..Call::get(path) },
    };
    if let Ok(Some(revision)) = matches.try_get_one::<i64>("if_match") {
        request = request.header("if-match", format!("\"{revision}\""));
    }
    Ok(request)
}

/// An option's value, where the command has such an option.
fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.try_get_one::<String>(name).ok().flatten().map(String::as_str)
}

fn query(matches: &ArgMatches) -> Result<String, Failure> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
    if let Ok(Some(limit)) = matches.try_get_one::<u32>("limit") {
        put("limit", &limit.to_string());
    }
    for name in ["after", "sort", "q", "format"] {
        if let Some(value) = text(matches, name) {
            put(name, value);
        }
    }
    if matches!(matches.try_get_one::<bool>("deleted"), Ok(Some(true))) {
        put("deleted", "true");
    }
    for filter in matches.get_many::<String>("where").into_iter().flatten() {
        let (name, value) = filter
            .split_once('=')
            .ok_or_else(|| Failure::refused(format!("--where `{filter}` is not FIELD=VALUE or FIELD.OP=VALUE")))?;
        put(name, value);
    }
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    Ok(if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

/// The body: what `--body` says, and the options over it.
fn body<'a>(matches: &ArgMatches, columns: impl Iterator<Item = &'a Column>) -> Result<Value, Failure> {
    let mut map = match text(matches, "body").map(|text| input::json(text, "--body")).transpose()? {
        None => Map::new(),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(Failure::refused("--body is not an object")),
    };
    for column in columns {
        if let Some(text) = text(matches, column.name) {
            map.insert(column.name.to_owned(), value(column, text)?);
        }
    }
    for name in matches.try_get_many::<String>("clear").ok().flatten().into_iter().flatten() {
        map.insert(name.replace('-', "_"), Value::Null);
    }
    Ok(Value::Object(map))
}

/// What an option says, as JSON; what does not fit is left to the server, which says all that is wrong at once.
fn value(column: &Column, text: &str) -> Result<Value, Failure> {
    Ok(match column.kind {
        Kind::Text { .. } if column.is_secret() => Value::from(input::text(text)?.trim_end_matches(['\r', '\n'])),
        Kind::Json { .. } => input::json(text, column.name)?,
        Kind::Integer { .. } => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        Kind::Boolean => text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
        _ => Value::from(text),
    })
}

/// The columns that a table has room for.
fn cells(record: &Record) -> Vec<&'static Column> {
    let fits = |column: &&Column| column.is_shown() && !matches!(column.kind, Kind::Json { .. } | Kind::Bytes { .. });
    let mut cells: Vec<&'static Column> = record.columns.iter().filter(fits).take(CELLS_MAX).collect();
    let last = if record.changes() { "updated_at" } else { "created_at" };
    cells.extend(record.column(last));
    cells
}

fn print_list(record: &Record, page: &Value) -> Result<(), Failure> {
    let columns = cells(record);
    let heads = columns.iter().map(|column| column.name.trim_end_matches("_at").replace('_', " ").to_uppercase());
    let mut table = Table::with_heads(std::iter::once("ID".to_owned()).chain(heads).collect());
    for row in page["items"].as_array().into_iter().flatten() {
        let shown = columns.iter().map(|column| match column.kind {
            Kind::Timestamp => time_cell(row, column.name),
            Kind::State { .. } => status(&cell(row, column.name)),
            _ => console::truncate_str(&cell(row, column.name), CELL_CHARS_MAX, "…").into_owned(),
        });
        table.row(std::iter::once(cell(row, "id")).chain(shown).collect());
    }
    table.print(&format!("no {}", record.name.replace('_', " ")))?;
    runs::more(page);
    Ok(())
}

fn print_one(record: &Record, value: &Value) -> Result<(), Failure> {
    let shown: Vec<&Column> = record.stored().into_iter().filter(|column| column.is_shown()).collect();
    let width = shown.iter().map(|column| column.name.len()).max().unwrap_or(0);
    for column in shown {
        let line = format!("{:width$}  {}", column.name, cell(value, column.name));
        output::line(line.trim_end())?;
    }
    Ok(())
}
