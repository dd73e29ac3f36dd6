//! The helpers of this process: started when they are needed, used again, thrown away when anything goes wrong.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::Stdio,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Semaphore,
};

use super::{
    helper::{Answer, EXIT_OUT_OF_TIME, MESSAGE_BYTES_MAX},
    program::Evaluation,
};

/// How a helper is started.
#[derive(Debug, Clone)]
pub struct HelperCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PoolError {
    #[error("the program took longer than {0} ms")]
    OutOfTime(u64),
    #[error("the program used up its memory or its stack")]
    Died,
    #[error("the jq helper could not be started: {0}")]
    NotStarted(#[source] io::Error),
    #[error("input and arguments are larger than {MESSAGE_BYTES_MAX} bytes together")]
    TooLarge,
}

pub(super) struct Pool {
    command: HelperCommand,
    idle: Mutex<Vec<Helper>>,
    permits: Semaphore,
}

struct Helper {
    child: Child,
    stdin: ChildStdin,
    stdout: ChildStdout,
}

impl Pool {
    pub(super) fn new(command: HelperCommand, helpers_max: usize) -> Pool {
        Pool { command, idle: Mutex::default(), permits: Semaphore::new(helpers_max) }
    }

    /// Asks a helper. Dropping the future ends the helper.
    pub(super) async fn evaluate(&self, evaluation: &Evaluation) -> Result<Answer, PoolError> {
        let message = serde_json::to_vec(evaluation).map_err(|_| PoolError::TooLarge)?;
        if message.len() > MESSAGE_BYTES_MAX {
            return Err(PoolError::TooLarge);
        }
        // The semaphore is never closed.
        let _permit = self.permits.acquire().await;
        let mut helper = match self.idle() {
            Some(helper) => helper,
            None => Helper::start(&self.command).map_err(PoolError::NotStarted)?,
        };
        // The helper watches the time itself; this is for a helper that cannot even do that.
        let patience = Duration::from_millis(evaluation.time_ms_max) + Duration::from_secs(2);
        match tokio::time::timeout(patience, helper.ask(&message)).await {
            Ok(Ok(answer)) => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(helper);
                Ok(answer)
            }
            Ok(Err(_)) => Err(helper.cause_of_death(evaluation.time_ms_max).await),
            Err(_elapsed) => Err(PoolError::OutOfTime(evaluation.time_ms_max)),
        }
    }

    /// A helper that has nothing to do; one that somebody ended meanwhile is none.
    fn idle(&self) -> Option<Helper> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop())
            .find_map(|mut helper| helper.child.try_wait().ok()?.is_none().then_some(helper))
    }
}

impl Helper {
    fn start(command: &HelperCommand) -> io::Result<Helper> {
        let mut child = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("a pipe is missing");
        let stdin = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        Ok(Helper { child, stdin, stdout })
    }

    async fn ask(&mut self, message: &[u8]) -> io::Result<Answer> {
        self.stdin.write_all(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_le_bytes()).await?;
        self.stdin.write_all(message).await?;
        let length = self.stdout.read_u32_le().await? as usize;
        if length > MESSAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too large"));
        }
        let mut bytes = vec![0; length];
        self.stdout.read_exact(&mut bytes).await?;
        serde_json::from_slice(&bytes).map_err(io::Error::from)
    }

    async fn cause_of_death(&mut self, time_ms_max: u64) -> PoolError {
        let status = tokio::time::timeout(Duration::from_secs(1), self.child.wait()).await;
        match status {
            Ok(Ok(status)) if status.code() == Some(EXIT_OUT_OF_TIME) => PoolError::OutOfTime(time_ms_max),
            // A helper dies of a signal; one that ends by itself was none.
            Ok(Ok(status)) if status.code().is_some() => {
                PoolError::NotStarted(io::Error::other(format!("it ended at once, {status}")))
            }
            _ => PoolError::Died,
        }
    }
}
