//! The vault: keys that are found, lost, wrong and copied; what is sealed with them.

use std::sync::Arc;

use serde_json::json;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{Dialect, Record, ddl, records::people::SECOND_FACTORS};
use windlass_store::{
    By, KeySource, Location, MasterKey, Missing, RecordError, Rotate, Store, StoreError, StoreOptions, Target, admin,
};
use windlass_testkit::library::{self, BOOKS, SHELVES};

use crate::harness::{Fixture, TENANT};

crate::on_every_store!(
    a_wrong_or_lost_key_refuses_and_says_how_to_recover,
    secrets_are_sealed_for_their_row_alone,
    a_copy_needs_the_key_of_its_source,
    what_is_forgotten_can_be_given_anew,
    purposes_have_keys_that_stay,
    a_rotation,
);

const OTHER: TenantKey = TenantKey(2);
const PIN: &str = "9Qpin7zX";

async fn with_library(mut fixture: Fixture) -> Fixture {
    fixture.options.records = library::and_the_products();
    fixture.reopen().await;
    let dialect: Dialect = fixture.store.database().dialect().into();
    for statement in ddl::create_tables(library::ALL, dialect).split(";\n").filter(|it| !it.trim().is_empty()) {
        fixture.store.database().across_tenants().execute(statement.to_owned(), vec![]).await.unwrap();
    }
    fixture.store.add_tenant(OTHER, "other").await.unwrap();
    fixture
}

async fn make(store: &Store, tenant: TenantKey, record: &'static Record, body: serde_json::Value) -> Uuid {
    let made = store.create_record(tenant, record, &body, By::system()).await.unwrap().json;
    made["id"].as_str().unwrap().parse().unwrap()
}

async fn book(store: &Store, tenant: TenantKey, pin: &str) -> Uuid {
    let shelf = make(store, tenant, &SHELVES, json!({ "name": format!("s{}", Uuid::now_v7().simple()) })).await;
    let title = format!("t{}", Uuid::now_v7().simple());
    make(store, tenant, &BOOKS, json!({ "title": title, "shelf_id": shelf, "pin": pin, "badge": "badge-of-iron" }))
        .await
}

async fn pin(store: &Store, tenant: TenantKey, book: Uuid) -> Option<String> {
    let found = store.reveal((tenant, &BOOKS), book, "pin").await.unwrap();
    found.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

fn text(key: &MasterKey) -> KeySource {
    KeySource::Text { holder: "A_VARIABLE", keys: Arc::new(key.to_text()) }
}

async fn refused(options: &StoreOptions) -> String {
    match Store::open(options.clone()).await {
        Err(StoreError::Locked(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it opens"),
    }
}

async fn a_wrong_or_lost_key_refuses_and_says_how_to_recover(mut fixture: Fixture) {
    let id = fixture.store.vault_status().await.unwrap().accepted[0].id;
    fixture.store.close().await;
    let options = fixture.options.clone();
    let wrong = MasterKey::generate().unwrap();
    let said = refused(&StoreOptions { master_key: text(&wrong), ..options.clone() }).await;
    for part in [&id.to_string(), &wrong.id().to_string(), "A_VARIABLE", "--master-key-file", "vault forget --yes"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let nowhere = KeySource::File { path: "/nowhere/master.key".into(), missing: Missing::Make };
    for lost in [KeySource::Absent, nowhere] {
        let said = refused(&StoreOptions { master_key: lost, ..options.clone() }).await;
        assert!(said.contains(&id.to_string()) && said.contains("To recover"), "{said}");
    }
    // Whoever looks after the database needs no key; nor does a refusal leave anything behind.
    let visit = StoreOptions { master_key: KeySource::Unasked, lanes: 0, ..options };
    let visited = Store::open(visit).await.unwrap();
    assert!(!visited.vault().is_open() && visited.vault().derive("x").is_err());
    visited.close().await;
    fixture.reopen().await;
    let status = fixture.store.vault_status().await.unwrap();
    assert!(status.is_open && status.accepted.len() == 1 && status.accepted[0].held);
}

async fn secrets_are_sealed_for_their_row_alone(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let (one, two, others) =
        (book(store, TENANT, PIN).await, book(store, TENANT, PIN).await, book(store, OTHER, PIN).await);
    assert_eq!(pin(store, TENANT, one).await.as_deref(), Some(PIN));
    assert_eq!(pin(store, OTHER, others).await.as_deref(), Some(PIN));
    let missing = store.reveal((TENANT, &BOOKS), others, "pin").await;
    assert!(matches!(missing, Err(RecordError::NotFound { .. })));
    let rows = store.database().across_tenants().query("select pin, badge from books", vec![]).await.unwrap();
    let kept: Vec<Vec<u8>> = rows.iter().map(|row| row.bytes(0).unwrap()).collect();
    assert!(kept.iter().all(|it| it.len() == 1 + 16 + 12 + PIN.len() + 16));
    assert!(kept[0] != kept[1] && kept[1][1..17] != kept[2][1..17] || kept[0][1..17] != kept[2][1..17]);
    assert!(!kept.concat().windows(PIN.len()).any(|it| it == PIN.as_bytes()));
    assert_eq!(rows[0].bytes(1).unwrap(), windlass_store::blobs::sha256(b"badge-of-iron"));
    // What was sealed for one row is of no use in another.
    let copy = "update books set pin = (select pin from books where id = $1) where id = $2";
    store.database().across_tenants().execute(copy, vec![two.into(), one.into()]).await.unwrap();
    let moved = store.reveal((TENANT, &BOOKS), one, "pin").await;
    assert!(matches!(moved, Err(RecordError::Store(StoreError::Damaged(_)))), "{moved:?}");
    // It is given anew, taken away, and audited without its value.
    let target = Target { id: one, expect: None };
    store.update_record((TENANT, &BOOKS), target, &json!({ "pin": "0ther1" }), By::system()).await.unwrap();
    assert_eq!(pin(store, TENANT, one).await.as_deref(), Some("0ther1"));
    store.update_record((TENANT, &BOOKS), target, &json!({ "pin": null }), By::system()).await.unwrap();
    assert_eq!(pin(store, TENANT, one).await, None);
}

async fn a_copy_needs_the_key_of_its_source(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let value = book(store, TENANT, PIN).await;
    for table in ["books", "shelves", "editors"] {
        // The library's tables are in no backup: what is looked at below is the keys and one value.
        assert!(store.records().iter().any(|record| record.name == table));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    store.backup(&file, &mut |_| ()).await.unwrap();
    let row = store
        .database()
        .across_tenants()
        .query("select pin from books where id = $1", vec![value.into()])
        .await
        .unwrap();
    let sealed = row[0].bytes(0).unwrap();
    let server = windlass_testkit::postgres().await;
    let copies =
        [Location::Sqlite { data_dir: dir.path().join("copy") }, Location::Postgres { url: server.url.clone() }];
    for location in copies {
        let options = StoreOptions { records: library::and_the_products(), ..StoreOptions::new(location) };
        admin::restore(&file, options.clone(), &mut |_| ()).await.unwrap();
        if let Location::Sqlite { data_dir } = &options.location {
            assert!(!data_dir.join("master.key").exists(), "a copy makes no key");
        }
        let said = refused(&options).await;
        assert!(said.contains("To recover"), "{said}");
        let copy = Store::open(StoreOptions { master_key: fixture.master_key(), ..options }).await.unwrap();
        for statement in ddl::create_tables(library::ALL, copy.database().dialect().into()).split(";\n") {
            if !statement.trim().is_empty() {
                copy.database().across_tenants().execute(statement.to_owned(), vec![]).await.unwrap();
            }
        }
        let there = book(&copy, TENANT, "placeh").await;
        let put = "update books set id = $1, pin = $2 where id = $3";
        copy.database()
            .across_tenants()
            .execute(put, vec![value.into(), sealed.clone().into(), there.into()])
            .await
            .unwrap();
        assert_eq!(pin(&copy, TENANT, value).await.as_deref(), Some(PIN));
        copy.close().await;
    }
}

async fn what_is_forgotten_can_be_given_anew(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let one = book(&fixture.store, TENANT, PIN).await;
    let before = fixture.store.vault_status().await.unwrap().accepted[0].id;
    if fixture.store.is_shared() {
        let error = admin::forget_vault(fixture.options.clone()).await.unwrap_err();
        assert!(error.to_string().contains("stop it first"), "{error}");
    }
    fixture.store.close().await;
    assert_eq!(admin::forget_vault(fixture.options.clone()).await.unwrap(), 1);
    let key = MasterKey::generate().unwrap();
    let store = Store::open(StoreOptions { master_key: text(&key), ..fixture.options.clone() }).await.unwrap();
    assert_ne!(store.vault_status().await.unwrap().accepted[0].id, before);
    assert_eq!(pin(&store, TENANT, one).await, None);
    let target = Target { id: one, expect: None };
    store.update_record((TENANT, &BOOKS), target, &json!({ "pin": "again1" }), By::system()).await.unwrap();
    assert_eq!(pin(&store, TENANT, one).await.as_deref(), Some("again1"));
    store.close().await;
}

async fn purposes_have_keys_that_stay(mut fixture: Fixture) {
    let key = |store: &Store, purpose: &str| *store.vault().derive(purpose).unwrap().as_bytes();
    let audit = key(&fixture.store, "audit checkpoints 1");
    assert_ne!(audit, key(&fixture.store, "audit checkpoints 2"));
    fixture.reopen().await;
    assert_eq!(audit, key(&fixture.store, "audit checkpoints 1"));
}

#[tokio::test]
async fn without_a_key_all_but_secrets_works_where_the_vault_was_never_used() {
    let server = windlass_testkit::postgres().await;
    let options = StoreOptions::new(Location::Postgres { url: server.url.clone() });
    let store = Store::open(options.clone()).await.unwrap();
    assert!(!store.vault().is_open());
    let error = store.vault().derive("audit").err().unwrap().to_string();
    assert!(error.contains("no master key was given") && error.contains("windlass vault new-key"), "{error}");
    store.close().await;
    // Of servers that start at once with different keys one sets the vault up, and the others say so.
    let keys: Vec<MasterKey> = (0..4).map(|_| MasterKey::generate().unwrap()).collect();
    let opened = keys.iter().map(|key| Store::open(StoreOptions { master_key: text(key), ..options.clone() }));
    let opened = futures::future::join_all(opened).await;
    assert_eq!(opened.iter().filter(|it| it.is_ok()).count(), 1);
    for store in opened.into_iter().flatten() {
        assert_eq!(store.vault_status().await.unwrap().accepted.len(), 1);
        store.close().await;
    }
}

/// A library with a secret of two tenants, and the options by which other servers would open it.
async fn a_rotation(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let (one, two) = (book(store, TENANT, PIN).await, book(store, OTHER, PIN).await);
    // What is the installation's is sealed too, whoever writes it.
    let factor = crate::library::make(store, OTHER, &SECOND_FACTORS, json!({})).await;
    let purpose = *store.vault().derive("audit").unwrap().as_bytes();
    let before = store.vault_status().await.unwrap().accepted[0].id;
    if store.is_shared() {
        let refused = store.rotate_vault(Rotate::MasterKey).await.unwrap_err().to_string();
        assert!(refused.contains("windlass vault new-key"), "{refused}");
        return;
    }
    // A data directory makes its next key by itself, and keeps the old one apart.
    let done = store.rotate_vault(Rotate::MasterKey).await.unwrap();
    assert!(done.is_done && done.waiting_for.is_empty());
    let status = store.vault_status().await.unwrap();
    assert!(status.accepted.len() == 1 && status.accepted[0].held && status.accepted[0].id != before);
    // Data keys go in one step, and rows follow in batches, whoever takes them up.
    let sealed = |row: &windlass_store::Row| row.bytes(0).unwrap();
    let rows = "select pin from books order by id";
    let old: Vec<_> = store.database().across_tenants().query(rows, vec![]).await.unwrap().iter().map(sealed).collect();
    let rotation = store.rotate_vault(Rotate::DataKeys).await.unwrap();
    assert_eq!(rotation.rows_left, 3);
    assert_eq!(pin(store, TENANT, one).await.as_deref(), Some(PIN), "what is not sealed anew yet still opens");
    let late = book(store, TENANT, "later1").await;
    let mut fixture = fixture;
    fixture.reopen().await;
    let store = &fixture.store;
    while store.keep_vault().await.unwrap() > 0 {}
    let new: Vec<_> = store.database().across_tenants().query(rows, vec![]).await.unwrap().iter().map(sealed).collect();
    assert!(old.iter().all(|it| !new.contains(it)) && new.len() == 3);
    let status = store.vault_status().await.unwrap();
    assert_eq!((status.rows_left, status.data_keys), (0, 2), "the old keys are gone");
    for (tenant, book, value) in [(TENANT, one, PIN), (OTHER, two, PIN), (TENANT, late, "later1")] {
        assert_eq!(pin(store, tenant, book).await.as_deref(), Some(value));
    }
    let place = (TenantKey::DEFAULT, &SECOND_FACTORS);
    let factor: Uuid = factor["id"].as_str().unwrap().parse().unwrap();
    let secret = store.reveal(place, factor, "secret").await.unwrap().unwrap();
    assert_eq!(secret.as_slice(), b"3132333435363738393031323334353637383930");
    assert_eq!(purpose, *store.vault().derive("audit").unwrap().as_bytes(), "what was signed stays checkable");
}

/// Several servers on one PostgreSQL: the old key is accepted until each of them holds the new one.
#[tokio::test]
async fn servers_go_over_to_a_new_master_key_one_by_one() {
    let fixture = with_library(Fixture::postgres().await).await;
    let KeySource::Text { keys, .. } = fixture.options.master_key.clone() else { panic!("another source") };
    let one = book(&fixture.store, TENANT, PIN).await;
    let next = MasterKey::generate().unwrap();
    let both = Arc::new(zeroize::Zeroizing::new(format!("{} {}", keys.as_str(), next.to_text().as_str())));
    let both = KeySource::Text { holder: "the test", keys: both };
    let options = StoreOptions { master_key: both, node_name: "second".into(), ..fixture.options.clone() };
    let second = Store::open(options).await.unwrap();
    let rotation = second.rotate_vault(Rotate::MasterKey).await.unwrap();
    assert_eq!((rotation.is_done, rotation.waiting_for.as_slice()), (false, &["windlass".to_owned()][..]));
    // Both work meanwhile, and one with the old key alone may even start.
    assert_eq!(pin(&fixture.store, TENANT, one).await.as_deref(), Some(PIN));
    let two = book(&second, OTHER, PIN).await;
    assert_eq!(pin(&fixture.store, OTHER, two).await.as_deref(), Some(PIN));
    Store::open(fixture.options.clone()).await.unwrap().close().await;
    fixture.store.close().await;
    let rotation = second.rotate_vault(Rotate::MasterKey).await.unwrap();
    assert!(rotation.is_done, "{rotation:?}");
    let said = refused(&fixture.options).await;
    assert!(said.contains(&next.id().to_string()), "{said}");
    // Data keys are replaced under load by one server, and the other one finds out.
    let third = StoreOptions { master_key: text(&next), node_name: "third".into(), ..fixture.options.clone() };
    let third = Store::open(third).await.unwrap();
    let three = book(&third, TENANT, "third1").await;
    second.rotate_vault(Rotate::DataKeys).await.unwrap();
    let four = book(&third, TENANT, "fourth").await;
    while third.keep_vault().await.unwrap() + second.keep_vault().await.unwrap() > 0 {}
    assert_eq!(third.vault_status().await.unwrap().rows_left, 0);
    for (tenant, book, value) in
        [(TENANT, one, PIN), (OTHER, two, PIN), (TENANT, three, "third1"), (TENANT, four, "fourth")]
    {
        assert_eq!(pin(&second, tenant, book).await.as_deref(), Some(value));
        assert_eq!(pin(&third, tenant, book).await.as_deref(), Some(value));
    }
    second.close().await;
    third.close().await;
}
