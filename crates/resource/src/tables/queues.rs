//! What runs wait in before they begin, and what bounds how many do.

use super::{LANE_ID, RUN_ID, TENANT, TableArea};
use crate::{Rows, Table, bytes, id, index, integer, number, refers, text, timestamp};

/// Queues of runs.
pub static AREA: TableArea = TableArea {
    name: "queues",
    doc: "What runs wait in before they begin, and what bounds how many begin.",
    tables: &[&RUN_BACKLOG, &RUN_QUEUE, &CONCURRENCY_SLOTS, &RATES, &RUN_ALLOWANCES],
};

/// A run that no server had room for.
pub static RUN_BACKLOG: Table = Table::of("run_backlog")
    .doc("A run that no server had room for: whoever has takes it. It is written with the run and goes when it is taken.")
    .columns(&[
        TENANT,
        RUN_ID,
        number("rank").required().doc("Its priority with the sign turned: one order of the index is that of the queue."),
        timestamp("queued_at").required().doc("When it began to wait."),
    ])
    .key(&["tenant_key", "run_id"])
    .indexes(&[index("run_backlog_next", &["tenant_key", "rank", "run_id"]).for_those_who_name("rank is not null")])
    .references(&[refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"])])
    .instants(&["queued_at"])
    .rows(Rows::InKey);

/// A run that waits for a place in its group.
pub static RUN_QUEUE: Table = Table::of("run_queue")
    .doc(
        "A run that waits for a place in its group, as `concurrency:` of its document bounds it. The commit that finds no \
         place writes it, the one that begins the run deletes it.",
    )
    .columns(&[
        TENANT,
        RUN_ID,
        LANE_ID,
        text("workflow").required().doc("The name of its workflow."),
        text("slot_key").required().doc("The group within the workflow; empty without one."),
        number("priority").required().doc("Higher goes first."),
        timestamp("queued_at").required().doc("When it began to wait."),
    ])
    .key(&["tenant_key", "run_id"])
    .indexes(&[index("run_queue_by_place", &["tenant_key", "workflow", "slot_key", "priority desc", "run_id"])
        .for_those_who_name("workflow is not null")])
    .references(&[
        refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"]),
        refers(&["lane_id"], "lanes", &["id"]),
    ])
    .rows(Rows::InKey);

/// A place that a run has in its group.
pub static CONCURRENCY_SLOTS: Table = Table::of("concurrency_slots")
    .doc("A place that a run has in its group. It is taken before the run begins and given back when it ends.")
    .columns(&[
        TENANT,
        text("workflow").required().doc("The name of its workflow."),
        text("slot_key").required().doc("The group within the workflow; empty without one."),
        RUN_ID,
        timestamp("taken_at").required().doc("When it was taken: one whose run never began is given back later."),
    ])
    .key(&["tenant_key", "workflow", "slot_key", "run_id"])
    .indexes(&[index("concurrency_slots_by_run", &["tenant_key", "run_id"]).for_those_who_name("run_id is not null")])
    .references(&[refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"])])
    .rows(Rows::InKey);

/// The last starts of steps with a rate.
pub static RATES: Table = Table::of("rates")
    .doc(
        "The last starts of steps with a `rate:`, which all servers share. Whoever takes permits writes it; it goes when its \
         last start has left the window.",
    )
    .columns(&[
        TENANT,
        text("name").required().doc("The rate's name."),
        bytes("starts").required().doc("Pairs of a time and how many started then."),
        timestamp("free_at").required().doc("When its last start leaves the window."),
    ])
    .key(&["tenant_key", "name"])
    .indexes(&[index("rates_by_end", &["free_at"])])
    .rows(Rows::InKey);

/// How many active runs of a tenant a server may have.
pub static RUN_ALLOWANCES: Table = Table::of("run_allowances")
    .doc(
        "How many active runs of a tenant with `max_concurrent_runs` a server may have, on PostgreSQL: together never more \
         than the quota, but for what runs already. A server takes what it needs, gives back what it does not use, and \
         loses it with its lease.",
    )
    .columns(&[
        TENANT,
        id("node_id").required().doc("The server."),
        integer("runs").required().doc("How many it may have, or has."),
        timestamp("gone_at").doc("When its server was first seen to be gone: it counts a moment longer, until others have its runs."),
    ])
    .key(&["tenant_key", "node_id"])
    .rows(Rows::InKey);
