//! `http`: requests as documents describe them, and what their answers mean.

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::{OriginalUri, Path},
    http::{HeaderMap, Method, StatusCode, header},
    response::IntoResponse,
    routing::any,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use windlass_definition::Value as Plain;
use windlass_engine::trace::Trace;
use windlass_runtime::step::{Sent, Step};
use windlass_steps::{
    egress::{Egress, EgressOptions, address::PrivateNetwork},
    http::Http,
};

use crate::{
    common::{answer, run, scene},
    egress::serve,
};

fn step() -> Http {
    let options = EgressOptions { private_network: PrivateNetwork::Allow, ..EgressOptions::default() };
    Http::new(Egress::new(options).unwrap())
}

/// Answers with what it was asked.
async fn echo(method: Method, OriginalUri(uri): OriginalUri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let header = |name: &str| headers.get(name).map(|it| it.to_str().unwrap().to_owned());
    axum::Json(json!({
        "method": method.as_str(),
        "uri": uri.to_string(),
        "type": header("content-type"),
        "key": header("idempotency-key"),
        "x": header("x"),
        "body": String::from_utf8_lossy(&body),
    }))
}

/// Answers with the trace that it was asked in.
async fn trace(headers: HeaderMap) -> impl IntoResponse {
    axum::Json(json!(
        ["traceparent", "tracestate"].map(|name| headers.get(name).map(|it| it.to_str().unwrap().to_owned()))
    ))
}

async fn status(Path(code): Path<u16>) -> impl IntoResponse {
    (StatusCode::from_u16(code).unwrap(), [(header::RETRY_AFTER, "7")], "because")
}

async fn server() -> String {
    let router = Router::new()
        .route("/echo", any(echo))
        .route("/status/{code}", any(status))
        .route("/trace", any(trace))
        .route("/text", any(|| async { "plain" }))
        .route("/bytes", any(|| async { ([(header::CONTENT_TYPE, "image/png")], vec![0xff, 0]) }))
        .route("/bad-json", any(|| async { ([(header::CONTENT_TYPE, "application/json")], "{oops") }))
        .route("/numbers", any(|| async { ([(header::CONTENT_TYPE, "application/json")], "[9007199254740993, 1.0]") }))
        .route("/never", any(std::future::pending::<()>));
    serve("127.0.0.1", router).await.to_string()
}

#[tokio::test]
async fn requests_as_they_are_written() {
    let url = server().await;
    let echo = format!("{url}echo");
    for (with, expected) in [
        (json!({}), json!({ "method": "GET", "uri": "/echo", "type": null, "key": null, "x": null, "body": "" })),
        (
            json!({ "method": "post", "json": { "b": 1, "a": 1.0 } }),
            json!({ "method": "POST", "uri": "/echo", "type": "application/json", "key": "00000000/step", "x": null, "body": "{\"a\":1.0,\"b\":1}" }),
        ),
        (
            json!({ "method": "POST", "json": null }),
            json!({ "method": "POST", "uri": "/echo", "type": "application/json", "key": "00000000/step", "x": null, "body": "null" }),
        ),
        (
            json!({ "method": "PUT", "text": "é", "headers": { "X": 7, "idempotency-key": "mine", "Content-Type": "text/x", "gone": null } }),
            json!({ "method": "PUT", "uri": "/echo", "type": "text/x", "key": "mine", "x": "7", "body": "é" }),
        ),
        (
            json!({ "method": "POST", "form": { "a": "1 & 2", "b": [true, 2] }, "query": { "q": ["x y", null, 1] } }),
            json!({ "method": "POST", "uri": "/echo?q=x+y&q=1", "type": "application/x-www-form-urlencoded", "key": "00000000/step", "x": null, "body": "a=1+%26+2&b=true&b=2" }),
        ),
        (
            json!({ "method": "DELETE", "body": "aGk=" }),
            json!({ "method": "DELETE", "uri": "/echo", "type": "application/octet-stream", "key": "00000000/step", "x": null, "body": "hi" }),
        ),
    ] {
        let mut with = with;
        with["url"] = json!(echo);
        assert_eq!(run(&step(), with.clone()).await.unwrap()["body"], expected, "{with}");
    }
}

#[tokio::test]
async fn requests_carry_the_trace() {
    let url = server().await;
    let own = "00-00000000000070008000000000000000-49d85349e52b23f6-01";
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let came = format!("00-{id}-00f067aa0ba902b7-00");
    let joined = format!("00-{id}-49d85349e52b23f6-00");
    let mine = format!("00-{id}-0000000000000001-01");
    for (trace, headers, expected) in [
        (None, json!({}), json!([own, null])),
        (Some("a=1,b=2"), json!({}), json!([joined, "a=1,b=2"])),
        (Some(""), json!({ "tracestate": "c=3" }), json!([joined, "c=3"])),
        (Some("a=1"), json!({ "Tracestate": "c=3" }), json!([joined, "c=3"])),
        (Some("a=1"), json!({ "Traceparent": mine }), json!([mine, null])),
        (Some("a=1"), json!({ "traceparent": mine, "tracestate": "c=3" }), json!([mine, "c=3"])),
    ] {
        let mut scene = scene().await;
        if let Some(state) = trace {
            scene.context.trace = Trace::of_headers(&came, state).unwrap();
        }
        let with = json!({ "url": format!("{url}trace"), "headers": headers });
        let output = step().run(&scene.context, Plain::from(with)).await.unwrap();
        assert_eq!(output.to_serde()["body"], expected, "{trace:?} {headers}");
    }
    // Another attempt is another span.
    let mut scene = scene().await;
    scene.context.attempt = 2;
    let output = step().run(&scene.context, Plain::from(json!({ "url": format!("{url}trace") }))).await.unwrap();
    assert_ne!(output.to_serde()["body"][0], own);
}

#[tokio::test]
async fn bodies_as_they_are_wanted() {
    let url = server().await;
    for (path, response, expected) in [
        ("numbers", "auto", json!([9_007_199_254_740_993_i64, 1.0])),
        ("numbers", "text", json!("[9007199254740993, 1.0]")),
        ("text", "auto", json!("plain")),
        ("text", "base64", json!("cGxhaW4=")),
        ("bytes", "auto", json!("/wA=")),
        ("bad-json", "auto", json!("{oops")),
        ("status/204", "json", Value::Null),
    ] {
        let output = run(&step(), json!({ "url": format!("{url}{path}"), "response": response })).await.unwrap();
        assert_eq!(output["body"], expected, "{path} as {response}");
    }
    let refused = json!({ "error": "http/bad_json" });
    assert_eq!(answer(&step(), json!({ "url": format!("{url}text"), "response": "json" })).await, refused);
}

#[tokio::test]
async fn statuses_and_what_they_mean() {
    let url = server().await;
    for (code, expect, error) in [
        (200, json!(null), None),
        (404, json!(null), Some(("404", false))),
        (404, json!([404]), None),
        (404, json!(["2xx", "400-410"]), None),
        (200, json!(["201"]), Some(("200", false))),
        (408, json!(null), Some(("408", true))),
        (429, json!(null), Some(("429", true))),
        (500, json!(null), Some(("500", true))),
        (501, json!(null), Some(("501", false))),
        (503, json!(null), Some(("503", true))),
    ] {
        let with = json!({ "url": format!("{url}status/{code}"), "expect": expect });
        let result = run(&step(), with).await;
        let Some((code, retryable)) = error else {
            assert_eq!(result.unwrap()["status"], json!(code));
            continue;
        };
        let failure = result.unwrap_err();
        assert_eq!((&*failure.error.code, failure.error.retryable), (code, retryable));
        assert_eq!(failure.sent, Sent::Maybe);
        let details = failure.error.details.to_serde();
        assert_eq!((&details["retry_after_ms"], &details["body"]), (&json!(7_000), &json!("because")));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_before_it_is_sent() {
    let url = "http://127.0.0.1:1/";
    for (with, error) in [
        (json!({}), "validation/bad_with"),
        (json!({ "url": "nowhere" }), "validation/bad_url"),
        (json!({ "url": "ftp://host/" }), "validation/bad_url"),
        (json!({ "url": url, "method": "A B" }), "validation/bad_method"),
        (json!({ "url": url, "headers": { "a b": "1" } }), "validation/bad_header"),
        (json!({ "url": url, "headers": { "a": "1\r\nb: 2" } }), "validation/bad_header"),
        (json!({ "url": url, "headers": { "Content-Length": "0" } }), "validation/bad_header"),
        (json!({ "url": url, "json": 1, "text": "" }), "validation/two_bodies"),
        (json!({ "url": url, "body": "?" }), "validation/bad_body"),
        (json!({ "url": url, "expect": ["fine"] }), "validation/bad_expect"),
        (json!({ "url": url, "max_bytes": 1_000_000_000_000_u64 }), "validation/bad_max_bytes"),
        (json!({ "url": url, "retries": 1 }), "validation/bad_with"),
        (json!({ "url": url }), "connect/connect_failed"),
        (json!({ "url": "http://name.invalid/" }), "connect/connect_failed"),
    ] {
        let failure = run(&step(), with.clone()).await.unwrap_err();
        assert_eq!(format!("{}/{}", failure.error.class, failure.error.code), error, "{with}");
        assert_eq!(failure.sent, Sent::Nothing, "{with}");
    }
}

#[tokio::test]
async fn a_private_address_is_denied_by_default() {
    let step = Http::new(Egress::new(EgressOptions::default()).unwrap());
    let failure = run(&step, json!({ "url": "http://localhost:1/" })).await.unwrap_err();
    assert_eq!(&*failure.error.code, "private_address");
    assert!(failure.error.message.contains("--allow-private-network"), "{}", failure.error.message);
}

#[tokio::test]
async fn a_lost_connection_may_have_had_its_effect() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 64];
            stream.readable().await.unwrap();
            let _ = stream.try_read(&mut buffer);
        }
    });
    let failure = run(&step(), json!({ "method": "POST", "url": url })).await.unwrap_err();
    assert_eq!((&*failure.error.code, failure.sent), ("connection_lost", Sent::Maybe));
    assert!(failure.error.retryable);
}

#[tokio::test]
async fn a_stop_ends_a_read_at_once() {
    let scene = scene().await;
    let context = &scene.context;
    context.stop.cancel();
    let with = Plain::from(json!({ "url": format!("{}never", server().await) }));
    let step = step();
    let result = tokio::time::timeout(Duration::from_secs(3), step.run(context, with)).await.unwrap();
    assert_eq!(&*result.unwrap_err().error.code, "stopped");
}

#[tokio::test]
async fn a_stopped_write_still_gets_its_answer() {
    let scene = scene().await;
    let context = &scene.context;
    context.stop.cancel();
    let with = Plain::from(json!({ "method": "POST", "url": format!("{}echo", server().await) }));
    assert!(step().run(context, with).await.is_ok());
}
