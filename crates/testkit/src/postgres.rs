//! A PostgreSQL for tests: a temporary cluster that all test processes share, and a database for each test.
//!
//! Who uses the cluster holds a shared lock, which the kernel lets go of however the process ends. A guard process
//! stops the cluster and removes it when nobody holds that lock any more, so killed tests leave nothing behind.
//!
//! What a test gets belongs to an ordinary role, as in production: row-level security holds for it, as it does not for a
//! superuser.
//!
//! Invariant: starting, stopping and deciding which of the two happens only under `start.lock`.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, bail};
use tokio_postgres::{Client, Config, NoTls};

use crate::free_address;

/// How long the guard waits between two looks, in seconds.
const GUARD_LOOKS_EVERY_S: u32 = 3;

/// Who the databases of tests belong to.
const OWNER: &str = "windlass";
/// Who may do everything on the cluster.
const SUPERUSER: &str = "postgres";

/// A database of its own on the shared cluster.
pub struct Postgres {
    /// Its URL, as its owner.
    pub url: String,
    _user: File,
}

impl Postgres {
    /// What is in the database, as statements that make it anew (`pg_dump`).
    ///
    /// # Errors
    /// The program is not there, or does not like the database.
    pub fn dump(&self) -> Result<String> {
        let form = ["--inserts", "--rows-per-insert=100", "--no-owner", "--no-privileges", "--encoding=UTF8"];
        // An ordinary role sees rows of tenants when it says so, and dumps them when it is told to.
        let all = "--enable-row-security";
        let mut dump = Command::new(programs()?.join("pg_dump"));
        dump.args(form).arg(all).arg(&self.url).env("PGOPTIONS", "-c windlass.tenant=*");
        let output = dump.output().context("pg_dump")?;
        if !output.status.success() {
            bail!("pg_dump ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        // Lines for `psql` alone begin with a backslash.
        let sql = String::from_utf8(output.stdout)?;
        Ok(sql.lines().filter(|line| !line.starts_with('\\')).flat_map(|line| [line, "\n"]).collect())
    }
}

/// Makes an empty database; starts the cluster if need be.
///
/// # Panics
/// If PostgreSQL is not installed or does not start: the text says what to do.
pub async fn postgres() -> Postgres {
    match postgres_in("windlass-test-roles").await {
        Ok(database) => database,
        Err(error) => panic!("no PostgreSQL for this test: {error:#}"),
    }
}

/// Makes an empty database on the cluster of that name, which only those share who ask for it by the same name.
///
/// # Errors
/// PostgreSQL is not installed or does not start: the text says what to do.
pub async fn postgres_in(cluster: &str) -> Result<Postgres> {
    let cluster = Cluster::here(cluster)?;
    let (user, port) = tokio::task::spawn_blocking(move || cluster.join()).await??;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let server = |user: &str, name: &str| format!("postgres://{user}@127.0.0.1:{port}/{name}");
    let (client, connection) = tokio_postgres::connect(&server(SUPERUSER, "postgres"), NoTls).await?;
    let driver = tokio::spawn(connection);
    // A process id may come again while the cluster lives.
    client.batch_execute(&format!("drop database if exists {name}")).await?;
    client.batch_execute(&format!("create database {name} owner {OWNER}")).await?;
    drop(client);
    driver.await??;
    Ok(Postgres { url: server(OWNER, &name), _user: user })
}

/// A session beside the program's, which is shown the rows of all tenants. It ends with its client.
///
/// # Errors
/// PostgreSQL does not answer.
pub async fn look_at(url: &str) -> Result<Client> {
    let (client, connection) = url.parse::<Config>()?.options("-c windlass.tenant=*").connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// A cluster of its own, which a test may restart and break. It ends with this value.
pub struct OwnPostgres {
    cluster: Cluster,
    port: u16,
    settings: String,
    _user: File,
}

impl OwnPostgres {
    /// Makes and starts one with these further settings (`-c name=value`).
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start: the text says what to do.
    pub fn start(settings: &str) -> Result<OwnPostgres> {
        OwnPostgres::start_with(settings, |_| Ok(()))
    }

    /// The same, with files put into its data directory before it starts.
    ///
    /// # Errors
    /// As above.
    pub fn start_with(settings: &str, prepare: impl FnOnce(&Path) -> Result<()>) -> Result<OwnPostgres> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("windlass-own-postgres-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let home = std::env::temp_dir().join(name);
        // A process id may come again.
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home)?;
        let cluster = Cluster { home, ..Cluster::here("")? };
        let user = cluster.lock_file("users.lock")?;
        user.lock_shared()?;
        let port = free_address()?.port();
        cluster.make()?;
        prepare(&cluster.data())?;
        cluster.own(&cluster.data())?;
        let postgres = OwnPostgres { cluster, port, settings: settings.to_owned(), _user: user };
        postgres.run()?;
        // Should this process be killed, the guard stops the cluster.
        postgres.cluster.keep_guard()?;
        Ok(postgres)
    }

    /// The URL of its one database.
    pub fn url(&self) -> String {
        format!("postgres://{OWNER}@127.0.0.1:{}/{OWNER}", self.port)
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, without a checkpoint, and starts it again: it recovers from its log.
    ///
    /// # Errors
    /// It does not start.
    pub fn restart_immediately(&self) -> Result<()> {
        self.cluster.stop_immediately()?;
        self.run()
    }

    fn run(&self) -> Result<()> {
        self.cluster.run(self.port, &self.settings)
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.cluster.stop_immediately();
        let _ = std::fs::remove_dir_all(&self.cluster.home);
    }
}

/// The cluster of this user on this machine.
struct Cluster {
    home: PathBuf,
    programs: PathBuf,
    /// Words before each server program: PostgreSQL refuses to run as root.
    wrapper: Vec<String>,
    root: bool,
}

impl Cluster {
    fn here(name: &str) -> Result<Cluster> {
        let user = std::fs::metadata("/proc/self").context("no /proc")?.uid();
        let wrapper = if user == 0 { unprivileged()? } else { Vec::new() };
        let home = std::env::temp_dir().join(format!("{name}-{user}"));
        Ok(Cluster { home, programs: programs()?, wrapper, root: user == 0 })
    }

    fn data(&self) -> PathBuf {
        self.home.join("cluster/data")
    }

    fn lock_file(&self, name: &str) -> Result<File> {
        let path = self.home.join(name);
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .context(path.display().to_string())
    }

    /// Takes part in the cluster: the lock that says so, and the port.
    fn join(&self) -> Result<(File, u16)> {
        std::fs::create_dir_all(&self.home)?;
        let start = self.lock_file("start.lock")?;
        start.lock()?;
        let user = self.lock_file("users.lock")?;
        user.lock_shared()?;
        let port = match self.running() {
            Some(port) => port,
            None => self.start()?,
        };
        self.keep_guard()?;
        drop(start);
        Ok((user, port))
    }

    /// The port of the cluster, if it answers.
    fn running(&self) -> Option<u16> {
        let port = std::fs::read_to_string(self.home.join("cluster/port")).ok()?.parse().ok()?;
        let status = self.program("pg_ctl").args(["status", "-s", "-D"]).arg(self.data()).status().ok()?;
        status.success().then_some(port)
    }

    fn start(&self) -> Result<u16> {
        // What an earlier cluster left that was killed together with its guard.
        let _ = std::fs::remove_dir_all(self.home.join("cluster"));
        self.make()?;
        let port = free_address()?.port();
        self.run(port, "")?;
        std::fs::write(self.home.join("cluster/port"), port.to_string())?;
        Ok(port)
    }

    /// Makes the cluster's files.
    fn make(&self) -> Result<()> {
        let cluster = self.home.join("cluster");
        std::fs::create_dir_all(&cluster)?;
        self.own(&cluster)?;
        let user = format!("--username={SUPERUSER}");
        let initdb = [&user, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--data-checksums"];
        run(self.program("initdb").args(initdb).arg("-D").arg(self.data()))?;
        // Nobody connects before its owner and his database are there.
        let mut alone = self.program("postgres");
        alone.args(["--single", "-D"]).arg(self.data()).arg("postgres").stdin(Stdio::piped());
        let mut alone = alone.spawn().context("postgres --single")?;
        let statements = format!("create role {OWNER} login\ncreate database {OWNER} owner {OWNER}\n");
        alone.stdin.take().context("no way to the server's input")?.write_all(statements.as_bytes())?;
        let status = alone.wait()?;
        if status.success() { Ok(()) } else { bail!("postgres --single ended with {status}") }
    }

    /// Gives files to whom the server runs as.
    fn own(&self, path: &Path) -> Result<()> {
        let owner = self.wrapper.iter().find_map(|word| word.strip_prefix("--reuid="));
        match owner.filter(|_| self.root) {
            Some(owner) => run(Command::new("chown").arg("-R").arg(owner).arg(path)),
            None => Ok(()),
        }
    }

    /// Starts the server and waits until it answers.
    fn run(&self, port: u16, settings: &str) -> Result<()> {
        let cluster = self.home.join("cluster");
        let settings = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={} -c max_connections=400 -c fsync=on \
             {settings}",
            cluster.display()
        );
        let log = cluster.join("data/log");
        let mut start = self.program("pg_ctl");
        start.args(["start", "-s", "-w", "-D"]).arg(self.data()).arg("-l").arg(log).arg("-o").arg(settings);
        run(&mut start)
    }

    fn stop_immediately(&self) -> Result<()> {
        run(self.program("pg_ctl").args(["stop", "-s", "-w", "-m", "immediate", "-D"]).arg(self.data()))
    }

    /// Sees to it that somebody stops the cluster in the end.
    fn keep_guard(&self) -> Result<()> {
        let guard = self.lock_file("guard.lock")?;
        if guard.try_lock().is_err() {
            return Ok(());
        }
        drop(guard);
        let mut stop = self.wrapper.clone();
        stop.push(self.program_path("pg_ctl").display().to_string());
        let stop = stop.join(" ");
        // Removing hundreds of databases takes minutes: whoever comes meanwhile gets a new cluster and a guard of its own.
        let script = format!(
            "cd '{home}' && exec 9>guard.lock && flock -n 9 || exit 0\n\
             while sleep {GUARD_LOOKS_EVERY_S}; do\n\
             exec 8>start.lock; flock 8\n\
             if flock -n -x users.lock true; then\n\
             {stop} stop -s -m immediate -D '{data}' 8>&- 9>&-; mv cluster gone.$$\n\
             exec 9>&- 8>&-; rm -rf gone.*; exit 0\n\
             fi\n\
             exec 8>&-\n\
             done",
            home = self.home.display(),
            data = self.data().display(),
        );
        let mut guard = Command::new("sh");
        guard.arg("-c").arg(script).process_group(0).current_dir("/");
        guard.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        guard.spawn().context("sh")?;
        Ok(())
    }

    fn program_path(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    fn program(&self, name: &str) -> Command {
        let path = self.program_path(name);
        let mut command = match self.wrapper.split_first() {
            None => Command::new(path),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(path);
                command
            }
        };
        // The server must not hold what the test's own output goes to.
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if status.success() { Ok(()) } else { bail!("{command:?} ended with {status}") }
}

/// Somebody who is not root, to run the server as.
fn unprivileged() -> Result<Vec<String>> {
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let account = |name: &str| {
        accounts.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| (fields.nth(1).unwrap_or("65534"), fields.next().unwrap_or("65534")))
        })
    };
    let (user, group) = account("postgres").or_else(|| account("nobody")).context("no user but root")?;
    Ok(vec!["setpriv".into(), format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()])
}

/// Where the server's programs are: the newest version, unless `WINDLASS_POSTGRES_BIN` says.
fn programs() -> Result<PathBuf> {
    let has = |dir: &Path| dir.join("initdb").exists() && dir.join("pg_ctl").exists();
    if let Some(dir) = std::env::var_os("WINDLASS_POSTGRES_BIN").filter(|dir| !dir.is_empty()) {
        return Ok(dir.into());
    }
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok()).unwrap_or(0);
        versions.push((number, entry.path().join("bin")));
    }
    versions.sort();
    let newest = versions.into_iter().rev().map(|(_, dir)| dir).find(|dir| has(dir));
    let path = std::env::var_os("PATH").unwrap_or_default();
    newest
        .or_else(|| std::env::split_paths(&path).find(|dir| has(dir)))
        .context("PostgreSQL is not installed: run `make setup`, which installs it")
}
