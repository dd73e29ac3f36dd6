//! Drives one run through random events, then answers everything until it ends, and checks the properties all the way.
//!
//! Everything follows from the seed: the document, the events, their order and their times.

mod answers;
mod crash;
mod liveness;
mod stale;

use std::{sync::Arc, time::Duration};

use serde_json::{Value as Json, json};
use windlass_definition::{Plan, Timestamp, Value, source::Format, step_type::StepTypes};
use windlass_engine::{
    Entry, Event, Reject, Run, Start, Transition,
    audit::{self, History, Violation, violated},
    event::UndoChoice,
    id::{RunId, TenantKey},
    start::{Limits, Mode, Origin, Principal},
    status::RunStatus,
};

use crate::{random::Random, workflows, world::World};

/// Journal entries of a run at most: a long loop has two thousand.
const ENTRIES_MAX: usize = 20_000;

/// Whether what happens is told, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// Only the outcome.
    Quiet,
    /// Every event and what it led to.
    Loud,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Outcome {
    /// How the run ended.
    pub status: RunStatus,
    /// Journal entries.
    pub entries: usize,
    /// What happened, when it was to be told.
    pub told: String,
}

/// One run under way.
pub(crate) struct Driver {
    random: Random,
    plan: Arc<Plan>,
    run: Run,
    world: World,
    history: History,
    now: Timestamp,
    /// Numbers signals and events, so that each is told from the others.
    counter: i64,
    /// Whether the process dies after the next commit, before its effects.
    crash_after_commit: bool,
    telling: Telling,
    told: String,
}

/// A seed that breaks a property.
#[derive(Debug)]
pub struct Failed {
    /// What must hold, in a sentence.
    pub property: &'static str,
    /// The seed, what was found, what happened, the document.
    pub report: String,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.report)
    }
}

/// Runs a seed.
///
/// # Errors
/// The property that did not hold, with the seed, the document and what happened.
pub fn run_seed(seed: u64, types: &StepTypes) -> Result<Outcome, Failed> {
    attempt_seed(seed, types, Telling::Quiet).or_else(|_| attempt_seed(seed, types, Telling::Loud))
}

/// Runs a seed, telling what happens or not.
///
/// # Errors
/// As [`run_seed`].
pub fn attempt_seed(seed: u64, types: &StepTypes, telling: Telling) -> Result<Outcome, Failed> {
    let mut random = Random::new(seed);
    let document = workflows::document(&mut random);
    let plan = match windlass_definition::compile(&document.to_string(), Format::Json, types) {
        Ok(compiled) => compiled.plan,
        Err(problems) => {
            let detail = format!("{problems:#?}");
            let violation = Violation { property: "every document compiles", detail };
            return Err(failed(seed, &document, (violation, "")));
        }
    };
    let mut told = String::new();
    let result = Driver::start(random, plan, telling).and_then(|mut driver| {
        let result = driver.play();
        told = std::mem::take(&mut driver.told);
        result.map(|()| Outcome {
            status: driver.run.status(),
            entries: driver.history.entries.len(),
            told: String::new(),
        })
    });
    match result {
        Ok(outcome) => Ok(Outcome { told, ..outcome }),
        Err(violation) => Err(failed(seed, &document, (violation, &told))),
    }
}

fn failed(seed: u64, document: &Json, (violation, told): (Violation, &str)) -> Failed {
    let Violation { property, detail } = violation;
    let what = format!("seed {seed} breaks: {property}\n{detail}");
    Failed { property, report: format!("{what}\n\n{told}\ndocument: {document:#}\n\n{what}") }
}

impl Driver {
    fn start(mut random: Random, plan: Arc<Plan>, telling: Telling) -> Result<Driver, Violation> {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let start = start_of(&plan, &mut random, now);
        let (run, transition) = Run::start(&plan, start.clone(), now);
        let history = History::new(plan.clone(), start);
        let mut driver = Driver {
            random,
            plan,
            run,
            world: World::default(),
            history,
            now,
            counter: 0,
            crash_after_commit: false,
            telling,
            told: String::new(),
        };
        driver.commit(transition)?;
        Ok(driver)
    }

    fn play(&mut self) -> Result<(), Violation> {
        let rounds = self.random.between(0, 60);
        for _ in 0..rounds {
            if self.run.status().is_final() {
                break;
            }
            self.round()?;
        }
        self.bring_to_its_end()?;
        self.check_the_end()
    }

    /// One random thing happens.
    fn round(&mut self) -> Result<(), Violation> {
        self.pass_time();
        match self.random.weighted(&[80, 5, 3, 6]) {
            0 => self.happening(),
            1 => self.crash(),
            2 => self.store_and_read(),
            _ => self.stale(),
        }
    }

    /// Something that moves the run, if it can.
    fn happening(&mut self) -> Result<(), Violation> {
        let resume = if self.run.status() == RunStatus::Paused { 20 } else { 0 };
        match self.random.weighted(&[34, 4, 18, 5, 8, 7, 10, 2, resume, 1]) {
            0 => self.end_something(),
            1 => self.lose_something(),
            2 => self.tick(),
            3 => self.signal(),
            4 => self.decide(),
            5 => self.deliver_event(),
            6 => self.end_child(),
            7 => self.accepted_or_not(Event::Pause { by: bob() }),
            8 => self.accepted_or_not(Event::Resume { by: bob() }),
            _ => self.cancel(),
        }
    }

    /// Now and then the clock goes back: a run's own time must not.
    fn pass_time(&mut self) {
        let millis = self.random.below(3_000) as u64;
        // Times that lie a microsecond apart: what is due at the later one must not come with the earlier one.
        if self.random.percent(10) {
            self.now = self.now.after(Duration::from_micros(1));
            return;
        }
        if self.random.percent(3) {
            self.now = Timestamp::from_micros(self.now.micros() - 5_000_000);
        } else if self.random.percent(50) {
            self.now = self.now.after(Duration::from_millis(millis));
        }
    }

    fn cancel(&mut self) -> Result<(), Violation> {
        let undo = if self.random.percent(75) { UndoChoice::Undo } else { UndoChoice::Leave };
        self.accepted_or_not(Event::Cancel { by: bob(), reason: None, undo })
    }

    /// To the next timer, never before it, or for some time.
    fn tick(&mut self) -> Result<(), Violation> {
        let last_at = self.history.last_at();
        match self.run.next_timer() {
            Some(due) if self.random.percent(80) => {
                let before = Timestamp::from_micros(due.micros() - 1);
                if before >= last_at {
                    self.now = before;
                    self.refused(Event::Tick)?;
                }
                self.now = due.max(self.now);
                self.accepted(Event::Tick)
            }
            _ => {
                self.now = self.now.after(Duration::from_secs(self.random.below(400) as u64));
                self.accepted_or_not(Event::Tick)
            }
        }
    }

    /// An event that has to change something.
    fn accepted(&mut self, event: Event) -> Result<(), Violation> {
        match self.step(event.clone())? {
            Ok(()) => Ok(()),
            Err(reject) => violated("what was asked for is taken", format!("{event:?} was refused: {reject}")),
        }
    }

    /// An event that must not change anything.
    fn refused(&mut self, event: Event) -> Result<(), Violation> {
        match self.step(event.clone())? {
            Ok(()) => violated("what is stale is refused", format!("{event:?} was taken")),
            Err(_) => Ok(()),
        }
    }

    fn accepted_or_not(&mut self, event: Event) -> Result<(), Violation> {
        self.step(event).map(|_| ())
    }

    fn step(&mut self, event: Event) -> Result<Result<(), Reject>, Violation> {
        let before = self.run.clone();
        let now = self.now;
        self.tell(|| format!("> {event:?} at {now}"));
        match self.run.step(&self.plan, event.clone(), self.now) {
            Ok(transition) => {
                if before.status().is_final() {
                    return violated("a final run takes nothing", format!("{event:?} was taken"));
                }
                self.commit(transition)?;
                Ok(Ok(()))
            }
            Err(reject) => {
                self.tell(|| format!("  refused: {reject}"));
                if before != self.run {
                    return violated("a refused event changes nothing", format!("{event:?}: {reject}"));
                }
                Ok(Err(reject))
            }
        }
    }

    /// What a transition led to: written, carried out, and checked.
    fn commit(&mut self, transition: Transition) -> Result<(), Violation> {
        if self.crash_after_commit {
            return self.commit_and_crash(&transition);
        }
        self.write(&transition)?;
        self.world.carry_out(&transition, self.now)?;
        self.settle(transition.more)
    }

    fn write(&mut self, transition: &Transition) -> Result<(), Violation> {
        self.tell(|| told_of(transition));
        if self.history.entries.len() > ENTRIES_MAX {
            return violated("a run comes to its end", format!("it has more than {ENTRIES_MAX} entries"));
        }
        self.history.append(transition, &self.run)
    }

    /// Checks what must hold between transitions.
    fn settle(&mut self, more: bool) -> Result<(), Violation> {
        self.world.agrees_with(&self.run, &self.plan)?;
        audit::check_status(&self.run, &self.plan, &self.history, more)?;
        if more { self.accepted(Event::Continue) } else { Ok(()) }
    }

    fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.telling == Telling::Loud {
            let text = text();
            self.told.push_str(&text);
            self.told.push('\n');
        }
    }

    fn number(&mut self) -> i64 {
        self.counter += 1;
        self.counter
    }
}

fn bob() -> Principal {
    Principal::Person("bob".into())
}

fn start_of(plan: &Plan, random: &mut Random, now: Timestamp) -> Start {
    let items: Vec<Json> = (0..random.below(5)).map(|item| json!({ "n": item })).collect();
    let limits = Limits {
        lost_attempts_max: *random.pick(&[1, 2, 10]),
        signals_max: *random.pick(&[2, 1_000]),
        finally_ms: *random.pick(&[4_000, 300_000]),
        ..Limits::default()
    };
    Start {
        run: RunId::from_parts(random.next_number() % 1_000_000, [7; 10]),
        tenant: TenantKey::DEFAULT,
        workflow: plan.name.clone(),
        version: 1,
        plan: plan.hash.to_string().into(),
        mode: if random.percent(10) { Mode::Test } else { Mode::Production },
        input: Value::from(json!({ "n": random.below(6), "items": items })),
        by: Principal::Person("ann".into()),
        created_at: now,
        key: None,
        labels: Default::default(),
        priority: 0,
        trace: None,
        parent: None,
        depth: 0,
        origin: Origin::Fresh,
        queued: random.percent(8),
        refused: None,
        limits,
    }
}

fn told_of(transition: &Transition) -> String {
    let entries = transition.entries.iter().map(|Entry { seq, at, path, attempt, record, .. }| {
        let record = serde_json::to_string(record).unwrap_or_default();
        format!("  {seq} {at} {path} #{attempt} {record}")
    });
    let effects = transition.effects.iter().map(|effect| format!("  -> {effect:?}"));
    entries.chain(effects).collect::<Vec<_>>().join("\n")
}
