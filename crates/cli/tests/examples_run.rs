//! The examples, run: against the demo shop, with real effects, to the end.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use windlass_cli::demo::shop::{ShopOptions, router};
use windlass_definition::{Value as Plain, source::Format};
use windlass_engine::{
    event::Verdict,
    id::{RunId, TenantKey},
    start::{Mode, Principal},
};
use windlass_runtime::{
    ApprovalFilter, DecideRequest, RunView, Runtime, Settings, SignalRequest, StartRequest, Target,
};
use windlass_steps::{
    Options, catalogue,
    egress::{EgressOptions, address::PrivateNetwork},
    emit::SigningKeys,
    jq::{HelperCommand, JqOptions},
};
use windlass_store::{Location, Store, StoreOptions};

const TENANT: TenantKey = TenantKey::DEFAULT;
/// Longer than any example takes; a test that waits for it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime with every example published, and a shop.
struct Scene {
    runtime: Runtime,
    shop: String,
    client: reqwest::Client,
    _directory: tempfile::TempDir,
}

impl Scene {
    async fn open(examples: &[&str]) -> Scene {
        // The first one to install a provider wins; they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = tempfile::tempdir().unwrap();
        let router = router(ShopOptions { ledger: directory.path().join("ledger.jsonl") }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shop = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let location = Location::Sqlite { data_dir: directory.path().join("data") };
        let store = Store::open(StoreOptions::new(location)).await.unwrap();
        let helper = HelperCommand { program: env!("CARGO_BIN_EXE_windlass").into(), args: vec!["jq-helper".into()] };
        let options = Options {
            egress: EgressOptions { private_network: PrivateNetwork::Allow, ..EgressOptions::default() },
            jq: JqOptions { helper: Some(helper), ..JqOptions::default() },
            webhook_keys: SigningKeys::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            ..Options::default()
        };
        let runtime = Runtime::open(store, catalogue(options).unwrap(), Settings::default()).await.unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        for name in examples {
            let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
            let name = name.rsplit('/').next().unwrap();
            runtime.put_workflow(TENANT, name, &text, Format::Yaml, None).await.unwrap();
            runtime.publish(TENANT, name).await.unwrap();
        }
        Scene { runtime, shop, client: reqwest::Client::builder().no_proxy().build().unwrap(), _directory: directory }
    }

    fn request(&self, workflow: &str, input: Value) -> StartRequest {
        StartRequest {
            tenant: TENANT,
            target: Target::Published { name: workflow.to_owned(), version: None },
            input: Plain::from(input),
            mode: Mode::Production,
            by: Principal::System,
            idempotency_key: None,
            key: None,
            labels: BTreeMap::new(),
            priority: 0,
            trace: None,
        }
    }

    /// Runs a workflow to its end; gives its status and its output, or the code of its error.
    async fn run(&self, workflow: &str, input: Value) -> (String, Value) {
        let (_, view) = self.runtime.start_and_wait(self.request(workflow, input), PATIENCE).await.unwrap();
        ended(&view)
    }

    async fn ledger(&self) -> Value {
        self.client.get(format!("{}/ledger", self.shop)).send().await.unwrap().json().await.unwrap()
    }

    async fn turn(&self, knobs: Value) {
        let answer = self.client.put(format!("{}/knobs", self.shop)).json(&knobs).send().await.unwrap();
        assert!(answer.status().is_success());
    }

    async fn end_of(&self, run: RunId) -> (String, Value) {
        ended(&self.runtime.wait(TENANT, run, PATIENCE).await.unwrap())
    }
}

fn ended(view: &RunView) -> (String, Value) {
    let output = match &view.error {
        Some(error) => json!(format!("{}/{}", error.class, error.code)),
        None => view.output.to_serde(),
    };
    (view.status.to_string(), output)
}

fn order(shop: &str, quantity: i64) -> Value {
    let lines = json!([{ "sku": "tea", "quantity": 2 }, { "sku": "coffee", "quantity": quantity }]);
    json!({ "order_id": "A-1", "amount": 42, "shop": shop, "lines": lines })
}

#[tokio::test]
async fn an_order_goes_through() {
    let scene = Scene::open(&["order-saga"]).await;
    scene.turn(json!({ "charges": { "fail_next": 1, "fail": "after" }, "shipments": { "fail_next": 1 } })).await;
    let (status, output) = scene.run("order-saga", order(&scene.shop, 1)).await;
    assert_eq!(status, "completed", "{output}");
    assert!(output["tracking"].as_str().unwrap().starts_with("WL"), "{output}");
    let counts = scene.ledger().await["counts"].clone();
    assert_eq!(counts, json!({ "effects": 4, "repeats": 1, "by_kind": { "charge": 1, "hold": 2, "shipment": 1 } }));
}

#[tokio::test]
async fn an_order_that_fails_is_undone_in_reverse() {
    let scene = Scene::open(&["order-saga"]).await;
    let (status, output) = scene.run("order-saga", order(&scene.shop, 101)).await;
    assert_eq!((status.as_str(), &output), ("compensated", &json!("http/409")));
    let ledger = scene.ledger().await;
    let kinds: Vec<&str> =
        ledger["effects"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert!(kinds == ["charge", "hold", "release", "refund"] || kinds == ["charge", "refund"], "{kinds:?}");
}

#[tokio::test]
async fn a_large_order_waits_for_somebody() {
    let scene = Scene::open(&["order-saga"]).await;
    let mut input = order(&scene.shop, 1);
    input["amount"] = json!(1_001);
    let started = scene.runtime.start(scene.request("order-saga", input)).await.unwrap();
    decide(&scene, Verdict::Approve, json!(null)).await;
    assert_eq!(scene.end_of(started.run).await.0, "completed");
}

/// Decides the one approval that is there, once it is.
async fn decide(scene: &Scene, verdict: Verdict, form: Value) {
    let approval = loop {
        let page = scene
            .runtime
            .approvals(
                TENANT,
                ApprovalFilter { status: Some("pending".into()), limit: 10, ..ApprovalFilter::default() },
            )
            .await
            .unwrap();
        match page.items.first() {
            Some(approval) => break approval.id,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    let by = Principal::Person("cfo@example.com".into());
    let request =
        DecideRequest { tenant: TENANT, approval, verdict, by, form: Plain::from(form), comment: Some("fine".into()) };
    scene.runtime.decide(request).await.unwrap();
}

#[tokio::test]
async fn an_approval_decides() {
    let scene = Scene::open(&["approval"]).await;
    for (verdict, ordered) in [(Verdict::Approve, json!("a new boiler")), (Verdict::Reject, json!(null))] {
        let started = scene.runtime.start(scene.request("approval", json!({}))).await.unwrap();
        decide(&scene, verdict, json!({ "budget": "heating" })).await;
        let (status, output) = scene.end_of(started.run).await;
        assert_eq!((status.as_str(), &output["ordered"]), ("completed", &ordered), "{output}");
    }
}

#[tokio::test]
async fn a_log_is_counted() {
    let scene = Scene::open(&["log-fanout"]).await;
    let (status, output) = scene.run("log-fanout", json!({ "url": format!("{}/access.log", scene.shop) })).await;
    assert_eq!(status, "completed", "{output}");
    assert_eq!(
        (&output["lines"], &output["batches"], &output["status"]["200"]),
        (&json!(240), &json!(10), &json!(196))
    );
    let given =
        scene.run("log-fanout", json!({ "log": "1.2.3.4 - - [now] \"GET / HTTP/1.1\" 200 5 \"-\" \"-\"\n" })).await;
    assert_eq!((given.0.as_str(), &given.1["bytes"]), ("completed", &json!(5)), "{}", given.1);
}

#[tokio::test]
async fn examples_without_a_shop() {
    let names = ["parallel-race", "try-catch", "subflow-tree", "tree-branch", "tree-leaf"];
    let scene = Scene::open(&names).await;
    for (name, check) in [
        ("parallel-race", json!({ "race": { "hare": null, "fox": null, "tortoise": "steadily" }, "votes": 2 })),
        ("try-catch", json!({ "from": "fallback", "because": "connect/connect_failed" })),
    ] {
        assert_eq!(scene.run(name, json!({})).await, ("completed".to_owned(), check), "{name}");
    }
    let (status, output) = scene.run("subflow-tree", json!({})).await;
    assert_eq!((status.as_str(), &output["leaves"]), ("completed", &json!(12)), "{output}");
    assert_eq!(output["branches"][2]["names"][3], json!("leaf 2.3"));
}

#[tokio::test]
async fn counters_add_up_over_runs() {
    let scene = Scene::open(&["shared-counter"]).await;
    let runs = (0..10).map(|_| scene.run("shared-counter", json!({})));
    let ended = futures::future::join_all(runs).await;
    let mut mine: Vec<i64> = Vec::new();
    for (status, output) in ended {
        assert_eq!(status, "completed", "{output}");
        mine.extend(output["mine"].as_array().unwrap().iter().map(|it| it.as_i64().unwrap()));
    }
    mine.sort_unstable();
    assert_eq!(mine, (1..=100).collect::<Vec<i64>>());
    assert_eq!(scene.run("shared-counter", json!({ "visitors": [] })).await.1["visits"], json!(100));
}

#[tokio::test]
async fn a_signal_is_heard() {
    let scene = Scene::open(&["signal"]).await;
    let started = scene.runtime.start(scene.request("signal", json!({}))).await.unwrap();
    let payload = Plain::from(json!({ "by": "ann" }));
    let name = "ready".to_owned();
    let signal = SignalRequest {
        tenant: TENANT,
        run: started.run,
        name,
        payload,
        by: windlass_engine::start::Principal::System,
        idempotency_key: None,
    };
    scene.runtime.signal(signal).await.unwrap();
    assert_eq!(scene.end_of(started.run).await, ("completed".to_owned(), json!({ "by": "ann" })));
}

#[tokio::test]
async fn recorded_workflows_run_every_task_once_and_in_order() {
    for (name, tasks) in
        [("bacass-dirt02-001", 11), ("srasearch-chameleon-10a-001", 22), ("montage-chameleon-2mass-04d-001", 1312)]
    {
        let scene = Scene::open(&[&format!("wfinstances/{name}")]).await;
        let started = scene.runtime.start(scene.request(name, json!({}))).await.unwrap();
        assert_eq!(scene.end_of(started.run).await.0, "completed", "{name}");
        let recording =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../examples/wfinstances/data/{name}.json"));
        let recording: Value = serde_json::from_slice(&fs::read(recording).unwrap()).unwrap();
        let steps = steps(&scene, started.run).await;
        assert_eq!(steps.len(), tasks, "{name}");
        let id = |it: &Value| it.as_str().unwrap().replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        for task in recording["tasks"].as_array().unwrap() {
            for parent in task["parents"].as_array().unwrap() {
                assert!(steps[&id(parent)].1 <= steps[&id(&task["id"])].0, "{name}: {parent} before {}", task["id"]);
            }
        }
    }
}

/// When each step of a run began and ended.
async fn steps(scene: &Scene, run: RunId) -> BTreeMap<String, (i64, i64)> {
    let (mut found, mut after) = (BTreeMap::new(), None::<String>);
    loop {
        let page = scene.runtime.steps(TENANT, run, after.as_deref(), 1_000).await.unwrap();
        for step in page.items {
            let times = (step.started_at.unwrap().micros(), step.finished_at.unwrap().micros());
            assert!(found.insert(step.path.to_string(), times).is_none(), "{} is there twice", step.path);
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

#[tokio::test]
async fn a_webhook_comes_with_one_id_until_it_is_taken() {
    let scene = Scene::open(&["webhook"]).await;
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let deliveries = seen.clone();
    // The receiver is not well at first.
    let receive = move |headers: axum::http::HeaderMap| {
        let mut deliveries = deliveries.lock().unwrap();
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        deliveries.push((header("webhook-id"), header("webhook-signature")));
        let status = if deliveries.len() == 1 { 503 } else { 202 };
        std::future::ready(axum::http::StatusCode::from_u16(status).unwrap())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = format!("http://{}/hooks", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/hooks", axum::routing::post(receive));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let (status, output) = scene.run("webhook", json!({ "receiver": receiver, "order": "A-1" })).await;
    assert_eq!((status.as_str(), &output), ("completed", &json!(202)));
    let seen = seen.lock().unwrap();
    assert_eq!((seen.len(), &seen[0].0), (2, &seen[1].0), "{seen:?}");
    assert!(seen.iter().all(|(id, signature)| id.starts_with("msg_") && signature.starts_with("v1,")), "{seen:?}");
}
