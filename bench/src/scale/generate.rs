//! Fills a store with finished runs: the engine plays each of them, and the committer writes it as one commit.
//!
//! So the rows are those that a server would have left, checksums included, and `windlass verify` holds for them. Time
//! is made up: the runs lie over the days before now, the oldest is written first.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;
use windlass_definition::{
    Class, Error, Plan, Timestamp, Value, compile::compile, source::Format, step_types::built_in,
};
use windlass_engine::{
    Effect, Entry, Event, Run, Start,
    event::{Failure, UndoChoice},
    id::{RunId, TenantKey},
    start::{Limits, Mode, Origin, Principal},
};
use windlass_runtime::history::{finished_run, read_for_searches};
use windlass_store::{RunCommit, Store};

use crate::{document::Document, progress::Bar};

/// Over how many days before now the runs lie.
pub const DAYS: u64 = 30;
/// The workflows that runs are spread over evenly.
pub const WORKFLOWS: u64 = 20;
/// A workflow of which only every so many-th run is, all of them completed.
pub const RARE: &str = "order-rare";
const RARE_EVERY: u64 = 100_000;
/// Commits that are handed over together, and runs that are read together.
const BATCH: u64 = 500;
/// Batches that are read at once: what one waits for, another has.
const READS: usize = 4;
/// How long a made-up step takes.
const STEP_TIME: Duration = Duration::from_millis(40);

/// The name of one of the workflows.
pub fn workflow_name(number: u64) -> String {
    format!("order-{number:02}")
}

/// The workflows whose runs are made.
pub fn documents() -> Vec<Document> {
    (0..WORKFLOWS).map(workflow_name).chain([RARE.to_owned()]).map(document).collect()
}

/// An order of one step.
fn document(name: String) -> Document {
    let charge = json!({ "id": "charge", "type": "bench", "with": { "value": { "order": "${{ input.order }}", "amount": "${{ input.amount }}" } } });
    let json = json!({ "name": name, "steps": [charge], "output": "${{ steps.charge.output }}" });
    Document { name, json, steps: 1 }
}

/// What becomes of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Completes,
    Fails,
    IsCancelled,
}

/// What a number says of its run. The shares are those of a shop on a good day.
fn fate(number: u64) -> Fate {
    match number % 100 {
        13 | 37 | 61 | 83 => Fate::Fails,
        50 => Fate::IsCancelled,
        _ => Fate::Completes,
    }
}

/// When the run of that number of so many was started.
pub fn created_at(now: Timestamp, number: u64, of: u64) -> Timestamp {
    let span = u128::from(DAYS) * 86_400_000_000;
    let before = span - span * u128::from(number) / u128::from(of.max(1));
    Timestamp::from_micros(now.micros() - i64::try_from(before).unwrap_or(0))
}

/// The plans of the workflows, by the number of a run.
struct Plans {
    usual: Vec<Arc<Plan>>,
    rare: Arc<Plan>,
}

impl Plans {
    fn compiled() -> Result<Plans> {
        let types = windlass_steps::catalogue(windlass_steps::Options::default())
            .map_err(|error| anyhow!("no step types: {error}"))?
            .step_types(built_in());
        let mut plans = Vec::new();
        for document in documents() {
            let compiled = compile(&document.json.to_string(), Format::Json, &types)
                .map_err(|problems| anyhow!("{} does not compile: {problems:?}", document.name))?;
            plans.push(compiled.plan);
        }
        let rare = plans.pop().context("no workflow")?;
        Ok(Plans { usual: plans, rare })
    }

    fn of(&self, number: u64) -> (&Arc<Plan>, Fate) {
        if number % RARE_EVERY == RARE_EVERY - 1 {
            return (&self.rare, Fate::Completes);
        }
        (&self.usual[(number % WORKFLOWS) as usize], fate(number / WORKFLOWS))
    }
}

/// Bits that differ from number to number, so that ids do.
fn bits(number: u64) -> [u8; 10] {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mut bits = [0; 10];
    bits[..2].copy_from_slice(&(number as u16).to_be_bytes());
    bits[2..].copy_from_slice(&mixed.to_be_bytes());
    bits
}

/// The run of that number, which was started then.
fn run_id(number: u64, created_at: Timestamp) -> RunId {
    RunId::from_parts(created_at.micros().max(0).unsigned_abs() / 1_000, bits(number))
}

/// The start of a run.
fn start(plan: &Plan, number: u64, created_at: Timestamp) -> Start {
    let (order, customer) = (format!("A-{number:09}"), format!("c-{}", number % 50_000));
    // One in ten is found by its order, and by its customer.
    let tagged = number.is_multiple_of(10);
    Start {
        run: run_id(number, created_at),
        tenant: TenantKey::DEFAULT,
        workflow: plan.name.clone(),
        version: 1,
        plan: plan.hash.to_string().into(),
        mode: Mode::Production,
        input: Value::map([("order", Value::from(order.as_str())), ("amount", Value::from((number % 900) as i64 + 1))]),
        by: Principal::Token("bench".into()),
        created_at,
        key: tagged.then(|| order.as_str().into()),
        labels: tagged.then(|| ("customer".into(), customer.as_str().into())).into_iter().collect(),
        priority: 0,
        trace: None,
        parent: None,
        depth: 0,
        origin: Origin::Fresh,
        queued: false,
        refused: None,
        limits: Limits::default(),
    }
}

/// Plays a run from its start to its end.
fn play(plan: &Plan, start: Start, fate: Fate) -> Result<(Run, Vec<Entry>)> {
    let mut now = start.created_at;
    let (mut run, begun) = Run::start(plan, start, now);
    let mut entries = begun.entries;
    let mut effects: VecDeque<Effect> = begun.effects.into();
    while let Some(effect) = effects.pop_front() {
        let ended = |path, attempt, result| Event::StepEnded { path, attempt, started_at: now, result };
        let event = match effect {
            Effect::RunStep(step) => match fate {
                Fate::Completes => {
                    let output = step.with.get("value").cloned().unwrap_or_default();
                    ended(step.path, step.attempt, Ok(output))
                }
                Fate::Fails => {
                    let error = Error::new(Class::User, "card_declined", "the card was declined");
                    ended(step.path, step.attempt, Err(Failure::certain(error)))
                }
                Fate::IsCancelled => Event::Cancel {
                    by: Principal::Person("a customer".into()),
                    reason: Some("ordered twice".into()),
                    undo: UndoChoice::Undo,
                },
            },
            Effect::StopStep { path, attempt } => {
                let error = Error::new(Class::Cancelled, "stopped", "the step was asked to stop");
                ended(path, attempt, Err(Failure::certain(error)))
            }
            _ => continue,
        };
        now = now.after(STEP_TIME);
        let moved = run.step(plan, event, now).map_err(|refused| anyhow!("the engine refused: {refused}"))?;
        entries.extend(moved.entries);
        effects.extend(moved.effects);
    }
    Ok((run, entries))
}

/// The commit of the run of that number of so many.
fn commit(store: &Store, plans: &Plans, number: u64, created_at: Timestamp) -> Result<RunCommit> {
    let (plan, fate) = plans.of(number);
    let (run, entries) = play(plan, start(plan, number, created_at), fate)?;
    anyhow::ensure!(run.status().is_final(), "a made-up run is {}", run.status());
    Ok(finished_run(&run, plan.hash.0, &entries, store.lane_for(run.id())))
}

/// Writes so many runs into a store whose server has the workflows of [`documents`]; they end before that time.
///
/// # Errors
/// The database does not take them.
pub async fn fill(store: &Store, runs: u64, now: Timestamp) -> Result<()> {
    let plans = Plans::compiled()?;
    store.make_partitions(created_at(now, 0, runs), now).await?;
    let written = Arc::new(AtomicU64::new(0));
    let failed: Arc<Mutex<Option<String>>> = Arc::default();
    let failure = || failed.lock().unwrap_or_else(PoisonError::into_inner).clone().map(|text| anyhow!(text));
    let bar = Bar::begin("generating runs", runs);
    let mut next = 0;
    while next < runs {
        let until = runs.min(next + BATCH);
        let mut commits = Vec::new();
        for number in next..until {
            let commit = commit(store, &plans, number, created_at(now, number, runs))?;
            let (written, failed) = (Arc::clone(&written), Arc::clone(&failed));
            let done: windlass_store::Done = Box::new(move |outcome| {
                written.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = outcome {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.to_string());
                }
            });
            commits.push((commit, done));
        }
        next = until;
        store.ready(TenantKey::DEFAULT).await;
        store.submit_all(commits);
        bar.show(written.load(Ordering::Relaxed));
        if let Some(error) = failure() {
            return Err(error);
        }
    }
    while written.load(Ordering::Relaxed) < runs {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bar.end();
    failure().map_or(Ok(()), Err)
}

/// Reads the runs that [`fill`] wrote, so that they are found by their words.
///
/// # Errors
/// The database does not answer.
pub async fn read(store: &Store, runs: u64, now: Timestamp) -> Result<()> {
    let bar = Bar::begin("reading runs for searches", runs);
    let batches = (0..runs).step_by(usize::try_from(BATCH)?).map(|first| {
        let numbers = first..runs.min(first + BATCH);
        let ids: Vec<RunId> = numbers.clone().map(|number| run_id(number, created_at(now, number, runs))).collect();
        async move { read_for_searches(store, TenantKey::DEFAULT, &ids).await.map(|()| numbers.end) }
    });
    let mut read = futures::stream::iter(batches).buffered(READS);
    while let Some(until) = read.try_next().await? {
        bar.show(until);
    }
    bar.end();
    Ok(())
}

#[cfg(test)]
mod tests {
    use windlass_definition::Timestamp;
    use windlass_runtime::verify::{VerifyOptions, effects::Effects};
    use windlass_store::{Location, RunFilter, StoreOptions};

    use super::*;

    #[tokio::test]
    async fn what_is_generated_is_what_a_server_would_have_left() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(Location::Sqlite { data_dir: dir.path().join("data") });
        let store = Store::open(options).await.unwrap();
        for document in documents() {
            let types = windlass_steps::catalogue(windlass_steps::Options::default()).unwrap().step_types(built_in());
            let compiled = compile(&document.json.to_string(), Format::Json, &types).unwrap();
            let canonical = windlass_definition::print::print_json(&compiled.document);
            store.put_definition(TenantKey::DEFAULT, compiled.plan.hash.0, canonical.as_bytes()).await.unwrap();
        }
        let now = store.now();
        fill(&store, 3_000, now).await.unwrap();
        read(&store, 3_000, now).await.unwrap();
        let count = async |filter| store.count_runs(TenantKey::DEFAULT, &filter).await.unwrap();
        assert_eq!(count(RunFilter::default()).await, windlass_store::Count::Exactly(3_000));
        assert_eq!(
            count(RunFilter { key: Some("A-000000010".into()), ..RunFilter::default() }).await,
            windlass_store::Count::Exactly(1)
        );
        let types = windlass_steps::catalogue(windlass_steps::Options::default()).unwrap().step_types(built_in());
        let nothing = (&VerifyOptions::default(), Effects::default());
        let verdict = windlass_runtime::verify::verify(&store, types, nothing, |_| {}).await.unwrap();
        assert!(verdict.violations.is_empty(), "{:?}", verdict.violations);
        assert_eq!(verdict.counts.ended, 3_000);
        store.close().await;
    }

    #[test]
    fn runs_lie_in_the_order_of_their_numbers() {
        let now = Timestamp::from_micros(1_800_000_000_000_000);
        assert!(created_at(now, 0, 10) < created_at(now, 9, 10));
        assert!(created_at(now, 9, 10) < now);
        assert_ne!(bits(7), bits(8));
    }
}
