//! A line on standard error that says how far a measurement is.

use std::{
    cell::Cell,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use crate::load::Until;

/// A measurement that somebody may be watching.
#[derive(Debug)]
pub struct Progress {
    what: String,
    until: Until,
    begin: Instant,
    /// A terminal shows one line that changes; a file gets one line per measurement.
    terminal: bool,
}

impl Progress {
    /// Says that it begins.
    pub fn begin(what: &str, until: Until) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        if terminal {
            eprint!("  {what} …");
        } else {
            eprintln!("  {what} …");
        }
        let _ = std::io::stderr().flush();
        Progress { what: what.to_owned(), until, begin: Instant::now(), terminal }
    }

    /// Says how far it is: so many requests were sent.
    pub fn show(&self, sent: u64) {
        if !self.terminal {
            return;
        }
        let seconds = self.begin.elapsed().as_secs();
        match self.until {
            Until::Elapsed(time) => eprint!("\r\x1b[K  {}: {seconds} of {} s, {sent} sent", self.what, time.as_secs()),
            Until::Counted(count) => eprint!("\r\x1b[K  {}: {sent} of {}", self.what, count + count / 4),
            Until::All(count) => eprint!("\r\x1b[K  {}: {sent} of {count}", self.what),
        }
        let _ = std::io::stderr().flush();
    }

    /// Leaves the line to whatever comes next.
    pub fn end(self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// Says something and measures nothing.
    pub fn say(what: &str) {
        let _ = Progress::begin(what, Until::Elapsed(Duration::ZERO));
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

/// How far something of a known length is.
#[derive(Debug)]
pub struct Bar {
    what: String,
    total: u64,
    begin: Instant,
    terminal: bool,
    /// When it was shown last, and the tenths that were done then.
    shown: Cell<(Instant, u64)>,
}

impl Bar {
    /// Says that it begins.
    pub fn begin(what: &str, total: u64) -> Bar {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        if !terminal {
            eprintln!("  {what}: {total} …");
        }
        Bar { what: what.to_owned(), total, begin: now, terminal, shown: Cell::new((now, 0)) }
    }

    /// Says how far it is: on a terminal a few times a second, elsewhere at each tenth.
    pub fn show(&self, done: u64) {
        let (last, tenths) = self.shown.get();
        let now_tenths = done * 10 / self.total.max(1);
        let due = if self.terminal { last.elapsed() >= Duration::from_millis(200) } else { now_tenths > tenths };
        if !due {
            return;
        }
        self.shown.set((Instant::now(), now_tenths));
        let seconds = self.begin.elapsed().as_secs_f64();
        let per_second = done as f64 / seconds.max(1e-9);
        let left = (self.total.saturating_sub(done)) as f64 / per_second.max(1e-9);
        let percent = done * 100 / self.total.max(1);
        let line = format!("  {}: {percent} % of {}, {per_second:.0}/s, {left:.0} s left", self.what, self.total);
        if self.terminal {
            eprint!("\r\x1b[K{line}");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    /// Leaves the line to whatever comes next.
    pub fn end(self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
        eprintln!("  {}: {} in {:.1} s", self.what, self.total, self.begin.elapsed().as_secs_f64());
    }
}
