//! `emit`: the CloudEvent that a document describes, kept for runs or sent as a signed webhook.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use serde_json::{Value, json};
use windlass_definition::Value as Plain;
use windlass_runtime::step::{Sent, Step};
use windlass_steps::{
    egress::{Egress, EgressOptions, address::PrivateNetwork},
    emit::{Emit, SigningKeys},
};

use crate::{
    common::{Kept, answer, run, scene},
    egress::serve,
};

/// The key of the test vector of Standard Webhooks, and another one.
const KEYS: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn step(keys: SigningKeys) -> Emit {
    let options = EgressOptions { private_network: PrivateNetwork::Allow, ..EgressOptions::default() };
    Emit::new(Egress::new(options).unwrap(), keys)
}

/// The event that was handed in, or the failure's class and code.
async fn emitted(with: Value) -> Value {
    let mut scene = scene().await;
    let kept = Arc::new(Kept::default());
    scene.context.events = kept.clone();
    match step(SigningKeys::default()).run(&scene.context, Plain::from(with)).await {
        Ok(output) => {
            let event = kept.0.lock().unwrap().pop().unwrap();
            assert_eq!(output.to_serde(), json!({ "id": event.id, "source": event.source, "taken": 0 }));
            event.event.to_serde()
        }
        Err(failure) => json!(format!("{}/{}", failure.error.class, failure.error.code)),
    }
}

#[tokio::test]
async fn an_event_is_a_cloudevent() {
    let small = json!({
        "specversion": "1.0", "id": "00000000/step", "source": "/workflows/test", "type": "com.shop.paid",
        "time": "1970-01-01T00:00:00.000000Z", "datacontenttype": "application/json", "data": null,
    });
    assert_eq!(emitted(json!({ "type": "com.shop.paid" })).await, small);
    let full = json!({
        "type": "t", "subject": "s", "source": "/x", "id": "7", "time": "2026-01-31T08:00:00Z", "data": { "n": 1.0 },
    });
    let expected = json!({
        "specversion": "1.0", "id": "7", "source": "/x", "type": "t", "subject": "s",
        "time": "2026-01-31T08:00:00.000000Z", "datacontenttype": "application/json", "data": { "n": 1.0 },
    });
    assert_eq!(emitted(full).await, expected);
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    for (with, error) in [
        (json!({}), "validation/bad_with"),
        (json!({ "type": "" }), "validation/bad_event"),
        (json!({ "type": "x".repeat(201) }), "validation/bad_event"),
        (json!({ "type": "t", "subject": "" }), "validation/bad_event"),
        (json!({ "type": "t", "time": "yesterday" }), "validation/bad_event"),
        (json!({ "type": "t", "to": "nobody" }), "validation/bad_with"),
    ] {
        assert_eq!(emitted(with.clone()).await, json!(error), "{with}");
    }
}

#[tokio::test]
async fn a_long_key_is_an_event_id_all_the_same() {
    let mut scene = scene().await;
    let kept = Arc::new(Kept::default());
    scene.context.events = kept.clone();
    scene.context.key = format!("00000000/{}:undo", "x".repeat(191)).into();
    step(SigningKeys::default()).run(&scene.context, Plain::from(json!({ "type": "t" }))).await.unwrap();
    let id = kept.0.lock().unwrap().pop().unwrap().id;
    assert_eq!((id.len(), id.chars().all(|it| it.is_ascii_hexdigit())), (64, true), "{id}");
}

type Deliveries = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

async fn receive(
    State(deliveries): State<Deliveries>,
    Path(code): Path<u16>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(header::HeaderName, &'static str); 2]) {
    deliveries.lock().unwrap().push((headers, body));
    (StatusCode::from_u16(code).unwrap(), [(header::RETRY_AFTER, "7"), (header::LOCATION, "/elsewhere")])
}

async fn receiver() -> (String, Deliveries) {
    let deliveries = Deliveries::default();
    let router = Router::new().route("/{code}", post(receive)).with_state(deliveries.clone());
    (serve("127.0.0.1", router).await.to_string(), deliveries)
}

#[tokio::test]
async fn a_webhook_is_signed_with_every_key_and_has_one_id() {
    let (server, deliveries) = receiver().await;
    let with = json!({
        "type": "com.shop.paid", "data": { "amount": 5 }, "subject": "7", "webhook": format!("{server}204"),
    });
    for _ in 0..2 {
        let output = run(&step(SigningKeys::parse(KEYS).unwrap()), with.clone()).await.unwrap();
        assert_eq!(output, json!({ "id": "00000000/step", "source": "/workflows/test", "status": 204 }));
    }
    let deliveries = deliveries.lock().unwrap();
    let header = |place: usize, name: &str| deliveries[place].0[name].to_str().unwrap().to_owned();
    assert_eq!(header(0, "webhook-id"), header(1, "webhook-id"));
    assert!(!header(0, "webhook-id").contains('.'));
    assert!(
        header(0, "traceparent").starts_with("00-00000000000070008000000000000000-"),
        "{}",
        header(0, "traceparent")
    );
    assert_eq!(header(0, "content-type"), "application/json");
    let now_s = chrono::Utc::now().timestamp();
    let sent_s: i64 = header(0, "webhook-timestamp").parse().unwrap();
    assert!((now_s - 60..=now_s).contains(&sent_s));
    let (_, body) = &deliveries[0];
    assert_eq!(
        serde_json::from_slice::<Value>(body).unwrap(),
        json!({
            "specversion": "1.0", "id": "00000000/step", "source": "/workflows/test", "type": "com.shop.paid",
            "subject": "7", "time": "1970-01-01T00:00:00.000000Z", "timestamp": "1970-01-01T00:00:00.000000Z",
            "datacontenttype": "application/json", "data": { "amount": 5 },
        })
    );
    // As a receiver checks it, with an HMAC that is not ours to write.
    let signed = [format!("{}.{sent_s}.", header(0, "webhook-id")).as_bytes(), body].concat();
    let signatures = header(0, "webhook-signature");
    assert_eq!(signatures.split(' ').count(), 2);
    for (key, signature) in KEYS.split(' ').zip(signatures.split(' ')) {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let key = STANDARD.decode(key.strip_prefix("whsec_").unwrap()).unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let signature = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
        ring::hmac::verify(&key, &signed, &signature).unwrap();
    }
}

#[tokio::test]
async fn a_webhook_fails_as_its_receiver_says() {
    let (server, deliveries) = receiver().await;
    for (code, retryable) in [(302, false), (400, false), (410, false), (429, true), (500, true), (503, true)] {
        let with = json!({ "type": "t", "webhook": format!("{server}{code}") });
        let failure = run(&step(SigningKeys::parse(KEYS).unwrap()), with).await.unwrap_err();
        assert_eq!((&*failure.error.code, failure.error.retryable), (code.to_string().as_str(), retryable));
        assert_eq!(failure.sent, Sent::Maybe);
        assert!(!format!("{failure:?}").contains("whsec_"));
    }
    // No redirect was followed.
    assert_eq!(deliveries.lock().unwrap().len(), 6);
}

#[tokio::test]
async fn nothing_is_sent_unsigned() {
    let (server, deliveries) = receiver().await;
    let with = json!({ "type": "t", "webhook": format!("{server}204") });
    let failure = run(&step(SigningKeys::default()), with).await.unwrap_err();
    assert_eq!((&*failure.error.code, failure.error.retryable, failure.sent), ("no_signing_key", false, Sent::Nothing));
    for setting in ["--webhook-signing-key-file", "WINDLASS_WEBHOOK_SIGNING_KEY"] {
        assert!(failure.error.message.contains(setting), "{failure:?}");
    }
    assert!(deliveries.lock().unwrap().is_empty());
    for url in ["ftp://x/", "nowhere", ""] {
        let refused = answer(&step(SigningKeys::default()), json!({ "type": "t", "webhook": url })).await;
        assert_eq!(refused, json!({ "error": "validation/bad_url" }), "{url}");
    }
}
