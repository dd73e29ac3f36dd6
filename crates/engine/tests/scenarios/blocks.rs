//! Order within a block: lists, needs, edges, joins, skips.

use expect_test::expect;

use crate::script::check;

#[test]
fn a_list_runs_one_after_another_and_gives_its_last_output() {
    check(
        "
steps:
  - {id: a, type: act, with: {n: 1}}
  - {id: b, type: transform, with: {value: '${{ steps.a.output + 1 }}'}}
  - {id: c, type: act, with: {n: '${{ steps.b.output }}'}}
",
        "start; ok a 41; ok c \"done\"",
        expect![[r#"
            > start
              -> run a #1 {"n":1}
            > ok a 41
              a completed 41
              b completed 42
              -> run c #1 {"n":42}
            > ok c "done"
              c completed "done"
              run completed "done"
        "#]],
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
        expect![[r#"
            > start
              -> run a #1
            > ok a
              a completed
              -> run b #1
            > ok b
              b completed
              -> run c #1
            > ok c
              c completed
              -> run d #1
            > ok d
              d completed
              run completed
        "#]],
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
        expect![[r#"
            > start
              -> run a #1
            > ok a
              a completed
              -> run b #1
              -> run c #1
            > ok c 3
              c completed 3
            > ok b 2
              b completed 2
              d completed {"b":2,"c":3}
              run completed {"b":2,"c":3}
        "#]],
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
        expect![[r#"
            > start
              -> run a #1
              -> run b #1
              -> run c #1
            > ok c
              c completed
            > ok a
              a completed
              -> run d #1
            > ok d "over"
              d completed "over"
            > ok b
              b completed
              run completed "over"
        "#]],
    );
}

#[test]
fn a_join_that_can_no_longer_be_met_is_dead_and_so_is_what_follows_it() {
    check(
        "
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
        expect![[r#"
            > start
              -> run a #1
            > ok a 1
              a completed 1
              b skipped by Path
              d skipped by Path
              -> run c #1
            > ok c
              c completed
              -> run e #1
            > ok e "end"
              e completed "end"
              run completed "end"
        "#]],
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
  - {id: after, type: transform, with: {value: '${{ steps.big.output }}'}}
";
    check(
        document,
        "start {\"amount\": 1000}; ok big.yes \"y\"",
        expect![[r#"
        > start {"amount": 1000}
          -> run big.yes #1
        > ok big.yes "y"
          big.yes completed "y"
          big completed "y"
          after completed "y"
          run completed "y"
    "#]],
    );
    check(
        document,
        "start {\"amount\": 999}; ok big.no \"n\"",
        expect![[r#"
        > start {"amount": 999}
          -> run big.no #1
        > ok big.no "n"
          big.no completed "n"
          big completed "n"
          after completed "n"
          run completed "n"
    "#]],
    );
    check(
        document,
        "start {\"amount\": null}",
        expect![[r#"
        > start {"amount": null}
          big failed expression/no_such_overload
          run failed expression/no_such_overload {"expression":"input.amount >= 1000","length":2,"offset":13,"path":"big"}
    "#]],
    );
}

#[test]
fn a_step_skipped_by_its_own_if_lets_those_after_it_go_on() {
    check(
        "
steps:
  - {id: a, type: act, if: 'false'}
  - {id: b, type: transform, with: {value: '${{ [steps.a.status, steps.a.output] }}'}}
",
        "start",
        expect![[r#"
            > start
              a skipped by If
              b completed ["skipped",null]
              run completed ["skipped",null]
        "#]],
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
      - {is: a, do: [{id: x, type: transform, with: {value: first}}]}
      - {is: '${{ input.kind }}', do: [{id: y, type: transform, with: {value: second}}]}
    default: [{id: z, type: transform, with: {value: other}}]
",
        "start {\"kind\": \"a\"}",
        expect![[r#"
            > start {"kind": "a"}
              s.x completed "first"
              s completed "first"
              run completed "first"
        "#]],
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
    then: [{id: x, type: transform, with: {value: {n: 1}}}]
    output: {was: '${{ output.n }}'}
output: {all: '${{ steps.s.output }}'}
",
        "start",
        expect![[r#"
            > start
              s.x completed {"n":1}
              s completed {"was":1}
              run completed {"all":{"was":1}}
        "#]],
    );
}

#[test]
fn an_error_in_the_runs_output_fails_the_run() {
    check(
        "steps: [{id: a, type: act}]\noutput: '${{ steps.a.output.missing }}'",
        "start; ok a {}",
        expect![[r#"
        > start
          -> run a #1
        > ok a {}
          a completed {}
          run failed expression/no_such_key {"expression":"steps.a.output.missing","length":8,"offset":14}
    "#]],
    );
}

#[test]
fn a_workflow_without_steps_completes() {
    check(
        "steps: []",
        "start",
        expect![[r#"
        > start
          run completed
    "#]],
    );
}

#[test]
fn what_stands_in_for_a_step_is_taken_in_test_mode_only() {
    let document = "steps: [{id: a, type: act, test: {output: fake}}]";
    check(
        document,
        "test",
        expect![[r#"
        > test
          a completed "fake"
          run completed "fake"
    "#]],
    );
    check(
        document,
        "start; ok a \"real\"",
        expect![[r#"
        > start
          -> run a #1
        > ok a "real"
          a completed "real"
          run completed "real"
    "#]],
    );
}
