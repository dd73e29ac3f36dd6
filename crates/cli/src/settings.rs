//! Settings of a server, as `--set NAME=VALUE` and `WINDLASS_SET` give them.
//!
//! The names are those that refusals mention. Each setting stands here once: its name, what it bounds, where it goes.

use std::{str::FromStr, time::Duration};

use windlass_runtime::Settings;
use windlass_server::Limits;
use windlass_store::{Hints, StoreOptions};

/// A setting that somebody chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chosen {
    name: &'static str,
    value: u64,
}

/// What a setting is.
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a sentence without its end.
    pub about: &'static str,
    least: u64,
    most: u64,
    apply: fn(u64, &mut Bounds),
}

/// All that settings bound.
pub struct Bounds {
    /// What the runtime does at once.
    pub runtime: Settings,
    /// How the store shares the database.
    pub store: StoreOptions,
    /// How many requests come in.
    pub requests: Limits,
}

impl Bounds {
    /// The usual ones, around that store.
    pub fn new(store: StoreOptions) -> Bounds {
        Bounds { runtime: Settings::default(), store, requests: Limits::default() }
    }
}

/// A count that a machine can hold.
fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

macro_rules! settings {
    ($($name:literal, $about:literal, $range:expr, $apply:expr;)*) => {
        /// All of them.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            name: $name, about: $about, least: *$range.start(), most: *$range.end(), apply: $apply,
        }),*];
    };
}

const COUNT: std::ops::RangeInclusive<u64> = 1..=1_000_000_000;

settings! {
    "attempts_max", "Attempts of steps that run at once on this server", COUNT,
        |value, bounds| bounds.runtime.attempts_max = count(value);
    "attempts_per_tenant_max", "Of those, of one tenant", COUNT,
        |value, bounds| bounds.runtime.attempts_per_tenant_max = count(value);
    "attempts_per_workflow_max", "Of those, of one workflow", COUNT,
        |value, bounds| bounds.runtime.attempts_per_workflow_max = count(value);
    "runs_active_max", "Runs of this server that are open and do not wait; what is started above that is queued", COUNT,
        |value, bounds| bounds.runtime.runs_active_max = count(value);
    "runs_active_per_tenant_max", "Of those, of one tenant", COUNT,
        |value, bounds| bounds.runtime.runs_active_per_tenant_max = count(value);
    "runs_in_memory_max", "Runs in memory from which idle ones leave it at once", COUNT,
        |value, bounds| bounds.runtime.runs_in_memory_max = count(value);
    "runs_queued_max", "Queued runs of all tenants, from which starts are refused (503)", COUNT,
        |value, bounds| bounds.runtime.runs_queued_max = value;
    "runs_queued_per_tenant_max", "Queued runs of one tenant, from which its starts are refused (429)", COUNT,
        |value, bounds| bounds.runtime.runs_queued_per_tenant_max = value;
    "requests_max", "Requests that this server works on at once; the next wait for their turn", COUNT,
        |value, bounds| bounds.requests.requests_max = count(value);
    "requests_per_tenant_max", "Of those, of one tenant", COUNT,
        |value, bounds| bounds.requests.requests_per_tenant_max = count(value);
    "requests_waiting_max", "Requests that wait for their turn, from which the next is refused (503)", 0..=1_000_000_000,
        |value, bounds| bounds.requests.requests_waiting_max = count(value);
    "requests_waiting_per_tenant_max", "Of those, of one tenant, from which its next is refused (429)", 0..=1_000_000_000,
        |value, bounds| bounds.requests.requests_waiting_per_tenant_max = count(value);
    "request_wait_ms", "Milliseconds that a request waits for its turn before it is refused", 1..=60_000,
        |value, bounds| bounds.requests.request_wait = Duration::from_millis(value);
    "lanes", "Lanes that this server registers on PostgreSQL", 1..=256,
        |value, bounds| bounds.store.lanes = u32::try_from(value).unwrap_or(u32::MAX);
    "lease_ms", "Milliseconds after which a silent server is taken for dead; the same on every server", 1_000..=600_000,
        |value, bounds| bounds.store.lease_ms = i64::try_from(value).unwrap_or(i64::MAX);
    "dead_nodes_kept_hours", "Hours after which a server that is dead or gone is forgotten (`windlass db status` names it until then)", 1..=100_000,
        |value, bounds| bounds.store.dead_nodes_kept = Duration::from_secs(value.saturating_mul(3_600));
    "hints", "1: servers tell each other what to look at; 0: everything is found by polling", 0..=1,
        |value, bounds| bounds.store.hints = if value == 0 { Hints::Off } else { Hints::On };
}

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Chosen, String> {
        let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
        let setting = SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| {
            let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
            format!("there is no setting `{name}`; there are {}", names.join(", "))
        })?;
        let range = setting.least..=setting.most;
        let value = value.parse().ok().filter(|value| range.contains(value));
        let value = value.ok_or_else(|| format!("`{name}` is a number from {} to {}", setting.least, setting.most))?;
        Ok(Chosen { name: setting.name, value })
    }
}

/// Gives each chosen setting its value; of one that was chosen twice the last one counts.
pub fn apply(chosen: &[Chosen], bounds: &mut Bounds) {
    for Chosen { name, value } in chosen {
        for setting in SETTINGS.iter().filter(|setting| setting.name == *name) {
            (setting.apply)(*value, bounds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_wrong_ones_say_what_would_be_right() {
        let location = windlass_store::Location::Postgres { url: String::new() };
        let mut bounds = Bounds::new(StoreOptions::new(location));
        let chosen = ["runs_active_max=7", "lease_ms=2000", "hints=0", "runs_active_max=8", "request_wait_ms=5"];
        let chosen: Vec<Chosen> = chosen.iter().map(|text| text.parse().unwrap()).collect();
        apply(&chosen, &mut bounds);
        let Bounds { runtime, store, requests } = bounds;
        assert_eq!((runtime.runs_active_max, store.lease_ms, store.hints), (8, 2_000, Hints::Off));
        assert_eq!(requests.request_wait, Duration::from_millis(5));
        for (text, said) in [
            ("hints", "NAME=VALUE"),
            ("run_active_max=1", "there are attempts_max"),
            ("lease_ms=5", "from 1000 to 600000"),
            ("runs_active_max=many", "is a number from 1"),
        ] {
            let error = text.parse::<Chosen>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn the_page_about_scale_out_lists_every_setting() {
        let page = include_str!("../../../docs/scale-out.md");
        for setting in SETTINGS {
            let row = format!("| `{}` | {} |", setting.name, setting.about);
            assert!(page.contains(&row), "docs/scale-out.md lacks: {row}");
        }
    }
}
