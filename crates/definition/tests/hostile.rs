//! Texts that mean harm: each is refused with a place, quickly, and nothing panics.

mod common;

use std::time::Duration;

use common::step_types;
use proptest::prelude::*;
use rustix::time::{ClockId, clock_gettime};
use windlass_definition::{compile, diagnostic::render, source::Format};

/// The processor time that this thread has used: how busy the machine is otherwise does not count.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Refused with a text that says why, within a time.
fn check(text: &str, format: Format, expect: &str) {
    let types = step_types();
    let begin = worked();
    let diagnostics = compile(text, format, &types).expect_err(expect);
    let took = worked() - begin;
    let shown = render(&diagnostics, "hostile");
    assert!(shown.contains(expect), "expected `{expect}`, got\n{}", shown.chars().take(2000).collect::<String>());
    assert!(diagnostics.len() <= 101, "{} diagnostics", diagnostics.len());
    assert!(shown.len() < 200_000, "{} bytes of text", shown.len());
    // Documents up to the size limit are read in full, unoptimised here; what expands must stop long before.
    let allowed = if text.len() > 100_000 { Duration::from_secs(10) } else { Duration::from_millis(500) };
    assert!(took < allowed, "took {took:?}: {expect}");
}

fn steps(body: &str) -> String {
    format!("name: a\nsteps:\n{body}")
}

#[test]
fn a_billion_laughs_fail_fast() {
    let mut text = String::from("name: a\nvars:\n  a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for level in 1..12 {
        let below = level - 1;
        text.push_str(&format!("  a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 9].join(", ")));
    }
    text.push_str("steps: []\n");
    let begin = worked();
    check(&text, Format::Yaml, "aliases add more than 10000 values");
    let took = worked() - begin;
    assert!(took < Duration::from_millis(150), "{took:?}");
}

#[test]
fn merge_keys_count_as_well() {
    let mut text = String::from("name: a\nvars:\n  a0: &a0 {x: 1, y: 2, z: [1, 2, 3]}\n");
    for level in 1..16 {
        let below = level - 1;
        text.push_str(&format!("  a{level}: &a{level} {{a: *a{below}, b: *a{below}, <<: *a{below}}}\n"));
    }
    check(&text, Format::Yaml, "aliases add more than 10000 values");
}

#[test]
fn size_is_bounded() {
    let text = format!("name: a\nsteps: []\n# {}\n", "x".repeat(2 << 20));
    check(&text, Format::Yaml, "the limit is 2097152 (setting `document_bytes_max`)");
    check(&format!("[{}1]", "1,".repeat(300_000)), Format::Json, "more than 250000 values");
    check(&format!("[{}1]", "1,".repeat(300_000)), Format::Yaml, "more than 250000 values");
}

#[test]
fn depth_is_bounded() {
    for count in [300, 30_000, 400_000] {
        check(&"[".repeat(count), Format::Yaml, "nested deeper than 200");
        check(&"[".repeat(count), Format::Json, "nested deeper than 200");
        check(&"{\"a\":".repeat(count), Format::Json, "nested deeper than 200");
    }
    check(&"{a: ".repeat(5_000), Format::Yaml, "nested deeper than 200");
    check(&"- ".repeat(5_000), Format::Yaml, "nested deeper than 200");
    let indented: String = (0..600).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    check(&indented, Format::Yaml, "nested deeper than 200");
}

#[test]
fn blocks_are_nested_within_a_limit() {
    let mut text = String::from("steps: []");
    let mut body = String::from("[]");
    for level in 0..40 {
        body = format!(r#"[{{"id":"s{level}","type":"if","when":true,"then":{body}}}]"#);
    }
    text = text.replace("[]", &body);
    check(&format!("{{name: a, {text}}}"), Format::Yaml, "blocks are nested deeper than 32");
}

#[test]
fn steps_are_counted() {
    let many: String = (0..5_010).map(|it| format!("- {{id: s{it}, type: log, with: {{message: m}}}}\n")).collect();
    check(&steps(&many), Format::Yaml, "more than 5000 steps (setting `steps_max`)");
}

#[test]
fn many_errors_are_cut_short() {
    let many: String = (0..1_000).map(|it| format!("- {{id: s{it}, type: lgo}}\n")).collect();
    check(&steps(&many), Format::Yaml, "more problems from here on");
}

#[test]
fn large_documents_are_taken() {
    let many: String = (0..5_000).map(|it| format!("- {{id: s{it}, type: log, with: {{message: m}}}}\n")).collect();
    let begin = worked();
    assert!(compile(&steps(&many), Format::Yaml, &step_types()).is_ok());
    let took = worked() - begin;
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn dense_graphs_are_taken() {
    let mut text = String::new();
    for it in 0..600 {
        let needs: Vec<String> = (0..it).map(|it| format!("s{it}")).collect();
        text.push_str(&format!("- {{id: s{it}, type: join, needs: [{}]}}\n", needs.join(",")));
    }
    let begin = worked();
    assert!(compile(&steps(&text), Format::Yaml, &step_types()).is_ok());
    let took = worked() - begin;
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn long_names_are_not_compared_at_length() {
    let long = "x".repeat(100_000);
    check(&format!("name: a\n{long}: 1\nsteps: []\n"), Format::Yaml, "expected `:` behind this key");
    check(&format!("{{\"name\": \"a\", \"{long}\": 1, \"steps\": []}}"), Format::Json, "unknown field");
    check(&format!("name: {long}\nsteps: []\n"), Format::Yaml, "the limit is 200");
    check(&format!("name: a\nsteps: [{{id: {long}, type: log}}]\n"), Format::Yaml, "is not a name");
}

fn good_texts() -> Vec<(String, Format)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents/good");
    let read = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let format = if path.extension().is_some_and(|it| it == "json") { Format::Json } else { Format::Yaml };
        (std::fs::read_to_string(path).unwrap(), format)
    };
    std::fs::read_dir(folder).unwrap().map(read).collect()
}

/// Never panics, and every diagnostic can be shown.
fn survive(text: &str) {
    let types = step_types();
    for format in [Format::Yaml, Format::Json] {
        if let Err(diagnostics) = compile(text, format, &types) {
            assert!(!diagnostics.is_empty());
            render(&diagnostics, "any");
        }
    }
}

const INSERTS: &[&str] = &[
    "${{",
    "}}",
    "'",
    "\"",
    "\n",
    "  ",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "<<",
    "!!int ",
    "|\n",
    ">-\n",
    "#",
    "é",
    "\u{2028}",
    "\\u",
    "\t",
    "---\n",
    "? ",
    "null",
    "steps",
    "1e999",
    "$${{",
    "item",
    "%YAML 1.2\n",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}") {
        survive(&text);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn yaml_like_text_is_survived(parts in prop::collection::vec(0..INSERTS.len(), 0..60)) {
        let text: String = parts.into_iter().map(|it| INSERTS[it]).collect();
        survive(&text);
    }

    #[test]
    fn damaged_documents_are_survived(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, 0..INSERTS.len()), 1..6),
    ) {
        let texts = good_texts();
        let mut chars: Vec<char> = which.get(&texts).0.chars().collect();
        for (at, cut, insert) in damages {
            let at = at.index(chars.len() + 1);
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, INSERTS[insert].chars());
        }
        survive(&chars.into_iter().collect::<String>());
    }
}

/// Large documents whose every part is wrong: what is said costs no more than reading them, unoptimised here.
#[test]
fn nothing_is_worse_than_linear() {
    let many = |count: usize, part: &dyn Fn(usize) -> String| (0..count).map(part).collect::<String>();
    let value =
        |value: String| format!("name: a\nsteps:\n  - id: a\n    type: transform\n    with:\n      value:\n{value}");
    let edges = |edges: String| {
        let steps = many(1_000, &|it| format!("- {{id: s{it}, type: join}}\n"));
        format!("name: a\nsteps:\n{steps}edges:\n{edges}")
    };
    for (what, text) in [
        ("names in a map", value(many(15_000, &|it| format!("        k{it}: ${{{{ nope }}}}\n")))),
        ("names in a text", format!("name: a\nkey: \"{}\"\nsteps: []\n", "${{ nope }}".repeat(40_000))),
        ("steps in a text", format!("name: a\nkey: \"{}\"\nsteps: []\n", "${{ steps.x.output }}".repeat(20_000))),
        ("syntax in a map", value(many(15_000, &|it| format!("        k{it}: ${{{{ 1 + }}}}\n")))),
        ("edges", edges(many(15_000, &|it| format!("- {{from: s{}, to: s{}, otherwise: true}}\n", it % 999, it / 41)))),
        ("unknown edges", edges(many(15_000, &|it| format!("- {{from: s{it}x, to: s{it}y}}\n")))),
        ("cycles", edges(many(15_000, &|it| format!("- {{from: s{}, to: s{}}}\n", it % 1_000, (it * 7 + 1) % 1_000)))),
        ("duplicate keys", format!("name: a\nvars:\n{}steps: []\n", many(40_000, &|_| "  a: 1\n".into()))),
        ("unknown fields", format!("name: a\n{}steps: []\n", many(30_000, &|it| format!("k{it}: 1\n")))),
        (
            "unknown with",
            value(String::new()).replace("      value:\n", &many(15_000, &|it| format!("      k{it}: 1\n"))),
        ),
        ("escapes", format!("name: a\nkey: \"{}${{{{ nope }}}}\"\nsteps: []\n", "\\t".repeat(150_000))),
        ("unknown steps", steps(&many(5_000, &|it| format!("- {{id: s{it}, type: join, needs: [t{it}]}}\n")))),
        (
            "schemas",
            format!(
                "name: a\ninput:\n  properties:\n{}steps: []\n",
                many(6_000, &|it| format!("    k{it}: {{type: strin}}\n"))
            ),
        ),
        (
            "references",
            format!(
                "name: a\ninput:\n  $defs: {{a: {{}}}}\n  properties:\n{}steps: []\n",
                many(6_000, &|it| format!("    k{it}: {{$ref: '#/$defs/b'}}\n"))
            ),
        ),
    ] {
        let begin = worked();
        let diagnostics = compile(&text, Format::Yaml, &step_types()).expect_err(what);
        let took = worked() - begin;
        assert!(
            diagnostics.len() <= 101 && took < Duration::from_secs(20),
            "{what}: {} took {took:?}",
            diagnostics.len()
        );
    }
}
