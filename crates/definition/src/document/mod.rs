//! The typed document: what a text says, with the place of every part, before it is compiled.
//!
//! Two documents are equal when they say the same, wherever and in whichever format that was written. Everything that
//! may hold expressions stays a [`Node`] here; `compile` gives it its meaning.

mod fields;
mod limits;
mod read;
mod read_control;
mod read_editor;
mod read_run;
mod read_step;
mod words;

use std::{sync::Arc, time::Duration};

pub use limits::Limits;
pub use read::{read, read_within};
pub(crate) use read::{read_kept, shortened};
pub(crate) use words::listed;
pub use words::{CONTROL_TYPES, NOT_BUILT_TYPES};

use crate::{
    plan::{Backoff, ErrorPattern, ItemError, UndoAfter, WhenFull},
    source::{Node, Spanned},
};

/// A name in the document.
pub type Name = Spanned<Arc<str>>;

/// Names and what they stand for, in the order written.
pub type Named<T> = Vec<(Name, T)>;

/// A whole document.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Document {
    /// `name`, unique in its tenant.
    pub name: Name,
    /// `description`.
    pub description: Option<Name>,
    /// `tags`.
    pub tags: Vec<Name>,
    /// `input`, a JSON Schema.
    pub input: Option<Node>,
    /// `vars`, a map.
    pub vars: Option<Node>,
    /// `timeout` of the run.
    pub timeout: Option<Spanned<Duration>>,
    /// `concurrency`.
    pub concurrency: Option<Concurrency>,
    /// `retain`.
    pub retain: Option<Retain>,
    /// `key` of the run.
    pub key: Option<Node>,
    /// `labels` of the run.
    pub labels: Named<Node>,
    /// `triggers`.
    pub triggers: Vec<Trigger>,
    /// `defaults` by step type.
    pub defaults: Named<Common>,
    /// `steps` and the `edges` beside them.
    pub body: Block,
    /// `catch`.
    pub catches: Vec<Catch>,
    /// `finally`.
    pub finally: Option<Block>,
    /// `output` of the run.
    pub output: Option<Node>,
    /// `ui`, the editor's own.
    pub ui: Option<Node>,
}

/// `concurrency: {limit, key, when_full}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Concurrency {
    /// Runs at once, per key.
    pub limit: Spanned<u32>,
    /// What tells runs apart.
    pub key: Option<Node>,
    /// What happens to one more.
    pub when_full: Option<Spanned<WhenFull>>,
}

/// `retain: {runs, days}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Retain {
    /// Finished runs kept.
    pub runs: Option<Spanned<u64>>,
    /// Days a finished run is kept.
    pub days: Option<Spanned<u32>>,
}

/// One of `triggers`.
#[derive(Debug, Clone, PartialEq)]
pub enum Trigger {
    /// `schedule: {cron, timezone, input, missed}`.
    Schedule {
        /// When, as cron writes it.
        cron: Name,
        /// An IANA time zone; UTC when absent.
        timezone: Option<Name>,
        /// The input of the run.
        input: Option<Node>,
        /// What is done about times that were missed.
        missed: Option<Spanned<Missed>>,
    },
    /// `webhook: {name, secret, input}`.
    Webhook {
        /// The last part of its address.
        name: Name,
        /// What its senders sign with.
        secret: Node,
        /// The input of the run: JSONPath into the request, or literal values.
        input: Option<Node>,
    },
    /// `event: {type, when, input}`.
    Event {
        /// The type of the CloudEvent.
        event_type: Name,
        /// Which of them.
        when: Option<Node>,
        /// The input of the run.
        input: Option<Node>,
    },
}

/// What a schedule does about times that were missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// Nothing.
    Skip,
    /// One run for all of them.
    RunOnce,
    /// A run for each.
    RunAll,
}

/// A list of steps, with edges and an output of its own when they are written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Block {
    /// Counts the blocks of a document in the order written.
    pub number: u32,
    /// Where it stands.
    pub span: Place,
    /// Its steps.
    pub steps: Vec<Step>,
    /// Its edges; `None` when list order and `needs` say the order.
    pub edges: Option<Vec<Edge>>,
    /// Its output, when it is not that of its last step.
    pub output: Option<Node>,
}

/// A place that does not take part in comparisons.
pub type Place = Spanned<()>;

/// One of `edges`.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// The step that must end first.
    pub from: Name,
    /// The step that waits.
    pub to: Name,
    /// When it is taken.
    pub when: Option<Node>,
    /// Whether it is taken when no other edge from there is.
    pub otherwise: Option<Spanned<bool>>,
    /// The editor's port at the source.
    pub from_port: Option<Name>,
    /// The editor's port at the target.
    pub to_port: Option<Name>,
    /// Where it stands.
    pub span: Place,
}

/// `join`: how many taken edges, or completed branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinMode {
    /// All of them.
    All,
    /// One.
    Any,
    /// So many.
    AtLeast(u32),
}

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// `id`.
    pub id: Name,
    /// `type`.
    pub type_name: Name,
    /// `description`, for people.
    pub description: Option<Name>,
    /// `needs`.
    pub needs: Option<Spanned<Vec<Name>>>,
    /// `join`, or `mode` of a `join` step.
    pub join: Option<Spanned<JoinMode>>,
    /// `if`.
    pub condition: Option<Node>,
    /// What a control step holds.
    pub control: Control,
    /// What may also stand in `defaults`.
    pub common: Common,
    /// `undo`.
    pub undo: Option<Box<Undo>>,
    /// `output` of a control step.
    pub output: Option<Node>,
    /// `test`.
    pub test: Option<Test>,
    /// `position`, the editor's own.
    pub position: Option<Node>,
    /// `ui`, the editor's own.
    pub ui: Option<Node>,
    /// Where it stands.
    pub span: Place,
}

/// What may stand on a step and in `defaults`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Common {
    /// `with`.
    pub with: Option<Node>,
    /// `timeout`.
    pub timeout: Option<Spanned<Duration>>,
    /// `retry`.
    pub retry: Option<Spanned<Retry>>,
    /// `on_error: continue`, or `stop`.
    pub on_error: Option<Spanned<OnError>>,
    /// `at_most_once`.
    pub at_most_once: Option<Spanned<bool>>,
    /// `lock`.
    pub lock: Option<Node>,
    /// `rate`.
    pub rate: Option<Spanned<Rate>>,
}

/// What the failure of a step means to its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnError {
    /// It stops the block.
    Stop,
    /// The block goes on.
    Continue,
}

/// `retry`; what is absent has the defaults of the place it stands in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Retry {
    /// Attempts in all.
    pub attempts: Option<Spanned<u32>>,
    /// How the delay grows.
    pub backoff: Option<Spanned<Backoff>>,
    /// Before the second attempt.
    pub delay: Option<Spanned<Duration>>,
    /// No delay is longer.
    pub max_delay: Option<Spanned<Duration>>,
    /// Takes off up to half of each delay.
    pub jitter: Option<Spanned<bool>>,
    /// Which errors.
    pub on: Option<Vec<Spanned<ErrorPattern>>>,
    /// Bounds all attempts together.
    pub within: Option<Spanned<Duration>>,
}

/// `rate: {limit, per, key}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rate {
    /// Starts of the step.
    pub limit: Spanned<u32>,
    /// In any span of this length.
    pub per: Spanned<Duration>,
    /// Counted apart for each value.
    pub key: Option<Node>,
}

/// `undo: {type, with, timeout, retry, after}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Undo {
    /// The type of the step that undoes.
    pub type_name: Name,
    /// Its `with`.
    pub with: Option<Node>,
    /// Its `timeout`.
    pub timeout: Option<Spanned<Duration>>,
    /// Its `retry`.
    pub retry: Option<Spanned<Retry>>,
    /// When it is registered.
    pub after: Option<Spanned<UndoAfter>>,
    /// Where it stands.
    pub span: Place,
}

/// `test: {output | error}`.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// The step completes with this.
    Output(Node),
    /// The step fails with this.
    Error(Node),
}

/// What a control step holds beside its common fields.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// No blocks: everything is in `with`.
    None,
    /// `if`.
    If {
        /// Decides.
        when: Node,
        /// When true.
        then: Block,
        /// When false.
        otherwise: Option<Block>,
    },
    /// `switch`.
    Switch {
        /// What the cases are compared with.
        on: Node,
        /// In order.
        cases: Vec<Case>,
        /// When none matches.
        default: Option<Block>,
    },
    /// `foreach`.
    ForEach {
        /// The list.
        items: Node,
        /// Items open at once.
        parallel: Option<Spanned<u32>>,
        /// Per item.
        body: Block,
        /// What one failed item means.
        on_error: Option<Spanned<ItemError>>,
    },
    /// `while`.
    While {
        /// Decides before every round.
        when: Node,
        /// Rounds at most.
        max: Option<Spanned<u32>>,
        /// Per round.
        body: Block,
    },
    /// `parallel`.
    Parallel {
        /// By name.
        branches: Named<Block>,
        /// How many must complete.
        join: Option<Spanned<JoinMode>>,
        /// Branches open at once.
        parallel: Option<Spanned<u32>>,
    },
    /// `try`.
    Try {
        /// What may fail.
        body: Block,
        /// In order.
        catches: Vec<Catch>,
        /// Always.
        finally: Option<Block>,
    },
}

/// One of `cases`.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The value.
    pub is: Node,
    /// Runs when it matches.
    pub body: Block,
}

/// One of `catch`.
#[derive(Debug, Clone, PartialEq)]
pub struct Catch {
    /// Which errors; all when absent.
    pub on: Option<Vec<Spanned<ErrorPattern>>>,
    /// The error's name inside.
    pub name: Option<Name>,
    /// Runs when it matches.
    pub body: Block,
}
