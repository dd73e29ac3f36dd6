//! `docs/coverage.tsv`: every table, model and column of the five systems, and where it lives here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use expect_test::expect_file;
use serde_json::Value;
use windlass_store::{Dialect, admin::schema::Schema};

const COVERAGE: &str = include_str!("../../../../docs/coverage.tsv");
/// The systems, and how many rows each has.
const SYSTEMS: &[(&str, usize)] = &[("000", 111), ("001", 149), ("002", 137), ("003", 56), ("004", 173)];
/// What is still to be built, by the area that it comes with.
const AREAS: &[&str] = &[
    "ai",
    "app",
    "audit",
    "billing",
    "content",
    "devops",
    "files",
    "fleet",
    "governance",
    "identity",
    "limits",
    "monitoring",
    "people",
    "settings",
    "state",
    "templates",
    "triggers",
    "vault",
    "workflows",
];

struct Row<'a> {
    item: [&'a str; 3],
    target: &'a str,
}

fn rows() -> Vec<Row<'static>> {
    let mut lines = COVERAGE.lines();
    assert_eq!(lines.next(), Some("system\ttable\tcolumn\ttarget"));
    let row = |line: &'static str| match line.split('\t').collect::<Vec<_>>()[..] {
        [system, table, column, target] => Row { item: [system, table, column], target },
        _ => panic!("not four cells: {line}"),
    };
    lines.map(row).collect()
}

/// Why a target is none; `None` when it is one.
fn wrong(target: &str, document: &Value) -> Option<String> {
    let (kind, rest) = target.split_once(' ').unwrap_or((target, ""));
    match kind {
        "later:" if AREAS.contains(&rest) => None,
        "later:" => Some(format!("there is no area `{rest}`")),
        "derived:" => {
            // A route that a derivation names has to be there too.
            let route = rest.split_once("route ").map(|(_, route)| route);
            match route.map(|route| route.split([';', ',']).next().unwrap_or(route)) {
                Some(route) => wrong(&format!("route {}", route.split(" with ").next().unwrap_or(route)), document),
                None => (rest.len() < 12).then(|| "says nothing".to_owned()),
            }
        }
        "route" => {
            let (method, path) = rest.split_once(' ')?;
            let there = &document["paths"][path][method.to_lowercase()];
            there.is_null().then(|| format!("there is no route {rest}"))
        }
        "field" => {
            let (schema, field) = rest.split_once('.')?;
            let there = &document["components"]["schemas"][schema]["properties"][field];
            there.is_null().then(|| format!("there is no field {rest}"))
        }
        _ => {
            let (table, column) = target.split_once('.').map_or((target, None), |(table, it)| (table, Some(it)));
            let found = Schema::declared(Dialect::Postgres).table(table);
            let there = found.is_some_and(|it| column.is_none_or(|name| it.columns.iter().any(|it| it.name == name)));
            (!there).then(|| format!("there is no {target}"))
        }
    }
}

#[test]
fn every_row_leads_somewhere() {
    let rows = rows();
    let document = serde_json::to_value(windlass_server::document()).unwrap();
    let items: BTreeSet<[&str; 3]> = rows.iter().map(|row| row.item).collect();
    assert_eq!((rows.len(), items.len()), (626, 626), "each item stands there once");
    for (system, count) in SYSTEMS {
        assert_eq!(rows.iter().filter(|row| row.item[0] == *system).count(), *count, "{system}");
    }
    let found: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            wrong(row.target, &document).map(|why| format!("{}: {}: {why}", row.item.join(" "), row.target))
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
    for nowhere in ["later: never", "derived: so", "route GET /nope", "field Run.nope", "runs.nope", "nope", ""] {
        assert!(wrong(nowhere, &document).is_some(), "{nowhere}");
    }
}

#[test]
fn the_page_shows_what_is_covered() {
    let rows = rows();
    let mut text = String::from(
        "# Coverage\n\nWritten from `coverage.tsv` by its test. Do not edit.\n\nFive systems described their work by their \
         tables; each table, model and column of theirs has a row in `coverage.tsv` that says where it lives here.\n\n\
         | system | rows | here | later |\n|---|---|---|---|\n",
    );
    let later = |row: &&Row| row.target.starts_with("later: ");
    for (system, count) in SYSTEMS {
        let open = rows.iter().filter(|row| row.item[0] == *system).filter(later).count();
        let _ = writeln!(text, "| {system} | {count} | {} | {open} |", count - open);
    }
    let open = rows.iter().filter(later).count();
    let _ = writeln!(text, "| all | {} | {} | {open} |", rows.len(), rows.len() - open);
    let mut areas: BTreeMap<&str, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for row in rows.iter().filter(later) {
        let entry = areas.entry(row.target.trim_start_matches("later: ")).or_default();
        entry.0 += 1;
        entry.1.insert(row.item[1]);
    }
    let _ = write!(text, "\n## Later\n\n| area | rows | of |\n|---|---|---|\n");
    for (area, (count, tables)) in areas {
        let tables: Vec<String> = tables.iter().map(|it| format!("`{it}`")).collect();
        let _ = writeln!(text, "| {area} | {count} | {} |", tables.join(", "));
    }
    expect_file!["../../../../docs/coverage.md"].assert_eq(&text);
}
