//! The statements of commits as data: which table, which columns, in which order they are sent, and the texts that both
//! databases are given for them.
//!
//! Each operation is written down once; SQLite's form takes one row at a time, PostgreSQL's takes a whole batch as one
//! array per column. Invariant: the order of [`Op`] is the order of execution within a batch, so what opens a row
//! comes before what changes or deletes it.

use crate::{database::Value, run_row};

/// One statement of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(usize)]
pub(crate) enum Op {
    // Before the run: who claims from the backlog locks its row first, too.
    DeleteBacklog,
    InsertRun,
    PutRunLabel,
    UpdateRun,
    DeleteTimer,
    InsertTimer,
    PutBlob,
    PutBlobRef,
    OpenTask,
    PutTaskReady,
    PutTaskLease,
    // Before the task, which says where it stands.
    DeleteTaskReady,
    DeleteTask,
    DeleteTaskLease,
    PutTaskAnswer,
    OpenApproval,
    UpdateApproval,
    PutInbox,
    DeleteInbox,
    DeleteActiveStep,
    PutActiveStep,
    DeleteEventWait,
    PutEventWait,
    PutSnapshot,
    DeleteQueued,
    PutQueued,
    PutBacklog,
    PutAudit,
    PutUnsealed,
}

/// What a statement does, from which both dialects' texts are made.
enum Shape {
    Insert {
        columns: &'static [(&'static str, &'static str)],
        tail: &'static str,
    },
    Delete {
        keys: &'static [(&'static str, &'static str)],
    },
    /// The rows of another table that the rows with these keys name.
    DeleteNamed {
        keys: &'static [(&'static str, &'static str)],
        from: &'static str,
        columns: &'static str,
        named: &'static str,
    },
    Update {
        keys: &'static [(&'static str, &'static str)],
        sets: &'static [(&'static str, &'static str, &'static str)],
    },
}

/// A statement and its table.
pub(crate) struct Form {
    pub op: Op,
    table: &'static str,
    shape: Shape,
}

const KEY: (&str, &str) = ("tenant_key", "integer");
const RUN: (&str, &str) = ("run_id", "uuid");
const PATH: (&str, &str) = ("path", "text");
const ID: (&str, &str) = ("id", "uuid");
const LANE: (&str, &str) = ("lane_id", "integer");

/// `set column = given`, with `coalesce` where null means "leave it".
const KEEP: &str = "coalesce";
const SET: &str = "";

pub(crate) static FORMS: &[Form] = &[
    Form { op: Op::DeleteBacklog, table: "run_backlog", shape: Shape::Delete { keys: &[KEY, RUN] } },
    Form { op: Op::InsertRun, table: "runs", shape: Shape::Insert { columns: run_row::COLUMNS, tail: "" } },
    Form {
        op: Op::PutRunLabel,
        table: "run_labels",
        shape: Shape::Insert { columns: &[KEY, ("name", "text"), ("value", "text"), RUN], tail: "" },
    },
    Form {
        op: Op::UpdateRun,
        table: "runs",
        shape: Shape::Update {
            keys: &[KEY, ID],
            sets: &[
                ("status", "text", KEEP),
                ("undo_status", "text", KEEP),
                ("error_class", "text", KEEP),
                ("error_code", "text", KEEP),
                ("error_message", "text", KEEP),
                ("started_at", "timestamptz", KEEP),
                ("finished_at", "timestamptz", KEEP),
                ("journal_bytes", "bigint", KEEP),
            ],
        },
    },
    Form {
        op: Op::DeleteTimer,
        table: "timers",
        shape: Shape::Delete { keys: &[LANE, ("due_at", "timestamptz"), RUN] },
    },
    Form {
        op: Op::InsertTimer,
        table: "timers",
        shape: Shape::Insert {
            columns: &[LANE, ("due_at", "timestamptz"), RUN, KEY],
            tail: "on conflict (lane_id, due_at, run_id) do nothing",
        },
    },
    Form {
        op: Op::PutBlob,
        table: "blobs",
        // Touching the row makes the collector of unreferenced blobs look again, or wait for us.
        shape: Shape::Insert {
            columns: &[
                KEY,
                ("hash", "bytea"),
                ("bytes", "bytea"),
                ("raw_bytes", "bigint"),
                ("touched_at", "timestamptz"),
            ],
            tail: "on conflict (tenant_key, hash) do update set touched_at = excluded.touched_at",
        },
    },
    Form {
        op: Op::PutBlobRef,
        table: "blob_refs",
        shape: Shape::Insert { columns: &[KEY, RUN, ("hash", "bytea")], tail: "on conflict do nothing" },
    },
    Form {
        op: Op::OpenTask,
        table: "tasks",
        shape: Shape::Insert {
            columns: &[
                KEY,
                ID,
                LANE,
                RUN,
                PATH,
                ("attempt", "integer"),
                ("queue", "text"),
                ("name", "text"),
                ("prio", "integer"),
                ("status", "text"),
                ("payload", "bytea"),
                ("available_at", "timestamptz"),
                ("lost", "integer"),
                ("lost_max", "integer"),
                ("lease_ms", "bigint"),
                ("created_at", "timestamptz"),
            ],
            tail: "",
        },
    },
    Form {
        op: Op::PutTaskReady,
        table: "task_ready",
        shape: Shape::Insert { columns: &[KEY, ("queue", "text"), ("rank", "integer"), ("task_id", "uuid")], tail: "" },
    },
    Form {
        op: Op::PutTaskLease,
        table: "task_leases",
        shape: Shape::Insert {
            columns: &[
                KEY,
                ("task_id", "uuid"),
                RUN,
                ("claim_token", "uuid"),
                ("worker", "text"),
                ("lease_ms", "bigint"),
                ("lease_until", "timestamptz"),
            ],
            tail: "",
        },
    },
    Form {
        op: Op::DeleteTaskReady,
        table: "task_ready",
        shape: Shape::DeleteNamed {
            keys: &[KEY, ID],
            from: "tasks",
            columns: "tenant_key, queue, rank, task_id",
            named: "f.tenant_key, f.queue, -f.prio, f.id",
        },
    },
    Form { op: Op::DeleteTask, table: "tasks", shape: Shape::Delete { keys: &[KEY, ID] } },
    Form { op: Op::DeleteTaskLease, table: "task_leases", shape: Shape::Delete { keys: &[KEY, ("task_id", "uuid")] } },
    Form {
        op: Op::PutTaskAnswer,
        table: "task_answers",
        shape: Shape::Insert {
            columns: &[KEY, ("task_id", "uuid"), RUN, ("token", "uuid"), ("hash", "bytea")],
            tail: "on conflict do nothing",
        },
    },
    Form {
        op: Op::OpenApproval,
        table: "approvals",
        shape: Shape::Insert {
            columns: &[
                KEY,
                ID,
                LANE,
                RUN,
                PATH,
                ("title", "text"),
                ("detail", "jsonb"),
                ("status", "text"),
                ("responses", "jsonb"),
                ("created_at", "timestamptz"),
                ("expires_at", "timestamptz"),
            ],
            tail: "",
        },
    },
    Form {
        op: Op::UpdateApproval,
        table: "approvals",
        shape: Shape::Update {
            keys: &[KEY, ID],
            sets: &[("status", "text", SET), ("responses", "jsonb", KEEP), ("decided_at", "timestamptz", KEEP)],
        },
    },
    Form {
        op: Op::PutInbox,
        table: "inbox",
        shape: Shape::Insert {
            columns: &[
                LANE,
                ID,
                KEY,
                RUN,
                ("kind", "text"),
                ("dedup", "text"),
                ("payload", "bytea"),
                ("created_at", "timestamptz"),
            ],
            tail: "on conflict (tenant_key, run_id, kind, dedup) do nothing",
        },
    },
    Form { op: Op::DeleteInbox, table: "inbox", shape: Shape::Delete { keys: &[LANE, ID] } },
    Form { op: Op::DeleteActiveStep, table: "active_steps", shape: Shape::Delete { keys: &[KEY, RUN, PATH] } },
    Form {
        op: Op::PutActiveStep,
        table: "active_steps",
        shape: Shape::Insert {
            columns: &[KEY, RUN, PATH, ("step", "text"), ("attempt", "integer"), ("started_at", "timestamptz")],
            tail: "on conflict (tenant_key, run_id, path) do update \
                   set attempt = excluded.attempt, started_at = excluded.started_at",
        },
    },
    Form { op: Op::DeleteEventWait, table: "event_waits", shape: Shape::Delete { keys: &[KEY, RUN, PATH] } },
    Form {
        op: Op::PutEventWait,
        table: "event_waits",
        shape: Shape::Insert {
            columns: &[KEY, RUN, PATH, LANE, ("type", "text"), ("subject", "text"), ("since", "timestamptz")],
            tail: "on conflict (tenant_key, run_id, path) do update \
                   set type = excluded.type, subject = excluded.subject, since = excluded.since",
        },
    },
    Form {
        op: Op::PutSnapshot,
        table: "run_snapshots",
        shape: Shape::Insert {
            columns: &[
                KEY,
                RUN,
                ("seq", "bigint"),
                ("engine_version", "integer"),
                ("state", "bytea"),
                ("checksum", "bigint"),
            ],
            tail: "on conflict (tenant_key, run_id) do update set seq = excluded.seq, \
                   engine_version = excluded.engine_version, state = excluded.state, checksum = excluded.checksum",
        },
    },
    Form { op: Op::DeleteQueued, table: "run_queue", shape: Shape::Delete { keys: &[KEY, RUN] } },
    Form {
        op: Op::PutQueued,
        table: "run_queue",
        shape: Shape::Insert {
            columns: &[
                KEY,
                RUN,
                LANE,
                ("workflow", "text"),
                ("slot_key", "text"),
                ("priority", "integer"),
                ("queued_at", "timestamptz"),
            ],
            tail: "on conflict (tenant_key, run_id) do update set priority = excluded.priority",
        },
    },
    Form {
        op: Op::PutBacklog,
        table: "run_backlog",
        shape: Shape::Insert {
            columns: &[KEY, RUN, ("rank", "integer"), ("queued_at", "timestamptz")],
            tail: "on conflict (tenant_key, run_id) do nothing",
        },
    },
    Form {
        op: Op::PutAudit,
        table: "audit_entries",
        shape: Shape::Insert { columns: crate::audit::ENTRY_COLUMNS, tail: "" },
    },
    Form {
        op: Op::PutUnsealed,
        table: "audit_unsealed",
        shape: Shape::Insert { columns: &[KEY, ("entry_id", "uuid")], tail: "" },
    },
];

/// Filters a batch of keyed starts to those that won their key.
const WINNERS: &str = " where exists (select 1 from idempotency_keys k \
                       where k.tenant_key = u.tenant_key and k.run_id = u.run)";

impl Form {
    /// SQLite's text: one row at a time, `?n`. The row of a run carries its integer key first.
    pub(crate) fn sqlite(&self) -> String {
        let holes = |from: usize, count: usize| (from..from + count).map(|n| format!("?{n}")).collect::<Vec<_>>();
        match &self.shape {
            Shape::Insert { columns, tail } => {
                let extra = if self.op == Op::InsertRun { ", run_key" } else { "" };
                let values = holes(1, columns.len() + usize::from(!extra.is_empty())).join(", ");
                format!("insert into {} ({}{extra}) values ({values}) {tail}", self.table, names(columns))
            }
            Shape::Delete { keys } => {
                let keys = keys.iter().zip(holes(1, keys.len())).map(|((name, _), hole)| format!("{name} = {hole}"));
                format!("delete from {} where {}", self.table, keys.collect::<Vec<_>>().join(" and "))
            }
            Shape::DeleteNamed { keys, from, columns, named } => {
                let keys = keys.iter().zip(holes(1, keys.len())).map(|((name, _), hole)| format!("f.{name} = {hole}"));
                let keys = keys.collect::<Vec<_>>().join(" and ");
                format!("delete from {} where ({columns}) in (select {named} from {from} f where {keys})", self.table)
            }
            Shape::Update { keys, sets } => {
                let assign = sets.iter().zip(holes(keys.len() + 1, sets.len()));
                let assign = assign.map(|((name, _, how), hole)| format!("{name} = {}", given(name, how, &hole)));
                let found = keys.iter().zip(holes(1, keys.len())).map(|((name, _), hole)| format!("{name} = {hole}"));
                format!(
                    "update {} as t set {} where {}",
                    self.table,
                    assign.collect::<Vec<_>>().join(", "),
                    found.collect::<Vec<_>>().join(" and ")
                )
            }
        }
    }

    /// PostgreSQL's text: one array per column. `keyed` leaves out the rows of starts that lost their key.
    pub(crate) fn postgres(&self, keyed: Keyed) -> String {
        match &self.shape {
            Shape::Insert { columns, tail } => {
                let run = if self.op == Op::InsertRun { "id" } else { "run_id" };
                let has_run = columns.iter().any(|(name, _)| *name == run);
                let filter = if keyed == Keyed::Winners && has_run {
                    WINNERS.replace("u.run)", &format!("u.{run})"))
                } else {
                    String::new()
                };
                let names = names(columns);
                format!(
                    "insert into {} ({names}) select {names} from unnest({}) as u({names}){filter} {tail}",
                    self.table,
                    arrays(columns.iter().map(|(_, kind)| *kind))
                )
            }
            Shape::Delete { keys } => {
                let found = keys.iter().map(|(name, _)| format!("t.{name} = u.{name}")).collect::<Vec<_>>();
                format!(
                    "delete from {} t using unnest({}) as u({}) where {}",
                    self.table,
                    arrays(keys.iter().map(|(_, kind)| *kind)),
                    names(keys),
                    found.join(" and ")
                )
            }
            Shape::DeleteNamed { keys, from, columns, named } => {
                let found = keys.iter().map(|(name, _)| format!("f.{name} = u.{name}")).collect::<Vec<_>>();
                format!(
                    "delete from {} t using unnest({}) as u({}) join {from} f on {} where {}",
                    self.table,
                    arrays(keys.iter().map(|(_, kind)| *kind)),
                    names(keys),
                    found.join(" and "),
                    pairs(columns, named)
                )
            }
            Shape::Update { keys, sets } => {
                let kinds = keys.iter().map(|(_, kind)| *kind).chain(sets.iter().map(|(_, kind, _)| *kind));
                let columns = keys.iter().map(|(name, _)| *name).chain(sets.iter().map(|(name, _, _)| *name));
                let assign =
                    sets.iter().map(|(name, _, how)| format!("{name} = {}", given(name, how, &format!("u.{name}"))));
                let found = keys.iter().map(|(name, _)| format!("t.{name} = u.{name}")).collect::<Vec<_>>();
                let update = format!(
                    "update {} t set {} from unnest({}) as u({}) where {}",
                    self.table,
                    assign.collect::<Vec<_>>().join(", "),
                    arrays(kinds),
                    columns.collect::<Vec<_>>().join(", "),
                    found.join(" and ")
                );
                if self.op != Op::UpdateRun {
                    return update;
                }
                format!("with changed as ({update} returning 1) {}", expect("cardinality($1::integer[])"))
            }
        }
    }

    /// PostgreSQL's text for a batch with a single row: one value per column. On an idle server most batches are of one
    /// run, and reading a table out of arrays takes longer than the rest of the statement.
    fn postgres_one(&self) -> String {
        let hole = |at: usize, kind: &str| format!("${}::{kind}", at + 1);
        let bound = |table: &str, keys: &[(&str, &str)]| {
            let bound =
                keys.iter().enumerate().map(|(at, (name, kind))| format!("{table}.{name} = {}", hole(at, kind)));
            bound.collect::<Vec<_>>().join(" and ")
        };
        let table = self.table;
        match &self.shape {
            Shape::Insert { columns, tail } => {
                let given = columns.iter().enumerate().map(|(at, (_, kind))| hole(at, kind)).collect::<Vec<_>>();
                format!("insert into {table} ({}) values ({}) {tail}", names(columns), given.join(", "))
            }
            Shape::Delete { keys } => format!("delete from {table} t where {}", bound("t", keys)),
            Shape::DeleteNamed { keys, from, columns, named } => {
                let (pairs, keys) = (pairs(columns, named), bound("f", keys));
                format!("delete from {table} t using {from} f where {keys} and {pairs}")
            }
            Shape::Update { keys, sets } => {
                let assign = sets.iter().enumerate().map(|(at, (name, kind, how))| {
                    format!("{name} = {}", given(name, how, &hole(keys.len() + at, kind)))
                });
                let assign = assign.collect::<Vec<_>>().join(", ");
                format!("update {table} t set {assign} where {}", bound("t", keys))
            }
        }
    }

    /// How many parameters PostgreSQL's text has.
    fn params(&self) -> usize {
        match &self.shape {
            Shape::Insert { columns, .. } => columns.len(),
            Shape::Delete { keys } | Shape::DeleteNamed { keys, .. } => keys.len(),
            Shape::Update { keys, sets } => keys.len() + sets.len(),
        }
    }
}

/// Refuses unless every run that was to change did.
fn expect(wanted: &str) -> String {
    format!("select windlass_expect((select count(*) from changed), {wanted}, 'runs')")
}

/// Statements whose rows are never one another's within a batch, so that their order means nothing; tasks that are
/// offered and closed in one batch are looked for by whoever asks.
pub(crate) fn any_order(op: Op) -> bool {
    use Op::{
        DeleteActiveStep, DeleteTask, DeleteTaskLease, DeleteTaskReady, DeleteTimer, InsertRun, InsertTimer, OpenTask,
        PutActiveStep, PutRunLabel, PutTaskAnswer, PutTaskLease, PutTaskReady, UpdateRun,
    };
    matches!(
        op,
        InsertRun
            | PutRunLabel
            | UpdateRun
            | DeleteTimer
            | InsertTimer
            | OpenTask
            | PutTaskReady
            | PutTaskLease
            | DeleteTaskReady
            | PutTaskAnswer
            | DeleteTask
            | DeleteTaskLease
            | DeleteActiveStep
            | PutActiveStep
    )
}

/// How the rows of a batch are given to its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Rows {
    /// As arrays, one per column.
    Many,
    /// Each operation has one row, and its values are given one by one.
    One,
}

/// A whole batch as one statement: the fence (its text has three parameters), these operations, and the journal's
/// rows. One statement is one message each way, one snapshot, and a transaction by itself.
pub(crate) fn together(fence: &str, ops: impl Iterator<Item = Op>, journal: Option<&str>, rows: Rows) -> String {
    let mut text = format!("with fence as materialized ({fence})");
    let (mut from, mut given) = ("fence".to_owned(), 3);
    for op in ops {
        let form = &FORMS[op as usize];
        let (own, wanted) = match rows {
            Rows::Many => (form.postgres(Keyed::All), format!("cardinality(${}::integer[])", given + 1)),
            Rows::One => (form.postgres_one(), "1".to_owned()),
        };
        let own = shift(&own, given);
        if op == Op::UpdateRun {
            let update = own.trim_start_matches("with changed as (").split(" returning 1").next().unwrap_or_default();
            text.push_str(&format!(
                ", changed as ({update} returning 1), expected as materialized ({})",
                expect(&wanted)
            ));
            from.push_str(", expected");
        } else {
            text.push_str(&format!(", op_{} as ({own})", op as usize));
        }
        given += form.params();
    }
    match journal {
        Some(journal) => text.push_str(&format!(" {}, {from}", shift(journal, given))),
        None => text.push_str(&format!(" select 1 from {from}")),
    }
    text
}

/// The same text with its parameters numbered from behind the first `given`.
fn shift(sql: &str, given: usize) -> String {
    let mut parts = sql.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|char: char| char.is_ascii_digit()).len();
        let number: usize = part[..digits].parse().unwrap_or(0);
        text.push_str(&format!("${}{}", number + given, &part[digits..]));
    }
    text
}

/// Whether a batch holds starts that may lose their idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyed {
    /// It does: only the winners' rows are written.
    Winners,
    /// It does not.
    All,
}

/// Each of these columns of `t` is what it is named by.
fn pairs(columns: &str, named: &str) -> String {
    let pairs = columns.split(", ").zip(named.split(", "));
    pairs.map(|(column, named)| format!("t.{column} = {named}")).collect::<Vec<_>>().join(" and ")
}

fn names(columns: &[(&str, &str)]) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn arrays<'a>(kinds: impl Iterator<Item = &'a str>) -> String {
    kinds.enumerate().map(|(at, kind)| format!("${}::{kind}[]", at + 1)).collect::<Vec<_>>().join(", ")
}

fn given(name: &str, how: &str, value: &str) -> String {
    match how {
        "" => value.to_owned(),
        "coalesce" => format!("coalesce({value}, t.{name})"),
        template => template.replace("{}", value),
    }
}

/// Folds a change of a run into the row that starts it in the same batch.
pub(crate) fn fold_update(row: &mut [Value], update: Vec<Value>) {
    let (Shape::Insert { columns, .. }, Shape::Update { keys, sets }) =
        (&FORMS[Op::InsertRun as usize].shape, &FORMS[Op::UpdateRun as usize].shape)
    else {
        return;
    };
    for ((name, ..), value) in sets.iter().zip(update.into_iter().skip(keys.len())) {
        let place = columns.iter().position(|(column, _)| column == name);
        if let (Some(place), false) = (place, value == Value::Null) {
            row[place] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_stand_in_the_order_of_their_ops() {
        for (at, form) in FORMS.iter().enumerate() {
            assert_eq!(form.op as usize, at);
        }
    }

    #[test]
    fn a_batch_as_one_statement() {
        let text = together(
            "select f($1, $2, $3)",
            [Op::DeleteTimer, Op::DeleteTask].into_iter(),
            Some("j($1, $2)"),
            Rows::Many,
        );
        let (timer, task) = (Op::DeleteTimer as usize, Op::DeleteTask as usize);
        let expected = format!(
            "with fence as materialized (select f($1, $2, $3)), \
             op_{timer} as (delete from timers t using unnest($4::integer[], $5::timestamptz[], $6::uuid[]) \
             as u(lane_id, due_at, run_id) \
             where t.lane_id = u.lane_id and t.due_at = u.due_at and t.run_id = u.run_id), \
             op_{task} as (delete from tasks t using unnest($7::integer[], $8::uuid[]) as u(tenant_key, id) \
             where t.tenant_key = u.tenant_key and t.id = u.id) j($9, $10), fence"
        );
        assert_eq!(text, expected);
        let text = together("f($1, $2, $3)", [Op::UpdateRun].into_iter(), None, Rows::Many);
        assert!(text.contains(", changed as (update runs t set status = coalesce(u.status, t.status)"), "{text}");
        assert!(text.ends_with("cardinality($4::integer[]), 'runs')) select 1 from fence, expected"), "{text}");
    }

    #[test]
    fn a_batch_of_one_row_as_one_statement() {
        let ops = [Op::UpdateApproval, Op::DeleteTaskReady, Op::DeleteTaskLease];
        let text = together("f($1, $2, $3)", ops.into_iter(), Some("j($1)"), Rows::One);
        let [approval, ready, lease] = ops.map(|op| op as usize);
        let expected = format!(
            "with fence as materialized (f($1, $2, $3)), \
             op_{approval} as (update approvals t set status = $6::text, responses = coalesce($7::jsonb, t.responses), \
             decided_at = coalesce($8::timestamptz, t.decided_at) where t.tenant_key = $4::integer and t.id = $5::uuid), \
             op_{ready} as (delete from task_ready t using tasks f where f.tenant_key = $9::integer and f.id = $10::uuid \
             and t.tenant_key = f.tenant_key and t.queue = f.queue and t.rank = -f.prio and t.task_id = f.id), \
             op_{lease} as (delete from task_leases t where t.tenant_key = $11::integer and t.task_id = $12::uuid) \
             j($13), fence"
        );
        assert_eq!(text, expected);
        let text = together("f($1, $2, $3)", [Op::UpdateRun].into_iter(), None, Rows::One);
        assert!(text.contains(", changed as (update runs t set status = coalesce($6::text, t.status)"), "{text}");
        assert!(text.ends_with("(select count(*) from changed), 1, 'runs')) select 1 from fence, expected"), "{text}");
    }

    #[test]
    fn texts_of_deletes() {
        let form = &FORMS[Op::DeleteInbox as usize];
        assert_eq!(form.sqlite(), "delete from inbox where lane_id = ?1 and id = ?2");
        assert_eq!(
            form.postgres(Keyed::All),
            "delete from inbox t using unnest($1::integer[], $2::uuid[]) as u(lane_id, id) \
             where t.lane_id = u.lane_id and t.id = u.id"
        );
        let form = &FORMS[Op::DeleteTaskReady as usize];
        assert_eq!(
            form.sqlite(),
            "delete from task_ready where (tenant_key, queue, rank, task_id) in \
             (select f.tenant_key, f.queue, -f.prio, f.id from tasks f where f.tenant_key = ?1 and f.id = ?2)"
        );
        assert_eq!(
            form.postgres(Keyed::All),
            "delete from task_ready t using unnest($1::integer[], $2::uuid[]) as u(tenant_key, id) \
             join tasks f on f.tenant_key = u.tenant_key and f.id = u.id where t.tenant_key = f.tenant_key \
             and t.queue = f.queue and t.rank = -f.prio and t.task_id = f.id"
        );
    }
}
