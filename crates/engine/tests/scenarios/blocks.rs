//! Order within a block: lists, needs, edges, joins, skips.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_list_runs_one_after_another_and_gives_its_last_output() {
    check(
        "
steps:
  - {id: a, type: act, with: {n: 1}}
  - {id: b, type: transform, value: '${{ steps.a.output + 1 }}'}
  - {id: c, type: act, with: {n: '${{ steps.b.output }}'}}
",
        "start; ok a 41; ok c \"done\"",
        expect![[]],
    );
}

#[test]
fn an_unbalanced_diamond_runs_its_join_once_after_the_longer_path() {
    check(
        "
steps:
  - {id: a, type: act}
  - {id: b, type: act, needs: [a]}
  - {id: c, type: act, needs: [b]}
  - {id: d, type: act, needs: [a, c]}
",
        "start; ok a; ok b; ok c; ok d",
        expect![[]],
    );
}

#[test]
fn a_balanced_diamond_runs_its_join_once() {
    check(
        "
steps:
  - {id: a, type: act}
  - {id: b, type: act, needs: [a]}
  - {id: c, type: act, needs: [a]}
  - {id: d, type: join, needs: [b, c]}
",
        "start; ok a; ok c 3; ok b 2",
        expect![[]],
    );
}

#[test]
fn a_partial_join_goes_on_at_the_nth_path_and_late_ones_change_nothing() {
    check(
        "
steps:
  - {id: a, type: act, needs: []}
  - {id: b, type: act, needs: []}
  - {id: c, type: act, needs: []}
  - {id: d, type: act, needs: [a, b, c], join: {at_least: 2}}
",
        "start; ok c; ok a; ok d \"over\"; ok b",
        expect![[]],
    );
}

#[test]
fn a_join_that_can_no_longer_be_met_is_dead_and_so_is_what_follows_it() {
    check(
        "
steps:
  steps:
    - {id: a, type: act}
    - {id: b, type: act}
    - {id: c, type: act}
    - {id: d, type: act, join: {at_least: 2}}
    - {id: e, type: act, join: any}
  edges:
    - {from: a, to: b, when: 'steps.a.output > 1'}
    - {from: a, to: c, otherwise: true}
    - {from: b, to: d}
    - {from: c, to: d}
    - {from: d, to: e}
    - {from: c, to: e}
",
        "start; ok a 1; ok c; ok e \"end\"",
        expect![[]],
    );
}

#[test]
fn exactly_one_branch_of_a_condition_runs() {
    let document = "
input: {type: object}
steps:
  - id: big
    type: if
    when: input.amount >= 1000
    then: [{id: yes, type: act}]
    else: [{id: no, type: act}]
  - {id: after, type: transform, value: '${{ steps.big.output }}'}
";
    check(document, "start {\"amount\": 1000}; ok big.yes \"y\"", expect![[]]);
    check(document, "start {\"amount\": 999}; ok big.no \"n\"", expect![[]]);
    check(document, "start {\"amount\": null}", expect![[]]);
}

#[test]
fn a_step_skipped_by_its_own_if_lets_those_after_it_go_on() {
    check(
        "
steps:
  - {id: a, type: act, if: 'false'}
  - {id: b, type: transform, value: '${{ [steps.a.status, steps.a.output] }}'}
",
        "start",
        expect![[]],
    );
}

#[test]
fn a_switch_takes_the_first_case_that_matches() {
    check(
        "
steps:
  - id: s
    type: switch
    on: input.kind
    cases:
      - {is: a, do: [{id: x, type: transform, value: first}]}
      - {is: a, do: [{id: y, type: transform, value: second}]}
    default: [{id: z, type: transform, value: other}]
",
        "start {\"kind\": \"a\"}",
        expect![[]],
    );
}

#[test]
fn a_control_steps_output_can_be_replaced() {
    check(
        "
steps:
  - id: s
    type: if
    when: true
    then: [{id: x, type: transform, value: {n: 1}}]
    output: {was: '${{ output.n }}'}
output: {all: '${{ steps.s.output }}'}
",
        "start",
        expect![[]],
    );
}

#[test]
fn an_error_in_the_runs_output_fails_the_run() {
    check("steps: [{id: a, type: act}]\noutput: '${{ steps.a.output.missing }}'", "start; ok a {}", expect![[]]);
}

#[test]
fn a_workflow_without_steps_completes() {
    check("steps: []", "start", expect![[]]);
}

#[test]
fn what_stands_in_for_a_step_is_taken_in_test_mode_only() {
    let document = "steps: [{id: a, type: act, test: {output: fake}}]";
    check(document, "test", expect![[]]);
    check(document, "start; ok a \"real\"", expect![[]]);
}
