//! `aws`: a service that knows one key, and checks what was signed as AWS does.

use axum::{
    Router,
    body::Bytes,
    extract::OriginalUri,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
    routing::post,
};
use serde_json::json;

use super::{PASSWORD, check, kept};
use crate::{common::is_signed_with, egress::serve};

const ARN: &str = "arn:aws:iam::123456789012:user/ada";

async fn sts(OriginalUri(uri): OriginalUri, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let answer = |status: u16, text: String| (StatusCode::from_u16(status).unwrap(), text);
    let error = |code: &str, text: &str| {
        format!("<ErrorResponse><Error><Code>{code}</Code><Message>{text}</Message></Error></ErrorResponse>")
    };
    if body != "Action=GetCallerIdentity&Version=2011-06-15" {
        return answer(400, error("InvalidAction", "another question"));
    }
    if !headers["authorization"].to_str().unwrap().contains("Credential=AKIDEXAMPLE/") {
        return answer(403, error("InvalidClientTokenId", "The security token included in the request is invalid."));
    }
    let token = headers.get("x-amz-security-token").map(|it| it.to_str().unwrap().to_owned());
    if token.as_deref().is_some_and(|token| token != "the-token-of-a-session") {
        return answer(403, error("ExpiredToken", &token.unwrap_or_default()));
    }
    if !is_signed_with(PASSWORD, ("POST", &uri), &headers, &body) {
        return answer(403, error("SignatureDoesNotMatch", "The request signature we calculated does not match."));
    }
    answer(
        200,
        format!(
            "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>{ARN}</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"
        ),
    )
}

#[tokio::test]
async fn aws_says_who_we_are_or_why_not() {
    let router = Router::new()
        .route("/", post(sts))
        .route("/else", post(|| async { "hello" }))
        .route("/large", post(|| async { "x".repeat(1 << 20) }));
    let url = serve("127.0.0.1", router).await;
    let session = "the-token-of-a-session";
    for (id, key, token, path, parts) in [
        ("AKIDEXAMPLE", PASSWORD, None, "", ["works: 127.0.0.1 knows the key as", ARN]),
        ("AKIDEXAMPLE", PASSWORD, Some(session), "", ["works: ", ARN]),
        (
            "AKIDEXAMPLE",
            "wrong-horse-battery",
            None,
            "",
            ["fails: 127.0.0.1 answered 403: SignatureDoesNotMatch", "does not match"],
        ),
        ("AKIDOTHER", PASSWORD, None, "", ["fails: ", "InvalidClientTokenId, The security token"]),
        (
            "AKIDEXAMPLE",
            PASSWORD,
            Some("an-old-token"),
            "",
            ["fails: ", "an answer that repeats a secret and is not shown"],
        ),
        ("AKIDEXAMPLE", PASSWORD, None, "else", ["fails: 127.0.0.1 answered 200", "is it a service of this kind?"]),
        ("AKIDEXAMPLE", PASSWORD, None, "large", ["fails: ", "larger than 65536 bytes"]),
        ("AKIDEXAMPLE", PASSWORD, None, "nothing", ["fails: 127.0.0.1 answered 404", "no code"]),
        ("AKID\u{e9}", PASSWORD, None, "", ["fails: its `access_key_id` has characters", "header"]),
    ] {
        let endpoint = url.join(path).unwrap().to_string();
        let fields = json!({ "access_key_id": id, "region": "eu-central-1", "sts_endpoint": endpoint });
        check(kept("aws", fields, json!({ "secret_access_key": key, "session_token": token })), &parts).await;
    }
    let fields = json!({ "access_key_id": "AKIDEXAMPLE", "region": "evil.example/#" });
    check(kept("aws", fields, json!({ "secret_access_key": PASSWORD })), &["fails: its `region` is no name"]).await;
}
