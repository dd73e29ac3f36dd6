//! Attempts: retries, timeouts, lost workers, unknown outcomes.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_failed_step_is_not_retried_unless_declared() {
    check("steps: [{id: a, type: act}]", "start; fail a !connect/refused", expect![[]]);
}

#[test]
fn retries_back_off_and_give_up() {
    check(
        "steps: [{id: a, type: act, retry: {attempts: 3, delay: 1s, jitter: false}}]",
        "start; fail a !http/503; +900ms; +100ms; fail a !http/503; +2s; fail a !http/503",
        expect![[]],
    );
}

#[test]
fn jitter_takes_off_up_to_half_and_is_the_same_each_time() {
    check("steps: [{id: a, type: act, retry: {delay: 10s}}]", "start; fail a !connect/refused", expect![[]]);
}

#[test]
fn only_the_errors_that_are_named_are_retried() {
    let document = "steps: [{id: a, type: act, retry: {on: [timeout, '5xx', '429', flaky], jitter: false}}]";
    check(document, "start; fail a http/404", expect![[]]);
    check(document, "start; fail a http/502", expect![[]]);
    check(document, "start; fail a user/flaky", expect![[]]);
    check(document, "start; fail a !connect/refused", expect![[]]);
    check(document, "start; fail a !validation/bad", expect![[]]);
}

#[test]
fn within_bounds_all_attempts_together() {
    check(
        "steps: [{id: a, type: act, retry: {attempts: 9, backoff: fixed, delay: 4s, within: 10s, jitter: false}}]",
        "start; fail a !connect/x; +4s; fail a !connect/x; +4s; fail a !connect/x",
        expect![[]],
    );
}

#[test]
fn an_attempt_that_takes_too_long_is_asked_to_stop_and_awaited() {
    let document = "steps: [{id: a, type: act, timeout: 5s}]";
    check(document, "start; +5s; fail a cancelled/stopped", expect![[]]);
    check(document, "start; +5s; ok a \"made it\"", expect![[]]);
    check(document, "start; +5s; +30s; ok a \"too late\"", expect![[]]);
}

#[test]
fn a_timeout_can_be_retried() {
    check(
        "steps: [{id: a, type: act, timeout: 5s, retry: {attempts: 2, jitter: false}}]",
        "start; +5s; fail a cancelled/stopped; +1s; ok a 2",
        expect![[]],
    );
}

#[test]
fn a_lost_attempt_is_repeated_under_its_number() {
    check("steps: [{id: a, type: act}]", "start; lost a; ok a 1", expect![[]]);
    check("steps: [{id: a, type: act}]", "start; recover; ok a 1", expect![[]]);
}

#[test]
fn an_attempt_that_is_lost_too_often_fails() {
    check(
        "steps: [{id: a, type: act}]",
        "start; lost a; lost a; lost a; lost a; lost a; lost a; lost a; lost a; lost a; lost a; lost a",
        expect![[]],
    );
}

#[test]
fn at_most_once_asks_a_person_about_an_unknown_outcome() {
    let document = "steps: [{id: a, type: act, at_most_once: true, retry: {jitter: false}}]";
    check(document, "start; maybe a timeout/read; active; settle a completed 7", expect![[]]);
    check(document, "start; lost a; settle a failed user/checked", expect![[]]);
    check(document, "start; lost a; settle a again; ok a 1", expect![[]]);
    check(document, "start; fail a !connect/refused; +1s; ok a 1", expect![[]]);
}

#[test]
fn at_most_once_goes_to_a_catch_that_takes_it() {
    check(
        "
steps:
  - id: t
    type: try
    do: [{id: a, type: act, at_most_once: true}]
    catch: [{on: [unknown_outcome], do: [{id: b, type: transform, value: '${{ e.code }}'}]}]
",
        "start; lost a; lost t.a",
        expect![[]],
    );
}

#[test]
fn tasks_are_offered_and_their_answers_taken() {
    check(
        "steps: [{id: a, type: task, with: {queue: gpu, input: {n: 1}}, retry: {jitter: false}}]",
        "start; active; fail a !worker_lost/lost; +1s; ok a 5",
        expect![[]],
    );
}
