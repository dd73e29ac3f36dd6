//! Subflows.

use expect_test::expect;

use crate::script::check;

const SHIP: &str = "
steps:
  - {id: ship, type: workflow, with: {name: shipping, input: {order: 7}}}
output: ${{ steps.ship.output.tracking }}
";

#[test]
fn a_step_waits_for_its_child() {
    check(
        SHIP,
        "start; active; child_ok ship {\"tracking\":\"T1\"}",
        expect![[r#"
        > start
          -> child ship of shipping {"order":7}
        > active
          ship waiting #1 for run
        > child_ok ship {"tracking":"T1"}
          ship completed {"tracking":"T1"}
          run completed "T1"
    "#]],
    );
}

#[test]
fn a_failed_child_fails_the_step_with_its_class_and_code() {
    check(
        SHIP,
        "start; child_fail ship user/no_truck",
        expect![[r#"
        > start
          -> child ship of shipping {"order":7}
        > child_fail ship user/no_truck
          ship failed user/no_truck
          run failed user/no_truck {"path":"ship","status":"failed"}
    "#]],
    );
}

#[test]
fn cancel_reaches_the_child_and_the_parent_waits_for_its_end() {
    check(
        SHIP,
        "start; cancel; child_fail ship cancelled/cancelled",
        expect![[r#"
        > start
          -> child ship of shipping {"order":7}
        > cancel
          -> cancel child
        > child_fail ship cancelled/cancelled
          ship cancelled
          run cancelled cancelled/cancelled
    "#]],
    );
}

#[test]
fn pause_and_resume_reach_the_child() {
    check(
        SHIP,
        "start; pause; resume",
        expect![[r#"
        > start
          -> child ship of shipping {"order":7}
        > pause
          -> pause child
        > resume
          -> resume child
    "#]],
    );
}

#[test]
fn a_completed_child_is_undone_in_its_place() {
    check(
        "
steps:
  - {id: ship, type: workflow, with: {name: shipping}}
  - {id: bill, type: act}
",
        "start; child_ok ship {}; fail bill user/broke; child_ok ship:undo {}",
        expect![[r#"
            > start
              -> child ship of shipping {}
            > child_ok ship {}
              ship completed {}
              -> run bill #1
            > fail bill user/broke
              bill failed user/broke
              run compensating user/broke
              -> undo child ship:undo
            > child_ok ship:undo {}
              ship:undo completed {}
              run compensated user/broke {"path":"bill"} undo {"status":"done"}
        "#]],
    );
}

#[test]
fn a_run_asks_for_its_child_again_after_a_crash() {
    check(
        SHIP,
        "start; recover; child_ok ship {\"tracking\":\"T1\"}",
        expect![[r#"
        > start
          -> child ship of shipping {"order":7}
        > recover
          -> child ship of shipping {"order":7}
        > child_ok ship {"tracking":"T1"}
          ship completed {"tracking":"T1"}
          run completed "T1"
    "#]],
    );
}

#[test]
fn restart_ends_the_run_in_favour_of_a_fresh_one() {
    check(
        "
steps:
  - {id: a, type: act, needs: []}
  - {id: again, type: restart, needs: [], with: {input: {n: 2}}}
",
        "start; fail a cancelled/stopped",
        expect![[r#"
            > start
              again completed {"run_id":"00000000-0000-74ee-8c96-db8ed4440320"}
              -> run a #1
              -> stop a #1
            > fail a cancelled/stopped
              a cancelled
              run completed {"restarted_as":"00000000-0000-74ee-8c96-db8ed4440320"}
              -> restart {"n":2}
        "#]],
    );
}

#[test]
fn a_cancelled_run_is_not_restarted() {
    check(
        "
steps:
  - {id: a, type: act}
finally:
  - {id: again, type: restart, with: {input: {n: 2}}}
",
        "start; cancel; fail a cancelled/stopped",
        expect![[r#"
            > start
              -> run a #1
            > cancel
              -> stop a #1
            > fail a cancelled/stopped
              a cancelled
              again completed {"run_id":"00000000-0000-74ee-8c96-db8ed4440320"}
              run cancelled cancelled/cancelled
        "#]],
    );
}

#[test]
fn a_restart_with_an_input_that_does_not_fit_fails_its_step() {
    check(
        "
input: {type: object, required: [n]}
steps:
  - {id: w, type: wait, with: {signal: go}}
  - {id: again, type: restart, with: {input: {m: 2}}}
",
        "start; signal go",
        expect![[r#"
            > start
            > signal go
              w completed
              again failed validation/input
              run failed validation/input {"path":"again"}
        "#]],
    );
}

#[test]
fn a_parent_waits_for_the_run_that_took_its_childs_place() {
    check(
        SHIP,
        "start; child_restarts ship; child_restarts ship; recover; pause; resume; child_ok ship {\"tracking\":\"T2\"}",
        expect![[r#"
            > start
              -> child ship of shipping {"order":7}
            > child_restarts ship
            > child_restarts ship
              refused: this was already taken
            > recover
            > pause
              -> pause child
            > resume
              -> resume child
            > child_ok ship {"tracking":"T2"}
              ship completed {"tracking":"T2"}
              run completed "T2"
        "#]],
    );
}

#[test]
fn a_run_that_took_a_childs_place_is_told_what_the_child_was_told_too_late() {
    check(
        SHIP,
        "start; pause; child_restarts ship",
        expect![[r#"
            > start
              -> child ship of shipping {"order":7}
            > pause
              -> pause child
            > child_restarts ship
              -> pause child
        "#]],
    );
    check(
        SHIP,
        "start; cancel; child_restarts ship; recover; child_fail ship cancelled/cancelled",
        expect![[r#"
            > start
              -> child ship of shipping {"order":7}
            > cancel
              -> cancel child
            > child_restarts ship
              -> cancel child
            > recover
              -> cancel child
            > child_fail ship cancelled/cancelled
              ship cancelled
              run cancelled cancelled/cancelled
        "#]],
    );
}
