//! Workflows and runs are found by their words.

use uuid::Uuid;
use windlass_engine::{
    id::{RunId, TenantKey},
    status::RunStatus,
};
use windlass_store::{
    By, Draft, FindWorkflows, IfMatch, NewRun, RunChange, RunCommit, RunFilter, RunWords, SearchError, Store, Words,
    terms,
};

use crate::{
    harness::{Fixture, TENANT, becomes, commit, done, new_run, run_id, started},
    on_every_store,
};

on_every_store!(
    runs_are_found_by_their_words,
    what_goes_takes_its_words,
    what_two_read_is_written_once,
    a_run_is_read_again_when_it_is_over,
    workflows_are_found_by_what_their_drafts_say,
    workflows_of_an_older_version_get_their_words,
);

fn words(text: &str) -> Words {
    let mut words = Words::default();
    words.add(text, 100);
    words
}

fn read(run: RunId, text: &str) -> RunWords {
    RunWords { run, words: words(text), waits: false }
}

/// The ids of a table's rows.
async fn rows(store: &Store, table: &str) -> i64 {
    let sql = format!("select count(*) from {table}");
    store.database().across_tenants().query(sql, vec![]).await.unwrap()[0].int(0).unwrap()
}

async fn found(store: &Store, filter: &RunFilter, q: &str) -> Result<Vec<RunId>, SearchError> {
    let terms = terms(q).expect("words");
    let found = store.search_runs(TENANT, (filter, &terms), 100).await?;
    assert_eq!(found.looked_until, None);
    Ok(found.runs.iter().map(|run| run.id).collect())
}

async fn runs_are_found_by_their_words(fixture: Fixture) {
    let store = &fixture.store;
    let texts = ["Order ORD-4711 of grace@example.org", "order 4712", "refund of ORD-4711", "", "注文 4711"];
    let mut ids = Vec::new();
    for (n, _) in texts.iter().enumerate() {
        let run = run_id();
        let workflow = if n % 2 == 0 { "even" } else { "odd" }.to_owned();
        let new = NewRun { workflow, key: Some(format!("k{n}")), ..new_run(store) };
        done(
            store
                .commit(RunCommit { change: RunChange::Insert(Box::new(new), None), ..commit(store, run, 1..=1) })
                .await,
        );
        ids.push(run);
    }
    done(store.commit(becomes(store, ids[2], 2, RunStatus::Failed)).await);
    let all = ids.iter().zip(texts).map(|(run, text)| read(*run, text)).collect();
    assert!(store.put_run_words(TENANT, all, None).await.unwrap());

    let any = RunFilter::default;
    let failed = || RunFilter { statuses: vec![RunStatus::Failed], ..any() };
    let cases: Vec<(RunFilter, &str, &[usize])> = vec![
        (any(), "ord-4711", &[2, 0]),
        (any(), "4711", &[4, 2, 0]),
        (any(), "ORDER", &[1, 0]),
        (any(), "ord*", &[2, 1, 0]),
        (any(), "47* of", &[2, 0]),
        (any(), "grace@example.org order", &[0]),
        (any(), "文", &[4]),
        (any(), "or", &[]),
        (any(), "4711 nothing", &[]),
        (any(), "zz*", &[]),
        (failed(), "4711", &[2]),
        (failed(), "47*", &[2]),
        (RunFilter { workflow: Some("even".to_owned()), ..any() }, "47*", &[4, 2, 0]),
        (RunFilter { workflow: Some("odd".to_owned()), ..any() }, "order", &[1]),
        (RunFilter { key: Some("k0".to_owned()), ..any() }, "4711", &[0]),
        (RunFilter { key: Some("k1".to_owned()), ..any() }, "4711", &[]),
        (RunFilter { after: Some(ids[2]), ..any() }, "4711", &[0]),
        (RunFilter { after: Some(ids[2]), ..any() }, "ord*", &[1, 0]),
        (RunFilter { statuses: vec![RunStatus::Running, RunStatus::Failed], ..any() }, "of", &[2, 0]),
    ];
    for (filter, q, places) in cases {
        let expected: Vec<RunId> = places.iter().map(|place| ids[*place]).collect();
        assert_eq!(found(store, &filter, q).await.unwrap(), expected, "{q:?} of {filter:?}");
    }
    let other = store.search_runs(TenantKey(2), (&any(), &terms("4711").unwrap()), 100).await.unwrap();
    assert!(other.runs.is_empty());

    let many = (0..60).map(|n| format!("many{n:03}")).collect::<Vec<_>>().join(" ");
    assert!(store.put_run_words(TENANT, vec![read(started(store).await, &many)], None).await.unwrap());
    let refused = found(store, &any(), "many*").await;
    assert!(matches!(&refused, Err(SearchError::TooManyWords(word)) if **word == *"many"), "{refused:?}");
    assert_eq!(found(store, &any(), "many00*").await.unwrap().len(), 1);
}

async fn what_goes_takes_its_words(fixture: Fixture) {
    let store = &fixture.store;
    let (gone, stays) = (started(store).await, started(store).await);
    done(store.commit(becomes(store, gone, 2, RunStatus::Completed)).await);
    store.put_run_words(TENANT, vec![read(gone, "a b"), read(stays, "b c")], None).await.unwrap();
    assert!(store.delete_run(TENANT, gone).await.unwrap());
    assert_eq!((rows(store, "search_documents").await, rows(store, "search_words").await), (1, 2));
    assert_eq!(found(store, &RunFilter::default(), "b").await.unwrap(), [stays]);

    // It was read before it went, and is written after.
    store.put_run_words(TENANT, vec![read(gone, "a b")], None).await.unwrap();
    assert_eq!((rows(store, "search_documents").await, rows(store, "search_words").await), (1, 2));
}

async fn what_two_read_is_written_once(fixture: Fixture) {
    let store = &fixture.store;
    let (one, two) = (started(store).await, started(store).await);
    let before = store.now();
    let later = windlass_definition::Timestamp::from_micros(before.micros() + 10_000_000);
    let page = store.runs_to_read(TENANT, later, 1).await.unwrap();
    let read_runs = |page: &windlass_store::RunsToRead| page.runs.iter().map(|run| run.id).collect::<Vec<_>>();
    assert_eq!((page.after, read_runs(&page)), (RunId::new(Uuid::nil()), vec![one]));
    assert_eq!(store.searched_until(TENANT).await.unwrap(), None);

    let write = |text: &str| (vec![read(one, text)], Some((page.after, one)));
    let (runs, progress) = write("first");
    assert!(store.put_run_words(TENANT, runs, progress).await.unwrap());
    let (runs, progress) = write("second");
    assert!(!store.put_run_words(TENANT, runs, progress).await.unwrap(), "somebody was faster");
    assert!(found(store, &RunFilter::default(), "second").await.unwrap().is_empty());
    assert_eq!(store.searched_until(TENANT).await.unwrap(), Some(one.made_at()));

    let page = store.runs_to_read(TENANT, later, 10).await.unwrap();
    assert_eq!((page.after, read_runs(&page)), (one, vec![two]));
    let early = windlass_definition::Timestamp::from_micros(two.made_at().micros());
    let page = store.runs_to_read(TENANT, early, 10).await.unwrap();
    assert!(page.runs.is_empty() && page.younger);
}

async fn a_run_is_read_again_when_it_is_over(fixture: Fixture) {
    let store = &fixture.store;
    let (ends, goes_on) = (started(store).await, started(store).await);
    let waiting = |run| RunWords { waits: true, ..read(run, "given") };
    store.put_run_words(TENANT, vec![waiting(ends), waiting(goes_on)], None).await.unwrap();
    assert!(store.runs_to_read_again(TENANT, 10).await.unwrap().is_empty());
    done(store.commit(becomes(store, ends, 2, RunStatus::Failed)).await);
    let again = store.runs_to_read_again(TENANT, 10).await.unwrap();
    assert_eq!(again.iter().map(|run| run.id).collect::<Vec<_>>(), [ends]);
    store.put_run_words(TENANT, vec![read(ends, "given came")], None).await.unwrap();
    assert!(store.runs_to_read_again(TENANT, 10).await.unwrap().is_empty());
    // Another server read it before it was over, and writes late.
    store.put_run_words(TENANT, vec![waiting(ends)], None).await.unwrap();
    assert!(store.runs_to_read_again(TENANT, 10).await.unwrap().is_empty());
    assert_eq!(found(store, &RunFilter::default(), "came").await.unwrap(), [ends]);
}

async fn put(store: &Store, name: &str, description: &str, source: &str) {
    let hash = windlass_store::blobs::sha256(source.as_bytes());
    store.put_definition(TENANT, hash, source.as_bytes()).await.unwrap();
    let (name, description, source) = (name.to_owned(), description.to_owned(), source.to_owned());
    let draft = Draft { name, description, tags: Vec::new(), source, hash, folder: None, made_from: None };
    store.put_draft(windlass_store::Actor { tenant: TENANT, by: By::named("ada") }, draft, IfMatch::Any).await.unwrap();
}

async fn names(store: &Store, q: &str, deleted: bool) -> Vec<String> {
    let find = FindWorkflows { terms: terms(q).expect("words"), deleted, ..FindWorkflows::default() };
    store.list_workflows(TENANT, &find, 10).await.unwrap().into_iter().map(|row| row.name).collect()
}

async fn workflows_are_found_by_what_their_drafts_say(fixture: Fixture) {
    let store = &fixture.store;
    put(store, "order-saga", "Takes orders", "steps: [{ id: charge_card }]").await;
    put(store, "refund", "Gives money back", "steps: [{ id: charge_back }]").await;
    let cases: &[(&str, &[&str])] = &[
        ("saga", &["order-saga"]),
        ("takes", &["order-saga"]),
        ("charge", &["order-saga", "refund"]),
        ("charge card", &["order-saga"]),
        ("order*", &["order-saga"]),
        ("money charge", &["refund"]),
        ("money card", &[]),
    ];
    for (q, expected) in cases {
        assert_eq!(names(store, q, false).await, *expected, "{q}");
    }
    put(store, "refund", "Gives money back", "steps: [{ id: transfer }]").await;
    assert_eq!(names(store, "charge", false).await, ["order-saga"]);
    assert_eq!(names(store, "transfer", false).await, ["refund"]);

    store
        .delete_workflow(windlass_store::Actor { tenant: TENANT, by: By::named("ada") }, "refund", IfMatch::Any)
        .await
        .unwrap();
    assert!(names(store, "transfer", false).await.is_empty());
    assert_eq!(names(store, "transfer", true).await, ["refund"]);
}

async fn workflows_of_an_older_version_get_their_words(fixture: Fixture) {
    let store = &fixture.store;
    for n in 0..25 {
        put(store, &format!("w{n:02}"), "", "steps: []").await;
    }
    for table in ["search_documents", "search_words"] {
        store.database().across_tenants().execute(format!("delete from {table}"), vec![]).await.unwrap();
    }
    let mut turns = Vec::new();
    loop {
        match store.put_missing_workflow_words(TENANT).await.unwrap() {
            0 => break,
            count => turns.push(count),
        }
    }
    assert_eq!(turns, [20, 5]);
    assert_eq!(names(store, "w07 steps", false).await, ["w07"]);
}
