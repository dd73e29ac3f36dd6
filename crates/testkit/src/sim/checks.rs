//! Bringing everything to rest, and what must hold then.

use std::{collections::BTreeSet, time::Duration};

use windlass_definition::Timestamp;
use windlass_engine::{
    Entry, Event, Record,
    audit::{self, Violation, violated},
    event::ChildResult,
    id::RunId,
    status::RunStatus,
};

use super::{
    Action, Mode, Sim,
    node::{Fail, Work},
    people::Wants,
    store::{self, Change, Letter, LetterRow, Row, TaskRow, Written},
};

/// Rounds without anything new after which a seed that has not come to rest never will.
const QUIET_ROUNDS_MAX: u32 = 20;
/// Undos that fail ten times, at a minute's distance, and start others that do so too, need more than 2,000.
const ROUNDS_MAX: u32 = 20_000;
/// One round: longer than a batch and a look take.
const ROUND: Duration = Duration::from_secs(4);

impl Sim {
    /// Nothing goes wrong any more: everything comes to its end.
    pub(super) fn bring_to_rest(&mut self) -> Result<(), Violation> {
        let (mut quiet, mut before) = (0, 0);
        for _ in 0..ROUNDS_MAX {
            self.play_until(self.store.now.after(ROUND))?;
            if self.is_at_rest() {
                return Ok(());
            }
            let written = self.counts.entries + self.counts.letters_found;
            let moved = std::mem::replace(&mut before, written) != written;
            if moved {
                quiet = 0;
                continue;
            }
            let open: Vec<RunId> =
                self.store.runs.iter().filter(|(_, row)| !row.status.is_final()).map(|(run, _)| *run).collect();
            let mut helped = false;
            for run in open {
                helped |= self.help(run);
            }
            // What is asked for is answered first; only then does a long time pass.
            quiet += 1;
            if (!helped || quiet % 4 == 0) && !self.let_time_pass() && quiet > QUIET_ROUNDS_MAX {
                break;
            }
            if quiet > 3 * QUIET_ROUNDS_MAX {
                break;
            }
        }
        violated("what is left alone comes to its end", self.standing())
    }

    fn is_at_rest(&self) -> bool {
        let store = &self.store;
        store.runs.values().all(|row| row.status.is_final())
            && store.inbox.is_empty()
            && store.tasks.is_empty()
            && self.flying.is_empty()
            && self.requests.iter().all(|it| it.answer.is_some() || !matches!(it.wants, Wants::Start { .. }))
            && self.machines.iter().filter_map(|it| it.process.as_ref()).all(|it| it.runs.is_empty())
    }

    /// Goes on to just before the next timer, when that is far; false when there is none.
    fn let_time_pass(&mut self) -> bool {
        let in_memory = self.machines.iter().filter_map(|it| it.process.as_ref()).flat_map(|it| it.runs.values());
        let in_memory = in_memory.filter_map(|live| live.run.next_timer());
        let next = self.store.timers.values().map(|(_, due)| *due).chain(in_memory).min();
        let Some(due) = next.filter(|due| *due > self.store.now) else { return false };
        let far = due.since(self.store.now).saturating_sub(Duration::from_secs(3));
        let later = |at: Timestamp| at.after(far);
        self.store.now = later(self.store.now);
        for row in self.store.nodes.values_mut().filter(|row| !row.dead) {
            row.lease_until = later(row.lease_until);
        }
        // What wakes at a time still wakes at that time; all the rest happens as if no time had passed.
        let future = std::mem::take(&mut self.future);
        for ((time, number), action) in future {
            let wakes = matches!(action, Action::Within { work: Work::Turn, .. });
            let time = if wakes { time.max(self.store.now) } else { later(time) };
            self.future.insert((time, number), action);
        }
        true
    }

    fn standing(&self) -> String {
        let open = self.store.runs.iter().filter(|(_, row)| !row.status.is_final()).map(|(run, row)| {
            let active = self.store.fold(*run).map(|(state, _)| state.active(&row.plan));
            format!("run {run} on lane {} is {}: {active:?}", row.lane, row.status)
        });
        let open: Vec<String> = open.collect();
        let unanswered: Vec<_> = self.requests.iter().filter(|it| it.answer.is_none()).map(|it| &it.wants).collect();
        format!(
            "{}\ninbox: {:?}\ntasks: {:?}\ntimers: {:?}\nin memory: {:?}\nunanswered: {unanswered:?}\nlanes: {:?}",
            open.join("\n"),
            self.store.inbox.values().collect::<Vec<_>>(),
            self.store.tasks,
            self.store.timers,
            self.machines
                .iter()
                .map(|it| it.process.as_ref().map(|it| it.runs.keys().collect::<Vec<_>>()))
                .collect::<Vec<_>>(),
            self.store.lanes,
        )
    }

    /// Counts what is written.
    pub(super) fn note_written(&mut self, written: &Written) {
        for change in &written.commit.rows {
            if let Change::PutLetter(row) = change
                && matches!(row.letter, Letter::Event(Event::Cancel { .. }))
                && !self.store.runs.contains_key(&row.run)
            {
                self.cancelled_unborn.insert(row.run);
            }
        }
        for row in &written.rows {
            self.hash = store::mix(self.hash, row.checksum);
            let counts = &mut self.counts;
            counts.entries += 1;
            match &row.entry.record {
                Record::Started(_) => counts.runs += 1,
                Record::Finished(finish) => {
                    counts.runs_ended += 1;
                    counts.runs_completed += u64::from(finish.status == RunStatus::Completed);
                }
                Record::Step(_) if row.entry.path.ends_with(":undo") => counts.undos += 1,
                Record::Step(_) => counts.steps += 1,
                Record::Attempt(_) => counts.retries += 1,
                Record::Lost => counts.attempts_lost += 1,
                Record::Timer => counts.timers += 1,
                Record::Signal { .. } => counts.signals += 1,
                Record::Decided(_) => counts.decisions += 1,
                Record::Cancelled { .. } | Record::Paused { .. } | Record::Resumed { .. } => counts.commands += 1,
                Record::Child { .. } => counts.children += 1,
                _ => {}
            }
        }
    }

    /// What must hold of what is on disk, at any time, and of what was told to whom.
    pub(super) fn check_everything(&mut self) -> Result<(), Violation> {
        self.counts.commits_fenced = self.store.fenced;
        for (run, row) in &self.store.runs {
            check_chain(*run, &row.journal)?;
            let entries: Vec<Entry> = row.journal.iter().map(|row| row.entry.clone()).collect();
            let audited = audit::journal(&row.plan, entries);
            if let Some(violation) = audited.violations.into_iter().next() {
                let detail = format!("run {run}: {}", violation.detail);
                return Err(Violation { detail, ..violation });
            }
            let Some(state) = audited.run else { continue };
            let of_run = |task: &&TaskRow| task.run == *run;
            let waits = state.active(&row.plan).iter().filter(|step| step.waits_for == Some("task")).count();
            let handed = waits > self.store.tasks.values().filter(of_run).count();
            let expected = match state.status() {
                RunStatus::Waiting if handed => RunStatus::Running,
                status => status,
            };
            if expected != row.status {
                let detail = format!("run {run} is {} in its row, and {} by its journal", row.status, expected);
                return violated("a run's row says what its journal says", detail);
            }
            match self.store.fold(*run) {
                Ok((folded, _)) if folded == state => {}
                folded => {
                    let detail = format!("run {run}: {folded:?}\n is not \n{state:?}");
                    return violated("replaying the journal gives the stored state", detail);
                }
            }
            let timer = self.store.timers.get(run).map(|(_, due)| *due);
            let rests = matches!(state.status(), RunStatus::Waiting | RunStatus::Paused);
            let wanted = if rests { state.next_timer() } else { None };
            if timer != wanted {
                let detail = format!("run {run} is {} and wants {wanted:?}, not {timer:?}", row.status);
                return violated("a run that rests has the timer row that it wants", detail);
            }
        }
        self.check_starts()?;
        self.check_signals()?;
        self.check_children()?;
        self.check_rows()?;
        if self.mode == Mode::Liveness { self.check_rest() } else { Ok(()) }
    }

    /// Accepted starts exist, each key once, and what was refused is not there.
    fn check_starts(&self) -> Result<(), Violation> {
        let mut by_key = std::collections::BTreeMap::new();
        for request in &self.requests {
            let (Wants::Start { key, body, .. }, Some(Ok(run))) = (&request.wants, request.answer) else { continue };
            if !self.store.runs.contains_key(&run) {
                return violated("accepted means durable", format!("run {run} is not there"));
            }
            if let Some((other, other_body)) = by_key.insert(*key, (run, *body)) {
                if other != run {
                    return violated("starting twice starts once", format!("key {key}: {run} and {other}"));
                }
                if other_body != *body {
                    let detail = format!("key {key}: {body} and {other_body} gave run {run}");
                    return violated("another body under a key is refused", detail);
                }
            }
        }
        let roots = self.store.runs.keys().filter_map(|run| self.store.start_of(*run));
        let roots = roots.filter(|start| start.parent.is_none() && start.depth == 0 && is_fresh(start)).count();
        let keys: BTreeSet<u64> = self.requests.iter().filter_map(key_of).collect();
        if roots > keys.len() {
            return violated("starting twice starts once", format!("{roots} runs for {} keys", keys.len()));
        }
        Ok(())
    }

    /// A signal that was answered with a yes counts once, unless its run ended before it was taken.
    fn check_signals(&self) -> Result<(), Violation> {
        for (run, key) in &self.told_yes {
            let Some(row) = self.store.runs.get(run) else { continue };
            let taken = row.journal.iter().filter(|row| match &row.entry.record {
                Record::Signal { key: Some(it), .. } => it == key,
                _ => false,
            });
            let waits = self.store.inbox.values().any(|it| it.run == *run && it.name == format!("signal {key}"));
            let (taken, over) = (taken.count(), row.status.is_final() || row.status == RunStatus::Compensating);
            let full = self.store.start_of(*run).is_some_and(|start| start.limits.signals_max < 10);
            if taken > 1 || (taken == 0 && !waits && !over && !full) {
                let detail = format!("run {run}, {}: signal {key} was taken {taken} times", row.status);
                return violated("a signal that was accepted counts once", detail);
            }
        }
        Ok(())
    }

    /// What a parent was told of a child is how that child ended, and was told after it: one that was cancelled before
    /// it began never begins. A cancel that was there first is not forgotten by a child that begins all the same.
    fn check_children(&self) -> Result<(), Violation> {
        for (parent, told) in self.store.runs.iter().flat_map(|(run, row)| row.journal.iter().map(move |it| (run, it)))
        {
            let Record::Child { child: Some(child), result } = &told.entry.record else { continue };
            let status = match result {
                ChildResult::Completed(_) => RunStatus::Completed,
                ChildResult::Failed(Some(status), _) => *status,
                ChildResult::Failed(None, _) => continue,
            };
            let ended = match self.store.runs.get(child) {
                None => status == RunStatus::Cancelled,
                Some(row) => {
                    row.status == status && row.journal.last().is_some_and(|last| last.entry.at <= told.entry.at)
                }
            };
            if !ended {
                let detail = format!("run {parent} was told of its child {child}: {:?}", told.entry);
                return violated("a cancelled child never begins", detail);
            }
        }
        for run in &self.cancelled_unborn {
            let Some(row) = self.store.runs.get(run).filter(|row| !row.status.is_final()) else { continue };
            let taken = row.journal.iter().any(|row| matches!(row.entry.record, Record::Cancelled { .. }));
            let waits = |it: &LetterRow| it.run == *run && matches!(it.letter, Letter::Event(Event::Cancel { .. }));
            let over = row.status == RunStatus::Compensating;
            if !taken && !over && !self.store.inbox.values().any(waits) {
                return violated("a cancelled child never begins", format!("run {run} knows of no cancel"));
            }
        }
        Ok(())
    }

    /// What is beside the journals belongs to runs that want it.
    fn check_rows(&self) -> Result<(), Violation> {
        let over = |run: &RunId| self.store.runs.get(run).is_none_or(|row| row.status.is_final());
        if let Some((run, timer)) = self.store.timers.iter().find(|(run, _)| over(run)) {
            return violated("a run that has ended leaves nothing behind", format!("timer of {run}: {timer:?}"));
        }
        if let Some((id, (run, _))) = self.store.approvals.iter().find(|(_, (run, _))| over(run)) {
            return violated("a run that has ended leaves nothing behind", format!("approval {id} of {run}"));
        }
        if let Some((run, path)) = self.store.waits.keys().find(|(run, _)| over(run)) {
            return violated("a run that has ended leaves nothing behind", format!("the wait of {run} at {path}"));
        }
        if let Some(run) = self.store.queue.keys().find(|run| over(run)) {
            return violated("a run that has ended leaves nothing behind", format!("a place in the queue of {run}"));
        }
        Ok(())
    }

    /// What must hold once everything has come to its end.
    fn check_rest(&self) -> Result<(), Violation> {
        for request in &self.requests {
            if let (Wants::Start { key, .. }, None | Some(Err(Fail::Unavailable))) = (&request.wants, request.answer) {
                return violated("a start is answered in the end", format!("key {key}"));
            }
        }
        for run in self.store.runs.keys() {
            let Some(start) = self.store.start_of(*run) else { continue };
            let waited = start.parent.as_ref().filter(|parent| parent.waits);
            let Some(parent) = waited.and_then(|parent| self.store.runs.get(&parent.run)) else { continue };
            if !parent.status.is_final() {
                return violated("what is left alone comes to its end", format!("the parent of {run}"));
            }
        }
        Ok(())
    }
}

fn is_fresh(start: &windlass_engine::Start) -> bool {
    start.origin == windlass_engine::start::Origin::Fresh
}

fn key_of(request: &super::people::Request) -> Option<u64> {
    match request.wants {
        Wants::Start { key, .. } => Some(key),
        Wants::Event { .. } => None,
    }
}

/// Each row's checksum covers the one before.
fn check_chain(run: RunId, journal: &[Row]) -> Result<(), Violation> {
    let mut sum = 0;
    for row in journal {
        sum = store::checksum(sum, row.entry.seq, &row.payload);
        if sum != row.checksum {
            return violated("each checksum covers the one before", format!("run {run}: {:?}", row.entry));
        }
    }
    Ok(())
}
