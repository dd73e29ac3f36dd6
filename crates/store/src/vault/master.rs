//! Master keys: where a process finds its own, and how they are written.
//!
//! Invariant: no key gets into a message, an argument of a process, or the database.

use std::{
    fmt,
    io::Write as _,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::cipher::{self, Cipher, Secret};
use crate::StoreError;

/// What a master key begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "wmk_";
/// Master keys that a process may hold: the one in use, and others while one replaces the other.
const KEYS_MAX: usize = 8;
/// Bytes of a file or an output that holds keys.
const TEXT_BYTES_MAX: usize = 4_096;
/// How long the command that prints a key may take, and how often it is looked at.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(30);
const COMMAND_LOOK: Duration = Duration::from_millis(5);

/// A key that opens the vault.
pub struct MasterKey {
    secret: Secret,
    pub(crate) cipher: Cipher,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

impl MasterKey {
    fn of(secret: Secret) -> MasterKey {
        let id = cipher::derive(&secret, "master key id");
        let id = Uuid::from_slice(&id[..16]).expect("sixteen bytes are an id");
        MasterKey { cipher: Cipher::new(id, &cipher::derive(&secret, "master key")), secret }
    }

    /// A new one.
    ///
    /// # Errors
    /// The system gives no random bits.
    pub fn generate() -> Result<MasterKey, StoreError> {
        Ok(MasterKey::of(cipher::random()?))
    }

    /// Reads one: `wmk_` and what follows, or 32 bytes in base64 or hexadecimal digits, as other programs make them.
    ///
    /// # Errors
    /// It is none; the text does not say what stands there.
    pub fn parse(text: &str) -> Result<MasterKey, StoreError> {
        let decoded = match text.strip_prefix(PREFIX) {
            Some(rest) => URL_SAFE_NO_PAD.decode(rest).ok(),
            None if text.len() == 64 => hex::decode(text).ok(),
            None => STANDARD.decode(text).ok(),
        };
        let bytes = Zeroizing::new(decoded.unwrap_or_default());
        let secret = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| {
            let what = "a master key is `wmk_` and 43 letters, or 32 bytes in base64 or as 64 hexadecimal digits";
            StoreError::Locked(format!("this is no master key: {what}; `windlass vault new-key` makes one"))
        })?;
        Ok(MasterKey::of(Secret::new(secret)))
    }

    /// It as text, for the place where it is kept.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.secret.as_slice())))
    }

    /// Its id, which says nothing about it.
    pub fn id(&self) -> Uuid {
        self.cipher.id
    }
}

/// Where a process finds its master key.
#[derive(Clone)]
pub enum KeySource {
    /// It does not look: for commands that read and seal nothing secret.
    Unasked,
    /// Nobody named one. A database whose vault was never used works all the same.
    Absent,
    /// A file; several keys stand on lines of their own, while one replaces the other.
    File {
        /// The file.
        path: PathBuf,
        /// What becomes of a file that is not there.
        missing: Missing,
    },
    /// This text, and what holds it, such as the name of an environment variable.
    Text {
        /// What holds it.
        holder: &'static str,
        /// The keys, with white space between them.
        keys: Arc<Zeroizing<String>>,
    },
    /// What this command of the shell prints.
    Command(String),
}

/// What becomes of a key file that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is made, if the vault was never used.
    Make,
    /// Nothing starts.
    Refuse,
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl KeySource {
    /// Where it is, for people.
    pub fn describe(&self) -> String {
        match self {
            KeySource::Unasked | KeySource::Absent => "nowhere".to_owned(),
            KeySource::File { path, .. } => path.display().to_string(),
            KeySource::Text { holder, .. } => (*holder).to_owned(),
            KeySource::Command(_) => "what the command for the master key printed".to_owned(),
        }
    }

    /// The keys that are there now; none where there is no such file.
    pub(crate) fn read(&self) -> Result<Vec<Arc<MasterKey>>, StoreError> {
        let text = match self {
            KeySource::Unasked | KeySource::Absent => return Ok(Vec::new()),
            KeySource::File { path, .. } => match read_file(path)? {
                Some(text) => text,
                None => return Ok(Vec::new()),
            },
            KeySource::Text { keys, .. } => Zeroizing::new(keys.as_str().to_owned()),
            KeySource::Command(command) => run(command)?,
        };
        let place = |error| match error {
            StoreError::Locked(why) => StoreError::Locked(format!("{}: {why}", self.describe())),
            other => other,
        };
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let keys = lines.flat_map(str::split_whitespace).take(KEYS_MAX).map(MasterKey::parse);
        let keys: Vec<_> = keys.map(|key| key.map(Arc::new)).collect::<Result<_, _>>().map_err(place)?;
        if keys.is_empty() {
            return Err(StoreError::Locked(format!("{} holds no master key", self.describe())));
        }
        Ok(keys)
    }
}

impl KeySource {
    /// The file that this process may write keys into.
    pub(crate) fn own_file(&self) -> Option<&Path> {
        match self {
            KeySource::File { path, missing: Missing::Make } => Some(path),
            _ => None,
        }
    }
}

/// Writes keys into a file that its owner alone may read: beside it first, then in its place, so that there is never
/// half a file.
pub(crate) fn write_file(path: &Path, keys: &[Arc<MasterKey>]) -> Result<(), StoreError> {
    let failed = |error: std::io::Error| StoreError::Location {
        location: path.display().to_string(),
        reason: format!("the master key cannot be written: {error}"),
    };
    let mut text = Zeroizing::new(String::from(
        "# Opens the vault of this installation. Without it, secrets and credentials are lost: keep a copy elsewhere.\n",
    ));
    for key in keys {
        text.push_str(&key.to_text());
        text.push('\n');
    }
    let beside = path.with_file_name("master.key.partial");
    // One that a crash left behind would keep its permissions.
    let _ = std::fs::remove_file(&beside);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory).and_then(|it| it.sync_all()).map_err(failed)
}

fn read_file(path: &Path) -> Result<Option<Zeroizing<String>>, StoreError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(StoreError::Locked(format!("cannot read the master key in {}: {error}", path.display())));
        }
    };
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("{} is larger than {TEXT_BYTES_MAX} bytes: no file with a master key", path.display());
        return Err(StoreError::Locked(message));
    }
    if let Ok(about) = std::fs::metadata(path)
        && about.permissions().mode() & 0o077 != 0
    {
        tracing::warn!(path = %path.display(), "others than its owner may read the file with the master key: chmod 600");
    }
    Ok(Some(text))
}

fn run(command: &str) -> Result<Zeroizing<String>, StoreError> {
    let failed = |why: String| StoreError::Locked(format!("the command for the master key failed: {why}"));
    let mut child = Command::new("sh");
    child.arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().map_err(|error| failed(error.to_string()))?;
    let started = Instant::now();
    // Whoever prints more than a pipe holds waits until the time is over.
    while child.try_wait().map_err(|error| failed(error.to_string()))?.is_none() {
        if started.elapsed() > COMMAND_TIME_MAX {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(format!("it took longer than {} s", COMMAND_TIME_MAX.as_secs())));
        }
        std::thread::sleep(COMMAND_LOOK);
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    let text = Zeroizing::new(output.stdout);
    if !output.status.success() {
        // What it says on standard error is for people; what it printed may be a key.
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(failed(format!("{}: {}", output.status, said.trim().chars().take(400).collect::<String>())));
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(failed(format!("it printed more than {TEXT_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(&text).map_err(|_| failed("it printed something that is no text".to_owned()))?;
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_the_forms_in_which_programs_write_them() {
        let key = MasterKey::generate().unwrap();
        let same = |text: &str| MasterKey::parse(text).unwrap().id() == key.id();
        assert!(same(&key.to_text()));
        assert!(same(&hex::encode(key.secret.as_slice())));
        assert!(same(&STANDARD.encode(key.secret.as_slice())));
        for wrong in ["", "wmk_", "wmk_abc", "open sesame", &key.to_text()[..46]] {
            let error = MasterKey::parse(wrong).unwrap_err().to_string();
            assert!(error.contains("no master key") && (wrong.len() < 8 || !error.contains(wrong)), "{error}");
        }
        assert!(!format!("{key:?}").contains(&key.to_text()[4..]));
    }

    #[test]
    fn a_source_is_read_with_comments_and_several_keys() {
        let (one, two) = (MasterKey::generate().unwrap(), MasterKey::generate().unwrap());
        let text = format!("# old\n{}\n\n  {} \n", one.to_text().as_str(), two.to_text().as_str());
        let source = KeySource::Text { holder: "A_VARIABLE", keys: Arc::new(Zeroizing::new(text)) };
        let ids: Vec<Uuid> = source.read().unwrap().iter().map(|key| key.id()).collect();
        assert_eq!(ids, [one.id(), two.id()]);
        let source = KeySource::Text { holder: "A_VARIABLE", keys: Arc::new(Zeroizing::new("# none".to_owned())) };
        assert!(source.read().unwrap_err().to_string().contains("A_VARIABLE holds no master key"));
        let echo = KeySource::Command(format!("echo {}", one.to_text().as_str()));
        assert_eq!(echo.read().unwrap()[0].id(), one.id());
        let error = KeySource::Command("echo sesame; echo no such host >&2; exit 3".to_owned()).read().unwrap_err();
        assert!(error.to_string().contains("no such host") && !error.to_string().contains("sesame"), "{error}");
    }

    #[test]
    fn a_key_file_is_its_owners_alone_and_never_half() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("master.key");
        let key = Arc::new(MasterKey::generate().unwrap());
        for _ in 0..2 {
            write_file(&path, std::slice::from_ref(&key)).unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let source = KeySource::File { path, missing: Missing::Make };
        assert_eq!(source.read().unwrap()[0].id(), key.id());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
