//! Workflows that are deleted, and what stands in the way.

use std::{collections::BTreeSet, sync::Arc};

use windlass_store::{Actor, By, Draft, FindWorkflows, IfMatch, Store, WorkflowError, WorkflowRow, WorkflowVersion};

use crate::{
    harness::{Fixture, TENANT},
    on_every_store,
};

on_every_store!(
    what_is_deleted_is_hidden_and_comes_back,
    what_is_started_stays,
    what_starts_the_deleted_stays_as_it_is,
    a_publication_and_a_deletion_wait_for_each_other,
    what_is_not_noted_is_not_taken_for_nothing,
);

fn by(who: &str) -> Actor {
    Actor { tenant: TENANT, by: By::named(who) }
}

async fn put(store: &Store, who: &str, name: &str) -> Result<i64, WorkflowError> {
    let source = format!("name: {name}");
    let hash = windlass_store::blobs::sha256(source.as_bytes());
    store.put_definition(TENANT, hash, source.as_bytes()).await?;
    let draft = Draft {
        name: name.to_owned(),
        description: "d".to_owned(),
        tags: Vec::new(),
        source,
        hash,
        folder: None,
        made_from: None,
    };
    store.put_draft(by(who), draft, IfMatch::Any).await
}

async fn publish(store: &Store, name: &str, starts: &[&str]) -> Result<WorkflowVersion, WorkflowError> {
    let starts: BTreeSet<Arc<str>> = starts.iter().map(|name| Arc::from(*name)).collect();
    store.publish(by("ada"), name, IfMatch::Any, starts).await
}

async fn made(store: &Store, name: &str, starts: &[&str]) {
    put(store, "ada", name).await.expect("a draft");
    publish(store, name, starts).await.expect("a version");
}

async fn delete(store: &Store, name: &str) -> Result<(), WorkflowError> {
    store.delete_workflow(by("eve"), name, IfMatch::Any).await
}

async fn restore(store: &Store, name: &str) -> Result<(), WorkflowError> {
    store.restore_workflow(by("eve"), name, IfMatch::Any).await
}

async fn listed(store: &Store, deleted: bool) -> Vec<WorkflowRow> {
    store.list_workflows(TENANT, &FindWorkflows { deleted, ..FindWorkflows::default() }, 10).await.expect("a list")
}

async fn what_is_deleted_is_hidden_and_comes_back(fixture: Fixture) {
    let store = &fixture.store;
    made(store, "order", &[]).await;
    put(store, "bob", "order").await.expect("a draft");
    let before = store.workflow(TENANT, "order").await.unwrap().unwrap();
    assert_eq!((before.created_by.as_deref(), before.updated_by.as_deref()), (Some("ada"), Some("bob")));
    publish(store, "order", &[]).await.expect("the same version");
    assert_eq!(store.workflow(TENANT, "order").await.unwrap().unwrap(), before, "publishing changes no draft");
    let stale = store.delete_workflow(by("eve"), "order", IfMatch::Revision(1)).await;
    assert!(matches!(stale, Err(WorkflowError::Stale { expected: 1, found: 2 })), "{stale:?}");
    assert!(matches!(delete(store, "none").await, Err(WorkflowError::NotFound(_))));

    store.delete_workflow(by("eve"), "order", IfMatch::Revision(2)).await.expect("a deletion");
    assert!(matches!(delete(store, "order").await, Err(WorkflowError::NotFound(_))));
    assert_eq!(store.workflow(TENANT, "order").await.unwrap(), None);
    assert_eq!(store.workflow_name(TENANT, before.id.uuid()).await.unwrap(), None);
    assert_eq!(store.workflow_version(TENANT, "order", None).await.unwrap(), None);
    assert_eq!(store.workflow_version(TENANT, "order", Some(1)).await.unwrap(), None);
    assert_eq!(store.list_versions(TENANT, "order", 10).await.unwrap(), []);
    assert!(matches!(publish(store, "order", &[]).await, Err(WorkflowError::NotFound(_))));
    assert!(matches!(put(store, "ada", "order").await, Err(WorkflowError::Deleted(_))), "its name is taken");
    assert!(store.is_workflow_deleted(TENANT, "order").await.unwrap());
    assert_eq!(listed(store, false).await, []);
    let [deleted] = &listed(store, true).await[..] else { panic!("one is deleted") };
    assert_eq!((deleted.deleted_by.as_deref(), deleted.revision), (Some("eve"), 3));
    assert!(deleted.deleted_at.is_some());

    assert!(matches!(restore(store, "none").await, Err(WorkflowError::NotFound(_))));
    restore(store, "order").await.expect("it comes back");
    restore(store, "order").await.expect("it is there");
    let after = store.workflow(TENANT, "order").await.unwrap().unwrap();
    assert_eq!(after, WorkflowRow { revision: 4, ..before });
    assert_eq!(listed(store, true).await, []);
    assert!(!store.is_workflow_deleted(TENANT, "order").await.unwrap());
    assert_eq!(store.workflow_version(TENANT, "order", None).await.unwrap().unwrap().version, 1);
}

async fn what_is_started_stays(fixture: Fixture) {
    let store = &fixture.store;
    made(store, "child", &["child"]).await;
    let parents: Vec<String> = (10..22).map(|number| format!("parent-{number}")).collect();
    for parent in &parents {
        made(store, parent, &["child", "other"]).await;
    }
    let Err(error @ WorkflowError::InUse { .. }) = delete(store, "child").await else { panic!("it is started") };
    let text = error.to_string();
    assert_eq!(text.matches("`parent-").count(), 10, "{text}");
    assert!(text.contains(" and others"), "{text}");
    // The newest version counts, of what is there.
    for (at, parent) in parents.iter().enumerate() {
        if at % 2 == 0 {
            delete(store, parent).await.expect("nobody starts it");
        } else {
            // The same document would be the same version.
            store.database().across_tenants().execute("update workflows set draft = 'x'", vec![]).await.unwrap();
            publish(store, parent, &["other"]).await.expect("a version");
            put(store, "ada", parent).await.expect("a draft as it was");
        }
    }
    delete(store, "child").await.expect("only old versions and itself start it");
    restore(store, "child").await.expect("it may start itself");
}

async fn what_starts_the_deleted_stays_as_it_is(fixture: Fixture) {
    let store = &fixture.store;
    made(store, "child", &[]).await;
    made(store, "parent", &["child"]).await;
    delete(store, "parent").await.expect("nobody starts it");
    delete(store, "child").await.expect("who starts it is deleted");
    let Err(error @ WorkflowError::StartsDeleted { .. }) = restore(store, "parent").await else {
        panic!("it would start what is deleted")
    };
    assert!(error.to_string().contains("starts what is deleted: `child`"), "{error}");
    put(store, "ada", "second").await.expect("a draft");
    let refused = publish(store, "second", &["child", "later"]).await;
    assert!(matches!(refused, Err(WorkflowError::StartsDeleted { .. })), "{refused:?}");
    assert_eq!(store.list_versions(TENANT, "second", 10).await.unwrap(), []);
    restore(store, "child").await.expect("it comes back");
    restore(store, "parent").await.expect("it comes back");
    publish(store, "second", &["child", "later"]).await.expect("what is not there yet may be named");
}

async fn a_publication_and_a_deletion_wait_for_each_other(fixture: Fixture) {
    let store = &fixture.store;
    let mut deleted = 0;
    for round in 0..30 {
        let (child, parent) = (format!("child-{round}"), format!("parent-{round}"));
        made(store, &child, &[]).await;
        put(store, "ada", &parent).await.expect("a draft");
        let starts = [child.as_str()];
        let (published, gone) = match round % 2 {
            0 => tokio::join!(publish(store, &parent, &starts), delete(store, &child)),
            _ => {
                let (gone, published) = tokio::join!(delete(store, &child), publish(store, &parent, &starts));
                (published, gone)
            }
        };
        match (published, gone) {
            (Ok(_), Err(WorkflowError::InUse { .. })) => {}
            (Err(WorkflowError::StartsDeleted { .. }), Ok(())) => deleted += 1,
            both => panic!("{both:?}"),
        }
    }
    assert!(deleted > 0, "deletions came first as well");
}

async fn what_is_not_noted_is_not_taken_for_nothing(fixture: Fixture) {
    let store = &fixture.store;
    made(store, "child", &[]).await;
    made(store, "parent", &["child"]).await;
    // As a program of an older version leaves it.
    let database = store.database().across_tenants();
    database.execute("update workflows set noted_version = null where name = 'parent'", vec![]).await.unwrap();
    database.execute("delete from workflow_references", vec![]).await.unwrap();
    assert!(matches!(delete(store, "child").await, Err(WorkflowError::NotNoted)));
    let [to_note] = store.workflows_to_note(TENANT).await.unwrap()[..] else { panic!("one is to be noted") };
    let other = windlass_store::ToNote { version: to_note.version + 1, ..to_note };
    store.note_references(TENANT, other, BTreeSet::new()).await.expect("nothing, for it is not the newest");
    assert_eq!(store.workflows_to_note(TENANT).await.unwrap(), [to_note]);
    store.note_references(TENANT, to_note, ["child".into()].into()).await.expect("a note");
    assert_eq!(store.workflows_to_note(TENANT).await.unwrap(), []);
    assert!(matches!(delete(store, "child").await, Err(WorkflowError::InUse { .. })));
}
