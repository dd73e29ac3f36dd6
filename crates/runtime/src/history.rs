//! A run that is over as one commit, and its words: for stores that are filled to be measured, not by running anything.

use windlass_engine::{
    Entry, Run,
    id::{RunId, TenantKey},
};
use windlass_store::{LaneId, RunChange, RunCommit, Store};

use crate::{
    error::RuntimeError,
    live_run::{ending, new_run, write_journal},
    search,
    settings::Settings,
};

/// The commit that writes a run which is over, with all of its journal: the rows are those that its transitions would
/// have left behind one by one.
///
/// `entries` are all that the engine gave for it, in order; `definition_hash` is the content hash of its plan.
pub fn finished_run(run: &Run, definition_hash: [u8; 32], entries: &[Entry], lane: LaneId) -> RunCommit {
    let mut commit = RunCommit::new(run.info().tenant, run.id(), lane);
    let new = new_run(run, definition_hash, ending(run));
    commit.change = RunChange::Insert(Box::new(new), None);
    let blob_bytes_min = Settings::default().blob_bytes_min;
    entries.iter().for_each(|entry| write_journal(entry, blob_bytes_min, &mut commit));
    commit
}

/// Reads such runs for searches, as a server would that comes to them.
///
/// # Errors
/// The database does not answer.
pub async fn read_for_searches(store: &Store, tenant: TenantKey, runs: &[RunId]) -> Result<(), RuntimeError> {
    let rows = store.runs_by_id(tenant, runs).await?;
    let words = search::words_of(store, tenant, rows).await?;
    store.put_run_words(tenant, words, None).await?;
    Ok(())
}
