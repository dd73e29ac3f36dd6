//! Runs are found by their words, a moment after they were made.

use std::time::{Duration, Instant};

use windlass_engine::{id::RunId, status::RunStatus};
use windlass_runtime::{RunFilter, RuntimeError, StartRequest};

use crate::harness::{Harness, TENANT, request};

const WAITS: &str = "
name: waits
input: { type: object }
steps:
  - { id: w, type: wait, with: { signal: go } }
  - { id: a, type: probe, with: { value: { tracking: 'Parcel TRK-0815' } } }
output: '${{ steps.a.output }}'
";
const FAILS: &str = "
name: fails
steps:
  - { id: a, type: probe, with: { fail: card_declined } }
";

impl Harness {
    async fn quick(self) -> Harness {
        self.with(|settings| settings.search = Duration::from_millis(20)).await
    }

    async fn search(&self, q: &str) -> Result<Vec<RunId>, RuntimeError> {
        let filter = RunFilter { q: Some(q.to_owned()), limit: 100, ..RunFilter::default() };
        Ok(self.runtime.runs(TENANT, filter).await?.items.into_iter().map(|run| run.id).collect())
    }

    /// Waits until these are found, and nothing else.
    async fn finds(&self, q: &str, expected: &[RunId]) {
        let begun = Instant::now();
        loop {
            let found = self.search(q).await.unwrap();
            if found == expected {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "{q}: {found:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What a run was given is found while it goes on, and what came of it when it is over.
pub async fn what_was_given_and_what_came_is_found(harness: Harness) {
    let harness = harness.quick().await;
    harness.publish(WAITS).await;
    let labels = [("team".to_owned(), "Blue".to_owned())].into();
    let input = "{\"order\": {\"id\": \"ORD-4711\", \"amount\": 1250}}";
    let start = StartRequest { key: Some("cust-7".to_owned()), labels, ..request("waits", input) };
    let run = harness.runtime.start(start).await.unwrap().run;
    let other = harness.start("waits", "{\"order\": {\"id\": \"ORD-4712\"}}").await;
    harness.finds("ord*", &[other, run]).await;
    for (q, expected) in [
        ("ord-4711", vec![run]),
        ("1250", vec![run]),
        ("CUST-7 blue", vec![run]),
        ("ord", vec![other, run]),
        ("4712 4711", vec![]),
        ("trk-0815", vec![]),
    ] {
        assert_eq!(harness.search(q).await.unwrap(), expected, "{q}");
    }
    harness.signal(run, "go").await;
    assert_eq!(harness.end(run).await.status, RunStatus::Completed);
    harness.finds("parcel trk-0815", &[run]).await;
    assert_eq!(harness.search("ord-4711").await.unwrap(), [run]);
}

/// Errors are found, and values that are kept apart by how they begin; a journal that cannot be read stops nothing.
pub async fn errors_and_large_values_are_found(harness: Harness) {
    let harness = harness.with(|settings| settings.search = Duration::from_secs(3_600)).await;
    harness.publish(WAITS).await;
    harness.publish(FAILS).await;
    let large = format!("{{\"text\": \"Beginning {}\"}}", "x ".repeat(100_000));
    let large = harness.start("waits", &large).await;
    let broken = harness.start("fails", "{}").await;
    let failed = harness.start("fails", "{}").await;
    for run in [broken, failed] {
        assert_eq!(harness.end(run).await.status, RunStatus::Failed);
    }
    let dialect = harness.runtime.store().database().dialect();
    let of_run = dialect.pick("run_key = (select run_key from runs where id = $1)", "run_id = $1");
    let spoil = format!("update journal set payload = {} where {of_run}", dialect.pick("x'00'", "'\\x00'"));
    let database = harness.runtime.store().database();
    database.across_tenants().execute(spoil, vec![broken.into()]).await.unwrap();
    let harness = harness.quick().await;
    harness.finds("card_declined", &[failed, broken]).await;
    harness.finds("beginning", &[large]).await;
}

/// Where the server is killed before it has read what ended, the next one does.
pub async fn what_ended_unread_is_found_later(harness: Harness) {
    let harness = harness.quick().await;
    harness.publish(WAITS).await;
    let run = harness.start("waits", "{\"order\": 4711}").await;
    harness.finds("4711", &[run]).await;
    let harness = harness.with(|settings| settings.search = Duration::from_secs(3_600)).await;
    harness.signal(run, "go").await;
    harness.end(run).await;
    let harness = harness.quick().await;
    harness.finds("parcel", &[run]).await;
}

/// Nothing is read while it is off, and it says so; what is made later is found again.
pub async fn a_tenant_may_not_be_searched(harness: Harness) {
    let harness = harness.with(|settings| settings.search_runs = false).await.quick().await;
    harness.publish(WAITS).await;
    let before = harness.start("waits", "{\"order\": 4711}").await;
    let refused = harness.search("4711").await;
    assert!(matches!(refused, Err(RuntimeError::Conflict { code: "search_off", .. })), "{refused:?}");
    let begun = Instant::now();
    while harness.runtime.store().searched_until(TENANT).await.unwrap().is_none_or(|until| until < before.made_at()) {
        assert!(begun.elapsed() < Duration::from_secs(20), "runs are passed though nobody searches");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let harness = harness.with(|settings| settings.search_runs = true).await;
    let after = harness.start("waits", "{\"order\": 4711}").await;
    harness.finds("4711", &[after]).await;
}
