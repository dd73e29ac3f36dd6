//! `windlass serve`.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::Duration,
};

use serde_json::json;
use tracing_subscriber::EnvFilter;
use windlass_runtime::redact::Known;
use windlass_server::settings::{self, Chosen, Told};

use super::Context;
use crate::{
    args::{LogFormat, ServeArgs},
    exit::{Exit, Failure, Outcome},
    output,
    place::{self, Allowed},
    serving::{Server, Serving, StopSignals},
};

/// How long the stop may take beyond the grace time: writing what waits and closing the database have bounds of their
/// own, which are shorter together.
const STOP_MAX: Duration = Duration::from_secs(30);

/// Serves until it is told to stop.
///
/// # Errors
/// It cannot start.
pub async fn run(args: ServeArgs, context: &Context) -> Outcome {
    let known = Known::default();
    start_log(&args.log, args.log_format, &known)?;
    let database = context.database()?;
    let described = database.describe();
    let grace = Duration::from_secs(args.grace_seconds);
    let serving = Serving {
        database,
        listen: args.listen,
        bootstrap_token: args.bootstrap_token,
        allowed: Allowed {
            private_network: args.allow_private_network,
            exec: args.allow_exec,
            webhook_keys: place::webhook_keys(args.webhook_signing_key_file.as_deref())?,
            known,
        },
        grace,
        settings: told(args.settings_file.as_deref(), args.settings)?,
    };
    let mut signals = StopSignals::heed();
    let server = tokio::select! {
        server = Server::start(serving) => server?,
        () = signals.next() => return Err(Failure::new(Exit::NotCompleted, "stopped", "stopped before it served")),
    };
    if context.json() {
        let link = server.first_link.as_deref();
        output::json(&json!({ "url": server.url(), "database": described, "link": link }))?;
    } else {
        output::line(format!("windlass {} serves {}", env!("CARGO_PKG_VERSION"), server.url()))?;
        output::line(format!("  data   {described}"))?;
        if let Some(link) = &server.first_link {
            output::line(format!("  link   {link}"))?;
            output::line("         signs the administrator in, once, within a day: windlass login LINK")?;
        }
    }
    signals.next().await;
    end_at_the_latest(grace + STOP_MAX);
    output::note("stopping: open requests and running steps may end; ask again to stop at once");
    tokio::select! {
        () = server.stop() => Ok(Exit::Done),
        () = signals.next() => Err(Failure::new(Exit::NotCompleted, "stopped", "stopped at once; what was under way goes on at the next start")),
    }
}

/// What the file of settings and the command line say.
fn told(file: Option<&Path>, environment: Vec<Chosen>) -> Result<Told, Failure> {
    let Some(path) = file else { return Ok(Told { file: Vec::new(), environment }) };
    let refused = |error: String| Failure::refused(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
    Ok(Told { file: settings::read_file(&text).map_err(refused)?, environment })
}

/// Ends the process after that time, whatever holds it up: a service manager that waits for us must not have to kill us.
/// What is not on disk then was acknowledged to nobody, as after a crash.
fn end_at_the_latest(after: Duration) {
    let watch = std::thread::Builder::new().name("windlass-stop".to_owned());
    let watching = watch.spawn(move || {
        std::thread::sleep(after);
        output::note(format!(
            "did not stop within {} s: ends at once; what was under way goes on at the next start",
            after.as_secs()
        ));
        std::process::exit(Exit::NotCompleted as i32);
    });
    if let Err(error) = watching {
        tracing::warn!(%error, "no thread to watch over the stop");
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

/// The log goes to standard error, a whole event at a time, without the secret values that are known.
pub fn start_log(filter: &str, format: LogFormat, known: &Known) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::refused(format!("`{filter}` is no filter of the log, such as `info`: {error}")))?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let known = known.clone();
    let writer = move || Redacting(known.clone());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(colours);
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
