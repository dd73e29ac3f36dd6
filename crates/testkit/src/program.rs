//! A program as a child process: started, watched from outside, ended gently or with `kill -9`.
//!
//! Invariant: no child outlives its `Program`; dropping one kills it.

use std::{
    fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The unit of processor time in `/proc`, the same on every Linux that we run on.
pub const TICKS_PER_SECOND: u64 = 100;

/// A running program.
#[derive(Debug)]
pub struct Program {
    child: Child,
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(command: &mut Command) -> Result<Program> {
        let child = command.spawn().with_context(|| format!("failed to start {}", command.get_program().display()))?;
        Ok(Program { child })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system cannot say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// `kill -9`: it gets no chance to say anything.
    ///
    /// # Errors
    /// The system cannot wait for it.
    pub fn kill(mut self) -> Result<()> {
        // It may have ended by itself; the wait says so.
        let _ = self.child.kill();
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// It is gone already, or does not end within `patience`.
    pub fn stop(mut self, patience: Duration) -> Result<ExitStatus> {
        let process = i32::try_from(self.id()).ok().and_then(Pid::from_raw).context("a process without an id")?;
        rustix::process::kill_process(process, Signal::TERM).context("failed to stop it")?;
        poll("its end", patience, || self.ended())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not within `patience`.
    pub fn finish(mut self, patience: Duration) -> Result<ExitStatus> {
        poll("its end", patience, || self.ended())
    }

    /// Its resident memory in bytes: now, and at its highest.
    ///
    /// # Errors
    /// It has ended.
    pub fn memory_bytes(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let kib = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let now = kib("VmRSS:").context("no VmRSS")?;
        Ok((now * 1024, kib("VmHWM:").unwrap_or(now) * 1024))
    }

    /// The processor time that it has used, in user and kernel.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu(&self) -> Result<Duration> {
        cpu_of(self.id())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time of a process.
///
/// # Errors
/// There is no such process.
pub fn cpu_of(process: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything, blanks too.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok()).context("a short /proc/…/stat");
    let ticks = ticks(11)? + ticks(12)?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// Ports that Linux, unless told otherwise, gives to nobody who asks for just any, such as a client for its end of a
/// connection.
const PORTS: Range<u16> = 10_000..32_768;

/// An address on this machine where nobody listens now, nor does while a server there is down for a moment, unless he
/// asks for just that port.
///
/// # Errors
/// A hundred ports were taken.
pub fn free_address() -> Result<SocketAddr> {
    for _ in 0..100 {
        // A hasher's keys are drawn anew for each.
        let drawn = RandomState::new().build_hasher().finish();
        let port = PORTS.start + (drawn % PORTS.len() as u64) as u16;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port between {} and {} is free", PORTS.start, PORTS.end)
}

/// Waits until an HTTP server answers `GET path` there with 200, and says how long that took.
///
/// # Errors
/// It does not within `patience`, or `program` ends.
pub fn ready(program: &mut Program, address: SocketAddr, path: &str) -> Result<Duration> {
    const PATIENCE: Duration = Duration::from_secs(60);
    let since = Instant::now();
    poll("a server that is ready", PATIENCE, || {
        if let Some(status) = program.ended()? {
            bail!("the server ended before it was ready: {status}");
        }
        Ok(answers(address, path).unwrap_or(false).then_some(()))
    })?;
    Ok(since.elapsed())
}

fn answers(address: SocketAddr, path: &str) -> Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    Ok(&head == b"HTTP/1.1 200")
}

/// Looks again and again until `look` finds something.
///
/// # Errors
/// It finds nothing within `patience`, or fails.
pub fn poll<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= until {
            bail!("waited {} s for {what}", patience.as_secs());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
