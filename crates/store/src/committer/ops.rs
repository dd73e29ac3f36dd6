//! What a commit writes beside its journal: each row as an operation ([`Op`]) with its values.

use windlass_engine::{id::TaskId, status::TaskStatus};

use crate::{
    committer::{
        commit::{NewTask, RowChange, RunChange, RunCommit},
        forms::Op,
    },
    database::Value,
    run_lists::{KEY_NAME, label_name},
};

/// What two operations of one batch may both touch; the later one is what counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum FoldKey {
    /// Nothing else touches this row.
    Once,
    /// A row by its table's name and what is left of its key.
    Row(&'static str, uuid::Uuid, Vec<u8>),
}

/// A statement with its values.
pub(crate) struct Lowered {
    pub op: Op,
    pub values: Vec<Value>,
    pub fold: FoldKey,
}

fn lowered(op: Op, values: Vec<Value>) -> Lowered {
    Lowered { op, values, fold: FoldKey::Once }
}

/// The names and values that a run is found by: its key and its labels.
pub(crate) fn found_by(key: Option<&str>, labels: Option<&serde_json::Value>) -> Vec<(String, String)> {
    let labels = labels.and_then(serde_json::Value::as_object).into_iter().flatten();
    let labels = labels.filter_map(|(name, value)| Some((label_name(name), value.as_str()?.to_owned())));
    key.map(|key| (KEY_NAME.to_owned(), key.to_owned())).into_iter().chain(labels).collect()
}

/// The statements of a commit beside its run and its journal. `at` is the time that touched blobs get.
pub(crate) fn lower(commit: &RunCommit, at: windlass_definition::time::Timestamp, mut each: impl FnMut(Lowered)) {
    let tenant = Value::from(commit.tenant);
    let run = Value::from(commit.run);
    let lane = Value::from(commit.lane.0);
    let by_path = |table, path: &str| FoldKey::Row(table, commit.run.uuid(), path.as_bytes().to_vec());
    if let Some(timer) = commit.timer {
        if let Some(old) = timer.old {
            each(Lowered {
                op: Op::DeleteTimer,
                values: vec![lane.clone(), Value::Instant(old), run.clone()],
                fold: FoldKey::Row("timers", commit.run.uuid(), old.micros().to_be_bytes().to_vec()),
            });
        }
        if let Some(new) = timer.new {
            each(Lowered {
                op: Op::InsertTimer,
                values: vec![lane.clone(), Value::Instant(new), run.clone(), tenant.clone()],
                fold: FoldKey::Row("timers", commit.run.uuid(), new.micros().to_be_bytes().to_vec()),
            });
        }
    }
    if let RunChange::Insert(new, _) = &commit.change {
        for (name, value) in found_by(new.key.as_deref(), new.labels.as_ref()) {
            each(lowered(Op::PutRunLabel, vec![tenant.clone(), name.into(), value.into(), run.clone()]));
        }
    }
    for row in &commit.rows {
        match row {
            RowChange::OpenTask(task) => open_task(commit, task, &mut each),
            RowChange::CloseTask(task) => {
                let id = Value::from(*task);
                if !is_answered(commit, *task) {
                    each(lowered(Op::DeleteTaskReady, vec![tenant.clone(), id.clone()]));
                }
                each(lowered(Op::DeleteTask, vec![tenant.clone(), id.clone()]));
                each(lowered(Op::DeleteTaskLease, vec![tenant.clone(), id]));
            }
            RowChange::PutTaskAnswer(task, answer) => each(lowered(
                Op::PutTaskAnswer,
                vec![tenant.clone(), (*task).into(), run.clone(), answer.token.into(), answer.hash.into()],
            )),
            RowChange::OpenApproval(approval) => each(lowered(
                Op::OpenApproval,
                vec![
                    tenant.clone(),
                    approval.id.into(),
                    lane.clone(),
                    run.clone(),
                    approval.path.clone().into(),
                    (&approval.title).into(),
                    Value::json(&approval.detail),
                    "pending".into(),
                    Value::Json("[]".into()),
                    approval.created_at.into(),
                    approval.expires_at.into(),
                ],
            )),
            RowChange::UpdateApproval(update) => each(Lowered {
                op: Op::UpdateApproval,
                values: vec![
                    tenant.clone(),
                    update.id.into(),
                    update.status.as_str().into(),
                    update.responses.as_ref().map_or(Value::Null, Value::json),
                    update.decided_at.into(),
                ],
                fold: FoldKey::Row("approvals", update.id.uuid(), Vec::new()),
            }),
            RowChange::PutInbox(message) => each(lowered(
                Op::PutInbox,
                vec![
                    message.lane.0.into(),
                    message.id.into(),
                    tenant.clone(),
                    message.run.into(),
                    (&message.kind).into(),
                    (&message.dedup).into(),
                    message.payload.clone().into(),
                    message.created_at.into(),
                ],
            )),
            RowChange::DeleteInbox(id) => each(lowered(Op::DeleteInbox, vec![lane.clone(), (*id).into()])),
            RowChange::PutBlob { hash, raw_bytes, bytes } => {
                let values = vec![tenant.clone(), (*hash).into(), bytes.clone().into(), (*raw_bytes).into(), at.into()];
                let owner = uuid::Uuid::from_u128(u128::from(commit.tenant.0.unsigned_abs()));
                each(Lowered { op: Op::PutBlob, values, fold: FoldKey::Row("blobs", owner, hash.to_vec()) });
                each(lowered(Op::PutBlobRef, vec![tenant.clone(), run.clone(), (*hash).into()]));
            }
            RowChange::PutActiveStep { path, step, attempt, started_at } => each(Lowered {
                op: Op::PutActiveStep,
                values: vec![
                    tenant.clone(),
                    run.clone(),
                    path.clone().into(),
                    step.clone().into(),
                    (*attempt).into(),
                    Value::Instant(*started_at),
                ],
                fold: by_path("active_steps", path),
            }),
            RowChange::DeleteActiveStep { path } => each(Lowered {
                op: Op::DeleteActiveStep,
                values: vec![tenant.clone(), run.clone(), path.clone().into()],
                fold: by_path("active_steps", path),
            }),
            RowChange::PutEventWait { path, event_type, subject, since } => each(Lowered {
                op: Op::PutEventWait,
                values: vec![
                    tenant.clone(),
                    run.clone(),
                    path.clone().into(),
                    lane.clone(),
                    event_type.into(),
                    subject.as_ref().into(),
                    (*since).into(),
                ],
                fold: by_path("event_waits", path),
            }),
            RowChange::DeleteEventWait { path } => each(Lowered {
                op: Op::DeleteEventWait,
                values: vec![tenant.clone(), run.clone(), path.clone().into()],
                fold: by_path("event_waits", path),
            }),
            RowChange::PutSnapshot { seq, engine_version, state } => each(Lowered {
                op: Op::PutSnapshot,
                values: vec![
                    tenant.clone(),
                    run.clone(),
                    (*seq).into(),
                    (*engine_version).into(),
                    state.clone().into(),
                    super::chain::bytes_checksum(state).into(),
                ],
                fold: FoldKey::Row("run_snapshots", commit.run.uuid(), Vec::new()),
            }),
            RowChange::Enqueue(queued) => each(Lowered {
                op: Op::PutQueued,
                values: vec![
                    tenant.clone(),
                    run.clone(),
                    lane.clone(),
                    (&queued.workflow).into(),
                    (&queued.slot_key).into(),
                    queued.priority.into(),
                    queued.queued_at.into(),
                ],
                fold: FoldKey::Row("run_queue", commit.run.uuid(), Vec::new()),
            }),
            RowChange::Dequeue => each(Lowered {
                op: Op::DeleteQueued,
                values: vec![tenant.clone(), run.clone()],
                fold: FoldKey::Row("run_queue", commit.run.uuid(), Vec::new()),
            }),
            RowChange::PutBacklog { priority, queued_at } => each(Lowered {
                op: Op::PutBacklog,
                values: vec![tenant.clone(), run.clone(), priority.saturating_neg().into(), Value::Instant(*queued_at)],
                fold: FoldKey::Row("run_backlog", commit.run.uuid(), Vec::new()),
            }),
            RowChange::DeleteBacklog => each(Lowered {
                op: Op::DeleteBacklog,
                values: vec![tenant.clone(), run.clone()],
                fold: FoldKey::Row("run_backlog", commit.run.uuid(), Vec::new()),
            }),
            RowChange::PutAudit(note) => {
                let id = uuid::Uuid::now_v7();
                each(lowered(Op::PutAudit, note.values(commit.tenant, id)));
                each(lowered(Op::PutUnsealed, vec![tenant.clone(), id.into()]));
            }
        }
    }
}

/// Whether a worker's answer ends the task: one that is held, so that nobody may claim it.
fn is_answered(commit: &RunCommit, task: TaskId) -> bool {
    commit.rows.iter().any(|row| matches!(row, RowChange::PutTaskAnswer(answered, _) if *answered == task))
}

/// A task, and the claim of who waited for it, or its place among those that may be claimed.
fn open_task(commit: &RunCommit, task: &NewTask, each: &mut impl FnMut(Lowered)) {
    let values = vec![
        commit.tenant.into(),
        task.id.into(),
        commit.lane.0.into(),
        commit.run.into(),
        task.path.clone().into(),
        task.attempt.into(),
        (&task.queue).into(),
        (&task.name).into(),
        task.priority.into(),
        TaskStatus::Pending.as_str().into(),
        task.payload.clone().into(),
        task.available_at.into(),
        0i64.into(),
        task.lost_max.into(),
        task.lease_ms.into(),
        task.created_at.into(),
    ];
    each(lowered(Op::OpenTask, values));
    let Some(holder) = &task.holder else {
        let rank = task.priority.saturating_neg();
        let values = vec![commit.tenant.into(), (&task.queue).into(), rank.into(), task.id.into()];
        return each(lowered(Op::PutTaskReady, values));
    };
    let values = vec![
        commit.tenant.into(),
        task.id.into(),
        commit.run.into(),
        holder.token.into(),
        (&*holder.worker).into(),
        task.lease_ms.into(),
        Value::Instant(holder.until),
    ];
    each(lowered(Op::PutTaskLease, values));
}
