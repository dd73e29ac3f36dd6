//! Random workflows under random events: whatever happens, the properties of `windlass-testkit` hold.
//!
//! `WINDLASS_SEEDS=100000` runs more seeds; `WINDLASS_SEED=7` runs one and tells what happens in it. A seed that failed
//! goes into `crates/testkit/seeds/regressions`.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use windlass_testkit::{
    driver::{self, Telling},
    scene, workflows,
};

const SEEDS: u64 = 2_000;
const SHARES: u64 = 4;

/// Runs a share of the seeds and shows the first that fails.
fn check_share(share: u64) {
    let seeds = setting("WINDLASS_SEEDS").unwrap_or(SEEDS);
    check((0..seeds).filter(|seed| seed % SHARES == share));
}

#[expect(clippy::disallowed_methods, reason = "which seeds are run is said from outside; the engine never sees it")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds; when some fail, says which break what, and shows the first of them.
#[track_caller]
fn check(seeds: impl Iterator<Item = u64>) {
    let types = workflows::step_types();
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    let mut broken: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut first = None;
    for seed in seeds {
        match catch_unwind(AssertUnwindSafe(|| driver::run_seed(seed, &types))) {
            Ok(Ok(outcome)) => *ends.entry(outcome.status.as_str()).or_default() += 1,
            Ok(Err(failed)) => {
                broken.entry(failed.property).or_default().push(seed);
                first.get_or_insert(failed);
            }
            Err(_) => broken.entry("the engine does not panic").or_default().push(seed),
        }
    }
    eprintln!("ended: {ends:?}");
    for (property, seeds) in &broken {
        eprintln!("{} seeds break \"{property}\": {:?}", seeds.len(), &seeds[..seeds.len().min(5)]);
    }
    assert!(broken.is_empty(), "{}", first.map_or_else(String::new, |failed| failed.to_string()));
}

#[test]
fn random_runs_keep_the_properties_1_of_4() {
    check_share(0);
}

#[test]
fn random_runs_keep_the_properties_2_of_4() {
    check_share(1);
}

#[test]
fn random_runs_keep_the_properties_3_of_4() {
    check_share(2);
}

#[test]
fn random_runs_keep_the_properties_4_of_4() {
    check_share(3);
}

#[test]
fn seeds_that_once_failed_hold() {
    let types = workflows::step_types();
    for (scene, seed, found) in scene::regressions() {
        if let Err(failed) = scene.play(seed, &types, Telling::Quiet) {
            panic!("what once found that {found}:\n{failed}");
        }
    }
}

#[test]
fn a_seed_replays_bit_for_bit() {
    let types = workflows::step_types();
    let seed = setting("WINDLASS_SEED").unwrap_or(1);
    let told = || match driver::attempt_seed(seed, &types, Telling::Loud) {
        Ok(outcome) => outcome.told,
        Err(failed) => panic!("{failed}"),
    };
    let first = told();
    assert_eq!(first, told());
    if setting("WINDLASS_SEED").is_some() {
        eprintln!("{first}");
    }
}
