//! Figures for Prometheus: what the HTTP side counts, beside what the runtime tells.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::http::StatusCode;

/// Upper bounds of the latency buckets, in microseconds.
const BUCKETS_US: [u64; 12] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000, 30_000_000];

/// Counters of the HTTP side.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    in_flight: AtomicU64,
    by_class: [AtomicU64; 6],
    took: Histogram,
}

/// How long something took, how often.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [AtomicU64; BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn write(&self, (name, help): (&str, &str), text: &mut Exposition) {
        text.head(name, "histogram", help);
        let mut total = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = BUCKETS_US.get(at).map_or("+Inf".to_owned(), |us| (*us as f64 / 1e6).to_string());
            text.sample(&format!("{name}_bucket"), &format!("le=\"{bound}\""), total as f64);
        }
        text.sample(&format!("{name}_sum"), "", load(&self.sum_us) / 1e6);
        text.sample(&format!("{name}_count"), "", total as f64);
    }
}

/// What happened at the door.
#[derive(Debug, Default)]
pub struct AdmissionMetrics {
    waited: Histogram,
    shed_for_tenant: AtomicU64,
    shed_for_server: AtomicU64,
    held: AtomicU64,
}

impl AdmissionMetrics {
    /// A request has waited for its turn, in vain or not.
    pub fn waited(&self, so_long: Duration) {
        self.waited.observe(so_long);
    }

    /// A request was refused with that status.
    pub fn shed(&self, status: StatusCode) {
        let counter =
            if status == StatusCode::TOO_MANY_REQUESTS { &self.shed_for_tenant } else { &self.shed_for_server };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was held: its connection had been refused the same, and came again too soon.
    pub fn held(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were held.
    #[cfg(test)]
    pub fn held_count(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Writes the figures in Prometheus' text format; `occupancy` is how many are worked on, and how many wait.
    pub fn write(&self, occupancy: (usize, usize), text: &mut Exposition) {
        text.gauge("windlass_requests_admitted", "Requests that are worked on.", occupancy.0 as f64);
        text.gauge("windlass_requests_waiting", "Requests that wait for their turn.", occupancy.1 as f64);
        let name = "windlass_requests_shed_total";
        text.head(name, "counter", "Requests refused because too many were there, by whose bound was passed.");
        text.sample(name, "bound=\"tenant\"", load(&self.shed_for_tenant));
        text.sample(name, "bound=\"server\"", load(&self.shed_for_server));
        let help = "Requests held until Retry-After: their connection was refused the same, and came again before.";
        text.head("windlass_requests_held_total", "counter", help);
        text.sample("windlass_requests_held_total", "", load(&self.held));
        let help = "Time that requests which found no place at once waited for one, in vain or not.";
        self.waited.write(("windlass_request_wait_seconds", help), text);
    }
}

/// Counts one request as being answered, until it is dropped.
pub struct InFlight<'a>(&'a AtomicU64);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpMetrics {
    /// A request has come.
    pub fn enter(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// A request was answered.
    pub fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).min(5);
        self.by_class[class].fetch_add(1, Ordering::Relaxed);
        self.took.observe(took);
    }

    /// Requests that are being answered.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Writes the figures in Prometheus' text format.
    pub fn write(&self, text: &mut Exposition) {
        text.gauge("windlass_http_in_flight", "Requests that are being answered.", self.in_flight() as f64);
        text.head("windlass_http_requests_total", "counter", "Answers by class of status.");
        for (class, count) in self.by_class.iter().enumerate().skip(1) {
            text.sample("windlass_http_requests_total", &format!("class=\"{class}xx\""), load(count));
        }
        self.took.write(("windlass_http_request_seconds", "Time from a request to the head of its answer."), text);
    }
}

fn load(counter: &AtomicU64) -> f64 {
    counter.load(Ordering::Relaxed) as f64
}

/// Text in Prometheus' format.
#[derive(Debug, Default)]
pub struct Exposition(pub String);

impl Exposition {
    /// The two lines above a family of samples.
    pub fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample; `labels` without the braces, empty for none.
    pub fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    /// A family of one gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.sample(name, "", value);
    }

    /// A family of one counter.
    pub fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "counter", help);
        self.sample(name, "", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let metrics = HttpMetrics::default();
        metrics.answered(StatusCode::OK, Duration::from_micros(400));
        metrics.answered(StatusCode::OK, Duration::from_micros(500));
        metrics.answered(StatusCode::NOT_FOUND, Duration::from_secs(60));
        let mut text = Exposition::default();
        metrics.write(&mut text);
        for line in [
            "windlass_http_requests_total{class=\"2xx\"} 2",
            "windlass_http_requests_total{class=\"4xx\"} 1",
            "windlass_http_request_seconds_bucket{le=\"0.0005\"} 2",
            "windlass_http_request_seconds_bucket{le=\"30\"} 2",
            "windlass_http_request_seconds_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(text.0.lines().any(|it| it == line), "{line} in\n{}", text.0);
        }
    }
}
