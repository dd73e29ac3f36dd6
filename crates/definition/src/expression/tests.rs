//! What the conformance cases and the examples of the page leave open: messages, places, names.

use super::*;

struct Nothing;

impl Scope for Nothing {
    fn variable(&self, name: &str) -> Option<Value> {
        (name == "x").then(|| Value::map([("a", Value::list([Value::Int(1)]))]))
    }

    fn step(&self, id: &str) -> Option<Value> {
        (id == "one").then(|| Value::map([("output", Value::map([("n", Value::Int(7))])), ("error", Value::Null)]))
    }

    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn uuid(&self, place: u32) -> Uuid {
        Uuid::from_u128(place.into())
    }
}

/// The message of a syntax error, with the part of the source that it points to in front.
fn refused(source: &str) -> String {
    let error = Expression::parse(source).unwrap_err();
    let end = (error.offset + error.length).min(source.len());
    let part = source.get(error.offset..end).unwrap_or("?");
    let suggestion = error.suggestion.map(|name| format!(" ({name}?)")).unwrap_or_default();
    format!("[{part}] {}{suggestion}", error.message)
}

#[test]
fn what_is_wrong_is_named_and_pointed_to() {
    for (source, expect) in [
        ("1 +", "[] a value is missing before the end of the expression"),
        ("1 2", "[2] a number does not fit here; an operator or the end was expected"),
        ("x = 1", "[=] `=` is not an operator; `==` compares"),
        ("(1", "[] `)` is missing before the end of the expression"),
        ("[1, 2", "[] `]` is missing before the end of the expression"),
        ("{'a' 1}", "[1] `:` is missing before a number"),
        ("x & y", "[&] `&` has no meaning here"),
        ("x | y", "[|] `|` has no meaning here"),
        ("'abc", "['abc] this text is not closed: `'` is missing"),
        (r"'\q'", r"[\q] there is no such escape; write `\\` for a backslash, or `r` before the text"),
        (r"'\ud800'", r"[\ud800] there is no such escape; write `\\` for a backslash, or `r` before the text"),
        ("12abc", "[12abc] `12abc` is not a number"),
        ("99999999999999999999", "[99999999999999999999] `99999999999999999999` is too large for its type"),
        (
            "9223372036854775808",
            "[9223372036854775808] 9223372036854775808 is above the largest int; write 9223372036854775808u for an \
             unsigned number",
        ),
        ("for + 1", "[for] `for` is a reserved word and no name"),
        ("x.in", "[in] `in` is a reserved word; write `[\"in\"]` instead of `.in`"),
        ("x.1", "[.1] a number does not fit here; an operator or the end was expected"),
        ("uper(x)", "[uper] unknown function `uper` (upper?)"),
        ("x.starts_with('a')", "[starts_with] unknown function `starts_with` (startsWith?)"),
        ("x.int()", "[int] `int` is written `int(x)`, not `x.int()`"),
        ("getHours(x)", "[getHours] `getHours` is written `x.getHours(…)`, not `getHours(x, …)`"),
        ("map(x, y, y)", "[map] `map` is written behind what it works on: `list.map(x, …)`"),
        ("x.default(1)", "[default] `default` is written `default(…)`, not `x.default(…)`"),
        ("lower()", "[lower()] `lower` takes 1 arguments, not 0 (what stands before the dot counts)"),
        ("x.split()", "[split()] `split` takes 2 to 3 arguments, not 1 (what stands before the dot counts)"),
        ("x.map(y)", "[y] `map` starts with a name for the item, then a comma"),
        ("x.map(y, 1, 2, 3)", "[y, 1, 2, 3)] `map` takes a name for the item and an expression over it"),
        ("x.all(if, true)", "[if] `if` is a reserved word and no name"),
        ("has(x)", "[x] `has` asks for one field: `has(x.field)`"),
        ("has(x['a'])", "[x['a']] `has` asks for one field: `has(x.field)`"),
        ("default(x)", "[default(x)] `default` takes a value and what stands in for it: `default(x, y)`"),
        ("x.matches('a(')", "['a('] this is not a pattern in RE2 syntax: unclosed group"),
        ("keys(steps)", "[steps] name a step: `steps.<id>`, with `.output`, `.status` or `.error`"),
        ("steps[x]", "[steps] name a step: `steps.<id>`, with `.output`, `.status` or `.error`"),
        ("steps.a.outptu", "[outptu] a step has `output`, `status` and `error`, but no `outptu` (output?)"),
        ("steps.a.total", "[total] a step has `output`, `status` and `error`, but no `total` (steps.a.output.total?)"),
        ("loops.size()", "[loops] name a loop: `loops.<id>`, with `.item`, `.index` or `.last`"),
        ("json(secrets)", "[secrets] name a secret: `secrets.<name>`"),
    ] {
        assert_eq!(refused(source), expect, "{source}");
    }
}

#[test]
fn names_are_those_of_the_scope_and_have_places() {
    for (source, expect) in [
        ("input.a.b + vars.c", "input.a.b@0+9 vars.c@12+6"),
        ("steps.one.output.n[0].m", "steps.one.output.n@0+18"),
        (r#"steps["one"]["output"]"#, "steps.one.output@0+21"),
        ("steps.one", "steps.one@0+9"),
        ("input.list.map(x, x.y + z)", "input.list@0+10 z@24+1"),
        ("[1].map(x, [2].map(y, x + y + w))", "w@30+1"),
        ("[1].all(input, input > 0) && input", "input@29+5"),
        ("[1].all(x, .x == x)", "x@12+1"),
        ("has(steps.one.output.n)", "steps.one.output.n@4+18"),
        ("input[vars.key].x", "input@0+5 vars.key@6+8"),
        ("type(1) == int", ""),
        ("type(1) == google.protobuf.Timestamp", ""),
        ("input.name.upper()", "input.name@0+10"),
        ("sort(input.list, x, x.y)", "input.list@5+10"),
    ] {
        let expression = Expression::parse(source).unwrap();
        let names: Vec<String> =
            expression.names().map(|it| format!("{}@{}+{}", it.path.join("."), it.offset, it.length)).collect();
        assert_eq!(names.join(" "), expect, "{source}");
    }
    let references =
        Expression::parse("steps.a.output + steps['a'].error + steps.b.status + input.x + input.y").unwrap();
    let References { steps, roots } = references.references();
    assert_eq!((steps.join(","), roots.join(",")), ("a,b".to_owned(), "input".to_owned()));
    assert!(Expression::parse("secrets.a + 'x'").unwrap().uses_secrets());
}

#[test]
fn steps_are_reached_with_and_without_their_map() {
    for (source, expect) in [
        ("steps.one.output.n", "7"),
        ("steps['one'].output['n']", "7"),
        ("steps.one.size()", "2"),
        ("steps.one['out' + 'put'].n", "7"),
        ("has(steps.one.output) && !has(steps.one.status)", "true"),
        ("default(steps.two.output.n, 0)", "0"),
        ("default(nothing.here, 1)", "1"),
        ("default(steps.one.error, 'none')", "none"),
    ] {
        assert_eq!(Expression::parse(source).unwrap().evaluate(&Nothing).unwrap().to_text(), expect, "{source}");
    }
}

#[test]
fn an_error_says_where_in_which_expression() {
    for (source, code, part) in [
        ("1 + x.b.c", "no_such_key", ".b"),
        ("x.a[0] / (1 - 1)", "division_by_zero", "/"),
        ("[1, 2].map(n, n + 'a')", "no_such_overload", "+"),
        ("x.a && true", "no_such_overload", "x.a"),
        ("'a' + timestamp('no')", "invalid_argument", "timestamp('no')"),
        ("x.a.size().upper()", "no_such_overload", ".upper()"),
        ("{'a': 1, 'a': 2}", "invalid_argument", "'a'"),
        ("nothing", "no_such_key", "nothing"),
    ] {
        let error = Expression::parse(source).unwrap().evaluate(&Nothing).unwrap_err();
        let number = |key: &str| usize::try_from(error.details.get(key).unwrap().as_i64().unwrap()).unwrap();
        let offset = number("offset");
        assert_eq!(&*error.code, code, "{source}");
        assert_eq!(&source[offset..offset + number("length")], part, "{source}");
        assert_eq!(error.details.get("expression").unwrap().as_str(), Some(source));
        assert!(!error.retryable);
    }
}

#[test]
fn a_condition_must_be_a_bool() {
    let truth = |source: &str| Expression::parse(source).unwrap().evaluate_bool(&Nothing).map_err(|it| it.to_string());
    assert_eq!(truth("x.a[0] == 1"), Ok(true));
    assert_eq!(
        truth("x.a[0]"),
        Err("expression/no_such_overload: a condition must be true or false, not int".to_owned())
    );
}

#[test]
fn sorting_has_no_contradictions() {
    // As doubles all of these are equal, and two of them are not.
    let source = "[9007199254740993, 9007199254740992.0, 9007199254740992, -0.0, 0, 0.0 / 0.0, 1u].sort()";
    let sorted = Expression::parse(source).unwrap().evaluate(&Nothing).unwrap();
    let shown: Vec<String> = sorted.as_list().unwrap().iter().map(Value::to_text).collect();
    assert_eq!(shown.join(" "), "-0.0 0 1 9007199254740992.0 9007199254740992 9007199254740993 NaN");
}

#[test]
fn a_place_is_a_number_that_stays() {
    let id = |pointer: &str, offset: usize| {
        let expression = Expression::parse_at("uuid()", Place { pointer, offset }).unwrap();
        expression.evaluate(&Nothing).unwrap().to_text()
    };
    assert_eq!(id("/steps/0/with/key", 4), "00000000-0000-0000-0000-0000a37771cb");
    assert_eq!(id("/steps/0/with/key", 4), id("/steps/0/with/key", 4));
    assert_ne!(id("/steps/0/with/key", 4), id("/steps/0/with/key", 5));
    assert_ne!(id("/steps/0/with/key", 4), id("/steps/1/with/key", 4));
}
