//! Random workflow documents over the whole language that the engine runs.
//!
//! Invariant: every document compiles with [`step_types`]. The same numbers give the same document, so that a seed
//! replays bit for bit.

mod control;
mod expressions;
mod steps;

use serde_json::{Map, Value as Json, json};
use windlass_definition::{
    Value,
    step_type::{Family, StepType, StepTypes},
};

use crate::random::Random;

/// Steps of a document at most, about: a control step that has begun gets at least one step.
const STEPS_MAX: u32 = 24;
/// Control steps within each other.
const DEPTH_MAX: u32 = 3;

/// A random document.
pub fn document(random: &mut Random) -> Json {
    document_of(random, STEPS_MAX)
}

/// A random document of about so many steps at most.
pub fn document_of(random: &mut Random, steps_max: u32) -> Json {
    let steps = random.between(1, steps_max as usize) as u32;
    let mut writer = Writer { random, ids: 0, budget: steps, restarts: false, long: steps_max >= STEPS_MAX };
    writer.restarts = writer.random.percent(3);
    writer.document()
}

/// The built-in step types, and `act`: something done outside, as the test likes it.
pub fn step_types() -> StepTypes {
    let mut types = windlass_definition::step_types::built_in();
    types.push(StepType {
        name: "act",
        documentation: "Does something outside.",
        family: Family::Doing,
        with_schema: Value::from(json!({ "type": "object" })),
        output_schema: Value::from(json!({})),
        secret_fields: &[],
        program_fields: &[],
        credential_fields: &[],
        hidden: true,
    });
    StepTypes::new(types)
}

/// What an expression can see at a place.
#[derive(Debug, Clone, Default)]
struct Sight {
    steps: Vec<String>,
    loops: Vec<Loop>,
    error: bool,
}

#[derive(Debug, Clone)]
struct Loop {
    id: String,
    over: Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Items,
    Rounds,
}

impl Sight {
    fn with_steps(&self, more: &[String]) -> Sight {
        let mut sight = self.clone();
        sight.steps.extend(more.iter().cloned());
        sight
    }

    fn in_loop(&self, id: &str, over: Over) -> Sight {
        let mut sight = self.clone();
        sight.loops.push(Loop { id: id.to_owned(), over });
        sight
    }

    fn with_error(&self) -> Sight {
        Sight { error: true, ..self.clone() }
    }
}

/// A block with the ids of its own steps.
struct Block {
    json: Json,
    ids: Vec<String>,
}

/// How the steps of a block are ordered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    List,
    Needs,
    Edges,
}

type Fields = Map<String, Json>;

struct Writer<'r> {
    random: &'r mut Random,
    ids: u32,
    budget: u32,
    restarts: bool,
    /// Whether it may be one long loop.
    long: bool,
}

impl Writer<'_> {
    fn document(&mut self) -> Json {
        let sight = Sight::default();
        let body = if self.long && self.random.percent(1) { self.long_loop() } else { self.block(&sight, 0) };
        let mut fields = match body.json {
            Json::Object(fields) => fields,
            steps => Map::from_iter([("steps".to_owned(), steps)]),
        };
        fields.remove("output");
        fields.insert("name".into(), json!("random"));
        fields.insert("vars".into(), json!({ "k": 3, "names": ["a", "b"] }));
        if self.random.percent(10) {
            fields.insert("timeout".into(), self.span(&["20s", "1m", "1h"]));
        }
        let after = sight.with_steps(&body.ids);
        if self.random.percent(15) {
            let catch = self.catches(&after, 1);
            fields.insert("catch".into(), catch);
        }
        if self.random.percent(15) {
            let finally = self.block(&after, 2);
            fields.insert("finally".into(), finally.json);
        }
        if self.random.percent(20) {
            let output = self.after_value(&after);
            fields.insert("output".into(), output);
        }
        Json::Object(fields)
    }

    /// A loop over more than one transition holds.
    fn long_loop(&mut self) -> Block {
        let (each, inner) = (self.fresh_id(), self.fresh_id());
        let step = json!({
            "id": each,
            "type": "foreach",
            "items": "range(700)",
            "parallel": self.random.between(1, 1_000),
            "do": [
                { "id": inner, "type": "transform", "with": { "value": "${{ index }}" } },
                { "id": self.fresh_id(), "type": "transform", "with": { "value": format!("${{{{ steps.{inner}.output + 1 }}}}") } },
            ],
        });
        Block { json: json!([step]), ids: vec![each] }
    }

    fn fresh_id(&mut self) -> String {
        self.ids += 1;
        format!("s{}", self.ids)
    }

    fn span(&mut self, spans: &[&str]) -> Json {
        json!(self.random.pick(spans))
    }

    /// A block: a list, or steps with `needs` or `edges` between them.
    fn block(&mut self, sight: &Sight, depth: u32) -> Block {
        let most = if depth == 0 { 6 } else { 3 };
        let count = self.random.between(1, most.min(self.budget.max(1) as usize));
        self.budget = self.budget.saturating_sub(count as u32);
        let ids: Vec<String> = (0..count).map(|_| self.fresh_id()).collect();
        let order = [Order::List, Order::Needs, Order::Edges][self.random.weighted(&[4, 3, 5])];
        let before = self.sources(count, order);
        let mut steps = Vec::new();
        let mut edges = Vec::new();
        for (at, id) in ids.iter().enumerate() {
            let earlier: Vec<String> = all_before(&before, at).into_iter().map(|it| ids[it].clone()).collect();
            let mut step = self.step(id, &sight.with_steps(&earlier), depth, before[at].len());
            match order {
                Order::List => {}
                Order::Needs => self.needs(&mut step, &ids, &before[at]),
                Order::Edges => {
                    for from in &before[at] {
                        edges.push(self.edge(&ids[*from], id));
                    }
                }
            }
            steps.push(Json::Object(step));
        }
        let explicit = order == Order::Edges || (order == Order::Needs && self.random.percent(30));
        if explicit {
            steps = self.random.shuffled(steps);
        }
        Block { json: self.block_json(sight, (steps, edges), (order, &ids)), ids }
    }

    fn block_json(
        &mut self,
        sight: &Sight,
        (steps, edges): (Vec<Json>, Vec<Json>),
        (order, ids): (Order, &[String]),
    ) -> Json {
        let with_output = self.random.percent(8);
        if order != Order::Edges && !with_output {
            return json!(steps);
        }
        let mut block = Map::new();
        block.insert("steps".into(), json!(steps));
        if order == Order::Edges {
            block.insert("edges".into(), json!(edges));
        }
        if with_output {
            let output = self.after_value(&sight.with_steps(ids));
            block.insert("output".into(), output);
        }
        Json::Object(block)
    }

    /// The direct sources of each step, always listed before it.
    fn sources(&mut self, count: usize, order: Order) -> Vec<Vec<usize>> {
        (0..count)
            .map(|at| match order {
                Order::List => at.checked_sub(1).into_iter().collect(),
                Order::Needs | Order::Edges => (0..at).filter(|_| self.random.percent(40)).collect(),
            })
            .collect()
    }

    /// Always written out, so that the steps may be listed in any order.
    fn needs(&mut self, step: &mut Fields, ids: &[String], sources: &[usize]) {
        let needs: Vec<&String> = sources.iter().map(|from| &ids[*from]).collect();
        step.insert("needs".into(), json!(needs));
    }

    fn edge(&mut self, from: &str, to: &str) -> Json {
        match self.random.weighted(&[30, 50, 20]) {
            0 => json!({ "from": from, "to": to }),
            1 => json!({ "from": from, "to": to, "when": self.edge_condition(from) }),
            _ => json!({ "from": from, "to": to, "otherwise": true }),
        }
    }

    fn join_mode(&mut self, incoming: usize) -> Json {
        match self.random.below(3) {
            0 => json!("all"),
            1 => json!("any"),
            _ => json!({ "at_least": self.random.between(1, incoming) }),
        }
    }
}

/// Every step that a step waits for, directly or not.
fn all_before(before: &[Vec<usize>], at: usize) -> Vec<usize> {
    let mut seen = vec![false; before.len()];
    let mut left = before[at].clone();
    while let Some(next) = left.pop() {
        if !std::mem::replace(&mut seen[next], true) {
            left.extend(&before[next]);
        }
    }
    (0..before.len()).filter(|it| seen[*it]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_definition::source::Format;

    #[test]
    fn every_document_compiles() {
        let types = step_types();
        for seed in 0..2_000 {
            let document = document(&mut Random::new(seed));
            let text = document.to_string();
            if let Err(problems) = windlass_definition::compile(&text, Format::Json, &types) {
                panic!("seed {seed}: {document:#}\n{problems:#?}");
            }
        }
    }
}
