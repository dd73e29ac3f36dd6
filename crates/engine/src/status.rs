//! The status words. A final one never changes.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! status {
    ($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $variant:ident = $word:literal $(, $final:ident)?;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$word_doc])* $variant,)* }

        impl $name {
            /// Every status, in the order of the language page.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The word that answers and the database use.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// The status of that word.
            pub fn parse(word: &str) -> Option<$name> {
                match word { $($word => Some($name::$variant),)* _ => None }
            }

            /// Whether it never changes again.
            pub const fn is_final(self) -> bool {
                match self { $($name::$variant => status!(@final $($final)?),)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
    (@final ends) => { true };
    (@final) => { false };
}

status! {
    /// Where a run stands.
    RunStatus {
        /// Waits for a place.
        Queued = "queued";
        /// Something of it runs or is about to.
        Running = "running";
        /// Nothing runs and at least one step waits.
        Waiting = "waiting";
        /// Nothing new starts until it is resumed.
        Paused = "paused";
        /// Its undo steps run.
        Compensating = "compensating";
        /// Everything went well.
        Completed = "completed", ends;
        /// It failed, and not all was taken back.
        Failed = "failed", ends;
        /// It failed, and all that was registered was taken back.
        Compensated = "compensated", ends;
        /// Somebody cancelled it.
        Cancelled = "cancelled", ends;
        /// Its own `timeout` passed.
        TimedOut = "timed_out", ends;
    }
}

impl RunStatus {
    /// Those of which something may have been under way when their process ended: whoever takes a lane over loads them.
    /// The others wait for a timer, a letter or a place, which are rows.
    pub const TAKEN_OVER: [RunStatus; 3] = [RunStatus::Running, RunStatus::Compensating, RunStatus::Paused];
}

status! {
    /// Where a step stands.
    StepStatus {
        /// Not yet its turn.
        Pending = "pending";
        /// An attempt runs, or the blocks inside it do.
        Running = "running";
        /// Waits for something from outside, or for its next attempt.
        Waiting = "waiting";
        /// It has its output.
        Completed = "completed", ends;
        /// It failed for good.
        Failed = "failed", ends;
        /// Its `if` was false, or no path leads to it any more.
        Skipped = "skipped", ends;
        /// It was stopped.
        Cancelled = "cancelled", ends;
        /// Its own `timeout` passed.
        TimedOut = "timed_out", ends;
    }
}

status! {
    /// Where a task for an outside worker stands.
    TaskStatus {
        /// Nobody has it.
        Pending = "pending";
        /// A worker holds its lease.
        Claimed = "claimed";
        /// The worker gave its output.
        Completed = "completed", ends;
        /// The worker, or the limit of lost leases, failed it.
        Failed = "failed", ends;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for status in RunStatus::ALL {
            assert_eq!(RunStatus::parse(status.as_str()), Some(*status));
        }
        assert_eq!(RunStatus::ALL.iter().filter(|status| status.is_final()).count(), 5);
        assert_eq!(StepStatus::ALL.iter().filter(|status| status.is_final()).count(), 5);
        assert_eq!(TaskStatus::parse("lost"), None);
    }
}
