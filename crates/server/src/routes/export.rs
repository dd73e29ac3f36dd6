//! Exports: the rows of a record as a file, page after page, each written as it is read.
//!
//! Invariant: an export shows what a list shows, and to whom a list shows it: secrets are in neither.

use std::collections::HashMap;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::Response,
};
use futures::{Stream, stream};
use serde_json::{Map, Value};
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Record,
    list::{ListQuery, PAGE_ROWS_MAX},
};
use windlass_store::{Store, StoreError};

use super::records::bad_query;
use crate::{
    problem::Problem,
    reply::{self, Reply},
};

/// As what rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// An array of objects.
    Json,
    /// An object a line, each with the `record` that it is: what `windlass apply` reads.
    Jsonl,
    /// A table.
    Csv,
}

/// The rows of a record that these parameters let through, as a file. They are those of its list, and `format`.
///
/// # Errors
/// Everything that is wrong with the parameters.
pub fn answer(store: Store, (tenant, record): (TenantKey, &'static Record), pairs: Vec<(String, String)>) -> Reply {
    let (formats, mut filters): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "format");
    let format = match formats.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().as_slice() {
        [] | ["jsonl"] => Format::Jsonl,
        ["json"] => Format::Json,
        ["csv"] => Format::Csv,
        _ => return Err(Problem::bad_request("invalid_query", "`format` must be jsonl, json or csv, once")),
    };
    if let Some((name, _)) = filters.iter().find(|(name, _)| name == "limit" || name == "after") {
        return Err(Problem::bad_request("invalid_query", format!("an export has no `{name}`: it is no page")));
    }
    // The oldest first: what is referred to comes before what refers to it.
    if !filters.iter().any(|(name, _)| name == "sort") {
        filters.push(("sort".to_owned(), "id".to_owned()));
    }
    filters.push(("limit".to_owned(), PAGE_ROWS_MAX.to_string()));
    let query = ListQuery::parse(record, &filters).map_err(bad_query)?;
    let pages =
        Pages { store, tenant, record, filters, query: Some(query), format, first: true, names: HashMap::new() };
    let (media_type, ending) = match format {
        Format::Json => ("application/json", "json"),
        Format::Jsonl => ("application/jsonl", "jsonl"),
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
    };
    Ok(file(media_type, &format!("{}.{ending}", record.slug()), Body::from_stream(pieces(pages))))
}

/// An answer that is saved as a file.
pub fn file(media_type: &'static str, name: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    let disposition = reply::header_value(&format!("attachment; filename=\"{name}\""));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    response
}

/// An export on its way.
struct Pages {
    store: Store,
    tenant: TenantKey,
    record: &'static Record,
    filters: Vec<(String, String)>,
    /// `None` behind the last page.
    query: Option<ListQuery>,
    format: Format,
    /// Nothing was written yet.
    first: bool,
    /// Workflows by their ids, as far as they were needed.
    names: HashMap<Uuid, Option<String>>,
}

fn pieces(pages: Pages) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold(pages, |mut pages| async move { Ok(pages.next().await?.map(|piece| (piece, pages))) })
}

impl Pages {
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(query) = self.query.take() else { return Ok(None) };
        let page = self
            .store
            .list_records(self.tenant, self.record, &query)
            .await
            .map_err(|error| StoreError::Invalid(error.to_string()))?;
        let piece = match self.format {
            Format::Csv => table(self.record, &page.items, std::mem::take(&mut self.first))?,
            Format::Json | Format::Jsonl => {
                let mut lines = Vec::new();
                for item in page.items {
                    let Some(document) = self.document(item).await? else { continue };
                    if self.format == Format::Json {
                        lines.extend_from_slice(if self.first { b"[\n" } else { b",\n" });
                        self.first = false;
                    }
                    // JSON values always have a JSON form.
                    let _ = serde_json::to_writer(&mut lines, &document);
                    if self.format == Format::Jsonl {
                        lines.push(b'\n');
                    }
                }
                if self.format == Format::Json && page.next.is_none() {
                    lines.extend_from_slice(if self.first { b"[]\n" } else { b"\n]\n" });
                }
                lines
            }
        };
        if let Some(next) = page.next {
            let mut pairs = self.filters.clone();
            pairs.push(("after".to_owned(), next));
            let refused = |_| StoreError::Invalid("the export cannot go on from its own cursor".to_owned());
            self.query = Some(ListQuery::parse(self.record, &pairs).map_err(refused)?);
        }
        Ok(Some(piece.into()))
    }

    /// A row with the record that it is. Workflows are no records, so that nobody could find them elsewhere by their
    /// ids: they are called by their names. What belongs to a deleted one is left out, for nobody could make it elsewhere.
    async fn document(&mut self, item: Value) -> Result<Option<Value>, StoreError> {
        let mut document = Map::from_iter([("record".to_owned(), Value::from(self.record.name))]);
        let Value::Object(fields) = item else { return Ok(Some(item)) };
        document.extend(fields);
        for (column, ..) in self.record.references().filter(|(_, to, _)| *to == "workflows") {
            let id = document.get(column.name).and_then(Value::as_str).and_then(|text| text.parse::<Uuid>().ok());
            let Some(id) = id else { continue };
            if !self.names.contains_key(&id) {
                let name = self.store.workflow_name(self.tenant, id).await?;
                self.names.insert(id, name);
            }
            let Some(Some(name)) = self.names.get(&id) else { return Ok(None) };
            document.insert(column.name.to_owned(), Value::from(name.as_str()));
        }
        Ok(Some(Value::Object(document)))
    }
}

/// Rows as lines of a table (RFC 4180). What a spreadsheet would take for a formula gets a quote before it.
fn table(record: &Record, items: &[Value], first: bool) -> Result<Vec<u8>, StoreError> {
    let columns: Vec<&str> =
        record.stored().into_iter().filter(|column| column.is_shown()).map(|column| column.name).collect();
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let failed = |error: csv::Error| StoreError::Invalid(error.to_string());
    if first {
        writer.write_record(&columns).map_err(failed)?;
    }
    for item in items {
        let cells = columns.iter().map(|name| {
            let text = match &item[*name] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text }
        });
        writer.write_record(cells).map_err(failed)?;
    }
    writer.into_inner().map_err(|error| StoreError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_resource::records::workflows::FOLDERS;

    use super::*;

    #[test]
    fn tables_hold_text_and_no_formulas() {
        let folder = json!({ "id": "1", "name": "=1+1", "description": "a \"b\", c", "parent_id": null });
        let written = String::from_utf8(table(&FOLDERS, &[folder], true).unwrap()).unwrap();
        let (head, line) = written.split_once("\r\n").unwrap();
        assert!(head.starts_with("id,name,description,parent_id,"), "{head}");
        assert!(line.starts_with("1,'=1+1,\"a \"\"b\"\", c\",,"), "{line}");
    }
}
