//! The saga half: what was done is taken back, last done first.

use expect_test::expect;

use crate::script::check;

const SAGA: &str = "
steps:
  - id: charge
    type: act
    undo: {type: act, with: {refund: '${{ steps.charge.output.id }}', why: '${{ e.code }}'}, retry: {attempts: 2, jitter: false}}
  - id: each
    type: foreach
    items: '${{ range(2) }}'
    do:
      - id: hold
        type: act
        undo: {type: act, with: {release: '${{ steps.hold.output }}', item: '${{ item }}'}}
  - {id: ship, type: act}
";

#[test]
fn a_failed_run_takes_back_what_it_did_in_reverse() {
    check(
        SAGA,
        "start; ok charge {\"id\":\"c1\"}; ok each[0].hold \"h0\"; ok each[1].hold \"h1\"; fail ship user/no_truck; \
         ok each[1].hold:undo; ok each[0].hold:undo; ok charge:undo",
        expect![[]],
    );
}

#[test]
fn an_undo_that_fails_is_retried_and_then_left_and_the_rest_still_runs() {
    check(
        SAGA,
        "start; ok charge {\"id\":\"c1\"}; ok each[0].hold \"h0\"; cancel; fail each[1].hold cancelled/stopped; \
         ok each[0].hold:undo; fail charge:undo http/500; +1s; fail charge:undo http/500",
        expect![[]],
    );
}

#[test]
fn a_cancel_can_leave_what_was_done() {
    check(
        "steps: [{id: a, type: act, undo: {type: act}}, {id: b, type: wait, with: {signal: x}}]",
        "start; ok a; leave",
        expect![[]],
    );
}

#[test]
fn cancel_is_refused_while_compensating() {
    check(
        "steps: [{id: a, type: act, undo: {type: act}}, {id: b, type: act}]",
        "start; ok a; fail b user/no; cancel; signal x 1; ok a:undo",
        expect![[]],
    );
}

#[test]
fn a_completed_run_takes_nothing_back() {
    check("steps: [{id: a, type: act, undo: {type: act}}]", "start; ok a 1", expect![[]]);
}

#[test]
fn undo_survives_a_crash() {
    check(
        "steps: [{id: a, type: act, undo: {type: act}}, {id: b, type: act}]",
        "start; ok a; fail b user/no; recover; ok a:undo",
        expect![[]],
    );
}

#[test]
fn an_effect_that_may_have_happened_is_registered_at_the_start_when_asked() {
    check(
        "steps: [{id: a, type: act, undo: {type: act, after: started}}]",
        "start; maybe a timeout/read; ok a:undo",
        expect![[]],
    );
    check("steps: [{id: a, type: act, undo: {type: act}}]", "start; maybe a timeout/read", expect![[]]);
}

#[test]
fn what_was_caught_stays_done() {
    check(
        "
steps:
  - id: t
    type: try
    do:
      - {id: a, type: act, undo: {type: act}}
      - {id: b, type: act}
    catch: [{do: [{id: c, type: act}]}]
  - {id: d, type: act}
",
        "start; ok t.a; fail t.b user/no; ok t.c; fail d user/late; ok t.a:undo",
        expect![[]],
    );
}
