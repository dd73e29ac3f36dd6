//! Control steps: choosing, opening and ending the blocks inside them.

use std::sync::Arc;

use windlass_definition::{
    Class, Error, Template, Value,
    plan::{BlockIndex, Catch, ItemError, Join, StepKind},
};

use super::{End, Machine};
use crate::{
    frame::{At, Control, FrameId, FrameStop, Outcome, Owner, Part, Phase, Role, SlotStop, Try, Work},
    planted::{Bug, planted},
    status::StepStatus,
};

impl Machine<'_> {
    /// Opens the block that an `if` or `switch` decided for.
    pub(super) fn choose(&mut self, at: At, decided_by: Value, block: Option<BlockIndex>) {
        self.slot_mut(at).input = decided_by;
        let Some(block) = block else { return self.end_control(at, Value::Null) };
        let frame = self.open_frame(block, Owner::Step(at), Role::Chosen);
        self.start_control(at, Control::Chosen(frame));
    }

    pub(super) fn matching_case(
        &self,
        at: At,
        on: &Template,
        cases: &[(Template, BlockIndex)],
    ) -> Result<(Value, Option<BlockIndex>), Error> {
        let scope = self.scope(at);
        let on = on.evaluate(&scope)?;
        for (place, (is, block)) in cases.iter().enumerate() {
            if super::scope::equal(&is.evaluate(&scope)?, &on) {
                let next = cases.get(place + 1).filter(|_| planted(Bug::SwitchNextCase));
                return Ok((on, Some(next.map_or(*block, |it| it.1))));
            }
        }
        Ok((on, None))
    }

    /// Ends a control step that did all it had to do.
    pub(super) fn end_control(&mut self, at: At, output: Value) {
        match &self.step(at).output {
            None => self.complete(at, output),
            Some(template) => match template.evaluate(&self.scope(at).with("output", output)) {
                Ok(output) => self.complete(at, output),
                Err(error) => self.fail(at, error),
            },
        }
    }

    /// Ends a control step that was stopped.
    fn end_stopped(&mut self, at: At) {
        match self.run.slot(at).stop {
            Some(SlotStop::Timeout) => {
                let error = self.timeout_error(at);
                self.end_step(at, End::timed_out(error));
            }
            _ => self.end_step(at, End::new(StepStatus::Cancelled)),
        }
    }

    fn control_mut(&mut self, at: At) -> &mut Control {
        match &mut self.slot_mut(at).phase {
            Phase::Control(control) => control,
            phase => unreachable!("a control step holds its blocks until it ends: {phase:?}"),
        }
    }

    /// A block of a control step has ended.
    pub(super) fn block_ended(&mut self, at: At, frame: FrameId, outcome: Outcome) {
        let role = self.run.frame(frame).role.clone();
        match role {
            Role::Chosen => {
                self.drop_frame(frame);
                self.chosen_ended(at, outcome);
            }
            Role::Item { index, .. } => {
                self.drop_frame(frame);
                self.item_ended(at, index, outcome);
            }
            Role::Round { .. } => {
                self.drop_frame(frame);
                self.round_ended(at, outcome);
            }
            Role::Branch(branch) => {
                self.drop_frame(frame);
                self.branch_ended(at, branch, outcome);
            }
            Role::Body | Role::Catch { .. } | Role::Finally => self.try_part_ended(at, outcome),
        }
    }

    fn chosen_ended(&mut self, at: At, outcome: Outcome) {
        match outcome {
            _ if self.run.slot(at).stop.is_some() => self.end_stopped(at),
            Outcome::Completed(output) => self.end_control(at, output),
            Outcome::Failed(error) => self.fail(at, error),
            Outcome::Stopped | Outcome::Break | Outcome::Next => self.end_stopped(at),
        }
    }

    /// Opens what a loop or `parallel` has room for, or ends it when nothing is left.
    pub(super) fn advance(&mut self, at: At) {
        if !self.run.frames.contains_key(&at.frame) {
            return;
        }
        match self.phase(at) {
            Phase::Control(Control::ForEach(_)) => self.advance_for_each(at),
            Phase::Control(Control::While(_)) => self.advance_while(at),
            Phase::Control(Control::Parallel(_)) => self.advance_parallel(at),
            // The end of their block ends an `if`, a `switch` or a `try`.
            _ => {}
        }
    }

    fn advance_for_each(&mut self, at: At) {
        let StepKind::ForEach { parallel, body, .. } = self.step(at).kind else { return };
        loop {
            let stopping = self.run.slot(at).stop.is_some();
            let Control::ForEach(state) = self.control_mut(at) else { return };
            let items = state.items.as_list().unwrap_or_default();
            let room = parallel as usize + usize::from(planted(Bug::ForEachOneMore));
            if stopping
                || state.closing
                || state.open.len() >= room
                || state.next as usize
                    >= items.len() - usize::from(planted(Bug::ForEachLastLeftOut) && items.len() == 3)
            {
                break;
            }
            let index = state.next;
            let item = items[index as usize].clone();
            state.next += 1;
            state.outputs.push(Value::Null);
            let frame = self.open_frame(body, Owner::Step(at), Role::Item { index, item });
            if let Control::ForEach(state) = self.control_mut(at) {
                state.open.insert(index, frame);
            }
        }
        let stopping = self.run.slot(at).stop.is_some();
        let Control::ForEach(state) = self.control_mut(at) else { return };
        if !state.open.is_empty() {
            return;
        }
        if stopping {
            return self.end_stopped(at);
        }
        match state.error.take() {
            Some(error) => self.fail(at, error),
            None => {
                let outputs = std::mem::take(&mut state.outputs);
                self.end_control(at, Value::List(Arc::new(outputs)));
            }
        }
    }

    fn item_ended(&mut self, at: At, index: u32, outcome: Outcome) {
        let StepKind::ForEach { on_error, .. } = self.step(at).kind else { return };
        let Control::ForEach(state) = self.control_mut(at) else { return };
        state.open.remove(&index);
        let mut close = outcome == Outcome::Break;
        let (status, output, error) = match outcome {
            Outcome::Completed(output) => (StepStatus::Completed, output, None),
            Outcome::Failed(error) => (StepStatus::Failed, Value::Null, Some(error)),
            Outcome::Next => (StepStatus::Completed, Value::Null, None),
            Outcome::Stopped | Outcome::Break => (StepStatus::Cancelled, Value::Null, None),
        };
        if let (ItemError::Stop, Some(error)) = (on_error, &error) {
            close = true;
            state.error.get_or_insert_with(|| error.clone().with_detail("index", Value::from(index)));
        }
        let place = match planted(Bug::ForEachOutputsByEnd) {
            true => state.outputs.len() - state.open.len() - 1,
            false => index as usize,
        };
        state.outputs[place] = match on_error {
            ItemError::Stop | ItemError::Continue => output,
            ItemError::Collect => Value::map([
                ("status", Value::from(status.as_str())),
                ("output", output),
                ("error", error.map_or(Value::Null, |error| error.to_value())),
            ]),
        };
        if close && !state.closing {
            state.closing = true;
            self.stop_open_blocks(at);
        }
        self.run.work.push_back(Work::Advance(at));
    }

    fn advance_while(&mut self, at: At) {
        let step = self.step(at);
        let StepKind::While { when, max, body } = &step.kind else { return };
        let stopping = self.run.slot(at).stop.is_some();
        let Control::While(state) = self.control_mut(at) else { return };
        let (index, last, closing) = (state.index, state.last.clone(), state.closing);
        if state.round.is_some() {
            return;
        }
        if stopping {
            return self.end_stopped(at);
        }
        let holds = !closing && {
            let scope = self.scope(at).with("index", Value::from(index)).with("last", last.clone());
            match super::scope::holds(when, &scope) {
                Ok(holds) => holds,
                Err(error) => return self.fail(at, error),
            }
        };
        if !holds {
            return self.end_control(at, last);
        }
        if index >= *max + u32::from(planted(Bug::WhileOneMore)) {
            let message = format!("the loop's condition still holds after {max} rounds, the most it may have (`max`)");
            return self.fail(at, Error::new(Class::Limit, "loop_limit", message));
        }
        let frame = self.open_frame(*body, Owner::Step(at), Role::Round { index, last });
        if let Control::While(state) = self.control_mut(at) {
            state.round = Some(frame);
        }
    }

    fn round_ended(&mut self, at: At, outcome: Outcome) {
        let Control::While(state) = self.control_mut(at) else { return };
        state.round = None;
        match outcome {
            Outcome::Completed(output) => {
                state.index += 1;
                state.last = output;
            }
            Outcome::Next => {
                state.index += u32::from(!planted(Bug::WhileNextNotCounted));
                state.last = Value::Null;
            }
            Outcome::Break | Outcome::Stopped => state.closing = true,
            Outcome::Failed(error) if self.run.slot(at).stop.is_none() => return self.fail(at, error),
            Outcome::Failed(_) => {}
        }
        self.run.work.push_back(Work::Advance(at));
    }

    fn advance_parallel(&mut self, at: At) {
        let step = self.step(at);
        let StepKind::Parallel { branches, join, parallel } = &step.kind else { return };
        let room = parallel.map_or(usize::MAX, |parallel| parallel as usize);
        loop {
            let stopping = self.run.slot(at).stop.is_some();
            let Control::Parallel(state) = self.control_mut(at) else { return };
            if stopping || state.closing || state.open.len() >= room || state.next as usize >= branches.len() {
                break;
            }
            let branch = state.next;
            state.next += 1;
            let frame = self.open_frame(branches[branch as usize].1, Owner::Step(at), Role::Branch(branch));
            if let Control::Parallel(state) = self.control_mut(at) {
                state.open.insert(branch, frame);
            }
        }
        let stopping = self.run.slot(at).stop.is_some();
        let Control::Parallel(state) = self.control_mut(at) else { return };
        if !state.open.is_empty() {
            return;
        }
        if stopping {
            return self.end_stopped(at);
        }
        let needed = needed(*join, branches.len()) - u32::from(planted(Bug::ParallelOneFewer));
        if state.completed >= needed {
            let outputs = std::mem::take(&mut state.outputs);
            let output = Value::map(branches.iter().map(|(name, _)| name).zip(outputs));
            return self.end_control(at, output);
        }
        let errors = std::mem::take(&mut state.errors);
        self.fail(at, too_few(*join, errors));
    }

    fn branch_ended(&mut self, at: At, branch: u32, outcome: Outcome) {
        let step = self.step(at);
        let StepKind::Parallel { branches, join, .. } = &step.kind else { return };
        let Control::Parallel(state) = self.control_mut(at) else { return };
        state.open.remove(&branch);
        match outcome {
            Outcome::Completed(output) => {
                state.outputs[branch as usize] = output;
                state.completed += 1;
            }
            Outcome::Failed(error) => state.errors.push((branches[branch as usize].0.clone(), error)),
            Outcome::Stopped | Outcome::Break | Outcome::Next => {}
        }
        let needed = needed(*join, branches.len());
        let met = state.completed >= needed;
        let lost = branches.len() as u32 - (state.errors.len() as u32) < needed;
        if (met || lost) && !state.closing {
            state.closing = true;
            self.stop_open_blocks(at);
        }
        self.run.work.push_back(Work::Advance(at));
    }

    /// Stops the blocks of a control step that are open.
    pub(super) fn stop_open_blocks(&mut self, at: At) {
        let Phase::Control(control) = self.phase(at) else { return };
        let frames: Vec<FrameId> = match control {
            Control::Chosen(frame) => vec![*frame],
            Control::ForEach(state) => state.open.values().copied().collect(),
            Control::While(state) => state.round.into_iter().collect(),
            Control::Parallel(state) => state.open.values().copied().collect(),
            // What is in `finally` already goes to its end.
            Control::Try(state) if state.part == Part::Finally => Vec::new(),
            Control::Try(state) => state.current().into_iter().collect(),
        };
        for frame in frames {
            self.stop_frame(frame, FrameStop::Stopped);
        }
    }

    fn try_part_ended(&mut self, at: At, outcome: Outcome) {
        let step = self.step(at);
        let StepKind::Try { catches, finally, .. } = &step.kind else { return };
        let stopping = self.run.slot(at).stop.is_some();
        let finally = finally.filter(|_| !self.run.finally_over);
        let Control::Try(state) = self.control_mut(at) else { return };
        let next = next_part(state, outcome, stopping, TryBlocks { catches, finally });
        let opened = match next {
            NextPart::Open(block, role) => self.open_frame(block, Owner::Step(at), role),
            NextPart::End(outcome) => {
                for frame in self.try_frames(at) {
                    self.drop_frame(frame);
                }
                return self.chosen_ended(at, outcome);
            }
        };
        if let Control::Try(state) = self.control_mut(at) {
            state.set_current(opened);
        }
    }

    fn try_frames(&mut self, at: At) -> Vec<FrameId> {
        match self.control_mut(at) {
            Control::Try(state) => state.frames().collect(),
            _ => Vec::new(),
        }
    }
}

/// The blocks of a `try` besides its body.
#[derive(Clone, Copy)]
pub(super) struct TryBlocks<'a> {
    pub catches: &'a [Catch],
    pub finally: Option<BlockIndex>,
}

/// What follows the end of a part of a `try`.
pub(super) enum NextPart {
    Open(BlockIndex, Role),
    End(Outcome),
}

/// Decides what follows the end of a part of a `try`, or of the run.
pub(super) fn next_part(state: &mut Try, outcome: Outcome, stopping: bool, blocks: TryBlocks<'_>) -> NextPart {
    match state.part {
        Part::Body => {
            if let (Outcome::Failed(error), false) = (&outcome, stopping)
                && let Some(catch) = blocks.catches.iter().find(|catch| catches(catch, error))
            {
                state.part = Part::Catch;
                state.outcome = outcome.clone();
                return NextPart::Open(catch.body, Role::Catch { error: error.clone(), name: catch.name.clone() });
            }
            state.outcome = outcome;
        }
        Part::Catch => {
            state.outcome = match (outcome, &state.outcome) {
                (Outcome::Failed(error), Outcome::Failed(caught)) => Outcome::Failed(with_cause(error, caught)),
                (outcome, _) => outcome,
            };
        }
        Part::Finally => {
            if let Outcome::Failed(_) = outcome {
                state.outcome = outcome;
            }
            return NextPart::End(state.outcome.clone());
        }
    }
    let failed = matches!(state.outcome, Outcome::Failed(_));
    match blocks.finally.filter(|_| !(failed && planted(Bug::FinallyLeftOut))) {
        Some(block) => {
            state.part = Part::Finally;
            NextPart::Open(block, Role::Finally)
        }
        None => NextPart::End(state.outcome.clone()),
    }
}

fn catches(catch: &Catch, error: &Error) -> bool {
    planted(Bug::CatchTakesAll) || catch.on.is_empty() || catch.on.iter().any(|pattern| pattern.matches(error))
}

/// The error of a `catch` block, with the one that it caught; raising the same again changes nothing.
fn with_cause(error: Error, caught: &Error) -> Error {
    let same = error.class == caught.class && error.code == caught.code && error.message == caught.message;
    if same { error } else { error.with_detail("cause", caught.to_value()) }
}

impl Try {
    pub(super) fn set_current(&mut self, frame: FrameId) {
        match self.part {
            Part::Body => self.body = Some(frame),
            Part::Catch => self.catch = Some(frame),
            Part::Finally => self.finally = Some(frame),
        }
    }
}

fn needed(join: Join, branches: usize) -> u32 {
    match join {
        Join::All => branches as u32,
        Join::AtLeast(n) => n.min(branches as u32),
    }
}

/// The error of a `parallel` of which too few branches completed.
fn too_few(join: Join, errors: Vec<(Arc<str>, Error)>) -> Error {
    let Some((branch, first)) = errors.first() else {
        return Error::new(Class::Cancelled, "cancelled", "no branch completed");
    };
    match join {
        Join::All => {
            let also: Vec<Error> = errors[1..].iter().map(|(_, error)| error.clone()).collect();
            super::edges::with_also(first.clone(), &also).with_detail("branch", Value::String(branch.clone()))
        }
        Join::AtLeast(n) => {
            let details = Value::map(errors.iter().map(|(name, error)| (name, error.to_value())));
            let message = format!("fewer than {n} branches can complete; the first failed with {first}");
            Error::new(first.class, &first.code, message).with_detail("errors", details)
        }
    }
}
