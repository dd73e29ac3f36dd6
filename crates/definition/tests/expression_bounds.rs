//! The bounds of expressions: each is refused with its name, and nothing within them passes a small stack, takes long,
//! or panics.

use std::sync::LazyLock;

use proptest::prelude::*;
use uuid::Uuid;
use windlass_definition::{
    Expression, Timestamp, Value,
    expression::{CHAIN_MAX, Limits, NESTING_MAX, SOURCE_BYTES_MAX, Scope},
    value::DEPTH_MAX,
};

/// Small enough that the usual 2 MiB of a thread are far away; this test runs without optimisation.
const STACK_BYTES: usize = 512 << 10;

static TEXT: LazyLock<Value> = LazyLock::new(|| Value::from("a".repeat(1 << 20)));
static ITEMS: LazyLock<Value> = LazyLock::new(|| Value::list((0..10_000).map(Value::Int)));

struct Inputs;

impl Scope for Inputs {
    fn variable(&self, name: &str) -> Option<Value> {
        match name {
            "x" => Some(Value::from(1i64)),
            "deep" => Some((0..DEPTH_MAX).fold(Value::Null, |value, _| Value::list([value]))),
            "text" => Some(TEXT.clone()),
            "items" => Some(ITEMS.clone()),
            "input" => Some(Value::map([("a", Value::from(2i64)), ("b", Value::from("text"))])),
            _ => None,
        }
    }

    fn step(&self, id: &str) -> Option<Value> {
        (id == "one").then(|| Value::map([("output", Value::from(3i64))]))
    }

    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn uuid(&self, place: u32) -> Uuid {
        Uuid::from_u128(place.into())
    }
}

fn on_small_stack(act: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(act).unwrap().join().unwrap();
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

/// What an expression gives, as text.
fn shown(source: &str) -> String {
    match Expression::parse(source) {
        Err(error) => format!("syntax: {}", error.message),
        Ok(expression) => match expression.evaluate(&Inputs) {
            Ok(value) => value.to_text(),
            Err(error) => error.to_string(),
        },
    }
}

#[test]
fn the_deepest_nesting_fits_a_small_stack() {
    const FORMS: &[(&str, &str, &str)] = &[
        ("(", "1", ")"),
        ("[", "1", "]"),
        ("{1:", "1", "}"),
        ("-(", "1", ")"),
        ("!(", "true", ")"),
        ("dyn(", "deep", ")"),
        ("json(", "deep", ")"),
        ("[", "deep == deep ? json(deep) : ''", "]"),
        ("[", "parse_json(json(deep))", "]"),
        ("[", "unique([deep, deep]).size()", "]"),
        ("default(", "1", ",2)"),
        ("has(", "x.y", ".z)"),
        ("x[", "1", "]"),
        ("[1].map(a,", "a", ")"),
        ("[1].all(a,", "true", ")"),
        ("[1].exists_one(a,b,", "true", ")"),
        ("{1:1}.transformMap(k,v,", "v", ")"),
        ("[1].group_by(a,", "1", ").size()"),
        ("sort([1],a,", "1", ")[0]"),
        ("true?", "1", ":2"),
        ("false?1:(", "1", ")"),
        ("1+(", "1", ")"),
        ("1+1*(", "1", ")"),
        ("1<2==(1<2||true&&(", "true", "))"),
        ("true||true&&1==1+1*-(", "1", ")"),
        ("false||true&&1==1+1*-dyn([1+1*-", "1", "][0])"),
        ("'a'.replace('a', 'b' + ", "'c'", ")"),
        ("x.size(", "1", ")"),
        // Patterns are compiled by recursion too.
        ("[1].map(a,", "'a'.matches('PATTERN')", ")"),
        ("[1].map(a,", "'a'.matches('' + 'PATTERN')", ")"),
    ];
    for (open, inner, close) in FORMS {
        let inner = inner.replace("PATTERN", &nested("(", "a|b", ")*", 11));
        on_small_stack(move || {
            let parsed =
                (1..=NESTING_MAX).map_while(|times| Expression::parse(&nested(open, &inner, close, times)).ok());
            let parsed: Vec<Expression> = parsed.collect();
            let deepest = parsed.len();
            if let Some(expression) = parsed.last() {
                _ = expression.evaluate(&Inputs).map(Value::into_json);
            }
            let enough = if open.len() < 12 { 16 } else { 8 };
            assert!(deepest >= enough || *open == "has(" || *open == "x.size(", "{open}: only {deepest}");
        });
    }
}

#[test]
fn nesting_and_chains_are_bounded_and_say_so() {
    assert_eq!(shown(&nested("(", "1", ")", NESTING_MAX)), "1");
    let nests = |text: &str| text.starts_with("syntax: an expression nests at most 64");
    assert!(nests(&shown(&nested("(", "1", ")", NESTING_MAX + 1))));
    assert!(nests(&shown(&nested("[", "1", "]", 500))));

    assert_eq!(shown(&format!("1{}", "+1".repeat(CHAIN_MAX))), "257");
    assert_eq!(shown(&format!("true{}", "&&true".repeat(CHAIN_MAX))), "true");
    assert_eq!(shown(&format!("{}1", "-".repeat(CHAIN_MAX))), "1");
    assert_eq!(shown(&format!("{}true", "!".repeat(CHAIN_MAX))), "true");
    assert_eq!(shown(&format!("{}1", "false?2:".repeat(CHAIN_MAX - 1))), "1");
    let long = |source: String| {
        let shown = shown(&source);
        assert!(shown.starts_with("syntax: a chain of operators or selects has at most 256 links"), "{shown}");
    };
    long(format!("1{}", "+1".repeat(CHAIN_MAX + 1)));
    long(format!("1{}", "<1".repeat(CHAIN_MAX + 1)));
    long(format!("x{}", ".y".repeat(CHAIN_MAX + 1)));
    long(format!("x{}", "[0]".repeat(CHAIN_MAX + 1)));
    long(format!("{}x", "-".repeat(CHAIN_MAX + 2)));
    long(format!("x{}", "||x".repeat(CHAIN_MAX + 1)));
}

#[test]
fn the_source_is_bounded() {
    assert_eq!(shown(&" ".repeat(SOURCE_BYTES_MAX - 1).replacen(' ', "1", 1)), "1");
    assert!(shown(&"1".repeat(SOURCE_BYTES_MAX + 1)).starts_with("syntax: an expression has at most 2048 bytes"));
}

#[test]
fn work_is_bounded() {
    for source in [
        "range(1000001)",
        "range(-1).size() + range(999999999999).size()",
        "range(9223372036854775807)",
        "items.all(a, items.all(b, a + b >= 0))",
        "items.map(a, items)",
        "items.map(a, text).join('')",
        "items.map(a, text.upper())",
        "items.all(a, text.matches('(a*)*b|' + string(a)) || true)",
        "items.all(a, text.matches(r'(\\w{1,9}){1,3}$') || true)",
        "range(600).map(a, sha256(text))",
        "range(600000).sort().unique()",
        "range(100000).map(a, text) == range(100000).map(a, text)",
        "range(100000).map(a, text).sort()",
        "text.split('').map(a, text.split('')).flatten()",
        "items.map(a, items).flatten().map(a, items).flatten()",
        "range(200).map(a, text.replace('a', 'bb'))",
        "json([text,text,text,text,text,text,text,text].map(a,[text,text,text,text,text,text,text,text]))",
        "default(range(2000000), 1)",
        "range(2000000).size() > 0 || true",
    ] {
        let shown = shown(source);
        assert!(shown.starts_with("limit/"), "{source}: {:.200}", shown);
    }
}

#[test]
fn values_are_bounded() {
    // Nothing is copied, but as JSON it would be 17 MiB and more.
    for source in ["range(17).map(a, text)", "[[text].map(a,[a,a,a,a,a])].map(a,[a,a,a,a])"] {
        assert!(shown(source).starts_with("limit/value_limit: "), "{source}");
    }
    let small = Limits { cost: 10, value_bytes: 20 };
    let within = |source: &str| Expression::parse(source).unwrap().evaluate_within(&Inputs, small);
    assert_eq!(within("1 + 1").unwrap(), Value::Int(2));
    assert_eq!(&*within("1+1+1+1+1+1").unwrap_err().code, "cost_limit");
    assert_eq!(&*within("'123456789 123456789'").unwrap_err().code, "value_limit");
}

/// Words that make nonsense likely to be almost right.
const WORDS: &[&str] = &[
    "1",
    "2u",
    "1.5",
    "-",
    "+",
    "*",
    "/",
    "%",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    ":",
    "?",
    "!",
    "<",
    "==",
    "&&",
    "||",
    "in",
    "'a'",
    "b'\\xff'",
    "r'''x'''",
    "\"",
    "'",
    "\\",
    "x",
    "items",
    "deep",
    "input",
    "input.a",
    "steps.one.output",
    "steps",
    "true",
    "null",
    "has(",
    "default(",
    ".map(a,",
    ".filter(a,",
    ".all(a,b,",
    "a",
    "b",
    "size(",
    ".size()",
    ".upper()",
    "json(",
    "parse_json(",
    "timestamp(",
    "duration(",
    "'1h'",
    ".getHours(",
    "'Europe/Berlin'",
    "int(",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615u",
    "sort(",
    "unique(",
    "group_by(",
    "'é\\u00e9'",
    "now()",
    "uuid()",
    ".split(",
    "matches(",
    "'(a+)+$'",
    "//",
    "\n",
    "range(",
    "sum(",
    "min(",
    "base64_decode(",
    "`q`",
    "$",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(source in "\\PC{0,60}") {
        _ = shown(&source);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        _ = shown(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_words_make_it_panic(words in prop::collection::vec(prop::sample::select(WORDS), 0..24), glue in prop::sample::select(&["", " "][..])) {
        let source = words.join(glue);
        if let Err(error) = Expression::parse(&source) {
            prop_assert!(error.offset <= source.len() && error.length >= 1);
            prop_assert!(source.is_char_boundary(error.offset), "{source}: {error:?}");
        }
        _ = shown(&source);
    }
}
