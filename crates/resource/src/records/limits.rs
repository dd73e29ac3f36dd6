//! Limits that a tenant sets itself: how often requests may come.

use crate::{
    Area,
    DefaultValue::{Bool, Text},
    Record, Unique, boolean, enumeration, integer,
    patterns::SLUG,
    text,
};

/// How much of what may happen.
pub static LIMITS: Area = Area {
    name: "limits",
    read: "limits.read",
    write: "limits.write",
    doc: "How often requests may come: rules that the server keeps at its door.",
};

/// A rule of the door.
pub static RATE_LIMIT_RULES: Record = Record::of(&LIMITS, "rate_limit_rules", "rate limit rule")
    .command("rules")
    .doc("How many requests may come in any span of time; what is beyond gets 429. A request has to satisfy every rule that it matches.")
    .columns(&[
        text("name").required().chars(1, 60).lower().pattern(&SLUG).searchable().doc("Its name, which the headers of answers show."),
        text("description").chars(0, 2_000).default(Text("")).searchable().doc("What it is for."),
        integer("requests").required().range(1, 1_000_000).doc("How many requests may come."),
        integer("window_seconds").required().range(1, 86_400).doc("In any span of so many seconds."),
        enumeration("counted_per", &["tenant", "caller", "address"])
            .default(Text("tenant"))
            .doc("Whether all requests that match count together, or those of each caller, or of each address."),
        text("route").chars(1, 200).doc("Only this route, such as `POST /workflows/{name}/runs`; every route when null."),
        text("workflow").chars(1, 200).doc("Only requests about this workflow, by its name in their address."),
        text("caller").chars(1, 200).doc("Only requests of this caller, such as `token:ci`."),
        boolean("active").default(Bool(true)).doc("Whether it is kept."),
    ])
    .unique(&[Unique(&["name"])])
    .examples(&[
        r#"{"name": "starts", "requests": 100, "window_seconds": 60, "counted_per": "caller", "route": "POST /workflows/{name}/runs"}"#,
    ]);
