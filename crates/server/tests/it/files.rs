//! Files over HTTP: what is given is what was sent, as what its bytes say, to those who may.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    harness::{Api, send},
    records::{THEIRS, other_tenant},
};

async fn upload(api: &Api, query: &str, body: impl Into<reqwest::Body>) -> Value {
    send(api.request(Method::POST, &format!("/files?{query}")).body(body)).await.expect(201)
}

fn path(file: &Value) -> String {
    format!("/files/{}", file["id"].as_str().unwrap())
}

pub async fn files_are_uploaded_changed_and_fetched(api: Api) {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|it| (it % 251) as u8).collect();
    let file = upload(&api, "name=all%20of%20it.bin&description=Much", bytes.clone()).await;
    assert_eq!(
        (&file["name"], &file["size_bytes"], &file["version"]),
        (&json!("all of it.bin"), &json!(3_000_000), &json!(1))
    );
    let content = format!("{}/content", path(&file));
    let whole = api.request(Method::GET, &content).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    let header = |name: &str| whole.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-length"), "3000000");
    assert_eq!(header("content-type"), "application/octet-stream");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("etag"), format!("\"{}\"", file["sha256"].as_str().unwrap()));
    assert_eq!(
        header("content-disposition"),
        "attachment; filename=\"all of it.bin\"; filename*=UTF-8''all%20of%20it.bin"
    );
    let tag = header("etag");
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let range = async |range: &str| {
        let answer = api.request(Method::GET, &content).header("range", range).send().await.unwrap();
        let said = answer.headers().get("content-range").map(|it| it.to_str().unwrap().to_owned());
        (answer.status(), said, answer.bytes().await.unwrap())
    };
    let (status, said, part) = range("bytes=1048570-1048599").await;
    assert_eq!((status, said.as_deref()), (StatusCode::PARTIAL_CONTENT, Some("bytes 1048570-1048599/3000000")));
    assert_eq!(part, bytes[1_048_570..1_048_600]);
    assert_eq!(range("bytes=-3").await.2, bytes[2_999_997..]);
    let (status, said, _) = range("bytes=3000000-").await;
    assert_eq!((status, said.as_deref()), (StatusCode::RANGE_NOT_SATISFIABLE, Some("bytes */3000000")));
    let same = send(api.request(Method::GET, &content).header("if-none-match", &tag)).await;
    assert_eq!((same.status, same.body.as_str()), (StatusCode::NOT_MODIFIED, ""));
    let head = send(api.request(Method::HEAD, &content)).await;
    assert_eq!((head.header("content-length"), head.body.as_str()), ("3000000", ""));
    // The next version, by whoever has seen this one.
    let put = |tag: &'static str| api.request(Method::PUT, &content).header("if-match", tag).body("shorter");
    assert_eq!(send(put("\"1\"")).await.expect(200)["version"], 2);
    send(put("\"1\"")).await.problem(412, "revision_mismatch");
    assert_eq!(api.get(&content).await.body, "shorter");
    assert_eq!(api.get(&format!("{content}?version=1")).await.header("content-length"), "3000000");
    api.get(&format!("{content}?version=9")).await.problem(404, "not_found");
    let changed =
        send(api.request(Method::PATCH, &path(&file)).json(&json!({ "name": "b", "metadata": { "pages": 3 } }))).await;
    assert_eq!(changed.expect(200)["metadata"], json!({ "pages": 3 }));
    let refused = send(api.request(Method::PATCH, &path(&file)).json(&json!({ "media_type": "text/html" }))).await;
    refused.problem(422, "invalid_input");
    assert_eq!(api.get("/files?q=much").await.expect(200)["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        api.get(&format!("/file-versions?file_id={}", file["id"].as_str().unwrap())).await.expect(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(api.get("/file-usage").await.expect(200)["bytes"], 3_000_007);
    send(api.request(Method::DELETE, &path(&file))).await.expect(204);
    api.get(&content).await.problem(404, "not_found");
    api.post(&format!("{}/restore", path(&file)), json!({})).await.expect(200);
    assert_eq!(api.get(&content).await.body, "shorter");
    let entries =
        api.get(&format!("/audit-entries?record_id={}&sort=id", file["id"].as_str().unwrap())).await.expect(200);
    let actions: Vec<&str> =
        entries["items"].as_array().unwrap().iter().map(|it| it["action"].as_str().unwrap()).collect();
    for action in ["create", "download", "upload", "update", "delete", "restore"] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
}

pub async fn what_a_browser_would_run_is_never_shown(api: Api) {
    let page = "<!DOCTYPE html><html><script>alert(1)</script></html>";
    let svg = "<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>";
    for (name, body, declared) in
        [("a.html", page, "image/png"), ("b.svg", svg, "image/svg+xml"), ("c.js", "alert(1)", "text/javascript")]
    {
        let request = api.request(Method::POST, &format!("/files?name={name}")).header("content-type", declared);
        let file = send(request.body(body)).await.expect(201);
        assert_eq!(file["declared_type"], declared);
        let given = api.get(&format!("{}/content?inline=true", path(&file))).await;
        let as_what = given.header("content-type");
        assert!(["application/octet-stream", "text/plain; charset=utf-8"].contains(&as_what), "{name} as {as_what}");
        assert_eq!(
            given.header("content-disposition").starts_with("attachment"),
            as_what != "text/plain; charset=utf-8"
        );
        assert_eq!((given.header("x-content-type-options"), given.body.as_str()), ("nosniff", body));
        assert!(given.header("content-security-policy").contains("default-src 'none'"));
    }
    let image = upload(&api, "name=a.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec()).await;
    assert_eq!((&image["media_type"], &image["kind"]), (&json!("image/png"), &json!("image")));
    let shown = api.request(Method::GET, &format!("{}/content?inline=true", path(&image))).send().await.unwrap();
    assert!(shown.headers()["content-disposition"].to_str().unwrap().starts_with("inline"));
    // Names go nowhere but into headers.
    for name in ["a%2Fb", "..%2Fa", "a%5Cb", "a%0Ab", ""] {
        let request = api.request(Method::POST, &format!("/files?name={name}")).body("x");
        send(request).await.problem(422, "invalid_input");
    }
    send(api.request(Method::POST, "/files").body("x")).await.problem(400, "invalid_query");
    let encoded = api.request(Method::POST, "/files?name=a").header("content-encoding", "gzip").body("x");
    send(encoded).await.problem(415, "unsupported_media_type");
}

pub async fn a_link_is_for_whoever_has_it(api: Api) {
    other_tenant(&api).await;
    let file = upload(&api, "name=report.txt", "the report").await;
    let body = json!({ "file_id": file["id"], "expires_at": "2099-01-01T00:00:00Z", "downloads_max": 3 });
    let link = api.post("/file-links", body).await.expect(201);
    let sign = format!("/file-links/{}/sign", link["id"].as_str().unwrap());
    let signed = api.post(&sign, json!({})).await.expect(200);
    let address = signed["path"].as_str().unwrap();
    let fetched = send(api.bare(Method::GET, address)).await;
    assert_eq!((fetched.status, fetched.body.as_str()), (StatusCode::OK, "the report"));
    assert!(fetched.header("content-disposition").starts_with("attachment"));
    let part = send(api.bare(Method::GET, address).header("range", "bytes=4-")).await;
    assert_eq!((part.status, part.body.as_str()), (StatusCode::PARTIAL_CONTENT, "report"));
    send(api.bare(Method::GET, address)).await;
    send(api.bare(Method::GET, address)).await.problem(404, "not_found");
    let row = api.get(&format!("/file-links/{}", link["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(row["downloads"], 3);
    // Another tenant neither signs it nor makes one to the file.
    let theirs =
        |path: &str, body: Value| api.bare(Method::POST, &format!("/api/v1{path}")).bearer_auth(THEIRS).json(&body);
    send(theirs(&sign, json!({}))).await.problem(404, "not_found");
    let body = json!({ "file_id": file["id"], "expires_at": "2099-01-01T00:00:00Z" });
    send(theirs("/file-links", body)).await.problem(422, "invalid_input");
    let get = |path: String| send(api.bare(Method::GET, &format!("/api/v1{path}")).bearer_auth(THEIRS));
    get(format!("{}/content", path(&file))).await.problem(404, "not_found");
    get(path(&file)).await.problem(404, "not_found");
}
