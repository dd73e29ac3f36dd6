//! What the language has to know of a step type to check and compile its steps.

use std::collections::BTreeMap;

use crate::Value;

/// A step type: its name, the shape of its `with` and of its output, and how its steps may be written.
#[derive(Debug, Clone)]
pub struct StepType {
    /// The word after `type:`.
    pub name: &'static str,
    /// One sentence for people, then whatever they need to know, in Markdown.
    pub documentation: &'static str,
    /// What kind of step.
    pub family: Family,
    /// JSON Schema 2020-12 of `with`; a text with `${{` fits wherever a value stands.
    pub with_schema: Value,
    /// JSON Schema 2020-12 of the output.
    pub output_schema: Value,
    /// JSON pointers into `with`, `*` for any key or index, where `secrets.<name>` may stand: `/headers/*`.
    pub secret_fields: &'static [&'static str],
    /// JSON pointers into `with` whose text is program text: `${{` in it is an error.
    pub program_fields: &'static [&'static str],
    /// Fields of `with` that name a credential: literal, and as much a reference to a secret as `secrets.<name>`.
    pub credential_fields: &'static [CredentialField],
    /// A type that people are not shown: it is left out of the reference and of suggestions.
    pub hidden: bool,
}

/// A field of a `with` that names a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialField {
    /// Its name.
    pub name: &'static str,
    /// The types of credentials that it takes.
    pub types: &'static [&'static str],
}

/// What kind of step: it decides which common fields may stand on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Holds blocks, or steers them: `if`, `switch`, `foreach`, `while`, `parallel`, `try`, `join`, `break`, `next`.
    Control,
    /// Waits: `delay`, `wait`, `event`, `approval`.
    Waiting,
    /// Decided within the transition, nothing outside sees it: `transform`, `log`, `fail`, `respond`, `restart`.
    Pure,
    /// Works: an effect on the outside world, `task` and `workflow` included.
    Doing,
}

/// Looks at a `with` as it is written, expressions unevaluated, for what a schema cannot say: a program's syntax.
///
/// # Errors
/// The field of `with` that is wrong, and why.
pub type Checker = fn(&Value) -> Result<(), Misfit>;

/// What a [`Checker`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The field of `with`.
    pub field: &'static str,
    /// What is wrong with it.
    pub message: String,
}

/// The step types that a server knows, by name.
#[derive(Debug, Clone, Default)]
pub struct StepTypes {
    types: Vec<StepType>,
    checkers: BTreeMap<&'static str, Checker>,
}

impl StepTypes {
    /// These types; the last of one name wins.
    pub fn new(mut types: Vec<StepType>) -> StepTypes {
        types.sort_by_key(|it| it.name);
        types.reverse();
        types.dedup_by_key(|it| it.name);
        types.reverse();
        StepTypes { types, checkers: BTreeMap::new() }
    }

    /// The type of that name.
    pub fn get(&self, name: &str) -> Option<&StepType> {
        self.types.binary_search_by(|it| it.name.cmp(name)).ok().map(|at| &self.types[at])
    }

    /// These types, the one of that name with a check of its own.
    #[must_use]
    pub fn with_checker(mut self, name: &'static str, checker: Checker) -> StepTypes {
        self.checkers.insert(name, checker);
        self
    }

    /// The check of its own that a type has.
    pub fn checker(&self, name: &str) -> Option<Checker> {
        self.checkers.get(name).copied()
    }

    /// Every type, by name.
    pub fn iter(&self) -> impl Iterator<Item = &StepType> {
        self.types.iter()
    }
}
