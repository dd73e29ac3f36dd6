//! `db stats` and `db status`: how much there is, and how the database stands.

use crate::{
    SCHEMA_VERSION, Store, StoreError,
    admin::schema::Schema,
    database::{Database, Dialect},
    store::{SERVER_WARNINGS, server_warnings},
};

/// How much one table holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TableStats {
    /// Its name.
    pub table: String,
    /// Its rows: counted on SQLite, estimated by the server on PostgreSQL.
    pub rows: i64,
    /// Its bytes, indexes included.
    pub bytes: i64,
}

/// How much the database holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Its tables.
    pub tables: Vec<TableStats>,
    /// The bytes of all of it.
    pub bytes: i64,
    /// The bytes of the write-ahead log (SQLite).
    pub log_bytes: i64,
    /// Bytes in the file that hold nothing (SQLite).
    pub free_bytes: i64,
}

/// How the database stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// `sqlite` or `postgres`.
    pub database: &'static str,
    /// The server's, or the library's, version.
    pub server_version: String,
    /// The schema's version in the database.
    pub schema_version: i64,
    /// The schema's version in this program.
    pub known_version: i64,
    /// The nodes, newest first.
    pub nodes: Vec<NodeRow>,
    /// What somebody should look at.
    pub warnings: Vec<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct NodeRow {
    /// Its id.
    pub id: uuid::Uuid,
    /// Its name.
    pub name: String,
    /// Its machine.
    pub host: String,
    /// Its process.
    pub pid: i64,
    /// `alive`, `dead` or `left`.
    pub state: String,
    /// Its lanes.
    pub lanes: i64,
    /// Until when it lives without renewing.
    pub lease_until: windlass_definition::time::Timestamp,
}

const POSTGRES_TABLES: &str = "select c.relname::text, greatest(s.rows, 0)::bigint, s.bytes::bigint from pg_class c \
                               cross join lateral (select sum(p.reltuples) as rows, sum(pg_total_relation_size(p.oid)) as bytes \
                               from pg_class p where p.oid = c.oid \
                               or p.oid in (select inhrelid from pg_inherits where inhparent = c.oid)) s \
                               where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') \
                               and not c.relispartition";
const SQLITE_SIZES: &str = "select s.tbl_name, sum(d.pgsize) from dbstat d join sqlite_schema s on s.name = d.name \
                            where d.aggregate = 1 group by s.tbl_name";

impl Store {
    /// Rows and bytes of every table.
    pub async fn stats(&self) -> Result<Stats, StoreError> {
        match self.database() {
            Database::Sqlite(sqlite) => {
                let files = sqlite.files.clone();
                let mut stats = sqlite.with_reader(sqlite_stats).await?;
                let size =
                    |path| std::fs::metadata(path).map_or(0, |file| i64::try_from(file.len()).unwrap_or(i64::MAX));
                stats.bytes = size(files.database());
                stats.log_bytes = size(files.log());
                Ok(stats)
            }
            Database::Postgres(_) => self.postgres_stats().await,
        }
    }

    async fn postgres_stats(&self) -> Result<Stats, StoreError> {
        let schema = Schema::declared(Dialect::Postgres);
        let mut tables = Vec::new();
        for row in self.database().across_tenants().query(POSTGRES_TABLES, vec![]).await? {
            let stats = TableStats { table: row.string(0)?, rows: row.int(1)?, bytes: row.int(2)? };
            if schema.table(&stats.table).is_some() {
                tables.push(stats);
            }
        }
        let bytes = tables.iter().map(|table| table.bytes).sum();
        Ok(Stats { tables, bytes, log_bytes: 0, free_bytes: 0 })
    }

    /// Versions, nodes, and what somebody should look at.
    pub async fn status(&self) -> Result<Status, StoreError> {
        let dialect = self.database().dialect();
        let one = async |sql: &'static str| -> Result<Option<crate::Row>, StoreError> {
            self.database().across_tenants().query_opt(sql, vec![]).await
        };
        let version = one(match dialect {
            Dialect::Sqlite => "select sqlite_version()",
            Dialect::Postgres => "select current_setting('server_version')",
        });
        let server_version = version.await?.map_or(Ok(String::new()), |row| row.string(0))?;
        let schema = one("select max(version) from migrations").await?;
        let schema_version = schema.map_or(Ok(0), |row| row.int(0))?;
        let warnings = match dialect {
            Dialect::Sqlite => Vec::new(),
            Dialect::Postgres => {
                server_warnings(&self.database().across_tenants().query(SERVER_WARNINGS, vec![]).await?)?
            }
        };
        let nodes = self.nodes().await?;
        let database = dialect.pick("sqlite", "postgres");
        Ok(Status { database, server_version, schema_version, known_version: SCHEMA_VERSION, nodes, warnings })
    }

    /// The nodes, newest first; at most 100.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let sql = "select n.id, n.name, n.host, n.pid, n.state, \
                   (select count(*) from lanes l where l.node_id = n.id), n.lease_until \
                   from nodes n order by n.started_at desc limit 100";
        let node = |row: &crate::Row| {
            Ok(NodeRow {
                id: row.uuid(0)?,
                name: row.string(1)?,
                host: row.string(2)?,
                pid: row.int(3)?,
                state: row.string(4)?,
                lanes: row.int(5)?,
                lease_until: row.time(6)?,
            })
        };
        self.database().across_tenants().query(sql, vec![]).await?.iter().map(node).collect()
    }
}

fn sqlite_stats(connection: &rusqlite::Connection) -> Result<Stats, StoreError> {
    use crate::database::sqlite::run;
    let sizes = run(connection, SQLITE_SIZES, &[])?.rows;
    let mut tables = Vec::new();
    for table in &Schema::declared(Dialect::Sqlite).tables {
        let rows = run(connection, &format!("select count(*) from {}", table.name), &[])?.rows;
        let rows = rows.first().map_or(Ok(0), |row| row.int(0))?;
        let size = sizes.iter().find(|row| row.text(0).is_ok_and(|name| name == table.name));
        tables.push(TableStats { table: table.name.clone(), rows, bytes: size.map_or(Ok(0), |row| row.int(1))? });
    }
    let free =
        run(connection, "select freelist_count * page_size from pragma_freelist_count, pragma_page_size", &[])?.rows;
    let free_bytes = free.first().map_or(Ok(0), |row| row.int(0))?;
    Ok(Stats { tables, bytes: 0, log_bytes: 0, free_bytes })
}
