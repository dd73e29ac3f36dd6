//! Walks the tree.
//!
//! Invariant: nothing is read but the tree and the scope, and every node costs, so that an evaluation ends and gives
//! the same value every time. The functions here are small because the deepest tree has to fit a small stack.

use std::sync::Arc;

use crate::{Value, value::Map};

use super::{
    Scope, access, arithmetic,
    ast::{Call, Kind, Link, LinkKind, Node, Operation, Operator},
    compare,
    failure::{Failure, Outcome},
    meter::Meter,
};

mod comprehension;

pub(crate) use comprehension::key_value;

/// What making a map costs beyond its entries.
pub(crate) const MAP_UNITS: usize = 8;

/// One evaluation.
pub(crate) struct Evaluator<'a> {
    pub(crate) scope: &'a dyn Scope,
    pub(crate) meter: Meter,
    /// What macros bind, outer first.
    pub(crate) locals: Vec<Value>,
    /// Of the expression in its document.
    pub(crate) place: u32,
    /// Calls of `uuid()` so far.
    pub(crate) uuids: u32,
}

impl Evaluator<'_> {
    pub(crate) fn evaluate(&mut self, node: &Node) -> Outcome {
        self.meter.charge(1)?;
        match self.kind(&node.kind) {
            Ok(value) => Ok(value),
            Err(failure) => Err(failure.at(node.span)),
        }
    }

    fn kind(&mut self, kind: &Kind) -> Outcome {
        match kind {
            Kind::Literal(value) => Ok(value.clone()),
            Kind::Local(slot) => Ok(self.locals.get(*slot).cloned().unwrap_or_default()),
            Kind::Variable(name) => self.variable(name),
            Kind::Step(id) => self.step(id),
            Kind::StepField(id, field) => self.step_field(id, field),
            Kind::Postfix(first, links) => self.postfix(first, links),
            Kind::Chain(first, rest) => self.chain(first, rest),
            Kind::And(operands) => self.logic(operands, false),
            Kind::Or(operands) => self.logic(operands, true),
            Kind::Conditional(cases, last) => self.conditional(cases, last),
            Kind::Call(call) => self.call(call, None),
            Kind::Not(operand, times) => self.not(operand, *times),
            Kind::Negate(operand, times) => self.negate(operand, *times),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::Has(operand, key) => {
                let operand = self.evaluate(operand)?;
                access::has(&operand, key).map(Value::Bool)
            }
            Kind::Default(value, otherwise) => self.default(value, otherwise),
        }
    }

    fn variable(&mut self, name: &str) -> Outcome {
        self.scope.variable(name).ok_or_else(|| Failure::no_such_key(format!("nothing here is named `{name}`")))
    }

    fn step(&mut self, id: &str) -> Outcome {
        self.scope.step(id).ok_or_else(|| Failure::no_such_key(format!("no step `{id}` is in scope")))
    }

    fn step_field(&mut self, id: &str, field: &str) -> Outcome {
        let value = self.scope.step_field(id, field);
        value.ok_or_else(|| Failure::no_such_key(format!("no `{field}` of a step `{id}` is in scope")))
    }

    fn postfix(&mut self, first: &Node, links: &[Link]) -> Outcome {
        let mut value = self.evaluate(first)?;
        for link in links {
            value = match self.follow(value, &link.kind) {
                Ok(value) => value,
                Err(failure) => return Err(failure.at(link.span)),
            };
        }
        Ok(value)
    }

    fn follow(&mut self, value: Value, link: &LinkKind) -> Outcome {
        self.meter.charge(1)?;
        match link {
            LinkKind::Field(field) => access::field(&value, field),
            LinkKind::Index(index) => {
                let index = self.evaluate(index)?;
                access::index(&value, &index)
            }
            LinkKind::Method(call) => self.call(call, Some(value)),
            LinkKind::Macro(comprehension) => self.comprehension(comprehension, value),
        }
    }

    fn chain(&mut self, first: &Node, rest: &[Operation]) -> Outcome {
        let mut left = self.evaluate(first)?;
        for operation in rest {
            let right = self.evaluate(&operation.operand)?;
            left = match self.operate(operation.operator, left, right) {
                Ok(value) => value,
                Err(failure) => return Err(failure.at(operation.span)),
            };
        }
        Ok(left)
    }

    fn operate(&mut self, operator: Operator, left: Value, right: Value) -> Outcome {
        self.meter.charge(1)?;
        let meter = &mut self.meter;
        let truth = match operator {
            Operator::Equal => compare::equal(meter, &left, &right)?,
            Operator::NotEqual => !compare::equal(meter, &left, &right)?,
            Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
                compare::ordered(meter, operator, &left, &right)?
            }
            Operator::In => access::contains(meter, &left, &right)?,
            _ => return arithmetic::apply(meter, operator, left, right),
        };
        Ok(Value::Bool(truth))
    }

    /// `&&` and `||`: the operand that decides does so wherever it stands, even beside one that fails.
    fn logic(&mut self, operands: &[Node], decisive: bool) -> Outcome {
        let mut failed = None;
        for operand in operands {
            match self.truth(operand) {
                Ok(truth) if truth == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(failure) if failure.is_limit() => return Err(failure),
                Err(failure) => _ = failed.get_or_insert(failure),
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    /// The value of a node that must be a bool.
    pub(crate) fn truth(&mut self, node: &Node) -> Outcome<bool> {
        match self.evaluate(node)? {
            Value::Bool(truth) => Ok(truth),
            other => {
                let message = format!("a bool is needed here, not {}; there is no truthiness", other.type_name());
                Err(Failure::no_such_overload(message).at(node.span))
            }
        }
    }

    fn conditional(&mut self, cases: &[(Node, Node)], last: &Node) -> Outcome {
        for (test, then) in cases {
            if self.truth(test)? {
                return self.evaluate(then);
            }
        }
        self.evaluate(last)
    }

    fn not(&mut self, operand: &Node, times: u16) -> Outcome {
        let truth = self.truth(operand)?;
        Ok(Value::Bool(truth != (times % 2 == 1)))
    }

    fn negate(&mut self, operand: &Node, times: u16) -> Outcome {
        let mut value = self.evaluate(operand)?;
        for _ in 0..times {
            value = match value {
                Value::Int(number) => number
                    .checked_neg()
                    .map(Value::Int)
                    .ok_or_else(|| Failure::overflow(format!("-({number}) is beyond the range of int")))?,
                Value::Double(number) => Value::Double(-number),
                other => return Err(Failure::no_such_overload(format!("`-` does not work on {}", other.type_name()))),
            };
        }
        Ok(value)
    }

    fn list(&mut self, nodes: &[Node]) -> Outcome {
        let mut items = Vec::with_capacity(nodes.len());
        for node in nodes {
            items.push(self.evaluate(node)?);
        }
        Ok(Value::List(Arc::new(items)))
    }

    fn map(&mut self, nodes: &[(Node, Node)]) -> Outcome {
        // Even a map of one entry takes the memory of several.
        self.meter.elements(MAP_UNITS)?;
        let mut entries = Map::new();
        for (key_node, value) in nodes {
            let key = self.evaluate(key_node)?;
            let value = self.evaluate(value)?;
            insert(&mut entries, &key, value).map_err(|failure| failure.at(key_node.span))?;
        }
        Ok(Value::Map(Arc::new(entries)))
    }

    fn default(&mut self, value: &Node, otherwise: &Node) -> Outcome {
        match self.evaluate(value) {
            Ok(Value::Null) => self.evaluate(otherwise),
            Err(failure) if failure.is_absence() => self.evaluate(otherwise),
            other => other,
        }
    }

    /// Calls a function. Arguments stand in an array: none takes more than four.
    fn call(&mut self, call: &Call, receiver: Option<Value>) -> Outcome {
        let mut values: [Value; 4] = Default::default();
        let mut count = 0;
        if let Some(receiver) = receiver {
            values[0] = receiver;
            count = 1;
        }
        for argument in &call.arguments {
            values[count] = self.evaluate(argument)?;
            count += 1;
        }
        let pattern = call.pattern.as_ref().and_then(|pattern| pattern.get());
        match (pattern, &values[0]) {
            (Some(pattern), Value::String(text)) => pattern.matches(&mut self.meter, text).map(Value::Bool),
            _ => (call.function.call)(self, &mut values[..count]),
        }
    }
}

/// Adds an entry to a map that is being made.
pub(crate) fn insert(entries: &mut Map, key: &Value, value: Value) -> Outcome<()> {
    let known = match key {
        Value::Double(_) => None,
        other => compare::key(other),
    };
    let Some(key) = known else {
        let message = format!("the key of a map is a text, a whole number or a bool, not {}", key.type_name());
        return Err(Failure::no_such_overload(message));
    };
    match entries.insert(key, value) {
        None => Ok(()),
        Some(_) => Err(Failure::invalid_argument("this key of the map is there already")),
    }
}
