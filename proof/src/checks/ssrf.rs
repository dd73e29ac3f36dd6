//! `ssrf`: every way to write an address that a request must not go to, through every feature that makes a request on a
//! caller's behalf. A listener on all addresses of this machine counts what connects: nothing does, and the caller is told
//! why.
//!
//! The tricks are data (`ssrf/tricks.txt`, JSON's escapes without its quotes, `PORT` being the listener's), and so is what
//! names resolve to (`ssrf/names.txt`, [`crate::names`]). One address of this machine is allowed, so that requests get far
//! enough to be redirected and to look names up twice. The environment names proxies that would connect too.
//!
//! A second server, without the lock, is shown to connect: tricks that lead nowhere by themselves prove nothing.

mod listener;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use serde_json::{Value, json};

use self::listener::Listener;
use crate::{
    Check, Counts, Plan,
    client::{Client, Request},
    names,
    options::Database,
    report::Outcome,
    world::{Setup, World},
};

const TRICKS: &str = include_str!("ssrf/tricks.txt");
const NAMES: &str = include_str!("ssrf/names.txt");
/// The one address that requests may go to, and the name that has it.
const ALLOWED: &str = "127.0.0.2";
const FRIEND: &str = "friend.test";
/// Names that have another address at each look-up.
const CHANGING: u32 = 20;
/// What is signed with is of no interest here.
const SIGNING_KEY: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
/// How a refusal may be called. Names that nobody has cannot be connected to either; `credential` is a token that cannot
/// be had because the address to ask is none.
const REFUSALS: [&str; 5] = ["private_address", "bad_url", "bad_redirect", "connect_failed", "credential"];

/// See the module's documentation.
pub const CHECK: Check = Check {
    name: "ssrf",
    about: "every way to write an address that is not public, through every feature that makes requests: none connects",
    databases: &[Database::Sqlite, Database::Postgres],
    counts: |_| Counts { short: 1, long: 20 },
    run: |plan| ssrf(plan).boxed(),
};

/// What each item of a list leads to, under each feature that is told an address by a document.
const DOCUMENTS: [(&str, &str); 2] = [
    (
        "http",
        "
      - id: ask
        type: http
        with: { url: '${{ item }}', headers: { authorization: Bearer hidden, cookie: hidden, x-key: hidden } }
        timeout: 30s
",
    ),
    (
        "webhook",
        "
      - { id: ask, type: emit, with: { type: com.example.trick, webhook: '${{ item }}' }, timeout: 30s }
",
    ),
];

/// A round is the count of this check.
async fn ssrf(plan: Plan) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let listener = Listener::begin(ALLOWED.parse()?)?;
    let lines = || TRICKS.lines().map(|line| line.replace("PORT", &listener.port().to_string()));
    let tricks: Vec<String> = lines().filter(|line| !line.starts_with('#')).map(read).collect::<Result<_>>()?;
    let here: Vec<String> =
        lines().skip(1).take_while(|line| !line.starts_with('#')).map(read).collect::<Result<_>>()?;
    let world = World::prepare(&plan, Setup { environment: environment(&listener), ..locked() }).await?;
    let file = world.folder.join("names");
    let learn = (names::VARIABLE, file.display().to_string());
    for round in 0..plan.count {
        // A server begins with all look-ups before it.
        std::fs::write(&file, known_names())?;
        world.stop(0)?;
        world.start_with(0, std::slice::from_ref(&learn))?;
        listener.redirect_to(redirects(&tricks, &listener));
        let caller = Caller { client: &world.client, listener: &listener, tricks: &tricks };
        if round == 0 {
            publish(&world.client).await?;
        }
        caller.may_reach_what_is_allowed(&mut outcome).await?;
        for (feature, _) in DOCUMENTS {
            caller.by_document(feature, &mut outcome).await?;
        }
        caller.by_redirect(&mut outcome).await?;
        caller.by_changing_names(&mut outcome).await?;
        caller.by_credentials(&mut outcome).await?;
        caller.by_hosts(&mut outcome).await?;
        caller.by_a_choice_of_the_tenant(&mut outcome).await?;
        if !outcome.passed() {
            break;
        }
    }
    outcome.at_least("tricks", tricks.len() as u64, 200);
    outcome.violations(listener.strangers().into_iter().map(|it| format!("something connected: {it}")));
    world.stop(0)?;
    world.end(&outcome);

    let open = World::prepare(&plan, Setup::default()).await?;
    std::fs::write(open.folder.join("names"), known_names())?;
    open.start_with(0, &[(names::VARIABLE, open.folder.join("names").display().to_string())])?;
    publish(&open.client).await?;
    let before = listener.strangers().len();
    all(&open.client, "http", &here).await?;
    let connected = listener.strangers().len() - before;
    outcome.at_least("tricks_that_connect_without_the_lock", connected as u64, 100);
    open.stop(0)?;
    open.end(&outcome);
    Ok(outcome)
}

/// A line of the file of tricks.
fn read(line: String) -> Result<String> {
    serde_json::from_str(&format!("\"{line}\"")).with_context(|| format!("a trick is no text: {line}"))
}

fn locked() -> Setup {
    Setup { private_network: Some(ALLOWED), ..Setup::default() }
}

/// Proxies, in every way that programs read them, and the key that webhooks need.
fn environment(listener: &Listener) -> Vec<(String, String)> {
    let proxy = format!("http://127.0.0.1:{}", listener.port());
    let names = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let mut environment: Vec<_> = names.iter().map(|name| ((*name).to_owned(), proxy.clone())).collect();
    environment.push(("WINDLASS_WEBHOOK_SIGNING_KEY".to_owned(), SIGNING_KEY.to_owned()));
    environment
}

fn known_names() -> String {
    let changing = (0..CHANGING).map(|number| format!("changing-{number}.test {ALLOWED} 127.0.0.1\n"));
    NAMES.to_owned() + &changing.collect::<String>()
}

/// Where the allowed address redirects to: each trick, some ways round it, and names that change in between.
fn redirects(tricks: &[String], listener: &Listener) -> Vec<String> {
    let port = listener.port();
    let changing = (0..CHANGING).map(|number| format!("http://changing-{number}.test:{port}/"));
    let others = [format!("http://{FRIEND}:{port}/echo"), "/echo".to_owned()];
    tricks.iter().cloned().chain(changing).chain(others).collect()
}

/// Publishes a workflow for each feature.
async fn publish(client: &Client) -> Result<()> {
    for (feature, step) in DOCUMENTS {
        let document = format!(
            "name: {feature}\ninput: {{ type: object }}\nsteps:\n  - id: each\n    type: foreach\n    \
             items: ${{{{ input.items }}}}\n    parallel: 20\n    on_error: collect\n    do:{step}\
             output: ${{{{ steps.each.output }}}}\n"
        );
        client.must(&Request::put_yaml(format!("/workflows/{feature}"), &document)).await?;
        client.must(&Request::post(format!("/workflows/{feature}/publish"), &json!({}))).await?;
    }
    Ok(())
}

/// What became of each item: `{status, output, error}`.
async fn all(client: &Client, feature: &str, items: &[String]) -> Result<Vec<Value>> {
    let start = json!({ "input": { "items": items } });
    let mut run = client.must(&Request::post(format!("/workflows/{feature}/runs"), &start)).await?;
    let path = format!("/runs/{}?wait=5s", run["id"].as_str().context("no id")?);
    while !matches!(run["status"].as_str(), Some("completed" | "failed" | "cancelled")) {
        run = client.get(&path).await?;
    }
    ensure!(run["status"] == "completed", "the run of {feature}: {run}");
    let items = run["output"].as_array().context("no list of what became of each")?;
    Ok(items.clone())
}

/// Somebody who may use all features and reach one address.
struct Caller<'a> {
    client: &'a Client,
    listener: &'a Listener,
    tricks: &'a [String],
}

impl Caller<'_> {
    /// The way to the allowed address, by its number and by its name, is open, and a redirect takes no secret elsewhere.
    async fn may_reach_what_is_allowed(&self, outcome: &mut Outcome) -> Result<()> {
        let (port, last) = (self.listener.port(), self.tricks.len() + CHANGING as usize);
        let urls = [
            format!("http://{ALLOWED}:{port}/echo"),
            format!("http://{FRIEND}:{port}/echo"),
            format!("http://{ALLOWED}:{port}/302/{}", last + 1),
            format!("http://{ALLOWED}:{port}/302/{last}"),
            format!("http://ada:hidden@{ALLOWED}:{port}/307/{last}"),
        ];
        let answers = all(self.client, "http", &urls).await?;
        for (number, (url, answer)) in urls.iter().zip(&answers).enumerate() {
            let body = answer["output"]["body"].as_str().unwrap_or_default();
            ensure!(answer["status"] == "completed" && body.contains("GET /echo"), "{url}: {answer}");
            let (here, shown) = (number < 3, body.contains("hidden") || body.contains("authorization"));
            if here != shown {
                outcome.violation(format!("{url}: a redirect to another origin took a secret with it: {body}"));
            }
        }
        outcome.count("allowed", answers.len());
        Ok(())
    }

    /// An address that a document names.
    async fn by_document(&self, feature: &str, outcome: &mut Outcome) -> Result<()> {
        let answers = all(self.client, feature, self.tricks).await?;
        judge(feature, self.tricks.iter().zip(&answers), outcome);
        Ok(())
    }

    /// An address that an allowed one redirects to.
    async fn by_redirect(&self, outcome: &mut Outcome) -> Result<()> {
        let statuses = [301, 302, 303, 307, 308];
        let urls: Vec<String> = (0..self.tricks.len())
            .map(|number| {
                let status = statuses[number % statuses.len()];
                format!("http://{ALLOWED}:{}/{status}/{number}", self.listener.port())
            })
            .collect();
        let answers = all(self.client, "http", &urls).await?;
        // What is no whole address leads back to whoever redirected, who has nothing there, or redirects again.
        let came_back = |answer: &Value| matches!(answer["error"]["code"].as_str(), Some("404" | "too_many_redirects"));
        let told = self.tricks.iter().zip(&answers).filter(|(_, answer)| !came_back(answer));
        judge("redirect", told, outcome);
        Ok(())
    }

    /// Names that are allowed when they are looked up first, and not when they are looked up again.
    async fn by_changing_names(&self, outcome: &mut Outcome) -> Result<()> {
        let (port, first) = (self.listener.port(), self.tricks.len());
        let once = (0..CHANGING / 2).map(|number| format!("http://changing-{number}.test:{port}/echo"));
        let once: Vec<String> = once.collect();
        let answers = all(self.client, "http", &once).await?;
        let kept = answers.iter().filter(|it| it["status"] == "completed").count();
        outcome.at_least("names_that_kept_their_first_address", kept as u64, (CHANGING / 2).into());
        judge("a name asked for again", once.iter().zip(&all(self.client, "http", &once).await?), outcome);
        let back = (CHANGING / 2..CHANGING)
            .map(|number| format!("http://changing-{number}.test:{port}/302/{}", first + number as usize));
        let back: Vec<String> = back.collect();
        judge(
            "a name that changes within a request",
            back.iter().zip(&all(self.client, "http", &back).await?),
            outcome,
        );
        Ok(())
    }

    /// An address in a credential: the test button of each type that asks one, and a token fetched for a run.
    async fn by_credentials(&self, outcome: &mut Outcome) -> Result<()> {
        let types = [
            ("bearer", "test_url", json!({ "token": "t" })),
            ("basic_auth", "test_url", json!({ "password": "p" })),
            ("api_key", "test_url", json!({ "key": "k" })),
            ("oauth2", "token_url", json!({ "client_secret": "s" })),
            ("aws", "sts_endpoint", json!({ "secret_access_key": "k" })),
        ];
        for (kind, field, secret_fields) in types {
            let name = format!("tricked_{kind}");
            let mut fields = json!({ field: "https://example.com/" });
            match kind {
                "basic_auth" => fields["username"] = json!("ada"),
                "oauth2" => {
                    fields["client_id"] = json!("ada");
                    fields["grant"] = json!("client_credentials");
                }
                "aws" => {
                    fields["access_key_id"] = json!("AKIDEXAMPLE");
                    fields["region"] = json!("eu-central-1");
                }
                _ => {}
            }
            let known = self.client.list("/credentials").await?.into_iter().find(|it| it["name"] == *name);
            let body =
                json!({ "name": name, "credential_type": kind, "fields": fields, "secret_fields": secret_fields });
            let credential = match known {
                Some(known) => known,
                None => self.client.must(&Request::post("/credentials", &body)).await?,
            };
            let path = format!("/credentials/{}", credential["id"].as_str().context("no id")?);
            let mut told = Vec::new();
            for trick in self.tricks {
                fields[field] = json!(trick);
                let kept = self.client.ask(&Request::patch(&*path, &json!({ "fields": fields }))).await?;
                if kept.status == 422 {
                    told.push((trick, json!({ "error": { "code": "bad_url", "message": kept.body.to_string() } })));
                    continue;
                }
                ensure!(kept.is_success(), "{trick}: {}", kept.body);
                let tested = self.client.must(&Request::post(format!("{path}/test"), &json!({}))).await?;
                told.push((trick, as_answer(&tested)));
                if kind == "oauth2" {
                    told.push((trick, self.token_in_a_run(&name).await?));
                }
            }
            judge(kind, told.iter().map(|(trick, answer)| (*trick, answer)), outcome);
        }
        Ok(())
    }

    /// What the tenant chose: with nothing it does not even reach what the server may, by number or by a name to which a
    /// connection is open; with everything it reaches no more than the server.
    async fn by_a_choice_of_the_tenant(&self, outcome: &mut Outcome) -> Result<()> {
        let (port, setting) = (self.listener.port(), "/settings/private_networks");
        let urls = [ALLOWED, FRIEND].map(|host| format!("http://{host}:{port}/echo"));
        let reached = async || -> Result<u64> {
            let answers = all(self.client, "http", &urls).await?;
            Ok(answers.iter().filter(|it| it["status"] == "completed").count() as u64)
        };
        outcome.at_least("allowed before the tenant chose", reached().await?, 2);
        self.client.must(&Request::put(setting, &json!({ "value": [] }))).await?;
        judge("allowed to the server alone", urls.iter().zip(&all(self.client, "http", &urls).await?), outcome);
        self.client.must(&Request::put(setting, &json!({ "value": ["all"] }))).await?;
        outcome.at_least("allowed to a tenant that chose all", reached().await?, 2);
        let answers = all(self.client, "http", self.tricks).await?;
        judge("a tenant that chose all", self.tricks.iter().zip(&answers), outcome);
        self.client.must(&Request::delete(setting)).await?;
        Ok(())
    }

    /// A host in a credential whose test speaks no HTTP. No URL is read there, so some of them are no names at all.
    async fn by_hosts(&self, outcome: &mut Outcome) -> Result<()> {
        let port = self.listener.port();
        let end = format!(":{port}/");
        let hosts: BTreeSet<&str> =
            self.tricks.iter().filter_map(|it| it.strip_prefix("http://")?.strip_suffix(&end)).collect();
        for (kind, mut fields) in [
            ("smtp", json!({ "security": "none", "username": "ada" })),
            ("database", json!({ "engine": "postgres", "database": "d", "username": "ada", "tls": "none" })),
        ] {
            fields["port"] = json!(port);
            let mut refused = 0;
            for host in &hosts {
                fields["host"] = json!(host);
                let name = format!("host_{}", uuid::Uuid::now_v7().simple());
                let secret_fields = json!({ "password": "p" });
                let body =
                    json!({ "name": name, "credential_type": kind, "fields": fields, "secret_fields": secret_fields });
                let kept = self.client.ask(&Request::post("/credentials", &body)).await?;
                if kept.status == 422 {
                    continue;
                }
                ensure!(kept.is_success(), "{host}: {}", kept.body);
                let path = format!("/credentials/{}", kept.body["id"].as_str().context("no id")?);
                let tested = self.client.must(&Request::post(format!("{path}/test"), &json!({}))).await?;
                let answer = as_answer(&tested);
                match answer["error"]["code"].as_str() {
                    Some("private_address") => refused += 1,
                    Some("connect_failed") => {}
                    _ => outcome.violation(format!("{kind}: {host:?} is not refused as it should be: {tested}")),
                }
                self.client.must(&Request::delete(path)).await?;
            }
            outcome.at_least(&format!("refused: {kind}"), refused, 60);
        }
        Ok(())
    }

    /// A run whose step needs an access token of that credential.
    async fn token_in_a_run(&self, name: &str) -> Result<Value> {
        let document = format!(
            "name: token\nsteps:\n  - id: ask\n    type: http\n    with:\n      url: http://{ALLOWED}:{}/echo\n      \
             headers: {{ authorization: '${{{{ secrets.{name}.authorization }}}}' }}\n",
            self.listener.port()
        );
        if self.client.ask(&Request::get("/workflows/token")).await?.status == 404 {
            self.client.must(&Request::put_yaml("/workflows/token", &document)).await?;
            self.client.must(&Request::post("/workflows/token/publish", &json!({}))).await?;
        }
        self.client.must(&Request::post("/workflows/token/runs?wait=60s", &json!({}))).await
    }
}

/// What the test of a credential says, in the form of a step's answer.
fn as_answer(tested: &Value) -> Value {
    let detail = tested["detail"].as_str().unwrap_or_default();
    let code = match detail {
        _ if detail.contains("may not be reached") => "private_address",
        _ if detail.contains("is no address") || detail.contains("is not an http or https URL") => "bad_url",
        _ if detail.contains("could not connect") => "connect_failed",
        _ => "none that is known",
    };
    let status = if tested["verdict"] == "works" { "completed" } else { "failed" };
    json!({ "status": status, "error": { "code": code, "message": detail } })
}

/// Each is refused, and said why; most because of where they lead, not because nobody has such a name.
fn judge<'a>(what: &str, answers: impl Iterator<Item = (&'a String, &'a Value)>, outcome: &mut Outcome) {
    let (mut refused, mut count) = (0_u64, 0_u64);
    for (trick, answer) in answers {
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        if answer["status"] == "completed" || !REFUSALS.contains(&code) || message.is_empty() {
            outcome.violation(format!("{what}: {trick:?} is not refused as it should be: {answer}"));
        }
        count += 1;
        refused += u64::from(code != "connect_failed");
    }
    outcome.at_least(&format!("refused: {what}"), refused, count * 9 / 10);
}
