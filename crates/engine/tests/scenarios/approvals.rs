//! Approvals: people decide.

use expect_test::expect;

use crate::script::check;

const ONE: &str = "
steps:
  - {id: ok, type: approval, with: {to: [bob, cy], title: 'Pay?', expires: 24h}}
  - {id: after, type: act}
";

#[test]
fn an_approved_run_goes_on() {
    check(
        ONE,
        "start; active; approve ok bob; ok after",
        expect![[r#"
            > start
              -> ask ok `Pay?`
            > active
              ok waiting #1 for approval
            > approve ok bob
              ok completed {"at":"1970-01-01T00:00:00.000000Z","by":"bob","comment":null,"decision":"approved","form":null,"responses":[{"at":"1970-01-01T00:00:00.000000Z","by":"bob","comment":null,"decision":"approved","form":null}]}
              -> approval approved
              -> run after #1
            > ok after
              after completed
              run completed
        "#]],
    );
}

#[test]
fn a_rejected_one_fails() {
    check(
        ONE,
        "start; reject ok",
        expect![[r#"
        > start
          -> ask ok `Pay?`
        > reject ok
          ok failed denied/approval_rejected
          run failed denied/approval_rejected {"at":"1970-01-01T00:00:00.000000Z","by":"bob","comment":null,"decision":"rejected","form":null,"path":"ok","responses":[{"at":"1970-01-01T00:00:00.000000Z","by":"bob","comment":null,"decision":"rejected","form":null}]}
          -> approval rejected
    "#]],
    );
}

#[test]
fn an_expired_one_fails() {
    check(
        ONE,
        "start; +24h",
        expect![[r#"
        > start
          -> ask ok `Pay?`
        > +24h
          ok failed timeout/approval_expired
          run failed timeout/approval_expired {"at":null,"by":null,"comment":null,"decision":"expired","form":null,"path":"ok","responses":[]}
          -> approval expired
    "#]],
    );
}

#[test]
fn who_started_the_run_may_not_decide() {
    check(
        ONE,
        "start; approve ok ann",
        expect![[r#"
        > start
          -> ask ok `Pay?`
        > approve ok ann
          refused: who started the run may not decide on it
    "#]],
    );
    check(
        "steps: [{id: ok, type: approval, with: {to: [ann], title: x}}]",
        "start",
        expect![[r#"
        > start
          ok failed denied/no_approver
          run failed denied/no_approver {"path":"ok"}
    "#]],
    );
}

#[test]
fn a_quorum_counts_distinct_people_and_ends_when_it_cannot_be_reached() {
    let document = "
steps:
  - id: ok
    type: approval
    with: {to: [a, b, c], title: x, quorum: {of: 3, need: 2}, on_reject: continue}
";
    check(
        document,
        "start; approve ok a; approve ok a; approve ok b",
        expect![[r#"
        > start
          -> ask ok `x`
        > approve ok a
        > approve ok a
          refused: this was already taken
        > approve ok b
          ok completed {"at":"1970-01-01T00:00:00.000000Z","by":"b","comment":null,"decision":"approved","form":null,"responses":[{"at":"1970-01-01T00:00:00.000000Z","by":"a","comment":null,"decision":"approved","form":null},{"at":"1970-01-01T00:00:00.000000Z","by":"b","comment":null,"decision":"approved","form":null}]}
          run completed {"at":"1970-01-01T00:00:00.000000Z","by":"b","comment":null,"decision":"approved","form":null,"responses":[{"at":"1970-01-01T00:00:00.000000Z","by":"a","comment":null,"decision":"approved","form":null},{"at":"1970-01-01T00:00:00.000000Z","by":"b","comment":null,"decision":"approved","form":null}]}
          -> approval approved
    "#]],
    );
    check(
        document,
        "start; reject ok a; reject ok b",
        expect![[r#"
        > start
          -> ask ok `x`
        > reject ok a
        > reject ok b
          ok completed {"at":"1970-01-01T00:00:00.000000Z","by":"b","comment":null,"decision":"rejected","form":null,"responses":[{"at":"1970-01-01T00:00:00.000000Z","by":"a","comment":null,"decision":"rejected","form":null},{"at":"1970-01-01T00:00:00.000000Z","by":"b","comment":null,"decision":"rejected","form":null}]}
          run completed {"at":"1970-01-01T00:00:00.000000Z","by":"b","comment":null,"decision":"rejected","form":null,"responses":[{"at":"1970-01-01T00:00:00.000000Z","by":"a","comment":null,"decision":"rejected","form":null},{"at":"1970-01-01T00:00:00.000000Z","by":"b","comment":null,"decision":"rejected","form":null}]}
          -> approval rejected
    "#]],
    );
}
