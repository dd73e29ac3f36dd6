//! The row of a run: its columns, how it is written and how it is read.
//!
//! Invariant: [`COLUMNS`], [`values`] and [`read`] have the same order.

use windlass_engine::{status::RunStatus, trace::TraceId};

use crate::{
    LaneId, OriginKind, RunError, RunMode, RunRow, StoreError, UndoStatus,
    committer::commit::{NewRun, RunCommit, RunUpdate},
    database::{Row, Value},
    runs::word,
};

macro_rules! columns {
    ($first:ident: $kind:ident, $($name:ident: $other:ident,)*) => {
        /// The columns with their types on PostgreSQL.
        pub(crate) const COLUMNS: &[(&str, &str)] =
            &[(stringify!($first), stringify!($kind)), $((stringify!($name), stringify!($other)),)*];
        /// Their names, as a `select` lists them.
        pub(crate) const NAMES: &str = concat!(stringify!($first), $(", ", stringify!($name),)*);
    };
}

columns! {
    tenant_key: integer,
    id: uuid,
    lane_id: integer,
    workflow: text,
    version: integer,
    definition_hash: bytea,
    status: text,
    undo_status: text,
    mode: text,
    priority: integer,
    key: text,
    labels: jsonb,
    started_by: jsonb,
    parent_run_id: uuid,
    parent_path: text,
    origin_run_id: uuid,
    origin_kind: text,
    depth: integer,
    error_class: text,
    error_code: text,
    error_message: text,
    created_at: timestamptz,
    started_at: timestamptz,
    finished_at: timestamptz,
    journal_bytes: bigint,
    trace_id: uuid,
}

/// The values of these columns for a run that starts to exist.
pub(crate) fn values(commit: &RunCommit, run: &NewRun, journal_bytes: i64) -> Vec<Value> {
    let error = run.error.as_ref();
    vec![
        commit.tenant.into(),
        commit.run.into(),
        commit.lane.0.into(),
        (&run.workflow).into(),
        run.version.into(),
        run.definition_hash.into(),
        run.status.as_str().into(),
        run.undo_status.map(crate::UndoStatus::as_str).into(),
        run.mode.as_str().into(),
        run.priority.into(),
        run.key.as_ref().into(),
        run.labels.as_ref().map_or(Value::Null, Value::json),
        run.started_by.as_ref().map_or(Value::Null, Value::json),
        run.parent.as_ref().map(|(run, _)| *run).into(),
        run.parent.as_ref().map(|(_, path)| path).into(),
        run.origin.map(|(run, _)| run).into(),
        run.origin.map(|(_, kind)| kind.as_str()).into(),
        run.depth.into(),
        error.map(|error| &error.class).into(),
        error.map(|error| &error.code).into(),
        error.map(|error| cut(&error.message)).into(),
        run.created_at.into(),
        run.started_at.into(),
        run.finished_at.into(),
        journal_bytes.into(),
        run.trace.map(TraceId::uuid).into(),
    ]
}

/// The values of a change: its keys, then what [`Op::UpdateRun`](crate::committer::forms::Op) sets.
pub(crate) fn update_values(commit: &RunCommit, update: &RunUpdate, journal_bytes: Option<i64>) -> Vec<Value> {
    let error = update.error.as_ref();
    vec![
        commit.tenant.into(),
        commit.run.into(),
        update.status.map(windlass_engine::status::RunStatus::as_str).into(),
        update.undo_status.map(crate::UndoStatus::as_str).into(),
        error.map(|error| &error.class).into(),
        error.map(|error| &error.code).into(),
        error.map(|error| cut(&error.message)).into(),
        update.started_at.into(),
        update.finished_at.into(),
        journal_bytes.into(),
    ]
}

/// Lists show the message; the journal has the whole of it.
fn cut(message: &str) -> &str {
    message.char_indices().nth(2_000).map_or(message, |(at, _)| &message[..at])
}

/// Reads a row that has these columns, in this order.
pub(crate) fn read(row: &Row) -> Result<RunRow, StoreError> {
    let parent = row.opt(13, Row::id)?;
    let origin = row.opt(15, Row::id)?;
    let error = match row.opt(18, Row::string)? {
        None => None,
        Some(class) => Some(RunError {
            class,
            code: row.opt(19, Row::string)?.unwrap_or_default(),
            message: row.opt(20, Row::string)?.unwrap_or_default(),
        }),
    };
    Ok(RunRow {
        tenant: row.tenant(0)?,
        id: row.id(1)?,
        lane: LaneId(row.int32(2)?),
        workflow: row.string(3)?,
        version: row.opt(4, Row::int32)?,
        definition_hash: row.hash(5)?,
        status: word(row, 6, RunStatus::parse)?,
        undo_status: row.opt(7, |row, column| word(row, column, UndoStatus::parse))?,
        mode: word(row, 8, RunMode::parse)?,
        priority: row.int32(9)?,
        key: row.opt(10, Row::string)?,
        labels: row.opt(11, Row::json)?,
        started_by: row.opt(12, Row::json)?,
        parent: parent
            .map(|run| Ok::<_, StoreError>((run, row.opt(14, Row::string)?.unwrap_or_default())))
            .transpose()?,
        origin: origin.map(|run| Ok::<_, StoreError>((run, word(row, 16, OriginKind::parse)?))).transpose()?,
        depth: row.int32(17)?,
        error,
        created_at: row.time(21)?,
        started_at: row.opt(22, Row::time)?,
        finished_at: row.opt(23, Row::time)?,
        journal_bytes: row.int(24)?,
        trace: row.opt(25, Row::uuid)?.map(TraceId::from),
    })
}
