//! Where each step stands, by its id.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use super::Compiler;
use crate::{
    diagnostic::Problem,
    document::{Block, Catch, Control, Document, Step},
    source::Span,
};

/// Every id of a document.
#[derive(Debug, Default)]
pub(super) struct Ids {
    by_id: BTreeMap<Arc<str>, Standing>,
}

/// Where a step stands.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    /// The number of its block.
    pub(super) block: u32,
    /// Its position there.
    pub(super) position: u32,
    /// The ids of the control steps around it, from the outside in.
    pub(super) owners: Vec<Arc<str>>,
    span: Span,
}

impl Ids {
    pub(super) fn get(&self, id: &str) -> Option<&Standing> {
        self.by_id.get(id)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_id.keys().map(AsRef::as_ref)
    }

    /// The ids of one block.
    pub(super) fn of_block(&self, block: u32) -> impl Iterator<Item = &str> {
        self.by_id.iter().filter(move |(_, it)| it.block == block).map(|(id, _)| id.as_ref())
    }
}

impl Compiler<'_> {
    /// Collects the ids of a document, and reports those that stand twice.
    pub(super) fn collect_ids(&mut self, document: &Document) {
        self.collect_block(&document.body, &[]);
        for catch in &document.catches {
            self.collect_block(&catch.body, &[]);
        }
        if let Some(finally) = &document.finally {
            self.collect_block(finally, &[]);
        }
    }

    fn collect_block(&mut self, block: &Block, owners: &[Arc<str>]) {
        for (position, step) in (0u32..).zip(&block.steps) {
            let standing = Standing { block: block.number, position, owners: owners.to_vec(), span: step.id.span };
            self.collect_step(step, standing);
            let owners = [owners, std::slice::from_ref(&step.id.value)].concat();
            for inner in blocks_of(&step.control) {
                self.collect_block(inner, &owners);
            }
        }
    }

    fn collect_step(&mut self, step: &Step, standing: Standing) {
        // A step without a readable id has been reported.
        if step.id.is_empty() {
            return;
        }
        let first = match self.ids.by_id.entry(step.id.value.clone()) {
            btree_map::Entry::Vacant(entry) => {
                entry.insert(standing);
                return;
            }
            btree_map::Entry::Occupied(entry) => entry.get().span,
        };
        let problem = Problem::new(step.id.span, format!("the id `{}` stands here a second time", step.id.value));
        self.report(problem.note("ids are unique in the whole document").first(first));
    }
}

/// The blocks that a control step holds, in document order.
pub(super) fn blocks_of(control: &Control) -> Vec<&Block> {
    let with_catches = |body, catches, finally| {
        let catches: &Vec<Catch> = catches;
        let finally: &Option<Block> = finally;
        std::iter::once(body).chain(catches.iter().map(|it| &it.body)).chain(finally).collect()
    };
    match control {
        Control::None => Vec::new(),
        Control::If { then, otherwise, .. } => std::iter::once(then).chain(otherwise).collect(),
        Control::Switch { cases, default, .. } => cases.iter().map(|it| &it.body).chain(default).collect(),
        Control::ForEach { body, .. } | Control::While { body, .. } => vec![body],
        Control::Parallel { branches, .. } => branches.iter().map(|(_, block)| block).collect(),
        Control::Try { body, catches, finally } => with_catches(body, catches, finally),
    }
}
