//! Attempts: retries, timeouts, lost workers, unknown outcomes.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_failed_step_is_not_retried_unless_declared() {
    check(
        "steps: [{id: a, type: act}]",
        "start; fail a !connect/refused",
        expect![[r#"
        > start
          -> run a #1
        > fail a !connect/refused
          a failed connect/refused
          run failed connect/refused {"path":"a"}
    "#]],
    );
}

#[test]
fn retries_back_off_and_give_up() {
    check(
        "steps: [{id: a, type: act, retry: {attempts: 3, delay: 1s, jitter: false}}]",
        "start; fail a !http/503; +900ms; +100ms; fail a !http/503; +2s; fail a !http/503",
        expect![[r#"
            > start
              -> run a #1
            > fail a !http/503
              a failed http/503, again at 1s
            > +900ms
            > +100ms
              -> run a #2
            > fail a !http/503
              a failed http/503, again at 3s
            > +2s
              -> run a #3
            > fail a !http/503
              a failed http/503
              run failed http/503 {"path":"a"}
        "#]],
    );
}

#[test]
fn jitter_takes_off_up_to_half_and_is_the_same_each_time() {
    check(
        "steps: [{id: a, type: act, retry: {delay: 10s}}]",
        "start; fail a !connect/refused",
        expect![[r#"
        > start
          -> run a #1
        > fail a !connect/refused
          a failed connect/refused, again at 8.97322s
    "#]],
    );
}

#[test]
fn only_the_errors_that_are_named_are_retried() {
    let document = "steps: [{id: a, type: act, retry: {on: [timeout, '5xx', '429', flaky], jitter: false}}]";
    check(
        document,
        "start; fail a http/404",
        expect![[r#"
        > start
          -> run a #1
        > fail a http/404
          a failed http/404
          run failed http/404 {"path":"a"}
    "#]],
    );
    check(
        document,
        "start; fail a http/502",
        expect![[r#"
        > start
          -> run a #1
        > fail a http/502
          a failed http/502, again at 1s
    "#]],
    );
    check(
        document,
        "start; fail a user/flaky",
        expect![[r#"
        > start
          -> run a #1
        > fail a user/flaky
          a failed user/flaky, again at 1s
    "#]],
    );
    check(
        document,
        "start; fail a !connect/refused",
        expect![[r#"
        > start
          -> run a #1
        > fail a !connect/refused
          a failed connect/refused
          run failed connect/refused {"path":"a"}
    "#]],
    );
    check(
        document,
        "start; fail a !validation/bad",
        expect![[r#"
        > start
          -> run a #1
        > fail a !validation/bad
          a failed validation/bad
          run failed validation/bad {"path":"a"}
    "#]],
    );
}

#[test]
fn within_bounds_all_attempts_together() {
    check(
        "steps: [{id: a, type: act, retry: {attempts: 9, backoff: fixed, delay: 4s, within: 10s, jitter: false}}]",
        "start; fail a !connect/x; +4s; fail a !connect/x; +4s; fail a !connect/x",
        expect![[r#"
            > start
              -> run a #1
            > fail a !connect/x
              a failed connect/x, again at 4s
            > +4s
              -> run a #2
            > fail a !connect/x
              a failed connect/x, again at 8s
            > +4s
              -> run a #3
            > fail a !connect/x
              a failed connect/x
              run failed connect/x {"path":"a"}
        "#]],
    );
}

#[test]
fn an_attempt_that_takes_too_long_is_asked_to_stop_and_awaited() {
    let document = "steps: [{id: a, type: act, timeout: 5s}]";
    check(
        document,
        "start; +5s; fail a cancelled/stopped",
        expect![[r#"
        > start
          -> run a #1
        > +5s
          -> stop a #1
        > fail a cancelled/stopped
          a timed_out timeout/step_timeout
          run failed timeout/step_timeout {"path":"a"}
    "#]],
    );
    check(
        document,
        "start; +5s; ok a \"made it\"",
        expect![[r#"
        > start
          -> run a #1
        > +5s
          -> stop a #1
        > ok a "made it"
          a completed "made it"
          run completed "made it"
    "#]],
    );
    check(
        document,
        "start; +5s; +30s; ok a \"too late\"",
        expect![[r#"
        > start
          -> run a #1
        > +5s
          -> stop a #1
        > +30s
          a timed_out timeout/step_timeout unknown
          run failed timeout/step_timeout {"path":"a"}
          -> stop a #1
        > ok a "too late"
          refused: the run is failed: it takes no more of this
    "#]],
    );
}

#[test]
fn a_timeout_can_be_retried() {
    check(
        "steps: [{id: a, type: act, timeout: 5s, retry: {attempts: 2, jitter: false}}]",
        "start; +5s; fail a cancelled/stopped; +1s; ok a 2",
        expect![[r#"
            > start
              -> run a #1
            > +5s
              -> stop a #1
            > fail a cancelled/stopped
              a failed timeout/step_timeout, again at 6s
            > +1s
              -> run a #2
            > ok a 2
              a completed 2
              run completed 2
        "#]],
    );
}

#[test]
fn a_lost_attempt_is_repeated_under_its_number() {
    check(
        "steps: [{id: a, type: act}]",
        "start; lost a; ok a 1",
        expect![[r#"
        > start
          -> run a #1
        > lost a
          -> run a #1
        > ok a 1
          a completed 1
          run completed 1
    "#]],
    );
    check(
        "steps: [{id: a, type: act}]",
        "start; recover; ok a 1",
        expect![[r#"
        > start
          -> run a #1
        > recover
          -> run a #1
        > ok a 1
          a completed 1
          run completed 1
    "#]],
    );
}

#[test]
fn an_attempt_that_is_lost_too_often_fails() {
    check(
        "steps: [{id: a, type: act}]",
        "start; lost a; lost a; lost a; lost a; lost a; lost a; lost a; lost a; lost a; lost a; lost a",
        expect![[r#"
            > start
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              -> run a #1
            > lost a
              a failed worker_lost/worker_lost unknown
              run failed worker_lost/worker_lost {"path":"a"}
        "#]],
    );
}

#[test]
fn at_most_once_asks_a_person_about_an_unknown_outcome() {
    let document = "steps: [{id: a, type: act, at_most_once: true, retry: {jitter: false}}]";
    check(
        document,
        "start; maybe a timeout/read; active; settle a completed 7",
        expect![[r#"
        > start
          -> run a #1
        > maybe a timeout/read
          a unknown worker_lost/unknown_outcome
        > active
          a waiting #1 for settlement
        > settle a completed 7
          a completed 7
          run completed 7
    "#]],
    );
    check(
        document,
        "start; lost a; settle a failed user/checked",
        expect![[r#"
        > start
          -> run a #1
        > lost a
          a unknown worker_lost/unknown_outcome
        > settle a failed user/checked
          a failed user/checked
          run failed user/checked {"path":"a"}
    "#]],
    );
    check(
        document,
        "start; lost a; settle a again; ok a 1",
        expect![[r#"
        > start
          -> run a #1
        > lost a
          a unknown worker_lost/unknown_outcome
        > settle a again
          -> run a #2
        > ok a 1
          a completed 1
          run completed 1
    "#]],
    );
    check(
        document,
        "start; fail a !connect/refused; +1s; ok a 1",
        expect![[r#"
        > start
          -> run a #1
        > fail a !connect/refused
          a failed connect/refused, again at 1s
        > +1s
          -> run a #2
        > ok a 1
          a completed 1
          run completed 1
    "#]],
    );
}

#[test]
fn at_most_once_goes_to_a_catch_that_takes_it() {
    check(
        "
steps:
  - id: t
    type: try
    do: [{id: a, type: act, at_most_once: true}]
    catch: [{on: [unknown_outcome], do: [{id: b, type: transform, with: {value: '${{ e.code }}'}}]}]
",
        "start; lost a; lost t.a",
        expect![[r#"
            > start
              -> run t.a #1
            > lost a
              refused: no step at `a` waits for this
            > lost t.a
              t.a failed worker_lost/unknown_outcome unknown
              t.b completed "unknown_outcome"
              t completed "unknown_outcome"
              run completed "unknown_outcome"
        "#]],
    );
}

#[test]
fn tasks_are_offered_and_their_answers_taken() {
    check(
        "steps: [{id: a, type: task, with: {queue: gpu, input: {n: 1}}, retry: {jitter: false}}]",
        "start; active; fail a !worker_lost/lost; +1s; ok a 5",
        expect![[r#"
            > start
              -> offer a #1 to gpu {"n":1}
            > active
              a waiting #1 for task
            > fail a !worker_lost/lost
              a failed worker_lost/lost, again at 1s
            > +1s
              -> offer a #2 to gpu {"n":1}
            > ok a 5
              a completed 5
              run completed 5
        "#]],
    );
}
