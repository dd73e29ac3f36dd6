//! The order of a block: its edges, its cycles, and which steps come before which.

use std::collections::BTreeSet;

use super::Compiler;
use crate::{
    diagnostic::Problem,
    document::{Block, Edge, Name, shortened},
    source::Span,
};

/// An edge between two positions of a block.
#[derive(Debug)]
pub(super) struct Link<'d> {
    pub(super) from: u32,
    pub(super) to: u32,
    /// What wrote it: an edge, a name in `needs`, or list order.
    pub(super) by: By<'d>,
}

#[derive(Debug)]
pub(super) enum By<'d> {
    Edge(&'d Edge),
    Needs(&'d Name),
    List,
}

/// Which steps of a block come before each.
#[derive(Debug, Default)]
pub(super) struct Order {
    before: Vec<Bits>,
}

impl Order {
    /// Whether the step at `earlier` is always done with when that at `later` starts.
    pub(super) fn comes_before(&self, earlier: u32, later: u32) -> bool {
        self.before.get(later as usize).is_some_and(|it| it.has(earlier as usize))
    }
}

#[derive(Debug, Clone, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn of(count: usize) -> Bits {
        Bits(vec![0; count.div_ceil(64)])
    }

    fn full(count: usize) -> Bits {
        Bits(vec![u64::MAX; count.div_ceil(64)])
    }

    fn set(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    fn add(&mut self, other: &Bits) {
        for (word, more) in self.0.iter_mut().zip(&other.0) {
            *word |= more;
        }
    }
}

impl Compiler<'_> {
    /// The edges of a block, in document order of their targets; its order is remembered under its number.
    pub(super) fn order<'d>(&mut self, block: &'d Block) -> Vec<Link<'d>> {
        let mut links = match &block.edges {
            Some(edges) => self.by_edges(block, edges),
            None => self.by_list(block),
        };
        links.sort_by_key(|link| link.to);
        let order = self.sorted(block, &links);
        self.orders.insert(block.number, order);
        links
    }

    fn by_edges<'d>(&mut self, block: &'d Block, edges: &'d [Edge]) -> Vec<Link<'d>> {
        for step in &block.steps {
            if let Some(needs) = &step.needs {
                let problem = Problem::new(needs.span, "this block has `edges`: `needs` cannot stand beside them");
                self.report(problem.note("write an edge instead"));
            }
        }
        let mut seen = BTreeSet::new();
        let mut links = Vec::new();
        for edge in edges {
            let (from, to) = (self.position(block, &edge.from, "an edge"), self.position(block, &edge.to, "an edge"));
            let (Some(from), Some(to)) = (from, to) else { continue };
            if from == to {
                self.error(edge.span.span, format!("the step `{}` cannot wait for itself", edge.to.value));
            } else if !seen.insert((from, to)) {
                let message = format!("there is already an edge from `{}` to `{}`", edge.from.value, edge.to.value);
                self.report(Problem::new(edge.span.span, message).note("join their conditions with `||`"));
            } else {
                links.push(Link { from, to, by: By::Edge(edge) });
            }
        }
        links
    }

    fn by_list<'d>(&mut self, block: &'d Block) -> Vec<Link<'d>> {
        let mut links = Vec::new();
        for (to, step) in (0u32..).zip(&block.steps) {
            let Some(needs) = &step.needs else {
                if to > 0 {
                    links.push(Link { from: to - 1, to, by: By::List });
                }
                continue;
            };
            for name in &needs.value {
                match self.position(block, name, "`needs`") {
                    Some(from) if from == to => {
                        self.error(name.span, format!("the step `{}` cannot wait for itself", name.value));
                    }
                    Some(from) => links.push(Link { from, to, by: By::Needs(name) }),
                    None => {}
                }
            }
        }
        links
    }

    fn position(&mut self, block: &Block, name: &Name, what: &str) -> Option<u32> {
        if let Some(standing) = self.ids.get(name) {
            if standing.block == block.number {
                return Some(standing.position);
            }
            let problem = Problem::new(name.span, format!("the step `{}` stands in another block", name.value));
            self.report(problem.note(format!("{what} names steps of the same block")));
            return None;
        }
        let suggestion = self.nearest_id(name, self.ids.of_block(block.number));
        let problem = Problem::new(name.span, format!("unknown step `{}`", shortened(name)));
        let problem = if suggestion.is_none() { problem.note("no step of this block has that id") } else { problem };
        self.report(problem.suggest(suggestion));
        None
    }

    fn sorted(&mut self, block: &Block, links: &[Link<'_>]) -> Order {
        let count = block.steps.len();
        let mut waits = vec![0usize; count];
        let mut outgoing: Vec<Vec<usize>> = vec![Vec::new(); count];
        for link in links {
            waits[link.to as usize] += 1;
            outgoing[link.from as usize].push(link.to as usize);
        }
        let mut before = vec![Bits::of(count); count];
        let mut ready: Vec<usize> = (0..count).filter(|at| waits[*at] == 0).collect();
        let mut done = 0;
        while let Some(at) = ready.pop() {
            done += 1;
            let mut seen = before[at].clone();
            seen.set(at);
            for to in std::mem::take(&mut outgoing[at]) {
                before[to].add(&seen);
                waits[to] -= 1;
                if waits[to] == 0 {
                    ready.push(to);
                }
            }
        }
        if done < count {
            let stuck: Vec<bool> = waits.iter().map(|it| *it > 0).collect();
            self.report_cycle(block, links, &stuck);
            // What a cycle holds up has no order: it sees everything, so that only the cycle is reported.
            for (at, _) in stuck.iter().enumerate().filter(|(_, stuck)| **stuck) {
                before[at] = Bits::full(count);
            }
        }
        Order { before }
    }

    fn report_cycle(&mut self, block: &Block, links: &[Link<'_>], stuck: &[bool]) {
        let mut first_into: Vec<Option<&Link<'_>>> = vec![None; stuck.len()];
        for link in links.iter().filter(|link| stuck[link.from as usize]).rev() {
            first_into[link.to as usize] = Some(link);
        }
        let into = |at: usize| first_into[at];
        let Some(mut at) = stuck.iter().position(|it| *it) else { return };
        // Going back from any stuck step, always to a stuck one, comes round; the way round is the cycle.
        let mut path: Vec<&Link<'_>> = Vec::new();
        loop {
            let Some(link) = into(at) else { return };
            let first = path.iter().position(|it| it.to == link.to);
            if let Some(first) = first {
                path.drain(..first);
                break;
            }
            path.push(link);
            at = link.from as usize;
        }
        path.reverse();
        let id = |at: u32| block.steps[at as usize].id.value.as_ref();
        let names: Vec<&str> = path.iter().map(|link| id(link.from)).collect();
        let start = (0..names.len()).min_by_key(|at| path[*at].from).unwrap_or(0);
        let mut names: Vec<&str> = names[start..].iter().chain(&names[..start]).copied().collect();
        names.extend(names.first().copied());
        let span = path.iter().find_map(|link| match link.by {
            By::Needs(name) => Some(name.span),
            By::Edge(edge) => Some(edge.span.span),
            By::List => None,
        });
        let span = span.unwrap_or_else(|| block.steps.first().map_or(Span::default(), |step| step.id.span));
        let message = format!("these steps wait for each other: {}", names.join(" -> "));
        let by_list: Vec<String> = path
            .iter()
            .filter(|link| matches!(link.by, By::List))
            .map(|link| format!("`{}` waits for `{}` because it is listed after it", id(link.to), id(link.from)))
            .collect();
        let problem = Problem::new(span, message);
        let problem = if by_list.is_empty() {
            problem.note("take one of these away")
        } else {
            problem.note(format!("{}; `needs: []` on it ends that", by_list.join(", ")))
        };
        self.report(problem);
    }
}
