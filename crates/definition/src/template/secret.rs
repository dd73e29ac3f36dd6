//! Putting secrets into what a template gave: on the worker, at the last moment.
//!
//! Invariant: only what stood in the document as an expression with a secret is evaluated here. What a run's input or a
//! step's output gave is never read as one, whatever it looks like.

use std::{collections::BTreeSet, sync::Arc};

use super::{Piece, Template, text};
use crate::{
    Class, Error, Expression, Value,
    expression::{Limits, Scope},
    value::{Key, Map},
};

impl Template {
    /// The names of the secrets that its expressions refer to.
    pub fn secrets(&self) -> BTreeSet<Arc<str>> {
        let names = self.expressions().into_iter().flat_map(Expression::names);
        names.filter(|name| name.root() == "secrets").filter_map(|name| name.path.get(1).cloned()).collect()
    }

    /// Puts secrets into the value that this template evaluated to. `revealed` is called with the value of each
    /// expression with a secret: the whole of it counts as secret.
    ///
    /// # Errors
    /// As [`Template::evaluate`]; also a value that this template cannot have given.
    pub fn reveal(&self, given: &Value, scope: &dyn Scope, revealed: &mut dyn FnMut(&Value)) -> Result<Value, Error> {
        match (self, given) {
            (template, given) if !template.uses_secrets() => Ok(given.clone()),
            (Template::Expression(expression), _) => value_of(expression, scope, revealed),
            (Template::Text(pieces), Value::String(given)) => text_of(pieces, given, scope, revealed),
            (Template::List(templates), Value::List(items)) if templates.len() == items.len() => {
                let items = templates.iter().zip(items.iter());
                let items: Result<Vec<Value>, Error> =
                    items.map(|(template, item)| template.reveal(item, scope, revealed)).collect();
                Ok(Value::list(items?))
            }
            (Template::Map(entries), Value::Map(map)) => {
                let mut all: Map = map.as_ref().clone();
                for (name, template) in entries.iter().filter(|(_, template)| template.uses_secrets()) {
                    let key = Key::String(name.clone());
                    let item = map.get(&key).ok_or_else(another)?;
                    all.insert(key, template.reveal(item, scope, revealed)?);
                }
                Ok(Value::Map(Arc::new(all)))
            }
            _ => Err(another()),
        }
    }
}

fn another() -> Error {
    Error::new(
        Class::Validation,
        "another_plan",
        "the step's `with` is not what its plan gives: no secret is put into it",
    )
}

fn value_of(expression: &Expression, scope: &dyn Scope, revealed: &mut dyn FnMut(&Value)) -> Result<Value, Error> {
    let value = expression.evaluate_within(scope, Limits::default()).map_err(without_values)?;
    let value = value.into_json().map_err(|message| Error::new(Class::Expression, "invalid_argument", message))?;
    revealed(&value);
    Ok(value)
}

/// The message and details of an expression's error may quote a value: of an expression with a secret its code is told.
fn without_values(error: Error) -> Error {
    Error::new(error.class, error.code.clone(), "an expression with a secret has no value; its error is not shown")
}

fn text_of(
    pieces: &[Piece],
    given: &Arc<str>,
    scope: &dyn Scope,
    revealed: &mut dyn FnMut(&Value),
) -> Result<Value, Error> {
    let parts = match text::compile(given, "").map_err(|_| another())? {
        Template::Text(parts) => parts,
        Template::Expression(expression) => vec![Piece::Expression(expression)],
        _ => return Err(another()),
    };
    let mut whole = String::new();
    for part in parts {
        match part {
            Piece::Literal(text) => whole.push_str(&text),
            Piece::Expression(expression) => {
                let is_ours = |piece: &Piece| matches!(piece, Piece::Expression(ours) if *ours == expression);
                // Besides those of the document there are the `$`s that would have escaped one.
                if expression.uses_secrets() && !pieces.iter().any(is_ours) {
                    return Err(another());
                }
                whole.push_str(&value_of(&expression, scope, revealed)?.to_text());
            }
        }
    }
    Ok(Value::from(whole))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::Timestamp;

    struct Names(Value);

    impl Scope for Names {
        fn variable(&self, name: &str) -> Option<Value> {
            self.0.get(name).cloned()
        }
        fn step(&self, _: &str) -> Option<Value> {
            None
        }
        fn now(&self) -> Timestamp {
            Timestamp::from_micros(0)
        }
        fn uuid(&self, _: u32) -> Uuid {
            Uuid::nil()
        }
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// What a document's text becomes for the record, and on the worker.
    fn check(text: &str, input: &str, shown: &str, on_the_worker: &str) {
        let template = Template::compile(&Value::from(text)).unwrap();
        let run = Names(Value::map([("input", Value::from(input))]));
        let given = template.evaluate(&run).unwrap();
        assert_eq!(given, Value::from(shown), "{text}");
        let secrets = Names(json(r#"{"secrets": {"key": "K", "cent": "C", "login": {"user": "u", "password": "p"}}}"#));
        let mut seen = Vec::new();
        let revealed = template.reveal(&given, &secrets, &mut |value| seen.push(value.to_text().to_string())).unwrap();
        assert_eq!(revealed, Value::from(on_the_worker), "{text}");
        assert!(seen.iter().any(|it| on_the_worker.contains(it.as_str())), "{seen:?}");
    }

    #[test]
    fn only_expressions_of_the_document_are_secrets() {
        check("Bearer ${{secrets.key}}", "", "Bearer ${{ secrets.key }}", "Bearer K");
        check("${{ secrets.key }}", "", "${{ secrets.key }}", "K");
        check(
            "${{ base64(secrets.login.user + ':' + secrets.login.password) }}",
            "",
            "${{ base64(secrets.login.user + ':' + secrets.login.password) }}",
            "dTpw",
        );
        check("${{ input }}:${{ secrets.key }}", "ada", "ada:${{ secrets.key }}", "ada:K");
        // What comes from outside stays what it is.
        check(
            "${{ input }}:${{ secrets.key }}",
            "${{ secrets.cent }}",
            "$${{ secrets.cent }}:${{ secrets.key }}",
            "${{ secrets.cent }}:K",
        );
        check("${{ input }}${{ secrets.key }}", "$", "${{ '$' }}${{ secrets.key }}", "$K");
        check("${{ input }}${{ secrets.key }}", "a$$", "a${{ '$$' }}${{ secrets.key }}", "a$$K");
        check(
            "${{ input }}${{ secrets.key }}",
            "$${{ secrets.cent }}$",
            "$$${{ secrets.cent }}${{ '$' }}${{ secrets.key }}",
            "$${{ secrets.cent }}$K",
        );
        check("${{ input }} ${{ secrets.key }}", "${{", "$${{ ${{ secrets.key }}", "${{ K");
    }

    #[test]
    fn the_rest_of_a_value_is_left_alone() {
        let text = r#"{"a": "${{ input }}", "b": ["x", "${{ secrets.key }}"], "c": {"d": "${{ secrets.cent }}!"}}"#;
        let template = Template::compile(&json(text)).unwrap();
        assert_eq!(template.secrets().into_iter().collect::<Vec<_>>(), ["cent".into(), "key".into()]);
        let hostile = Names(Value::map([("input", Value::from("${{ secrets.key }}"))]));
        let given = template.evaluate(&hostile).unwrap();
        let secrets = Names(json(r#"{"secrets": {"key": "K", "cent": 7}}"#));
        let revealed = template.reveal(&given, &secrets, &mut |_| ()).unwrap();
        assert_eq!(revealed, json(r#"{"a": "${{ secrets.key }}", "b": ["x", "K"], "c": {"d": "7!"}}"#));
        // A value of another plan gets none.
        for other in [
            r#"{"a": 1}"#,
            r#"{"a": 1, "b": ["K"], "c": {"d": ""}}"#,
            r#"{"b": ["x", ""], "c": {"d": "${{ secrets.other }}"}}"#,
        ] {
            assert!(template.reveal(&json(other), &secrets, &mut |_| ()).is_err(), "{other}");
        }
    }

    #[test]
    fn an_error_quotes_nothing() {
        let template = Template::compile(&Value::from("${{ int(secrets.key) }}")).unwrap();
        let given = template.evaluate(&Names(Value::Null)).unwrap();
        let secrets = Names(json(r#"{"secrets": {"key": "sesame"}}"#));
        let error = template.reveal(&given, &secrets, &mut |_| ()).unwrap_err();
        assert!(!format!("{error:?}").contains("sesame"), "{error:?}");
    }
}
