//! The compiled document: what the engine runs.
//!
//! Steps and blocks stand in flat arrays and name each other by index. A plan never changes; a run pins it by its
//! content hash for its whole life.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{Expression, Template, Value, error::Class};

/// Where a step stands in [`Plan::steps`]: document order, outer steps before the steps inside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepIndex(pub u32);

/// Where a block stands in [`Plan::blocks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockIndex(pub u32);

/// SHA-256 of the canonical document, shown as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanHash(pub [u8; 32]);

impl fmt::Display for PlanHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A whole workflow, ready to run.
#[derive(Debug)]
pub struct Plan {
    /// Of the canonical document.
    pub hash: PlanHash,
    /// The workflow's name.
    pub name: Arc<str>,
    /// Every step of the document, also those inside control steps, `catch` and `finally`; undo steps are in
    /// their owner's [`Step::undo`].
    pub steps: Vec<Step>,
    /// Every block of the document.
    pub blocks: Vec<Block>,
    /// The index of each step by its id; ids are unique in the whole document.
    pub by_id: BTreeMap<Arc<str>, StepIndex>,
    /// The block of the document's `steps`.
    pub body: BlockIndex,
    /// The run-level `catch` clauses, in order.
    pub catches: Vec<Catch>,
    /// The run-level `finally`.
    pub finally: Option<BlockIndex>,
    /// The run's output; without it, the body's output.
    pub output: Option<Template>,
    /// `vars`: a map of constants.
    pub vars: Value,
    /// `input`: a JSON Schema 2020-12, as written.
    pub input_schema: Option<Value>,
    /// The same, compiled when it is first needed: see [`crate::input::validate_input`].
    pub input_check: crate::input::InputCheck,
    /// `timeout` of the whole run, waiting included, paused time and undo not.
    pub timeout: Option<Duration>,
    /// `concurrency` of the workflow.
    pub concurrency: Option<Concurrency>,
    /// `retain`: how much history is kept.
    pub retain: Retain,
    /// `key` of the run, searchable.
    pub key: Option<Template>,
    /// `labels` of the run, searchable.
    pub labels: BTreeMap<Arc<str>, Template>,
}

impl Plan {
    /// The step at that index.
    pub fn step(&self, index: StepIndex) -> &Step {
        &self.steps[index.0 as usize]
    }

    /// The block at that index.
    pub fn block(&self, index: BlockIndex) -> &Block {
        &self.blocks[index.0 as usize]
    }
}

/// `concurrency: {limit, key, when_full}`.
#[derive(Debug, Clone)]
pub struct Concurrency {
    /// Runs that may hold a place at once, per key.
    pub limit: u32,
    /// Evaluated once when the run is started, over `input`, `vars` and `run`.
    pub key: Option<Template>,
    /// What happens to a start that finds no place.
    pub when_full: WhenFull,
}

/// What happens to a start that finds no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits as `queued`.
    Queue,
    /// It is refused (409) and makes no run.
    Reject,
    /// It cancels the queued and the oldest active run and starts when that has ended.
    Replace,
}

/// `retain: {runs, days}`; what is absent is the tenant's setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retain {
    /// Finished runs kept.
    pub runs: Option<u64>,
    /// Days a finished run is kept.
    pub days: Option<u32>,
}

/// A list of steps and the edges between them. Steps without incoming edges start at once.
#[derive(Debug)]
pub struct Block {
    /// The control step this block belongs to; `None` for the body and the run-level `catch` and `finally`.
    pub owner: Option<StepIndex>,
    /// Its steps in document order; a position in this list names a step within the block.
    pub steps: Vec<StepIndex>,
    /// From list order, `needs` or `edges`, without duplicates, in document order of their targets.
    pub edges: Vec<Edge>,
    /// `output` of the block; without it, the output of the step listed last.
    pub output: Option<Template>,
}

/// An edge between two steps of one block, by their positions in [`Block::steps`].
#[derive(Debug)]
pub struct Edge {
    /// The position of the step that must end first.
    pub from: u32,
    /// The position of the step that waits.
    pub to: u32,
    /// When the edge is taken.
    pub when: EdgeWhen,
}

/// When an edge is taken, once its source is `completed` or skipped by its own `if`.
#[derive(Debug)]
pub enum EdgeWhen {
    /// Always.
    Always,
    /// When the expression is true, evaluated once when the source ends.
    Expression(Expression),
    /// `otherwise: true`: when no other edge from the same source is taken.
    Otherwise,
}

/// How many taken edges a step waits for. Decided once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// Every incoming edge is decided and at least one is taken.
    All,
    /// At the n-th taken edge (`any` is 1).
    AtLeast(u32),
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// Its id, unique in the document.
    pub id: Arc<str>,
    /// The word after `type:`.
    pub type_name: Arc<str>,
    /// The block it stands in.
    pub block: BlockIndex,
    /// Its position in that block's [`Block::steps`].
    pub position: u32,
    /// `if`: false skips this step alone.
    pub condition: Option<Condition>,
    /// `join` over its incoming edges.
    pub join: Join,
    /// Indices into the block's edges that lead here.
    pub incoming: Vec<u32>,
    /// Indices into the block's edges that start here.
    pub outgoing: Vec<u32>,
    /// What it does.
    pub kind: StepKind,
    /// Per attempt on doing steps, the whole on control and waiting steps.
    pub timeout: Option<Duration>,
    /// `retry`; `None` is a single attempt.
    pub retry: Option<Retry>,
    /// `undo`: what takes this step's effect back.
    pub undo: Option<Box<Undo>>,
    /// `on_error: continue` on the step: its failure does not stop the block.
    pub continue_on_error: bool,
    /// `output:` of a control step, evaluated with `output` = what it would have been.
    pub output: Option<Template>,
    /// `at_most_once: true`: never retried after an unknown outcome.
    pub at_most_once: bool,
    /// `test: {output | error}`: what stands in for the step in runs of mode `test`.
    pub test: Option<TestDouble>,
    /// `lock: name`: at most one step of the tenant holds it at a time.
    pub lock: Option<Template>,
    /// `rate: {limit, per, key}`.
    pub rate: Option<Rate>,
}

/// A `when` or `if`: an expression that must give a bool, or a literal bool.
#[derive(Debug, Clone)]
pub enum Condition {
    /// Written as `true` or `false`.
    Literal(bool),
    /// Evaluated.
    Expression(Expression),
}

/// `retry: {attempts, backoff, delay, max_delay, jitter, on, within}`, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Attempts in all, the first included; at least 1.
    pub attempts: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// Before the second attempt.
    pub delay: Duration,
    /// No delay is longer.
    pub max_delay: Duration,
    /// Takes off up to half of each delay.
    pub jitter: bool,
    /// Which errors are retried; `None`: those with `retryable: true`.
    pub on: Option<Vec<ErrorPattern>>,
    /// Bounds all attempts together, from the first one's start.
    pub within: Option<Duration>,
}

/// How the delay between attempts grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backoff {
    /// The same delay each time.
    Fixed,
    /// `delay` more each time.
    Linear,
    /// Twice the last one.
    Exponential,
}

/// What `retry.on` and `catch.on` match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorPattern {
    /// An error class, such as `timeout`.
    Class(Class),
    /// An error code, such as `loop_limit`, or an HTTP status such as `429`.
    Code(Arc<str>),
    /// A class of HTTP statuses: `5xx` is 5.
    StatusClass(u8),
}

impl ErrorPattern {
    /// Whether the error is one of these.
    pub fn matches(&self, error: &crate::Error) -> bool {
        match self {
            ErrorPattern::Class(class) => error.class == *class,
            ErrorPattern::Code(code) => error.code == *code,
            ErrorPattern::StatusClass(hundreds) => {
                error.class == Class::Http
                    && error.code.len() == 3
                    && error.code.as_bytes()[0] == b'0' + hundreds
                    && error.code.bytes().all(|byte| byte.is_ascii_digit())
            }
        }
    }
}

/// `undo:`: one doing step or `workflow`.
#[derive(Debug)]
pub struct Undo {
    /// The word after `type:`.
    pub type_name: Arc<str>,
    /// What it does: [`StepKind::Workflow`] or [`StepKind::Action`].
    pub kind: StepKind,
    /// Per attempt.
    pub timeout: Option<Duration>,
    /// Defaults to 10 attempts, 1 s to 5 min.
    pub retry: Retry,
    /// When it is registered.
    pub after: UndoAfter,
    /// What its `with` refers to: kept from the moment the step completed.
    pub references: References,
}

/// When an undo is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoAfter {
    /// When the step completed.
    Completed,
    /// At the first attempt, for effects that may have happened.
    Started,
}

/// The names that expressions refer to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// `steps.<id>`.
    pub steps: Vec<Arc<str>>,
    /// Roots other than `steps`: `input`, `item`, `loops`, `e`, `secrets` …
    pub roots: Vec<Arc<str>>,
}

/// `test: {output | error}`.
#[derive(Debug, Clone)]
pub enum TestDouble {
    /// The step completes with this.
    Output(Value),
    /// The step fails with this.
    Error(crate::Error),
}

/// `rate: {limit, per, key}`.
#[derive(Debug, Clone)]
pub struct Rate {
    /// Starts of the step.
    pub limit: u32,
    /// In any window of this length.
    pub per: Duration,
    /// Counted apart for each value.
    pub key: Option<Template>,
}

/// What a step does.
#[derive(Debug)]
pub enum StepKind {
    /// One of two blocks.
    If {
        /// Decides.
        when: Condition,
        /// When true.
        then: BlockIndex,
        /// When false.
        otherwise: Option<BlockIndex>,
    },
    /// The first case that matches.
    Switch {
        /// Evaluated once.
        on: Template,
        /// Value and block, in order.
        cases: Vec<(Template, BlockIndex)>,
        /// When none matches.
        default: Option<BlockIndex>,
    },
    /// A block per item.
    ForEach {
        /// Must give a list.
        items: Template,
        /// Items open at once; at least 1.
        parallel: u32,
        /// Runs per item.
        body: BlockIndex,
        /// What one failed item means.
        on_error: ItemError,
    },
    /// A block while a condition holds.
    While {
        /// Evaluated before every round.
        when: Condition,
        /// Rounds at most.
        max: u32,
        /// Runs per round.
        body: BlockIndex,
    },
    /// Several blocks side by side.
    Parallel {
        /// Name and block, in document order.
        branches: Vec<(Arc<str>, BlockIndex)>,
        /// Over its branches.
        join: Join,
        /// Branches open at once; `None`: all.
        parallel: Option<u32>,
    },
    /// As in a programming language.
    Try {
        /// What may fail.
        body: BlockIndex,
        /// In order.
        catches: Vec<Catch>,
        /// Always.
        finally: Option<BlockIndex>,
    },
    /// Waits for several paths and gathers the outputs of its direct sources by id.
    Join,
    /// Leaves the nearest loop.
    Break,
    /// Goes to the nearest loop's next item or round.
    Next,
    /// A fresh run with new input takes this one's place; `with: {input}`.
    Restart {
        /// Its `with`.
        with: Template,
    },
    /// Answers the waiting caller before the run ends; `with: {status?, headers?, body}`.
    Respond {
        /// Its `with`.
        with: Template,
    },
    /// Raises an error; `with: {code?, message, details?}` or `{error}`.
    Fail {
        /// Its `with`.
        with: Template,
    },
    /// Gives the value.
    Transform {
        /// Any JSON with expressions in it.
        value: Template,
    },
    /// Writes a line; `with: {message, level?, data?}`.
    Log {
        /// Its `with`.
        with: Template,
    },
    /// The run's own state; the state of a workflow or tenant is an [`StepKind::Action`].
    State {
        /// Its `with`.
        with: Template,
    },
    /// Waits for a time; `with: {for | until}`.
    Delay {
        /// Its `with`.
        with: Template,
    },
    /// Waits for a named signal; `with: {signal, schema?}`.
    Wait {
        /// Its `with`.
        with: Template,
    },
    /// Waits for a matching CloudEvent; `with: {type, subject?}`, `when` sees `event`.
    Event {
        /// Its `with`, without `when`.
        with: Template,
        /// Which of the events of that type and subject.
        when: Option<Condition>,
    },
    /// Waits for people to decide.
    Approval {
        /// Its `with`.
        with: Template,
    },
    /// Work for an outside worker on a queue; `with: {queue, input?, priority?, lease?}`.
    Task {
        /// Its `with`.
        with: Template,
    },
    /// Another workflow; `with: {name, version?, input?, wait?}`.
    Workflow {
        /// Its `with`.
        with: Template,
    },
    /// An effect on the world outside the run, done by the step type's code.
    Action {
        /// Its `with`.
        with: Template,
    },
}

/// What one failed item of a `foreach` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemError {
    /// It stops the others and fails the step.
    Stop,
    /// Its place is null.
    Continue,
    /// Every item runs, every place is `{status, output, error}`.
    Collect,
}

/// `catch: [{on, as, do}]`.
#[derive(Debug)]
pub struct Catch {
    /// Which errors; empty: all.
    pub on: Vec<ErrorPattern>,
    /// The name that the error has inside; `e` always works too.
    pub name: Option<Arc<str>>,
    /// Runs when it matches.
    pub body: BlockIndex,
}
