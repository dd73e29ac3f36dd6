//! Evaluates the macros that bind names.

use std::sync::Arc;

use crate::{
    Value,
    value::{Key, Map},
};

use super::{
    super::{
        ast::{Comprehension, MacroKind, Node, Variables},
        failure::{Failure, Outcome},
        functions::list,
    },
    Evaluator, insert,
};

/// The values that a macro binds in one round. With one variable only the first counts.
type Row = (Value, Value);

impl Evaluator<'_> {
    pub(super) fn comprehension(&mut self, comprehension: &Comprehension, subject: Value) -> Outcome {
        let outcome = match comprehension.macro_kind {
            MacroKind::All => self.quantify(comprehension, &subject, false),
            MacroKind::Exists => self.quantify(comprehension, &subject, true),
            MacroKind::ExistsOne => self.exists_one(comprehension, &subject),
            MacroKind::Filter => self.filter(comprehension, &subject),
            MacroKind::Map => self.map_macro(comprehension, &subject),
            MacroKind::TransformMap => self.transform_map(comprehension, &subject),
            MacroKind::GroupBy => {
                self.keyed(comprehension, &subject).and_then(|rows| list::group(&mut self.meter, rows))
            }
            MacroKind::Sort => {
                self.keyed(comprehension, &subject).and_then(|rows| list::sort_rows(&mut self.meter, rows))
            }
        };
        self.locals.truncate(comprehension.slot);
        outcome
    }

    fn bind(&mut self, comprehension: &Comprehension, row: Row) {
        self.locals.truncate(comprehension.slot);
        self.locals.push(row.0);
        if comprehension.variables == Variables::Two {
            self.locals.push(row.1);
        }
    }

    /// `all` and `exists`: the round that decides does so wherever it stands, even beside one that fails.
    fn quantify(&mut self, comprehension: &Comprehension, subject: &Value, decisive: bool) -> Outcome {
        let mut failed = None;
        for row in rows(comprehension.variables, subject)? {
            self.bind(comprehension, row);
            match self.truth(&comprehension.body) {
                Ok(truth) if truth == decisive => return Ok(Value::Bool(decisive)),
                Ok(_) => {}
                Err(failure) if failure.is_limit() => return Err(failure),
                Err(failure) => _ = failed.get_or_insert(failure),
            }
        }
        failed.map_or(Ok(Value::Bool(!decisive)), Err)
    }

    fn exists_one(&mut self, comprehension: &Comprehension, subject: &Value) -> Outcome {
        let mut found = 0;
        for row in rows(comprehension.variables, subject)? {
            self.bind(comprehension, row);
            found += usize::from(self.truth(&comprehension.body)?);
        }
        Ok(Value::Bool(found == 1))
    }

    /// The items of a list, or the entries of a map as a list of their keys, for which the body is true.
    fn filter(&mut self, comprehension: &Comprehension, subject: &Value) -> Outcome {
        let mut kept = Vec::new();
        for row in rows(comprehension.variables, subject)? {
            let item = row.0.clone();
            self.bind(comprehension, row);
            if self.truth(&comprehension.body)? {
                kept.push(item);
            }
        }
        Ok(Value::List(Arc::new(kept)))
    }

    fn wanted(&mut self, condition: Option<&Node>) -> Outcome<bool> {
        condition.map_or(Ok(true), |condition| self.truth(condition))
    }

    fn map_macro(&mut self, comprehension: &Comprehension, subject: &Value) -> Outcome {
        let mut items = Vec::new();
        for row in rows(comprehension.variables, subject)? {
            self.bind(comprehension, row);
            if self.wanted(comprehension.condition.as_ref())? {
                items.push(self.evaluate(&comprehension.body)?);
            }
        }
        Ok(Value::List(Arc::new(items)))
    }

    fn transform_map(&mut self, comprehension: &Comprehension, subject: &Value) -> Outcome {
        let mut entries = Map::new();
        for row in rows(comprehension.variables, subject)? {
            let key = row.0.clone();
            self.bind(comprehension, row);
            if self.wanted(comprehension.condition.as_ref())? {
                let value = self.evaluate(&comprehension.body)?;
                insert(&mut entries, &key, value)?;
            }
        }
        Ok(Value::Map(Arc::new(entries)))
    }

    /// Each item with the value of the body beside it.
    fn keyed(&mut self, comprehension: &Comprehension, subject: &Value) -> Outcome<Vec<(Value, Value)>> {
        let mut keyed = Vec::new();
        for row in rows(comprehension.variables, subject)? {
            let item = row.0.clone();
            self.bind(comprehension, row);
            keyed.push((self.evaluate(&comprehension.body)?, item));
        }
        Ok(keyed)
    }
}

fn rows<'a>(variables: Variables, subject: &'a Value) -> Outcome<Box<dyn Iterator<Item = Row> + 'a>> {
    let one = variables == Variables::One;
    match subject {
        Value::List(items) if one => Ok(Box::new(items.iter().map(|item| (item.clone(), Value::Null)))),
        Value::List(items) => {
            let indexed = items.iter().zip(0i64..);
            Ok(Box::new(indexed.map(|(item, index)| (Value::Int(index), item.clone()))))
        }
        Value::Map(map) => Ok(Box::new(map.iter().map(|(key, value)| (key_value(key), value.clone())))),
        other => Err(Failure::no_such_overload(format!("a list or a map is needed here, not {}", other.type_name()))),
    }
}

/// The key of a map as a value.
pub(crate) fn key_value(key: &Key) -> Value {
    match key {
        Key::Bool(value) => Value::Bool(*value),
        Key::Int(number) => Value::Int(*number),
        Key::Uint(number) => Value::Uint(*number),
        Key::String(text) => Value::String(text.clone()),
    }
}
