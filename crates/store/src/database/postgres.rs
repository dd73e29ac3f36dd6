//! PostgreSQL: the URL, TLS, sessions with their statements, and the pool of them.
//!
//! Invariants: every session has its timeouts and keep-alives; a session goes back to the pool only outside of a
//! transaction, so a caller that went away leaves none open; no statement of the pool is sent before its session was told
//! whose rows it may touch.

use std::{
    collections::{BTreeSet, HashMap},
    error::Error as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use chrono::NaiveDate;
use futures::{StreamExt, future::join_all};
use tokio::sync::Semaphore;
use tokio_postgres::{
    Client, Config,
    config::SslMode,
    types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked},
};
use uuid::Uuid;
use windlass_definition::time::Timestamp;

use crate::{
    StoreError,
    database::{Row, Scope, Script, Sql, Statement, Tx, Value, Written, blind, check, tls},
};

/// Microseconds from 1970 to PostgreSQL's own epoch, 2000.
const EPOCH_US: i64 = 946_684_800_000_000;
/// The same as a day.
const EPOCH_DAY: NaiveDate = match NaiveDate::from_ymd_opt(2000, 1, 1) {
    Some(day) => day,
    None => NaiveDate::MIN,
};
/// The form of a day.
const DAY: &str = "%Y-%m-%d";
/// Sessions for reads and ordinary writes.
const SESSIONS_MAX: usize = 8;
/// What every session sets: nothing waits or idles for ever (rule 4 of the promises).
const SETTINGS: &str = "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=10s \
                        -c synchronous_commit=on -c timezone=UTC -c jit=off";

/// What the committer's sessions set besides: its statements join a few given rows with large tables by their keys. The
/// planner, which does not know how few are given, would read whole tables once these have grown a little (measured: 912
/// ten-step runs/s in place of 2,306).
const COMMIT_SETTINGS: &str =
    "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c plan_cache_mode=force_generic_plan";

/// What sessions set that may touch the rows of all tenants; without it the policies show them none.
const ALL_TENANTS: &str = "-c windlass.tenant=*";
/// The same of a session of the pool, for as long as it keeps to one tenant; and whether it may read whole tables. What is
/// asked for one tenant goes by index, however small the tables were when it was planned, and is planned once. What crosses
/// tenants may want most of a table.
const ENTER: &str = "select set_config('windlass.tenant', $1, false), set_config('plan_cache_mode', $2, false), \
                     set_config('enable_seqscan', $3, false), set_config('enable_hashjoin', $3, false), \
                     set_config('enable_mergejoin', $3, false)";
/// The same for the rest of a transaction.
pub(crate) const ENTER_LOCAL: &str = "select set_config('windlass.tenant', $1, true)";

type BoxError = Box<dyn std::error::Error + Sync + Send>;

impl ToSql for Value {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self {
            Value::Null => return Ok(IsNull::Yes),
            Value::Bool(value) => return value.to_sql(kind, out),
            Value::Int(value) => return int_to_sql(*value, kind, out),
            Value::Float(value) => return value.to_sql(kind, out),
            Value::Text(day) if *kind == Type::DATE => {
                let day = NaiveDate::parse_from_str(day, DAY)?;
                out.extend_from_slice(&i32::try_from((day - EPOCH_DAY).num_days())?.to_be_bytes());
            }
            Value::Text(value) | Value::Json(value) => {
                if *kind == Type::JSONB {
                    // The version of the binary form.
                    out.extend_from_slice(&[1]);
                }
                out.extend_from_slice(value.as_bytes());
            }
            Value::Bytes(value) => out.extend_from_slice(value),
            Value::Uuid(value) => out.extend_from_slice(value.as_bytes()),
            Value::Time(value) | Value::Instant(value) => return PgTime(*value).to_sql(kind, out),
            Value::Uuids(values) => return values.to_sql(kind, out),
            Value::Texts(values) => {
                let all: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
                return all.to_sql(kind, out);
            }
            Value::List(values) => return values.to_sql(kind, out),
            Value::Ints(values) => {
                // Element by element, so that each takes the width of the column.
                let all: Vec<Value> = values.iter().map(|value| Value::Int(*value)).collect();
                return all.to_sql(kind, out);
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// An integer in the width that the column has.
fn int_to_sql(value: i64, kind: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
    match *kind {
        Type::INT2 => i16::try_from(value)?.to_sql(kind, out),
        Type::INT4 => i32::try_from(value)?.to_sql(kind, out),
        Type::FLOAT8 => {
            #[expect(clippy::cast_precision_loss, reason = "the column asks for a float")]
            let float = value as f64;
            float.to_sql(kind, out)
        }
        _ => value.to_sql(kind, out),
    }
}

/// A time in PostgreSQL's binary form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PgTime(pub Timestamp);

impl ToSql for PgTime {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        out.extend_from_slice(&self.0.micros().saturating_sub(EPOCH_US).to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Value, BoxError> {
        Ok(match *kind {
            Type::BOOL => Value::Bool(bool::from_sql(kind, raw)?),
            Type::INT2 => Value::Int(i64::from(i16::from_sql(kind, raw)?)),
            Type::INT4 => Value::Int(i64::from(i32::from_sql(kind, raw)?)),
            Type::INT8 => Value::Int(i64::from_sql(kind, raw)?),
            Type::OID => Value::Int(i64::from(u32::from_sql(kind, raw)?)),
            Type::FLOAT4 => Value::Float(f64::from(f32::from_sql(kind, raw)?)),
            Type::FLOAT8 => Value::Float(f64::from_sql(kind, raw)?),
            Type::BYTEA => Value::Bytes(raw.to_vec()),
            Type::UUID => Value::Uuid(Uuid::from_slice(raw)?),
            Type::TIMESTAMPTZ => {
                Value::Time(Timestamp::from_micros(i64::from_be_bytes(raw.try_into()?).saturating_add(EPOCH_US)))
            }
            Type::DATE => {
                let days = i64::from(i32::from_be_bytes(raw.try_into()?));
                let day =
                    EPOCH_DAY.checked_add_signed(chrono::TimeDelta::days(days)).ok_or("a day beyond the calendar")?;
                Value::Text(day.format(DAY).to_string().into())
            }
            Type::JSONB => Value::Json(std::str::from_utf8(raw.get(1..).unwrap_or_default())?.into()),
            Type::JSON => Value::Json(std::str::from_utf8(raw)?.into()),
            Type::VOID => Value::Null,
            _ if matches!(kind.kind(), Kind::Simple | Kind::Domain(_)) => Value::Text(std::str::from_utf8(raw)?.into()),
            _ => return Err(format!("no value for the type {kind}").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Value, BoxError> {
        Ok(Value::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A refusal of PostgreSQL in our words.
pub(crate) fn refused(error: tokio_postgres::Error) -> StoreError {
    let Some(refusal) = error.as_db_error() else {
        let cause = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
        if error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>()) {
            return StoreError::Unavailable(cause);
        }
        return StoreError::Database { doing: "use the database", code: String::new(), cause: Arc::new(error) };
    };
    let code = refusal.code().code().to_owned();
    match code.get(..2) {
        Some("WL") => StoreError::conflict(refusal.message()),
        // 40 and 55: somebody else was in the way, a deadlock or a lock that was held too long.
        Some("08" | "40" | "53" | "55" | "57") => StoreError::Unavailable(format!("{} ({code})", refusal.message())),
        _ if code == "25006" => StoreError::Unavailable("the database is read-only".to_owned()),
        _ => {
            let text = std::io::Error::other(refusal.message().to_owned());
            StoreError::Database { doing: "use the database", code, cause: Arc::new(text) }
        }
    }
}

/// Where the server is, and how to get there.
#[derive(Clone)]
pub(crate) struct Address {
    config: Config,
    tls: tls::Tls,
    /// The URL without its password, for messages.
    pub shown: String,
    /// Where the statements of all sessions are noted, if somebody wants to know them.
    pub statements: Option<StatementLog>,
}

/// The texts of the statements that sessions have prepared, for tests of what the program asks of its database.
pub type StatementLog = Arc<Mutex<BTreeSet<String>>>;

impl Address {
    /// Reads a `postgres://` URL.
    pub(crate) fn parse(url: &str) -> Result<Address, StoreError> {
        let shown = without_password(url);
        let wrong = |reason: String| StoreError::Location { location: shown.clone(), reason };
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(wrong("a database URL begins with postgres://".to_owned()));
        }
        let (plain, options) = tls::Options::take(url).map_err(wrong)?;
        let mut config: Config = plain.parse().map_err(|error: tokio_postgres::Error| {
            wrong(error.source().map_or_else(|| error.to_string(), ToString::to_string))
        })?;
        if config.get_hosts().is_empty() {
            return Err(wrong("the URL names no host".to_owned()));
        }
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err(wrong("the URL names no database: postgres://user@host/database".to_owned()));
        }
        config.ssl_mode(options.mode);
        let given = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{SETTINGS} {given}"));
        config.connect_timeout(Duration::from_secs(5));
        config.tcp_user_timeout(Duration::from_secs(5));
        config.keepalives_idle(Duration::from_secs(2));
        config.keepalives_interval(Duration::from_secs(1));
        config.keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("windlass");
        }
        let tls =
            if options.mode == SslMode::Disable { tls::Tls::off() } else { tls::Tls::of(&options).map_err(wrong)? };
        Ok(Address { config, tls, shown, statements: None })
    }

    /// The same place, for sessions that commit transitions, of whichever tenants.
    pub(crate) fn for_commits(&self) -> Address {
        self.with(&format!("{ALL_TENANTS} {COMMIT_SETTINGS}"))
    }

    /// The same place, for the program's own sessions: what they do crosses tenants.
    pub(crate) fn across_tenants(&self) -> Address {
        self.with(ALL_TENANTS)
    }

    fn with(&self, settings: &str) -> Address {
        let mut address = self.clone();
        let given = address.config.get_options().unwrap_or_default().to_owned();
        address.config.options(format!("{given} {settings}"));
        address
    }

    /// The session that is kept there; a new one when there is none, or its connection is gone.
    pub(crate) async fn keep_open<'a>(&self, kept: &'a mut Option<Session>) -> Result<&'a mut Session, StoreError> {
        if kept.as_ref().is_some_and(|session| session.client.is_closed()) {
            *kept = None;
        }
        match kept {
            Some(open) => Ok(open),
            none => Ok(none.insert(self.connect().await?)),
        }
    }

    /// Opens a session whose connection is driven by a task of the current runtime.
    pub(crate) async fn connect(&self) -> Result<Session, StoreError> {
        let (client, connection) = self.connect_raw().await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a database session ended");
            }
        });
        Ok(Session { client, statements: Mutex::default(), log: self.statements.clone(), scope: Mutex::default() })
    }

    /// Opens a session whose messages the caller reads.
    pub(crate) async fn connect_raw(
        &self,
    ) -> Result<(Client, tokio_postgres::Connection<tokio_postgres::Socket, tls::Stream>), StoreError> {
        self.config.connect(self.tls.clone()).await.map_err(|error| self.unreachable(&error))
    }

    /// Why no session came about: what is wrong for good is about the location, the rest may pass.
    fn unreachable(&self, error: &tokio_postgres::Error) -> StoreError {
        let reason = match (error.as_db_error(), error.source()) {
            (Some(refusal), _) => refusal.message().to_owned(),
            (None, Some(source)) => source.to_string(),
            (None, None) => error.to_string(),
        };
        match error.code().and_then(|code| code.code().get(..2)) {
            Some("53" | "57" | "08") => StoreError::Unavailable(reason),
            _ => StoreError::Location { location: self.shown.clone(), reason },
        }
    }
}

/// The URL as messages may show it.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((user, host)) = rest.split_once('@') else { return url.to_owned() };
    let name = user.split(':').next().unwrap_or_default();
    format!("{scheme}://{name}@{}", host.split('?').next().unwrap_or_default())
}

/// A session and the statements it has prepared.
pub(crate) struct Session {
    pub client: Client,
    statements: Mutex<HashMap<String, tokio_postgres::Statement>>,
    log: Option<StatementLog>,
    /// What it was told last of whose rows it may touch, where that can change.
    scope: Mutex<Option<Scope>>,
}

impl Session {
    fn scope(&self) -> Option<Scope> {
        *self.scope.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with whose rows are meant made known before, in the same flight: it costs no round trip. What is
    /// done must not send anything before it is polled.
    async fn within<T>(
        &self,
        scope: Scope,
        done: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        if self.scope() == Some(scope) {
            return done.await;
        }
        let params: [Value; 3] = match scope {
            Scope::Tenant(tenant) => [tenant.0.to_string().into(), "force_generic_plan".into(), "off".into()],
            Scope::All => ["*".into(), "auto".into(), "on".into()],
        };
        let enter = self.prepare(ENTER).await?;
        // The first is sent first.
        let (entered, done) = futures::join!(self.run_prepared(&enter, &params), done);
        entered.map_err(refused)?;
        *self.scope.lock().unwrap_or_else(PoisonError::into_inner) = Some(scope);
        done
    }

    /// The statement of that text, prepared once.
    pub(crate) async fn prepare(&self, sql: &str) -> Result<tokio_postgres::Statement, StoreError> {
        let known = self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        if let Some(log) = &self.log {
            log.lock().unwrap_or_else(PoisonError::into_inner).insert(sql.to_owned());
        }
        let statement = self.client.prepare(sql).await.map_err(refused)?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// Runs a prepared statement.
    pub(crate) async fn run_prepared(
        &self,
        statement: &tokio_postgres::Statement,
        params: &[Value],
    ) -> Result<Written, tokio_postgres::Error> {
        let stream = self.client.query_raw(statement, params).await?;
        futures::pin_mut!(stream);
        let mut rows = Vec::new();
        while let Some(row) = stream.next().await {
            let row = row?;
            let values: Result<Vec<Value>, _> = (0..row.len()).map(|at| row.try_get(at)).collect();
            rows.push(Row(values?));
        }
        let count = stream.rows_affected().unwrap_or(rows.len() as u64);
        Ok(Written { count, rows })
    }

    /// Runs a statement.
    pub(crate) async fn run(&self, sql: &str, params: &[Value]) -> Result<Written, StoreError> {
        let statement = self.prepare(sql).await?;
        self.run_prepared(&statement, params).await.map_err(refused)
    }

    /// Runs statements of our own text that give nothing back.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), StoreError> {
        self.client.batch_execute(sql).await.map_err(refused)
    }
}

/// A session of the pool, within a transaction.
pub struct PostgresTx {
    pub(crate) session: Session,
}

impl PostgresTx {
    pub(crate) async fn run(&mut self, sql: &Sql, params: &[Value]) -> Result<Written, StoreError> {
        self.session.run(&blind::text(sql), params).await
    }
}

/// The server: its pool of sessions. A cheap handle.
#[derive(Clone)]
pub struct Postgres {
    pool: Arc<Pool>,
}

struct Pool {
    address: Address,
    places: Semaphore,
    idle: Mutex<Vec<Session>>,
}

impl Postgres {
    pub(crate) fn new(address: Address) -> Postgres {
        let places = Semaphore::new(SESSIONS_MAX);
        Postgres { pool: Arc::new(Pool { address, places, idle: Mutex::default() }) }
    }

    /// Closes the pool: who waits for a session is told so.
    pub(crate) fn close(&self) {
        self.pool.places.close();
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A session, if possible one that was in that tenant last.
    async fn session(&self, scope: Scope) -> Result<Session, StoreError> {
        loop {
            let idle = {
                let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
                let there = idle.iter().rposition(|session| session.scope() == Some(scope));
                there.map(|at| idle.remove(at)).or_else(|| idle.pop())
            };
            match idle {
                Some(session) if session.client.is_closed() => {}
                Some(session) => return Ok(session),
                None => return self.again().await,
            }
        }
    }

    /// A session of the program's own, beside the pool: what it does crosses tenants.
    pub(crate) async fn own_session(&self) -> Result<Session, StoreError> {
        self.pool.address.across_tenants().connect().await
    }

    /// Connects to what was there when the store was opened: that it is not now may pass.
    async fn again(&self) -> Result<Session, StoreError> {
        self.pool.address.connect().await.map_err(|error| match error {
            StoreError::Location { reason, .. } => StoreError::Unavailable(reason),
            other => other,
        })
    }

    fn give_back(&self, session: Session) {
        if !session.client.is_closed() {
            self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        }
    }

    pub(crate) async fn query(&self, scope: Scope, sql: &str, params: &[Value]) -> Result<Vec<Row>, StoreError> {
        let _place = self.pool.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let sql = blind::text(sql);
        let mut session = self.session(scope).await?;
        let mut result = session.within(scope, session.run(&sql, params)).await;
        if result.is_err() && session.client.is_closed() {
            // A session that broke while it was idle says nothing about the database: a read is asked again.
            session = self.again().await?;
            result = session.within(scope, session.run(&sql, params)).await;
        }
        self.give_back(session);
        result.map(|written| written.rows)
    }

    /// Writes these statements in one transaction: one flight, then the commit.
    pub(crate) async fn write(&self, scope: Scope, statements: Vec<Statement>) -> Result<Vec<Written>, StoreError> {
        let _place = self.pool.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let session = self.session(scope).await?;
        let result = match statements.as_slice() {
            [only] if only.expect.is_none() => {
                let sql = blind::text(&only.sql);
                session.within(scope, session.run(&sql, &only.params)).await.map(|written| vec![written])
            }
            all => write_all(&session, scope, all).await,
        };
        self.give_back(session);
        result
    }

    pub(crate) async fn transact<T: Send + 'static>(&self, scope: Scope, script: Script<T>) -> Result<T, StoreError> {
        let _place = self.pool.places.acquire().await.map_err(|_| StoreError::Closed)?;
        let session = self.session(scope).await?;
        // Told before it begins: a transaction that is rolled back would take it back.
        session.within(scope, session.batch("begin")).await?;
        let mut tx = Tx::Postgres(PostgresTx { session });
        let result = script(&mut tx).await;
        let Tx::Postgres(PostgresTx { session }) = tx else { return Err(StoreError::Closed) };
        let ended = session.batch(if result.is_ok() { "commit" } else { "rollback" }).await;
        match (result, ended) {
            (Ok(value), Ok(())) => {
                self.give_back(session);
                Ok(value)
            }
            (Ok(_), Err(error)) => Err(error),
            (Err(error), ended) => {
                if ended.is_ok() {
                    self.give_back(session);
                }
                Err(error)
            }
        }
    }
}

async fn write_all(session: &Session, scope: Scope, statements: &[Statement]) -> Result<Vec<Written>, StoreError> {
    let mut prepared = Vec::with_capacity(statements.len());
    for statement in statements {
        prepared.push(session.prepare(&blind::text(&statement.sql)).await?);
    }
    let flight = prepared.iter().zip(statements).map(|(text, statement)| session.run_prepared(text, &statement.params));
    let begin = session.within(scope, session.batch("begin"));
    let (begun, results) = futures::join!(begin, join_all(flight));
    begun?;
    let checked = results.into_iter().zip(statements).map(|(result, statement)| {
        let written = result.map_err(refused)?;
        check(&written, statement.expect.as_ref())?;
        Ok(written)
    });
    match checked.collect::<Result<Vec<Written>, StoreError>>() {
        Ok(all) => session.batch("commit").await.map(|()| all),
        Err(error) => {
            // The first refusal is the one to tell; a session that cannot roll back closes with its transaction.
            let _ = session.batch("rollback").await;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_cannot_be_meant_are_refused() {
        for (url, reason) in [
            ("mysql://x/y", "begins with postgres://"),
            ("postgres://u@h", "no database"),
            ("postgres://u@h/d?sslmode=sometimes", "sslmode"),
            ("postgres://u@h:port/d", "port"),
        ] {
            let error = Address::parse(url).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn messages_do_not_show_passwords() {
        assert_eq!(without_password("postgres://me:secret@db/x?password=y"), "postgres://me@db/x");
    }
}
