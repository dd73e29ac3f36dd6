//! Row-level security: PostgreSQL's second lock, whatever a statement says.

use serde_json::json;
use tokio_postgres::{Client, Config, NoTls, error::SqlState};
use windlass_engine::id::TenantKey;
use windlass_store::{Location, Statement, Store, StoreError, StoreOptions, Value};

use crate::{
    harness::{Fixture, TENANT, done, start, started},
    library::{OTHER, make, with_library},
};

/// Tables with a tenant in their key, partitions too: what the database itself says.
const TABLES: &str = "select c.relname::text from pg_class c \
                      join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_key' \
                      where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') order by 1";

/// A session like those of the program, which has named no tenant.
async fn session(fixture: &Fixture) -> Client {
    let Location::Postgres { url } = &fixture.options.location else { panic!("no PostgreSQL") };
    let (client, connection) = url.parse::<Config>().unwrap().connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn enter(session: &Client, tenant: &str) {
    session.batch_execute(&format!("set windlass.tenant = '{tenant}'")).await.unwrap();
}

async fn count(session: &Client, table: &str, condition: &str) -> i64 {
    session.query_one(&format!("select count(*) from {table} where {condition}"), &[]).await.unwrap().get(0)
}

/// Two tenants with rows of every record, and a run each.
async fn filled() -> Fixture {
    let fixture = with_library(Fixture::postgres().await).await;
    let store = &fixture.store;
    for tenant in [TENANT, OTHER] {
        for record in store.records() {
            make(store, tenant, record, json!({})).await;
        }
        let mut run = start(store, crate::harness::run_id(), None);
        run.tenant = tenant;
        done(store.commit(run).await);
    }
    fixture
}

#[tokio::test]
async fn a_session_sees_and_writes_the_rows_of_its_tenant_alone() {
    let fixture = filled().await;
    let session = session(&fixture).await;
    let tables = session.query(TABLES, &[]).await.unwrap();
    assert!(tables.len() > 50, "{}", tables.len());
    let mut full = 0;
    for row in &tables {
        let table: &str = row.get(0);
        enter(&session, "*").await;
        let all = count(&session, table, "true").await;
        let own = count(&session, table, "tenant_key = 1").await;
        full += i32::from(own > 0 && own < all);
        for nobody in ["", "99", "-1"] {
            enter(&session, nobody).await;
            let seen = count(&session, table, "true").await;
            assert_eq!(seen, 0, "{table} is seen by `{nobody}`");
            let written = session.execute(&format!("update {table} set tenant_key = tenant_key"), &[]).await;
            assert!(matches!(written, Ok(0)) || refused_append(&written), "{table}: {written:?}");
        }
        enter(&session, "acme").await;
        let refused = session.query(&format!("select 1 from {table}"), &[]).await;
        assert!(all == 0 || refused.is_err(), "{table} is seen by what names no tenant");
        enter(&session, "1").await;
        assert_eq!(count(&session, table, "true").await, own, "{table}");
        // Its own rows are not given away, and no others are taken.
        let away = session.execute(&format!("update {table} set tenant_key = 2"), &[]).await;
        let code = away.as_ref().err().and_then(|error| error.code().cloned());
        assert!(
            own == 0 || code == Some(SqlState::INSUFFICIENT_PRIVILEGE) || refused_append(&away),
            "{table}: {away:?}"
        );
    }
    assert!(full > 25, "only {full} tables hold rows of both");
    enter(&session, "1").await;
    let put = "insert into file_usage (tenant_key, bytes) values (2, 1)";
    let refused = session.execute(put, &[]).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

/// What is only ever appended to is refused by its trigger first.
fn refused_append(written: &Result<u64, tokio_postgres::Error>) -> bool {
    written.as_ref().is_err_and(|error| error.code().is_some_and(|code| code.code().starts_with("WL")))
}

#[tokio::test]
async fn a_new_session_sees_nothing() {
    let fixture = Fixture::postgres().await;
    started(&fixture.store).await;
    let session = session(&fixture).await;
    assert_eq!(count(&session, "runs", "true").await, 0);
    assert!(!session.is_closed());
}

#[tokio::test]
async fn what_opens_a_table_is_a_difference() {
    for (change, expect) in [
        ("drop policy of_tenant on files", "table files has other policies"),
        ("alter table files disable row level security", "table files has no row-level security"),
        ("alter table journal no force row level security", "table journal has no row-level security"),
        ("alter table journal_other disable row level security", "table journal_other has no row-level security"),
        ("create policy everybody on runs using (true)", "table runs has other policies"),
        ("alter policy of_tenant on secrets using (tenant_key >= 0)", "table secrets has other policies"),
        ("alter policy of_tenant on secrets with check (true)", "table secrets has other policies"),
        ("create policy everybody on journal_other using (true)", "table journal_other has other policies"),
    ] {
        let fixture = Fixture::postgres().await;
        let store = &fixture.store;
        assert_eq!(store.validate().await.unwrap(), Vec::<String>::new());
        store.database().across_tenants().execute(change, vec![]).await.unwrap();
        let differences = store.validate().await.unwrap().join("; ");
        assert!(differences.contains(expect), "{change}: {differences}");
    }
}

/// Sessions of the pool change hands all the time: none keeps the rows of the one before in sight.
#[tokio::test]
async fn a_session_of_the_pool_is_told_anew_whose_rows_it_sees() {
    let fixture = filled().await;
    let database = fixture.store.database();
    let whose = "select distinct tenant_key from runs order by 1";
    let seen = async |tenant: TenantKey| {
        let rows = database.of(tenant).query(whose, vec![]).await.unwrap();
        rows.iter().map(|row| row.tenant(0).unwrap()).collect::<Vec<_>>()
    };
    let mut asked = Vec::new();
    for round in 0..100 {
        let tenant = if round % 3 == 0 { OTHER } else { TENANT };
        asked.push(async move { (tenant, seen(tenant).await) });
    }
    for (tenant, seen) in futures::future::join_all(asked).await {
        assert_eq!(seen, [tenant]);
    }
    // A refused transaction takes nothing back that the session was told before.
    let failed = database.of(OTHER).transact(|tx| {
        Box::pin(async move {
            tx.enter(TENANT).await?;
            let rows = tx.query("select distinct tenant_key from runs", vec![]).await?;
            assert_eq!(rows.len(), 1);
            assert_eq!(rows[0].tenant(0)?, TENANT);
            Err::<(), _>(StoreError::conflict("no"))
        })
    });
    failed.await.unwrap_err();
    assert_eq!(seen(OTHER).await, [OTHER]);
    assert_eq!(seen(TENANT).await, [TENANT]);
    let rows = database.across_tenants().query(whose, vec![]).await.unwrap();
    assert_eq!(rows.len(), 2);
    // Each of several statements sees its own tenant's.
    let count = |tenant| (tenant, Statement::new("select tenant_key from runs limit 1", Vec::<Value>::new()));
    let written = database.write_each([TENANT, OTHER, OTHER, TENANT].map(count).into()).await.unwrap();
    let whose: Vec<TenantKey> = written.iter().map(|it| it.rows[0].tenant(0).unwrap()).collect();
    assert_eq!(whose, [TENANT, OTHER, OTHER, TENANT]);
    assert_eq!(seen(TENANT).await, [TENANT]);
}

/// The planner takes the policy for a condition that nearly every row fulfils: what it plans without the policy, it plans
/// with it.
#[tokio::test]
async fn the_policy_changes_no_estimate() {
    let fixture = Fixture::postgres().await;
    let session = session(&fixture).await;
    enter(&session, "*").await;
    let fill = "insert into task_ready (tenant_key, queue, rank, task_id) \
                select n % 10, 'q', 0, gen_random_uuid() from generate_series(1, 10000) n";
    session.batch_execute(&format!("{fill}; analyze task_ready")).await.unwrap();
    enter(&session, "1").await;
    let plan = session.query("explain select * from task_ready where tenant_key = 1", &[]).await.unwrap();
    // Its first line ends in `rows=<estimate> width=<bytes>)`.
    let plan: &str = plan[0].get(0);
    let rows: i64 = plan.split("rows=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((800..=1_200).contains(&rows), "{rows} of 1,000 rows are expected");
}

/// What `docs/postgresql.md` says of `pg_dump`: with the option and the setting everything is in it, and it loads.
#[tokio::test]
async fn a_dump_of_an_ordinary_role_holds_everything() {
    let (source, copy) = (windlass_testkit::postgres().await, windlass_testkit::postgres().await);
    let open =
        async |url: &str| Store::open(StoreOptions::new(Location::Postgres { url: url.to_owned() })).await.unwrap();
    let store = open(&source.url).await;
    let run = started(&store).await;
    store.close().await;
    let dump = source.dump().unwrap();
    windlass_testkit::look_at(&copy.url).await.unwrap().batch_execute(&dump).await.unwrap();
    let store = open(&copy.url).await;
    assert!(store.run(TENANT, run).await.unwrap().is_some());
    assert_eq!(store.validate().await.unwrap(), Vec::<String>::new());
    store.close().await;
}
