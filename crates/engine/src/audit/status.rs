//! What the status of a run says between its transitions.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Run,
    status::{RunStatus, StepStatus},
};
use windlass_definition::{Plan, plan::StepKind};

use super::{History, Violation, history::is_undo, violated};

/// Checks what must hold between two transitions; `more` says that the run has not come to rest.
///
/// # Errors
/// What does not hold.
pub fn check_status(run: &Run, plan: &Plan, history: &History, more: bool) -> Result<(), Violation> {
    let active = run.active(plan);
    let running = active.iter().any(|it| it.status == StepStatus::Running);
    let waiting = active.iter().any(|it| it.status == StepStatus::Waiting);
    let status = run.status();
    let found = || format!("the run is {status}, open are {active:?}");
    let fits = match status {
        _ if status.is_final() => active.is_empty() && run.next_timer().is_none(),
        RunStatus::Queued => active.is_empty(),
        RunStatus::Paused => true,
        RunStatus::Waiting => waiting && !running && !more,
        RunStatus::Running => running || more,
        _ => more || active.len() == 1,
    };
    if !fits {
        return violated("the status of a run says what is open in it", found());
    }
    let undoes = active.iter().any(|it| is_undo(&it.path));
    if (undoes || status == RunStatus::Compensating) && !active.iter().all(|it| is_undo(&it.path)) {
        return violated("undo never mixes with what goes forward", found());
    }
    if status == RunStatus::Compensating {
        history.undone.check_open(active.first().map(|it| &*it.path))?;
    }
    loops_keep_their_bound(plan, active.iter().map(|it| &*it.path))
}

/// At most `parallel` items of a `foreach` are open.
fn loops_keep_their_bound<'a>(plan: &Plan, paths: impl Iterator<Item = &'a str>) -> Result<(), Violation> {
    let mut open: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for path in paths {
        for (bracket, _) in path.match_indices('[') {
            let index = path[bracket..].split(']').next().unwrap_or_default();
            open.entry(&path[..bracket]).or_default().insert(index);
        }
    }
    for (path, indices) in open {
        let id = path.rsplit_once('.').map_or(path, |(_, id)| id);
        let most = match plan.step(plan.by_id[id]).kind {
            StepKind::ForEach { parallel, .. } => parallel as usize,
            _ => 1,
        };
        if indices.len() > most {
            return violated("a loop keeps its bound", format!("{indices:?} of `{path}` are open, at most {most} may"));
        }
    }
    Ok(())
}
