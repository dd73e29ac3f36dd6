//! `windlass db …`: looking after the database, without turning any run.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use windlass_store::{
    Dialect, KeySource, Migrate, Store, StoreOptions,
    admin::{self, Confirm, Progress, Stats, Status, Tally},
};

use super::Context;
use crate::{
    args::{DbCommand, DbPlace},
    exit::{Exit, Failure, Outcome},
    output,
    output::table::Table,
    place::{self, At, Database, of_store},
};

/// Problems of a check that are printed one by one.
const PROBLEMS_SHOWN: usize = 100;

/// Carries it out.
///
/// # Errors
/// The database cannot be opened, is held by another process, or refuses.
pub async fn run(command: DbCommand, context: &Context) -> Outcome {
    let database = context.database()?;
    match command {
        DbCommand::Init => {
            if exists(&database) {
                return Err(Failure::refused(format!("there is a database already: {}", database.describe())));
            }
            print_status(&admin::migrate(options(&database)).await.map_err(of_store)?, context)
        }
        DbCommand::Migrate => {
            needs(&database)?;
            print_status(&admin::migrate(options(&database)).await.map_err(of_store)?, context)
        }
        DbCommand::Status => {
            let status = with(&database, async |store| store.status().await).await?;
            print_status(&status, context)
        }
        DbCommand::Validate => {
            let differences = with(&database, async |store| store.validate().await).await?;
            report(&differences, "the tables are as declared", context)
        }
        DbCommand::Stats => print_stats(&with(&database, async |store| store.stats().await).await?, context),
        DbCommand::Check => check(&database, context).await,
        DbCommand::Backup { to } => {
            let bar = Bar::new("copying");
            let tally = with(&database, async |store| store.backup(&to, &mut |it| bar.rows(&it)).await).await?;
            bar.finish();
            note_of_keys(&database, "the master key is not in it: keep a copy of key", context).await?;
            print_tally(&tally, &format!("written to {}", to.display()), context)
        }
        DbCommand::Restore { from } => {
            let bar = Bar::new("reading");
            let tally = admin::restore(&from, options(&database), &mut |it| bar.rows(&it)).await.map_err(of_store)?;
            bar.finish();
            note_of_keys(&database, NEEDS_KEY, context).await?;
            print_tally(&tally, &format!("read into {}", database.describe()), context)
        }
        DbCommand::Move(to) => {
            needs(&database)?;
            let to = target(to);
            let bar = Bar::new("copying");
            let copied = admin::copy_database(options(&database), options(&to), &mut |it| bar.rows(&it)).await;
            let tally = copied.map_err(of_store)?;
            bar.finish();
            note_of_keys(&to, NEEDS_KEY, context).await?;
            print_tally(&tally, &format!("copied to {}", to.describe()), context)
        }
        DbCommand::Schema { mermaid: true, .. } => {
            output::line(admin::schema::mermaid().trim_end())?;
            Ok(Exit::Done)
        }
        DbCommand::Schema { dialect, .. } => schema(dialect.as_deref(), &database, context),
        DbCommand::Reset { yes } => {
            let confirm = if yes { Confirm::LoseEverything } else { Confirm::No };
            admin::reset(&place::location(&database), confirm).await.map_err(of_store)?;
            sentence(&format!("emptied: {}", database.describe()), context)
        }
    }
}

/// What is said of a database whose master key did not come with it.
const NEEDS_KEY: &str = "secrets in it open with the master key of the source alone: give servers of this database key";

/// Says with which master key the vault of a database opens, if it was ever used.
async fn note_of_keys(database: &Database, what: &str, context: &Context) -> Result<(), Failure> {
    let keys = with(database, async |store| store.vault_status().await).await?.accepted;
    let Some(newest) = keys.last() else { return Ok(()) };
    if !context.json() {
        output::note(format!("{what} {} (master.key of a data directory, or where it was put instead)", newest.id));
    }
    Ok(())
}

/// A command of this kind owns no runs, and changes no table unless that is what it is for.
/// Nor does it open the vault: a database is looked after also by who has no key to it.
pub(super) fn options(database: &Database) -> StoreOptions {
    StoreOptions { lanes: 0, master_key: KeySource::Unasked, ..StoreOptions::new(place::location(database)) }
}

fn target(place: DbPlace) -> Database {
    let at = match (place.to_data_dir, place.to_database_url) {
        (Some(directory), _) => At::Directory(directory),
        (None, url) => At::Postgres(url.unwrap_or_default()),
    };
    Database { at, master_key: KeySource::Unasked }
}

/// Whether there is a database of ours in the directory; a PostgreSQL says so itself.
fn exists(database: &Database) -> bool {
    match &database.at {
        At::Directory(directory) => directory.join("windlass.db").exists(),
        At::Postgres(_) => false,
    }
}

/// Looking at a database must not make one.
fn needs(database: &Database) -> Result<(), Failure> {
    match &database.at {
        At::Directory(directory) if !exists(database) => {
            let message = format!("there is no database in {}: `windlass db init` makes one", directory.display());
            Err(Failure::new(Exit::NotFound, "no_database", message))
        }
        _ => Ok(()),
    }
}

async fn with<T>(
    database: &Database,
    look: impl AsyncFnOnce(&Store) -> Result<T, windlass_store::StoreError>,
) -> Result<T, Failure> {
    let store = look_at(database).await?;
    let seen = look(&store).await;
    store.close().await;
    seen.map_err(of_store)
}

/// Opens a database to look at it, as it is.
///
/// # Errors
/// There is none, it is not of this program's version, or another process has it.
pub(super) async fn look_at(database: &Database) -> Result<Store, Failure> {
    needs(database)?;
    let options = StoreOptions { migrate: Migrate::Refuse, ..options(database) };
    Store::open(options).await.map_err(of_store)
}

async fn check(database: &Database, context: &Context) -> Outcome {
    let bar = Bar::new("checking");
    needs(database)?;
    let options = StoreOptions { migrate: Migrate::Refuse, ..options(database) };
    let report = admin::check(options, |runs| bar.runs(runs)).await.map_err(of_store)?;
    bar.finish();
    if context.json() {
        output::json(&report)?;
    } else {
        for problem in report.problems.iter().take(PROBLEMS_SHOWN) {
            output::line(problem)?;
        }
        let word = if report.problem_count == 0 { "sound" } else { "damaged" };
        let counts = format!("{} runs, {} journal rows, {} problems", report.runs, report.rows, report.problem_count);
        output::line(format!("{word}: {counts}"))?;
        if report.problem_count > 0 {
            output::note(
                "what is damaged is not served; `windlass db restore` makes a database from a backup, in an empty place",
            );
        }
    }
    Ok(if report.problem_count == 0 { Exit::Done } else { Exit::NotCompleted })
}

fn schema(dialect: Option<&str>, database: &Database, context: &Context) -> Outcome {
    let dialect = match (dialect, &database.at) {
        (Some("postgres"), _) | (None, At::Postgres(_)) => Dialect::Postgres,
        _ => Dialect::Sqlite,
    };
    if context.json() {
        output::json(&admin::schema::to_json(dialect))?;
    } else {
        output::line(admin::schema::text(dialect).trim_end())?;
    }
    Ok(Exit::Done)
}

fn report(differences: &[String], when_none: &str, context: &Context) -> Outcome {
    if context.json() {
        output::json(&json!({ "valid": differences.is_empty(), "differences": differences }))?;
    } else if differences.is_empty() {
        output::line(when_none)?;
    } else {
        output::line(differences.join("\n"))?;
    }
    Ok(if differences.is_empty() { Exit::Done } else { Exit::NotCompleted })
}

fn print_status(status: &Status, context: &Context) -> Outcome {
    if print_json(status, context)? {
        return Ok(Exit::Done);
    }
    output::line(format!("{} {}", status.database, status.server_version))?;
    output::line(format!("schema version {}, this program knows {}", status.schema_version, status.known_version))?;
    for warning in &status.warnings {
        output::note(format!("warning: {warning}"));
    }
    let mut table = Table::new(&["NODE", "NAME", "HOST", "PROCESS", "STATE", "LANES", "LEASE UNTIL"]);
    for node in &status.nodes {
        table.row(vec![
            node.id.to_string(),
            node.name.clone(),
            node.host.clone(),
            node.pid.to_string(),
            node.state.clone(),
            node.lanes.to_string(),
            node.lease_until.to_string(),
        ]);
    }
    table.print("no node has opened it yet")?;
    Ok(Exit::Done)
}

fn print_stats(stats: &Stats, context: &Context) -> Outcome {
    if print_json(stats, context)? {
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["TABLE", "ROWS", "BYTES"]);
    for it in &stats.tables {
        table.row(vec![it.table.clone(), it.rows.to_string(), it.bytes.to_string()]);
    }
    table.print("no tables")?;
    output::line(format!("{} bytes, {} in the log, {} free", stats.bytes, stats.log_bytes, stats.free_bytes))?;
    Ok(Exit::Done)
}

fn print_tally(tally: &Tally, what: &str, context: &Context) -> Outcome {
    if context.json() {
        let tables: std::collections::BTreeMap<&str, u64> =
            tally.0.iter().map(|(table, (rows, _))| (table.as_str(), *rows)).collect();
        output::json(&json!({ "rows": tally.rows(), "tables": tables }))?;
        return Ok(Exit::Done);
    }
    sentence(&format!("{} rows of {} tables {what}", tally.rows(), tally.0.len()), context)
}

fn sentence(text: &str, context: &Context) -> Outcome {
    if context.json() {
        output::json(&json!({ "done": text }))?;
    } else {
        output::line(text)?;
    }
    Ok(Exit::Done)
}

fn print_json(value: &impl Serialize, context: &Context) -> Result<bool, Failure> {
    if context.json() {
        output::json(value)?;
    }
    Ok(context.json())
}

/// A progress bar where somebody can see it.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new(doing: &'static str) -> Bar {
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        // The template is a constant that is known to be one.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} {human_pos} ({per_sec})") {
            bar.set_style(style);
        }
        bar.set_prefix(doing);
        Bar(bar)
    }

    fn rows(&self, progress: &Progress) {
        self.0.set_message(progress.table.clone());
        self.0.set_position(progress.rows);
    }

    pub(super) fn runs(&self, runs: u64) {
        self.0.set_message("runs");
        self.0.set_position(runs);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
