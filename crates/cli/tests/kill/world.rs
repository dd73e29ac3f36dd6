//! A server that is killed, the shop that is not, and how clients reach both.

use std::{
    fs::{self, File, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::watch;
use windlass_testkit::{Program, free_address, ready};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_windlass");
/// The administrator's token.
const TOKEN: &str = "a-token-for-kill-tests";
/// Between two tries to reach a server that may be dead, or two looks at something.
pub const TRY_EVERY: Duration = Duration::from_millis(5);

/// On which database.
pub enum Database {
    /// SQLite in a data directory of the world.
    Sqlite,
    /// PostgreSQL at that URL.
    Postgres(String),
}

/// A server that is killed and a shop that is not.
pub struct World {
    folder: tempfile::TempDir,
    database: Database,
    server: Mutex<Option<Program>>,
    server_address: SocketAddr,
    shop_address: SocketAddr,
    _shop: Program,
    client: Client,
    /// Answers that clients have got from the server, of whatever kind.
    answers: watch::Sender<u64>,
}

/// An answer of the server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl World {
    /// Starts the shop and the server.
    pub async fn begin(database: Database) -> World {
        let folder = tempfile::tempdir().unwrap();
        let (_shop, shop_address) = shop(folder.path());
        let world = World {
            database,
            server: Mutex::new(None),
            server_address: free_address().unwrap(),
            shop_address,
            _shop,
            client: client(),
            answers: watch::Sender::new(0),
            folder,
        };
        world.start();
        world
    }

    /// Starts the server where it was before, and waits until it is ready.
    pub fn start(&self) {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg("--listen").arg(self.server_address.to_string()).arg("--allow-private-network");
        match &self.database {
            Database::Sqlite => command.arg("--data-dir").arg(self.folder.path().join("data")),
            Database::Postgres(url) => command.arg("--database-url").arg(url),
        };
        command.env("WINDLASS_BOOTSTRAP_TOKEN", TOKEN).env("WINDLASS_LOG", "info");
        let mut program = Program::start(quietly(&mut command, &self.log())).unwrap();
        if let Err(error) = ready(&mut program, self.server_address, "/readyz") {
            panic!("{error:#}\n{}", self.end_of_log());
        }
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some(program);
    }

    /// `kill -9`.
    pub fn kill(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        server.expect("a server that runs").kill().unwrap();
    }

    /// Asks it to stop, and takes nothing but peace for an answer.
    pub fn stop(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        let status = server.expect("a server that runs").stop(Duration::from_secs(30)).unwrap();
        assert!(status.success(), "the server stopped with {status}\n{}", self.end_of_log());
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    /// What the server said last.
    pub fn end_of_log(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Waits until clients have got so many more answers.
    pub async fn after_answers(&self, count: u64) {
        let mut answers = self.answers.subscribe();
        let at = *answers.borrow() + count;
        answers.wait_for(|it| *it >= at).await.expect("the world is there");
    }

    /// Asks the server until it answers; a server that dies or is dead is asked again.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>, key: Option<&str>) -> Answer {
        loop {
            if let Some(answer) = self.try_ask(&method, path, body.clone(), key).await {
                self.answers.send_modify(|it| *it += 1);
                // Only a server that cannot answer now is asked again.
                if answer.status != 503 {
                    return answer;
                }
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    }

    async fn try_ask(&self, method: &Method, path: &str, body: Option<Value>, key: Option<&str>) -> Option<Answer> {
        let url = format!("http://{}/api/v1{path}", self.server_address);
        let mut request = self.client.request(method.clone(), url).bearer_auth(TOKEN);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request = match body {
            // A document comes as its text.
            Some(Value::String(yaml)) => request.header("content-type", "application/yaml").body(yaml),
            Some(json) => request.json(&json),
            None => request,
        };
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.ok()?;
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).ok()? };
        Some(Answer { status, body })
    }

    /// Reads something that must be there.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, None, None).await;
        assert_eq!(answer.status, 200, "GET {path}: {}\n{}", answer.body, self.end_of_log());
        answer.body
    }

    /// Does something that the server must accept.
    pub async fn post(&self, path: &str, body: Value, key: Option<&str>) -> Value {
        let answer = self.ask(Method::POST, path, Some(body), key).await;
        assert!((200..300).contains(&answer.status), "POST {path}: {answer:?}\n{}", self.end_of_log());
        answer.body
    }

    /// Every item of a list, over all of its pages.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let sign = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{sign}limit=200{after}")).await;
            items.extend(page["items"].as_array().expect("a page").iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return items,
            }
        }
    }

    /// Where the shop is.
    pub fn shop_url(&self) -> String {
        format!("http://{}", self.shop_address)
    }

    /// Makes the shop fail now and then, before and after the effect.
    pub async fn make_the_shop_moody(&self) {
        let knobs = json!({
            "charges": { "latency_ms": 3, "fail_rate": 0.1, "fail": "after" },
            "holds": { "latency_ms": 5, "fail_rate": 0.1 },
        });
        let url = format!("{}/knobs", self.shop_url());
        let answer = self.client.put(url).json(&knobs).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// The shop's effects.
    pub async fn effects(&self) -> Vec<Value> {
        effects(&self.client, self.shop_address).await
    }
}

/// Starts a shop with a new ledger in that folder.
pub fn shop(folder: &Path) -> (Program, SocketAddr) {
    let address = free_address().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["demo", "shop", "--listen", &address.to_string(), "--ledger"]).arg(folder.join("ledger.jsonl"));
    let mut program = Program::start(quietly(&mut command, &folder.join("shop.log"))).unwrap();
    ready(&mut program, address, "/ledger").unwrap();
    (program, address)
}

/// A client of both.
pub fn client() -> Client {
    // The first one to install a provider wins; they are all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap()
}

/// The effects of the shop at that address.
pub async fn effects(client: &Client, shop: SocketAddr) -> Vec<Value> {
    let ledger: Value = client.get(format!("http://{shop}/ledger")).send().await.unwrap().json().await.unwrap();
    ledger["effects"].as_array().expect("effects").clone()
}

/// A command that says what it has to say to a file, whatever the environment of the test.
pub fn quietly<'a>(command: &'a mut Command, log: &Path) -> &'a mut Command {
    let log: File = OpenOptions::new().create(true).append(true).open(log).unwrap();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WINDLASS_")) {
        if command.get_envs().all(|(set, _)| set != name.as_str()) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log)
}
