//! Workflows, places, tokens, events, messages.

use std::collections::BTreeSet;

use windlass_engine::id::RunId;
use windlass_resource::records::people::{API_KEY_USAGE, API_KEYS};
use windlass_store::{
    Actor, By, CameWith, Draft, EventRow, Holds, IfMatch, InboxRow, KeyUse, NewApiKey, QueuedRun, Received,
    RecordError, RowChange, RunCommit, SlotKey, Store, Target, WorkflowError,
};

use crate::harness::{Fixture, TENANT, done, run_id, start};

crate::on_every_store!(
    drafts_and_versions,
    places_are_limited,
    api_keys_are_found_by_hash,
    an_event_is_kept_once,
    a_message_is_kept_once,
);

fn draft(source: &str) -> Draft {
    Draft {
        name: "order".to_owned(),
        description: "d".to_owned(),
        tags: vec!["shop".to_owned()],
        source: source.to_owned(),
        hash: windlass_store::blobs::sha256(source.as_bytes()),
        folder: None,
        made_from: None,
    }
}

async fn put(store: &Store, source: &str, expect: IfMatch) -> Result<i64, WorkflowError> {
    let draft = draft(source);
    store.put_definition(TENANT, draft.hash, source.as_bytes()).await?;
    store.put_draft(TENANT, draft, expect).await
}

async fn drafts_and_versions(fixture: Fixture) {
    let store = &fixture.store;
    assert_eq!(put(store, "one", IfMatch::Revision(0)).await.expect("a draft"), 1);
    assert!(matches!(put(store, "two", IfMatch::Revision(0)).await, Err(WorkflowError::Stale { found: 1, .. })));
    let publish = |actor: Actor, name| store.publish(actor, name, IfMatch::Any, BTreeSet::new());
    let me = Actor { tenant: TENANT, by: By::named("me") };
    let first = publish(me, "order").await.expect("a version");
    assert_eq!((first.version, first.source.as_str()), (1, "one"));
    assert_eq!(publish(TENANT.into(), "order").await.expect("the same"), first);
    assert_eq!(put(store, "two", IfMatch::Revision(1)).await.expect("a draft"), 2);
    assert_eq!(publish(TENANT.into(), "order").await.expect("a version").version, 2);
    assert!(matches!(publish(TENANT.into(), "none").await, Err(WorkflowError::NotFound(_))));
    let old = store.workflow_version(TENANT, "order", Some(1)).await.expect("a read").expect("a version");
    assert_eq!(old, first);
    let newest = store.workflow_version(TENANT, "order", None).await.expect("a read").expect("a version");
    assert_eq!(newest.version, 2);
    let document = store.definition(TENANT, newest.definition_hash).await.expect("a read");
    assert_eq!(document.as_deref(), Some(b"two".as_slice()));
    assert_eq!(store.list_versions(TENANT, "order", 10).await.expect("versions").len(), 2);
    let workflow = store.workflow(TENANT, "order").await.expect("a read").expect("a workflow");
    assert_eq!((workflow.revision, workflow.published_version, workflow.draft.as_str()), (2, Some(2), "two"));
    assert_eq!(
        store.list_workflows(TENANT, &windlass_store::FindWorkflows::default(), 10).await.expect("a list")[0].tags,
        ["shop"]
    );
}

async fn places_are_limited(fixture: Fixture) {
    let store = &fixture.store;
    let slot = SlotKey { workflow: "order".to_owned(), key: String::new() };
    let runs: Vec<RunId> = (0..20).map(|_| run_id()).collect();
    let taken = futures::future::join_all(runs.iter().map(|run| store.take_slot(TENANT, &slot, *run, 5))).await;
    let taken: Vec<bool> = taken.into_iter().map(|taken| taken.expect("an answer")).collect();
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 5);
    let holder = store.slot_holders(TENANT, &slot).await.expect("holders")[0];
    assert!(store.take_slot(TENANT, &slot, holder, 5).await.expect("an answer"), "a second time is the same place");
    for (n, priority) in [0, 7].into_iter().enumerate() {
        let queued =
            QueuedRun { workflow: slot.workflow.clone(), slot_key: String::new(), priority, queued_at: store.now() };
        let rows = vec![RowChange::Enqueue(queued)];
        done(store.commit(RunCommit { rows, ..start(store, runs[n], None) }).await);
    }
    let waiting = store.queued_runs(TENANT, &slot, 10).await.expect("a queue");
    assert_eq!(waiting.iter().map(|waiting| waiting.run).collect::<Vec<_>>(), [runs[1], runs[0]]);
    assert_eq!(store.queued_groups(&store.lanes(), 10).await.expect("groups").len(), 1);
    assert_eq!(store.release_slots(TENANT, holder).await.expect("a release"), std::slice::from_ref(&slot));
    assert!(store.take_slot(TENANT, &slot, run_id(), 5).await.expect("an answer"));
    assert!(!store.stale_slots(std::time::Duration::ZERO, 10).await.expect("stale ones").is_empty());
}

async fn api_keys_are_found_by_hash(fixture: Fixture) {
    let store = &fixture.store;
    let key = NewApiKey {
        id: uuid::Uuid::now_v7(),
        name: "first".to_owned(),
        prefix: "wl_1".to_owned(),
        hash: [9; 32],
        scopes: vec!["*".to_owned()],
        ..NewApiKey::default()
    };
    store.create_api_key(TENANT, key.clone()).await.expect("a key");
    let again = NewApiKey { id: uuid::Uuid::now_v7(), ..key.clone() };
    store.create_api_key(TENANT, again).await.expect("the same");
    let found = store.caller_of_key([9; 32]).await.expect("a read").expect("a key");
    assert_eq!((found.tenant, &found.holds), (TENANT, &Holds::Everything));
    assert!(matches!(found.with, CameWith::Key { id, .. } if id == key.id));
    assert!(store.caller_of_session([9; 32]).await.expect("a read").is_none(), "a key is no session");
    let used = KeyUse { tenant: TENANT, key: key.id, requests: 3, refused: 1 };
    let nobody = KeyUse { key: uuid::Uuid::now_v7(), ..used };
    store.count_key_uses(&[used, nobody]).await.expect("a count");
    store.count_key_uses(&[used]).await.expect("a count");
    let usage = store.all_records(TENANT, &API_KEY_USAGE).await.expect("rows");
    assert_eq!((usage.len(), &usage[0]["requests"], &usage[0]["refused"]), (1, &6.into(), &2.into()));
    let listed = store.all_records(TENANT, &API_KEYS).await.expect("rows");
    assert!(listed.len() == 1 && listed[0]["last_used_at"].is_string(), "{listed:?}");
    let before = store.access_epoch().await.expect("an epoch");
    let nothing = serde_json::json!({});
    let revoke = || {
        let target = (Target { id: key.id, expect: None }, API_KEYS.transition("revoke").expect("a transition"));
        store.transition_record((TENANT, &API_KEYS), target, &nothing, By::system())
    };
    revoke().await.expect("a key to revoke");
    assert!(matches!(revoke().await, Err(RecordError::Transition { .. })));
    assert!(store.access_epoch().await.expect("an epoch") > before, "who remembers it looks again");
    assert!(store.caller_of_key([9; 32]).await.expect("a read").is_none());
}

async fn an_event_is_kept_once(fixture: Fixture) {
    let store = &fixture.store;
    let since = store.now();
    let event = |id: &str| EventRow {
        id: uuid::Uuid::now_v7(),
        source: "/shop".to_owned(),
        event_id: id.to_owned(),
        event_type: "created".to_owned(),
        subject: Some("s1".to_owned()),
        event: b"{}".to_vec(),
        at: store.now(),
    };
    for (id, expect) in [("1", Received::New), ("1", Received::Duplicate), ("2", Received::New)] {
        assert_eq!(store.put_event(TENANT, event(id)).await.expect("an answer"), expect);
    }
    let all = store.events(TENANT, ("created", None), (since, None), 10).await.expect("events");
    assert_eq!(all.len(), 2);
    let rest = store.events(TENANT, ("created", Some("s1")), (since, Some(all[0].id)), 10).await.expect("events");
    assert_eq!(rest, all[1..]);
    assert!(store.events(TENANT, ("created", Some("s2")), (since, None), 10).await.expect("events").is_empty());
}

async fn a_message_is_kept_once(fixture: Fixture) {
    let store = &fixture.store;
    let run = run_id();
    let lane = store.lane_for(run);
    done(store.commit(start(store, run, None)).await);
    let message = |dedup: &str| InboxRow {
        id: uuid::Uuid::now_v7(),
        lane,
        run,
        kind: "signal".to_owned(),
        dedup: dedup.to_owned(),
        payload: b"p".to_vec(),
        created_at: store.now(),
    };
    for (dedup, expect) in [("a", Received::New), ("a", Received::Duplicate), ("b", Received::New)] {
        assert_eq!(store.put_inbox(TENANT, message(dedup)).await.expect("an answer"), expect);
    }
    let messages = store.inbox(&[lane], None, 10).await.expect("messages");
    assert_eq!(messages.len(), 2);
    let taken = RowChange::DeleteInbox(messages[0].1.id);
    let take = RunCommit { rows: vec![taken], ..crate::harness::commit(store, run, 2..=2) };
    done(store.commit(take).await);
    assert_eq!(store.inbox_count(TENANT, run).await.expect("a count"), 1);
    store.drop_inbox(lane, messages[1].1.id).await.expect("a deletion");
    assert!(store.inbox(&[lane], None, 10).await.expect("messages").is_empty());
}
