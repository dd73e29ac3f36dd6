//! The scenes in which a seed is played, one after the other, and the seeds that once failed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use windlass_definition::step_type::StepTypes;

use crate::{
    driver::{self, Failed, Telling},
    sim::{self, Mode, Simulated},
};

/// What is played with a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scene {
    /// One run of a large workflow alone: the engine.
    Run,
    /// Several nodes, and faults to the end.
    Safety,
    /// Several nodes; the faults stop and everything has to end.
    Liveness,
}

impl Scene {
    /// All of them.
    pub const ALL: [Scene; 3] = [Scene::Run, Scene::Safety, Scene::Liveness];

    /// Its name at the command line and in the list of seeds.
    pub fn name(self) -> &'static str {
        match self {
            Scene::Run => "run",
            Scene::Safety => "safety",
            Scene::Liveness => "liveness",
        }
    }

    /// The scene of that name.
    pub fn parse(name: &str) -> Option<Scene> {
        Scene::ALL.into_iter().find(|scene| scene.name() == name)
    }

    /// Plays a seed. What is told is empty unless it is to be told.
    ///
    /// # Errors
    /// What did not hold; a panic is something that did not hold.
    pub fn play(self, seed: u64, types: &StepTypes, telling: Telling) -> Result<Simulated, Failed> {
        let played = catch_unwind(AssertUnwindSafe(|| match self {
            Scene::Run => driver::attempt_seed(seed, types, telling).map(|outcome| Simulated {
                counts: sim::Counts::default(),
                hash: outcome
                    .told
                    .bytes()
                    .fold(outcome.entries as u64, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte)),
                told: outcome.told,
            }),
            Scene::Safety => sim::attempt_seed(seed, Mode::Safety, types, telling),
            Scene::Liveness => sim::attempt_seed(seed, Mode::Liveness, types, telling),
        }));
        played.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why");
            let report = format!("seed {seed} ({}) panics: {text}", self.name());
            Err(Failed { property: "nothing panics", report })
        })
    }
}

/// The seeds that once failed, each with what it found: `seeds/regressions`.
pub fn regressions() -> impl Iterator<Item = (Scene, u64, &'static str)> {
    include_str!("../seeds/regressions").lines().filter_map(|line| {
        let (word, rest) = line.split_once(' ')?;
        let (number, found) = rest.split_once(' ')?;
        Some((Scene::parse(word)?, number.parse().ok()?, found))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_seed() {
        let lines = include_str!("../seeds/regressions").lines().filter(|line| !line.starts_with('#'));
        assert_eq!(regressions().count(), lines.count());
    }
}
