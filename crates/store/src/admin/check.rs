//! `db check`: reads every page, walks every journal, and says where they are not what was written.

use windlass_engine::{
    id::{RunId, TenantKey},
    status::RunStatus,
};

use crate::{
    Database, Location, Store, StoreError, StoreOptions,
    database::{
        sqlite::{Files, Sqlite, refused, run},
        vfs::page,
    },
    journal,
    runs::word,
};

/// How many problems a report names; the rest is counted.
const PROBLEMS_MAX: usize = 1_000;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// How many runs were looked at.
    pub runs: u64,
    /// How many journal rows.
    pub rows: u64,
    /// What is wrong, each as a sentence that names the run; at most 1,000.
    pub problems: Vec<String>,
    /// How many problems there are.
    pub problem_count: u64,
}

impl CheckReport {
    fn add(&mut self, problem: String) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

const RUNS: &str = "select r.tenant_key, r.id, r.status, r.finished_at is null, \
                    exists (select 1 from timers t where t.run_id = r.id and t.tenant_key = r.tenant_key) \
                    from runs r where (r.tenant_key, r.id) > ($1, $2) order by r.tenant_key, r.id limit 500";

/// Opens a database and checks it as [`Store::check`] does. One that is too damaged to be opened has at least its pages
/// checked.
///
/// # Errors
/// It cannot be opened for another reason, or not be read.
pub async fn check(options: StoreOptions, progress: impl FnMut(u64) + Send) -> Result<CheckReport, StoreError> {
    let location = options.location.clone();
    match (Store::open(options).await, location) {
        (Ok(store), _) => {
            let report = store.check(progress).await;
            store.close().await;
            report
        }
        (Err(StoreError::Damaged(problem)), Location::Sqlite { data_dir }) => {
            let mut report = CheckReport::default();
            report.add(problem);
            let files = Files { dir: data_dir };
            let _lock = files.take()?;
            damaged_pages(&files)?.iter().for_each(|page| report.add(page::problem(*page)));
            Ok(report)
        }
        (Err(error), _) => Err(error),
    }
}

fn damaged_pages(files: &Files) -> Result<Vec<u64>, StoreError> {
    page::damaged(&files.database()).map_err(|error| files.problem(error))
}

impl Store {
    /// Checks the database's own structure, every journal's rows and checksums, and that statuses agree with the rest.
    ///
    /// `progress` is told the runs that are done so far.
    pub async fn check(&self, mut progress: impl FnMut(u64) + Send) -> Result<CheckReport, StoreError> {
        let mut report = CheckReport::default();
        if let Database::Sqlite(sqlite) = self.database() {
            check_pages(sqlite, &mut report).await?;
        }
        let mut after = (i64::from(i32::MIN), uuid::Uuid::nil());
        loop {
            let rows = match self.database().across_tenants().query(RUNS, vec![after.0.into(), after.1.into()]).await {
                Ok(rows) => rows,
                Err(StoreError::Damaged(problem)) => {
                    report.add(format!("the list of runs cannot be read after run {}: {problem}", after.1));
                    return Ok(report);
                }
                Err(error) => return Err(error),
            };
            let Some(last) = rows.last() else { return Ok(report) };
            after = (last.int(0)?, last.uuid(1)?);
            for row in &rows {
                let (tenant, run) = (row.tenant(0)?, row.id(1)?);
                report.runs += 1;
                match word(row, 2, RunStatus::parse) {
                    Ok(status) => check_status(run, status, (row.bool(3)?, row.bool(4)?), &mut report),
                    Err(error) => report.add(format!("run {run}: {error}")),
                }
                self.check_journal(tenant, run, &mut report).await?;
            }
            progress(report.runs);
        }
    }

    async fn check_journal(&self, tenant: TenantKey, run: RunId, report: &mut CheckReport) -> Result<(), StoreError> {
        let mut from = 1;
        loop {
            match self.journal(tenant, run, from, 1_000).await {
                Ok(page) => {
                    let Some(last) = page.last() else { break };
                    report.rows += page.len() as u64;
                    from = last.seq + 1;
                }
                Err(StoreError::Damaged(problem)) => {
                    let named = problem.contains(&run.to_string());
                    report.add(if named { problem } else { format!("run {run}: {problem}") });
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        if from == 1 {
            report.add(format!("run {run}: it has no journal"));
        }
        Ok(())
    }
}

/// Checks every page of the file, and then SQLite's structure. Neither has the limit on reading times.
async fn check_pages(sqlite: &Sqlite, report: &mut CheckReport) -> Result<(), StoreError> {
    let files = sqlite.files.clone();
    let damaged = sqlite.with_reader(move |connection| {
        if damaged_pages(&files)?.is_empty() {
            return Ok(Vec::new());
        }
        // A checkpoint may have been at work, or broken off in a crash: then the log has the page, and writes it anew.
        connection
            .execute_batch("pragma query_only = off; pragma wal_checkpoint(passive); pragma query_only = on")
            .map_err(refused)?;
        damaged_pages(&files)
    });
    damaged.await?.iter().for_each(|page| report.add(page::problem(*page)));
    let structure =
        sqlite.with_reader(|connection| Ok(run(connection, "pragma integrity_check(100)", &[])?.rows)).await;
    match structure {
        Ok(rows) => {
            for row in rows.iter().filter(|row| !matches!(row.text(0), Ok("ok"))) {
                report.add(format!("the file: {}", row.text(0)?));
            }
            Ok(())
        }
        Err(StoreError::Damaged(problem)) => {
            report.add(format!("the file: {problem}"));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn check_status(run: RunId, status: RunStatus, (unfinished, timer): (bool, bool), report: &mut CheckReport) {
    if status.is_final() && unfinished {
        report.add(format!("run {run}: it is {status}, but has no time of its end"));
    }
    if status.is_final() && timer {
        report.add(format!("run {run}: it is {status}, but a timer waits for it"));
    }
    if !status.is_final() && !unfinished {
        report.add(format!("run {run}: it is {status}, but has a time of its end"));
    }
}

/// Keeps the page size of the walk within what one read may give.
const _: () = assert!(journal::PAGE_ROWS_MAX >= 1_000);
