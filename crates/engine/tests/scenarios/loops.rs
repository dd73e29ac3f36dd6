//! Loops and branches side by side.

use expect_test::expect;
use windlass_definition::{Timestamp, Value};
use windlass_engine::{Event, Run, status::RunStatus};

use crate::script::{check, plan, start_of};

#[test]
fn a_loop_runs_its_body_once_per_item_one_after_another() {
    check(
        "
steps:
  - id: each
    type: foreach
    items: '${{ [10, 20, 30] }}'
    do:
      - {id: hold, type: act, with: {item: '${{ item }}', index: '${{ index }}'}}
",
        "start; ok each[0].hold 1; ok each[1].hold 2; ok each[2].hold 3",
        expect![[r#"
            > start
              -> run each[0].hold #1 {"index":0,"item":10}
            > ok each[0].hold 1
              each[0].hold completed 1
              -> run each[1].hold #1 {"index":1,"item":20}
            > ok each[1].hold 2
              each[1].hold completed 2
              -> run each[2].hold #1 {"index":2,"item":30}
            > ok each[2].hold 3
              each[2].hold completed 3
              each completed [1,2,3]
              run completed [1,2,3]
        "#]],
    );
}

#[test]
fn parallel_items_keep_their_order_in_the_output() {
    check(
        "
steps:
  - id: each
    type: foreach
    items: '${{ range(4) }}'
    parallel: 2
    do: [{id: hold, type: act}]
",
        "start; ok each[1].hold \"b\"; ok each[2].hold \"c\"; ok each[0].hold \"a\"; ok each[3].hold \"d\"",
        expect![[r#"
            > start
              -> run each[0].hold #1
              -> run each[1].hold #1
            > ok each[1].hold "b"
              each[1].hold completed "b"
              -> run each[2].hold #1
            > ok each[2].hold "c"
              each[2].hold completed "c"
              -> run each[3].hold #1
            > ok each[0].hold "a"
              each[0].hold completed "a"
            > ok each[3].hold "d"
              each[3].hold completed "d"
              each completed ["a","b","c","d"]
              run completed ["a","b","c","d"]
        "#]],
    );
}

#[test]
fn a_failed_item_stops_the_others() {
    check(
        "
steps:
  - id: each
    type: foreach
    items: '${{ range(5) }}'
    parallel: 3
    do: [{id: hold, type: act}]
",
        "start; fail each[1].hold user/no; fail each[0].hold cancelled/stopped; ok each[2].hold 1",
        expect![[r#"
            > start
              -> run each[0].hold #1
              -> run each[1].hold #1
              -> run each[2].hold #1
            > fail each[1].hold user/no
              each[1].hold failed user/no
              -> stop each[0].hold #1
              -> stop each[2].hold #1
            > fail each[0].hold cancelled/stopped
              each[0].hold cancelled
            > ok each[2].hold 1
              each[2].hold completed 1
              each failed user/no
              run failed user/no {"index":1,"path":"each[1].hold"}
        "#]],
    );
}

#[test]
fn a_failed_item_can_leave_its_place_empty_or_told() {
    let document = |on_error: &str| {
        format!(
            "
steps:
  - id: each
    type: foreach
    items: '${{{{ range(2) }}}}'
    on_error: {on_error}
    do: [{{id: hold, type: act}}]
"
        )
    };
    check(
        &document("continue"),
        "start; fail each[0].hold user/no; ok each[1].hold 1",
        expect![[r#"
        > start
          -> run each[0].hold #1
        > fail each[0].hold user/no
          each[0].hold failed user/no
          -> run each[1].hold #1
        > ok each[1].hold 1
          each[1].hold completed 1
          each completed [null,1]
          run completed [null,1]
    "#]],
    );
    check(
        &document("collect"),
        "start; fail each[0].hold user/no; ok each[1].hold 1",
        expect![[r#"
        > start
          -> run each[0].hold #1
        > fail each[0].hold user/no
          each[0].hold failed user/no
          -> run each[1].hold #1
        > ok each[1].hold 1
          each[1].hold completed 1
          each completed [{"error":{"class":"user","code":"no","details":{"path":"each[0].hold"},"message":"it failed","retryable":false},"output":null,"status":"failed"},{"error":null,"output":1,"status":"completed"}]
          run completed [{"error":{"class":"user","code":"no","details":{"path":"each[0].hold"},"message":"it failed","retryable":false},"output":null,"status":"failed"},{"error":null,"output":1,"status":"completed"}]
    "#]],
    );
}

#[test]
fn an_empty_list_and_a_wrong_one() {
    let document = "steps: [{id: each, type: foreach, items: input.list, do: [{id: x, type: act}]}]";
    check(
        document,
        "start {\"list\": []}",
        expect![[r#"
        > start {"list": []}
          each completed []
          run completed []
    "#]],
    );
    check(
        document,
        "start {\"list\": 3}",
        expect![[r#"
        > start {"list": 3}
          each failed expression/not_a_list
          run failed expression/not_a_list {"path":"each"}
    "#]],
    );
}

#[test]
fn break_leaves_the_loop_and_next_goes_to_the_next_item() {
    check(
        "
steps:
  - id: each
    type: foreach
    items: '${{ range(9) }}'
    do:
      - id: odd
        type: if
        when: index == 1
        then: [{id: skip, type: next}]
      - id: enough
        type: if
        when: index == 3
        then: [{id: leave, type: break}]
      - {id: give, type: transform, with: {value: '${{ item }}'}}
",
        "start",
        expect![[r#"
            > start
              each[0].odd completed
              each[0].enough completed
              each[0].give completed 0
              each[1].odd.skip completed
              each[1].odd cancelled
              each[2].odd completed
              each[2].enough completed
              each[2].give completed 2
              each[3].odd completed
              each[3].enough.leave completed
              each[3].enough cancelled
              each completed [0,null,2,null]
              run completed [0,null,2,null]
        "#]],
    );
}

#[test]
fn a_while_loop_sees_its_last_output() {
    check(
        "
steps:
  - id: count
    type: while
    when: index == 0 || last < 3
    do: [{id: add, type: transform, with: {value: '${{ default(last, 0) + 1 }}'}}]
",
        "start",
        expect![[r#"
            > start
              count[0].add completed 1
              count[1].add completed 2
              count[2].add completed 3
              count completed 3
              run completed 3
        "#]],
    );
}

#[test]
fn a_while_loop_that_does_not_end_is_an_error() {
    check(
        "steps: [{id: spin, type: while, when: true, max: 2, do: [{id: x, type: transform, with: {value: 1}}]}]",
        "start",
        expect![[r#"
            > start
              spin[0].x completed 1
              spin[1].x completed 1
              spin failed limit/loop_limit
              run failed limit/loop_limit {"path":"spin"}
        "#]],
    );
}

#[test]
fn inner_names_hide_outer_ones_and_loops_reaches_them() {
    check(
        "
steps:
  - id: outer
    type: foreach
    items: '${{ [\"a\", \"b\"] }}'
    do:
      - id: inner
        type: foreach
        items: '${{ [1, 2] }}'
        do: [{id: pair, type: transform, with: {value: '${{ loops.outer.item + string(item) }}'}}]
",
        "start",
        expect![[r#"
            > start
              outer[0].inner[0].pair completed "a1"
              outer[0].inner[1].pair completed "a2"
              outer[0].inner completed ["a1","a2"]
              outer[1].inner[0].pair completed "b1"
              outer[1].inner[1].pair completed "b2"
              outer[1].inner completed ["b1","b2"]
              outer completed [["a1","a2"],["b1","b2"]]
              run completed [["a1","a2"],["b1","b2"]]
        "#]],
    );
}

#[test]
fn parallel_waits_for_all_its_branches() {
    check(
        "
steps:
  - id: both
    type: parallel
    branches:
      left: [{id: l, type: act}]
      right: [{id: r, type: act}]
",
        "start; ok both.r 2; ok both.l 1",
        expect![[r#"
            > start
              -> run both.l #1
              -> run both.r #1
            > ok both.r 2
              both.r completed 2
            > ok both.l 1
              both.l completed 1
              both completed {"left":1,"right":2}
              run completed {"left":1,"right":2}
        "#]],
    );
}

#[test]
fn a_met_join_stops_the_branches_that_still_run() {
    check(
        "
steps:
  - id: race
    type: parallel
    join: any
    branches:
      slow: [{id: s, type: act}, {id: s2, type: act}]
      waits: [{id: w, type: wait, with: {signal: go}}]
      quick: [{id: q, type: act}]
",
        "start; ok race.q 1; ok race.s 2",
        expect![[r#"
            > start
              -> run race.s #1
              -> run race.q #1
            > ok race.q 1
              race.q completed 1
              race.w cancelled
              -> stop race.s #1
            > ok race.s 2
              race.s completed 2
              race completed {"quick":1,"slow":null,"waits":null}
              run completed {"quick":1,"slow":null,"waits":null}
        "#]],
    );
}

#[test]
fn too_few_branches_fail_the_step_with_all_their_errors() {
    check(
        "
steps:
  - id: two
    type: parallel
    join: {at_least: 2}
    branches:
      a: [{id: x, type: act}]
      b: [{id: y, type: act}]
      c: [{id: z, type: act}]
",
        "start; fail two.x user/first; fail two.y user/second; fail two.z cancelled/stopped",
        expect![[r#"
            > start
              -> run two.x #1
              -> run two.y #1
              -> run two.z #1
            > fail two.x user/first
              two.x failed user/first
            > fail two.y user/second
              two.y failed user/second
              -> stop two.z #1
            > fail two.z cancelled/stopped
              two.z cancelled
              two failed user/first
              run failed user/first {"errors":{"a":{"class":"user","code":"first","details":{"path":"two.x"},"message":"it failed","retryable":false},"b":{"class":"user","code":"second","details":{"path":"two.y"},"message":"it failed","retryable":false}},"path":"two"}
        "#]],
    );
}

#[test]
fn a_long_loop_of_pure_steps_takes_more_than_one_transition() {
    let plan = plan(
        "
steps:
  - id: each
    type: foreach
    items: '${{ range(1500) }}'
    do: [{id: x, type: transform, with: {value: '${{ item }}'}}]
output: '${{ size(steps.each.output) }}'
",
    );
    let now = Timestamp::default();
    let (mut run, first) = Run::start(&plan, start_of(&plan), now);
    assert!(first.more, "1,500 items do not fit into one transition");
    let mut journal = first.entries;
    let mut transitions = 1;
    while let Ok(next) = run.step(&plan, Event::Continue, now) {
        transitions += 1;
        journal.extend(next.entries);
    }
    assert_eq!(transitions, 2);
    assert_eq!((run.status(), run.output()), (RunStatus::Completed, &Value::Int(1500)));
    for cut in [1, 2, 700, journal.len()] {
        let cut = journal.iter().take(cut).cloned().collect::<Vec<_>>();
        // What stands at the end of a transition folds; a cut within one does not, and says where.
        let whole = cut.len() == journal.len();
        assert_eq!(Run::replay(&plan, cut).is_ok_and(|replayed| replayed == run), whole);
    }
}
