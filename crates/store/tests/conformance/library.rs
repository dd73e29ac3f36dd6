//! Records: what holds for every descriptor, tried on the product's own and on a library that has every kind of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Access, Dialect, FieldError, Kind, Operation, Record, Unique, Writing, ddl,
    list::ListQuery,
    records::{audit::AUDIT_ENTRIES, workflows},
};
use windlass_store::{By, Draft, Holds, IfMatch, RecordError, Store, Target, blobs};
use windlass_testkit::library::{self, ALARMS, BOOKS, EDITORS, LANGUAGES, LOANS, REMARKS, SHELVES};

use crate::harness::{Fixture, TENANT};

crate::on_every_store!(
    declared_and_migrated_tables_are_the_same,
    every_value_at_its_bounds_comes_back,
    each_listed_transition_is_accepted_and_no_other,
    nobody_sees_or_touches_anothers_rows,
    what_is_wrong_is_told_at_once_and_leaves_no_trace,
    somebody_is_faster,
    rows_are_deleted_restored_and_let_go_of,
    lists_are_filtered_sorted_searched_and_paged,
    folders_are_never_inside_themselves,
    every_change_is_audited_without_its_secrets,
    what_is_over_is_cleared_away,
    rows_survive_a_backup,
);

pub const OTHER: TenantKey = TenantKey(2);
/// Columns that their record's behaviour looks at beyond their descriptors.
const BEYOND: &[(&str, &str)] = &[
    ("credentials", "credential_type"),
    ("credentials", "fields"),
    ("credentials", "secret_fields"),
    ("files", "run_id"),
    ("oauth_applications", "redirect_uris"),
    ("oauth_applications", "scopes"),
    ("credential_shares", "folder_id"),
    ("credential_shares", "group_id"),
    ("credential_shares", "member_id"),
    ("credential_shares", "workflow_id"),
    ("secret_shares", "folder_id"),
    ("secret_shares", "group_id"),
    ("secret_shares", "member_id"),
    ("secret_shares", "workflow_id"),
    ("credentials", "hosts"),
    ("secrets", "hosts"),
    ("role_assignments", "group_id"),
    ("role_assignments", "member_id"),
    ("roles", "permissions"),
];

fn by(who: &str) -> By {
    let holds = Holds::Everything;
    By { who: who.to_owned(), request_id: Some("r-1".to_owned()), user_agent: None, address: None, holds, member: None }
}

fn ada() -> By {
    by("token:ada")
}

fn target(id: Uuid) -> Target {
    Target { id, expect: None }
}

fn id_of(row: &Json) -> Uuid {
    row["id"].as_str().unwrap().parse().unwrap()
}

/// The library's tables beside the product's, and a second tenant.
pub async fn with_library(mut fixture: Fixture) -> Fixture {
    fixture.options.records = library::and_the_products();
    fixture.reopen().await;
    let dialect: Dialect = fixture.store.database().dialect().into();
    run_all(&fixture.store, &ddl::create_tables(library::ALL, dialect)).await;
    fixture.store.add_tenant(OTHER, "other").await.unwrap();
    fixture
}

async fn run_all(store: &Store, sql: &str) {
    for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        store
            .database()
            .across_tenants()
            .execute(statement.to_owned(), vec![])
            .await
            .unwrap_or_else(|error| panic!("{error}: {statement}"));
    }
}

/// A row of a record, with whatever it refers to.
pub async fn make(store: &Store, tenant: TenantKey, record: &'static Record, change: Json) -> Json {
    let body = body(store, tenant, record, change).await;
    let made = match record.operations().iter().any(|it| matches!(it, Operation::Create)) {
        true => store.create_record(tenant, record, &body, ada()).await,
        false => store.add_record(tenant, record, &body, ada()).await,
    };
    made.unwrap_or_else(|error| panic!("{}: {error}: {body}", record.name)).json
}

/// The body of a row that nothing is like.
async fn body(store: &Store, tenant: TenantKey, record: &'static Record, change: Json) -> Json {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let example = record.examples.first().copied().unwrap_or(r#"{"action": "try", "record": "nothing"}"#);
    let mut body: Json = serde_json::from_str(example).unwrap();
    for (name, value) in change.as_object().unwrap() {
        body[name] = value.clone();
    }
    for (column, to, _) in record.references() {
        let is_named = column.required || body.get(column.name).is_some();
        if is_named && change.get(column.name).is_none() {
            body[column.name] = json!(Box::pin(referred(store, tenant, to)).await.to_string());
        }
    }
    // Base64 of something that no other row has.
    if let Some(name) = record.found_by.filter(|name| change.get(name).is_none()) {
        body[name] = json!(format!("{count:08}"));
    }
    for name in record.unique.iter().flat_map(|Unique(columns)| *columns) {
        let column = record.column(name).unwrap();
        if matches!(column.kind, Kind::Text { .. }) && change.get(name).is_none() {
            body[*name] = json!(format!("{}_{count}", body[*name].as_str().unwrap_or("x")));
        }
    }
    body
}

async fn referred(store: &Store, tenant: TenantKey, to: &str) -> Uuid {
    match store.records().iter().find(|record| record.name == to) {
        Some(record) => id_of(&make(store, tenant, record, json!({})).await),
        None => {
            assert_eq!(to, "workflows", "a test knows how to make one");
            let name = format!("w{}", Uuid::now_v7().simple());
            let hash = blobs::sha256(b"{}");
            store.put_definition(tenant, hash, b"{}").await.unwrap();
            let draft = Draft {
                name: name.clone(),
                description: String::new(),
                tags: Vec::new(),
                source: "{}".to_owned(),
                hash,
                folder: None,
                made_from: None,
            };
            store.put_draft(tenant, draft, IfMatch::Any).await.unwrap();
            store.workflow(tenant, &name).await.unwrap().unwrap().id.uuid()
        }
    }
}

/// What the live database knows of the tables of records, in any order.
async fn live_schema(store: &Store, records: &[&Record]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for record in records {
        let queries: &[&str] = match Dialect::from(store.database().dialect()) {
            Dialect::Postgres => &[
                "select 'column ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull \
                 || coalesce(' ' || pg_get_expr(d.adbin, d.adrelid), '') || ' ' || coalesce(c.collname, '') \
                 from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
                 left join pg_collation c on c.oid = a.attcollation \
                 where a.attrelid = to_regclass('{table}') and a.attnum > 0 and not a.attisdropped",
                "select 'constraint ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint \
                 where conrelid = to_regclass('{table}')",
                "select indexdef from pg_indexes where schemaname = current_schema() and tablename = '{table}'",
            ],
            Dialect::Sqlite => &[
                "select 'column ' || name || ' ' || type || ' ' || \"notnull\" || ' ' || pk || coalesce(' ' || dflt_value, '') \
                 from pragma_table_xinfo('{table}')",
                "select 'reference ' || \"table\" || ' ' || seq || ' ' || \"from\" || ' ' || \"to\" || ' ' || on_delete \
                 from pragma_foreign_key_list('{table}')",
                "select sql from sqlite_schema where tbl_name = '{table}' and type = 'index' and sql is not null",
                "select sql from sqlite_schema where name = '{table}' and type = 'table'",
            ],
        };
        for sql in queries {
            for row in
                store.database().across_tenants().query(sql.replace("{table}", record.name), vec![]).await.unwrap()
            {
                let text = row.string(0).unwrap();
                // The statement that made a table: a column that was added later may stand elsewhere in it.
                match text.strip_prefix("CREATE TABLE").or(text.strip_prefix("create table")) {
                    None => found.extend([format!("{}: {text}", record.name)]),
                    Some(rest) => found.extend(
                        rest.split("constraint ")
                            .skip(1)
                            .map(|it| format!("{}: constraint {}", record.name, constraint(it))),
                    ),
                }
            }
        }
    }
    found
}

/// A constraint as it stands in a table's statement, without what follows it there: one of a column that was added
/// later stands between others.
fn constraint(text: &str) -> &str {
    let (mut open, start) = (0, text.find(" check (").unwrap_or(text.len()));
    for (at, char) in text.char_indices().skip(start) {
        open += i32::from(char == '(') - i32::from(char == ')');
        if char == ')' && open == 0 {
            return &text[..=at];
        }
    }
    text.trim_end().trim_end_matches("strict").trim_end_matches([')', ' ', '\n', ','])
}

/// Declared and migrated tables agree: what the migrations made, and what the descriptors make today.
async fn declared_and_migrated_tables_are_the_same(fixture: Fixture) {
    let store = &fixture.store;
    let records = store.records();
    assert!(records.len() >= 5);
    let migrated = live_schema(store, records).await;
    assert!(migrated.len() > 60, "{migrated:#?}");
    let dialect = store.database().dialect().into();
    // Everything refers to what the core counts by: it stays, and is compared with one made anew beside it.
    let (kept, made): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|record| record.key != "id");
    for record in made.iter().rev() {
        store.database().across_tenants().execute(format!("drop table {}", record.name), vec![]).await.unwrap();
    }
    assert!(live_schema(store, &made).await.is_empty());
    run_all(store, &ddl::create_tables(&made, dialect)).await;
    let mut declared = live_schema(store, &made).await;
    for record in kept {
        let copy = Record { name: Box::leak(format!("{}_copy", record.name).into_boxed_str()), ..*record };
        run_all(store, &ddl::create_tables(&[&copy], dialect)).await;
        let copied = live_schema(store, &[&copy]).await;
        declared.extend(copied.iter().map(|line| line.replace(copy.name, record.name)));
        store.database().across_tenants().execute(format!("drop table {}", copy.name), vec![]).await.unwrap();
    }
    let differ: Vec<&String> = migrated.symmetric_difference(&declared).collect();
    assert!(differ.is_empty(), "a migration is missing, or does something else: {differ:#?}");
    let differences = store.validate().await.unwrap();
    // The triggers of the audit went with its table.
    let others: Vec<&String> = differences.iter().filter(|it| !it.contains("audit_entries")).collect();
    assert!(others.is_empty(), "{others:?}");
    // A check that cannot fail is none.
    store.database().across_tenants().execute("alter table tags add column extra text", vec![]).await.unwrap();
    assert!(!live_schema(store, records).await.is_subset(&declared));
}

async fn every_value_at_its_bounds_comes_back(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let mut tried = 0;
    for record in store.records() {
        let by_callers = record.operations().iter().any(|it| matches!(it, Operation::Create));
        for column in record.columns {
            if column.internal
                || by_callers && column.access == Access::ReadOnly
                || BEYOND.contains(&(record.name, column.name))
            {
                continue;
            }
            for value in library::bounds(column) {
                let row = make(store, TENANT, record, json!({ (column.name): value })).await;
                if column.is_shown() {
                    let again = store.record(TENANT, record, id_of(&row)).await.unwrap().json;
                    assert_eq!(again[column.name], value, "{}.{}", record.name, column.name);
                    assert_eq!(again, row);
                } else {
                    assert_eq!(row.get(column.name), None, "a secret is shown");
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 80, "{tried}");
}

/// Brings a new row into a state, by a way that its transitions offer.
async fn row_in(store: &Store, record: &'static Record, state: &str) -> Uuid {
    let column = record.state().unwrap();
    let mut ways: BTreeMap<&str, Vec<&str>> = BTreeMap::from([(column.words().unwrap()[0], Vec::new())]);
    while !ways.contains_key(state) {
        let before = ways.len();
        for transition in record.transitions {
            let from = transition.from.iter().find_map(|from| ways.get(from).cloned());
            if let Some(mut way) = from.filter(|_| !ways.contains_key(transition.to)) {
                way.push(transition.verb);
                ways.insert(transition.to, way);
            }
        }
        assert!(ways.len() > before, "{} never is {state}", record.name);
    }
    let id = id_of(&make(store, TENANT, record, json!({})).await);
    for verb in &ways[state] {
        take(store, record, (id, verb)).await.unwrap();
    }
    id
}

async fn take(store: &Store, record: &'static Record, (id, verb): (Uuid, &str)) -> Result<Json, RecordError> {
    let transition = record.transition(verb).unwrap();
    let mut body = json!({});
    for (column, _) in windlass_resource::validate::taken(record, transition) {
        body[column.name] = json!("because");
    }
    let way = (target(id), transition);
    store.transition_record((TENANT, record), way, &body, by("token:grace")).await.map(|view| view.json)
}

async fn each_listed_transition_is_accepted_and_no_other(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let (mut accepted, mut refused) = (0, 0);
    for record in store.records().iter().filter(|record| record.state().is_some()) {
        let column = record.state().unwrap();
        for state in column.words().unwrap() {
            for transition in record.transitions {
                let id = row_in(store, record, state).await;
                let before = store.record(TENANT, record, id).await.unwrap().json;
                match take(store, record, (id, transition.verb)).await {
                    Ok(row) => {
                        assert!(transition.from.contains(state), "{} {} from {state}", record.name, transition.verb);
                        assert_eq!(row[column.name], transition.to);
                        assert_eq!(row["revision"], before["revision"].as_i64().unwrap() + 1);
                        accepted += 1;
                    }
                    Err(RecordError::Transition { allowed, state: found, .. }) => {
                        assert!(!transition.from.contains(state), "{} {} from {state}", record.name, transition.verb);
                        assert_eq!((found.as_str(), &allowed), (*state, &record.verbs_from(state)));
                        assert_eq!(store.record(TENANT, record, id).await.unwrap().json, before);
                        refused += 1;
                    }
                    Err(error) => panic!("{} {} from {state}: {error}", record.name, transition.verb),
                }
            }
        }
    }
    assert!(accepted >= 7 && refused >= 12, "{accepted} {refused}");
    // What an effect does, and what a guard asks for.
    let id = row_in(store, &BOOKS, "review").await;
    let publish = (target(id), BOOKS.transition("publish").unwrap());
    let own = store.transition_record((TENANT, &BOOKS), publish, &json!({}), ada()).await;
    assert!(matches!(own, Err(RecordError::Guarded { unmet, .. }) if unmet.len() == 1));
    let row = take(store, &BOOKS, (id, "reject")).await.unwrap();
    assert_eq!((&row["reason"], &row["rejections"]), (&json!("because"), &json!(1)));
    let id = row_in(store, &BOOKS, "published").await;
    let row = store.record(TENANT, &BOOKS, id).await.unwrap().json;
    assert_eq!(row["published_by"], "token:grace");
    assert!(row["published_at"].is_string() && row["reason"].is_null());
}

async fn nobody_sees_or_touches_anothers_rows(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let mut tried = 0;
    for record in store.records() {
        let row = make(store, TENANT, record, json!({})).await;
        let id = id_of(&row);
        let gone = |result: Result<(), RecordError>, what: &str| {
            let global = record.ownership == windlass_resource::Ownership::Global;
            assert!(
                global || matches!(result, Err(RecordError::NotFound { .. })),
                "{what} {}: {result:?}",
                record.name
            );
        };
        let shown = store.list_records(OTHER, record, &ListQuery::all(record)).await.unwrap().items;
        let global = record.ownership == windlass_resource::Ownership::Global;
        assert!(global || !shown.iter().any(|it| it["id"] == row["id"]), "{} lists another's", record.name);
        if global {
            assert!(shown.contains(&row), "{} is everybody's", record.name);
            continue;
        }
        for operation in record.operations() {
            let place = (OTHER, *record);
            let result = match operation {
                Operation::List | Operation::Export | Operation::Create => continue,
                Operation::Get => store.record(OTHER, record, id).await.map(|_| ()),
                Operation::Update => store.update_record(place, target(id), &json!({}), ada()).await.map(|_| ()),
                Operation::Delete => store.delete_record(place, target(id), ada()).await,
                Operation::Restore => store.restore_record(place, target(id), ada()).await.map(|_| ()),
                Operation::Transition(transition) => {
                    let mut body = json!({});
                    for (column, _) in windlass_resource::validate::taken(record, transition) {
                        body[column.name] = json!("because");
                    }
                    store.transition_record(place, (target(id), transition), &body, ada()).await.map(|_| ())
                }
            };
            gone(result, operation.verb());
            tried += 1;
        }
        // What belongs to another cannot be referred to, and that it is there cannot be learned.
        for (column, _, _) in record.references().filter(|(column, _, _)| column.access != Access::ReadOnly) {
            let theirs = row[column.name].as_str();
            let Some(theirs) = theirs else { continue };
            let mut body = body(store, OTHER, record, json!({})).await;
            body[column.name] = json!(theirs);
            let refused = store.create_record(OTHER, record, &body, ada()).await.unwrap_err();
            let RecordError::Invalid { errors, .. } = refused else { panic!("{}: {refused}", record.name) };
            body[column.name] = json!(Uuid::now_v7().to_string());
            let nowhere = store.create_record(OTHER, record, &body, ada()).await.unwrap_err();
            assert!(matches!(nowhere, RecordError::Invalid { errors: same, .. } if same == errors));
            tried += 1;
        }
        assert_eq!(store.record(TENANT, record, id).await.unwrap().json, row, "it is as it was");
    }
    assert!(tried > 30, "{tried}");
}

async fn what_is_wrong_is_told_at_once_and_leaves_no_trace(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let nowhere = Uuid::now_v7().to_string();
    let body = json!({ "title": "T", "shelf_id": nowhere, "editor_id": nowhere });
    let error = store.create_record(TENANT, &BOOKS, &body, ada()).await.unwrap_err();
    let RecordError::Invalid { errors, .. } = error else { panic!("{error}") };
    let lines: Vec<String> = errors.iter().map(|it| format!("{} {}", it.pointer, it.message)).collect();
    assert_eq!(lines, ["/shelf_id there is no such shelf", "/editor_id there is no such editor"]);
    let row = make(store, TENANT, &BOOKS, json!({ "slug": "one" })).await;
    let again = json!({ "title": row["title"], "shelf_id": row["shelf_id"], "slug": "ONE" });
    let error = store.create_record(TENANT, &BOOKS, &again, ada()).await.unwrap_err();
    let RecordError::Taken { errors, .. } = error else { panic!("{error}") };
    assert_eq!(errors.iter().map(|it| it.pointer.as_str()).collect::<Vec<_>>(), ["/slug", "/title"]);
    // Two without a slug are no rivals, nor are rows of different tenants.
    for _ in 0..2 {
        make(store, TENANT, &BOOKS, json!({ "slug": null })).await;
    }
    make(store, OTHER, &BOOKS, json!({ "slug": "one" })).await;
    let entries = store.all_records(TENANT, &AUDIT_ENTRIES).await.unwrap();
    let books = entries.iter().filter(|it| it["record"] == "books").count();
    assert_eq!(books, 3, "what was refused is not in the audit");
    // The database itself refuses what the program would not send.
    for wrong in ["copies = -1", "language = 'fr'", "status = 'published'", "title = ''", "labels = '[]'"] {
        let sql = format!("update books set {wrong} where slug = 'one'");
        let refused = store.database().across_tenants().execute(sql, vec![]).await.unwrap_err();
        assert!(matches!(refused.code(), Some("23514" | "sqlite:275")), "{wrong}: {refused:?}");
    }
}

async fn somebody_is_faster(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let row = make(store, TENANT, &SHELVES, json!({})).await;
    let id = id_of(&row);
    let seen = Target { id, expect: Some(1) };
    let all = (0..8).map(|n| {
        let body = json!({ "name": format!("name {n}") });
        async move { store.update_record((TENANT, &SHELVES), seen, &body, ada()).await }
    });
    let results = futures::future::join_all(all).await;
    let (mut done, mut stale) = (0, 0);
    for result in results {
        match result {
            Ok(view) => {
                assert_eq!(view.revision, Some(2));
                done += 1;
            }
            Err(RecordError::Stale { expected: 1, found: 2, .. }) => stale += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((done, stale), (1, 7));
    // A change that changes nothing is none.
    let same = store.record(TENANT, &SHELVES, id).await.unwrap();
    let body = json!({ "name": same.json["name"] });
    assert_eq!(store.update_record((TENANT, &SHELVES), target(id), &body, ada()).await.unwrap(), same);
    let deleted = store.delete_record((TENANT, &SHELVES), seen, ada()).await;
    assert!(matches!(deleted, Err(RecordError::Stale { found: 2, .. })));
    // Of two that want one name, one gets it.
    let rivals = (0..4).map(|_| store.create_record(TENANT, &SHELVES, &RIVAL, ada()));
    static RIVAL: std::sync::LazyLock<Json> = std::sync::LazyLock::new(|| json!({ "name": "rival" }));
    let results = futures::future::join_all(rivals).await;
    assert_eq!(results.iter().filter(|it| it.is_ok()).count(), 1, "{results:?}");
    let names_the_field = |errors: &[FieldError]| errors.len() == 1 && errors[0].pointer == "/name";
    let told = |it: &Result<_, _>| match it {
        Ok(_) => true,
        Err(RecordError::Taken { errors, .. }) => names_the_field(errors),
        Err(_) => false,
    };
    assert!(results.iter().all(told), "{results:?}");
}

async fn rows_are_deleted_restored_and_let_go_of(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let editor = make(store, TENANT, &EDITORS, json!({})).await;
    let book = make(store, TENANT, &BOOKS, json!({ "editor_id": editor["id"] })).await;
    let remark = make(store, TENANT, &REMARKS, json!({ "book_id": book["id"] })).await;
    let loan = make(store, TENANT, &LOANS, json!({ "book_id": book["id"] })).await;
    let shelf: Uuid = book["shelf_id"].as_str().unwrap().parse().unwrap();
    let in_use = store.delete_record((TENANT, &SHELVES), target(shelf), ada()).await;
    assert!(matches!(in_use, Err(RecordError::InUse { by: "books", .. })), "{in_use:?}");
    store.delete_record((TENANT, &EDITORS), target(id_of(&editor)), ada()).await.unwrap();
    let let_go = store.record(TENANT, &BOOKS, id_of(&book)).await.unwrap().json;
    assert!(let_go["editor_id"].is_null());
    store.delete_record((TENANT, &BOOKS), target(id_of(&book)), ada()).await.unwrap();
    // What was let go of, and what went with it, is in the audit by itself.
    for (row, actions, last) in [
        (&book, vec!["create", "update", "delete"], "editor_id"),
        (&remark, vec!["create", "delete"], "book_id"),
        (&loan, vec!["create", "delete"], "book_id"),
    ] {
        let pairs =
            [("record_id".to_owned(), row["id"].as_str().unwrap().to_owned()), ("sort".to_owned(), "id".to_owned())];
        let query = ListQuery::parse(&AUDIT_ENTRIES, &pairs).unwrap();
        let entries = store.list_records(TENANT, &AUDIT_ENTRIES, &query).await.unwrap().items;
        let said: Vec<&str> = entries.iter().map(|it| it["action"].as_str().unwrap()).collect();
        assert_eq!(said, actions, "{row}");
        assert_eq!(entries[1]["changes"][last], json!({ "from": row[last] }), "{row}");
    }
    for (record, row) in [(&BOOKS, &book), (&REMARKS, &remark), (&LOANS, &loan)] {
        let gone = store.record(TENANT, record, id_of(row)).await;
        assert!(matches!(gone, Err(RecordError::NotFound { .. })), "{}", record.name);
    }
    // A shelf is hidden, and comes back; its name is free meanwhile.
    store.delete_record((TENANT, &SHELVES), target(shelf), ada()).await.unwrap();
    assert!(store.record(TENANT, &SHELVES, shelf).await.is_err());
    assert!(store.update_record((TENANT, &SHELVES), target(shelf), &json!({}), ada()).await.is_err());
    assert!(store.delete_record((TENANT, &SHELVES), target(shelf), ada()).await.is_err());
    let onto = json!({ "title": "T", "shelf_id": shelf.to_string() });
    assert!(matches!(store.create_record(TENANT, &BOOKS, &onto, ada()).await, Err(RecordError::Invalid { .. })));
    let deleted = ListQuery::parse(&SHELVES, &[("deleted".to_owned(), "true".to_owned())]).unwrap();
    let hidden = store.list_records(TENANT, &SHELVES, &deleted).await.unwrap().items;
    assert_eq!(hidden.len(), 1);
    let rival = make(store, TENANT, &SHELVES, json!({ "name": hidden[0]["name"] })).await;
    let taken = store.restore_record((TENANT, &SHELVES), target(shelf), ada()).await;
    assert!(matches!(taken, Err(RecordError::Taken { .. })), "{taken:?}");
    store.delete_record((TENANT, &SHELVES), target(id_of(&rival)), ada()).await.unwrap();
    let back = store.restore_record((TENANT, &SHELVES), target(shelf), ada()).await.unwrap();
    assert!(back.json["deleted_at"].is_null());
    assert_eq!(store.restore_record((TENANT, &SHELVES), target(shelf), ada()).await.unwrap(), back);
    store.create_record(TENANT, &BOOKS, &onto, ada()).await.unwrap();
}

async fn lists_are_filtered_sorted_searched_and_paged(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let shelf = make(store, TENANT, &SHELVES, json!({})).await;
    let words = ["Äpfel", "apple", "Zoo", "100%_\\", "apfel", "Über"];
    for n in 0..30 {
        let change = json!({
            "title": format!("{} {n:02}", words[n % words.len()]),
            "slug": null,
            "shelf_id": shelf["id"],
            "copies": n % 4,
            "price": if n % 2 == 0 { "1.50" } else { "20" },
            "due_at": if n % 3 == 0 { Json::Null } else { json!(format!("2026-01-{:02}T00:00:00Z", 1 + n % 5)) },
            "language": if n % 2 == 0 { "de" } else { "other" },
        });
        make(store, TENANT, &BOOKS, change).await;
    }
    let list = async |query: &str| -> Vec<Json> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let mut pairs: Vec<(String, String)> = pairs.map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
            pairs.extend(after.take().map(|after| ("after".to_owned(), after)));
            let page = store.list_records(TENANT, &BOOKS, &ListQuery::parse(&BOOKS, &pairs).unwrap()).await.unwrap();
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    };
    let everything = list("limit=1000").await;
    assert_eq!(everything.len(), 30);
    for (query, count) in [
        ("copies=0", 8),
        ("copies=0&copies=3", 15),
        ("copies.gte=2&language=de", 7),
        ("copies.ne=0", 22),
        ("due_at.null=true", 10),
        ("due_at.ne=2026-01-02T00:00:00Z", 26),
        ("due_at.gt=2026-01-03T00:00:00Z", 8),
        ("price.lt=1.51", 15),
        ("title.gte=apple&title.lt=apq", 5),
        ("q=ÄPFEL", 5),
        ("q=apfel 04", 1),
        ("q=100%25_", 0),
        ("q=100%_\\", 5),
        ("q=%", 5),
        ("status=draft&lendable=true", 30),
        ("shelf_id=00000000-0000-0000-0000-000000000000", 0),
    ] {
        assert_eq!(list(&format!("limit=7&{query}")).await.len(), count, "{query}");
    }
    // Pages of any size give each row once, in one order that both databases share.
    for sort in ["title", "-title", "due_at,-copies", "-due_at,title", "-price,due_at", "id", "-created_at"] {
        let whole: Vec<Json> = list(&format!("sort={sort}&limit=1000")).await;
        assert_eq!(whole.len(), 30, "{sort}");
        for limit in [1, 4, 30] {
            assert_eq!(list(&format!("sort={sort}&limit={limit}")).await, whole, "{sort} by {limit}");
        }
    }
    let titles: Vec<String> =
        list("sort=title").await.iter().map(|it| it["title"].as_str().unwrap().to_owned()).collect();
    let mut sorted = titles.clone();
    sorted.sort();
    assert_eq!(titles, sorted, "by bytes");
}

async fn folders_are_never_inside_themselves(fixture: Fixture) {
    let store = &fixture.store;
    let folders = &workflows::FOLDERS;
    let mut chain: Vec<Json> = Vec::new();
    for n in 0..16 {
        let above = chain.last().map_or(Json::Null, |it| it["id"].clone());
        chain.push(make(store, TENANT, folders, json!({ "name": format!("f{n}"), "parent_id": above })).await);
    }
    let refused = async |result: Result<windlass_store::RecordView, RecordError>, words: &str| {
        let RecordError::Invalid { errors, .. } = result.unwrap_err() else { panic!("{words}") };
        assert!(
            errors.len() == 1 && errors[0].pointer == "/parent_id" && errors[0].message.contains(words),
            "{errors:?}"
        );
    };
    let below = json!({ "name": "too deep", "parent_id": chain[15]["id"] });
    refused(store.create_record(TENANT, folders, &below, ada()).await, "17 deep").await;
    let up = json!({ "parent_id": chain[9]["id"] });
    refused(store.update_record((TENANT, folders), target(id_of(&chain[2])), &up, ada()).await, "into itself").await;
    let itself = json!({ "parent_id": chain[2]["id"] });
    refused(store.update_record((TENANT, folders), target(id_of(&chain[2])), &itself, ada()).await, "into itself")
        .await;
    let tree = make(store, TENANT, folders, json!({ "name": "tree" })).await;
    let down = json!({ "parent_id": tree["id"] });
    refused(store.update_record((TENANT, folders), target(id_of(&chain[0])), &down, ada()).await, "17 deep").await;
    store.update_record((TENANT, folders), target(id_of(&chain[1])), &down, ada()).await.unwrap();
    let same_name = json!({ "name": "f2", "parent_id": chain[1]["id"] });
    let taken = store.create_record(TENANT, folders, &same_name, ada()).await;
    assert!(matches!(taken, Err(RecordError::Taken { .. })));
    let full = store.delete_record((TENANT, folders), target(id_of(&chain[1])), ada()).await;
    assert!(matches!(full, Err(RecordError::InUse { by: "folders", .. })));
}

async fn every_change_is_audited_without_its_secrets(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let book = make(store, TENANT, &BOOKS, json!({ "pin": "s3cretpn", "summary": "x".repeat(2_000) })).await;
    let id = id_of(&book);
    let change = json!({ "copies": 7, "pin": "0therpin", "labels": { "long": "y".repeat(5_000) } });
    store.update_record((TENANT, &BOOKS), target(id), &change, ada()).await.unwrap();
    take(store, &BOOKS, (id, "submit")).await.unwrap();
    store.delete_record((TENANT, &BOOKS), target(id), ada()).await.unwrap();
    let pairs = [("record_id".to_owned(), id.to_string()), ("sort".to_owned(), "id".to_owned())];
    let query = ListQuery::parse(&AUDIT_ENTRIES, &pairs).unwrap();
    let entries = store.list_records(TENANT, &AUDIT_ENTRIES, &query).await.unwrap().items;
    let actions: Vec<&str> = entries.iter().map(|it| it["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["create", "update", "submit", "delete"]);
    assert_eq!(entries[1]["changes"]["copies"], json!({ "from": 1, "to": 7 }));
    assert_eq!(entries[1]["changes"]["pin"], json!({ "from": "***", "to": "***" }));
    assert_eq!(entries[1]["changes"]["labels"]["to"], "(5011 bytes)");
    assert_eq!(entries[2]["changes"], json!({ "status": { "from": "draft", "to": "review" } }));
    assert_eq!(entries[3]["changes"]["title"], json!({ "from": book["title"] }));
    assert_eq!((&entries[0]["created_by"], &entries[0]["request_id"]), (&json!("token:ada"), &json!("r-1")));
    let text = serde_json::to_string(&entries).unwrap();
    assert!(!text.contains("s3cretpn") && !text.contains("0therpin"));
    assert!(
        store
            .list_records(OTHER, &AUDIT_ENTRIES, &ListQuery::all(&AUDIT_ENTRIES))
            .await
            .unwrap()
            .items
            .iter()
            .all(|it| it["created_by"] == "system")
    );
    // The audit is written by the program alone.
    assert!(
        AUDIT_ENTRIES.operations().iter().all(|it| matches!(it, Operation::List | Operation::Export | Operation::Get))
    );
}

async fn what_is_over_is_cleared_away(fixture: Fixture) {
    let fixture = with_library(fixture).await;
    let store = &fixture.store;
    let remark = make(store, TENANT, &REMARKS, json!({})).await;
    let shelf = make(store, TENANT, &SHELVES, json!({})).await;
    let kept = make(store, TENANT, &SHELVES, json!({})).await;
    let inner = make(store, TENANT, &SHELVES, json!({ "above_id": kept["id"] })).await;
    for row in [&shelf, &inner, &kept] {
        store.delete_record((TENANT, &SHELVES), target(id_of(row)), ada()).await.unwrap();
    }
    assert_eq!(store.sweep_records(TENANT).await.unwrap(), 0, "nothing is over");
    let old = uuid::Builder::from_unix_timestamp_millis(1_600_000_000_000, &[1; 10]).into_uuid();
    let past = windlass_definition::time::Timestamp::parse("2020-01-01T00:00:00Z").unwrap();
    let age = "update remarks set id = $2 where id = $1";
    store.database().across_tenants().execute(age, vec![id_of(&remark).into(), old.into()]).await.unwrap();
    for row in [&shelf, &kept] {
        let delete = "update shelves set deleted_at = $2 where id = $1";
        store.database().across_tenants().execute(delete, vec![id_of(row).into(), past.into()]).await.unwrap();
    }
    assert_eq!(store.sweep_records(OTHER).await.unwrap(), 0, "of the other tenant nothing");
    assert_eq!(store.sweep_records(TENANT).await.unwrap(), 2, "a shelf below still refers to one");
    assert_eq!(store.sweep_records(TENANT).await.unwrap(), 0);
    assert!(store.restore_record((TENANT, &SHELVES), target(id_of(&inner)), ada()).await.is_err(), "it lies nowhere");
    assert!(store.restore_record((TENANT, &SHELVES), target(id_of(&shelf)), ada()).await.is_err());
}

async fn rows_survive_a_backup(fixture: Fixture) {
    let store = &fixture.store;
    let folders = &workflows::FOLDERS;
    // The inner one is older than the one that it lies in.
    let inner = make(store, TENANT, folders, json!({ "name": "inner" })).await;
    let outer = make(store, TENANT, folders, json!({ "name": "outer" })).await;
    let into = json!({ "parent_id": outer["id"] });
    store.update_record((TENANT, folders), target(id_of(&inner)), &into, ada()).await.unwrap();
    make(store, TENANT, &workflows::WORKFLOW_TAGS, json!({})).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("backup");
    store.backup(&file, &mut |_| ()).await.unwrap();
    let server = windlass_testkit::postgres().await;
    for location in [
        windlass_store::Location::Sqlite { data_dir: dir.path().join("copy") },
        windlass_store::Location::Postgres { url: server.url.clone() },
    ] {
        let options = windlass_store::StoreOptions::new(location);
        let options = windlass_store::StoreOptions { master_key: fixture.master_key(), ..options };
        windlass_store::admin::restore(&file, options.clone(), &mut |_| ()).await.unwrap();
        let copy = Store::open(options).await.unwrap();
        for record in store.records() {
            let (ours, theirs) = (store.all_records(TENANT, record), copy.all_records(TENANT, record));
            assert_eq!(ours.await.unwrap(), theirs.await.unwrap(), "{}", record.name);
        }
        copy.close().await;
    }
}

/// Records that the tests above speak of are of the kinds that they are taken for.
#[test]
fn the_library_has_every_kind() {
    let writings: Vec<Writing> = library::ALL.iter().map(|record| record.writing).collect();
    for writing in [Writing::Full, Writing::Link, Writing::Append, Writing::Program] {
        assert!(writings.contains(&writing), "{writing:?}");
    }
    assert_eq!(LANGUAGES.ownership, windlass_resource::Ownership::Global);
    assert_eq!(ALARMS.writing, Writing::Program);
}
