//! PostgreSQL on the same machine, reached by its socket in the file system.

use windlass_store::{Location, Store, StoreOptions};
use windlass_testkit::look_at;

#[tokio::test]
async fn a_server_is_reached_by_its_socket() {
    let database = windlass_testkit::postgres().await;
    let (server, name) = database.url.rsplit_once('/').unwrap();
    let port = server.rsplit_once(':').unwrap().1;
    // Where it lies is told to superusers alone.
    let client = look_at(&database.url.replace("windlass@", "postgres@")).await.unwrap();
    let folder: String = client.query_one("show unix_socket_directories", &[]).await.unwrap().get(0);
    for url in [
        format!("postgres://windlass@{}:{port}/{name}", folder.replace('/', "%2F")),
        format!("postgres:///{name}?user=windlass&host={folder}&port={port}"),
    ] {
        let store = Store::open(StoreOptions::new(Location::Postgres { url: url.clone() })).await.expect(&url);
        let by_network = "select client_addr is not null from pg_stat_activity where pid = pg_backend_pid()";
        let rows = store.database().across_tenants().query(by_network, vec![]).await.unwrap();
        assert!(!rows[0].bool(0).unwrap(), "{url}");
        store.close().await;
    }
}
