//! Files in a bucket: a real server of S3's protocol (moto), which `scripts/python-tool.sh` installs.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::json;
use windlass_engine::id::TenantKey;
use windlass_store::{Actor, FileError, Location, Store, StoreOptions, Upload, UploadTo};

const TENANT: TenantKey = TenantKey::DEFAULT;
const MIB: usize = 1 << 20;

/// The server; it ends with the test.
struct Moto(Child);

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it on a free port; gives its address.
fn start() -> (Moto, String) {
    const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts");
    let mut install = Command::new(format!("{SCRIPTS}/python-tool.sh"));
    let installed = install.args([&format!("{SCRIPTS}/s3"), "moto_server"]).output().expect("the script runs");
    let program = String::from_utf8(installed.stdout).unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let mut child = Command::new(program.trim())
        .args(["-H", "127.0.0.1", "-p", "0"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("moto starts");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("http://127.0.0.1:")).expect("it says where it listens");
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().to_owned();
    // What it says later has to go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    (Moto(child), address)
}

async fn make_bucket(address: &str) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let request = "PUT /files HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

async fn upload(store: &Store, bytes: &[u8]) -> Result<serde_json::Value, FileError> {
    let pieces: Vec<Result<Bytes, String>> = bytes.chunks(100_000).map(|it| Ok(Bytes::copy_from_slice(it))).collect();
    let body = futures::stream::iter(pieces).boxed();
    let upload = Upload { to: UploadTo::New(json!({ "name": "a" })), declared_type: None, bytes_declared: None, body };
    store.upload_file(Actor::from(TENANT), upload).await.map(|view| view.json)
}

async fn read(store: &Store, file: &serde_json::Value, range: std::ops::Range<u64>) -> Result<Vec<u8>, FileError> {
    let content = store.file_content(TENANT, file["id"].as_str().unwrap().parse().unwrap(), None).await?;
    let mut chunks = store.read_file(&content, range).await?;
    let mut read = Vec::new();
    while let Some(chunk) = chunks.next().await? {
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

#[test]
fn files_lie_in_a_bucket() {
    let (_moto, address) = start();
    let settings = [
        ("AWS_ENDPOINT", address.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    // The environment is set before any thread reads it: each test of this file is a process of its own.
    #[expect(unsafe_code, clippy::disallowed_methods, reason = "no other thread reads the environment yet")]
    for (name, value) in settings {
        unsafe { std::env::set_var(name, value) };
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(all(&address));
}

async fn all(address: &str) {
    make_bucket(address).await;
    let home = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(Location::Sqlite { data_dir: home.path().join("data") });
    let options = StoreOptions { files: Some("s3://files/ours".to_owned()), ..options };
    let store = Store::open(options).await.unwrap();
    // One part, several, and none.
    let bytes: Vec<u8> = (0..20 * MIB).map(|it| (it % 253) as u8).collect();
    for size in [0, 10, 8 * MIB, 8 * MIB + 1, 20 * MIB] {
        let file = upload(&store, &bytes[..size]).await.unwrap();
        assert_eq!(read(&store, &file, 0..size as u64).await.unwrap(), &bytes[..size], "{size}");
    }
    let file = upload(&store, &bytes).await.unwrap();
    let (from, to) = (9 * MIB + 17, 17 * MIB + 3);
    assert_eq!(read(&store, &file, from as u64..to as u64).await.unwrap(), &bytes[from..to]);
    // A file that is cleared away goes from the bucket too.
    let id: uuid::Uuid = file["id"].as_str().unwrap().parse().unwrap();
    let content = store.file_content(TENANT, id, None).await.unwrap();
    let sql = "delete from files where tenant_key = $1 and id = $2";
    store.database().across_tenants().execute(sql, vec![TENANT.into(), id.into()]).await.unwrap();
    assert_eq!(store.sweep_files_older_than(std::time::Duration::ZERO).await.unwrap().removed, 1);
    let gone = store.read_file(&content, 0..1).await;
    assert!(matches!(gone.err(), Some(FileError::Damaged(_))), "it is not there any more");
    store.close().await;
}
