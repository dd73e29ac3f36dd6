//! Settings: what bounds a server and what is kept, each with where its value comes from.
//!
//! A setting has a value built in. A file, the environment (or the command line), the database and the tenant may choose
//! another one, and the last of these counts. Each setting stands here once: its name, what it bounds, in which unit,
//! when a change takes effect, where it goes.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use serde::Serialize;
use windlass_resource::records::files::FILE_BYTES_MAX;
use windlass_runtime::Settings;
use windlass_store::{Hints, SettingLayer, SettingValue, StoreOptions};

use crate::Limits;

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
    /// What it is about.
    pub category: Category,
    /// When a change takes effect.
    pub takes_effect: TakesEffect,
    /// What it does, in a sentence without its end.
    pub about: &'static str,
    /// Its least value.
    pub least: u64,
    /// Its greatest value.
    pub most: u64,
    read: fn(&Bounds) -> u64,
    apply: fn(u64, &mut Bounds),
}

/// What a setting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// What runs at once.
    Execution,
    /// What is kept, and how long.
    Storage,
    /// What comes in.
    Network,
}

/// When a change takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TakesEffect {
    /// When a server starts; it is needed before the database is open, so the database cannot hold it.
    BeforeDatabase,
    /// When a server starts.
    AtStart,
    /// Within about a minute, on every server; a tenant may choose for itself.
    AtOnce,
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nobody chose.
    BuiltIn,
    /// The file of settings.
    File,
    /// `WINDLASS_SET` or `--set`.
    Environment,
    /// The database, for the whole installation.
    Database,
    /// The tenant.
    Tenant,
}

/// What a server was told when it started.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// By the file.
    pub file: Vec<Chosen>,
    /// By the environment and the command line.
    pub environment: Vec<Chosen>,
}

/// The settings of a server that runs.
#[derive(Debug, Clone)]
pub struct InEffect {
    told: Told,
    built_in: BTreeMap<&'static str, u64>,
    /// What it began with.
    began_with: BTreeMap<&'static str, (u64, Source)>,
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
    ($($name:literal, $category:ident, $when:ident, $about:literal, $range:expr, $read:expr, $apply:expr;)*) => {
        /// All of them.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            name: $name,
            category: Category::$category,
            takes_effect: TakesEffect::$when,
            about: $about,
            least: *$range.start(),
            most: *$range.end(),
            read: $read,
            apply: $apply,
        }),*];
    };
}

const COUNT: std::ops::RangeInclusive<u64> = 1..=1_000_000_000;

settings! {
    "attempts_max", Execution, AtStart, "Attempts of steps that run at once on this server", COUNT,
        |bounds| bounds.runtime.attempts_max as u64,
        |value, bounds| bounds.runtime.attempts_max = count(value);
    "attempts_per_tenant_max", Execution, AtStart, "Of those, of one tenant", COUNT,
        |bounds| bounds.runtime.attempts_per_tenant_max as u64,
        |value, bounds| bounds.runtime.attempts_per_tenant_max = count(value);
    "attempts_per_workflow_max", Execution, AtStart, "Of those, of one workflow", COUNT,
        |bounds| bounds.runtime.attempts_per_workflow_max as u64,
        |value, bounds| bounds.runtime.attempts_per_workflow_max = count(value);
    "runs_active_max", Execution, AtStart, "Runs of this server that are open and do not wait; what is started above that is queued", COUNT,
        |bounds| bounds.runtime.runs_active_max as u64,
        |value, bounds| bounds.runtime.runs_active_max = count(value);
    "runs_active_per_tenant_max", Execution, AtStart, "Of those, of one tenant", COUNT,
        |bounds| bounds.runtime.runs_active_per_tenant_max as u64,
        |value, bounds| bounds.runtime.runs_active_per_tenant_max = count(value);
    "runs_in_memory_max", Execution, AtStart, "Runs in memory from which idle ones leave it at once", COUNT,
        |bounds| bounds.runtime.runs_in_memory_max as u64,
        |value, bounds| bounds.runtime.runs_in_memory_max = count(value);
    "runs_queued_max", Execution, AtStart, "Queued runs of all tenants, from which starts are refused (503)", COUNT,
        |bounds| bounds.runtime.runs_queued_max,
        |value, bounds| bounds.runtime.runs_queued_max = value;
    "runs_queued_per_tenant_max", Execution, AtStart, "Queued runs of one tenant, from which its starts are refused (429)", COUNT,
        |bounds| bounds.runtime.runs_queued_per_tenant_max,
        |value, bounds| bounds.runtime.runs_queued_per_tenant_max = value;
    "requests_max", Network, AtStart, "Requests that this server works on at once; the next wait for their turn", COUNT,
        |bounds| bounds.requests.requests_max as u64,
        |value, bounds| bounds.requests.requests_max = count(value);
    "requests_per_tenant_max", Network, AtStart, "Of those, of one tenant", COUNT,
        |bounds| bounds.requests.requests_per_tenant_max as u64,
        |value, bounds| bounds.requests.requests_per_tenant_max = count(value);
    "requests_waiting_max", Network, AtStart, "Requests that wait for their turn, from which the next is refused (503)", 0..=1_000_000_000,
        |bounds| bounds.requests.requests_waiting_max as u64,
        |value, bounds| bounds.requests.requests_waiting_max = count(value);
    "requests_waiting_per_tenant_max", Network, AtStart, "Of those, of one tenant, from which its next is refused (429)", 0..=1_000_000_000,
        |bounds| bounds.requests.requests_waiting_per_tenant_max as u64,
        |value, bounds| bounds.requests.requests_waiting_per_tenant_max = count(value);
    "request_wait_ms", Network, AtStart, "Milliseconds that a request waits for its turn before it is refused", 1..=60_000,
        |bounds| bounds.requests.request_wait.as_millis() as u64,
        |value, bounds| bounds.requests.request_wait = Duration::from_millis(value);
    "audit_days", Storage, AtOnce, "Days after which the audit leaves the database for files (docs/audit.md); 0 keeps it", 0..=100_000,
        |bounds| bounds.runtime.audit_days.unwrap_or(0).into(),
        |value, bounds| bounds.runtime.keep("audit_days", value);
    "lanes", Execution, BeforeDatabase, "Lanes that this server registers on PostgreSQL", 1..=256,
        |bounds| bounds.store.lanes.into(),
        |value, bounds| bounds.store.lanes = u32::try_from(value).unwrap_or(u32::MAX);
    "lease_ms", Execution, BeforeDatabase, "Milliseconds after which a silent server is taken for dead; the same on every server", 1_000..=600_000,
        |bounds| bounds.store.lease_ms.unsigned_abs(),
        |value, bounds| bounds.store.lease_ms = i64::try_from(value).unwrap_or(i64::MAX);
    "dead_nodes_kept_hours", Storage, BeforeDatabase, "Hours after which a server that is dead or gone is forgotten (`windlass db status` names it until then)", 1..=100_000,
        |bounds| bounds.store.dead_nodes_kept.as_secs() / 3_600,
        |value, bounds| bounds.store.dead_nodes_kept = Duration::from_secs(value.saturating_mul(3_600));
    "file_bytes_max", Storage, BeforeDatabase, "Bytes that one file may have (docs/files.md)", 1..=FILE_BYTES_MAX,
        |bounds| bounds.store.file_bytes_max,
        |value, bounds| bounds.store.file_bytes_max = value;
    "file_transfers_max", Network, BeforeDatabase, "Files that come or go at once on this server", 1..=10_000,
        |bounds| bounds.store.file_transfers_max as u64,
        |value, bounds| bounds.store.file_transfers_max = count(value);
    "hints", Execution, BeforeDatabase, "1: servers tell each other what to look at; 0: everything is found by polling", 0..=1,
        |bounds| u64::from(bounds.store.hints == Hints::On),
        |value, bounds| bounds.store.hints = if value == 0 { Hints::Off } else { Hints::On };
    "events_days", Storage, AtOnce, "Days that events are kept for runs that begin to wait for them; 0 keeps them", 0..=100_000,
        |bounds| bounds.runtime.events_days.unwrap_or(0).into(),
        |value, bounds| bounds.runtime.keep("events_days", value);
    "retain_runs", Storage, AtOnce, "Finished runs of a workflow that are kept where its document does not say; 0 keeps all", 0..=1_000_000_000,
        |bounds| bounds.runtime.retain.runs.unwrap_or(0),
        |value, bounds| bounds.runtime.keep("retain_runs", value);
    "retain_days", Storage, AtOnce, "Days that a finished run is kept where its document does not say; 0 keeps it", 0..=100_000,
        |bounds| bounds.runtime.retain.days.unwrap_or(0).into(),
        |value, bounds| bounds.runtime.keep("retain_days", value);
    "retain_bytes", Storage, AtOnce, "Bytes of a workflow's history that are kept; 0 keeps all", 0..=1_000_000_000_000_000,
        |bounds| bounds.runtime.retain.bytes.unwrap_or(0),
        |value, bounds| bounds.runtime.keep("retain_bytes", value);
}

impl Setting {
    /// The setting of that name.
    pub fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Whether the database may hold it.
    pub fn is_kept(&self) -> bool {
        self.takes_effect != TakesEffect::BeforeDatabase
    }

    /// Whether a tenant may choose for itself.
    pub fn is_tenants(&self) -> bool {
        self.takes_effect == TakesEffect::AtOnce
    }

    /// Whether it may have that value.
    pub fn may_be(&self, value: u64) -> bool {
        (self.least..=self.most).contains(&value)
    }
}

impl Default for InEffect {
    /// Of a process that was told nothing.
    fn default() -> InEffect {
        let nowhere = windlass_store::Location::Postgres { url: String::new() };
        InEffect::begin(Told::default(), &[], &Bounds::new(StoreOptions::new(nowhere)))
    }
}

impl InEffect {
    /// What a server begins with: what it was told, and what the database has for the installation.
    pub fn begin(told: Told, stored: &[SettingValue], built_in: &Bounds) -> InEffect {
        let built_in: BTreeMap<_, _> = SETTINGS.iter().map(|it| (it.name, (it.read)(built_in))).collect();
        let mut in_effect = InEffect { told, built_in, began_with: BTreeMap::new() };
        in_effect.began_with = SETTINGS.iter().map(|it| (it.name, in_effect.chosen(it, stored))).collect();
        in_effect
    }

    /// The value that counts now, and where it comes from.
    pub fn chosen(&self, setting: &Setting, stored: &[SettingValue]) -> (u64, Source) {
        let told = |list: &[Chosen]| list.iter().rfind(|it| it.name == setting.name).map(|it| it.value);
        let kept = |layer| {
            let found = stored.iter().find(|it| it.layer == layer && it.name == setting.name);
            // What an older program let in and this one does not is as if it were not there.
            found.map(|it| it.value).filter(|value| setting.is_kept() && setting.may_be(*value))
        };
        let layers = [
            (kept(SettingLayer::Tenant).filter(|_| setting.is_tenants()), Source::Tenant),
            (kept(SettingLayer::Installation), Source::Database),
            (told(&self.told.environment), Source::Environment),
            (told(&self.told.file), Source::File),
        ];
        let found = layers.into_iter().find_map(|(value, source)| value.map(|value| (value, source)));
        found.unwrap_or((self.built_in[setting.name], Source::BuiltIn))
    }

    /// What the server works with: what it began with, unless a change takes effect at once.
    pub fn now(&self, setting: &Setting, stored: &[SettingValue]) -> (u64, Source) {
        match setting.takes_effect {
            TakesEffect::AtOnce => self.chosen(setting, stored),
            _ => self.began_with[setting.name],
        }
    }

    /// The value that is built in.
    pub fn built_in(&self, setting: &Setting) -> u64 {
        self.built_in[setting.name]
    }

    /// Gives what takes effect at the start, and only there, from the database.
    pub fn apply_stored(&self, bounds: &mut Bounds) {
        for setting in SETTINGS.iter().filter(|it| it.takes_effect == TakesEffect::AtStart) {
            (setting.apply)(self.began_with[setting.name].0, bounds);
        }
    }
}

/// Reads a file of settings: `NAME=VALUE` a line, with spaces where one likes; what follows `#` is for people.
///
/// # Errors
/// Every line that is none, with its number.
pub fn read_file(text: &str) -> Result<Vec<Chosen>, String> {
    let (mut chosen, mut wrong): (Vec<Chosen>, Vec<String>) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let line: String = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        if line.is_empty() {
            continue;
        }
        match line.parse::<Chosen>() {
            Ok(setting) if chosen.iter().any(|it| it.name == setting.name) => {
                wrong.push(format!("line {}: `{}` is there twice", at + 1, setting.name));
            }
            Ok(setting) => chosen.push(setting),
            Err(error) => wrong.push(format!("line {}: {error}", at + 1)),
        }
    }
    if wrong.is_empty() { Ok(chosen) } else { Err(wrong.join("; ")) }
}

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Chosen, String> {
        let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
        let setting = Setting::named(name).ok_or_else(|| {
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
    fn the_pages_list_every_setting() {
        let pages = concat!(include_str!("../../../docs/scale-out.md"), include_str!("../../../docs/settings.md"));
        for setting in SETTINGS {
            let row = format!("| `{}` | {} |", setting.name, setting.about);
            assert!(pages.contains(&row), "docs/settings.md lacks: {row}");
        }
    }

    fn stored(layer: SettingLayer, name: &str, value: u64) -> SettingValue {
        let updated_at = windlass_definition::Timestamp::from_micros(0);
        SettingValue { layer, name: name.to_owned(), value, updated_at, updated_by: "me".to_owned() }
    }

    #[test]
    fn the_last_layer_counts_where_it_may() {
        let built_in = Bounds::new(StoreOptions::new(windlass_store::Location::Postgres { url: String::new() }));
        let read = |text: &str| read_file(text).unwrap();
        let told = Told { file: read("events_days = 7 # a week\n\nlanes=4\n"), environment: read("lanes=5") };
        let kept = [
            stored(SettingLayer::Installation, "events_days", 8),
            stored(SettingLayer::Installation, "lanes", 9),
            stored(SettingLayer::Installation, "attempts_max", 0),
            stored(SettingLayer::Installation, "requests_max", 77),
            stored(SettingLayer::Tenant, "events_days", 10),
            stored(SettingLayer::Tenant, "runs_active_max", 11),
        ];
        let began = InEffect::begin(told, &kept[..4], &built_in);
        let now = |name: &str, kept: &[SettingValue]| began.now(Setting::named(name).unwrap(), kept);
        assert_eq!(now("events_days", &[]), (7, Source::File), "a change takes effect at once");
        assert_eq!(now("events_days", &kept[..4]), (8, Source::Database));
        assert_eq!(now("events_days", &kept), (10, Source::Tenant));
        assert_eq!(now("lanes", &kept), (5, Source::Environment), "the database is open by then");
        assert_eq!(now("attempts_max", &kept), (1_000, Source::BuiltIn), "what may not be is not there");
        assert_eq!(now("requests_max", &[]), (77, Source::Database), "until the next start");
        assert_eq!(now("runs_active_max", &kept), (10_000, Source::BuiltIn), "that is no tenant's");
        let mut bounds = built_in;
        began.apply_stored(&mut bounds);
        assert_eq!(bounds.requests.requests_max, 77);
        let wrong = read_file("lanes=0\nnope\nhints=1\nhints=0\n").unwrap_err();
        for part in ["line 1: `lanes` is a number", "line 2: a setting is", "line 4: `hints` is there twice"] {
            assert!(wrong.contains(part), "{wrong}");
        }
    }
}
