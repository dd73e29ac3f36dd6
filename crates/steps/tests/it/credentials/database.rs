//! `database`: PostgreSQL with a certificate and a password; other engines are not tried, and nobody connects.

use std::{os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use windlass_steps::egress::EgressOptions;
use windlass_testkit::{OwnPostgres, look_at};

use super::{PASSWORD, check, kept, tried, tried_over, trusting};

/// The administrator comes from anywhere; `ada` encrypted and with her password, `bob` unencrypted.
const DOORS: &str = "host all postgres 127.0.0.1/32 trust
host all windlass 127.0.0.1/32 trust
hostssl all ada 127.0.0.1/32 scram-sha-256
hostnossl all bob 127.0.0.1/32 scram-sha-256
";

fn prepare(data: &Path) -> anyhow::Result<()> {
    std::fs::write(data.join("server.crt"), include_str!("../../data/localhost.pem"))?;
    std::fs::write(data.join("server.key"), include_str!("../../data/localhost.key"))?;
    // PostgreSQL refuses a key that others may read.
    std::fs::set_permissions(data.join("server.key"), std::fs::Permissions::from_mode(0o600))?;
    Ok(std::fs::write(data.join("pg_hba.conf"), DOORS)?)
}

fn database(port: u16, fields: &Value, password: &str) -> windlass_store::KeptCredential {
    let mut all =
        json!({ "engine": "postgres", "host": "localhost", "port": port, "database": "shop", "username": "ada" });
    for (name, value) in fields.as_object().unwrap() {
        all[name] = value.clone();
    }
    kept("database", all, json!({ "password": password }))
}

#[tokio::test]
async fn postgresql_lets_the_user_in_or_says_why_not() {
    let own = tokio::task::spawn_blocking(|| OwnPostgres::start_with("-c ssl=on", prepare)).await;
    let postgres = own.unwrap().unwrap();
    let port = postgres.port();
    let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
    let client = look_at(&url).await.unwrap();
    for statement in [
        format!("create role ada login password '{PASSWORD}'"),
        format!("create role bob login password '{PASSWORD}'"),
        "create database shop owner ada".to_owned(),
    ] {
        client.batch_execute(&statement).await.unwrap();
    }
    let unencrypted = json!({ "username": "bob", "tls": "none" });
    for (fields, password, parts) in [
        (
            json!({}),
            PASSWORD,
            ["works: localhost:", "let `ada` into `shop` and answered `select 1`: PostgreSQL 1", ", encrypted"],
        ),
        (json!({ "tls": "verify" }), PASSWORD, ["works: ", "PostgreSQL", ", encrypted"]),
        (
            json!({ "tls": "require", "host": "127.0.0.1" }),
            PASSWORD,
            ["works: ", "encrypted", "its certificate not checked"],
        ),
        (unencrypted.clone(), PASSWORD, ["works: ", "let `bob` into", "not encrypted"]),
        (unencrypted, "wrong-horse-battery", ["fails: ", "password authentication failed for user \"bob\"", "(28P01)"]),
        (
            json!({}),
            "wrong-horse-battery",
            ["fails: ", "did not let `ada` in: password authentication failed", "(28P01)"],
        ),
        (json!({ "database": "attic" }), PASSWORD, ["fails: ", "database \"attic\" does not exist", "(3D000)"]),
        (json!({ "tls": "none" }), PASSWORD, ["fails: ", "no pg_hba.conf entry", "(28000)"]),
        (json!({ "host": null }), PASSWORD, ["fails: ", "it has no `host`", ""]),
        (json!({ "username": null }), PASSWORD, ["fails: ", "it has no `username`", ""]),
    ] {
        check(database(port, &fields, password), &parts).await;
    }
    // A server that asks nobody for a certificate it trusts is told no password.
    let options = EgressOptions { extra_roots: Vec::new(), ..trusting() };
    let said = tried_over(options, database(port, &json!({}), PASSWORD)).await;
    assert!(said.starts_with("fails: ") && said.contains("UnknownIssuer"), "{said}");
}

#[tokio::test]
async fn what_is_no_postgresql_is_not_tried_or_said_to_be_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for engine in ["mysql", "mssql", "sqlite"] {
        let said = tried(database(port, &json!({ "engine": engine }), PASSWORD)).await;
        assert_eq!(
            said,
            format!("unknown: nothing was tried: of databases this version tries `postgres`, and no `{engine}`")
        );
    }
    let nobody = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(nobody.is_err(), "somebody came");
    // Something else that listens: it answers with what is no message, or with one that never ends.
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &b"S\x7f\xff\xff\xff"[..]] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt;
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(answer).await;
                while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
            }
        });
        check(database(port, &json!({ "tls": "none" }), PASSWORD), &["fails: localhost:", "did not let `ada` in"])
            .await;
    }
}
