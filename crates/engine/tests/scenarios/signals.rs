//! Delays, signals and events.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_delay_ends_when_it_is_due_and_not_before() {
    check(
        "steps: [{id: a, type: delay, with: {for: 10s}}]",
        "start; active; +9s; +1s",
        expect![[r#"
            > start
            > active
              a waiting #1 for time
            > +9s
            > +1s
              a completed
              run completed
        "#]],
    );
    check(
        "steps: [{id: a, type: delay, with: {until: '1970-01-01T00:00:03Z'}}]",
        "start; +3s",
        expect![[r#"
        > start
        > +3s
          a completed
          run completed
    "#]],
    );
    check(
        "steps: [{id: a, type: delay, with: {until: '1969-01-01T00:00:00Z'}}]",
        "start",
        expect![[r#"
        > start
          a completed
          run completed
    "#]],
    );
    check(
        "steps: [{id: a, type: delay, with: {for: '${{ input.span }}'}}]",
        "start {\"span\": \"soon\"}",
        expect![[r#"
        > start {"span": "soon"}
          a failed validation/invalid_with
          run failed validation/invalid_with {"path":"a"}
    "#]],
    );
}

#[test]
fn a_signal_that_came_before_its_wait_is_kept_in_order() {
    check(
        "
steps:
  - {id: a, type: act}
  - {id: b, type: wait, with: {signal: go}}
  - {id: c, type: wait, with: {signal: go}}
",
        "start; signal go 1; signal other 0; signal go 2; ok a",
        expect![[r#"
            > start
              -> run a #1
            > signal go 1
            > signal other 0
            > signal go 2
            > ok a
              a completed
              b completed 1
              c completed 2
              run completed 2
        "#]],
    );
}

#[test]
fn a_signal_goes_to_the_wait_that_began_first() {
    check(
        "
steps:
  - {id: a, type: wait, needs: [], with: {signal: go}}
  - {id: b, type: wait, needs: [], with: {signal: go}}
",
        "start; signal go 1; signal go 2",
        expect![[r#"
            > start
            > signal go 1
              a completed 1
            > signal go 2
              b completed 2
              run completed 2
        "#]],
    );
}

#[test]
fn a_wait_gives_up_at_its_timeout() {
    check(
        "steps: [{id: a, type: wait, with: {signal: go}, timeout: 1m}]",
        "start; +1m",
        expect![[r#"
        > start
        > +1m
          a timed_out timeout/step_timeout
          run failed timeout/step_timeout {"path":"a"}
    "#]],
    );
}

#[test]
fn a_final_run_takes_no_signal() {
    check(
        "steps: []",
        "start; signal go 1",
        expect![[r#"
        > start
          run completed
        > signal go 1
          refused: the run is completed: it takes no more of this
    "#]],
    );
}

#[test]
fn an_event_must_match() {
    check(
        "steps: [{id: a, type: event, with: {type: paid, when: 'event.data.amount > 5'}}]",
        "start; event a {\"data\":{\"amount\":1}}; event a {\"data\":{\"amount\":9}}",
        expect![[r#"
            > start
              -> await event paid at a
            > event a {"data":{"amount":1}}
            > event a {"data":{"amount":9}}
              a completed {"data":{"amount":9}}
              run completed {"data":{"amount":9}}
              -> forget event a
        "#]],
    );
}

#[test]
fn the_runs_own_state_is_shared_by_its_steps() {
    check(
        "
steps:
  - {id: a, type: state, with: {op: increment, key: n, by: 2}}
  - {id: b, type: state, with: {op: increment, key: n}}
  - {id: c, type: state, with: {op: update, key: m, value: {x: 1}}}
  - {id: d, type: state, with: {op: compare_and_set, key: n, expected: 3, value: 10}}
  - {id: e, type: state, with: {op: delete, key: m}}
output: ${{ state }}
",
        "start",
        expect![[r#"
            > start
              a completed 2
              b completed 3
              c completed {"x":1}
              d completed {"swapped":true,"value":10}
              e completed {"x":1}
              run completed {"n":10}
        "#]],
    );
}
