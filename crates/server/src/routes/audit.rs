//! The audit beyond its list: its end, a judgement of the whole of it, and the whole of it as a file.
//!
//! The list itself is the record `audit_entries`, with filters and search like every other.

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use windlass_engine::id::TenantKey;
use windlass_resource::{
    list::{ListQuery, PAGE_ROWS_MAX},
    records::audit::AUDIT_ENTRIES,
};
use windlass_store::{AuditHead, AuditReport, Store, StoreError, Trust};

use crate::{
    app::App,
    auth::{AuditRead, Authorized},
    extract::Query,
    problem::Problem,
    refusal,
    reply::{self, Reply},
};

/// The end of the audit's chain.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditHead)]
pub struct Head {
    /// The newest block; 0 before the first.
    number: i64,
    /// Its hash.
    hash: String,
    /// Entries that were ever sealed.
    entries: i64,
    /// The key that signed it.
    #[schema(required)]
    public_key: Option<String>,
    /// The key's signature.
    #[schema(required)]
    signature: Option<String>,
}

/// The end of the audit's chain: note it elsewhere, and a tail that is cut later is found.
#[utoipa::path(get, path = "/audit/head", tag = "audit", responses((status = 200, body = Head)))]
pub async fn get_head(caller: Authorized<AuditRead>, State(app): State<App>) -> Reply {
    let none = AuditHead { number: 0, hash: [0; 32], entries: 0, public_key: None, signature: None };
    reply::ok(&app.store().audit_head(caller.tenant()).await?.unwrap_or(none).to_json())
}

/// What is known from elsewhere.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VerifyQuery {
    /// A head that was noted: `number:hash`.
    head: Option<String>,
}

/// What was judged.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditReport)]
pub struct Report {
    /// Whose audit.
    tenant: String,
    /// Blocks that were judged.
    blocks: i64,
    /// Entries that were judged.
    entries: i64,
    /// Entries that no block has yet.
    unsealed: i64,
    /// Entries that archives have and the database no more.
    archived: i64,
    /// The newest block.
    head: i64,
    /// Its hash.
    head_hash: String,
    /// The keys that signed blocks.
    signed_by: Vec<String>,
    /// Blocks that nobody signed.
    unsigned_blocks: i64,
    /// What is wrong; at most 100.
    findings: Vec<Finding>,
    /// How much is wrong.
    findings_count: usize,
}

/// Something that is not as it was written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditFinding)]
pub struct Finding {
    /// In which block.
    #[schema(required)]
    block: Option<i64>,
    /// In which entry.
    #[schema(required)]
    entry: Option<uuid::Uuid>,
    /// What is wrong.
    problem: String,
}

impl From<AuditReport> for Report {
    fn from(report: AuditReport) -> Report {
        let findings = report.findings.into_iter();
        Report {
            tenant: report.tenant,
            blocks: report.blocks,
            entries: report.entries,
            unsealed: report.unsealed,
            archived: report.archived,
            head: report.head,
            head_hash: report.head_hash,
            signed_by: report.signed_by,
            unsigned_blocks: report.unsigned_blocks,
            findings: findings.map(|it| Finding { block: it.block, entry: it.entry, problem: it.problem }).collect(),
            findings_count: report.findings_count,
        }
    }
}

/// Judge the audit: every entry, every block, and their end. It reads all of it.
#[utoipa::path(get, path = "/audit/verify", tag = "audit", params(VerifyQuery), responses((status = 200, body = Report)))]
pub async fn verify_audit(
    caller: Authorized<AuditRead>,
    State(app): State<App>,
    Query(query): Query<VerifyQuery>,
) -> Reply {
    let head = query.head.as_deref().map(noted_head).transpose()?;
    let trust = Trust { key: app.store().audit_key().map(|key| key.public()), head };
    reply::ok(&Report::from(app.store().verify_audit(caller.tenant(), trust).await?))
}

/// Reads `number:hash`.
fn noted_head(text: &str) -> Result<(i64, [u8; 32]), Problem> {
    Trust::noted_head(text)
        .ok_or_else(|| Problem::bad_request("invalid_query", "`head` must be `number:hash`, as /audit/head gives them"))
}

/// As what the audit is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// One object with all entries as `items`.
    Json,
    /// An entry a line.
    Jsonl,
    /// A table.
    Csv,
    /// Blocks and entries, to be judged without the database.
    Proof,
}

/// The columns of a table, in order.
const CSV_COLUMNS: &[&str] = &[
    "id",
    "created_at",
    "created_by",
    "action",
    "record",
    "record_id",
    "subject",
    "changes",
    "request_id",
    "user_agent",
    "address",
];

/// Which entries, and as what.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document shows it; the handler reads pairs, as lists of records do")]
pub struct ExportQuery {
    /// `json`, `jsonl` (the default), `csv`, or `proof`: everything that is sealed, with what it takes to judge it
    /// without the database. A proof takes no filters.
    format: Option<String>,
    /// Words that all have to be found.
    q: Option<String>,
    /// The order; the newest first when left out.
    sort: Option<String>,
}

/// The whole audit, or what of it the filters of `/audit-entries` let through, as a file.
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(ExportQuery),
    responses((status = 200, description = "The file, as it is read from the database", content(
        (String = "application/jsonl"), (String = "application/json"), (String = "text/csv")))))]
pub async fn export_audit(
    caller: Authorized<AuditRead>,
    State(app): State<App>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Reply {
    let (formats, mut filters): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(name, _)| name == "format");
    let format = match formats.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().as_slice() {
        [] | ["jsonl"] => Format::Jsonl,
        ["json"] => Format::Json,
        ["csv"] => Format::Csv,
        ["proof"] if filters.is_empty() => Format::Proof,
        ["proof"] => {
            return Err(Problem::bad_request("invalid_query", "a proof is of everything: leave the filters out"));
        }
        _ => return Err(Problem::bad_request("invalid_query", "`format` must be json, jsonl, csv or proof")),
    };
    if let Some((name, _)) = filters.iter().find(|(name, _)| name == "limit" || name == "after") {
        return Err(Problem::bad_request("invalid_query", format!("an export has no `{name}`: it is no page")));
    }
    filters.push(("limit".to_owned(), PAGE_ROWS_MAX.to_string()));
    let (store, tenant) = (app.store().clone(), caller.tenant());
    let (media_type, name, body) = match format {
        Format::Proof => {
            let proof = store.export_audit(tenant).await?;
            let chunks = stream::try_unfold(proof, |mut proof| async move {
                Ok::<_, StoreError>(proof.next().await?.map(|chunk| (Bytes::from(chunk), proof)))
            });
            ("application/jsonl", "audit-proof.jsonl", Body::from_stream(chunks))
        }
        Format::Jsonl => {
            ("application/jsonl", "audit.jsonl", Body::from_stream(pages(Pages::of(store, tenant, filters, format)?)))
        }
        Format::Json => {
            ("application/json", "audit.json", Body::from_stream(pages(Pages::of(store, tenant, filters, format)?)))
        }
        Format::Csv => (
            "text/csv; charset=utf-8",
            "audit.csv",
            Body::from_stream(pages(Pages::of(store, tenant, filters, format)?)),
        ),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    let disposition = reply::header_value(&format!("attachment; filename=\"{name}\""));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    Ok(response)
}

/// An export on its way: page after page, each written as it is read.
struct Pages {
    store: Store,
    tenant: TenantKey,
    filters: Vec<(String, String)>,
    /// `None` behind the last page.
    query: Option<ListQuery>,
    format: Format,
    first: bool,
}

impl Pages {
    fn of(store: Store, tenant: TenantKey, filters: Vec<(String, String)>, format: Format) -> Result<Pages, Problem> {
        let query = ListQuery::parse(&AUDIT_ENTRIES, &filters).map_err(|errors| {
            let detail = "the query is not what this list reads";
            Problem::bad_request("invalid_query", detail).with_errors(refusal::of_fields(errors))
        })?;
        Ok(Pages { store, tenant, filters, query: Some(query), format, first: true })
    }

    async fn next(&mut self) -> Result<Option<String>, StoreError> {
        let Some(query) = self.query.take() else { return Ok(None) };
        let page = self
            .store
            .list_records(self.tenant, &AUDIT_ENTRIES, &query)
            .await
            .map_err(|error| StoreError::Invalid(error.to_string()))?;
        let mut text = String::new();
        match self.format {
            Format::Json if self.first => text.push_str("{\"items\":["),
            Format::Csv if self.first => text.push_str(&(CSV_COLUMNS.join(",") + "\r\n")),
            _ => {}
        }
        for entry in &page.items {
            match self.format {
                Format::Csv => text.push_str(&csv_line(entry)),
                Format::Json => {
                    text.push_str(if self.first { "\n" } else { ",\n" });
                    text.push_str(&entry.to_string());
                }
                Format::Jsonl | Format::Proof => text.push_str(&(entry.to_string() + "\n")),
            }
            self.first = false;
        }
        self.first = false;
        match page.next {
            None if self.format == Format::Json => text.push_str("\n]}\n"),
            None => {}
            Some(next) => {
                let mut pairs = self.filters.clone();
                pairs.push(("after".to_owned(), next));
                // The same filters were read before, and the cursor is our own.
                self.query = ListQuery::parse(&AUDIT_ENTRIES, &pairs).ok();
            }
        }
        Ok(Some(text))
    }
}

fn pages(pages: Pages) -> impl Stream<Item = Result<Bytes, StoreError>> {
    stream::try_unfold(pages, |mut pages| async move { Ok(pages.next().await?.map(|text| (Bytes::from(text), pages))) })
}

/// An entry as a line of a table (RFC 4180). What a spreadsheet would take for a formula gets a quote before it.
fn csv_line(entry: &Value) -> String {
    let cells = CSV_COLUMNS.iter().map(|name| {
        let text = match &entry[*name] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let text = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text };
        if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
    });
    cells.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_hold_text_and_no_formulas() {
        let entry = json!({ "id": "1", "created_by": "=1+1", "subject": "a \"b\", c", "changes": { "a": 1 } });
        assert_eq!(csv_line(&entry), "1,,'=1+1,,,,\"a \"\"b\"\", c\",\"{\"\"a\"\":1}\",,,\r\n");
    }

    #[test]
    fn heads_are_read_strictly() {
        assert!(noted_head(&format!("3:{}", "ab".repeat(32))).is_ok());
        for text in ["", "3", "3:", "x:00", "3:ab", &format!("3:{}", "zz".repeat(32))] {
            assert!(noted_head(text).is_err(), "{text}");
        }
    }
}
