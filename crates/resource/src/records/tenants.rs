//! Tenants: who shares an installation, and what each may use.

use crate::{
    Area, Column, Effect, Pattern, Record, Unique, Writing, integer, patterns::SLUG, state, text, timestamp, transition,
};

/// Who shares an installation.
pub static AREA: Area = Area {
    name: "tenants",
    read: "tenants.read",
    write: "tenants.write",
    doc: "Tenants: who shares an installation, and what each may use. For who looks after the whole of it.",
};

/// A quota: none when it is null.
const fn quota(name: &'static str) -> Column {
    integer(name).range(1, 1_000_000_000)
}

static REGION: Pattern = Pattern::new(r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "a word such as `eu-central`");

/// Somebody who shares the installation. Its behaviour: the first tenant is never suspended.
pub static TENANTS: Record = Record::of(&AREA, "tenants", "tenant")
    .doc("Somebody who shares the installation and sees nothing of the others. A quota that is null has no bound but the server's settings.")
    .columns(&[
        integer("key").range(1, 2_147_483_647).generated().doc("Its number in all other tables."),
        text("slug").required().chars(1, 63).lower().pattern(&SLUG).write_once().searchable().doc("Its name in commands and addresses."),
        text("name").required().chars(1, 200).searchable().doc("Its name for people."),
        text("region").chars(1, 63).lower().pattern(&REGION).doc("Where it belongs, for people and reports: nothing is moved by it."),
        quota("max_concurrent_runs").doc("Its open runs that do not wait, over all servers; what it starts above that is queued."),
        quota("max_queued_runs").doc("Its queued runs, from which its starts are refused with 429."),
        integer("max_file_bytes").range(1, 1 << 50).doc("Bytes of its files, of all their versions and of those that are deleted and not cleared away yet."),
        integer("data_retention_days").range(1, 36_500).doc("Days after which its finished runs and its events go, also where a workflow would keep them longer."),
        state("status", &["active", "suspended"]).doc("A suspended tenant's requests are refused with 403, and its runs hold: no step of them begins."),
        timestamp("suspended_at").read_only().doc("Since when it is suspended."),
        text("suspended_reason").chars(1, 500).read_only().doc("Why, for people."),
    ])
    .unique(&[Unique(&["slug"])])
    .writing(Writing::Stays)
    .transitions(&[
        transition("suspend", &["active"], "suspended")
            .doc("Refuses its requests and holds its runs.")
            .effects(&[Effect::Stamp("suspended_at"), Effect::Take("suspended_reason")]),
        transition("resume", &["suspended"], "active")
            .doc("Lets it in again, and its runs go on.")
            .effects(&[Effect::Clear("suspended_at"), Effect::Clear("suspended_reason")]),
    ])
    .global()
    .keyed("key")
    .grants_access()
    .examples(&[r#"{"slug": "acme", "name": "Acme Ltd", "max_concurrent_runs": 200, "data_retention_days": 90}"#]);
