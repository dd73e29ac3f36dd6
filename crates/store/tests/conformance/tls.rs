//! TLS to PostgreSQL, against a server with a certificate that a test made.

use std::{path::Path, process::Command};

use windlass_store::{Location, Store, StoreError, StoreOptions};
use windlass_testkit::OwnPostgres;

/// A certificate for `localhost`, which is its own authority, and its key.
fn certificate(folder: &Path) -> anyhow::Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", "server.crt"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", "server.key"]).current_dir(folder);
    let output = openssl.output()?;
    anyhow::ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    // PostgreSQL refuses a key that others may read.
    std::fs::set_permissions(folder.join("server.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    // Only encrypted sessions are let in.
    Ok(std::fs::write(
        folder.join("pg_hba.conf"),
        "hostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n",
    )?)
}

async fn open(url: String) -> Result<(), StoreError> {
    let store = Store::open(StoreOptions::new(Location::Postgres { url })).await?;
    // The pool's sessions are encrypted as the first one is.
    let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    let rows = store.database().across_tenants().query(encrypted, vec![]).await?;
    assert!(rows[0].bool(0)?, "the session is not encrypted");
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn the_certificate_is_checked_as_the_url_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root.crt");
    let own = tokio::task::spawn_blocking({
        let root = root.clone();
        move || {
            OwnPostgres::start_with("-c ssl=on", |data| {
                certificate(data)?;
                std::fs::copy(data.join("server.crt"), &root)?;
                Ok(())
            })
        }
    });
    let postgres = own.await.expect("a thread").expect("a server");
    let url = |host: &str, query: &str| format!("postgres://windlass@{host}:{}/windlass?{query}", postgres.port());
    let checked = format!("sslmode=verify-full&sslrootcert={}", root.display());

    open(url("localhost", &checked)).await.expect("the right certificate for the right name");
    open(url("127.0.0.1", "sslmode=require")).await.expect("encrypted, without asking who it is");
    open(url("127.0.0.1", "")).await.expect("encrypted where the server can");

    let refused = [
        (url("127.0.0.1", &checked), "a certificate for another name"),
        (url("localhost", "sslmode=verify-full"), "an authority that nobody knows"),
        (url("localhost", &format!("{checked}.not")), "an authority that is not there"),
        (url("localhost", "sslmode=disable"), "a server that wants encryption"),
    ];
    for (url, why) in refused {
        let error = open(url).await.expect_err(why);
        assert!(matches!(&error, StoreError::Location { .. }), "{why}: {error:?}");
        eprintln!("{why}: {error}");
    }
}
