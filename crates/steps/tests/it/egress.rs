//! The egress client: no trick reaches an address that is not public.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::HeaderMap, response::Redirect, routing::any};
use reqwest::{Method, Url};
use tokio::net::TcpListener;
use windlass_steps::egress::{
    Egress, EgressError, EgressOptions, Redirects, Request, Tenants, address::PrivateNetwork,
};

/// Ways to write an address of this machine or of its neighbours, `PORT` being the port of a server that counts.
const TRICKS: &[&str] = &[
    "http://127.0.0.1:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://127.127.127.127:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://00000:PORT/",
    "http://2130706433:PORT/",
    "http://02130706433:PORT/",
    "http://0x7f000001:PORT/",
    "http://0x7F.0x0.0x0.0x1:PORT/",
    "http://0x7f.1:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0177.0.0.01:PORT/",
    "http://017700000001:PORT/",
    "http://0x7f.0.0.1:PORT/",
    "http://127.0.0.0x1:PORT/",
    "http://127.0x0.0.1:PORT/",
    "http://%31%32%37.0.0.1:PORT/",
    "http://127%2e0%2e0%2e1:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http://127。0。0。1:PORT/",
    "http://127.0.0.1:PORT",
    "http:127.0.0.1:PORT/",
    "http:/127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\",
    "http:///127.0.0.1:PORT/",
    "http://user@127.0.0.1:PORT/",
    "http://example.com@127.0.0.1:PORT/",
    "http://example.com:80@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT\\@example.com/",
    "http://127.0.0.1:PORT#@example.com/",
    "http://127.0.0.1:PORT?@example.com/",
    "http://\t127.0.0.1:PORT/",
    "http://127.0\n.0.1:PORT/",
    " http://127.0.0.1:PORT/ ",
    "HTTP://127.0.0.1:PORT/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/",
    "http://%6c%6f%63%61%6c%68%6f%73%74:PORT/",
    "http://lo\u{ad}calhost:PORT/",
    "http://[::1]:PORT/",
    "http://[::]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[0000:0000:0000:0000:0000:0000:0000:0001]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[::ffff:0:127.0.0.1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b:1::7f00:1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[2002:7f00:1::1]:PORT/",
    "http://[2001:0:7f00:1::]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fe80::1%25lo]:PORT/",
    "http://[fd00:ec2::254]:PORT/",
    "http://[fc00::1]:PORT/",
    "http://[fec0::1]:PORT/",
    "http://[ff02::1]:PORT/",
    "http://[::ffff:169.254.169.254]:PORT/",
    "http://[::ffff:10.0.0.1]:PORT/",
    "http://[2000::5efe:127.0.0.1]:PORT/",
    "http://169.254.169.254:PORT/latest/meta-data/",
    "http://2852039166:PORT/",
    "http://0xa9fea9fe:PORT/",
    "http://0251.0376.0251.0376:PORT/",
    "http://169.254.43518:PORT/",
    "http://10.0.0.1:PORT/",
    "http://172.16.0.1:PORT/",
    "http://192.168.0.1:PORT/",
    "http://100.64.0.1:PORT/",
    "http://198.18.0.1:PORT/",
    "http://224.0.0.1:PORT/",
    "http://255.255.255.255:PORT/",
    "ftp://127.0.0.1:PORT/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/_x",
    "unix:/var/run/docker.sock",
    "data:text/plain,hello",
];

fn request(url: Url) -> Request {
    Request {
        method: Method::GET,
        url,
        headers: HeaderMap::new(),
        body: None,
        bounds: std::sync::Arc::default(),
        redirects: Redirects::Follow,
        response_bytes_max: 1 << 20,
    }
}

fn client(private_network: PrivateNetwork) -> Egress {
    let connect_timeout = Duration::from_secs(2);
    Egress::new(EgressOptions { private_network, connect_timeout, ..EgressOptions::default() }).unwrap()
}

/// A server on these addresses, all on one port, that counts its connections.
async fn counting(addresses: &[&str]) -> (u16, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let mut port = 0;
    for address in addresses {
        let listener = TcpListener::bind((*address, port)).await.unwrap();
        port = listener.local_addr().unwrap().port();
        let count = count.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    (port, count)
}

#[tokio::test]
async fn no_trick_connects() {
    assert!(TRICKS.len() >= 60);
    let (port, count) = counting(&["0.0.0.0"]).await;
    let client = client(PrivateNetwork::Refuse);
    let mut refused = 0;
    for trick in TRICKS {
        let text = trick.replace("PORT", &port.to_string());
        let Ok(url) = Url::parse(&text) else { continue };
        let failure = client.send(request(url)).await.expect_err(trick);
        let as_it_should =
            matches!(failure.error, EgressError::Refused { .. } | EgressError::Scheme(_) | EgressError::Connect { .. });
        assert!(as_it_should, "{trick}: {failure}");
        refused += usize::from(matches!(failure.error, EgressError::Refused { .. }));
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
    assert!(refused >= 60, "only {refused} tricks were refused; the others did not parse");
}

#[tokio::test]
async fn a_redirect_is_checked_like_a_request() {
    let (port, count) = counting(&["127.0.0.1"]).await;
    for target in
        ["http://127.0.0.1:PORT/", "http://localhost:PORT/", "http://[::ffff:127.0.0.1]:PORT/", "file:///etc/passwd"]
    {
        let target = target.replace("PORT", &port.to_string());
        let url =
            serve("127.0.0.2", Router::new().route("/", any(move || async move { Redirect::temporary(&target) })))
                .await;
        let failure = client("127.0.0.2".parse().unwrap()).send(request(url)).await.unwrap_err();
        assert!(matches!(failure.error, EgressError::Refused { .. } | EgressError::Scheme(_)), "{failure}");
    }
    assert_eq!(count.load(Ordering::SeqCst), 0);
}

/// Serves on an address of this machine; gives the URL.
pub async fn serve(address: &str, router: Router) -> Url {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Url::parse(&url).unwrap()
}

#[tokio::test]
async fn to_another_origin_goes_no_credential() {
    let echo = any(|headers: HeaderMap| async move {
        let names: Vec<&str> = headers.keys().map(|it| it.as_str()).filter(|it| *it != "host").collect();
        names.join(",")
    });
    let router = Router::new().route("/echo", echo);
    let elsewhere = serve("127.0.0.1", router.clone()).await.join("echo").unwrap().to_string();
    let router = router
        .route("/here", any(|| async { Redirect::temporary("/echo") }))
        .route("/elsewhere", any(move || async move { Redirect::temporary(&elsewhere) }));
    let url = serve("127.0.0.1", router).await;
    for (path, seen) in [("here", "x-api-key,authorization"), ("elsewhere", "")] {
        let mut request = request(url.join(path).unwrap());
        for name in ["authorization", "x-api-key", "cookie"] {
            request.headers.insert(name, "secret".parse().unwrap());
        }
        let response = client(PrivateNetwork::Allow).send(request).await.unwrap();
        let body = String::from_utf8(response.body).unwrap();
        for name in ["authorization", "x-api-key", "cookie"] {
            assert_eq!(body.contains(name), !seen.is_empty(), "{path}: {body}");
        }
    }
}

#[tokio::test]
async fn redirects_and_bodies_have_limits() {
    let router = Router::new()
        .route("/loop", any(|| async { Redirect::temporary("/loop") }))
        .route("/large", any(|| async { vec![b'x'; 2 << 20] }));
    let url = serve("127.0.0.1", router).await;
    let client = client(PrivateNetwork::Allow);
    let failure = client.send(request(url.join("loop").unwrap())).await.unwrap_err();
    assert!(matches!(failure.error, EgressError::TooManyRedirects(10)), "{failure}");
    let failure = client.send(request(url.join("large").unwrap())).await.unwrap_err();
    assert!(matches!(failure.error, EgressError::ResponseTooLarge(_)), "{failure}");
}

/// A name is looked up when a connection is opened: one that is open is nothing to who may not open it.
#[tokio::test]
async fn who_reaches_less_uses_no_connection_of_who_reaches_more() {
    let scene = crate::common::scene().await;
    let store = &scene.context.store;
    let tenants = Tenants::of(|stored| {
        let narrow = stored.iter().any(|it| it.name == "private_networks");
        if narrow { PrivateNetwork::Refuse } else { PrivateNetwork::Allow }
    });
    let egress = Egress::new(EgressOptions { tenants: Some(tenants), ..EgressOptions::default() }).unwrap();
    let (port, count) = answering().await;
    let url: Url = format!("http://localhost:{port}/").parse().unwrap();
    let tenant = windlass_engine::id::TenantKey::DEFAULT;
    egress.of(store, tenant).await.unwrap().send(request(url.clone())).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let layer = windlass_store::SettingLayer::Tenant;
    store.put_setting(tenant.into(), (layer, "private_networks"), serde_json::json!([])).await.unwrap();
    let refused = egress.of(store, tenant).await.unwrap().send(request(url.clone())).await.unwrap_err();
    assert!(matches!(refused.error, EgressError::Refused { .. }), "{refused}");
    store.unset_setting(tenant.into(), (layer, "private_networks")).await.unwrap();
    egress.of(store, tenant).await.unwrap().send(request(url)).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

/// A server on this machine that answers, keeps connections open and counts requests.
async fn answering() -> (u16, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let answer = any(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async { "here" }
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    (port, count)
}
