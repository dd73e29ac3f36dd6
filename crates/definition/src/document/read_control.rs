//! The fields of control steps: the blocks they hold and what decides between them.

use super::{Block, Case, Catch, Control, Named, fields::Fields, read::Reader, read_run::or_missing};
use crate::{
    diagnostic::Problem,
    plan::ItemError,
    source::{Kind, Node, Spanned},
};

/// Rounds of a `while` at most.
pub const ROUNDS_MAX: u32 = 1_000_000;

impl Reader<'_> {
    /// What a step of that type holds beside its common fields.
    pub(super) fn control(&mut self, type_name: &str, fields: &mut Fields<'_>) -> Control {
        match type_name {
            "if" => self.if_step(fields),
            "switch" => self.switch(fields),
            "foreach" => self.foreach(fields),
            "while" => self.while_step(fields),
            "parallel" => self.parallel(fields),
            "try" => self.try_step(fields),
            _ => Control::None,
        }
    }

    fn if_step(&mut self, fields: &mut Fields<'_>) -> Control {
        let when = or_missing(self.require(fields, "when"), Kind::Bool(true));
        let then = self.require_block(fields, "then", "`then`");
        let otherwise = fields.take("else").map(|it| self.block(it, "`else`"));
        Control::If { when, then, otherwise }
    }

    fn switch(&mut self, fields: &mut Fields<'_>) -> Control {
        let on = or_missing(self.require(fields, "on"), Kind::Null);
        let cases = match self.require(fields, "cases") {
            Some(node) => self.list(node, "`cases`").iter().filter_map(|it| self.case(it)).collect(),
            None => Vec::new(),
        };
        let default = fields.take("default").map(|it| self.block(it, "`default`"));
        Control::Switch { on, cases, default }
    }

    fn case(&mut self, node: &Node) -> Option<Case> {
        let mut fields = self.fields(node, "a case")?;
        let is = self.require(&mut fields, "is").cloned();
        let body = self.require_block(&mut fields, "do", "`do`");
        self.finish(&fields);
        Some(Case { is: is?, body })
    }

    fn foreach(&mut self, fields: &mut Fields<'_>) -> Control {
        let items = or_missing(self.require(fields, "items"), Kind::List(Vec::new()));
        let parallel = self.parallel_count(fields);
        let body = self.require_block(fields, "do", "`do`");
        let words = [("stop", ItemError::Stop), ("continue", ItemError::Continue), ("collect", ItemError::Collect)];
        let on_error = fields.take("on_error").and_then(|it| self.word(it, "`on_error`", &words));
        Control::ForEach { items, parallel, body, on_error }
    }

    fn parallel_count(&mut self, fields: &mut Fields<'_>) -> Option<Spanned<u32>> {
        let node = fields.take("parallel")?;
        let max = self.limits.parallel;
        let count = self.count(node, "`parallel`", (1, u32::MAX))?;
        if count.value > max {
            self.report(Problem::new(
                node.span,
                format!("`parallel` must be from 1 to {max} (setting `parallel_max`)"),
            ));
            return None;
        }
        Some(count)
    }

    fn while_step(&mut self, fields: &mut Fields<'_>) -> Control {
        let when = or_missing(self.require(fields, "when"), Kind::Bool(true));
        let max = fields.take("max").and_then(|it| self.count(it, "`max`", (1, ROUNDS_MAX)));
        let body = self.require_block(fields, "do", "`do`");
        Control::While { when, max, body }
    }

    fn parallel(&mut self, fields: &mut Fields<'_>) -> Control {
        let branches = self.require(fields, "branches").map_or(Vec::new(), |it| self.branches(it));
        let join = fields.take("join").and_then(|it| self.join_mode(it, "`join`"));
        let parallel = self.parallel_count(fields);
        Control::Parallel { branches, join, parallel }
    }

    fn branches(&mut self, node: &Node) -> Named<Block> {
        let entries = self.map(node, "`branches`");
        if node.as_map().is_some() && entries.is_empty() {
            self.report(Problem::new(node.span, "`branches` holds at least one block"));
        }
        let mut branches = Vec::new();
        for entry in entries {
            let key = Node::new(Kind::String(entry.key.clone()), entry.key_span);
            let name = self.name(&key, "a branch name");
            let block = self.block(&entry.value, "a branch");
            branches.extend(name.map(|name| (name, block)));
        }
        branches
    }

    fn try_step(&mut self, fields: &mut Fields<'_>) -> Control {
        let body = self.require_block(fields, "do", "`do`");
        let catches = fields.take("catch").map_or(Vec::new(), |it| self.catches(it));
        let finally = fields.take("finally").map(|it| self.block(it, "`finally`"));
        if fields.key("catch").is_none() && fields.key("finally").is_none() {
            self.report(Problem::of_map(fields.head, "`try` needs `catch` or `finally`"));
        }
        Control::Try { body, catches, finally }
    }

    pub(super) fn catches(&mut self, node: &Node) -> Vec<Catch> {
        self.list(node, "`catch`").iter().filter_map(|it| self.catch(it)).collect()
    }

    fn catch(&mut self, node: &Node) -> Option<Catch> {
        let mut fields = self.fields(node, "a `catch` clause")?;
        let on = fields.take("on").map(|it| self.patterns(it, "`on`"));
        let name = fields.take("as").and_then(|it| self.id(it, "the error name"));
        let body = self.require_block(&mut fields, "do", "`do`");
        self.finish(&fields);
        Some(Catch { on, name, body })
    }

    fn require_block(&mut self, fields: &mut Fields<'_>, name: &'static str, what: &'static str) -> Block {
        match self.require(fields, name) {
            Some(node) => self.block(node, what),
            None => self.missing_block(),
        }
    }
}
