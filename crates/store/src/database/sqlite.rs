//! SQLite: opening, the lock on the data directory, the readers, and statements on a connection.
//!
//! Invariant: only the writer thread (`committer::sqlite`) holds a connection that may write.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, Write},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    types::{ToSqlOutput, ValueRef},
};
use tokio::sync::oneshot;

use crate::{
    StoreError,
    committer::queue::{Queue, Ran},
    database::{Row, Script, Sql, Value, Written, vfs},
};

/// The oldest SQLite without the bug that loses commits when a log is reset (fixed in 3.51.3).
pub(crate) const VERSION_MIN: i32 = 3_051_003;
/// Marks a file as ours: "WNDL".
pub(crate) const APPLICATION_ID: i32 = 0x574e_444c;
/// A read that takes longer is interrupted: it would keep the log from being reset.
const READ_MS_MAX: u64 = 1_000;
/// How many bytes are set aside, to be given back when the disk is full.
const RESERVE_BYTES: usize = 4 << 20;
const READERS: usize = 2;
/// What a refusal says then.
pub(crate) const DISK_FULL: &str = "the disk is full";

/// The files of a data directory.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub dir: PathBuf,
}

impl Files {
    pub(crate) fn database(&self) -> PathBuf {
        self.dir.join("windlass.db")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("windlass.db-wal")
    }

    /// Beside the log: how far it is on disk.
    pub(crate) fn mark(&self) -> PathBuf {
        self.dir.join("windlass.db-wal-mark")
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.dir.join("windlass.db-journal")
    }

    fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn reserve(&self) -> PathBuf {
        self.dir.join("reserve")
    }

    pub(crate) fn problem(&self, reason: impl std::fmt::Display) -> StoreError {
        StoreError::Location { location: self.dir.display().to_string(), reason: reason.to_string() }
    }

    /// Makes the directory if need be and takes it for this process.
    pub(crate) fn take(&self) -> Result<File, StoreError> {
        std::fs::create_dir_all(&self.dir).map_err(|error| self.problem(error))?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.lock());
        let file = file.as_mut().map_err(|error| self.problem(error))?;
        if file.try_lock().is_err() {
            let mut holder = String::new();
            // A holder that has not written its name yet is still a holder.
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.trim().is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
            return Err(StoreError::InUse { path: self.dir.clone(), holder });
        }
        let name = format!("process {} on {}\n", std::process::id(), host());
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(name.as_bytes()));
        written.map_err(|error| self.problem(error))?;
        file.try_clone().map_err(|error| self.problem(error))
    }

    /// Removes the database itself; the lock stays.
    pub(crate) fn remove(&self) -> Result<(), StoreError> {
        // The mark first: without its log it would be taken for the sign of a loss.
        for path in [self.mark(), self.log(), self.journal(), self.dir.join("windlass.db-shm"), self.database()] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(self.problem(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets bytes aside for the day the disk is full. That there is no room for them is no reason not to start.
    pub(crate) fn keep_reserve(&self) {
        let there = std::fs::metadata(self.reserve()).is_ok_and(|file| file.len() >= RESERVE_BYTES as u64);
        if !there && std::fs::write(self.reserve(), vec![0xa5u8; RESERVE_BYTES]).is_err() {
            tracing::warn!("no room for the reserve file: the disk is almost full");
            self.free_reserve();
        }
    }

    /// Gives the bytes back, so that deleting can go on when nothing else can.
    pub(crate) fn free_reserve(&self) {
        // It may be gone already: then there is nothing to give.
        let _ = std::fs::remove_file(self.reserve());
    }
}

/// The name of this machine, for messages.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "this machine".to_owned() } else { name.trim().to_owned() }
}

/// Opens the database for writing, as the one connection that does.
pub(crate) fn open_writer(files: &Files) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < VERSION_MIN {
        let reason = format!("this program holds SQLite {}, it needs 3.51.3 or newer", rusqlite::version());
        return Err(files.problem(reason));
    }
    vfs::inspect(files)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = vfs::connect(&files.database(), flags).map_err(|error| files.problem(error))?;
    prepare_writer(&connection).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => files.problem("it cannot be written"),
        _ => match refused(error) {
            StoreError::Database { cause, .. } => files.problem(cause),
            other => other,
        },
    })?;
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(refused)?;
    let tables: i64 =
        connection.query_row("select count(*) from sqlite_schema", [], |row| row.get(0)).map_err(refused)?;
    if id != APPLICATION_ID && tables > 0 {
        return Err(files.problem("windlass.db is another program's database"));
    }
    if tables == 0 {
        connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(refused)?;
    }
    Ok(connection)
}

fn prepare_writer(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    // These two count only while the file is empty.
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "auto_vacuum", "incremental")?;
    connection.query_row("pragma journal_mode = wal", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    connection.pragma_update(None, "mmap_size", 0).or_else(ignore_row)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.query_row("pragma wal_autocheckpoint = 0", [], |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(())
}

/// Some pragmas answer with a row, which is no error.
fn ignore_row(error: rusqlite::Error) -> rusqlite::Result<()> {
    if matches!(error, rusqlite::Error::ExecuteReturnedResults) { Ok(()) } else { Err(error) }
}

/// Opens the database for reading.
pub(crate) fn open_reader(files: &Files) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = vfs::connect(&files.database(), flags).map_err(|error| files.problem(error))?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(refused)?;
    connection.pragma_update(None, "query_only", true).map_err(refused)?;
    connection.pragma_update(None, "cache_size", -2 * 1024).map_err(refused)?;
    connection.pragma_update(None, "mmap_size", 0).or_else(ignore_row).map_err(refused)?;
    connection.query_row("pragma wal_autocheckpoint = 0", [], |_| Ok(())).map_err(refused)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// A refusal of SQLite in our words.
pub(crate) fn refused(error: rusqlite::Error) -> StoreError {
    match &error {
        rusqlite::Error::SqliteFailure(failure, text) => match failure.code {
            ErrorCode::DiskFull => StoreError::Unavailable(DISK_FULL.to_owned()),
            ErrorCode::ReadOnly => StoreError::Unavailable("the database is read-only".to_owned()),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::damaged(error.to_string()),
            _ if failure.extended_code == vfs::DAMAGED => {
                StoreError::damaged(vfs::take_found().unwrap_or_else(|| error.to_string()))
            }
            ErrorCode::OperationInterrupted => {
                StoreError::Unavailable(format!("a read took longer than {READ_MS_MAX} ms"))
            }
            ErrorCode::ConstraintViolation if text.as_deref() == Some("runs_final") => {
                StoreError::conflict("the run has a final status, which never changes")
            }
            _ => StoreError::Database {
                doing: "use the database",
                code: format!("sqlite:{}", failure.extended_code),
                cause: Arc::new(error),
            },
        },
        _ => StoreError::Database { doing: "use the database", code: "sqlite".to_owned(), cause: Arc::new(error) },
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        use rusqlite::types::Value as Owned;
        let text = |text: String| ToSqlOutput::Owned(Owned::Text(text));
        Ok(match self {
            Value::Null => ToSqlOutput::Owned(Owned::Null),
            Value::Bool(value) => ToSqlOutput::Owned(Owned::Integer(i64::from(*value))),
            Value::Int(value) => ToSqlOutput::Owned(Owned::Integer(*value)),
            Value::Float(value) => ToSqlOutput::Owned(Owned::Real(*value)),
            Value::Text(value) | Value::Json(value) => ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes())),
            Value::Bytes(value) => ToSqlOutput::Borrowed(ValueRef::Blob(value)),
            Value::Uuid(value) => ToSqlOutput::Borrowed(ValueRef::Blob(value.as_bytes())),
            Value::Time(value) => text(value.to_string()),
            Value::Instant(value) => ToSqlOutput::Owned(Owned::Integer(value.micros())),
            Value::Uuids(values) => {
                let hex: Vec<String> = values.iter().map(|value| format!("\"{}\"", value.simple())).collect();
                text(format!("[{}]", hex.join(",")))
            }
            Value::Texts(values) => {
                let all: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
                text(serde_json::Value::from(all).to_string())
            }
            Value::Ints(values) => text(serde_json::Value::from(values.as_slice()).to_string()),
            // Only PostgreSQL has arrays of anything.
            Value::List(_) => return Err(rusqlite::Error::ToSqlConversionFailure("a list".into())),
        })
    }
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Float(value),
        ValueRef::Text(value) => Value::Text(String::from_utf8_lossy(value).into()),
        ValueRef::Blob(value) => Value::Bytes(value.to_vec()),
    }
}

/// `$1` by number, as both databases mean it; SQLite would number `$2 … $1` by first appearance.
fn by_number(sql: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    let mut chars = sql.chars().peekable();
    while let Some(char) = chars.next() {
        let numbered = char == '$' && chars.peek().is_some_and(char::is_ascii_digit);
        text.push(if numbered { '?' } else { char });
    }
    text
}

/// Runs a statement on a connection.
pub(crate) fn run(connection: &Connection, sql: &str, params: &[Value]) -> Result<Written, StoreError> {
    let text = by_number(sql);
    let mut statement = connection.prepare_cached(&text).map_err(refused)?;
    let columns = statement.column_count();
    if columns == 0 {
        let count = statement.execute(rusqlite::params_from_iter(params)).map_err(refused)?;
        return Ok(Written { count: count as u64, rows: Vec::new() });
    }
    let reads = statement.readonly();
    let mut rows = Vec::new();
    let mut found = statement.query(rusqlite::params_from_iter(params)).map_err(refused)?;
    while let Some(row) = found.next().map_err(refused)? {
        rows.push(row_of(row, columns)?);
    }
    drop(found);
    drop(statement);
    let count = if reads { rows.len() as u64 } else { connection.changes() };
    Ok(Written { count, rows })
}

/// A row as values.
pub(crate) fn row_of(row: &rusqlite::Row<'_>, columns: usize) -> Result<Row, StoreError> {
    let values: rusqlite::Result<Vec<Value>> = (0..columns).map(|at| row.get_ref(at).map(value_of)).collect();
    values.map(Row).map_err(refused)
}

/// The writer thread's connection, within a transaction.
pub struct SqliteTx {
    pub(crate) connection: Connection,
}

impl SqliteTx {
    pub(crate) fn run(&mut self, sql: &Sql, params: &[Value]) -> Result<Written, StoreError> {
        run(&self.connection, sql, params)
    }

    /// Gives up to that many free pages back to the file system; how many.
    pub(crate) fn free_pages(&mut self, pages_max: i64) -> Result<u64, StoreError> {
        let free = |connection: &Connection| {
            connection.query_row("pragma freelist_count", [], |row| row.get::<_, i64>(0)).map_err(refused)
        };
        let before = free(&self.connection)?;
        if before > 0 {
            // This pragma works page by page as it is stepped, so it has to be run to its end.
            let sql = format!("pragma incremental_vacuum({pages_max})");
            self.connection.execute_batch(&sql).map_err(refused)?;
        }
        Ok((before - free(&self.connection)?).max(0).unsigned_abs())
    }
}

type ReadJob = Box<dyn FnOnce(&Connection) + Send>;

/// The embedded database: its readers and the way to its writer. A cheap handle.
#[derive(Clone)]
pub struct Sqlite {
    pub(crate) files: Arc<Files>,
    pub(crate) queue: Arc<Queue>,
    /// Taken away when the store closes.
    readers: Arc<Mutex<Option<mpsc::Sender<ReadJob>>>>,
}

impl Sqlite {
    /// Starts the readers, and gives their threads. The writer thread that serves `queue` is the committer's.
    pub(crate) fn start(files: Arc<Files>, queue: Arc<Queue>) -> Result<(Sqlite, Vec<JoinHandle<()>>), StoreError> {
        let (readers, jobs) = mpsc::channel::<ReadJob>();
        let jobs = Arc::new(Mutex::new(jobs));
        let mut threads = Vec::new();
        for n in 0..READERS {
            let connection = open_reader(&files)?;
            let jobs = Arc::clone(&jobs);
            let thread = std::thread::Builder::new().name(format!("sqlite-reader-{n}"));
            let thread = thread.spawn(move || read_loop(&connection, &jobs));
            threads.push(thread.map_err(|error| files.problem(error))?);
        }
        let readers = Arc::new(Mutex::new(Some(readers)));
        Ok((Sqlite { files, queue, readers }, threads))
    }

    /// Ends the readers once they have read what was asked of them.
    pub(crate) fn close(&self) {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Does something with a reader's connection.
    pub(crate) async fn with_reader<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: ReadJob = Box::new(move |connection| {
            // Nobody waits any more when this fails.
            let _ = reply.send(read(connection));
        });
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        readers.ok_or(StoreError::Closed)?.send(job).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn query(&self, sql: Sql, params: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        self.with_reader(move |connection| {
            let until = Instant::now() + Duration::from_millis(READ_MS_MAX);
            connection.progress_handler(10_000, Some(move || Instant::now() > until)).map_err(refused)?;
            let rows = run(connection, &sql, &params).map(|written| written.rows);
            connection.progress_handler(0, None::<fn() -> bool>).map_err(refused)?;
            rows
        })
        .await
    }

    pub(crate) async fn transact<T: Send + 'static>(&self, script: Script<T>) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push_ordinary(Box::new(move |tx| {
            let result = futures::FutureExt::now_or_never(script(tx))
                .unwrap_or_else(|| Err(StoreError::Invalid("a script waited on the writer thread".to_owned())));
            Ran {
                keep: result.is_ok(),
                reply: Box::new(move |committed| {
                    // Nobody waits any more when this fails.
                    let _ = reply.send(result.and_then(|value| committed.map(|()| value)));
                }),
            }
        }))?;
        // Who drops a script without running it could not even begin a transaction.
        let dropped = || match self.queue.is_closed() {
            true => StoreError::Closed,
            false => StoreError::Unavailable("no transaction could be begun".to_owned()),
        };
        answer.await.map_err(|_| dropped())?
    }
}

fn read_loop(connection: &Connection, jobs: &Mutex<mpsc::Receiver<ReadJob>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        job(connection);
    }
}

#[cfg(test)]
mod tests {
    use super::by_number;

    #[test]
    fn placeholders_are_numbered() {
        assert_eq!(by_number("a = $2 and b = $1 and c ->> '$.x'"), "a = ?2 and b = ?1 and c ->> '$.x'");
    }
}
