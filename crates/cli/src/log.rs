//! The log of a process: standard error, without the secret values that are known, at the level that the settings say.

use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;
use windlass_runtime::redact::Known;
use windlass_server::settings::{LogFormat, Process};

use crate::exit::Failure;

/// A log that was started.
pub struct Log {
    filter: String,
    reload: Box<dyn Fn(EnvFilter) -> Result<(), tracing_subscriber::reload::Error> + Send + Sync>,
}

impl Log {
    /// Logs what that filter says from here on.
    pub fn set(&mut self, filter: &str) {
        if self.filter == filter {
            return;
        }
        let say = || tracing::info!(log = filter, "the setting `log` was changed");
        // Whichever of the two filters lets it through: it is said once.
        let was_said = tracing::enabled!(tracing::Level::INFO);
        if was_said {
            say();
        }
        let changed = EnvFilter::try_new(filter).map_err(|error| error.to_string());
        match changed.and_then(|filter| (self.reload)(filter).map_err(|error| error.to_string())) {
            Ok(()) => {
                if !was_said {
                    say();
                }
                filter.clone_into(&mut self.filter);
            }
            Err(error) => tracing::warn!(%error, log = filter, "the log stays as it is"),
        }
    }
}

/// Standard error without the secret values that this process knows.
struct Redacting(Known);

impl Write for Redacting {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let clean = self.0.of_all().and_then(|known| known.bytes(line));
        std::io::stderr().write_all(clean.as_deref().unwrap_or(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Starts it, a whole event at a time.
///
/// # Errors
/// What is to be logged is no filter.
pub fn start(process: &Process, known: &Known) -> Result<Log, Failure> {
    let text = process.log.clone();
    let filter = EnvFilter::try_new(&text)
        .map_err(|error| Failure::refused(format!("`{text}` is no filter of the log, such as `info`: {error}")))?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let known = known.clone();
    let writer = move || Redacting(known.clone());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colours);
    match process.log_format {
        LogFormat::Text => {
            let log = log.with_target(false).with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Ok(Log { filter: text, reload: Box::new(move |filter| handle.reload(filter)) })
        }
        LogFormat::Json => {
            let log = log.json().with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Ok(Log { filter: text, reload: Box::new(move |filter| handle.reload(filter)) })
        }
    }
}
