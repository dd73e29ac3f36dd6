//! What must hold of every run, whatever happens to it.
//!
//! Each property is a function of its own that judges from the journal, the plan and what was asked for, not from the
//! engine's state: it finds out again, in its own way, what the engine had to do.

mod edges;
mod ends;
mod history;
mod loops;
mod records;
mod retries;
mod status;
mod timers;
mod undo;

pub use history::History;
pub use status::check_status;

use windlass_engine::Run;

/// A property that did not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// What must hold, in a sentence.
    pub property: &'static str,
    /// What was found instead.
    pub detail: String,
}

/// Says that a property does not hold.
///
/// # Errors
/// Always.
pub fn violated<T>(property: &'static str, detail: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { property, detail: detail.into() })
}

/// Checks the whole journal of a run that has ended.
///
/// # Errors
/// The first property that does not hold.
pub fn check_end(history: &History, run: &Run) -> Result<(), Violation> {
    records::one_final_record_per_path(history)?;
    records::completed_blocks_are_complete(history)?;
    edges::steps_start_only_when_their_edges_allow(history)?;
    retries::retries_keep_their_bounds(history)?;
    timers::nothing_comes_early(history)?;
    loops::every_item_once_and_in_order(history)?;
    loops::rounds_follow_each_other(history)?;
    ends::finally_always_runs(history)?;
    ends::the_final_status_says_what_happened(history, run)?;
    ends::signals_are_taken_once_and_in_order(history)?;
    undo::undo_is_complete(history)
}
