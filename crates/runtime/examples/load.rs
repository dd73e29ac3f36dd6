//! What the runtime does a second without HTTP in front of it: runs of ten steps, by themselves or with workers.
//!
//! `cargo run --release -p windlass-runtime --example load -- steps|tasks [seconds] [clients] [database URL]`
//!
//! With `perf stat -e instructions:u,task-clock` in front of it, it says what a step costs on a machine that others use.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use windlass_definition::{
    Value,
    source::Format,
    step_type::{Family, StepType},
};
use windlass_engine::{
    id::TenantKey,
    start::{Mode, Principal},
};
use windlass_runtime::{
    ClaimRequest, Proof, Runtime, Settings, StartRequest, Target, TaskRequest,
    step::{Boxed, Catalogue, Step, StepContext, StepFailure},
};
use windlass_store::{Location, Store, StoreOptions};

const TENANT: TenantKey = TenantKey::DEFAULT;
const STEPS: usize = 10;
const CLAIMERS: usize = 4;

/// Gives back its `value`, and counts as an effect outside.
struct Given;

impl Step for Given {
    fn describe(&self) -> StepType {
        let schema = |text: &str| serde_json::from_str(text).unwrap_or_default();
        StepType {
            name: "given",
            documentation: "Gives back `value`.",
            family: Family::Doing,
            with_schema: schema(r#"{"type": "object"}"#),
            output_schema: schema("true"),
            secret_fields: &[],
            program_fields: &[],
            credential_fields: &[],
            hidden: false,
        }
    }

    fn run<'a>(&'a self, _: &'a StepContext, input: Value) -> Boxed<'a, Result<Value, StepFailure>> {
        Box::pin(async move { Ok(input.get("value").cloned().unwrap_or_default()) })
    }

    fn run_now(&self, input: &Value) -> Option<Result<Value, StepFailure>> {
        Some(Ok(input.get("value").cloned().unwrap_or_default()))
    }
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it prints its figures")]
async fn main() -> Result<(), Failed> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_else(|| "steps".to_owned());
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    let clients = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(256);
    let dir = std::env::temp_dir().join(format!("windlass-load-{}", std::process::id()));
    let location = match arguments.next() {
        Some(url) => Location::Postgres { url },
        None => Location::Sqlite { data_dir: dir.clone() },
    };
    let store = Store::open(StoreOptions::new(location)).await?;
    let runtime = Runtime::open(store, Catalogue::new(vec![Arc::new(Given)]), Settings::default()).await?;
    let step = if what == "tasks" { "type: task, with: { queue: q, input" } else { "type: given, with: { value" };
    let steps: Vec<String> = (0..STEPS).map(|n| format!("  - {{ id: s{n}, {step}: {n} }} }}\n")).collect();
    let source = format!("name: load_{what}\nsteps:\n{}", steps.concat());
    let name = format!("load_{what}");
    runtime.put_workflow(TENANT, &name, &source, Format::Yaml, None).await?;
    runtime.publish(TENANT, &name).await?;

    let runs = Arc::new(AtomicU64::new(0));
    let (began, until) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
    let workers: Vec<_> = (0..if what == "tasks" { CLAIMERS } else { 0 })
        .map(|number| tokio::spawn(work(runtime.clone(), format!("w{number}"))))
        .collect();
    let mut starters = Vec::new();
    for _ in 0..clients {
        let (runtime, name, runs) = (runtime.clone(), name.clone(), Arc::clone(&runs));
        starters.push(tokio::spawn(async move {
            let mut longest = Duration::ZERO;
            while Instant::now() < until {
                let sent = Instant::now();
                let (_, view) = runtime.start_and_wait(request(&name), Duration::from_secs(30)).await?;
                if !view.status.is_final() {
                    return Err("a run did not end".into());
                }
                longest = longest.max(sent.elapsed());
                runs.fetch_add(1, Relaxed);
            }
            Ok::<Duration, Failed>(longest)
        }));
    }
    let mut longest = Duration::ZERO;
    for starter in starters {
        longest = longest.max(starter.await??);
    }
    let took = began.elapsed();
    workers.iter().for_each(tokio::task::JoinHandle::abort);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let done = runs.load(Relaxed) as f64;
    let metrics = runtime.metrics();
    println!(
        "{{\"what\":\"{what}\",\"clients\":{clients},\"runs\":{done:.0},\"runs_per_s\":{:.0},\"mean_ms\":{:.2},\
         \"longest_ms\":{:.1},\"commits\":{},\"batches\":{}}}",
        done / took.as_secs_f64(),
        took.as_secs_f64() * 1e3 * f64::from(clients) / done.max(1.0),
        longest.as_secs_f64() * 1e3,
        metrics.commits,
        metrics.batches,
    );
    runtime.shutdown(Duration::from_secs(5)).await;
    runtime.store().close().await;
    if dir.exists() {
        std::fs::remove_dir_all(dir)?;
    }
    Ok(())
}

/// Claims a hundred at a time, and answers each by itself, as workers over HTTP do.
async fn work(runtime: Runtime, worker: String) {
    loop {
        let (queues, wait) = (vec!["q".to_owned()], Duration::from_secs(1));
        let claim = ClaimRequest { tenant: TENANT, queues, worker: worker.clone(), max: 100, wait };
        let Ok(tasks) = runtime.claim(claim).await else { return };
        for task in tasks {
            let runtime = runtime.clone();
            tokio::spawn(async move {
                let of = TaskRequest { tenant: TENANT, task: task.id, proof: Proof::Token(task.token) };
                if let Err(error) = runtime.complete(of, Value::Int(1)).await {
                    eprintln!("a task was not answered: {error}");
                }
            });
        }
    }
}

fn request(name: &str) -> StartRequest {
    StartRequest {
        tenant: TENANT,
        target: Target::Published { name: name.to_owned(), version: None },
        input: Value::map::<&str>([]),
        mode: Mode::Production,
        by: Principal::System,
        idempotency_key: None,
        key: None,
        labels: BTreeMap::new(),
        priority: 0,
        trace: None,
    }
}
