//! Measures a real server over HTTP, beside the limits of the machine it runs on.
//!
//! Invariants: the server is the shipped program with its default settings, each step's result is on disk before the
//! next step begins, and every answer is checked. The generator shares the machine with the server, so it does as
//! little as it can; no test asserts a time.

pub mod databases;
pub mod document;
pub mod http;
pub mod limits;
pub mod load;
pub mod machine;
pub mod options;
pub mod peers;
pub mod processes;
mod progress;
pub mod report;
pub mod scale;
pub mod server;
mod session;
pub mod waiting;
pub mod workers;

use std::path::Path;

use anyhow::Result;

use crate::{
    options::Options,
    progress::Progress,
    report::{Report, figure},
    server::Database,
    session::Session,
};

/// Rows of one commit where a limit is told as such.
const LIMIT_ROWS: u32 = 1_000;

/// Measures what the options say; whether everything completed as it should.
///
/// # Errors
/// Something could not be measured.
pub async fn measure(options: &Options) -> Result<bool> {
    databases::on_each(&options.common, (options.settings(), ""), async |bench| {
        disk_limit(bench.report, bench.folder)?;
        let limit_rows_per_second = match &bench.recipe.database {
            Database::Sqlite(_) => sqlite_limit(options, bench.report, bench.folder)?,
            Database::Postgres(url) => postgres_limit(options, bench.report, url).await?,
        };
        Session { options, bench, limit_rows_per_second }.measure().await
    })
    .await
}

fn disk_limit(report: &mut Report, folder: &Path) -> Result<()> {
    Progress::say("limits: the disk");
    let (p50, p99) = limits::fdatasync_ms(folder)?;
    report.add("limit: fdatasync of 8 KiB", "-", vec![("p50_ms", figure(p50)), ("p99_ms", figure(p99))])?;
    Ok(())
}

fn sqlite_limit(options: &Options, report: &mut Report, folder: &Path) -> Result<f64> {
    Progress::say("limits: SQLite");
    let rows = |rows| limits::sqlite_rows_per_second(folder, rows, options.limit_time());
    let (one, crowd, many) = (rows(1)?, rows(options.clients)?, rows(LIMIT_ROWS)?);
    let figures = vec![
        ("by_1_rows_per_s", figure(one)),
        ("by_clients_rows_per_s", figure(crowd)),
        ("by_1000_rows_per_s", figure(many)),
    ];
    report.add("limit: rows, group commit", "sqlite", figures)?;
    Ok(many)
}

async fn postgres_limit(options: &Options, report: &mut Report, url: &str) -> Result<f64> {
    Progress::say("limits: PostgreSQL");
    let rows = |rows| limits::postgres_rows_per_second(url, rows, options.limit_time());
    let (one, crowd, many) = (rows(1).await?, rows(options.clients).await?, rows(LIMIT_ROWS).await?);
    let figures = vec![
        ("by_1_rows_per_s", figure(one)),
        ("by_clients_rows_per_s", figure(crowd)),
        ("by_1000_rows_per_s", figure(many)),
    ];
    report.add("limit: rows, group commit", "postgres", figures)?;
    Ok(many)
}
