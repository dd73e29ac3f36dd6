//! Settings: what bounds a server, how people come in and what is kept, each with where its value comes from.
//!
//! A setting has a value built in. A file, the environment (or the command line), the database and the tenant may choose
//! another one, and the last of these counts. Each setting stands once in [`SETTINGS`].

mod bounds;
mod field;
mod kind;
mod list;

use std::{collections::BTreeMap, str::FromStr};

use serde::Serialize;
use serde_json::Value as Json;
use windlass_store::{SettingLayer, SettingValue, StoreOptions};

pub use bounds::{Bounds, LogFormat, People, Process};
pub use field::Field;
pub use kind::{Kind, Unit};
pub use list::SETTINGS;

/// A setting that somebody chose.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    name: &'static str,
    value: Json,
}

/// What a setting is.
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub category: Category,
    /// Who may choose it, and when that takes effect.
    pub takes: Takes,
    /// What it does, in a sentence without its end.
    pub about: &'static str,
    /// What it may be.
    pub kind: Kind,
    field: for<'a> fn(&'a mut Bounds) -> &'a mut dyn Field,
}

/// What a setting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// What runs at once.
    Execution,
    /// What is kept, where, and how long.
    Storage,
    /// Who comes in, how, and what steps may do to the machine.
    Security,
    /// What comes in and goes out.
    Network,
    /// What other programs that work with this one have to know.
    Integrations,
    /// What models get.
    Ai,
    /// What people see.
    Ui,
    /// What those see who look into the server.
    Developer,
}

/// Who may choose a setting, and when that takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// When a server starts. The database cannot hold it: it is needed before that is open, or gives away the machine.
    BeforeDatabase,
    /// When a server starts.
    AtStart,
    /// Within about a minute, on every server.
    AtOnce,
    /// The same, and a tenant may choose for itself.
    Tenant,
    /// The same, and what a tenant chooses holds within what the installation has.
    TenantWithin,
    /// As `AtOnce`, and whoever administers the installation may choose for one tenant.
    ForTenant,
}

impl Takes {
    /// When a change takes effect, in answers.
    pub fn effect(self) -> &'static str {
        match self {
            Takes::BeforeDatabase => "before_database",
            Takes::AtStart => "at_start",
            Takes::AtOnce | Takes::Tenant | Takes::TenantWithin | Takes::ForTenant => "at_once",
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nobody chose.
    BuiltIn,
    /// The file of settings.
    File,
    /// `WINDLASS_SET` or `--set`, or a variable or an option of its own.
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
    /// By the environment and the command line; of what was chosen twice the last counts.
    pub environment: Vec<Chosen>,
}

/// The settings of a server that runs.
#[derive(Clone)]
pub struct InEffect {
    told: Told,
    built_in: BTreeMap<&'static str, Json>,
    /// What it began with.
    began_with: BTreeMap<&'static str, (Json, Source)>,
    bounds: Bounds,
}

impl Setting {
    /// The setting of that name.
    pub fn named(name: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// Whether the database may hold it.
    pub fn is_kept(&self) -> bool {
        self.takes != Takes::BeforeDatabase
    }

    /// Whether a change takes effect while a server runs.
    pub fn is_live(&self) -> bool {
        matches!(self.takes, Takes::AtOnce | Takes::Tenant | Takes::TenantWithin | Takes::ForTenant)
    }

    /// Whether it may be another one for each tenant.
    pub fn is_tenants(&self) -> bool {
        matches!(self.takes, Takes::Tenant | Takes::TenantWithin | Takes::ForTenant)
    }

    /// Whether a tenant chooses for itself; else whoever administers the installation does for it.
    pub fn tenant_chooses(&self) -> bool {
        matches!(self.takes, Takes::Tenant | Takes::TenantWithin)
    }

    /// Whether it may have that value.
    ///
    /// # Errors
    /// What it may be instead.
    pub fn check(&self, value: &Json) -> Result<(), String> {
        self.kind.check(value).map_err(|said| format!("`{}` {said}", self.name))
    }

    /// Reads its value as a command line says it.
    ///
    /// # Errors
    /// What it may be instead.
    pub fn parse(&self, text: &str) -> Result<Json, String> {
        self.kind.parse(text).map_err(|said| format!("`{}` {said}", self.name))
    }

    fn read(&self, bounds: &mut Bounds) -> Json {
        (self.field)(bounds).read(&self.kind)
    }

    fn write(&self, value: &Json, bounds: &mut Bounds) {
        (self.field)(bounds).write(value, &self.kind);
    }
}

impl Default for InEffect {
    /// Of a process that was told nothing.
    fn default() -> InEffect {
        let nowhere = windlass_store::Location::Postgres { url: String::new() };
        InEffect::begin(Told::default(), Bounds::new(StoreOptions::new(nowhere)))
    }
}

impl InEffect {
    /// What a process begins with before it has seen its database: what is built in, and over that what it was told.
    pub fn begin(told: Told, built_in: Bounds) -> InEffect {
        let mut bounds = built_in;
        let built_in = SETTINGS.iter().map(|it| (it.name, it.read(&mut bounds))).collect();
        InEffect { told, built_in, began_with: BTreeMap::new(), bounds }.with_stored(&[])
    }

    /// The same with what the database has for the installation: what takes effect at the start does so now.
    #[must_use]
    pub fn with_stored(mut self, stored: &[SettingValue]) -> InEffect {
        for setting in SETTINGS {
            let (value, source) = self.chosen(setting, stored);
            if source != Source::BuiltIn {
                setting.write(&value, &mut self.bounds);
            }
            self.began_with.insert(setting.name, (value, source));
        }
        self
    }

    /// What the process began with.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// What bounds it now: what it began with, and over that what was chosen meanwhile and takes effect at once.
    pub fn bounds_now(&self, stored: &[SettingValue]) -> Bounds {
        let mut bounds = self.bounds.clone();
        for setting in SETTINGS.iter().filter(|it| it.is_live()) {
            setting.write(&self.chosen(setting, stored).0, &mut bounds);
        }
        bounds
    }

    /// The value that counts, and where it comes from.
    pub fn chosen(&self, setting: &Setting, stored: &[SettingValue]) -> (Json, Source) {
        let told = |list: &[Chosen]| list.iter().rfind(|it| it.name == setting.name).map(|it| it.value.clone());
        let kept = |layer| {
            let found = stored.iter().find(|it| it.layer == layer && it.name == setting.name);
            // What an older program let in and this one does not is as if it were not there.
            found.map(|it| it.value.clone()).filter(|value| setting.is_kept() && setting.check(value).is_ok())
        };
        let of_tenant = kept(SettingLayer::Tenant).filter(|_| setting.is_tenants());
        if let Some(own) = of_tenant.clone().filter(|_| setting.takes == Takes::TenantWithin) {
            let others: Vec<SettingValue> =
                stored.iter().filter(|it| it.layer == SettingLayer::Installation).cloned().collect();
            return (list::within(&self.chosen(setting, &others).0, &own), Source::Tenant);
        }
        let layers = [
            (of_tenant, Source::Tenant),
            (kept(SettingLayer::Installation), Source::Database),
            (told(&self.told.environment), Source::Environment),
            (told(&self.told.file), Source::File),
        ];
        let found = layers.into_iter().find_map(|(value, source)| value.map(|value| (value, source)));
        found.unwrap_or_else(|| (self.built_in[setting.name].clone(), Source::BuiltIn))
    }

    /// What the server works with: what it began with, unless a change takes effect at once.
    pub fn now(&self, setting: &Setting, stored: &[SettingValue]) -> (Json, Source) {
        if setting.is_live() { self.chosen(setting, stored) } else { self.began_with[setting.name].clone() }
    }

    /// The value that is built in.
    pub fn built_in(&self, setting: &Setting) -> &Json {
        &self.built_in[setting.name]
    }
}

/// Reads a file of settings: `NAME=VALUE` a line, with spaces around either where one likes; what follows `#` at the
/// beginning of a line, or a space and `#`, is for people.
///
/// # Errors
/// Every line that is none, with its number.
pub fn read_file(text: &str) -> Result<Vec<Chosen>, String> {
    let (mut chosen, mut wrong): (Vec<Chosen>, Vec<String>) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let mut marks = line.char_indices().zip(std::iter::once(' ').chain(line.chars()));
        let comment = marks.find(|((_, this), before)| *this == '#' && before.is_whitespace());
        let line = comment.map_or(line, |((at, _), _)| &line[..at]).trim();
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

impl Chosen {
    /// A value for the setting of that name, as a command line says it.
    ///
    /// # Errors
    /// There is no such setting, or that is no value of it.
    pub fn of(name: &str, text: &str) -> Result<Chosen, String> {
        let setting = Setting::named(name).ok_or_else(|| {
            let names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
            format!("there is no setting `{name}`; there are {}", names.join(", "))
        })?;
        Ok(Chosen { name: setting.name, value: setting.parse(text)? })
    }
}

impl FromStr for Chosen {
    type Err = String;

    fn from_str(text: &str) -> Result<Chosen, String> {
        let (name, value) = text.split_once('=').ok_or("a setting is NAME=VALUE")?;
        Chosen::of(name.trim(), value.trim())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;
    use windlass_store::{Hints, Location};

    use super::*;

    fn usual() -> Bounds {
        Bounds::new(StoreOptions::new(Location::Postgres { url: String::new() }))
    }

    fn environment(texts: &[&str]) -> Told {
        let environment = texts.iter().map(|text| text.parse().unwrap()).collect();
        Told { environment, ..Told::default() }
    }

    #[test]
    fn settings_are_read_and_wrong_ones_say_what_would_be_right() {
        let told = environment(&[
            "runs_active_max=7",
            "lease_ms=2000",
            "hints=0",
            "runs_active_max=8",
            "request_wait_ms=5",
            "session_hours = 2",
            "private_networks=10.1.0.0/16 192.168.7.4",
            "listen=[::1]:80",
            "log_format=json",
            "audit_archive=/var/lib/an archive",
        ]);
        let in_effect = InEffect::begin(told, usual());
        let Bounds { runtime, store, requests, people, process, .. } = in_effect.bounds();
        assert_eq!((runtime.runs_active_max, store.lease_ms, store.hints), (8, 2_000, Hints::Off));
        assert_eq!((requests.request_wait, people.session), (Duration::from_millis(5), Duration::from_secs(7_200)));
        assert_eq!(process.private_networks.words(), ["10.1.0.0/16", "192.168.7.4"]);
        assert_eq!((process.listen.port(), process.log_format), (80, LogFormat::Json));
        assert_eq!(runtime.audit_archive.as_deref(), Some(std::path::Path::new("/var/lib/an archive")));
        for (text, said) in [
            ("hints", "NAME=VALUE"),
            ("run_active_max=1", "there are attempts_max"),
            ("lease_ms=5", "from 1000 to 600000"),
            ("runs_active_max=many", "is a number from 1"),
            ("hints=maybe", "`hints` is on or off"),
            ("log_format=xml", "`log_format` is one of text, json"),
            ("log=windlass=loud", "no filter of the log"),
            ("log=", "is a level"),
            ("listen=localhost", "with a port"),
            ("private_networks=10.1.0.0/16 nowhere", "list of networks"),
        ] {
            let error = text.parse::<Chosen>().unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_built_in_is_a_value_and_comes_back_as_it_went() {
        let mut bounds = usual();
        for setting in SETTINGS {
            let value = setting.read(&mut bounds);
            setting.check(&value).unwrap();
            setting.write(&value, &mut bounds);
            assert_eq!(setting.read(&mut bounds), value, "{}", setting.name);
        }
    }

    #[test]
    fn no_two_settings_share_a_name_or_a_place() {
        for setting in SETTINGS {
            let others: Vec<&str> = SETTINGS.iter().map(|it| it.name).filter(|name| *name == setting.name).collect();
            assert_eq!(others.len(), 1, "{}", setting.name);
            let mut bounds = usual();
            let other = match (&setting.kind, setting.read(&mut bounds)) {
                (Kind::Number { least, .. }, value) if value == json!(least) => json!(least + 1),
                (Kind::Number { least, .. }, _) => json!(least),
                (Kind::Switch, value) => json!(value != json!(true)),
                (Kind::Text { .. }, _) => json!("127.0.0.1:9"),
                (Kind::Choice(words), _) => json!(words[words.len() - 1]),
                (Kind::List { .. }, _) => json!(["10.0.0.0/8"]),
            };
            let before: Vec<Json> = SETTINGS.iter().map(|it| it.read(&mut bounds)).collect();
            setting.write(&other, &mut bounds);
            let changed = SETTINGS.iter().zip(before).filter(|(it, before)| it.read(&mut bounds) != *before);
            let changed: Vec<&str> = changed.map(|(it, _)| it.name).collect();
            assert_eq!(changed, [setting.name]);
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

    fn stored(layer: SettingLayer, name: &str, value: impl Into<Json>) -> SettingValue {
        let updated_at = windlass_definition::Timestamp::from_micros(0);
        SettingValue { layer, name: name.to_owned(), value: value.into(), updated_at, updated_by: "me".to_owned() }
    }

    #[test]
    fn the_last_layer_counts_where_it_may() {
        let read = |text: &str| read_file(text).unwrap();
        let told = Told {
            file: read("# ours\nevents_days = 7 # a week\n\nlanes=4\nfiles=/a#b/c\n"),
            environment: read("lanes=5"),
        };
        let kept = [
            stored(SettingLayer::Installation, "events_days", 8),
            stored(SettingLayer::Installation, "lanes", 9),
            stored(SettingLayer::Installation, "attempts_max", 0),
            stored(SettingLayer::Installation, "requests_max", 77),
            stored(SettingLayer::Installation, "log", "debug"),
            stored(SettingLayer::Tenant, "events_days", 10),
            stored(SettingLayer::Tenant, "runs_active_max", 11),
            stored(SettingLayer::Tenant, "log", "trace"),
            stored(SettingLayer::Tenant, "session_hours", "many"),
            stored(SettingLayer::Tenant, "password_sign_in", false),
            stored(SettingLayer::Tenant, "private_networks", json!(["all"])),
        ];
        let began = InEffect::begin(told, usual()).with_stored(&kept[..5]);
        let now = |name: &str, kept: &[SettingValue]| began.now(Setting::named(name).unwrap(), kept);
        assert_eq!(now("events_days", &[]), (json!(7), Source::File), "a change takes effect at once");
        assert_eq!(now("events_days", &kept[..5]), (json!(8), Source::Database));
        assert_eq!(now("events_days", &kept), (json!(10), Source::Tenant));
        assert_eq!(now("lanes", &kept), (json!(5), Source::Environment), "the database is open by then");
        assert_eq!(now("files", &kept), (json!("/a#b/c"), Source::File));
        assert_eq!(now("attempts_max", &kept), (json!(1_000), Source::BuiltIn), "what may not be is not there");
        assert_eq!(now("session_hours", &kept), (json!(12), Source::BuiltIn), "of another kind as little");
        assert_eq!(now("requests_max", &[]), (json!(77), Source::Database), "until the next start");
        assert_eq!(now("runs_active_max", &kept), (json!(10_000), Source::BuiltIn), "that is no tenant's");
        assert_eq!(began.bounds().requests.requests_max, 77);
        let bounds = began.bounds_now(&kept);
        assert_eq!((bounds.runtime.events_days, bounds.process.log.as_str()), (Some(10), "debug"));
        assert!(!bounds.people.password_sign_in);
        assert_eq!(began.bounds_now(&[]).process.log, "info", "what is taken back is gone at once");
        assert_eq!(now("private_networks", &kept), (json!([]), Source::Tenant), "never more than the installation");
        let wide = stored(SettingLayer::Installation, "private_networks", json!(["10.0.0.0/8"]));
        for (own, holds) in [
            (json!(["all"]), json!(["10.0.0.0/8"])),
            (json!(["10.1.0.0/16", "192.168.0.0/16"]), json!(["10.1.0.0/16"])),
            (json!([]), json!([])),
        ] {
            let own = stored(SettingLayer::Tenant, "private_networks", own);
            assert_eq!(now("private_networks", &[wide.clone(), own]), (holds, Source::Tenant));
        }
        assert_eq!(now("private_networks", &[wide]), (json!(["10.0.0.0/8"]), Source::Database));
        let wrong = read_file("lanes=0\nnope\nhints=1\nhints=0\n").unwrap_err();
        for part in ["line 1: `lanes` is a number", "line 2: a setting is", "line 4: `hints` is there twice"] {
            assert!(wrong.contains(part), "{wrong}");
        }
    }
}
