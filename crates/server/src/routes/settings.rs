//! Settings: what is chosen, where that comes from, and choosing.
//!
//! A tenant chooses for itself where it may; whoever looks after tenants chooses for any of them. What holds for the whole
//! installation is chosen by whoever keeps the machine: straight on the database, or over the socket of its data directory.

use axum::{body::Body as HttpBody, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::{IntoParams, ToSchema};
use windlass_engine::id::TenantKey;
use windlass_store::{Actor, SettingLayer, SettingValue};

use crate::{
    app::App,
    auth::{
        Asked, Authorized, Gate, Permission, SettingsRead, SettingsWrite, TenantsRead, TenantsWrite, second_factor,
    },
    extract::{Body, PathOf, PathParts, Query},
    problem::{FieldError, Problem},
    reply::{self, Reply},
    settings::{Category, InEffect, Kind, SETTINGS, Setting, Source, Unit},
};

/// The setting that asks members for a second factor.
const SECOND_FACTOR_REQUIRED: &str = "second_factor_required";

/// A setting in an address.
pub struct SettingPath(&'static Setting);

impl PathParts for SettingPath {
    fn read(parts: &[&str]) -> Result<SettingPath, Problem> {
        let setting = parts.first().and_then(|name| Setting::named(name));
        setting.map(SettingPath).ok_or_else(|| Problem::not_found("setting"))
    }
}

/// A setting and its value.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettingView {
    /// Its name.
    name: &'static str,
    /// What it is about: `execution`, `storage`, `security`, `network` or `developer`.
    #[schema(value_type = String)]
    category: Category,
    /// What it does.
    about: &'static str,
    /// What it takes: `number`, `switch` (true or false), `text`, `choice` (one of `choices`) or `list` (of texts).
    kind: &'static str,
    /// What this server works with.
    value: Json,
    /// Where that comes from: `built_in`, `file`, `environment`, `database` or `tenant`.
    #[schema(value_type = String)]
    source: Source,
    /// What is built in.
    built_in: Json,
    /// Of a number, the least.
    #[schema(required)]
    least: Option<u64>,
    /// Of a number, the greatest.
    #[schema(required)]
    most: Option<u64>,
    /// Of a number, what it counts: `count`, `characters`, `bytes`, `milliseconds`, `seconds`, `minutes`, `hours`, `days`.
    #[schema(required, value_type = Option<String>)]
    unit: Option<Unit>,
    /// Of a choice, the words.
    #[schema(required, value_type = Option<Vec<String>>)]
    choices: Option<&'static [&'static str]>,
    /// When a change takes effect: `before_database` and `at_start` at the next start of a server, `at_once` within a
    /// minute.
    takes_effect: &'static str,
    /// What the server will work with when it starts the next time, where that is another value.
    #[schema(required, value_type = Json)]
    next_start: Option<Json>,
    /// Whether it may be another one for each tenant.
    per_tenant: bool,
    /// Whether a tenant chooses for itself; else whoever looks after tenants does for it.
    tenant_chooses: bool,
}

impl SettingView {
    fn of(setting: &'static Setting, in_effect: &InEffect, stored: &[SettingValue]) -> SettingView {
        let (value, source) = in_effect.now(setting, stored);
        let (next, _) = in_effect.chosen(setting, stored);
        let range = match setting.kind {
            Kind::Number { least, most, unit } => Some((least, most, unit)),
            _ => None,
        };
        SettingView {
            name: setting.name,
            category: setting.category,
            about: setting.about,
            kind: setting.kind.name(),
            source,
            built_in: in_effect.built_in(setting).clone(),
            least: range.map(|(least, _, _)| least),
            most: range.map(|(_, most, _)| most),
            unit: range.map(|(_, _, unit)| unit),
            choices: if let Kind::Choice(words) = setting.kind { Some(words) } else { None },
            takes_effect: setting.takes.effect(),
            next_start: (next != value).then_some(next),
            value,
            per_tenant: setting.is_tenants(),
            tenant_chooses: setting.tenant_chooses(),
        }
    }
}

/// All settings.
#[derive(Debug, Serialize, ToSchema)]
pub struct SettingList {
    /// In the order of the documentation.
    items: Vec<SettingView>,
}

/// Of which tenant.
// Other parameters are let be, as they always were here: who asks every list for a page of it asks this one, too.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TenantQuery {
    /// The slug of a tenant, for whoever has `tenants.read` in the first one; the caller's own when left out.
    tenant: Option<String>,
}

/// The tenant that is meant: the caller's own, or whichever one with the permission `Q`.
async fn whose<P: Permission, Q: Permission>(
    app: &App,
    caller: &Authorized<P>,
    slug: Option<&str>,
) -> Result<TenantKey, Problem> {
    let Some(slug) = slug else { return Ok(caller.tenant()) };
    caller.also::<Q>()?;
    let found = app.store().tenant_by_slug(slug).await?;
    found.map(|it| it.key).ok_or_else(|| Problem::not_found("tenant"))
}

/// List the settings with their values and where these come from; those of the machine in the first tenant alone.
#[utoipa::path(get, path = "/settings", tag = "settings", params(TenantQuery),
    responses((status = 200, body = SettingList)))]
pub async fn list_settings(
    caller: Authorized<SettingsRead>,
    State(app): State<App>,
    Query(query): Query<TenantQuery>,
) -> Reply {
    let tenant = whose::<_, TenantsRead>(&app, &caller, query.tenant.as_deref()).await?;
    let stored = app.store().setting_values(tenant).await?;
    let seen = SETTINGS.iter().filter(|setting| is_seen(setting, tenant));
    let items = seen.map(|setting| SettingView::of(setting, app.settings(), &stored)).collect();
    reply::ok(&SettingList { items })
}

/// A setting.
#[utoipa::path(get, path = "/settings/{name}", tag = "settings", params(("name" = String, Path), TenantQuery),
    responses((status = 200, body = SettingView)))]
pub async fn get_setting(
    caller: Authorized<SettingsRead>,
    State(app): State<App>,
    PathOf(SettingPath(setting)): PathOf<SettingPath>,
    Query(query): Query<TenantQuery>,
) -> Reply {
    let tenant = whose::<_, TenantsRead>(&app, &caller, query.tenant.as_deref()).await?;
    see(setting, tenant)?;
    let stored = app.store().setting_values(tenant).await?;
    reply::ok(&SettingView::of(setting, app.settings(), &stored))
}

/// A choice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingBody {
    /// The value: a number, true or false, a text or a list of texts, as the setting's `kind` says.
    value: Json,
    /// `tenant` (the default), or `database`: for the whole installation.
    layer: Option<String>,
    /// The slug of the tenant, for whoever has `tenants.write` in the first one; the caller's own when left out.
    tenant: Option<String>,
}

/// For whom a choice is taken back.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LayerQuery {
    /// `tenant` (the default), or `database`: for the whole installation.
    layer: Option<String>,
    /// The slug of the tenant, for whoever has `tenants.write` in the first one; the caller's own when left out.
    tenant: Option<String>,
}

/// Choose a value.
#[utoipa::path(put, path = "/settings/{name}", tag = "settings", params(("name" = String, Path)),
    request_body = SettingBody, responses((status = 200, body = SettingView)))]
pub async fn put_setting(
    caller: Authorized<SettingsWrite>,
    State(app): State<App>,
    PathOf(SettingPath(setting)): PathOf<SettingPath>,
    asked: Asked,
    Body(body): Body<SettingBody>,
) -> Reply {
    let tenant = whose::<_, TenantsWrite>(&app, &caller, body.tenant.as_deref()).await?;
    see(setting, tenant)?;
    let layer = layer(&app, (&caller, setting), (body.layer.as_deref(), body.tenant.as_deref()))?;
    if let Err(message) = setting.check(&body.value) {
        let error = FieldError { pointer: "/value".to_owned(), message: message.clone(), ..FieldError::default() };
        return Err(Problem::invalid("invalid_input", message).with_errors(vec![error]));
    }
    may_become(&caller, setting, &body.value)?;
    let actor = Actor { tenant, by: caller.signed(&asked) };
    app.store().put_setting(actor, (layer, setting.name), body.value).await?;
    app.settings_chosen();
    let stored = app.store().setting_values(tenant).await?;
    reply::ok(&SettingView::of(setting, app.settings(), &stored))
}

/// Take a choice back.
#[utoipa::path(delete, path = "/settings/{name}", tag = "settings", params(("name" = String, Path), LayerQuery),
    responses((status = 204)))]
pub async fn unset_setting(
    caller: Authorized<SettingsWrite>,
    State(app): State<App>,
    PathOf(SettingPath(setting)): PathOf<SettingPath>,
    Query(query): Query<LayerQuery>,
    asked: Asked,
) -> Reply {
    let tenant = whose::<_, TenantsWrite>(&app, &caller, query.tenant.as_deref()).await?;
    see(setting, tenant)?;
    let layer = layer(&app, (&caller, setting), (query.layer.as_deref(), query.tenant.as_deref()))?;
    let mut left = app.store().setting_values(tenant).await?;
    left.retain(|it| it.layer != layer || it.name != setting.name);
    may_become(&caller, setting, &app.settings().chosen(setting, &left).0)?;
    let actor = Actor { tenant, by: caller.signed(&asked) };
    if !app.store().unset_setting(actor, (layer, setting.name)).await? {
        return Err(Problem::not_found("choice"));
    }
    app.settings_chosen();
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// What is the machine's, such as its directories, is only for the installation's first tenant to see.
fn is_seen(setting: &Setting, tenant: TenantKey) -> bool {
    tenant == TenantKey::DEFAULT || setting.is_tenants()
}

fn see(setting: &Setting, tenant: TenantKey) -> Result<(), Problem> {
    if is_seen(setting, tenant) { Ok(()) } else { Err(Problem::not_found("setting")) }
}

/// Whether a setting may become that by this caller.
fn may_become(caller: &Authorized<SettingsWrite>, setting: &Setting, value: &Json) -> Result<(), Problem> {
    let asks = setting.name == SECOND_FACTOR_REQUIRED && *value == Json::Bool(true);
    if asks { second_factor::may_be_asked_for(caller.identity()) } else { Ok(()) }
}

/// The layer that is meant, once the caller may choose there.
fn layer(
    app: &App,
    (caller, setting): (&Authorized<SettingsWrite>, &Setting),
    (word, tenant): (Option<&str>, Option<&str>),
) -> Result<SettingLayer, Problem> {
    let name = setting.name;
    match word {
        None | Some("tenant")
            if setting.tenant_chooses() || caller.also::<TenantsWrite>().is_ok() && setting.is_tenants() =>
        {
            Ok(SettingLayer::Tenant)
        }
        None | Some("tenant") if setting.is_tenants() => {
            let detail = format!(
                "no tenant chooses `{name}` for itself: whoever administers the installation does, with `tenants.write` \
                 in its first tenant and `windlass settings set {name} VALUE --tenant SLUG`"
            );
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
        None | Some("tenant") => {
            let detail = format!("`{name}` is the server's: no tenant chooses it for itself");
            Err(Problem::conflict("not_a_tenants_setting", detail))
        }
        Some("database") if tenant.is_some() => {
            Err(Problem::bad_request("invalid_query", "`tenant` names one, and `database` is for all: leave one out"))
        }
        Some("database") if !setting.is_kept() => {
            let detail = format!(
                "`{name}` is needed before the database is open: choose it with --set, WINDLASS_SET or the file"
            );
            Err(Problem::conflict("not_in_the_database", detail))
        }
        Some("database") if matches!(app.gate(), Gate::Local) => Ok(SettingLayer::Installation),
        Some("database") => {
            let detail = "what holds for the whole installation is chosen on its machine: windlass settings set --installation \
                          with --data-dir or --database-url";
            Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
        }
        Some(_) => Err(Problem::bad_request("invalid_query", "`layer` must be tenant or database")),
    }
}
