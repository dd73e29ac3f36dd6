//! Where a command acts: on a server, or straight on a database.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{ArgMatches, parser::ValueSource};
use windlass_definition::{step_type::StepTypes, step_types::built_in};
use windlass_engine::id::TenantKey;
use windlass_runtime::{Now, Runtime, Settings, redact::Known, step::Catalogue};
pub use windlass_server::settings::Told;
use windlass_server::settings::{Bounds, Chosen, InEffect};
use windlass_steps::{
    egress::{Authorities, Egress, EgressOptions, Tenants, address::PrivateNetwork},
    emit::SigningKeys,
    exec::ExecOptions,
};
use windlass_store::{KeySource, Location, Missing, RecordError, Store, StoreError, StoreOptions};

use crate::{
    args::Global,
    exit::{Exit, Failure},
};

/// The server when nobody names one.
pub const SERVER: &str = "http://127.0.0.1:7400";
/// The data directory when nobody names one.
pub const DATA_DIR: &str = "./windlass-data";
/// The socket in a data directory by which commands reach the process that holds it.
pub const SOCKET: &str = "windlass.sock";

/// The environment variable that may hold the master key.
pub const MASTER_KEY: &str = "WINDLASS_MASTER_KEY";

/// Where a command acts.
#[derive(Debug, Clone)]
pub enum Place {
    /// Over HTTP.
    Server {
        /// Its address.
        url: String,
        /// The API token.
        token: Option<String>,
    },
    /// In process.
    Database(Database),
}

/// A database, and what opens its vault.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where it is.
    pub at: At,
    /// Where its master key is.
    pub master_key: KeySource,
}

/// Where a database is.
#[derive(Debug, Clone)]
pub enum At {
    /// SQLite in a data directory.
    Directory(PathBuf),
    /// PostgreSQL.
    Postgres(String),
}

impl Database {
    /// SQLite in a data directory that keeps its own master key.
    pub fn directory(directory: &Path) -> Database {
        let at = At::Directory(directory.to_owned());
        let master_key = StoreOptions::new(location_of(&at)).master_key;
        Database { at, master_key }
    }

    /// The socket of the process that holds it, if it can have one.
    pub fn socket(&self) -> Option<PathBuf> {
        match &self.at {
            At::Directory(directory) => Some(socket_of(directory)),
            At::Postgres(_) => None,
        }
    }

    /// The database for people: the directory, or the address without its password.
    pub fn describe(&self) -> String {
        match &self.at {
            At::Directory(directory) => format!("SQLite in {}", directory.display()),
            At::Postgres(url) => match (url.find("://"), url.rfind('@')) {
                (Some(start), Some(end)) if start < end => {
                    let user = url[start + 3..end].split(':').next().unwrap_or_default();
                    format!("PostgreSQL at {}{user}{}", &url[..start + 3], &url[end..])
                }
                _ => format!("PostgreSQL at {url}"),
            },
        }
    }

    /// The options that name it on a command line; empty for PostgreSQL, whose address has a password in it.
    pub fn options(&self) -> String {
        match &self.at {
            At::Directory(directory) => format!("--data-dir {}", directory.display()),
            At::Postgres(_) => "--database-url …".to_owned(),
        }
    }
}

/// The socket in that data directory.
pub fn socket_of(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

/// Which option names the place: a flag beats the environment, and there a server beats a database.
#[derive(Debug, Clone, Copy)]
pub struct Sources {
    url: Option<ValueSource>,
    data_dir: Option<ValueSource>,
    database_url: Option<ValueSource>,
}

impl Sources {
    /// Where the options of the innermost command came from.
    pub fn of(matches: &ArgMatches) -> Sources {
        let mut innermost = matches;
        while let Some((_, inner)) = innermost.subcommand() {
            innermost = inner;
        }
        let source = |id: &str| innermost.try_contains_id(id).ok().and_then(|_| innermost.value_source(id));
        Sources { url: source("url"), data_dir: source("data_dir"), database_url: source("database_url") }
    }
}

const FLAG: Option<ValueSource> = Some(ValueSource::CommandLine);

/// The place that a client command acts on.
///
/// # Errors
/// Two places are named on the command line.
pub fn of_client(global: &Global, sources: Sources) -> Result<Place, Failure> {
    let flags = [sources.url, sources.data_dir, sources.database_url].iter().filter(|it| **it == FLAG).count();
    if flags > 1 {
        return Err(Failure::refused("name one place: --url, --data-dir or --database-url"));
    }
    let server =
        || Place::Server { url: global.url.clone().unwrap_or_else(|| SERVER.to_owned()), token: global.token.clone() };
    let by_flag = sources.data_dir == FLAG || sources.database_url == FLAG;
    if (global.url.is_some() && !by_flag) || sources.url == FLAG {
        return Ok(server());
    }
    if global.data_dir.is_none() && global.database_url.is_none() {
        return Ok(server());
    }
    of_database(global, sources).map(Place::Database)
}

/// The database that a command acts on which needs one: `serve`, `run`, `db`.
///
/// # Errors
/// Both kinds are named in the same way.
pub fn of_database(global: &Global, sources: Sources) -> Result<Database, Failure> {
    let directory = |dir: &PathBuf| At::Directory(dir.clone());
    let postgres = |url: &String| At::Postgres(url.clone());
    let at = match (&global.data_dir, &global.database_url) {
        (None, None) => At::Directory(DATA_DIR.into()),
        (Some(dir), None) => directory(dir),
        (None, Some(url)) => postgres(url),
        (Some(dir), Some(url)) => match (sources.data_dir == FLAG, sources.database_url == FLAG) {
            (true, false) => directory(dir),
            (false, true) => postgres(url),
            _ => return Err(Failure::refused("name one database: --data-dir (SQLite) or --database-url (PostgreSQL)")),
        },
    };
    let master_key = master_key(global, &at)?;
    Ok(Database { at, master_key })
}

/// Where the master key is. A key itself is no option of a command, because everybody on a machine sees those.
fn master_key(global: &Global, at: &At) -> Result<KeySource, Failure> {
    let text = match std::env::var(MASTER_KEY) {
        Ok(text) => Some(text),
        Err(std::env::VarError::NotPresent) => None,
        Err(std::env::VarError::NotUnicode(_)) => Some(String::new()),
    };
    match (&global.master_key_file, &global.master_key_command, text) {
        (Some(path), None, None) => Ok(KeySource::File { path: path.clone(), missing: Missing::Refuse }),
        (None, Some(command), None) => Ok(KeySource::Command(command.clone())),
        (None, None, Some(text)) => Ok(KeySource::Text { holder: MASTER_KEY, keys: Arc::new(text.into()) }),
        (None, None, None) => Ok(StoreOptions::new(location_of(at)).master_key),
        _ => Err(Failure::refused(format!(
            "name one place of the master key: --master-key-file, --master-key-command or {MASTER_KEY}"
        ))),
    }
}

/// What steps may do beyond the ordinary.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Which addresses they may reach that are not public: a setting, whatever stands here when a database is opened.
    pub private_network: PrivateNetwork,
    /// Which of them a tenant may reach.
    pub tenants: Option<Tenants>,
    /// Authorities that are trusted beside the well-known ones.
    pub authorities: Authorities,
    /// Run programs on this machine: a setting too.
    pub exec: bool,
    /// Send webhooks, signed with these keys.
    pub webhook_keys: SigningKeys,
    /// Where secret values are noted that steps use, so that the log leaves them out.
    pub known: Known,
}

/// A setting that has an option or a variable of its own, with its value there.
///
/// # Errors
/// That is no value of it.
pub fn chosen(name: &str, value: &str) -> Result<Chosen, Failure> {
    Chosen::of(name, value).map_err(Failure::refused)
}

/// The same of what steps may do.
///
/// # Errors
/// As [`chosen`].
pub fn chosen_for_steps(networks: Option<&PrivateNetwork>, exec: Option<bool>) -> Result<Vec<Chosen>, Failure> {
    let networks = networks.map(|networks| chosen("private_networks", &networks.words().join(" ")));
    let exec = exec.map(|exec| chosen("exec_steps", &exec.to_string()));
    networks.into_iter().chain(exec).collect()
}

/// The settings that have a variable of their own for every command.
///
/// # Errors
/// A value is none.
pub fn chosen_by_environment() -> Result<Vec<Chosen>, Failure> {
    let variables = [
        ("WINDLASS_FILES", "files"),
        ("WINDLASS_AUDIT_ARCHIVE", "audit_archive"),
        ("WINDLASS_TRUSTED_AUTHORITIES", "trusted_authorities"),
    ];
    let there = |variable| std::env::var(variable).ok().filter(|value| !value.is_empty());
    variables.into_iter().filter_map(|(variable, name)| Some(chosen(name, &there(variable)?))).collect()
}

/// What the environment says to commands that have no option of their own for it.
///
/// # Errors
/// The keys of webhooks cannot be read, or what names networks names none.
pub fn by_environment() -> Result<(Allowed, Told), Failure> {
    let file = std::env::var_os("WINDLASS_WEBHOOK_SIGNING_KEY_FILE").map(PathBuf::from);
    let allowed = Allowed { webhook_keys: webhook_keys(file.as_deref())?, ..Allowed::default() };
    let variable = "WINDLASS_ALLOW_PRIVATE_NETWORK";
    let networks = std::env::var(variable).ok().map(|text| text.parse::<PrivateNetwork>());
    let networks = networks.transpose().map_err(|error| Failure::refused(format!("{variable}: {error}")))?;
    let exec = std::env::var("WINDLASS_ALLOW_EXEC").ok().filter(|text| !text.is_empty());
    let mut environment = chosen_by_environment()?;
    environment.extend(chosen_for_steps(networks.as_ref(), None)?);
    environment.extend(exec.map(|text| chosen("exec_steps", &text)).transpose()?);
    Ok((allowed, Told { environment, ..Told::default() }))
}

/// The keys that webhooks are signed with: those in that file, or in `WINDLASS_WEBHOOK_SIGNING_KEY`, or none. They are
/// no option of a command, because everybody on a machine sees those.
///
/// # Errors
/// The file cannot be read, or what is there is no key. The text does not say what stands there.
pub fn webhook_keys(file: Option<&Path>) -> Result<SigningKeys, Failure> {
    let variable = "WINDLASS_WEBHOOK_SIGNING_KEY";
    let (place, text) = match (file, std::env::var(variable)) {
        (Some(file), _) => {
            let place = file.display().to_string();
            let text = std::fs::read_to_string(file);
            (place.clone(), text.map_err(|error| Failure::refused(format!("cannot read {place}: {error}")))?)
        }
        (None, Ok(text)) => (variable.to_owned(), text),
        (None, Err(std::env::VarError::NotPresent)) => return Ok(SigningKeys::default()),
        (None, Err(std::env::VarError::NotUnicode(_))) => (variable.to_owned(), String::new()),
    };
    SigningKeys::parse(&text).map_err(|error| Failure::refused(format!("the signing key in {place}: {error}")))
}

/// The step types that have effects.
///
/// # Errors
/// The HTTP client cannot be set up.
pub fn catalogue(allowed: Allowed) -> Result<Catalogue, Failure> {
    let options = windlass_steps::Options {
        egress: egress_options(&allowed),
        exec: allowed.exec.then(ExecOptions::default),
        webhook_keys: allowed.webhook_keys,
        ..windlass_steps::Options::default()
    };
    let catalogue = windlass_steps::catalogue(options);
    let catalogue = catalogue.map_err(|error| Failure::internal(format!("cannot set up steps: {error}")))?;
    Ok(catalogue.with_known(allowed.known))
}

fn egress_options(allowed: &Allowed) -> EgressOptions {
    let (private_network, tenants) = (allowed.private_network.clone(), allowed.tenants.clone());
    EgressOptions { private_network, tenants, extra_roots: allowed.authorities.0.clone(), ..EgressOptions::default() }
}

/// The step types that documents may use.
///
/// # Errors
/// As [`catalogue`].
pub fn step_types(allowed: Allowed) -> Result<StepTypes, Failure> {
    Ok(catalogue(allowed)?.step_types(built_in()))
}

/// Where the store finds that database.
pub fn location(database: &Database) -> Location {
    location_of(&database.at)
}

fn location_of(at: &At) -> Location {
    match at {
        At::Directory(data_dir) => Location::Sqlite { data_dir: data_dir.clone() },
        At::Postgres(url) => Location::Postgres { url: url.clone() },
    }
}

/// What a server is made of.
pub struct Opened {
    /// The runtime on its store.
    pub runtime: Runtime,
    /// By what it asks others.
    pub egress: Egress,
    /// What it was told, and began with.
    pub settings: InEffect,
}

/// Opens the database and turns its runs, by the settings that it was told and those that the database has.
///
/// # Errors
/// It cannot be opened, or another process has it.
pub async fn open_server(database: &Database, allowed: Allowed, told: Told) -> Result<Opened, Failure> {
    let settings = InEffect::begin(told, usual_bounds(database));
    let store = Store::open(settings.bounds().store.clone()).await.map_err(of_store)?;
    // Those of the installation: no tenant has that key.
    let stored = match store.setting_values(TenantKey(0)).await {
        Ok(stored) => stored,
        Err(error) => {
            store.close().await;
            return Err(of_store(error));
        }
    };
    let settings = settings.with_stored(&stored);
    let opened = match store.open_file_storage().await {
        Ok(()) => open_runtime(&store, allowed, &settings).await,
        Err(error) => Err(Failure::refused(format!("files have no place (setting `files`, WINDLASS_FILES): {error}"))),
    };
    match opened {
        Ok((runtime, egress)) => Ok(Opened { runtime, egress, settings }),
        Err(failure) => {
            store.close().await;
            Err(failure)
        }
    }
}

/// The runtime, and what identity providers are asked by.
async fn open_runtime(store: &Store, allowed: Allowed, settings: &InEffect) -> Result<(Runtime, Egress), Failure> {
    let Bounds { runtime, process, .. } = settings.bounds();
    let (private_network, exec) = (process.private_networks.clone(), process.exec_steps);
    let overlay = settings.clone();
    let tenants = Tenants::of(move |chosen| overlay.bounds_now(chosen).process.private_networks);
    let authorities = process.trusted_authorities.as_deref().map_or_else(|| Ok(Authorities::default()), authorities)?;
    let allowed = Allowed { private_network, tenants: Some(tenants), authorities, exec, ..allowed };
    let egress = Egress::new(egress_options(&allowed));
    let egress = egress.map_err(|error| Failure::internal(format!("cannot set up requests: {error}")))?;
    let catalogue = catalogue(allowed)?;
    let overlay = settings.clone();
    let now = Now::of(move |chosen| overlay.bounds_now(chosen).runtime);
    let runtime = Runtime::open(store.clone(), catalogue, Settings { now, ..runtime.clone() }).await;
    let runtime = runtime.map_err(|error| Failure::internal(format!("cannot start: {error}")))?;
    Ok((runtime, egress))
}

/// The authorities in a file.
fn authorities(file: &Path) -> Result<Authorities, Failure> {
    let refused = |why: &dyn std::fmt::Display| {
        Failure::refused(format!("setting `trusted_authorities`: {}: {why}", file.display()))
    };
    let pem = std::fs::read(file).map_err(|error| refused(&error))?;
    Authorities::read(&pem).map_err(|error| refused(&error))
}

/// What is built in, for a process on that database.
pub fn usual_bounds(database: &Database) -> Bounds {
    let master_key = database.master_key.clone();
    Bounds::new(StoreOptions { master_key, ..StoreOptions::new(location(database)) })
}

/// Brings what runs to rest and closes the database.
pub async fn close_runtime(runtime: &Runtime, grace: Duration) {
    runtime.shutdown(grace).await;
    runtime.store().close().await;
}

/// What the store refuses, and the exit code that it means.
pub fn of_store(error: StoreError) -> Failure {
    let (exit, code) = match &error {
        StoreError::Unavailable(_) | StoreError::Database { .. } | StoreError::Closed => {
            (Exit::Unreachable, "database_unavailable")
        }
        StoreError::InUse { .. } => (Exit::Unreachable, "in_use"),
        StoreError::Location { .. } => (Exit::Unreachable, "no_database"),
        StoreError::Newer { .. } => (Exit::Refused, "newer_database"),
        StoreError::Older { .. } => (Exit::Refused, "older_database"),
        StoreError::Locked(_) => (Exit::Refused, "vault_locked"),
        StoreError::Conflict(_) | StoreError::Invalid(_) => (Exit::Refused, "refused"),
        StoreError::Damaged(_) => (Exit::Internal, "damaged"),
    };
    let message = match &error {
        StoreError::Damaged(_) => format!("{error}. `windlass db check` lists all that is damaged"),
        _ => error.to_string(),
    };
    Failure::new(exit, code, message)
}

/// What the store refuses of a record, and the exit code that it means.
pub fn of_record(error: RecordError) -> Failure {
    match error {
        RecordError::Store(error) => of_store(error),
        error => Failure::refused(error.to_string()),
    }
}
