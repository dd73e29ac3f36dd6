//! What happens to everything else when something fails, times out or is cancelled; try, catch and finally.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_failure_stops_its_block_and_awaits_what_runs() {
    check(
        "
steps:
  - {id: a, type: act, needs: []}
  - {id: b, type: act, needs: []}
  - {id: w, type: delay, needs: [], with: {for: 1h}}
  - {id: c, type: act, needs: [b]}
",
        "start; fail a user/no; ok b \"done anyway\"",
        expect![[r#"
            > start
              -> run a #1
              -> run b #1
            > fail a user/no
              a failed user/no
              w cancelled
              -> stop b #1
            > ok b "done anyway"
              b completed "done anyway"
              run failed user/no {"path":"a"}
        "#]],
    );
}

#[test]
fn later_failures_stand_beside_the_first() {
    check(
        "
steps:
  - {id: a, type: act, needs: []}
  - {id: b, type: act, needs: []}
",
        "start; fail a user/first; fail b user/second",
        expect![[r#"
            > start
              -> run a #1
              -> run b #1
            > fail a user/first
              a failed user/first
              -> stop b #1
            > fail b user/second
              b failed user/second
              run failed user/first {"also":[{"class":"user","code":"second","details":null,"message":"it failed","retryable":false}],"path":"a"}
        "#]],
    );
}

#[test]
fn on_error_continue_lets_the_block_go_on() {
    check(
        "
steps:
  - {id: a, type: act, on_error: continue}
  - {id: b, type: transform, with: {value: '${{ [steps.a.status, steps.a.error.code, steps.a.output] }}'}}
",
        "start; fail a user/no",
        expect![[r#"
            > start
              -> run a #1
            > fail a user/no
              a failed user/no
              b completed ["failed","no",null]
              run completed ["failed","no",null]
        "#]],
    );
}

const TRY: &str = "
steps:
  - id: t
    type: try
    do: [{id: a, type: act}]
    catch:
      - {on: [timeout], do: [{id: late, type: act}]}
      - {on: [user], as: why, do: [{id: mend, type: act, with: {code: '${{ why.code }}'}}]}
    finally: [{id: clean, type: act}]
  - {id: after, type: transform, with: {value: '${{ steps.t.output }}'}}
";

#[test]
fn the_first_catch_that_matches_takes_the_error() {
    check(
        TRY,
        "start; fail t.a user/broken; ok t.mend \"mended\"; ok t.clean 0",
        expect![[r#"
        > start
          -> run t.a #1
        > fail t.a user/broken
          t.a failed user/broken
          -> run t.mend #1 {"code":"broken"}
        > ok t.mend "mended"
          t.mend completed "mended"
          -> run t.clean #1
        > ok t.clean 0
          t.clean completed 0
          t completed "mended"
          after completed "mended"
          run completed "mended"
    "#]],
    );
}

#[test]
fn an_error_that_nothing_catches_goes_on_after_finally() {
    check(
        TRY,
        "start; fail t.a http/500; ok t.clean",
        expect![[r#"
        > start
          -> run t.a #1
        > fail t.a http/500
          t.a failed http/500
          -> run t.clean #1
        > ok t.clean
          t.clean completed
          t failed http/500
          run failed http/500 {"path":"t.a"}
    "#]],
    );
}

#[test]
fn an_error_in_catch_replaces_the_first_and_one_in_finally_both() {
    check(
        TRY,
        "start; fail t.a user/one; fail t.mend user/two; ok t.clean",
        expect![[r#"
        > start
          -> run t.a #1
        > fail t.a user/one
          t.a failed user/one
          -> run t.mend #1 {"code":"one"}
        > fail t.mend user/two
          t.mend failed user/two
          -> run t.clean #1
        > ok t.clean
          t.clean completed
          t failed user/two
          run failed user/two {"cause":{"class":"user","code":"one","details":{"path":"t.a"},"message":"it failed","retryable":false},"path":"t.mend"}
    "#]],
    );
    check(
        TRY,
        "start; fail t.a user/one; fail t.mend user/two; fail t.clean user/three",
        expect![[r#"
        > start
          -> run t.a #1
        > fail t.a user/one
          t.a failed user/one
          -> run t.mend #1 {"code":"one"}
        > fail t.mend user/two
          t.mend failed user/two
          -> run t.clean #1
        > fail t.clean user/three
          t.clean failed user/three
          t failed user/three
          run failed user/three {"path":"t.clean"}
    "#]],
    );
}

#[test]
fn cancel_is_never_caught_but_finally_runs() {
    check(
        TRY,
        "start; cancel; fail t.a cancelled/stopped; ok t.clean",
        expect![[r#"
        > start
          -> run t.a #1
        > cancel
          -> stop t.a #1
        > fail t.a cancelled/stopped
          t.a cancelled
          -> run t.clean #1
        > ok t.clean
          t.clean completed
          t cancelled
          run cancelled cancelled/cancelled
    "#]],
    );
}

#[test]
fn finally_has_its_time_and_no_more() {
    check(
        TRY,
        "start; cancel; fail t.a cancelled/stopped; +5m; fail t.clean cancelled/stopped",
        expect![[r#"
        > start
          -> run t.a #1
        > cancel
          -> stop t.a #1
        > fail t.a cancelled/stopped
          t.a cancelled
          -> run t.clean #1
        > +5m
          -> stop t.clean #1
        > fail t.clean cancelled/stopped
          t.clean cancelled
          t cancelled
          run cancelled cancelled/cancelled
    "#]],
    );
}

#[test]
fn a_raised_error_can_be_raised_again_unchanged() {
    check(
        "
steps:
  - id: t
    type: try
    do: [{id: a, type: act}]
    catch: [{do: [{id: again, type: fail, with: {error: '${{ e }}'}}]}]
",
        "start; fail t.a http/503",
        expect![[r#"
            > start
              -> run t.a #1
            > fail t.a http/503
              t.a failed http/503
              t.again failed http/503
              t failed http/503
              run failed http/503 {"path":"t.a"}
        "#]],
    );
}

#[test]
fn the_runs_own_timeout_stops_everything() {
    check(
        "timeout: 1h\nsteps: [{id: w, type: wait, with: {signal: never}}]",
        "start; +1h",
        expect![[r#"
        > start
        > +1h
          w cancelled
          run timed_out timeout/run_timeout
    "#]],
    );
}

#[test]
fn the_timeout_of_a_control_step_stops_what_is_inside() {
    check(
        "
steps:
  - id: each
    type: foreach
    items: '${{ range(3) }}'
    timeout: 10s
    do: [{id: x, type: act}]
",
        "start; +10s; fail each[0].x cancelled/stopped",
        expect![[r#"
            > start
              -> run each[0].x #1
            > +10s
              -> stop each[0].x #1
            > fail each[0].x cancelled/stopped
              each[0].x cancelled
              each timed_out timeout/step_timeout
              run failed timeout/step_timeout {"path":"each"}
        "#]],
    );
}

#[test]
fn run_level_catch_and_finally_surround_the_body() {
    check(
        "
steps: [{id: a, type: act}]
catch: [{on: [user], do: [{id: mend, type: transform, with: {value: '${{ e.message }}'}}]}]
finally: [{id: clean, type: act}]
",
        "start; fail a user/no broken; ok clean",
        expect![[r#"
            > start
              -> run a #1
            > fail a user/no broken
              a failed user/no
              mend completed "broken"
              -> run clean #1
            > ok clean
              clean completed
              run completed "broken"
        "#]],
    );
}

#[test]
fn a_cancelled_run_that_was_queued_never_began() {
    check(
        "steps: [{id: a, type: act}]",
        "queue; cancel",
        expect![[r#"
        > queue
        > cancel
          run cancelled cancelled/cancelled
    "#]],
    );
    check(
        "steps: [{id: a, type: act}]",
        "queue; admit; ok a",
        expect![[r#"
        > queue
        > admit
          -> run a #1
        > ok a
          a completed
          run completed
    "#]],
    );
}

#[test]
fn an_attempt_that_does_not_stop_in_time_is_cancelled_with_an_unknown_outcome() {
    check(
        "steps: [{id: a, type: act}]",
        "start; cancel; +30s",
        expect![[r#"
        > start
          -> run a #1
        > cancel
          -> stop a #1
        > +30s
          a cancelled unknown
          run cancelled cancelled/cancelled
    "#]],
    );
}

#[test]
fn failures_of_what_was_stopped_deep_inside_are_told_too() {
    check(
        "
steps:
  - id: each
    type: foreach
    items: '${{ range(2) }}'
    parallel: 2
    do: [{id: inner, type: if, when: true, then: [{id: x, type: act}]}]
",
        "start; fail each[0].inner.x user/first; fail each[1].inner.x user/second",
        expect![[r#"
            > start
              -> run each[0].inner.x #1
              -> run each[1].inner.x #1
            > fail each[0].inner.x user/first
              each[0].inner.x failed user/first
              each[0].inner failed user/first
              -> stop each[1].inner.x #1
            > fail each[1].inner.x user/second
              each[1].inner.x failed user/second
              each[1].inner cancelled
              each failed user/first
              run failed user/first {"also":[{"class":"user","code":"second","details":null,"message":"it failed","retryable":false}],"index":0,"path":"each[0].inner.x"}
        "#]],
    );
}
