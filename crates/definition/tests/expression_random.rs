//! Random expressions that are right in form, and random templates: they never panic, give the same value twice, and
//! stay within what JSON knows.

use proptest::prelude::*;
use uuid::Uuid;
use windlass_definition::{
    Expression, Template, Timestamp, Value,
    expression::{Limits, Scope},
};

const SMALL: Limits = Limits { cost: 20_000, value_bytes: 1 << 20 };

struct Inputs {
    input: Value,
}

impl Scope for Inputs {
    fn variable(&self, name: &str) -> Option<Value> {
        (name == "input").then(|| self.input.clone())
    }

    fn step(&self, id: &str) -> Option<Value> {
        (id == "one").then(|| Value::map([("output", self.input.clone()), ("status", Value::from("completed"))]))
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_123_456)
    }

    fn uuid(&self, place: u32) -> Uuid {
        Uuid::from_u128(place.into())
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1000i64..1000).prop_map(Value::from),
        (-1.0e9..1.0e9).prop_map(Value::Double),
        "[a-cé${} ]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::list),
            prop::collection::btree_map("[a-c]{1,2}", inner, 0..6).prop_map(Value::map),
        ]
    })
}

fn leaf() -> impl Strategy<Value = String> {
    let words = [
        "0",
        "1",
        "-1",
        "9223372036854775807",
        "-9223372036854775808",
        "3u",
        "18446744073709551615u",
        "0.5",
        "1e300",
        "true",
        "false",
        "null",
        "''",
        "'abc'",
        "'a,b'",
        "'é'",
        "b'\\xff'",
        "[]",
        "{}",
        "input",
        "input.a",
        "input.b.c",
        "steps.one.output",
        "steps.one.status",
        "now()",
        "uuid()",
        "int",
        "duration('1.5h')",
        "timestamp(0)",
        "'{\"a\":[1]}'",
        "timestamp('9999-12-31T23:59:59Z')",
        "'2024-01-01T00:00:00Z'",
        "'Europe/Berlin'",
        "'(a|b)+$'",
        "0.0 / 0.0",
    ];
    prop::sample::select(words.to_vec()).prop_map(str::to_owned)
}

/// Every function with arguments that may or may not suit it, and every operator and macro.
fn expression() -> impl Strategy<Value = String> {
    leaf().prop_recursive(5, 40, 4, |inner| {
        let operator =
            prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"]);
        let function = prop::sample::select(windlass_definition::expression::function_names().collect::<Vec<_>>());
        let macro_name = prop::sample::select(vec!["all", "exists", "exists_one", "map", "filter", "group_by", "sort"]);
        prop_oneof![
            (inner.clone(), operator, inner.clone()).prop_map(|(left, sign, right)| format!("({left} {sign} {right})")),
            (function.clone(), prop::collection::vec(inner.clone(), 0..4))
                .prop_map(|(name, arguments)| format!("{name}({})", arguments.join(", "))),
            (inner.clone(), function, prop::collection::vec(inner.clone(), 0..3))
                .prop_map(|(first, name, arguments)| format!("({first}).{name}({})", arguments.join(", "))),
            (inner.clone(), macro_name, inner.clone()).prop_map(|(list, name, body)| format!(
                "([{list}, input] + range(3)).{name}(x, [x, {body}] == x || {body})"
            )),
            (inner.clone(), inner.clone()).prop_map(|(list, body)| format!("({list}).map(input, {body})")),
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} == {b} ? {b} : {c})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("default(({a})[{b}], {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{'a': {a}, string(1): {b}}}")),
            inner.clone().prop_map(|a| format!("has(({a}).a)")),
            inner.prop_map(|a| format!("-({a})")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_scope_gives_the_same_value(source in expression(), input in json()) {
        let Ok(parsed) = Expression::parse(&source) else { return Ok(()) };
        let scope = Inputs { input };
        let first = parsed.evaluate_within(&scope, SMALL);
        prop_assert_eq!(&first, &parsed.evaluate_within(&scope, SMALL));
        if let Ok(value) = first && let Ok(value) = value.into_json() {
            // What has a JSON form is the same when it is read back.
            let read: Value = serde_json::from_str(&value.to_string()).unwrap();
            prop_assert_eq!(read, value);
        }
        for name in parsed.names() {
            prop_assert!(source[name.offset..name.offset + name.length].starts_with(name.root()));
        }
    }

    #[test]
    fn a_template_is_its_value_or_says_why_not(
        texts in prop::collection::vec("[a${}' \"]{0,12}", 1..4), source in expression(), input in json(),
    ) {
        let text = texts.join(&format!("${{{{ {source} }}}}"));
        let value = Value::map([("a", Value::list([Value::from(text.clone())])), ("b", Value::from(text))]);
        match Template::compile(&value) {
            Ok(template) => {
                if let Ok(value) = template.evaluate(&Inputs { input }) {
                    prop_assert_eq!(value.clone().into_json(), Ok(value));
                }
            }
            Err(errors) => {
                for error in errors {
                    let text = value.get("b").and_then(Value::as_str).unwrap();
                    prop_assert!(text.is_char_boundary(error.offset), "{error:?}");
                }
            }
        }
    }
}
