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
        expect![[]],
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
        expect![[]],
    );
}

#[test]
fn on_error_continue_lets_the_block_go_on() {
    check(
        "
steps:
  - {id: a, type: act, on_error: continue}
  - {id: b, type: transform, value: '${{ [steps.a.status, steps.a.error.code, steps.a.output] }}'}
",
        "start; fail a user/no",
        expect![[]],
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
  - {id: after, type: transform, value: '${{ steps.t.output }}'}
";

#[test]
fn the_first_catch_that_matches_takes_the_error() {
    check(TRY, "start; fail t.a user/broken; ok t.mend \"mended\"; ok t.clean 0", expect![[]]);
}

#[test]
fn an_error_that_nothing_catches_goes_on_after_finally() {
    check(TRY, "start; fail t.a http/500; ok t.clean", expect![[]]);
}

#[test]
fn an_error_in_catch_replaces_the_first_and_one_in_finally_both() {
    check(TRY, "start; fail t.a user/one; fail t.mend user/two; ok t.clean", expect![[]]);
    check(TRY, "start; fail t.a user/one; fail t.mend user/two; fail t.clean user/three", expect![[]]);
}

#[test]
fn cancel_is_never_caught_but_finally_runs() {
    check(TRY, "start; cancel; fail t.a cancelled/stopped; ok t.clean", expect![[]]);
}

#[test]
fn finally_has_its_time_and_no_more() {
    check(TRY, "start; cancel; fail t.a cancelled/stopped; +5m; fail t.clean cancelled/stopped", expect![[]]);
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
        expect![[]],
    );
}

#[test]
fn the_runs_own_timeout_stops_everything() {
    check("timeout: 1h\nsteps: [{id: w, type: wait, with: {signal: never}}]", "start; +1h", expect![[]]);
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
        expect![[]],
    );
}

#[test]
fn run_level_catch_and_finally_surround_the_body() {
    check(
        "
steps: [{id: a, type: act}]
catch: [{on: [user], do: [{id: mend, type: transform, value: '${{ e.message }}'}]}]
finally: [{id: clean, type: act}]
",
        "start; fail a user/no broken; ok clean",
        expect![[]],
    );
}

#[test]
fn a_cancelled_run_that_was_queued_never_began() {
    check("steps: [{id: a, type: act}]", "queue; cancel", expect![[]]);
    check("steps: [{id: a, type: act}]", "queue; admit; ok a", expect![[]]);
}

#[test]
fn an_attempt_that_does_not_stop_in_time_is_cancelled_with_an_unknown_outcome() {
    check("steps: [{id: a, type: act}]", "start; cancel; +30s", expect![[]]);
}
