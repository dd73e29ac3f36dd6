//! All rows of a database in a form that both databases, and a file, can hold.
//!
//! Left out is what belongs to a running installation only: nodes, lanes, the last starts of rates, what
//! servers may have of quotas, attempts to sign in, and journals of deleted runs. Invariant: a table's tally is the same whatever the order of its rows, and whichever database they lie in.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value as Json;
use tokio::sync::mpsc;
use windlass_definition::time::Timestamp;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    Store, StoreError,
    admin::schema::Schema,
    database::{Database, Dialect, Value, postgres::Session, sqlite},
};

/// How many rows travel together.
pub(crate) const CHUNK_ROWS: usize = 500;
/// How many chunks may wait for who takes them.
pub(crate) const CHUNKS_WAITING: usize = 4;
/// What is not copied.
const LEFT_OUT: &[&str] = &["nodes", "lanes", "journal_garbage", "rates", "run_allowances", "sign_in_attempts"];

/// What a column means, apart from how a database keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Int,
    Text,
    Date,
    Bytes,
    Uuid,
    Time,
    Instant,
    Json,
}

/// A table that is copied.
pub(crate) struct Portable {
    pub name: String,
    pub columns: Vec<(String, Kind)>,
}

impl Portable {
    /// The tables, in the order in which they can be filled.
    pub(crate) fn all() -> &'static [Portable] {
        static ALL: LazyLock<Vec<Portable>> = LazyLock::new(|| {
            let declared = Schema::declared(Dialect::Postgres).tables.iter();
            let copied = declared.filter(|table| !LEFT_OUT.contains(&table.name.as_str()));
            copied.map(portable).collect()
        });
        &ALL
    }

    pub(crate) fn named(name: &str) -> Result<&'static Portable, StoreError> {
        let found = Portable::all().iter().find(|table| table.name == name);
        found.ok_or_else(|| StoreError::Invalid(format!("a backup of another version: it has a table `{name}`")))
    }

    pub(crate) fn column_names(&self) -> String {
        self.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// The query that gives all its rows. A journal's rows are read with their run: what is being deleted is left out.
    fn select(&self, dialect: Dialect) -> String {
        if let Some(column) = self.refers_to_itself() {
            return self.select_from_the_top(column);
        }
        if self.name != "journal" {
            return format!("select {} from {}", self.column_names(), self.name);
        }
        // The tenant and the run stand first.
        let rest = self.columns.iter().skip(2).map(|(name, _)| format!("j.{name}")).collect::<Vec<_>>().join(", ");
        let join = dialect.pick("r.run_key = j.run_key", "r.tenant_key = j.tenant_key and r.id = j.run_id");
        format!("select r.tenant_key, r.id, {rest} from journal j join runs r on {join}")
    }

    /// The column by which its rows refer to rows of the same table.
    fn refers_to_itself(&self) -> Option<&'static str> {
        let record = windlass_resource::records::find(&self.name)?;
        record.references().find(|(_, to, _)| *to == record.name).map(|(column, _, _)| column.name)
    }

    /// All rows, each after the one that it refers to: so they can be filled in again in this order.
    fn select_from_the_top(&self, column: &str) -> String {
        let name = &self.name;
        let columns = self.columns.iter().map(|(name, _)| format!("t.{name}")).collect::<Vec<_>>().join(", ");
        format!(
            "with recursive ranked (tenant_key, id, depth) as (\
             select tenant_key, id, 0 from {name} where {column} is null \
             union all select t.tenant_key, t.id, r.depth + 1 from {name} t \
             join ranked r on r.tenant_key = t.tenant_key and r.id = t.{column}) \
             select {columns} from {name} t join ranked r on r.tenant_key = t.tenant_key and r.id = t.id order by r.depth"
        )
    }

    /// The values of a row in the form that the kinds ask for.
    fn normal(&self, row: &crate::Row) -> Result<Vec<Value>, StoreError> {
        let columns = self.columns.iter().enumerate();
        columns
            .map(|(at, (_, kind))| {
                row.opt(at, |row, at| kind.normal(row, at)).map(|value| value.unwrap_or(Value::Null))
            })
            .collect()
    }
}

fn portable(table: &super::schema::Table) -> Portable {
    let sqlite = Schema::declared(Dialect::Sqlite).table(&table.name);
    let columns = table.columns.iter().map(|column| {
        let hot = sqlite.is_some_and(|sqlite| {
            sqlite.columns.iter().any(|other| other.name == column.name && other.kind == "integer")
        });
        let kind = match column.kind.as_str() {
            "boolean" => Kind::Bool,
            "integer" | "bigint" => Kind::Int,
            "uuid" => Kind::Uuid,
            "bytea" => Kind::Bytes,
            "jsonb" => Kind::Json,
            "date" => Kind::Date,
            "timestamptz" if hot => Kind::Instant,
            "timestamptz" => Kind::Time,
            _ => Kind::Text,
        };
        (column.name.clone(), kind)
    });
    let mut columns: Vec<(String, Kind)> = columns.collect();
    // By their names, so that a file does not depend on where a declaration has them; a journal's rows are read with
    // their run.
    if table.name != "journal" {
        columns.sort_by(|(one, _), (other, _)| one.cmp(other));
    }
    Portable { name: table.name.clone(), columns }
}

impl Kind {
    fn normal(self, row: &crate::Row, at: usize) -> Result<Value, StoreError> {
        Ok(match self {
            Kind::Bool => Value::Bool(row.bool(at)?),
            Kind::Int => Value::Int(row.int(at)?),
            Kind::Text | Kind::Date => Value::Text(row.shared(at)?),
            Kind::Bytes => Value::Bytes(row.bytes(at)?),
            Kind::Uuid => Value::Uuid(row.uuid(at)?),
            Kind::Time => Value::Time(row.time(at)?),
            Kind::Instant => Value::Instant(row.time(at)?),
            Kind::Json => Value::Json(row.shared(at)?),
        })
    }

    /// PostgreSQL's array type for a column of it; integers take the wider one and are narrowed by the insert.
    pub(crate) fn array(self) -> &'static str {
        match self {
            Kind::Bool => "boolean[]",
            Kind::Int => "bigint[]",
            Kind::Text => "text[]",
            Kind::Date => "date[]",
            Kind::Bytes => "bytea[]",
            Kind::Uuid => "uuid[]",
            Kind::Time | Kind::Instant => "timestamptz[]",
            Kind::Json => "jsonb[]",
        }
    }

    /// The form in a file.
    pub(crate) fn to_json(value: &Value) -> Json {
        match value {
            Value::Bool(value) => Json::from(*value),
            Value::Int(value) => Json::from(*value),
            Value::Text(text) | Value::Json(text) => Json::from(&**text),
            Value::Bytes(bytes) => Json::from(hex::encode(bytes)),
            Value::Uuid(uuid) => Json::from(uuid.to_string()),
            Value::Time(at) | Value::Instant(at) => Json::from(at.micros()),
            _ => Json::Null,
        }
    }

    /// Back from a file.
    pub(crate) fn read_json(self, json: &Json) -> Result<Value, StoreError> {
        let wrong = || StoreError::Invalid("the backup holds a value that its column cannot".to_owned());
        if json.is_null() {
            return Ok(Value::Null);
        }
        let text = || json.as_str().ok_or_else(wrong);
        let int = || json.as_i64().ok_or_else(wrong);
        Ok(match self {
            Kind::Bool => Value::Bool(json.as_bool().ok_or_else(wrong)?),
            Kind::Int => Value::Int(int()?),
            Kind::Text | Kind::Date => Value::Text(text()?.into()),
            Kind::Json => Value::Json(text()?.into()),
            Kind::Bytes => Value::Bytes(hex::decode(text()?).map_err(|_| wrong())?),
            Kind::Uuid => Value::Uuid(text()?.parse().map_err(|_| wrong())?),
            Kind::Time => Value::Time(Timestamp::from_micros(int()?)),
            Kind::Instant => Value::Instant(Timestamp::from_micros(int()?)),
        })
    }
}

/// Some rows of one table.
pub(crate) struct Chunk {
    pub table: &'static Portable,
    pub rows: Vec<Vec<Value>>,
}

/// Chunks as they come, or why no more do.
pub(crate) type Chunks = mpsc::Receiver<Result<Chunk, StoreError>>;

/// How many rows the tables have, and a checksum over all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Tally(pub BTreeMap<String, (u64, u64)>);

impl Tally {
    /// Counts a chunk in. Lanes are left out: SQLite has one only.
    pub(crate) fn add(&mut self, chunk: &Chunk) {
        let (rows, checksum) = self.0.entry(chunk.table.name.clone()).or_default();
        for row in &chunk.rows {
            let mut hash = Xxh3::new();
            for ((name, _), value) in chunk.table.columns.iter().zip(row) {
                if name != "lane_id" {
                    let text = match value {
                        Value::Json(text) => canonical(&serde_json::from_str(text).unwrap_or(Json::Null)),
                        other => Kind::to_json(other).to_string(),
                    };
                    hash.update(&(text.len() as u64).to_le_bytes());
                    hash.update(text.as_bytes());
                }
            }
            *rows += 1;
            *checksum = checksum.wrapping_add(hash.digest());
        }
    }

    /// All rows.
    pub fn rows(&self) -> u64 {
        self.0.values().map(|(rows, _)| rows).sum()
    }

    /// The tables that differ.
    pub(crate) fn differences(&self, other: &Tally) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys()).collect::<std::collections::BTreeSet<_>>();
        let differ = |name: &&&String| self.0.get(**name) != other.0.get(**name);
        names.iter().filter(differ).map(|name| (*name).clone()).collect()
    }
}

/// JSON in one form only: `jsonb` forgets the order of keys and how a number was written.
fn canonical(json: &Json) -> String {
    match json {
        Json::Object(members) => {
            let sorted: BTreeMap<&String, String> =
                members.iter().map(|(name, value)| (name, canonical(value))).collect();
            format!("{sorted:?}")
        }
        Json::Array(items) => format!("{:?}", items.iter().map(canonical).collect::<Vec<_>>()),
        Json::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string()),
        other => other.to_string(),
    }
}

impl Store {
    /// All rows, as they are at one moment.
    pub(crate) async fn export(&self) -> Result<Chunks, StoreError> {
        let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING);
        match self.database() {
            Database::Sqlite(sqlite) => {
                let connection = sqlite::open_reader(&sqlite.files)?;
                let spawned = std::thread::Builder::new().name("sqlite-export".to_owned()).spawn(move || {
                    if let Err(error) = export_sqlite(&connection, &chunks) {
                        // Nobody takes the chunks any more when this fails.
                        let _ = chunks.blocking_send(Err(error));
                    }
                });
                spawned.map_err(|error| StoreError::Unavailable(error.to_string()))?;
            }
            Database::Postgres(postgres) => {
                let session = postgres.own_session().await?;
                tokio::spawn(async move {
                    if let Err(error) = export_postgres(&session, &chunks).await {
                        let _ = chunks.send(Err(error)).await;
                    }
                });
            }
        }
        Ok(receiver)
    }

    /// The tally of all that is there.
    pub(crate) async fn tally(&self) -> Result<Tally, StoreError> {
        let mut chunks = self.export().await?;
        let mut tally = Tally::default();
        while let Some(chunk) = chunks.recv().await {
            tally.add(&chunk?);
        }
        Ok(tally)
    }
}

fn export_sqlite(
    connection: &rusqlite::Connection,
    chunks: &mpsc::Sender<Result<Chunk, StoreError>>,
) -> Result<(), StoreError> {
    connection.execute_batch("begin").map_err(sqlite::refused)?;
    for table in Portable::all() {
        let mut statement = connection.prepare(&table.select(Dialect::Sqlite)).map_err(sqlite::refused)?;
        let mut found = statement.query([]).map_err(sqlite::refused)?;
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(sqlite::refused)? {
            rows.push(table.normal(&sqlite::row_of(row, table.columns.len())?)?);
            if rows.len() == CHUNK_ROWS
                && chunks.blocking_send(Ok(Chunk { table, rows: std::mem::take(&mut rows) })).is_err()
            {
                return Ok(());
            }
        }
        if !rows.is_empty() && chunks.blocking_send(Ok(Chunk { table, rows })).is_err() {
            return Ok(());
        }
    }
    connection.execute_batch("rollback").map_err(sqlite::refused)
}

async fn export_postgres(
    session: &Session,
    chunks: &mpsc::Sender<Result<Chunk, StoreError>>,
) -> Result<(), StoreError> {
    let begin = "begin isolation level repeatable read read only; set local statement_timeout = 0; \
                 set local idle_in_transaction_session_timeout = 0";
    session.batch(begin).await?;
    for table in Portable::all() {
        let cursor = format!("copy_{}", table.name);
        session.batch(&format!("declare {cursor} no scroll cursor for {}", table.select(Dialect::Postgres))).await?;
        let fetch = format!("fetch {CHUNK_ROWS} from {cursor}");
        loop {
            let found = session.run(&fetch, &[]).await?.rows;
            if found.is_empty() {
                break;
            }
            let rows = found.iter().map(|row| table.normal(row)).collect::<Result<Vec<_>, _>>()?;
            if chunks.send(Ok(Chunk { table, rows })).await.is_err() {
                return Ok(());
            }
        }
        session.batch(&format!("close {cursor}")).await?;
    }
    session.batch("rollback").await
}
