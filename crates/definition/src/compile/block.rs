//! Blocks: their steps in order, their edges, their output.

use std::collections::BTreeSet;

use super::{
    Compiler,
    order::{By, Link},
    scope::Frame,
    template::Site,
};
use crate::{
    diagnostic::Problem,
    document,
    plan::{Block, BlockIndex, Edge, EdgeWhen, StepIndex},
};

/// What a step has to know of where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) block: BlockIndex,
    pub(super) position: u32,
}

impl Compiler<'_> {
    /// Compiles a block that belongs to a control step, or to the run.
    pub(super) fn block(&mut self, block: &document::Block, owner: Option<StepIndex>) -> BlockIndex {
        let index = BlockIndex(block.number);
        let links = self.order(block);
        let mut steps = Vec::new();
        for (position, step) in (0u32..).zip(&block.steps) {
            let frame = Frame::Step { block: block.number, position };
            let seat = Seat { block: index, position };
            self.sites.push(step.id.value.clone());
            steps.push(self.within(frame, |compiler| compiler.step(step, seat)));
            self.sites.pop();
        }
        let edges: Vec<Edge> = links.iter().map(|link| self.edge(block, link)).collect();
        self.check_otherwise(block);
        self.connect(&steps, &edges);
        self.check_joins(block, &edges);
        let output = block.output.as_ref().map(|node| {
            self.between(Frame::Ended(block.number), |compiler| compiler.template(node, Site::plain("block_output")))
        });
        let at = block.number as usize;
        if self.blocks.len() <= at {
            self.blocks.resize_with(at + 1, || None);
        }
        self.blocks[at] = Some(Block { owner, steps, edges, output });
        index
    }

    fn edge(&mut self, block: &document::Block, link: &Link<'_>) -> Edge {
        let when = match &link.by {
            By::Edge(edge) if edge.otherwise.is_some_and(|it| it.value) => EdgeWhen::Otherwise,
            By::Edge(edge) => match &edge.when {
                Some(node) => self.edge_condition(block, link, node),
                None => EdgeWhen::Always,
            },
            By::Needs(_) | By::List => EdgeWhen::Always,
        };
        Edge { from: link.from, to: link.to, when }
    }

    /// A condition sees what its source sees, and the source itself.
    fn edge_condition(&mut self, block: &document::Block, link: &Link<'_>, node: &crate::source::Node) -> EdgeWhen {
        let source = block.steps[link.from as usize].id.value.clone();
        let frame = Frame::Step { block: block.number, position: link.from };
        let condition = self.within(frame, |compiler| {
            compiler.between(Frame::Itself(source), |compiler| compiler.condition(node, "`when`"))
        });
        match condition {
            crate::plan::Condition::Expression(expression) => EdgeWhen::Expression(expression),
            crate::plan::Condition::Literal(true) => EdgeWhen::Always,
            crate::plan::Condition::Literal(false) => {
                let problem = Problem::new(node.span, "an edge that is never taken");
                self.report(problem.note("leave the edge away, or write a condition"));
                EdgeWhen::Always
            }
        }
    }

    /// `otherwise` beside an edge that is always taken is never taken.
    fn check_otherwise(&mut self, block: &document::Block) {
        let is_otherwise = |edge: &document::Edge| edge.otherwise.is_some_and(|it| it.value);
        let edges = || block.edges.iter().flatten();
        let always: BTreeSet<&str> =
            edges().filter(|it| it.when.is_none() && !is_otherwise(it)).map(|it| it.from.value.as_ref()).collect();
        for edge in edges().filter(|it| is_otherwise(it) && always.contains(&*it.from.value)) {
            let message = format!("this edge is never taken: another one from `{}` always is", edge.from.value);
            self.report(Problem::new(edge.span.span, message).warning().note("give the other one a `when`"));
        }
    }

    fn connect(&mut self, steps: &[StepIndex], edges: &[Edge]) {
        for (index, edge) in (0u32..).zip(edges) {
            let (from, to) = (steps[edge.from as usize], steps[edge.to as usize]);
            if let Some(step) = self.steps[from.0 as usize].as_mut() {
                step.outgoing.push(index);
            }
            if let Some(step) = self.steps[to.0 as usize].as_mut() {
                step.incoming.push(index);
            }
        }
    }

    fn check_joins(&mut self, block: &document::Block, edges: &[Edge]) {
        let mut incoming = vec![0usize; block.steps.len()];
        for edge in edges {
            incoming[edge.to as usize] += 1;
        }
        for (position, step) in (0u32..).zip(&block.steps) {
            let Some(join) = &step.join else { continue };
            let document::JoinMode::AtLeast(least) = join.value else { continue };
            let incoming = incoming[position as usize];
            if least as usize > incoming {
                let plural = if incoming == 1 { "path leads" } else { "paths lead" };
                let message =
                    format!("`at_least: {least}` can never be met: {incoming} {plural} to `{}`", step.id.value);
                self.error(join.span, message);
            }
        }
    }
}
