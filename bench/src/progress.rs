//! A line on standard error that says how far a measurement is.

use std::{
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
