//! Credentials tried against servers in this process, and against PostgreSQL.

mod aws;
mod database;
mod smtp;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;
use windlass_engine::id::TenantKey;
use windlass_runtime::secrets::Credentials;
use windlass_steps::{
    credentials::Ready,
    egress::{Egress, EgressOptions, address::PrivateNetwork},
};
use windlass_store::KeptCredential;

use crate::common::scene;

/// What servers in these tests take.
const PASSWORD: &str = "correct-horse-battery";

fn kept(credential_type: &str, fields: Value, secret: Value) -> KeptCredential {
    KeptCredential {
        id: Uuid::now_v7(),
        name: "tried".to_owned(),
        hosts: Default::default(),
        revision: 1,
        credential_type: credential_type.to_owned(),
        fields,
        secret_fields: secret.to_string().into(),
    }
}

/// A client that trusts the authority of the tests.
fn trusting() -> EgressOptions {
    let authority = CertificateDer::from_pem_slice(include_bytes!("../data/authority.pem")).unwrap();
    EgressOptions { private_network: PrivateNetwork::Allow, extra_roots: vec![authority], ..EgressOptions::default() }
}

/// What trying it says: `works: …`.
async fn tried_over(options: EgressOptions, credential: KeptCredential) -> String {
    let scene = scene().await;
    let ready = Ready::new(Egress::new(options).unwrap());
    let test = ready.test(&scene.context.store, TenantKey::DEFAULT, &credential).await;
    format!("{}: {}", test.verdict.as_str(), test.detail)
}

async fn tried(credential: KeptCredential) -> String {
    tried_over(trusting(), credential).await
}

/// Trying it says something that begins and goes on like this, and nothing secret.
async fn check(credential: KeptCredential, parts: &[&str]) {
    let secret: Value = serde_json::from_str(&credential.secret_fields).unwrap();
    let said = tried(credential).await;
    assert!(said.starts_with(parts[0]), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part}: {said}");
    }
    for text in secret.as_object().unwrap().values().filter_map(Value::as_str) {
        assert!(!said.contains(text), "{said}");
    }
    assert!(said.chars().count() < 500 && !said.contains('\n'), "{said}");
}

/// Makes a credential for a host and a port.
type Make<'a> = &'a dyn Fn(&str, u16) -> KeptCredential;

/// A port on which nobody listens.
fn closed_port() -> u16 {
    windlass_testkit::free_address().unwrap().port()
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_and_what_may_not_is_not_reached() {
    let port = closed_port();
    let smtp = |host: &str, port: u16| {
        let fields = json!({ "host": host, "port": port, "security": "none", "username": "ada" });
        kept("smtp", fields, json!({ "password": PASSWORD }))
    };
    let database = |host: &str, port: u16| {
        let fields = json!({ "engine": "postgres", "host": host, "port": port, "database": "shop", "username": "ada" });
        kept("database", fields, json!({ "password": PASSWORD }))
    };
    let aws = |host: &str, port: u16| {
        let endpoint = format!("http://{host}:{port}/");
        let fields = json!({ "access_key_id": "AKIDEXAMPLE", "region": "eu-central-1", "sts_endpoint": endpoint });
        kept("aws", fields, json!({ "secret_access_key": PASSWORD }))
    };
    let all: [Make<'_>; 3] = [&smtp, &database, &aws];
    for one in all {
        check(one("127.0.0.1", port), &["fails: ", "could not connect", "refused"]).await;
        check(one("nowhere.invalid", 1), &["fails: ", "could not connect"]).await;
    }
    // Here somebody listens, and nobody comes.
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", "127.1", "0x7f.1", "[::ffff:127.0.0.1]", "169.254.169.254"] {
        for one in all {
            let said = tried_over(EgressOptions::default(), one(host, port)).await;
            assert!(said.starts_with("fails: ") && said.contains("may not be reached"), "{host}: {said}");
        }
    }
    let came = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(came.is_err(), "somebody came");
}

#[tokio::test]
async fn a_private_key_is_looked_at() {
    let plain = include_str!("../data/ssh_plain");
    let sealed = include_str!("../data/ssh_sealed");
    let slow = include_str!("../data/ssh_slow");
    let of_plain = "ssh-ed25519 SHA256:0YGmGDwVF7SUO5zmO/Fuu7k5dga5BBYY+4/WSnvioWQ";
    let of_sealed = "ssh-ed25519 SHA256:j/60YEPKvYlAtojgiRikT084YklwwEygEDep2UusVko";
    let broken = sealed.replace("b3BlbnNzaC1rZXktdjE", "b3BlbnNzaC1rZXktdjI");
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    for (key, passphrase, parts) in [
        (plain, None, ["unknown: ", of_plain, "without a passphrase; no server was tried"]),
        (plain, Some(PASSWORD), ["unknown: ", of_plain, "needs no passphrase although it has one"]),
        (sealed, Some(PASSWORD), ["unknown: ", of_sealed, "its passphrase opens it; no server was tried"]),
        (sealed, Some("another"), ["fails: ", of_sealed, "does not open it"]),
        (sealed, None, ["fails: ", of_sealed, "it has none"]),
        (slow, Some("x12345678"), ["unknown: ", "ssh-ed25519", "more than 1000 rounds"]),
        (&broken, None, ["fails: ", "cannot be read", "OpenSSH"]),
        (pem, None, ["unknown: ", "PEM", "no server was tried"]),
        ("hello", None, ["fails: ", "no key", "PEM"]),
    ] {
        check(kept("ssh_key", json!({}), json!({ "private_key": key, "passphrase": passphrase })), &parts).await;
    }
}
