//! What the language has to know of a step type to check and compile its steps.

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
    /// A type that people are not shown: it is left out of the reference and of suggestions.
    pub hidden: bool,
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

/// The step types that a server knows, by name.
#[derive(Debug, Clone, Default)]
pub struct StepTypes {
    types: Vec<StepType>,
}

impl StepTypes {
    /// These types; the last of one name wins.
    pub fn new(mut types: Vec<StepType>) -> StepTypes {
        types.sort_by_key(|it| it.name);
        types.reverse();
        types.dedup_by_key(|it| it.name);
        types.reverse();
        StepTypes { types }
    }

    /// The type of that name.
    pub fn get(&self, name: &str) -> Option<&StepType> {
        self.types.binary_search_by(|it| it.name.cmp(name)).ok().map(|at| &self.types[at])
    }

    /// Every type, by name.
    pub fn iter(&self) -> impl Iterator<Item = &StepType> {
        self.types.iter()
    }
}
