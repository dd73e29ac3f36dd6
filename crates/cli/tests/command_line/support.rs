//! Running the binary in a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// A folder in which commands run.
pub struct Folder(TempDir);

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Folder {
    pub fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// The binary with these arguments, in this folder, with nothing of ours in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_windlass"));
        let ours = |name: &str| name.starts_with("WINDLASS_") || matches!(name, "TRACEPARENT" | "TRACESTATE");
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.env("WINDLASS_CONFIG_DIR", self.path().join("config"));
        command.args(arguments).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.command(arguments).output().unwrap())
    }

    /// Starts it; its output goes to files.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let file = |name: &str| std::fs::File::create(self.path().join(name)).unwrap();
        let child = self.command(arguments).stdout(file("spawned.out")).stderr(file("spawned.err")).spawn().unwrap();
        Running { child, folder: self.path().to_path_buf() }
    }

    /// Runs it again and again until what it prints holds.
    pub fn until(&self, arguments: &[&str], holds: impl Fn(&Ended) -> bool) -> Ended {
        let began = Instant::now();
        loop {
            let ended = self.run(arguments);
            if holds(&ended) {
                return ended;
            }
            assert!(began.elapsed() < PATIENCE, "{arguments:?} stays {}\n{}{}", ended.code, ended.stdout, ended.stderr);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Ended {
    pub fn of(output: Output) -> Ended {
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed, as the one JSON document that it must be.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    /// The same, once it ended with that code.
    pub fn expect(&self, code: i32) -> &Ended {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }
}

/// A command that goes on; killed when dropped.
pub struct Running {
    child: Child,
    folder: PathBuf,
}

impl Running {
    /// What it has printed so far.
    pub fn printed(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        read("spawned.out") + &read("spawned.err")
    }

    /// Waits until it has printed that.
    pub fn until_printed(&self, text: &str) -> String {
        let began = Instant::now();
        loop {
            let printed = self.printed();
            if printed.contains(text) {
                return printed;
            }
            assert!(began.elapsed() < PATIENCE, "no `{text}` in\n{printed}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by its name and waits for the end; gives the exit code.
    pub fn signal(mut self, name: &str) -> i32 {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(began.elapsed() < PATIENCE, "it does not end after {name}:\n{}", self.printed());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
