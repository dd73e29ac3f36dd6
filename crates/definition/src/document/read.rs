//! From a tree to a document: shapes, words, spans of time, names, and every unknown field.

use std::{sync::Arc, time::Duration};

use super::{Document, JoinMode, Limits, Name, fields::Fields, words};
use crate::{
    diagnostic::{DIAGNOSTICS_MAX, Problem, nearest},
    duration,
    error::Class,
    expression,
    plan::ErrorPattern,
    print::Editor,
    source::{Entry, Kind, Node, Span, Spanned},
    step_type::StepTypes,
};

/// Unknown fields of one map that are reported: more than are shown.
pub(super) const UNKNOWN_MAX: usize = 2 * DIAGNOSTICS_MAX;

/// Reads a document, and says everything that is wrong with its shape. What cannot be read is left at its default, so
/// that the rest can still be checked.
pub fn read(root: &Node, types: &StepTypes) -> (Document, Vec<Problem>) {
    read_within(root, types, &Limits::default())
}

/// The same, within other limits.
pub fn read_within(root: &Node, types: &StepTypes, limits: &Limits) -> (Document, Vec<Problem>) {
    Reader::new(types, *limits, Editor::Kept).read(root)
}

/// Reads a document that was checked once and is kept, without what belongs to the editor.
pub(crate) fn read_kept(root: &Node, types: &StepTypes) -> (Document, Vec<Problem>) {
    Reader::new(types, Limits::default(), Editor::LeftOut).read(root)
}

/// Reads parts of a document and records what is wrong with them.
pub(super) struct Reader<'t> {
    pub(super) types: &'t StepTypes,
    pub(super) limits: Limits,
    pub(super) editor: Editor,
    pub(super) problems: Vec<Problem>,
    pub(super) blocks: u32,
    pub(super) steps: usize,
    pub(super) nesting: usize,
}

impl<'t> Reader<'t> {
    fn new(types: &'t StepTypes, limits: Limits, editor: Editor) -> Reader<'t> {
        Reader { types, limits, editor, problems: Vec::new(), blocks: 0, steps: 0, nesting: 0 }
    }

    fn read(mut self, root: &Node) -> (Document, Vec<Problem>) {
        let document = self.document(root);
        (document, self.problems)
    }
}

impl Reader<'_> {
    pub(super) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports that a part is something else than it must be.
    pub(super) fn mismatch(&mut self, node: &Node, what: &str, expected: &str) {
        let message = format!("{what} must be {expected}, not {}", node.describe());
        self.report(Problem::new(node.span, message));
    }

    /// The fields of a map.
    pub(super) fn fields<'n>(&mut self, node: &'n Node, what: &'static str) -> Option<Fields<'n>> {
        match node.as_map() {
            Some(entries) => Some(Fields::of(node, entries, what)),
            None => {
                self.mismatch(node, what, "a map");
                None
            }
        }
    }

    /// Reports the fields that nobody took.
    pub(super) fn finish(&mut self, fields: &Fields<'_>) {
        let problems: Vec<Problem> =
            fields.left().take(UNKNOWN_MAX).map(|entry| self.unknown_field(entry, fields)).collect();
        self.finish_with(fields, problems);
    }

    /// Reports what is wrong with the fields that nobody took, and what is missing; a field that is only misspelt is
    /// not missing as well.
    pub(super) fn finish_with(&mut self, fields: &Fields<'_>, unknown: Vec<Problem>) {
        for name in &fields.missing {
            if !unknown.iter().any(|it| it.suggestion.as_deref() == Some(name)) {
                let message = format!("{} needs `{name}`", fields.what);
                self.report(Problem::of_map(fields.head, message));
            }
        }
        self.problems.extend(unknown);
    }

    pub(super) fn unknown_field(&self, entry: &Entry, fields: &Fields<'_>) -> Problem {
        let meant = words::meant_by(&entry.key).filter(|name| fields.asked().contains(name));
        let problem =
            Problem::new(entry.key_span, format!("unknown field `{}` in {}", shortened(&entry.key), fields.what));
        match meant.map(str::to_owned).or_else(|| nearest(&entry.key, fields.asked().iter().copied())) {
            Some(name) => problem.suggest(Some(name)),
            None => {
                let known = words::listed(fields.asked().iter().copied(), "and");
                problem.note(format!("{} has {known}", fields.what))
            }
        }
    }

    /// A field that must be there.
    pub(super) fn require<'n>(&mut self, fields: &mut Fields<'n>, name: &'static str) -> Option<&'n Node> {
        let found = fields.take(name);
        if found.is_none() {
            fields.missing.push(name);
        }
        found
    }

    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<Name> {
        match &node.kind {
            Kind::String(text) => Some(Spanned::new(text.clone(), node.span)),
            Kind::Int(_) | Kind::Uint(_) | Kind::Double(_) | Kind::Bool(_) => {
                let message = format!("{what} must be a text, not {}", node.describe());
                self.report(Problem::new(node.span, message).note("put it in quotes"));
                None
            }
            _ => {
                self.mismatch(node, what, "a text");
                None
            }
        }
    }

    /// A text of at most [`Limits::name_chars`] characters, not empty.
    pub(super) fn name(&mut self, node: &Node, what: &str) -> Option<Name> {
        let name = self.text(node, what)?;
        let chars = name.chars().count();
        if chars == 0 {
            self.report(Problem::new(node.span, format!("{what} must not be empty")));
            return None;
        }
        let max = self.limits.name_chars;
        if chars > max {
            let message = format!("{what} has {chars} characters; the limit is {max} (setting `name_chars_max`)");
            self.report(Problem::new(node.span, message));
            return None;
        }
        Some(name)
    }

    /// A text without expressions in it.
    pub(super) fn literal(&mut self, node: &Node, what: &str) -> bool {
        if node.as_str().is_some_and(|text| text.contains("${{")) {
            let message = format!("{what} is literal: it cannot hold an expression");
            self.report(Problem::new(node.span, message));
            return false;
        }
        true
    }

    pub(super) fn bool(&mut self, node: &Node, what: &str) -> Option<Spanned<bool>> {
        if let Kind::Bool(value) = node.kind {
            return Some(Spanned::new(value, node.span));
        }
        if self.literal(node, what) {
            self.mismatch(node, what, "`true` or `false`");
        }
        None
    }

    /// A whole number between two bounds.
    pub(super) fn whole(&mut self, node: &Node, what: &str, (min, max): (u64, u64)) -> Option<Spanned<u64>> {
        if !self.literal(node, what) {
            return None;
        }
        let number = match node.kind {
            Kind::Int(number) => u64::try_from(number).ok(),
            Kind::Uint(number) => Some(number),
            _ => {
                let range =
                    if max >= u32::MAX.into() { format!("at least {min}") } else { format!("from {min} to {max}") };
                self.mismatch(node, what, &format!("a whole number {range}"));
                return None;
            }
        };
        match number.filter(|it| (min..=max).contains(it)) {
            Some(number) => Some(Spanned::new(number, node.span)),
            None => {
                let range =
                    if max >= u32::MAX.into() { format!("at least {min}") } else { format!("from {min} to {max}") };
                self.report(Problem::new(node.span, format!("{what} must be {range}")));
                None
            }
        }
    }

    /// A whole number from `min` that 32 bits hold.
    pub(super) fn count(&mut self, node: &Node, what: &str, (min, max): (u32, u32)) -> Option<Spanned<u32>> {
        let number = self.whole(node, what, (min.into(), max.into()))?;
        u32::try_from(number.value).ok().map(|it| Spanned::new(it, number.span))
    }

    pub(super) fn duration(&mut self, node: &Node, what: &str) -> Option<Spanned<Duration>> {
        if !self.literal(node, what) {
            return None;
        }
        let read = node.as_str().and_then(duration::parse);
        if read.is_none() {
            let message = match node.as_str() {
                Some(text) => format!("{what}: `{text}` is not a duration"),
                None => format!("{what} must be a duration, not {}", node.describe()),
            };
            self.report(Problem::new(node.span, message).note("write it like `30s`, `1h30m` or `3d`"));
        }
        if read.is_some_and(|it| it.is_zero()) {
            self.report(Problem::new(node.span, format!("{what} must be longer than nothing")));
            return None;
        }
        read.map(|it| Spanned::new(it, node.span))
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<Spanned<T>> {
        let names = || words.iter().map(|(name, _)| *name);
        let Some(text) = node.as_str() else {
            let expected = words::listed(names(), "or");
            self.mismatch(node, what, &expected);
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Some(Spanned::new(*value, node.span));
        }
        let expected = words::listed(names(), "or");
        let problem = Problem::new(node.span, format!("{what} must be {expected}, not `{text}`"));
        self.report(problem.suggest(nearest(text, names())));
        None
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        node.as_list().unwrap_or_else(|| {
            self.mismatch(node, what, "a list");
            &[]
        })
    }

    /// The entries of a map whose keys are names.
    pub(super) fn map<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Entry] {
        node.as_map().unwrap_or_else(|| {
            self.mismatch(node, what, "a map");
            &[]
        })
    }

    pub(super) fn join_mode(&mut self, node: &Node, what: &str) -> Option<Spanned<JoinMode>> {
        if let Some(entries) = node.as_map() {
            let mut fields = Fields::of(node, entries, "`join`");
            let least = self.require(&mut fields, "at_least");
            self.finish(&fields);
            let least = self.count(least?, "`at_least`", (1, u32::MAX))?;
            return Some(Spanned::new(JoinMode::AtLeast(least.value), node.span));
        }
        match node.as_str() {
            Some("all") => Some(Spanned::new(JoinMode::All, node.span)),
            Some("any") => Some(Spanned::new(JoinMode::Any, node.span)),
            _ => {
                let message = format!("{what} must be `all`, `any` or `{{at_least: n}}`");
                let suggestion = node.as_str().and_then(|text| nearest(text, ["all", "any"]));
                self.report(Problem::new(node.span, message).suggest(suggestion));
                None
            }
        }
    }

    /// What `retry.on` and `catch.on` name: error classes, codes, HTTP statuses.
    pub(super) fn patterns(&mut self, node: &Node, what: &str) -> Vec<Spanned<ErrorPattern>> {
        let items = match &node.kind {
            Kind::List(items) => items.as_slice(),
            Kind::String(_) | Kind::Int(_) => std::slice::from_ref(node),
            _ => self.list(node, what),
        };
        if items.is_empty() && node.as_list().is_some() {
            self.report(Problem::new(node.span, format!("{what} names at least one error, or is left away")));
        }
        items.iter().filter_map(|item| self.pattern(item, what)).collect()
    }

    fn pattern(&mut self, node: &Node, what: &str) -> Option<Spanned<ErrorPattern>> {
        if !self.literal(node, what) {
            return None;
        }
        if let Kind::Int(status) = node.kind {
            let code: Arc<str> = status.to_string().into();
            return self.status_code(node, &code);
        }
        let text = self.name(node, what)?;
        let pattern = match text.as_bytes() {
            [hundreds @ b'0'..=b'9', b'x' | b'X', b'x' | b'X'] => {
                if !(b'1'..=b'5').contains(hundreds) {
                    self.report(Problem::new(node.span, "a class of HTTP statuses is one of `1xx` to `5xx`"));
                    return None;
                }
                ErrorPattern::StatusClass(hundreds - b'0')
            }
            bytes if bytes.iter().all(u8::is_ascii_digit) => return self.status_code(node, &text),
            _ => match Class::parse(&text) {
                Some(class) => ErrorPattern::Class(class),
                None => return self.code(node, &text),
            },
        };
        Some(Spanned::new(pattern, node.span))
    }

    fn status_code(&mut self, node: &Node, code: &Arc<str>) -> Option<Spanned<ErrorPattern>> {
        if !matches!(code.parse::<u16>(), Ok(100..=599)) {
            self.report(Problem::new(node.span, format!("`{code}` is not an HTTP status: they are 100 to 599")));
            return None;
        }
        Some(Spanned::new(ErrorPattern::Code(code.clone()), node.span))
    }

    /// Any word may be a code; one that is nearly a class is more likely a slip.
    fn code(&mut self, node: &Node, text: &Arc<str>) -> Option<Spanned<ErrorPattern>> {
        let word = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || matches!(it, b'_' | b'-' | b'.' | b'/');
        let near = Class::ALL
            .into_iter()
            .map(Class::as_str)
            .filter(|class| strsim::damerau_levenshtein(&text.to_lowercase(), class) == 1)
            .min();
        if let Some(class) = near {
            let problem = Problem::new(node.span, format!("unknown error class `{text}`"));
            self.report(problem.suggest(Some(class.to_owned())));
            return None;
        }
        if !text.bytes().all(word) {
            let problem = Problem::new(node.span, format!("`{text}` is neither an error class nor a code"));
            self.report(problem.note("codes are words such as `loop_limit`, statuses numbers such as `429` or `5xx`"));
            return None;
        }
        Some(Spanned::new(ErrorPattern::Code(text.clone()), node.span))
    }

    /// The name of a step: its pattern, and no reserved word.
    pub(super) fn id(&mut self, node: &Node, what: &str) -> Option<Name> {
        let id = self.text(node, what)?;
        let mut chars = id.chars();
        let fits = chars.next().is_some_and(|it| it.is_ascii_alphabetic() || it == '_')
            && chars.all(|it| it.is_ascii_alphanumeric() || it == '_')
            && id.len() <= 100;
        if !fits {
            let message = format!("{what} `{}` is not a name", shortened(&id));
            let note = "a letter or `_`, then letters, digits and `_`, at most 100 characters";
            self.report(Problem::new(node.span, message).note(note));
            return None;
        }
        if expression::is_reserved(&id.value) {
            let message = format!("{what} `{}` is a reserved word of expressions", id.value);
            self.report(Problem::new(node.span, message).note("choose another name"));
            return None;
        }
        Some(id)
    }
}

/// A text short enough for a sentence.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// A place for what is missing and has been reported.
pub(super) fn missing(kind: Kind) -> Node {
    Node::new(kind, Span::default())
}
