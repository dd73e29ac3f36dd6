//! The audit beyond its list and its export: its end, a judgement of the whole of it, and a proof.
//!
//! The list itself is the record `audit_entries`, with filters and search like every other.

use axum::{
    body::{Body, Bytes},
    extract::State,
};
use futures::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use windlass_store::{AuditHead, AuditReport, StoreError, Trust};

use crate::{
    app::App,
    auth::{AuditRead, Authorized},
    extract::Query,
    problem::Problem,
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
    /// Entries that no block had yet when the judging began, or that came since.
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

/// The whole audit and what it takes to judge it without the database. What of it a table or a program wants, with
/// filters, is `/audit-entries/export`.
#[utoipa::path(get, path = "/audit/proof", tag = "audit",
    responses((status = 200, description = "Blocks and entries, as they are read from the database",
        content((String = "application/jsonl")))))]
pub async fn prove_audit(caller: Authorized<AuditRead>, State(app): State<App>) -> Reply {
    let proof = app.store().export_audit(caller.tenant()).await?;
    let chunks = stream::try_unfold(proof, |mut proof| async move {
        Ok::<_, StoreError>(proof.next().await?.map(|chunk| (Bytes::from(chunk), proof)))
    });
    Ok(super::export::file("application/jsonl", "audit-proof.jsonl", Body::from_stream(chunks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_strictly() {
        assert!(noted_head(&format!("3:{}", "ab".repeat(32))).is_ok());
        for text in ["", "3", "3:", "x:00", "3:ab", &format!("3:{}", "zz".repeat(32))] {
            assert!(noted_head(text).is_err(), "{text}");
        }
    }
}
