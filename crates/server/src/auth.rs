//! Who may do what: deny by type.
//!
//! Invariant: a handler of the API names the permission that it needs in its first argument, [`Authorized`], and has
//! its tenant from nowhere else. What is held on folders and workflows alone is enough only where that argument is
//! [`Within`]. [`Guarded`] is what the router asks of a handler, so one that names none does not
//! compile. Whoever is authorized has its place among the requests that are worked on ([`crate::admission`]), until the
//! handler ends or gives it back.

mod attempts;
mod gate;
mod passwords;
pub mod second_factor;
mod within;

use std::{convert::Infallible, marker::PhantomData, net::IpAddr, time::Duration};

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
};
use windlass_engine::{id::TenantKey, start::Principal};
use windlass_resource::{Operation, Record, openapi::WITHIN};
use windlass_store::{Actor, By, Holds, Reach};

pub use attempts::Attempts;
pub use gate::{First, Gate, Identity, Tokens};
pub use passwords::{PASSWORD_CHARS_MAX, Passwords};
pub use windlass_resource::permission::*;
pub use within::Within;

use crate::{
    admission::{Class, Pass, Refused},
    app::App,
    features,
    problem::Problem,
    reply,
};

/// The caller, allowed to do `P` in its tenant.
pub struct Authorized<P> {
    identity: Identity,
    pass: Pass,
    permission: PhantomData<fn() -> P>,
}

impl<P: Permission> Authorized<P> {
    /// The tenant in which the caller acts.
    pub fn tenant(&self) -> TenantKey {
        self.identity.tenant
    }

    /// Gives the request's place to the next one: from here on it only waits for something.
    pub fn leave(&self) {
        self.pass.leave();
    }

    /// Who the caller is, for the journal.
    pub fn by(&self) -> Principal {
        self.identity.by.clone()
    }

    /// The caller in its tenant, for what the audit tells of.
    pub fn actor(&self, asked: Asked) -> Actor {
        Actor { tenant: self.identity.tenant, by: self.signed(&asked) }
    }

    /// Who the caller is, for records and for the audit.
    pub fn signed(&self, asked: &Asked) -> By {
        asked.sign(&self.identity)
    }

    /// The caller itself.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether it is the caller itself who acts.
    ///
    /// # Errors
    /// 403 when somebody acts in its name.
    pub fn itself(&self) -> Result<(), Problem> {
        if self.identity.acting().is_none() {
            return Ok(());
        }
        let detail = "nobody does this in another's name: sign in as yourself";
        Err(Problem::new(StatusCode::FORBIDDEN, "impersonated", detail))
    }

    /// How far the caller may do `Q`.
    pub fn reach<Q: Permission>(&self) -> Reach {
        self.identity.reach(Q::NAME)
    }

    /// Whether the caller may do `Q` too, everywhere.
    ///
    /// # Errors
    /// 403 when not.
    pub fn also<Q: Permission>(&self) -> Result<(), Problem> {
        if self.identity.may(Q::NAME) { Ok(()) } else { Err(forbidden(Q::NAME)) }
    }
}

impl<P: Permission> FromRequestParts<App> for Authorized<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Authorized<P>, Problem> {
        let (identity, pass) = let_in(parts, app, (P::NAME, Far::Everywhere)).await?;
        Ok(Authorized { identity, pass, permission: PhantomData })
    }
}

impl<P: Permission> FromRequestParts<App> for Within<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Within<P>, Problem> {
        let (identity, pass) = let_in(parts, app, (P::NAME, Far::Somewhere)).await?;
        let reach = identity.reach(P::NAME);
        Ok(Within { caller: Authorized { identity, pass, permission: PhantomData }, reach })
    }
}

/// How far a permission has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Far {
    /// It holds in the whole tenant.
    Everywhere,
    /// A folder or a workflow is enough: what the request is about is looked at behind the door.
    Somewhere,
}

impl Far {
    /// How far it has to go for an operation of the document.
    pub fn of(operation: &serde_json::Value) -> Far {
        if operation[WITHIN] == true { Far::Somewhere } else { Far::Everywhere }
    }
}

/// Who comes with that token, once its tenant lets it by to the route.
///
/// # Errors
/// 401 when there is no such caller; 403 when the tenant is suspended, has not the route's feature, or asks for a second
/// factor that the caller has not.
pub(crate) async fn let_by(app: &App, parts: &Parts, token: Option<&str>) -> Result<Identity, Problem> {
    let identity = app.gate().identify(token).await?;
    is_not_suspended(app, identity.tenant)?;
    let route = parts.extensions.get::<MatchedPath>();
    features::let_by(app, &identity, route).await?;
    second_factor::let_by(app, &identity, route).await?;
    Ok(identity)
}

/// Lets the caller in, once it has the permission and there is room.
async fn let_in(parts: &Parts, app: &App, (permission, far): (&str, Far)) -> Result<(Identity, Pass), Problem> {
    let identity = let_by(app, parts, presented(parts)?).await?;
    if !identity.goes(permission, far) {
        let nowhere = identity.reach(permission).is_nowhere();
        return Err(if nowhere { forbidden(permission) } else { not_everywhere(permission) });
    }
    if matches!(app.gate(), Gate::Tokens(_)) {
        app.rate_limits().enter(&identity, parts).await?;
    }
    let pass = match (app.gate(), Class::of(permission)) {
        (Gate::Tokens(_), Some(class)) => {
            let from = parts.extensions.get::<Peer>().map(|peer| &peer.refused);
            app.door().enter((identity.tenant, class), from).await?
        }
        // Whoever keeps the machine can look at it, however full it is; so can whoever watches it.
        (Gate::Local, _) | (_, None) => Pass::free(identity.tenant),
    };
    Ok((identity, pass))
}

/// A suspended tenant lets nobody in.
///
/// # Errors
/// 403 when it is.
pub fn is_not_suspended(app: &App, tenant: TenantKey) -> Result<(), Problem> {
    if !app.store().rules_of(tenant).suspended {
        return Ok(());
    }
    let detail = "the tenant is suspended: its requests are refused and its runs hold until somebody resumes it";
    Err(Problem::new(StatusCode::FORBIDDEN, "tenant_suspended", detail))
}

/// The other end of the connection; the listener writes it into each request.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// What it was refused.
    refused: Refused,
}

impl Peer {
    /// One who has asked for nothing yet.
    pub fn at(address: IpAddr) -> Peer {
        Peer { address, refused: Refused::default() }
    }
}

/// What a request says of itself, for the audit.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The address at the other end of the connection; none on a socket in the file system.
    pub address: Option<IpAddr>,
    request_id: Option<String>,
    user_agent: Option<String>,
}

impl Asked {
    fn of(parts: &Parts) -> Asked {
        let header = |name: &str| parts.headers.get(name).and_then(|it| it.to_str().ok()).map(str::to_owned);
        let address = parts.extensions.get::<Peer>().map(|peer| peer.address);
        Asked { address, request_id: header("x-request-id"), user_agent: header("user-agent") }
    }

    /// By nobody who is known.
    pub fn by_somebody(&self) -> By {
        self.named("somebody".to_owned(), Holds::These(std::sync::Arc::default()))
    }

    fn sign(&self, identity: &Identity) -> By {
        By { member: identity.acts_as(), ..self.named(identity.who(), identity.holds.clone()) }
    }

    /// Somebody of that name, who asks like this.
    pub fn named(&self, who: String, holds: Holds) -> By {
        let address = self.address.map(|address| address.to_string());
        By {
            who,
            request_id: self.request_id.clone(),
            user_agent: self.user_agent.clone(),
            address,
            holds,
            member: None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked, Infallible> {
        Ok(Asked::of(parts))
    }
}

/// What a route of a record does: the router writes it into each request, and nobody else does.
#[derive(Debug, Clone, Copy)]
pub struct RecordRoute {
    /// With which record.
    pub record: &'static Record,
    /// What.
    pub operation: Operation,
}

/// The caller, allowed to do what the route of a record does: [`Authorized`] for permissions that descriptors name.
pub struct Permitted {
    identity: Identity,
    route: RecordRoute,
    asked: Asked,
    /// Held until the handler ends.
    _pass: Pass,
}

impl Permitted {
    /// The tenant in which the caller acts.
    pub fn tenant(&self) -> TenantKey {
        self.identity.tenant
    }

    /// The record that the route is about.
    pub fn record(&self) -> &'static Record {
        self.route.record
    }

    /// What the route does.
    pub fn operation(&self) -> Operation {
        self.route.operation
    }

    /// Who the caller is, for the row and for the audit.
    pub fn by(&self) -> By {
        self.asked.sign(&self.identity)
    }
}

impl FromRequestParts<App> for Permitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Permitted, Problem> {
        let route = parts.extensions.get::<RecordRoute>().copied().ok_or_else(|| Problem::not_found("record"))?;
        let permission = route.record.permission(route.operation);
        let far = if route.record.lies_by.is_empty() { Far::Everywhere } else { Far::Somewhere };
        let (identity, pass) = let_in(parts, app, (permission, far)).await?;
        within::look_at_row(parts, app, (&identity, route)).await?;
        Ok(Permitted { identity, route, asked: Asked::of(parts), _pass: pass })
    }
}

/// The name of the cookie of a session.
pub const COOKIE: &str = "__Host-windlass";

/// The token that a request comes with: in its `Authorization`, or as the cookie of a session.
fn presented(parts: &Parts) -> Result<Option<&str>, Problem> {
    if let Some(token) = bearer(parts)? {
        return Ok(Some(token));
    }
    let Some(token) = cookie(&parts.headers) else { return Ok(None) };
    // A browser sends cookies for whichever page asks: only our own may change anything.
    if parts.method.is_safe() || is_same_origin(&parts.headers) {
        return Ok(Some(token));
    }
    let detail = "a request with the cookie of a session that changes something must come from this server's own pages \
                  (`Origin`); programs send `Authorization: Bearer <token>`";
    Err(Problem::new(StatusCode::FORBIDDEN, "origin_refused", detail))
}

/// The token in the cookie of a session.
pub fn cookie(headers: &HeaderMap) -> Option<&str> {
    cookie_of(headers, COOKIE)
}

/// What is in a cookie of that name.
pub fn cookie_of<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let pairs = all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.into_iter().find(|(name, _)| *name == wanted).map(|(_, token)| token)
}

/// A cookie that scripts cannot read, of this server alone, for so long; without any time it is gone.
pub fn set_cookie(name: &str, value: &str, lasts: Duration) -> HeaderValue {
    let seconds = lasts.as_secs();
    reply::header_value(&format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={seconds}"))
}

fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).and_then(|it| it.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    origin.split_once("://").is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

/// The token of the `Authorization` header, if there is one.
pub(crate) fn bearer(parts: &Parts) -> Result<Option<&str>, Problem> {
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().map_err(|_| unauthorized("the Authorization header is not text"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(unauthorized("the Authorization header is not `Bearer <token>`")),
    }
}

pub(crate) fn unauthorized(detail: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"windlass\""))
}

fn forbidden(permission: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden", format!("the caller has not the permission `{permission}`"))
}

fn not_everywhere(permission: &str) -> Problem {
    let detail = format!(
        "the caller has the permission `{permission}` on folders and workflows alone, and this takes it in the whole tenant"
    );
    Problem::new(StatusCode::FORBIDDEN, "forbidden", detail)
}

/// A handler that names its permission: what the router asks for, by the types of its arguments.
///
/// `T` is the tuple of argument types by which axum tells handlers apart.
pub trait Guarded {
    /// The permission that the handler's first argument names.
    const PERMISSION: &'static str;
    /// How far it has to go.
    const FAR: Far;
}

/// A handler of records: its first argument is [`Permitted`]. `T` is as in [`Guarded`].
pub trait PermittedFirst {}

macro_rules! guarded {
    ($($rest:ident),*) => {
        impl<M, $($rest),*> PermittedFirst for (M, Permitted, $($rest,)*) {}

        impl<M, P: Permission, $($rest),*> Guarded for (M, Authorized<P>, $($rest,)*) {
            const PERMISSION: &'static str = P::NAME;
            const FAR: Far = Far::Everywhere;
        }

        impl<M, P: Permission, $($rest),*> Guarded for (M, Within<P>, $($rest,)*) {
            const PERMISSION: &'static str = P::NAME;
            const FAR: Far = Far::Somewhere;
        }
    };
}

guarded!();
guarded!(A);
guarded!(A, B);
guarded!(A, B, C);
guarded!(A, B, C, D);
guarded!(A, B, C, D, E);
