//! The second factor: begun, confirmed by a code, ended by a code or by whoever looks after people.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use windlass_resource::permission::{Myself, UsersWrite};
use windlass_store::{CameWith, RecordError};

use super::{
    people::UserPath,
    sign_in::{no_content, own_session, with_password},
};
use crate::{
    app::App,
    auth::{Asked, Authorized, second_factor},
    extract::{Body, NoBody, PathOf},
    problem::Problem,
    reply::{self, Reply},
    token::TokenHash,
};

/// A second factor that is not asked for yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct SecondFactorBegun {
    /// What makes the codes, as people type it: shown this once.
    #[schema(format = Password)]
    pub secret: String,
    /// The same, for an app.
    #[schema(format = Password)]
    pub url: String,
}

/// That it is the account's owner who begins one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BeginBody {
    /// The present password, if there is one.
    password: Option<String>,
}

/// A code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CodeBody {
    /// Six digits, as an app shows them now.
    code: String,
}

/// That it is the account's owner who ends it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndBody {
    /// The present password, if there is one.
    password: Option<String>,
    /// Six digits, as an app shows them now; or a recovery code.
    code: String,
}

/// Codes for whoever loses what makes them.
#[derive(Debug, Serialize, ToSchema)]
pub struct RecoveryCodes {
    /// Each works once: shown this once.
    #[schema(format = Password)]
    pub recovery_codes: Vec<String>,
}

/// Begin a second factor: it is asked for once a code of it was shown. One that was only begun is forgotten.
#[utoipa::path(post, path = "/me/second-factor", tag = "people", request_body = BeginBody,
    responses((status = 201, body = SecondFactorBegun)))]
pub async fn begin_second_factor(
    caller: Authorized<Myself>,
    State(app): State<App>,
    asked: Asked,
    Body(body): Body<BeginBody>,
) -> Reply {
    let account = with_password(&app, (&caller, &asked), body.password.as_deref()).await?;
    let secret = second_factor::secret()?;
    match app.store().begin_second_factor(account.id, hex::encode(&*secret), caller.signed(&asked)).await {
        Err(RecordError::Taken { .. }) => {
            Err(Problem::conflict("second_factor_there", "there is a second factor: end it before another begins"))
        }
        begun => {
            begun?;
            let (text, url) =
                (second_factor::base32(&secret), second_factor::url(&secret, app.installation_name(), &account.email));
            reply::json(StatusCode::CREATED, &SecondFactorBegun { secret: text, url })
        }
    }
}

/// Confirm the second factor with a code: from now on it is asked for.
#[utoipa::path(post, path = "/me/second-factor/confirm", tag = "people", request_body = CodeBody,
    responses((status = 200, body = RecoveryCodes)))]
pub async fn confirm_second_factor(
    caller: Authorized<Myself>,
    State(app): State<App>,
    asked: Asked,
    Body(body): Body<CodeBody>,
) -> Reply {
    let (_, user) = own_session(&caller)?;
    let begun = app.store().second_factor(user).await?.filter(|factor| factor.confirmed_at.is_none());
    let begun = begun.ok_or_else(|| Problem::conflict("no_second_factor", "no second factor was begun"))?;
    if !second_factor::take(&app, (user, &begun), &body.code).await? {
        return Err(wrong());
    }
    let recovery_codes = second_factor::recovery_codes()?;
    let hashes: Vec<[u8; 32]> = recovery_codes.iter().map(|code| *TokenHash::of(code).as_bytes()).collect();
    app.store().confirm_second_factor(&begun, &hashes, caller.signed(&asked)).await?;
    reply::ok(&RecoveryCodes { recovery_codes })
}

/// End the second factor, with a code of it.
#[utoipa::path(post, path = "/me/second-factor/end", tag = "people", request_body = EndBody,
    responses((status = 204, description = "It is asked for no more")))]
pub async fn end_second_factor(
    caller: Authorized<Myself>,
    State(app): State<App>,
    asked: Asked,
    Body(body): Body<EndBody>,
) -> Reply {
    let account = with_password(&app, (&caller, &asked), body.password.as_deref()).await?;
    let factor = second_factor::asked_for(&app, account.id).await?;
    let factor = factor.ok_or_else(|| Problem::conflict("no_second_factor", "there is no second factor"))?;
    if !second_factor::take(&app, (account.id, &factor), &body.code).await? {
        return Err(wrong());
    }
    app.store().end_second_factor(&factor, caller.signed(&asked)).await?;
    Ok(no_content())
}

/// End the second factor of a user who lost it, recovery codes and all.
#[utoipa::path(post, path = "/users/{id}/end-second-factor", tag = "people", params(("id" = String, Path)),
    responses((status = 204, description = "It is asked for no more")))]
pub async fn end_second_factor_of(
    caller: Authorized<UsersWrite>,
    State(app): State<App>,
    PathOf(UserPath(user)): PathOf<UserPath>,
    asked: Asked,
    _: NoBody,
) -> Reply {
    app.store().account(user).await?.ok_or_else(|| Problem::not_found("user"))?;
    if let Some(CameWith::Session { user: own, .. }) = caller.identity().with.as_deref()
        && *own == user
    {
        let detail = "it is your own: end it with a code of it, or with a recovery code";
        return Err(Problem::conflict("own_second_factor", detail));
    }
    if let Some(factor) = app.store().second_factor(user).await? {
        app.store().end_second_factor(&factor, caller.signed(&asked)).await?;
    }
    Ok(no_content())
}

fn wrong() -> Problem {
    Problem::invalid("wrong_code", "that is no code of the second factor, or it was used before")
}
