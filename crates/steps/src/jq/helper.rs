//! The process that runs jq programs: `windlass jq-helper`.
//!
//! A jq program can recurse without end, or ask for more memory than there is, and either would take the server with
//! it. So programs run in a process of their own that may die: it limits its memory and its time itself, and reads
//! requests from its standard input and writes answers to its standard output, one after another.
//!
//! Invariant: each message is its length as four bytes, lowest first, and then that many bytes of JSON.

use std::{
    io::{self, Read, Write},
    process,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, setrlimit};

use super::program::{Evaluation, ProgramError, Programs};

/// The argument that makes the `windlass` program a helper.
pub const ARGUMENT: &str = "jq-helper";

/// What a program may use, with what the process itself needs.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
/// How deep a program may recurse, in bytes of stack.
const STACK_BYTES: usize = 64 << 20;
/// No message is larger: a value and its arguments, with room to spare.
pub(super) const MESSAGE_BYTES_MAX: usize = 96 << 20;

/// The exit code that says that a program ran out of time.
pub(super) const EXIT_OUT_OF_TIME: i32 = 24;

/// An answer: the output as JSON text, or why there is none.
pub(super) type Answer = Result<String, ProgramError>;

/// Serves requests until the standard input ends.
///
/// # Errors
/// The standard input or output broke, or limits could not be set.
pub fn serve() -> io::Result<()> {
    // Private memory that can be written; running out aborts this process, and nothing else.
    let limit = Rlimit { current: Some(MEMORY_BYTES_MAX), maximum: Some(MEMORY_BYTES_MAX) };
    setrlimit(Resource::Data, limit)?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none)?;
    let worker = thread::Builder::new().name("jq".to_owned()).stack_size(STACK_BYTES).spawn(answer_all)?;
    worker.join().unwrap_or_else(|_| process::exit(101))
}

fn answer_all() -> io::Result<()> {
    let (mut input, mut output) = (io::stdin().lock(), io::stdout().lock());
    let watchdog = Watchdog::start()?;
    let mut programs = Programs::default();
    while let Some(message) = read_message(&mut input)? {
        let evaluation: Evaluation = serde_json::from_slice(&message)?;
        watchdog.begin(Duration::from_millis(evaluation.time_ms_max));
        let answer: Answer = programs.evaluate(&evaluation);
        watchdog.end();
        let bytes = serde_json::to_vec(&answer)?;
        output.write_all(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes())?;
        output.write_all(&bytes)?;
        output.flush()?;
    }
    Ok(())
}

fn read_message(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too large"));
    }
    let mut message = vec![0; length];
    input.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Ends the process when a program takes too long: also when the server that asked is gone.
struct Watchdog {
    sender: mpsc::SyncSender<Option<Duration>>,
}

impl Watchdog {
    fn start() -> io::Result<Watchdog> {
        let (sender, receiver) = mpsc::sync_channel::<Option<Duration>>(1);
        thread::Builder::new().name("watchdog".to_owned()).stack_size(64 << 10).spawn(move || {
            while let Ok(message) = receiver.recv() {
                let Some(time) = message else { continue };
                if receiver.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                    process::exit(EXIT_OUT_OF_TIME);
                }
            }
        })?;
        Ok(Watchdog { sender })
    }

    fn begin(&self, time: Duration) {
        // The watchdog ends only with the process.
        let _ = self.sender.send(Some(time));
    }

    fn end(&self) {
        let _ = self.sender.send(None);
    }
}
