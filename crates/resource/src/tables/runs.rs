//! Runs: what is known of each, its journal, and what belongs to it.

use super::{PATH, RUN_ID, TENANT, TableArea};
use crate::{
    Column, Rows, Shape, Table, boolean, bytes, enumeration, foreign_key, id, index, integer, json, number, refers,
    text, timestamp,
};

/// Runs.
pub static AREA: TableArea = TableArea {
    name: "runs",
    doc: "Runs and their journals. All that a run has goes with it, when retention or somebody deletes it.",
    tables: &[
        &RUNS,
        &JOURNAL,
        &JOURNAL_GARBAGE,
        &RUN_SNAPSHOTS,
        &RUN_LABELS,
        &IDEMPOTENCY_KEYS,
        &ACTIVE_STEPS,
        &BLOBS,
        &BLOB_REFS,
    ],
};

/// The number by which SQLite's journal names a run.
static RUN_KEY: Column = integer("run_key").doc("The run's number, by which its journal is found; never given twice.");
/// The number of a row of SQLite's journal.
static ENTRY_ID: Column = integer("id").doc("The row's number: rows are appended.");
/// The number of the run that a row of SQLite's journal belongs to.
static ENTRY_RUN_KEY: Column = integer("run_key").required().doc("The number of the run, `runs.run_key`.");

/// A run.
pub static RUNS: Table = Table::of("runs")
    .doc(
        "A run, as lists show it and recovery finds it. What it was given and what it gave is in its journal. The engine \
         writes it with each commit that changes its status; a final status never changes.",
    )
    .columns(&[
        TENANT,
        id("id").required().doc("Its id, a UUIDv7: it grows with the time at which the run was asked for."),
        number("lane_id").required().doc("Its lane: the lane's owner alone moves it."),
        text("workflow").required().doc("The name of its workflow."),
        number("version").doc("The workflow's version; none for a draft."),
        bytes("definition_hash").required().doc("The document it runs on."),
        enumeration(
            "status",
            &[
                "queued", "running", "waiting", "paused", "compensating", "completed", "failed", "compensated",
                "cancelled", "timed_out",
            ],
        )
        .required()
        .doc("Where it stands; the last five are final."),
        enumeration("undo_status", &["none", "done", "left", "off"])
            .doc("What became of its undo steps: there were none, all were taken, some are left, or undoing is off."),
        enumeration("mode", &["production", "test"]).required().doc("Whether it counts."),
        number("priority").required().doc("Higher goes first."),
        text("key").doc("The `key:` of the document, as it was for this input."),
        json("labels", Shape::Object).doc("The `labels:` of the document, as they were for this input."),
        json("started_by", Shape::Any).doc("Who or what started it."),
        id("parent_run_id").doc("The run that started it and waits for it."),
        text("parent_path").doc("The path in that run which waits."),
        id("origin_run_id").doc("The run that it was made from."),
        enumeration("origin_kind", &["fork", "rerun", "undo", "restart"]).doc("How it was made from that."),
        number("depth").required().doc("How many ancestors it has."),
        text("error_class").doc("The class of the error that it ended with, such as `timeout`."),
        text("error_code").doc("The code of that error."),
        text("error_message").doc("The message of that error, cut."),
        timestamp("created_at").required().doc("When it was asked for."),
        timestamp("started_at").doc("When it began."),
        timestamp("finished_at").doc("When it ended."),
        integer("journal_bytes").required().doc("The bytes of its journal's payloads, once it is over; 0 before."),
        id("trace_id").doc("The trace of others that it joined; none while its own id is its trace."),
    ])
    .key(&["tenant_key", "id"])
    .indexes(&[
        index("runs_by_workflow", &["tenant_key", "workflow", "id"]).for_those_who_name("workflow is not null"),
        index("runs_open", &["lane_id", "status", "tenant_key", "id"]).only(
            "status = 'queued' or status = 'running' or status = 'waiting' or status = 'paused' or status = 'compensating'",
        ),
        index("runs_by_trace", &["tenant_key", "trace_id", "id"]).only("trace_id is not null"),
        index("runs_by_parent", &["tenant_key", "parent_run_id", "id"]).only("parent_run_id is not null"),
        index("runs_ended_badly", &["tenant_key", "status", "id"]).only(ENDED_BADLY),
        index("runs_ended_badly_by_workflow", &["tenant_key", "workflow", "status", "id"]).only(ENDED_BADLY),
    ])
    .references(&[
        refers(&["tenant_key", "definition_hash"], "definitions", &["tenant_key", "hash"]),
        refers(&["lane_id"], "lanes", &["id"]),
        refers(&["tenant_key", "parent_run_id"], "runs", &["tenant_key", "id"]),
        refers(&["tenant_key", "origin_run_id"], "runs", &["tenant_key", "id"]),
    ])
    .rows(Rows::Numbered(&RUN_KEY))
    .fillfactor(80);

/// Final statuses that somebody may want to look at.
const ENDED_BADLY: &str = "status = 'failed' or status = 'compensated' or status = 'cancelled' or status = 'timed_out'";

/// An entry of a run's journal.
pub static JOURNAL: Table = Table::of("journal")
    .doc(
        "An entry of a run's journal: what happened, in order. The state of a run follows from it. Entries are appended by \
         the owner of the run's lane and never change; they are swept behind their run.",
    )
    .columns(&[
        TENANT,
        RUN_ID,
        integer("seq").required().doc("Its place in the run, from 1."),
        text("kind").required().doc("What happened: `started`, `step`, `attempt`, `signal`, `finished` and others."),
        boolean("opens").required().doc("Whether it opens a transition: what follows up to the next was written with it."),
        text("path").required().doc("The path of the step; empty for the run."),
        text("step").required().doc("The step's id in the document; empty for the run."),
        number("attempt").required().doc("Which attempt of the step, from 1; 0 where there is none."),
        timestamp("at").required().doc("When it happened."),
        bytes("payload").required().doc("The engine's own bytes."),
        integer("checksum").required().doc("XXH3 over this entry and the checksum of the one before it."),
    ])
    .key(&["tenant_key", "run_id", "seq"])
    .references(&[refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"])])
    .instants(&["at"])
    .rows(Rows::NumberedBy { number: &ENTRY_ID, left_out: &["tenant_key", "run_id"], by: &ENTRY_RUN_KEY })
    .partitioned("run_id", "journal_other");

/// A deleted run whose journal is still there.
pub static JOURNAL_GARBAGE: Table = Table::of("journal_garbage")
    .doc("A run that was deleted and whose journal is still to be swept. Retention writes and deletes it.")
    .columns(&[
        TENANT,
        RUN_ID,
        integer("run_key").required().doc("The number of its journal on SQLite; 0 on PostgreSQL."),
    ])
    .key(&["tenant_key", "run_id"])
    .rows(Rows::InKey);

/// A run's state at a place of its journal.
pub static RUN_SNAPSHOTS: Table = Table::of("run_snapshots")
    .doc("A run's state at one place of its journal, so that a long run is rebuilt from there. The engine replaces it.")
    .columns(&[
        TENANT,
        RUN_ID,
        integer("seq").required().doc("The last entry that it holds."),
        number("engine_version")
            .required()
            .doc("The version of the engine that can read it; another rebuilds from the start."),
        bytes("state").required().doc("The state: the engine's own bytes."),
        integer("checksum").required().doc("XXH3 of the state."),
    ])
    .key(&["tenant_key", "run_id"])
    .references(&[refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"])]);

/// What runs are found by.
pub static RUN_LABELS: Table = Table::of("run_labels")
    .doc("The key or a label of a run: what lists find it by. It is written and goes with its run.")
    .columns(&[
        TENANT,
        text("name").required().doc("`key`, or `label:` and the label's name."),
        text("value").required().doc("Its value."),
        RUN_ID,
    ])
    .key(&["tenant_key", "name", "value", "run_id"])
    .references(&[refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"])])
    .rows(Rows::InKey);

/// Which run was started under a key.
pub static IDEMPOTENCY_KEYS: Table = Table::of("idempotency_keys")
    .doc(
        "Under which idempotency key a run was started, so that the same request gives the same run. It is written with the \
         run and goes with it.",
    )
    .columns(&[
        TENANT,
        bytes("key_hash").required().doc("SHA-256 of the key that the caller gave."),
        bytes("body_hash").required().doc("SHA-256 of what was asked: another request under the same key is refused."),
        RUN_ID,
    ])
    .key(&["tenant_key", "key_hash"])
    .indexes(&[index("idempotency_keys_by_run", &["tenant_key", "run_id"]).for_those_who_name("run_id is not null")])
    .references(&[refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"])])
    .rows(Rows::InKey);

/// A step that is under way.
pub static ACTIVE_STEPS: Table = Table::of("active_steps")
    .doc("A step that is under way. The commit that begins it writes the row, the one that ends it deletes it.")
    .columns(&[
        TENANT,
        RUN_ID,
        PATH,
        text("step").required().doc("The step's id in the document."),
        number("attempt").required().doc("Which attempt, from 1."),
        timestamp("started_at").required().doc("When the attempt began."),
    ])
    .key(&["tenant_key", "run_id", "path"])
    .references(&[refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"])])
    .instants(&["started_at"])
    .rows(Rows::InKey);

/// A large value.
pub static BLOBS: Table = Table::of("blobs")
    .doc(
        "A value that is too large for a journal's entry, by its hash. A commit writes it with the entry that names it; one \
         that no run refers to goes an hour after it was last touched.",
    )
    .columns(&[
        TENANT,
        bytes("hash").required().doc("SHA-256 of the value."),
        bytes("bytes").required().doc("The value, compressed with zstd."),
        integer("raw_bytes").required().doc("How many bytes it has when it is unfolded."),
        timestamp("touched_at").required().doc("When a commit last carried it."),
    ])
    .key(&["tenant_key", "hash"]);

/// Which run needs which large value.
pub static BLOB_REFS: Table = Table::of("blob_refs")
    .doc("That a run's journal names a large value. It is written with the entry and goes with the run.")
    .columns(&[TENANT, RUN_ID, bytes("hash").required().doc("The value's hash.")])
    .key(&["tenant_key", "run_id", "hash"])
    .indexes(&[index("blob_refs_by_hash", &["tenant_key", "hash"]).for_those_who_name("hash is not null")])
    .references(&[
        foreign_key(&["tenant_key", "hash"], "blobs", &["tenant_key", "hash"]),
        refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"]),
    ])
    .rows(Rows::InKey);
