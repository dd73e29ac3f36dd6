//! `database`, tried: connect, log in and `select 1`, on PostgreSQL; what other engines would need is not there, and said.

use windlass_runtime::secrets::CredentialTest;
use windlass_store::database::{Encryption, Visit, visit};

use super::trial::{Tried, fails, unknown, works};
use crate::egress::Egress;

/// Where PostgreSQL listens when nobody says otherwise.
const PORT: u16 = 5432;

/// What came of it.
pub(super) async fn try_out(egress: &Egress, tried: &Tried) -> CredentialTest {
    match tried.text("engine").unwrap_or_default() {
        "postgres" => match postgres(egress, tried).await {
            Ok(detail) => works(detail),
            Err(detail) => fails(detail),
        },
        engine => unknown(format!("nothing was tried: of databases this version tries `postgres`, and no `{engine}`")),
    }
}

async fn postgres(egress: &Egress, tried: &Tried) -> Result<String, String> {
    let (host, port) = (tried.needed("host")?, tried.port_or(PORT));
    let (place, database, user) = (format!("{host}:{port}"), tried.needed("database")?, tried.needed("username")?);
    let (encryption, encrypted) = match tried.text("tls") {
        Some("none") => (Encryption::None, "not encrypted"),
        Some("require") => (Encryption::Unchecked, "encrypted, its certificate not checked"),
        _ => (Encryption::Checked(egress.tls()), "encrypted"),
    };
    let line = tried.dial(egress, (host, port)).await?;
    let visited = visit(line, Visit { host, database, user, password: tried.text("password"), encryption }).await;
    let version = visited.map_err(|why| format!("{place} did not let `{user}` in: {}", tried.quote(why)))?;
    let version = tried.quote(version);
    Ok(format!("{place} let `{user}` into `{database}` and answered `select 1`: PostgreSQL {version}, {encrypted}"))
}
