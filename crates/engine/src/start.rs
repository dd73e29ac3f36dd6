//! What a run is started with: the first entry of its journal.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use windlass_definition::{Error, Timestamp, Value};

use crate::{
    id::{RunId, TenantKey},
    trace::{Trace, TraceId},
};

/// Everything that a run is made from, apart from its plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The run.
    pub run: RunId,
    /// Its tenant.
    pub tenant: TenantKey,
    /// The workflow's name.
    pub workflow: Arc<str>,
    /// The workflow's version; 0 for a draft or a file.
    pub version: i32,
    /// The plan's content hash, as 64 hexadecimal digits.
    pub plan: Arc<str>,
    /// Production or test.
    pub mode: Mode,
    /// Checked against the plan's input schema, defaults filled in.
    pub input: Value,
    /// Who asked for it.
    pub by: Principal,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// The run's `key`, for searching.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Arc<str>>,
    /// The run's labels, for searching.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// Who goes first where runs wait for their turn: the higher one. A child has its parent's.
    #[serde(default, skip_serializing_if = "is_ordinary")]
    pub priority: i32,
    /// The trace that it joins; its own begins with it, and is not written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Trace>,
    /// The step that started it as a subflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// How many runs stand above it; 0 for one that nobody's step started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u32,
    /// What it is besides an ordinary run.
    #[serde(default, skip_serializing_if = "Origin::is_fresh")]
    pub origin: Origin,
    /// Whether it waits for a place first: it begins with [`crate::Event::Admit`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub queued: bool,
    /// Why it cannot run: then it fails with this as soon as it is started, so that everybody sees why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Error>,
    /// The bounds of this run.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

impl Start {
    /// The id of the trace that the run belongs to.
    pub fn trace_id(&self) -> TraceId {
        self.trace.as_ref().map_or_else(|| TraceId::of_run(self.run), |trace| trace.id)
    }

    /// The trace that the run belongs to.
    pub fn belongs_to(&self) -> Trace {
        self.trace.clone().unwrap_or_else(|| Trace::of_run(self.run))
    }
}

fn is_zero(depth: &u32) -> bool {
    *depth == 0
}

fn is_ordinary(priority: &i32) -> bool {
    *priority == 0
}

/// Production or test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A published version.
    Production,
    /// The draft, with real effects except in steps that have a `test`.
    Test,
}

impl Mode {
    /// The word that answers and the database use.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Production => "production",
            Mode::Test => "test",
        }
    }
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Principal {
    /// A person, by name or address.
    Person(Arc<str>),
    /// A program, by the name of its token.
    Token(Arc<str>),
    /// A step of another run.
    Run(RunId),
    /// A person in another's name.
    Acting {
        /// Who acts.
        who: Arc<str>,
        /// In whose name.
        of: Arc<str>,
    },
    /// A person of another tenant, which this one lets act here.
    Delegate {
        /// The person.
        who: Arc<str>,
        /// The other tenant.
        of: Arc<str>,
    },
    /// A program of somebody else's, by OAuth 2.
    Application {
        /// The application.
        name: Arc<str>,
        /// In whose name; in its own when there is nobody.
        of: Option<Arc<str>>,
    },
    /// The product itself, or the person at its command line.
    System,
}

impl Principal {
    /// The people behind it: one, or who acts and in whose name.
    pub fn people(&self) -> impl Iterator<Item = &str> {
        let (one, other) = match self {
            Principal::Person(name) | Principal::Delegate { who: name, .. } => (Some(name), None),
            Principal::Acting { who, of } => (Some(who), Some(of)),
            Principal::Application { of, .. } => (of.as_ref(), None),
            Principal::Token(_) | Principal::Run(_) | Principal::System => (None, None),
        };
        one.into_iter().chain(other).map(AsRef::as_ref)
    }
}

/// The step that started a run as a subflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its run.
    pub run: RunId,
    /// Its path there.
    pub path: Arc<str>,
    /// Whether it waits for this run's end.
    pub waits: bool,
}

/// What a run is besides an ordinary one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An ordinary run.
    #[default]
    Fresh,
    /// A run with the same input as another.
    Rerun {
        /// The other.
        of: RunId,
    },
    /// A run with the same past as another, up to a step.
    Fork {
        /// The other.
        of: RunId,
        /// The path of the first step that runs anew.
        at: Arc<str>,
        /// The recorded outputs that stand in for running the step again, by path.
        recorded: BTreeMap<Arc<str>, Value>,
    },
    /// A run that takes another's place by `restart`.
    Restart {
        /// The other.
        of: RunId,
    },
    /// A run that only takes back what another one left.
    Undo {
        /// The other.
        of: RunId,
        /// What is to be taken back, in order of completion; done last first.
        items: Vec<crate::run::UndoItem>,
        /// Why: what `e` shows to the undo steps.
        error: Value,
    },
}

impl Origin {
    fn is_fresh(&self) -> bool {
        *self == Origin::Fresh
    }
}

/// The bounds of a run. Each error that one of them causes names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Journal entries of a run.
    pub journal_entries_max: i64,
    /// Bytes of one value, as compact JSON.
    pub value_bytes_max: usize,
    /// Items of one `foreach`.
    pub items_max: usize,
    /// Children of a run.
    pub children_max: u32,
    /// Runs above a run.
    pub depth_max: u32,
    /// Signals kept for steps that have not begun to wait.
    pub signals_max: usize,
    /// Milliseconds that an attempt has to end once it is asked to stop.
    pub stop_grace_ms: u64,
    /// Milliseconds that all `finally` blocks have together when the run is cancelled or timed out.
    pub finally_ms: u64,
    /// Times that an attempt may be lost with its server or worker before the step fails.
    pub lost_attempts_max: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            journal_entries_max: 1_000_000,
            value_bytes_max: 16 << 20,
            items_max: 100_000,
            children_max: 10_000,
            depth_max: 32,
            signals_max: 1_000,
            stop_grace_ms: 30_000,
            finally_ms: 300_000,
            lost_attempts_max: 10,
        }
    }
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Limits::default()
    }
}
