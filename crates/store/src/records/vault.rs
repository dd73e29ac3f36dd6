//! Secrets and credentials: one name for both, fields by type, values counted.

use futures::future::BoxFuture;
use serde_json::{Map, Value as Json};
use uuid::Uuid;
use windlass_resource::{
    Datum, FieldError,
    credential::{self, Part},
    host::{BadHost, HostPattern, PATTERNS_MAX},
    permission::{Permission as _, VaultShare},
};

use super::{
    behaviour::{Behaviour, NewRow},
    people::texts,
    row,
    write::Named,
};
use crate::{
    StoreError,
    database::Tx,
    sharing::{Namer, shared_with},
};

pub(super) struct Secrets;
pub(super) struct Credentials;
pub(super) struct Shares;

impl Behaviour for Secrets {
    fn before_write<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        Box::pin(async move {
            let mut errors = taken_by(tx, row, ("credentials", "credential")).await?;
            errors.extend(wrong_hosts(row));
            errors.extend(limited(tx, row).await?);
            Ok(errors)
        })
    }

    fn before_delete<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        Box::pin(async move { Ok(limited(tx, row).await?.into_iter().collect()) })
    }

    fn beside(&self, old: &NewRow<'_>, sets: &Named) -> Named {
        counted(old, sets, "value")
    }
}

impl Behaviour for Credentials {
    fn before_write<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        Box::pin(async move {
            let mut errors = taken_by(tx, row, ("secrets", "secret")).await?;
            let kind = row.get("credential_type").as_text().and_then(credential::find);
            let kind = kind.ok_or_else(|| StoreError::damaged("a credential of no type"))?;
            for part in [Part::Open, Part::Secret] {
                // What is sealed was looked at when it was given.
                if let Datum::Json(text) = row.get(part.column()) {
                    let given: Map<String, Json> = serde_json::from_str(text).unwrap_or_default();
                    errors.extend(kind.check(part, &given));
                }
            }
            errors.extend(wrong_hosts(row));
            errors.extend(limited(tx, row).await?);
            Ok(errors)
        })
    }

    fn before_delete<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        Box::pin(async move { Ok(limited(tx, row).await?.into_iter().collect()) })
    }

    fn beside(&self, old: &NewRow<'_>, sets: &Named) -> Named {
        counted(old, sets, "secret_fields")
    }
}

impl Behaviour for Shares {
    fn before_write<'a>(
        &'a self,
        _: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        let given =
            ["member_id", "group_id", "folder_id", "workflow_id"].iter().filter(|name| !row.get(name).is_null());
        let fits = given.count() == 1;
        Box::pin(async move {
            let message = "give one of `member_id`, `group_id`, `folder_id` and `workflow_id`";
            Ok(if fits { Vec::new() } else { vec![FieldError::of("member_id", message)] })
        })
    }
}

/// What speaks against a change of somebody who decides nothing about sharing: it changes for whom or where the row is, or the
/// row is not for him. Whoever changes where a token is asked for could have the secret sent to himself.
async fn limited(tx: &mut Tx, row: &NewRow<'_>) -> Result<Option<FieldError>, StoreError> {
    let by = &row.write.by;
    if by.holds.may(VaultShare::NAME) {
        return Ok(None);
    }
    let table = row.write.record.name;
    let sql = format!("select used_by, used_in, hosts from {table} where tenant_key = $1 and id = $2");
    let found = tx.query(sql, vec![row.tenant().into(), row.id.into()]).await?;
    let was = match found.first() {
        // Whoever gives a value says where it may go: whoever changes that later could have it sent to himself.
        Some(found) if hosts_in(row.get("hosts")) != texts(found.text(2)?) => {
            return Ok(Some(FieldError::of("hosts", format!("takes the permission `{}`", VaultShare::NAME))));
        }
        Some(found) => [found.string(0)?, found.string(1)?],
        None => ["everyone".to_owned(), "everywhere".to_owned()],
    };
    for (name, was) in ["used_by", "used_in"].iter().zip(&was) {
        if row.get(name).as_text() != Some(was) {
            return Ok(Some(FieldError::of(name, format!("takes the permission `{}`", VaultShare::NAME))));
        }
    }
    let is_for_him = match (was[0] == "listed", by.namer()) {
        (_, Namer::Anything) => true,
        (true, Namer::Member(member)) => is_shared_with(tx, row, member).await?,
        (false, _) => was[1] == "everywhere",
        (true, Namer::Nobody) => false,
    };
    let message = format!("it is not for everyone: to change it takes the permission `{}`", VaultShare::NAME);
    Ok(if is_for_him { None } else { Some(FieldError::of("name", message)) })
}

/// The patterns in a list of hosts.
fn hosts_in(value: &Datum) -> Vec<String> {
    match value {
        Datum::Json(json) => texts(json),
        _ => Vec::new(),
    }
}

/// What is wrong with the list of hosts.
fn wrong_hosts(row: &NewRow<'_>) -> Vec<FieldError> {
    let patterns = hosts_in(row.get("hosts"));
    if patterns.len() > PATTERNS_MAX {
        return vec![FieldError::of("hosts", format!("has at most {PATTERNS_MAX} hosts"))];
    }
    let wrong = |(at, text): (usize, &String)| {
        let bad: BadHost = text.parse::<HostPattern>().err()?;
        Some(FieldError { pointer: format!("/hosts/{at}"), message: bad.to_string() })
    };
    patterns.iter().enumerate().filter_map(wrong).collect()
}

async fn is_shared_with(tx: &mut Tx, row: &NewRow<'_>, member: Uuid) -> Result<bool, StoreError> {
    let sql = format!("select 1 from {} t where t.tenant_key = $1 and t.id = $3 and {}", row.write.record.name, {
        shared_with(row.write.record.name)
    });
    Ok(!tx.query(sql, vec![row.tenant().into(), member.into(), row.id.into()]).await?.is_empty())
}

/// A new value is the next version.
fn counted(old: &NewRow<'_>, sets: &Named, column: &str) -> Named {
    if !sets.iter().any(|(name, _)| *name == column) {
        return Vec::new();
    }
    let version = row::get(old.write.record, old.values, "version").as_int().unwrap_or(0);
    vec![("version", Datum::Int(version.saturating_add(1)))]
}

/// Whether a row of the other record has the name: `secrets.<name>` says one thing. The tenant is locked, so that of two
/// that are made at once one waits for the other.
async fn taken_by(tx: &mut Tx, row: &NewRow<'_>, (table, noun): (&str, &str)) -> Result<Vec<FieldError>, StoreError> {
    let lock = tx.dialect().pick("", " for no key update");
    tx.query(format!("select 1 from tenants where key = $1{lock}"), vec![row.tenant().into()]).await?;
    let sql = format!("select 1 from {table} where tenant_key = $1 and name = $2");
    let name = row.get("name").as_text().unwrap_or_default();
    let found = tx.query(sql, vec![row.tenant().into(), name.into()]).await?;
    Ok(if found.is_empty() { Vec::new() } else { vec![FieldError::of("name", format!("is taken: a {noun} has it"))] })
}
