//! What workflows keep: values of the state store, and the bytes of files.

use super::{RUN_ID, TENANT, TableArea};
use crate::{DefaultValue::Int, Rows, Table, foreign_key, id, index, integer, refers, text, timestamp};

/// What workflows keep.
pub static AREA: TableArea = TableArea {
    name: "keeping",
    doc: "Values of the state store, and what lies in the storage of files.",
    tables: &[&STATE_VALUES, &STATE_APPLIED, &FILE_OBJECTS, &FILE_USAGE],
};

/// A value of the state store.
pub static STATE_VALUES: Table = Table::of("state_values")
    .doc("A value that workflows share. Steps and people write it; it goes when it is deleted or its time is over.")
    .columns(&[
        TENANT,
        text("scope").required().doc("The name of the workflow whose it is; empty for the tenant's own."),
        text("namespace").required().doc("A space of keys."),
        text("key").required().doc("The key."),
        text("value").required().doc("The value, as JSON text: as it was written, digits of numbers too."),
        integer("version").required().doc("Counts its changes, from 1."),
        timestamp("expires_at").doc("When it goes; never without."),
        timestamp("updated_at").required().doc("When it was changed."),
        timestamp("created_at").doc("Since when it is there; unknown of those before schema 13."),
        timestamp("accessed_at").doc("When it was last read, to about a minute."),
        integer("access_count").default(Int(0)).doc("How often it was read, up to about a minute ago."),
        text("description").doc("What it is for, in somebody's words."),
    ])
    .key(&["tenant_key", "scope", "namespace", "key"])
    .indexes(&[index("state_values_expiring", &["expires_at"]).only("expires_at is not null")])
    .by_bytes(&["scope", "namespace", "key"])
    .rows(Rows::InKey);

/// What a step's change of a value gave.
pub static STATE_APPLIED: Table = Table::of("state_applied")
    .doc(
        "What a step's change of a state value gave, so that a repeated attempt gets that and changes nothing. It is written \
         with the change and goes with the run.",
    )
    .columns(&[
        TENANT,
        text("step_key").required().doc("The step's idempotency key."),
        RUN_ID,
        text("result").required().doc("What the step gave, as JSON text."),
        timestamp("applied_at").required().doc("When it was changed."),
    ])
    .key(&["tenant_key", "step_key"])
    .indexes(&[index("state_applied_by_run", &["tenant_key", "run_id"]).for_those_who_name("run_id is not null")])
    .references(&[refers(&["tenant_key", "run_id"], "runs", &["tenant_key", "id"])])
    .rows(Rows::InKey);

/// An object in the storage of files.
pub static FILE_OBJECTS: Table = Table::of("file_objects")
    .doc(
        "An object in the storage of files, known before its bytes lie there. An upload writes it; the sweep deletes it with \
         its bytes once no version has referred to it for a day.",
    )
    .columns(&[
        TENANT,
        id("id").required().doc("Its id, by which the storage names it."),
        integer("bytes").doc("How many bytes it holds; none until a version refers to it."),
        timestamp("created_at").required().doc("When it was announced."),
    ])
    .key(&["tenant_key", "id"])
    .references(&[foreign_key(&["tenant_key"], "tenants", &["key"])])
    .rows(Rows::InKey);

/// How much a tenant has in the storage of files.
pub static FILE_USAGE: Table = Table::of("file_usage")
    .doc("How much a tenant has in the storage of files. Its first upload writes it, and each version and sweep counts; it stays.")
    .columns(&[TENANT, integer("bytes").required().doc("The bytes of all objects that versions refer to.")])
    .key(&["tenant_key"])
    .references(&[foreign_key(&["tenant_key"], "tenants", &["key"])])
    .rows(Rows::InKey);
