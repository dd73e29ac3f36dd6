//! Prints what the pure machine costs: nanoseconds per step of runs of 10, 1,000 and 10,000 steps, without any database.
//!
//! `cargo run --release -p windlass-engine --example turn`
#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "this measures, and says what it measured")]

use std::{hint::black_box, sync::Arc, time::Instant};

use windlass_definition::{
    Plan, Timestamp, Value,
    source::Format,
    step_type::{Family, StepType, StepTypes},
};
use windlass_engine::{
    Effect, Event, Run, Start,
    id::{RunId, TenantKey},
    start::{Limits, Mode, Origin, Principal},
};

fn main() {
    for (name, document, items) in [
        ("10 steps outside", steps(10, "act"), 10),
        ("1,000 steps outside", steps(1_000, "act"), 1_000),
        ("4,900 steps outside", steps(4_900, "act"), 4_900),
        ("10 pure steps", steps(10, "transform"), 10),
        ("a foreach of 10,000", each(10_000), 10_000),
        ("a foreach of 100,000", each(100_000), 100_000),
    ] {
        let plan = plan(&document);
        let rounds = (200_000 / items).max(1);
        let started = Instant::now();
        let mut entries = 0;
        for round in 0..rounds {
            entries += turn(&plan, round as u8);
        }
        let steps = rounds * items;
        let each = started.elapsed().as_nanos() / steps as u128;
        println!("{name:<24} {each:>6} ns a step, {entries} entries");
    }
}

fn steps(count: usize, kind: &str) -> String {
    let steps: Vec<String> =
        (0..count).map(|i| format!("  - {{id: s{i}, type: {kind}, with: {{value: 1}}}}")).collect();
    format!("name: bench\nsteps:\n{}\n", steps.join("\n"))
}

fn each(count: usize) -> String {
    format!(
        "name: bench\nsteps:\n  - id: each\n    type: foreach\n    items: '${{{{ range({count}) }}}}'\n    parallel: 100\n    do: [{{id: s, type: act, with: {{value: '${{{{ item }}}}'}}}}]\n"
    )
}

fn plan(document: &str) -> Arc<Plan> {
    let mut types = windlass_definition::step_types::built_in();
    types.push(StepType {
        name: "act",
        documentation: "Does something outside.",
        family: Family::Doing,
        with_schema: Value::from(serde_json::json!({ "type": "object" })),
        output_schema: Value::from(serde_json::json!({})),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: true,
    });
    let compiled = windlass_definition::compile(document, Format::Yaml, &StepTypes::new(types));
    compiled.unwrap_or_else(|diagnostics| panic!("{diagnostics:?}")).plan
}

/// Runs a workflow to its end: each attempt ends as soon as it is asked for. Gives the number of journal entries.
fn turn(plan: &Plan, seed: u8) -> usize {
    let start = Start {
        run: RunId::from_parts(0, [seed; 10]),
        tenant: TenantKey::DEFAULT,
        workflow: plan.name.clone(),
        version: 1,
        plan: "".into(),
        mode: Mode::Production,
        input: Value::map::<&str>([]),
        by: Principal::System,
        created_at: Timestamp::default(),
        key: None,
        labels: Default::default(),
        priority: 0,
        trace: None,
        parent: None,
        depth: 0,
        origin: Origin::Fresh,
        queued: false,
        refused: None,
        limits: Limits::default(),
    };
    let now = Timestamp::default();
    let (mut run, first) = Run::start(plan, start, now);
    let mut entries = first.entries.len();
    let mut effects: std::collections::VecDeque<Effect> = first.effects.into();
    let mut more = first.more;
    loop {
        let event = match effects.pop_front() {
            Some(Effect::RunStep(it)) => {
                Event::StepEnded { path: it.path, attempt: it.attempt, started_at: now, result: Ok(Value::Int(1)) }
            }
            Some(_) => continue,
            None if more => Event::Continue,
            None => break,
        };
        let Ok(next) = run.step(plan, event, now) else { continue };
        entries += next.entries.len();
        more = next.more;
        effects.extend(next.effects);
        black_box(&next.entries);
    }
    assert!(run.status().is_final(), "the run ended");
    entries
}
