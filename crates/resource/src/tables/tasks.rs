//! Tasks: work for workers outside, who holds it, and what came of it.

use super::{LANE_ID, PATH, RUN_ID, TENANT, TableArea};
use crate::{Column, Rows, Table, bytes, enumeration, id, index, integer, number, refers, text, timestamp};

/// Tasks.
pub static AREA: TableArea = TableArea {
    name: "tasks",
    doc: "Work for workers outside: what is offered, what is held, and what was answered.",
    tables: &[&TASKS, &TASK_READY, &TASK_LEASES, &TASK_ANSWERS],
};

const TASK_ID: Column = id("task_id").required().doc("The task.");

/// A task.
pub static TASKS: Table = Table::of("tasks")
    .doc(
        "A task that a step offers to workers. The step's commit writes it, or, where a worker gets it at once, a later one if it \
         lasts. The worker's answer ends it, and the commit that takes the answer deletes it.",
    )
    .columns(&[
        TENANT,
        id("id").required().doc("Its id; ids grow with time."),
        LANE_ID,
        RUN_ID,
        PATH,
        number("attempt").required().doc("Which attempt of the step, from 1."),
        text("queue").required().doc("Where workers find it."),
        text("name").required().doc("What kind of work it is."),
        number("prio").required().doc("Higher goes first."),
        enumeration("status", &["pending", "claimed", "completed", "failed"])
            .required()
            .doc("`pending` while it is open, held or not: the lease says so. `claimed` is not written any more."),
        bytes("payload").required().doc("What the worker gets: the engine's own bytes."),
        timestamp("available_at").required().doc("Nobody gets it before then."),
        number("lost").required().doc("How many of its leases ran out."),
        number("lost_max").required().doc("So many fail it."),
        integer("lease_ms").required().doc("How long a claim holds without a heartbeat, in milliseconds."),
        bytes("output").doc("The output or the error that the worker gave: the engine's own bytes."),
        timestamp("created_at").required().doc("When it was offered."),
        timestamp("finished_at").doc("When its worker ended it; its run takes the result after that."),
    ])
    .key(&["tenant_key", "id"])
    .indexes(&[
        index("tasks_ended", &["lane_id", "id"]).only("finished_at is not null"),
        index("tasks_by_run", &["tenant_key", "run_id", "id"]).for_those_who_name("run_id is not null"),
    ])
    .references(&[
        refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"]),
        refers(&["lane_id"], "lanes", &["id"]),
    ])
    .fillfactor(80);

/// A task that may be claimed.
pub static TASK_READY: Table = Table::of("task_ready")
    .doc(
        "A task that may be claimed. A claim moves it from here to the leases, a lost or returned lease moves it back.",
    )
    .columns(&[
        TENANT,
        text("queue").required().doc("Where workers find it."),
        number("rank").required().doc("Its priority with the sign turned: one order of the key is that of the queue."),
        TASK_ID,
    ])
    .key(&["tenant_key", "queue", "rank", "task_id"])
    .references(&[refers(&["tenant_key", "task_id"], "tasks", &["tenant_key", "id"])])
    .rows(Rows::InKey);

/// Who holds a task.
pub static TASK_LEASES: Table = Table::of("task_leases")
    .doc(
        "Who holds a task, apart from the task so that a heartbeat rewrites a narrow row and no index. A claim writes it; it \
         goes with the answer, or when nobody renewed it.",
    )
    .columns(&[
        TENANT,
        TASK_ID,
        RUN_ID,
        id("claim_token").required().doc("Names this claim: heartbeats and the result need it."),
        text("worker").required().doc("The name that it was claimed under."),
        integer("lease_ms").required().doc("How long it holds without a heartbeat, in milliseconds."),
        timestamp("lease_until").required().doc("Until when it holds."),
    ])
    .key(&["tenant_key", "task_id"])
    .references(&[
        refers(&["tenant_key", "task_id"], "tasks", &["tenant_key", "id"]),
        refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"]),
    ])
    .instants(&["lease_until"])
    .rows(Rows::InKey)
    .fillfactor(50);

/// What a worker answered.
pub static TASK_ANSWERS: Table = Table::of("task_answers")
    .doc("What a worker answered, so that the same answer given again is known: the task itself is gone then. It goes with its run.")
    .columns(&[
        TENANT,
        id("task_id").required().doc("The task, which is there no more."),
        RUN_ID,
        id("token").required().doc("The token of the claim that it was answered under."),
        bytes("hash").required().doc("SHA-256 of the answer."),
    ])
    .key(&["tenant_key", "task_id"])
    .indexes(&[index("task_answers_by_run", &["tenant_key", "run_id"]).for_those_who_name("run_id is not null")])
    .references(&[refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"])])
    .rows(Rows::InKey);
