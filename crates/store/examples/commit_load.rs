//! How many journal rows a second the committer takes: runs of ten steps, each step on disk before the next begins.
//!
//! `cargo run --release -p windlass-store --example commit_load -- [seconds] [runs at once] [database URL]`

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use windlass_engine::{
    id::{Id, RunId, TenantKey},
    status::RunStatus,
};
use windlass_store::{
    CommitError, JournalRow, Location, NewRun, RunChange, RunCommit, RunMode, RunUpdate, Store, StoreError,
    StoreOptions,
};

const STEPS: i64 = 10;
const PAYLOAD_BYTES: usize = 200;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it prints its figures")]
async fn main() -> Result<(), StoreError> {
    let mut arguments = std::env::args().skip(1);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    let at_once = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(256);
    let dir = std::env::temp_dir().join(format!("windlass-load-{}", std::process::id()));
    let location = match arguments.next() {
        Some(url) => Location::Postgres { url },
        None => Location::Sqlite { data_dir: dir.clone() },
    };
    let store = Store::open(StoreOptions::new(location)).await?;
    let rows = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(seconds);
    let began = Instant::now();
    let producers: Vec<_> = (0..at_once)
        .map(|_| {
            let (store, rows) = (store.clone(), Arc::clone(&rows));
            tokio::spawn(async move {
                while Instant::now() < until {
                    if let Err(error) = run(&store, &rows).await {
                        eprintln!("{error}");
                        return;
                    }
                }
            })
        })
        .collect();
    for producer in producers {
        producer.await.ok();
    }
    let took = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let rows = rows.load(Ordering::Relaxed) as f64;
    println!(
        "{{\"rows_per_s\":{:.0},\"runs_per_s\":{:.0},\"at_once\":{at_once},\"payload_bytes\":{PAYLOAD_BYTES}}}",
        rows / took,
        rows / took / (STEPS + 2) as f64
    );
    store.close().await;
    if dir.exists() {
        std::fs::remove_dir_all(dir).ok();
    }
    Ok(())
}

async fn run(store: &Store, rows: &AtomicU64) -> Result<(), CommitError> {
    let run: RunId = Id::new(uuid::Uuid::now_v7());
    let lane = store.lane_for(run);
    for seq in 1..=STEPS + 2 {
        let now = store.now();
        let change = match seq {
            1 => RunChange::Insert(
                Box::new(NewRun {
                    workflow: "load".to_owned(),
                    version: Some(1),
                    definition_hash: [1; 32],
                    status: RunStatus::Running,
                    undo_status: None,
                    mode: RunMode::Production,
                    priority: 0,
                    key: None,
                    labels: None,
                    started_by: None,
                    parent: None,
                    origin: None,
                    trace: None,
                    depth: 0,
                    error: None,
                    created_at: now,
                    started_at: Some(now),
                    finished_at: None,
                }),
                None,
            ),
            last if last == STEPS + 2 => RunChange::Update(Box::new(RunUpdate {
                status: Some(RunStatus::Completed),
                finished_at: Some(now),
                ..RunUpdate::default()
            })),
            _ => RunChange::None,
        };
        let entry = JournalRow {
            seq,
            kind: "step",
            opens: true,
            path: "step".into(),
            step: "step".into(),
            attempt: 1,
            at: now,
            payload: vec![b'x'; PAYLOAD_BYTES],
        };
        store
            .commit(RunCommit { entries: vec![entry], change, ..RunCommit::new(TenantKey::DEFAULT, run, lane) })
            .await?;
        rows.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
