//! Pause and resume.

use expect_test::expect;

use crate::script::check;

#[test]
fn nothing_new_starts_while_paused_and_what_runs_ends() {
    check(
        "steps: [{id: a, type: act}, {id: b, type: act}]",
        "start; pause; ok a 1; resume; ok b 2",
        expect![[r#"
        > start
          -> run a #1
        > pause
        > ok a 1
          a completed 1
        > resume
          -> run b #1
        > ok b 2
          b completed 2
          run completed 2
    "#]],
    );
}

#[test]
fn what_came_during_a_pause_takes_effect_in_the_order_of_its_times() {
    check(
        "
steps:
  - id: race
    type: parallel
    join: any
    branches:
      late: [{id: d, type: delay, with: {for: 10s}}]
      told: [{id: s, type: wait, with: {signal: go}}]
",
        "start; pause; +9s; signal go 1; +10s; resume",
        expect![[r#"
            > start
            > pause
            > +9s
            > signal go 1
            > +10s
            > resume
              race.s completed 1
              race.d cancelled
              race completed {"late":null,"told":1}
              run completed {"late":null,"told":1}
        "#]],
    );
    check(
        "
steps:
  - id: race
    type: parallel
    join: any
    branches:
      late: [{id: d, type: delay, with: {for: 10s}}]
      told: [{id: s, type: wait, with: {signal: go}}]
",
        "start; pause; +11s; signal go 1; resume",
        expect![[r#"
            > start
            > pause
            > +11s
            > signal go 1
            > resume
              race.d completed
              race.s cancelled
              race completed {"late":null,"told":null}
              run completed {"late":null,"told":null}
        "#]],
    );
}

#[test]
fn the_runs_timeout_does_not_pass_while_paused() {
    check(
        "timeout: 10s\nsteps: [{id: w, type: wait, with: {signal: go}}]",
        "start; +4s; pause; +1h; resume; +5s; +1s",
        expect![[r#"
            > start
            > +4s
            > pause
            > +1h
            > resume
            > +5s
            > +1s
              w cancelled
              run timed_out timeout/run_timeout
        "#]],
    );
}

#[test]
fn a_paused_run_can_be_cancelled() {
    check(
        "steps: [{id: a, type: act}]",
        "start; pause; cancel; fail a cancelled/stopped",
        expect![[r#"
        > start
          -> run a #1
        > pause
        > cancel
          -> stop a #1
        > fail a cancelled/stopped
          a cancelled
          run cancelled cancelled/cancelled
    "#]],
    );
}

#[test]
fn an_attempt_that_was_lost_while_paused_runs_again_on_resume() {
    check(
        "steps: [{id: a, type: act}]",
        "start; pause; recover; recover; resume; ok a 1",
        expect![[r#"
        > start
          -> run a #1
        > pause
        > recover
        > recover
        > resume
          -> run a #1
        > ok a 1
          a completed 1
          run completed 1
    "#]],
    );
}

#[test]
fn a_run_that_is_paused_in_the_queue_keeps_its_place_and_begins_paused() {
    check(
        "timeout: 10s\nsteps: [{id: a, type: act}]",
        "queue; pause; resume; admit; ok a 1",
        expect![[r#"
            > queue
            > pause
            > resume
            > admit
              -> run a #1
            > ok a 1
              a completed 1
              run completed 1
        "#]],
    );
    check(
        "timeout: 10s\nsteps: [{id: w, type: wait, with: {signal: go}}]",
        "queue; pause; +1h; admit; +1h; resume; +9s; +1s",
        expect![[r#"
            > queue
            > pause
            > +1h
            > admit
            > +1h
            > resume
            > +9s
            > +1s
              w cancelled
              run timed_out timeout/run_timeout
        "#]],
    );
}
