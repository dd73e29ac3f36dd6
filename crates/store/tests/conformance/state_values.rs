//! State that outlives a run: changes that add up, once each.

use std::time::Duration;

use windlass_definition::Value;
use windlass_store::{
    Expiry, Location, StateAddress, StateChange, StateChanger, StateOutcome, StateWrite, Store, StoreError,
    StoreOptions,
};

use crate::{
    harness::{Fixture, TENANT, run_id},
    on_every_store,
};

on_every_store!(
    concurrent_increments_add_up,
    a_repeated_step_changes_nothing,
    a_refusal_changes_nothing,
    values_expire_and_go,
    scopes_are_apart,
    a_value_has_a_limit,
);

fn address(key: &str) -> StateAddress {
    StateAddress { tenant: TENANT, workflow: Some("demo".into()), namespace: String::new(), key: key.into() }
}

fn change(key: &str, step_key: &str) -> StateChange {
    StateChange { address: address(key), by: StateChanger::Step { run: run_id(), key: step_key.into() } }
}

fn put(value: Value, expiry: Expiry) -> Result<StateOutcome, &'static str> {
    Ok(StateOutcome { write: StateWrite::Put(value.clone(), expiry), output: value })
}

async fn increment(store: &Store, key: &str, step_key: &str) -> Result<Value, &'static str> {
    let add =
        |current: Option<Value>| put(Value::Int(current.and_then(|it| it.as_i64()).unwrap_or(0) + 1), Expiry::AsBefore);
    store.change_state(change(key, step_key), add).await.expect("the change lands")
}

async fn concurrent_increments_add_up(fixture: Fixture) {
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let store = fixture.store.clone();
            tokio::spawn(async move { increment(&store, "count", &format!("step{number}")).await })
        })
        .collect();
    let mut seen = Vec::new();
    for task in tasks {
        seen.push(task.await.expect("the task ends").expect("the change is made").as_i64().expect("a number"));
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<i64>>());
    assert_eq!(fixture.store.state_value(&address("count")).await.unwrap(), Some(Value::Int(100)));
}

async fn a_repeated_step_changes_nothing(mut fixture: Fixture) {
    assert_eq!(increment(&fixture.store, "count", "a").await, Ok(Value::Int(1)));
    assert_eq!(increment(&fixture.store, "count", "b").await, Ok(Value::Int(2)));
    fixture.reopen().await;
    assert_eq!(increment(&fixture.store, "count", "a").await, Ok(Value::Int(1)));
    assert_eq!(fixture.store.state_value(&address("count")).await.unwrap(), Some(Value::Int(2)));
}

async fn a_refusal_changes_nothing(fixture: Fixture) {
    let refused = fixture.store.change_state(change("x", "a"), |_| Err::<StateOutcome, _>("no")).await.unwrap();
    assert_eq!(refused, Err("no"));
    assert_eq!(fixture.store.state_value(&address("x")).await.unwrap(), None);
    let seen = fixture.store.change_state(change("x", "a"), |current| {
        assert_eq!(current, None);
        put(Value::from("now"), Expiry::Never)
    });
    assert_eq!(seen.await.unwrap(), Ok(Value::from("now")));
}

async fn values_expire_and_go(fixture: Fixture) {
    let store = &fixture.store;
    let soon = Expiry::After(Duration::from_millis(1));
    store.change_state(change("brief", "a"), move |_| put(Value::Int(1), soon)).await.unwrap().unwrap();
    store
        .change_state(change("lasting", "b"), |_| put(Value::Int(1), Expiry::After(Duration::from_secs(3600))))
        .await
        .unwrap()
        .unwrap();
    let written = store.now();
    while store.now().since(written) < Duration::from_millis(2) {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.state_value(&address("brief")).await.unwrap(), None);
    // What follows a value that is over is not over with it.
    assert_eq!(increment(store, "brief", "d").await, Ok(Value::Int(1)));
    assert_eq!(store.expire_state().await.unwrap(), 0);
    store.change_state(change("brief", "e"), move |_| put(Value::Int(1), soon)).await.unwrap().unwrap();
    assert_eq!(increment(store, "brief", "f").await.map(|it| it.as_i64().is_some()), Ok(true));
    assert_eq!(store.state_value(&address("lasting")).await.unwrap(), Some(Value::Int(1)));
    let remove = |current: Option<Value>| {
        Ok::<_, &str>(StateOutcome { write: StateWrite::Remove, output: current.unwrap_or_default() })
    };
    assert_eq!(store.change_state(change("lasting", "c"), remove).await.unwrap(), Ok(Value::Int(1)));
    assert_eq!(store.state_value(&address("lasting")).await.unwrap(), None);
}

async fn scopes_are_apart(fixture: Fixture) {
    increment(&fixture.store, "count", "a").await.unwrap();
    for other in [
        StateAddress { workflow: None, ..address("count") },
        StateAddress { workflow: Some("other".into()), ..address("count") },
        StateAddress { namespace: "n".into(), ..address("count") },
        address("Count"),
    ] {
        assert_eq!(fixture.store.state_value(&other).await.unwrap(), None, "{other:?}");
    }
}

async fn a_value_has_a_limit(fixture: Fixture) {
    let large = Value::from("x".repeat(2 << 20));
    let refused = fixture.store.change_state(change("x", "a"), move |_| put(large, Expiry::Never)).await;
    assert!(matches!(refused, Err(StoreError::Invalid(_))), "{refused:?}");
    assert_eq!(increment(&fixture.store, "x", "a").await, Ok(Value::Int(1)));
}

/// A paused server may hold a row for as long as the database lets it: that is no refusal of what was asked.
#[tokio::test]
async fn a_lock_that_is_held_too_long_may_be_asked_for_again() {
    let fixture = Fixture::postgres().await;
    let Location::Postgres { url } = &fixture.options.location else { panic!("no PostgreSQL") };
    let url = format!("{url}?options=-c%20lock_timeout%3D100ms");
    let options = StoreOptions::new(Location::Postgres { url });
    let hasty = StoreOptions { lanes: 0, master_key: fixture.master_key(), ..options };
    let hasty = Store::open(hasty).await.expect("a second store");
    increment(&fixture.store, "k", "first").await.expect("a change");
    let (holding, held) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let database = fixture.store.database().clone();
    let holder = tokio::spawn(async move {
        let hold = database.across_tenants().transact(move |tx| {
            Box::pin(async move {
                tx.execute("update state_values set version = version", vec![]).await?;
                let _ = holding.send(());
                let _ = released.await;
                Ok(())
            })
        });
        hold.await.expect("a lock");
    });
    held.await.expect("a holder");
    let refused = hasty.change_state(change("k", "second"), |_| put(Value::Int(7), Expiry::Never)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    let _ = release.send(());
    holder.await.expect("the holder ends");
    assert_eq!(increment(&hasty, "k", "second").await, Ok(Value::Int(2)));
    hasty.close().await;
}
