//! `defaults`: what the steps of a type have unless they say otherwise.

use std::sync::Arc;

use super::Compiler;
use crate::{
    document::{self, Common, Document},
    source::{Entry, Kind, Node},
};

impl Compiler<'_> {
    pub(super) fn collect_defaults(&mut self, document: &Document) {
        for (type_name, common) in &document.defaults {
            self.check_default_places(type_name, common);
            self.defaults.insert(type_name.value.clone(), common.clone());
        }
    }

    /// What a step says, and below it what `defaults` say of its type.
    pub(super) fn with_defaults(&self, step: &document::Step) -> Common {
        let own = &step.common;
        let Some(defaults) = self.defaults.get(&step.type_name.value) else { return own.clone() };
        // The run's own state takes no time and has no effect, so what `state` steps have by default does not concern it.
        let pure = self.standing(step).is_some_and(|it| it == super::step::Standing::Pure);
        if pure {
            return Common { with: self.merged_with(&step.type_name, own.with.as_ref()), ..own.clone() };
        }
        Common {
            with: self.merged_with(&step.type_name, own.with.as_ref()),
            timeout: own.timeout.or(defaults.timeout),
            retry: own.retry.clone().or_else(|| defaults.retry.clone()),
            on_error: own.on_error.or(defaults.on_error),
            at_most_once: own.at_most_once.or(defaults.at_most_once),
            lock: own.lock.clone().or_else(|| defaults.lock.clone()),
            rate: own.rate.clone().or_else(|| defaults.rate.clone()),
        }
    }

    /// A `with` and below it the default one of its type: maps are merged key by key, also within each other.
    pub(super) fn merged_with(&self, type_name: &Arc<str>, own: Option<&Node>) -> Option<Node> {
        let default = self.defaults.get(type_name).and_then(|it| it.with.as_ref());
        match (own, default) {
            (Some(own), Some(default)) => Some(merged(own, default)),
            (own, default) => own.or(default).cloned(),
        }
    }
}

fn merged(own: &Node, default: &Node) -> Node {
    let (Kind::Map(entries), Kind::Map(defaults)) = (&own.kind, &default.kind) else { return own.clone() };
    let mut merged_entries: Vec<Entry> = Vec::with_capacity(entries.len() + defaults.len());
    for entry in entries {
        let value = match default.get(&entry.key) {
            Some(below) => merged(&entry.value, below),
            None => entry.value.clone(),
        };
        merged_entries.push(Entry { value, ..entry.clone() });
    }
    merged_entries.extend(defaults.iter().filter(|it| own.get(&it.key).is_none()).cloned());
    Node { kind: Kind::Map(merged_entries), span: own.span, style: own.style }
}
