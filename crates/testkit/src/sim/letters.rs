//! Owning lanes, looking at the database again and again, and doing what letters ask of the runtime.
//!
//! It follows `crates/runtime/src/{recovery,inbox,children}.rs`: whatever a process is told directly is also a row, and
//! the look finds the rows whose telling was lost with a process.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use windlass_definition::{Class, Error, Value};
use windlass_engine::{
    Event, Start,
    event::ChildResult,
    id::{RunId, TaskId},
    planted::{Bug, planted},
    start::{Origin, Parent, Principal},
    status::RunStatus,
};

use super::{
    Action, LEASE, Sim,
    commits::Lane,
    node::{Deliver, Message, Process, Recover, Source, StartRun, Work},
    people::Reply,
    store::{Change, ChildOrder, LaneRow, Letter, LetterRow, NodeRow},
};

/// Lanes that a process registers.
const LANES: usize = 2;
const RENEW: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(1);
/// Until a process has listed what there is of the lanes that it owns; it is told much meanwhile.
const SCAN_MILLIS: usize = 400;
/// How long a letter that was opened here is passed over when it is read.
const IN_HAND: Duration = Duration::from_secs(30);
/// A timer that comes within this is brought into memory.
const HORIZON: Duration = Duration::from_secs(60);

/// Events that came before a wait, told one after the other.
#[derive(Debug)]
pub(super) struct Find {
    run: RunId,
    letter: (u64, usize),
    path: Arc<str>,
    events: VecDeque<Value>,
}

/// A letter that asks for a restart: where it is, of which run, with which input.
pub(super) type Restarting = ((RunId, usize, u64), (RunId, Value));

impl Sim {
    /// A process starts, with a new identity.
    pub(super) fn boot(&mut self, machine: usize) {
        if self.machines[machine].process.is_some() {
            return;
        }
        self.machines[machine].life += 1;
        self.machines[machine].process = Some(Process::default());
        self.register(machine);
        self.soon(machine, 10, Work::Look);
        self.soon(machine, 3_000, Work::Renew);
    }

    fn register(&mut self, machine: usize) {
        let node = self.number() as u32;
        let lease_until = self.store.now.after(LEASE);
        self.store.nodes.insert(node, NodeRow { lease_until, dead: false });
        // Lanes whose node is dead come first.
        for _ in 0..LANES {
            match self.orphans().first() {
                Some(lane) => self.store.lanes[*lane] = LaneRow { node, epoch: self.store.lanes[*lane].epoch + 1 },
                None => self.store.lanes.push(LaneRow { node, epoch: 1 }),
            }
        }
        if let Some(process) = self.process(machine) {
            process.node = node;
            process.lost = false;
        }
        self.own_lanes(machine);
    }

    /// Which lanes are this process's is read again.
    fn own_lanes(&mut self, machine: usize) {
        let Some(node) = self.process(machine).map(|process| process.node) else { return };
        let rows = self.store.lanes.clone();
        let lanes = rows.into_iter().enumerate().filter(|(_, row)| row.node == node);
        let Some(process) = self.process(machine) else { return };
        for (lane, row) in lanes {
            let owned = process.lanes.entry(lane).or_insert_with(|| {
                process.chains.clear();
                Lane::default()
            });
            owned.epoch = row.epoch;
        }
    }

    pub(super) fn renew(&mut self, machine: usize) {
        let (now, until) = (self.store.now, self.store.now.after(LEASE));
        let Some(node) = self.process(machine).map(|process| process.node) else { return };
        let dead = match self.store.nodes.get_mut(&node) {
            Some(row) if !row.dead => {
                row.lease_until = until;
                false
            }
            _ => true,
        };
        if let Some(process) = self.process(machine) {
            process.lost |= dead;
        }
        let life = self.machines[machine].life;
        self.at(now.after(RENEW), Action::Within { machine, life, work: Work::Renew });
    }

    /// One look at the database.
    pub(super) fn look(&mut self, machine: usize) {
        let life = self.machines[machine].life;
        self.at(self.store.now.after(LOOK), Action::Within { machine, life, work: Work::Look });
        if self.faults && self.random.percent(3) {
            return;
        }
        let Some(process) = self.process(machine) else { return };
        if process.lost {
            let lanes: Vec<usize> = process.lanes.keys().copied().collect();
            for lane in &lanes {
                self.lane_is_gone(machine, *lane);
            }
            let known = self.process(machine).map(|process| std::mem::take(&mut process.known_lanes));
            self.lose(machine, &known.unwrap_or(lanes));
            self.register(machine);
        }
        self.adopt(machine);
        self.own_lanes(machine);
        self.soon(machine, SCAN_MILLIS, Work::Scan);
    }

    /// The rest of a look: what is there of the lanes that are owned now. Much may have been told in the meantime.
    pub(super) fn scan(&mut self, machine: usize) {
        let Some(process) = self.process(machine) else { return };
        let lanes: Vec<usize> = process.lanes.keys().copied().collect();
        let known = std::mem::replace(&mut process.known_lanes, lanes.clone());
        let gone: Vec<usize> = known.iter().copied().filter(|lane| !lanes.contains(lane)).collect();
        if !gone.is_empty() {
            self.told(machine, Message::Lost(gone));
        }
        let new: Vec<usize> = lanes.iter().copied().filter(|lane| !known.contains(lane)).collect();
        self.take_over(machine, &new);
        self.due_timers(machine, &lanes);
        self.open_inbox(machine, &lanes);
        self.finished_tasks(machine, &lanes);
        self.admit(machine, &lanes);
        self.sweep(machine);
    }

    /// Letters and answers that somebody else has left.
    pub(super) fn hinted(&mut self, machine: usize) {
        let Some(process) = self.process(machine) else { return };
        let lanes: Vec<usize> = process.lanes.keys().copied().collect();
        self.open_inbox(machine, &lanes);
        self.finished_tasks(machine, &lanes);
    }

    /// Takes the lanes of nodes whose lease is over.
    fn adopt(&mut self, machine: usize) {
        let now = self.store.now;
        let Some(me) = self.process(machine).map(|process| process.node) else { return };
        if self.store.nodes.get(&me).is_none_or(|row| row.dead) {
            return;
        }
        for (node, row) in &mut self.store.nodes {
            row.dead |= *node != me && row.lease_until < now;
        }
        // Those that hold nothing wait for who starts.
        for lane in self.orphans() {
            let open = self.store.runs.values().any(|row| row.lane == lane && !row.status.is_final());
            if !open && !self.store.inbox.values().any(|row| row.lane == lane) {
                continue;
            }
            let row = &mut self.store.lanes[lane];
            *row = LaneRow { node: me, epoch: row.epoch + 1 };
            self.counts.lanes_adopted += 1;
            self.tell(|now| format!("{now} machine {machine} adopts lane {lane}"));
        }
    }

    /// Lanes whose node is dead.
    fn orphans(&self) -> Vec<usize> {
        let dead = |node: u32| self.store.nodes.get(&node).is_none_or(|row| row.dead);
        (0..self.store.lanes.len()).filter(|at| dead(self.store.lanes[*at].node)).collect()
    }

    fn take_over(&mut self, machine: usize, lanes: &[usize]) {
        for status in RunStatus::TAKEN_OVER {
            let forgets = status == RunStatus::Compensating && planted(Bug::AdoptionForgetsUndo);
            let runs = self.store.runs.iter().filter(|(_, row)| row.status == status && lanes.contains(&row.lane));
            let runs: Vec<RunId> = runs.map(|(run, _)| *run).collect();
            for run in runs.into_iter().filter(|_| !forgets) {
                self.told(machine, Message::Adopt(run, Recover::Yes));
            }
        }
    }

    fn due_timers(&mut self, machine: usize, lanes: &[usize]) {
        let (now, horizon) = (self.now(machine), self.now(machine).after(HORIZON));
        let due = self.store.timers.iter().filter(|(_, (lane, due))| lanes.contains(lane) && *due <= horizon);
        let due: Vec<_> = due.map(|(run, (_, due))| (*run, *due)).collect();
        for (run, due) in due {
            let message = match due <= now {
                true => Message::Deliver(Box::new(Deliver::new(run, Event::Tick))),
                false => Message::Adopt(run, Recover::No),
            };
            self.told(machine, message);
        }
    }

    fn open_inbox(&mut self, machine: usize, lanes: &[usize]) {
        let rows: Vec<LetterRow> = self.store.inbox.values().filter(|row| lanes.contains(&row.lane)).cloned().collect();
        for row in rows {
            if self.take_in_hand(machine, (row.id, None)) {
                self.counts.letters_found += 1;
                self.open(machine, row);
            }
        }
    }

    fn finished_tasks(&mut self, machine: usize, lanes: &[usize]) {
        let ended = self.store.tasks.iter().filter(|(_, row)| lanes.contains(&row.lane) && row.answer.is_some());
        let ended: Vec<_> = ended.map(|(task, row)| (*task, row.clone())).collect();
        for (task, row) in ended {
            let Some(result) = row.answer.filter(|_| self.take_in_hand(machine, (0, Some(task)))) else { continue };
            let event = Event::StepEnded { path: row.path, attempt: row.attempt, started_at: self.store.now, result };
            let source = Source::Task(task, row.lane);
            self.told(machine, Message::Deliver(Box::new(Deliver { source, ..Deliver::new(row.run, event) })));
        }
    }

    fn admit(&mut self, machine: usize, lanes: &[usize]) {
        let queued: Vec<RunId> =
            self.store.queue.iter().filter(|(_, lane)| lanes.contains(lane)).map(|(run, _)| *run).collect();
        for run in queued {
            self.told(machine, Message::Deliver(Box::new(Deliver::new(run, Event::Admit))));
        }
    }

    /// Takes a letter or an answer; false when it was taken a moment ago.
    pub(super) fn take_in_hand(&mut self, machine: usize, id: (u64, Option<TaskId>)) -> bool {
        let now = self.store.now;
        let Some(process) = self.process(machine) else { return false };
        match process.in_hand.get(&id) {
            Some(since) if now.since(*since) < IN_HAND => false,
            _ => {
                process.in_hand.insert(id, now);
                true
            }
        }
    }

    /// The letters and answers of these rows are still there: the commit that would have taken them has failed.
    pub(super) fn put_back(&mut self, machine: usize, rows: &[Change]) {
        let Some(process) = self.process(machine) else { return };
        for row in rows {
            match row {
                Change::DropLetter(id) => drop(process.in_hand.remove(&(*id, None))),
                Change::CloseTask(task) => drop(process.in_hand.remove(&(0, Some(*task)))),
                _ => {}
            }
        }
    }

    /// The letter has been dealt with.
    fn discard(&mut self, machine: usize, row: (RunId, usize, u64), more: Option<Change>) {
        let (run, lane, id) = row;
        let rows = more.into_iter().chain([Change::DropLetter(id)]).collect();
        self.submit_rows(machine, run, lane, rows);
        self.pump_all(machine);
    }

    /// Does what a letter asks of the runtime.
    pub(super) fn act(&mut self, machine: usize, row: LetterRow) {
        let LetterRow { id, lane, run, letter, .. } = row;
        if self.faults && self.random.percent(2) {
            // The database did not answer: the letter is still there.
            return;
        }
        let here = (run, lane, id);
        match letter {
            Letter::Event(_) => {}
            Letter::FindEvents { path, event_type, since } => {
                let came = self.store.events.iter().filter(|it| it.0 == event_type && it.1 >= since);
                let events = came.map(|it| it.2.clone()).collect();
                self.find_next(machine, (id, Find { run, letter: (id, lane), path, events }));
            }
            Letter::Undone => self.discard(machine, here, Some(Change::Undone)),
            _ if self.store.runs.contains_key(&run) => self.discard(machine, here, None),
            Letter::StartChild(order) => self.start_child(machine, here, *order),
            Letter::UndoChild { parent, path, of, error } => self.undo_child(machine, here, (parent, path, of, error)),
            Letter::Restart { of, input } => self.restart(machine, here, (of, input)),
        }
    }

    fn launch(&mut self, machine: usize, (start, plan_of): (Start, usize), (lane, id): (usize, u64)) {
        let plan = self.plans[plan_of].clone();
        let source = Source::Letter(id, lane);
        let order = StartRun { start, plan, lane, key: None, source, reply: None };
        self.told(machine, Message::Start(Box::new(order)));
    }

    fn start_child(&mut self, machine: usize, (run, lane, id): (RunId, usize, u64), order: ChildOrder) {
        let parent = Parent { run: order.parent, path: order.path.clone(), waits: order.waits };
        let plan_of = match &*order.workflow {
            "other" => self.plans.len() - 2,
            _ => self.plans.len() - 1,
        };
        // Now and then nobody has published it.
        let Some(above) = self.store.start_of(order.parent).cloned().filter(|_| run.uuid().as_u128() % 12 != 0) else {
            let error = Error::new(Class::NotFound, "workflow", "there is no such workflow");
            return self.refuse(machine, (lane, id), (parent, error));
        };
        let start = Start {
            run,
            plan: self.plans[plan_of].hash.to_string().into(),
            workflow: order.workflow,
            version: 2,
            mode: order.mode,
            input: self.input(order.input),
            by: Principal::Run(order.parent),
            created_at: self.store.now,
            trace: Some(above.belongs_to().handed_on()),
            parent: Some(parent),
            depth: order.depth,
            origin: Origin::Fresh,
            queued: false,
            ..above
        };
        self.launch(machine, (start, plan_of), (lane, id));
    }

    /// Tells the parent that there will be no child.
    fn refuse(&mut self, machine: usize, (lane, id): (usize, u64), (parent, error): (Parent, Error)) {
        if planted(Bug::RefusalNotTold) {
            return self.discard(machine, (parent.run, lane, id), None);
        }
        let result = ChildResult::Failed(None, error);
        let event = Event::ChildEnded { path: parent.path, child: None, result };
        let deliver = Deliver { source: Source::Letter(id, lane), ..Deliver::new(parent.run, event) };
        self.told(machine, Message::Deliver(Box::new(deliver)));
    }

    fn undo_child(
        &mut self,
        machine: usize,
        (run, lane, id): (RunId, usize, u64),
        (parent, path, of, error): (RunId, Arc<str>, RunId, Value),
    ) {
        let parent = Parent { run: parent, path, waits: true };
        let over = self.store.runs.get(&of).filter(|row| row.status.is_final()).map(|row| row.plan.clone());
        let Some((plan, Ok((ended, _)))) = over.map(|plan| (plan, self.store.fold(of))) else {
            let error = Error::new(Class::NotFound, "run_not_ended", "it has not ended");
            return self.refuse(machine, (lane, id), (parent, error));
        };
        let start = Start {
            run,
            by: Principal::Run(parent.run),
            created_at: self.store.now,
            trace: Some(ended.info().belongs_to().handed_on()),
            parent: Some(parent),
            origin: Origin::Undo { of, items: ended.undo_left(), error },
            queued: false,
            ..ended.info().clone()
        };
        let source = Source::Letter(id, lane);
        let order = StartRun { start, plan, lane, key: None, source, reply: None };
        self.told(machine, Message::Start(Box::new(order)));
    }

    /// A fresh run takes the place of one that ended with `restart`; whoever waits for that one is told first.
    fn restart(&mut self, machine: usize, here: (RunId, usize, u64), of: (RunId, Value)) {
        let (run, _, number) = here;
        let Some(old) = self.store.start_of(of.0).cloned() else { return self.discard(machine, here, None) };
        let Some(parent) = old.parent.filter(|parent| parent.waits) else {
            return self.restart_as(machine, (here, of), None);
        };
        let event = Event::ChildRestarted { path: parent.path, child: of.0, run };
        let reply = Some(Reply::Restart { machine, life: self.machines[machine].life, number });
        if let Some(process) = self.process(machine) {
            process.restarts.insert(number, (here, of));
        }
        self.told(machine, Message::Deliver(Box::new(Deliver { reply, ..Deliver::new(parent.run, event) })));
    }

    /// Starts the run that takes another's place, if only to say why it cannot run.
    pub(super) fn restart_as(&mut self, machine: usize, asked: Restarting, refused: Option<Error>) {
        let ((run, lane, id), (of, input)) = asked;
        let Some(old) = self.store.start_of(of).cloned() else { return };
        let plan = self.store.runs[&of].plan.clone();
        // A run that always restarts would never end.
        let again = matches!(old.origin, Origin::Restart { .. });
        let refused = refused.or_else(|| again.then(|| Error::new(Class::Limit, "restarted", "it was restarted once")));
        let start = Start {
            run,
            input: self.input(input),
            created_at: self.store.now,
            trace: Some(old.belongs_to().handed_on()),
            parent: old.parent.clone().filter(|parent| parent.waits),
            origin: Origin::Restart { of },
            queued: false,
            refused,
            ..old
        };
        let source = Source::Letter(id, lane);
        let order = StartRun { start, plan, lane, key: None, source, reply: None };
        self.told(machine, Message::Start(Box::new(order)));
    }

    /// Tells the next of the events that were there before the wait, or is done with them.
    pub(super) fn find_next(&mut self, machine: usize, (number, mut find): (u64, Find)) {
        let Some(event) = find.events.pop_front() else {
            return self.discard(machine, (find.run, find.letter.1, find.letter.0), None);
        };
        let key = format!("world {}", event.get("id").cloned().unwrap_or_default()).into();
        let event = Event::CloudEvent { path: find.path.clone(), key, event };
        let reply = Some(Reply::Find { machine, life: self.machines[machine].life, number });
        let deliver = Deliver { reply, ..Deliver::new(find.run, event) };
        if let Some(process) = self.process(machine) {
            process.finds.insert(number, find);
        }
        self.told(machine, Message::Deliver(Box::new(deliver)));
    }
}
