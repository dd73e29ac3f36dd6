//! The examples as they are run here: with which input, and how each run has to end.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

/// How many runs there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A few of each.
    Short,
    /// More, and the largest example too.
    Long,
}

/// What a run is expected to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// An order that goes through.
    Shipped,
    /// An order that is refused and undone.
    Undone,
    /// Another run, which completes.
    Completed,
}

/// Runs of one example.
#[derive(Debug, Clone)]
pub struct Case {
    /// The workflow's name.
    pub workflow: &'static str,
    /// The run's input.
    pub input: Value,
    /// How it ends.
    pub expected: Expected,
    /// How many of them are started at once.
    pub runs: u32,
}

/// The files that are deployed, in an order in which children come first.
pub const FILES: [&str; 13] = [
    "order-saga",
    "log-fanout",
    "approval",
    "signal",
    "tree-leaf",
    "tree-branch",
    "subflow-tree",
    "try-catch",
    "shared-counter",
    "python-task",
    "parallel-race",
    "wfinstances/bacass-dirt02-001",
    "wfinstances/srasearch-chameleon-10a-001",
];
/// The largest one, for the long form.
pub const LARGE_FILE: &str = "wfinstances/montage-chameleon-2mass-04d-001";

/// Where an example is.
pub fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(format!("{file}.yaml"))
}

/// An example's text, with leases that a test can wait for.
pub fn text(file: &str) -> String {
    let text = fs::read_to_string(path(file)).unwrap();
    if file == "python-task" {
        let short = text.replace("lease: 10s", "lease: 2s");
        assert_ne!(short, text, "python-task has another lease than the tests think");
        return short;
    }
    text
}

/// The input of an order over so many pieces of a thing.
pub fn order(shop: &str, amount: u32, quantities: &[u32]) -> Value {
    let lines: Vec<Value> =
        quantities.iter().enumerate().map(|(at, it)| json!({ "sku": format!("sku-{at}"), "quantity": it })).collect();
    json!({ "order_id": "A-1", "amount": amount, "lines": lines, "shop": shop })
}

/// What is run in one round.
pub fn cases(shop: &str, form: Form) -> Vec<Case> {
    let case = |workflow, runs, input| Case { workflow, input, expected: Expected::Completed, runs };
    let mut cases = vec![
        Case { expected: Expected::Shipped, ..case("order-saga", 4, order(shop, 42, &[2, 1, 7])) },
        // Above 1,000 somebody has to approve.
        Case { expected: Expected::Shipped, ..case("order-saga", 1, order(shop, 4_200, &[1])) },
        // More than 100 pieces are never there.
        Case { expected: Expected::Undone, ..case("order-saga", 2, order(shop, 42, &[101])) },
        case("log-fanout", 1, json!({ "url": format!("{shop}/access.log") })),
        case("approval", 2, json!({})),
        case("signal", 2, json!({})),
        case("subflow-tree", 1, json!({ "branches": 3, "leaves": 4 })),
        case("try-catch", 1, json!({})),
        case("shared-counter", 3, json!({})),
        case("python-task", 2, json!({})),
        case("parallel-race", 1, json!({})),
        case("bacass-dirt02-001", 2, json!({ "ms_per_second": 0.2 })),
        case("srasearch-chameleon-10a-001", 2, json!({ "ms_per_second": 0.1 })),
    ];
    if form == Form::Long {
        cases.push(case("montage-chameleon-2mass-04d-001", 1, json!({ "ms_per_second": 1 })));
    }
    cases
}
