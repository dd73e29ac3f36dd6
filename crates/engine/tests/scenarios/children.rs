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
              -> restart {"n":2}
              -> stop a #1
            > fail a cancelled/stopped
              a cancelled
              run completed {"restarted_as":"00000000-0000-74ee-8c96-db8ed4440320"}
        "#]],
    );
}
