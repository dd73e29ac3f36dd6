//! How fast runs go; prints, and asserts nothing but that they end.

use std::time::{Duration, Instant};

use crate::harness::{Harness, request};

pub async fn ten_steps(harness: Harness) {
    let mut source = String::from("name: ten\nsteps:\n");
    for n in 0..10 {
        source.push_str(&format!("  - {{ id: s{n}, type: probe, with: {{ now: {n} }} }}\n"));
    }
    let name = harness.publish(&source).await;
    for clients in [1usize, 256] {
        let count = if clients == 1 { 50 } else { 3_000 };
        let before = harness.runtime.metrics();
        let began = Instant::now();
        let mut tasks = Vec::new();
        for client in 0..clients {
            let (runtime, name) = (harness.runtime.clone(), name.clone());
            tasks.push(tokio::spawn(async move {
                for _ in 0..(count / clients + usize::from(client < count % clients)) {
                    let (_, view) =
                        runtime.start_and_wait(request(&name, "{}"), Duration::from_secs(30)).await.unwrap();
                    assert!(view.status.is_final(), "{view:?}");
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        let took = began.elapsed();
        let after = harness.runtime.metrics();
        eprintln!(
            "{clients} clients: {count} runs in {took:?}, {:.0}/s; {} commits, {} batches, {} messages",
            count as f64 / took.as_secs_f64(),
            after.commits - before.commits,
            after.batches - before.batches,
            after.messages - before.messages,
        );
    }
}
