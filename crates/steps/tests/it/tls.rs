//! HTTPS: certificates are checked, and an authority can be added.
//!
//! The certificates in `tests/data` are for `localhost` and 127.0.0.1, from an authority that exists nowhere else.

use std::sync::Arc;

use reqwest::{Method, Url};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use windlass_runtime::step::Sent;
use windlass_steps::egress::{
    Authorities, Egress, EgressError, EgressOptions, Redirects, Request, address::PrivateNetwork,
};

fn certificate(pem: &'static [u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

/// TLS of a server for `localhost` and 127.0.0.1.
pub fn acceptor() -> TlsAcceptor {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../data/localhost.key")).unwrap();
    let chain = vec![certificate(include_bytes!("../data/localhost.pem"))];
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A server that answers every request with 204; gives its port.
async fn server() -> u16 {
    let acceptor = acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust us hangs up here.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

async fn ask(host: &str, extra_roots: Vec<CertificateDer<'static>>) -> Result<u16, (String, Sent)> {
    let options = EgressOptions { private_network: PrivateNetwork::Allow, extra_roots, ..EgressOptions::default() };
    let url = Url::parse(&format!("https://{host}:{}/", server().await)).unwrap();
    let request = Request {
        method: Method::POST,
        url,
        headers: Default::default(),
        body: None,
        bounds: std::sync::Arc::default(),
        redirects: Redirects::Return,
        response_bytes_max: 1024,
    };
    let response = Egress::new(options).unwrap().send(request).await;
    response.map(|it| it.status.as_u16()).map_err(|failure| match failure.error {
        EgressError::Connect { reason, .. } => (reason, failure.sent),
        other => panic!("{other}"),
    })
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_before_anything_is_sent() {
    let (reason, sent) = ask("localhost", Vec::new()).await.unwrap_err();
    assert!(reason.contains("UnknownIssuer"), "{reason}");
    assert_eq!(sent, Sent::Nothing);
}

#[test]
fn a_file_of_authorities_holds_some() {
    let (own, key): (&[u8], &[u8]) = (include_bytes!("../data/authority.pem"), include_bytes!("../data/localhost.key"));
    assert_eq!(Authorities::read(&[own, own].concat()).unwrap().0.len(), 2);
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (text, said) in [
        (&b""[..], "holds no certificate"),
        (key, "holds no certificate"),
        (&own[..own.len() / 2], "is not PEM"),
        (&[own, broken].concat(), "certificate 2 cannot be used"),
    ] {
        let error = Authorities::read(text).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[tokio::test]
async fn an_authority_can_be_added() {
    let authority = Authorities::read(include_bytes!("../data/authority.pem")).unwrap().0.remove(0);
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(ask(host, vec![authority.clone()]).await, Ok(204), "{host}");
    }
    let (reason, _) = ask("127.0.0.2", vec![authority]).await.unwrap_err();
    assert!(!reason.is_empty());
}
