//! `max_concurrent_runs` over all servers: never more runs than that, and never fewer for long.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::sync::oneshot;
use windlass_engine::{id::RunId, status::RunStatus};
use windlass_resource::records::tenants::TENANTS;
use windlass_store::{By, Hints, Target};

use crate::harness::{Harness, TENANT};

const HELD: &str = "
name: held
steps: [{ id: a, type: probe, with: { value: 1, gate: true } }]
";
const SHORT: &str = "
name: short
steps: [{ id: a, type: probe, with: { value: 1 } }]
";

/// Servers of one database; the first one published the workflows.
struct Servers(Vec<Harness>);

impl Servers {
    async fn of(first: Harness, more: usize) -> Servers {
        first.publish(HELD).await;
        first.publish(SHORT).await;
        let mut all = vec![first];
        for _ in 0..more {
            let another = all[0].another().await;
            all.push(another);
        }
        Servers(all)
    }

    async fn postgres(count: usize) -> Servers {
        Servers::of(Harness::postgres().await, count - 1).await
    }

    /// Gives the tenant a quota, and waits until all servers know.
    async fn quota(&self, quota: usize) {
        let store = self.0[0].runtime.store();
        let id = store.tenant_by_key(TENANT).await.unwrap().unwrap().id;
        let body = json!({ "max_concurrent_runs": quota });
        store.update_record((TENANT, &TENANTS), Target { id, expect: None }, &body, By::system()).await.unwrap();
        let known = |server: &Harness| server.runtime.store().rules_of(TENANT).runs_active_max == Some(quota);
        self.until("all know the quota", || self.0.iter().all(known)).await;
    }

    /// Starts that many held runs, each at the next server.
    async fn start(&self, count: usize) -> Vec<RunId> {
        let mut runs = Vec::new();
        for server in self.0.iter().cycle().take(count) {
            runs.push(server.start("held", "{}").await);
        }
        runs
    }

    /// Attempts that have begun and that have ended, on all servers.
    fn counts(&self) -> (u32, u32) {
        let sum = |of: fn(&Harness) -> BTreeMap<String, u32>| self.0.iter().flat_map(|it| of(it).into_values()).sum();
        // In this order: more than there are is never seen.
        let begun = sum(|server| server.ledger.begun());
        (begun, sum(|server| server.ledger.ended()))
    }

    async fn until(&self, what: &str, is: impl Fn() -> bool) {
        for _ in 0..2_000 {
            if is() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never came to that: {what}; {:?} have begun and ended", self.counts());
    }

    /// Waits until that many attempts have begun; more than `most` are never under way meanwhile.
    async fn begun(&self, count: usize, most: usize) {
        let reached = || {
            let (begun, ended) = self.counts();
            assert!((begun - ended) as usize <= most, "{begun} have begun and {ended} ended: at most {most} may run");
            begun as usize >= count
        };
        self.until(&format!("{count} have begun"), reached).await;
    }

    /// Ends one run that is under way.
    async fn end_one(&self) {
        let open = |server: &&Harness| {
            let sum = |counts: BTreeMap<String, u32>| counts.values().sum::<u32>();
            sum(server.ledger.begun()) > sum(server.ledger.ended())
        };
        let (_, before) = self.counts();
        self.0.iter().find(open).expect("a run is under way").ledger.gate.notify_one();
        self.until("one more has ended", || self.counts().1 == before + 1).await;
    }

    async fn statuses(&self, runs: &[RunId]) -> Vec<RunStatus> {
        let mut statuses = Vec::new();
        for run in runs {
            statuses.push(self.0[0].runtime.run(TENANT, *run).await.unwrap().status);
        }
        statuses
    }

    /// Ends all runs one after the other: as long as some wait, as many as the quota says are under way.
    async fn end_all(&self, runs: &[RunId], quota: usize) {
        for ended in 1..=runs.len() {
            self.end_one().await;
            self.begun(runs.len().min(quota + ended), quota).await;
        }
        for run in runs {
            assert_eq!(self.0[0].end(*run).await.status, RunStatus::Completed);
        }
    }
}

/// That many runs, no fewer and no more, are under way at any time.
async fn holds(servers: Servers, quota: usize, starts: usize) {
    servers.quota(quota).await;
    let runs = servers.start(starts).await;
    servers.begun(quota, quota).await;
    let statuses = servers.statuses(&runs).await;
    let queued = statuses.iter().filter(|status| **status == RunStatus::Queued).count();
    assert_eq!(queued, starts - quota, "{statuses:?}");
    servers.end_all(&runs, quota).await;
}

pub async fn a_quota_holds_on_one_server(harness: Harness) {
    holds(Servers::of(harness, 0).await, 2, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_over_all_servers() {
    for (servers, quota, starts) in [(2, 1, 4), (2, 3, 9), (3, 10, 24), (4, 2, 9)] {
        holds(Servers::postgres(servers).await, quota, starts).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_holds_without_hints() {
    holds(Servers::of(Harness::postgres_without_hints().await, 1).await, 3, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_quota_lets_nobody_in_until_there_are_fewer() {
    let servers = Servers::postgres(2).await;
    servers.quota(5).await;
    let runs = servers.start(8).await;
    servers.begun(5, 5).await;
    servers.quota(2).await;
    for left in [4, 3, 2] {
        servers.end_one().await;
        let (begun, ended) = servers.counts();
        assert_eq!((begun, begun - ended), (5, left), "nobody else begins");
    }
    // From here on each that ends lets one in.
    for ended in 4..=8 {
        servers.end_one().await;
        servers.begun(8.min(2 + ended), 2).await;
    }
    servers.quota(4).await;
    let more = servers.start(6).await;
    servers.begun(8 + 4, 4).await;
    servers.0[1].ledger.gate.notify_waiters();
    servers.0[0].ledger.gate.notify_waiters();
    servers.begun(8 + 6, 4).await;
    servers.end_one().await;
    servers.end_one().await;
    for run in runs.iter().chain(&more) {
        assert_eq!(servers.0[0].end(*run).await.status, RunStatus::Completed);
    }
}

/// What a dead server's runs had is theirs where they go on, and what it had beyond them is free.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_server_had_comes_back() {
    let servers = Servers::of(Harness::postgres_with_short_leases(Hints::On).await, 1).await;
    servers.quota(2).await;
    let (first, second) = (&servers.0[0], &servers.0[1]);
    // The first one has both, and uses one.
    let held = first.start("held", "{}").await;
    first.ledger.begun_reaches(1).await;
    let short = first.start("short", "{}").await;
    first.end(short).await;
    first.runtime.abort().await;
    first.lose_lease().await;
    let queued = [second.start("held", "{}").await, second.start("held", "{}").await];
    // The run that was taken over, and one of those that waited.
    second.ledger.begun_reaches(2).await;
    let statuses = async || {
        let mut found = Vec::new();
        for run in [held, queued[0], queued[1]] {
            found.push(second.runtime.run(TENANT, run).await.unwrap().status);
        }
        found
    };
    assert_eq!(statuses().await, [RunStatus::Running, RunStatus::Running, RunStatus::Queued]);
    for begun in [3, 3, 3] {
        second.ledger.gate.notify_one();
        second.ledger.begun_reaches(begun).await;
    }
    for run in [held, queued[0], queued[1]] {
        assert_eq!(second.end(run).await.status, RunStatus::Completed);
    }
}

/// A server that has no room for runs gives what it has of the quota to those who have.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_keeps_nothing_from_the_others() {
    let first = Harness::postgres().await.with(|settings| settings.runs_active_max = 1).await;
    let servers = Servers::of(first, 1).await;
    let other = servers.0[0].tenant(2).await;
    servers.quota(1).await;
    let (first, second) = (&servers.0[0], &servers.0[1]);
    let short = first.start("short", "{}").await;
    first.end(short).await;
    // Somebody else fills the first one.
    let document = first.runtime.compile(HELD, windlass_definition::source::Format::Yaml).unwrap();
    let name = document.plan.name.to_string();
    first.runtime.put_workflow(other, &name, HELD, windlass_definition::source::Format::Yaml, None).await.unwrap();
    first.runtime.publish(other, &name).await.unwrap();
    let request = windlass_runtime::StartRequest { tenant: other, ..crate::harness::request("held", "{}") };
    let full = first.runtime.start(request).await.unwrap().run;
    first.ledger.begun_reaches(2).await;
    let run = second.start("held", "{}").await;
    second.ledger.begun_reaches(1).await;
    second.ledger.gate.notify_one();
    assert_eq!(second.end(run).await.status, RunStatus::Completed);
    first.ledger.gate.notify_one();
    let view = first.runtime.wait(other, full, Duration::from_secs(20)).await.unwrap();
    assert_eq!(view.status, RunStatus::Completed);
}

/// While nobody can write what servers may have, whoever may have something starts runs, and so do tenants without a quota.
#[tokio::test(flavor = "multi_thread")]
async fn starts_within_what_a_server_may_have_ask_nobody() {
    let servers = Servers::postgres(2).await;
    let server = &servers.0[0];
    for quota in [None, Some(40)] {
        if let Some(quota) = quota {
            servers.quota(quota).await;
            // It asks for two.
            server.run(SHORT, "{}").await;
        }
        let ((locked, is_locked), (unlock, unlocked)) = (oneshot::channel(), oneshot::channel::<()>());
        let store = servers.0[1].runtime.store().clone();
        let locking = tokio::spawn(async move {
            let lock = store.database().across_tenants().transact(move |tx| {
                Box::pin(async move {
                    tx.execute("lock table run_allowances in access exclusive mode", vec![]).await?;
                    let _ = locked.send(());
                    let _ = unlocked.await;
                    Ok(())
                })
            });
            lock.await.unwrap();
        });
        is_locked.await.unwrap();
        let run = server.start("short", "{}").await;
        assert_eq!(server.end(run).await.status, RunStatus::Completed, "{quota:?}");
        unlock.send(()).unwrap();
        locking.await.unwrap();
    }
}
