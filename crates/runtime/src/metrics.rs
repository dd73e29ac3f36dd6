//! Counters of what the runtime did, read as one snapshot.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use serde::Serialize;
use windlass_engine::status::RunStatus;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters themselves; shared by everything in a runtime.
        #[derive(Debug, Default)]
        pub(crate) struct Metrics { $(pub(crate) $name: AtomicU64,)* gauges: Gauges }

        /// What was counted since the process started, and what is going on now.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        pub struct MetricsSnapshot {
            $($(#[$doc])* pub $name: u64,)*
            /// Runs in memory now.
            pub runs_in_memory: u64,
            /// Runs that are open and do not wait, now.
            pub runs_active: u64,
            /// Attempts that run or wait for their turn now.
            pub attempts_open: u64,
            /// Transitions that are on their way to the disk now.
            pub commits_in_flight: u64,
        }

        impl Metrics {
            pub(crate) fn snapshot(&self) -> MetricsSnapshot {
                MetricsSnapshot {
                    $($name: self.$name.load(Relaxed),)*
                    runs_in_memory: self.gauges.runs_in_memory.get(),
                    runs_active: 0,
                    attempts_open: self.gauges.attempts_open.get(),
                    commits_in_flight: self.gauges.commits_in_flight.get(),
                }
            }
        }
    };
}

counters! {
    /// Runs started.
    runs_started,
    /// Runs that ended as `completed`.
    runs_completed,
    /// Runs that ended as `failed`.
    runs_failed,
    /// Runs that ended as `compensated`.
    runs_compensated,
    /// Runs that ended as `cancelled`.
    runs_cancelled,
    /// Runs that ended as `timed_out`.
    runs_timed_out,
    /// Runs that had to wait in the database until a server has room.
    runs_queued,
    /// Queued runs that this server had room for.
    runs_claimed,
    /// Runs rebuilt from their journal.
    runs_loaded,
    /// Runs sent back to the database.
    runs_evicted,
    /// Runs that could not be rebuilt or written and stand still.
    runs_damaged,
    /// Steps that ended.
    steps_ended,
    /// Attempts that ran to their end here.
    attempts_ended,
    /// Attempts that panicked.
    attempts_panicked,
    /// Attempts lost with a server or worker.
    attempts_lost,
    /// Transitions on disk.
    commits,
    /// Journal entries on disk.
    entries,
    /// Transitions that could not be written.
    commits_failed,
    /// Times that a turner woke up; `messages` by this is the size of its batches.
    batches,
    /// Messages that turners handled.
    messages,
    /// Timers that fired.
    timers_fired,
    /// Tasks claimed by workers.
    tasks_claimed,
    /// Claims of tasks that ran out.
    tasks_lost,
    /// Runs removed by retention.
    runs_removed,
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, by: i64) {
        self.0.fetch_add(by, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Gauges {
    pub(crate) runs_in_memory: Gauge,
    pub(crate) attempts_open: Gauge,
    pub(crate) commits_in_flight: Gauge,
}

impl Metrics {
    pub(crate) fn gauges(&self) -> &Gauges {
        &self.gauges
    }

    pub(crate) fn run_ended(&self, status: RunStatus) {
        match status {
            RunStatus::Completed => add(&self.runs_completed, 1),
            RunStatus::Failed => add(&self.runs_failed, 1),
            RunStatus::Compensated => add(&self.runs_compensated, 1),
            RunStatus::Cancelled => add(&self.runs_cancelled, 1),
            RunStatus::TimedOut => add(&self.runs_timed_out, 1),
            RunStatus::Queued
            | RunStatus::Running
            | RunStatus::Waiting
            | RunStatus::Paused
            | RunStatus::Compensating => {}
        }
    }
}

pub(crate) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}
