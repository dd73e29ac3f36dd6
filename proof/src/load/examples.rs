//! The examples as they are run here: with which input, and how each run has to end.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// How many runs there are at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A few of each.
    Few,
    /// Some 200, the largest example among them.
    Many,
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
    /// Signals that it is sent.
    pub signals: &'static [&'static str],
    /// How many of them are started at once.
    pub runs: u32,
}

const FILES: [&str; 14] = [
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
    "wfinstances/montage-chameleon-2mass-04d-001",
];

/// The files that are deployed, in an order in which children come first.
pub fn files(size: Size) -> &'static [&'static str] {
    match size {
        Size::Few => &FILES[..FILES.len() - 1],
        Size::Many => &FILES,
    }
}

/// Where an example is.
pub fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").join(format!("{file}.yaml"))
}

/// An example's text, with leases that somebody can wait for.
///
/// # Errors
/// There is no such example, or not as it was.
pub fn text(file: &str) -> Result<String> {
    let text = fs::read_to_string(path(file)).context(path(file).display().to_string())?;
    if file == "python-task" {
        let short = text.replace("lease: 10s", "lease: 2s");
        ensure!(short != text, "python-task has another lease than this check thinks");
        return Ok(short);
    }
    Ok(text)
}

/// The input of an order over so many pieces of a thing.
pub fn order(shop: &str, amount: u32, quantities: &[u32]) -> Value {
    let lines: Vec<Value> =
        quantities.iter().enumerate().map(|(at, it)| json!({ "sku": format!("sku-{at}"), "quantity": it })).collect();
    json!({ "order_id": "A-1", "amount": amount, "lines": lines, "shop": shop })
}

/// Runs that complete.
pub fn case(workflow: &'static str, runs: u32, input: Value) -> Case {
    Case { workflow, input, expected: Expected::Completed, signals: &[], runs }
}

/// What is run in one round.
pub fn cases(shop: &str, size: Size) -> Vec<Case> {
    let times = if size == Size::Many { 8 } else { 1 };
    let mut cases = vec![
        Case { expected: Expected::Shipped, ..case("order-saga", 4 * times, order(shop, 42, &[2, 1, 7])) },
        // Above 1,000 somebody has to approve.
        Case { expected: Expected::Shipped, ..case("order-saga", times, order(shop, 4_200, &[1])) },
        // More than 100 pieces are never there.
        Case { expected: Expected::Undone, ..case("order-saga", 2 * times, order(shop, 42, &[101])) },
        case("log-fanout", 1, json!({ "url": format!("{shop}/access.log") })),
        case("approval", 2 * times, json!({})),
        Case { signals: &["ready"], ..case("signal", 2 * times, json!({})) },
        case("subflow-tree", times, json!({ "branches": 3, "leaves": 4 })),
        case("try-catch", times, json!({})),
        case("shared-counter", 3 * times, json!({})),
        case("python-task", 2 * times, json!({})),
        case("parallel-race", times, json!({})),
        case("bacass-dirt02-001", 2, json!({ "ms_per_second": 0.2 })),
        case("srasearch-chameleon-10a-001", 2, json!({ "ms_per_second": 0.1 })),
    ];
    if size == Size::Many {
        cases.push(case("montage-chameleon-2mass-04d-001", 1, json!({ "ms_per_second": 1 })));
    }
    cases
}
