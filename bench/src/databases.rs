//! What every measurement of ourselves begins and ends with: a report, and a server's recipe on a new database of each
//! kind that is wanted.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;
use windlass_testkit::OwnPostgres;

use crate::{
    machine::{self, Machine},
    options::{Common, Kind},
    report::{Context, Figures, Report},
    server::{self, Database, Recipe},
};

/// A measurement on one database.
pub struct Bench<'a> {
    /// Where figures go.
    pub report: &'a mut Report,
    /// How the server is started.
    pub recipe: Recipe,
    /// A folder on the disk that is measured, gone afterwards.
    pub folder: &'a Path,
}

impl Bench<'_> {
    /// Adds figures about this database.
    ///
    /// # Errors
    /// They cannot be printed.
    pub fn add(&mut self, what: &str, figures: Figures) -> Result<()> {
        Ok(self.report.add(what, self.recipe.database.name(), figures)?)
    }
}

/// Measures on each database that is wanted, and shows all figures; whether everything completed as it should.
/// `postgres` are the server's options beside its defaults.
///
/// # Errors
/// Something could not be measured. What the measured server said last is part of the text.
pub async fn on_each(
    common: &Common,
    (settings, postgres): (Value, &str),
    mut measure: impl AsyncFnMut(Bench<'_>) -> Result<()>,
) -> Result<bool> {
    let program = server::program(&common.program)?;
    let mut report = Report::new(Context { commit: machine::commit(), machine: Machine::here(), settings });
    fs::create_dir_all(&common.folder)?;
    for kind in [Kind::Sqlite, Kind::Postgres].into_iter().filter(|kind| common.wants_database(*kind)) {
        let folder: TempDir = tempfile::tempdir_in(&common.folder)?;
        // It runs until the measurement is over.
        let mut running = None;
        let database = match kind {
            Kind::Sqlite => Database::Sqlite(folder.path().join("data")),
            Kind::Postgres => Database::Postgres(running.insert(OwnPostgres::start(postgres)?).url()),
        };
        let recipe = Recipe { program: program.clone(), database, log: folder.path().join("server.log") };
        let said = recipe.clone();
        let bench = Bench { report: &mut report, recipe, folder: folder.path() };
        measure(bench).await.with_context(|| said.end_of_log())?;
    }
    eprintln!("\n{}", report.table());
    Ok(!report.has_failures())
}
