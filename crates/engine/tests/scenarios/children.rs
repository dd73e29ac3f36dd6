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
    check(SHIP, "start; active; child_ok ship {\"tracking\":\"T1\"}", expect![[]]);
}

#[test]
fn a_failed_child_fails_the_step_with_its_class_and_code() {
    check(SHIP, "start; child_fail ship user/no_truck", expect![[]]);
}

#[test]
fn cancel_reaches_the_child_and_the_parent_waits_for_its_end() {
    check(SHIP, "start; cancel; child_fail ship cancelled/cancelled", expect![[]]);
}

#[test]
fn pause_and_resume_reach_the_child() {
    check(SHIP, "start; pause; resume", expect![[]]);
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
        expect![[]],
    );
}

#[test]
fn a_run_asks_for_its_child_again_after_a_crash() {
    check(SHIP, "start; recover; child_ok ship {\"tracking\":\"T1\"}", expect![[]]);
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
        expect![[]],
    );
}
