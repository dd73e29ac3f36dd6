//! Control steps and the blocks in them.

use serde_json::{Map, Value as Json, json};

use super::{Fields, Over, Sight, Writer};

/// What errors a `catch` or a `retry` may name.
pub(super) const PATTERNS: &[&str] =
    &["timeout", "user", "http", "5xx", "worker_lost", "denied", "broken", "expression"];

impl Writer<'_> {
    /// A control step, with everything that only it has.
    pub(super) fn control(&mut self, id: &str, sight: &Sight, depth: u32) -> Fields {
        let inner = depth + 1;
        let mut step = match self.random.weighted(&[4, 2, 5, 3, 4, 5]) {
            0 => self.if_step(sight, inner),
            1 => self.switch(sight, inner),
            2 => self.foreach(id, sight, inner),
            3 => self.while_step(id, sight, inner),
            4 => self.parallel(sight, inner),
            _ => self.try_step(sight, inner),
        };
        if self.random.percent(12) {
            step.insert("timeout".into(), self.span(&["2s", "15s", "2m"]));
        }
        if self.random.percent(8) && step["type"] != "foreach" {
            step.insert("on_error".into(), json!("continue"));
        }
        if self.random.percent(6) {
            step.insert("output".into(), json!("${{ {'was': output} }}"));
        }
        step
    }

    fn if_step(&mut self, sight: &Sight, depth: u32) -> Fields {
        let mut step = fields(json!({
            "type": "if",
            "when": self.condition(sight),
            "then": self.block(sight, depth).json,
        }));
        if self.random.percent(60) {
            let otherwise = if self.random.percent(15) { json!([]) } else { self.block(sight, depth).json };
            step.insert("else".into(), otherwise);
        }
        step
    }

    fn switch(&mut self, sight: &Sight, depth: u32) -> Fields {
        let cases: Vec<Json> =
            (0..self.random.between(1, 3)).map(|is| json!({ "is": is, "do": self.block(sight, depth).json })).collect();
        let mut step = fields(json!({ "type": "switch", "on": "input.n", "cases": cases }));
        if self.random.percent(60) {
            step.insert("default".into(), self.block(sight, depth).json);
        }
        step
    }

    fn foreach(&mut self, id: &str, sight: &Sight, depth: u32) -> Fields {
        let body = self.block(&sight.in_loop(id, Over::Items), depth).json;
        let items = match self.random.below(4) {
            0 => json!("input.items"),
            1 => json!(["x", 1, null]),
            _ => json!(format!("range({})", self.random.below(5))),
        };
        let mut step = fields(json!({ "type": "foreach", "items": items, "do": body }));
        if self.random.percent(60) {
            step.insert("parallel".into(), json!(self.random.between(1, 4)));
        }
        if self.random.percent(50) {
            step.insert("on_error".into(), json!(self.random.pick(&["stop", "continue", "collect"])));
        }
        step
    }

    fn while_step(&mut self, id: &str, sight: &Sight, depth: u32) -> Fields {
        let body = self.block(&sight.in_loop(id, Over::Rounds), depth).json;
        let rounds = self.random.below(4);
        let mut step = fields(json!({ "type": "while", "when": format!("index < {rounds}"), "do": body }));
        if self.random.percent(30) {
            step.insert("max".into(), json!(self.random.between(1, 3)));
        }
        step
    }

    fn parallel(&mut self, sight: &Sight, depth: u32) -> Fields {
        let count = self.random.between(1, 4);
        let branches: Map<String, Json> =
            (0..count).map(|branch| (format!("b{branch}"), self.block(sight, depth).json)).collect();
        let mut step = fields(json!({ "type": "parallel", "branches": branches }));
        if self.random.percent(60) {
            step.insert("join".into(), self.join_mode(count));
        }
        if self.random.percent(25) {
            step.insert("parallel".into(), json!(self.random.between(1, 3)));
        }
        step
    }

    fn try_step(&mut self, sight: &Sight, depth: u32) -> Fields {
        let body = self.block(sight, depth);
        let after = sight.with_steps(&body.ids);
        let mut step = fields(json!({ "type": "try", "do": body.json }));
        let catches = self.random.percent(70);
        if catches {
            let catches = self.catches(&after, depth);
            step.insert("catch".into(), catches);
        }
        if !catches || self.random.percent(50) {
            step.insert("finally".into(), self.block(&after, depth).json);
        }
        step
    }

    /// `catch` clauses: one for some errors, one for all, or both.
    pub(super) fn catches(&mut self, sight: &Sight, depth: u32) -> Json {
        let sight = sight.with_error();
        let mut catches = Vec::new();
        if self.random.percent(50) {
            let on = [*self.random.pick(PATTERNS)];
            // A name of its own: one that hides another is refused.
            let name = self.fresh_id();
            catches.push(json!({ "on": on, "as": format!("why_{name}"), "do": self.block(&sight, depth).json }));
        }
        if catches.is_empty() || self.random.percent(50) {
            catches.push(json!({ "do": self.block(&sight, depth).json }));
        }
        json!(catches)
    }
}

pub(super) fn fields(json: Json) -> Fields {
    match json {
        Json::Object(fields) => fields,
        _ => Fields::new(),
    }
}
