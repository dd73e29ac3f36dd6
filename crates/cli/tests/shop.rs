//! The demo shop over HTTP: one effect per key, and knobs that make it misbehave.

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use windlass_cli::demo::shop::{ShopOptions, router};

struct Shop {
    client: Client,
    url: String,
    _directory: tempfile::TempDir,
}

impl Shop {
    async fn open() -> Shop {
        let directory = tempfile::tempdir().unwrap();
        let router = router(ShopOptions { ledger: directory.path().join("ledger.jsonl") }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        // The first one to install a provider wins; they are all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Shop { client: Client::builder().no_proxy().build().unwrap(), url, _directory: directory }
    }

    async fn ask(&self, method: Method, path: &str, key: &str, body: Value) -> (u16, Value) {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).json(&body);
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn post(&self, path: &str, key: &str, body: Value) -> (u16, Value) {
        self.ask(Method::POST, path, key, body).await
    }

    async fn counts(&self) -> Value {
        self.ask(Method::GET, "/ledger", "", Value::Null).await.1["counts"].clone()
    }
}

#[tokio::test]
async fn an_order_goes_through_once_per_key() {
    let shop = Shop::open().await;
    for (path, key, body, expected) in [
        ("/charges", "a", json!({ "amount": 5 }), (201, json!({ "amount": 5, "id": "ch_1" }))),
        ("/charges", "a", json!({ "amount": 5 }), (200, json!({ "amount": 5, "id": "ch_1" }))),
        (
            "/holds",
            "b",
            json!({ "sku": "x", "quantity": 2 }),
            (201, json!({ "sku": "x", "quantity": 2, "id": "ho_2" })),
        ),
        ("/shipments", "c", json!({}), (201, json!({ "id": "sh_3", "tracking": "WL00000003" }))),
        ("/refunds", "d", json!({ "charge": "ch_1" }), (201, json!({ "charge": "ch_1", "id": "re_4" }))),
        ("/releases", "e", json!({ "hold": "ho_2" }), (201, json!({ "hold": "ho_2", "id": "rl_5" }))),
    ] {
        assert_eq!(shop.post(path, key, body).await, expected, "{path} {key}");
    }
    let cancelled = shop.ask(Method::DELETE, "/shipments/sh_3", "f", Value::Null).await;
    assert_eq!(cancelled, (201, json!({ "shipment": "sh_3", "id": "ca_6" })));
    let kinds = json!({ "charge": 1, "hold": 1, "shipment": 1, "refund": 1, "release": 1, "cancellation": 1 });
    assert_eq!(shop.counts().await, json!({ "effects": 6, "repeats": 1, "by_kind": kinds }));
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let shop = Shop::open().await;
    assert_eq!(shop.post("/charges", "", json!({})).await.0, 400);
    assert_eq!(shop.post("/charges", "a", json!({ "amount": 1 })).await.0, 201);
    assert_eq!(shop.post("/charges", "a", json!({ "amount": 2 })).await.0, 409);
    assert_eq!(shop.post("/holds", "b", json!({ "quantity": 101 })).await.0, 409);
    assert_eq!(shop.ask(Method::PUT, "/knobs", "", json!({ "nothing": {} })).await.0, 404);
    assert_eq!(shop.counts().await["effects"], json!(1));
}

#[tokio::test]
async fn knobs_make_it_fail_before_or_after_the_effect() {
    let shop = Shop::open().await;
    shop.ask(Method::PUT, "/knobs", "", json!({ "charges": { "fail_next": 2, "fail_status": 429 } })).await;
    for expected in [429, 429, 201, 200] {
        assert_eq!(shop.post("/charges", "a", json!({})).await.0, expected);
    }
    shop.ask(Method::PUT, "/knobs", "", json!({ "holds": { "fail_next": 1, "fail": "after" } })).await;
    for expected in [503, 200] {
        assert_eq!(shop.post("/holds", "b", json!({})).await.0, expected);
    }
    assert_eq!(shop.post("/charges?fail_rate=1&fail_status=500", "c", json!({})).await.0, 500);
    assert_eq!(shop.counts().await["by_kind"], json!({ "charge": 1, "hold": 1 }));
}
