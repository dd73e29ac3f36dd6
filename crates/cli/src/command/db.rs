//! `windlass db …`: looking after the database, without turning any run.

use std::io::IsTerminal;

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde_json::json;
use windlass_store::{
    Dialect, FileError, FileTotals, FilesReport, KeySource, Migrate, RecordError, Store, StoreOptions,
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
        DbCommand::Check { files } => check(&database, files, context).await,
        DbCommand::CopyFiles { to } => copy_files(&database, &to, context).await,
        DbCommand::Backup { to } => {
            let bar = Bar::new("copying");
            let tally = with(&database, async |store| store.backup(&to, &mut |it| bar.rows(&it)).await).await?;
            bar.finish();
            note_of_keys(&database, "the master key is not in it: keep a copy of key", context).await?;
            note_of_files(&database, context).await?;
            print_tally(&tally, &format!("written to {}", to.display()), context)
        }
        DbCommand::Restore { from } => {
            let bar = Bar::new("reading");
            let tally = admin::restore(&from, options(&database), &mut |it| bar.rows(&it)).await.map_err(of_store)?;
            bar.finish();
            note_of_keys(&database, NEEDS_KEY, context).await?;
            note_of_files(&database, context).await?;
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
            note_of_files(&to, context).await?;
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

/// Says that the bytes of files are somewhere else, if there are files.
async fn note_of_files(database: &Database, context: &Context) -> Result<(), Failure> {
    let FileTotals { versions, bytes } = with(database, async |store| store.file_totals().await).await?;
    if versions > 0 && !context.json() {
        let bytes = HumanBytes(bytes);
        output::note(format!(
            "the bytes of files ({versions} versions, {bytes}) are not in it: `windlass db copy-files` copies them"
        ));
    }
    Ok(())
}

/// A command of this kind owns no runs, and changes no table unless that is what it is for.
/// Nor does it open the vault: a database is looked after also by who has no key to it.
pub(super) fn options(database: &Database) -> StoreOptions {
    let options = StoreOptions::new(place::location(database));
    let files = std::env::var("WINDLASS_FILES").ok().filter(|place| !place.is_empty()).or(options.files);
    StoreOptions { lanes: 0, master_key: KeySource::Unasked, files, ..options }
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

async fn check(database: &Database, files: bool, context: &Context) -> Outcome {
    let bar = Bar::new("checking");
    needs(database)?;
    let options = StoreOptions { migrate: Migrate::Refuse, ..options(database) };
    let report = admin::check(options, |runs| bar.runs(runs)).await.map_err(of_store)?;
    // The files of a database that is damaged cannot be told.
    let of_files = match files && report.problem_count == 0 {
        true => Some(go_through_files(database, None, &bar).await?),
        false => None,
    };
    bar.finish();
    if context.json() {
        let mut said = json!(report);
        if let Some(of_files) = &of_files {
            said["files"] = json!(of_files);
        }
        output::json(&said)?;
    } else {
        print_problems(&report.problems)?;
        let word = if report.problem_count == 0 { "sound" } else { "damaged" };
        let counts = format!("{} runs, {} journal rows, {} problems", report.runs, report.rows, report.problem_count);
        output::line(format!("{word}: {counts}"))?;
        if report.problem_count > 0 {
            output::note(
                "what is damaged is not served; `windlass db restore` makes a database from a backup, in an empty place",
            );
        }
    }
    if let Some(of_files) = of_files.as_ref().filter(|_| !context.json()) {
        print_files(of_files)?;
    }
    Ok(end_of(report.problem_count + of_files.map_or(0, |it| it.problem_count)))
}

/// How a command ends that found so many problems.
fn end_of(problem_count: u64) -> Exit {
    if problem_count == 0 { Exit::Done } else { Exit::NotCompleted }
}

async fn copy_files(database: &Database, to: &str, context: &Context) -> Outcome {
    let bar = Bar::new("copying");
    let report = go_through_files(database, Some(to), &bar).await?;
    bar.finish();
    if context.json() {
        output::json(&report)?;
    } else {
        let FileTotals { versions, bytes } = report.copied;
        output::line(format!("copied to {to}: {versions} versions, {}", HumanBytes(bytes)))?;
        print_files(&report)?;
    }
    Ok(end_of(report.problem_count))
}

/// Reads all files, and copies them where that is asked for.
async fn go_through_files(database: &Database, to: Option<&str>, bar: &Bar) -> Result<FilesReport, Failure> {
    let store = look_at(database).await?;
    let mut progress = |it: FileTotals| bar.bytes(it.bytes);
    let report = match to {
        Some(to) => store.copy_files(to, &mut progress).await,
        None => store.check_files(&mut progress).await,
    };
    store.close().await;
    report.map_err(|error| match error {
        FileError::Record(RecordError::Store(error)) => of_store(error),
        FileError::NoStorage => Failure::refused("say where the files lie: WINDLASS_FILES, as for the server"),
        other => Failure::internal(other.to_string()),
    })
}

fn print_problems(problems: &[String]) -> Result<(), Failure> {
    problems.iter().take(PROBLEMS_SHOWN).try_for_each(output::line)
}

/// Prints what came of going through files.
fn print_files(report: &FilesReport) -> Result<(), Failure> {
    print_problems(&report.problems)?;
    let FilesReport { seen: FileTotals { versions, bytes }, problem_count, .. } = report;
    let word = if *problem_count == 0 { "sound" } else { "damaged" };
    output::line(format!("{word}: {versions} versions of files, {}, {problem_count} problems", HumanBytes(*bytes)))
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

    fn bytes(&self, bytes: u64) {
        self.0.set_message("bytes");
        self.0.set_position(bytes);
    }

    pub(super) fn runs(&self, runs: u64) {
        self.0.set_message("runs");
        self.0.set_position(runs);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
