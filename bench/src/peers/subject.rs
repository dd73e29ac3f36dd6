//! Who is measured: ourselves on each database, and each peer on each of its own. All are started, asked and counted in
//! the same way.

use std::{
    fs::{self, OpenOptions},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use windlass_testkit::{free_address, ready};

use crate::{
    document,
    http::{self, Connection},
    load::COMPLETED,
    peers::manifest::{self, Manifest, Storage},
    processes::Processes,
    progress::Progress,
    server::{self, Database, Recipe, start_path},
};

/// Our own name.
pub const WINDLASS: &str = "windlass";
/// How wide our own fan-outs are.
pub const FAN_OUTS: [u32; 3] = [FAN_OUT_OF_ALL, 10_000, 100_000];
/// How wide the fan-out is that everybody does.
pub const FAN_OUT_OF_ALL: u32 = 1_000;
/// Ports that a peer may use, from `PORT` on.
const PORTS: u16 = 10;
/// Where free ports are looked for: below those that the system gives to connections.
const PORTS_FROM: u16 = 21_000;
/// Between two looks at a script that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a script may take that prepares something.
const SCRIPT_PATIENCE: Duration = Duration::from_secs(120);

/// Who is measured.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Where it keeps its state.
    pub storage: Storage,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Windlass,
    Peer(Box<Manifest>),
}

/// Where a subject is and works.
#[derive(Debug, Clone)]
pub struct Place {
    /// Our own program.
    pub program: PathBuf,
    /// The folder of all peers.
    pub peers: PathBuf,
    /// Where all peers are installed.
    pub installed: PathBuf,
    /// An empty folder for its data.
    pub data: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// An empty database on PostgreSQL, for those that want one.
    pub url: String,
}

/// A subject at work.
#[derive(Debug)]
pub struct Running {
    /// Its processes.
    pub processes: Processes,
    /// Where it answers.
    pub address: SocketAddr,
    /// From its start until its server was ready.
    pub ready_after: Duration,
}

/// Something that all are asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// A run of that many steps, one after another.
    Steps(u32),
    /// A run of that many steps beside each other.
    FanOut(u32),
    /// A job that is added and not waited for.
    Job,
    /// That many jobs, added in bulk and all worked.
    Backlog(u32),
}

/// What is sent, and what has to be in the body of the answer.
#[derive(Debug, Clone)]
pub struct Request {
    /// The bytes of the request.
    pub bytes: Vec<u8>,
    /// What is expected.
    pub expected: Vec<u8>,
}

impl Subject {
    /// Ourselves, first, and all peers.
    ///
    /// # Errors
    /// A `peer.json` cannot be read.
    pub fn all(peers: &Path) -> Result<Vec<Subject>> {
        let mut all = vec![
            Subject { storage: Storage::Sqlite, kind: Kind::Windlass },
            Subject { storage: Storage::Postgres, kind: Kind::Windlass },
        ];
        for manifest in Manifest::all(peers)? {
            let kind = Kind::Peer(Box::new(manifest.clone()));
            all.extend(manifest.databases.into_iter().map(|storage| Subject { storage, kind: kind.clone() }));
        }
        Ok(all)
    }

    /// The peer's name.
    pub fn peer(&self) -> &str {
        match &self.kind {
            Kind::Windlass => WINDLASS,
            Kind::Peer(manifest) => &manifest.name,
        }
    }

    /// Its name and its database, as they stand on a line.
    pub fn key(&self) -> (&str, &str) {
        (self.peer(), self.storage.name())
    }

    /// Its name and, where there are several or we are it, its database.
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Peer(manifest) if manifest.databases.len() == 1 => manifest.name.clone(),
            _ => format!("{}-{}", self.peer(), self.storage.name()),
        }
    }

    /// What is measured, and what an answered step has gone through.
    pub fn describe(&self) -> (&str, &str) {
        match (&self.kind, self.storage) {
            (Kind::Peer(manifest), _) => (&manifest.version, &manifest.durability),
            (Kind::Windlass, Storage::Postgres) => ("this commit", "PostgreSQL: synchronous_commit on; group commit"),
            (Kind::Windlass, _) => ("this commit", "SQLite: WAL, synchronous FULL; group commit"),
        }
    }

    /// The length of runs that it can do.
    pub fn steps(&self) -> Vec<u32> {
        match &self.kind {
            Kind::Windlass => vec![1, 10, 100],
            Kind::Peer(manifest) => manifest.steps.clone(),
        }
    }

    /// How many clients it is given of those that are wanted.
    pub fn clients(&self, wanted: u32) -> u32 {
        match &self.kind {
            Kind::Windlass => wanted,
            Kind::Peer(manifest) => wanted.min(manifest.clients_max.unwrap_or(wanted)),
        }
    }

    /// Installs it, unless that was done with the files as they are.
    ///
    /// # Errors
    /// Its script fails; the end of what it said is part of the text.
    pub async fn install(&self, place: &Place, patience: Duration) -> Result<()> {
        let Kind::Peer(manifest) = &self.kind else { return Ok(()) };
        let installed = place.installed.join(&manifest.name);
        let fingerprint = manifest::fingerprint(&place.peers, &manifest.name)?;
        let marker = installed.join("fingerprint");
        if fs::read_to_string(&marker).is_ok_and(|it| it == fingerprint) {
            return Ok(());
        }
        Progress::say("install");
        fs::create_dir_all(&installed)?;
        self.script("install.sh", place, patience).await?;
        Ok(fs::write(marker, fingerprint)?)
    }

    /// Makes what has to be there before its first start.
    ///
    /// # Errors
    /// Its script fails.
    pub async fn prepare(&self, place: &Place) -> Result<()> {
        match &self.kind {
            Kind::Peer(_) => self.script("before.sh", place, SCRIPT_PATIENCE).await,
            Kind::Windlass => Ok(()),
        }
    }

    /// Starts it and waits until it is ready for work; the time until its server was ready is told.
    ///
    /// # Errors
    /// It does not start; the end of its log is part of the text.
    pub async fn start(&self, place: &Place) -> Result<Running> {
        let started = match &self.kind {
            Kind::Windlass => self.start_own(place).await,
            Kind::Peer(manifest) => self.start_peer(manifest, place).await,
        };
        started.with_context(|| format!("it said last:\n{}", end_of(&place.log)))
    }

    async fn start_own(&self, place: &Place) -> Result<Running> {
        let database = match self.storage {
            Storage::Postgres => Database::Postgres(place.url.clone()),
            _ => Database::Sqlite(place.data.clone()),
        };
        let recipe = Recipe { program: place.program.clone(), database, log: place.log.clone() };
        let address = free_address()?;
        let mut processes = Processes::start(&mut recipe.command(address)?)?;
        let ready_after = ready(processes.program(), address, "/readyz")?;
        let lengths = self.steps().into_iter().map(document::sequence);
        for document in lengths.chain(FAN_OUTS.map(document::fan_out)) {
            server::deploy(&server::target(address), &document).await?;
        }
        Ok(Running { processes, address, ready_after })
    }

    async fn start_peer(&self, manifest: &Manifest, place: &Place) -> Result<Running> {
        let port = free_ports()?;
        let at = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port + offset));
        let mut processes = Processes::start(&mut self.command("serve.sh", place, port)?)?;
        let ready_after = ready(processes.program(), at(manifest.ready_port), &manifest.paths.ready)?;
        if manifest.ready_port != 0 {
            ready(processes.program(), at(0), "/ready")?;
        }
        self.script_at("after.sh", place, port, SCRIPT_PATIENCE).await?;
        Ok(Running { processes, address: at(0), ready_after })
    }

    /// What asks it to do that; `None` when it cannot.
    pub fn request(&self, work: Work, address: SocketAddr) -> Option<Request> {
        let manifest = match &self.kind {
            Kind::Peer(manifest) => manifest,
            Kind::Windlass => return own_request(work, address),
        };
        let paths = &manifest.paths;
        let (path, count) = match work {
            Work::Steps(count) => (Some(&paths.steps), count),
            Work::FanOut(FAN_OUT_OF_ALL) => (paths.fan_out.as_ref(), FAN_OUT_OF_ALL),
            Work::FanOut(_) => (None, 0),
            Work::Job => (paths.jobs.as_ref(), 1),
            Work::Backlog(count) => (paths.backlog.as_ref(), count),
        };
        let path = path?.replace("{n}", &count.to_string());
        let body = format!(r#"{{"n":{count}}}"#);
        let bytes = http::request(("POST", &path), address, "content-type: application/json\r\n", &body);
        Some(Request { bytes, expected: format!(r#""result":{count}}}"#).into_bytes() })
    }

    /// How many steps it has executed since it was started; `None` when it cannot tell.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn effects(&self, running: &Running) -> Result<Option<u64>> {
        #[derive(Deserialize)]
        struct Effects {
            result: u64,
        }
        let Kind::Peer(manifest) = &self.kind else { return own_effects(running.address).await.map(Some) };
        let Some(offset) = manifest.effects_port else { return Ok(None) };
        let address = SocketAddr::new(running.address.ip(), running.address.port() + offset);
        let request = http::request(("GET", "/effects"), address, "", "");
        let mut connection = Connection::open(address).await?;
        let answer = connection.send(&request).await?;
        let effects: Effects = serde_json::from_slice(answer.body).context("what it told of effects is no number")?;
        Ok(Some(effects.result))
    }

    /// Runs one of its scripts to its end, if it has that one.
    async fn script(&self, name: &str, place: &Place, patience: Duration) -> Result<()> {
        self.script_at(name, place, free_ports()?, patience).await
    }

    async fn script_at(&self, name: &str, place: &Place, port: u16, patience: Duration) -> Result<()> {
        if !place.peers.join(self.peer()).join(name).exists() {
            return Ok(());
        }
        let mut processes = Processes::start(&mut self.command(name, place, port)?)?;
        let until = Instant::now() + patience;
        loop {
            match processes.program().ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{name} ended with {status} and said last:\n{}", end_of(&place.log)),
                None if Instant::now() > until => {
                    bail!("{name} took more than {} s and said last:\n{}", patience.as_secs(), end_of(&place.log))
                }
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    fn command(&self, script: &str, place: &Place, port: u16) -> Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&place.log)?;
        let folder = place.peers.join(self.peer());
        let mut command = Command::new(folder.join(script));
        command.current_dir(folder).env("INSTALLED", place.installed.join(self.peer())).env("PORT", port.to_string());
        command.env("DATA", &place.data).env("DATABASE", self.storage.name()).env("DATABASE_URL", &place.url);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

fn own_request(work: Work, address: SocketAddr) -> Option<Request> {
    let (name, body, wait) = match work {
        Work::Steps(count) => (document::sequence(count).name, document::BODY.to_owned(), true),
        Work::FanOut(width) => (document::fan_out(width).name, document::fan_out_body(width), true),
        Work::Job => (document::sequence(1).name, document::BODY.to_owned(), false),
        Work::Backlog(_) => return None,
    };
    let path = if wait { start_path(&name) } else { format!("/workflows/{name}/runs") };
    let expected = if wait { COMPLETED } else { br#""id":""# };
    Some(Request { bytes: server::target(address).request("POST", &path, &body), expected: expected.to_vec() })
}

/// Steps that have ended, as the metrics tell them.
async fn own_effects(address: SocketAddr) -> Result<u64> {
    let token = format!("authorization: Bearer {}\r\n", server::target(address).token);
    let mut connection = Connection::open(address).await?;
    let answer = connection.send(&http::request(("GET", "/metrics"), address, &token, "")).await?;
    let text = String::from_utf8_lossy(answer.body);
    let line = text.lines().find_map(|line| line.strip_prefix("windlass_steps_ended_total "));
    line.and_then(|it| it.parse().ok()).context("no windlass_steps_ended_total in the metrics")
}

/// The first of some ports on which nobody listens.
fn free_ports() -> Result<u16> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut firsts = (PORTS_FROM..PORTS_FROM + 8_000).step_by(usize::from(PORTS));
    firsts.find(|first| (*first..first + PORTS).all(|port| is_free(&port))).context("no ten free ports in a row")
}

/// The last lines of a log, without colours.
fn end_of(log: &Path) -> String {
    const LINES: usize = 12;
    let text = fs::read(log).map(|it| String::from_utf8_lossy(&it).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|it| !it.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n").replace('\u{1b}', "")
}
