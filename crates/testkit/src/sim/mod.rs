//! The simulator: several nodes, a database, workers and people, all in one thread, and everything goes wrong.
//!
//! Everything follows from the seed: the workflows, what the world answers, which messages are late, which commits are
//! lost or answered with an error although they landed, which process dies or sleeps past its lease, and when. So a seed
//! replays bit for bit, and a failure is a seed.
//!
//! **What is real:** the language, the engine, its journal and stored state in bytes, the audit, and the decisions that
//! the engine holds for the runtime (which timer row a run has, which runs a new owner loads, what is asked for again).
//!
//! **What is a model:** [`store`] stands for both databases behind the committer: one batch a lane at a time, taken whole
//! under the lane's epoch or not at all. [`node`] and [`commits`] stand for the runtime's turner and for what a commit
//! holds, [`letters`] for the letters and for the recovery loop, [`people`] for clients, workers and the world outside.
//! They follow `crates/runtime` function by function and are to be changed with it.
//!
//! **What it cannot find:** mistakes in SQL, in the drivers, in the real committer's and turner's own code where the
//! model is right and they are not; races of threads within one process; places, rates and locks; blobs; retention.
//! `cargo xtask crash` and its likes are for those.

mod checks;
mod commits;
mod letters;
mod node;
mod people;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use windlass_definition::{Plan, Timestamp, source::Format, step_type::StepTypes};
use windlass_engine::{
    audit::Violation,
    id::{RunId, TaskId},
    planted::{Bug, planted},
};

use crate::{
    driver::{Failed, Telling},
    random::Random,
    workflows,
};
use node::{Process, Work};
use people::Request;
use store::{Batch, Fenced, Outcome, Store};

/// How long a lease holds, as in the product.
const LEASE: Duration = Duration::from_secs(10);
/// Steps of a document at most: several runs share the time of one seed.
const STEPS_MAX: u32 = 12;
/// Scenes that are crowded, in percent.
const CROWDED_PERCENT: usize = 25;
/// Things that happen in one seed at most; a seed that needs more does not come to rest.
const HAPPENINGS_MAX: u64 = 200_000;
/// Journal entries of all runs of a seed at most.
const ENTRIES_MAX: u64 = 20_000;

/// What a seed is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Faults to the end: what is there is right.
    Safety,
    /// The faults stop: everything comes to its end.
    Liveness,
}

/// What happened, so that it can be told whether it was enough to mean anything.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq, Eq)]
pub struct Counts {
    /// Runs that were started, children included.
    pub runs: u64,
    /// Runs that ended.
    pub runs_ended: u64,
    /// Runs that completed.
    pub runs_completed: u64,
    /// Journal entries.
    pub entries: u64,
    /// Steps that ended.
    pub steps: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Processes that slept past their lease.
    pub pauses: u64,
    /// Clocks that were set.
    pub clock_steps: u64,
    /// Commits whose answer never came.
    pub commits_unknown: u64,
    /// Of those, how many had landed.
    pub commits_unknown_landed: u64,
    /// Batches that were refused before they were written.
    pub commits_refused: u64,
    /// Commits that were refused by themselves.
    pub commits_refused_alone: u64,
    /// Commits that the fence refused.
    pub commits_fenced: u64,
    /// Lanes that went to another node.
    pub lanes_adopted: u64,
    /// Starts that were told of the run that had their key.
    pub starts_duplicate: u64,
    /// Letters that were found in the inbox rather than told.
    pub letters_found: u64,
    /// Letters and answers that were refused because of something that was not on disk yet.
    pub letters_refused_ahead: u64,
    /// Attempts that were lost with their process.
    pub attempts_lost: u64,
    /// Attempts that another one followed.
    pub retries: u64,
    /// Undo steps that ended.
    pub undos: u64,
    /// Timers that fired.
    pub timers: u64,
    /// Signals that were taken.
    pub signals: u64,
    /// Decisions that were taken.
    pub decisions: u64,
    /// Cancels, pauses and resumes that were taken.
    pub commands: u64,
    /// Tasks that workers answered.
    pub tasks: u64,
    /// Children that ended before their parent.
    pub children: u64,
}

impl Counts {
    /// Each count by its name.
    pub fn named(&self) -> BTreeMap<String, u64> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(fields)) => {
                fields.into_iter().filter_map(|(name, count)| Some((name, count.as_u64()?))).collect()
            }
            _ => BTreeMap::new(),
        }
    }
}

/// What came of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulated {
    /// What happened.
    pub counts: Counts,
    /// Of everything that happened and everything that was written, in order.
    pub hash: u64,
    /// What happened, when it was to be told.
    pub told: String,
}

/// Simulates a seed.
///
/// # Errors
/// What did not hold, with what happened.
pub fn run_seed(seed: u64, mode: Mode, types: &StepTypes) -> Result<Simulated, Failed> {
    attempt_seed(seed, mode, types, Telling::Quiet).or_else(|_| attempt_seed(seed, mode, types, Telling::Loud))
}

/// Simulates a seed, telling what happens or not.
///
/// # Errors
/// As [`run_seed`].
pub fn attempt_seed(seed: u64, mode: Mode, types: &StepTypes, telling: Telling) -> Result<Simulated, Failed> {
    let mut sim = Sim::new(seed, mode, types, telling);
    match sim.play() {
        Ok(()) => Ok(Simulated { counts: sim.counts, hash: sim.hash, told: sim.told }),
        Err(Violation { property, detail }) => {
            let what = format!("seed {seed} ({mode:?}) breaks: {property}\n{detail}");
            let documents = std::mem::take(&mut sim.documents);
            let told = std::mem::take(&mut sim.told);
            Err(Failed { property, report: format!("{what}\n\n{told}\n{documents}\n{what}") })
        }
    }
}

/// Something that will happen.
#[derive(Debug)]
enum Action {
    /// Within a process, if that still lives.
    Within { machine: usize, life: u32, work: Work },
    /// A batch reaches the database.
    Arrive(u64),
    /// A machine starts its process again.
    Restart(usize),
    /// Something goes wrong.
    Fault,
    /// Workers, people and the world outside do something.
    Outside,
    /// A client sends a request, or sends it again.
    Send(usize),
}

/// A machine that runs one process after another.
#[derive(Debug, Default)]
struct Machine {
    process: Option<Process>,
    life: u32,
    /// Its process sleeps until then.
    asleep_until: Option<Timestamp>,
    /// How far its own clock is off, in microseconds.
    skew: i64,
}

/// Everything.
struct Sim {
    random: Random,
    /// Of crowded scenes: commits are refused by themselves while the rest of their batch is written, nodes are given
    /// hints, and clients send things twice at once. Numbers of their own: the other scenes are what they are without.
    crowd: Option<Random>,
    mode: Mode,
    store: Store,
    machines: Vec<Machine>,
    future: BTreeMap<(Timestamp, u64), Action>,
    /// Batches on their way to the database.
    flying: BTreeMap<u64, Batch>,
    /// What became of batches that arrived.
    landed: BTreeMap<u64, Result<Vec<Outcome>, Fenced>>,
    plans: Vec<Arc<Plan>>,
    requests: Vec<Request>,
    /// What was sent with which key and answered with a yes: run and signal.
    told_yes: Vec<(RunId, Arc<str>)>,
    /// Children that were not there when the cancel for them was written.
    cancelled_unborn: BTreeSet<RunId>,
    /// How often an attempt that may happen at most once was begun.
    begun: BTreeMap<(Arc<str>, u32), u32>,
    /// Tasks that somebody has, or nobody is to have any more.
    had: BTreeSet<TaskId>,
    /// Whether things still go wrong.
    faults: bool,
    numbers: u64,
    counter: i64,
    happenings: u64,
    counts: Counts,
    hash: u64,
    broken: Option<Violation>,
    telling: Telling,
    told: String,
    documents: String,
}

impl Sim {
    fn new(seed: u64, mode: Mode, types: &StepTypes, telling: Telling) -> Sim {
        let mut random = Random::new(seed ^ 0x0051_u64.rotate_left(32));
        let mut crowd = Random::new(seed ^ 0x0052_u64.rotate_left(32));
        let crowd = crowd.percent(CROWDED_PERCENT).then_some(crowd);
        let mut documents = String::new();
        let mut plans = Vec::new();
        // The last two are started by the others, as `other` and `back`.
        for _ in 0..random.between(3, 5) {
            let document = workflows::document_of(&mut random, STEPS_MAX);
            if telling == Telling::Loud {
                let _ = writeln!(documents, "document {}: {document:#}", plans.len());
            }
            match windlass_definition::compile(&document.to_string(), Format::Json, types) {
                Ok(compiled) => plans.push(compiled.plan),
                Err(problems) => panic!("seed {seed}: every document compiles: {problems:#?}"),
            }
        }
        let machines = (0..random.between(1, 3)).map(|_| Machine::default()).collect();
        let store = Store { now: Timestamp::from_micros(1_790_000_000_000_000), ..Store::default() };
        Sim {
            random,
            crowd,
            mode,
            store,
            machines,
            future: BTreeMap::new(),
            flying: BTreeMap::new(),
            landed: BTreeMap::new(),
            plans,
            requests: Vec::new(),
            told_yes: Vec::new(),
            cancelled_unborn: BTreeSet::new(),
            begun: BTreeMap::new(),
            had: BTreeSet::new(),
            faults: true,
            numbers: 0,
            counter: 0,
            happenings: 0,
            counts: Counts::default(),
            hash: seed,
            broken: None,
            telling,
            told: String::new(),
            documents,
        }
    }

    fn play(&mut self) -> Result<(), Violation> {
        for machine in 0..self.machines.len() {
            self.boot(machine);
        }
        self.first_requests();
        let length = Duration::from_secs(self.random.between(8, 50) as u64);
        let end = self.store.now.after(length);
        self.at(self.store.now.after(Duration::from_secs(1)), Action::Fault);
        self.at(self.store.now, Action::Outside);
        self.play_until(end)?;
        if self.mode == Mode::Liveness {
            self.calm();
            self.bring_to_rest()?;
        }
        self.check_everything()
    }

    /// Lets happen what happens until then.
    fn play_until(&mut self, end: Timestamp) -> Result<(), Violation> {
        while let Some(entry) = self.future.first_entry()
            && entry.key().0 <= end
        {
            let ((time, number), action) = entry.remove_entry();
            self.store.now = self.store.now.max(time);
            self.happenings += 1;
            self.hash = store::mix(self.hash, time.micros() as u64 ^ number.rotate_left(40));
            self.happens(action);
            if let Some(violation) = self.broken.take() {
                return Err(violation);
            }
            if let Some(refused) = self.store.refused.take() {
                return windlass_engine::audit::violated("the database is asked for nothing that it refuses", refused);
            }
            if self.happenings > HAPPENINGS_MAX || self.counts.entries > ENTRIES_MAX {
                return windlass_engine::audit::violated("a seed comes to rest", "too much happens");
            }
        }
        self.store.now = self.store.now.max(end);
        Ok(())
    }

    fn happens(&mut self, action: Action) {
        match action {
            Action::Within { machine, life, work } => self.within(machine, life, work),
            Action::Arrive(flight) => self.arrive(flight),
            Action::Restart(machine) => self.boot(machine),
            Action::Fault => self.fault(),
            Action::Outside => self.outside(),
            Action::Send(request) => self.send(request),
        }
    }

    fn within(&mut self, machine: usize, life: u32, work: Work) {
        let here = &mut self.machines[machine];
        if here.life != life || here.process.is_none() {
            return;
        }
        if let Some(until) = here.asleep_until {
            if until > self.store.now {
                return self.at(until, Action::Within { machine, life, work });
            }
            here.asleep_until = None;
        }
        self.tell(|now| format!("{now} machine {machine}: {}", work.name()));
        self.work(machine, work);
        // Wherever a process waits for something it may be gone before that comes.
        if self.faults && self.random.below(500) == 0 {
            self.crash(machine);
        }
    }

    /// A batch reaches the database, whatever became of who sent it.
    fn arrive(&mut self, flight: u64) {
        let Some(batch) = self.flying.remove(&flight) else { return };
        let result = self.store.apply(&batch);
        self.tell(|now| format!("{now} the database: batch {flight} of lane {} gives {result:?}", batch.lane));
        if let Ok(outcomes) = &result {
            for (written, outcome) in batch.written.iter().zip(outcomes) {
                if *outcome == Outcome::Done {
                    self.note_written(written);
                }
            }
        }
        self.landed.insert(flight, result);
    }

    fn fault(&mut self) {
        if !self.faults {
            return;
        }
        let machine = self.random.below(self.machines.len());
        match self.random.weighted(&[30, 35, 20, 3]) {
            0 => self.crash(machine),
            1 => self.fall_asleep(machine),
            2 => {
                self.counts.clock_steps += 1;
                self.machines[machine].skew = self.random.between(0, 600_000_000) as i64 - 300_000_000;
            }
            _ => (0..self.machines.len()).for_each(|machine| self.crash(machine)),
        }
        let pause = Duration::from_millis(self.random.between(500, 9_000) as u64);
        self.at(self.store.now.after(pause), Action::Fault);
    }

    fn fall_asleep(&mut self, machine: usize) {
        let length = Duration::from_millis(*self.random.pick(&[200, 3_000, 9_500, 15_000, 40_000]));
        let here = &mut self.machines[machine];
        if here.process.is_some() && here.asleep_until.is_none() {
            self.counts.pauses += u64::from(length > LEASE);
            here.asleep_until = Some(self.store.now.after(length));
            self.tell(|now| format!("{now} machine {machine} sleeps for {length:?}"));
        }
    }

    /// The process is gone; what it sent may still arrive.
    fn crash(&mut self, machine: usize) {
        let here = &mut self.machines[machine];
        here.life += 1;
        here.asleep_until = None;
        let Some(process) = here.process.take() else { return };
        self.tell(|now| format!("{now} machine {machine} crashes"));
        self.counts.crashes += 1;
        for flight in process.flights() {
            if self.random.percent(40) {
                self.flying.remove(&flight);
            }
        }
        let pause = Duration::from_millis(*self.random.pick(&[50, 800, 4_000, 14_000]));
        self.at(self.store.now.after(pause), Action::Restart(machine));
    }

    /// From now on nothing goes wrong.
    fn calm(&mut self) {
        self.faults = false;
        for machine in 0..self.machines.len() {
            self.machines[machine].skew = 0;
            self.machines[machine].asleep_until = None;
        }
    }

    fn at(&mut self, time: Timestamp, action: Action) {
        let number = self.number();
        self.future.insert((time.max(self.store.now), number), action);
    }

    /// Whether something happens that does in so many of a hundred cases, in a crowded scene.
    fn in_a_crowd(&mut self, percent: usize) -> bool {
        self.crowd.as_mut().is_some_and(|crowd| crowd.percent(percent))
    }

    /// Something within a process, after up to so many milliseconds.
    fn soon(&mut self, machine: usize, millis: usize, work: Work) {
        let micros = self.random.between(50, millis * 1_000) as u64;
        let life = self.machines[machine].life;
        self.at(self.store.now.after(Duration::from_micros(micros)), Action::Within { machine, life, work });
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn breaks(&mut self, property: &'static str, detail: impl Into<String>) {
        self.broken.get_or_insert(Violation { property, detail: detail.into() });
    }

    fn tell(&mut self, text: impl FnOnce(Timestamp) -> String) {
        if self.telling == Telling::Loud {
            let text = text(self.store.now);
            self.told.push_str(&text);
            self.told.push('\n');
        }
    }

    /// What time it is to a process.
    fn now(&self, machine: usize) -> Timestamp {
        match planted(Bug::OwnClock) {
            true => Timestamp::from_micros(self.store.now.micros() + self.machines[machine].skew),
            false => self.store.now,
        }
    }
}
