//! `credential` of `http`: what a server gets of each type, and who gets nothing of it.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::OriginalUri,
    http::{HeaderMap, Method, Uri},
    response::Redirect,
    routing::any,
};
use serde_json::{Value, json};
use windlass_definition::Value as Plain;
use windlass_runtime::{
    secrets::ReadyCredential,
    step::{Sent, Step, StepFailure},
};
use windlass_steps::{
    egress::{Egress, EgressOptions, address::PrivateNetwork},
    http::Http,
};

use crate::{
    common::{is_signed_with, scene},
    egress::serve,
};

/// What a server was sent, in order.
type Got = Arc<Mutex<Vec<(Method, Uri, HeaderMap, Bytes)>>>;

fn credential(credential_type: &str, fields: Value) -> ReadyCredential {
    let fields = fields.as_object().unwrap().clone();
    ReadyCredential { name: "shop".into(), credential_type: credential_type.to_owned(), fields }
}

async fn run(with: Value, credential: Option<ReadyCredential>) -> Result<Value, StepFailure> {
    let mut scene = scene().await;
    scene.context.credential = credential;
    let options = EgressOptions { private_network: PrivateNetwork::Allow, ..EgressOptions::default() };
    let step = Http::new(Egress::new(options).unwrap());
    step.run(&scene.context, Plain::from(with)).await.map(|output| output.to_serde())
}

/// A server that notes what it gets; `/away` leads to another one, `/along` to itself.
async fn server() -> (String, Got, Got) {
    let (here, there) = (Got::default(), Got::default());
    let noting = |got: &Got| {
        let got = Arc::clone(got);
        any(move |method: Method, OriginalUri(uri): OriginalUri, headers: HeaderMap, body: Bytes| async move {
            got.lock().unwrap().push((method, uri, headers, body));
        })
    };
    let away = serve("127.0.0.1", Router::new().fallback(noting(&there))).await.to_string();
    let router = Router::new()
        .route("/away", any(move || async move { Redirect::temporary(&away) }))
        .route("/along", any(|| async { Redirect::temporary("/end") }))
        .fallback(noting(&here));
    (serve("127.0.0.1", router).await.to_string(), here, there)
}

fn aws() -> ReadyCredential {
    let fields = json!({
        "access_key_id": "AKIDEXAMPLE", "region": "eu-central-1", "secret_access_key": "correct-horse-battery",
        "session_token": "of-a-session",
    });
    credential("aws", fields)
}

#[tokio::test]
async fn each_type_says_who_asks_in_its_own_way() {
    let (url, got, _) = server().await;
    for (credential, header, value) in [
        (credential("basic_auth", json!({ "authorization": "Basic YTpi" })), "authorization", "Basic YTpi"),
        (credential("bearer", json!({ "authorization": "Bearer t" })), "authorization", "Bearer t"),
        (
            credential("oauth2", json!({ "authorization": "Bearer a", "access_token": "a" })),
            "authorization",
            "Bearer a",
        ),
        (credential("api_key", json!({ "key": "k" })), "x-api-key", "k"),
        (credential("api_key", json!({ "key": "k", "header": "X-Shop" })), "x-shop", "k"),
    ] {
        let with = json!({ "url": url, "credential": "shop", "headers": { "X-Other": "o" } });
        run(with, Some(credential)).await.unwrap();
        let (_, _, headers, _) = got.lock().unwrap().pop().unwrap();
        assert_eq!((&headers[header], &headers["x-other"]), (&value.parse().unwrap(), &"o".parse().unwrap()));
    }
}

#[tokio::test]
async fn a_key_of_aws_signs_what_is_sent() {
    let (url, got, _) = server().await;
    for (path, more, service) in [
        ("", json!({}), "sts"),
        ("bucket/a%20b/%C3%A4?list=&x=%2F", json!({}), "s3"),
        ("a%20b", json!({ "method": "PUT", "json": { "n": 1 }, "headers": { "X-Amz-Meta-A": " two  words " } }), "s3"),
        (
            "a%20b/../c",
            json!({ "method": "POST", "form": { "q": "ä b" }, "query": { "b": 2, "a": [1, "/"] } }),
            "execute-api",
        ),
    ] {
        let mut with = json!({ "url": format!("{url}{path}"), "credential": "shop", "aws_service": service });
        for (name, value) in more.as_object().unwrap() {
            with[name] = value.clone();
        }
        run(with, Some(aws())).await.unwrap();
        let (method, uri, headers, body) = got.lock().unwrap().pop().unwrap();
        assert!(headers["authorization"].to_str().unwrap().contains(&format!("/eu-central-1/{service}/aws4_request")));
        assert_eq!(headers["x-amz-security-token"], "of-a-session");
        let signed = |key: &str, body: &[u8]| is_signed_with(key, (method.as_str(), &uri), &headers, body);
        assert!(signed("correct-horse-battery", &body), "{method} {uri} {headers:?}");
        assert!(!signed("another", &body) && !signed("correct-horse-battery", b"another body"));
    }
}

#[tokio::test]
async fn no_redirect_takes_it_to_another_host() {
    let (url, here, there) = server().await;
    let bearer = || credential("bearer", json!({ "authorization": "Bearer t" }));
    let key = || credential("api_key", json!({ "key": "k", "header": "X-Shop" }));
    for (credential, header) in [(bearer(), "authorization"), (key(), "x-shop")] {
        run(json!({ "url": format!("{url}away"), "credential": "shop" }), Some(credential)).await.unwrap();
        let (_, _, headers, _) = there.lock().unwrap().pop().unwrap();
        assert!(!headers.contains_key(header), "{headers:?}");
    }
    run(json!({ "url": format!("{url}along"), "credential": "shop" }), Some(bearer())).await.unwrap();
    assert_eq!(here.lock().unwrap().pop().unwrap().2["authorization"], "Bearer t");
    // What is signed is signed for one address.
    for path in ["away", "along"] {
        let with = json!({ "url": format!("{url}{path}"), "credential": "shop", "aws_service": "s3" });
        assert_eq!(run(with, Some(aws())).await.unwrap()["status"], 307);
    }
    assert!(here.lock().unwrap().is_empty() && there.lock().unwrap().is_empty());
}

#[tokio::test]
async fn what_does_not_go_together_is_refused_before_anything_is_sent() {
    let (url, got, _) = server().await;
    let with_user = url.replace("http://", "http://ada:pw@");
    let bearer = || credential("bearer", json!({ "authorization": "Bearer t" }));
    let cases = [
        (json!({}), None, "credential_not_literal", "has to stand in the document itself"),
        (
            json!({ "credential": "other" }),
            Some(bearer()),
            "credential_not_literal",
            "has to stand in the document itself",
        ),
        (
            json!({}),
            Some(credential("smtp", json!({}))),
            "credential_type",
            "api_key, basic_auth, bearer, oauth2 and aws do",
        ),
        (json!({}), Some(credential("ssh_key", json!({}))), "credential_type", "`ssh_key`, which says nothing"),
        (json!({ "headers": { "Authorization": "x" } }), Some(bearer()), "two_authorizations", "leave one out"),
        (json!({ "headers": { "AUTHORIZATION": "x" } }), Some(aws()), "two_authorizations", "leave one out"),
        (
            json!({ "headers": { "x-api-key": "x" } }),
            Some(credential("api_key", json!({ "key": "k" }))),
            "two_authorizations",
            "`x-api-key`",
        ),
        (json!({ "url": with_user }), Some(bearer()), "two_authorizations", "`url` has a user"),
        (json!({ "aws_service": "s3" }), Some(bearer()), "bad_aws_service", "goes with a credential of type `aws`"),
        (json!({}), Some(aws()), "aws_service_unknown", "name it in `aws_service`"),
        (json!({ "aws_service": "S 3" }), Some(aws()), "credential", "letters, digits and `-`"),
        (
            json!({}),
            Some(credential("api_key", json!({ "key": "k", "header": "a b" }))),
            "credential",
            "no name of a header",
        ),
        (json!({}), Some(credential("bearer", json!({ "authorization": "a\u{1}b" }))), "credential", "do not fit"),
    ];
    for (more, credential, code, part) in cases {
        let mut with = json!({ "url": url, "credential": "shop" });
        for (name, value) in more.as_object().unwrap() {
            with[name] = value.clone();
        }
        let failure = run(with.clone(), credential).await.unwrap_err();
        assert_eq!((&*failure.error.code, failure.sent), (code, Sent::Nothing), "{with}: {failure:?}");
        assert!(failure.error.message.contains(part), "{failure:?}");
    }
    assert!(got.lock().unwrap().is_empty());
}
