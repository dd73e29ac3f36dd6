//! The audit: who did what to what, and when.

use crate::{Area, Index, Record, Shape, Writing, id, json, text};

/// What happened.
pub static AUDIT: Area = Area {
    name: "audit",
    read: "audit.read",
    write: "audit.write",
    doc: "What was done, by whom and when; nothing of it ever changes.",
};

/// Something that was done. Written in the transaction that does it.
pub static AUDIT_ENTRIES: Record = Record::of(&AUDIT, "audit_entries", "audit entry")
    .command("entries")
    .doc("Something that was done: written in the same transaction, so that there is none without the other.")
    .columns(&[
        text("action")
            .required()
            .read_only()
            .chars(1, 60)
            .searchable()
            .doc("What was done: `create`, `update`, or a verb of its own."),
        text("record")
            .required()
            .read_only()
            .chars(1, 60)
            .searchable()
            .doc("To which kind of thing: the name of its table."),
        id("record_id").read_only().doc("To which one."),
        text("subject").read_only().chars(1, 300).searchable().doc("What people call it: a name, a title."),
        json("changes", Shape::Object)
            .read_only()
            .bytes_max(1 << 20)
            .doc("Each changed field, `from` and `to`; secrets are not shown."),
        text("request_id").read_only().chars(1, 200).searchable().doc("The request that asked for it."),
        text("user_agent").read_only().chars(1, 400).doc("The program that it came from."),
        text("address").read_only().chars(1, 60).doc("The address that it came from."),
    ])
    .writing(Writing::Log)
    .indexes(&[Index(&["record", "record_id"]), Index(&["created_by"])]);
