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
        expect![[r#"
            > start
              -> run charge #1
            > ok charge {"id":"c1"}
              charge completed {"id":"c1"}
              -> run each[0].hold #1
            > ok each[0].hold "h0"
              each[0].hold completed "h0"
              -> run each[1].hold #1
            > ok each[1].hold "h1"
              each[1].hold completed "h1"
              each completed ["h0","h1"]
              -> run ship #1
            > fail ship user/no_truck
              ship failed user/no_truck
              run compensating user/no_truck
              -> run each[1].hold:undo #1 {"item":1,"release":"h1"}
            > ok each[1].hold:undo
              each[1].hold:undo completed
              -> run each[0].hold:undo #1 {"item":0,"release":"h0"}
            > ok each[0].hold:undo
              each[0].hold:undo completed
              -> run charge:undo #1 {"refund":"c1","why":"no_truck"}
            > ok charge:undo
              charge:undo completed
              run compensated user/no_truck {"path":"ship"} undo {"status":"done"}
        "#]],
    );
}

#[test]
fn an_undo_that_fails_is_retried_and_then_left_and_the_rest_still_runs() {
    check(
        SAGA,
        "start; ok charge {\"id\":\"c1\"}; ok each[0].hold \"h0\"; cancel; fail each[1].hold cancelled/stopped; \
         ok each[0].hold:undo; fail charge:undo http/500; +1s; fail charge:undo http/500",
        expect![[r#"
            > start
              -> run charge #1
            > ok charge {"id":"c1"}
              charge completed {"id":"c1"}
              -> run each[0].hold #1
            > ok each[0].hold "h0"
              each[0].hold completed "h0"
              -> run each[1].hold #1
            > cancel
              -> stop each[1].hold #1
            > fail each[1].hold cancelled/stopped
              each[1].hold cancelled
              each cancelled
              run compensating cancelled/cancelled
              -> run each[0].hold:undo #1 {"item":0,"release":"h0"}
            > ok each[0].hold:undo
              each[0].hold:undo completed
              -> run charge:undo #1 {"refund":"c1","why":"cancelled"}
            > fail charge:undo http/500
              charge:undo failed http/500, again at 1s
            > +1s
              -> run charge:undo #2 {"refund":"c1","why":"cancelled"}
            > fail charge:undo http/500
              charge:undo failed http/500
              run cancelled cancelled/cancelled undo {"status":"left","left":["charge"]}
        "#]],
    );
}

#[test]
fn a_cancel_can_leave_what_was_done() {
    check(
        "steps: [{id: a, type: act, undo: {type: act}}, {id: b, type: wait, with: {signal: x}}]",
        "start; ok a; leave",
        expect![[r#"
            > start
              -> run a #1
            > ok a
              a completed
            > leave
              b cancelled
              run cancelled cancelled/cancelled undo {"status":"off","left":["a"]}
        "#]],
    );
}

#[test]
fn cancel_is_refused_while_compensating() {
    check(
        "steps: [{id: a, type: act, undo: {type: act}}, {id: b, type: act}]",
        "start; ok a; fail b user/no; cancel; signal x 1; ok a:undo",
        expect![[r#"
            > start
              -> run a #1
            > ok a
              a completed
              -> run b #1
            > fail b user/no
              b failed user/no
              run compensating user/no
              -> run a:undo #1
            > cancel
              refused: the run is compensating: it takes no more of this
            > signal x 1
              refused: the run is compensating: it takes no more of this
            > ok a:undo
              a:undo completed
              run compensated user/no {"path":"b"} undo {"status":"done"}
        "#]],
    );
}

#[test]
fn a_completed_run_takes_nothing_back() {
    check(
        "steps: [{id: a, type: act, undo: {type: act}}]",
        "start; ok a 1",
        expect![[r#"
        > start
          -> run a #1
        > ok a 1
          a completed 1
          run completed 1
    "#]],
    );
}

#[test]
fn undo_survives_a_crash() {
    check(
        "steps: [{id: a, type: act, undo: {type: act}}, {id: b, type: act}]",
        "start; ok a; fail b user/no; recover; ok a:undo",
        expect![[r#"
            > start
              -> run a #1
            > ok a
              a completed
              -> run b #1
            > fail b user/no
              b failed user/no
              run compensating user/no
              -> run a:undo #1
            > recover
              -> run a:undo #1
            > ok a:undo
              a:undo completed
              run compensated user/no {"path":"b"} undo {"status":"done"}
        "#]],
    );
}

#[test]
fn an_effect_that_may_have_happened_is_registered_at_the_start_when_asked() {
    check(
        "steps: [{id: a, type: act, undo: {type: act, after: started}}]",
        "start; maybe a timeout/read; ok a:undo",
        expect![[r#"
            > start
              -> run a #1
            > maybe a timeout/read
              a failed timeout/read unknown
              run compensating timeout/read
              -> run a:undo #1
            > ok a:undo
              a:undo completed
              run compensated timeout/read {"path":"a"} undo {"status":"done"}
        "#]],
    );
    check(
        "steps: [{id: a, type: act, undo: {type: act}}]",
        "start; maybe a timeout/read",
        expect![[r#"
        > start
          -> run a #1
        > maybe a timeout/read
          a failed timeout/read unknown
          run failed timeout/read {"path":"a"} undo {"status":"none","unknown":["a"]}
    "#]],
    );
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
        expect![[r#"
            > start
              -> run t.a #1
            > ok t.a
              t.a completed
              -> run t.b #1
            > fail t.b user/no
              t.b failed user/no
              -> run t.c #1
            > ok t.c
              t.c completed
              t completed
              -> run d #1
            > fail d user/late
              d failed user/late
              run compensating user/late
              -> run t.a:undo #1
            > ok t.a:undo
              t.a:undo completed
              run compensated user/late {"path":"d"} undo {"status":"done"}
        "#]],
    );
}
