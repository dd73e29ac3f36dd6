//! Clients, people, workers and events: who starts runs, sends signals, decides, cancels, pauses, and answers tasks.
//!
//! A client that gets no answer asks again under the same idempotency key, as the documentation tells it to. What it was
//! told with a yes is kept, and looked for in the end.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use windlass_definition::{Class, Error, Value};
use windlass_engine::{
    Event, Start,
    event::{Decision, Settlement, UndoChoice, Verdict},
    id::{RunId, TenantKey},
    start::{Limits, Mode, Origin, Principal},
    status::RunStatus,
    trace::Trace,
};

use super::{
    Action, Machine, Sim,
    node::{Deliver, Fail, Message, Source, StartRun, Taken, Work},
    store::{Letter, LetterRow},
};

/// Times that somebody asks for the same thing.
const TRIES_MAX: u32 = 40;
/// Signals that are sent twice at once in a crowd, in percent.
const SENT_TWICE_PERCENT: usize = 50;
/// Hints that come, in percent.
const HINTS_PERCENT: usize = 70;
/// Roots of a seed at most.
const STARTS_MAX: usize = 5;

/// Who is told what became of something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reply {
    /// A client.
    Client { request: usize, machine: usize },
    /// Who tells a run of the events before its wait.
    Find { machine: usize, life: u32, number: u64 },
    /// Who tells a run that another one takes its child's place.
    Restart { machine: usize, life: u32, number: u64 },
}

/// What somebody is told: which run, and whether it counted now, or why not.
pub(super) type Told = Result<(RunId, Taken), Fail>;

/// Something that a client wants.
#[derive(Debug)]
pub(super) struct Request {
    pub wants: Wants,
    tries: u32,
    pub answer: Option<Result<RunId, Fail>>,
}

#[derive(Debug, Clone)]
pub(super) enum Wants {
    /// A run of that plan under that key; the body is what is sent.
    Start { key: u64, body: u64, plan: usize },
    /// Something of a run.
    Event { run: RunId, event: Event },
}

impl Sim {
    /// Some runs are wanted from the start; now and then two clients use the same key.
    pub(super) fn first_requests(&mut self) {
        for _ in 0..self.random.between(1, STARTS_MAX) {
            let (key, plan) = (self.number(), self.random.below(self.plans.len() - 2));
            let delay = self.random.between(0, 6_000) as u64;
            let body = self.random.next_number() % 1_000;
            self.want(Wants::Start { key, body, plan }, delay);
            if self.random.percent(30) {
                let body = if self.random.percent(30) { body + 1_000 } else { body };
                let later = delay + self.random.between(0, 3_000) as u64;
                self.want(Wants::Start { key, body, plan }, later);
            }
        }
    }

    fn want(&mut self, wants: Wants, delay_ms: u64) {
        self.requests.push(Request { wants, tries: 0, answer: None });
        self.at(self.store.now.after(Duration::from_millis(delay_ms)), Action::Send(self.requests.len() - 1));
    }

    /// A request goes to one of the machines; if no answer comes in time it goes again.
    pub(super) fn send(&mut self, request: usize) {
        let asked = &mut self.requests[request];
        let insists = matches!(asked.wants, Wants::Start { .. })
            || matches!(&asked.wants, Wants::Event { event: Event::Signal { key: Some(_), .. }, .. });
        let most = if insists { TRIES_MAX } else { 1 };
        if asked.answer.is_some() || asked.tries >= most {
            return;
        }
        asked.tries += 1;
        let machine = self.random.below(self.machines.len());
        self.soon(machine, 20, Work::Receive { request });
        let patience = Duration::from_millis(self.random.between(2_000, 7_000) as u64);
        self.at(self.store.now.after(patience), Action::Send(request));
    }

    pub(super) fn receive(&mut self, machine: usize, request: usize) {
        let reply = Some(Reply::Client { request, machine });
        match self.requests[request].wants.clone() {
            Wants::Start { key, body, plan } => {
                let Some(process) = self.process(machine) else { return };
                let lanes: Vec<usize> = process.lanes.keys().copied().collect();
                if lanes.is_empty() {
                    return self.reply(reply, Err(Fail::Unavailable));
                }
                let lane = *self.random.pick(&lanes);
                let start = self.start_of(plan, body);
                let plan = self.plans[plan].clone();
                let key = Some((key, body));
                let order = StartRun { start, plan, lane, key, source: Source::Direct, reply };
                self.told(machine, Message::Start(Box::new(order)));
            }
            Wants::Event { run, event } => {
                let deliver = Deliver { reply, ..Deliver::new(run, event) };
                self.told(machine, Message::Deliver(Box::new(deliver)));
            }
        }
    }

    fn start_of(&mut self, plan: usize, body: u64) -> Start {
        let mut bits = [0; 10];
        bits[..8].copy_from_slice(&self.random.next_number().to_be_bytes());
        let limits = Limits {
            lost_attempts_max: *self.random.pick(&[2, 10, 10]),
            signals_max: *self.random.pick(&[2, 1_000]),
            finally_ms: *self.random.pick(&[4_000, 300_000]),
            depth_max: 2,
            ..Limits::default()
        };
        let items: Vec<_> = (0..body % 4).map(|item| json!({ "n": item })).collect();
        Start {
            run: RunId::from_parts((self.store.now.micros() / 1_000) as u64, bits),
            tenant: TenantKey::DEFAULT,
            workflow: self.plans[plan].name.clone(),
            version: 1,
            plan: self.plans[plan].hash.to_string().into(),
            mode: if self.random.percent(5) { Mode::Test } else { Mode::Production },
            input: Value::from(json!({ "n": body % 6, "items": items })),
            by: Principal::Person("ann".into()),
            created_at: self.store.now,
            key: None,
            labels: Default::default(),
            priority: 0,
            trace: (body % 4 == 1).then(|| Trace::of_run(RunId::from_parts(body, [3; 10]))),
            parent: None,
            depth: 0,
            origin: Origin::Fresh,
            queued: self.random.percent(8),
            refused: None,
            limits,
        }
    }

    /// What a child's workflow expects, whatever its parent gave.
    pub(super) fn input(&self, given: Value) -> Value {
        let number = given.get("n").cloned().unwrap_or(Value::Int(3));
        Value::map([("n", number), ("items", Value::list(vec![Value::Int(1), Value::Int(2)])), ("given", given)])
    }

    /// Somebody is told what became of what he asked for.
    pub(super) fn reply(&mut self, reply: Option<Reply>, told: Told) {
        match reply {
            None => {}
            Some(Reply::Find { machine, life, number }) => {
                if self.machines[machine].life != life {
                    return;
                }
                let Some(find) = self.process(machine).and_then(|process| process.finds.remove(&number)) else {
                    return;
                };
                // What was refused did not match: the next one. What may pass leaves the letter where it is.
                if matches!(told, Ok(_) | Err(Fail::Refused | Fail::NotFound)) {
                    self.find_next(machine, (number, find));
                }
            }
            Some(Reply::Restart { machine, life, number }) => {
                if self.machines[machine].life != life {
                    return;
                }
                let asked = self.process(machine).and_then(|process| process.restarts.remove(&number));
                let Some(asked) = asked else { return };
                match told {
                    Ok(_) => self.restart_as(machine, asked, None),
                    Err(Fail::Refused | Fail::NotFound) => {
                        let error = Error::new(Class::Cancelled, "parent_gone", "nobody waits any more");
                        self.restart_as(machine, asked, Some(error));
                    }
                    Err(_) => {}
                }
            }
            Some(Reply::Client { request, machine }) => self.answer(request, machine, told),
        }
    }

    fn answer(&mut self, request: usize, machine: usize, told: Told) {
        self.tell(|now| format!("{now} request {request} is told {told:?}"));
        let wants = self.requests[request].wants.clone();
        let told = match (told, &wants) {
            // The run is elsewhere: what is for it goes into its inbox, and that is an answer.
            (Err(Fail::Elsewhere(lane)), Wants::Event { run, event }) => {
                let id = self.number();
                let name = match event {
                    Event::Signal { key: Some(key), .. } => format!("signal {key}"),
                    _ => format!("{id}"),
                };
                let (letter, at) = (Letter::Event(event.clone()), self.store.now);
                self.store.put_letter(LetterRow { id, lane, run: *run, name, letter, at });
                self.hint(lane);
                Ok(*run)
            }
            (told, _) => told.map(|(run, _)| run),
        };
        let _ = machine;
        match told {
            Ok(run) => {
                if let Some(Ok(first)) = self.requests[request].answer
                    && first != run
                {
                    return self.breaks("starting twice starts once", format!("{first} and {run}"));
                }
                if let Wants::Event { event: Event::Signal { key: Some(key), .. }, .. } = &wants {
                    self.told_yes.push((run, key.clone()));
                }
                if matches!(wants, Wants::Start { .. }) && !self.store.runs.contains_key(&run) {
                    return self.breaks("accepted means durable", format!("run {run} is not on disk"));
                }
                self.requests[request].answer = Some(Ok(run));
            }
            Err(Fail::KeyReused | Fail::Refused) => self.requests[request].answer = Some(told),
            // It may pass: the client asks again.
            Err(_) => {}
        }
    }

    /// Somebody outside does something.
    pub(super) fn outside(&mut self) {
        if !self.faults {
            return;
        }
        let millis = self.random.between(100, 1_500) as u64;
        self.at(self.store.now.after(Duration::from_millis(millis)), Action::Outside);
        match self.random.weighted(&[30, 25, 12, 15, 6, 8, 2, 6]) {
            0 => self.worker(),
            1 => self.somebody_signals(),
            2 => self.publish(),
            3 => self.somebody_decides(),
            4 => self.tell_some_run(Event::Pause { by: bob() }),
            5 => self.tell_some_run(Event::Resume { by: bob() }),
            6 => {
                let undo = if self.random.percent(75) { UndoChoice::Undo } else { UndoChoice::Leave };
                self.tell_some_run(Event::Cancel { by: bob(), reason: None, undo });
            }
            _ => self.somebody_settles(),
        }
    }

    /// A worker takes a task, gives it back, or answers it.
    pub(super) fn worker(&mut self) {
        let open: Vec<_> = self.store.tasks.iter().filter(|(_, row)| row.answer.is_none()).map(|(id, _)| *id).collect();
        if open.is_empty() {
            return;
        }
        let task = *self.random.pick(&open);
        let unwanted = self.store.tasks[&task].unwanted;
        if self.faults && self.random.percent(40) {
            let Some(row) = self.store.tasks.get_mut(&task) else { return };
            row.claimed = !row.claimed;
            match row.claimed {
                true => self.given(task, "a worker that looked for it"),
                // Its lease ran out.
                false => drop(self.had.remove(&task)),
            }
            return;
        }
        let result = self.result(unwanted);
        self.counts.tasks += 1;
        if let Some(row) = self.store.tasks.get_mut(&task) {
            row.answer = Some(result);
            let lane = row.lane;
            self.hint(lane);
        }
    }

    /// Whoever owns the lane hears that something is there for it, if the hint comes.
    fn hint(&mut self, lane: usize) {
        let owns = |machine: &Machine| machine.process.as_ref().is_some_and(|it| it.lanes.contains_key(&lane));
        let Some(machine) = self.machines.iter().position(owns) else { return };
        if self.in_a_crowd(HINTS_PERCENT) {
            self.soon(machine, 5, Work::Hinted);
        }
    }

    fn some_run(&mut self) -> Option<RunId> {
        let runs: Vec<RunId> =
            self.store.runs.iter().filter(|(_, row)| !row.status.is_final()).map(|(run, _)| *run).collect();
        if runs.is_empty() { None } else { Some(*self.random.pick(&runs)) }
    }

    fn tell_some_run(&mut self, event: Event) {
        if let Some(run) = self.some_run() {
            self.want(Wants::Event { run, event }, 0);
        }
    }

    fn somebody_signals(&mut self) {
        let Some(run) = self.some_run() else { return };
        let name = *self.random.pick(&["go", "stop", "other"]);
        self.signal(run, name);
    }

    /// A signal under a key of its own, for which its sender wants an answer.
    pub(super) fn signal(&mut self, run: RunId, name: &str) {
        self.counter += 1;
        let (payload, key) = (Value::from(self.counter), Some(format!("k{}", self.counter).into()));
        let event = Event::Signal { name: name.into(), payload, key, by: None };
        self.want(Wants::Event { run, event: event.clone() }, 0);
        if self.in_a_crowd(SENT_TWICE_PERCENT) {
            self.want(Wants::Event { run, event: event.clone() }, 0);
        }
        if self.random.percent(15) {
            self.want(Wants::Event { run, event }, 400);
        }
    }

    /// An event for whoever waits for it, now or later.
    pub(super) fn publish(&mut self) {
        let event_type: Arc<str> = (*self.random.pick(&["ping", "pong"])).into();
        let data = if self.faults { self.random.below(6) } else { 5 };
        self.publish_of(event_type, data);
    }

    pub(super) fn publish_of(&mut self, event_type: Arc<str>, data: usize) {
        self.counter += 1;
        let (id, now) = (self.counter, self.store.now);
        let event = Value::from(json!({ "id": id, "data": { "n": data } }));
        let waits = self.store.waits.iter().filter(|(_, it)| **it == event_type);
        let waits: Vec<(RunId, Arc<str>)> = waits.map(|(wait, _)| wait.clone()).collect();
        self.store.events.push((event_type, now, event.clone()));
        for (run, path) in waits {
            let Some(lane) = self.store.runs.get(&run).map(|row| row.lane) else { continue };
            let (number, name) = (self.number(), format!("world {id} {path}"));
            let event = Event::CloudEvent { path, key: format!("world {id}").into(), event: event.clone() };
            let letter = Letter::Event(event);
            self.store.put_letter(LetterRow { id: number, lane, run, name, letter, at: now });
            self.hint(lane);
        }
    }

    fn somebody_decides(&mut self) {
        let open: Vec<_> = self.store.approvals.values().map(|(run, it)| (*run, it.path.clone())).collect();
        if open.is_empty() {
            return;
        }
        let (run, path) = self.random.pick(&open).clone();
        let by = *self.random.pick(&["bob", "cat", "dan", "ann"]);
        let verdict = if self.random.percent(65) { Verdict::Approve } else { Verdict::Reject };
        self.decide(run, path, (by, verdict));
    }

    pub(super) fn decide(&mut self, run: RunId, path: Arc<str>, (by, verdict): (&str, Verdict)) {
        let by = Principal::Person(by.into());
        let decision = Decision { path, verdict, by, form: Value::Null, comment: None };
        self.want(Wants::Event { run, event: Event::Decide(decision) }, 0);
    }

    fn somebody_settles(&mut self) {
        let Some(run) = self.some_run() else { return };
        let unknown = self.store.runs[&run].journal.iter().rev().find_map(|row| match row.entry.record {
            windlass_engine::Record::Unknown(_) => Some(row.entry.path.clone()),
            _ => None,
        });
        if let Some(path) = unknown {
            self.settle_step(run, path);
        }
    }

    pub(super) fn settle_step(&mut self, run: RunId, path: Arc<str>) {
        let settlement = match self.random.below(3) {
            0 => Settlement::Completed(Value::from("settled")),
            1 => Settlement::Failed(Error::new(Class::User, "settled", "it did not work")),
            _ => Settlement::Again,
        };
        self.want(Wants::Event { run, event: Event::Settle { path, settlement, by: bob() } }, 0);
    }

    /// Answers the first thing that a run waits for, if somebody outside can; false when nobody can.
    pub(super) fn help(&mut self, run: RunId) -> bool {
        let Ok((state, _)) = self.store.fold(run) else { return false };
        let plan = self.store.runs[&run].plan.clone();
        if state.status() == RunStatus::Paused {
            self.want(Wants::Event { run, event: Event::Resume { by: bob() } }, 0);
            return true;
        }
        let mut helped = false;
        for step in state.active(&plan) {
            let text = |key: &str| step.input.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            match step.waits_for {
                Some("signal") => self.signal(run, &text("signal")),
                Some("event") => self.publish_of(text("type").into(), 5),
                Some("approval") => {
                    for by in ["bob", "cat", "dan"] {
                        self.decide(run, step.path.clone(), (by, Verdict::Approve));
                    }
                }
                Some("settlement") => self.settle_step(run, step.path.clone()),
                Some("task") => self.worker(),
                _ => continue,
            }
            helped = true;
        }
        helped
    }
}

fn bob() -> Principal {
    Principal::Person("bob".into())
}
