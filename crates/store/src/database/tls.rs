//! TLS to PostgreSQL: what `sslmode` and `sslrootcert` of the URL mean.
//!
//! As with PostgreSQL's own clients, `require` encrypts without asking who the server is unless `sslrootcert` is given;
//! `verify-full` and `verify-ca` check the certificate and its name, against that file or the public authorities.

use std::{pin::Pin, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres::{
    Socket,
    config::SslMode,
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// The stream under a session, encrypted or not by what the server and the mode agree on.
pub(crate) type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// What the URL says about TLS.
pub(crate) struct Options {
    pub mode: SslMode,
    verify: bool,
    root: Option<String>,
}

impl Options {
    /// Takes our parameters out of the URL; the driver reads the rest.
    pub(crate) fn take(url: &str) -> Result<(String, Options), String> {
        let mut options = Options { mode: SslMode::Prefer, verify: false, root: None };
        let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), options)) };
        let mut rest = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => {
                    options.mode = match mode {
                        "disable" => SslMode::Disable,
                        "allow" | "prefer" => SslMode::Prefer,
                        "require" | "verify-ca" | "verify-full" => SslMode::Require,
                        other => {
                            return Err(format!(
                                "sslmode `{other}` is not one of disable, prefer, require, verify-full"
                            ));
                        }
                    };
                    options.verify = mode.starts_with("verify");
                }
                Some(("sslrootcert", path)) => options.root = Some(path.replace("%2F", "/").replace("%2f", "/")),
                _ => rest.push(pair),
            }
        }
        let plain = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        Ok((plain, options))
    }
}

/// Makes the TLS side of a session.
#[derive(Clone)]
pub(crate) struct Tls(MakeRustlsConnect);

impl Tls {
    /// For `sslmode=disable`: never used, but the driver wants one.
    pub(crate) fn off() -> Tls {
        Tls(MakeRustlsConnect::new(unverified()))
    }

    pub(crate) fn of(options: &Options) -> Result<Tls, String> {
        if !options.verify && options.root.is_none() {
            return Ok(Tls(MakeRustlsConnect::new(unverified())));
        }
        let mut roots = RootCertStore::empty();
        match &options.root {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let problem = |error: &dyn std::fmt::Display| format!("sslrootcert {path}: {error}");
                let all = CertificateDer::pem_file_iter(path).map_err(|error| problem(&error))?;
                for certificate in all {
                    let certificate = certificate.map_err(|error| problem(&error))?;
                    roots.add(certificate).map_err(|error| problem(&error))?;
                }
            }
        }
        Ok(Tls(MakeRustlsConnect::new(builder().with_root_certificates(roots).with_no_client_auth())))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Stream;
    type TlsConnect = Connect;
    type Error = std::io::Error;

    fn make_tls_connect(&mut self, hostname: &str) -> Result<Connect, std::io::Error> {
        let made = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.0, hostname);
        made.map(Connect).map_err(std::io::Error::other)
    }
}

/// One session's TLS.
pub(crate) struct Connect(<MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect);

impl TlsConnect<Socket> for Connect {
    type Stream = Stream;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, std::io::Error>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        let connect = self.0.connect(stream);
        Box::pin(async move { connect.await.map_err(std::io::Error::other) })
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    match ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions() {
        Ok(builder) => builder,
        // The provider is a constant, and it has ciphers for these versions.
        Err(error) => unreachable!("ring lacks the default protocol versions: {error}"),
    }
}

/// Takes whoever answers for the right one: what `sslmode=require` means.
pub(super) fn unverified() -> ClientConfig {
    let verifier = Arc::new(AnyServer(provider()));
    builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

/// Takes any certificate: what `sslmode=require` means.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
