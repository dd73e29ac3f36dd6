//! What random runs found, told once each as people would tell it.

use expect_test::expect;

use crate::script::check;

#[test]
fn an_otherwise_edge_of_a_dead_step_is_decided_once() {
    check(
        "
steps:
  - {id: a, type: act}
  - {id: dead, type: act}
  - {id: b, type: act}
  - {id: end, type: act}
edges:
  - {from: a, to: dead, when: 'input.n > 1'}
  - {from: dead, to: end, otherwise: true}
  - {from: a, to: b}
  - {from: b, to: end}
",
        "start {\"n\": 1}; ok a; ok b; ok end",
        expect![[r#"
            > start {"n": 1}
              -> run a #1
            > ok a
              a completed
              dead skipped by Path
              -> run b #1
            > ok b
              b completed
              -> run end #1
            > ok end
              end completed
              run completed
        "#]],
    );
}

#[test]
fn an_undo_that_begins_during_a_recovery_is_asked_for_once() {
    check(
        "
steps:
  - {id: a, type: act, undo: {type: act}}
  - {id: b, type: act, needs: [a]}
  - {id: c, type: act, needs: [a]}
",
        "start; ok a; fail b user/no; recover; ok a:undo",
        expect![[r#"
            > start
              -> run a #1
            > ok a
              a completed
              -> run b #1
              -> run c #1
            > fail b user/no
              b failed user/no
              -> stop c #1
            > recover
              c cancelled unknown
              run compensating user/no
              -> run a:undo #1
            > ok a:undo
              a:undo completed
              run compensated user/no {"path":"b"} undo {"status":"done"}
        "#]],
    );
}

#[test]
fn an_undo_of_a_subflow_is_registered_at_the_start_when_asked() {
    check(
        "steps: [{id: c, type: workflow, with: {name: other}, undo: {type: act, after: started}}]",
        "start; child_fail c user/broken; ok c:undo",
        expect![[r#"
            > start
              -> child c of other {}
            > child_fail c user/broken
              c failed user/broken
              run compensating user/broken
              -> run c:undo #1
            > ok c:undo
              c:undo completed
              run compensated user/broken {"path":"c","status":"failed"} undo {"status":"done"}
        "#]],
    );
}

#[test]
fn an_undo_is_not_registered_for_an_attempt_that_never_started() {
    check(
        "steps: [{id: a, type: act, rate: {limit: 1, per: 1s, key: '${{ input.missing }}'}, undo: {type: act, after: started}}]",
        "start",
        expect![[r#"
            > start
              a failed expression/no_such_key
              run failed expression/no_such_key {"expression":"input.missing","length":8,"offset":5,"path":"a"}
        "#]],
    );
}

#[test]
fn an_attempt_that_is_repeated_after_a_loss_has_all_of_its_time() {
    check(
        "steps: [{id: a, type: act, timeout: 10s}]",
        "start; +9s; lost a; +9s; +1s; maybe a cancelled/stopped",
        expect![[r#"
            > start
              -> run a #1
            > +9s
            > lost a
              -> run a #1
            > +9s
            > +1s
              -> stop a #1
            > maybe a cancelled/stopped
              a timed_out timeout/step_timeout unknown
              run failed timeout/step_timeout {"path":"a"}
        "#]],
    );
}

#[test]
fn a_wait_in_a_finally_gets_the_signal_that_came_before_the_cancel() {
    check(
        "
steps: [{id: a, type: act}]
finally: [{id: w, type: wait, with: {signal: go}}]
",
        "start; ok a; pause; signal go 1; cancel",
        expect![[r#"
            > start
              -> run a #1
            > ok a
              a completed
            > pause
            > signal go 1
            > cancel
              w completed 1
              run cancelled cancelled/cancelled
        "#]],
    );
}

#[test]
fn a_child_in_a_finally_is_resumed_when_a_paused_run_is_cancelled() {
    check(
        "
steps: [{id: a, type: act}]
finally: [{id: c, type: workflow, with: {name: other}}]
",
        "start; ok a; pause; cancel; child_ok c 1",
        expect![[r#"
            > start
              -> run a #1
            > ok a
              a completed
              -> child c of other {}
            > pause
              -> pause child
            > cancel
              -> resume child
            > child_ok c 1
              c completed 1
              run compensating cancelled/cancelled
              -> undo child c:undo
        "#]],
    );
}

#[test]
fn an_attempt_that_was_lost_during_a_pause_ends_with_the_cancel() {
    check(
        "steps: [{id: a, type: act}]",
        "start; pause; lost a; cancel",
        expect![[r#"
        > start
          -> run a #1
        > pause
        > lost a
        > cancel
          a cancelled unknown
          run cancelled cancelled/cancelled
          -> stop a #1
    "#]],
    );
}

#[test]
fn another_attempt_that_a_person_asks_for_waits_for_the_end_of_the_pause() {
    check(
        "steps: [{id: a, type: act, at_most_once: true}]",
        "start; maybe a timeout/read; pause; settle a again; resume; ok a",
        expect![[r#"
            > start
              -> run a #1
            > maybe a timeout/read
              a unknown worker_lost/unknown_outcome
            > pause
            > settle a again
            > resume
              -> run a #2
            > ok a
              a completed
              run completed
        "#]],
    );
}

#[test]
fn a_recovery_tells_a_child_again_to_stop_and_nothing_else() {
    check(
        "steps: [{id: c, type: workflow, with: {name: other}}]",
        "start; pause; recover; resume; recover; cancel; recover; child_fail c cancelled/cancelled",
        expect![[r#"
            > start
              -> child c of other {}
            > pause
              -> pause child
            > recover
              -> child c of other {}
            > resume
              -> resume child
            > recover
              -> child c of other {}
            > cancel
              -> cancel child
            > recover
              -> child c of other {}
              -> cancel child
            > child_fail c cancelled/cancelled
              c cancelled
              run cancelled cancelled/cancelled
        "#]],
    );
}

#[test]
fn a_timer_does_not_come_with_one_that_is_due_a_microsecond_before() {
    check(
        "
steps:
  - {id: a, type: delay, needs: [], with: {until: '1970-01-01T00:00:01Z'}}
  - {id: b, type: delay, needs: [], with: {until: '1970-01-01T00:00:01.000001Z'}}
",
        "start; +1s; +1ms",
        expect![[r#"
            > start
            > +1s
              a completed
            > +1ms
              b completed
              run completed
        "#]],
    );
}
