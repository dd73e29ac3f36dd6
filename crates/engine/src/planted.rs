//! Bugs that are planted on purpose, to see that the checks find them: who checks the checks?
//!
//! Only a build with the feature `mutants` holds them, all at once, and one of them is chosen at run time. In every
//! other build [`planted`] is `false` before it is compiled, so that nothing of them is left.

macro_rules! bugs {
    ($($(#[doc = $doc:literal])* $bug:ident = $name:literal,)*) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug { $($(#[doc = $doc])* $bug,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$bug,)*];

            /// Its name at the command line.
            pub const fn name(self) -> &'static str {
                match self { $(Bug::$bug => $name,)* }
            }
        }
    };
}

bugs! {
    /// A join of all begins at the first edge that is taken.
    JoinAllAtFirst = "join-all-at-first",
    /// A join of some begins one edge too soon.
    JoinOneTooFew = "join-one-too-few",
    /// An edge that comes late starts a join again.
    JoinTwice = "join-twice",
    /// What no path leads to is passed on as if it had been skipped by its `if`.
    DeadPathLives = "dead-path-lives",
    /// A step that its `if` skipped takes its followers with it.
    SkippedIsDead = "skipped-is-dead",
    /// `otherwise` is taken beside another edge.
    OtherwiseAlways = "otherwise-always",
    /// `on_error: continue` stops the block all the same.
    ContinueStops = "continue-stops",
    /// One attempt more than `attempts`.
    RetryOneMore = "retry-one-more",
    /// One attempt fewer than `attempts`.
    RetryOneFewer = "retry-one-fewer",
    /// Errors are retried that are not to be.
    RetryAnything = "retry-anything",
    /// The exponential backoff does not grow.
    BackoffFlat = "backoff-flat",
    /// Jitter makes the distance longer.
    JitterLonger = "jitter-longer",
    /// What a server asked for with `retry_after_ms` is ignored.
    RetryAfterIgnored = "retry-after-ignored",
    /// `within` is ignored.
    WithinIgnored = "within-ignored",
    /// Timers fire a microsecond early.
    TimerEarly = "timer-early",
    /// A step's timeout fires a second early.
    TimeoutEarly = "timeout-early",
    /// The oldest is taken back first.
    UndoForward = "undo-forward",
    /// The last undo runs twice.
    UndoTwice = "undo-twice",
    /// The second undo that is registered is forgotten.
    UndoForgotten = "undo-forgotten",
    /// An undo that failed is not listed.
    UndoFailureHidden = "undo-failure-hidden",
    /// `after: started` waits for the end.
    UndoStartedLate = "undo-started-late",
    /// A run that takes back what it did can be cancelled.
    CancelDuringUndo = "cancel-during-undo",
    /// A signal that no step waits for is dropped.
    SignalBeforeWaitLost = "signal-before-wait-lost",
    /// A signal that came early is taken by every wait.
    SignalTakenTwice = "signal-taken-twice",
    /// The signal that came last is taken first.
    SignalLastFirst = "signal-last-first",
    /// A second signal under the same key counts.
    SignalKeyIgnored = "signal-key-ignored",
    /// One item more than `parallel` runs.
    ForEachOneMore = "foreach-one-more",
    /// Outputs stand in the order in which the items ended.
    ForEachOutputsByEnd = "foreach-outputs-by-end",
    /// The last item of three is left out.
    ForEachLastLeftOut = "foreach-last-left-out",
    /// A round that ended with `next` does not count.
    WhileNextNotCounted = "while-next-not-counted",
    /// One round more than `max`.
    WhileOneMore = "while-one-more",
    /// The case after the one that matches runs.
    SwitchNextCase = "switch-next-case",
    /// The default runs in place of a case that matches.
    IfInverted = "if-inverted",
    /// A `catch` takes errors that it does not name.
    CatchTakesAll = "catch-takes-all",
    /// `finally` is left out after a failure.
    FinallyLeftOut = "finally-left-out",
    /// A `parallel` is content with one branch fewer.
    ParallelOneFewer = "parallel-one-fewer",
    /// A paused run goes on.
    PauseIgnored = "pause-ignored",
    /// A signal that comes during a pause is dropped.
    PauseDropsSignal = "pause-drops-signal",
    /// What may happen at most once is repeated when its server is gone.
    AtMostOnceAgain = "at-most-once-again",
    /// Another attempt has another idempotency key.
    KeyOfAttempt = "key-of-attempt",
    /// A run that has ended can be cancelled.
    FinalStatusChanges = "final-status-changes",
    /// Who started a run may decide on it.
    RequesterDecides = "requester-decides",
    /// One person's word counts twice.
    DecidesTwice = "decides-twice",
    /// A number of the journal is left out after a loss.
    SeqGap = "seq-gap",
    /// A process that takes a run over does not repeat what ran.
    RecoverForgetsAttempts = "recover-forgets-attempts",
    /// The state that is stored forgets the keys of signals.
    ReplayDiffers = "replay-differs",

    /// The database takes a commit under an epoch that is over.
    FenceOpen = "fence-open",
    /// A node that is refused by the fence keeps what it holds.
    FencedKeepsRuns = "fenced-keeps-runs",
    /// A commit whose answer never came is taken for failed.
    UnknownIsFailed = "unknown-is-failed",
    /// A commit whose answer never came is taken for done.
    UnknownIsDone = "unknown-is-done",
    /// A commit whose answer never came is sent again without a look.
    UnknownSentAgain = "unknown-sent-again",
    /// The look for a commit does not wait for the session that may still write it.
    WitnessTooSoon = "witness-too-soon",
    /// Effects do not wait for the disk.
    EffectBeforeAck = "effect-before-ack",
    /// Answers do not wait for the disk.
    AnswerBeforeAck = "answer-before-ack",
    /// Letters are told, not written.
    LetterNotWritten = "letter-not-written",
    /// A letter is thrown away before it is taken.
    LetterThrownAway = "letter-thrown-away",
    /// A letter that was refused goes before what it was refused for is on disk.
    RefusedThrownAway = "refused-thrown-away",
    /// What asked for a child that was cancelled before it began is left, though its parent was told of its end.
    UnbornAskedForStill = "unborn-asked-for-still",
    /// The cancel of a child that has not begun is thrown away before the child is.
    UnbornInTwoCommits = "unborn-in-two-commits",
    /// The row of a letter stays when it is taken.
    LetterStays = "letter-stays",
    /// A waiting run has no timer row.
    TimerNotWritten = "timer-not-written",
    /// The timer row of a run stays when it goes on.
    TimerStays = "timer-stays",
    /// The node's own clock says what time it is.
    OwnClock = "own-clock",
    /// Adopting a lane leaves its runs that take back alone.
    AdoptionForgetsUndo = "adoption-forgets-undo",
    /// A run that was under way is loaded and left as it is.
    LoadedNotRecovered = "loaded-not-recovered",
    /// A run leaves memory while its commit is on the way.
    EvictedTooSoon = "evicted-too-soon",
    /// A snapshot says less than the journal before it.
    SnapshotTooOld = "snapshot-too-old",
    /// The chain of checksums begins anew on another node.
    ChainBroken = "chain-broken",
    /// Starting under a key that was used starts again.
    KeyStartsAgain = "key-starts-again",
    /// Who started second is told of a run that was never there.
    LoserToldOwnRun = "loser-told-own-run",
    /// A key that was used for something else is accepted.
    KeyOfOtherBody = "key-of-other-body",
    /// The run's row does not say that it is paused.
    RowStatusBehind = "row-status-behind",
    /// A task is offered after the commit, not in it.
    TaskNotWritten = "task-not-written",
    /// The row of a run says that it waits, though its task has no row yet.
    HandedWaits = "handed-waits",
    /// A task without a row is forgotten by whoever takes its run over.
    HandedForgotten = "handed-forgotten",
    /// A run with a task without a row leaves memory as it is.
    HandedEvicted = "handed-evicted",
    /// A run that is read for an event is not recovered, though its row says that it runs.
    HandedNotRecovered = "handed-not-recovered",
    /// Whoever takes a run over writes all of its tasks, those with rows as well.
    HandedWrittenAgain = "handed-written-again",
    /// The row of a task that lay for whoever comes next says that nobody has it, though a worker took it meanwhile.
    LyingTwice = "lying-twice",
    /// A task lies there for whoever comes next although it has its row, or its run is not what it was.
    LyingKept = "lying-kept",
    /// A task without a row counts as withdrawn before anybody had it, though a worker has it.
    LyingWithdrawn = "lying-withdrawn",
    /// The next batch of a lane does not wait for the one before.
    BatchesOvertake = "batches-overtake",
    /// The answer to a commit counts for a state that was given up.
    AckOfOldState = "ack-of-old-state",
    /// A child that could not be started is not told to its parent.
    RefusalNotTold = "refusal-not-told",
}

/// Whether that bug was chosen.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "mutants")]
pub use chosen::{choose, planted};

#[cfg(feature = "mutants")]
mod chosen {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static CHOSEN: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in what this thread does from now on, or none.
    pub fn choose(bug: Option<Bug>) {
        CHOSEN.set(bug);
    }

    /// Whether that bug was chosen.
    #[inline]
    pub fn planted(bug: Bug) -> bool {
        CHOSEN.get() == Some(bug)
    }
}
