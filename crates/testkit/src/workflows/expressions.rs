//! Expressions over what is in sight. A few of them fail when they are evaluated, as some do in life.

use serde_json::{Value as Json, json};

use super::{Over, Sight, Writer};

impl Writer<'_> {
    /// A value within a step.
    pub(super) fn value(&mut self, sight: &Sight) -> Json {
        match self.random.below(6) {
            0 => json!(self.random.below(5)),
            1 => json!({ "n": self.random.below(5), "of": format!("${{{{ {} }}}}", self.term(sight)) }),
            2 => json!(format!("it is ${{{{ {} }}}}", self.term(sight))),
            _ => {
                let own = self
                    .random
                    .percent(15)
                    .then(|| (*self.random.pick(&["step.key", "uuid()", "string(now())"])).to_owned());
                let term = own.unwrap_or_else(|| self.term(sight));
                json!(format!("${{{{ {term} }}}}"))
            }
        }
    }

    /// A value at the end of a block, where no step is `step`.
    pub(super) fn after_value(&mut self, sight: &Sight) -> Json {
        json!(format!("${{{{ {} }}}}", self.term(sight)))
    }

    /// An expression of any type.
    pub(super) fn term(&mut self, sight: &Sight) -> String {
        let mut terms: Vec<String> = ["input.n", "vars.k", "run.id", "[input.n, 2]"].map(String::from).to_vec();
        terms.extend(["default(state.a, 0)", "{'n': input.n, 'k': vars.k}"].map(String::from));
        for _ in 0..2.min(sight.steps.len()) {
            let id = self.random.pick(&sight.steps);
            let form = *self.random.pick(&["output", "status", "error", "output"]);
            terms.push(format!("steps.{id}.{form}"));
            terms.push(format!("default(steps.{id}.output.n, {})", self.random.below(9)));
        }
        if let Some(inner) = sight.loops.last() {
            terms.extend(["index".to_owned(), format!("loops.{}.index", inner.id)]);
            if sight.loops.iter().any(|it| it.over == Over::Items) {
                terms.push("item".into());
            }
            if sight.loops.iter().any(|it| it.over == Over::Rounds) {
                terms.push("last".into());
            }
        }
        if sight.error {
            terms.extend(["e.code", "e.message", "e"].map(String::from));
        }
        if self.random.percent(2) {
            return "input.missing".into();
        }
        self.random.pick(&terms).clone()
    }

    /// A condition.
    pub(super) fn condition(&mut self, sight: &Sight) -> Json {
        if self.random.percent(2) {
            return json!("input.missing");
        }
        let mut terms = vec![format!("input.n > {}", self.random.below(6)), "state == {}".to_owned()];
        if !sight.steps.is_empty() {
            let id = self.random.pick(&sight.steps);
            terms.extend([format!("steps.{id}.status == 'completed'"), format!("steps.{id}.output != null")]);
        }
        if !sight.loops.is_empty() {
            terms.push("index % 2 == 0".into());
        }
        let term = self.random.pick(&terms).clone();
        if self.random.percent(10) { json!(self.random.percent(50)) } else { json!(term) }
    }

    /// The condition of an edge: only over what the journal alone can tell, so that a test can evaluate it again.
    pub(super) fn edge_condition(&mut self, from: &str) -> Json {
        json!(match self.random.weighted(&[30, 30, 30, 20, 2]) {
            0 => format!("input.n > {}", self.random.below(6)),
            1 => format!("steps.{from}.status == 'completed'"),
            2 => format!("steps.{from}.output != null"),
            3 => format!("default(steps.{from}.output.n, 0) > 2"),
            _ => "input.missing".to_owned(),
        })
    }
}
