//! Judging a database afterwards: is it what clients were told, what the outside world saw, and what its own journals
//! say?
//!
//! Three sources speak for themselves here: the tables, the ledger of whoever drove the load ([`ledger`]), and the
//! ledger of whoever was asked for effects ([`effects`]). Each run's journal is folded anew and compared with all of
//! them. Runs are read in pages and judged one by one, so what is in memory does not grow with the database; the ledger
//! is read as a stream, and of each effect a few bytes are kept.
//!
//! A run that moves while it is read is read again, so a PostgreSQL database may be judged while servers work on it.

pub mod effects;
pub mod ledger;
mod run;
mod told;

use std::{path::PathBuf, sync::Arc};

use futures::{StreamExt, TryStreamExt};
use windlass_definition::step_type::StepTypes;
use windlass_engine::id::{RunId, TenantKey};
use windlass_store::{
    RunFilter, RunRow, Store, StoreError,
    admin::verify::{Belongings, Holds, RULES},
};

use crate::plans::Plans;
use effects::Effects;

/// Runs that are read together.
const PAGE_RUNS: i64 = 500;
/// Runs that are judged at once.
const AT_ONCE: usize = 4;
/// Violations that are kept; the rest is counted.
const VIOLATIONS_MAX: usize = 1_000;
/// How often a run is read again when it moved meanwhile.
const LOOKS_MAX: usize = 5;

/// What is to be judged beside the tables, and how strictly.
#[derive(Debug, Clone, Default)]
pub struct VerifyOptions {
    /// Every run has ended, and every server had time to tidy up.
    pub at_rest: bool,
    /// Ledgers of what clients were told.
    pub ledgers: Vec<PathBuf>,
    /// Where the outside world is that kept the ledger of effects: successful requests that begin with this are in it.
    pub effects_at: Option<String>,
    /// What must have happened at least, or the verdict means nothing.
    pub minimums: Minimums,
}

/// The least that must have happened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Minimums {
    /// Runs that ended.
    pub runs: u64,
    /// Records of steps.
    pub steps: u64,
    /// Lines of the ledgers of what clients were told.
    pub told: u64,
    /// Effects that the outside world saw.
    pub effects: u64,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// The rule that it breaks, in a word.
    pub rule: String,
    /// The run that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// The entry of its journal that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// What must hold.
    pub expected: String,
    /// What was found.
    pub found: String,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Runs.
    pub runs: u64,
    /// Those that have ended.
    pub ended: u64,
    /// Journal entries.
    pub entries: u64,
    /// Those that are records of steps.
    pub steps: u64,
    /// Rules about rows.
    pub rules: u64,
    /// Lines of the ledgers.
    pub told: u64,
    /// Effects that the outside world saw.
    pub effects: u64,
}

/// What came of it.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Verdict {
    /// What was looked at.
    pub counts: Counts,
    /// How many violations there are.
    pub violation_count: u64,
    /// The first 1,000 of them.
    pub violations: Vec<Violation>,
}

impl Verdict {
    fn add(&mut self, violation: Violation) {
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A ledger cannot be read.
    #[error("{path}: {reason}")]
    Ledger {
        /// Its file.
        path: String,
        /// Why not.
        reason: String,
    },
}

/// Judges a database. `types` are the step types that its documents use; `progress` is told the runs judged so far.
///
/// # Errors
/// The database or a ledger cannot be read.
pub async fn verify(
    store: &Store,
    types: StepTypes,
    (options, effects): (&VerifyOptions, Effects),
    mut progress: impl FnMut(u64) + Send,
) -> Result<Verdict, VerifyError> {
    let judge = Judge { store, plans: Plans::new(Arc::new(types)), options, effects };
    let mut verdict = Verdict::default();
    judge.rows(&mut verdict).await?;
    for tenant in store.tenants().await? {
        judge.runs(tenant.key, &mut verdict, &mut progress).await?;
    }
    for path in &options.ledgers {
        told::check(store, path, &mut verdict).await?;
    }
    verdict.counts.effects = judge.effects.count();
    judge.effects.unclaimed(|violation| verdict.add(violation));
    at_least(options.minimums, &mut verdict);
    Ok(verdict)
}

struct Judge<'a> {
    store: &'a Store,
    plans: Plans,
    options: &'a VerifyOptions,
    effects: Effects,
}

impl Judge<'_> {
    /// The rules about rows.
    async fn rows(&self, verdict: &mut Verdict) -> Result<(), VerifyError> {
        let rules = || RULES.iter().filter(|rule| self.options.at_rest || rule.holds == Holds::Always);
        for (rule, broken) in self.store.broken_rows(rules()).await? {
            verdict.add(Violation {
                rule: rule.name.to_owned(),
                run: broken.run,
                seq: None,
                expected: rule.expected.to_owned(),
                found: broken.found,
            });
        }
        verdict.counts.rules = rules().count() as u64;
        Ok(())
    }

    /// Every run of a tenant, newest first.
    async fn runs(
        &self,
        tenant: TenantKey,
        verdict: &mut Verdict,
        progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), VerifyError> {
        let mut filter = RunFilter::default();
        loop {
            let page = self.store.list_runs(tenant, &filter, PAGE_RUNS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            filter.after = Some(last.id);
            let ids: Vec<RunId> = page.iter().map(|row| row.id).collect();
            let belongings = self.store.belongings(tenant, &ids).await?;
            let judged = page.into_iter().map(|row| {
                let belongings = belongings.get(&row.id).cloned().unwrap_or_default();
                self.run(row, belongings)
            });
            let mut judged = futures::stream::iter(judged).buffer_unordered(AT_ONCE);
            while let Some(run) = judged.try_next().await? {
                verdict.counts.runs += 1;
                verdict.counts.ended += u64::from(run.ended);
                verdict.counts.entries += run.entries;
                verdict.counts.steps += run.steps;
                run.violations.into_iter().for_each(|violation| verdict.add(violation));
                progress(verdict.counts.runs);
            }
        }
    }

    /// One run; it is read again when something is wrong and it moved meanwhile.
    async fn run(&self, mut row: RunRow, mut belongings: Belongings) -> Result<run::Judged, VerifyError> {
        for look in 1.. {
            let judged = run::judge(self, &row, &belongings).await?;
            if judged.violations.is_empty() || look == LOOKS_MAX {
                return Ok(judged);
            }
            let Some(now) = self.store.run(row.tenant, row.id).await? else {
                // Retention took it.
                return Ok(run::Judged::default());
            };
            let ends = self.store.journal_ends(row.tenant, &[row.id]).await?;
            let beside = self.store.belongings(row.tenant, &[row.id]).await?.remove(&row.id).unwrap_or_default();
            if now == row && beside == belongings && ends.get(&row.id) == Some(&judged.last_seq) {
                return Ok(judged);
            }
            (row, belongings) = (now, beside);
        }
        Ok(run::Judged::default())
    }
}

fn at_least(minimums: Minimums, verdict: &mut Verdict) {
    let Counts { ended, steps, told, effects, .. } = verdict.counts;
    let wanted = [
        ("ended runs", ended, minimums.runs),
        ("records of steps", steps, minimums.steps),
        ("lines of what clients were told", told, minimums.told),
        ("effects", effects, minimums.effects),
    ];
    for (what, found, least) in wanted {
        if found < least {
            verdict.add(Violation {
                rule: "progress".to_owned(),
                run: None,
                seq: None,
                expected: format!("at least {least} {what}"),
                found: format!("{found}"),
            });
        }
    }
}
