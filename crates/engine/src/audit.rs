//! What must hold of every run, whatever happens to it.
//!
//! Each property is a function of its own that judges from the journal, the plan and what was asked for, not from the
//! engine's state: it finds out again, in its own way, what the engine had to do. What was asked for is not in the
//! journal; of a stored one it is what the fold asks for, whose every entry has to stand there.
//!
//! Invariant: a property that a journal alone cannot judge (a condition that looks further than its step, an output
//! that was made anew) is passed over, never guessed: a violation is one.

mod choices;
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

use std::sync::Arc;

use windlass_definition::Plan;

use crate::{Entry, Run};

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

/// What a journal says, and what is wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Audited {
    /// The state that the journal leads to; `None` when it leads nowhere.
    pub run: Option<Run>,
    /// What does not hold; empty when all is well.
    pub violations: Vec<Violation>,
}

/// Judges the journal of one run by its plan, whether or not the run has ended: does it fold, is it gap-free, and does
/// every property hold of it.
pub fn journal(plan: &Arc<Plan>, entries: Vec<Entry>) -> Audited {
    match History::of_journal(plan, entries) {
        Err(violation) => Audited { run: None, violations: vec![violation] },
        Ok((history, run)) => {
            let mut checks = SO_FAR.to_vec();
            if run.status().is_final() {
                checks.extend(AT_THE_END);
            }
            let violations = checks.iter().filter_map(|check| check(&history).err()).collect();
            Audited { run: Some(run), violations }
        }
    }
}

/// Checks the whole journal of a run that has ended.
///
/// # Errors
/// The first property that does not hold.
pub fn check_end(history: &History) -> Result<(), Violation> {
    SO_FAR.iter().chain(AT_THE_END).try_for_each(|check| check(history))
}

type Check = fn(&History) -> Result<(), Violation>;

/// What holds at any time.
const SO_FAR: &[Check] = &[
    records::one_final_record_per_path,
    records::completed_blocks_are_complete,
    edges::steps_start_only_when_their_edges_allow,
    retries::retries_keep_their_bounds,
    retries::at_most_once_is_asked_for_once,
    timers::nothing_comes_early,
    loops::every_item_once_and_in_order,
    loops::rounds_follow_each_other,
    choices::one_branch_runs,
    choices::catches_take_what_they_name,
    choices::enough_branches_complete,
    choices::each_person_decides_once,
    choices::each_signal_key_counts_once,
    ends::finally_always_runs,
    ends::signals_are_taken_once_and_in_order,
];

/// What holds of a run that has ended.
const AT_THE_END: &[Check] = &[
    ends::nothing_is_cancelled_while_it_is_taken_back,
    ends::the_final_status_says_what_happened,
    undo::undo_is_complete,
];
