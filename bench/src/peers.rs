//! Other engines beside ourselves: one driver, the same work, one run, and everybody's results on disk.
//!
//! Invariant: a peer that does not install, start or end in time is a line that says why, and the next one is measured.

pub mod manifest;
pub mod results;
pub mod session;
pub mod subject;
pub mod table;

use std::{fs, net::TcpStream, time::Duration};

use anyhow::{Result, bail};
use serde_json::json;
use windlass_testkit::{Postgres, poll, postgres_in};

use crate::{
    LIMIT_ROWS, limits,
    machine::{self, Machine},
    options::Peers,
    peers::{
        manifest::Storage,
        results::{BEGUN, ENDED, FAILED, Results},
        session::Session,
        subject::{Place, Subject, WINDLASS},
    },
    progress::Progress,
    report::{Context, figure},
    server,
};

/// The name under which the limits of the machine stand.
pub const MACHINE: &str = "machine";
/// What the lines of the limits are about.
pub const DISK_LIMIT: &str = "limit: fdatasync of 8 KiB";
/// Likewise.
pub const ROWS_LIMIT: &str = "limit: rows, group commit";
/// The cluster of the benchmark, which it shares with no test.
const CLUSTER: &str = "windlass-bench-roles";
/// How long an installation may take; some are a thousand packages.
const INSTALL_PATIENCE: Duration = Duration::from_secs(20 * 60);

/// Measures everybody that is wanted and not known yet, and shows the tables; whether we ourselves were measured as we
/// should be.
///
/// # Errors
/// A result cannot be written, or there is nobody of a name.
pub async fn measure(options: &Peers) -> Result<bool> {
    let subjects = wanted(options)?;
    fs::create_dir_all(&options.folder)?;
    fs::create_dir_all(&options.installed)?;
    let settings = json!({ "seconds": options.seconds, "clients": options.clients });
    let context = Context { commit: machine::commit(), machine: Machine::here(), settings };
    let results = Results::open(&options.results, &context)?;
    limits(options, &results).await?;
    let mut own_failed = false;
    for subject in &subjects {
        if options.only.is_empty() && results.has(ENDED, subject.key())? {
            eprintln!("{}: known", subject.name());
            continue;
        }
        eprintln!("{}", subject.name());
        let (version, durability) = subject.describe();
        let described = vec![("version", json!(version)), ("durability", json!(durability))];
        results.add(BEGUN, subject.key(), described)?;
        match one(options, subject, &results).await {
            Ok(()) => results.add(ENDED, subject.key(), vec![])?,
            Err(error) => {
                eprintln!("  {error:#}");
                own_failed |= subject.peer() == WINDLASS;
                results.add(FAILED, subject.key(), vec![("why", json!(format!("{error:#}")))])?;
            }
        }
    }
    table::print(&results::read(&options.results)?)?;
    Ok(!own_failed)
}

/// Those that were asked for.
fn wanted(options: &Peers) -> Result<Vec<Subject>> {
    let mut subjects = Subject::all(&options.peers)?;
    let is_named = |subject: &Subject, name: &String| *name == subject.name() || name == subject.peer();
    if let Some(unknown) = options.only.iter().find(|name| !subjects.iter().any(|it| is_named(it, name))) {
        let names: Vec<String> = subjects.iter().map(Subject::name).collect();
        bail!("nobody is called {unknown}; there are {}", names.join(", "));
    }
    subjects.retain(|subject| options.only.is_empty() || options.only.iter().any(|name| is_named(subject, name)));
    Ok(subjects)
}

/// Measures one of them in a folder and on a cluster that nobody used before.
async fn one(options: &Peers, subject: &Subject, results: &Results) -> Result<()> {
    let folder = tempfile::tempdir_in(&options.folder)?;
    let data = folder.path().canonicalize()?.join("data");
    fs::create_dir(&data)?;
    let database = if subject.storage == Storage::Postgres { Some(postgres_in(CLUSTER).await?) } else { None };
    let place = Place {
        program: server::program(&options.program)?,
        peers: options.peers.canonicalize()?,
        installed: options.installed.canonicalize()?,
        data,
        log: folder.path().join("log"),
        url: database.as_ref().map_or_else(String::new, |it| it.url.clone()),
    };
    subject.install(&place, INSTALL_PATIENCE).await?;
    let session = Session {
        subject,
        place: &place,
        results,
        time: Duration::from_secs(options.seconds),
        clients: options.clients,
        limit_rows_per_second: limit_rows_per_second(options, subject)?,
    };
    let measured = tokio::time::timeout(Duration::from_secs(options.patience), session.measure()).await;
    if let Some(database) = database {
        end(database);
    }
    match measured {
        Ok(measured) => measured,
        Err(_) => bail!("it was given up after {} s", options.patience),
    }
}

/// Gives up a database and waits until its cluster is gone: the next one begins with a new one.
fn end(database: Postgres) {
    let url = database.url.clone();
    drop(database);
    let address = url.rsplit('@').next().and_then(|it| it.split('/').next()).unwrap_or_default().to_owned();
    let is_gone = || Ok(TcpStream::connect(&address).is_err().then_some(()));
    if let Err(error) = poll("the end of the cluster", Duration::from_secs(30), is_gone) {
        eprintln!("  {error:#}: another bench uses it");
    }
}

/// What the machine can do at best, unless the file has it.
async fn limits(options: &Peers, results: &Results) -> Result<()> {
    let time = Duration::from_secs(options.seconds.min(3));
    let disk = (MACHINE, "-");
    let folder = tempfile::tempdir_in(&options.folder)?;
    if !results.has(DISK_LIMIT, disk)? {
        Progress::say("limits: the disk");
        let (p50, p99) = limits::fdatasync_ms(folder.path())?;
        results.add(DISK_LIMIT, disk, vec![("p50_ms", figure(p50)), ("p99_ms", figure(p99))])?;
    }
    let figures = |[one, crowd, many]: [f64; 3]| {
        vec![
            ("by_1_rows_per_s", figure(one)),
            ("by_clients_rows_per_s", figure(crowd)),
            ("by_1000_rows_per_s", figure(many)),
        ]
    };
    let batches = [1, options.clients, LIMIT_ROWS];
    let sqlite = (MACHINE, Storage::Sqlite.name());
    if !results.has(ROWS_LIMIT, sqlite)? {
        Progress::say("limits: SQLite");
        let mut rows = [0.0; 3];
        for (rows, batch) in rows.iter_mut().zip(batches) {
            *rows = limits::sqlite_rows_per_second(folder.path(), batch, time)?;
        }
        results.add(ROWS_LIMIT, sqlite, figures(rows))?;
    }
    let postgres = (MACHINE, Storage::Postgres.name());
    if !results.has(ROWS_LIMIT, postgres)? {
        Progress::say("limits: PostgreSQL");
        let database = match postgres_in(CLUSTER).await {
            Ok(database) => database,
            Err(error) => {
                eprintln!("  {error:#}");
                return Ok(());
            }
        };
        let mut rows = [0.0; 3];
        for (rows, batch) in rows.iter_mut().zip(batches) {
            *rows = limits::postgres_rows_per_second(&database.url, batch, time).await?;
        }
        end(database);
        results.add(ROWS_LIMIT, postgres, figures(rows))?;
    }
    Ok(())
}

/// The limit of the database on which a subject is; none of a store of its own.
fn limit_rows_per_second(options: &Peers, subject: &Subject) -> Result<Option<f64>> {
    let lines = results::read(&options.results)?;
    let limit = |it: &&results::Line| it.what == ROWS_LIMIT && it.database == subject.storage.name();
    Ok(lines.iter().find(limit).and_then(|it| it.number("by_1000_rows_per_s")))
}
