//! Files: what is sent comes back, what is damaged does not, and what nothing refers to goes.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use windlass_engine::{id::TenantKey, status::RunStatus};
use windlass_resource::records::{
    files::{FILE_LINKS, FILE_VERSIONS, FILES},
    tenants::TENANTS,
};
use windlass_store::{Actor, By, FileError, FileTotals, RecordError, Store, Target, Upload, UploadTo};

use crate::{
    harness::{Fixture, TENANT, becomes, done, run_id, started},
    on_every_store,
};

on_every_store!(
    what_is_sent_comes_back,
    versions_are_kept_and_counted,
    what_is_damaged_is_not_given,
    what_is_refused_leaves_nothing,
    tenants_have_quotas,
    what_nothing_refers_to_is_swept,
    deleted_files_come_back_whole,
    files_go_with_their_run,
    all_files_are_copied_and_compared,
    links_lead_there_until_they_do_not,
);

const MIB: usize = 1 << 20;

/// Bytes that are not alike anywhere.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(bytes).collect()
}

/// A store whose files lie in that directory.
async fn with_files(mut fixture: Fixture, directory: &Path, bytes_max: u64) -> Fixture {
    fixture.options.files = Some(directory.display().to_string());
    fixture.options.file_bytes_max = bytes_max;
    fixture.reopen().await;
    fixture
}

fn body(bytes: &[u8]) -> windlass_store::FileBody {
    // Pieces of an odd length: nothing may go by how they come.
    let pieces: Vec<Result<Bytes, String>> = bytes.chunks(77_777).map(|it| Ok(Bytes::copy_from_slice(it))).collect();
    futures::stream::iter(pieces).boxed()
}

async fn send(store: &Store, tenant: TenantKey, to: UploadTo, bytes: &[u8]) -> Result<Json, FileError> {
    let upload = Upload { to, declared_type: Some("text/csv".into()), bytes_declared: None, body: body(bytes) };
    let actor = Actor { tenant, by: By::named("token:ada") };
    store.upload_file(actor, upload).await.map(|view| view.json)
}

async fn upload(store: &Store, name: &str, bytes: &[u8]) -> Json {
    send(store, TENANT, UploadTo::New(json!({ "name": name })), bytes).await.expect("the file is taken")
}

fn id_of(row: &Json) -> Uuid {
    row["id"].as_str().unwrap().parse().unwrap()
}

fn any(row: &Json) -> Target {
    Target { id: id_of(row), expect: None }
}

async fn read(store: &Store, file: &Json, range: std::ops::Range<u64>) -> Result<Vec<u8>, FileError> {
    let content = store.file_content(TENANT, id_of(file), None).await?;
    let mut chunks = store.read_file(&content, range).await?;
    let mut read = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

/// The objects in that directory, with their paths.
fn objects(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found
}

async fn what_is_sent_comes_back(fixture: Fixture) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = with_files(fixture, directory.path(), 1 << 30).await;
    let store = &fixture.store;
    let all = noise(3 * MIB + 12_345);
    for size in [0, 1, 100, MIB - 1, MIB, MIB + 1, 2 * MIB, all.len()] {
        let bytes = &all[..size];
        let file = upload(store, &format!("{size}.bin"), bytes).await;
        assert_eq!((file["size_bytes"].as_u64(), file["version"].as_i64()), (Some(size as u64), Some(1)));
        assert_eq!(file["sha256"], hex(&Sha256::digest(bytes)));
        assert_eq!(read(store, &file, 0..size as u64).await.unwrap(), bytes, "{size}");
    }
    let file = upload(store, "all", &all).await;
    for (from, to) in [(0, 1), (5, 100), (MIB - 1, MIB + 1), (MIB, 2 * MIB), (3 * MIB, all.len()), (7, all.len() - 7)] {
        assert_eq!(read(store, &file, from as u64..to as u64).await.unwrap(), &all[from..to], "{from} to {to}");
    }
    assert_eq!(file["media_type"], "application/octet-stream", "the sender is not believed");
    assert_eq!(upload(store, "a.csv", b"a,b\n1,2\n").await["media_type"], "text/csv", "but of plain text");
    // Another tenant sees none of it.
    let other = store.create_tenant("other", "Other").await.unwrap().key;
    let hidden = store.file_content(other, id_of(&file), None).await;
    assert!(matches!(hidden, Err(FileError::NotFound(_))), "{hidden:?}");
    let theirs = send(store, other, UploadTo::VersionOf(any(&file)), b"x").await;
    assert!(matches!(theirs, Err(FileError::Record(RecordError::NotFound { .. }))), "{theirs:?}");
    assert_eq!(store.file_usage(other).await.unwrap(), 0);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn versions_are_kept_and_counted(fixture: Fixture) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = with_files(fixture, directory.path(), 1 << 30).await;
    let store = &fixture.store;
    let first = upload(store, "a", b"one").await;
    let target = Target { id: id_of(&first), expect: Some(1) };
    let second = send(store, TENANT, UploadTo::VersionOf(target), b"three").await.unwrap();
    assert_eq!((&second["version"], &second["revision"], &second["size_bytes"]), (&json!(2), &json!(2), &json!(5)));
    let stale = send(store, TENANT, UploadTo::VersionOf(target), b"no").await;
    assert!(matches!(stale, Err(FileError::Record(RecordError::Stale { found: 2, .. }))), "{stale:?}");
    // Of many at once each becomes a version of its own.
    let many = futures::future::join_all((0..8).map(|number| {
        let (store, first) = (store.clone(), first.clone());
        async move { send(&store, TENANT, UploadTo::VersionOf(any(&first)), format!("{number}").as_bytes()).await }
    }));
    assert!(many.await.iter().all(Result::is_ok));
    let versions = store.all_records(TENANT, &FILE_VERSIONS).await.unwrap();
    let mut numbers: Vec<i64> = versions.iter().map(|it| it["number"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=10).collect::<Vec<_>>());
    for (number, expected) in [(1, "one"), (2, "three")] {
        let content = store.file_content(TENANT, id_of(&first), Some(number)).await.unwrap();
        let mut chunks = store.read_file(&content, 0..content.size_bytes).await.unwrap();
        assert_eq!(chunks.next().await.unwrap().unwrap(), expected);
    }
    assert!(matches!(store.file_content(TENANT, id_of(&first), Some(11)).await, Err(FileError::NotFound(_))));
    assert_eq!(store.file_usage(TENANT).await.unwrap(), 3 + 5 + 8);
}

async fn what_is_damaged_is_not_given(fixture: Fixture) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = with_files(fixture, directory.path(), 1 << 30).await;
    let store = &fixture.store;
    let bytes = noise(3 * MIB);
    let file = upload(store, "a", &bytes).await;
    let [object] = &objects(directory.path())[..] else { panic!("one object") };
    let mut damaged = bytes.clone();
    damaged[MIB + 5] ^= 1;
    std::fs::write(object, &damaged).unwrap();
    let content = store.file_content(TENANT, id_of(&file), None).await.unwrap();
    let mut chunks = store.read_file(&content, 0..content.size_bytes).await.unwrap();
    assert_eq!(chunks.next().await.unwrap().unwrap(), &bytes[..MIB], "what is right is given");
    let error = chunks.next().await.unwrap_err();
    assert!(matches!(&error, FileError::Damaged(text) if text.contains("from byte 1048576 on")), "{error}");
    let at_once = store.read_file(&content, MIB as u64 + 900..MIB as u64 + 901).await;
    assert!(matches!(at_once.err(), Some(FileError::Damaged(_))), "before anything is answered");
    assert_eq!(read(store, &file, 2 * MIB as u64..3 * MIB as u64).await.unwrap(), &bytes[2 * MIB..]);
    std::fs::write(object, &bytes[..MIB]).unwrap();
    assert!(read(store, &file, MIB as u64..3 * MIB as u64).await.is_err(), "it is shorter than it was");
    std::fs::remove_file(object).unwrap();
    assert!(matches!(read(store, &file, 0..10).await, Err(FileError::Damaged(_))));
}

async fn what_is_refused_leaves_nothing(fixture: Fixture) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = with_files(fixture, directory.path(), 2 * MIB as u64).await;
    let store = &fixture.store;
    let large = noise(2 * MIB + 1);
    let refused = send(store, TENANT, UploadTo::New(json!({ "name": "a" })), &large).await;
    assert!(matches!(refused, Err(FileError::TooLarge { bytes_max: 2_097_152 })), "{refused:?}");
    for wrong in [json!({ "name": "a/b" }), json!({ "name": "a", "version": 3 }), json!({})] {
        let refused = send(store, TENANT, UploadTo::New(wrong), b"x").await;
        assert!(matches!(refused, Err(FileError::Record(RecordError::Invalid { .. }))), "{refused:?}");
    }
    let nowhere = json!({ "name": "a", "run_id": run_id().to_string() });
    let refused = send(store, TENANT, UploadTo::New(nowhere), b"x").await;
    assert!(matches!(refused, Err(FileError::Record(RecordError::Invalid { .. }))), "{refused:?}");
    let pieces = vec![Ok(Bytes::from(noise(MIB + 10))), Err("the client is gone".to_owned())];
    let upload = Upload {
        to: UploadTo::New(json!({ "name": "a" })),
        declared_type: None,
        bytes_declared: None,
        body: futures::stream::iter(pieces).boxed(),
    };
    let cut = store.upload_file(Actor::from(TENANT), upload).await;
    assert!(matches!(cut.err(), Some(FileError::Cut(_))));
    assert_eq!(objects(directory.path()), Vec::<std::path::PathBuf>::new());
    let rows = store.database().across_tenants().query("select count(*) from file_objects", vec![]).await.unwrap();
    assert_eq!((rows[0].int(0).unwrap(), store.file_usage(TENANT).await.unwrap()), (0, 0));
    assert!(store.all_records(TENANT, &FILES).await.unwrap().is_empty());
    // Without a place for files none are taken.
    let options = windlass_store::StoreOptions { files: None, ..fixture.options.clone() };
    store.close().await;
    let store = Store::open(options).await.unwrap();
    let refused = send(&store, TENANT, UploadTo::New(json!({ "name": "a" })), b"x").await;
    assert!(matches!(refused, Err(FileError::NoStorage)), "{refused:?}");
    store.close().await;
}

async fn tenants_have_quotas(fixture: Fixture) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = with_files(fixture, directory.path(), 1 << 30).await;
    let store = &fixture.store;
    let tenant = store.tenant_by_slug("default").await.unwrap().unwrap();
    let target = Target { id: tenant.id, expect: None };
    let quota = json!({ "max_file_bytes": 1_000 });
    store.update_record((TENANT, &TENANTS), target, &quota, By::system()).await.unwrap();
    // Each would have room alone.
    let many = futures::future::join_all((0..8).map(|number| {
        let store = store.clone();
        async move { send(&store, TENANT, UploadTo::New(json!({ "name": format!("{number}") })), &[7; 300]).await }
    }));
    let (taken, refused): (Vec<_>, Vec<_>) = many.await.into_iter().partition(Result::is_ok);
    assert_eq!((taken.len(), store.file_usage(TENANT).await.unwrap()), (3, 900));
    for error in refused {
        assert!(matches!(error, Err(FileError::Quota { bytes_max: 1_000, .. })), "{error:?}");
    }
    assert_eq!(objects(directory.path()).len(), 3);
    send(store, TENANT, UploadTo::New(json!({ "name": "last" })), &[7; 100]).await.expect("the rest of it");
}

async fn what_nothing_refers_to_is_swept(fixture: Fixture) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = with_files(fixture, directory.path(), 1 << 30).await;
    let store = &fixture.store;
    let kept = upload(store, "kept", b"kept").await;
    // As if the process had been killed: before the object, within it, and before its rows.
    for what in ["", "#1", "whole"] {
        let object = Uuid::now_v7();
        let sql = "insert into file_objects (tenant_key, id, bytes, created_at) values ($1, $2, null, $3)";
        store
            .database()
            .across_tenants()
            .execute(sql, vec![TENANT.into(), object.into(), store.now().into()])
            .await
            .unwrap();
        let id = object.to_string();
        let place = directory.path().join(format!("1/{}", &id[id.len() - 2..]));
        std::fs::create_dir_all(&place).unwrap();
        match what {
            "" => {}
            "whole" => std::fs::write(place.join(&id), b"bytes").unwrap(),
            partial => std::fs::write(place.join(format!("{id}{partial}")), b"bytes").unwrap(),
        }
    }
    assert_eq!(objects(directory.path()).len(), 3);
    assert_eq!(store.sweep_files().await.unwrap().removed, 0, "they may be on their way");
    // And a file that was cleared away.
    let gone = upload(store, "gone", b"gone!").await;
    let sql = "delete from files where tenant_key = $1 and id = $2";
    store.database().across_tenants().execute(sql, vec![TENANT.into(), id_of(&gone).into()]).await.unwrap();
    assert_eq!(store.file_usage(TENANT).await.unwrap(), 9, "it counts until it is swept");
    assert_eq!(store.sweep_files_older_than(Duration::ZERO).await.unwrap().removed, 4);
    assert_eq!((objects(directory.path()).len(), store.file_usage(TENANT).await.unwrap()), (1, 4));
    assert_eq!(read(store, &kept, 0..4).await.unwrap(), b"kept");
    assert_eq!(store.sweep_files_older_than(Duration::ZERO).await.unwrap().removed, 0);
}

async fn deleted_files_come_back_whole(fixture: Fixture) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = with_files(fixture, directory.path(), 1 << 30).await;
    let store = &fixture.store;
    let file = upload(store, "a", b"one").await;
    send(store, TENANT, UploadTo::VersionOf(any(&file)), b"two").await.unwrap();
    let link = json!({ "file_id": file["id"], "expires_at": "2099-01-01T00:00:00Z" });
    let link = store.create_record(TENANT, &FILE_LINKS, &link, By::system()).await.unwrap().json;
    let (token, _) = store.sign_file_link(TENANT, id_of(&link)).await.unwrap();
    store.delete_record((TENANT, &FILES), any(&file), By::system()).await.unwrap();
    assert!(matches!(read(store, &file, 0..3).await, Err(FileError::NotFound(_))));
    assert!(store.use_file_link(&token, By::system()).await.is_err());
    assert_eq!(store.sweep_files_older_than(Duration::ZERO).await.unwrap().removed, 0);
    store.restore_record((TENANT, &FILES), any(&file), By::system()).await.unwrap();
    assert_eq!(read(store, &file, 0..3).await.unwrap(), b"two");
    assert_eq!(store.use_file_link(&token, By::system()).await.unwrap().content.number, 2);
    assert_eq!(store.all_records(TENANT, &FILE_VERSIONS).await.unwrap().len(), 2);
}

async fn files_go_with_their_run(fixture: Fixture) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = with_files(fixture, directory.path(), 1 << 30).await;
    let store = &fixture.store;
    let run = started(store).await;
    let file = json!({ "name": "log.txt", "run_id": run.to_string() });
    send(store, TENANT, UploadTo::New(file), b"it went well\n").await.unwrap();
    upload(store, "other", b"other").await;
    done(store.commit(becomes(store, run, 2, RunStatus::Completed)).await);
    assert!(store.delete_run(TENANT, run).await.unwrap());
    let left = store.all_records(TENANT, &FILES).await.unwrap();
    assert_eq!(left.iter().map(|it| it["name"].as_str().unwrap()).collect::<Vec<_>>(), ["other"]);
    assert_eq!(store.all_records(TENANT, &FILE_VERSIONS).await.unwrap().len(), 1);
    assert_eq!(store.sweep_files_older_than(Duration::ZERO).await.unwrap().removed, 1);
    assert_eq!(objects(directory.path()).len(), 1);
}

async fn links_lead_there_until_they_do_not(fixture: Fixture) {
    let directory = tempfile::tempdir().unwrap();
    let fixture = with_files(fixture, directory.path(), 1 << 30).await;
    let store = &fixture.store;
    let file = upload(store, "a", b"one").await;
    let link = async |more: Json| {
        let mut body = json!({ "file_id": file["id"], "expires_at": "2099-01-01T00:00:00Z" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let link = store.create_record(TENANT, &FILE_LINKS, &body, By::named("token:ada")).await.unwrap().json;
        let (token, _) = store.sign_file_link(TENANT, id_of(&link)).await.unwrap();
        (link, token)
    };
    let fetch = async |token: &str| store.use_file_link(token, By::named("somebody")).await.map(|it| it.content.number);
    let (first, token) = link(json!({})).await;
    assert_eq!(fetch(&token).await.unwrap(), 1);
    send(store, TENANT, UploadTo::VersionOf(any(&file)), b"two").await.unwrap();
    assert_eq!(fetch(&token).await.unwrap(), 2, "the newest");
    let (_, pinned) = link(json!({ "version": 1 })).await;
    assert_eq!(fetch(&pinned).await.unwrap(), 1);
    let (_, twice) = link(json!({ "downloads_max": 2 })).await;
    let uses = futures::future::join_all((0..8).map(|_| fetch(&twice))).await;
    assert_eq!(uses.iter().filter(|it| it.is_ok()).count(), 2, "however many come at once");
    let (_, past) = link(json!({ "expires_at": "2020-01-01T00:00:00Z" })).await;
    assert!(fetch(&past).await.is_err());
    // What is not ours is refused, whatever is changed of it.
    for at in 0..token.len() {
        let mut wrong: Vec<u8> = token.clone().into_bytes();
        wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
        assert!(fetch(std::str::from_utf8(&wrong).unwrap()).await.is_err(), "changed at {at}");
    }
    for wrong in ["", "x", &token[1..], &format!("{token}AAAA")] {
        assert!(fetch(wrong).await.is_err(), "{wrong}");
    }
    let revoke = FILE_LINKS.transition("revoke").unwrap();
    store.transition_record((TENANT, &FILE_LINKS), (any(&first), revoke), &json!({}), By::system()).await.unwrap();
    assert!(fetch(&token).await.is_err());
    assert!(store.sign_file_link(TENANT, id_of(&first)).await.is_err());
    let used = store.record(TENANT, &FILE_LINKS, id_of(&first)).await.unwrap().json;
    assert_eq!((&used["downloads"], &used["status"]), (&json!(2), &json!("revoked")));
    let audit = store.all_records(TENANT, &windlass_resource::records::audit::AUDIT_ENTRIES).await.unwrap();
    let by = format!("link:{}", first["id"].as_str().unwrap());
    let downloads = audit.iter().filter(|it| it["action"] == "download" && it["created_by"] == by.as_str());
    assert_eq!(downloads.count(), 2);
}

async fn all_files_are_copied_and_compared(fixture: Fixture) {
    let (directory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut fixture = with_files(fixture, directory.path(), 1 << 30).await;
    let totals = |versions, bytes: usize| FileTotals { versions, bytes: bytes as u64 };
    assert_eq!(fixture.store.file_totals().await.unwrap(), totals(0, 0));
    let all = noise(2 * MIB + 5);
    let sizes = [0, 7, MIB, all.len()];
    let mut files = Vec::new();
    for size in sizes {
        files.push(upload(&fixture.store, &format!("{size}.bin"), &all[..size]).await);
    }
    // Former versions, deleted files and other tenants' are copied too.
    send(&fixture.store, TENANT, UploadTo::VersionOf(any(&files[1])), &all[..9]).await.unwrap();
    let by = By::named("token:ada");
    fixture.store.delete_record((TENANT, &FILES), any(&files[2]), by).await.unwrap();
    let tenant = fixture.store.create_tenant("other", "Other").await.unwrap().key;
    send(&fixture.store, tenant, UploadTo::New(json!({ "name": "theirs" })), b"theirs").await.unwrap();
    let whole = totals(6, sizes.iter().sum::<usize>() + 9 + 6);
    assert_eq!(fixture.store.file_totals().await.unwrap(), whole);

    let place = other.path().display().to_string();
    let mut seen = Vec::new();
    let copied = fixture.store.copy_files(&place, &mut |it| seen.push(it)).await.unwrap();
    assert_eq!((copied.seen, copied.copied, copied.problem_count), (whole, whole, 0));
    assert_eq!((seen.len(), seen.last()), (6, Some(&whole)));
    // A copy that was broken off is gone on with.
    let lost = objects(other.path()).into_iter().find(|path| path.metadata().unwrap().len() == 9).unwrap();
    std::fs::remove_file(&lost).unwrap();
    let again = fixture.store.copy_files(&place, &mut |_| ()).await.unwrap();
    assert_eq!((again.seen, again.copied, again.problem_count), (whole, totals(1, 9), 0));

    // It serves from there, and says what is damaged there; that is not copied back.
    fixture = with_files(fixture, other.path(), 1 << 30).await;
    let checked = fixture.store.check_files(&mut |_| ()).await.unwrap();
    assert_eq!((checked.seen, checked.copied, checked.problem_count), (whole, totals(0, 0), 0));
    assert_eq!(read(&fixture.store, &files[3], 0..all.len() as u64).await.unwrap(), all);
    std::fs::write(&lost, b"123456789").unwrap();
    let largest = objects(other.path()).into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    std::fs::remove_file(largest).unwrap();
    let damaged = fixture.store.check_files(&mut |_| ()).await.unwrap();
    let said = damaged.problems.join("\n");
    assert_eq!((damaged.seen, damaged.problem_count), (whole, 2), "{said}");
    assert!(said.contains("`7.bin`: ") && said.contains("checksum"), "{said}");
    assert!(said.contains(&format!("`{}.bin`: ", all.len())) && said.contains("not in the storage"), "{said}");
    let empty = tempfile::tempdir().unwrap();
    let copied = fixture.store.copy_files(&empty.path().display().to_string(), &mut |_| ()).await.unwrap();
    assert_eq!((copied.copied.versions, copied.problem_count, objects(empty.path()).len()), (4, 2, 4));
    let options = windlass_store::StoreOptions { files: None, ..fixture.options.clone() };
    fixture.options = options;
    fixture.reopen().await;
    assert!(matches!(fixture.store.check_files(&mut |_| ()).await, Err(FileError::NoStorage)));
}
