//! Runs above a server's bounds: who waits, whose turn it is, and that nothing of it is lost.

use futures::future::join_all;
use tokio::sync::oneshot;
use windlass_definition::{Timestamp, Value, source::Format};
use windlass_engine::{
    id::{RunId, TenantKey},
    start::Principal,
    status::RunStatus,
};
use windlass_runtime::{
    CancelOptions, RunRequest, RuntimeError, SignalRequest, StartRequest,
    verify::{VerifyOptions, effects::Effects},
};
use windlass_store::{Position, Share};

use crate::{
    harness::{Harness, TENANT, request},
    verify::judge,
};

/// Waits for the gate, if its input says so.
const GATED: &str = "
name: gated
input: {type: object, properties: {gate: {type: boolean}}}
steps:
  - { id: a, type: probe, with: { value: 1, gate: true }, if: has(input.gate) }
  - { id: b, type: probe, with: { value: 2 } }
";
const HOLDS: &str = r#"{"gate": true}"#;

fn by(run: RunId) -> RunRequest {
    RunRequest { tenant: TENANT, run, by: Principal::System }
}

/// One seat, and a run that sits on it until the gate opens.
async fn one_seat(harness: Harness) -> (Harness, RunId) {
    let harness = harness.with(|settings| settings.runs_active_max = 1).await;
    harness.publish(GATED).await;
    let holder = harness.start("gated", HOLDS).await;
    harness.ledger.begun_reaches(1).await;
    (harness, holder)
}

async fn status(harness: &Harness, run: RunId) -> RunStatus {
    harness.runtime.run(TENANT, run).await.unwrap().status
}

/// Ends the holder and all of these; gives the runs in the order in which they began.
async fn order(harness: &Harness, holder: RunId, runs: &[(TenantKey, RunId)]) -> Vec<RunId> {
    harness.ledger.gate.notify_one();
    harness.end(holder).await;
    let mut began = Vec::new();
    for (tenant, run) in runs {
        let view = harness.runtime.wait(*tenant, *run, std::time::Duration::from_secs(20)).await.unwrap();
        assert_eq!(view.status, RunStatus::Completed, "{view:?}");
        began.push((view.started_at.unwrap(), *run));
    }
    began.sort();
    began.into_iter().map(|(_, run)| run).collect()
}

pub async fn runs_above_the_bound_wait_their_turn(harness: Harness) {
    let harness = harness.with(|settings| settings.runs_active_max = 2).await;
    harness.publish(GATED).await;
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(harness.start("gated", HOLDS).await);
    }
    harness.ledger.begun_reaches(2).await;
    for run in &runs[2..] {
        assert_eq!(status(&harness, *run).await, RunStatus::Queued);
    }
    for ended in 1..=6 {
        harness.ledger.gate.notify_one();
        // Two steps of those that ended, and the first one of those that run.
        harness.ledger.begun_reaches(2 * ended + 2.min(6 - ended)).await;
    }
    for run in runs {
        assert_eq!(harness.end(run).await.status, RunStatus::Completed);
    }
    assert_eq!(harness.ledger.most(), 2);
    harness.settled(|metrics| metrics.runs_active == 0).await;
    assert_eq!((harness.runtime.metrics().runs_queued, harness.runtime.metrics().runs_claimed), (4, 4));
    // Nobody waits any more: the next one begins at once.
    harness.ledger.gate.notify_one();
    harness.end(harness.start("gated", HOLDS).await).await;
    assert_eq!(harness.runtime.metrics().runs_queued, 4);
}

pub async fn the_higher_priority_goes_first(harness: Harness) {
    let (harness, holder) = one_seat(harness).await;
    let mut runs = Vec::new();
    for priority in [0, 5, 0, -1, 5] {
        let start = StartRequest { priority, ..request("gated", "{}") };
        runs.push((TENANT, harness.runtime.start(start).await.unwrap().run));
    }
    let wanted: Vec<RunId> = [1, 4, 0, 2, 3].into_iter().map(|at: usize| runs[at].1).collect();
    assert_eq!(order(&harness, holder, &runs).await, wanted);
    let view = harness.runtime.run(TENANT, wanted[0]).await.unwrap();
    assert_eq!(view.priority, 5);
    let refused = harness.runtime.start(StartRequest { priority: 1_001, ..request("gated", "{}") }).await;
    assert!(matches!(refused, Err(RuntimeError::Invalid { .. })), "{refused:?}");
}

pub async fn tenants_take_turns(harness: Harness) {
    let (harness, holder) = one_seat(harness).await;
    let other = harness.tenant(7).await;
    harness.runtime.put_workflow(other, "gated", GATED, Format::Yaml, None).await.unwrap();
    harness.runtime.publish(other, "gated").await.unwrap();
    let mut runs = Vec::new();
    for _ in 0..30 {
        runs.push((TENANT, harness.start("gated", "{}").await));
    }
    let late = StartRequest { tenant: other, ..request("gated", "{}") };
    let late = harness.runtime.start(late).await.unwrap().run;
    runs.push((other, late));
    let order = order(&harness, holder, &runs).await;
    let turn = order.iter().position(|run| *run == late).unwrap();
    assert!(turn <= 1, "its turn was after {turn} others");
}

pub async fn a_tenant_at_its_bound_waits_alone(harness: Harness) {
    let harness = harness.with(|settings| settings.runs_active_per_tenant_max = 1).await;
    harness.publish(GATED).await;
    let other = harness.tenant(7).await;
    harness.runtime.put_workflow(other, "gated", GATED, Format::Yaml, None).await.unwrap();
    harness.runtime.publish(other, "gated").await.unwrap();
    let holder = harness.start("gated", HOLDS).await;
    let waits = harness.start("gated", "{}").await;
    let free = StartRequest { tenant: other, ..request("gated", "{}") };
    let (_, free) = harness.runtime.start_and_wait(free, std::time::Duration::from_secs(20)).await.unwrap();
    assert_eq!(free.status, RunStatus::Completed);
    assert_eq!(status(&harness, waits).await, RunStatus::Queued);
    assert_eq!(order(&harness, holder, &[(TENANT, waits)]).await, [waits]);
}

/// Runs that are under way at once, and what each of them does at once.
const FANS: usize = 4;
const ITEMS: usize = 1_000;

/// For each item so many steps behind each other.
fn fan(steps: usize) -> String {
    let steps = (1..=steps).map(|n| format!("{{ id: s{n}, type: probe, with: {{ now: {n} }} }}"));
    let steps = steps.collect::<Vec<_>>().join(", ");
    format!(
        "name: fan\nsteps:\n  - id: each\n    type: foreach\n    items: '${{{{ input.items }}}}'\n    parallel: {ITEMS}\n    do: [{steps}]\n"
    )
}

pub async fn a_tenant_with_much_to_do_holds_up_nobody(harness: Harness) {
    harness.publish(&fan(20)).await;
    let other = harness.tenant(7).await;
    harness.runtime.put_workflow(other, "fan", &fan(6), Format::Yaml, None).await.unwrap();
    harness.runtime.publish(other, "fan").await.unwrap();
    let items: Vec<usize> = (0..ITEMS).collect();
    let input = serde_json::json!({ "items": items }).to_string();
    let mut many = Vec::new();
    for _ in 0..FANS {
        many.push(harness.start("fan", &input).await);
    }
    harness.settled(|metrics| metrics.steps_ended > 0).await;
    let begin = harness.runtime.store().now();
    let one = StartRequest { tenant: other, ..request("fan", r#"{"items": [1]}"#) };
    let (one, view) = harness.runtime.start_and_wait(one, std::time::Duration::from_secs(60)).await.unwrap();
    assert_eq!(view.status, RunStatus::Completed);
    let end = *moments(&harness, other, one.run).await.last().unwrap();
    let mut meanwhile = 0;
    for run in many {
        // Unless it is over already.
        let _ = harness.runtime.cancel(by(run), CancelOptions::default()).await;
        harness.end(run).await;
        let others = moments(&harness, TENANT, run).await;
        meanwhile += others.iter().filter(|at| **at > begin && **at <= end).count();
    }
    // In the order of arrival, each of its six steps would be behind all that is under way.
    assert!(meanwhile < 3 * FANS * ITEMS, "{meanwhile} entries of others came before its end");
}

/// When each entry of a run's journal came about.
async fn moments(harness: &Harness, tenant: TenantKey, run: RunId) -> Vec<Timestamp> {
    let rows = harness.runtime.store().journal(tenant, run, 1, 100_000).await.unwrap();
    rows.into_iter().map(|row| row.at).collect()
}

const TOLD: &str = "
name: told
steps:
  - { id: w, type: wait, with: { signal: go } }
";

pub async fn queued_runs_can_be_stopped_paused_and_told(harness: Harness) {
    let (harness, holder) = one_seat(harness).await;
    harness.publish(TOLD).await;
    let (stopped, paused) = (harness.start("gated", "{}").await, harness.start("gated", "{}").await);
    let (again, told) = (harness.start("gated", "{}").await, harness.start("told", "{}").await);
    harness.runtime.cancel(by(stopped), CancelOptions::default()).await.unwrap();
    assert_eq!(harness.end(stopped).await.status, RunStatus::Cancelled);
    for run in [paused, again] {
        harness.runtime.pause(by(run)).await.unwrap();
        assert_eq!(status(&harness, run).await, RunStatus::Paused);
    }
    harness.runtime.resume(by(again)).await.unwrap();
    assert_eq!(status(&harness, again).await, RunStatus::Queued);
    harness.signal(told, "go").await;
    assert_eq!(status(&harness, told).await, RunStatus::Queued);
    harness.ledger.gate.notify_one();
    for run in [holder, again, told] {
        assert_eq!(harness.end(run).await.status, RunStatus::Completed);
    }
    harness.settled(|metrics| metrics.runs_claimed == 3).await;
    assert!(harness.runtime.store().backlog_counts().await.unwrap().is_empty());
    // It had its turn, and stays where it is until somebody says so.
    harness.until(paused, |view| view.started_at.is_some()).await;
    assert_eq!(status(&harness, paused).await, RunStatus::Paused);
    harness.runtime.resume(by(paused)).await.unwrap();
    assert_eq!(harness.end(paused).await.status, RunStatus::Completed);
}

pub async fn a_full_queue_refuses(harness: Harness) {
    let harness = harness
        .with(|settings| {
            settings.runs_active_max = 1;
            settings.runs_queued_per_tenant_max = 2;
        })
        .await;
    harness.publish(GATED).await;
    let holder = harness.start("gated", HOLDS).await;
    let keyed = || StartRequest { idempotency_key: Some("one".to_owned()), ..request("gated", "{}") };
    let first = harness.runtime.start(keyed()).await.unwrap();
    let again = harness.runtime.start(keyed()).await.unwrap();
    assert_eq!((again.run, again.duplicate), (first.run, true));
    let second = harness.start("gated", "{}").await;
    let refused = harness.runtime.start(request("gated", "{}")).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::Limit { code: "too_many_queued", .. }), "{refused:?}");
    let runs = [(TENANT, first.run), (TENANT, second)];
    assert_eq!(order(&harness, holder, &runs).await, [first.run, second]);
    harness.settled(|metrics| metrics.runs_active == 0).await;
    harness.run("{name: anew, steps: [{id: a, type: probe, with: {value: 1}}]}", "{}").await;
}

pub async fn a_queue_survives(harness: Harness) {
    let (mut harness, holder) = one_seat(harness).await;
    let mut runs = vec![];
    for _ in 0..5 {
        runs.push((TENANT, harness.start("gated", "{}").await));
    }
    harness.crash().await;
    harness.ledger.begun_reaches(2).await;
    let wanted: Vec<RunId> = runs.iter().map(|(_, run)| *run).collect();
    let found = order(&harness, holder, &runs).await;
    assert_eq!(found.len(), wanted.len());
}

pub async fn many_are_let_in_at_once(harness: Harness) {
    let (harness, holder) = one_seat(harness).await;
    harness.publish(TOLD).await;
    let mut runs = Vec::new();
    for _ in 0..10 {
        runs.push(harness.start("gated", "{}").await);
    }
    // Of these more was written, or a value lies apart.
    let told = harness.start("told", "{}").await;
    harness.signal(told, "go").await;
    let often = harness.start("gated", "{}").await;
    for _ in 0..5 {
        harness.runtime.pause(by(often)).await.unwrap();
        harness.runtime.resume(by(often)).await.unwrap();
    }
    let large = format!(r#"{{"large": "{}"}}"#, "x".repeat(100_000));
    let large = harness.start("gated", &large).await;
    runs.extend([told, often, large]);
    let harness = harness.with(|settings| settings.runs_active_max = 100).await;
    for run in &runs {
        assert_eq!(harness.end(*run).await.status, RunStatus::Completed);
    }
    assert_eq!(harness.runtime.metrics().runs_claimed, 13);
    harness.ledger.gate.notify_one();
    assert_eq!(harness.end(holder).await.status, RunStatus::Completed);
}

pub async fn what_was_claimed_and_not_admitted_is_found(harness: Harness) {
    let (mut harness, holder) = one_seat(harness).await;
    let waits = harness.start("gated", "{}").await;
    let paused = harness.start("gated", "{}").await;
    harness.runtime.pause(by(paused)).await.unwrap();
    harness.runtime.abort().await;
    let store = harness.runtime.store();
    let share = Share { tenant: TENANT, runs: 9, floor: Position::FIRST };
    let claimed = store.claim_runs(store.lanes()[0], &[share]).await.unwrap();
    assert_eq!(claimed.len(), 2);
    harness.crash().await;
    harness.ledger.begun_reaches(2).await;
    harness.ledger.gate.notify_one();
    for run in [holder, waits] {
        assert_eq!(harness.end(run).await.status, RunStatus::Completed);
    }
    harness.until(paused, |view| view.started_at.is_some()).await;
    harness.runtime.resume(by(paused)).await.unwrap();
    assert_eq!(harness.end(paused).await.status, RunStatus::Completed);
}

const RESTS: &str = "
name: rests
steps:
  - { id: w, type: wait, with: { signal: go } }
  - { id: d, type: delay, with: { for: 1h } }
";

/// A run that is in memory with one of its server's lanes may be claimed onto another: what is written from then on
/// belongs there.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_claimed_while_it_is_told_something_changes_its_lane() {
    let harness = Harness::postgres().await;
    harness.publish(RESTS).await;
    let store = harness.runtime.store().clone();
    let tenant = async |change: &'static str| {
        let sql = format!("update tenants set {change}");
        let epoch = "update settings set value = cast(cast(value as bigint) + 1 as text) where name = 'access_epoch'";
        for sql in [sql.as_str(), epoch] {
            store.database().across_tenants().execute(sql.to_owned(), vec![]).await.unwrap();
        }
        store.look_at_access().await.unwrap();
    };
    tenant("status = 'suspended', suspended_at = now()").await;
    let runs = join_all((0..16).map(|_| harness.start("rests", "{}"))).await;
    // Nothing gets into the journal while somebody else has it; claims do without.
    let (held, has) = oneshot::channel();
    let (free, freed) = oneshot::channel::<()>();
    let holder = store.clone();
    let holding = tokio::spawn(async move {
        let database = holder.database().across_tenants();
        let held = database.transact(move |tx| {
            Box::pin(async move {
                tx.execute("lock table journal in share mode", vec![]).await?;
                held.send(()).unwrap();
                freed.await.unwrap();
                Ok(())
            })
        });
        held.await.unwrap();
    });
    has.await.unwrap();
    // The first claim goes to the second lane: its lock is not to be with those who wait for the journal.
    let lane = store.lanes()[1];
    let told: Vec<RunId> = runs.iter().copied().filter(|run| store.lane_for(*run) != lane).collect();
    assert!(!told.is_empty());
    let signals = join_all(told.iter().map(|run| harness.signal(*run, "go")));
    let test = async {
        harness.settled(|metrics| metrics.commits_in_flight >= told.len() as u64).await;
        tenant("status = 'active', suspended_at = null").await;
        harness.settled(|metrics| metrics.runs_claimed == 16).await;
        free.send(()).unwrap();
        holding.await.unwrap();
    };
    futures::join!(signals, test);
    for run in &told {
        harness.until(*run, |view| view.status == RunStatus::Waiting && view.started_at.is_some()).await;
    }
    harness.settled(|metrics| metrics.commits_in_flight == 0).await;
    let verdict = judge(&harness.visit().await, (&VerifyOptions::default(), Effects::default())).await;
    assert!(verdict.violations.is_empty(), "{:?}", verdict.violations);
}

const NARROW: &str = "
name: narrow
concurrency: { limit: 1, when_full: queue }
steps:
  - { id: a, type: probe, with: { value: 1 } }
";

pub async fn places_and_seats_go_together(harness: Harness) {
    let (harness, holder) = one_seat(harness).await;
    harness.publish(NARROW).await;
    let mut runs = Vec::new();
    for priority in [0, 0, 3] {
        let start = StartRequest { priority, ..request("narrow", "{}") };
        runs.push((TENANT, harness.runtime.start(start).await.unwrap().run));
    }
    // The first has the place and waits for a seat; the others wait for the place.
    let wanted = [runs[0].1, runs[2].1, runs[1].1];
    assert_eq!(order(&harness, holder, &runs).await, wanted);
    assert_eq!(harness.ledger.most(), 1);
}

async fn signal(harness: &Harness, run: RunId) {
    let (tenant, name) = (TENANT, "go".to_owned());
    let signal = SignalRequest {
        tenant,
        run,
        name,
        payload: Value::Null,
        by: windlass_engine::start::Principal::System,
        idempotency_key: None,
    };
    harness.runtime.signal(signal).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_room_takes_queued_runs() {
    let (first, holder) = one_seat(Harness::postgres().await).await;
    first.publish(TOLD).await;
    let mut runs = Vec::new();
    for _ in 0..10 {
        runs.push(first.start("gated", "{}").await);
    }
    let told = first.start("told", "{}").await;
    // Told while it waits on the first server's lane, and taken with that by the other.
    signal(&first, told).await;
    let second = first.another().await;
    for run in runs.iter().chain([&told]) {
        assert_eq!(first.end(*run).await.status, RunStatus::Completed);
    }
    assert_eq!(second.runtime.metrics().runs_claimed, 11);
    assert_eq!(second.ledger.begun().len(), 10);
    first.ledger.gate.notify_one();
    assert_eq!(second.end(holder).await.status, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_follow_a_run_to_who_took_it() {
    let (first, _holder) = one_seat(Harness::postgres().await).await;
    first.publish(TOLD).await;
    let run = first.start("told", "{}").await;
    let store = first.runtime.store();
    let lane = store.run(TENANT, run).await.unwrap().unwrap().lane;
    let second = first.another().await;
    first.until(run, |view| view.status == RunStatus::Waiting).await;
    // Written by somebody who had read the run before it was taken.
    let letter = serde_json::json!({"signal": {"name": "go", "payload": null, "key": null}});
    let message = windlass_store::InboxRow {
        id: uuid::Uuid::now_v7(),
        lane,
        run,
        kind: "signal".to_owned(),
        dedup: "one".to_owned(),
        payload: serde_json::to_vec(&letter).unwrap(),
        created_at: store.now(),
    };
    store.put_inbox(TENANT, message).await.unwrap();
    assert_eq!(second.end(run).await.status, RunStatus::Completed);
}
