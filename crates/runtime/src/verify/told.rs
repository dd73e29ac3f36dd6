//! The ledger of what clients were told, beside the database: whatever was promised is there.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use sha2::{Digest, Sha256};
use uuid::Uuid;
use windlass_engine::{
    entry::{Entry, Record},
    id::{ApprovalId, Id, RunId, TenantKey},
};
use windlass_store::{RunRow, Store, StoreError};

use super::{Verdict, VerifyError, Violation, ledger::Told};
use crate::loader::{self, LoadError};

/// Lines that are judged together.
const CHUNK: usize = 500;
/// Entries of one kind that are read at once.
const PAGE_ROWS: i64 = 5_000;

/// Judges every line of a ledger.
pub(super) async fn check(store: &Store, path: &Path, verdict: &mut Verdict) -> Result<(), VerifyError> {
    let wrong = |reason: String| VerifyError::Ledger { path: path.display().to_string(), reason };
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    let tenants: Vec<TenantKey> = store.tenants().await?.into_iter().map(|tenant| tenant.key).collect();
    let mut lines = BufReader::new(file).lines().enumerate();
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        for (number, line) in lines.by_ref().take(CHUNK) {
            let line = line.map_err(|error| wrong(error.to_string()))?;
            let told = serde_json::from_str(&line).map_err(|error| wrong(format!("line {}: {error}", number + 1)))?;
            chunk.push((number + 1, told));
        }
        if chunk.is_empty() {
            return Ok(());
        }
        verdict.counts.told += chunk.len() as u64;
        Chunk::read(store, &tenants, &chunk).await?.judge(&chunk, verdict).await?;
    }
}

/// Some lines, with the runs that they speak of.
struct Chunk<'a> {
    store: &'a Store,
    runs: HashMap<RunId, RunRow>,
    /// Entries that answer to somebody from outside, by run and kind.
    entries: HashMap<(RunId, &'static str), Vec<Entry>>,
}

/// The run that a line speaks of.
fn run_of(told: &Told) -> Option<RunId> {
    let (Told::Start { run, .. }
    | Told::Signal { run, .. }
    | Told::Decision { run, .. }
    | Told::Task { run, .. }
    | Told::Final { run, .. }) = told;
    Uuid::parse_str(run).ok().map(Id::new)
}

impl<'a> Chunk<'a> {
    async fn read(store: &'a Store, tenants: &[TenantKey], lines: &[(usize, Told)]) -> Result<Chunk<'a>, VerifyError> {
        let ids: Vec<RunId> = lines.iter().filter_map(|(_, told)| run_of(told)).collect();
        let mut runs = HashMap::new();
        for tenant in tenants {
            runs.extend(store.runs_by_id(*tenant, &ids).await?.into_iter().map(|row| (row.id, row)));
        }
        Ok(Chunk { store, runs, entries: HashMap::new() })
    }

    async fn judge(mut self, lines: &[(usize, Told)], verdict: &mut Verdict) -> Result<(), VerifyError> {
        for (number, told) in lines {
            if let Some((expected, found)) = self.line(told).await? {
                let (rule, run) = (rule(told).to_owned(), run_of(told));
                let found = format!("{found} (line {number} of the ledger)");
                verdict.add(Violation { rule, run, seq: None, expected, found });
            }
        }
        Ok(())
    }

    /// What a line promised and what is there instead.
    async fn line(&mut self, told: &Told) -> Result<Option<(String, String)>, VerifyError> {
        let Some(row) = run_of(told).and_then(|run| self.runs.get(&run)).cloned() else {
            return Ok(Some(("an accepted run is there".to_owned(), format!("{told:?}"))));
        };
        Ok(match told {
            Told::Start { workflow, .. } if row.workflow != *workflow => {
                Some((format!("it is a run of {workflow}"), row.workflow))
            }
            Told::Start { key: Some(key), .. } => {
                let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
                let known = self.store.idempotency_key(row.tenant, hash).await?.map(|(run, _)| run);
                let found = known.map_or("no run".to_owned(), |run| format!("run {run}"));
                (known != Some(row.id)).then(|| (format!("the key `{key}` leads to it"), found))
            }
            Told::Final { status, .. } if row.status.as_str() != status => {
                Some((format!("it ended as {status}, for good"), row.status.to_string()))
            }
            Told::Signal { name, key, .. } => {
                let taken = |entry: &Entry| match &entry.record {
                    Record::Signal { name: of, key: under, .. } => {
                        **of == **name && (key.is_none() || under.as_deref() == key.as_deref())
                    }
                    _ => false,
                };
                let there = self.entries(&row, "signal").await?.iter().filter(|entry| taken(entry)).count();
                let key = key.as_deref().unwrap_or("none");
                let wrong = if key == "none" { there == 0 } else { there != 1 };
                wrong.then(|| {
                    (format!("the signal `{name}` (key {key}) is in its journal once"), format!("{there} times"))
                })
            }
            Told::Decision { approval, verdict, .. } => {
                let Ok(id) = Uuid::parse_str(approval) else {
                    return Ok(Some(("an approval has a UUID".to_owned(), approval.clone())));
                };
                let id: ApprovalId = Id::new(id);
                let known = self.store.approval(row.tenant, id).await?;
                let path = known.map(|known| known.path).unwrap_or_default();
                let decided = |entry: &Entry| match &entry.record {
                    Record::Decided(decision) => *decision.path == *path && decision.verdict.to_string() == *verdict,
                    _ => false,
                };
                let there = self.entries(&row, "decided").await?.iter().any(decided);
                let expected = format!("approval {approval} at `{path}` was {verdict}");
                (!there).then(|| (expected, "no such decision in its journal".to_owned()))
            }
            Told::Task { path, status, .. } => {
                let ended = |entry: &Entry| match &entry.record {
                    Record::Step(record) => *entry.path == **path && record.status.as_str() == status,
                    _ => false,
                };
                let there = self.entries(&row, "step").await?.iter().any(ended);
                let expected = format!("the task at `{path}` is {status}");
                (!there).then(|| (expected, "no such record in its journal".to_owned()))
            }
            Told::Start { .. } | Told::Final { .. } => None,
        })
    }

    /// The entries of one kind of a run.
    async fn entries(&mut self, row: &RunRow, kind: &'static str) -> Result<&[Entry], VerifyError> {
        let place = (row.id, kind);
        if !self.entries.contains_key(&place) {
            let (mut entries, mut after) = (Vec::new(), 0);
            loop {
                let page = self.store.journal_of_kind(row.tenant, row.id, kind, (after, PAGE_ROWS)).await?;
                let full = page.len() as i64 >= PAGE_ROWS;
                // What cannot be read is found with its run; here it is not there.
                entries.extend(loader::complete(self.store, row.tenant, page).await.map_err(unreadable)?);
                match entries.last() {
                    Some(last) if full => after = last.seq,
                    _ => break,
                }
            }
            self.entries.insert(place, entries);
        }
        Ok(&self.entries[&place])
    }
}

fn unreadable(error: LoadError) -> VerifyError {
    StoreError::damaged(error.to_string()).into()
}

fn rule(told: &Told) -> &'static str {
    match told {
        Told::Start { .. } => "told_start",
        Told::Signal { .. } => "told_signal",
        Told::Decision { .. } => "told_decision",
        Told::Task { .. } => "told_task",
        Told::Final { .. } => "told_final",
    }
}
