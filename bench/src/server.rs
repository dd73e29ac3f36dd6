//! The server that is measured: the real program, on a database of its own.

use std::{
    fs::{self, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use windlass_testkit::{Program, free_address, ready};

use crate::{document::Document, http::Target};

/// The administrator's token of the measured server.
const TOKEN: &str = "a-token-for-benchmarks";
/// How long the server may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// On which database.
#[derive(Debug, Clone)]
pub enum Database {
    /// SQLite in that data directory.
    Sqlite(PathBuf),
    /// PostgreSQL at that URL.
    Postgres(String),
}

impl Database {
    /// Its name in figures.
    pub fn name(&self) -> &'static str {
        match self {
            Database::Sqlite(_) => "sqlite",
            Database::Postgres(_) => "postgres",
        }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Program,
    /// How to reach it.
    pub target: Target,
    /// From its start until it said that it is ready.
    pub ready_after: Duration,
}

/// How servers are started.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The `windlass` program.
    pub program: PathBuf,
    /// On which database.
    pub database: Database,
    /// Where its log goes.
    pub log: PathBuf,
}

impl Recipe {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// It does not start; the end of its log is part of the text.
    pub fn start(&self) -> Result<Server> {
        let address = free_address()?;
        let mut process = Program::start(&mut self.command(address)?)?;
        let ready_after = ready(&mut process, address, "/readyz").with_context(|| self.end_of_log())?;
        Ok(Server { process, target: target(address), ready_after })
    }

    /// The command that starts one at that address.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn command(&self, address: SocketAddr) -> Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("serve").arg("--listen").arg(address.to_string());
        match &self.database {
            Database::Sqlite(folder) => command.arg("--data-dir").arg(folder),
            Database::Postgres(url) => command.arg("--database-url").arg(url),
        };
        // Nothing of the caller's environment may change what is measured.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WINDLASS_")) {
            command.env_remove(name);
        }
        command.env("WINDLASS_BOOTSTRAP_TOKEN", TOKEN).env("WINDLASS_LOG", "warn");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// What the server said last, for whom something failed.
    pub fn end_of_log(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        format!("{} said last:\n{end}", self.program.display())
    }
}

impl Server {
    /// Deploys and publishes a workflow.
    ///
    /// # Errors
    /// The server refuses it.
    pub async fn deploy(&self, document: &Document) -> Result<()> {
        deploy(&self.target, document).await
    }

    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// It does not stop in time, or not in peace.
    pub fn stop(self) -> Result<()> {
        let status = self.process.stop(STOP_WITHIN)?;
        if !status.success() {
            bail!("the server stopped with {status}");
        }
        Ok(())
    }
}

/// How to reach a server at that address which was started by a [`Recipe`].
pub fn target(address: SocketAddr) -> Target {
    Target { address, token: TOKEN.to_owned() }
}

/// Deploys and publishes a workflow.
///
/// # Errors
/// The server refuses it.
pub async fn deploy(target: &Target, document: &Document) -> Result<()> {
    let path = format!("/workflows/{}", document.name);
    target.ask("PUT", &path, &document.json.to_string()).await?;
    target.ask("POST", &format!("{path}/publish"), "").await?;
    Ok(())
}

/// The path of a start that waits for its run.
pub fn start_path(name: &str) -> String {
    format!("/workflows/{name}/runs?wait=60s")
}

/// The same for runs that may take minutes.
pub fn long_start_path(name: &str) -> String {
    format!("/workflows/{name}/runs?wait=5m")
}

/// The program to measure, if it is there.
///
/// # Errors
/// It is not.
pub fn program(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| format!("{} is not there: build it first, or use `make bench`", path.display()))
}
