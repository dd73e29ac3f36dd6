//! What is printed and read again is the same document, for documents made at random.

mod common;

use common::step_types;
use proptest::{collection::vec, prelude::*};
use windlass_definition::{
    document::{Document, read},
    print::{print_json, print_yaml},
    source::{Format, Kind, Node, Span, Spanned, parse},
};

/// Texts that a printer gets wrong sooner than others.
const TEXTS: &[&str] = &[
    "",
    " ",
    "a",
    "yes",
    "no",
    "on",
    "null",
    "~",
    "true",
    "False",
    "1",
    "007",
    "0x1f",
    "0o17",
    "1.0",
    "-1",
    "+1",
    ".5",
    "1e3",
    ".inf",
    "-",
    "- a",
    "? a",
    ": a",
    "a: b",
    "a:",
    "a #b",
    "#a",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "'a'",
    "\"a\"",
    "%a",
    "@a",
    "`a`",
    "[a]",
    "{a}",
    "a,b",
    "a, b",
    "--- a",
    "---",
    "...",
    "a\nb",
    "a\n",
    "\na",
    " a",
    "a ",
    "a\tb",
    "\ta",
    "é",
    "\u{1f600}",
    "\u{2028}",
    "\u{85}",
    "\u{a0}",
    "\u{feff}a",
    "\u{7f}",
    "<<",
    "=",
    "a\\b",
    "C:\\x",
    "12:30",
    "2026-01-31",
    "a\r\nb",
    "a\u{0}".split_at(1).0,
    "=a",
    "<a",
    "1_000",
    "0b1",
    "_",
    "..",
    "-.5",
    "NaN",
    "!!str",
    "a'b",
    "a\"b",
    "\u{1}",
    "\u{fffe}",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..TEXTS.len()).prop_map(|it| TEXTS[it].to_owned()),
        "[a-zA-Z0-9 :#,\\[\\]{}'\"&*!|>%@`?=<~.\\\\-]{0,12}",
        "\\PC{0,8}",
        "[ \t\n\r\\x01-\\x1fa-c]{0,10}",
        "[a-z]{1,120}",
    ]
    .prop_map(|text: String| text.replace("${{", "$ {{"))
}

/// Any JSON, with texts that are expressions here and there.
fn value() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        Just(node(Kind::Null)),
        any::<bool>().prop_map(|it| node(Kind::Bool(it))),
        any::<i64>().prop_map(|it| node(Kind::Int(it))),
        ((i64::MAX as u64 + 1)..=u64::MAX).prop_map(|it| node(Kind::Uint(it))),
        (-1e300f64..1e300).prop_map(|it| node(Kind::Double(it))),
        (-1000i32..1000).prop_map(|it| node(Kind::Double(f64::from(it)))),
        text().prop_map(Node::text),
        Just(Node::text("${{ input.a }}")),
        Just(Node::text("a: ${{ {'k': \"v\"}.k }} # b")),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| prop_oneof![vec(inner.clone(), 0..5).prop_map(Node::list), entries(inner)])
}

fn entries(inner: impl Strategy<Value = Node>) -> impl Strategy<Value = Node> {
    vec((text(), inner), 0..5).prop_map(|entries| {
        let mut seen = std::collections::HashSet::new();
        Node::map(entries.into_iter().filter(|(key, _)| seen.insert(key.clone())).collect::<Vec<_>>())
    })
}

fn node(kind: Kind) -> Node {
    Node::new(kind, Span::default())
}

fn whole(number: i64) -> Node {
    node(Kind::Int(number))
}

/// Some of these fields, in this order.
fn some(fields: Vec<(&'static str, BoxedStrategy<Node>)>) -> impl Strategy<Value = Vec<(String, Node)>> {
    let fields: Vec<BoxedStrategy<Option<(String, Node)>>> = fields
        .into_iter()
        .map(|(name, strategy)| prop::option::of(strategy.prop_map(move |it| (name.to_owned(), it))).boxed())
        .collect();
    fields.prop_map(|fields| fields.into_iter().flatten().collect())
}

fn words(words: &'static [&'static str]) -> BoxedStrategy<Node> {
    (0..words.len()).prop_map(|it| Node::text(words[it])).boxed()
}

fn duration() -> BoxedStrategy<Node> {
    prop_oneof![
        words(&["250ms", "1.5s", "90s", "1h30m", "3d", "2w", "100d1ms"]),
        (1u64..10_000_000).prop_map(|it| Node::text(format!("{it}ms"))),
    ]
    .boxed()
}

fn retry() -> BoxedStrategy<Node> {
    some(vec![
        ("attempts", (1i64..100).prop_map(whole).boxed()),
        ("backoff", words(&["fixed", "linear", "exponential"])),
        ("max_delay", Just(Node::text("10d")).boxed()),
        ("jitter", any::<bool>().prop_map(|it| node(Kind::Bool(it))).boxed()),
        (
            "on",
            vec(
                prop_oneof![words(&["timeout", "5xx", "429", "loop_limit", "http"]), (400i64..500).prop_map(whole)],
                1..4,
            )
            .prop_map(Node::list)
            .boxed(),
        ),
        ("within", duration()),
    ])
    .prop_map(Node::map)
    .boxed()
}

fn join() -> BoxedStrategy<Node> {
    let least = (1i64..9).prop_map(|it| Node::map([("at_least", whole(it))]));
    prop_oneof![words(&["all", "any"]), least].boxed()
}

fn common_fields() -> Vec<(&'static str, BoxedStrategy<Node>)> {
    vec![
        ("description", text().prop_map(Node::text).boxed()),
        ("if", prop_oneof![any::<bool>().prop_map(|it| node(Kind::Bool(it))), text().prop_map(Node::text)].boxed()),
        ("with", entries(value()).boxed()),
        ("timeout", duration()),
        ("retry", retry()),
        ("lock", text().prop_map(Node::text).boxed()),
        ("test", value().prop_map(|it| Node::map([("output", it)])).boxed()),
        ("position", (-9i64..9).prop_map(|it| Node::map([("x", whole(it)), ("y", node(Kind::Double(0.5)))])).boxed()),
        ("ui", entries(value()).boxed()),
    ]
}

/// A step of any kind; ids are given afterwards.
fn step(inner: BoxedStrategy<Node>) -> BoxedStrategy<Node> {
    let with_type = |name: &'static str, fields: Vec<(&'static str, BoxedStrategy<Node>)>| {
        (some(fields), some(common_fields())).prop_map(move |(own, common)| {
            let head = vec![("type".to_owned(), Node::text(name))];
            Node::map([head, own, common].concat())
        })
    };
    let always = |name: &'static str, needed: Vec<(&'static str, BoxedStrategy<Node>)>| {
        let needed: Vec<BoxedStrategy<(String, Node)>> =
            needed.into_iter().map(|(key, it)| it.prop_map(move |it| (key.to_owned(), it)).boxed()).collect();
        (needed, some(common_fields())).prop_map(move |(own, common)| {
            let head = vec![("type".to_owned(), Node::text(name))];
            Node::map([head, own, common].concat())
        })
    };
    let text_node = || text().prop_map(Node::text).boxed();
    let clause = || {
        let on = prop::option::of(vec(words(&["timeout", "5xx", "user", "x_y"]), 1..3).prop_map(Node::list));
        (on, prop::option::of(words(&["problem", "_x"])), inner.clone()).prop_map(|(on, name, body)| {
            let on = on.map(|it| ("on", it));
            let name = name.map(|it| ("as", it));
            Node::map(on.into_iter().chain(name).chain([("do", body)]).collect::<Vec<_>>())
        })
    };
    let case = (value(), inner.clone()).prop_map(|(is, body)| Node::map([("is", is), ("do", body)]));
    let branches = vec((text().prop_filter("a name", |it| !it.is_empty()), inner.clone()), 1..3).prop_map(|branches| {
        let mut seen = std::collections::HashSet::new();
        Node::map(branches.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect::<Vec<_>>())
    });
    prop_oneof![
        with_type("log", vec![("join", join())]),
        with_type(
            "http",
            vec![
                ("at_most_once", any::<bool>().prop_map(|it| node(Kind::Bool(it))).boxed()),
                ("on_error", words(&["stop", "continue"])),
                (
                    "undo",
                    (entries(value()), prop::option::of(retry()), words(&["completed", "started"]))
                        .prop_map(|(with, retry, after)| {
                            let head = [("type", Node::text("http")), ("with", with), ("after", after)];
                            Node::map(head.into_iter().chain(retry.map(|it| ("retry", it))).collect::<Vec<_>>())
                        })
                        .boxed(),
                ),
                ("rate", duration().prop_map(|it| Node::map([("limit", whole(3)), ("per", it)])).boxed()),
            ],
        ),
        with_type("join", vec![("mode", join())]),
        always("if", vec![("when", text_node()), ("then", inner.clone()), ("else", inner.clone())]),
        always("switch", vec![("on", value().boxed()), ("cases", vec(case, 0..3).prop_map(Node::list).boxed())]),
        always(
            "foreach",
            vec![
                ("items", value().boxed()),
                ("parallel", (1i64..1000).prop_map(whole).boxed()),
                ("on_error", words(&["stop", "continue", "collect"])),
                ("do", inner.clone()),
            ]
        ),
        always(
            "while",
            vec![("when", text_node()), ("max", (1i64..99).prop_map(whole).boxed()), ("do", inner.clone())]
        ),
        always("parallel", vec![("branches", branches.boxed()), ("join", join())]),
        always(
            "try",
            vec![
                ("do", inner.clone()),
                ("catch", vec(clause(), 0..3).prop_map(Node::list).boxed()),
                ("finally", inner.clone()),
            ]
        ),
    ]
    .boxed()
}

fn block(depth: u32) -> BoxedStrategy<Node> {
    if depth == 0 {
        return Just(Node::list([])).boxed();
    }
    let steps = vec(step(block(depth - 1)), 0..3).prop_map(Node::list);
    let edges = prop::option::of(vec(edge(), 0..3).prop_map(Node::list));
    (steps, edges, prop::option::of(value()))
        .prop_map(|(steps, edges, output)| match (&edges, &output) {
            (None, None) => steps,
            _ => {
                let edges = edges.map(|it| ("edges", it));
                let output = output.map(|it| ("output", it));
                Node::map([("steps", steps)].into_iter().chain(edges).chain(output).collect::<Vec<_>>())
            }
        })
        .boxed()
}

fn edge() -> impl Strategy<Value = Node> {
    some(vec![
        ("when", text().prop_map(Node::text).boxed()),
        ("from_port", words(&["ok", "on", "1"])),
        ("to_port", words(&["in", "no"])),
    ])
    .prop_map(|more| {
        let ends = vec![("from".to_owned(), Node::text("s0")), ("to".to_owned(), Node::text("s1"))];
        Node::map([ends, more].concat())
    })
}

fn document() -> impl Strategy<Value = Node> {
    let head = some(vec![
        ("description", text().prop_map(Node::text).boxed()),
        (
            "tags",
            vec(text().prop_filter("a tag", |it| !it.is_empty()), 1..4)
                .prop_map(|mut tags| {
                    tags.sort();
                    tags.dedup();
                    Node::list(tags.into_iter().map(Node::text))
                })
                .boxed(),
        ),
        ("input", value().boxed()),
        ("vars", entries(value()).boxed()),
        ("timeout", duration()),
        (
            "concurrency",
            (1i64..99, words(&["queue", "reject", "replace"]))
                .prop_map(|(limit, full)| Node::map([("limit", whole(limit)), ("when_full", full)]))
                .boxed(),
        ),
        ("retain", (0i64..99).prop_map(|it| Node::map([("runs", whole(it)), ("days", whole(it))])).boxed()),
        ("key", text().prop_map(Node::text).boxed()),
        (
            "triggers",
            (text().prop_filter("a name", |it| !it.is_empty()), entries(value()))
                .prop_map(|(cron, input)| {
                    let schedule =
                        Node::map([("cron", Node::text(cron)), ("input", input), ("missed", Node::text("skip"))]);
                    Node::list([Node::map([("schedule", schedule)])])
                })
                .boxed(),
        ),
        ("defaults", retry().prop_map(|it| Node::map([("http", Node::map([("retry", it)]))])).boxed()),
        ("output", value().boxed()),
        ("ui", entries(value()).boxed()),
    ]);
    (head, vec(step(block(2)), 0..4)).prop_map(|(head, steps)| {
        let name = vec![("name".to_owned(), Node::text("a-1"))];
        Node::map([name, head, vec![("steps".to_owned(), Node::list(steps))]].concat())
    })
}

/// Gives every step an id of its own.
fn numbered(node: &mut Node, next: &mut u32) {
    match &mut node.kind {
        Kind::Map(entries) => {
            let is_step = entries.iter().any(|it| &*it.key == "type");
            let is_undo = entries.iter().any(|it| &*it.key == "after");
            if is_step && !is_undo {
                let id = Node::text(format!("s{next}"));
                *next += 1;
                let id = Node::map([("id", id)]);
                let Kind::Map(id) = id.kind else { unreachable!("a map was made") };
                entries.splice(0..0, id);
            }
            for entry in entries {
                match (&*entry.key, &mut entry.value.kind) {
                    ("with" | "ui" | "vars" | "input" | "output" | "test" | "is" | "on" | "items", _) => {}
                    // A branch may have any name, also one of those.
                    ("branches", Kind::Map(branches)) => {
                        branches.iter_mut().for_each(|branch| numbered(&mut branch.value, next));
                    }
                    _ => numbered(&mut entry.value, next),
                }
            }
        }
        Kind::List(items) => items.iter_mut().for_each(|it| numbered(it, next)),
        _ => {}
    }
}

fn read_again(text: &str, format: Format) -> Document {
    let parsed = parse(text, format);
    assert!(parsed.problems.is_empty(), "{:?}\n{text}", parsed.problems);
    let (document, problems) = read(&parsed.root.unwrap(), &step_types());
    assert!(problems.is_empty(), "{problems:?}\n{text}");
    document
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn documents_come_back(mut node in document()) {
        numbered(&mut node, &mut 0);
        let (document, problems) = read(&node, &step_types());
        prop_assert!(problems.is_empty(), "{problems:?}");
        let yaml = print_yaml(&document);
        let json = print_json(&document);
        prop_assert_eq!(&read_again(&yaml, Format::Yaml), &document, "{}", yaml);
        prop_assert_eq!(&read_again(&json, Format::Json), &document, "{}", json);
        prop_assert_eq!(print_yaml(&read_again(&json, Format::Json)), yaml);
    }

    #[test]
    fn texts_come_back(text in text()) {
        let name = Spanned::new("a".into(), Span::default());
        let description = Some(Spanned::new(text.as_str().into(), Span::default()));
        let document = Document { name, description, ..Document::default() };
        prop_assert_eq!(&read_again(&print_yaml(&document), Format::Yaml), &document);
        prop_assert_eq!(&read_again(&print_json(&document), Format::Json), &document);
    }
}
