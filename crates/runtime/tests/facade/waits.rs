//! What runs wait for besides signals and time: workers, people, events, places, locks.

use std::{collections::BTreeMap, time::Duration};

use windlass_definition::{Class, Error, Value};
use windlass_engine::{
    event::Verdict,
    id::RunId,
    start::Principal,
    status::{RunStatus, StepStatus},
};
use windlass_runtime::{
    ApprovalFilter, CancelOptions, ClaimRequest, ClaimedTask, DecideRequest, EventRequest, Proof, RunRequest,
    RuntimeError, TaskRequest,
};

use crate::harness::{Harness, TENANT, request};

pub fn by(run: RunId) -> RunRequest {
    RunRequest { tenant: TENANT, run, by: Principal::Person("ada".into()) }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

async fn claim(harness: &Harness, max: usize) -> Vec<ClaimedTask> {
    let (queues, worker, wait) = (vec!["work".to_owned()], "w1".to_owned(), Duration::from_secs(10));
    harness.runtime.claim(ClaimRequest { tenant: TENANT, queues, worker, max, wait }).await.unwrap()
}

fn of(task: &ClaimedTask) -> TaskRequest {
    TaskRequest { tenant: TENANT, task: task.id, proof: Proof::Token(task.token.clone()) }
}

const TASKS: &str = "
name: tasks
steps:
  - id: each
    type: foreach
    items: '${{ input.items }}'
    parallel: 10
    do: [{ id: t, type: task, with: { queue: work, input: { n: '${{ item }}' }, lease: 60s } }]
output: '${{ steps.each.output }}'
";

pub async fn workers_do_tasks(mut harness: Harness) {
    let name = harness.publish(TASKS).await;
    let run = harness.start(&name, r#"{"items": [1, 2, 3, 4]}"#).await;
    let mut answered = Vec::new();
    while answered.len() < 4 {
        for task in claim(&harness, 2).await {
            let n = task.input.get("n").and_then(Value::as_i64).unwrap();
            // The database's clock may stand still for a moment, but never goes back.
            assert!(harness.runtime.heartbeat(of(&task)).await.unwrap().lease_until >= task.lease_until);
            harness.runtime.complete(of(&task), Value::Int(n * 10)).await.unwrap();
            harness.runtime.complete(of(&task), Value::Int(n * 10)).await.unwrap();
            let twice = harness.runtime.complete(of(&task), Value::Int(0)).await.unwrap_err();
            assert_eq!(twice.code(), "task_not_held");
            answered.push((task, n * 10));
        }
        harness.crash().await;
    }
    let view = harness.end(run).await;
    assert_eq!(view.output.to_string(), "[10,20,30,40]", "{view:?}");
    // Who did not hear the answer says the same again, and hears the same.
    for (task, output) in &answered {
        harness.runtime.complete(of(task), Value::Int(*output)).await.unwrap();
        let by_name = TaskRequest { proof: Proof::Worker("w1".to_owned()), ..of(task) };
        harness.runtime.complete(by_name, Value::Int(*output)).await.unwrap();
        let strange = TaskRequest { proof: Proof::Token(uuid::Uuid::now_v7().to_string()), ..of(task) };
        for again in [
            harness.runtime.complete(strange, Value::Int(*output)).await,
            harness.runtime.complete(of(task), Value::Int(0)).await,
            harness.runtime.fail(of(task), Error::new(Class::User, "no", "no")).await,
        ] {
            assert_eq!(again.unwrap_err().code(), "task_not_held");
        }
    }
}

pub async fn a_failed_task_fails_its_step(harness: Harness) {
    let name = harness.publish(TASKS).await;
    let run = harness.start(&name, r#"{"items": [1]}"#).await;
    let task = claim(&harness, 1).await.remove(0);
    let error = Error::new(Class::User, "no_way", "it cannot be done");
    harness.runtime.fail(of(&task), error).await.unwrap();
    let view = harness.end(run).await;
    assert_eq!((view.status, &*view.error.as_ref().unwrap().code), (RunStatus::Failed, "no_way"));
}

const LEASED: &str = "
name: leased
steps: [{ id: t, type: task, with: { queue: work, lease: 300ms } }]
";

pub async fn a_lost_lease_returns_the_task(harness: Harness) {
    let name = harness.publish(LEASED).await;
    let run = harness.start(&name, "{}").await;
    let first = claim(&harness, 1).await.remove(0);
    let (mut lost, mut last) = (0, first.clone());
    // Whoever answers too late has lost it, too.
    while lost == 0 || harness.runtime.complete(of(&last), Value::Int(1)).await.is_err() {
        let again = claim(&harness, 1).await.remove(0);
        assert_eq!((first.id, &first.key), (again.id, &again.key));
        assert_eq!(harness.runtime.complete(of(&last), Value::Null).await.unwrap_err().code(), "task_not_held");
        (lost, last) = (lost + 1, again);
    }
    assert_eq!(harness.end(run).await.output, Value::Int(1));
    let journal = harness.runtime.journal(TENANT, run, 0, 100).await.unwrap();
    assert_eq!(journal.items.iter().filter(|entry| entry.kind == "lost").count(), lost);
}

const PAIR: &str = "
name: pair
steps:
  - { id: a, type: task, with: { queue: work, input: 1, lease: 60s } }
  - { id: b, type: task, with: { queue: work, input: '${{ steps.a.output }}', lease: 60s } }
output: '${{ steps.b.output }}'
";

pub async fn who_waits_gets_the_next_task(harness: Harness) {
    let name = harness.publish(PAIR).await;
    let runtime = harness.runtime.clone();
    let worker = tokio::spawn(async move {
        let mut inputs = Vec::new();
        for _ in 0..2 {
            let (queues, worker, wait) = (vec!["work".to_owned()], "w1".to_owned(), Duration::from_secs(30));
            let claim = ClaimRequest { tenant: TENANT, queues, worker, max: 5, wait };
            let task = runtime.claim(claim).await.unwrap().remove(0);
            runtime.complete(of(&task), Value::Int(7)).await.unwrap();
            inputs.push(task.input);
        }
        inputs
    });
    let run = harness.start(&name, "{}").await;
    let view = harness.end(run).await;
    assert_eq!((view.status, &view.output), (RunStatus::Completed, &Value::Int(7)));
    assert_eq!(worker.await.unwrap(), [Value::Int(1), Value::Int(7)]);
    // Nothing is left of tasks that their run has taken the end of.
    let left = harness.runtime.store().finished_tasks(&harness.runtime.store().lanes(), 10).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}

pub async fn a_worker_that_went_away_loses_no_task(harness: Harness) {
    let name = harness.publish(PAIR).await;
    for _ in 0..20 {
        let gone = tokio::spawn({
            let runtime = harness.runtime.clone();
            async move {
                let (queues, worker, wait) = (vec!["work".to_owned()], "gone".to_owned(), Duration::from_secs(30));
                runtime.claim(ClaimRequest { tenant: TENANT, queues, worker, max: 5, wait }).await
            }
        });
        tokio::task::yield_now().await;
        let run = harness.start(&name, "{}").await;
        gone.abort();
        if let Ok(claimed) = gone.await {
            // It had got its answer before it was stopped.
            harness.runtime.complete(of(&claimed.unwrap()[0]), Value::Int(1)).await.unwrap();
        } else {
            // Long before its lease has run out.
            let task = claim(&harness, 1).await.remove(0);
            harness.runtime.complete(of(&task), Value::Int(1)).await.unwrap();
        }
        let task = claim(&harness, 1).await.remove(0);
        assert_eq!(task.run_id, run);
        harness.runtime.complete(of(&task), Value::Int(2)).await.unwrap();
        assert_eq!(harness.end(run).await.output, Value::Int(2));
    }
}

pub async fn cancel_takes_tasks_back(harness: Harness) {
    let name = harness.publish(TASKS).await;
    let run = harness.start(&name, r#"{"items": [1]}"#).await;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    harness.runtime.cancel(by(run), CancelOptions::default()).await.unwrap();
    assert_eq!(harness.end(run).await.status, RunStatus::Cancelled);
    let (queues, worker, wait) = (vec!["work".to_owned()], "w1".to_owned(), Duration::ZERO);
    let left = harness.runtime.claim(ClaimRequest { tenant: TENANT, queues, worker, max: 1, wait }).await.unwrap();
    assert!(left.is_empty());
}

pub async fn of_many_decisions_one_counts(harness: Harness) {
    let name = harness.publish("name: ask\nsteps: [{ id: ok, type: approval, with: { title: 'May I?' } }]").await;
    let run = harness.start(&name, "{}").await;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    let filter = ApprovalFilter { status: Some("pending".to_owned()), limit: 10, ..ApprovalFilter::default() };
    let approval = harness.runtime.approvals(TENANT, filter).await.unwrap().items[0].id;
    let decide = |who: usize| {
        harness.runtime.decide(DecideRequest {
            tenant: TENANT,
            approval,
            verdict: Verdict::Approve,
            by: Principal::Person(format!("person-{who}").into()),
            form: Value::Null,
            comment: None,
        })
    };
    let answers = futures::future::join_all((0..20).map(decide)).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    for refused in answers.into_iter().filter_map(Result::err) {
        assert_eq!(refused.code(), "approval_decided", "{refused:?}");
    }
    assert_eq!(harness.end(run).await.status, RunStatus::Completed);
}

pub async fn people_decide(mut harness: Harness) {
    let source = "
name: asks
steps:
  - { id: ok, type: approval, with: { title: 'May I?', quorum: { of: 3, need: 2 } } }
  - { id: after, type: probe, with: { value: '${{ steps.ok.output.decision }}' } }
output: '${{ steps.after.output }}'
";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    harness.crash().await;
    let filter = || ApprovalFilter { status: Some("pending".to_owned()), limit: 10, ..ApprovalFilter::default() };
    let pending = harness.runtime.approvals(TENANT, filter()).await.unwrap().items;
    assert_eq!((pending.len(), pending[0].run_id), (1, run));
    let decide = |who: &str, verdict: Verdict| {
        harness.runtime.decide(DecideRequest {
            tenant: TENANT,
            approval: pending[0].id,
            verdict,
            by: Principal::Person(who.into()),
            form: Value::Null,
            comment: None,
        })
    };
    let approve = |who: &'static str| decide(who, Verdict::Approve);
    assert_eq!(approve("ada").await.unwrap().status, "pending");
    // The same again is the same; another word is not.
    assert_eq!(approve("ada").await.unwrap().responses.as_list().unwrap().len(), 1);
    assert_eq!(decide("ada", Verdict::Reject).await.unwrap_err().code(), "approval_decided");
    let decided = approve("bob").await.unwrap();
    assert_eq!((decided.status.as_str(), decided.responses.as_list().unwrap().len()), ("approved", 2));
    assert_eq!(approve("eve").await.unwrap_err().code(), "approval_decided");
    let view = harness.end(run).await;
    assert_eq!(view.status, RunStatus::Completed, "{view:?}");
    for who in ["ada", "bob"] {
        assert_eq!(approve(who).await.unwrap(), decided);
        assert_eq!(decide(who, Verdict::Reject).await.unwrap_err().code(), "approval_decided");
    }
    assert_eq!(approve("eve").await.unwrap_err().code(), "approval_decided");
    assert!(harness.runtime.approvals(TENANT, filter()).await.unwrap().items.is_empty());
}

async fn publish_event(harness: &Harness, id: &str, amount: i64) -> windlass_runtime::PublishedEvent {
    let event = value(&format!(r#"{{"id": "{id}", "type": "order", "data": {{"amount": {amount}}}}}"#));
    let request = EventRequest {
        tenant: TENANT,
        source: "shop".to_owned(),
        id: id.to_owned(),
        event_type: "order".to_owned(),
        subject: None,
        event,
    };
    harness.runtime.publish_event(request).await.unwrap()
}

pub async fn events_come_before_and_after_the_wait(harness: Harness) {
    let source = "
name: listens
steps:
  - { id: go, type: wait, with: { signal: go } }
  - { id: e, type: event, with: { type: order, when: 'event.data.amount > 5' } }
output: '${{ steps.e.output.data.amount }}'
";
    let name = harness.publish(source).await;
    let (early, late) = (harness.start(&name, "{}").await, harness.start(&name, "{}").await);
    harness.until(late, |view| view.status == RunStatus::Waiting).await;
    harness.signal(late, "go").await;
    // The small one matches nobody.
    assert!(!publish_event(&harness, "1", 1).await.duplicate);
    harness.until(late, |view| view.status == RunStatus::Waiting).await;
    publish_event(&harness, "2", 7).await;
    assert!(publish_event(&harness, "2", 7).await.duplicate);
    assert_eq!(harness.end(late).await.output, Value::Int(7));
    // This one begins to wait after the event came.
    harness.signal(early, "go").await;
    assert_eq!(harness.end(early).await.output, Value::Int(7));
}

fn limited(when_full: &str) -> String {
    format!(
        "
name: limited
concurrency: {{ limit: 1, key: '${{{{ input.who }}}}', when_full: {when_full} }}
input: {{ type: object, properties: {{ who: {{ type: string, default: x }} }} }}
steps: [{{ id: w, type: wait, with: {{ signal: go }} }}]
"
    )
}

pub async fn full_places_queue(mut harness: Harness) {
    let name = harness.publish(&limited("queue")).await;
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(harness.start(&name, "{}").await);
    }
    let other = harness.start(&name, r#"{"who": "y"}"#).await;
    harness.until(other, |view| view.status == RunStatus::Waiting).await;
    for (place, run) in runs.clone().into_iter().enumerate() {
        harness.until(run, |view| view.status == RunStatus::Waiting).await;
        for later in &runs[place + 1..] {
            assert_eq!(harness.runtime.run(TENANT, *later).await.unwrap().status, RunStatus::Queued);
        }
        if place == 1 {
            harness.crash().await;
        }
        harness.signal(run, "go").await;
        assert_eq!(harness.end(run).await.status, RunStatus::Completed);
    }
}

pub async fn full_places_reject(harness: Harness) {
    let name = harness.publish(&limited("reject")).await;
    let run = harness.start(&name, "{}").await;
    let refused = harness.runtime.start(request(&name, "{}")).await.unwrap_err();
    assert_eq!(refused.code(), "concurrency_limit");
    harness.signal(run, "go").await;
    harness.end(run).await;
    for _ in 0..1_000 {
        match harness.runtime.start(request(&name, "{}")).await {
            Ok(_) => return,
            Err(RuntimeError::Conflict { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
    panic!("the place never came free");
}

pub async fn full_places_replace(harness: Harness) {
    let name = harness.publish(&limited("replace")).await;
    let first = harness.start(&name, "{}").await;
    harness.until(first, |view| view.status == RunStatus::Waiting).await;
    let second = harness.start(&name, "{}").await;
    assert_eq!(harness.end(first).await.status, RunStatus::Cancelled);
    harness.until(second, |view| view.status == RunStatus::Waiting).await;
    harness.signal(second, "go").await;
    assert_eq!(harness.end(second).await.status, RunStatus::Completed);
}

pub async fn a_lock_is_held_by_one(harness: Harness) {
    let source = "
name: locked
steps:
  - id: each
    type: foreach
    items: [1, 2, 3, 4]
    parallel: 4
    do: [{ id: a, type: probe, lock: one, with: { sleep_ms: 10 } }]
";
    let name = harness.publish(source).await;
    let runs = [harness.start(&name, "{}").await, harness.start(&name, "{}").await];
    for run in runs {
        assert_eq!(harness.end(run).await.status, RunStatus::Completed);
    }
    assert_eq!((harness.ledger.most(), harness.ledger.begun().len()), (1, 8));
}

pub async fn a_rate_is_kept(harness: Harness) {
    let source = "
name: rated
steps:
  - id: slow
    type: foreach
    items: [1, 2, 3, 4]
    parallel: 4
    do: [{ id: b, type: probe, rate: { limit: 2, per: 200ms }, with: { value: 1 } }]
";
    let view = harness.run(source, "{}").await;
    assert_eq!(view.status, RunStatus::Completed, "{view:?}");
    assert!(view.finished_at.unwrap().since(view.started_at.unwrap()) >= Duration::from_millis(200));
    let steps = harness.steps(view.id).await;
    assert!(steps.iter().all(|step| step.status == StepStatus::Completed));
}

/// An attempt that waits for its rate shows that, holds no place, and goes at once when the run is cancelled.
pub async fn what_waits_for_its_rate_holds_nothing(harness: Harness) {
    let source = "
name: held
steps:
  - id: slow
    type: foreach
    items: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    parallel: 10
    do: [{ id: b, type: probe, rate: { limit: 1, per: 1h }, with: { value: 1 } }]
";
    // Nine attempts wait: more than the eight places that a workflow has here.
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    let waits = |harness: &Harness| {
        let runtime = harness.runtime.clone();
        async move {
            let steps = runtime.steps(TENANT, run, None, 1_000).await.unwrap().items;
            steps.iter().filter(|it| (it.status, it.waits_for) == (StepStatus::Waiting, Some("rate"))).count()
        }
    };
    harness.ledger.begun_reaches(1).await;
    while waits(&harness).await != 9 {
        tokio::task::yield_now().await;
    }
    let free = "
name: held
steps: [{ id: a, type: probe, with: { value: 1 } }]
";
    harness.publish(free).await;
    assert_eq!(harness.end(harness.start(&name, "{}").await).await.status, RunStatus::Completed);
    harness.runtime.cancel(by(run), CancelOptions::default()).await.unwrap();
    assert_eq!(harness.end(run).await.status, RunStatus::Cancelled);
    assert_eq!(harness.ledger.begun().len(), 2);
}

pub async fn runs_come_from_runs(harness: Harness) {
    let source = "
name: origin
steps:
  - { id: a, type: probe, with: { value: 1 }, undo: { type: probe, with: { fail: stuck }, retry: { attempts: 1 } } }
  - { id: b, type: probe, with: { value: '${{ steps.a.output + 1 }}' } }
  - { id: c, type: probe, with: { value: '${{ steps.b.output + 1 }}' } }
output: '${{ steps.c.output }}'
";
    let run = harness.run(source, "{}").await.id;
    let again = harness.runtime.rerun(by(run)).await.unwrap().run;
    assert_eq!(harness.end(again).await.output, Value::Int(3));
    let begun: BTreeMap<String, u32> = harness.ledger.begun();
    assert_eq!(begun.len(), 6);
    let fork = harness.runtime.fork(by(run), "c").await.unwrap().run;
    let view = harness.end(fork).await;
    assert_eq!((view.output.clone(), view.origin.as_ref().unwrap().kind), (Value::Int(3), "fork"), "{view:?}");
    let ran: Vec<String> =
        harness.ledger.begun().into_keys().filter(|key| key.starts_with(&fork.to_string())).collect();
    assert_eq!(ran, [format!("{fork}/c")]);
    let undo = harness.runtime.undo(by(run)).await.unwrap().run;
    let undone = harness.end(undo).await;
    assert!(undone.status.is_final(), "{undone:?}");
    let missing = harness.runtime.fork(by(run), "nowhere").await.unwrap_err();
    assert!(matches!(missing, RuntimeError::NotFound { .. }), "{missing:?}");
}

pub async fn undo_of_a_cancelled_run(harness: Harness) {
    let source = "
name: left
steps:
  - { id: a, type: probe, with: { value: 1 }, undo: { type: probe, with: { value: back } } }
  - { id: w, type: wait, with: { signal: go } }
";
    let name = harness.publish(source).await;
    let run = harness.start(&name, "{}").await;
    harness.until(run, |view| view.status == RunStatus::Waiting).await;
    let options = CancelOptions { reason: None, undo: windlass_engine::event::UndoChoice::Leave };
    harness.runtime.cancel(by(run), options).await.unwrap();
    assert_eq!(harness.end(run).await.status, RunStatus::Cancelled);
    let undo = harness.runtime.undo(by(run)).await.unwrap().run;
    let view = harness.end(undo).await;
    assert_eq!(view.status, RunStatus::Completed, "{view:?}");
    harness.until(run, |view| view.undo.status == windlass_engine::run::UndoStatus::Done).await;
    assert_eq!(harness.runtime.undo(by(run)).await.unwrap_err().code(), "nothing_to_undo");
}
