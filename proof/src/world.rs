//! The servers that are harmed, the shop that is not, and where both keep what they have.

use std::{
    fs::{self, File, OpenOptions},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use windlass_testkit::{Postgres, Program, free_address, ready};

use crate::{
    Plan,
    client::Client,
    ledger::Ledger,
    options::{Database, Options},
    report::Outcome,
};

/// The administrator's token of every server.
pub const TOKEN: &str = "a-token-for-proofs";
/// What opens the vaults of databases on PostgreSQL.
pub const MASTER_KEY: &str = "7777777777777777777777777777777777777777777777777777777777777777";
/// How long a server may take to stop in peace.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// How long `windlass verify` may take.
const VERIFY_WITHIN: Duration = Duration::from_secs(3_600);
/// Rules that a killed server may leave broken, until a living one has tidied up.
const TIDIED: [&str; 3] = ["inbox_empty", "place_of_open_run", "task_result_taken"];
/// How long that may take.
const TIDY_WITHIN: Duration = Duration::from_secs(30);
/// How long servers run between two verdicts.
const TIDY_EVERY: Duration = Duration::from_secs(2);
/// Lines of a log that are shown when its server did something wrong.
const LOG_LINES: usize = 40;

/// What a check wants of its world beyond the ordinary.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// How many servers there are; one when zero.
    pub servers: usize,
    /// Words that stand before the program of every server: `strace -f …`.
    pub wrapper: Vec<String>,
    /// Environment of every server.
    pub environment: Vec<(String, String)>,
    /// The PostgreSQL that servers are told of, when it is not the real one: a proxy before it, or a cluster of its own.
    pub url_of_servers: Option<String>,
    /// Addresses that steps may reach although they are not public, when that is not all of them.
    pub private_network: Option<&'static str>,
}

/// Where the data is.
enum Place {
    Sqlite(PathBuf),
    Postgres(Postgres),
}

/// Servers, a shop, a ledger.
pub struct World {
    /// Where everything is kept.
    pub folder: PathBuf,
    /// Asks the servers.
    pub client: Client,
    /// What they have answered.
    pub ledger: Ledger,
    setup: Setup,
    place: Place,
    program: PathBuf,
    servers: Vec<Slot>,
    shop: SocketAddr,
    _shop: Program,
    temporary: Mutex<Option<TempDir>>,
}

/// A server, or where it was.
struct Slot {
    address: SocketAddr,
    program: Mutex<Option<Program>>,
}

impl Slot {
    fn program(&self) -> MutexGuard<'_, Option<Program>> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World {
    /// Starts the shop and the servers.
    ///
    /// # Errors
    /// Something does not start; the text has the end of its log.
    pub async fn begin(plan: &Plan, setup: Setup) -> Result<World> {
        let world = World::prepare(plan, setup).await?;
        for server in 0..world.servers.len() {
            world.start(server)?;
        }
        Ok(world)
    }

    /// Starts the shop, and no server yet.
    ///
    /// # Errors
    /// It does not start.
    pub async fn prepare(plan: &Plan, setup: Setup) -> Result<World> {
        let Options { folder, keep, .. } = &plan.options;
        fs::create_dir_all(folder)?;
        let temporary = tempfile::tempdir_in(folder.canonicalize()?)?;
        let path = temporary.path().to_owned();
        let temporary = if *keep {
            eprintln!("everything is kept in {}", temporary.keep().display());
            None
        } else {
            Some(temporary)
        };
        let place = match plan.database {
            Database::Sqlite => Place::Sqlite(path.join("data")),
            Database::Postgres => Place::Postgres(windlass_testkit::postgres().await),
        };
        let program = program(&plan.options)?;
        let (shop_program, shop) = shop(&program, &path)?;
        let mut servers = Vec::new();
        for _ in 0..setup.servers.max(1) {
            servers.push(Slot { address: free_address()?, program: Mutex::default() });
        }
        let addresses: Vec<SocketAddr> = servers.iter().map(|it| it.address).collect();
        Ok(World {
            client: Client::new(&addresses, TOKEN),
            ledger: Ledger::create(&path.join("told.jsonl"))?,
            folder: path,
            setup,
            place,
            program,
            servers,
            shop,
            _shop: shop_program,
            temporary: Mutex::new(temporary),
        })
    }

    /// How many servers there are, dead ones too.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// Starts a server where it was before, and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start(&self, server: usize) -> Result<()> {
        self.start_with(server, &[])
    }

    /// The same with something in its environment.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn start_with(&self, server: usize, environment: &[(&str, String)]) -> Result<()> {
        let slot = &self.servers[server];
        let mut program = Program::start(&mut self.command(server, environment)?)?;
        if let Err(error) = ready(&mut program, slot.address, "/readyz") {
            bail!("{error:#}\n{}", self.end_of_log(server));
        }
        *slot.program() = Some(program);
        Ok(())
    }

    /// Starts a server that is expected to die soon, and waits for nothing.
    ///
    /// # Errors
    /// There is no such program.
    pub fn launch(&self, server: usize, environment: &[(&str, String)]) -> Result<()> {
        let program = Program::start(&mut self.command(server, environment)?)?;
        *self.servers[server].program() = Some(program);
        Ok(())
    }

    /// Waits until a server that was launched has ended by itself, and says how.
    ///
    /// # Errors
    /// It does not within `patience`.
    pub fn finish(&self, server: usize, patience: Duration) -> Result<ExitStatus> {
        self.servers[server].program().take().context("it was not launched")?.finish(patience)
    }

    /// Whether a server has died by itself.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn has_died(&self, server: usize) -> Result<bool> {
        match self.servers[server].program().as_mut() {
            Some(program) => Ok(program.ended()?.is_some()),
            None => Ok(true),
        }
    }

    /// Sends a server a signal.
    ///
    /// # Errors
    /// It is not there.
    pub fn signal(&self, server: usize, signal: Signal) -> Result<()> {
        let process = self.process(server).and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(kill_process(process.context("the server is not there")?, signal)?)
    }

    fn command(&self, server: usize, environment: &[(&str, String)]) -> Result<Command> {
        let mut command = match self.setup.wrapper.split_first() {
            None => Command::new(&self.program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&self.program);
                command
            }
        };
        let address = self.address(server).to_string();
        command.args(["serve", "--listen", &address, "--allow-private-network"]);
        command.args(self.setup.private_network);
        match (&self.place, &self.setup.url_of_servers) {
            (Place::Postgres(postgres), None) => {
                command.arg("--database-url").arg(format!("{}?application_name=server-{server}", postgres.url))
            }
            _ => self.of_database(&mut command),
        };
        quietly(&mut command, &self.log(server))?;
        command.env("WINDLASS_BOOTSTRAP_TOKEN", TOKEN).env("WINDLASS_LOG", "info");
        self.with_what_a_directory_has(&mut command);
        command.envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// A data directory makes its own master key, and a place for files; servers of PostgreSQL are given theirs.
    fn with_what_a_directory_has(&self, command: &mut Command) {
        if let Place::Postgres(_) = &self.place {
            command.env("WINDLASS_MASTER_KEY", MASTER_KEY).env("WINDLASS_FILES", self.folder.join("files"));
        }
    }

    /// The options that name the database.
    fn of_database<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        match &self.place {
            Place::Sqlite(folder) => command.arg("--data-dir").arg(folder),
            Place::Postgres(postgres) => {
                command.arg("--database-url").arg(self.setup.url_of_servers.as_ref().unwrap_or(&postgres.url))
            }
        }
    }

    /// Carries out a command of the program on the database, and gives the JSON that it says. On SQLite no server runs.
    ///
    /// # Errors
    /// It does not succeed.
    pub fn command_line(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command.args(arguments).arg("--json");
        self.of_database(&mut command);
        let (said, log) = (self.folder.join("command.json"), self.folder.join("command.log"));
        quietly(&mut command, &log)?.stdout(File::create(&said)?);
        self.with_what_a_directory_has(&mut command);
        let status = Program::start(&mut command)?.finish(STOP_WITHIN)?;
        if !status.success() {
            bail!("{arguments:?}: {status}: {}", fs::read_to_string(&log).unwrap_or_default());
        }
        Ok(serde_json::from_str(&fs::read_to_string(&said)?)?)
    }

    /// `kill -9`. A server that is dead already stays dead.
    ///
    /// # Errors
    /// The system cannot wait for it.
    pub fn kill(&self, server: usize) -> Result<()> {
        let program = self.servers[server].program().take();
        program.map_or(Ok(()), Program::kill)
    }

    /// Asks it to stop, and takes nothing but peace for an answer.
    ///
    /// # Errors
    /// It does not stop in time, or not in peace.
    pub fn stop(&self, server: usize) -> Result<()> {
        let Some(program) = self.servers[server].program().take() else { return Ok(()) };
        let status = match child_of(program.id()).filter(|_| !self.setup.wrapper.is_empty()) {
            // What stands before the program passes no signals on, and ends with it.
            Some(child) => {
                kill_process(child, Signal::TERM)?;
                program.finish(STOP_WITHIN)?
            }
            None => program.stop(STOP_WITHIN)?,
        };
        if !status.success() {
            bail!("a server stopped with {status}\n{}", self.end_of_log(server));
        }
        Ok(())
    }

    /// The process id of a server that runs.
    pub fn process(&self, server: usize) -> Option<u32> {
        self.servers[server].program().as_ref().map(Program::id)
    }

    /// Where a server listens.
    pub fn address(&self, server: usize) -> SocketAddr {
        self.servers[server].address
    }

    /// A server's log.
    pub fn log(&self, server: usize) -> PathBuf {
        self.folder.join(format!("server-{server}.log"))
    }

    /// What a server said last.
    pub fn end_of_log(&self, server: usize) -> String {
        let log = fs::read_to_string(self.log(server)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        format!("server {server} said last:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
    }

    /// How often a server said that.
    pub fn times_said(&self, server: usize, what: &str) -> usize {
        fs::read_to_string(self.log(server)).unwrap_or_default().matches(what).count()
    }

    /// Where the shop is.
    pub fn shop_url(&self) -> String {
        format!("http://{}", self.shop)
    }

    /// Makes the shop fail now and then, before and after the effect.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn make_the_shop_moody(&self) -> Result<()> {
        let knobs = json!({
            "charges": { "latency_ms": 3, "fail_rate": 0.1, "fail": "after" },
            "holds": { "latency_ms": 5, "fail_rate": 0.1 },
            "refunds": { "fail_rate": 0.1, "fail": "after" },
            "releases": { "fail_rate": 0.1 },
        });
        ask_shop(self.shop, "PUT", "/knobs", &knobs.to_string()).await.map(|_| ())
    }

    /// The shop's effects.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn effects(&self) -> Result<Vec<Value>> {
        effects(self.shop).await
    }

    /// The PostgreSQL database itself, when it is one.
    pub fn postgres_url(&self) -> Option<&str> {
        self.postgres().map(|postgres| &*postgres.url)
    }

    /// The same, with what else it can do.
    pub fn postgres(&self) -> Option<&Postgres> {
        match &self.place {
            Place::Sqlite(_) => None,
            Place::Postgres(postgres) => Some(postgres),
        }
    }

    /// The data directory, when the database is SQLite.
    pub fn data_dir(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(folder) => Some(folder),
            Place::Postgres(_) => None,
        }
    }

    /// The program that is checked.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Stops every server in peace and lets `windlass verify` judge what they left, with the ledger and the shop's.
    ///
    /// What a killed server leaves to be tidied up is tidied by those that run: they get [`TIDY_WITHIN`] for it.
    ///
    /// # Errors
    /// A server does not stop, or the verdict cannot be had. Violations are in `outcome`.
    pub fn verify(&self, arguments: &[&str], outcome: &mut Outcome) -> Result<()> {
        let since = Instant::now();
        loop {
            for server in 0..self.servers() {
                self.stop(server)?;
            }
            let verdict = self.verdict(arguments)?;
            let violations = verdict["violations"].as_array().context("verify gave no verdict")?;
            let untidy = |it: &Value| it["rule"].as_str().is_some_and(|rule| TIDIED.contains(&rule));
            if violations.is_empty() || !violations.iter().all(untidy) || since.elapsed() > TIDY_WITHIN {
                outcome.violations(violations.iter().map(|it| format!("verify: {it}")));
                outcome.count("verified", verdict["counts"].clone());
                return Ok(());
            }
            for server in 0..self.servers() {
                self.start(server)?;
            }
            std::thread::sleep(TIDY_EVERY);
        }
    }

    fn verdict(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command.args(["verify", "--json", "--ledger"]).arg(&self.ledger.path);
        command.arg("--effects").arg(self.folder.join("effects.jsonl"));
        command.args(["--effects-at", &self.shop_url()]).args(arguments);
        self.of_database(&mut command);
        let (said, log) = (self.folder.join("verify.json"), self.folder.join("verify.log"));
        quietly(&mut command, &log)?.stdout(File::create(&said)?);
        self.with_what_a_directory_has(&mut command);
        let status = Program::start(&mut command)?.finish(VERIFY_WITHIN)?;
        let read = || -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(&said)?)?) };
        let verdict =
            read().with_context(|| format!("verify: {status}: {}", fs::read_to_string(&log).unwrap_or_default()))?;
        if status.success() != (verdict["violation_count"] == 0) {
            bail!("verify ended with {status}, which is not what it said: {verdict}");
        }
        Ok(verdict)
    }

    /// Ends the world. What it kept is left where it is if the check failed.
    pub fn end(&self, outcome: &Outcome) {
        let temporary = self.temporary.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(temporary), false) = (temporary, outcome.passed()) {
            eprintln!("what is left is in {}", temporary.keep().display());
        }
    }
}

/// The first child of a process.
fn child_of(process: u32) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok().and_then(Pid::from_raw)
}

/// The program that is checked: the one that was asked for, or the one that is built beside this one.
///
/// # Errors
/// It is not there.
pub fn program(options: &Options) -> Result<PathBuf> {
    let path = match &options.program {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("windlass-checked"),
    };
    path.canonicalize().with_context(|| format!("{} is not there: use `cargo xtask`, which builds it", path.display()))
}

/// Starts a shop with a new ledger in that folder.
///
/// # Errors
/// It does not become ready.
pub fn shop(program: &Path, folder: &Path) -> Result<(Program, SocketAddr)> {
    let address = free_address()?;
    let mut command = Command::new(program);
    command.args(["demo", "shop", "--listen", &address.to_string(), "--ledger"]).arg(folder.join("effects.jsonl"));
    let mut program = Program::start(quietly(&mut command, &folder.join("shop.log"))?)?;
    ready(&mut program, address, "/ledger")?;
    Ok((program, address))
}

/// The effects of the shop at that address.
///
/// # Errors
/// It does not answer.
pub async fn effects(shop: SocketAddr) -> Result<Vec<Value>> {
    let ledger = ask_shop(shop, "GET", "/ledger", "").await?;
    Ok(ledger["effects"].as_array().context("a ledger without effects")?.clone())
}

async fn ask_shop(shop: SocketAddr, method: &str, path: &str, body: &str) -> Result<Value> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(shop).await?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: {shop}\r\nconnection: close\r\ncontent-type: application/json");
    stream.write_all(format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let body = answer.windows(4).position(|it| it == b"\r\n\r\n").context("no answer of the shop")? + 4;
    if !answer.starts_with(b"HTTP/1.1 200") {
        bail!("the shop: {}", String::from_utf8_lossy(&answer));
    }
    Ok(serde_json::from_slice(&answer[body..])?)
}

/// Lets a command say what it has to say to a file, whatever the environment.
///
/// # Errors
/// The file cannot be written.
pub fn quietly<'a>(command: &'a mut Command, log: &Path) -> Result<&'a mut Command> {
    let log: File = OpenOptions::new().create(true).append(true).open(log)?;
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WINDLASS_")) {
        command.env_remove(name);
    }
    Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log))
}
