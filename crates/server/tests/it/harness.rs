//! A server on a port of its own, and a client for it.

use std::sync::Arc;

use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use windlass_runtime::{Runtime, Settings};
use windlass_server::{
    App, Gate, Limits, Tokens,
    listen::{self, Bounds},
    settings::{self, Chosen, InEffect, Told},
    token::TokenHash,
};
use windlass_steps::egress::{Egress, EgressOptions, Tenants, address::PrivateNetwork};
use windlass_store::{KeySource, Location, MasterKey, NewApiKey, Store, StoreOptions};
use windlass_testkit::{Postgres, library};

/// The administrator's token.
pub const TOKEN: &str = "a-token-for-the-tests";

/// The one address on this machine that steps may reach.
pub const REACHED: &str = "127.0.0.9";

/// A server and a client for it.
pub struct Api {
    pub base: String,
    pub store: Store,
    runtime: Runtime,
    client: reqwest::Client,
    stop: CancellationToken,
    _home: Home,
    _files: TempDir,
}

/// What holds the database.
#[expect(dead_code, reason = "held, not read")]
enum Home {
    Directory(TempDir),
    Postgres(Postgres),
}

/// An answer.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Api {
    pub async fn sqlite() -> Api {
        let home = tempfile::tempdir().unwrap();
        let location = Location::Sqlite { data_dir: home.path().to_path_buf() };
        Api::start(location, Home::Directory(home)).await
    }

    pub async fn postgres() -> Api {
        let home = windlass_testkit::postgres().await;
        Api::start(Location::Postgres { url: home.url.clone() }, Home::Postgres(home)).await
    }

    async fn start(location: Location, home: Home) -> Api {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = MasterKey::generate().unwrap().to_text();
        let master_key = KeySource::Text { holder: "the test", keys: Arc::new(key) };
        let options = StoreOptions { records: library::and_the_products(), ..StoreOptions::new(location) };
        let files = tempfile::tempdir().unwrap();
        let place = Some(files.path().display().to_string());
        let options = StoreOptions { master_key, files: place, ..options };
        let store = Store::open(options).await.unwrap();
        make_library(&store).await;
        let egress = reaching(REACHED.parse().unwrap());
        let options = windlass_steps::Options { egress, ..windlass_steps::Options::default() };
        let catalogue = windlass_steps::catalogue(options).unwrap();
        let runtime = Runtime::open(store.clone(), catalogue, Settings::default()).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let (base, stop) = serve(&runtime, Limits::default(), PrivateNetwork::Allow).await;
        Api { base, store, runtime, client, stop, _home: home, _files: files }
    }

    /// The same behind a door with these bounds.
    pub async fn limited(mut self, limits: Limits) -> Api {
        self.stop.cancel();
        (self.base, self.stop) = serve(&self.runtime, limits, PrivateNetwork::Allow).await;
        self
    }

    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Another server on the same runtime, with a door of its own; gives its address.
    pub async fn another(&self) -> String {
        self.another_that(PrivateNetwork::Allow).await
    }

    /// The same with what it may reach.
    pub async fn another_that(&self, reaches: PrivateNetwork) -> String {
        let (base, stop) = serve(&self.runtime, Limits::default(), reaches).await;
        // It ends with the first one.
        let first = self.stop.clone();
        tokio::spawn(async move {
            first.cancelled().await;
            stop.cancel();
        });
        base
    }

    /// A request with the administrator's token to the server at that address.
    pub fn to(&self, base: &str, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{base}/api/v1{path}")).bearer_auth(TOKEN)
    }

    /// Makes a tenant; gives a token that may do everything in it.
    pub async fn tenant(&self, slug: &str) -> String {
        let tenant = self.store.create_tenant(slug, slug).await.unwrap();
        let token = format!("a-token-for-{slug}");
        let new = NewApiKey {
            id: uuid::Uuid::now_v7(),
            name: slug.to_owned(),
            prefix: "chosen".to_owned(),
            hash: *TokenHash::of(&token).as_bytes(),
            scopes: vec!["*".to_owned()],
            ..NewApiKey::default()
        };
        self.store.create_api_key(tenant.key, new).await.unwrap();
        token
    }

    /// A request without a token to that address.
    pub fn anywhere(&self, method: Method, url: &str) -> RequestBuilder {
        self.client.request(method, url)
    }

    /// A request without a token.
    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    /// A request with the administrator's token; the path is below `/api/v1`.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, &format!("/api/v1{path}")).bearer_auth(TOKEN)
    }

    pub async fn post_owned(&self, path: String, body: Value) -> Answer {
        self.post(&path, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    /// Saves a document.
    pub async fn put(&self, name: &str, yaml: &str) -> Answer {
        let request = self.request(Method::PUT, &format!("/workflows/{name}"));
        send(request.header("content-type", "application/yaml").body(yaml.to_owned())).await
    }

    /// Saves a document and publishes it.
    pub async fn deploy(&self, name: &str, yaml: &str) {
        self.put(name, yaml).await.expect(201);
        self.post(&format!("/workflows/{name}/publish"), serde_json::json!({})).await.expect(200);
    }

    /// Starts a run of a published workflow and gives its id.
    pub async fn start_run(&self, name: &str, input: Value) -> String {
        let answer = self.post(&format!("/workflows/{name}/runs"), serde_json::json!({ "input": input })).await;
        let run = answer.json();
        assert!(answer.status.is_success(), "{}", answer.body);
        run["id"].as_str().unwrap().to_owned()
    }

    /// Asks again until the answer is what is waited for.
    pub async fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let patience = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let answer = self.get(path).await.json();
            if holds(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < patience, "{path} stays {answer}");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

async fn serve(runtime: &Runtime, limits: Limits, reaches: PrivateNetwork) -> (String, CancellationToken) {
    let (tokens, _) = Tokens::open(runtime.store().clone(), Some(TOKEN)).await.unwrap();
    let app = App::bounded(runtime.clone(), Gate::Tokens(tokens), limits);
    let app = app.with_egress(Egress::new(reaching(reaches)).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    tokio::spawn(listen::serve(listener, windlass_server::Service::of(&app), Bounds::default(), stop.clone()));
    (base, stop)
}

/// What goes out of an installation that may reach these, and of its tenants by their settings.
fn reaching(installation: PrivateNetwork) -> EgressOptions {
    let chosen = Chosen::of("private_networks", &installation.words().join(" ")).unwrap();
    let told = Told { environment: vec![chosen], ..Told::default() };
    let nowhere = Location::Postgres { url: String::new() };
    let settings = InEffect::begin(told, settings::Bounds::new(StoreOptions::new(nowhere)));
    let tenants = Tenants::of(move |chosen| settings.bounds_now(chosen).process.private_networks);
    EgressOptions { private_network: installation, tenants: Some(tenants), ..EgressOptions::default() }
}

/// The tables of the library, whose records are served beside the product's own.
async fn make_library(store: &Store) {
    let dialect = windlass_resource::Dialect::from(store.database().dialect());
    let sql = windlass_resource::ddl::create_tables(library::ALL, dialect);
    for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        store.database().across_tenants().execute(statement.to_owned(), vec![]).await.unwrap();
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    Answer { status, headers, body: response.text().await.unwrap() }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The JSON, once the status is what it must be.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Asserts the status of an answer that is no JSON.
    pub fn expect_text(&self, status: u16) {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
    }

    /// The problem, once it is one with that status and code.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        if self.header("content-type") == "application/scim+json" {
            // What SCIM's clients are told has its own form.
            assert_eq!(
                (&problem["status"], &problem["requestId"]),
                (&status.to_string().into(), &self.header("x-request-id").into())
            );
            return problem;
        }
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()), "{}", self.body);
        assert_eq!(problem["request_id"], self.headers["x-request-id"].to_str().unwrap());
        problem
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}
