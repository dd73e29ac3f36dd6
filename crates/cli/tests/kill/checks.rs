//! What must hold in the end, however often the server died.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{actors::Accepted, examples::Expected, world::World};

/// Looks at everything.
pub async fn check(world: &World, accepted: &[Accepted]) {
    for run in accepted {
        ended_as_it_should(run);
    }
    nothing_lost_or_doubled(world, accepted).await;
    final_stays_final(world, accepted).await;
    effects_once(&world.effects().await, accepted);
    counted_once(accepted);
    journals_hold_together(world, accepted).await;
}

/// Its status and its output.
fn ended_as_it_should(run: &Accepted) {
    let view = &run.ended;
    let status = if run.case.expected == Expected::Undone { "compensated" } else { "completed" };
    assert_eq!(view["status"], status, "{}: {view:#}", run.key);
    let output = &view["output"];
    let (pointer, expected) = match run.case.workflow {
        "log-fanout" => ("/lines", json!(lines_of_the_log())),
        "approval" => ("/ordered", json!("a new boiler")),
        "signal" => ("/by", json!(run.key)),
        "subflow-tree" => ("/leaves", json!(12)),
        "try-catch" => ("/from", json!("fallback")),
        "python-task" => ("/words", json!(10)),
        "parallel-race" => ("/race/tortoise", json!("steadily")),
        _ => return,
    };
    assert_eq!(output.pointer(pointer), Some(&expected), "{}: {output:#}", run.key);
}

fn lines_of_the_log() -> usize {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/access.log");
    std::fs::read_to_string(path).unwrap().lines().filter(|it| !it.is_empty()).count()
}

/// The server's runs are exactly those that it accepted, and their children, each as often as it should be.
async fn nothing_lost_or_doubled(world: &World, accepted: &[Accepted]) {
    let mut expected: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for run in accepted {
        expected.entry(run.case.workflow).or_default().insert(&run.run);
    }
    for (workflow, runs) in &expected {
        let listed = world.list(&format!("/runs?workflow={workflow}")).await;
        let found: BTreeSet<&str> = listed.iter().filter_map(|it| it["id"].as_str()).collect();
        assert_eq!(listed.len(), found.len(), "{workflow}: a run is listed twice");
        assert_eq!(&found, runs, "{workflow}: the runs there are and the starts that were accepted");
    }
    let trees = expected.get("subflow-tree").map_or(0, BTreeSet::len);
    for (child, each) in [("tree-branch", 3), ("tree-leaf", 12)] {
        let listed = world.list(&format!("/runs?workflow={child}")).await;
        assert_eq!(listed.len(), trees * each, "{child}: children of {trees} trees");
        assert!(listed.iter().all(|it| it["status"] == "completed"), "{child}");
    }
}

/// What was told of a run's end still holds.
async fn final_stays_final(world: &World, accepted: &[Accepted]) {
    for run in accepted {
        let now = world.get(&format!("/runs/{}", run.run)).await;
        for field in ["status", "output", "error", "finished_at"] {
            assert_eq!(now[field], run.ended[field], "{}: `{field}` changed after the run's end", run.key);
        }
    }
}

/// The effects in the shop are those of the orders: each once, none missing, none of anybody else.
pub fn effects_once(effects: &[Value], orders: &[Accepted]) {
    let found: Vec<&str> = effects.iter().filter_map(|it| it["key"].as_str()).collect();
    let mut expected = Vec::new();
    for order in orders {
        let mut expect = |path: &str| expected.push(format!("{}/{path}", order.run));
        match order.case.expected {
            Expected::Completed => continue,
            Expected::Shipped => {
                let lines = order.case.input["lines"].as_array().map_or(0, Vec::len);
                (0..lines).for_each(|line| expect(&format!("reserve[{line}].hold")));
                ["charge", "ship"].into_iter().for_each(expect);
            }
            // Nothing could be held: what was charged goes back.
            Expected::Undone => ["charge", "charge:undo"].into_iter().for_each(expect),
        }
    }
    let sorted = |mut keys: Vec<String>| {
        keys.sort();
        keys
    };
    let found = sorted(found.into_iter().map(str::to_owned).collect());
    assert_eq!(found, sorted(expected), "the shop's effects, and those that the orders should have had");
}

/// The shared counter gave every number once.
fn counted_once(accepted: &[Accepted]) {
    let counters = accepted.iter().filter(|it| it.case.workflow == "shared-counter");
    let mut numbers: Vec<i64> = Vec::new();
    for run in counters {
        let mine = run.ended["output"]["mine"].as_array().expect("numbers");
        numbers.extend(mine.iter().filter_map(Value::as_i64));
    }
    numbers.sort_unstable();
    let expected: Vec<i64> = (1..).take(numbers.len()).collect();
    assert_eq!(numbers, expected, "a number that was counted twice or is missing");
}

/// Every journal counts from its first entry to its last, without a gap.
async fn journals_hold_together(world: &World, accepted: &[Accepted]) {
    for run in accepted {
        let journal = world.list(&format!("/runs/{}/journal", run.run)).await;
        let seqs: Vec<i64> = journal.iter().filter_map(|it| it["seq"].as_i64()).collect();
        let first = seqs.first().copied().expect("a journal");
        let expected: Vec<i64> = (first..).take(journal.len()).collect();
        assert_eq!(seqs, expected, "{}: its journal", run.key);
    }
}
