//! The words that scenarios are written in.
//!
//! Each command is echoed after `>` and followed by what it led to: `path status` for a record, `-> …` for what the
//! engine asks of the world. After each command the state is rebuilt from the journal and must be the same, and so must
//! the state that went through its stored form.

use std::{fmt::Write, sync::Arc, time::Duration};

use expect_test::Expect;
use windlass_definition::{Class, Error, Plan, Timestamp, Value, step_type::StepTypes};
use windlass_engine::{
    Effect, Entry, Event, Record, Run, Start, Transition,
    event::{ChildResult, Decision, Failure, Settlement, UndoChoice, Verdict},
    id::{RunId, TenantKey},
    start::{Limits, Mode, Origin, Principal},
    status::RunStatus,
};

/// Plays a script on a workflow's steps and compares what happens.
#[track_caller]
pub fn check(document: &str, script: &str, expect: Expect) {
    expect.assert_eq(&Scene::of(document, script).told);
}

/// Plays a script on a workflow's steps and gives its transitions, each with the state that it led to.
#[track_caller]
pub fn transitions(document: &str, script: &str) -> (Arc<Plan>, Vec<(Transition, Run)>) {
    let scene = Scene::of(document, script);
    (scene.plan, scene.transitions)
}

/// Compiles a document with the step types that scenarios use.
#[track_caller]
pub fn plan(document: &str) -> Arc<Plan> {
    let types = StepTypes::new(step_types());
    let document = if document.trim_start().starts_with("name:") {
        document.to_owned()
    } else {
        format!("name: test\n{document}")
    };
    match windlass_definition::compile(&document, windlass_definition::source::Format::Yaml, &types) {
        Ok(compiled) => compiled.plan,
        Err(diagnostics) => {
            let texts: Vec<String> = diagnostics.iter().map(|it| format!("{it:?}")).collect();
            panic!("{}", texts.join("\n"));
        }
    }
}

fn step_types() -> Vec<windlass_definition::step_type::StepType> {
    use windlass_definition::step_type::{Family, StepType};
    let mut types = windlass_definition::step_types::built_in();
    types.push(StepType {
        name: "act",
        documentation: "Does something outside.",
        family: Family::Doing,
        with_schema: Value::from(serde_json::json!({ "type": "object" })),
        output_schema: Value::from(serde_json::json!({})),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: true,
    });
    types
}

pub fn start_of(plan: &Plan) -> Start {
    Start {
        run: RunId::from_parts(0, [7; 10]),
        tenant: TenantKey::DEFAULT,
        workflow: plan.name.clone(),
        version: 1,
        plan: plan.hash.to_string().into(),
        mode: Mode::Production,
        input: Value::map::<&str>([]),
        by: Principal::Person("ann".into()),
        created_at: Timestamp::default(),
        key: None,
        labels: Default::default(),
        priority: 0,
        trace: None,
        parent: None,
        depth: 0,
        origin: Origin::Fresh,
        queued: false,
        refused: None,
        limits: Limits::default(),
    }
}

struct Scene {
    plan: Arc<Plan>,
    now: Timestamp,
    run: Option<Run>,
    journal: Vec<Entry>,
    transitions: Vec<(Transition, Run)>,
    told: String,
}

impl Scene {
    #[track_caller]
    fn of(document: &str, script: &str) -> Scene {
        let (plan, now) = (plan(document), Timestamp::default());
        let mut scene = Scene { plan, now, run: None, journal: vec![], transitions: vec![], told: String::new() };
        for line in script.lines().flat_map(|line| line.split(';')).map(str::trim).filter(|line| !line.is_empty()) {
            scene.play(line);
        }
        scene
    }

    #[track_caller]
    fn play(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        writeln!(self.told, "> {line}").unwrap();
        match word {
            "start" | "queue" | "test" => self.start(word, rest),
            "recover" => {
                let transition = self.run.as_mut().expect("started").recover(&self.plan, self.now);
                self.tell(transition);
            }
            "active" => {
                let active = self.run.as_ref().expect("started").active(&self.plan);
                for step in active {
                    let waits = step.waits_for.map(|it| format!(" for {it}")).unwrap_or_default();
                    writeln!(self.told, "  {} {} #{}{waits}", step.path, step.status, step.attempt).unwrap();
                }
            }
            _ => match self.event(word, rest) {
                Some(event) => self.step(event),
                None => panic!("`{line}` is no command"),
            },
        }
        self.check_replay();
    }

    fn start(&mut self, word: &str, input: &str) {
        let mut start = start_of(&self.plan);
        if !input.is_empty() {
            start.input = value(input);
        }
        start.queued = word == "queue";
        if word == "test" {
            start.mode = Mode::Test;
        }
        let (run, transition) = Run::start(&self.plan, start, self.now);
        self.run = Some(run);
        let more = transition.more;
        self.tell(transition);
        self.go_on(more);
    }

    fn event(&mut self, word: &str, rest: &str) -> Option<Event> {
        let by = || Principal::Person("bob".into());
        if let Some(span) = word.strip_prefix('+') {
            let span: Duration = windlass_definition::duration::parse(span)?;
            self.now = self.now.after(span);
            return Some(Event::Tick);
        }
        let (first, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let path: Arc<str> = first.into();
        Some(match word {
            "ok" => self.ended(path, Ok(if rest.is_empty() { Value::Null } else { value(rest) })),
            "fail" => self.ended(path, Err(Failure::certain(error(rest)))),
            "maybe" => self.ended(path, Err(Failure { error: error(rest), unknown: true })),
            "lost" => Event::StepLost { attempt: self.attempt(&path), path },
            "admit" => Event::Admit,
            "signal" => Event::Signal {
                name: path,
                payload: if rest.is_empty() { Value::Null } else { value(rest) },
                key: None,
                by: None,
            },
            "approve" | "reject" => Event::Decide(Decision {
                path,
                verdict: if word == "approve" { Verdict::Approve } else { Verdict::Reject },
                by: Principal::Person(if rest.is_empty() { "bob".into() } else { rest.into() }),
                form: Value::Null,
                comment: None,
            }),
            "child_ok" => Event::ChildEnded { path, child: None, result: ChildResult::Completed(value(rest)) },
            "child_restarts" => {
                let child = self.run.as_ref().expect("started").waited_children()[0];
                Event::ChildRestarted { path, child, run: RunId::from_parts(9, [9; 10]) }
            }
            "child_fail" => {
                let result = ChildResult::Failed(Some(RunStatus::Failed), error(rest));
                Event::ChildEnded { path, child: None, result }
            }
            "event" => Event::CloudEvent { path, key: "source/1".into(), event: value(rest) },
            "settle" => {
                let settlement = match rest.split_once(' ').unwrap_or((rest, "null")) {
                    ("completed", output) => Settlement::Completed(value(output)),
                    ("failed", text) => Settlement::Failed(error(text)),
                    _ => Settlement::Again,
                };
                Event::Settle { path, settlement, by: by() }
            }
            "cancel" => Event::Cancel { by: by(), reason: None, undo: UndoChoice::Undo },
            "leave" => Event::Cancel { by: by(), reason: None, undo: UndoChoice::Leave },
            "pause" => Event::Pause { by: by() },
            "resume" => Event::Resume { by: by() },
            _ => return None,
        })
    }

    fn ended(&self, path: Arc<str>, result: Result<Value, Failure>) -> Event {
        Event::StepEnded { attempt: self.attempt(&path), path, started_at: self.now, result }
    }

    fn attempt(&self, path: &str) -> u32 {
        let active = self.run.as_ref().expect("started").active(&self.plan);
        active.iter().find(|step| *step.path == *path).map_or(1, |step| step.attempt)
    }

    fn step(&mut self, event: Event) {
        let before = self.run.clone();
        let result = self.run.as_mut().expect("started").step(&self.plan, event, self.now);
        match result {
            Ok(transition) => {
                let more = transition.more;
                self.tell(transition);
                self.go_on(more);
            }
            Err(reject) => {
                assert_eq!(before, self.run, "a refused event changes nothing");
                if reject.code() != "no_match" {
                    writeln!(self.told, "  refused: {reject}").unwrap();
                }
            }
        }
    }

    fn go_on(&mut self, more: bool) {
        if more {
            self.step(Event::Continue);
        }
    }

    fn tell(&mut self, transition: Transition) {
        self.transitions.push((transition.clone(), self.run.clone().expect("started")));
        let Transition { entries, effects, .. } = transition;
        for entry in &entries {
            if let Some(text) = record(&entry.record) {
                let path = if entry.path.is_empty() { "run" } else { &entry.path };
                writeln!(self.told, "  {path} {text}").unwrap();
            }
        }
        for effect in effects {
            if let Some(text) = asked(&effect) {
                writeln!(self.told, "  -> {text}").unwrap();
            }
        }
        self.journal.extend(entries);
    }

    #[track_caller]
    fn check_replay(&self) {
        let Some(run) = &self.run else { return };
        let replayed = Run::replay(&self.plan, self.journal.iter().cloned()).expect("the journal folds");
        // A recovery's effects leave the state as it is, so the fold holds after it as well.
        assert_eq!(&replayed, run, "the fold of the journal is the state");
        let stored = serde_json::to_vec(run).expect("the state can be stored");
        let read: Run = serde_json::from_slice(&stored).expect("the stored state can be read");
        assert_eq!(&read, run, "the stored state is the state");
        let numbers: Vec<i64> = self.journal.iter().map(|entry| entry.seq).collect();
        assert_eq!(numbers, (1..=numbers.len() as i64).collect::<Vec<_>>(), "entries count without gaps");
        for entry in &self.journal {
            let stored = serde_json::to_vec(&entry.record).expect("a record can be stored");
            let read: Record = serde_json::from_slice(&stored).expect("a stored record can be read");
            assert_eq!(read, entry.record);
        }
    }
}

pub fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("`{text}` is not JSON: {error}"))
}

/// `class/code message`, with `!` before it when worth a retry.
fn error(text: &str) -> Error {
    let (retryable, text) = match text.strip_prefix('!') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let (kind, message) = text.split_once(' ').unwrap_or((text, "it failed"));
    let (class, code) = kind.split_once('/').unwrap_or((kind, kind));
    let class = Class::parse(class).unwrap_or_else(|| panic!("`{class}` is no class of errors"));
    let error = Error::new(class, code, message);
    if retryable { error.retryable() } else { error }
}

fn record(record: &Record) -> Option<String> {
    Some(match record {
        Record::Step(step) => {
            let mut text = step.status.to_string();
            if let Some(by) = step.skipped_by {
                write!(text, " by {by:?}").unwrap();
            }
            if !step.output.is_null() {
                write!(text, " {}", step.output).unwrap();
            }
            if let Some(error) = &step.error {
                write!(text, " {}/{}", error.class, error.code).unwrap();
            }
            if step.unknown {
                text.push_str(" unknown");
            }
            text
        }
        Record::Attempt(attempt) => {
            format!(
                "failed {}/{}, again at {}s",
                attempt.error.class,
                attempt.error.code,
                attempt.next_at.micros() as f64 / 1e6
            )
        }
        Record::Unknown(unknown) => format!("unknown {}/{}", unknown.error.class, unknown.error.code),
        Record::Compensating { error } => format!("compensating {}/{}", error.class, error.code),
        Record::Finished(finish) => {
            let mut text = finish.status.to_string();
            if !finish.output.is_null() {
                write!(text, " {}", finish.output).unwrap();
            }
            if let Some(error) = &finish.error {
                write!(text, " {}/{}", error.class, error.code).unwrap();
                if !error.details.is_null() {
                    write!(text, " {}", error.details).unwrap();
                }
            }
            if finish.undo != Default::default() {
                write!(text, " undo {}", serde_json::to_string(&finish.undo).unwrap()).unwrap();
            }
            text
        }
        Record::Started(_)
        | Record::Admitted
        | Record::Lost
        | Record::Timer
        | Record::Continued
        | Record::Signal { .. }
        | Record::Decided(_)
        | Record::Child { .. }
        | Record::ChildRestarted { .. }
        | Record::ChildStarted { .. }
        | Record::Event { .. }
        | Record::Settled { .. }
        | Record::Cancelled { .. }
        | Record::Paused { .. }
        | Record::Resumed { .. } => return None,
    })
}

fn asked(effect: &Effect) -> Option<String> {
    Some(match effect {
        Effect::RunStep(run) => {
            let with = if run.with == Value::map::<&str>([]) { String::new() } else { format!(" {}", run.with) };
            format!("run {} #{}{with}", run.path, run.attempt)
        }
        Effect::StopStep { path, attempt } => format!("stop {path} #{attempt}"),
        Effect::OfferTask(task) => format!("offer {} #{} to {} {}", task.path, task.attempt, task.queue, task.input),
        Effect::StopTask { path, .. } => format!("stop task {path}"),
        Effect::CloseTask { .. } => return None,
        Effect::OpenApproval(approval) => format!("ask {} `{}`", approval.path, approval.title),
        Effect::CloseApproval { status, .. } => format!("approval {status}"),
        Effect::StartChild(child) => format!("child {} of {} {}", child.path, child.workflow, child.input),
        Effect::UndoChild { path, .. } => format!("undo child {path}"),
        Effect::CancelChild { .. } => "cancel child".into(),
        Effect::PauseChild { .. } => "pause child".into(),
        Effect::ResumeChild { .. } => "resume child".into(),
        Effect::WaitForEvent(wait) => format!("await event {} at {}", wait.event_type, wait.path),
        Effect::ForgetEvent { path } => format!("forget event {path}"),
        Effect::Respond { answer } => format!("respond {answer}"),
        Effect::Restart { input, .. } => format!("restart {input}"),
        Effect::Log { line, .. } => format!("log {line}"),
        Effect::Finish(_) => return None,
    })
}
