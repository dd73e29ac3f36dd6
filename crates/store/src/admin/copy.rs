//! `db move`, `db backup`, `db restore`: rows from one place to another, counted and compared at the end.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::{
    KeySource, LaneId, SCHEMA_VERSION, Store, StoreError, StoreOptions, Value,
    admin::portable::{CHUNKS_WAITING, Chunk, Chunks, Kind, Portable, Tally},
    database::{Database, Dialect, Statement},
    partitions,
};

/// The version of a backup file's form.
/// 2: the columns of a table are in the order of their names.
const FILE_FORM: i64 = 2;

/// How far a copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The table that is being copied.
    pub table: String,
    /// Rows so far, of all tables.
    pub rows: u64,
}

/// Who is told how far a copy is.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// Copies all of a database into another, empty one, and compares the two.
///
/// The options' `lanes` do not matter: a copy registers no node. On PostgreSQL no server should be running on either.
pub async fn copy_database(
    from: StoreOptions,
    to: StoreOptions,
    progress: OnProgress<'_>,
) -> Result<Tally, StoreError> {
    let source = Store::open(StoreOptions { lanes: 0, master_key: KeySource::Unasked, ..from }).await?;
    let copied = async {
        let chunks = source.export().await?;
        import(to, chunks, progress).await
    };
    let copied = copied.await;
    source.close().await;
    copied
}

impl Store {
    /// Writes all of the database, as it is at one moment, into one file that either database can be restored from.
    ///
    /// On SQLite the log is not emptied meanwhile.
    pub async fn backup(&self, path: &Path, progress: OnProgress<'_>) -> Result<Tally, StoreError> {
        let mut chunks = self.export().await?;
        let (lines, receiver) = mpsc::channel::<Json>(CHUNKS_WAITING);
        let target = path.to_owned();
        let writer = tokio::task::spawn_blocking(move || write_file(&target, receiver));
        let header = json!({"windlass_backup": FILE_FORM, "schema_version": SCHEMA_VERSION, "created_at": self.now()});
        let mut tally = Tally::default();
        // The writer that ended early says why below.
        let mut open = lines.send(header).await.is_ok();
        while let (true, Some(chunk)) = (open, chunks.recv().await) {
            let chunk = chunk?;
            tally.add(&chunk);
            let rows: Vec<Vec<Json>> = chunk.rows.iter().map(|row| row.iter().map(Kind::to_json).collect()).collect();
            open = lines.send(json!({"table": chunk.table.name, "rows": rows})).await.is_ok();
            progress(Progress { table: chunk.table.name.clone(), rows: tally.rows() });
        }
        if open {
            lines.send(json!({"end": tally})).await.ok();
        }
        drop(lines);
        writer.await.map_err(|_| StoreError::Closed)??;
        Ok(tally)
    }
}

fn file_error(path: &Path) -> impl Fn(std::io::Error) -> StoreError {
    move |error| StoreError::Location { location: path.display().to_string(), reason: error.to_string() }
}

/// Writes the lines beside the place where the file is to be, and moves it there once it is on disk.
fn write_file(path: &Path, mut lines: mpsc::Receiver<Json>) -> Result<(), StoreError> {
    let failed = file_error(path);
    let partial = PathBuf::from(format!("{}.partial", path.display()));
    let file = std::fs::File::create(&partial).map_err(&failed)?;
    let mut encoder = zstd::Encoder::new(file, 3).map_err(&failed)?;
    let mut whole = false;
    while let Some(line) = lines.blocking_recv() {
        whole = line.get("end").is_some();
        writeln!(encoder, "{line}").map_err(&failed)?;
    }
    let file = encoder.finish().map_err(&failed)?;
    file.sync_all().map_err(&failed)?;
    if !whole {
        std::fs::remove_file(&partial).map_err(&failed)?;
        return Ok(());
    }
    std::fs::rename(&partial, path).map_err(&failed)
}

/// Fills an empty database from a backup, and compares the two.
pub async fn restore(path: &Path, to: StoreOptions, progress: OnProgress<'_>) -> Result<Tally, StoreError> {
    let (chunks, receiver) = mpsc::channel(CHUNKS_WAITING);
    let file = path.to_owned();
    let reader = tokio::task::spawn_blocking(move || {
        if let Err(error) = read_file(&file, &chunks) {
            // Nobody takes the chunks any more when this fails.
            let _ = chunks.blocking_send(Err(error));
        }
    });
    let tally = import(to, receiver, progress).await?;
    reader.await.map_err(|_| StoreError::Closed)?;
    Ok(tally)
}

fn read_file(path: &Path, chunks: &mpsc::Sender<Result<Chunk, StoreError>>) -> Result<(), StoreError> {
    let failed = file_error(path);
    let file = std::fs::File::open(path).map_err(&failed)?;
    let lines = BufReader::new(zstd::Decoder::new(file).map_err(&failed)?).lines();
    let mut tally = Tally::default();
    let mut header = false;
    for line in lines {
        let line = line.map_err(|_| StoreError::Invalid(format!("{} is no backup, or not whole", path.display())))?;
        let line: Json = serde_json::from_str(&line).map_err(|error| StoreError::Invalid(error.to_string()))?;
        if !header {
            check_header(&line)?;
            header = true;
        } else if let Some(end) = line.get("end") {
            let expected: Tally =
                serde_json::from_value(end.clone()).map_err(|error| StoreError::Invalid(error.to_string()))?;
            let differ = expected.differences(&tally);
            return if differ.is_empty() {
                Ok(())
            } else {
                Err(StoreError::damaged(format!("the backup's rows of {} are not what was written", differ.join(", "))))
            };
        } else {
            let chunk = read_chunk(&line)?;
            tally.add(&chunk);
            if chunks.blocking_send(Ok(chunk)).is_err() {
                return Ok(());
            }
        }
    }
    Err(StoreError::Invalid("the backup has no end: it is not whole".to_owned()))
}

fn check_header(header: &Json) -> Result<(), StoreError> {
    if header.get("windlass_backup").and_then(Json::as_i64) != Some(FILE_FORM) {
        return Err(StoreError::Invalid(
            "this is no backup of windlass, or one of another version: restore it with the program that made it"
                .to_owned(),
        ));
    }
    match header.get("schema_version").and_then(Json::as_i64) {
        Some(SCHEMA_VERSION) => Ok(()),
        Some(found) if found > SCHEMA_VERSION => Err(StoreError::Newer { found, known: SCHEMA_VERSION }),
        found => Err(StoreError::Invalid(format!("the backup has schema version {}", found.unwrap_or(0)))),
    }
}

fn read_chunk(line: &Json) -> Result<Chunk, StoreError> {
    let wrong = || StoreError::Invalid("a line of the backup is not as it should be".to_owned());
    let table = Portable::named(line.get("table").and_then(Json::as_str).ok_or_else(wrong)?)?;
    let rows = line.get("rows").and_then(Json::as_array).ok_or_else(wrong)?;
    let row = |row: &Json| {
        let values = row.as_array().filter(|values| values.len() == table.columns.len()).ok_or_else(wrong)?;
        table.columns.iter().zip(values).map(|((_, kind), value)| kind.read_json(value)).collect()
    };
    Ok(Chunk { table, rows: rows.iter().map(row).collect::<Result<_, _>>()? })
}

/// Fills an empty database. It is closed at the end, whatever happened: it has to be opened anew to be used.
async fn import(to: StoreOptions, chunks: Chunks, progress: OnProgress<'_>) -> Result<Tally, StoreError> {
    let target = Store::open(StoreOptions { lanes: 0, master_key: KeySource::Unasked, ..to }).await?;
    let filled = fill(&target, chunks, progress).await;
    target.close().await;
    filled
}

async fn fill(target: &Store, mut chunks: Chunks, progress: OnProgress<'_>) -> Result<Tally, StoreError> {
    refuse_used(target).await?;
    // What every new database gets by itself comes from the source here.
    let clear = ["delete from settings", "delete from tenants"].map(|sql| Statement::new(sql, vec![]));
    target.database().across_tenants().write(clear.to_vec()).await?;
    let mut tally = Tally::default();
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk?;
        tally.add(&chunk);
        let name = chunk.table.name.clone();
        put(target, chunk).await?;
        progress(Progress { table: name, rows: tally.rows() });
    }
    if target.database().dialect() == Dialect::Postgres {
        let lanes = "insert into lanes (id, node_id, epoch) select distinct lane_id, null::uuid, 1 from runs on conflict do nothing";
        target.database().across_tenants().execute(lanes, vec![]).await?;
    }
    let differ = tally.differences(&target.tally().await?);
    if differ.is_empty() {
        Ok(tally)
    } else {
        Err(StoreError::damaged(format!("after copying, the rows of {} are not the same", differ.join(", "))))
    }
}

async fn refuse_used(target: &Store) -> Result<(), StoreError> {
    for table in Portable::all().iter().filter(|table| table.name != "tenants" && table.name != "settings") {
        let row = target
            .database()
            .across_tenants()
            .query_opt(format!("select 1 from {} limit 1", table.name), vec![])
            .await?;
        if row.is_some() {
            return Err(StoreError::conflict(format!("the target is not empty: there are rows in {}", table.name)));
        }
    }
    Ok(())
}

async fn put(target: &Store, chunk: Chunk) -> Result<(), StoreError> {
    match target.database() {
        Database::Postgres(postgres) => {
            if chunk.table.name == "journal" {
                let session = postgres.own_session().await?;
                let runs = chunk
                    .rows
                    .iter()
                    .filter_map(|row| if let Some(Value::Uuid(run)) = row.get(1) { Some(*run) } else { None });
                let weeks: std::collections::BTreeSet<u64> = runs.filter_map(partitions::week_of_run).collect();
                partitions::make_weeks(&session, weeks).await?;
            }
            let mut columns: Vec<Vec<Value>> = chunk.table.columns.iter().map(|_| Vec::new()).collect();
            for row in chunk.rows {
                columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            }
            let arrays =
                chunk.table.columns.iter().enumerate().map(|(at, (_, kind))| format!("${}::{}", at + 1, kind.array()));
            let arrays = arrays.collect::<Vec<_>>().join(", ");
            let sql = format!(
                "insert into {} ({}) select * from unnest({arrays})",
                chunk.table.name,
                chunk.table.column_names()
            );
            target
                .database()
                .across_tenants()
                .execute(sql, columns.into_iter().map(Value::List).collect())
                .await
                .map(|_| ())
        }
        Database::Sqlite(_) => {
            let sql = insert_sqlite(chunk.table);
            let lane = chunk.table.columns.iter().position(|(name, _)| name == "lane_id");
            let rows = chunk.rows.into_iter().map(|mut row| {
                if let Some(lane) = lane {
                    row[lane] = LaneId(1).0.into();
                }
                Statement::new(sql.clone(), row)
            });
            target.database().across_tenants().write(rows.collect()).await.map(|_| ())
        }
    }
}

fn insert_sqlite(table: &Portable) -> String {
    let names = table.column_names();
    let holes = |from: usize| (from..=table.columns.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    if table.name == "journal" {
        let rest = names.splitn(3, ", ").nth(2).unwrap_or_default();
        return format!(
            "insert into journal (run_key, {rest}) select run_key, {} from runs where tenant_key = $1 and id = $2",
            holes(3)
        );
    }
    format!("insert into {} ({names}) values ({})", table.name, holes(1))
}
