//! `windlass serve`.

use std::time::Duration;

use serde_json::json;
use windlass_runtime::redact::Known;
use windlass_server::settings::{self, InEffect, Told};

use super::Context;
use crate::{
    args::ServeArgs,
    exit::{Exit, Failure, Outcome},
    log, output,
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
    let (database, told, known) = (context.database()?, told(&args)?, Known::default());
    let begun = InEffect::begin(told.clone(), place::usual_bounds(&database));
    let log = log::start(&begun.bounds().process, &known)?;
    let described = database.describe();
    let webhook_keys = place::webhook_keys(args.webhook_signing_key_file.as_deref())?;
    let serving = Serving {
        database,
        bootstrap_token: args.bootstrap_token,
        allowed: Allowed { webhook_keys, known, ..Allowed::default() },
        settings: told,
        log: Some(log),
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
    end_at_the_latest(server.grace() + STOP_MAX);
    output::note("stopping: open requests and running steps may end; ask again to stop at once");
    tokio::select! {
        () = server.stop() => Ok(Exit::Done),
        () = signals.next() => Err(Failure::new(Exit::NotCompleted, "stopped", "stopped at once; what was under way goes on at the next start")),
    }
}

/// What the file of settings, the environment and the command line say.
fn told(args: &ServeArgs) -> Result<Told, Failure> {
    let mut environment = place::chosen_by_environment()?;
    environment.extend(place::chosen_for_steps(args.allow_private_network.as_ref(), args.allow_exec)?);
    let own = [
        args.listen.map(|it| place::chosen("listen", &it.to_string())),
        args.public_url.as_ref().map(|it| place::chosen("public_url", it.trim_end_matches('/'))),
        args.grace_seconds.map(|it| place::chosen("grace_seconds", &it.to_string())),
        args.log.as_ref().map(|it| place::chosen("log", it)),
        args.log_format.as_ref().map(|it| place::chosen("log_format", it)),
    ];
    for setting in own.into_iter().flatten() {
        environment.push(setting?);
    }
    environment.extend(args.settings.iter().cloned());
    let Some(path) = args.settings_file.as_deref() else { return Ok(Told { file: Vec::new(), environment }) };
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
