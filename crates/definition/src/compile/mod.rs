//! From a document to a plan: order, scope, expressions, the fit of every `with`.
//!
//! Everything that is wrong is found in one pass over the whole document and reported together; a plan exists only when
//! nothing is.

mod block;
mod control;
mod defaults;
mod kind;
mod names;
mod order;
mod run;
mod schema;
mod scope;
mod step;
mod template;
mod trigger;
mod with;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    Plan,
    diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Problem, Severity, diagnostics, nearest},
    document::{self, Document, Limits},
    plan::{Block, Step, StepIndex},
    source::{self, Format, Span},
    step_type::{CredentialField, StepTypes},
};
use names::Ids;
use scope::Frame;
pub(crate) use step::{Standing, standing_of};

/// A document that has been checked, and its plan.
#[derive(Debug)]
pub struct Compiled {
    /// What the engine runs.
    pub plan: Arc<Plan>,
    /// What the text says.
    pub document: Document,
    /// What is allowed and probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// The names of the secrets it refers to.
    pub secrets: BTreeSet<Arc<str>>,
    /// The credentials among them that steps name, in the order of the text.
    pub credentials: Vec<NamedCredential>,
}

/// A credential that a step names.
#[derive(Debug)]
pub struct NamedCredential {
    /// Its name.
    pub name: Arc<str>,
    /// The field that names it.
    pub field: CredentialField,
    place: Diagnostic,
}

impl NamedCredential {
    /// What is wrong with it, at its place.
    pub fn diagnostic(&self, message: impl Into<String>) -> Diagnostic {
        Diagnostic { message: message.into(), ..self.place.clone() }
    }
}

impl Compiled {
    /// Whether it has `triggers`.
    pub fn has_triggers(&self) -> bool {
        !self.document.triggers.is_empty()
    }

    /// Whether it refers to secrets.
    pub fn uses_secrets(&self) -> bool {
        !self.secrets.is_empty()
    }
}

/// Reads, checks and compiles a document.
///
/// # Errors
/// Everything that is wrong with it, in the order of the text.
pub fn compile(text: &str, format: Format, types: &StepTypes) -> Result<Compiled, Vec<Diagnostic>> {
    compile_within(text, format, types, &Limits::default())
}

/// The same, within other limits than the language's own.
///
/// # Errors
/// As [`compile`].
pub fn compile_within(
    text: &str,
    format: Format,
    types: &StepTypes,
    limits: &Limits,
) -> Result<Compiled, Vec<Diagnostic>> {
    let text = source::without_mark(text);
    let parsed = source::parse_within(text, format, limits.document_bytes);
    compiled((text, parsed), types, |root| document::read_within(root, types, limits))
}

/// Compiles a document that was checked once and is kept as JSON. What belongs to the editor is left out unread: it
/// changes nothing, and a rule that is younger than the document stops no run.
///
/// # Errors
/// As [`compile`]: a step type is missing.
pub fn compile_kept(text: &str, types: &StepTypes) -> Result<Compiled, Vec<Diagnostic>> {
    let parsed = source::parse(text, Format::Json);
    compiled((text, parsed), types, |root| document::read_kept(root, types))
}

fn compiled(
    (text, parsed): (&str, source::Parsed),
    types: &StepTypes,
    read: impl FnOnce(&source::Node) -> (Document, Vec<Problem>),
) -> Result<Compiled, Vec<Diagnostic>> {
    let Some(root) = parsed.root else { return Err(diagnostics(parsed.problems, text, None)) };
    let (document, problems) = read(&root);
    let mut compiler = Compiler::new(text, types);
    compiler.problems = [parsed.problems, problems].concat();
    let plan = compiler.plan(&document);
    let Compiler { problems, secrets, credentials, .. } = compiler;
    let refused = problems.iter().any(|it| it.severity == Severity::Error);
    let shown = diagnostics(problems, text, Some(&root));
    if refused {
        return Err(shown);
    }
    let named = |(name, field, span)| {
        let place = diagnostics(vec![Problem::new(span, "")], text, Some(&root)).pop()?;
        Some(NamedCredential { name, field, place })
    };
    let credentials = credentials.into_iter().filter_map(named).collect();
    Ok(Compiled { plan: Arc::new(plan), document, warnings: shown, secrets, credentials })
}

struct Compiler<'t> {
    text: &'t str,
    types: &'t StepTypes,
    problems: Vec<Problem>,
    ids: Ids,
    /// The blocks' predecessors, by block number.
    orders: BTreeMap<u32, order::Order>,
    frames: Vec<Frame>,
    /// Where in the document the compiler is, for the places of `uuid()`.
    sites: Vec<Arc<str>>,
    steps: Vec<Option<Step>>,
    blocks: Vec<Option<Block>>,
    by_id: BTreeMap<Arc<str>, StepIndex>,
    defaults: BTreeMap<Arc<str>, document::Common>,
    vars: Option<BTreeSet<Arc<str>>>,
    inputs: Option<BTreeSet<Arc<str>>>,
    secrets: BTreeSet<Arc<str>>,
    credentials: Vec<(Arc<str>, CredentialField, Span)>,
}

impl<'t> Compiler<'t> {
    fn new(text: &'t str, types: &'t StepTypes) -> Compiler<'t> {
        Compiler {
            text,
            types,
            problems: Vec::new(),
            ids: Ids::default(),
            orders: BTreeMap::new(),
            frames: Vec::new(),
            sites: Vec::new(),
            steps: Vec::new(),
            blocks: Vec::new(),
            by_id: BTreeMap::new(),
            defaults: BTreeMap::new(),
            vars: None,
            inputs: None,
            secrets: BTreeSet::new(),
            credentials: Vec::new(),
        }
    }

    fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.report(Problem::new(span, message));
    }

    /// The nearest of many names: no longer looked for once there are more problems than are shown.
    fn nearest_id<'n>(&self, written: &str, names: impl IntoIterator<Item = &'n str>) -> Option<String> {
        if self.is_crowded() { None } else { nearest(written, names) }
    }

    /// Whether there are more problems than are shown.
    fn is_crowded(&self) -> bool {
        self.problems.len() > 2 * DIAGNOSTICS_MAX
    }

    /// Runs with one more thing in sight.
    fn within<T>(&mut self, frame: Frame, run: impl FnOnce(&mut Self) -> T) -> T {
        self.frames.push(frame);
        let result = run(self);
        self.frames.pop();
        result
    }

    /// The same, at a place that belongs to no step.
    fn between<T>(&mut self, frame: Frame, run: impl FnOnce(&mut Self) -> T) -> T {
        self.within(frame, |compiler| compiler.within(Frame::Between, run))
    }
}
