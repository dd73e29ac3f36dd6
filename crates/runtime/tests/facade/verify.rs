//! Judging a database: a good one passes, and one that was damaged in a certain way is told to be just that.

use std::{collections::BTreeMap, io::Write as _, path::PathBuf, sync::Arc};

use windlass_definition::step_types::built_in;
use windlass_engine::{id::RunId, status::RunStatus};
use windlass_runtime::{
    step::Catalogue,
    verify::{Minimums, Verdict, VerifyOptions, effects::Effects, verify},
};
use windlass_store::{Dialect, JournalRow, RunCommit, Store};

use crate::harness::{Harness, Probe, TENANT, request};

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
        let types = Catalogue::new(vec![Arc::new(Probe(Arc::default()))]).step_types(built_in());
        let options = VerifyOptions { ledgers: vec![self.ledger.clone()], ..options };
        verify(&self.store, types, (&options, effects), |_| ()).await.unwrap()
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
        let (bytes, later) = match dialect {
            Dialect::Sqlite => ("x'00'", "due_at + 60000000"),
            Dialect::Postgres => ("'\\x00'::bytea", "due_at + interval '1 minute'"),
        };
        let sql = sql.replace("{more bytes}", &bytes.replace("00", "01"));
        let sql = sql.replace("{bytes}", bytes).replace("{later}", later);
        self.store.database().execute(sql.clone(), vec![]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
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
