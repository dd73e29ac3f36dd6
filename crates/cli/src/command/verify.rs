//! `windlass verify`: judges a database, and names each thing that must not be.

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

use serde::Deserialize;
use windlass_runtime::verify::{self, Minimums, Verdict, VerifyError, VerifyOptions, effects::Effects};

use super::Context;
use crate::{
    args::VerifyArgs,
    client,
    command::db::{Bar, look_at},
    demo::ledger,
    exit::{Exit, Failure, Outcome},
    output,
    place::{self, Allowed, of_store},
};

/// Carries it out.
///
/// # Errors
/// The database or a ledger cannot be read.
pub async fn run(args: VerifyArgs, context: &Context) -> Outcome {
    let effects = match &args.effects {
        Some(from) => effects(from).await?,
        None => Effects::default(),
    };
    let store = look_at(&context.database()?).await?;
    // Documents may use every step type that this program has.
    let types = place::step_types(Allowed { exec: true, ..Allowed::default() })?;
    let address = args.effects.filter(|it| is_address(it)).map(|it| it.trim_end_matches('/').to_owned());
    let options = VerifyOptions {
        at_rest: args.finished,
        ledgers: args.ledgers,
        effects_at: args.effects_at.or(address),
        minimums: Minimums {
            runs: args.minimum_runs,
            steps: args.minimum_steps,
            told: args.minimum_told,
            effects: args.minimum_effects,
        },
    };
    let bar = Bar::new("judging");
    let verdict = verify::verify(&store, types, (&options, effects), |runs| bar.runs(runs)).await;
    bar.finish();
    store.close().await;
    let verdict = verdict.map_err(failed)?;
    if context.json() {
        output::json(&verdict)?
    } else {
        print(&verdict)?
    }
    Ok(if verdict.violation_count == 0 { Exit::Done } else { Exit::NotCompleted })
}

fn failed(error: VerifyError) -> Failure {
    match error {
        VerifyError::Store(error) => of_store(error),
        VerifyError::Ledger { .. } => Failure::refused(error.to_string()),
    }
}

fn print(verdict: &Verdict) -> Result<(), Failure> {
    for it in &verdict.violations {
        let run = it.run.map_or(String::new(), |run| format!("run {run}: "));
        let seq = it.seq.map_or(String::new(), |seq| format!("entry {seq}: "));
        output::line(format!("{run}{seq}{}: expected that {}; found: {}", it.rule, it.expected, it.found))?;
    }
    let counts = verdict.counts;
    let word = if verdict.violation_count == 0 { "sound" } else { "not sound" };
    output::line(format!(
        "{word}: {} runs ({} ended), {} entries, {} rules about rows, {} answers, {} effects; {} violations",
        counts.runs, counts.ended, counts.entries, counts.rules, counts.told, counts.effects, verdict.violation_count
    ))
}

/// The ledger as the shop shows it.
#[derive(Deserialize)]
struct Shown {
    effects: Vec<ShownEffect>,
}

#[derive(Deserialize)]
struct ShownEffect {
    key: String,
    seen: u64,
}

fn is_address(from: &str) -> bool {
    from.starts_with("http://") || from.starts_with("https://")
}

/// The effects of a shop: from its file as it is on disk, or from the shop itself.
async fn effects(from: &str) -> Result<Effects, Failure> {
    let mut effects = Effects::default();
    if is_address(from) {
        let bytes = client::fetch(&format!("{}/ledger", from.trim_end_matches('/'))).await?;
        let shown: Shown = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::refused(format!("{from} shows no ledger: {error}")))?;
        for effect in shown.effects {
            effects.happened(&effect.key);
            effects.repeated(&effect.key, u32::try_from(effect.seen.saturating_sub(1)).unwrap_or(u32::MAX));
        }
        return Ok(effects);
    }
    let wrong = |reason: String| Failure::refused(format!("{from}: {reason}"));
    let file = File::open(from).map_err(|error| wrong(error.to_string()))?;
    for (number, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| wrong(error.to_string()))?;
        match serde_json::from_str(&line).map_err(|error| wrong(format!("line {}: {error}", number + 1)))? {
            ledger::Line::Effect(effect) => effects.happened(&effect.key),
            ledger::Line::Repeat { key } => effects.repeated(&key, 1),
        }
    }
    Ok(effects)
}
