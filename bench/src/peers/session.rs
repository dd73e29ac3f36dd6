//! The measurements of one subject, in an order in which none spoils the next.

use std::{
    future::Future,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    load::{self, Load, Measured, Until},
    machine::Usage,
    peers::{
        manifest::Storage,
        results::Results,
        subject::{FAN_OUT_OF_ALL, FAN_OUTS, Place, Running, Subject, Work},
    },
    progress::Progress,
    report::{Figures, figure},
};

/// How long a server has nothing to do before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);
/// Runs that show how many fit into the time, where so many do.
const WARM_UPS: u32 = 20;
/// How few and how many runs a measurement of latency has after that.
const ALONE_RUNS: RangeInclusive<u32> = 5..=400;
/// How many fan-outs.
const FAN_OUT_RUNS: RangeInclusive<u32> = 3..=10;
/// Jobs that are added in bulk.
const BACKLOG: u32 = 20_000;
/// Starts on a database that was used, of which the median is told.
const STARTS: usize = 3;
/// How long answers are waited for after the time of a measurement is over.
const GRACE: Duration = Duration::from_secs(15);
/// How long a subject may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// How long one answer may take where few are asked for.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// What a line is about.
pub mod what {
    /// One run after another.
    pub const ALONE: &str = "one run of 10 steps, alone";
    /// Many clients at once.
    pub const STEPS: [(u32, &str); 3] = [(1, "runs of 1 step"), (10, "runs of 10 steps"), (100, "runs of 100 steps")];
    /// Wide runs.
    pub const FAN_OUTS: [&str; 3] = ["fan-out of 1,000 steps", "fan-out of 10,000 steps", "fan-out of 100,000 steps"];
    /// Jobs that are added and not waited for.
    pub const JOBS: &str = "jobs, added one by one while others are done";
    /// Jobs that are added in bulk.
    pub const BACKLOG: &str = "jobs, added in bulk and done";
    /// Memory.
    pub const MEMORY: &str = "memory";
    /// Starts.
    pub const START: &str = "start to ready";
}

/// The measurements of one subject.
pub struct Session<'a> {
    /// Who.
    pub subject: &'a Subject,
    /// Where.
    pub place: &'a Place,
    /// Where figures go.
    pub results: &'a Results,
    /// Seconds of each measurement under load.
    pub time: Duration,
    /// Clients at once.
    pub clients: u32,
    /// Rows a second that the database takes from one who does nothing else, if it is one that was measured.
    pub limit_rows_per_second: Option<f64>,
}

impl Session<'_> {
    /// Measures everything that the subject can do.
    ///
    /// # Errors
    /// It cannot be started, or breaks.
    pub async fn measure(&self) -> Result<()> {
        self.subject.prepare(self.place).await?;
        let running = self.subject.start(self.place).await?;
        let first_ready = running.ready_after;
        tokio::time::sleep(SETTLE).await;
        let idle_bytes = running.processes.usage()?.memory_bytes;
        let steps = self.subject.steps();
        if steps.contains(&10) {
            self.alone(&running, what::ALONE, Work::Steps(10)).await?;
        } else {
            self.alone(&running, "one run of 1 step, alone", Work::Steps(1)).await?;
        }
        let (last, others) = what::STEPS.split_last().context("no lengths")?;
        for (count, what) in others.iter().filter(|(count, _)| steps.contains(count)) {
            self.crowd(&running, what, *count, GRACE).await?;
        }
        let used = running.processes.usage()?;
        let mib = |bytes: u64| figure(bytes as f64 / f64::from(1 << 20));
        let memory = vec![
            ("idle_mib", mib(idle_bytes)),
            ("loaded_mib", mib(used.memory_bytes)),
            ("peak_mib", mib(used.peak_bytes)),
            ("application_mib", if used.application_bytes == 0 { Value::Null } else { mib(used.application_bytes) }),
        ];
        self.add(what::MEMORY, memory)?;
        self.fan_out(&running, what::FAN_OUTS[0], FAN_OUT_OF_ALL).await?;
        self.jobs(&running).await?;
        running.processes.stop(STOP_WITHIN)?;
        self.wide().await?;
        let running = self.starts(first_ready).await?;
        if steps.contains(&last.0) {
            // Nothing comes after it, so what is under way in the end need not be waited for.
            self.crowd(&running, last.1, last.0, Duration::ZERO).await?;
        }
        Ok(())
    }

    fn add(&self, what: &str, figures: Figures) -> Result<()> {
        self.results.add(what, self.subject.key(), figures)
    }

    fn title(&self, what: &str) -> String {
        format!("{}: {what}", self.subject.name())
    }

    fn load(&self, running: &Running, what: &str, work: Work) -> Option<Load> {
        let request = self.subject.request(work, running.address)?;
        Some(Load {
            what: self.title(what),
            address: running.address,
            request: request.bytes.into(),
            expected: request.expected.into(),
            clients: self.subject.clients(self.clients),
            until: Until::Elapsed(self.time),
            patience: self.time + GRACE,
        })
    }

    /// So many runs one after another, on a subject that does nothing else, as fit into the time; one where one does not.
    async fn one_by_one(&self, load: Load, runs: RangeInclusive<u32>) -> Result<Measured> {
        let one = |count| Load { clients: 1, until: Until::Counted(count), patience: ANSWER_WITHIN, ..load.clone() };
        let fit = |measured: &Measured| self.time.as_secs_f64() * 1e3 / measured.latency_ms(0.5) / 1.25;
        let mut tried = load::run(one(1)).await?;
        // Without an answer, or without a right one, that is what there is to tell.
        if tried.failures > 0 || fit(&tried).is_nan() || fit(&tried) < 1.0 {
            return Ok(tried);
        }
        if fit(&tried) > f64::from(WARM_UPS) {
            tried = load::run(one(WARM_UPS)).await?;
        }
        load::run(one((fit(&tried) as u32).clamp(*runs.start(), *runs.end()))).await
    }

    async fn alone(&self, running: &Running, what: &str, work: Work) -> Result<()> {
        let load = self.load(running, what, work).context("a subject that runs nothing")?;
        let watch = Watch::begin(running)?;
        let measured = self.one_by_one(load, ALONE_RUNS).await?;
        let watched = watch.end(running)?;
        let figures = vec![
            ("runs", json!(measured.latencies_us.len())),
            ("p50_ms", figure(measured.latency_ms(0.5))),
            ("p99_ms", figure(measured.latency_ms(0.99))),
            ("max_ms", figure(measured.latency_ms(1.0))),
            ("other_cores", figure(watched.other_cores)),
            ("failures", json!(measured.failures)),
        ];
        self.add(what, figures)
    }

    async fn fan_out(&self, running: &Running, what: &str, width: u32) -> Result<()> {
        let Some(load) = self.load(running, what, Work::FanOut(width)) else { return Ok(()) };
        let watch = Watch::begin(running)?;
        let measured = self.one_by_one(load, FAN_OUT_RUNS).await?;
        let watched = watch.end(running)?;
        let figures = vec![
            ("runs", json!(measured.latencies_us.len())),
            ("p50_ms", figure(measured.latency_ms(0.5))),
            ("max_ms", figure(measured.latency_ms(1.0))),
            ("peak_mib", figure(running.processes.usage()?.peak_bytes as f64 / f64::from(1 << 20))),
            ("other_cores", figure(watched.other_cores)),
            ("failures", json!(measured.failures)),
        ];
        self.add(what, figures)
    }

    /// Many clients, each of which waits for its run and starts the next.
    async fn crowd(&self, running: &Running, what: &str, count: u32, grace: Duration) -> Result<()> {
        let load = self.load(running, what, Work::Steps(count)).context("a subject that runs nothing")?;
        let load = Load { patience: self.time + grace, ..load };
        let clients = load.clients;
        let under = self.under_load(running, load).await?;
        let steps_per_second = under.effects_per_second.unwrap_or(under.measured.per_second() * f64::from(count));
        let steps = under.effects.unwrap_or(under.measured.requests * u64::from(count));
        let per_1000 = |cpu: f64| figure(cpu * 1_000.0 / steps as f64);
        let of_limit = self.limit_rows_per_second.map_or(f64::NAN, |limit| steps_per_second / limit);
        let (measured, watched) = (&under.measured, under.watched);
        let figures = vec![
            ("clients", json!(clients)),
            ("runs_per_s", figure(steps_per_second / f64::from(count))),
            ("answers_per_s", figure(measured.per_second())),
            ("steps_per_s", figure(steps_per_second)),
            ("p50_ms", figure(measured.latency_ms(0.5))),
            ("p99_ms", figure(measured.latency_ms(0.99))),
            ("of_limit", figure(of_limit)),
            ("cpu_s_per_1000_steps", per_1000(watched.cpu)),
            ("postgres_cpu_s_per_1000_steps", per_1000(self.on_postgres(watched.postgres_cpu))),
            ("other_cores", figure(watched.other_cores)),
            ("failures", json!(measured.failures)),
        ];
        self.add(what, figures)
    }

    async fn jobs(&self, running: &Running) -> Result<()> {
        if let Some(load) = self.load(running, what::BACKLOG, Work::Backlog(BACKLOG)) {
            let load = Load { clients: 1, until: Until::Counted(1), patience: ANSWER_WITHIN, ..load };
            let measured = load::run(load).await?;
            let seconds = measured.latency_ms(0.5) / 1e3;
            let figures = vec![
                ("jobs", json!(BACKLOG)),
                ("jobs_per_s", figure(f64::from(BACKLOG) / seconds)),
                ("failures", json!(measured.failures)),
            ];
            self.add(what::BACKLOG, figures)?;
        }
        let Some(load) = self.load(running, what::JOBS, Work::Job) else { return Ok(()) };
        let clients = load.clients;
        let under = self.under_load(running, load).await?;
        let done_per_second = under.effects_per_second.context("it does not count its jobs")?;
        let figures = vec![
            ("clients", json!(clients)),
            ("added_per_s", figure(under.measured.per_second())),
            ("jobs_per_s", figure(done_per_second)),
            ("other_cores", figure(under.watched.other_cores)),
            ("failures", json!(under.measured.failures)),
        ];
        self.add(what::JOBS, figures)
    }

    /// Runs a loop, and looks at the processors and at what was executed meanwhile.
    async fn under_load(&self, running: &Running, load: Load) -> Result<UnderLoad> {
        let before = self.subject.effects(running).await?;
        let watch = Watch::begin(running)?;
        let (measured, effects_per_second) = both(load::run(load), self.effects_per_second(running)).await?;
        let watched = watch.end(running)?;
        let after = self.subject.effects(running).await?;
        let effects = before.zip(after).map(|(before, after)| after - before);
        Ok(UnderLoad { measured, effects_per_second, effects, watched })
    }

    /// Steps executed a second in what counts of the time of a loop that begins now: all but its first fifth.
    async fn effects_per_second(&self, running: &Running) -> Result<Option<f64>> {
        tokio::time::sleep(self.time / 5).await;
        let before = self.subject.effects(running).await?;
        let since = Instant::now();
        tokio::time::sleep(self.time * 4 / 5).await;
        let after = self.subject.effects(running).await?;
        let seconds = since.elapsed().as_secs_f64();
        Ok(before.zip(after).map(|(before, after)| (after - before) as f64 / seconds))
    }

    /// Starts on the database that the measurements left behind; the last one goes on.
    async fn starts(&self, first: Duration) -> Result<Running> {
        Progress::say(&self.title(what::START));
        let mut taken = Vec::new();
        let running = loop {
            let running = self.subject.start(self.place).await?;
            taken.push(running.ready_after.as_secs_f64() * 1e3);
            if taken.len() == STARTS {
                break running;
            }
            running.processes.stop(STOP_WITHIN)?;
        };
        taken.sort_by(f64::total_cmp);
        let figures = vec![
            ("empty_ms", figure(first.as_secs_f64() * 1e3)),
            ("existing_ms", figure(taken[STARTS / 2])),
            ("worst_ms", figure(taken[STARTS - 1])),
        ];
        self.add(what::START, figures)?;
        Ok(running)
    }

    /// Our own wider fan-outs, each on a server that did nothing before, so that the highest memory is its own.
    async fn wide(&self) -> Result<()> {
        for (width, what) in FAN_OUTS.into_iter().zip(what::FAN_OUTS).skip(1) {
            let nowhere = ([127, 0, 0, 1], 0).into();
            if self.subject.request(Work::FanOut(width), nowhere).is_some() {
                let running = self.subject.start(self.place).await?;
                self.fan_out(&running, what, width).await?;
                running.processes.stop(STOP_WITHIN)?;
            }
        }
        Ok(())
    }

    /// PostgreSQL's processor time counts for those that use it.
    fn on_postgres(&self, cpu: f64) -> f64 {
        if self.subject.storage == Storage::Postgres { cpu } else { f64::NAN }
    }
}

/// What a loop came to.
struct UnderLoad {
    measured: Measured,
    /// Steps executed a second while it was counted, if the subject can tell.
    effects_per_second: Option<f64>,
    /// Steps executed from its first request to its last answer.
    effects: Option<u64>,
    watched: Watched,
}

async fn both<A, B>(first: impl Future<Output = Result<A>>, second: impl Future<Output = Result<B>>) -> Result<(A, B)> {
    tokio::try_join!(first, second)
}

/// Processor time over a measurement.
struct Watch {
    usage: Usage,
    subject: Duration,
    generator: Duration,
}

/// What a watch saw.
#[derive(Clone, Copy)]
struct Watched {
    /// Processor seconds of the subject's processes.
    cpu: f64,
    /// Processor seconds of PostgreSQL.
    postgres_cpu: f64,
    /// Cores used by processes that are not ours: above 0.3, the figures beside it are of a busy machine.
    other_cores: f64,
}

impl Watch {
    fn begin(running: &Running) -> Result<Watch> {
        let generator = windlass_testkit::cpu_of(std::process::id())?;
        Ok(Watch { usage: Usage::now()?, subject: running.processes.usage()?.cpu, generator })
    }

    fn end(self, running: &Running) -> Result<Watched> {
        let cores = self.usage.since()?;
        let cpu = running.processes.usage()?.cpu.saturating_sub(self.subject).as_secs_f64();
        let generator = (windlass_testkit::cpu_of(std::process::id())? - self.generator).as_secs_f64();
        let ours = (cpu + generator) / cores.seconds + cores.postgres;
        Ok(Watched { cpu, postgres_cpu: cores.postgres * cores.seconds, other_cores: (cores.busy - ours).max(0.0) })
    }
}
