//! The audit: what is noted is sealed, and whatever is done to it afterwards is found.

use std::io::Cursor;

use serde_json::{Value as Json, json};
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{list::ListQuery, records::audit::AUDIT_ENTRIES};
use windlass_store::{
    ArchivePolicy, AuditKey, AuditNote, AuditReport, By, Dialect, RowChange, Store, Trust, Value, verify_file,
};

use crate::harness::{self, Fixture, TENANT};

crate::on_every_store!(
    what_is_noted_is_sealed_and_judged_sound,
    what_is_sealed_meanwhile_is_counted_once,
    rows_are_neither_changed_nor_deleted,
    every_damage_is_found,
    a_tail_that_is_cut_is_found,
    a_chain_that_was_cut_is_not_gone_on_with,
    what_was_not_sealed_is_sealed_after_a_kill,
    a_run_and_its_entry_are_one_transaction,
    a_new_key_says_which_one_it_came_after,
    a_proof_is_judged_without_the_database,
    an_archive_holds_what_is_deleted,
    what_was_changed_is_not_archived,
    it_moves_to_the_other_database,
);

const OTHER: TenantKey = TenantKey(2);

fn key(seed: u8) -> AuditKey {
    AuditKey::from_seed(&[seed; 32]).unwrap()
}

fn noted(store: &Store, subject: &str) -> AuditNote {
    AuditNote {
        action: "try",
        record: "things",
        record_id: Some(Uuid::now_v7()),
        subject: Some(subject.to_owned()),
        changes: json!({ "z": 1.0, "a": { "to": [1, "ü", null] }, "big": 1e20 }),
        by: By { request_id: Some("r-1".to_owned()), address: Some("::1".to_owned()), ..By::named("token:ada") },
        at: store.now(),
    }
}

async fn note(store: &Store, tenant: TenantKey, subjects: &[&str]) {
    for subject in subjects {
        store.note(tenant, noted(store, subject)).await.unwrap();
    }
}

async fn seal(store: &Store) {
    while store.seal_audit().await.unwrap() > 0 {}
}

/// Three blocks of two entries each, signed.
async fn three_blocks(store: &Store) {
    store.sign_audit_with(Some(key(1)));
    for pair in [["a", "b"], ["c", "d"], ["e", "f"]] {
        note(store, TENANT, &pair).await;
        seal(store).await;
    }
}

async fn judge(store: &Store) -> AuditReport {
    let trust = Trust { key: store.audit_key().map(|key| key.public()), head: None };
    store.verify_audit(TENANT, trust).await.unwrap()
}

fn problems(report: &AuditReport) -> Vec<String> {
    assert_eq!(report.findings.len(), report.findings_count);
    report.findings.iter().map(|it| it.problem.clone()).collect()
}

/// As somebody who owns the database would: past the triggers.
async fn harm(store: &Store, sql: &str) {
    let triggers = [
        ("audit_entries_stay", "audit_entries"),
        ("audit_entries_kept", "audit_entries"),
        ("audit_blocks_stay", "audit_blocks"),
        ("audit_blocks_kept", "audit_blocks"),
        ("audit_heads_kept", "audit_heads"),
        ("audit_heads_forward", "audit_heads"),
    ];
    for (trigger, table) in triggers {
        let drop = match store.database().dialect() {
            Dialect::Sqlite => format!("drop trigger if exists {trigger}"),
            Dialect::Postgres => format!("drop trigger if exists {trigger} on {table}"),
        };
        store.database().across_tenants().execute(drop, vec![]).await.unwrap();
    }
    assert!(harm_any(store, sql).await > 0, "{sql} changed nothing");
}

async fn harm_any(store: &Store, sql: &str) -> u64 {
    store.database().across_tenants().execute(sql.to_owned(), vec![]).await.unwrap().count
}

async fn what_is_noted_is_sealed_and_judged_sound(fixture: Fixture) {
    let store = &fixture.store;
    store.add_tenant(OTHER, "other").await.unwrap();
    assert_eq!(judge(store).await.head, 0);
    three_blocks(store).await;
    note(store, OTHER, &["x"]).await;
    note(store, TENANT, &["g"]).await;
    let report = judge(store).await;
    assert_eq!(problems(&report), Vec::<String>::new());
    assert_eq!((report.blocks, report.entries, report.unsealed), (3, 6, 1));
    assert_eq!(report.signed_by, [hex::encode(key(1).public())]);
    let head = store.audit_head(TENANT).await.unwrap().unwrap();
    assert_eq!((head.number, head.entries), (3, 6));
    let noted = Trust { head: Some((3, head.hash)), ..Trust::default() };
    assert_eq!(store.verify_audit(TENANT, noted).await.unwrap().findings_count, 0);
    seal(store).await;
    let report = store.verify_audit(OTHER, Trust::default()).await.unwrap();
    assert_eq!((report.blocks, report.entries, report.findings_count), (1, 1, 0));
    // More than a block holds.
    for _ in 0..40 {
        note(store, TENANT, &["x"; 30]).await;
    }
    seal(store).await;
    let report = judge(store).await;
    assert_eq!((report.blocks, report.entries, report.findings_count), (6, 1_207, 0));
    let pairs = [("q".to_owned(), "ADA things".to_owned()), ("subject".to_owned(), "c".to_owned())];
    let found = store.list_records(TENANT, &AUDIT_ENTRIES, &ListQuery::parse(&AUDIT_ENTRIES, &pairs).unwrap()).await;
    let found = found.unwrap().items;
    assert_eq!((found.len(), &found[0]["address"]), (1, &json!("::1")));
}

async fn what_is_sealed_meanwhile_is_counted_once(fixture: Fixture) {
    let store = &fixture.store;
    for there in 1..=30 {
        note(store, TENANT, &["a"]).await;
        let (sealed, report) = tokio::join!(store.seal_audit(), judge(store));
        sealed.unwrap();
        assert_eq!((report.entries + report.unsealed, report.findings_count), (there, 0), "{report:?}");
    }
}

async fn rows_are_neither_changed_nor_deleted(fixture: Fixture) {
    let store = &fixture.store;
    three_blocks(store).await;
    for sql in [
        "update audit_entries set subject = 'x'",
        "delete from audit_entries",
        "update audit_blocks set number = 9 where number = 1",
        "delete from audit_blocks where number = 3",
        "delete from audit_heads",
        "update audit_heads set number = 2",
    ] {
        let refused = store.database().across_tenants().execute(sql, vec![]).await;
        assert!(refused.is_err(), "{sql}");
    }
    assert_eq!(judge(store).await.findings_count, 0);
}

async fn every_damage_is_found(fixture: Fixture) {
    let unhex = |hex: &str, dialect| match dialect {
        Dialect::Sqlite => format!("x'{hex}'"),
        Dialect::Postgres => format!("'\\x{hex}'::bytea"),
    };
    let dialect = fixture.store.database().dialect();
    let other = hex::encode(key(9).public());
    let columns = "tenant_key, created_at, created_by, action, record, record_id, changes, request_id, search_text";
    let new_id = match dialect {
        Dialect::Sqlite => "x'00000000000070008000000000000001'".to_owned(),
        Dialect::Postgres => "'00000000-0000-7000-8000-000000000001'::uuid".to_owned(),
    };
    let swapped =
        "update audit_entries set subject = case subject when 'a' then 'd' else 'a' end where subject in ('a', 'd')";
    let damages: &[(&str, String, &str)] = &[
        ("changed", "update audit_entries set created_by = 'token:eve' where subject = 'c'".to_owned(), "was changed"),
        ("its JSON", "update audit_entries set changes = '{}' where subject = 'c'".to_owned(), "was changed"),
        ("its search", "update audit_entries set search_text = '' where subject = 'c'".to_owned(), "was changed"),
        ("its address", "update audit_entries set address = null where subject = 'c'".to_owned(), "was changed"),
        ("removed", "delete from audit_entries where subject = 'c'".to_owned(), "was removed"),
        ("swapped", swapped.to_owned(), "was changed"),
        (
            "inserted",
            format!("insert into audit_entries (id, {columns}) select {new_id}, {columns} from audit_entries where subject = 'a'"),
            "is in no block: it was inserted",
        ),
        ("a block is gone", "delete from audit_blocks where number = 2".to_owned(), "block 2 should be here"),
        (
            "a block names another",
            format!("update audit_blocks set entries = {} where number = 2", unhex("", dialect)),
            "is not what its hash says",
        ),
        ("its time", "update audit_blocks set sealed_at = (select sealed_at from audit_blocks b where b.number = 3) where number = 2".to_owned(), "is not what its hash says"),
        (
            "its signature",
            format!("update audit_blocks set signature = {} where number = 2", unhex(&"ab".repeat(64), dialect)),
            "has a wrong signature",
        ),
        ("no signature", "update audit_blocks set signature = null, public_key = null where number = 2".to_owned(), "is not signed"),
        (
            "another's key",
            format!("update audit_blocks set public_key = {} where number = 2", unhex(&other, dialect)),
            "has a wrong signature",
        ),
        ("the head", "update audit_heads set number = 2".to_owned(), "stands behind the head"),
        ("the head's count", "update audit_heads set entries = 5".to_owned(), "has a wrong signature"),
    ];
    three_blocks(&fixture.store).await;
    let store = &fixture.store;
    let tables = ["audit_entries", "audit_blocks", "audit_heads"];
    for table in tables {
        harm_any(store, &format!("create table kept_{table} as select * from {table}")).await;
    }
    for (name, sql, found) in damages {
        assert_eq!(problems(&judge(store).await), Vec::<String>::new(), "before {name}");
        harm(store, sql).await;
        let problems = problems(&judge(store).await);
        assert!(problems.iter().any(|it| it.contains(found)), "{name}: {problems:?}");
        for table in tables {
            harm_any(store, &format!("delete from {table}")).await;
            harm_any(store, &format!("insert into {table} select * from kept_{table}")).await;
        }
    }
}

async fn a_tail_that_is_cut_is_found(fixture: Fixture) {
    let store = &fixture.store;
    three_blocks(store).await;
    let head = store.audit_head(TENANT).await.unwrap().unwrap();
    note(store, TENANT, &["g", "h"]).await;
    seal(store).await;
    let last = store.audit_head(TENANT).await.unwrap().unwrap();
    harm(store, "delete from audit_entries where subject in ('g', 'h')").await;
    harm(store, "delete from audit_blocks where number = 4").await;
    let found = problems(&judge(store).await);
    assert!(found.iter().any(|it| it.contains("its end was cut")), "{found:?}");
    // With an older head put back only somebody who noted the newer one knows.
    let back = "update audit_heads set number = $1, hash = $2, entries = $3, signature = $4";
    let params = vec![head.number.into(), head.hash.into(), head.entries.into(), head.signature.into()];
    store.database().across_tenants().execute(back, params).await.unwrap();
    assert_eq!(judge(store).await.findings_count, 0);
    let noted = Trust { head: Some((last.number, last.hash)), ..Trust::default() };
    let found = problems(&store.verify_audit(TENANT, noted).await.unwrap());
    assert!(found.iter().any(|it| it.contains("block 4 was noted elsewhere")), "{found:?}");
    let other = Trust { head: Some((2, last.hash)), ..Trust::default() };
    let found = problems(&store.verify_audit(TENANT, other).await.unwrap());
    assert!(found.iter().any(|it| it.contains("is not the block that was noted")), "{found:?}");
}

async fn a_chain_that_was_cut_is_not_gone_on_with(mut fixture: Fixture) {
    three_blocks(&fixture.store).await;
    let store = &fixture.store;
    harm(store, "delete from audit_blocks where number = 3").await;
    note(store, TENANT, &["g"]).await;
    let refused = store.seal_audit().await.unwrap_err();
    assert!(refused.to_string().contains("block 3 is not there"), "{refused}");
    harm(store, "update audit_heads set number = 2, hash = (select hash from audit_blocks where number = 2)").await;
    let refused = store.seal_audit().await.unwrap_err();
    assert!(refused.to_string().contains("it had 3 blocks and has 2"), "{refused}");
    // What waits is still there, and the other tenants' chains go on.
    store.add_tenant(OTHER, "other").await.unwrap();
    note(store, OTHER, &["x"]).await;
    assert_eq!(store.seal_audit().await.unwrap(), 1);
    fixture.reopen().await;
    assert_eq!(judge(&fixture.store).await.unsealed, 1);
}

async fn what_was_not_sealed_is_sealed_after_a_kill(mut fixture: Fixture) {
    fixture.store.sign_audit_with(Some(key(1)));
    note(&fixture.store, TENANT, &["a", "b"]).await;
    fixture.reopen().await;
    let store = &fixture.store;
    store.sign_audit_with(Some(key(1)));
    assert_eq!(store.seal_audit().await.unwrap(), 2);
    // Removed before it was sealed: the block names it all the same.
    note(store, TENANT, &["c", "d"]).await;
    harm(store, "delete from audit_entries where subject = 'c'").await;
    assert_eq!(problems(&judge(store).await), ["was removed before it was sealed"]);
    seal(store).await;
    assert_eq!(problems(&judge(store).await), ["was removed"]);
}

async fn a_run_and_its_entry_are_one_transaction(fixture: Fixture) {
    let store = &fixture.store;
    let run = harness::started(store).await;
    let mut commit = harness::commit(store, run, 2..=2);
    for _ in 0..3 {
        commit.rows.push(RowChange::PutAudit(Box::new(noted(store, "run"))));
    }
    harness::done(store.commit(commit).await);
    // A commit that is refused leaves none.
    let mut stale = harness::commit(store, run, 2..=2);
    stale.rows.push(RowChange::PutAudit(Box::new(noted(store, "stale"))));
    store.commit(stale).await.unwrap_err();
    seal(store).await;
    let report = judge(store).await;
    assert_eq!((report.entries, report.findings_count), (3, 0));
}

async fn a_new_key_says_which_one_it_came_after(fixture: Fixture) {
    let store = &fixture.store;
    store.sign_audit_with(None);
    note(store, TENANT, &["a"]).await;
    seal(store).await;
    assert_eq!(judge(store).await.unsigned_blocks, 1, "before there is a key nobody signs");
    for seed in [1, 2, 3] {
        store.sign_audit_with(Some(key(seed)));
        note(store, TENANT, &["x"]).await;
        seal(store).await;
    }
    // Who has no key leaves it to those who have.
    store.sign_audit_with(None);
    note(store, TENANT, &["y"]).await;
    assert_eq!(store.seal_audit().await.unwrap(), 0);
    store.sign_audit_with(Some(key(3)));
    let report = judge(store).await;
    assert_eq!((problems(&report), report.signed_by.len(), report.unsealed), (Vec::new(), 3, 1));
    let trust = Trust { key: Some(key(2).public()), head: None };
    let found = problems(&store.verify_audit(TENANT, trust).await.unwrap());
    assert!(found.len() == 1 && found[0].contains("which is not the server's"), "{found:?}");
    let pairs = [("action".to_owned(), "change_key".to_owned())];
    let changes = store.list_records(TENANT, &AUDIT_ENTRIES, &ListQuery::parse(&AUDIT_ENTRIES, &pairs).unwrap()).await;
    assert_eq!(changes.unwrap().items.len(), 2, "that too is in the audit");
}

async fn proof(store: &Store) -> Vec<String> {
    let mut export = store.export_audit(TENANT).await.unwrap();
    let mut text = Vec::new();
    while let Some(chunk) = export.next().await.unwrap() {
        text.extend(chunk);
    }
    String::from_utf8(text).unwrap().lines().map(|line| format!("{line}\n")).collect()
}

fn judged(lines: &[String], seed: u8) -> Vec<String> {
    let trust = Trust { key: Some(key(seed).public()), head: None };
    match verify_file(Cursor::new(lines.concat()), trust) {
        Ok(report) => problems(&report),
        Err(error) => vec![error],
    }
}

async fn a_proof_is_judged_without_the_database(fixture: Fixture) {
    let store = &fixture.store;
    three_blocks(store).await;
    let sound = proof(store).await;
    assert_eq!(sound.len(), 1 + 3 * 3 + 1);
    assert_eq!(judged(&sound, 1), Vec::<String>::new());
    assert!(judged(&sound, 2)[0].contains("which is not the server's"));
    let damage = |name: &str, harm: &dyn Fn(&mut Vec<String>), found: &str| {
        let mut lines = sound.clone();
        harm(&mut lines);
        let problems = judged(&lines, 1);
        assert!(problems.iter().any(|it| it.contains(found)), "{name}: {problems:?}");
    };
    damage("changed", &|it| it[2] = it[2].replace("token:ada", "token:eve"), "was changed");
    damage("removed", &|it| drop(it.remove(3)), "was removed");
    damage("inserted", &|it| it.insert(3, it[5].clone()), "is not of this block");
    damage("twice", &|it| it.insert(3, it[2].clone()), "is there twice");
    damage("swapped", &|it| it.swap(2, 5), "is not of this block");
    damage("a block is gone", &|it| drop(it.drain(4..7)), "block 2 should be here");
    damage("the first block is gone", &|it| drop(it.drain(1..4)), "block 1 should be here");
    damage("its end is cut", &|it| it.truncate(7), "it was cut");
    damage("its last block is gone", &|it| drop(it.drain(7..10)), "its end was cut");
    damage("a block is changed", &|it| it[4] = it[4].replacen("\"entries\":\"", "\"entries\":\"00", 1), "is no block");
    damage(
        "another tenant's",
        &|it| {
            let mut header: Json = serde_json::from_str(&it[0]).unwrap();
            header["audit"]["tenant_id"] = json!(Uuid::nil());
            it[0] = format!("{header}\n");
        },
        "is not what its hash says",
    );
    damage("no JSON", &|it| it[5] = "{\n".to_owned(), "is no JSON");
    damage("no proof", &|it| it[0] = "{}\n".to_owned(), "no proof");
}

async fn an_archive_holds_what_is_deleted(fixture: Fixture) {
    let store = &fixture.store;
    let dir = tempfile::tempdir().unwrap();
    let policy = ArchivePolicy { days: 0, dir: dir.path().join("archive") };
    assert_eq!(store.archive_audit(TENANT, &policy).await.unwrap(), None);
    three_blocks(store).await;
    let kept = ArchivePolicy { days: 1, ..policy.clone() };
    assert_eq!(store.archive_audit(TENANT, &kept).await.unwrap(), None, "nothing is a day old");
    let archive = store.archive_audit(TENANT, &policy).await.unwrap().unwrap();
    assert_eq!((archive.blocks, archive.entries), ((1, 2), 4), "the newest block stays");
    let file = std::fs::read(&archive.file).unwrap();
    let trust = Trust { key: Some(key(1).public()), head: None };
    let report = verify_file(Cursor::new(file), trust).unwrap();
    assert_eq!((problems(&report), report.entries), (Vec::new(), 4));
    let count = "select count(*) from audit_entries";
    let row = store.database().across_tenants().query_opt(count, vec![]).await.unwrap().unwrap();
    assert_eq!(row.int(0).unwrap(), 3, "the last block's, and that it was archived");
    assert!(store.database().across_tenants().execute("delete from audit_blocks", vec![]).await.is_err());
    seal(store).await;
    let report = judge(store).await;
    assert_eq!((problems(&report), report.archived, report.blocks), (Vec::new(), 4, 2));
    let archive = store.archive_audit(TENANT, &policy).await.unwrap().unwrap();
    assert_eq!(archive.blocks, (3, 3));
    let lines = proof(store).await;
    assert_eq!(judged(&lines, 1), Vec::<String>::new(), "what is left goes on from the archive");
}

async fn what_was_changed_is_not_archived(fixture: Fixture) {
    let store = &fixture.store;
    let dir = tempfile::tempdir().unwrap();
    let policy = ArchivePolicy { days: 0, dir: dir.path().to_owned() };
    three_blocks(store).await;
    harm(store, "update audit_entries set subject = 'x' where subject = 'b'").await;
    let refused = store.archive_audit(TENANT, &policy).await.unwrap_err();
    assert!(refused.to_string().contains("was changed: nothing was deleted"), "{refused}");
    let params = vec![Value::from(TENANT)];
    let row = store
        .database()
        .across_tenants()
        .query_opt("select count(*) from audit_blocks where tenant_key = $1", params)
        .await;
    assert_eq!(row.unwrap().unwrap().int(0).unwrap(), 3);
}

async fn it_moves_to_the_other_database(fixture: Fixture) {
    three_blocks(&fixture.store).await;
    note(&fixture.store, TENANT, &["g"]).await;
    let dir = tempfile::tempdir().unwrap();
    let backup = dir.path().join("sound");
    fixture.store.backup(&backup, &mut |_| ()).await.unwrap();
    for dialect in [Dialect::Sqlite, Dialect::Postgres] {
        let there = fixture.restored(&backup, dialect).await;
        there.store.sign_audit_with(Some(key(1)));
        seal(&there.store).await;
        let report = judge(&there.store).await;
        assert_eq!((problems(&report), report.entries), (Vec::new(), 7));
    }
}
