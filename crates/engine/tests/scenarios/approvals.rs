//! Approvals: people decide.

use expect_test::expect;

use crate::script::check;

const ONE: &str = "
steps:
  - {id: ok, type: approval, with: {to: [bob, cy], title: 'Pay?', expires: 24h}}
  - {id: after, type: act}
";

#[test]
fn an_approved_run_goes_on() {
    check(ONE, "start; active; approve ok bob; ok after", expect![[]]);
}

#[test]
fn a_rejected_one_fails() {
    check(ONE, "start; reject ok", expect![[]]);
}

#[test]
fn an_expired_one_fails() {
    check(ONE, "start; +24h", expect![[]]);
}

#[test]
fn who_started_the_run_may_not_decide() {
    check(ONE, "start; approve ok ann", expect![[]]);
    check("steps: [{id: ok, type: approval, with: {to: [ann], title: x}}]", "start", expect![[]]);
}

#[test]
fn a_quorum_counts_distinct_people_and_ends_when_it_cannot_be_reached() {
    let document = "
steps:
  - id: ok
    type: approval
    with: {to: [a, b, c], title: x, quorum: {of: 3, need: 2}, on_reject: continue}
";
    check(document, "start; approve ok a; approve ok a; approve ok b", expect![[]]);
    check(document, "start; reject ok a; reject ok b", expect![[]]);
}
