//! Tenants: each has the next key, and the first one is never suspended.

use futures::future::BoxFuture;
use windlass_engine::id::TenantKey;
use windlass_resource::{
    Datum, FieldError,
    permission::{self, BuiltIn},
    records::people::ROLES,
    statement::Writer,
};

use super::{
    By, RecordError, Target,
    behaviour::{Behaviour, FreshRow, NewRow},
    people::texts,
    write::{Named, Write, with_defaults},
};
use crate::{
    StoreError,
    database::{Row, Tx},
    store::Store,
};

const NEXT: &str = "select max(key) + 1 from tenants";

pub(super) struct Tenants;

impl Behaviour for Tenants {
    fn fill<'a>(&'a self, tx: &'a mut Tx, row: &'a mut FreshRow<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let next = tx.query(NEXT, vec![]).await?.first().map_or(Ok(None), |row| row.opt(0, Row::int))?;
            row.fill("key", Datum::Int(next.unwrap_or(i64::from(TenantKey::DEFAULT.0))));
            Ok(())
        })
    }

    fn before_write<'a>(
        &'a self,
        _: &'a mut Tx,
        row: &'a NewRow<'a>,
    ) -> BoxFuture<'a, Result<Vec<FieldError>, StoreError>> {
        let first = row.get("key").as_int() == Some(i64::from(TenantKey::DEFAULT.0));
        let refused = first && row.get("status").as_text() == Some("suspended");
        let error =
            || FieldError::of("status", "the first tenant is never suspended: its people look after the others");
        Box::pin(async move { Ok(refused.then(error).into_iter().collect()) })
    }

    fn after_create<'a>(&'a self, tx: &'a mut Tx, row: &'a NewRow<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let key =
                row.get("key").as_int().and_then(|key| i32::try_from(key).ok()).map_or(TenantKey::DEFAULT, TenantKey);
            let writer = Writer { tenant: key, ..row.write.writer };
            let write = Write {
                writer,
                record: &ROLES,
                by: By::system(),
                records: row.write.records,
                now: row.write.now,
                seal: None,
                elsewhere: None,
            };
            // They are the new tenant's own.
            tx.enter(key).await?;
            for role in permission::BUILT_IN.iter().filter(|role| !role.first_tenant_only || key == TenantKey::DEFAULT)
            {
                let values = with_defaults(&ROLES, built_in(role));
                match write.create(tx, ("create", values)).await {
                    Ok(_) => {}
                    Err(RecordError::Store(error)) => return Err(error),
                    Err(error) => return Err(StoreError::damaged(error.to_string())),
                }
            }
            tx.enter(row.write.writer.tenant).await
        })
    }
}

fn built_in(role: &BuiltIn) -> Named {
    vec![
        ("name", Datum::Text(role.name.to_owned())),
        ("description", Datum::Text(role.description.to_owned())),
        ("permissions", Datum::Json(serde_json::json!(role.permissions()).to_string())),
        ("built_in", Datum::Bool(true)),
    ]
}

const KEPT: &str = "select tenant_key, id, name, permissions from roles where built_in = true";

impl Store {
    /// Gives every tenant the built-in roles as this program knows them: when a server begins, so that a database into which
    /// another one is read has none yet.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn keep_roles(&self) -> Result<(), StoreError> {
        let rows = self.database().across_tenants().query(KEPT, vec![]).await?;
        for tenant in self.tenants().await? {
            let first = tenant.key == TenantKey::DEFAULT;
            for role in permission::BUILT_IN.iter().filter(|role| first || !role.first_tenant_only) {
                let is_it = |row: &&Row| {
                    row.tenant(0).is_ok_and(|key| key == tenant.key) && row.text(2).is_ok_and(|name| name == role.name)
                };
                let place = (tenant.key, &ROLES);
                let kept = match rows.iter().find(is_it) {
                    Some(row) if texts(row.text(3)?) == role.permissions() => continue,
                    Some(row) => {
                        let target = Target { id: row.uuid(1)?, expect: None };
                        self.change_record(place, target, (By::system(), built_in(role))).await
                    }
                    None => self.insert_record(place, ("create", By::system()), built_in(role)).await,
                };
                match kept {
                    // Another server was faster.
                    Ok(_) | Err(RecordError::Taken { .. } | RecordError::Stale { .. }) => {}
                    Err(RecordError::Store(error)) => return Err(error),
                    Err(error) => return Err(StoreError::damaged(error.to_string())),
                }
            }
        }
        Ok(())
    }
}
