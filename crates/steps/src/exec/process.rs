//! A program while it runs: its group, what it reads and writes, and its end.

use std::io;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Child,
};

/// The process group of a child. Dropping it kills what is left of the group.
pub(super) struct Group(Option<Pid>);

impl Group {
    pub(super) fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    /// Failing means that the group is gone, which is as good.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// A program that ended by itself.
pub(super) struct Finished {
    pub(super) status: std::process::ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// A program that did not end by itself, or could not be followed.
pub(super) enum Broken {
    TooMuchOutput(usize),
    Stopped,
    Io(io::Error),
}

pub(super) async fn finish(
    child: &mut Child,
    stdin: &serde_json::Value,
    bytes_max: usize,
    group: &Group,
) -> Result<Finished, Broken> {
    let input = match stdin {
        serde_json::Value::Null => Vec::new(),
        serde_json::Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    };
    let (pipe, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    // A program that does not read its input is not wrong, so a broken pipe here means nothing.
    let write = async {
        if let Some(mut pipe) = pipe {
            let _ = pipe.write_all(&input).await;
        }
        Ok(())
    };
    let wait = async {
        let status = child.wait().await.map_err(Broken::Io)?;
        // Whoever inherited the pipes would keep us reading.
        group.signal(Signal::KILL);
        Ok(status)
    };
    let (status, stdout, stderr, ()) = tokio::try_join!(
        wait,
        read(stdout, bytes_max, Excess::Fails),
        read(stderr, bytes_max, Excess::IsDropped),
        write
    )?;
    Ok(Finished { status, stdout, stderr })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Excess {
    Fails,
    IsDropped,
}

async fn read(pipe: Option<impl AsyncRead + Unpin>, bytes_max: usize, excess: Excess) -> Result<Vec<u8>, Broken> {
    let Some(mut pipe) = pipe else { return Ok(Vec::new()) };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let count = pipe.read(&mut buffer).await.map_err(Broken::Io)?;
        if count == 0 {
            return Ok(kept);
        }
        if kept.len() + count > bytes_max && excess == Excess::Fails {
            return Err(Broken::TooMuchOutput(bytes_max));
        }
        let room = bytes_max.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}
