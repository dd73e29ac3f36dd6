//! `windlass-sim`: what `cargo xtask sim` and `cargo xtask sim-mutants` run.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Parser;
use serde_json::json;
use windlass_definition::step_type::StepTypes;
#[cfg(feature = "mutants")]
use windlass_engine::planted::{self, Bug};
use windlass_testkit::{
    driver::{Failed, Telling},
    scene::{self, Scene},
    workflows,
};

/// One seed in so many is played twice, and must be the same bit for bit.
const REPLAYED_EVERY: u64 = 50;
/// Seeds that fail before it is enough.
const FAILURES_MAX: usize = 20;
/// What has to happen, per thousand seeds of the simulator, for a pass to mean anything.
const LEAST_PER_THOUSAND: &[(&str, u64)] = &[
    ("runs_ended", 1_000),
    ("runs_completed", 300),
    ("entries", 10_000),
    ("crashes", 500),
    ("pauses", 150),
    ("clock_steps", 200),
    ("commits_unknown", 500),
    ("commits_unknown_landed", 100),
    ("commits_refused", 200),
    ("commits_refused_alone", 300),
    ("commits_fenced", 20),
    ("lanes_adopted", 300),
    ("starts_duplicate", 50),
    ("letters_found", 100),
    ("attempts_lost", 100),
    ("retries", 100),
    ("undos", 100),
    ("timers", 500),
    ("signals", 200),
    ("decisions", 50),
    ("commands", 200),
    ("tasks", 50),
    ("children", 100),
];

/// Plays seeds, and fails with the ones in which something did not hold.
#[derive(Parser)]
struct Options {
    /// How many seeds.
    #[arg(long, default_value_t = 20_000)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// One seed only: plays it and tells everything that happens.
    #[arg(long)]
    seed: Option<u64>,
    /// One scene only: run, safety, liveness. Without it, each seed plays `run` and, in turn, one of the others.
    #[arg(long, value_parser = |name: &str| Scene::parse(name).ok_or("it is run, safety or liveness"))]
    mode: Option<Scene>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: u64,
    /// The commit that is checked, for the line that is printed.
    #[arg(long, default_value = "unknown")]
    commit: String,
    /// Plants each bug in turn and says at which seed it was found.
    #[arg(long)]
    mutants: bool,
    /// Plants this bug only; with --seed, it is played with it.
    #[arg(long)]
    mutant: Option<String>,
}

impl Options {
    fn scenes(&self, seed: u64) -> Vec<Scene> {
        match self.mode {
            Some(scene) => vec![scene],
            None if seed.is_multiple_of(2) => vec![Scene::Run, Scene::Safety],
            None => vec![Scene::Run, Scene::Liveness],
        }
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    // What panics is caught and told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let done = match options {
        Options { mutants: true, .. } => mutants(&options),
        Options { seed: Some(seed), .. } => one(&options, seed),
        _ => many(&options),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the line that says what came of it.
fn report(line: &serde_json::Value) {
    use std::io::Write as _;
    // Whoever reads it may be gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A thread with room for deep documents.
fn spawn<'scope>(threads: &'scope std::thread::Scope<'scope, '_>, work: impl FnOnce() + Send + 'scope) {
    let thread = std::thread::Builder::new().stack_size(256 << 20);
    if let Err(error) = thread.spawn_scoped(threads, work) {
        eprintln!("no thread: {error}");
    }
}

fn one(options: &Options, seed: u64) -> bool {
    let types = workflows::step_types();
    let mut all = true;
    #[cfg(feature = "mutants")]
    planted::choose(Bug::ALL.iter().copied().find(|bug| options.mutant.as_deref() == Some(bug.name())));
    for scene in options.scenes(seed) {
        match scene.play(seed, &types, Telling::Loud) {
            Ok(played) => {
                eprintln!("{}", played.told);
                let counts = played.counts;
                let hash = format!("{:016x}", played.hash);
                report(&json!({ "check": "sim", "seed": seed, "scene": scene.name(), "hash": hash, "counts": counts }));
            }
            Err(failed) => {
                eprintln!("{failed}");
                all = false;
            }
        }
    }
    all
}

/// What all seeds together did.
#[derive(Default)]
struct Sum {
    played: u64,
    replayed: u64,
    counts: BTreeMap<String, u64>,
    failures: Vec<(Scene, u64, Failed)>,
}

fn many(options: &Options) -> bool {
    let started = Instant::now();
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    std::thread::scope(|threads| {
        for _ in 0..options.threads {
            spawn(threads, || {
                let types = workflows::step_types();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let enough = sum.lock().unwrap_or_else(PoisonError::into_inner).failures.len() >= FAILURES_MAX;
                    if number >= options.seeds || enough {
                        return;
                    }
                    play(options, options.from + number, (&types, &sum));
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    if options.from == 0 {
        let types = workflows::step_types();
        for (scene, seed, _) in scene::regressions() {
            if let Err(failed) = scene.play(seed, &types, Telling::Quiet) {
                sum.failures.push((scene, seed, failed));
            }
        }
    }
    conclude(options, sum, started.elapsed())
}

fn play(options: &Options, seed: u64, (types, sum): (&StepTypes, &Mutex<Sum>)) {
    for scene in options.scenes(seed) {
        let played = scene.play(seed, types, Telling::Quiet);
        let again = seed.is_multiple_of(REPLAYED_EVERY).then(|| {
            // What is told is part of what has to be the same.
            let loud = || scene.play(seed, types, Telling::Loud).map(|it| (it.hash, it.told));
            (loud(), loud())
        });
        let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.played += 1;
        match (played, again) {
            (Err(failed), _) => sum.failures.push((scene, seed, failed)),
            (Ok(played), again) => {
                for (name, count) in played.counts.named() {
                    *sum.counts.entry(name).or_default() += count;
                }
                if let Some((first, second)) = again {
                    sum.replayed += 1;
                    let same = matches!((&first, &second), (Ok(first), Ok(second))
                        if first == second && (scene == Scene::Run || first.0 == played.hash));
                    if !same {
                        let report = format!("seed {seed} ({}) does not replay", scene.name());
                        sum.failures.push((scene, seed, Failed { property: "a seed replays bit for bit", report }));
                    }
                }
            }
        }
    }
}

fn conclude(options: &Options, sum: Sum, took: Duration) -> bool {
    let Sum { played, replayed, counts, failures } = sum;
    let mut too_little = Vec::new();
    if options.mode != Some(Scene::Run) && options.seeds >= 200 {
        for (name, least) in LEAST_PER_THOUSAND {
            let (count, least) = (counts.get(*name).copied().unwrap_or(0), least * options.seeds / 1_000);
            if count < least {
                too_little.push(format!("{name} is {count}, at least {least} are needed"));
            }
        }
    }
    // Of the seeds that break one property the one with the shortest story is shown.
    let mut shown: BTreeMap<&str, (Scene, u64, String)> = BTreeMap::new();
    let types = workflows::step_types();
    for (scene, seed, failed) in &failures {
        let told = match scene.play(*seed, &types, Telling::Loud) {
            Err(told) => told.report,
            Ok(_) => failed.report.clone(),
        };
        let shorter = shown.get(failed.property).is_none_or(|(_, _, other)| told.len() < other.len());
        if shorter {
            shown.insert(failed.property, (*scene, *seed, told));
        }
    }
    for (property, (scene, seed, told)) in &shown {
        let name = scene.name();
        eprintln!("{told}\n\n\"{property}\" does not hold at commit {}; again, with everything told:", options.commit);
        eprintln!("    cargo xtask sim --mode {name} --seed {seed}");
        eprintln!("and to keep it, in crates/testkit/seeds/regressions:\n    {name} {seed} <what it found>\n");
    }
    for what in &too_little {
        eprintln!("too little happened: {what}");
    }
    let failed: Vec<_> = failures
        .iter()
        .map(|(scene, seed, failed)| json!({ "scene": scene.name(), "seed": seed, "property": failed.property }))
        .collect();
    let passed = failed.is_empty() && too_little.is_empty();
    report(&json!({
        "check": "sim",
        "passed": passed,
        "commit": options.commit,
        "mode": options.mode.map_or("all", Scene::name),
        "from": options.from,
        "seeds": options.seeds,
        "played": played,
        "replayed": replayed,
        "seconds": took.as_secs(),
        "counts": counts,
        "failed": failed,
    }));
    passed
}

#[cfg(not(feature = "mutants"))]
fn mutants(_: &Options) -> bool {
    eprintln!("this build holds no planted bugs: build it with --features mutants");
    false
}

/// Plants one bug after the other, each until it is found.
#[cfg(feature = "mutants")]
fn mutants(options: &Options) -> bool {
    let started = Instant::now();
    let chosen = |bug: &&Bug| options.mutant.as_ref().is_none_or(|name| bug.name() == name);
    let bugs: Vec<Bug> = Bug::ALL.iter().filter(chosen).copied().collect();
    let (next, found) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|threads| {
        for _ in 0..options.threads {
            spawn(threads, || {
                let types = workflows::step_types();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(bug) = bugs.get(number) else { return };
                    let one = hunt(options, *bug, &types);
                    match &one {
                        Some((scene, seed, property)) => {
                            eprintln!("{:<28} {seed:>6} {:<9} {property}", bug.name(), scene.name());
                        }
                        None => eprintln!("{:<28}      - not found", bug.name()),
                    }
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((*bug, one));
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(bug, _)| *bug);
    let list: BTreeMap<&str, Option<u64>> =
        found.iter().map(|(bug, one)| (bug.name(), one.as_ref().map(|it| it.1))).collect();
    let missed = found.iter().filter(|(_, one)| one.is_none()).count();
    let passed = missed == 0 && !found.is_empty();
    report(&json!({
        "check": "sim-mutants",
        "passed": passed,
        "commit": options.commit,
        "planted": found.len(),
        "found": found.len() - missed,
        "seeds": options.seeds,
        "seconds": started.elapsed().as_secs(),
        "found_at": list,
    }));
    passed
}

#[cfg(feature = "mutants")]
fn hunt(options: &Options, bug: Bug, types: &StepTypes) -> Option<(Scene, u64, &'static str)> {
    planted::choose(Some(bug));
    let seeds = options.from..options.from + options.seeds;
    let found = seeds.into_iter().find_map(|seed| {
        options.scenes(seed).into_iter().find_map(|scene| {
            let failed = scene.play(seed, types, Telling::Quiet).err()?;
            Some((scene, seed, failed.property))
        })
    });
    planted::choose(None);
    found
}
