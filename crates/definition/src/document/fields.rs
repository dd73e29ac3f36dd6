//! The fields of one map: each is taken by name, and what nobody took is unknown.

use crate::source::{Entry, Node, Span};

/// The entries of a map while they are being read.
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    taken: Vec<bool>,
    asked: Vec<&'static str>,
    /// What must be there and is not.
    pub(super) missing: Vec<&'static str>,
    /// Where the map begins: what a missing field is reported at.
    pub(super) head: Span,
    /// What the map is, for a sentence: `a step`.
    pub(super) what: &'static str,
}

impl<'n> Fields<'n> {
    pub(super) fn of(node: &'n Node, entries: &'n [Entry], what: &'static str) -> Fields<'n> {
        let head = entries.first().map_or(node.span, |first| first.key_span);
        // A map between braces begins before its first key.
        let head = if head.start > node.span.start { Span { start: node.span.start, end: head.end } } else { head };
        Fields { entries, taken: vec![false; entries.len()], asked: Vec::new(), missing: Vec::new(), head, what }
    }

    /// The value of a field, unless it is absent.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'n Node> {
        self.asked.push(name);
        let at = self.entries.iter().position(|entry| &*entry.key == name)?;
        self.taken[at] = true;
        Some(&self.entries[at].value)
    }

    /// The key of a field, unless it is absent. Does not take it.
    pub(super) fn key(&self, name: &str) -> Option<Span> {
        self.entries.iter().find(|entry| &*entry.key == name).map(|entry| entry.key_span)
    }

    /// The entries that nobody took.
    pub(super) fn left(&self) -> impl Iterator<Item = &'n Entry> {
        self.entries.iter().zip(&self.taken).filter(|(_, taken)| !**taken).map(|(entry, _)| entry)
    }

    /// The names that were asked for.
    pub(super) fn asked(&self) -> &[&'static str] {
        &self.asked
    }
}
