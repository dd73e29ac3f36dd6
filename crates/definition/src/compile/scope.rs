//! What an expression may refer to at each place of a document.

use std::{ops::RangeInclusive, sync::Arc};

use super::Compiler;
use crate::{
    diagnostic::{Problem, nearest},
    document::listed,
    expression::Name,
    source::{Node, Span, place_within},
};

/// Something that came into sight on the way in to a place.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    /// A step of a block: what comes before it there is done.
    Step {
        /// The number of the block.
        block: u32,
        /// The step's position there.
        position: u32,
    },
    /// A block that has ended.
    Ended(u32),
    /// The body of a loop.
    Loop {
        /// The loop's id.
        id: Arc<str>,
        /// What it binds.
        names: &'static [&'static str],
    },
    /// A caught error, under this name beside `e`.
    Error(Option<Arc<str>>),
    /// The step itself, for its `undo`.
    Itself(Arc<str>),
    /// A name that only this place has.
    Root(&'static str),
    /// A place between steps, such as an edge: no step is `step` there.
    Between,
}

/// What a `foreach` binds.
pub(super) const FOREACH_NAMES: &[&str] = &["item", "index"];
/// What a `while` binds.
pub(super) const WHILE_NAMES: &[&str] = &["index", "last"];

/// A name as an expression writes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written<'d> {
    /// The name.
    pub(super) name: &'d Name,
    /// The text that holds its expression.
    pub(super) node: &'d Node,
    /// Where in that text the expression begins.
    pub(super) start: usize,
}

/// Whether secrets may stand somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    Allowed,
    Refused,
}

/// The names that the language gives somewhere; `e` may be given again.
pub(super) const ROOTS: &[&str] =
    &["event", "index", "input", "item", "last", "loops", "output", "run", "secrets", "state", "step", "steps", "vars"];

const RUN_FIELDS: &[&str] = &["id", "workflow", "version", "started_at", "attempt", "mode", "trace_id"];
const STEP_FIELDS: &[&str] = &["id", "key"];
const STEP_RESULT_FIELDS: &[&str] = &["output", "status", "error"];
const ERROR_FIELDS: &[&str] = &["class", "code", "message", "retryable", "details"];

impl Compiler<'_> {
    /// Checks a name of an expression against what is in sight.
    pub(super) fn check_name(&mut self, name: &Written<'_>, secrets: Secrets) {
        let Some(root) = name.name.path.first().cloned() else { return };
        match &*root {
            "steps" => self.check_step_name(name),
            "loops" => self.check_loop_name(name),
            "secrets" => self.check_secret_name(name, secrets),
            _ if !self.root_in_sight(&root) => {
                let problem = self.out_of_sight(&root, self.place_of_part(name, 0..=0));
                self.report(problem);
            }
            "run" => self.check_field(name, RUN_FIELDS),
            "step" => self.check_field(name, STEP_FIELDS),
            "vars" => self.check_var(name),
            "input" => self.check_input(name),
            _ if self.is_error_name(&root) => self.check_field(name, ERROR_FIELDS),
            _ => {}
        }
    }

    /// Where parts of a name stand in the source; beyond the problems that are shown, only roughly.
    fn place_of_part(&self, name: &Written<'_>, parts: RangeInclusive<usize>) -> Span {
        if self.is_crowded() {
            return name.node.span;
        }
        let spans = &name.name.spans;
        let part = |at: usize| spans.get(at).or(spans.last()).copied().unwrap_or_default();
        let (first, last) = (part(*parts.start()), part(*parts.end()));
        let length = (last.offset + last.length).saturating_sub(first.offset);
        place_within(self.text, name.node, name.start + first.offset as usize, length as usize)
    }

    fn roots(&self) -> Vec<&str> {
        let mut roots = vec!["input", "vars", "run"];
        for frame in &self.frames {
            match frame {
                Frame::Step { .. } => roots.extend(["step", "state", "steps"]),
                Frame::Ended(_) => roots.extend(["state", "steps"]),
                Frame::Loop { names, .. } => roots.extend(names.iter().copied().chain(["loops"])),
                Frame::Error(name) => {
                    roots.push("e");
                    roots.extend(name.as_deref());
                }
                Frame::Root(name) => roots.push(name),
                Frame::Between => roots.retain(|it| *it != "step"),
                Frame::Itself(_) => {}
            }
        }
        roots
    }

    pub(super) fn root_in_sight(&self, root: &str) -> bool {
        self.roots().contains(&root)
    }

    fn is_error_name(&self, root: &str) -> bool {
        self.frames.iter().any(|it| matches!(it, Frame::Error(name) if root == "e" || name.as_deref() == Some(root)))
    }

    fn out_of_sight(&self, root: &str, span: Span) -> Problem {
        let problem = Problem::new(span, format!("`{root}` is not in scope here"));
        match root {
            "item" => problem.note("`item` exists in the `do` of a `foreach`"),
            "index" => problem.note("`index` exists in the `do` of a `foreach` or `while`"),
            "last" => problem.note("`last` exists in a `while`"),
            "e" => problem.note("`e` exists in a `catch` and in an `undo`"),
            "event" => problem.note("`event` exists in the `when` of an `event` step and in an `event` trigger"),
            "output" => problem.note("`output` exists in the `output` of a control step"),
            "step" => problem.note("`step` exists in the fields of a step"),
            "state" => problem.note("`state` exists while the run runs"),
            _ => {
                let problem = Problem::new(span, format!("unknown name `{root}`"));
                let roots = self.roots();
                if let Some(name) = nearest(root, roots.iter().copied()) {
                    return problem.suggest(Some(name));
                }
                if self.ids.get(root).is_some() {
                    return problem.suggest(Some(format!("steps.{root}")));
                }
                let mut roots: Vec<&str> = roots;
                roots.sort_unstable();
                roots.dedup();
                problem.note(format!("in scope here: {}", listed(roots, "and")))
            }
        }
    }

    fn check_field(&mut self, name: &Written<'_>, fields: &'static [&'static str]) {
        let Some(field) = name.name.path.get(1) else { return };
        if fields.contains(&&**field) {
            return;
        }
        let problem =
            Problem::new(self.place_of_part(name, 1..=1), format!("`{}` has no `{field}`", name.name.path[0]));
        let problem = match nearest(field, fields.iter().copied()) {
            Some(name) => problem.suggest(Some(name)),
            None => problem.note(format!("it has {}", listed(fields.iter().copied(), "and"))),
        };
        self.report(problem);
    }

    fn check_var(&mut self, name: &Written<'_>) {
        let (Some(field), Some(vars)) = (name.name.path.get(1), &self.vars) else { return };
        if !vars.contains(field) {
            let suggestion = nearest(field, vars.iter().map(AsRef::as_ref));
            let problem = Problem::new(self.place_of_part(name, 1..=1), format!("there is no `{field}` in `vars`"));
            self.report(problem.suggest(suggestion));
        }
    }

    /// An input that its schema does not name may still be there: only a warning.
    fn check_input(&mut self, name: &Written<'_>) {
        let (Some(field), Some(inputs)) = (name.name.path.get(1), &self.inputs) else { return };
        if !inputs.contains(field) {
            let suggestion = nearest(field, inputs.iter().map(AsRef::as_ref));
            let problem =
                Problem::new(self.place_of_part(name, 1..=1), format!("`input` does not name `{field}`")).warning();
            self.report(problem.suggest(suggestion));
        }
    }

    fn check_secret_name(&mut self, name: &Written<'_>, secrets: Secrets) {
        if secrets == Secrets::Refused {
            let problem = Problem::new(self.place_of_part(name, 0..=1), "`secrets` may not stand here");
            let note = "secrets stand in the fields of a `with` that are made for them, and in a webhook's `secret`";
            self.report(problem.note(note));
            return;
        }
        match name.name.path.get(1) {
            Some(secret) => {
                self.secrets.insert(secret.clone());
            }
            None => self.error(self.place_of_part(name, 0..=0), "write `secrets.<name>` with the name of one secret"),
        }
    }

    fn check_loop_name(&mut self, name: &Written<'_>) {
        let loops: Vec<(Arc<str>, &'static [&'static str])> = self
            .frames
            .iter()
            .filter_map(|frame| match frame {
                Frame::Loop { id, names } => Some((id.clone(), *names)),
                _ => None,
            })
            .collect();
        let Some(id) = name.name.path.get(1) else {
            self.report(Problem::new(
                self.place_of_part(name, 0..=0),
                "write `loops.<id>` with the id of a loop around this place",
            ));
            return;
        };
        let Some((_, names)) = loops.iter().find(|(it, _)| it == id) else {
            let problem =
                Problem::new(self.place_of_part(name, 1..=1), format!("`{id}` is not a loop around this place"));
            let ids = loops.iter().map(|(id, _)| id.as_ref());
            let problem = match nearest(id, ids.clone()) {
                Some(name) => problem.suggest(Some(name)),
                None if loops.is_empty() => problem.note("there is no loop around it"),
                None => problem.note(format!("around it: {}", listed(ids, "and"))),
            };
            self.report(problem);
            return;
        };
        if let Some(field) = name.name.path.get(2)
            && !names.contains(&&**field)
        {
            let problem = Problem::new(self.place_of_part(name, 2..=2), format!("the loop `{id}` has no `{field}`"));
            self.report(problem.note(format!("it has {}", listed(names.iter().copied(), "and"))));
        }
    }

    fn check_step_name(&mut self, name: &Written<'_>) {
        let Some(id) = name.name.path.get(1).cloned() else {
            self.error(self.place_of_part(name, 0..=0), "write `steps.<id>` with the id of a step");
            return;
        };
        if let Some(problem) = self.step_out_of_sight(&id, self.place_of_part(name, 0..=1)) {
            self.report(problem);
            return;
        }
        let Some(field) = name.name.path.get(2) else { return };
        if !STEP_RESULT_FIELDS.contains(&&**field) {
            let problem = Problem::new(self.place_of_part(name, 2..=2), format!("`steps.{id}` has no `{field}`"));
            let problem = match nearest(field, STEP_RESULT_FIELDS.iter().copied()) {
                Some(name) => problem.suggest(Some(name)),
                None => problem.suggest(Some(format!("steps.{id}.output.{field}"))),
            };
            self.report(problem);
        }
    }

    fn step_out_of_sight(&self, id: &str, span: Span) -> Option<Problem> {
        let Some(standing) = self.ids.get(id) else {
            let problem = Problem::new(span, format!("unknown step `{id}`"));
            let in_sight = self.ids.names().filter(|it| self.step_in_sight(it));
            let suggestion = self.nearest_id(id, in_sight).or_else(|| self.nearest_id(id, self.ids.names()));
            let problem = if suggestion.is_none() { problem.note("no step has that id") } else { problem };
            return Some(problem.suggest(suggestion));
        };
        if self.step_in_sight(id) {
            return None;
        }
        let problem = Problem::new(span, format!("the step `{id}` cannot be seen here"));
        let here = self.frames.iter().find_map(|frame| match frame {
            Frame::Step { block, position } if *block == standing.block => Some(*position),
            _ => None,
        });
        Some(match here {
            Some(position) if position == standing.position => {
                let inside = matches!(self.frames.last(), Some(Frame::Step { block, .. }) if *block == standing.block);
                if inside {
                    problem.note("a step does not see itself; only its `undo` does")
                } else {
                    problem.note("it is the control step around this place and has not ended")
                }
            }
            Some(_) => {
                problem.note(format!("it need not have ended by then; put `{id}` into `needs`, or list it before"))
            }
            None => match standing.owners.last() {
                Some(owner) if self.step_in_sight(owner) => {
                    problem.note(format!("it stands inside `{owner}`; from outside, use `steps.{owner}.output`"))
                }
                Some(_) if self.frames.iter().any(|it| matches!(it, Frame::Root("output"))) => {
                    problem.note("it stands inside this step, whose own output is `output` here")
                }
                Some(owner) => {
                    problem.note(format!("it stands inside `{owner}`, which has not ended before this place"))
                }
                None => problem.note("only steps that have ended before this place can be seen"),
            },
        })
    }

    pub(super) fn step_in_sight(&self, id: &str) -> bool {
        let Some(standing) = self.ids.get(id) else { return false };
        self.frames.iter().any(|frame| match frame {
            Frame::Step { block, position } => {
                *block == standing.block
                    && self.orders.get(block).is_some_and(|order| order.comes_before(standing.position, *position))
            }
            Frame::Ended(block) => *block == standing.block,
            Frame::Itself(own) => **own == *id,
            _ => false,
        })
    }

    /// Whether there is a loop around this place.
    pub(super) fn in_loop(&self) -> bool {
        self.frames.iter().any(|frame| matches!(frame, Frame::Loop { .. }))
    }
}
