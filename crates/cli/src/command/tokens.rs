//! `windlass tokens …`: by what programs use a server, straight on its database.

use serde_json::json;
use windlass_definition::Timestamp;
use windlass_engine::id::{TenantKey, TokenId};
use windlass_resource::permission::{self, EVERYTHING};
use windlass_server::token::{self, TokenHash};
use windlass_store::{NewToken, Store};

use super::{Context, db::look_at};
use crate::{
    args::{OfTenant, TokensCommand},
    exit::{Exit, Failure, Outcome},
    output,
    output::table::Table,
    place::{of_record, of_store},
};

/// Carries out `windlass tokens …`.
///
/// # Errors
/// There is no such tenant, permission or token; the database cannot be opened, or refuses.
pub async fn run(command: TokensCommand, context: &Context) -> Outcome {
    let store = look_at(&context.database()?).await?;
    let outcome = match command {
        TokensCommand::List(of) => list_tokens(&store, &of, context).await,
        TokensCommand::Add { name, scopes, days, of } => add_token(&store, (name, scopes, days), &of, context).await,
        TokensCommand::Revoke { id, of } => revoke_token(&store, TokenId::new(id), &of, context).await,
    };
    store.close().await;
    outcome
}

async fn key_of(store: &Store, of: &OfTenant) -> Result<TenantKey, Failure> {
    let tenants = store.tenants().await.map_err(of_store)?;
    let found = tenants.iter().find(|tenant| tenant.slug == of.tenant).map(|tenant| tenant.key);
    found.ok_or_else(|| {
        let slugs: Vec<&str> = tenants.iter().map(|tenant| tenant.slug.as_str()).collect();
        let message = format!("there is no tenant `{}`; there are {}", of.tenant, slugs.join(", "));
        Failure::new(Exit::NotFound, "not_found", message)
    })
}

async fn list_tokens(store: &Store, of: &OfTenant, context: &Context) -> Outcome {
    let tokens = store.list_tokens(key_of(store, of).await?).await.map_err(of_store)?;
    if context.json() {
        let items = tokens.iter().map(|it| {
            json!({
                "id": it.id, "name": it.name, "prefix": it.prefix, "scopes": it.scopes, "created_at": it.created_at,
                "expires_at": it.expires_at, "last_used_at": it.last_used_at, "revoked_at": it.revoked_at,
            })
        });
        output::json(&json!({ "items": items.collect::<Vec<_>>() }))?;
        return Ok(Exit::Done);
    }
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let mut table = Table::new(&["TOKEN", "NAME", "BEGINS", "SCOPES", "LAST USED", "ENDS", "REVOKED"]);
    for it in tokens {
        let scopes = it.scopes.join(" ");
        let (used, ends, revoked) = (time(it.last_used_at), time(it.expires_at), time(it.revoked_at));
        table.row(vec![it.id.to_string(), it.name, it.prefix, scopes, used, ends, revoked]);
    }
    table.print("no tokens")?;
    Ok(Exit::Done)
}

async fn add_token(
    store: &Store,
    (name, mut scopes, days): (String, Vec<String>, Option<u32>),
    of: &OfTenant,
    context: &Context,
) -> Outcome {
    let names: Vec<&str> = permission::all().iter().map(|it| it.name).collect();
    if let Some(unknown) = scopes.iter().find(|it| *it != EVERYTHING && !names.contains(&it.as_str())) {
        let known = names.join(", ");
        return Err(Failure::refused(format!(
            "there is no permission `{unknown}`; there are {known}, and `*` for all"
        )));
    }
    if scopes.is_empty() {
        scopes.push(EVERYTHING.to_owned());
    }
    let tenant = key_of(store, of).await?;
    let (id, text) =
        token::generate().map_err(|error| Failure::internal(format!("the system gives no random bits: {error}")))?;
    let new = NewToken {
        id: id.uuid(),
        name,
        prefix: token::prefix(&text),
        hash: *TokenHash::of(&text).as_bytes(),
        scopes,
        expires_at: days.map(|days| store.now().after(std::time::Duration::from_secs(u64::from(days) * 86_400))),
        ..NewToken::default()
    };
    store.create_token(tenant, new).await.map_err(of_record)?;
    if context.json() {
        output::json(&json!({ "id": id, "token": text }))?;
    } else {
        output::line(&text)?;
        output::note("shown this once: keep it, for example as WINDLASS_TOKEN");
    }
    Ok(Exit::Done)
}

async fn revoke_token(store: &Store, id: TokenId, of: &OfTenant, context: &Context) -> Outcome {
    if !store.revoke_token(key_of(store, of).await?, id).await.map_err(of_record)? {
        let message = format!("tenant `{}` has no token {id} that is not revoked", of.tenant);
        return Err(Failure::new(Exit::NotFound, "not_found", message));
    }
    if context.json() {
        output::json(&json!({ "id": id }))?;
    } else {
        output::line(format!("revoked {id}"))?;
    }
    Ok(Exit::Done)
}
