//! `jq`: what programs give, and that no program harms the server.

use serde_json::{Value, json};
use windlass_steps::jq::{self, HelperCommand, Jq, JqOptions};

use crate::common::answer;

fn step(time_ms_max: u64) -> Jq {
    let helper = HelperCommand { program: env!("CARGO_BIN_EXE_windlass-jq-helper").into(), args: Vec::new() };
    Jq::new(JqOptions { helper: Some(helper), helpers_max: Some(2), time_ms_max, output_bytes_max: 1 << 20 })
}

async fn check(with: Value, expected: Value) {
    assert_eq!(answer(&step(5_000), with.clone()).await, expected, "{with}");
}

#[tokio::test]
async fn programs_give_what_they_give() {
    for (with, expected) in [
        (json!({ "program": "." }), json!(null)),
        (json!({ "program": ".a + 1", "input": { "a": 9_007_199_254_740_993_i64 } }), json!(9_007_199_254_740_994_i64)),
        (json!({ "program": "map(.n) | add", "input": [{ "n": 1 }, { "n": 2.5 }] }), json!(3.5)),
        (json!({ "program": ".[:$limit]", "input": [1, 2, 3], "args": { "limit": 2 } }), json!([1, 2])),
        (json!({ "program": "$a + $b", "args": { "b": "B", "a": "A" } }), json!("AB")),
        (json!({ "program": "empty" }), json!(null)),
        (json!({ "program": ".[]", "input": [1, 2], "outputs": "all" }), json!([1, 2])),
        (json!({ "program": ".[]", "input": [], "outputs": "all" }), json!([])),
        (
            json!({ "program": "group_by(.k) | map({(.[0].k): length}) | add", "input": [{"k": "x"}, {"k": "x"}] }),
            json!({"x": 2}),
        ),
        (json!({ "program": "\"ümläut\" | ascii_downcase | length" }), json!(6)),
    ] {
        check(with, expected).await;
    }
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    for (with, error) in [
        (json!({ "program": ".[" }), "validation/jq_compile"),
        (json!({ "program": "nonsense" }), "validation/jq_compile"),
        (json!({ "program": "now" }), "validation/jq_compile"),
        (json!({ "program": "input" }), "validation/jq_compile"),
        (json!({ "program": "env.HOME" }), "validation/jq_compile"),
        (json!({ "program": "import \"a\" as a; ." }), "validation/jq_compile"),
        (json!({ "program": "1, 2" }), "script/jq_several_outputs"),
        (json!({ "program": "error(\"no\")" }), "script/jq_error"),
        (json!({ "program": ".a.b", "input": 1 }), "script/jq_error"),
        (json!({ "program": "halt" }), "script/jq_halt"),
        (json!({ "program": "nan" }), "script/jq_not_json"),
        (json!({ "program": "[range(1000000)]" }), "limit/jq_output_too_large"),
        (json!({ "program": ".", "unknown": 1 }), "validation/bad_with"),
        (json!({}), "validation/bad_with"),
    ] {
        check(with, json!({ "error": error })).await;
    }
}

#[tokio::test]
async fn a_program_cannot_harm_the_server() {
    let step = step(500);
    for (program, error) in [
        ("def f: f; f", "limit/jq_time"),
        ("last(repeat(1))", "limit/jq_time"),
        ("def f: 1 + f; f", "limit/jq_memory"),
        ("\"x\" * 2000000000 | length", "limit/jq_memory"),
    ] {
        assert_eq!(answer(&step, json!({ "program": program })).await, json!({ "error": error }), "{program}");
        assert_eq!(answer(&step, json!({ "program": "1" })).await, json!(1), "after {program}");
    }
}

#[test]
fn a_program_is_checked_when_it_is_saved() {
    assert_eq!(jq::check(".a | map($x)", ["x"]), Ok(()));
    for (program, message) in [
        (".a |", "line 1, column 5"),
        ("1 +\n  nope", "line 2, column 3: there is no filter `nope`"),
        ("$y", "line 1, column 1: there is no variable `$y`"),
    ] {
        let error = jq::check(program, ["x"]).unwrap_err().to_string();
        assert!(error.contains(message), "{program}: {error}");
    }
    assert!(jq::check(&"(".repeat(16_000), []).is_err());
    assert!(jq::check(&"-".repeat(16_000), []).is_err());
    assert!(jq::check(&"1".repeat(20_000), []).is_err());
}
