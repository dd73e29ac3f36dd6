//! What documents become: edges, joins, defaults, kinds, hashes, warnings.

mod common;

use std::{fmt::Write, time::Duration};

use common::step_types;
use windlass_definition::{
    Plan, compile,
    compile::compile_within,
    compile_kept,
    diagnostic::render,
    document::Limits,
    plan::{Backoff, Block, Condition, EdgeWhen, Join, StepKind, UndoAfter},
    source::Format,
};

fn plan(text: &str) -> std::sync::Arc<Plan> {
    match compile(text, Format::Yaml, &step_types()) {
        Ok(compiled) => compiled.plan,
        Err(diagnostics) => panic!("{}", render(&diagnostics, "plan")),
    }
}

/// A block as text: its steps, then its edges.
fn show(plan: &Plan, block: &Block) -> String {
    let id = |at: u32| plan.step(block.steps[at as usize]).id.as_ref();
    let mut out: Vec<String> = vec![(0u32..).zip(&block.steps).map(|(at, _)| id(at)).collect::<Vec<_>>().join(" ")];
    for edge in &block.edges {
        let mut line = format!("{}->{}", id(edge.from), id(edge.to));
        match &edge.when {
            EdgeWhen::Always => {}
            EdgeWhen::Expression(expression) => write!(line, " if {}", expression.source()).unwrap(),
            EdgeWhen::Otherwise => line.push_str(" otherwise"),
        }
        out.push(line);
    }
    out.join("; ")
}

fn check_order(body: &str, expect: &str) {
    let plan = plan(&format!("name: a\n{body}"));
    assert_eq!(show(&plan, plan.block(plan.body)), expect, "{body}");
    for (index, step) in plan.steps.iter().enumerate() {
        assert_eq!(plan.by_id[&step.id].0 as usize, index);
        assert_eq!(plan.block(step.block).steps[step.position as usize].0 as usize, index);
        let block = plan.block(step.block);
        assert!(step.incoming.iter().all(|edge| block.edges[*edge as usize].to == step.position));
        assert!(step.outgoing.iter().all(|edge| block.edges[*edge as usize].from == step.position));
    }
}

#[test]
fn list_order_needs_and_edges_make_edges() {
    let steps = "steps: [{id: a, type: join}, {id: b, type: join}, {id: c, type: join}]";
    check_order(steps, "a b c; a->b; b->c");
    check_order("steps: [{id: a, type: join}, {id: b, type: join, needs: []}]", "a b");
    check_order(
        "steps: [{id: a, type: join}, {id: b, type: join}, {id: c, type: join, needs: [a, b]}, {id: d, type: join}]",
        "a b c d; a->b; a->c; b->c; c->d",
    );
    check_order("steps: [{id: a, type: join, needs: [b]}, {id: b, type: join, needs: []}]", "a b; b->a");
    check_order(&format!("{steps}\nedges: []"), "a b c");
    check_order(
        &format!("{steps}\nedges: [{{from: a, to: c, when: '1 < 2'}}, {{from: a, to: b, otherwise: true}}]"),
        "a b c; a->b otherwise; a->c if 1 < 2",
    );
    check_order("steps: []", "");
}

#[test]
fn steps_stand_in_document_order_outer_before_inner() {
    let plan = plan(
        "name: a\nsteps:\n  - {id: a, type: if, when: true, then: [{id: b, type: join}], else: [{id: c, type: join}]}\n  - {id: d, type: join}\ncatch: [{do: [{id: e, type: join}]}]\nfinally: [{id: f, type: join}]",
    );
    let ids: Vec<&str> = plan.steps.iter().map(|it| it.id.as_ref()).collect();
    assert_eq!(ids, ["a", "b", "c", "d", "e", "f"]);
    let StepKind::If { when: Condition::Literal(true), then, otherwise: Some(otherwise) } = plan.steps[0].kind else {
        panic!("{:?}", plan.steps[0].kind);
    };
    assert_eq!(plan.block(then).owner, Some(plan.by_id["a"]));
    assert_eq!(show(&plan, plan.block(otherwise)), "c");
    assert_eq!(plan.block(plan.body).owner, None);
    assert_eq!(plan.block(plan.finally.unwrap()).owner, None);
    assert_eq!(plan.catches.len(), 1);
}

#[test]
fn retries_have_their_defaults() {
    let plan = plan(
        "name: a\nsteps:\n  - {id: none, type: http, with: {url: x}}\n  - {id: plain, type: http, with: {url: x}, retry: {}}\n  - {id: slow, type: http, with: {url: x}, retry: {delay: 5m, backoff: fixed, jitter: false, on: ['5xx', '429', timeout, loop_limit]}, undo: {type: http, with: {url: y}}}",
    );
    assert_eq!(plan.steps[0].retry, None);
    let retry = plan.steps[1].retry.as_ref().unwrap();
    assert_eq!((retry.attempts, retry.backoff, retry.jitter), (3, Backoff::Exponential, true));
    assert_eq!((retry.delay, retry.max_delay), (Duration::from_secs(1), Duration::from_secs(60)));
    assert_eq!((retry.on.is_none(), retry.within), (true, None));
    let retry = plan.steps[2].retry.as_ref().unwrap();
    assert_eq!((retry.delay, retry.max_delay), (Duration::from_secs(300), Duration::from_secs(300)));
    assert_eq!(format!("{:?}", retry.on), r#"Some([StatusClass(5), Code("429"), Class(Timeout), Code("loop_limit")])"#);
    let undo = plan.steps[2].undo.as_ref().unwrap();
    assert_eq!((undo.retry.attempts, undo.retry.max_delay), (10, Duration::from_secs(300)));
    assert_eq!(undo.after, UndoAfter::Completed);
}

#[test]
fn defaults_stand_below_what_steps_say() {
    let plan = plan(
        "name: a\ndefaults: {http: {timeout: 5s, retry: {}, on_error: continue, with: {url: base, headers: {A: '1', B: '1'}}}}\nsteps:\n  - {id: a, type: http}\n  - {id: b, type: http, timeout: 9s, on_error: stop, with: {headers: {B: '2'}}, undo: {type: http}}",
    );
    let (a, b) = (&plan.steps[0], &plan.steps[1]);
    assert_eq!((a.timeout, b.timeout), (Some(Duration::from_secs(5)), Some(Duration::from_secs(9))));
    assert_eq!((a.continue_on_error, b.continue_on_error), (true, false));
    assert!(a.retry.is_some() && b.retry.is_some());
    let StepKind::Action { with } = &b.kind else { panic!() };
    assert!(format!("{with:?}").contains('2'));
    let undo = b.undo.as_ref().unwrap();
    assert_eq!((undo.timeout, undo.retry.attempts), (Some(Duration::from_secs(5)), 10));
}

#[test]
fn the_scope_of_state_decides_what_it_is() {
    let plan = plan(
        "name: a\nsteps:\n  - {id: a, type: state, with: {op: get, key: k}}\n  - {id: b, type: state, with: {op: get, scope: workflow, key: k}, retry: {}}",
    );
    assert!(matches!(plan.steps[0].kind, StepKind::State { .. }));
    assert!(matches!(plan.steps[1].kind, StepKind::Action { .. }));
}

#[test]
fn joins_are_counts() {
    let plan = plan(
        "name: a\nsteps:\n  - {id: p, type: parallel, join: any, branches: {x: [], y: []}}\n  - {id: a, type: join, mode: any}\n  - {id: b, type: join, join: {at_least: 2}, needs: [p, a]}",
    );
    let StepKind::Parallel { join, parallel, .. } = &plan.steps[0].kind else { panic!() };
    assert_eq!((*join, *parallel, plan.steps[0].join), (Join::AtLeast(1), None, Join::All));
    assert_eq!((plan.steps[1].join, plan.steps[2].join), (Join::AtLeast(1), Join::AtLeast(2)));
}

#[test]
fn undo_knows_what_it_refers_to() {
    let plan = plan(
        "name: a\nsteps:\n  - {id: a, type: http, with: {url: x}}\n  - {id: b, type: http, with: {url: x}, undo: {type: http, with: {url: '${{ steps.a.output.u }}/${{ steps.b.output.id }}?${{ e.code }}'}}}",
    );
    let references = &plan.steps[1].undo.as_ref().unwrap().references;
    let steps: Vec<&str> = references.steps.iter().map(AsRef::as_ref).collect();
    assert_eq!(steps, ["a", "b"]);
    assert_eq!(references.roots.iter().map(AsRef::as_ref).collect::<Vec<&str>>(), ["e"]);
}

#[test]
fn the_hash_is_of_the_meaning() {
    let base = "name: a\nsteps:\n  - {id: a, type: log, with: {message: hi, level: warn}}";
    let hash = |text: &str| plan(text).hash;
    for same in [
        "# a comment\nname: 'a'\nsteps:\n- type: log\n  id: a\n  with: {level: warn, message: \"hi\"}",
        "name: a\nui: {zoom: 3}\nsteps:\n  - {id: a, type: log, position: {x: 1, y: 2}, with: {message: hi, level: warn}}",
    ] {
        assert_eq!(hash(base), hash(same), "{same}");
    }
    for other in [
        "name: b\nsteps:\n  - {id: a, type: log, with: {message: hi, level: warn}}",
        "name: a\ndescription: d\nsteps:\n  - {id: a, type: log, with: {message: hi, level: warn}}",
        "name: a\nsteps:\n  - {id: a, type: log, with: {message: hi, level: info}}",
    ] {
        assert_ne!(hash(base), hash(other), "{other}");
    }
    let json = r#"{"steps":[{"type":"log","id":"a","with":{"level":"warn","message":"hi"}}],"name":"a"}"#;
    assert_eq!(compile(json, Format::Json, &step_types()).unwrap().plan.hash, hash(base));
}

/// What is kept was taken once: what its editor wrote there stops no run, whatever is asked of it later.
#[test]
fn what_is_kept_is_read_without_the_editors_own() {
    let kept = r#"{"name":"a","ui":"red","steps":[{"id":"a","type":"log","with":{"message":"hi"},"ui":{"width":0},"position":[1]}]}"#;
    assert_eq!(compile(kept, Format::Json, &step_types()).unwrap_err().len(), 3);
    let plan = plan("name: a\nsteps: [{id: a, type: log, with: {message: hi}}]");
    assert_eq!(compile_kept(kept, &step_types()).unwrap().plan.hash, plan.hash);
}

fn check_warning(text: &str, expect: &str) {
    let compiled = compile(text, Format::Yaml, &step_types()).unwrap_or_else(|it| panic!("{}", render(&it, "x")));
    assert!(render(&compiled.warnings, "x").contains(expect), "{:?}", compiled.warnings);
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    check_warning(
        "name: a\ninput: {type: object, additionalProperties: false, properties: {amount: {}}}\nsteps:\n  - {id: a, type: transform, with: {value: '${{ input.amuont }}'}}",
        "`input` does not name `amuont`",
    );
    check_warning(
        "name: a\ntriggers: [{webhook: {name: w, secret: open}}]\nsteps: []",
        "whoever can read this document can read this secret",
    );
    check_warning(
        "name: a\nsteps: [{id: a, type: join}, {id: b, type: join}, {id: c, type: join}]\nedges: [{from: a, to: b}, {from: a, to: c, otherwise: true}]",
        "this edge is never taken",
    );
}

#[test]
fn a_document_tells_its_triggers_and_secrets() {
    let text = "name: a\ntriggers: [{schedule: {cron: '* * * * *'}}]\nsteps:\n  - {id: a, type: http, with: {url: x, headers: {K: 'Bearer ${{ secrets.pay }}'}}}";
    let compiled = compile(text, Format::Yaml, &step_types()).unwrap();
    assert!(compiled.has_triggers() && compiled.uses_secrets());
    assert!(compiled.secrets.iter().map(AsRef::as_ref).eq(["pay"]));
}

#[test]
fn diagnostics_say_what_part_they_are_about() {
    let text =
        "name: a\nsteps:\n  - id: a\n    type: if\n    when: true\n    then: [{id: b, type: log, with: {mesage: hi}}]";
    let diagnostics = compile(text, Format::Yaml, &step_types()).unwrap_err();
    let [only] = diagnostics.as_slice() else { panic!("{diagnostics:?}") };
    assert_eq!(only.pointer, "/steps/0/then/0/with/mesage");
    assert_eq!((only.line, only.column, only.length), (6, 38, 6));
    assert_eq!(only.suggestion.as_deref(), Some("message"));
    let missing = compile("steps:\n  - {id: a, type: log}", Format::Yaml, &step_types()).unwrap_err();
    let pointers: Vec<&str> = missing.iter().map(|it| it.pointer.as_str()).collect();
    assert_eq!(pointers, ["", "/steps/0"]);
    let json = serde_json::to_value(only).unwrap();
    assert_eq!(json["severity"], "error");
}

#[test]
fn limits_are_settings() {
    let limits = Limits { steps: 1, nesting: 1, name_chars: 7, parallel: 2, document_bytes: 10_000 };
    let text =
        "name: abcdefghi\nsteps:\n  - {id: a, type: foreach, items: [1], parallel: 3, do: []}\n  - {id: b, type: join}";
    let shown = render(&compile_within(text, Format::Yaml, &step_types(), &limits).unwrap_err(), "x");
    for setting in ["name_chars_max", "parallel_max", "steps_max"] {
        assert!(shown.contains(setting), "{setting}: {shown}");
    }
    let limits = Limits { document_bytes: 10, ..Limits::default() };
    let shown = render(&compile_within(text, Format::Yaml, &step_types(), &limits).unwrap_err(), "x");
    assert!(shown.contains("document_bytes_max"), "{shown}");
}
