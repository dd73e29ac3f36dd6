//! The tables of a file of results, as Markdown: what everybody measured, and how many times better or worse we are.
//!
//! Invariant: a ratio above 1 says that we are better, whatever it is a ratio of.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    options::Table,
    peers::{
        DISK_LIMIT, MACHINE, ROWS_LIMIT,
        results::{self, BEGUN, FAILED, Line},
        session::what,
        subject::WINDLASS,
    },
};

/// The lines of a page between which the tables stand.
const BEGIN: &str = "<!-- tables: begin -->";
const END: &str = "<!-- tables: end -->";

/// When others disturbed more measurements than that, they are counted and not named.
const BUSY_NAMED_MAX: usize = 12;

/// Shows the tables of a file, or puts them into a page.
///
/// # Errors
/// A file cannot be read or written, or the page has no place for them.
pub fn show(options: &Table) -> Result<()> {
    let lines = results::read(&options.results)?;
    if lines.is_empty() {
        bail!("{} has no results: `make bench-peers` makes some", options.results.display());
    }
    match &options.page {
        None => print(&lines),
        Some(page) => write(page, &tables(&lines)),
    }
}

/// Writes the tables to standard output.
///
/// # Errors
/// It is closed.
pub fn print(lines: &[Line]) -> Result<()> {
    use std::io::Write as _;
    Ok(std::io::stdout().write_all(tables(lines).as_bytes())?)
}

fn write(page: &Path, tables: &str) -> Result<()> {
    let text = fs::read_to_string(page).with_context(|| format!("failed to read {}", page.display()))?;
    let within = text.find(BEGIN).map(|at| at + BEGIN.len()).zip(text.find(END));
    let Some((begin, end)) = within.filter(|(begin, end)| begin <= end) else {
        bail!("{} has no lines `{BEGIN}` and `{END}`", page.display());
    };
    let text = format!("{}\n\n{tables}\n{}", &text[..begin], &text[end..]);
    fs::write(page, text).with_context(|| format!("failed to write {}", page.display()))
}

/// Everybody who was measured, and everything that was.
struct Everybody<'a> {
    lines: &'a [Line],
}

/// Somebody who was measured: the name and the database.
type Key<'a> = (&'a str, &'a str);

/// A column: its head, the line and the figure that it shows.
type Column = (&'static str, &'static str, &'static str);

/// What is better when it is more, and what when it is less.
#[derive(Clone, Copy)]
enum Better {
    More,
    Less,
}

const RUNS: [&str; 3] = [what::STEPS[0].1, what::STEPS[1].1, what::STEPS[2].1];

const THROUGHPUT: [Column; 7] = [
    ("runs/s of 1 step", RUNS[0], "runs_per_s"),
    ("runs/s of 10", RUNS[1], "runs_per_s"),
    ("runs/s of 100", RUNS[2], "runs_per_s"),
    ("steps/s, runs of 10", RUNS[1], "steps_per_s"),
    ("share of the limit", RUNS[1], "of_limit"),
    ("CPU s per 1,000 steps", RUNS[1], "cpu_s_per_1000_steps"),
    ("PostgreSQL's", RUNS[1], "postgres_cpu_s_per_1000_steps"),
];
const LATENCY: [Column; 6] = [
    ("alone p50", what::ALONE, "p50_ms"),
    ("alone p99", what::ALONE, "p99_ms"),
    ("clients", RUNS[1], "clients"),
    ("under load p50", RUNS[1], "p50_ms"),
    ("under load p99", RUNS[1], "p99_ms"),
    ("fan-out of 1,000", what::FAN_OUTS[0], "p50_ms"),
];
const MEMORY: [Column; 6] = [
    ("idle MiB", what::MEMORY, "idle_mib"),
    ("loaded MiB", what::MEMORY, "loaded_mib"),
    ("peak MiB", what::MEMORY, "peak_mib"),
    ("application MiB", what::MEMORY, "application_mib"),
    ("first start ms", what::START, "empty_ms"),
    ("later start ms", what::START, "existing_ms"),
];
const JOBS: [Column; 5] = [
    ("jobs/s, waited for", RUNS[0], "runs_per_s"),
    ("p50 ms", RUNS[0], "p50_ms"),
    ("jobs/s, added one by one", what::JOBS, "jobs_per_s"),
    ("of these added/s", what::JOBS, "added_per_s"),
    ("jobs/s, added in bulk", what::BACKLOG, "jobs_per_s"),
];
const WIDE: [Column; 5] = [
    ("1,000 ms", what::FAN_OUTS[0], "p50_ms"),
    ("10,000 ms", what::FAN_OUTS[1], "p50_ms"),
    ("peak MiB", what::FAN_OUTS[1], "peak_mib"),
    ("100,000 ms", what::FAN_OUTS[2], "p50_ms"),
    ("peak MiB", what::FAN_OUTS[2], "peak_mib"),
];
const RATIOS: [(Column, Better); 11] = [
    (("runs/s of 1", RUNS[0], "runs_per_s"), Better::More),
    (("of 10", RUNS[1], "runs_per_s"), Better::More),
    (("of 100", RUNS[2], "runs_per_s"), Better::More),
    (("jobs/s", what::JOBS, "jobs_per_s"), Better::More),
    (("alone p50", what::ALONE, "p50_ms"), Better::Less),
    (("alone p99", what::ALONE, "p99_ms"), Better::Less),
    (("fan-out", what::FAN_OUTS[0], "p50_ms"), Better::Less),
    (("memory idle", what::MEMORY, "idle_mib"), Better::Less),
    (("loaded", what::MEMORY, "loaded_mib"), Better::Less),
    (("start", what::START, "existing_ms"), Better::Less),
    (("CPU", RUNS[1], "cpu_s_per_1000_steps"), Better::Less),
];

/// All tables.
pub fn tables(lines: &[Line]) -> String {
    let all = Everybody { lines };
    let mut text = all.conditions();
    all.limits(&mut text);
    all.table(&mut text, "Throughput", &THROUGHPUT, |all, key| all.has(key, RUNS[1]));
    all.table(&mut text, "Latency, ms", &LATENCY, |all, key| all.has(key, what::ALONE));
    all.table(&mut text, "Memory and start", &MEMORY, |all, key| all.has(key, what::MEMORY));
    all.table(&mut text, "Jobs", &JOBS, |all, key| all.has(key, what::JOBS));
    all.table(&mut text, "Our wide fan-outs", &WIDE, |all, key| all.has(key, what::FAN_OUTS[2]));
    all.ratios(&mut text);
    all.described(&mut text);
    all.failures(&mut text);
    text
}

impl<'a> Everybody<'a> {
    /// Everybody but the machine: ourselves first, the others in the order in which they were measured.
    fn keys(&self) -> Vec<Key<'a>> {
        let mut keys: Vec<Key<'_>> = Vec::new();
        for line in self.lines.iter().filter(|it| it.peer != MACHINE) {
            let key = (line.peer.as_str(), line.database.as_str());
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        keys.sort_by_key(|(peer, _)| *peer != WINDLASS);
        keys
    }

    fn line(&self, (peer, database): Key<'_>, what: &str) -> Option<&'a Line> {
        self.lines.iter().find(|it| it.peer == peer && it.database == database && it.what == what)
    }

    fn has(&self, key: Key<'_>, what: &str) -> bool {
        self.line(key, what).is_some()
    }

    fn number(&self, key: Key<'_>, (_, what, name): Column) -> Option<f64> {
        self.line(key, what)?.number(name)
    }

    /// Where and how all this was measured, and what is to be taken with care.
    fn conditions(&self) -> String {
        let commits: BTreeSet<&str> = self.lines.iter().filter_map(|it| it.text("commit")).collect();
        let mut text = format!("Measured on commit {}", Vec::from_iter(commits).join(", "));
        if let Some(Value::Object(machine)) = self.lines.first().and_then(|it| it.figures.get("machine")) {
            let of = |name: &str| machine.get(name).map(|it| it.to_string().replace('"', "")).unwrap_or_default();
            let _ = write!(text, "; {} cores of {}, Linux {}", of("cores"), of("processor"), of("kernel"));
        }
        if let Some(settings) = self.lines.first().and_then(|it| it.figures.get("settings")) {
            let of = |name: &str| settings.get(name).map(Value::to_string).unwrap_or_default();
            let _ = write!(text, "; {} s each, {} clients", of("seconds"), of("clients"));
        }
        text.push_str(".\n");
        let busy = |line: &&Line| line.number("other_cores").is_some_and(|it| it > 0.3);
        let busy: Vec<&Line> = self.lines.iter().filter(busy).collect();
        let named = |line: &&Line| format!("{} of {}", line.what, name((&line.peer, &line.database)));
        match busy.len() {
            0 => {}
            1..=BUSY_NAMED_MAX => {
                let busy: Vec<String> = busy.iter().map(named).collect();
                let _ =
                    writeln!(text, "\nOthers used the machine meanwhile, so these say little: {}.", busy.join("; "));
            }
            count => {
                let _ =
                    writeln!(text, "\nOthers used the machine during {count} measurements: these figures say little.");
            }
        }
        let failed = |line: &&Line| line.number("failures").is_some_and(|it| it > 0.0);
        for line in self.lines.iter().filter(failed) {
            let count = line.number("failures").unwrap_or_default();
            let _ = writeln!(text, "\n{}, {}: {count} wrong answers.", name((&line.peer, &line.database)), line.what);
        }
        text
    }

    fn limits(&self, text: &mut String) {
        text.push_str("\n### Limits of the machine\n\n| limit | figure |\n|---|---|\n");
        if let Some(disk) = self.line((MACHINE, "-"), DISK_LIMIT) {
            let of = |name| shown(disk.number(name));
            let _ = writeln!(text, "| `fdatasync` of 8 KiB, p50 / p99 | {} / {} ms |", of("p50_ms"), of("p99_ms"));
        }
        for (database, name) in [("sqlite", "SQLite"), ("postgres", "PostgreSQL")] {
            let Some(rows) = self.line((MACHINE, database), ROWS_LIMIT) else { continue };
            let figures = ["by_1_rows_per_s", "by_clients_rows_per_s", "by_1000_rows_per_s"];
            let figures = figures.map(|name| shown(rows.number(name))).join(" / ");
            let _ = writeln!(text, "| {name}, rows/s by 1 / as many as clients / 1,000 per commit | {figures} |");
        }
    }

    fn table(&self, text: &mut String, title: &str, columns: &[Column], wanted: fn(&Self, Key<'_>) -> bool) {
        let keys: Vec<Key<'_>> = self.keys().into_iter().filter(|key| wanted(self, *key)).collect();
        if keys.is_empty() {
            return;
        }
        head(text, title, columns.iter().map(|(name, ..)| *name));
        for key in keys {
            let cells = columns.iter().map(|column| shown(self.number(key, *column)));
            row(text, &name(key), cells);
        }
    }

    /// How many times better we are than each of the others on the same database; one with a store of its own stands
    /// beside us on both.
    fn ratios(&self, text: &mut String) {
        let mut rows = Vec::new();
        for key in self.keys().into_iter().filter(|(peer, _)| *peer != WINDLASS) {
            for database in ["sqlite", "postgres"].into_iter().filter(|it| key.1 == *it || key.1 == "own") {
                let own = (WINDLASS, database);
                let ratios = RATIOS.map(|(column, better)| {
                    let (ours, theirs) = (self.number(own, column)?, self.number(key, column)?);
                    let (better, worse) = match better {
                        Better::More => (ours, theirs),
                        Better::Less => (theirs, ours),
                    };
                    (worse > 0.0).then(|| better / worse)
                });
                if ratios.iter().any(Option::is_some) {
                    rows.push((format!("{} / {}", name(own), name(key)), ratios));
                }
            }
        }
        if rows.is_empty() {
            return;
        }
        head(text, "How many times better we are", RATIOS.iter().map(|((name, ..), _)| *name));
        for (title, ratios) in &rows {
            // What is below 1 must not be overlooked.
            let cell = |ratio: &Option<f64>| match ratio {
                Some(ratio) if *ratio < 1.0 => format!("**{}**", shown(Some(*ratio))),
                other => shown(*other),
            };
            row(text, title, ratios.iter().map(cell));
        }
        let worse: usize = rows.iter().map(|(_, it)| it.iter().flatten().filter(|ratio| **ratio < 1.0).count()).sum();
        let all: usize = rows.iter().map(|(_, it)| it.iter().flatten().count()).sum();
        let _ = writeln!(text, "\n{} of {all} are above 1; below 1 are {worse}, in bold.", all - worse);
    }

    fn described(&self, text: &mut String) {
        head(text, "Versions and durability", ["version", "what an answered step has gone through"].into_iter());
        for key in self.keys() {
            let Some(line) = self.line(key, BEGUN) else { continue };
            let of = |name| line.text(name).unwrap_or_default().to_owned();
            row(text, &name(key), [of("version"), of("durability")].into_iter());
        }
    }

    fn failures(&self, text: &mut String) {
        let failed: Vec<&Line> = self.lines.iter().filter(|it| it.what == FAILED).collect();
        if failed.is_empty() {
            return;
        }
        text.push_str("\n### Not measured, or not to the end\n\n");
        for line in failed {
            let why = line.text("why").unwrap_or_default().replace('\n', " ");
            let _ = writeln!(text, "- {}: {}", name((&line.peer, &line.database)), clipped(&why));
        }
    }
}

fn head<'a>(text: &mut String, title: &str, columns: impl Iterator<Item = &'a str>) {
    let columns: Vec<&str> = columns.collect();
    let _ = writeln!(text, "\n### {title}\n\n| | {} |\n|---|{}", columns.join(" | "), "---|".repeat(columns.len()));
}

fn row(text: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.map(|it| it.replace('|', "\\|")).collect();
    let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
}

fn name((peer, database): Key<'_>) -> String {
    match database {
        "sqlite" => format!("{peer}, SQLite"),
        "postgres" => format!("{peer}, PostgreSQL"),
        _ => peer.to_owned(),
    }
}

fn clipped(text: &str) -> String {
    const CHARS: usize = 400;
    if text.chars().count() <= CHARS { text.to_owned() } else { text.chars().take(CHARS).chain(['…']).collect() }
}

/// A figure with as many digits as say something.
fn shown(figure: Option<f64>) -> String {
    let Some(figure) = figure else { return "-".to_owned() };
    if figure >= 100.0 {
        return with_commas(figure.round() as u64);
    }
    let digits = if figure >= 10.0 || figure == 0.0 || figure.fract() == 0.0 && figure >= 1.0 {
        usize::from(figure.fract() != 0.0)
    } else if figure >= 1.0 {
        2
    } else {
        3
    };
    format!("{figure:.digits$}")
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_as_people_read_them() {
        for (figure, expected) in [
            (1_234_567.4, "1,234,567"),
            (999.5, "1,000"),
            (100.0, "100"),
            (42.25, "42.2"),
            (42.0, "42"),
            (1.234, "1.23"),
            (7.0, "7"),
            (0.012_345, "0.012"),
            (0.0, "0"),
        ] {
            assert_eq!(shown(Some(figure)), expected);
        }
        assert_eq!(shown(None), "-");
    }

    #[test]
    fn a_page_keeps_what_is_not_a_table() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.md");
        fs::write(&page, format!("# Page\n{BEGIN}\nold\n{END}\nmore\n")).unwrap();
        write(&page, "new\n").unwrap();
        write(&page, "newer\n").unwrap();
        assert_eq!(fs::read_to_string(&page).unwrap(), format!("# Page\n{BEGIN}\n\nnewer\n\n{END}\nmore\n"));
        fs::write(&page, format!("{END}\n{BEGIN}\n")).unwrap();
        assert!(write(&page, "new\n").unwrap_err().to_string().contains("has no lines"));
    }
}
