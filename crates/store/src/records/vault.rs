//! Secrets and credentials: one name for both, fields by type, values counted.

use futures::future::BoxFuture;
use serde_json::{Map, Value as Json};
use windlass_resource::{
    Datum, FieldError,
    credential::{self, Part},
};

use super::{
    behaviour::{Behaviour, NewRow},
    row,
    write::Named,
};
use crate::{StoreError, database::Tx};

pub(super) struct Secrets;
pub(super) struct Credentials;

impl Behaviour for Secrets {
    fn before_write<'a>(
        &'a self,
        tx: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        Box::pin(async move { taken_by(tx, row, ("credentials", "credential")).await })
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
            Ok(errors)
        })
    }

    fn beside(&self, old: &NewRow<'_>, sets: &Named) -> Named {
        counted(old, sets, "secret_fields")
    }
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
