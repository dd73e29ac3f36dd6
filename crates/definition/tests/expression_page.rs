//! Every example of `docs/expressions.md` gives what the page says, and the page names every function.

use uuid::Uuid;
use windlass_definition::{
    Expression, Timestamp, Value,
    expression::{Scope, function_names},
};

const PAGE: &str = include_str!("../../../docs/expressions.md");

struct Page {
    input: Value,
}

impl Scope for Page {
    fn variable(&self, name: &str) -> Option<Value> {
        (name == "input").then(|| self.input.clone())
    }

    fn step(&self, _: &str) -> Option<Value> {
        None
    }

    fn now(&self) -> Timestamp {
        Timestamp::parse("2026-11-21T09:00:00Z").unwrap()
    }

    fn uuid(&self, place: u32) -> Uuid {
        Uuid::from_u128(place.into())
    }
}

/// The texts of the page in fences of that language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    // Fences open and close in turn, so every second part is a text within one.
    let fenced = PAGE.split("```").skip(1).step_by(2);
    fenced.filter_map(move |block| block.strip_prefix(language)?.strip_prefix('\n'))
}

fn given(source: &str, scope: &Page) -> String {
    let Ok(expression) = Expression::parse(source) else { return "syntax error".to_owned() };
    match expression.evaluate(scope) {
        Ok(value) => value.into_json().unwrap().to_string(),
        Err(error) => error.code.to_string(),
    }
}

#[test]
fn examples_give_what_the_page_says() {
    let input = blocks("json").next().unwrap();
    let scope = Page { input: serde_json::from_str(input).unwrap() };
    let (mut count, mut wrong) = (0, Vec::new());
    for line in blocks("cel").flat_map(str::lines).filter(|line| !line.is_empty()) {
        let (source, expect) = line.split_once(" // => ").unwrap_or_else(|| panic!("no value: {line}"));
        let given = given(source, &scope);
        count += 1;
        if given != expect {
            wrong.push(format!("{source}\n  the page says {expect}\n  and it gives  {given}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "only {count} examples found");
}

#[test]
fn every_function_is_on_the_page() {
    for name in function_names() {
        let shown = [format!("`{name}`"), format!("`{name}("), format!(".{name}("), format!("`, `{name}")];
        assert!(shown.iter().any(|shown| PAGE.contains(shown)), "`{name}` is not explained");
        assert!(blocks("cel").any(|block| block.contains(&format!("{name}("))), "`{name}` has no example");
    }
}
