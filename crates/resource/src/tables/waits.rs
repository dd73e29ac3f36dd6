//! What runs wait for: times, messages, people, events.

use super::{LANE_ID, PATH, RUN_ID, TENANT, TableArea};
use crate::{Rows, Shape, Table, bytes, enumeration, id, index, json, refers, text, timestamp, unique_key};

/// What runs wait for.
pub static AREA: TableArea = TableArea {
    name: "waits",
    doc: "What runs wait for: times, messages, decisions of people, events.",
    tables: &[&TIMERS, &INBOX, &APPROVALS, &EVENTS, &EVENT_WAITS],
};

/// When a run has to be looked at.
pub static TIMERS: Table = Table::of("timers")
    .doc(
        "When a run has to be looked at next: the first of all the times that it waits for. Each commit that changes that \
         time replaces the row.",
    )
    .columns(&[LANE_ID, timestamp("due_at").required().doc("When."), RUN_ID, TENANT])
    .key(&["lane_id", "due_at", "run_id"])
    .indexes(&[index("timers_by_run", &["tenant_key", "run_id"]).only("tenant_key is not null")])
    .references(&[
        refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"]),
        refers(&["lane_id"], "lanes", &["id"]),
    ])
    .instants(&["due_at"])
    .rows(Rows::InKey);

/// A message for a run.
pub static INBOX: Table = Table::of("inbox")
    .doc(
        "A message that reached a server which does not own the run it is for. It is acknowledged once it is here; the \
         owner deletes it in the commit that takes it.",
    )
    .columns(&[
        LANE_ID,
        id("id").required().doc("Its id: messages of a lane are taken in this order."),
        TENANT,
        RUN_ID,
        text("kind").required().doc("What kind of message, such as `signal` or `child_ended`."),
        text("dedup").required().doc("The same kind and word for the same run is the same message."),
        bytes("payload").required().doc("The message, in the runtime's own bytes."),
        timestamp("created_at").required().doc("When it was left."),
    ])
    .key(&["lane_id", "id"])
    .unique(&[unique_key("inbox_dedup", &["tenant_key", "run_id", "kind", "dedup"])])
    .references(&[
        refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"]),
        refers(&["lane_id"], "lanes", &["id"]),
    ])
    .rows(Rows::InKey);

/// A decision that people are asked for.
pub static APPROVALS: Table = Table::of("approvals")
    .doc("A decision that a run asks people for. The step that waits writes it, each response changes it; it goes with its run.")
    .columns(&[
        TENANT,
        id("id").required().doc("Its id; ids grow with time."),
        LANE_ID,
        RUN_ID,
        PATH,
        text("title").required().doc("What people read first."),
        json("detail", Shape::Object).required().doc("Who may decide, the form, the quorum."),
        enumeration("status", &["pending", "approved", "rejected", "expired", "cancelled"])
            .required()
            .doc("Where it stands."),
        json("responses", Shape::List).required().doc("Who said what so far."),
        timestamp("created_at").required().doc("When it was asked for."),
        timestamp("expires_at").doc("When it is over without a decision; never without."),
        timestamp("decided_at").doc("When it was decided."),
    ])
    .key(&["tenant_key", "id"])
    .indexes(&[
        index("approvals_pending", &["tenant_key", "id"]).only("status = 'pending'"),
        index("approvals_by_run", &["tenant_key", "run_id", "id"]).for_those_who_name("run_id is not null"),
    ])
    .references(&[
        refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"]),
        refers(&["lane_id"], "lanes", &["id"]),
    ]);

/// An event that came.
pub static EVENTS: Table = Table::of("events")
    .doc("An event that somebody sent, once however often it is sent. Runs that begin to wait may still take it; it goes by age.")
    .columns(&[
        TENANT,
        id("id").required().doc("Our own id: the order in which events came."),
        text("source").required().doc("The sender."),
        text("event_id").required().doc("The sender's id of it: source and id name the event."),
        text("type").required().doc("Its type."),
        text("subject").doc("Its subject, if it has one."),
        bytes("event").required().doc("The whole event, as JSON text."),
        timestamp("at").required().doc("When it came."),
    ])
    .key(&["tenant_key", "id"])
    .unique(&[unique_key("events_dedup", &["tenant_key", "source", "event_id"])])
    .indexes(&[index("events_by_type", &["tenant_key", "type", "id"]).for_those_who_name("type is not null")]);

/// A run that waits for an event.
pub static EVENT_WAITS: Table = Table::of("event_waits")
    .doc("That a path of a run waits for an event. The commit that begins to wait writes it, the one that goes on deletes it.")
    .columns(&[
        TENANT,
        RUN_ID,
        PATH,
        LANE_ID,
        text("type").required().doc("The type it waits for."),
        text("subject").doc("The subject it waits for; any without."),
        timestamp("since").required().doc("Events from then on count."),
    ])
    .key(&["tenant_key", "run_id", "path"])
    .indexes(&[index("event_waits_by_type", &["tenant_key", "type", "subject"]).for_those_who_name("type is not null")])
    .references(&[
        refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"]),
        refers(&["lane_id"], "lanes", &["id"]),
    ])
    .rows(Rows::InKey);
