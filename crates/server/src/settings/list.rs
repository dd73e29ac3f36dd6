//! Every setting, once: its name, what it is about, who may choose it and when that takes effect, what it may be, where
//! it goes, and what it does.

use std::net::SocketAddr;

use serde_json::Value as Json;
use tracing_subscriber::EnvFilter;
use windlass_resource::records::{files::FILE_BYTES_MAX, providers::ORIGIN};
use windlass_steps::egress::address::PrivateNetwork;

use super::{Category, Kind, Setting, Takes, Unit};

const fn number(least: u64, most: u64, unit: Unit) -> Kind {
    Kind::Number { least, most, unit }
}

const COUNT: Kind = number(1, 1_000_000_000, Unit::Count);
const COUNT_OR_NONE: Kind = number(0, 1_000_000_000, Unit::Count);
const DAYS_OR_NONE: Kind = number(0, 100_000, Unit::Days);
const PLACE: Kind = Kind::Text { chars_max: 1_000, check: |_| Ok(()) };
const ADDRESS: Kind = Kind::Text { chars_max: 100, check: address };
const URL: Kind = Kind::Text { chars_max: 300, check: origin };
const NAME: Kind = Kind::Text { chars_max: 60, check: name };
const FILTER: Kind = Kind::Text { chars_max: 500, check: filter };
const NETWORKS: Kind = Kind::List { items_max: 100, check: network };

fn address(text: &str) -> Result<(), String> {
    text.parse::<SocketAddr>().map(|_| ()).map_err(|_| "is an address with a port, such as 127.0.0.1:7400".to_owned())
}

fn origin(text: &str) -> Result<(), String> {
    let fits = ORIGIN.compiled().is_some_and(|pattern| pattern.is_match(text));
    if text.is_empty() || fits { Ok(()) } else { Err(format!("is {}", ORIGIN.meaning)) }
}

fn name(text: &str) -> Result<(), String> {
    let fits = !text.trim().is_empty() && !text.contains(char::is_control);
    if fits { Ok(()) } else { Err("is a name in one line".to_owned()) }
}

fn filter(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is a level such as info, or filters such as info,windlass_runtime=debug".to_owned());
    }
    EnvFilter::try_new(text).map(|_| ()).map_err(|error| format!("is no filter of the log: {error}"))
}

fn network(word: &str) -> Result<(), String> {
    PrivateNetwork::of(&[word])
        .map(|_| ())
        .map_err(|_| "is a list of networks or addresses such as 10.1.0.0/16 and 192.168.7.4, or `all`".to_owned())
}

/// The networks of a tenant that the installation allows too.
pub(super) fn within(installation: &Json, tenant: &Json) -> Json {
    let read = |value: &Json| {
        let words: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Json::as_str).collect();
        // What cannot be read allows nothing.
        PrivateNetwork::of(&words).unwrap_or_default()
    };
    read(installation).and(&read(tenant)).words().into()
}

macro_rules! settings {
    ($($name:ident: $category:ident, $takes:ident, $kind:expr, $part:ident $(.$field:ident)+, $about:literal;)*) => {
        /// All of them.
        pub static SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            category: Category::$category,
            takes: Takes::$takes,
            about: $about,
            kind: $kind,
            field: |bounds| &mut bounds.$part$(.$field)+,
        }),*];
    };
}

settings! {
    attempts_max: Execution, AtStart, COUNT, runtime.attempts_max,
        "Attempts of steps that run at once on this server";
    attempts_per_tenant_max: Execution, AtStart, COUNT, runtime.attempts_per_tenant_max,
        "Of those, of one tenant";
    attempts_per_workflow_max: Execution, AtStart, COUNT, runtime.attempts_per_workflow_max,
        "Of those, of one workflow";
    runs_active_max: Execution, AtStart, COUNT, runtime.runs_active_max,
        "Runs of this server that are open and do not wait; what is started above that is queued";
    runs_active_per_tenant_max: Execution, AtStart, COUNT, runtime.runs_active_per_tenant_max,
        "Of those, of one tenant";
    runs_in_memory_max: Execution, AtStart, COUNT, runtime.runs_in_memory_max,
        "Runs in memory from which idle ones leave it at once";
    runs_queued_max: Execution, AtStart, COUNT, runtime.runs_queued_max,
        "Queued runs of all tenants, from which starts are refused (503)";
    runs_queued_per_tenant_max: Execution, AtStart, COUNT, runtime.runs_queued_per_tenant_max,
        "Queued runs of one tenant, from which its starts are refused (429)";
    grace_seconds: Execution, AtStart, number(0, 86_400, Unit::Seconds), process.grace,
        "Seconds that open requests and running steps have when the server stops";
    lanes: Execution, BeforeDatabase, number(1, 256, Unit::Count), store.lanes,
        "Lanes that this server registers on PostgreSQL";
    lease_ms: Execution, BeforeDatabase, number(1_000, 600_000, Unit::Milliseconds), store.lease_ms,
        "Milliseconds after which a silent server is taken for dead; the same on every server";
    hints: Execution, BeforeDatabase, Kind::Switch, store.hints,
        "Whether servers tell each other what to look at; when off, everything is found by polling";

    requests_max: Network, AtStart, COUNT, requests.requests_max,
        "Requests that this server works on at once; the next wait for their turn";
    requests_per_tenant_max: Network, AtStart, COUNT, requests.requests_per_tenant_max,
        "Of those, of one tenant; half of that while other tenants have requests too";
    requests_waiting_max: Network, AtStart, COUNT_OR_NONE, requests.requests_waiting_max,
        "Requests that wait for their turn, from which the next is refused (503)";
    requests_waiting_per_tenant_max: Network, AtStart, COUNT_OR_NONE, requests.requests_waiting_per_tenant_max,
        "Of those, of one tenant, from which its next is refused (429)";
    request_wait_ms: Network, AtStart, number(1, 60_000, Unit::Milliseconds), requests.request_wait,
        "Milliseconds that a request waits for its turn before it is refused";
    file_transfers_max: Network, BeforeDatabase, number(1, 10_000, Unit::Count), store.file_transfers_max,
        "Files that come or go at once on this server";
    listen: Network, BeforeDatabase, ADDRESS, process.listen,
        "Where the server listens";
    private_networks: Network, TenantWithin, NETWORKS, process.private_networks,
        "Networks and addresses that may be reached though they are not public; `all` for every one";
    trusted_authorities: Network, AtStart, PLACE, process.trusted_authorities,
        "A file of certificates (PEM) of authorities that are trusted beside the well-known ones, wherever requests go";

    dead_nodes_kept_hours: Storage, BeforeDatabase, number(1, 100_000, Unit::Hours), store.dead_nodes_kept,
        "Hours after which a server that is dead or gone is forgotten (`windlass db status` names it until then)";
    files: Storage, BeforeDatabase, PLACE, store.files,
        "Where files are kept: a directory, or `s3://bucket/prefix`; nowhere when empty (docs/files.md)";
    file_bytes_max: Storage, BeforeDatabase, number(1, FILE_BYTES_MAX, Unit::Bytes), store.file_bytes_max,
        "Bytes that one file may have (docs/files.md)";
    audit_archive: Storage, AtStart, PLACE, runtime.audit_archive,
        "The directory to which the audit leaves the database; without one it stays";
    search_runs: Storage, Tenant, Kind::Switch, runtime.search_runs,
        "Whether runs are found by words of their input, output and error; of what is made while it is off, nothing is";
    audit_days: Storage, Tenant, DAYS_OR_NONE, runtime.audit_days,
        "Days after which the audit leaves the database for files (docs/audit.md); 0 keeps it";
    events_days: Storage, Tenant, DAYS_OR_NONE, runtime.events_days,
        "Days that events are kept for runs that begin to wait for them; 0 keeps them";
    retain_runs: Storage, Tenant, COUNT_OR_NONE, runtime.retain.runs,
        "Finished runs of a workflow that are kept where its document does not say; 0 keeps all";
    retain_days: Storage, Tenant, DAYS_OR_NONE, runtime.retain.days,
        "Days that a finished run is kept where its document does not say; 0 keeps it";
    retain_bytes: Storage, Tenant, number(0, 1_000_000_000_000_000, Unit::Bytes), runtime.retain.bytes,
        "Bytes of a workflow's history that are kept; 0 keeps all";

    session_hours: Security, Tenant, number(1, 720, Unit::Hours), people.session,
        "Hours after which a session is over";
    password_sign_in: Security, Tenant, Kind::Switch, people.password_sign_in,
        "Whether a password signs in; links, invitations and API keys do all the same";
    password_chars_min: Security, AtOnce, number(8, 64, Unit::Characters), people.password_chars_min,
        "Characters that a new password has at least";
    second_factor_required: Security, Tenant, Kind::Switch, people.second_factor_required,
        "Whether members need a second factor for whatever they do (docs/identity.md)";
    invitation_days: Security, Tenant, number(1, 30, Unit::Days), people.invitation,
        "Days that an invitation works when nobody says";
    sign_in_link_minutes: Security, AtOnce, number(5, 10_080, Unit::Minutes), people.sign_in_link,
        "Minutes that a link works which signs in whoever lost the password";
    impersonation_minutes_max: Security, Tenant, number(1, 480, Unit::Minutes), people.impersonation,
        "Minutes that somebody acts in another's name at most";
    feature_mcp: Ai, ForTenant, Kind::Switch, features.mcp,
        "Whether there are tools for models, at `/mcp` and with `windlass mcp`";
    feature_files: Security, ForTenant, Kind::Switch, features.files,
        "Whether there are files, and links to them";
    feature_api_keys: Security, ForTenant, Kind::Switch, features.api_keys,
        "Whether API keys are made, and let anybody in";
    exec_steps: Security, BeforeDatabase, Kind::Switch, process.exec_steps,
        "Whether `exec` steps may run programs on the machine of the server";

    public_url: Integrations, AtStart, URL, process.public_url,
        "By which address others reach the installation, such as https://windlass.example.org: applications, browsers, providers";

    installation_name: Ui, AtStart, NAME, process.installation_name,
        "What people call the installation: pages and apps for second factors show it";

    log: Developer, AtOnce, FILTER, process.log,
        "What is logged: a level, or filters such as `info,windlass_runtime=debug`";
    log_format: Developer, BeforeDatabase, Kind::Choice(&["text", "json"]), process.log_format,
        "How the log is written";
}
