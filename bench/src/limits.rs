//! What the machine can do at best: its disk, and each database with nobody in between.
//!
//! The rows are as small as the server's journal rows of a bench step, and every commit waits for the disk, as the
//! server's do. Nothing else is done: a server can come near to these figures and never pass them.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use rusqlite::{Connection, params};
use tokio_postgres::NoTls;

/// What is written per step: about as much as the journal's row of a bench step.
const PAYLOAD: &[u8] = &[b'x'; 80];

/// Milliseconds of one `fdatasync` after 8 KiB were appended: the median, and the worst of a hundred.
///
/// # Errors
/// The folder cannot be written.
pub fn fdatasync_ms(folder: &Path) -> Result<(f64, f64)> {
    const COUNT: usize = 1_000;
    let mut file = File::create(folder.join("fdatasync"))?;
    let mut taken = Vec::with_capacity(COUNT);
    for _ in 0..COUNT {
        file.write_all(&[0x57; 8 << 10])?;
        let since = Instant::now();
        file.sync_data()?;
        taken.push(since.elapsed().as_secs_f64() * 1e3);
    }
    taken.sort_by(f64::total_cmp);
    Ok((taken[COUNT / 2], taken[COUNT * 99 / 100]))
}

/// Rows a second that SQLite takes, each commit having `rows` of them and being on disk (`synchronous = full`).
///
/// # Errors
/// The database refuses.
pub fn sqlite_rows_per_second(folder: &Path, rows: u32, time: Duration) -> Result<f64> {
    let path = folder.join(format!("limit-{rows}.db"));
    let mut database = Connection::open(&path)?;
    database.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full; pragma wal_autocheckpoint = 4000;
         create table journal (run integer not null, seq integer not null, kind text not null, path text not null,
                               payload blob not null, at integer not null, unique (run, seq));",
    )?;
    let begin = Instant::now();
    let mut written: i64 = 0;
    while begin.elapsed() < time {
        let transaction = database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        {
            let mut insert =
                transaction.prepare_cached("insert into journal values (?1, ?2, 'completed', 's1', ?3, ?4)")?;
            for row in written..written + i64::from(rows) {
                insert.execute(params![row / 10, row % 10, PAYLOAD, 1_700_000_000_000_000_i64 + row])?;
            }
        }
        transaction.commit()?;
        written += i64::from(rows);
    }
    Ok(written as f64 / begin.elapsed().as_secs_f64())
}

/// Rows a second that PostgreSQL takes over one connection, by one `unnest` of `rows` of them per commit.
///
/// # Errors
/// The database refuses.
pub async fn postgres_rows_per_second(url: &str, rows: u32, time: Duration) -> Result<f64> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let driver = tokio::spawn(connection);
    client
        .batch_execute(
            "drop table if exists limit_journal;
             create table limit_journal (run bigint not null, seq integer not null, kind text not null,
                 path text not null, payload bytea not null, at timestamptz not null default now(), unique (run, seq));",
        )
        .await?;
    let insert = "insert into limit_journal (run, seq, kind, path, payload) \
                  select run, seq, 'completed', 's1', payload from unnest($1::bigint[], $2::integer[], $3::bytea[]) \
                  as rows (run, seq, payload)";
    let insert = client.prepare(insert).await?;
    let payloads = vec![PAYLOAD; rows as usize];
    let begin = Instant::now();
    let mut written: i64 = 0;
    while begin.elapsed() < time {
        let numbers = written..written + i64::from(rows);
        let runs: Vec<i64> = numbers.clone().map(|row| row / 10).collect();
        let seqs: Vec<i32> = numbers.map(|row| (row % 10) as i32).collect();
        client.execute(&insert, &[&runs, &seqs, &payloads]).await?;
        written += i64::from(rows);
    }
    let per_second = written as f64 / begin.elapsed().as_secs_f64();
    client.batch_execute("drop table limit_journal").await?;
    drop(client);
    driver.await??;
    Ok(per_second)
}
