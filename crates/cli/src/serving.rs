//! A server in this process: the API on an address and on the socket of its data directory, until it is told to stop.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use windlass_engine::id::TenantKey;
use windlass_runtime::Runtime;
use windlass_server::{
    App, Gate, Service, Tokens,
    auth::First,
    listen::{self, Bounds},
    settings::{InEffect, Told},
};

use crate::{
    client::Local,
    exit::{Exit, Failure},
    idle,
    log::Log,
    place::{self, Allowed, Database},
};

/// What a server needs to know.
pub struct Serving {
    /// Its database.
    pub database: Database,
    /// The first administrator's API key, when somebody chose it.
    pub bootstrap_token: Option<String>,
    /// What steps may do.
    pub allowed: Allowed,
    /// Settings that somebody chose.
    pub settings: Told,
    /// The log that follows them.
    pub log: Option<Log>,
}

/// A server that serves.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The link that signs the first administrator in, which nobody can see again.
    pub first_link: Option<String>,
    app: App,
    stop: CancellationToken,
    loops: Vec<JoinHandle<()>>,
    socket: Option<Socket>,
    grace: Duration,
}

/// A socket file, which is removed in the end.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // It may be gone already; a stale one is replaced at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Server {
    /// Opens the database and begins to serve.
    ///
    /// # Errors
    /// The address is taken, the database cannot be opened, or another process has it.
    pub async fn start(serving: Serving) -> Result<Server, Failure> {
        let Serving { database, bootstrap_token, allowed, settings, log } = serving;
        let listen = InEffect::begin(settings.clone(), place::usual_bounds(&database)).bounds().process.listen;
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            let message = format!("cannot listen on {listen}: {error}\n  name another address with --listen");
            Failure::new(Exit::Unreachable, "listen", message)
        })?;
        let address = listener.local_addr()?;
        let place::Opened { runtime, egress, settings } = place::open_server(&database, allowed, settings).await?;
        let (requests, grace) = (settings.bounds().requests.clone(), settings.bounds().process.grace);
        let (tokens, first_link) = match open_tokens(&runtime, bootstrap_token.as_deref()).await {
            Ok(opened) => opened,
            Err(failure) => {
                place::close_runtime(&runtime, Duration::ZERO).await;
                return Err(failure);
            }
        };
        let stop = CancellationToken::new();
        let app = App::bounded(runtime.clone(), Gate::Tokens(tokens), requests);
        let app = app.with_settings(settings).with_egress(egress);
        let bounds = Bounds { grace, ..Bounds::default() };
        let service = Service::of(&app);
        // All is built that the start needed, and nobody has been answered yet.
        idle::give_back();
        let mut loops = vec![tokio::spawn(listen::serve(listener, service, bounds, stop.clone()))];
        loops.extend(log.map(|log| tokio::spawn(follow(app.clone(), log, stop.clone()))));
        let socket = open_socket(&database);
        let socket = socket.map(|(listener, socket)| {
            let local = app.with_gate(Gate::Local);
            let service = Service::of(&local);
            loops.push(tokio::spawn(listen::serve_local(listener, service, bounds, stop.clone())));
            socket
        });
        Ok(Server { address, first_link, app, stop, loops, socket, grace })
    }

    /// How long open requests and running steps have when it stops.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its API in process, behind no gate.
    pub fn local(&self) -> Local {
        Local::of(self.app.with_gate(Gate::Local))
    }

    /// Stops: says so on `/readyz`, takes nothing new, lets open requests and running steps end within the grace time,
    /// and closes the database.
    pub async fn stop(self) {
        let begun = Instant::now();
        self.app.drain();
        self.stop.cancel();
        for task in self.loops {
            // A loop that panicked has nothing open any more.
            let _ = task.await;
        }
        drop(self.socket);
        self.app.gate().flush().await;
        place::close_runtime(self.app.runtime(), self.grace.saturating_sub(begun.elapsed())).await;
    }
}

/// Keeps the log at what the settings say, until the server stops.
async fn follow(app: App, mut log: Log, stop: CancellationToken) {
    while !stop.is_cancelled() {
        // No tenant has that key: what holds for the installation.
        match app.bounds(TenantKey(0)).await {
            Ok(bounds) => log.set(&bounds.process.log),
            Err(error) => tracing::warn!(%error, "the settings cannot be read: the log stays as it is"),
        }
        tokio::select! {
            () = app.settings_may_differ() => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn open_tokens(runtime: &Runtime, chosen: Option<&str>) -> Result<(Tokens, Option<String>), Failure> {
    match Tokens::open(runtime.store().clone(), chosen).await {
        Ok((tokens, First::Link(link))) => Ok((tokens, Some(link))),
        Ok((tokens, First::Known)) => Ok((tokens, None)),
        Err(problem) => Err(Failure::refused(problem.detail())),
    }
}

/// Opens the socket by which commands on this data directory reach this process. Only its owner may.
fn open_socket(database: &Database) -> Option<(UnixListener, Socket)> {
    use std::os::unix::fs::PermissionsExt;
    let path = database.socket()?;
    // We hold the directory's lock: a socket that is there is a dead process's.
    let _ = std::fs::remove_file(&path);
    let listener = match UnixListener::bind(&path) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "no socket: commands with --data-dir cannot reach this process");
            return None;
        }
    };
    let socket = Socket(path);
    match std::fs::set_permissions(&socket.0, std::fs::Permissions::from_mode(0o600)) {
        Ok(()) => Some((listener, socket)),
        Err(error) => {
            tracing::warn!(%error, "no socket: its permissions cannot be set");
            None
        }
    }
}

/// Opens the socket alone, for a process that serves no address.
pub fn serve_socket(database: &Database, app: &App, stop: &CancellationToken) -> Option<SocketServer> {
    let (listener, socket) = open_socket(database)?;
    let service = Service::of(app);
    let task = tokio::spawn(listen::serve_local(listener, service, Bounds::default(), stop.clone()));
    Some(SocketServer { task, _socket: socket })
}

/// The socket of a process that serves no address.
pub struct SocketServer {
    task: JoinHandle<()>,
    _socket: Socket,
}

impl SocketServer {
    /// Waits until it has stopped.
    pub async fn stopped(self) {
        // A loop that panicked has nothing open any more.
        let _ = self.task.await;
    }
}

/// Ctrl-C and the signal by which service managers stop a process, heeded from when this is made.
///
/// It is made before a server starts: a signal that comes while nobody heeds it ends the process where it stands.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl StopSignals {
    /// Heeds them from now on.
    pub fn heed() -> StopSignals {
        // Where the system cannot tell, the signal keeps its own meaning: it ends the process.
        StopSignals { interrupt: signal(SignalKind::interrupt()).ok(), terminate: signal(SignalKind::terminate()).ok() }
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            () = come(&mut self.interrupt) => {}
            () = come(&mut self.terminate) => {}
        }
    }
}

async fn come(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}
