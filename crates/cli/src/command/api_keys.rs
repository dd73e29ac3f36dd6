//! `windlass api-keys create`: a key by which a program comes in.

use std::time::Duration;

use serde_json::{Value, json};
use windlass_engine::id::TenantKey;
use windlass_resource::permission::{self, EVERYTHING, PeopleProvision, Permission as _};
use windlass_server::token::{self, SecretKind, TokenHash};
use windlass_store::{NewApiKey, Store};

use super::{Context, db::look_at};
use crate::{
    args::ApiKeyArgs,
    client::Call,
    exit::{Exit, Failure, Outcome},
    output,
    place::{Database, Place, of_record, of_store},
};

const DAY_SECONDS: u64 = 86_400;

/// Makes a key, and prints it, this once.
///
/// # Errors
/// There is no such tenant or permission, or the caller has it not; the server or the database cannot be reached.
pub async fn create(mut args: ApiKeyArgs, context: &Context) -> Outcome {
    if args.scopes.is_empty() {
        let scope = if args.provider.is_some() { PeopleProvision::NAME } else { EVERYTHING };
        args.scopes.push(scope.to_owned());
    }
    let made = match (args.tenant.clone(), context.place()?) {
        (None, _) => ask(&args, context).await?,
        (Some(tenant), Place::Database(database)) => insert(&args, &tenant, &database).await?,
        (Some(_), Place::Server { .. }) => {
            let message = "a server makes keys of the tenant that you are signed in to: leave --tenant out, or name the \
                           database with --data-dir or --database-url";
            return Err(Failure::refused(message));
        }
    };
    if context.json() {
        output::json(&made)?;
    } else {
        output::line(made["key"].as_str().unwrap_or_default())?;
        output::note("shown this once: keep it, for example as WINDLASS_TOKEN");
    }
    Ok(Exit::Done)
}

async fn ask(args: &ApiKeyArgs, context: &Context) -> Result<Value, Failure> {
    let body = json!({ "name": args.name, "scopes": args.scopes, "days": args.days,
        "requests_per_minute": args.requests_per_minute, "provider": args.provider });
    context.ask(Call::post("/api-keys").json(&body)).await?.read()
}

/// Whoever has the database may make a key in each of its tenants: so the first one of a tenant comes about.
async fn insert(args: &ApiKeyArgs, tenant: &str, database: &Database) -> Result<Value, Failure> {
    let known = |scope: &String| scope == EVERYTHING || permission::all().iter().any(|it| it.name == scope);
    if let Some(unknown) = args.scopes.iter().find(|scope| !known(scope)) {
        let names: Vec<&str> = permission::all().iter().map(|it| it.name).collect();
        let message = format!("there is no permission `{unknown}`; there are {}, and `*` for all", names.join(", "));
        return Err(Failure::refused(message));
    }
    let key = token::secret(SecretKind::Key)
        .map_err(|error| Failure::internal(format!("the system gives no random bits: {error}")))?;
    let store = look_at(database).await?;
    let new = NewApiKey {
        id: token::id_of(&key).map_or_else(uuid::Uuid::now_v7, |id| id.uuid()),
        name: args.name.clone(),
        prefix: token::prefix(&key),
        hash: *TokenHash::of(&key).as_bytes(),
        scopes: args.scopes.clone(),
        per_minute: args.requests_per_minute,
        expires_at: args.days.map(|days| store.now().after(Duration::from_secs(u64::from(days) * DAY_SECONDS))),
        ..NewApiKey::default()
    };
    if args.provider.is_some() != args.scopes.iter().any(|scope| scope == PeopleProvision::NAME)
        || (args.provider.is_some() && args.scopes.len() > 1)
    {
        let message =
            format!("`{}` is what a provider's key may do, and all: it goes with --provider", PeopleProvision::NAME);
        return Err(Failure::refused(message));
    }
    let made =
        json!({ "id": new.id, "name": new.name, "prefix": new.prefix, "key": key, "expires_at": new.expires_at });
    let kept = keep(&store, (tenant, args.provider.as_deref()), new).await;
    store.close().await;
    kept.map(|()| made)
}

async fn keep(store: &Store, (tenant, provider): (&str, Option<&str>), mut new: NewApiKey) -> Result<(), Failure> {
    let tenant = key_of(store, tenant).await?;
    if let Some(name) = provider {
        let found = store.provider_id(tenant, name).await.map_err(of_store)?;
        let none = || Failure::new(Exit::NotFound, "not_found", format!("there is no identity provider `{name}`"));
        new.provider = Some(found.ok_or_else(none)?);
    }
    store.create_api_key(tenant, new).await.map_err(of_record)
}

async fn key_of(store: &Store, slug: &str) -> Result<TenantKey, Failure> {
    let tenants = store.tenants().await.map_err(of_store)?;
    let found = tenants.iter().find(|tenant| tenant.slug == slug).map(|tenant| tenant.key);
    found.ok_or_else(|| {
        let slugs: Vec<&str> = tenants.iter().map(|tenant| tenant.slug.as_str()).collect();
        let message = format!("there is no tenant `{slug}`; there are {}", slugs.join(", "));
        Failure::new(Exit::NotFound, "not_found", message)
    })
}
