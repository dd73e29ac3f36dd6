//! A PostgreSQL that is not ours, visited: logged in to over a connection that the caller opened, asked one thing, and left.

use std::{error::Error as _, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::{Config, Error, config::SslMode, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls;

/// How long it may take to let go of a visitor.
const GOODBYE_TIME_MAX: Duration = Duration::from_secs(1);

/// Who comes, and to what.
pub struct Visit<'a> {
    /// The name of the server, for its certificate.
    pub host: &'a str,
    /// The database on it.
    pub database: &'a str,
    /// The user.
    pub user: &'a str,
    /// The password, if there is one.
    pub password: Option<&'a str>,
    /// How the connection is encrypted.
    pub encryption: Encryption,
}

/// How a visit is encrypted.
pub enum Encryption {
    /// Not at all.
    None,
    /// Whoever answers is taken for the right one: what `sslmode=require` means.
    Unchecked,
    /// As this says.
    Checked(Arc<ClientConfig>),
}

/// Logs in and asks `select 1`. Gives the version that the server names, as it says it. How long all of it may take is
/// for the caller to bound.
///
/// # Errors
/// What the server said with the code of it, or what broke.
pub async fn visit<S>(connection: S, visit: Visit<'_>) -> Result<String, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut config = Config::new();
    config.dbname(visit.database).user(visit.user).application_name("windlass");
    if let Some(password) = visit.password {
        config.password(password);
    }
    let (mode, client) = match visit.encryption {
        Encryption::None => (SslMode::Disable, tls::unverified()),
        Encryption::Unchecked => (SslMode::Require, tls::unverified()),
        Encryption::Checked(client) => (SslMode::Require, client.as_ref().clone()),
    };
    config.ssl_mode(mode);
    let encrypt = MakeTlsConnect::<S>::make_tls_connect(&mut MakeRustlsConnect::new(client), visit.host);
    let encrypt = encrypt.map_err(|error| format!("its name is none for TLS: {error}"))?;
    let (client, mut connection) = config.connect_raw(connection, encrypt).await.map_err(why)?;
    let answered = {
        let asked = client.simple_query("select 1");
        tokio::pin!(asked);
        tokio::select! {
            answered = &mut asked => answered,
            // The connection ends first when it is broken; the question then knows why.
            _ = &mut connection => asked.await,
        }
    };
    answered.map_err(why)?;
    let version = connection.parameter("server_version").unwrap_or("of an unknown version").to_owned();
    drop(client);
    // Without a client it says goodbye and ends.
    let _ = tokio::time::timeout(GOODBYE_TIME_MAX, connection).await;
    Ok(version)
}

fn why(error: Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
    }
}
