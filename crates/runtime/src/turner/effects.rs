//! What follows from a transition that is on disk: answers, effects, letters.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use windlass_engine::effect::{OfferTask, RunStep};
use windlass_engine::event::Failure;
use windlass_engine::id::RunId;
use windlass_engine::status::RunStatus;
use windlass_engine::{Effect, Event};
use windlass_store::crash_point;

use super::{Deliver, Turner};
use crate::dispatch::WaitsFor;
use crate::letter::Letter;
use crate::live::{LiveEntry, LiveEvent};
use crate::live_run::{OpenAttempt, Pending};
use crate::metrics::add;
use crate::tasks::{Offered, Promised};
use crate::views::RunView;

impl Turner {
    /// A transition is on disk: everything that waited for that may happen.
    pub(super) fn follow(&mut self, run: RunId, pending: Pending) {
        let Pending {
            effects,
            letters,
            look,
            replies,
            refusals,
            discards,
            announce,
            status,
            more,
            born,
            mut promised,
            stored,
            ..
        } = pending;
        if let (false, Some(live)) = (discards.is_empty(), self.runs.get(&run)) {
            let (tenant, lane) = (live.tenant(), live.lane);
            self.submit_rows(tenant, run, lane, discards);
        }
        add(&self.core.metrics.runs_started, u64::from(born));
        crash_point::hit("before-follow");
        let answers = !replies.is_empty();
        for (reply, taken) in replies {
            reply.done(run, taken);
        }
        if answers {
            crash_point::hit("after-answer");
        }
        for (reply, error) in refusals {
            reply.failed(error);
        }
        self.announce(run, announce, status);
        if let Some(status) = status {
            self.core.metrics.run_ended(status);
        }
        if let (true, Some(live)) = (born || status.is_some_and(RunStatus::is_final), self.runs.get(&run)) {
            self.core.to_read.hear((live.tenant(), run), self.core.now());
        }
        let mut inline = Vec::new();
        for effect in effects {
            match effect {
                Effect::OfferTask(task) => {
                    let promised = promised.pop_front_if(|it| it.task == task.task);
                    self.offered(run, task, promised);
                }
                effect => self.carry_out(run, effect, &mut inline),
            }
        }
        if let (false, Some(live)) = (stored.is_empty(), self.runs.get(&run)) {
            stored.iter().for_each(|queue| self.core.stored_task(live.tenant(), live.lane, queue));
        }
        self.post(run, letters);
        if look {
            self.core.look.notify_one();
        }
        crash_point::hit("after-follow");
        for event in inline {
            let Some(live) = self.runs.get(&run) else { return };
            self.step(Deliver::new(live.tenant(), run, event));
        }
        // A node that stops leaves the rest to whoever takes the run over: it might never come to an end.
        if more
            && !self.core.is_draining()
            && let Some(live) = self.runs.get(&run)
        {
            self.step(Deliver::new(live.tenant(), run, Event::Continue));
        }
        self.settle(run);
    }

    /// A task is on disk: it is handed to the claim that it was promised to, lies there for the next one, or is looked for.
    fn offered(&mut self, run: RunId, task: OfferTask, promised: Option<Promised>) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        let (id, tenant, lane) = (task.task, live.tenant(), live.lane);
        let has_row = !live.handed.contains(id);
        match promised {
            Some(promised) => self.core.hand(Offered { tenant, run, lane, task }, promised),
            None if has_row => self.core.stored_task(tenant, lane, &task.queue),
            None => live.handed.lies(id, self.core.lay(Offered { tenant, run, lane, task })),
        }
        if !has_row {
            self.handed.push_back((Instant::now(), run, id));
            if self.core.is_draining() {
                self.write_handed(run, None);
            }
        }
    }

    pub(super) fn announce(&mut self, run: RunId, entries: Vec<windlass_engine::Entry>, status: Option<RunStatus>) {
        if !self.core.watchers.has(run) {
            return;
        }
        let entries = entries.into_iter().map(|entry| LiveEvent::Entry(LiveEntry::from(entry)));
        self.core.watchers.tell(run, entries.chain(status.map(|status| LiveEvent::Status { status })));
    }

    pub(super) fn carry_out(&mut self, run: RunId, effect: Effect, inline: &mut Vec<Event>) {
        let Some(live) = self.runs.get_mut(&run) else { return };
        match effect {
            Effect::RunStep(step) => self.run_step(run, step, inline),
            Effect::StopStep { path, attempt } => {
                if let Some(open) = live.attempts.get(&path).filter(|open| open.attempt == attempt) {
                    open.stop.cancel();
                }
            }
            Effect::StopTask { task, path, attempt } => {
                let withdrawal = crate::tasks::Withdrawal { task, lane: live.lane, path, attempt };
                self.core.withdraw_task(live.tenant(), run, withdrawal);
            }
            Effect::Respond { answer } => {
                live.response = Some(answer.clone());
                let view = Arc::new(RunView { response: Some(answer), ..RunView::of_run(&live.run) });
                for watcher in self.watchers.remove(&run).into_iter().flatten() {
                    let _ = watcher.send(Arc::clone(&view));
                }
            }
            Effect::Log { path, line } => {
                tracing::info!(target: "windlass::step", %run, %path, %line);
                self.core.watchers.tell(run, [LiveEvent::Log { path, line }]);
            }
            Effect::Finish(_) => {
                let info = live.run.info();
                self.core.free_place(info, &live.plan.plan);
            }
            // These are rows or letters of the commit, or carried out by whoever calls this.
            Effect::OfferTask(_)
            | Effect::OpenApproval(_)
            | Effect::CloseApproval { .. }
            | Effect::CloseTask { .. }
            | Effect::WaitForEvent(_)
            | Effect::ForgetEvent { .. }
            | Effect::StartChild(_)
            | Effect::UndoChild { .. }
            | Effect::CancelChild { .. }
            | Effect::PauseChild { .. }
            | Effect::ResumeChild { .. }
            | Effect::Restart { .. } => {}
        }
    }

    pub(super) fn run_step(&mut self, run: RunId, step: RunStep, inline: &mut Vec<Event>) {
        // As for those that wait for a place: on a node that stops, nothing begins any more.
        if self.core.is_draining() {
            return;
        }
        let Some(live) = self.runs.get_mut(&run) else { return };
        let started_at = self.core.now();
        let Some(code) = self.core.catalogue.get(&step.type_name) else {
            let error = windlass_definition::Error::new(
                windlass_definition::Class::NotFound,
                "step_type",
                format!("this server has no step type `{}`", step.type_name),
            );
            let result = Err(Failure::certain(error));
            inline.push(Event::StepEnded { path: step.path, attempt: step.attempt, started_at, result });
            return;
        };
        if step.lock.is_none()
            && step.rate.is_none()
            && let Some(result) = code.run_now(&step.with)
        {
            add(&self.core.metrics.attempts_ended, 1);
            let result = result.map_err(crate::dispatch::failure);
            inline.push(Event::StepEnded { path: step.path, attempt: step.attempt, started_at, result });
            return;
        }
        let stop = CancellationToken::new();
        let waits_for = WaitsFor::default();
        let open = OpenAttempt { attempt: step.attempt, stop: stop.clone(), waits_for: waits_for.clone() };
        live.attempts.insert(step.path.clone(), open);
        self.running.push_back((Instant::now(), run));
        let (tenant, info) = (live.tenant(), live.run.info());
        let (workflow, trace) = (info.workflow.clone(), info.belongs_to());
        let (plan, generation) = (Arc::clone(&live.plan.plan), live.generation);
        let order = crate::dispatch::Order { tenant, run, workflow, trace, plan, step, stop, waits_for, generation };
        crate::dispatch::dispatch(&self.core, Arc::clone(code), order);
    }

    pub(super) fn post(&mut self, run: RunId, letters: Vec<(RunId, Uuid, Letter)>) {
        let Some(live) = self.runs.get(&run) else { return };
        let (tenant, lane) = (live.tenant(), live.lane);
        for (to, id, letter) in letters {
            // A look may have found its row before we were told that it is there, and opened it.
            if !self.core.letters.take(id) {
                continue;
            }
            self.core.open_letter(crate::inbox::Opened { tenant, run: to, lane, id, letter });
        }
    }
}
