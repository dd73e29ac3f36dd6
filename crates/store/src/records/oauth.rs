//! Applications of third parties: who writes one may do all that it may; a consent is used by a chain of which only the
//! newest link works.
//!
//! Invariant: of two who show one link, one gets tokens, and the other one ends the chain.

use futures::future::BoxFuture;
use uuid::Uuid;
use windlass_definition::time::Timestamp;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum, FieldError, permission,
    records::oauth::{
        APPLICATIONS, AUTHORIZATIONS, CONSENTS, REDIRECT_URI, REDIRECT_URI_CHARS_MAX, REDIRECT_URIS_MAX, TOKENS,
    },
};

use super::{
    By, Holds, RecordError, RecordView, Target,
    behaviour::{Behaviour, NewRow},
    people::texts,
    row,
    write::{Named, Write, with_defaults},
};
use crate::{
    StoreError, access,
    database::Tx,
    oauth::{Application, Hash},
    store::Store,
};

/// The consent that a member gave last, if it still holds.
const CONSENT: &str = "select id from oauth_consents where tenant_key = $1 and application_id = $2 and member_id = $3 \
                       and status = 'active' order by id desc limit 1";
/// The authorization of a chain, of that application, whose consent and member still hold.
const CHAIN: &str = "select z.id, u.email from oauth_authorizations z \
                     join oauth_consents c on c.tenant_key = z.tenant_key and c.id = z.consent_id and c.status = 'active' \
                     join members m on m.tenant_key = c.tenant_key and m.id = c.member_id and m.status = 'active' \
                     join users u on u.id = m.user_id and u.status = 'active' \
                     where z.tenant_key = $1 and z.chain_hash = $2 and c.application_id = $3";

pub(super) struct Applications;

type Found<'a> = BoxFuture<'a, Result<Vec<FieldError>, StoreError>>;

impl Behaviour for Applications {
    fn before_write<'a>(&'a self, _: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        let mut errors = wrong_scopes(row);
        errors.extend(wrong_addresses(row));
        if row.get("client_type").as_text() == Some("public") && row.get("client_credentials") == &Datum::Bool(true) {
            let message = "is for confidential applications: a public one keeps no secret";
            errors.push(FieldError::of("client_credentials", message));
        }
        Box::pin(async move { Ok(errors) })
    }

    fn before_delete<'a>(&'a self, _: &'a mut Tx, row: &'a NewRow<'a>) -> Found<'a> {
        let errors = wrong_scopes(row);
        Box::pin(async move { Ok(errors) })
    }
}

fn list(row: &NewRow<'_>, name: &str) -> Vec<String> {
    match row.get(name) {
        Datum::Json(json) => texts(json),
        _ => Vec::new(),
    }
}

/// Whoever writes an application can come to act as it does: it may do nothing that he may not.
fn wrong_scopes(row: &NewRow<'_>) -> Vec<FieldError> {
    let by = &row.write.by.holds;
    let scopes = list(row, "scopes");
    let wrong = |(at, name): (usize, &String)| {
        let known = permission::all().iter().any(|it| it.name == name);
        let message = match () {
            () if !known => "is no permission: `GET /api/v1/permissions` lists all there are",
            () if permission::is_personal(name) => "is what people do in their own name alone, and no application",
            () if permission::is_system(name) && row.tenant() != TenantKey::DEFAULT => {
                "is about the whole installation: its first tenant alone may have it"
            }
            () if scopes[..at].contains(name) => "stands there twice",
            () if *by != Holds::Program && !by.may(name) => "is more than you may do yourself",
            () => return None,
        };
        Some(FieldError { pointer: format!("/scopes/{at}"), message: format!("`{name}` {message}") })
    };
    scopes.iter().enumerate().filter_map(wrong).collect()
}

fn wrong_addresses(row: &NewRow<'_>) -> Vec<FieldError> {
    let addresses = list(row, "redirect_uris");
    let fits = |address: &String| {
        address.len() <= REDIRECT_URI_CHARS_MAX && REDIRECT_URI.compiled().is_some_and(|it| it.is_match(address))
    };
    let wrong = |(at, address): (usize, &String)| {
        let message = format!("must be {}, of at most {REDIRECT_URI_CHARS_MAX} characters", REDIRECT_URI.meaning);
        (!fits(address)).then(|| FieldError { pointer: format!("/redirect_uris/{at}"), message })
    };
    let mut errors: Vec<_> = addresses.iter().enumerate().filter_map(wrong).collect();
    if addresses.len() > REDIRECT_URIS_MAX {
        errors.push(FieldError::of("redirect_uris", format!("must be at most {REDIRECT_URIS_MAX}")));
    }
    errors
}

/// A use of a consent that begins.
#[derive(Debug, Clone)]
pub struct NewAuthorization {
    /// Of which application.
    pub application: Uuid,
    /// Who consents.
    pub member: Uuid,
    /// To what.
    pub scopes: Vec<String>,
    /// Where the code is sent.
    pub redirect_uri: String,
    /// What whoever brings the code has to know the origin of.
    pub code_challenge: String,
    /// The code.
    pub code: Link,
    /// Until when the code works.
    pub code_expires_at: Timestamp,
    /// Until when the chain lasts.
    pub expires_at: Timestamp,
}

/// A link of a chain: a code or a refresh token, by its hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Of what all links of the chain begin with.
    pub chain: Hash,
    /// Of the whole of it.
    pub link: Hash,
}

/// What an application shows for tokens, and what it gets.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The newest link, if it is.
    pub shown: Link,
    /// The next one.
    pub next: Hash,
    /// The access token.
    pub token: NewToken,
    /// What is shown with the link.
    pub with: ShownWith,
    /// Who asks.
    pub by: By,
}

/// What is shown with a link of a chain.
#[derive(Debug, Clone)]
pub enum ShownWith {
    /// With a code: where it was sent, and what its challenge is of.
    Code {
        /// The address.
        redirect_uri: String,
        /// SHA-256, in base64url, of the verifier.
        challenge: String,
    },
    /// With a refresh token: nothing.
    Refresh,
}

/// An access token to be kept.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// SHA-256 of it.
    pub hash: Hash,
    /// For what; for all that there is when `None`.
    pub scopes: Option<Vec<String>>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// What became of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchanged {
    /// The tokens hold, for these scopes.
    For(Vec<String>),
    /// There are none.
    Refused(NoTokens),
}

/// Why there are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTokens {
    /// There is no such code or refresh token of this application that holds.
    Unknown,
    /// It was used before, and everything that followed from it has ended.
    Reused,
    /// It is too old.
    Over,
    /// The redirect address is not the one of the beginning.
    AnotherAddress,
    /// The verifier is not what the challenge was of.
    WrongVerifier,
    /// The scopes are more than was consented to.
    Scopes,
}

impl Store {
    /// Keeps that a member lets an application act in its name, and a code by which it begins to.
    ///
    /// # Errors
    /// There is no such application or member; or the database does not answer.
    pub async fn authorize(&self, tenant: TenantKey, new: NewAuthorization, by: By) -> Result<(), RecordError> {
        let store = self.clone();
        self.transact_records(tenant, move |tx| {
            Box::pin(async move {
                let write = |record| store.write_on((tenant, record), by.clone());
                let found = tx.query(CONSENT, vec![tenant.into(), new.application.into(), new.member.into()]).await?;
                let consent = match found.first() {
                    Some(row) => {
                        let id = row.uuid(0)?;
                        widen(&write(&CONSENTS), tx, (id, &new.scopes)).await?;
                        id
                    }
                    None => {
                        let values = vec![
                            ("application_id", Datum::Uuid(new.application)),
                            ("member_id", Datum::Uuid(new.member)),
                            ("scopes", scopes_datum(&new.scopes)),
                        ];
                        make(&write(&CONSENTS), tx, ("consent", values)).await?
                    }
                };
                let values = vec![
                    ("consent_id", Datum::Uuid(consent)),
                    ("scopes", scopes_datum(&new.scopes)),
                    ("redirect_uri", Datum::Text(new.redirect_uri)),
                    ("code_challenge", Datum::Text(new.code_challenge)),
                    ("chain_hash", Datum::Bytes(new.code.chain.to_vec())),
                    ("link_hash", Datum::Bytes(new.code.link.to_vec())),
                    ("code_expires_at", Datum::Time(new.code_expires_at)),
                    ("expires_at", Datum::Time(new.expires_at)),
                ];
                make(&write(&AUTHORIZATIONS), tx, ("authorize", values)).await.map(|_| ())
            })
        })
        .await
    }

    /// Gives an application tokens for a code or a refresh token, once.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn exchange(&self, application: &Application, exchange: Exchange) -> Result<Exchanged, RecordError> {
        let (store, tenant, application) = (self.clone(), application.tenant, application.id);
        let exchanged = self
            .transact_records(tenant, move |tx| {
                Box::pin(async move { Exchanging { store: &store, tenant, application, exchange }.decide(tx).await })
            })
            .await?;
        if exchanged == Exchanged::Refused(NoTokens::Reused) {
            self.look_at_access().await?;
        }
        Ok(exchanged)
    }

    /// Keeps an application's own access token.
    ///
    /// # Errors
    /// The application is gone; or the database does not answer.
    pub async fn issue_token(&self, application: &Application, new: NewToken, by: By) -> Result<(), RecordError> {
        let values = token_values((application.id, None), (&new, &application.scopes));
        self.insert_record((application.tenant, &TOKENS), ("issue", by), values).await.map(|_| ())
    }

    /// Gives an application another secret; the one that it has works until then, if at all.
    ///
    /// # Errors
    /// There is no such application; or it may do more than whoever asks.
    pub async fn set_application_secret(
        &self,
        (tenant, application): (TenantKey, Uuid),
        (hash, former_until): (Hash, Option<Timestamp>),
        by: By,
    ) -> Result<RecordView, RecordError> {
        let store = self.clone();
        let view = self.transact_records(tenant, move |tx| {
            Box::pin(async move {
                let write = store.write_on((tenant, &APPLICATIONS), by);
                let target = Target { id: application, expect: None };
                let old = write.locked(tx, target).await?;
                if row::get(&APPLICATIONS, &old, "client_type").as_text() != Some("confidential") {
                    let unmet = vec!["a public application keeps no secret".to_owned()];
                    return Err(RecordError::Guarded { verb: "secret", unmet });
                }
                let former = match former_until {
                    Some(_) => row::get(&APPLICATIONS, &old, "secret_hash").clone(),
                    None => Datum::Null,
                };
                let until = former_until.filter(|_| !former.is_null());
                let sets: Named = vec![
                    ("secret_hash", Datum::Bytes(hash.to_vec())),
                    ("secret_made_at", Datum::Time(store.now())),
                    ("former_secret_hash", former),
                    ("former_secret_until", until.map_or(Datum::Null, Datum::Time)),
                ];
                write.save(tx, ("make_secret", application), &old, sets).await
            })
        });
        view.await
    }

    /// Writes several records in one transaction, or nothing.
    async fn transact_records<T, F>(&self, tenant: TenantKey, script: F) -> Result<T, RecordError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Tx) -> BoxFuture<'a, Result<T, RecordError>> + Send + 'static,
    {
        // What is refused takes everything with it that was written before.
        let (refused, refusal) = std::sync::mpsc::channel();
        let written = self.database().of(tenant).transact(move |tx| {
            Box::pin(async move {
                match script(tx).await {
                    Ok(value) => Ok(value),
                    Err(RecordError::Store(error)) => Err(error),
                    Err(other) => {
                        let error = StoreError::conflict(other.to_string());
                        // Whoever waits for it is there as long as this runs.
                        let _ = refused.send(other);
                        Err(error)
                    }
                }
            })
        });
        match written.await {
            Ok(value) => {
                self.audit_noted();
                Ok(value)
            }
            Err(error) => Err(refusal.try_recv().unwrap_or(RecordError::Store(error))),
        }
    }
}

async fn make(write: &Write, tx: &mut Tx, (action, values): (&'static str, Named)) -> Result<Uuid, RecordError> {
    let id = Uuid::now_v7();
    let mut values = with_defaults(write.record, values);
    values.push(("id", Datum::Uuid(id)));
    write.create(tx, (action, values)).await.map(|_| id)
}

/// Adds scopes to a consent.
async fn widen(write: &Write, tx: &mut Tx, (id, scopes): (Uuid, &[String])) -> Result<(), RecordError> {
    let old = write.locked(tx, Target { id, expect: None }).await?;
    let mut all = match row::get(&CONSENTS, &old, "scopes") {
        Datum::Json(json) => texts(json),
        _ => Vec::new(),
    };
    let before = all.len();
    for scope in scopes {
        if !all.contains(scope) {
            all.push(scope.clone());
        }
    }
    if all.len() > before {
        write.save(tx, ("consent", id), &old, vec![("scopes", scopes_datum(&all))]).await?;
    }
    Ok(())
}

fn scopes_datum(scopes: &[String]) -> Datum {
    Datum::Json(serde_json::json!(scopes).to_string())
}

fn token_values((application, authorization): (Uuid, Option<Uuid>), (new, all): (&NewToken, &[String])) -> Named {
    vec![
        ("application_id", Datum::Uuid(application)),
        ("authorization_id", authorization.map_or(Datum::Null, Datum::Uuid)),
        ("scopes", scopes_datum(new.scopes.as_deref().unwrap_or(all))),
        ("token_hash", Datum::Bytes(new.hash.to_vec())),
        ("expires_at", Datum::Time(new.expires_at)),
    ]
}

struct Exchanging<'a> {
    store: &'a Store,
    tenant: TenantKey,
    application: Uuid,
    exchange: Exchange,
}

impl Exchanging<'_> {
    async fn decide(self, tx: &mut Tx) -> Result<Exchanged, RecordError> {
        let Exchange { shown, next, token, with, mut by } = self.exchange;
        let refused = |why| Ok(Exchanged::Refused(why));
        let params = vec![self.tenant.into(), shown.chain.into(), self.application.into()];
        let found = tx.query(CHAIN, params).await?;
        let Some(row) = found.first() else { return refused(NoTokens::Unknown) };
        let (id, email) = (row.uuid(0)?, row.string(1)?);
        by.who = format!("{} for {email}", by.who);
        let write = self.store.write_on((self.tenant, &AUTHORIZATIONS), by.clone());
        let target = Target { id, expect: None };
        // It is locked by this: whoever shows the same link comes after.
        let old = write.locked(tx, target).await?;
        let at = |name: &str| row::get(&AUTHORIZATIONS, &old, name);
        if at("status").as_text() != Some("active") {
            return refused(NoTokens::Unknown);
        }
        if !matches!(at("link_hash"), Datum::Bytes(newest) if *newest == shown.link) {
            let Some(end) = AUTHORIZATIONS.transition("end_reused") else { return refused(NoTokens::Unknown) };
            write.transition(tx, (target, end), Vec::new()).await?;
            access::count(tx).await?;
            return refused(NoTokens::Reused);
        }
        let now = self.store.now();
        let is_over = |name: &str| at(name).as_time().is_none_or(|until| until <= now);
        let (action, stamped) = match &with {
            ShownWith::Refresh => ("refresh", "refreshed_at"),
            ShownWith::Code { .. } if is_over("code_expires_at") => return refused(NoTokens::Over),
            ShownWith::Code { redirect_uri, .. } if at("redirect_uri").as_text() != Some(redirect_uri) => {
                return refused(NoTokens::AnotherAddress);
            }
            ShownWith::Code { challenge, .. } if at("code_challenge").as_text() != Some(challenge) => {
                return refused(NoTokens::WrongVerifier);
            }
            ShownWith::Code { .. } => ("use_code", "code_used_at"),
        };
        if is_over("expires_at") {
            return refused(NoTokens::Over);
        }
        let all = match at("scopes") {
            Datum::Json(json) => texts(json),
            _ => Vec::new(),
        };
        let scopes = token.scopes.clone().unwrap_or_else(|| all.clone());
        if scopes.iter().any(|scope| !all.contains(scope)) {
            return refused(NoTokens::Scopes);
        }
        let sets: Named = vec![("link_hash", Datum::Bytes(next.to_vec())), (stamped, Datum::Time(now))];
        write.save(tx, (action, id), &old, sets).await?;
        let values = token_values((self.application, Some(id)), (&token, &all));
        make(&self.store.write_on((self.tenant, &TOKENS), by), tx, ("issue", values)).await?;
        Ok(Exchanged::For(scopes))
    }
}
