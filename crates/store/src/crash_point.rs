//! Named moments at which a process can be made to die, for the proof that each of them may be its last.
//!
//! Without the feature `crashpoints`, which no shipped build has, [`hit`] is nothing. With it, a process that was started
//! with `WINDLASS_CRASH_POINT=<name>:<n>` aborts when it comes to that moment for the n-th time.

/// Every moment: before and after each commit, send and acknowledgement, and on the way back after a crash.
pub const NAMES: &[&str] = &[
    "before-commit",
    "after-commit",
    "after-told",
    "before-letter-stored",
    "after-letter-stored",
    "before-follow",
    "after-answer",
    "after-follow",
    "before-attempt",
    "after-attempt",
    "before-load",
    "after-load",
    "before-letter-opened",
    "before-timer",
    "before-take-over",
    "after-take-over",
];

/// Every moment of a rotation of the vault's keys: between what it writes into the file of the master key and into the
/// database, and around each transaction.
pub const OF_ROTATION: &[&str] = &[
    "after-key-written",
    "after-key-accepted",
    "after-key-retired",
    "after-key-aside",
    "before-data-keys",
    "after-data-keys",
    "before-reseal",
    "after-reseal",
    "after-keys-dropped",
];

/// Comes to a moment.
#[cfg(not(feature = "crashpoints"))]
#[inline(always)]
pub fn hit(_name: &'static str) {}

/// Comes to a moment.
#[cfg(feature = "crashpoints")]
pub fn hit(name: &'static str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    };

    static CHOSEN: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static HITS: AtomicU32 = AtomicU32::new(0);
    debug_assert!(NAMES.contains(&name) || OF_ROTATION.contains(&name), "{name} is not among the crash points");
    let chosen = CHOSEN.get_or_init(|| {
        let chosen = std::env::var("WINDLASS_CRASH_POINT").ok()?;
        let (name, nth) = chosen.rsplit_once(':')?;
        Some((name.to_owned(), nth.parse().ok()?))
    });
    if let Some((chosen, nth)) = chosen
        && chosen == name
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *nth
    {
        std::process::abort();
    }
}
