//! Judging a database: a good one passes, and one that was damaged in a certain way is told to be just that.

use std::{collections::BTreeMap, io::Write as _, path::PathBuf, sync::Arc};

use windlass_definition::{source::Format, step_types::built_in};
use windlass_engine::{Run, Start, id::RunId, status::RunStatus};
use windlass_runtime::verify::{Minimums, Verdict, VerifyOptions, effects::Effects, verify};
use windlass_store::{Dialect, JournalRow, RowChange, RunCommit, Store};

use crate::harness::{Harness, TENANT, catalogue, request};

const DOCUMENTS: [&str; 8] = [
    "name: plain\nsteps: [{ id: a, type: probe, with: { value: 1 } }, { id: b, type: probe, with: { value: 2 } }]",
    "name: saga\nsteps: [{ id: a, type: probe, undo: { type: probe } }, { id: b, type: probe, with: { fail: no } }]",
    "name: signalled\nsteps: [{ id: w, type: wait, with: { signal: go } }]",
    "name: waiting\nsteps: [{ id: d, type: delay, with: { for: 1h } }]",
    "name: asking\nsteps: [{ id: ok, type: approval, with: { title: 'May I?' } }]",
    "name: offering\nsteps: [{ id: t, type: task, with: { queue: work } }]",
    "name: listening\nsteps: [{ id: e, type: event, with: { type: order } }]",
    "name: limited\nconcurrency: { limit: 1 }\nsteps: [{ id: w, type: wait, with: { signal: go } }]",
];

/// A database with a run of every kind, at rest, with nobody at work on it.
struct Sample {
    store: Store,
    runs: BTreeMap<&'static str, RunId>,
    ledger: PathBuf,
    _harness: Harness,
    _folder: tempfile::TempDir,
}

pub async fn judge(store: &Store, (options, effects): (&VerifyOptions, Effects)) -> Verdict {
    let types = catalogue(&Arc::default()).step_types(built_in());
    verify(store, types, (options, effects), |_| ()).await.unwrap()
}

async fn sample(harness: Harness) -> Sample {
    let mut runs = BTreeMap::new();
    for document in DOCUMENTS {
        let name = harness.publish(document).await;
        let key: &'static str = DOCUMENTS
            .iter()
            .find_map(|it| it.strip_prefix("name: ")?.split('\n').next().filter(|it| **it == *name))
            .unwrap();
        let mut start = request(&name, "{}");
        start.idempotency_key = (key == "plain").then(|| "once".to_owned());
        runs.insert(key, harness.runtime.start(start).await.unwrap().run);
    }
    runs.insert("queued", harness.start("limited", "{}").await);
    harness.signal(runs["signalled"], "go").await;
    for name in ["plain", "saga", "signalled"] {
        harness.end(runs[name]).await;
    }
    for name in ["waiting", "asking", "offering", "listening", "limited"] {
        harness.until(runs[name], |view| view.status == RunStatus::Waiting).await;
    }
    harness.settled(|metrics| metrics.commits_in_flight == 0).await;
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("told.jsonl");
    let mut file = std::fs::File::create(&ledger).unwrap();
    let line = |file: &mut std::fs::File, line: String| writeln!(file, "{line}").unwrap();
    line(&mut file, format!(r#"{{"told":"start","run":"{}","workflow":"plain","key":"once"}}"#, runs["plain"]));
    line(&mut file, format!(r#"{{"told":"final","run":"{}","status":"completed"}}"#, runs["plain"]));
    line(&mut file, format!(r#"{{"told":"signal","run":"{}","name":"go"}}"#, runs["signalled"]));
    let store = harness.visit().await;
    Sample { store, runs, ledger, _harness: harness, _folder: folder }
}

impl Sample {
    async fn judge(&self, options: VerifyOptions, effects: Effects) -> Verdict {
        let options = VerifyOptions { ledgers: vec![self.ledger.clone()], ..options };
        judge(&self.store, (&options, effects)).await
    }

    /// The rules that are broken, those of a database at rest among them, with the runs that break them.
    async fn broken(&self) -> Vec<(String, Option<RunId>)> {
        let options = VerifyOptions { at_rest: true, ..VerifyOptions::default() };
        let verdict = self.judge(options, Effects::default()).await;
        verdict.violations.into_iter().map(|it| (it.rule, it.run)).collect()
    }

    async fn damage(&self, sql: &str) {
        let dialect = self.store.database().dialect();
        let mut sql = sql.to_owned();
        for (name, run) in self.runs.iter().chain([(&"nobody", &RunId::new(uuid::Uuid::nil()))]) {
            let uuid = run.uuid();
            let text =
                if dialect == Dialect::Sqlite { format!("x'{}'", uuid.simple()) } else { format!("'{uuid}'::uuid") };
            let key = format!("(select run_key from runs where id = {text})");
            let of = if dialect == Dialect::Sqlite { format!("run_key = {key}") } else { format!("run_id = {text}") };
            sql = sql.replace(&format!("{{{name}}}"), &text).replace(&format!("{{journal of {name}}}"), &of);
        }
        let (bytes, later, before) = match dialect {
            Dialect::Sqlite => ("x'00'", "due_at + 60000000", "created_at - 172800000000"),
            Dialect::Postgres => ("'\\x00'::bytea", "due_at + interval '1 minute'", "created_at - interval '2 days'"),
        };
        let sql = sql.replace("{more bytes}", &bytes.replace("00", "01"));
        let sql = sql.replace("{bytes}", bytes).replace("{later}", later);
        let sql = sql.replace("{two days before created_at}", before);
        self.store
            .database()
            .across_tenants()
            .execute(sql.clone(), vec![])
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// Damages: what is done to the database, and the rules that have to be named for it, with their runs.
const DAMAGES: &str = include_str!("damages.sql");

/// The statements of [`DAMAGES`] with what is to be told of each: rule and run.
fn damages() -> impl Iterator<Item = (&'static str, Vec<(&'static str, &'static str)>)> {
    DAMAGES.trim_end().split("\n\n").skip(1).map(|damage| {
        let (sql, told) = damage.split_once(';').unwrap();
        let told = told.lines().filter_map(|line| line.strip_prefix("-- "));
        (sql.trim(), told.map(|line| line.split_once(' ').unwrap_or((line, ""))).collect())
    })
}

pub async fn a_damaged_database_is_told_how(harness: Harness) {
    let sample = sample(harness).await;
    let sound = sample.judge(VerifyOptions::default(), Effects::default()).await;
    assert_eq!(sound.violations, vec![]);
    assert_eq!((sound.counts.runs, sound.counts.ended, sound.counts.told), (9, 3, 3));
    let mut before = sample.broken().await;
    assert_eq!(damages().count(), DAMAGES.matches(";\n").count());
    for (sql, told) in damages() {
        sample.damage(sql).await;
        let broken = sample.broken().await;
        for (rule, run) in told {
            let named = |broken: &[(String, Option<RunId>)]| {
                let of = (run == "nobody").then(|| RunId::new(uuid::Uuid::nil())).or(sample.runs.get(run).copied());
                broken.iter().any(|(name, named)| name == rule && (of.is_none() || *named == of))
            };
            assert!(!named(&before), "{sql}: {rule} of `{run}` was there before");
            assert!(named(&broken), "{sql}: {rule} of `{run}` is not among {broken:?}");
        }
        before = broken;
    }
}

/// Entries with checksums that hold, and what they make of a journal.
const WRITTEN: &[(&str, &str, &str, &str)] = &[
    ("a second result of a step", "plain", "step", "a"),
    ("a second end", "plain", "finished", ""),
    ("an end that its steps do not lead to", "listening", "finished", ""),
];

pub async fn a_journal_that_went_wrong_is_told(harness: Harness) {
    let sample = sample(harness).await;
    let writer = &sample.store;
    for (what, run, kind, path) in WRITTEN {
        let id = sample.runs[run];
        let row = writer.run(TENANT, id).await.unwrap().unwrap();
        let mut entries = writer.journal(TENANT, id, 1, 100).await.unwrap();
        let last = entries.last().unwrap().clone();
        entries.extend(writer.journal(TENANT, sample.runs["plain"], 1, 100).await.unwrap());
        let like = entries.iter().find(|it| &*it.kind == *kind && &*it.path == *path).unwrap();
        let entry = JournalRow {
            seq: last.seq + 1,
            kind,
            opens: like.opens,
            path: (*path).into(),
            step: (*path).into(),
            attempt: like.attempt,
            at: last.at,
            payload: like.payload.clone(),
        };
        let commit = RunCommit { entries: vec![entry], ..RunCommit::new(TENANT, id, row.lane) };
        writer.commit(commit).await.unwrap();
        let broken = sample.broken().await;
        assert!(broken.contains(&("audit".to_owned(), Some(id))), "{what}: {broken:?}");
    }
}

pub async fn what_is_unfinished_or_too_little_is_told(harness: Harness) {
    let sample = sample(harness).await;
    let options = VerifyOptions {
        at_rest: true,
        minimums: Minimums { runs: 4, ..Minimums::default() },
        ..VerifyOptions::default()
    };
    let mut effects = Effects::default();
    let plain = sample.runs["plain"];
    for key in [format!("{plain}/a"), format!("{plain}/b"), format!("{plain}/b"), "nobody/x".to_owned()] {
        effects.happened(&key);
    }
    let verdict = sample.judge(options, effects).await;
    for (rule, count) in
        [("run_has_ended", 6), ("place_of_open_run", 0), ("progress", 1), ("effect_once", 1), ("effect_has_journal", 1)]
    {
        assert_eq!(verdict.violations.iter().filter(|it| it.rule == rule).count(), count, "{rule}: {verdict:#?}");
    }
}

/// The version of the engine's state, as the loader stores it.
const ENGINE_VERSION: i32 = 2;

/// A stored state that its journal does not lead to is told, and one that it leads to is not.
pub async fn a_stored_state_of_another_run_is_told(harness: Harness) {
    let plan = harness.runtime.compile(DOCUMENTS[3], Format::Yaml).unwrap().plan;
    let sample = sample(harness).await;
    let (waiting, other) = (sample.runs["waiting"], sample.runs["listening"]);
    let row = sample.store.run(TENANT, waiting).await.unwrap().unwrap();
    let entries = sample.store.journal(TENANT, waiting, 1, 1).await.unwrap();
    let started: serde_json::Value = serde_json::from_slice(&entries[0].payload).unwrap();
    let start: Start = serde_json::from_value(started["started"].clone()).unwrap();
    // What folds out of the whole journal, and the same of a run with another id.
    let (right, transition) = Run::start(&plan, start.clone(), entries[0].at);
    let wrong = Run::start(&plan, Start { run: other, ..start }, entries[0].at).0;
    for (run, told) in [(right, false), (wrong, true)] {
        let seq = transition.entries.last().unwrap().seq;
        let state = serde_json::to_vec(&run).unwrap();
        let rows = vec![RowChange::PutSnapshot { seq, engine_version: ENGINE_VERSION, state }];
        sample.store.commit(RunCommit { rows, ..RunCommit::new(TENANT, waiting, row.lane) }).await.unwrap();
        let broken = sample.broken().await;
        let rule = ("snapshot_is_fold".to_owned(), Some(waiting));
        assert_eq!(broken.contains(&rule), told, "{broken:?}");
    }
}

/// Two things are done outside, the third fails, and both are taken back.
const ORDER: &str = "
name: order
steps:
  - id: pay
    type: http
    at_most_once: true
    with: { method: POST, url: 'http://shop/pay' }
    undo: { type: http, with: { method: POST, url: 'http://shop/refund' } }
  - id: look
    type: http
    with: { method: GET, url: 'http://shop/stock' }
  - id: hold
    type: http
    with: { method: POST, url: 'http://shop/hold' }
    undo: { type: http, with: { method: POST, url: 'http://shop/release' } }
  - { id: ship, type: probe, with: { fail: no_truck } }
";

/// What a shop saw of an order, in its order (`+` asked for once more), and the rules that this breaks.
const SEEN: &[(&str, &[&str])] = &[
    ("pay hold hold:undo pay:undo", &[]),
    ("pay hold hold:undo pay:undo look", &[]),
    ("pay hold+ hold:undo+ pay:undo", &[]),
    ("pay hold:undo pay:undo", &["effect_of_success"]),
    ("pay hold pay:undo", &["effect_of_success"]),
    ("pay+ hold hold:undo pay:undo", &["at_most_once"]),
    ("pay hold pay:undo hold:undo", &["undo_in_order"]),
    ("hold:undo pay hold pay:undo", &["undo_in_order"]),
    ("pay hold hold:undo pay:undo pay", &["effect_once", "undo_in_order"]),
    ("pay hold hold:undo pay:undo ship", &[]),
    ("pay hold hold:undo pay:undo nobody", &["effect_has_journal"]),
];

pub async fn what_was_seen_outside_is_compared(harness: Harness) {
    let run = harness.run(ORDER, "{}").await;
    assert_eq!(run.status, RunStatus::Compensated, "{run:?}");
    harness.settled(|metrics| metrics.commits_in_flight == 0).await;
    let store = harness.visit().await;
    let options = VerifyOptions { effects_at: Some("http://shop".to_owned()), ..VerifyOptions::default() };
    for (seen, told) in SEEN {
        let mut effects = Effects::default();
        for word in seen.split(' ') {
            let key = format!("{}/{}", run.id, word.trim_end_matches('+'));
            effects.happened(&key);
            effects.repeated(&key, u32::from(word.ends_with('+')));
        }
        let verdict = judge(&store, (&options, effects)).await;
        let mut rules: Vec<&str> = verdict.violations.iter().map(|it| &*it.rule).collect();
        rules.sort_unstable();
        assert_eq!(&rules, told, "{seen}: {verdict:#?}");
    }
}
