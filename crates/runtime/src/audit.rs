//! The audit of runs: what people and programs did to one, written in the transition that their deed makes; and the
//! sealing of whatever was noted.
//!
//! The journal of a run has all of this already, and the start of a run and the answers of workers are in it alone: an
//! entry of the audit is written for what somebody does to a run that is there.

use std::{sync::Arc, time::Duration};

use serde_json::{Value as Json, json};
use windlass_engine::{
    Entry, Record, Start,
    event::{Settlement, UndoChoice},
    id::ApprovalId,
    start::{Origin, Principal},
};
use windlass_store::{AuditNote, By, by_principal};

use crate::{core::Core, error::RuntimeError};

/// How long what was noted waits to be sealed, so that a block holds more than one entry.
const GATHER: Duration = Duration::from_secs(1);
/// How often it is looked for what somebody else left: a process that ended, or a commit that was slow.
const LOOK: Duration = Duration::from_secs(10);

/// What these entries of a run's journal leave in the audit; `approval` is the one that a decision is on.
pub(crate) fn notes(entries: &[Entry], info: &Start, approval: Option<ApprovalId>) -> impl Iterator<Item = AuditNote> {
    entries.iter().filter_map(move |entry| note(entry, info, approval))
}

fn note(entry: &Entry, info: &Start, approval: Option<ApprovalId>) -> Option<AuditNote> {
    let (action, by, changes) = deed(entry)?;
    let (record, record_id) = match (&entry.record, approval) {
        (Record::Decided(_), Some(approval)) => ("approvals", approval.uuid()),
        _ => ("runs", info.run.uuid()),
    };
    Some(AuditNote {
        action,
        record,
        record_id: Some(record_id),
        subject: Some(info.workflow.to_string()),
        changes,
        by: By::named(by_principal(by)),
        at: entry.at,
    })
}

/// What somebody did, who, and what was said; nothing for what followed from something else.
fn deed(entry: &Entry) -> Option<(&'static str, &Principal, Json)> {
    let path = || json!(&*entry.path);
    let deed = match &entry.record {
        Record::Started(start) => {
            let (action, of, at) = match &start.origin {
                Origin::Fresh | Origin::Restart { .. } => return None,
                Origin::Rerun { of } => ("rerun", of, None),
                Origin::Fork { of, at, .. } => ("fork", of, Some(at)),
                Origin::Undo { of, .. } => ("undo", of, None),
            };
            (action, &start.by, json!({ "of": of.to_string(), "at": at.map(|at| &**at) }))
        }
        Record::Signal { name, key, by: Some(by), .. } => {
            ("signal", by, json!({ "name": &**name, "idempotency_key": key.as_deref() }))
        }
        Record::Decided(decision) => (
            "decide",
            &decision.by,
            json!({ "path": path(), "verdict": decision.verdict, "comment": decision.comment.as_deref() }),
        ),
        Record::Settled { settlement, by } => {
            let outcome = match settlement {
                Settlement::Completed(_) => "completed",
                Settlement::Failed(_) => "failed",
                Settlement::Again => "again",
            };
            ("settle", by, json!({ "path": path(), "outcome": outcome }))
        }
        Record::Cancelled { by, reason, undo } => {
            let undo = *undo == UndoChoice::Undo;
            ("cancel", by, json!({ "reason": reason.as_deref(), "undo": undo }))
        }
        Record::Paused { by } => ("pause", by, json!({})),
        Record::Resumed { by } => ("resume", by, json!({})),
        _ => return None,
    };
    // What a run does to its children follows from what was done to it.
    if matches!(deed.1, Principal::Run(_)) { None } else { Some(deed) }
}

/// Seals what was noted, a moment after it was, until everything stops.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        let noted = tokio::time::timeout(LOOK, core.store.audit_waits()).await;
        if noted.is_ok() {
            tokio::time::sleep(GATHER).await;
        }
        if let Err(error) = tick(&core).await {
            tracing::error!(%error, "the audit was not sealed; what is unsealed waits for the next turn");
        }
    }
}

/// Seals all that there is.
pub(crate) async fn tick(core: &Core) -> Result<(), RuntimeError> {
    while core.store.seal_audit().await? > 0 {}
    Ok(())
}
