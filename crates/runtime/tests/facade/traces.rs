//! Traces: a run joins the one that its start came with, or begins its own, and hands it on.

use windlass_definition::Value;
use windlass_engine::{
    event::UndoChoice,
    id::RunId,
    start::Principal,
    status::RunStatus,
    trace::{Trace, TraceId},
};
use windlass_runtime::{CancelOptions, RunFilter, RunRequest, RunSummary, StartRequest};

use crate::harness::{Harness, TENANT, request};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const LOOKS: &str = "
name: looks
steps: [{ id: look, type: probe, with: { trace: it } }]
output: '${{ {\"id\": run.trace_id, \"sent\": steps.look.output} }}'
";
const CALLS: &str = "
name: calls
key: '${{ run.trace_id }}'
steps:
  - { id: look, type: probe, with: { trace: it } }
  - { id: call, type: workflow, with: { name: looks, input: {} } }
  - { id: go, type: wait, with: { signal: go } }
  - { id: again, type: probe, with: { trace: it } }
output: '${{ [run.trace_id, steps.look.output, steps.call.output, steps.again.output] }}'
";

fn joined() -> Trace {
    Trace::of_headers(PARENT, "a=1,b=2").unwrap()
}

/// What an attempt sends, as `probe` shows it.
fn sent(trace: &Trace, (run, path): (RunId, &str)) -> Value {
    let state = trace.state.as_deref().map_or(Value::Null, Value::from);
    Value::map([("parent", Value::from(trace.traceparent(run, path, 1))), ("state", state)])
}

async fn of_trace(harness: &Harness, trace: TraceId) -> Vec<RunSummary> {
    let filter = RunFilter { trace: Some(trace), limit: 10, ..RunFilter::default() };
    harness.runtime.runs(TENANT, filter).await.unwrap().items
}

pub async fn a_trace_is_handed_on(mut harness: Harness) {
    harness.publish(LOOKS).await;
    harness.publish(CALLS).await;
    for trace in [Some(joined()), None] {
        let start = StartRequest { trace: trace.clone(), ..request("calls", "{}") };
        let run = harness.runtime.start(start).await.unwrap().run;
        let trace = trace.unwrap_or_else(|| Trace::of_run(run));
        harness.until(run, |view| view.status == RunStatus::Waiting).await;
        harness.crash().await;
        harness.signal(run, "go").await;
        let view = harness.end(run).await;
        let mut runs = of_trace(&harness, trace.id).await;
        runs.sort_by_key(|it| it.parent_run_id.is_none());
        let [child, parent] = &runs[..] else { panic!("{trace:?} has two runs") };
        assert_eq!((parent.id, child.parent_run_id), (run, Some(run)));
        assert_eq!([parent.trace_id, child.trace_id, view.trace_id], [trace.id; 3]);
        let id = Value::from(trace.id.to_string());
        let of_child = Value::map([("id", id.clone()), ("sent", sent(&trace, (child.id, "look")))]);
        let output = Value::list([id, sent(&trace, (run, "look")), of_child, sent(&trace, (run, "again"))]);
        assert_eq!((view.status, &view.output), (RunStatus::Completed, &output));
        assert_eq!(view.key.as_deref(), Some(&*trace.id.to_string()));
    }
    let nobodys = Trace::of_run(RunId::from_parts(0, [1; 10]));
    assert_eq!(of_trace(&harness, nobodys.id).await, []);
}

const LEAVES: &str = "
name: leaves
steps:
  - { id: a, type: probe, with: { value: 1 }, undo: { type: probe, with: { trace: it } } }
  - { id: go, type: wait, with: { signal: go } }
";
const RESTARTS: &str = "
name: restarts
input: { type: object, properties: { again: { type: boolean } } }
steps:
  - { id: look, type: probe, with: { trace: it } }
  - { id: over, type: restart, if: 'input.again', with: { input: { again: false } } }
output: '${{ steps.look.output }}'
";

pub async fn what_comes_of_a_run_is_of_its_trace_and_a_new_start_is_not(harness: Harness) {
    harness.publish(LEAVES).await;
    harness.publish(RESTARTS).await;
    for trace in [Some(joined()), None] {
        let start = |name: &str, input: &str| StartRequest { trace: trace.clone(), ..request(name, input) };
        let request = |run| RunRequest { tenant: TENANT, run, by: Principal::System };
        let run = harness.runtime.start(start("leaves", "{}")).await.unwrap().run;
        let of_run = trace.clone().unwrap_or_else(|| Trace::of_run(run));
        harness.until(run, |view| view.status == RunStatus::Waiting).await;
        let leave = CancelOptions { undo: UndoChoice::Leave, ..CancelOptions::default() };
        harness.runtime.cancel(request(run), leave).await.unwrap();
        harness.end(run).await;
        let undo = harness.runtime.undo(request(run)).await.unwrap().run;
        assert_eq!(harness.end(undo).await.trace_id, of_run.id);
        let undone = harness.steps(undo).await.into_iter().find(|step| &*step.path == "a:undo").unwrap();
        assert_eq!(undone.output, sent(&of_run, (undo, "a:undo")));

        let run = harness.runtime.start(start("restarts", r#"{"again": true}"#)).await.unwrap().run;
        let of_run = trace.clone().unwrap_or_else(|| Trace::of_run(run));
        harness.end(run).await;
        // It was told of in the commit that ended the other, and begins behind it.
        let fresh = loop {
            let runs = of_trace(&harness, of_run.id).await;
            if let Some(fresh) = runs.iter().find(|it| it.id != run && &*it.workflow == "restarts") {
                break fresh.id;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        };
        assert_eq!(harness.end(fresh).await.output, sent(&of_run, (fresh, "look")));

        for made in [
            harness.runtime.rerun(request(fresh)).await.unwrap().run,
            harness.runtime.fork(request(fresh), "look").await.unwrap().run,
        ] {
            assert_eq!(harness.end(made).await.trace_id, TraceId::of_run(made));
        }
    }
}
