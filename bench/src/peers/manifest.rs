//! `peer.json`: what the driver has to know about a peer. What is started stands in the scripts beside it.

use std::{
    fs,
    hash::{DefaultHasher, Hasher as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// Where a peer keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In SQLite.
    Sqlite,
    /// In PostgreSQL.
    Postgres,
    /// In a store of its own.
    Own,
}

impl Storage {
    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Storage::Sqlite => "sqlite",
            Storage::Postgres => "postgres",
            Storage::Own => "own",
        }
    }
}

/// A peer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name, which is that of its folder.
    pub name: String,
    /// What is measured, for people.
    pub version: String,
    /// Each of these is measured by itself.
    pub databases: Vec<Storage>,
    /// What an answered step has gone through, for people.
    pub durability: String,
    /// Where it answers.
    #[serde(default)]
    pub paths: Paths,
    /// The port of `paths.ready`, counted from the first of its ports; all else but the effects is at the first.
    #[serde(default)]
    pub ready_port: u16,
    /// The port of `/effects`, counted likewise; null when it cannot tell.
    #[serde(default = "first_port")]
    pub effects_port: Option<u16>,
    /// The lengths of runs that it can do.
    #[serde(default = "every_length")]
    pub steps: Vec<u32>,
    /// With more clients it would not answer one of them in the time of a measurement, or does not work.
    pub clients_max: Option<u32>,
}

/// Where a peer answers; `{n}` stands for a number. What is null it cannot do.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Paths {
    /// 200 as soon as its server is ready.
    pub ready: String,
    /// Runs a workflow of that many steps, one after another.
    pub steps: String,
    /// Runs a workflow of that many steps beside each other.
    pub fan_out: Option<String>,
    /// Adds a job and waits until that is on disk.
    pub jobs: Option<String>,
    /// Adds that many jobs in bulk and waits until all are done.
    pub backlog: Option<String>,
}

impl Default for Paths {
    fn default() -> Paths {
        Paths {
            ready: "/ready".to_owned(),
            steps: "/steps/{n}".to_owned(),
            fan_out: Some("/fan-out/{n}".to_owned()),
            jobs: None,
            backlog: None,
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the default of a field that may be null")]
fn first_port() -> Option<u16> {
    Some(0)
}

fn every_length() -> Vec<u32> {
    vec![1, 10, 100]
}

impl Manifest {
    /// Those of all peers below a folder, by name.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn all(folder: &Path) -> Result<Vec<Manifest>> {
        let entries = fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|it| it.path().join("peer.json")).collect();
        paths.retain(|it| it.exists());
        paths.sort();
        paths.iter().map(|path| Manifest::read(path)).collect()
    }

    fn read(path: &Path) -> Result<Manifest> {
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is wrong", path.display()))
    }
}

/// A number that changes with the files of a peer's folder, with those of the folder `serving` beside it, and with those
/// that lie beside both.
///
/// # Errors
/// They cannot be read.
pub fn fingerprint(peers: &Path, name: &str) -> Result<String> {
    let mut files = files(peers)?.0;
    collect(&peers.join(name), &mut files)?;
    collect(&peers.join("serving"), &mut files)?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        hasher.write(file.strip_prefix(peers)?.as_os_str().as_encoded_bytes());
        hasher.write(&fs::read(&file)?);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    let (files, folders) = files(folder)?;
    into.extend(files);
    folders.iter().filter(|it| !it.ends_with("__pycache__")).try_for_each(|it| collect(it, into))
}

/// The files and the folders in a folder.
fn files(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let entries = fs::read_dir(folder).with_context(|| format!("failed to read {}", folder.display()))?;
    Ok(entries.flatten().map(|it| it.path()).partition(|it| it.is_file()))
}
