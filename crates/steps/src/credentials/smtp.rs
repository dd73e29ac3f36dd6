//! `smtp`, tried: connect, encrypt as its fields say, greet, log in, leave. No mail is sent.

use std::{io, net::SocketAddr};

use lettre::transport::smtp::{
    authentication::{Credentials, Mechanism},
    client::{
        AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters, TlsParametersBuilder,
    },
    extension::ClientId,
};

use super::trial::{GOODBYE_TIME_MAX, Tried};
use crate::egress::{Egress, Line};

/// The ports of mail that is handed in: with STARTTLS or without, and encrypted from the beginning.
const PORT: u16 = 587;
const PORT_TLS: u16 = 465;

/// Ways to log in that say a user and a password.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

impl AsyncTokioStream for Line {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer())
    }
}

/// What was seen, or why it does not work.
pub(super) async fn try_out(egress: &Egress, tried: &Tried) -> Result<String, String> {
    let (host, security) = (tried.needed("host")?, tried.text("security").unwrap_or("starttls"));
    let port = tried.port_or(if security == "tls" { PORT_TLS } else { PORT });
    let place = format!("{host}:{port}");
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{place} {what}: {}", tried.quote(error));
    let me = ClientId::default();
    let mut line = tried.dial(egress, (host, port)).await?;
    if security == "tls" {
        let encrypted = line.encrypted(host, egress.tls()).await;
        line = encrypted.map_err(|error| failed("could not be spoken to with TLS", &error))?;
    }
    let greeted = AsyncSmtpConnection::connect_with_transport(Box::new(line), &me).await;
    let mut server = greeted.map_err(|error| failed("did not greet as a mail server does", &error))?;
    if security == "starttls" {
        let tls = tls(host, egress).map_err(|error| failed("could not be spoken to with TLS", &error))?;
        let begun = server.starttls(tls, &me).await;
        begun.map_err(|error| failed("could not be spoken to with STARTTLS", &error))?;
    }
    let encrypted = if security == "none" { "not encrypted" } else { "encrypted" };
    let detail = match (tried.text("username"), tried.text("password")) {
        (None, _) => format!("{place} greeted, {encrypted}; there is no `username` to log in with"),
        (Some(_), None) => return Err("it has a `username` and no `password`".to_owned()),
        (Some(user), Some(password)) => {
            let credentials = Credentials::new(user.to_owned(), password.to_owned());
            let answer = server.auth(&MECHANISMS, &credentials).await;
            answer.map_err(|error| failed(&format!("did not let `{user}` in"), &error))?;
            format!("{place} let `{user}` in, {encrypted}")
        }
    };
    // It worked whether or not the other side says goodbye.
    let _ = tokio::time::timeout(GOODBYE_TIME_MAX, server.quit()).await;
    Ok(detail)
}

fn tls(host: &str, egress: &Egress) -> Result<TlsParameters, lettre::transport::smtp::Error> {
    let builder = TlsParametersBuilder::new(host.to_owned()).certificate_store(CertificateStore::WebpkiRoots);
    let roots = egress.extra_roots().iter().map(|root| Certificate::from_der(root.to_vec()));
    roots
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .fold(builder, TlsParametersBuilder::add_root_certificate)
        .build_rustls()
}
