//! Templates: what each kind of text becomes.

use uuid::Uuid;

use super::*;
use crate::Timestamp;

struct Fixed;

impl Scope for Fixed {
    fn variable(&self, name: &str) -> Option<Value> {
        let input = r#"{"n":2,"x":1.0,"name":"Ada","list":[1,"a",null],"nothing":null,"code":"${{ n }}"}"#;
        (name == "input").then(|| serde_json::from_str(input).unwrap())
    }

    fn step(&self, _: &str) -> Option<Value> {
        None
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_500_000)
    }

    fn uuid(&self, place: u32) -> Uuid {
        Uuid::from_u128(place.into())
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn compile(text: &str) -> Template {
    Template::compile(&json(text)).unwrap()
}

fn check(template: &str, expect: &str) {
    let value = compile(template).evaluate(&Fixed);
    let shown = value.map_or_else(|error| error.to_string(), |value| value.to_string());
    assert_eq!(shown, expect, "{template}");
}

#[test]
fn values_keep_their_type_and_text_takes_them_in() {
    check(r#""${{ input.n }}""#, "2");
    check(r#""  ${{ input.n }}\n""#, "2");
    check(r#""${{ input.n }}${{ input.n }}""#, r#""22""#);
    check(r#""n=${{ input.n }}, ${{input.x}}""#, r#""n=2, 1.0""#);
    check(r#""<${{ input.nothing }}>""#, r#""<>""#);
    check(r#""<${{ input.list }}>""#, r#""<[1,\"a\",null]>""#);
    check(r#""at ${{ now() }}, in ${{ duration('90m') }}""#, r#""at 1970-01-01T00:00:01.500Z, in 5400s""#);
    check(r#"{"a":["${{ input.n + 1 }}",true],"b":"plain"}"#, r#"{"a":[3,true],"b":"plain"}"#);
    check(r#""${{ now() }}""#, r#""1970-01-01T00:00:01.500Z""#);
    check(r#"{"${{ key }}":"${{ 1u }}"}"#, r#"{"${{ key }}":1}"#);
}

#[test]
fn an_expression_ends_at_the_first_braces_outside_strings_and_braces() {
    check(r#""${{ '}}' }}""#, r#""}}""#);
    check(r#""${{ \"}}\" + r'\\' + '\\'}}' }}!""#, r#""}}\\'}}!""#);
    check(r#""${{ {'a': {'b': 1}} }}""#, r#"{"a":{"b":1}}"#);
    check(r#""${{ {'a': {'b': 1}}}}""#, r#"{"a":{"b":1}}"#);
    check(r#""${{ '''it's }}''' }}""#, r#""it's }}""#);
    check(r#""${{ 1 }}}""#, r#""1}""#);
    check(r#""$${{ 1 }}""#, r#""${{ 1 }}""#);
    check(r#""$$${{ 1 }} $ {{ $ ${{ 1 }}""#, r#""$${{ 1 }} $ {{ $ 1""#);
    check(r#""é$${{é${{ 'é' }}é""#, r#""é${{ééé""#);
}

#[test]
fn inserted_text_is_no_expression() {
    check(r#""${{ input.code }}""#, r#""${{ n }}""#);
    check(r#""a ${{ input.code }}""#, r#""a ${{ n }}""#);
}

#[test]
fn secrets_stay_as_text() {
    check(
        r#"{"h":"Bearer ${{secrets.token}}","k":"${{ secrets.key + 'x' }}"}"#,
        r#"{"h":"Bearer ${{ secrets.token }}","k":"${{ secrets.key + 'x' }}"}"#,
    );
    assert!(compile(r#"["${{ secrets.key }}"]"#).uses_secrets());
    assert!(!compile(r#"["secrets.key"]"#).uses_secrets());
}

#[test]
fn errors_say_where() {
    let value = json(r#"{"a/b":["ok","x ${{ 1 + }} ${{ upper( }}"],"c":"${{ 'open","d":"${{ }}"}"#);
    let errors = Template::compile(&value).unwrap_err();
    let shown: Vec<(&str, usize, &str)> =
        errors.iter().map(|it| (it.pointer.as_str(), it.offset, it.error.message.as_str())).collect();
    assert_eq!(
        shown,
        [
            ("/a~1b/1", 9, "a value is missing before the end of the expression"),
            ("/a~1b/1", 23, "a value is missing before the end of the expression"),
            ("/c", 0, "this expression is not closed: `}}` is missing"),
            ("/d", 4, "an expression is missing here"),
        ]
    );
}

#[test]
fn what_has_no_expression_is_literal() {
    for text in ["1", "null", r#""a""#, r#"{"a":[1,{"b":"$${{"}]}"#] {
        assert!(matches!(compile(text), Template::Literal(_)), "{text}");
    }
    check(r#"{"a":[1,{"b":"$${{"}]}"#, r#"{"a":[1,{"b":"${{"}]}"#);
    assert!(contains_expression("a ${{ 1 }}") && contains_expression("${{") && !contains_expression("$${{ 1 }}"));
}

#[test]
fn conditions_and_expression_fields_need_no_braces() {
    let condition = |text: &str| match Template::condition(&json(text), "/if") {
        Ok(Condition::Literal(truth)) => truth.to_string(),
        Ok(Condition::Expression(expression)) => expression.source().to_owned(),
        Err(errors) => format!("{}:{}: {}", errors[0].pointer, errors[0].offset, errors[0].error.message),
    };
    for (text, expect) in [
        ("true", "true"),
        (r#"" input.n > 1 ""#, "input.n > 1"),
        (r#"" ${{ input.n > 1 }} ""#, "input.n > 1"),
        ("1", "/if:0: a condition is true, false or an expression, not int"),
        (r#""a ${{ 1 }}""#, "/if:2: `$` has no meaning here"),
        (r#""${{ 1 }} a""#, "/if:8: one expression is needed here, and more stands behind it; `+` joins texts"),
        (r#""${{ 1""#, "/if:0: this expression is not closed: `}}` is missing"),
    ] {
        assert_eq!(condition(text), expect, "{text}");
    }
    let items = Template::compile_expression_field(&json("[1,2]"), "").unwrap();
    assert_eq!(items.evaluate(&Fixed).unwrap().to_string(), "[1,2]");
}

#[test]
fn names_have_places_and_ids_differ_by_place() {
    let template = compile(r#"{"a":"${{ steps.one.output.x }} and ${{ vars.y }}","b":["${{ input }}"]}"#);
    let names = template.names();
    let shown: Vec<String> = names
        .iter()
        .map(|it| format!("{}:{}:{} {}", it.pointer, it.offset, it.name.length, it.name.path.join(".")))
        .collect();
    assert_eq!(shown, ["/a:4:18 steps.one.output.x", "/a:34:6 vars.y", "/b/0:4:5 input"]);
    let references = template.references();
    assert_eq!((references.steps.len(), references.roots.len()), (1, 2));

    let ids = compile(r#"["${{ uuid() }}","${{ uuid() }}","${{ [uuid(), uuid()] }}"]"#);
    let ids = ids.evaluate(&Fixed).unwrap().to_string();
    let mut all: Vec<&str> =
        ids.split(|c: char| !c.is_ascii_hexdigit() && c != '-').filter(|it| it.len() == 36).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4, "{ids}");
}

#[test]
fn what_has_no_json_form_is_an_error() {
    check(r#""${{ 0.0 / 0.0 }}""#, "expression/invalid_argument: a number that is not finite has no JSON form");
    check(r#""${{ input.missing }}""#, "expression/no_such_key: no such key: `missing`");
}

#[test]
fn the_whole_is_bounded_too() {
    let limits = Limits { cost: 100, value_bytes: 40 };
    let code = |text: &str| compile(text).evaluate_within(&Fixed, limits).map_err(|error| error.code.to_string());
    assert_eq!(code(r#"["${{ input.name }}"]"#), Ok(json(r#"["Ada"]"#)));
    assert_eq!(code(r#"["${{ range(9) }}","${{ range(9) }}"]"#), Err("value_limit".to_owned()));
    assert_eq!(code(r#""${{ range(9) }} and ${{ range(9) }} and no more""#), Err("value_limit".to_owned()));
    assert_eq!(code(r#""${{ range(200) }}""#), Err("cost_limit".to_owned()));
}
