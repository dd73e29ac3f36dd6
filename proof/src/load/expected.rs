//! What must hold of these runs in the end, beyond what holds of every run: their outputs, their children, their effects.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use serde_json::{Value, json};

use super::{Accepted, examples::Expected};
use crate::{load::Load, report::Outcome};

/// Looks at everything.
///
/// # Errors
/// The servers or the shop do not answer.
pub async fn check(load: &Load, outcome: &mut Outcome) -> Result<()> {
    let accepted = load.accepted();
    outcome.violations(accepted.iter().filter_map(ended_as_it_should));
    outcome.violations(nothing_lost_or_doubled(load, &accepted).await?);
    outcome.violations(effects_once(&load.world.effects().await?, &accepted));
    outcome.violations(counted_once(&accepted));
    Ok(())
}

/// Its status and its output.
fn ended_as_it_should(run: &Accepted) -> Option<String> {
    let view = &run.ended;
    let status = if run.case.expected == Expected::Undone { "compensated" } else { "completed" };
    if view["status"] != status {
        return Some(format!("{}: it should have {status}: {view}", run.key));
    }
    let output = &view["output"];
    let (pointer, expected) = match run.case.workflow {
        "log-fanout" => ("/lines", json!(LOG.lines().filter(|it| !it.is_empty()).count())),
        "approval" => ("/ordered", json!("a new boiler")),
        "signal" => ("/by", json!(format!("{}-ready", run.key))),
        "subflow-tree" => ("/leaves", json!(12)),
        "try-catch" => ("/from", json!("fallback")),
        "python-task" => ("/words", json!(10)),
        "parallel-race" => ("/race/tortoise", json!("steadily")),
        _ => return None,
    };
    (output.pointer(pointer) != Some(&expected)).then(|| format!("{}: {pointer} is not {expected}: {output}", run.key))
}

/// What the example reads.
const LOG: &str = include_str!("../../../examples/data/access.log");

/// The servers' runs are exactly those that they accepted, and their children, each as often as it should be.
async fn nothing_lost_or_doubled(load: &Load, accepted: &[Accepted]) -> Result<Vec<String>> {
    let (mut wrong, mut expected): (Vec<String>, BTreeMap<&str, BTreeSet<&str>>) = Default::default();
    for run in accepted {
        expected.entry(run.case.workflow).or_default().insert(&run.run);
    }
    for (workflow, runs) in &expected {
        let listed = load.world.client.list(&format!("/runs?workflow={workflow}")).await?;
        let found: BTreeSet<&str> = listed.iter().filter_map(|it| it["id"].as_str()).collect();
        if listed.len() != found.len() {
            wrong.push(format!("{workflow}: a run is listed twice"));
        }
        wrong.extend(runs.difference(&found).map(|run| format!("{workflow}: run {run} was accepted and is not there")));
        wrong.extend(found.difference(runs).map(|run| format!("{workflow}: nobody was told of run {run}")));
    }
    let trees = expected.get("subflow-tree").map_or(0, BTreeSet::len);
    for (child, each) in [("tree-branch", 3), ("tree-leaf", 12)] {
        let listed = load.world.client.list(&format!("/runs?workflow={child}")).await?;
        if listed.len() != trees * each {
            wrong.push(format!("{child}: {} children of {trees} trees", listed.len()));
        }
        wrong.extend(listed.iter().filter(|it| it["status"] != "completed").map(|it| format!("{child}: {it}")));
    }
    Ok(wrong)
}

/// The effects in the shop are those of the orders: each once, none missing, none of anybody else.
pub fn effects_once(effects: &[Value], orders: &[Accepted]) -> Vec<String> {
    let mut expected = BTreeSet::new();
    for order in orders {
        let mut expect = |path: &str| expected.insert(format!("{}/{path}", order.run));
        match order.case.expected {
            Expected::Completed => continue,
            Expected::Shipped => {
                let lines = order.case.input["lines"].as_array().map_or(0, Vec::len);
                (0..lines).for_each(|line| {
                    expect(&format!("reserve[{line}].hold"));
                });
                ["charge", "ship"].into_iter().for_each(|path| {
                    expect(path);
                });
            }
            // Nothing could be held: what was charged goes back.
            Expected::Undone => ["charge", "charge:undo"].into_iter().for_each(|path| {
                expect(path);
            }),
        }
    }
    let found: BTreeSet<String> = effects.iter().filter_map(|it| it["key"].as_str()).map(str::to_owned).collect();
    let twice = (found.len() < effects.len()).then(|| "a key stands twice in the shop's ledger".to_owned());
    let missing = expected.difference(&found).map(|key| format!("the shop never saw {key}"));
    let extra = found.difference(&expected).map(|key| format!("nobody asked the shop for {key}"));
    twice.into_iter().chain(missing).chain(extra).collect()
}

/// The shared counter gave every number once.
fn counted_once(accepted: &[Accepted]) -> Option<String> {
    let counters = accepted.iter().filter(|it| it.case.workflow == "shared-counter");
    let mut numbers: Vec<i64> = Vec::new();
    for run in counters {
        numbers.extend(run.ended["output"]["mine"].as_array().into_iter().flatten().filter_map(Value::as_i64));
    }
    numbers.sort_unstable();
    let expected: Vec<i64> = (1..).take(numbers.len()).collect();
    (numbers != expected).then(|| "the shared counter counted a number twice or left one out".to_owned())
}
